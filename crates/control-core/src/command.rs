//! Everything that may change the image.

use crate::quota::{QuotaEntity, QuotaValue};
use crate::{Acl, Reference, ScramCredential, ScramUser, Token};
use base::{
    LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, TopicId,
    UnixMillis, WalId, WalIndex, WalPosition,
};
use std::collections::BTreeMap;

/// One ledger object: commands of one leader, applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, which is also in its key.
    pub seq: LedgerSeq,
    /// The leader's term.
    pub epoch: LedgerEpoch,
    /// Drawn for each put; tells a writer its own entry.
    pub nonce: Nonce,
    /// When the leader put it. For people; decides nothing.
    pub written: UnixMillis,
    /// What changes.
    pub commands: Vec<(CommandId, Command)>,
}

/// Who asked, and which of its requests: makes asking again safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct CommandId {
    /// The requesting start; zero for commands of a start that has no node epoch yet, whose outcomes are not remembered: they
    /// are such that asking again does no harm (a registration is known by its incarnation).
    pub requester: NodeEpoch,
    /// Rises with each command of that requester; its commands stand in the log in that order.
    pub counter: u64,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A broker leads the ledger from here on. The first entry ever has one and makes the cluster.
    BecomeLeader {
        /// The new term: exactly one above the image's.
        epoch: LedgerEpoch,
        /// Who, for people and for forwarding.
        node_id: NodeId,
        /// The cluster's id; counts in the very first entry only.
        cluster_id: u128,
    },
    /// A start of a broker registers and gets its node epoch, [`Outcome::Registered`]. Living starts of the same node id, and
    /// those that wrote a ring which this one now holds locked, are thereby dead.
    Register {
        /// The id it asks for. `None`: that of the newest start on one of its rings, or at its advertised address, or the lowest
        /// that no start with a WAL has.
        node_id: Option<NodeId>,
        /// `host:port` that clients use.
        advertised: String,
        /// Its WALs, by index.
        wals: Vec<WalRegistration>,
        /// A number drawn by the starter, so that it recognises its own registration after an unknown answer.
        incarnation: u128,
    },
    /// These starts are dead for ever: from here on nothing of theirs is accepted but by a recoverer.
    DeclareDead {
        /// Which.
        node_epochs: Vec<NodeEpoch>,
    },
    /// The sealing entry (rules B-2, D-6, D-8): fixes where a dead start's WAL ends; the first one wins. A living start seals its
    /// own when it stops cleanly; it has stopped appending before it asks, and never resumes.
    WalRecovered {
        /// Which WAL.
        wal: WalId,
        /// Where it ends, for ever.
        end: WalPosition,
        /// For each stream with records in it from its trim point on: the end of what it holds.
        ends: Vec<(StreamId, Offset)>,
        /// Who recovered it, and speaks for it in commits from now on; must be alive.
        recoverer: NodeEpoch,
        /// Which WAL of the recoverer the streams' next tenures are written to. `None`: they stay ownerless.
        open_on: Option<WalIndex>,
    },
    /// Opens ownerless streams (no open tenure) on a living start. Streams that are not ownerless are skipped.
    OpenStreams {
        /// Which.
        streams: Vec<StreamId>,
        /// On whom.
        node_epoch: NodeEpoch,
        /// In which of its WALs.
        wal_index: WalIndex,
    },
    /// Creates a topic and its streams, opened at offset 0 on living starts.
    CreateTopic {
        /// Drawn by the requester.
        id: TopicId,
        /// Kafka's name, already validated.
        name: String,
        /// Owners, one per partition: (node epoch, WAL index).
        partitions: Vec<(NodeEpoch, WalIndex)>,
        /// As asked for: placements, not copies.
        replication_factor: i16,
        /// Settings that differ from the defaults, by Kafka's names.
        configs: BTreeMap<String, String>,
        /// An internal topic.
        internal: bool,
    },
    /// Deletes a topic and its streams; their data objects die with their last references.
    DeleteTopic {
        /// Which.
        id: TopicId,
    },
    /// Adds partitions to a topic, unless it has got others since the requester looked.
    CreatePartitions {
        /// Which.
        id: TopicId,
        /// The number of the first new one: how many there are before.
        first: i32,
        /// Owners of the new ones.
        partitions: Vec<(NodeEpoch, WalIndex)>,
    },
    /// Sets or removes (`None`) a topic's settings.
    AlterTopicConfigs {
        /// Which.
        id: TopicId,
        /// By Kafka's names.
        changes: BTreeMap<String, Option<String>>,
    },
    /// Sets or removes (`None`) settings that are not a topic's.
    AlterSettings {
        /// Whose.
        scope: SettingsScope,
        /// By Kafka's names.
        changes: BTreeMap<String, Option<String>>,
    },
    /// Makes uploaded objects part of streams, range by range (rules D-1, D-5, O-1), and moves the WAL's trim point.
    CommitObjects {
        /// Who speaks: the WAL's own start while alive, or its recoverer (alive) once it is dead and sealed.
        speaker: NodeEpoch,
        /// The WAL whose records these are. All ranges of all objects lie in it.
        wal: WalId,
        /// WAL trim point after this commit: everything below is committed or needs no commit (rule D-7), given that no range is
        /// refused; where one is, the trim point stays. Never goes back.
        trim: WalPosition,
        /// The speaker's lowest counter of any object not yet decided, after this command (rule O-1).
        min_counter: u64,
        /// The objects, written by the speaker.
        objects: Vec<UploadedObject>,
    },
    /// Puts references in the place of others of equal coverage (rule R-1): what compaction has made. Decided swap by swap, each as a
    /// whole, [`Outcome::Replaced`], so that one stream's trim or deletion does not cost its neighbours in the object theirs.
    Replace {
        /// Who made the objects; must be alive (rule O-1).
        writer: NodeEpoch,
        /// As for `CommitObjects`: the writer's lowest counter of any object not yet decided, after this command.
        min_counter: u64,
        /// The new objects, written by the writer and never referenced before (rule R-2). One that no swap leaves referenced is an
        /// orphan: it waits for the sweep, never for its writer.
        objects: Vec<NewObject>,
        /// What changes, of one stream or of several; a stream may have several.
        swaps: Vec<Swap>,
    },
    /// Moves a stream's start offset (retention, DeleteRecords). At most the confirmed offset; may exceed the committed end.
    Trim {
        /// Which.
        stream: StreamId,
        /// Its owner's start.
        node_epoch: NodeEpoch,
        /// Its owner's stream epoch.
        stream_epoch: StreamEpoch,
        /// The new start; lower than the present one changes nothing.
        start: Offset,
    },
    /// Moves the offset up to which a stream's records are cleaned by Kafka's log compaction. At most the committed end.
    Cleaned {
        /// Which.
        stream: StreamId,
        /// Its owner's start.
        node_epoch: NodeEpoch,
        /// Its owner's stream epoch.
        stream_epoch: StreamEpoch,
        /// Where what is not cleaned begins; lower than the present one changes nothing.
        cleaned: Offset,
    },
    /// Moves streams of a living start to another of its WALs (rule D-9): each one's tenure is closed at the end that is offered, and the
    /// next one opened in the other WAL, at once. The start has stopped accepting for them, and everything below the end is durable in the
    /// WAL that they leave. Decided stream by stream; one that is not the start's in that epoch any more, that is there already, or whose
    /// end contradicts the image, is skipped: [`Outcome::Done`], and the image tells which were moved. Since version 7 of the format.
    MoveStreams {
        /// Whose.
        node_epoch: NodeEpoch,
        /// Where to.
        to: WalIndex,
        /// Which, each with its epoch and the end of the tenure that is closed.
        streams: Vec<(StreamId, StreamEpoch, Offset)>,
    },
    /// These dead objects have been deleted from the bucket.
    ObjectsDeleted {
        /// Which.
        objects: Vec<ObjectId>,
    },
    /// The result of the capability probe in full, kept with the endpoint that it was made against.
    Probed {
        /// What `ObjectStore::describe` said.
        endpoint: String,
    },
    /// Deletes the record of a dead start's WAL that is sealed and all committed (its node epoch stays dead for ever).
    ForgetWal {
        /// Which.
        wal: WalId,
    },
    /// Hands out producer ids that nobody ever gets again, [`Outcome::ProducerIds`].
    TakeProducerIds {
        /// How many.
        count: u32,
    },
    /// Forgets a broker that is dead, and of whose write-ahead logs nothing is needed. Since version 8 of the format.
    Unregister {
        /// Which.
        node_id: NodeId,
    },
    /// Sets or removes (`None`) quotas of clients. Since version 8 of the format.
    AlterQuotas {
        /// Whose.
        entity: QuotaEntity,
        /// By Kafka's names.
        changes: BTreeMap<String, Option<QuotaValue>>,
    },
    /// Sets or deletes (`None`) credentials for SCRAM. Since version 9 of the format.
    AlterScram {
        /// Whose.
        changes: BTreeMap<ScramUser, Option<ScramCredential>>,
    },
    /// Changes access control lists: what is removed goes first. Since version 9 of the format.
    AlterAcls {
        /// Entries that shall not be there.
        removed: Vec<Acl>,
        /// Entries that shall be there.
        added: Vec<Acl>,
    },
    /// Makes a delegation token. Since version 10 of the format.
    IssueToken {
        /// Its id, which no other has.
        id: String,
        /// What is known of it.
        token: Token,
    },
    /// Moves the end of a delegation token that is there. Since version 10 of the format.
    ExpireToken {
        /// Which.
        id: String,
        /// When it ends; `None`: it is gone at once.
        expiry: Option<UnixMillis>,
    },
    /// Forgets the delegation tokens that have ended. Since version 10 of the format.
    SweepTokens {
        /// Those that have ended before that time.
        now: UnixMillis,
    },
}

/// Whose settings they are, where they are not a topic's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingsScope {
    /// All brokers': the cluster's defaults.
    Brokers,
    /// One broker's, whichever start of it lives.
    Broker(NodeId),
    /// A consumer group's, by its name.
    Group(String),
    /// A subscription's to clients' metrics (KIP-714), by its name. Since version 5 of the format.
    ClientMetrics(String),
}

/// A WAL of a registering start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRegistration {
    /// As given to `--wal`, without secrets: for messages.
    pub url: String,
    /// Identifies the ring file or device (drawn when it was made): the same ring after a restart has the same id. 0 for object WALs.
    pub ring_id: u128,
    /// Where this start's records begin.
    pub start: WalPosition,
    /// The cluster's own bucket, which any broker can read.
    pub in_storage: bool,
    /// By which topics choose it; empty where nobody has named it. Since version 7 of the format.
    pub name: String,
}

/// An uploaded object that a commit makes part of its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedObject {
    /// Made by the speaker.
    pub id: ObjectId,
    /// Bytes in the bucket.
    pub size: u64,
    /// Its ranges, sorted by stream, then base.
    pub ranges: Vec<CommitRange>,
    /// Its state sections, sorted by stream, one each.
    pub states: Vec<CommitState>,
}

/// A state section of an object: what the producers of a stream have written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitState {
    /// Which stream.
    pub stream: StreamId,
    /// The stream epoch of the tenure whose holder, or recoverer, speaks.
    pub stream_epoch: StreamEpoch,
    /// What the section speaks for; never beyond what is confirmed. From 0 on where it is the stream's whole state.
    pub range: OffsetRange,
    /// First byte in the object.
    pub position: u64,
    /// Bytes.
    pub len: u32,
    /// CRC-32C of those bytes.
    pub crc: u32,
}

/// One stream's contiguous part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRange {
    /// Which stream.
    pub stream: StreamId,
    /// The stream epoch of the tenure that these records belong to.
    pub stream_epoch: StreamEpoch,
    /// What it covers.
    pub range: OffsetRange,
    /// Bytes of record batches.
    pub bytes: u64,
    /// Records (not offsets).
    pub records: u64,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// Base offset of the first batch that holds `max_timestamp`.
    pub max_timestamp_offset: Offset,
}

/// An object that compaction has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewObject {
    /// Made by the writer.
    pub id: ObjectId,
    /// Bytes in the bucket.
    pub size: u64,
    /// Bytes of record batches in it, of all streams.
    pub data_bytes: u64,
}

/// A compare-and-swap of one stream's adjacent references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// Which stream.
    pub stream: StreamId,
    /// What must stand there now, exactly: object and coverage of each, oldest first, without a gap. Not empty.
    pub old: Vec<(ObjectId, OffsetRange)>,
    /// What stands there instead, oldest first, without a gap. Not empty. Together they cover what the old ones do; but they may begin
    /// later, at an offset that is not above the stream's start. They may hold fewer records: Kafka's log compaction.
    pub new: Vec<Reference>,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It changed the image (or had done so before: the same id asked again).
    Done,
    /// Register: the ids that the start has got.
    Registered { node_id: NodeId, node_epoch: NodeEpoch },
    /// CommitObjects: one flag for each range, then for each state, object by object in command order: true = accepted or needs no
    /// commit; false = refused, cut it anew.
    Committed { ranges: Vec<bool> },
    /// Replace: one flag for each swap: true = the new references stand there; false = refused, nothing of it was changed.
    Replaced { swaps: Vec<bool> },
    /// TakeProducerIds: the first of as many as were asked for.
    ProducerIds { first: i64 },
    /// It changed nothing.
    Refused(Refusal),
}

/// Why a command changed nothing. Callers act on the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The speaker, owner or requester is dead in the image: it must stop.
    #[error("start {0} was declared dead")]
    Dead(NodeEpoch),
    /// The stream or WAL is not the asker's (any more).
    #[error("stale epoch")]
    StaleEpoch,
    /// A topic of that name exists.
    #[error("topic exists")]
    TopicExists,
    /// No such topic, stream, WAL or node.
    #[error("unknown {0}")]
    Unknown(String),
    /// The leader epoch is not the next one.
    #[error("not the next ledger epoch")]
    NotNext,
    /// The arguments contradict the image or themselves.
    #[error("invalid: {0}")]
    Invalid(String),
}
