//! A share group as a value: what lasts of it, and what follows from that.
//!
//! What follows (counts, bytes) is right after every call here, in whatever order records are replayed.

use crate::consumer::{Partitions, TopicInfo, Topics, hash_of_group, hash_of_topic};
use crate::group::ENTRY_BYTES;
use base::{Micros, TopicId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// What a name takes in a set beyond its text, about.
const NAME_BYTES: usize = 48;
/// What a topic's entry takes beside its partitions, about.
const TOPIC_BYTES: usize = 64;
/// What a partition takes in a set, about.
const PARTITION_BYTES: usize = 8;

/// Kafka's states of a share group. A group that does not exist is *dead*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareState {
    /// Nobody is in it.
    Empty,
    Stable,
}

impl ShareState {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ShareState::Empty => "Empty",
            ShareState::Stable => "Stable",
        }
    }
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) rack_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) names: BTreeSet<String>,
}

/// What a member has, and at which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) epoch: i32,
    /// A member whose last answer was lost comes with this one.
    pub(crate) previous_epoch: i32,
    pub(crate) assigned: Partitions,
}

impl Default for Current {
    fn default() -> Self {
        Current { epoch: 0, previous_epoch: -1, assigned: Partitions::new() }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) metadata: Metadata,
    pub(crate) current: Current,
}

/// Partitions of a topic, with the name that it had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) partitions: BTreeSet<i32>,
}

/// How far the group is with the share coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StateTopics {
    /// It was asked, and has not said that it did. A partition may be here that is initialised as well: it is to begin anew.
    pub(crate) initializing: BTreeMap<TopicId, Named>,
    pub(crate) initialized: BTreeMap<TopicId, Named>,
    /// The topics' names.
    pub(crate) deleting: BTreeMap<TopicId, String>,
}

/// A share group.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    /// Rises with every change of what members subscribe to, and of what there is to share out. A group begins at 1, and its first member makes
    /// that 2, as in Kafka.
    pub(crate) epoch: i32,
    /// [`hash_of_group`] at that epoch.
    pub(crate) metadata_hash: i64,
    /// Which epoch the target is of. -1: there is none yet.
    pub(crate) target_epoch: i32,
    /// When the target was made. 0: unknown.
    pub(crate) target_at: UnixMillis,
    members: BTreeMap<String, Member>,
    targets: BTreeMap<String, Partitions>,
    topics: StateTopics,
    /// How many members name a topic.
    names: BTreeMap<String, usize>,
    bytes: usize,
    /// In memory only: which topics the group was held against last, and their hashes.
    pub(super) seen: Option<i64>,
    hashes: BTreeMap<String, u64>,
    /// In memory only: when the share coordinator was asked for a partition last, and with which epoch.
    pub(super) asked: BTreeMap<(TopicId, i32), (Micros, i32)>,
    /// In memory only: with these topics nothing was left to initialise or to share out, and nothing has changed since.
    pub(super) settled: Option<i64>,
}

impl Default for Share {
    fn default() -> Self {
        Share {
            epoch: 1,
            metadata_hash: 0,
            target_epoch: -1,
            target_at: UnixMillis(0),
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            topics: StateTopics::default(),
            names: BTreeMap::new(),
            bytes: 0,
            seen: None,
            hashes: BTreeMap::new(),
            asked: BTreeMap::new(),
            settled: None,
        }
    }
}

impl Share {
    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn targets(&self) -> &BTreeMap<String, Partitions> {
        &self.targets
    }

    pub(crate) fn topics(&self) -> &StateTopics {
        &self.topics
    }

    /// Topics that members subscribe to.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    pub(crate) fn state(&self) -> ShareState {
        if self.members.is_empty() { ShareState::Empty } else { ShareState::Stable }
    }

    /// Whether nobody is in it, and the share coordinator has nothing of it.
    pub(crate) fn may_be_deleted(&self) -> bool {
        let StateTopics { initializing, initialized, .. } = &self.topics;
        self.members.is_empty() && initializing.is_empty() && initialized.is_empty()
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.bytes
    }

    pub(crate) fn put_metadata(&mut self, id: &str, metadata: Metadata) {
        let current = self.members.get(id).map(|member| member.current.clone()).unwrap_or_default();
        self.put_member(id, Member { metadata, current });
    }

    pub(crate) fn put_current(&mut self, id: &str, current: Current) {
        let metadata = self.members.get(id).map(|member| member.metadata.clone()).unwrap_or_default();
        self.put_member(id, Member { metadata, current });
    }

    fn put_member(&mut self, id: &str, member: Member) {
        self.remove_member(id);
        self.settled = None;
        for name in &member.metadata.names {
            *self.names.entry(name.clone()).or_default() += 1;
        }
        self.bytes += member_bytes(id, &member);
        self.members.insert(id.to_owned(), member);
    }

    pub(crate) fn remove_member(&mut self, id: &str) {
        let Some(removed) = self.members.remove(id) else { return };
        self.settled = None;
        for name in &removed.metadata.names {
            if let Some(count) = self.names.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.names.remove(name);
                }
            }
        }
        self.bytes -= member_bytes(id, &removed);
    }

    pub(crate) fn put_target(&mut self, id: &str, target: Partitions) {
        self.remove_target(id);
        self.bytes += target_bytes(id, &target);
        self.targets.insert(id.to_owned(), target);
    }

    pub(crate) fn remove_target(&mut self, id: &str) {
        self.settled = None;
        self.bytes -= self.targets.remove(id).map_or(0, |target| target_bytes(id, &target));
    }

    pub(crate) fn put_topics(&mut self, topics: StateTopics) {
        self.settled = None;
        self.bytes += topics_bytes(&topics);
        let before = std::mem::replace(&mut self.topics, topics);
        self.bytes -= topics_bytes(&before);
        let asked = &self.topics.initializing;
        self.asked
            .retain(|(topic, partition), _| asked.get(topic).is_some_and(|named| named.partitions.contains(partition)));
    }

    /// Looks at the group's topics, those that it has seen already excepted; the hash of all.
    pub(super) fn look_at(&mut self, topics: &Topics<'_>) -> i64 {
        let is_same = self.seen == Some(topics.version);
        let known = if is_same { std::mem::take(&mut self.hashes) } else { BTreeMap::new() };
        let hash = |name: &String| {
            let known = known.get(name).copied();
            known.or_else(|| (topics.find)(name).map(|topic| hash_of_topic(name, topic)))
        };
        let hashes = self.names.keys().filter_map(|name| hash(name).map(|hash| (name.clone(), hash)));
        self.hashes = hashes.collect();
        self.seen = Some(topics.version);
        self.hash_of_seen()
    }

    /// The hash of what is subscribed to now, as far as the topics were there when they were looked at last.
    pub(super) fn hash_of_seen(&self) -> i64 {
        hash_of_group(self.names.keys().filter_map(|name| self.hashes.get(name).map(|hash| (name, *hash))))
    }

    /// What may be shared out of a topic: partitions that are there, and whose progress there is something to keep in.
    pub(super) fn assignable(&self, topic: TopicInfo) -> impl Iterator<Item = i32> {
        let initialized = self.topics.initialized.get(&topic.id);
        let partitions = initialized.into_iter().flat_map(|named| &named.partitions).copied();
        partitions.filter(move |partition| *partition < topic.partitions)
    }

    /// All that lasts and all that follows from it, to be compared.
    #[cfg(test)]
    pub(crate) fn lasting(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let epochs = (self.epoch, self.metadata_hash, self.target_epoch, self.target_at);
        let parts = (self.members.clone(), self.targets.clone(), self.topics.clone());
        (epochs, parts, self.names.clone(), self.bytes)
    }
}

/// Bytes of what a group keeps of what a member says.
pub(super) fn metadata_bytes(metadata: &Metadata) -> usize {
    let texts =
        metadata.client_id.len() + metadata.client_host.len() + metadata.rack_id.as_ref().map_or(0, String::len);
    ENTRY_BYTES + texts + metadata.names.iter().map(|name| name.len() + NAME_BYTES).sum::<usize>()
}

fn member_bytes(id: &str, member: &Member) -> usize {
    id.len() + metadata_bytes(&member.metadata) + partitions_bytes(&member.current.assigned)
}

fn partitions_bytes(partitions: &Partitions) -> usize {
    partitions.values().map(|it| TOPIC_BYTES + it.len() * PARTITION_BYTES).sum()
}

fn target_bytes(id: &str, target: &Partitions) -> usize {
    ENTRY_BYTES + id.len() + partitions_bytes(target)
}

pub(super) fn named_bytes(named: &Named) -> usize {
    TOPIC_BYTES + named.name.len() + named.partitions.len() * PARTITION_BYTES
}

fn topics_bytes(topics: &StateTopics) -> usize {
    let named = topics.initializing.values().chain(topics.initialized.values()).map(named_bytes).sum::<usize>();
    named + topics.deleting.values().map(|name| TOPIC_BYTES + name.len()).sum::<usize>()
}
