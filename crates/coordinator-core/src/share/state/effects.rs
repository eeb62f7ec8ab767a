//! What a decision about share-partitions results in, and why a request is refused.

use crate::record::CoordinatorRecord;

/// Collects the results of one call, in order.
#[derive(Debug, Default)]
pub struct ShareStateEffects {
    /// To be appended, in this order. What is answered rests on them, and on those of earlier calls.
    pub records: Vec<CoordinatorRecord>,
}

/// Why a request is refused. One for each of Kafka's codes that tell clients apart what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareStateError {
    /// `INVALID_REQUEST`, in Kafka's words where it has some.
    #[error("{0}")]
    Invalid(&'static str),
    /// `FENCED_LEADER_EPOCH`.
    #[error("the partition has a newer leader")]
    FencedLeaderEpoch,
    /// `FENCED_STATE_EPOCH`.
    #[error("the share-partition was initialised anew since")]
    FencedStateEpoch,
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    #[error("there is no such partition")]
    UnknownPartition,
    /// `COORDINATOR_NOT_AVAILABLE`.
    #[error(
        "this coordinator holds as much of share-partitions as it may: delete share groups that nobody uses, or give it more --memory"
    )]
    NoRoom,
    /// `UNKNOWN_SERVER_ERROR`.
    #[error("the share-partition has too many batches to be stored in one record")]
    RecordTooLarge,
}
