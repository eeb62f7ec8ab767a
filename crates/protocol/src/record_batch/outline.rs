//! Where batches lie in records that are in several pieces, and whose they are, without joining the pieces.
//!
//! For who gives a client a part of what was read: a batch may be a head followed by its body, and joining them would copy all of it.

use super::{
    ATTRIBUTES_AT, BatchError, CONTROL, HEADER_BYTES, LENGTH_AT, LENGTH_FROM, NO_PRODUCER_ID, PRODUCER_ID_AT,
    RecordBatch, TRANSACTIONAL, array,
};
use crate::wire::Records;
use bytes::Bytes;
use std::ops::Range;

/// Where the magic stands.
const MAGIC_AT: usize = 16;
/// Where the last record's distance from the first stands: behind the attributes.
const LAST_OFFSET_DELTA_AT: usize = ATTRIBUTES_AT + 2;

/// One batch of some records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Where its bytes are among all.
    pub bytes: Range<usize>,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// None: nobody's in particular.
    pub producer_id: Option<i64>,
    /// Whether it is part of a transaction, or ends one.
    pub is_transactional: bool,
    /// Whether it is for clients, not for their users.
    pub is_control: bool,
}

/// The batches that lie one behind another in `records`, in order.
///
/// # Errors
/// One is not whole, or not of magic 2.
pub fn outlines(records: &Records) -> Result<Vec<Outline>, BatchError> {
    let mut found = Vec::new();
    let (mut at, end) = (0, records.len());
    let mut cursor = Cursor { pieces: records.pieces(), begins: 0 };
    while at < end {
        let mut header = [0; HEADER_BYTES];
        if end - at < HEADER_BYTES {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, left: end - at });
        }
        cursor.copy(at, &mut header);
        let outline = outline(&header, at)?;
        if outline.bytes.end > end {
            return Err(BatchError::Truncated { needed: outline.bytes.len(), left: end - at });
        }
        at = outline.bytes.end;
        found.push(outline);
    }
    Ok(found)
}

fn outline(header: &[u8; HEADER_BYTES], at: usize) -> Result<Outline, BatchError> {
    let length = i32::from_be_bytes(array(header, LENGTH_AT));
    match i8::from_be_bytes(array(header, MAGIC_AT)) {
        2 => {}
        old @ 0..2 => return Err(BatchError::OldMagic(old)),
        unknown => return Err(BatchError::UnknownMagic(unknown)),
    }
    let bytes = usize::try_from(length).map_err(|_| BatchError::Length(length))?.saturating_add(LENGTH_FROM);
    if bytes < HEADER_BYTES {
        return Err(BatchError::Length(length));
    }
    let base_offset = i64::from_be_bytes(array(header, 0));
    let delta = i32::from_be_bytes(array(header, LAST_OFFSET_DELTA_AT));
    let producer_id = i64::from_be_bytes(array(header, PRODUCER_ID_AT));
    let [_, attributes] = array(header, ATTRIBUTES_AT);
    Ok(Outline {
        bytes: at..at.saturating_add(bytes),
        base_offset,
        last_offset: base_offset.saturating_add(i64::from(delta)),
        producer_id: Some(producer_id).filter(|id| *id != NO_PRODUCER_ID),
        is_transactional: attributes & TRANSACTIONAL != 0,
        is_control: attributes & CONTROL != 0,
    })
}

impl Outline {
    /// The batch itself, out of the same records. Copies where it lies in several pieces.
    ///
    /// # Errors
    /// They are other records.
    pub fn batch(&self, records: &Records) -> Result<RecordBatch, BatchError> {
        RecordBatch::split_first(&mut cut(records, self.bytes.clone()).to_bytes())
    }
}

/// A part of some records, which shares their bytes.
#[must_use]
pub fn cut(records: &Records, range: Range<usize>) -> Records {
    let mut begins = 0;
    let mut part = Records::default();
    for piece in records.pieces() {
        let ends = begins + piece.len();
        let (from, to) = (range.start.max(begins), range.end.min(ends));
        if from < to {
            part.push(piece.slice(from - begins..to - begins));
        }
        begins = ends;
    }
    part
}

/// Goes through pieces from the first to the last.
struct Cursor<'a> {
    pieces: &'a [Bytes],
    /// Where the first of them is.
    begins: usize,
}

impl Cursor<'_> {
    /// Copies what lies at `at`, not before where it was last, as far as there is some.
    fn copy(&mut self, at: usize, to: &mut [u8]) {
        while let Some((first, rest)) = self.pieces.split_first()
            && self.begins + first.len() <= at
        {
            self.begins += first.len();
            self.pieces = rest;
        }
        let mut filled = 0;
        let mut skip = at - self.begins;
        for piece in self.pieces {
            let part = &piece[piece.len().min(skip)..];
            let part = &part[..part.len().min(to.len() - filled)];
            to[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
            skip = 0;
            if filled == to.len() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_batch::{BatchBuilder, NewRecord};

    fn batch(base: i64, records: usize, producer: Option<i64>) -> Bytes {
        let mut builder = BatchBuilder::new();
        if let Some(id) = producer {
            builder = builder.producer(id, 0, 0).transactional();
        }
        for _ in 0..records {
            builder = builder.record(&NewRecord { timestamp: 1, key: None, value: Some(b"value"), headers: &[] });
        }
        builder.build(base).unwrap().bytes().clone()
    }

    #[test]
    fn batches_are_found_however_they_are_cut() {
        let all = [batch(5, 2, None), batch(7, 1, Some(9)), batch(8, 3, None)];
        let bytes = all.concat();
        for step in [1, 16, 61, 70, 1000] {
            let records: Records = bytes.chunks(step).map(Bytes::copy_from_slice).collect();
            let found = outlines(&records).unwrap();
            let offsets: Vec<_> = found.iter().map(|it| (it.base_offset, it.last_offset)).collect();
            assert_eq!(offsets, [(5, 6), (7, 7), (8, 10)]);
            assert_eq!(found[1].producer_id, Some(9));
            assert!(found[1].is_transactional && !found[1].is_control && !found[0].is_transactional);
            for (outline, batch) in found.iter().zip(&all) {
                assert_eq!(cut(&records, outline.bytes.clone()).to_bytes(), *batch);
                assert_eq!(outline.batch(&records).unwrap().bytes(), batch);
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_told() {
        let bytes = batch(0, 4, None);
        for left in [1, 60, 61, bytes.len() - 1] {
            assert!(outlines(&Records::from(bytes.slice(..left))).is_err(), "{left}");
        }
        let mut old = bytes.to_vec();
        old[MAGIC_AT] = 1;
        assert_eq!(outlines(&Records::from(Bytes::from(old))), Err(BatchError::OldMagic(1)));
    }
}
