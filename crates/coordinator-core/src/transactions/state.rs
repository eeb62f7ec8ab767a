//! One transactional id as a value: its producer, its transaction, and where that stands. What happens to it when is decided by the verbs:
//! `init`, `adding`, `ending`, `markers`.

use base::{Micros, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// The highest epoch that a producer is told: one more is kept back, so that it can always be fenced.
pub(crate) const EPOCH_TOLD_MAX: i16 = i16::MAX - 1;

/// No producer id.
pub(crate) const NO_ID: i64 = -1;
/// No epoch.
pub(crate) const NO_EPOCH: i16 = -1;

/// What an entry of a map takes beyond its texts, about.
const ENTRY_BYTES: usize = 128;

/// What a partition takes.
const PARTITION_BYTES: usize = 16;

/// NamedTopicPartitions by topic.
pub type NamedTopicPartitions = BTreeMap<String, BTreeSet<i32>>;

/// Who produces: an id, and which of its successive producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

impl Producer {
    pub(crate) fn is_exhausted(self) -> bool {
        self.epoch >= EPOCH_TOLD_MAX
    }
}

/// Kafka's `transaction.version` as a client's requests speak it (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientVersion {
    /// EndTxn to version 4, AddPartitionsToTxn and AddOffsetsToTxn to version 3.
    #[default]
    V0,
    /// Only in records: flexible ones, without anything else that is new.
    V1,
    /// Later requests: each transaction ends with a higher epoch.
    V2,
}

impl ClientVersion {
    pub(crate) fn bumps(self) -> bool {
        self == ClientVersion::V2
    }

    /// Kafka's level of the feature.
    #[must_use]
    pub fn level(self) -> i16 {
        match self {
            ClientVersion::V0 => 0,
            ClientVersion::V1 => 1,
            ClientVersion::V2 => 2,
        }
    }

    pub(crate) fn of_level(level: i16) -> Option<ClientVersion> {
        [ClientVersion::V0, ClientVersion::V1, ClientVersion::V2].into_iter().find(|version| version.level() == level)
    }
}

/// Kafka's states of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TransactionState {
    /// There is a producer, and no transaction since it began.
    #[default]
    Empty,
    /// There are partitions, and no decision.
    Ongoing,
    /// It commits; partitions are told.
    PrepareCommit,
    /// It aborts; partitions are told.
    PrepareAbort,
    /// All partitions have their marker.
    CompleteCommit,
    CompleteAbort,
    /// Expires. Kafka enters it for the time of an append and never stores it; here an id that expires is gone at once.
    Dead,
    /// Its producer is being fenced. As with [`TransactionState::Dead`] Kafka never stores it; here fencing and the decision to
    /// abort are one step.
    PrepareEpochFence,
}

impl TransactionState {
    /// In the order of Kafka's numbers.
    pub const ALL: [TransactionState; 8] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
        TransactionState::Dead,
        TransactionState::PrepareEpochFence,
    ];

    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
            TransactionState::Dead => "Dead",
            TransactionState::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<TransactionState> {
        TransactionState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it is decided and not complete.
    pub(crate) fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Whether there is no transaction now.
    pub(crate) fn is_idle(self) -> bool {
        matches!(self, TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort)
    }
}

/// A transactional id. The first fields are those of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) producer: Producer,
    /// Its producer id before the last change of any kind, as Kafka has it; [`NO_ID`] where none is known.
    pub(crate) id_before: i64,
    /// While a transaction ends whose epoch was the last one: the producer id that follows. Else [`NO_ID`].
    pub(crate) id_next: i64,
    pub(crate) timeout_ms: i32,
    pub(crate) state: TransactionState,
    pub(crate) partitions: NamedTopicPartitions,
    /// When the transaction began; none where there was none since its producer began.
    pub(crate) started_at: Option<UnixMillis>,
    pub(crate) updated_at: UnixMillis,
    pub(crate) version: ClientVersion,

    /// The epoch of which a repeat is told the present one (KIP-360), or [`NO_EPOCH`]. In memory only, as with Kafka.
    pub(crate) last_epoch: i16,
    /// NamedTopicPartitions that have not confirmed their marker.
    pub(crate) unmarked: NamedTopicPartitions,
    /// When its transaction is too old, or its markers are to be sent again.
    pub(crate) deadline: Option<Micros>,
    /// What [`crate::Transactions`] counts of it.
    pub(crate) counted: usize,
}

impl Transaction {
    /// A transactional id with its first producer.
    pub(crate) fn new(producer: Producer, timeout_ms: i32, now: UnixMillis) -> Transaction {
        Transaction {
            producer,
            id_before: producer.id,
            id_next: NO_ID,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: NamedTopicPartitions::new(),
            started_at: None,
            updated_at: now,
            version: ClientVersion::V0,
            last_epoch: NO_EPOCH,
            unmarked: NamedTopicPartitions::new(),
            deadline: None,
            counted: 0,
        }
    }

    /// The producer as it is told to its client: while the end of the last epoch is under way, the one that follows.
    pub(crate) fn told(&self) -> Producer {
        if self.id_next == NO_ID { self.producer } else { Producer { id: self.id_next, epoch: 0 } }
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self, id: &str) -> usize {
        ENTRY_BYTES + id.len() + partitions_bytes(&self.partitions) + partitions_bytes(&self.unmarked)
    }
}

/// Bytes that partitions take, about.
pub(crate) fn partitions_bytes(partitions: &NamedTopicPartitions) -> usize {
    partitions.iter().map(|(topic, ids)| ENTRY_BYTES + topic.len() + PARTITION_BYTES * ids.len()).sum()
}
