//! A streams group as a value: what lasts of it, and what follows from that.

use super::configure::{Configured, sources};
use super::task_offsets::MemberOffsets;
pub(crate) use crate::consumer::MemberState;
use crate::group::ENTRY_BYTES;
use base::UnixMillis;
use protocol::messages::streams_group_heartbeat_request::{Endpoint, Subtopology, TopicInfo, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// Task numbers by subtopology. No subtopology is without.
pub type Tasks = BTreeMap<String, BTreeSet<i32>>;

/// The same, each with the epoch that its member got it at.
pub(crate) type HeldTasks = BTreeMap<String, BTreeMap<i32, i32>>;

/// What a task takes that a member holds or is to hold, about.
const TASK_BYTES: usize = 48;

/// The three kinds of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskSets {
    /// Processed here, and nowhere else.
    pub active: Tasks,
    /// Whose state is copied here.
    pub standby: Tasks,
    /// Whose state is copied here so that they may become active.
    pub warmup: Tasks,
}

/// Kafka's states of a streams group. A group that does not exist is *dead*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamsState {
    /// Nobody is in it; it may hold offsets.
    Empty,
    /// Topics of its topology are missing, or have other numbers of partitions than they are to have.
    NotReady,
    /// There is no target assignment for the group's epoch yet.
    Assigning,
    /// Some members are not where the target assignment wants them.
    Reconciling,
    /// All are.
    Stable,
}

impl StreamsState {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StreamsState::Empty => "Empty",
            StreamsState::NotReady => "NotReady",
            StreamsState::Assigning => "Assigning",
            StreamsState::Reconciling => "Reconciling",
            StreamsState::Stable => "Stable",
        }
    }
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metadata {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) topology_epoch: i32,
    /// Members of one process share its disk.
    pub(crate) process_id: String,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Tasks that a member has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) active: HeldTasks,
    pub(crate) standby: Tasks,
    pub(crate) warmup: Tasks,
}

/// What a member has, and at which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) epoch: i32,
    /// A member whose last answer was lost comes with this one.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Held,
    /// To be given up; nobody else's as long as they stand here.
    pub(crate) revoking: Held,
}

impl Default for Current {
    fn default() -> Self {
        let (assigned, revoking) = (Held::default(), Held::default());
        Current { epoch: 0, previous_epoch: -1, state: MemberState::Stable, assigned, revoking }
    }
}

impl Current {
    /// Whether nothing is left to do for the target of that epoch.
    pub(crate) fn is_reconciled(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    pub(crate) fn sets(&self) -> TaskSets {
        let active = |(id, tasks): (&String, &BTreeMap<i32, i32>)| (id.clone(), tasks.keys().copied().collect());
        TaskSets {
            active: self.active.iter().map(active).collect(),
            standby: self.standby.clone(),
            warmup: self.warmup.clone(),
        }
    }

    fn len(&self) -> usize {
        self.active.values().map(BTreeMap::len).sum::<usize>() + count(&self.standby) + count(&self.warmup)
    }
}

impl TaskSets {
    /// Whether there are none of any kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    fn len(&self) -> usize {
        count(&self.active) + count(&self.standby) + count(&self.warmup)
    }
}

fn count(tasks: &Tasks) -> usize {
    tasks.values().map(BTreeSet::len).sum()
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Member {
    pub(crate) metadata: Metadata,
    pub(crate) current: Current,
}

/// A streams group.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    /// Rises with every change that may need another assignment. A group begins at 1, and its first member makes that 2.
    pub(crate) epoch: i32,
    /// [`crate::consumer::hash_of_group`] at that epoch.
    pub(crate) metadata_hash: i64,
    /// The topology of that epoch had all its topics; -1: they were missing or wrong.
    pub(crate) validated_topology_epoch: i32,
    /// The settings that the last assignment followed.
    pub(crate) assignment_configs: BTreeMap<String, String>,
    /// Which epoch the target is of.
    pub(crate) target_epoch: i32,
    /// When the target was made. 0: never.
    pub(crate) target_at: UnixMillis,
    topology: Option<Topology>,
    /// Which of the topology's subtopologies reads a topic, the first one of several.
    readers: BTreeMap<String, usize>,
    members: BTreeMap<String, Member>,
    targets: BTreeMap<String, TaskSets>,
    bytes: usize,
    /// In memory only: what follows from the topology and the topics that there are, as of [`Streams::seen`].
    pub(super) configured: Option<Configured>,
    pub(super) seen: Option<i64>,
    /// In memory only: who asked that all of the application shuts down.
    pub(super) shutdown: Option<String>,
    /// In memory only: counts changes of what is told in [`super::endpoints`].
    pub(super) endpoint_epoch: i32,
    /// In memory only: the first target waits for more members.
    pub(super) is_delayed: bool,
    /// In memory only: how far the members' tasks are.
    pub(super) task_offsets: BTreeMap<String, MemberOffsets>,
    pub(super) task_offsets_bytes: usize,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            epoch: 1,
            metadata_hash: 0,
            validated_topology_epoch: 0,
            assignment_configs: BTreeMap::new(),
            target_epoch: 1,
            target_at: UnixMillis(0),
            topology: None,
            readers: BTreeMap::new(),
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            bytes: 0,
            configured: None,
            seen: None,
            shutdown: None,
            endpoint_epoch: 0,
            is_delayed: false,
            task_offsets: BTreeMap::new(),
            task_offsets_bytes: 0,
        }
    }
}

impl Streams {
    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn targets(&self) -> &BTreeMap<String, TaskSets> {
        &self.targets
    }

    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.bytes + self.task_offsets_bytes
    }

    pub(crate) fn state(&self) -> StreamsState {
        let is_validated = self.topology().is_some_and(|it| it.epoch == self.validated_topology_epoch);
        if self.members.is_empty() {
            StreamsState::Empty
        } else if !is_validated {
            StreamsState::NotReady
        } else if self.epoch > self.target_epoch {
            StreamsState::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled(self.target_epoch)) {
            StreamsState::Stable
        } else {
            StreamsState::Reconciling
        }
    }

    /// The subtopology that reads a topic.
    pub(crate) fn reader_of(&self, topic: &str) -> Option<&Subtopology> {
        self.topology.as_ref()?.subtopologies.get(*self.readers.get(topic)?)
    }

    /// Whether members use the topic's offsets.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        !self.members.is_empty() && self.reader_of(topic).is_some()
    }

    pub(crate) fn put_topology(&mut self, topology: Topology) {
        self.remove_topology();
        self.bytes += topology_bytes(&topology);
        for (place, subtopology) in topology.subtopologies.iter().enumerate() {
            for name in sources(subtopology) {
                self.readers.entry(name.clone()).or_insert(place);
            }
        }
        self.topology = Some(topology);
    }

    pub(crate) fn remove_topology(&mut self) {
        self.bytes -= self.topology.take().as_ref().map_or(0, topology_bytes);
        self.readers.clear();
        (self.configured, self.seen) = (None, None);
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
        self.bytes += member_bytes(id, &member);
        let before = self.members.insert(id.to_owned(), member);
        self.bytes -= before.as_ref().map_or(0, |member| member_bytes(id, member));
    }

    pub(crate) fn remove_member(&mut self, id: &str) {
        let removed = self.members.remove(id);
        self.remove_task_offsets(id);
        self.bytes -= removed.as_ref().map_or(0, |member| member_bytes(id, member));
        if self.members.is_empty() {
            self.shutdown = None;
        }
    }

    pub(crate) fn put_target(&mut self, id: &str, target: TaskSets) {
        self.remove_target(id);
        self.bytes += target_bytes(id, &target);
        self.targets.insert(id.to_owned(), target);
    }

    pub(crate) fn remove_target(&mut self, id: &str) {
        self.bytes -= self.targets.remove(id).map_or(0, |target| target_bytes(id, &target));
    }

    /// All that lasts, to be compared.
    #[cfg(test)]
    pub(crate) fn lasting(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let epochs = (self.epoch, self.metadata_hash, self.validated_topology_epoch, self.target_epoch, self.target_at);
        let parts = (self.topology.clone(), self.members.clone(), self.targets.clone(), self.bytes);
        (epochs, self.assignment_configs.clone(), parts)
    }
}

/// Bytes of what a group keeps of what a member says.
pub(super) fn metadata_bytes(metadata: &Metadata) -> usize {
    let Metadata { instance_id, rack_id, client_id, client_host, process_id, endpoint, tags, .. } = metadata;
    let optional = [instance_id, rack_id].into_iter().flatten().map(String::len).sum::<usize>();
    let host = endpoint.as_ref().map_or(0, |endpoint| endpoint.host.len());
    let tags = tags.iter().map(|(key, value)| TASK_BYTES + key.len() + value.len()).sum::<usize>();
    ENTRY_BYTES + optional + client_id.len() + client_host.len() + process_id.len() + host + tags
}

/// Bytes of a topology.
pub(super) fn topology_bytes(topology: &Topology) -> usize {
    let texts = |texts: &[String]| texts.iter().map(|text| TASK_BYTES + text.len()).sum::<usize>();
    let infos = |infos: &[TopicInfo]| {
        let configs = |info: &TopicInfo| {
            info.topic_configs.iter().map(|it| TASK_BYTES + it.key.len() + it.value.len()).sum::<usize>()
        };
        infos.iter().map(|info| ENTRY_BYTES + info.name.len() + configs(info)).sum::<usize>()
    };
    let one = |it: &Subtopology| {
        let names = texts(&it.source_topics) + texts(&it.source_topic_regex) + texts(&it.repartition_sink_topics);
        let internal = infos(&it.state_changelog_topics) + infos(&it.repartition_source_topics);
        // Who reads them.
        let read = sources(it).map(|name| TASK_BYTES + name.len()).sum::<usize>();
        let indexes = |it: &protocol::messages::streams_group_heartbeat_request::CopartitionGroup| {
            ENTRY_BYTES + 2 * (it.source_topics.len() + it.repartition_source_topics.len())
        };
        ENTRY_BYTES
            + it.subtopology_id.len()
            + names
            + internal
            + read
            + it.copartition_groups.iter().map(indexes).sum::<usize>()
    };
    ENTRY_BYTES + topology.subtopologies.iter().map(one).sum::<usize>()
}

fn member_bytes(id: &str, member: &Member) -> usize {
    let held = member.current.assigned.len() + member.current.revoking.len();
    id.len() + metadata_bytes(&member.metadata) + held * TASK_BYTES
}

fn target_bytes(id: &str, target: &TaskSets) -> usize {
    ENTRY_BYTES + id.len() + target.len() * TASK_BYTES
}
