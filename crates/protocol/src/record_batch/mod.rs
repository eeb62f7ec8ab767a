//! Kafka's record batch (magic 2), viewed in place over shared bytes.
//!
//! A batch travels from a producer to consumers as the bytes that came. What the broker does to it is here: cut batches apart,
//! read the header's fields, check what a producer sent, and give it its offset, for which only the first 16 bytes change (the
//! CRC leaves them out). Records are looked at only where Kafka's semantics need it, or by tests and clients.
//!
//! Guarantees: nothing is copied but what is decompressed, decompressing stops at a bound, and no length inside is believed
//! before it is compared with the bytes there are. The formats before it (magic 0 and 1) are in `legacy`.

mod builder;
mod compression;
mod encoder;
mod input;
mod legacy;
mod lz4_frame;
mod outline;
mod recompress;
mod record;
mod rewrite;
mod walk;

pub use builder::{BatchBuilder, NewRecord};
pub use compression::Compression;
pub use encoder::Level;
pub use legacy::{Downconvert, Downconverted, OldFormat, Upconvert, downconverted, upconverted};
pub use outline::{Outline, cut, outlines};
pub use recompress::{RecompressBounds, recompressed};
pub use record::{Header, Headers, Record, RecordIter};
pub use rewrite::{Keep, Rewrite, emptied, rewrite};
pub use walk::{KEY_DIGEST_BYTES, KeyDigest, KeyHasher, Pace, RecordHead, RecordWalk};

use crate::error_code::ErrorCode;
use crate::wire::Records;
use base::crc32c;
use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// Bytes of a batch's header: everything before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes at the front that the CRC leaves out and that numbering rewrites: base offset, length, leader epoch.
pub const HEAD_BYTES: usize = 16;
/// Bytes at the front that the length field doesn't count: base offset and the length itself.
const LENGTH_FROM: usize = 12;
/// Where the length itself stands.
const LENGTH_AT: usize = 8;
/// The attribute that says that the base timestamp is a delete horizon.
const DELETE_HORIZON: i16 = 0x40;
/// From here on the CRC counts; it stands right before.
const CRC_FROM: usize = 21;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = CRC_FROM;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const COUNT_AT: usize = 57;
/// The attribute that says that the broker set the times.
const LOG_APPEND_TIME: u8 = 0x08;
/// The attribute of batches in transactions.
const TRANSACTIONAL: u8 = 0x10;
/// The attribute of the broker's own batches.
const CONTROL: u8 = 0x20;
/// A timestamp that means none.
pub const NO_TIMESTAMP: i64 = -1;
/// A producer id that means none.
pub const NO_PRODUCER_ID: i64 = -1;

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("{needed} bytes needed where {left} are left")]
    Truncated {
        /// Bytes that the batch takes at least.
        needed: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// The length field is too small for a batch.
    #[error("a batch length of {0}")]
    Length(i32),
    /// A message set of the formats before Kafka 0.11.
    #[error("records of the old format, magic {0}")]
    OldMagic(i8),
    /// A message of such a set that is too short to be one.
    #[error("a message size of {0}")]
    MessageSize(i32),
    /// A format that doesn't exist yet.
    #[error("records of an unknown format, magic {0}")]
    UnknownMagic(i8),
    /// A produce request has exactly one batch for each partition.
    #[error("a produce request must have exactly one batch for each partition")]
    NotOne,
    /// A producer's batch begins at 0; where it goes is the broker's to say.
    #[error("a produced batch's base offset is 0, not {0}")]
    BaseOffset(i64),
    /// The batch is larger than the topic allows.
    #[error("a batch of {bytes} bytes, where at most {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The checksum doesn't match.
    #[error("the batch's checksum doesn't match its bytes")]
    Crc,
    /// The number of records doesn't match the last offset, or there are none.
    #[error("{records} records, but the last one's offset is {last_offset_delta} after the first one's")]
    Count {
        /// The header's count.
        records: i32,
        /// The header's last offset.
        last_offset_delta: i32,
    },
    /// Control records come from the broker alone.
    #[error("clients may not write control records")]
    Control,
    /// A delete horizon is the broker's to set.
    #[error("clients may not set a delete horizon")]
    DeleteHorizon,
    /// A producer id without a sequence, or a transaction without a producer id.
    #[error("a producer id, epoch and sequence that don't go together")]
    Producer,
    /// A record's time lies outside of what the topic allows.
    #[error("a timestamp of {0}, which the topic doesn't allow")]
    Timestamp(i64),
    /// A codec that doesn't exist, or that this version of the request doesn't allow.
    #[error("compression type {0} is not supported here")]
    Compression(u8),
    /// The compressed bytes can't be decompressed.
    #[error("the records can't be decompressed")]
    Decompress,
    /// Decompressed, the records are larger than the bound.
    #[error("the records take more than {0} bytes when decompressed")]
    DecompressedSize(usize),
    /// What decompresses them would have to keep more than the bound at once.
    #[error("a block or a window of more than {0} bytes to decompress the records")]
    Held(usize),
    /// The records inside don't have the form of records.
    #[error("record {0} of the batch is malformed")]
    Record(i32),
}

impl BatchError {
    /// What a produce request that brought such a batch is answered.
    #[must_use]
    pub fn error_code(self) -> ErrorCode {
        match self {
            BatchError::Crc
            | BatchError::Decompress
            | BatchError::MessageSize(_)
            | BatchError::Length(_)
            | BatchError::UnknownMagic(_) => ErrorCode::CorruptMessage,
            BatchError::TooLarge { .. } | BatchError::DecompressedSize(_) | BatchError::Held(_) => {
                ErrorCode::MessageTooLarge
            }
            BatchError::Timestamp(_) => ErrorCode::InvalidTimestamp,
            BatchError::Compression(_) => ErrorCode::UnsupportedCompressionType,
            BatchError::Truncated { .. }
            | BatchError::OldMagic(_)
            | BatchError::NotOne
            | BatchError::BaseOffset(_)
            | BatchError::Count { .. }
            | BatchError::Control
            | BatchError::DeleteHorizon
            | BatchError::Producer
            | BatchError::Record(_) => ErrorCode::InvalidRecord,
        }
    }
}

/// One whole batch of magic 2. That it has all its bytes is certain; what they say is not, before [`RecordBatch::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
}

/// Walks over the batches that lie one behind another in `records`. Ends after the first error.
pub fn batches(records: Bytes) -> impl Iterator<Item = Result<RecordBatch, BatchError>> {
    let mut left = records;
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let batch = RecordBatch::split_first(&mut left);
        if batch.is_err() {
            left = Bytes::new();
        }
        Some(batch)
    })
}

/// The one batch that a produce request has for a partition.
///
/// # Errors
/// Where there is none, more than one, or what there is isn't a batch.
pub fn only_batch(records: &Records) -> Result<RecordBatch, BatchError> {
    let mut left = records.to_bytes();
    if left.is_empty() {
        return Err(BatchError::NotOne);
    }
    let batch = RecordBatch::split_first(&mut left)?;
    if left.is_empty() { Ok(batch) } else { Err(BatchError::NotOne) }
}

/// What a producer's batch must be like.
#[derive(Debug, Clone)]
pub struct ProduceRules {
    /// Greatest batch (`max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Whether zstd is allowed: from version 7 of Produce on.
    pub zstd: bool,
}

impl RecordBatch {
    /// Takes one batch off the front of `left`.
    ///
    /// # Errors
    /// Where there isn't a whole one of magic 2; `left` is then as it was.
    pub fn split_first(left: &mut Bytes) -> Result<RecordBatch, BatchError> {
        let truncated = |needed: usize| BatchError::Truncated { needed, left: left.len() };
        if left.len() <= HEAD_BYTES {
            return Err(truncated(HEAD_BYTES + 1));
        }
        let length = i32::from_be_bytes(array(left, 8));
        match i8::from_be_bytes(array(left, 16)) {
            2 => {}
            old @ 0..2 => return Err(BatchError::OldMagic(old)),
            unknown => return Err(BatchError::UnknownMagic(unknown)),
        }
        let bytes = usize::try_from(length).map_err(|_| BatchError::Length(length))?.saturating_add(LENGTH_FROM);
        if bytes < HEADER_BYTES {
            return Err(BatchError::Length(length));
        }
        if bytes > left.len() {
            return Err(truncated(bytes));
        }
        Ok(RecordBatch { bytes: left.split_to(bytes) })
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its offset in the log; what a producer sends here means nothing.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(self.field(0))
    }

    /// The offset of its last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The epoch of the leader that numbered it.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.field(12))
    }

    /// The last record's offset less the first one's. A compacted batch may have fewer records than that.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field(23))
    }

    /// From which the records' times are counted.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(BASE_TIMESTAMP_AT))
    }

    /// The greatest time of a record, as its writer says.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.field(MAX_TIMESTAMP_AT))
    }

    /// Whether an idempotent producer sent it: like Kafka, every negative id means none.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id() > NO_PRODUCER_ID
    }

    /// [`NO_PRODUCER_ID`] where the producer isn't idempotent.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.field(PRODUCER_ID_AT))
    }

    /// The producer's epoch.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.field(51))
    }

    /// The sequence number of its first record.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.field(53))
    }

    /// The sequence number of its last record; -1 where it has none. Sequences wrap round to 0 behind `i32::MAX`.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence() {
            none @ ..0 => none,
            first => first.wrapping_add(self.last_offset_delta()) & i32::MAX,
        }
    }

    /// How many records its header says there are.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field(COUNT_AT))
    }

    /// How its records are compressed.
    ///
    /// # Errors
    /// Where that codec doesn't exist.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_number(self.attributes().to_be_bytes()[1] & 7)
    }

    /// Whether the broker set the times.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & i16::from(LOG_APPEND_TIME) != 0
    }

    /// Whether it is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & i16::from(TRANSACTIONAL) != 0
    }

    /// Whether it holds a transaction's marker, or another of the broker's own records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & i16::from(CONTROL) != 0
    }

    /// From when on its deletion marks, or a transaction's marker that nothing is left of, may be removed: set by the cleaning that
    /// first met them (KIP-534). The records' times are counted from it then.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON != 0).then(|| self.base_timestamp())
    }

    /// Whether the checksum matches.
    #[must_use]
    pub fn crc_matches(&self) -> bool {
        u32::from_be_bytes(self.field(CRC_AT)) == crc32c(&self.bytes[CRC_FROM..])
    }

    /// Checks the header as a reader must, whoever wrote it: checksum and count.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(&self) -> Result<(), BatchError> {
        if !self.crc_matches() {
            return Err(BatchError::Crc);
        }
        let (records, last_offset_delta) = (self.record_count(), self.last_offset_delta());
        if records < 0 || last_offset_delta < 0 || i64::from(records) > i64::from(last_offset_delta) + 1 {
            return Err(BatchError::Count { records, last_offset_delta });
        }
        Ok(())
    }

    /// Checks the header of what a producer sent, but for its times, which are its records'. The records are checked by walking over
    /// them.
    ///
    /// # Errors
    /// The first thing found wrong, whose [`BatchError::error_code`] is the answer.
    pub fn check_produced(&self, rules: &ProduceRules) -> Result<(), BatchError> {
        if self.base_offset() != 0 {
            return Err(BatchError::BaseOffset(self.base_offset()));
        }
        if self.bytes.len() > rules.batch_bytes_max {
            return Err(BatchError::TooLarge { bytes: self.bytes.len(), max: rules.batch_bytes_max });
        }
        self.check()?;
        let (records, last_offset_delta) = (self.record_count(), self.last_offset_delta());
        if i64::from(records) != i64::from(last_offset_delta) + 1 {
            return Err(BatchError::Count { records, last_offset_delta });
        }
        if self.is_control() {
            return Err(BatchError::Control);
        }
        // Its base timestamp, mostly in the past, would be believed: the first cleaning would take its deletion marks away.
        if self.delete_horizon().is_some() {
            return Err(BatchError::DeleteHorizon);
        }
        let compression = self.compression()?;
        if compression == Compression::Zstd && !rules.zstd {
            return Err(BatchError::Compression(compression.number()));
        }
        if compression == Compression::Lz4 && !lz4_frame::is_whole(&self.bytes[HEADER_BYTES..]) {
            return Err(BatchError::Decompress);
        }
        let identified = self.has_producer_id();
        if identified && (self.base_sequence() < 0 || self.producer_epoch() < 0)
            || !identified && self.is_transactional()
        {
            return Err(BatchError::Producer);
        }
        Ok(())
    }

    /// The same batch with this as the greatest time of its records.
    #[must_use]
    pub fn with_max_timestamp(&self, timestamp: i64) -> RecordBatch {
        self.edited(|bytes| bytes[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&timestamp.to_be_bytes()))
    }

    /// The same batch with the place that [`RecordBatch::numbered_head`] gives it, and the broker's time for all its records.
    #[must_use]
    pub fn numbered_and_stamped(&self, base_offset: i64, leader_epoch: i32, timestamp: i64) -> RecordBatch {
        self.edited(|bytes| {
            bytes[..HEAD_BYTES].copy_from_slice(&self.numbered_head(base_offset, leader_epoch));
            bytes[ATTRIBUTES_AT + 1] |= LOG_APPEND_TIME;
            bytes[MAX_TIMESTAMP_AT..PRODUCER_ID_AT].copy_from_slice(&timestamp.to_be_bytes());
        })
    }

    /// A copy with a changed header, and its checksum right.
    fn edited(&self, edit: impl FnOnce(&mut [u8])) -> RecordBatch {
        self.joined(&self.bytes[HEADER_BYTES..], edit)
    }

    /// A copy with these records, as they are stored, and a changed header; its length and its checksum are right.
    fn with_records(&self, records: &[u8], edit: impl FnOnce(&mut [u8])) -> Result<RecordBatch, BatchError> {
        let bytes = HEADER_BYTES + records.len();
        let too_large = |_| BatchError::TooLarge { bytes, max: LENGTH_FROM + 0x7fff_ffff };
        let length = i32::try_from(bytes - LENGTH_FROM).map_err(too_large)?;
        Ok(self.joined(records, |header| {
            header[LENGTH_AT..LENGTH_FROM].copy_from_slice(&length.to_be_bytes());
            edit(header);
        }))
    }

    fn joined(&self, records: &[u8], edit: impl FnOnce(&mut [u8])) -> RecordBatch {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + records.len());
        bytes.extend_from_slice(&self.bytes[..HEADER_BYTES]);
        bytes.extend_from_slice(records);
        edit(&mut bytes[..HEADER_BYTES]);
        let crc = crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        RecordBatch { bytes: bytes.freeze() }
    }

    /// Its records, decompressed into at most `decompressed_max` bytes where they are compressed.
    ///
    /// # Errors
    /// Where they can't be decompressed within the bound. The iterator then tells what is wrong with the records themselves.
    pub fn records(&self, decompressed_max: usize) -> Result<RecordIter, BatchError> {
        let bytes = self.compression()?.decompress(self.bytes.slice(HEADER_BYTES..), decompressed_max)?;
        Ok(RecordIter::new(self, bytes))
    }

    /// Walks over all records and checks each one's form, their number, and that the header's times are theirs.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check_records(&self, decompressed_max: usize) -> Result<(), BatchError> {
        let mut greatest = NO_TIMESTAMP;
        for (expected, record) in (0..).zip(self.records(decompressed_max)?) {
            let record = record?;
            greatest = greatest.max(record.timestamp);
            if record.offset_delta != expected {
                return Err(BatchError::Record(expected));
            }
        }
        if greatest != self.max_timestamp() && !self.is_log_append_time() {
            return Err(BatchError::Timestamp(self.max_timestamp()));
        }
        Ok(())
    }

    /// Its first 16 bytes with the offset and leader epoch that the log gives it. The rest stays as it is: see [`HEAD_BYTES`].
    #[must_use]
    pub fn numbered_head(&self, base_offset: i64, leader_epoch: i32) -> [u8; HEAD_BYTES] {
        let mut head: [u8; HEAD_BYTES] = self.field(0);
        head[..8].copy_from_slice(&base_offset.to_be_bytes());
        head[12..].copy_from_slice(&leader_epoch.to_be_bytes());
        head
    }

    fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.field(ATTRIBUTES_AT))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        array(&self.bytes, at)
    }
}

/// The `N` bytes at `at`, which the caller has seen to be there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("a batch is viewed only after its length was checked")
}

#[cfg(test)]
mod tests;
