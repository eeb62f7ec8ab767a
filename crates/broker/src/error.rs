//! Everything that can go wrong in a handler, and Kafka's error code for each: the one place where codes are chosen.
//!
//! The match is exhaustive on purpose: which failure looks like what to a client is a contract. Retriable where asking again,
//! here or at another broker, can help; the code says which.

use crate::tokens::TokenError;
use crate::verification::Client;
use base::Offset;
use control::LedgerError;
use control_core::Refusal;
use coordinator_core::{GroupError, ShareError, ShareSessionError, ShareStateError, TransactionError};
use protocol::api::Resource;
use protocol::error_code::ErrorCode;
use protocol::record_batch::BatchError;
use stream::{AppendError, ReadError, SequenceError};

/// What went wrong, in words that reach people where the protocol has a field for them.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// In Kafka's words, as are its neighbours that clients show to people.
    #[error("This server does not host this topic-partition.")]
    UnknownPartition,
    /// In Kafka's words.
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    /// The same for topics and partitions that an administrator names.
    #[error("{0}")]
    NotThere(String),
    #[error("This server does not host this topic ID.")]
    UnknownTopicId,
    #[error("Leader election not needed for topic partition.")]
    ElectionNotNeeded,
    #[error("The preferred leader was not available.")]
    NoPreferredLeader,
    #[error("Eligible topic partition leaders are not available.")]
    NoEligibleLeader,
    #[error("No partition reassignment is in progress.")]
    NoReassignment,
    /// A client's metrics, before their time.
    #[error("the request came before the client's interval was over")]
    TooSoon,
    #[error("the client's subscription is another one by now")]
    UnknownSubscription,
    #[error("no codec has the number {0}")]
    UnsupportedCompression(i8),
    #[error("metrics of more than {most} bytes")]
    MetricsTooLarge { most: usize },
    #[error("metrics that can't be read: {0}")]
    UnreadableMetrics(String),
    /// A level that a feature can't get.
    #[error("{0}")]
    InvalidFeatureLevel(String),
    #[error("{0}")]
    InvalidTopic(String),
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    #[error("{0}")]
    InvalidPartitions(String),
    #[error("one request may create at most {most} partitions")]
    TooManyPartitions { most: i32 },
    #[error("one request may change at most {most} topics or resources: send several")]
    TooManyNames { most: usize },
    #[error(
        "the cluster has {present} partitions, and {asked} more would be above the {most} that this broker's memory allows: delete \
         topics, or give the brokers more --memory"
    )]
    ClusterFull { present: usize, asked: usize, most: usize },
    #[error("{0}")]
    InvalidReplicationFactor(String),
    #[error("{0}")]
    InvalidAssignment(String),
    #[error("{0}")]
    InvalidConfig(String),
    #[error("{0}")]
    InvalidRequest(String),
    #[error("Topic deletion is disabled.")]
    DeletionDisabled,
    #[error("Broker ID {0} is not currently registered")]
    BrokerNotRegistered(i32),
    /// There are no controllers beside brokers.
    #[error(
        "Controller ID {0} is not currently registered: each broker is its own controller, and UnregisterBroker forgets one"
    )]
    ControllerNotRegistered(i32),
    #[error("The given id \"{said}\" doesn't match the cluster id \"{own}\"")]
    InconsistentClusterId { said: String, own: String },
    #[error("The log dir is not found in the config.")]
    LogDirNotFound,
    /// Another broker may have it.
    #[error("The replica is not available for the requested topic-partition.")]
    NoReplica,
    /// A change of topics beyond a quota that is strict.
    #[error("The throttling quota has been exceeded.")]
    QuotaExceeded,
    #[error("acks must be 0, 1 or -1, not {0}")]
    InvalidAcks(i16),
    /// Nobody can serve the partition now; the text says why.
    #[error("{0}")]
    Offline(String),
    /// This broker does not own the partition.
    #[error("this broker does not lead the partition")]
    NotLeader,
    #[error("the client's leader epoch is behind")]
    FencedLeaderEpoch,
    #[error("the client's leader epoch is ahead")]
    UnknownLeaderEpoch,
    #[error("there is no such fetch session (any more)")]
    NoSession,
    #[error("the fetch session is at another epoch")]
    WrongSessionEpoch,
    #[error("the fetch session names topics another way, by id or by name")]
    SessionTopicIds,
    /// A topic that a session asks for by id was deleted, and another one has its name now.
    #[error("the topic id belongs to an earlier topic of the same name")]
    InconsistentTopicId,
    /// Enqueued, and its fate will never be known here.
    #[error("the broker stopped owning the partition before the records were durable; they may or may not be kept")]
    Unconfirmed,
    #[error("not done within the request's timeout; it may still be")]
    TimedOut,
    /// Nothing was enqueued, and there is time for it later.
    #[error("the broker has too many records to decompress; send fewer at a time, or send it again")]
    TooMuchToCheck,
    #[error("records of a topic that is compacted only can't be deleted: its cleanup.policy lacks `delete`")]
    DeletionByPolicy,
    #[error("the offset is outside of what the partition holds")]
    OffsetOutOfRange,
    /// Bytes that are no batch, or not one that producers may send.
    #[error("{0}")]
    Batch(#[from] BatchError),
    #[error("{0}")]
    InvalidTimestamp(String),
    /// Some records of a batch may not be there, so none of it is: the first of them, by their place in the batch.
    #[error("{message}")]
    Records { is_out_of_time: bool, message: String, records: Vec<(i32, String)> },
    #[error("{0}")]
    MismatchedEndpointType(String),
    #[error("{0}")]
    UnsupportedEndpointType(String),
    /// A meaning that this version of the request does not have.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// The caller may not do that with such a resource.
    #[error("{}", unauthorized(*.0))]
    NotAuthorized(Resource),
    /// What is asked for names topics that the caller may not know of; in Kafka's words.
    #[error("{0}")]
    HiddenTopics(&'static str),
    #[error("{0}")]
    SecurityDisabled(String),
    #[error("{0}")]
    UnacceptableCredential(String),
    #[error("{0}")]
    UnknownMechanism(String),
    #[error("{0}")]
    DuplicateResource(String),
    #[error("{0}")]
    ResourceNotFound(String),
    /// Why there is no delegation token for somebody.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// What a group refuses.
    #[error("{0}")]
    Group(#[from] GroupError),
    /// What a transaction's coordinator refuses.
    #[error("{0}")]
    Transaction(#[from] TransactionError),
    /// What a share coordinator refuses.
    #[error("{0}")]
    ShareState(#[from] ShareStateError),
    /// What another broker has refused.
    #[error("{words}")]
    Told { code: ErrorCode, words: String },
    /// What a share-partition refuses.
    #[error("{0}")]
    Share(#[from] ShareError),
    #[error("{0}")]
    ShareSession(#[from] ShareSessionError),
    /// There is no record yet to begin with.
    #[error("the offset to begin with is not known yet")]
    OffsetNotAvailable,
    #[error("this broker is not the coordinator")]
    NotCoordinator,
    #[error("the coordinator is being loaded")]
    CoordinatorLoading,
    /// The coordinator can't answer now; the text says why.
    #[error("{0}")]
    CoordinatorUnavailable(String),
    /// A transaction's coordinator does not say that the partition is part of it; this is what it says.
    #[error("{}", unverified(*told))]
    Unverified { told: ErrorCode, client: Client },
    /// A batch of a transaction whose id the request does not name.
    #[error("the request has a batch of a transaction and names no transactional id")]
    NoTransactionalId,
    #[error("Transactional records contained more than one producer ID")]
    SeveralProducers,
    #[error("{0}")]
    Append(#[from] AppendError),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// A programmer's error, told rather than hidden.
    #[error("{0}")]
    Unexpected(String),
}

impl Failure {
    /// What more is named than an answer may tell of.
    pub(crate) fn too_much_for_one_answer() -> Failure {
        Failure::InvalidRequest("the request names too much to be served at once: send several".to_owned())
    }

    /// There is more to tell than memory for answers. Kafka has no bound there, hence no code; this one is not tried again.
    pub(crate) fn answer_too_great() -> Failure {
        let why = "there is more to tell than this broker's memory for answers: ask for less at once, or give it more --memory";
        Failure::InvalidRequest(why.to_owned())
    }

    /// Kafka's code.
    #[expect(clippy::too_many_lines, reason = "a table, a line for each failure")]
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Failure::UnknownPartition | Failure::UnknownTopic(_) | Failure::NotThere(_) => {
                ErrorCode::UnknownTopicOrPartition
            }
            Failure::UnknownTopicId => ErrorCode::UnknownTopicId,
            Failure::ElectionNotNeeded => ErrorCode::ElectionNotNeeded,
            Failure::NoPreferredLeader => ErrorCode::PreferredLeaderNotAvailable,
            Failure::NoEligibleLeader => ErrorCode::EligibleLeadersNotAvailable,
            Failure::NoReassignment => ErrorCode::NoReassignmentInProgress,
            Failure::TooSoon | Failure::QuotaExceeded => ErrorCode::ThrottlingQuotaExceeded,
            Failure::UnknownSubscription => ErrorCode::UnknownSubscriptionId,
            Failure::UnsupportedCompression(_) => ErrorCode::UnsupportedCompressionType,
            Failure::MetricsTooLarge { .. } => ErrorCode::TelemetryTooLarge,
            Failure::InvalidFeatureLevel(_) => ErrorCode::InvalidUpdateVersion,
            Failure::InvalidTopic(_) => ErrorCode::InvalidTopicException,
            Failure::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            Failure::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
            Failure::TooManyPartitions { .. }
            | Failure::TooManyNames { .. }
            | Failure::ClusterFull { .. }
            | Failure::DeletionByPolicy => ErrorCode::PolicyViolation,
            Failure::InvalidReplicationFactor(_) => ErrorCode::InvalidReplicationFactor,
            Failure::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
            Failure::InvalidConfig(_) => ErrorCode::InvalidConfig,
            Failure::InvalidRequest(_) => ErrorCode::InvalidRequest,
            Failure::DeletionDisabled => ErrorCode::TopicDeletionDisabled,
            Failure::BrokerNotRegistered(_) => ErrorCode::BrokerIdNotRegistered,
            Failure::ControllerNotRegistered(_) => ErrorCode::ControllerIdNotRegistered,
            Failure::InconsistentClusterId { .. } => ErrorCode::InconsistentClusterId,
            Failure::LogDirNotFound => ErrorCode::LogDirNotFound,
            Failure::NoReplica => ErrorCode::ReplicaNotAvailable,
            Failure::InvalidAcks(_) => ErrorCode::InvalidRequiredAcks,
            Failure::Offline(_) => ErrorCode::LeaderNotAvailable,
            Failure::NotLeader | Failure::Unconfirmed => ErrorCode::NotLeaderOrFollower,
            Failure::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
            Failure::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
            Failure::NoSession => ErrorCode::FetchSessionIdNotFound,
            Failure::WrongSessionEpoch => ErrorCode::InvalidFetchSessionEpoch,
            Failure::SessionTopicIds => ErrorCode::FetchSessionTopicIdError,
            Failure::InconsistentTopicId => ErrorCode::InconsistentTopicId,
            Failure::TimedOut | Failure::TooMuchToCheck => ErrorCode::RequestTimedOut,
            Failure::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
            Failure::Batch(error) => error.error_code(),
            Failure::InvalidTimestamp(_) | Failure::Records { is_out_of_time: true, .. } => ErrorCode::InvalidTimestamp,
            Failure::UnreadableMetrics(_) | Failure::Records { is_out_of_time: false, .. } => ErrorCode::InvalidRecord,
            Failure::CoordinatorUnavailable(_) => ErrorCode::CoordinatorNotAvailable,
            Failure::Token(error) => of_token(*error),
            Failure::Group(error) => of_group(*error),
            Failure::Transaction(error) => of_transaction(*error),
            Failure::ShareState(error) => of_share_state(*error),
            Failure::Told { code, .. } => *code,
            Failure::Share(error) => of_share(*error),
            Failure::ShareSession(error) => of_share_session(*error),
            Failure::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
            Failure::NotCoordinator => ErrorCode::NotCoordinator,
            Failure::CoordinatorLoading => ErrorCode::CoordinatorLoadInProgress,
            Failure::MismatchedEndpointType(_) => ErrorCode::MismatchedEndpointType,
            Failure::UnsupportedEndpointType(_) => ErrorCode::UnsupportedEndpointType,
            Failure::UnsupportedVersion(_) => ErrorCode::UnsupportedVersion,
            Failure::Unverified { told, client } => of_verification(*told, *client),
            Failure::NoTransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Failure::SeveralProducers => ErrorCode::InvalidProducerIdMapping,
            Failure::NotAuthorized(resource) => of_resource(*resource),
            Failure::HiddenTopics(_) => ErrorCode::TopicAuthorizationFailed,
            Failure::SecurityDisabled(_) => ErrorCode::SecurityDisabled,
            Failure::UnacceptableCredential(_) => ErrorCode::UnacceptableCredential,
            Failure::UnknownMechanism(_) => ErrorCode::UnsupportedSaslMechanism,
            Failure::DuplicateResource(_) => ErrorCode::DuplicateResource,
            Failure::ResourceNotFound(_) => ErrorCode::ResourceNotFound,
            Failure::Append(error) => of_append(error),
            Failure::Read(error) => of_read(error),
            Failure::Ledger(error) => of_ledger(error),
            Failure::Refused(refusal) => of_refusal(refusal),
            Failure::Unexpected(_) => ErrorCode::UnknownServerError,
        }
    }
}

/// In Kafka's words.
fn unauthorized(resource: Resource) -> &'static str {
    match resource {
        Resource::Topic => "Topic authorization failed.",
        Resource::Group => "Group authorization failed.",
        Resource::Cluster => "Cluster authorization failed.",
        Resource::TransactionalId => "Transactional Id authorization failed.",
        Resource::DelegationToken | Resource::User => "Delegation Token authorization failed.",
    }
}

fn of_resource(resource: Resource) -> ErrorCode {
    match resource {
        Resource::Topic => ErrorCode::TopicAuthorizationFailed,
        Resource::Group => ErrorCode::GroupAuthorizationFailed,
        Resource::Cluster => ErrorCode::ClusterAuthorizationFailed,
        Resource::TransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
        // Users are spoken of where tokens are made for them.
        Resource::DelegationToken | Resource::User => ErrorCode::DelegationTokenAuthorizationFailed,
    }
}

fn of_token(error: TokenError) -> ErrorCode {
    match error {
        TokenError::NotAllowed => ErrorCode::DelegationTokenRequestNotAllowed,
        TokenError::Disabled => ErrorCode::DelegationTokenAuthDisabled,
        TokenError::PrincipalType => ErrorCode::InvalidPrincipalType,
        TokenError::NotFound => ErrorCode::DelegationTokenNotFound,
        TokenError::Expired => ErrorCode::DelegationTokenExpired,
        TokenError::NotOwner => ErrorCode::DelegationTokenOwnerMismatch,
    }
}

/// In Kafka's words.
fn unverified(told: ErrorCode) -> String {
    match told {
        ErrorCode::InvalidTxnState => "Partition was not added to the transaction".to_owned(),
        told => format!("Unable to verify the partition has been added to the transaction. Underlying error: {told:?}"),
    }
}

/// As Kafka translates them (KIP-890): errors of the coordinator are turned into ones that a client of that age retries, or gives up by.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other codes mean the same to a producer as to a coordinator")]
fn of_verification(told: ErrorCode, client: Client) -> ErrorCode {
    match told {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if client == Client::Naming => ErrorCode::InvalidTxnState,
        ErrorCode::ConcurrentTransactions if client == Client::Adding => told,
        ErrorCode::ConcurrentTransactions
        | ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        told => told,
    }
}

/// The same for offsets, whose clients ask their group's coordinator again (KIP-890).
#[expect(clippy::wildcard_enum_match_arm, reason = "the other codes mean the same to a producer as to a coordinator")]
pub(crate) fn unverified_offsets(told: ErrorCode, client: Client) -> ErrorCode {
    match told {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if client == Client::Naming => ErrorCode::InvalidTxnState,
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        told => told,
    }
}

fn of_append(error: &AppendError) -> ErrorCode {
    match error {
        // Waited for until the request's timeout; nothing was enqueued.
        AppendError::Busy | AppendError::ProducersAway | AppendError::TooManyProducers => ErrorCode::RequestTimedOut,
        // The bucket has taken nothing for a very long time.
        AppendError::TooFarAhead => ErrorCode::KafkaStorageError,
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
        AppendError::Sequence(SequenceError::InTransaction { .. } | SequenceError::NeedsGrant { .. }) => {
            ErrorCode::InvalidTxnState
        }
        AppendError::Sequence(SequenceError::StaleCoordinator { .. }) => ErrorCode::TransactionCoordinatorFenced,
        AppendError::NotOwner => ErrorCode::NotLeaderOrFollower,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::Gap { .. } => ErrorCode::UnknownServerError,
    }
}

fn of_group(error: GroupError) -> ErrorCode {
    match error {
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::InvalidRequest | GroupError::Invalid(_) => ErrorCode::InvalidRequest,
        GroupError::NotFound
        | GroupError::NotClassic
        | GroupError::NotConsumer
        | GroupError::NotStreams
        | GroupError::CommitsNothing
        | GroupError::CannotUpgrade(_) => ErrorCode::GroupIdNotFound,
        GroupError::InvalidTopology(_) => ErrorCode::StreamsInvalidTopology,
        GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::Full => ErrorCode::GroupMaxSizeReached,
        GroupError::Subscribed => ErrorCode::GroupSubscribedToTopic,
        GroupError::MetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::NoRoom => ErrorCode::InvalidCommitOffsetSize,
        // Kafka's for a group that could not be stored: its members try again, and none takes it for the end.
        GroupError::NoRoomForAssignment => ErrorCode::CoordinatorNotAvailable,
        GroupError::RecordTooLarge | GroupError::MalformedSubscription => ErrorCode::UnknownServerError,
        GroupError::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
        GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
        GroupError::UnreleasedInstance => ErrorCode::UnreleasedInstanceId,
        GroupError::UnsupportedAssignor => ErrorCode::UnsupportedAssignor,
        GroupError::InvalidRegex => ErrorCode::InvalidRegularExpression,
        GroupError::NeedsMemberEpochs => ErrorCode::UnsupportedVersion,
    }
}

fn of_share(error: ShareError) -> ErrorCode {
    match error {
        ShareError::InvalidRequest(_) => ErrorCode::InvalidRequest,
        ShareError::InvalidRecordState(_) => ErrorCode::InvalidRecordState,
        ShareError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        ShareError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        ShareError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ShareError::NotLeader => ErrorCode::NotLeaderOrFollower,
        ShareError::Failed => ErrorCode::UnknownServerError,
    }
}

fn of_share_session(error: ShareSessionError) -> ErrorCode {
    match error {
        ShareSessionError::InvalidRequest => ErrorCode::InvalidRequest,
        ShareSessionError::NotFound => ErrorCode::ShareSessionNotFound,
        ShareSessionError::InvalidEpoch => ErrorCode::InvalidShareSessionEpoch,
        ShareSessionError::LimitReached => ErrorCode::ShareSessionLimitReached,
    }
}

fn of_transaction(error: TransactionError) -> ErrorCode {
    match error {
        TransactionError::InvalidRequest => ErrorCode::InvalidRequest,
        TransactionError::InvalidTimeout => ErrorCode::InvalidTransactionTimeout,
        TransactionError::TwoPhaseCommitDisabled => ErrorCode::TransactionalIdAuthorizationFailed,
        TransactionError::KeepsNoPrepared => ErrorCode::UnsupportedVersion,
        TransactionError::UnknownProducer => ErrorCode::InvalidProducerIdMapping,
        TransactionError::Fenced => ErrorCode::ProducerFenced,
        TransactionError::InvalidEpoch => ErrorCode::InvalidProducerEpoch,
        TransactionError::Concurrent => ErrorCode::ConcurrentTransactions,
        TransactionError::InvalidState => ErrorCode::InvalidTxnState,
        TransactionError::NotInTransaction => ErrorCode::TransactionAbortable,
        TransactionError::NotFound => ErrorCode::TransactionalIdNotFound,
        // There is room again when transactions are complete and ids expire.
        TransactionError::NoRoom => ErrorCode::CoordinatorNotAvailable,
        TransactionError::RecordTooLarge | TransactionError::NeedsProducerId => ErrorCode::UnknownServerError,
    }
}

fn of_share_state(error: ShareStateError) -> ErrorCode {
    match error {
        ShareStateError::Invalid(_) => ErrorCode::InvalidRequest,
        ShareStateError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        ShareStateError::FencedStateEpoch => ErrorCode::FencedStateEpoch,
        ShareStateError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        ShareStateError::NoRoom => ErrorCode::CoordinatorNotAvailable,
        ShareStateError::RecordTooLarge => ErrorCode::UnknownServerError,
    }
}

fn of_read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::NotOwner => ErrorCode::NotLeaderOrFollower,
        ReadError::Trouble(_) => ErrorCode::KafkaStorageError,
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
    }
}

fn of_ledger(error: &LedgerError) -> ErrorCode {
    match error {
        // This broker stops; whoever comes next can answer.
        LedgerError::Dead(_) | LedgerError::Closed => ErrorCode::NotController,
        LedgerError::Unreadable(_) => ErrorCode::UnknownServerError,
        LedgerError::Store(_) => ErrorCode::KafkaStorageError,
    }
}

fn of_refusal(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::Dead(_) => ErrorCode::NotController,
        Refusal::StaleEpoch | Refusal::NotNext => ErrorCode::NotLeaderOrFollower,
        Refusal::TopicExists => ErrorCode::TopicAlreadyExists,
        Refusal::Unknown(_) => ErrorCode::UnknownTopicOrPartition,
        Refusal::Invalid(_) => ErrorCode::InvalidRequest,
    }
}

/// An offset for an answer that has none.
pub(crate) fn kafka_offset(offset: Option<Offset>) -> i64 {
    offset.map_or(-1, Offset::to_kafka)
}
