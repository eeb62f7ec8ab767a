//! What administrators see of consumer groups.

use super::heartbeat::partitions_of;
use super::state::{Consumer, ConsumerState, Current, Member, Partitions};
use super::topics::Topics;
use crate::effects::GroupError;
use crate::group::ENTRY_BYTES;
use crate::groups::Groups;
use base::TopicId;

/// Bytes of a topic's name at the most.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A line of a list of consumer groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSummary {
    pub id: String,
    pub state: ConsumerState,
}

/// A consumer group with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerDescription {
    pub state: ConsumerState,
    pub epoch: i32,
    /// Which epoch the members' targets are of; -1 where there are none.
    pub assignment_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<ConsumerMemberDescription>,
}

/// A member of a described group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub names: Vec<String>,
    /// Empty: none.
    pub regex: String,
    /// It speaks the classic protocol.
    pub is_classic: bool,
    /// What it holds, with what it is to give up.
    pub assignment: Vec<NamedPartitions>,
    pub target: Vec<NamedPartitions>,
}

/// Partitions of a topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPartitions {
    pub topic: TopicId,
    pub name: String,
    pub partitions: Vec<i32>,
}

impl Groups {
    /// All consumer groups, by id. Those of the classic protocol are in [`Groups::list`].
    pub fn list_consumers(&self) -> impl Iterator<Item = ConsumerSummary> {
        self.groups.iter().filter_map(|(id, group)| {
            let state = group.consumer.as_ref()?.state();
            Some(ConsumerSummary { id: id.clone(), state })
        })
    }

    /// Bytes that a consumer group's description takes, about: each member's topics with their names.
    #[must_use]
    pub fn described_consumer_bytes(&self, id: &str) -> usize {
        let Some(consumer) = self.groups.get(id).and_then(|group| group.consumer.as_ref()) else { return 0 };
        let held = |member: &Member| member.current.assigned.len() + member.current.revoking.len();
        let topics = consumer.members().values().map(held).chain(consumer.targets().values().map(Partitions::len));
        consumer.bytes() + consumer.members().len() * ENTRY_BYTES + topics.sum::<usize>() * TOPIC_NAME_BYTES_MAX
    }

    /// Whether the group is of the newer protocol.
    #[must_use]
    pub fn is_consumer(&self, id: &str) -> bool {
        self.groups.get(id).is_some_and(|group| group.consumer.is_some())
    }

    /// One consumer group.
    ///
    /// # Errors
    /// There is none of that id, or it is of the classic protocol.
    pub fn describe_consumer(&self, id: &str, topics: &Topics<'_>) -> Result<ConsumerDescription, GroupError> {
        let consumer = self.find(id)?.consumer.as_ref().ok_or(GroupError::NotConsumer)?;
        let describe = |(id, member): (&String, &Member)| describe_member(consumer, id, member, topics);
        Ok(ConsumerDescription {
            state: consumer.state(),
            epoch: consumer.epoch,
            assignment_epoch: consumer.target_epoch,
            assignor: consumer.assignor(&self.options.consumer).name(),
            members: consumer.members().iter().map(describe).collect(),
        })
    }
}

fn describe_member(consumer: &Consumer, id: &str, member: &Member, topics: &Topics<'_>) -> ConsumerMemberDescription {
    let (metadata, current) = (&member.metadata, &member.current);
    ConsumerMemberDescription {
        member_id: id.to_owned(),
        instance_id: metadata.instance_id.clone(),
        rack_id: metadata.rack_id.clone(),
        epoch: current.epoch,
        client_id: metadata.client_id.clone(),
        client_host: metadata.client_host.clone(),
        names: metadata.names.iter().cloned().collect(),
        regex: metadata.regex.clone(),
        is_classic: member.is_classic(),
        assignment: named(&all_of(current), topics),
        target: consumer.targets().get(id).map(|target| named(target, topics)).unwrap_or_default(),
    }
}

/// All that a member holds, with what it is to give up.
pub(super) fn all_of(current: &Current) -> Partitions {
    let mut all = partitions_of(&current.assigned);
    for (topic, partitions) in partitions_of(&current.revoking) {
        all.entry(topic).or_default().extend(partitions);
    }
    all
}

fn named(partitions: &Partitions, topics: &Topics<'_>) -> Vec<NamedPartitions> {
    let each = partitions.iter().filter_map(|(topic, partitions)| {
        let name = (topics.name_of)(*topic)?;
        Some(NamedPartitions { topic: *topic, name, partitions: partitions.iter().copied().collect() })
    });
    each.collect()
}
