//! The whole metadata, as a value: what the ledger's entries fold to.
//!
//! Cheap to clone (persistent maps), so readers hold one without locks and a swap costs what changed.

use crate::quota::{QuotaEntity, QuotaValue};
use crate::{Acls, Outcome, Scram, SettingsScope, Tokens};
use base::{
    LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, TopicId,
    UnixMillis, WalId, WalIndex, WalPosition,
};
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state after entry `seq`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The last entry folded in; zero before the first.
    pub seq: LedgerSeq,
    /// Nonce of that entry.
    pub nonce: Nonce,
    /// Drawn by the first broker.
    pub cluster_id: u128,
    /// Who leads the ledger.
    pub leader: Leader,
    /// The last terms, newest last, bounded: with the entry that began each. By it a put whose number is below a snapshot is resolved.
    pub leader_history: Vec<(LedgerEpoch, LedgerSeq, Nonce)>,
    /// Next to hand out.
    pub next_node_epoch: NodeEpoch,
    /// Next to hand out: ids below that are absent from `streams` are deleted, for ever (T7).
    pub next_stream_id: StreamId,
    /// Starts: all living, and the dead ones whose WALs or commands still matter.
    pub nodes: OrdMap<NodeEpoch, Arc<Node>>,
    /// WALs of living starts, and of dead ones until sealed and wholly committed.
    pub wals: OrdMap<WalId, Arc<WalRecord>>,
    /// Topics by id.
    pub topics: TopicsById,
    /// Topic ids by name.
    pub topic_names: TopicNames,
    /// Last stream epoch of each deleted topic's partitions by name, so that a new one of that name starts no lower. Bounded.
    pub deleted_epochs: OrdMap<String, StreamEpoch>,
    /// What a new topic of a name that `deleted_epochs` does not know starts at: no lower than any epoch that was dropped from there.
    pub first_epoch: StreamEpoch,
    /// Streams that exist.
    pub streams: OrdMap<StreamId, Arc<StreamRecord>>,
    /// Objects that some stream references.
    pub objects: OrdMap<ObjectId, ObjectRecord>,
    /// Objects whose last reference went, with the entry that did it; to be deleted from the bucket.
    pub dead_objects: OrdMap<ObjectId, LedgerSeq>,
    /// Endpoint that the full capability probe passed against.
    pub probed: String,
    /// Settings that are not a topic's, by Kafka's names. A scope without any is absent. Bounded.
    pub settings: Settings,
    /// Next to hand out; never one twice.
    pub next_producer_id: i64,
    /// Quotas of clients, by Kafka's names. An entity without any is absent. Bounded. Since version 8 of the format.
    pub quotas: Quotas,
    /// Credentials of users. Bounded. Since version 9 of the format.
    pub scram: Scram,
    /// Who may do what. Bounded. Since version 9 of the format.
    pub acls: Acls,
    /// Delegation tokens. Bounded. Since version 10 of the format.
    pub tokens: Tokens,
}

/// All topics. What two of these share is one thing in memory.
pub type TopicsById = OrdMap<TopicId, Arc<Topic>>;

/// Topic ids by name.
pub type TopicNames = OrdMap<String, TopicId>;

/// Settings by Kafka's names, by whose they are.
pub type Settings = OrdMap<SettingsScope, Arc<BTreeMap<String, String>>>;

/// Quotas by Kafka's names, by whose they are.
pub type Quotas = OrdMap<QuotaEntity, Arc<BTreeMap<String, QuotaValue>>>;

/// Who leads the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leader {
    /// The term.
    pub epoch: LedgerEpoch,
    /// Who.
    pub node_id: NodeId,
}

/// One start of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Kafka's broker id.
    pub node_id: NodeId,
    /// Alive or dead.
    pub state: NodeState,
    /// `host:port` for clients.
    pub advertised: String,
    /// Drawn by the starter.
    pub incarnation: u128,
    /// Objects of this start with a lower counter are committed or never will be (O-1).
    pub min_counter: u64,
    /// Outcomes of its last commands by counter, with the entry that they were in, so that *unknown* can be asked again. Bounded:
    /// all of its last entry, and a few older ones. Dropped with its death.
    pub answered: OrdMap<u64, (LedgerSeq, Outcome)>,
}

impl Node {
    /// Whether it is, or was, a broker: a start without an address serves nobody, it only recovers logs.
    #[must_use]
    pub fn is_broker(&self) -> bool {
        !self.advertised.is_empty()
    }
}

/// Whether a start may still act. Death is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Registered and not declared dead.
    Alive,
    /// Declared dead.
    Dead,
}

/// A WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalRecord {
    /// For messages.
    pub url: String,
    /// Identifies the ring; 0 for object WALs.
    pub ring_id: u128,
    /// In the cluster's own bucket: any broker can recover it.
    pub in_storage: bool,
    /// Where this start's records begin.
    pub start: WalPosition,
    /// Everything below is committed or needs no commit.
    pub trim: WalPosition,
    /// Open or sealed.
    pub state: WalState,
    /// By which topics choose it; empty where nobody has named it. Since version 7 of the format.
    pub name: String,
}

impl WalRecord {
    /// Whether it is sealed and trimmed to its end: nothing in it needs a commit any more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        matches!(self.state, WalState::Sealed { end, .. } if self.trim >= end)
    }
}

/// Whether a WAL's end is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalState {
    /// Written by its start, or not recovered yet.
    Open,
    /// Ends here for ever; `recoverer` commits what is left of it.
    Sealed {
        /// The end.
        end: WalPosition,
        /// Who speaks for it; when dead too, any start that declared it so may take over by another `WalRecovered`, adopting the end.
        recoverer: NodeEpoch,
    },
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Kafka's id.
    pub id: TopicId,
    /// Kafka's name.
    pub name: String,
    /// Streams by partition number.
    pub partitions: Vec<StreamId>,
    /// As asked for.
    pub replication_factor: i16,
    /// Settings that differ from the defaults.
    pub configs: BTreeMap<String, String>,
    /// An internal topic.
    pub internal: bool,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its topic.
    pub topic: TopicId,
    /// Its partition number there.
    pub partition: i32,
    /// Epoch of the newest tenure.
    pub epoch: StreamEpoch,
    /// First offset that readers may see.
    pub start: Offset,
    /// Oldest first, never empty: closed ones until wholly committed (the last one stays, for its end), then at most one open, the
    /// owner's.
    pub tenures: Vec<Tenure>,
    /// (leader epoch, its first offset), oldest first, only epochs that have records, cut at `start`.
    pub epochs: Vec<(StreamEpoch, Offset)>,
    /// Parts of objects, by base offset, not overlapping. They cover exactly what is committed from the start on, so a hole is
    /// an older tenure's tail that its holder has yet to commit. The first may begin below the start.
    pub references: OrdMap<Offset, Reference>,
    /// Bytes of all references' live parts; that of one cut by the start is in proportion to its offsets.
    pub live_bytes: u64,
    /// Where the state of its producers is saved, by rising end; none speaks for what another speaks for as well. Together with the
    /// WALs in `unsaved` and the owner's own, they are all of it, whatever became of the records.
    pub producers: Vec<StateReference>,
    /// WALs that may hold producer state of this stream which no reference speaks for yet: sealed ones, and those of a start that has moved
    /// the stream to another of its own, which has that state in memory for as long as it lives.
    pub unsaved: Vec<WalId>,
    /// Its topic was made under the name of a deleted one, so producers may come that were at work on that. Since version 5.
    pub reborn: bool,
    /// Below it Kafka's log compaction has looked at every record once. May lie below the start.
    pub cleaned: Offset,
}

/// What the ledger knows of a state section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateReference {
    /// Which object.
    pub object: ObjectId,
    /// What it speaks for; from 0 on: the stream's whole state as of its end.
    pub range: OffsetRange,
    /// First byte in the object.
    pub position: u64,
    /// Bytes.
    pub len: u32,
    /// CRC-32C of those bytes.
    pub crc: u32,
}

/// One owner's time with a stream (rule D-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// Raised with each tenure.
    pub stream_epoch: StreamEpoch,
    /// The owner and the WAL it writes to.
    pub wal: WalId,
    /// First offset.
    pub start: Offset,
    /// Everything below is in objects, or trimmed. Never below min(stream start, end).
    pub committed: Offset,
    /// `None` while open.
    pub end: Option<Offset>,
}

/// What the ledger knows of an object's part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Which object.
    pub object: ObjectId,
    /// The part that counts (a commit that overlaps what is committed counts from there on).
    pub range: OffsetRange,
    /// Bytes of record batches; of an overlapping commit in proportion to the offsets that count. 0: it covers offsets at which there are no
    /// batches any more (Kafka's log compaction), and the object has none of them.
    pub bytes: u64,
    /// Records, likewise.
    pub records: u64,
    /// Greatest timestamp, and the base offset of the batch that holds it, which may lie below the part that counts.
    pub max_timestamp: UnixMillis,
    /// See `max_timestamp`.
    pub max_timestamp_offset: Offset,
}

/// A data object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectRecord {
    /// Bytes in the bucket.
    pub size: u64,
    /// References to it, of all streams, to records and to state. At zero it moves to `dead_objects` in the same entry.
    pub references: u32,
    /// Bytes of record batches in it, referenced or not: against what is still live it tells its dead share. 0: not known, as of objects
    /// that an earlier version committed, or none.
    pub data_bytes: u64,
}

impl StreamRecord {
    /// The open tenure: the owner's.
    #[must_use]
    pub fn owner(&self) -> Option<&Tenure> {
        self.tenures.last().filter(|tenure| tenure.end.is_none())
    }

    /// The stream's committed end: that of the fully committed leading tenures. Everything below is in objects or trimmed.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.tenures
            .iter()
            .find(|tenure| !tenure.is_settled())
            .or(self.tenures.last())
            .map_or(self.start, |tenure| tenure.committed)
    }
}

impl Tenure {
    /// The owner.
    #[must_use]
    pub fn node_epoch(&self) -> NodeEpoch {
        self.wal.node_epoch
    }

    /// Which of the owner's WALs.
    #[must_use]
    pub fn wal_index(&self) -> WalIndex {
        self.wal.index
    }

    /// Whether it is closed and nothing of it is left to commit.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.end.is_some_and(|end| self.committed >= end)
    }
}
