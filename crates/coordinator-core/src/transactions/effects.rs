//! What a decision about transactions results in: records to append, markers to send, and why a request is refused.

use crate::record::CoordinatorRecord;
use crate::transactions::state::{ClientVersion, NamedTopicPartitions, Producer};

/// Collects the results of one call, in order.
#[derive(Debug, Default)]
pub struct TransactionEffects {
    /// To be appended, in this order. Answers and markers rest on them, and on those of earlier calls.
    pub records: Vec<CoordinatorRecord>,
    /// To be sent when the records are confirmed, and not before (F-1). What becomes of each goes to
    /// [`crate::Transactions::marked`], a request that failed as [`MarkerOutcome::Retry`].
    pub markers: Vec<Marker>,
}

/// The end of a transaction, for its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub transactional_id: String,
    /// Under version 2 the epoch is higher than that of all data of the transaction, and a partition takes only such (F-2).
    pub producer: Producer,
    pub commit: bool,
    /// What WriteTxnMarkers tells of it from version 2 on (KIP-1228).
    pub version: ClientVersion,
    pub partitions: NamedTopicPartitions,
}

/// What became of a marker in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerOutcome {
    /// It is confirmed, now or earlier.
    Written,
    /// There is no such partition any more.
    Gone,
    /// It is not known to be written; it is to be sent again.
    Retry,
}

/// Why a request is refused. One for each of Kafka's codes that tell clients apart what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// `INVALID_REQUEST`.
    #[error("the transactional id is empty or too long")]
    InvalidRequest,
    /// `INVALID_TRANSACTION_TIMEOUT`.
    #[error("the transaction timeout is not positive, or above transaction.max.timeout.ms")]
    InvalidTimeout,
    /// `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`: Kafka's answer where `transaction.two.phase.commit.enable` is off (KIP-939).
    #[error("two-phase commit is not enabled")]
    TwoPhaseCommitDisabled,
    /// `UNSUPPORTED_VERSION`: Kafka's answer to keepPreparedTxn (KIP-939).
    #[error("prepared transactions can't be kept")]
    KeepsNoPrepared,
    /// `INVALID_PRODUCER_ID_MAPPING`.
    #[error("the transactional id has another producer id, or none")]
    UnknownProducer,
    /// `PRODUCER_FENCED`.
    #[error("there is a newer producer with this transactional id")]
    Fenced,
    /// `INVALID_PRODUCER_EPOCH`, for clients that do not know the former.
    #[error("the producer's epoch is not that of its transactional id")]
    InvalidEpoch,
    /// `CONCURRENT_TRANSACTIONS`.
    #[error("the transaction before is not complete; come again")]
    Concurrent,
    /// `INVALID_TXN_STATE`.
    #[error("the transaction is not in a state that allows this")]
    InvalidState,
    /// `TRANSACTION_ABORTABLE` (KIP-890, KIP-1050).
    #[error("the partition is not in the transaction, which can only be aborted now")]
    NotInTransaction,
    /// `TRANSACTIONAL_ID_NOT_FOUND`.
    #[error("there is no such transactional id")]
    NotFound,
    #[error(
        "this coordinator holds as much of transactions as it may: give it more --memory, or transactions fewer partitions"
    )]
    NoRoom,
    #[error("the transaction has too many partitions to be stored in one record")]
    RecordTooLarge,
    /// For the caller, not for the client: [`crate::Transactions::supply`] an id and ask again. Nothing has changed.
    #[error("a new producer id is needed")]
    NeedsProducerId,
}

impl TransactionError {
    /// The error as a client knows it: `PRODUCER_FENCED` came with InitProducerId version 4, and with version 2 of AddPartitionsToTxn,
    /// AddOffsetsToTxn and EndTxn (KIP-588).
    #[must_use]
    pub fn told(self, knows_fenced: bool) -> TransactionError {
        match self {
            TransactionError::Fenced if !knows_fenced => TransactionError::InvalidEpoch,
            other => other,
        }
    }
}
