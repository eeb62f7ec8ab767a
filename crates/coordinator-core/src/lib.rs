//! The coordinators' decisions: who is in a group, who leads it, which generation it is in, what it has committed; for consumer groups of
//! the newer protocol, in `consumer`, who is to have which partitions, and when; in `streams`, who runs which tasks of an application; in `transactions`, who produces under a
//! transactional id, what its transaction has written to, how it ends; and, in `share`, who shares which partitions, and how far each group
//! has come with each. In `share_partition`, not a coordinator's but of the same make: who has which record of a partition that a share
//! group consumes.
//!
//! The walk of groups (that of transactions stands in `transactions`): a request goes to [`Groups`], the groups of one partition of `__consumer_offsets` → `joining`, `syncing` or `offsets` →
//! [`Effects`]: records that make the change last, and answers to those who waited. The broker's `coordinator` appends the
//! records and lets answers out when they are confirmed (*apply on enqueue, expose on confirm*); after a takeover it hands
//! the same records to [`Groups::replay`].
//!
//! Guarantees: what a member was told is in the records; the same calls give the same results, as time ([`Now`]), fresh member ids
//! and tickets come in as arguments; nothing panics on what is in a record or a request. Leaves to others: the log, the wire, which
//! topics exist, what error codes failures have.

mod consumer;
mod copy;
mod describe;
mod effects;
mod expiry;
mod group;
mod groups;
mod joining;
mod leaving;
mod offsets;
mod partition;
mod pending;
mod record;
mod share;
mod share_partition;
mod streams;
mod syncing;
mod timers;
mod transactions;

#[cfg(test)]
mod tests;

pub use consumer::{
    Assignor, ConsumerDescription, ConsumerMemberDescription, ConsumerOptions, ConsumerState, ConsumerSummary,
    ConsumerTimes, HeartbeatAnswer, HeartbeatRequest, LEAVES, LEAVES_FOR_NOW, MemberState, Migration, NamedPartitions,
    Names, Partitions, TopicInfo, Topics,
};
pub use copy::CopyCursor;
pub use describe::{Description, GroupSummary, MemberDescription};
pub use effects::{Answer, Effects, GroupError, JoinAnswer, JoinedMember, SyncAnswer, Ticket};
pub use group::{Protocol, State};
pub use groups::{GroupOptions, Groups, Now};
pub use joining::JoinRequest;
pub use leaving::{LeavingMember, Membership};
pub use offsets::{CommitRequest, Committed, NewOffset, Offsets, offsets_together};
pub use partition::partition_of;
pub use pending::TransactionalCommit;
pub use record::{CoordinatorRecord, RecordError};
pub use share::{
    AlterOutcome, DeletionRefused, NewStartOffset, OffsetsDeletion, OffsetsQuestion, ShareConfigError, ShareConfigs,
    ShareDescription, ShareGroupOptions, ShareHeartbeatAnswer, ShareHeartbeatRequest, ShareMemberDescription,
    ShareOffset, ShareState, ShareStateCursor, ShareStateEffects, ShareStateError, ShareStateKey, ShareStateOptions,
    ShareStates, ShareSummary, StartOffsets, StateBatch, StateDeletion, StateInitialization, StateRead, StateSummary,
    StateWrite, UNINITIALIZED_OFFSET, share_state_record_of_nothing, told_offset,
};
pub use share_partition::{
    AcknowledgeBatch, AcquireMode, AcquireRequest, Acquired, AcquiredRange, DeadLetter, DeadLetterCause, DeliveryState,
    EndedSession, Fetched, FetchedAbort, FetchedBatch, PersistedShare, SHARE_SESSION_BEGINS, SHARE_SESSION_ENDS,
    ShareEffects, ShareError, ShareLoadError, ShareOffsetReset, ShareOptions, SharePartition, ShareSessionAnswer,
    ShareSessionError, ShareSessionKey, ShareSessionRequest, ShareSessions, ShareStateBatch, ShareWrite,
    SharedPartition, StartLookup, acknowledgements_are_valid,
};
pub use streams::{
    EndpointPartitions, EndpointsSize, NewInternalTopic, ReportedOffsets, StreamsDescription, StreamsHeartbeatAnswer,
    StreamsHeartbeatRequest, StreamsMemberDescription, StreamsOptions, StreamsState, StreamsStatus, StreamsStatusCode,
    StreamsSummary, StreamsTimes, TaskOffset, TaskSets, Tasks,
};
pub use syncing::SyncRequest;
pub use transactions::{
    AddRequest, ClientVersion, EndRequest, IdMatching, IdPattern, InitRequest, ListFilter, Marker, MarkerOutcome,
    NamedTopicPartitions, OFFSETS_TOPIC, Producer, TransactionCursor, TransactionDescription, TransactionEffects,
    TransactionError, TransactionList, TransactionOptions, TransactionRecordError, TransactionState,
    TransactionSummary, Transactions, transaction_record_of_nothing,
};
