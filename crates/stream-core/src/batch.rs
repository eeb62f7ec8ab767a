//! A numbered record batch on its way from the partition to the WAL, the log cache and readers.

use base::{OffsetRange, UnixMillis};
use bytes::Bytes;

/// A batch's bytes in two pieces, so that numbering it (base offset, leader epoch: the first 16 bytes, which Kafka's CRC leaves
/// out) copies 16 bytes and shares the rest with the request's frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchBytes {
    /// Base offset, batch length, partition leader epoch: rewritten when numbered. Empty where the bytes are in one piece.
    pub head: Bytes,
    /// The rest, from the magic byte on; or all of it.
    pub body: Bytes,
}

impl BatchBytes {
    /// All bytes in one piece.
    #[must_use]
    pub fn whole(bytes: Bytes) -> BatchBytes {
        BatchBytes { head: Bytes::new(), body: bytes }
    }

    /// Total bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A batch that has its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedBatch {
    /// What it covers.
    pub range: OffsetRange,
    /// From here on these bytes are fixed.
    pub bytes: BatchBytes,
    /// Records (not offsets).
    pub records: u32,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// An idempotent producer's sequence, for the WAL's directory.
    pub producer: Option<ProducerDelta>,
    /// Kafka's control batch.
    pub control: bool,
}

/// What a batch changes in a stream's producer state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerDelta {
    /// Kafka's producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub first_sequence: i32,
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Part of a transaction.
    pub transactional: bool,
}
