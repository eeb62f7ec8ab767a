//! Which partitions the share coordinator keeps something for: what it is asked to begin with, and what comes of that.

use super::heartbeat::Beat;
use super::state::{Named, StateTopics, named_bytes};
use crate::consumer::{Partitions, TopicInfo};
use crate::effects::Effects;
use crate::groups::Groups;
use crate::record::CoordinatorRecord;
use crate::share::{UNINITIALIZED_OFFSET, rule};
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// Where share-partitions are to begin, by topic and partition; [`UNINITIALIZED_OFFSET`]: where their leaders find them to.
pub type StartOffsets = BTreeMap<TopicId, BTreeMap<i32, i64>>;

/// What the share coordinator is to be asked (InitializeShareGroupState), in as many requests as it has partitions for that, once the records
/// are confirmed. What becomes of it goes to [`Groups::share_initialized`] and [`Groups::share_not_initialized`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateInitialization {
    pub group: String,
    pub state_epoch: i32,
    pub start_offsets: StartOffsets,
}

impl Groups {
    /// What of it is waited for still, as topic, partition and start offset: what was asked for anew since, or deleted, is not.
    #[must_use]
    pub fn share_awaits(&self, wanted: &StateInitialization) -> Vec<(TopicId, i32, i64)> {
        let share = self.groups.get(&wanted.group).and_then(|group| group.share.as_ref());
        let Some(share) = share else { return Vec::new() };
        let is_awaited = |topic: TopicId, partition: i32| {
            let initializing = share.topics().initializing.get(&topic);
            let is_in = initializing.is_some_and(|named| named.partitions.contains(&partition));
            is_in && share.asked.get(&(topic, partition)).is_some_and(|(_, epoch)| *epoch == wanted.state_epoch)
        };
        let each = wanted.start_offsets.iter().flat_map(|(topic, offsets)| offsets.iter().map(move |it| (*topic, it)));
        let each = each.map(|(topic, (partition, offset))| (topic, *partition, *offset));
        each.filter(|(topic, partition, _)| is_awaited(*topic, *partition)).collect()
    }

    /// The share coordinator has initialised partitions, as it was asked at that state epoch. Members hear of it with their
    /// next heartbeats. What is not, or no longer, waited for changes nothing: if it was asked for again since, that answer counts.
    pub fn share_initialized(&mut self, group: &str, state_epoch: i32, done: &Partitions, fx: &mut Effects) {
        self.change_topics(group, state_epoch, done, fx, |topics, topic, named| {
            let initialized = topics.initialized.entry(topic).or_default();
            initialized.name = named.name;
            initialized.partitions.extend(named.partitions);
        });
    }

    /// The share coordinator has not: the next heartbeat of a member that subscribes to the topic asks again.
    pub fn share_not_initialized(&mut self, group: &str, state_epoch: i32, failed: &Partitions, fx: &mut Effects) {
        self.change_topics(group, state_epoch, failed, fx, |_, _, _| {});
    }

    /// Takes partitions out of those that are waited for.
    fn change_topics(
        &mut self,
        id: &str,
        state_epoch: i32,
        partitions: &Partitions,
        fx: &mut Effects,
        mut taken: impl FnMut(&mut StateTopics, TopicId, Named),
    ) {
        let Some(share) = self.groups.get_mut(id).and_then(|group| group.share.as_mut()) else { return };
        let mut topics = share.topics().clone();
        for (topic, partitions) in partitions {
            let Some(named) = topics.initializing.get_mut(topic) else { continue };
            let is_answer = |partition: &i32| {
                let asked = share.asked.get(&(*topic, *partition));
                let is_last = asked.is_some_and(|(_, epoch)| *epoch == state_epoch);
                rule!("only the last answer counts", is_last, true)
            };
            let name = named.name.clone();
            let found = named.partitions.intersection(partitions).copied().filter(is_answer).collect::<BTreeSet<i32>>();
            named.partitions.retain(|partition| !found.contains(partition));
            if named.partitions.is_empty() {
                topics.initializing.remove(topic);
            }
            if !found.is_empty() {
                taken(&mut topics, *topic, Named { name, partitions: found });
            }
        }
        if topics != *share.topics() {
            fx.records.push(CoordinatorRecord::share_topics(id, &topics));
            share.put_topics(topics);
            self.recount(id);
        }
    }

    /// Topics that are gone are forgotten; the share coordinator does the same for itself
    /// ([`crate::ShareStates::forget_topics`]).
    pub(crate) fn share_forget_topics(&mut self, is_gone: &impl Fn(&str, TopicId) -> bool, fx: &mut Effects) {
        let mut changed = Vec::new();
        for (id, group) in &mut self.groups {
            let Some(share) = &mut group.share else { continue };
            let mut topics = share.topics().clone();
            topics.initializing.retain(|topic, named| !is_gone(&named.name, *topic));
            topics.initialized.retain(|topic, named| !is_gone(&named.name, *topic));
            topics.deleting.retain(|topic, name| !is_gone(name, *topic));
            if topics != *share.topics() {
                fx.records.push(CoordinatorRecord::share_topics(id, &topics));
                share.put_topics(topics);
                changed.push(id.clone());
            }
        }
        for id in changed {
            self.recount(&id);
        }
    }
}

impl StateTopics {
    /// Partitions that are asked for from now on. What was being deleted begins anew.
    pub(super) fn ask(&mut self, wanted: &BTreeMap<TopicId, Named>) {
        for (topic, named) in wanted {
            let asked = self.initializing.entry(*topic).or_default();
            asked.name.clone_from(&named.name);
            asked.partitions.extend(&named.partitions);
            self.deleting.remove(topic);
        }
    }
}

impl Beat<'_> {
    /// What of the topics that members subscribe to is neither initialised nor waited for.
    pub(super) fn initialize(&mut self) -> Option<StateInitialization> {
        if self.share.settled == Some(self.topics.version) {
            return None;
        }
        let found = self.share.names().filter_map(|name| Some((name, (self.topics.find)(name)?)));
        let found: Vec<(String, TopicInfo)> = found.map(|(name, topic)| (name.clone(), topic)).collect();
        let mut wanted = BTreeMap::new();
        let mut bytes = self.share.bytes();
        for (name, topic) in &found {
            let named = Named { name: name.clone(), partitions: self.missing(*topic) };
            // A group that would be too large for its record goes without the rest.
            bytes += named_bytes(&named);
            if !named.partitions.is_empty() && bytes <= self.topics_bytes_max && named_bytes(&named) <= self.room {
                wanted.insert(topic.id, named);
            }
        }
        if wanted.is_empty() {
            let waits = found.iter().any(|(_, topic)| self.share.topics().initializing.contains_key(&topic.id));
            let is_settled = !waits && self.share.target_epoch >= self.share.epoch;
            if is_settled && !self.share.has_unassigned(self.topics) {
                self.share.settled = Some(self.topics.version);
            }
            return None;
        }
        let begin = |named: &Named| named.partitions.iter().map(|it| (*it, UNINITIALIZED_OFFSET)).collect();
        let start_offsets = wanted.iter().map(|(topic, named)| (*topic, begin(named))).collect();
        Some(self.ask(&wanted, start_offsets))
    }

    /// Puts partitions among those that are waited for, and says what the share coordinator is to be asked.
    pub(super) fn ask(
        &mut self,
        wanted: &BTreeMap<TopicId, Named>,
        start_offsets: StartOffsets,
    ) -> StateInitialization {
        let mut topics = self.share.topics().clone();
        topics.ask(wanted);
        self.fx.records.push(CoordinatorRecord::share_topics(self.id, &topics));
        self.share.put_topics(topics);
        let state_epoch = self.share.epoch;
        for (topic, named) in wanted {
            let each = named.partitions.iter().map(|partition| ((*topic, *partition), (self.now.at, state_epoch)));
            self.share.asked.extend(each);
        }
        StateInitialization { group: self.id.to_owned(), state_epoch, start_offsets }
    }

    /// Partitions of a topic that are neither initialised nor waited for. What was asked for long ago, or before a takeover, is asked for
    /// again.
    fn missing(&self, topic: TopicInfo) -> BTreeSet<i32> {
        let StateTopics { initializing, initialized, .. } = self.share.topics();
        let retry = self.options.initialize_retry_interval;
        let is_in = |topics: &BTreeMap<TopicId, Named>, partition: &i32| {
            topics.get(&topic.id).is_some_and(|named| named.partitions.contains(partition))
        };
        let is_fresh = |partition: &i32| {
            let asked = self.share.asked.get(&(topic.id, *partition));
            asked.is_some_and(|(at, _)| self.now.at < at.plus(retry))
        };
        let is_known =
            |partition: &i32| is_in(initialized, partition) || is_in(initializing, partition) && is_fresh(partition);
        (0..topic.partitions).filter(|partition| !is_known(partition)).collect()
    }
}
