//! The records inside a batch.

use super::{BatchError, RecordBatch};
use bytes::{Buf, Bytes};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the log less the batch's.
    pub offset_delta: i32,
    /// Its offset in the log.
    pub offset: i64,
    /// Its time in milliseconds; the batch's where the broker set it.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

/// A record's headers, checked but not taken apart: 2 bytes of an empty header would become 64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    count: usize,
    bytes: Bytes,
}

/// One of a record's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its key: UTF-8, if its writer kept to the rules.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

impl Headers {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each header, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header> + use<> {
        let mut left = self.bytes.clone();
        (0..self.count).map_while(move |_| header(&mut left))
    }
}

/// Walks over a batch's records. Ends after the first error.
#[derive(Debug)]
pub struct RecordIter {
    left: Bytes,
    base_offset: i64,
    base_timestamp: i64,
    /// The time of all records, where the broker set it.
    append_time: Option<i64>,
    next: i32,
    count: i32,
}

impl RecordIter {
    pub(super) fn new(batch: &RecordBatch, records: Bytes) -> RecordIter {
        RecordIter {
            left: records,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_time: batch.is_log_append_time().then(|| batch.max_timestamp()),
            next: 0,
            count: batch.record_count(),
        }
    }

    fn record(&mut self) -> Option<Record> {
        let length = usize::try_from(varint(&mut self.left)?).ok()?;
        let mut record = take(&mut self.left, length)?;
        let _attributes = take(&mut record, 1)?;
        let timestamp_delta = varlong(&mut record)?;
        let offset_delta = varint(&mut record)?;
        let key = nullable(&mut record)?;
        let value = nullable(&mut record)?;
        let count = usize::try_from(varint(&mut record)?).ok()?;
        let bytes = record.clone();
        for _ in 0..count {
            header(&mut record)?;
        }
        if !record.is_empty() {
            return None;
        }
        Some(Record {
            offset_delta,
            offset: self.base_offset.checked_add(i64::from(offset_delta))?,
            timestamp: self.append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers: Headers { count, bytes },
        })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.count {
            // Bytes behind the last record make the batch malformed.
            let trailing = !std::mem::take(&mut self.left).is_empty();
            return trailing.then_some(Err(BatchError::Record(self.count)));
        }
        let record = self.record().ok_or(BatchError::Record(self.next));
        self.next += 1;
        if record.is_err() {
            self.left = Bytes::new();
            self.next = self.count;
        }
        Some(record)
    }
}

fn header(left: &mut Bytes) -> Option<Header> {
    let key = nullable(left)??;
    let value = nullable(left)?;
    Some(Header { key, value })
}

/// A length and so many bytes; a length of -1 is null. The outer `None` is an error.
#[expect(clippy::option_option, reason = "the inner one is Kafka's null, the outer one is malformed bytes")]
fn nullable(left: &mut Bytes) -> Option<Option<Bytes>> {
    match varint(left)? {
        -1 => Some(None),
        length => take(left, usize::try_from(length).ok()?).map(Some),
    }
}

fn take(left: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= left.len()).then(|| left.split_to(length))
}

fn varint(left: &mut Bytes) -> Option<i32> {
    i32::try_from(varlong(left)?).ok()
}

/// A variable-length integer, seven bits a byte, least first, the sign in the lowest bit.
fn varlong(left: &mut Bytes) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = left.try_get_u8().ok()?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}
