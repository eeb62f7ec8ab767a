//! What follows from the parts of a consumer group: who has which instance id, how many name a topic or hold a partition, and bytes.

use super::assign::Assignor;
use super::state::{Classic, Current, Held, Member, Metadata, Partitions, Resolved};
use crate::group::{ENTRY_BYTES, protocols_bytes};
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// What a topic's entry takes beside its partitions, about.
const TOPIC_BYTES: usize = 64;
/// What a partition of a target takes, about.
const TARGET_BYTES: usize = 8;
/// What a partition takes that a member holds, with the count of its holders, about.
const HELD_BYTES: usize = 64;
/// What a name takes in a set beyond its text, about; most members of a group share those among its own.
const NAME_BYTES: usize = 48;

/// What counts of a group follows from its parts. Kept beside them, as some are asked for with every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Derived {
    /// Member ids by group instance id: one, but where a crash has left a part of a decision.
    pub(super) instances: BTreeMap<String, BTreeSet<String>>,
    /// How many members name a topic.
    pub(super) names: BTreeMap<String, usize>,
    /// How many members have a regular expression.
    pub(super) regexes: BTreeMap<String, usize>,
    pub(super) assignors: BTreeMap<Assignor, usize>,
    /// How many members speak the classic protocol, and how many of them know a protocol.
    pub(super) classic: usize,
    pub(super) protocols: BTreeMap<String, usize>,
    /// How many members hold a partition: one, but while records are replayed.
    pub(super) holders: BTreeMap<(TopicId, i32), usize>,
    pub(super) bytes: usize,
}

impl Derived {
    pub(super) fn add(&mut self, id: &str, member: &Member) {
        let Metadata { instance_id, names, regex, assignor, .. } = &member.metadata;
        if let Some(instance_id) = instance_id {
            self.instances.entry(instance_id.clone()).or_default().insert(id.to_owned());
        }
        for name in names {
            *self.names.entry(name.clone()).or_default() += 1;
        }
        if !regex.is_empty() {
            *self.regexes.entry(regex.clone()).or_default() += 1;
        }
        if let Some(assignor) = assignor.as_deref().and_then(Assignor::of_name) {
            *self.assignors.entry(assignor).or_default() += 1;
        }
        if let Some(classic) = &member.metadata.classic {
            self.classic += 1;
            for name in known(classic) {
                *self.protocols.entry(name.to_owned()).or_default() += 1;
            }
        }
        self.hold(&member.current);
        self.bytes += member_bytes(id, member);
    }

    pub(super) fn remove(&mut self, id: &str, member: &Member) {
        let Metadata { instance_id, names, regex, assignor, .. } = &member.metadata;
        if let Some(instance_id) = instance_id
            && let Some(ids) = self.instances.get_mut(instance_id)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.instances.remove(instance_id);
            }
        }
        for name in names {
            count_down(&mut self.names, name);
        }
        count_down(&mut self.regexes, regex);
        if let Some(assignor) = assignor.as_deref().and_then(Assignor::of_name) {
            count_down(&mut self.assignors, &assignor);
        }
        if let Some(classic) = &member.metadata.classic {
            self.classic -= 1;
            for name in known(classic) {
                count_down(&mut self.protocols, name);
            }
        }
        self.release(&member.current);
        self.bytes -= member_bytes(id, member);
    }

    pub(super) fn hold(&mut self, current: &Current) {
        for partition in each(current) {
            *self.holders.entry(partition).or_default() += 1;
        }
    }

    pub(super) fn release(&mut self, current: &Current) {
        for partition in each(current) {
            count_down(&mut self.holders, &partition);
        }
    }
}

/// The protocols that a member knows, each once.
fn known(classic: &Classic) -> BTreeSet<&str> {
    classic.protocols.iter().map(|protocol| protocol.name.as_str()).collect()
}

fn each(current: &Current) -> impl Iterator<Item = (TopicId, i32)> {
    let both = current.assigned.iter().chain(&current.revoking);
    both.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
}

fn count_down<K: Ord + ?Sized, Q: Ord + std::borrow::Borrow<K>>(counts: &mut BTreeMap<Q, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Bytes of what a group keeps of what a member says.
pub(super) fn metadata_bytes(metadata: &Metadata) -> usize {
    let optional = [&metadata.instance_id, &metadata.rack_id, &metadata.assignor];
    let optional = optional.into_iter().flatten().map(String::len).sum::<usize>();
    let texts = metadata.client_id.len() + metadata.client_host.len() + metadata.regex.len();
    let names = metadata.names.iter().map(|name| name.len() + NAME_BYTES).sum::<usize>();
    let classic = metadata.classic.as_ref().map_or(0, |classic| protocols_bytes(&classic.protocols));
    ENTRY_BYTES + optional + texts + names + classic
}

fn member_bytes(id: &str, member: &Member) -> usize {
    id.len() + metadata_bytes(&member.metadata) + held_bytes(&member.current)
}

pub(super) fn held_bytes(current: &Current) -> usize {
    let of = |held: &Held| held.values().map(|it| TOPIC_BYTES + it.len() * HELD_BYTES).sum::<usize>();
    of(&current.assigned) + of(&current.revoking)
}

pub(super) fn target_bytes(id: &str, target: &Partitions) -> usize {
    ENTRY_BYTES + id.len() + target.values().map(|it| TOPIC_BYTES + it.len() * TARGET_BYTES).sum::<usize>()
}

pub(super) fn regex_bytes(regex: &str, resolved: &Resolved) -> usize {
    ENTRY_BYTES + regex.len() + resolved.topics.iter().map(|name| name.len() + NAME_BYTES).sum::<usize>()
}
