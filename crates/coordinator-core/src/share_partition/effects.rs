//! What a call results in: writes to the persister, answers to acknowledgements, records for another topic, and whether a fetch that waits may
//! go on.

use super::record::DeliveryState;
use crate::effects::Ticket;
use base::{Offset, OffsetRange};

/// Collects the results of one call, in order.
#[derive(Debug, Default)]
pub struct ShareEffects {
    /// To be sent to the persister. A share-partition has at most one under way; what becomes of it goes to
    /// [`crate::SharePartition::wrote`].
    pub writes: Vec<ShareWrite>,
    /// To be let out at once. Each ticket is answered once.
    pub answers: Vec<(Ticket, Result<(), ShareError>)>,
    /// To be copied to the group's other topic; when that is done, or has failed for good, [`crate::SharePartition::dead_lettered`].
    pub dead_letters: Vec<DeadLetter>,
    /// There may be something to acquire that was not before.
    pub frees: bool,
}

/// A write of state, for WriteShareGroupState.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareWrite {
    pub id: u64,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    /// Below it all is done with.
    pub start: Offset,
    /// Records from the start on that are done with (KIP-1226).
    pub delivery_complete_count: i32,
    /// Later ones hold where several speak of the same records.
    pub batches: Vec<ShareStateBatch>,
}

/// The state of some records, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareStateBatch {
    /// Not empty. The stored form has the last offset, which is one below `next`.
    pub range: OffsetRange,
    pub state: DeliveryState,
    pub delivery_count: i16,
}

/// Records that nobody could consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    pub range: OffsetRange,
    pub delivery_count: i16,
    pub cause: DeadLetterCause,
}

/// Why they go to another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterCause {
    Rejected,
    DeliveredTooOften,
}

impl DeadLetterCause {
    /// Kafka's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            DeadLetterCause::Rejected => "Offset rejected by client.",
            DeadLetterCause::DeliveredTooOften => "Offset delivery count exceeded the threshold.",
        }
    }
}

/// Why an acknowledgement, or a write, came to nothing. Kafka's words, which clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// `INVALID_REQUEST`.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// `INVALID_RECORD_STATE`.
    #[error("{0}")]
    InvalidRecordState(&'static str),
    /// `COORDINATOR_NOT_AVAILABLE`: the persister is not there, or does not say what became of the write.
    #[error("the share coordinator is not available")]
    CoordinatorNotAvailable,
    /// `GROUP_ID_NOT_FOUND`.
    #[error("there is no such group")]
    GroupIdNotFound,
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("there is no such partition")]
    UnknownPartition,
    /// `NOT_LEADER_OR_FOLLOWER`: the leader epoch or the state epoch has passed.
    #[error("the partition has another leader, or the group another state")]
    NotLeader,
    /// `UNKNOWN_SERVER_ERROR`.
    #[error("the share coordinator has failed")]
    Failed,
}

impl ShareError {
    /// Nothing is known of the records that are acknowledged.
    pub const NOT_FOUND: ShareError =
        ShareError::InvalidRecordState("Batch record not found. The request batch offsets are not found in the cache.");

    /// Whether the share-partition is to be dropped, and loaded anew by whoever asks next.
    #[must_use]
    pub fn fences(self) -> bool {
        match self {
            ShareError::GroupIdNotFound | ShareError::UnknownPartition | ShareError::NotLeader => true,
            ShareError::InvalidRequest(_)
            | ShareError::InvalidRecordState(_)
            | ShareError::CoordinatorNotAvailable
            | ShareError::Failed => false,
        }
    }
}
