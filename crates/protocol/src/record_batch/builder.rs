//! Makes batches: for clients, for the broker's own records, for tests and the simulator.

use super::{BatchError, Compression, NO_PRODUCER_ID, NO_TIMESTAMP, RecordBatch};
use base::crc32c;
use bytes::{BufMut, Bytes, BytesMut};

/// A record that is to be put into a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// Its time in milliseconds.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Collects records and makes a batch of them.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    compression: Compression,
    /// Attributes besides the compression.
    flags: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
    records: BytesMut,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder {
            compression: Compression::None,
            flags: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            records: BytesMut::new(),
        }
    }
}

impl BatchBuilder {
    /// A batch with nothing in it, from no particular producer.
    #[must_use]
    pub fn new() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Compresses the records.
    #[must_use]
    pub fn compression(self, compression: Compression) -> BatchBuilder {
        BatchBuilder { compression, ..self }
    }

    /// Says which idempotent producer it comes from, and the sequence number of its first record.
    #[must_use]
    pub fn producer(self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> BatchBuilder {
        BatchBuilder { producer_id, producer_epoch, base_sequence, ..self }
    }

    /// Makes it part of a transaction.
    #[must_use]
    pub fn transactional(self) -> BatchBuilder {
        BatchBuilder { flags: self.flags | 0x10, ..self }
    }

    /// Makes it a batch of control records.
    #[must_use]
    pub fn control(self) -> BatchBuilder {
        BatchBuilder { flags: self.flags | 0x20, ..self }
    }

    /// Adds a record.
    #[must_use]
    pub fn record(mut self, record: &NewRecord<'_>) -> BatchBuilder {
        let base_timestamp = *self.base_timestamp.get_or_insert(record.timestamp);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let mut body = BytesMut::new();
        body.put_u8(0);
        put_varlong(&mut body, record.timestamp.wrapping_sub(base_timestamp));
        put_varlong(&mut body, i64::from(self.count));
        put_nullable(&mut body, record.key);
        put_nullable(&mut body, record.value);
        put_length(&mut body, record.headers.len());
        for (key, value) in record.headers {
            put_nullable(&mut body, Some(key.as_bytes()));
            put_nullable(&mut body, *value);
        }
        put_length(&mut self.records, body.len());
        self.records.extend_from_slice(&body);
        self.count += 1;
        self
    }

    /// The batch, at this offset.
    ///
    /// # Errors
    /// Where the codec fails, or the batch is larger than its length field can say.
    pub fn build(&self, base_offset: i64) -> Result<RecordBatch, BatchError> {
        let records = self.compression.compress(&self.records).map_err(|_| BatchError::Decompress)?;
        let mut counted = BytesMut::with_capacity(records.len() + super::HEADER_BYTES);
        counted.put_i16(self.flags | i16::from(self.compression.number()));
        counted.put_i32(self.count - 1);
        counted.put_i64(self.base_timestamp.unwrap_or(NO_TIMESTAMP));
        counted.put_i64(self.max_timestamp);
        counted.put_i64(self.producer_id);
        counted.put_i16(self.producer_epoch);
        counted.put_i32(self.base_sequence);
        counted.put_i32(self.count);
        counted.extend_from_slice(&records);
        let bytes = counted.len() + super::CRC_FROM;
        let too_large = |_| BatchError::TooLarge { bytes, max: super::LENGTH_FROM + 0x7fff_ffff };
        let mut batch = BytesMut::with_capacity(bytes);
        batch.put_i64(base_offset);
        batch.put_i32(i32::try_from(bytes - super::LENGTH_FROM).map_err(too_large)?);
        batch.put_i32(-1);
        batch.put_u8(2);
        batch.put_u32(crc32c(&counted));
        batch.unsplit(counted);
        RecordBatch::split_first(&mut Bytes::from(batch))
    }
}

fn put_nullable(bytes: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => put_varlong(bytes, -1),
        Some(value) => {
            put_length(bytes, value.len());
            bytes.extend_from_slice(value);
        }
    }
}

pub(super) fn put_length(bytes: &mut impl BufMut, length: usize) {
    put_varlong(bytes, i64::try_from(length).unwrap_or(i64::MAX));
}

pub(super) fn put_varlong(bytes: &mut impl BufMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.put_u8(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.put_u8(left.to_le_bytes()[0]);
}
