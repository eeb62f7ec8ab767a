//! Where batches begin and end inside a run of stored batches.
//!
//! Stored runs (data blocks, WAL payloads of one stream) are Kafka record batches v2 back to back, exactly as consumers get them.
//! This module reads the few header fields that cutting a run needs and trusts none of them: a header that does not fit its run
//! ends the walk with an error. What is inside a batch is the layer above's business.

use base::{Offset, OffsetRange, UnixMillis};

/// Bytes of a record batch's header, up to and including the record count.
pub const HEADER_BYTES: usize = 61;

/// The base offset and the batch length, which the length field does not count.
const UNCOUNTED_BYTES: usize = 12;

/// A batch inside a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkedBatch {
    /// What it covers.
    pub range: OffsetRange,
    /// Where it begins in the run.
    pub at: usize,
    /// Its bytes, header included.
    pub len: usize,
    /// Records, not offsets.
    pub records: u32,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
}

/// A run's bytes are not batches back to back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no whole record batch at byte {at} of a run of {len} bytes")]
pub struct NotABatch {
    /// Where the walk stopped.
    pub at: usize,
    /// The run's length.
    pub len: usize,
}

/// Walks the batches of a run, oldest first; ends after the first error.
pub fn walk(run: &[u8]) -> impl Iterator<Item = Result<WalkedBatch, NotABatch>> + '_ {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let here = at.filter(|&here| here < run.len())?;
        let found = batch_at(run, here);
        at = found.ok().map(|batch| here + batch.len);
        Some(found)
    })
}

/// The part of a run that begins with the batch that holds `from` (or the first one above it) and ends before the first batch at
/// or beyond `below`; cut after `bytes_max` bytes, but never before one whole batch.
///
/// Answers the byte range and the offset after it; an empty range where nothing of the run qualifies.
///
/// # Errors
/// The run is damaged before the cut is found.
pub fn cut(
    run: &[u8],
    from: Offset,
    below: Offset,
    bytes_max: usize,
) -> Result<(std::ops::Range<usize>, Offset), NotABatch> {
    let mut span = 0..0;
    let mut next = from;
    for batch in walk(run) {
        let batch = batch?;
        if batch.range.next <= from {
            continue;
        }
        if batch.range.base >= below {
            break;
        }
        if span.is_empty() {
            span = batch.at..batch.at;
        } else if batch.at + batch.len - span.start > bytes_max {
            break;
        }
        span.end = batch.at + batch.len;
        next = batch.range.next;
    }
    Ok((span, next))
}

fn batch_at(run: &[u8], at: usize) -> Result<WalkedBatch, NotABatch> {
    let damaged = NotABatch { at, len: run.len() };
    let header = run.get(at..).and_then(|rest| rest.get(..HEADER_BYTES)).ok_or(damaged)?;
    let base = Offset::from_kafka(i64::from_be_bytes(field(header, 0))).ok_or(damaged)?;
    let counted = usize::try_from(i32::from_be_bytes(field(header, 8))).map_err(|_| damaged)?;
    let delta = u64::try_from(i32::from_be_bytes(field(header, 23))).map_err(|_| damaged)?;
    let max_timestamp = UnixMillis(i64::from_be_bytes(field(header, 35)));
    let records = u32::try_from(i32::from_be_bytes(field(header, 57))).map_err(|_| damaged)?;
    let len = counted + UNCOUNTED_BYTES;
    if len < HEADER_BYTES
        || run.len() - at < len
        || base.0.checked_add(delta + 1).is_none_or(|next| next > Offset::MAX.0)
    {
        return Err(damaged);
    }
    Ok(WalkedBatch { range: OffsetRange::new(base, base.plus(delta + 1)), at, len, records, max_timestamp })
}

fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::batch_bytes;
    use proptest::prelude::*;

    #[test]
    fn a_cut_begins_with_the_batch_that_holds_the_offset_and_never_splits_one() {
        let run = [batch_bytes(10, 5, 100), batch_bytes(15, 1, 100), batch_bytes(16, 4, 100)].concat();
        let one = cut(&run, Offset(12), Offset(20), 1).unwrap();
        assert_eq!(one, (0..100, Offset(15)), "one whole batch, however small the limit");
        assert_eq!(cut(&run, Offset(15), Offset(20), 200).unwrap(), (100..300, Offset(20)));
        assert_eq!(cut(&run, Offset(15), Offset(16), 1000).unwrap(), (100..200, Offset(16)), "nothing unconfirmed");
        assert_eq!(cut(&run, Offset(20), Offset(30), 1000).unwrap(), (0..0, Offset(20)));
    }

    #[test]
    fn a_torn_batch_is_an_error_and_not_a_panic() {
        let run = [batch_bytes(0, 1, 80), batch_bytes(1, 1, 80)].concat();
        let met: Vec<_> = walk(&run[..100]).collect();
        assert_eq!(met.len(), 2);
        assert_eq!(met[1], Err(NotABatch { at: 80, len: 100 }));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(walk(&bytes).count() <= bytes.len());
        }
    }
}
