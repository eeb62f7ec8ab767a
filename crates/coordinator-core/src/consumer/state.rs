//! A consumer group as a value: what lasts of it, and what follows from that.
//!
//! What follows (instance ids, counts, bytes) is right after every call here, in whatever order records are replayed.

use super::assign::Assignor;
use super::derived::{Derived, held_bytes, regex_bytes, target_bytes};
use super::options::{ConsumerOptions, ConsumerTimes};
use super::request::LEAVES_FOR_NOW;
use super::topics::{TopicInfo, Topics, hash_of_group};
use crate::group::{ENTRY_BYTES, Protocol};
use base::{Micros, TopicId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions by topic. No topic is without.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// Partitions by topic, each with the epoch that its member got it at (KIP-1251). No topic is without.
pub(crate) type Held = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// Kafka's states of a consumer group. A group that does not exist is *dead*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerState {
    /// Nobody is in it; it may hold offsets.
    Empty,
    /// There is no target assignment for the group's epoch yet.
    Assigning,
    /// Some members are not where the target assignment wants them.
    Reconciling,
    /// All are.
    Stable,
}

impl ConsumerState {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConsumerState::Empty => "Empty",
            ConsumerState::Assigning => "Assigning",
            ConsumerState::Reconciling => "Reconciling",
            ConsumerState::Stable => "Stable",
        }
    }
}

/// How far a member is with its part of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemberState {
    /// It has all of it.
    #[default]
    Stable,
    /// It is to give up partitions or tasks, and has not said yet that it did.
    Unrevoked,
    /// Others have not given up all that it is to get.
    Unreleased,
    /// Of a newer Kafka: the member must begin anew.
    Unknown,
}

impl MemberState {
    /// As records have it.
    pub(crate) fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown => 127,
        }
    }

    /// The state of that number.
    pub(crate) fn of_number(number: i8) -> MemberState {
        match number {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) names: BTreeSet<String>,
    /// Empty: none.
    pub(crate) regex: String,
    /// -1: never said.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<String>,
    /// Of a member that speaks the classic protocol.
    pub(crate) classic: Option<Classic>,
}

/// What a member of the classic protocol says beside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Classic {
    pub(crate) session_timeout_ms: i32,
    /// The preferred one first. All say the same of what the member subscribes to.
    pub(crate) protocols: Vec<Protocol>,
}

impl Default for Metadata {
    fn default() -> Self {
        Metadata {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            names: BTreeSet::new(),
            regex: String::new(),
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        }
    }
}

/// What a member holds, and at which epoch.
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
        Current {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Held::new(),
            revoking: Held::new(),
        }
    }
}

impl Current {
    pub(crate) fn is_unrevoked(&self) -> bool {
        self.state == MemberState::Unrevoked
    }

    /// Whether nothing is left to do for the target of that epoch.
    pub(crate) fn is_reconciled(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) metadata: Metadata,
    pub(crate) current: Current,
}

/// The topics that a regular expression matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) topics: BTreeSet<String>,
    /// [`Topics::version`] at that time.
    pub(crate) version: i64,
    pub(crate) at: UnixMillis,
}

#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    /// Rises with every change of what members subscribe to. 0: none yet.
    pub(crate) epoch: i32,
    /// [`hash_of_group`] at that epoch.
    pub(crate) metadata_hash: i64,
    /// Which epoch the target is of. -1: there is none yet.
    pub(crate) target_epoch: i32,
    /// When the target was made. 0: unknown.
    pub(crate) target_at: UnixMillis,
    /// There is an old record of the topics' partitions, which Kafka 4.0 wrote.
    pub(crate) has_partition_metadata: bool,
    members: BTreeMap<String, Member>,
    targets: BTreeMap<String, Partitions>,
    regexes: BTreeMap<String, Resolved>,
    derived: Derived,
    /// In memory only: which topics the group was held against last, and their hashes.
    pub(crate) seen: Option<i64>,
    pub(crate) hashes: BTreeMap<String, u64>,
    /// In memory only: the group's own periods, as its last heartbeat brought them.
    pub(crate) times: Option<ConsumerTimes>,
    /// In memory only: against which topics its regular expressions were held last, and when.
    pub(crate) matched: Option<(i64, Micros)>,
}

impl Default for Consumer {
    fn default() -> Self {
        Consumer {
            epoch: 0,
            metadata_hash: 0,
            target_epoch: -1,
            target_at: UnixMillis(0),
            has_partition_metadata: false,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            derived: Derived::default(),
            seen: None,
            hashes: BTreeMap::new(),
            times: None,
            matched: None,
        }
    }
}

impl Consumer {
    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn targets(&self) -> &BTreeMap<String, Partitions> {
        &self.targets
    }

    pub(crate) fn regexes(&self) -> &BTreeMap<String, Resolved> {
        &self.regexes
    }

    /// The member that has a group instance id: of several that a crash has left, one that is not away.
    pub(crate) fn instance(&self, instance_id: &str) -> Option<&String> {
        let ids = self.derived.instances.get(instance_id)?;
        let is_here = |id: &&String| self.members.get(*id).is_some_and(|it| it.current.epoch != LEAVES_FOR_NOW);
        ids.iter().find(is_here).or_else(|| ids.first())
    }

    /// Members that subscribe to a regular expression.
    pub(crate) fn regex_members(&self, regex: &str) -> usize {
        self.derived.regexes.get(regex).copied().unwrap_or(0)
    }

    /// Regular expressions that members subscribe to: all, or those that were never held against the topics.
    pub(super) fn subscribed_regexes(&self, all: bool) -> impl Iterator<Item = &String> {
        self.derived.regexes.keys().filter(move |regex| all || !self.regexes.contains_key(*regex))
    }

    /// Whether all members of the classic protocol know a protocol.
    pub(super) fn do_all_know(&self, protocol: &str) -> bool {
        self.derived.protocols.get(protocol).copied().unwrap_or(0) == self.derived.classic
    }

    pub(crate) fn is_held(&self, topic: TopicId, partition: i32) -> bool {
        self.derived.holders.contains_key(&(topic, partition))
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.derived.bytes
    }

    pub(crate) fn state(&self) -> ConsumerState {
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerState::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled(self.target_epoch)) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    /// What most members ask for that ask for one which there is.
    pub(crate) fn assignor(&self, options: &ConsumerOptions) -> Assignor {
        let votes = self.derived.assignors.iter().filter(|(assignor, _)| options.assignors.contains(assignor));
        let most = votes.max_by_key(|(assignor, count)| (**count, std::cmp::Reverse(**assignor)));
        most.map_or(options.default_assignor(), |(assignor, _)| *assignor)
    }

    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.derived.names.contains_key(topic) || self.regexes.values().any(|resolved| resolved.topics.contains(topic))
    }

    /// Topics that a member subscribes to, by name or by its regular expression, which are there.
    pub(crate) fn topics_of(&self, metadata: &Metadata, topics: &Topics<'_>) -> BTreeMap<TopicId, i32> {
        let matched = self.regexes.get(&metadata.regex).into_iter().flat_map(|resolved| &resolved.topics);
        let found = metadata.names.iter().chain(matched).filter_map(|name| (topics.find)(name));
        found.map(|TopicInfo { id, partitions }| (id, partitions)).collect()
    }

    /// All topics that are subscribed to; some of them twice.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = &String> {
        self.derived.names.keys().chain(self.regexes.values().flat_map(|resolved| &resolved.topics))
    }

    /// The hash of what is subscribed to now, as far as the topics were there when they were looked at last.
    pub(crate) fn hash_of_seen(&self) -> i64 {
        hash_of_group(self.subscriptions().filter_map(|name| self.hashes.get(name).map(|hash| (name, *hash))))
    }

    pub(crate) fn put_metadata(&mut self, id: &str, metadata: Metadata) {
        let current = self.members.get(id).map(|member| member.current.clone()).unwrap_or_default();
        self.put_member(id, Member { metadata, current });
    }

    pub(crate) fn put_current(&mut self, id: &str, current: Current) {
        let bytes = held_bytes(&current);
        if !self.members.contains_key(id) {
            return self.put_member(id, Member { current, ..Member::default() });
        }
        self.derived.hold(&current);
        self.derived.bytes += bytes;
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.current, current);
        self.derived.release(&before);
        self.derived.bytes -= held_bytes(&before);
    }

    pub(crate) fn put_member(&mut self, id: &str, member: Member) {
        self.remove_member(id);
        self.derived.add(id, &member);
        self.members.insert(id.to_owned(), member);
    }

    pub(crate) fn remove_member(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id)?;
        self.derived.remove(id, &removed);
        Some(removed)
    }

    pub(crate) fn put_target(&mut self, id: &str, target: Partitions) {
        self.remove_target(id);
        self.derived.bytes += target_bytes(id, &target);
        self.targets.insert(id.to_owned(), target);
    }

    pub(crate) fn remove_target(&mut self, id: &str) -> Option<Partitions> {
        let removed = self.targets.remove(id)?;
        self.derived.bytes -= target_bytes(id, &removed);
        Some(removed)
    }

    pub(crate) fn put_regex(&mut self, regex: &str, resolved: Resolved) {
        self.remove_regex(regex);
        self.derived.bytes += regex_bytes(regex, &resolved);
        self.regexes.insert(regex.to_owned(), resolved);
    }

    /// Whether it was there.
    pub(crate) fn remove_regex(&mut self, regex: &str) -> bool {
        let removed = self.regexes.remove(regex);
        self.derived.bytes -= removed.as_ref().map_or(0, |removed| regex_bytes(regex, removed));
        removed.is_some()
    }

    /// All that lasts and all that follows from it, to be compared.
    #[cfg(test)]
    pub(crate) fn lasting(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let epochs = (self.epoch, self.metadata_hash, self.target_epoch, self.target_at);
        (epochs, self.members.clone(), self.targets.clone(), self.regexes.clone(), self.derived.clone())
    }
}
