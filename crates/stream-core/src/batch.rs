//! A numbered record batch on its way from the partition to the WAL, the log cache and readers.

use crate::frame_use::FrameUse;
use base::{OffsetRange, UnixMillis};
use bytes::Bytes;
use std::sync::Arc;

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
    /// The request's frame that the bytes are a part of; `None` where they have memory of their own.
    pub frame: Option<Arc<FrameUse>>,
}

/// What a batch changes in a stream's producer state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerDelta {
    /// Kafka's producer id.
    pub producer_id: i64,
    /// Its epoch; of a marker the one that the marker raises the producer to.
    pub producer_epoch: i16,
    /// Sequence of the first record; [`NO_SEQUENCE`] for a marker, and for what a coordinator writes in its client's transaction.
    pub first_sequence: i32,
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// What it is to its producer's transactions.
    pub kind: BatchKind,
}

/// The sequence of what has none.
pub const NO_SEQUENCE: i32 = -1;

/// What a batch is to its producer's transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// Nothing: an idempotent producer's.
    Plain,
    /// A part of one; the first part begins it here.
    Transactional,
    /// The control batch that ends one.
    Marker(Marker),
}

/// What the control batch says that ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// How it ends.
    pub ending: Ending,
    /// Epoch of the coordinator that decided it: one that was deposed has a lower one.
    pub coordinator_epoch: i32,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What it wrote counts for nothing.
    Abort,
    /// What it wrote counts.
    Commit,
}

/// How a transaction ends, as Kafka's markers and the formats say it.
pub(crate) fn ending_number(ending: Ending) -> u16 {
    match ending {
        Ending::Abort => 0,
        Ending::Commit => 1,
    }
}

/// The ending of that number; `None`: there is none.
pub(crate) fn ending_of(number: u16) -> Option<Ending> {
    match number {
        0 => Some(Ending::Abort),
        1 => Some(Ending::Commit),
        _ => None,
    }
}

impl ProducerDelta {
    /// A marker's.
    #[must_use]
    pub fn marker(producer_id: i64, producer_epoch: i16, marker: Marker) -> ProducerDelta {
        ProducerDelta {
            producer_id,
            producer_epoch,
            first_sequence: NO_SEQUENCE,
            last_sequence: NO_SEQUENCE,
            kind: BatchKind::Marker(marker),
        }
    }
}
