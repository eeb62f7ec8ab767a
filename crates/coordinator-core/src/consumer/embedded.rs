//! What consumers of the classic protocol say within its requests: what they subscribe to and hold, and what they are told is theirs.

use super::state::{Held, Partitions};
use super::topics::Topics;
use crate::effects::GroupError;
use crate::record::encode_with;
use base::TopicId;
use bytes::Bytes;
use protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use protocol::wire::{Decoder, Message};
use std::collections::{BTreeMap, BTreeSet};

/// The last version of either message that is known; a later one is read, and answered, as this one.
const VERSION_MAX: i16 = *ConsumerProtocolSubscription::VERSIONS.end();

/// Why a classic group can't become one of consumers, in Kafka's words.
pub(super) const MALFORMED: GroupError = GroupError::CannotUpgrade("the embedded consumer protocol is malformed.");
const OWN_ASSIGNOR: GroupError = GroupError::CannotUpgrade(
    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade.",
);

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) names: BTreeSet<String>,
    /// What it holds by its own account; nothing where it gives up all before it joins.
    pub(crate) owned: Partitions,
    pub(crate) rack_id: Option<String>,
}

/// The version of a message, and what follows it.
fn open(bytes: &Bytes) -> Option<(i16, Decoder)> {
    let mut decoder = Decoder::new(bytes.clone());
    let version: i16 = decoder.get(0);
    let is_there = decoder.so_far().is_ok() && version >= 0;
    is_there.then_some((version.min(VERSION_MAX), decoder))
}

/// What a member of that metadata is answered in.
pub(super) fn version_of(metadata: &Bytes) -> i16 {
    open(metadata).map_or(0, |(version, _)| version)
}

/// Reads a member's metadata; none where it is no consumer's. Topics that are not there are left out of what it owns.
pub(crate) fn read_subscription(metadata: &Bytes, topics: &Topics<'_>) -> Option<Subscription> {
    let (version, mut decoder) = open(metadata)?;
    let read: ConsumerProtocolSubscription = decoder.get(version);
    decoder.so_far().ok()?;
    let owned = read.owned_partitions.into_iter().map(|it| (it.topic, it.partitions));
    let (names, owned) = (read.topics.into_iter().collect(), by_id(owned, topics));
    Some(Subscription { names, owned, rack_id: read.rack_id })
}

/// Reads what a leader gave a member; nothing where it has not yet. What a leader of an unknown kind wrote beside would be lost.
pub(crate) fn read_assignment(assignment: &Bytes, topics: &Topics<'_>) -> Result<Partitions, GroupError> {
    if assignment.is_empty() {
        return Ok(Partitions::new());
    }
    let (version, mut decoder) = open(assignment).ok_or(MALFORMED)?;
    let read: ConsumerProtocolAssignment = decoder.get(version);
    decoder.so_far().map_err(|_| MALFORMED)?;
    if read.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(OWN_ASSIGNOR);
    }
    Ok(by_id(read.assigned_partitions.into_iter().map(|it| (it.topic, it.partitions)), topics))
}

fn by_id(named: impl Iterator<Item = (String, Vec<i32>)>, topics: &Topics<'_>) -> Partitions {
    let mut partitions = Partitions::new();
    for (name, of_topic) in named.filter(|(_, of_topic)| !of_topic.is_empty()) {
        if let Some(topic) = (topics.find)(&name) {
            partitions.entry(topic.id).or_default().extend(of_topic);
        }
    }
    partitions
}

/// What a member is told, in the version of its metadata. Topics that are gone have no name.
pub(super) fn write_assignment(partitions: &Partitions, version: i16, topics: &Topics<'_>) -> Bytes {
    let named = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
        let partitions = partitions.iter().copied().collect();
        Some(TopicPartition { topic: (topics.name_of)(*topic)?, partitions })
    };
    let assigned_partitions = partitions.iter().filter_map(named).collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    encode_with(version, false, |encoder| encoder.put(&assignment, version))
}

/// The same as they are held when all of them were given at one epoch.
pub(super) fn held_since(partitions: &Partitions, epoch: i32) -> Held {
    let each = |partitions: &BTreeSet<i32>| partitions.iter().map(|it| (*it, epoch)).collect::<BTreeMap<_, _>>();
    partitions.iter().map(|(topic, partitions)| (*topic, each(partitions))).collect()
}
