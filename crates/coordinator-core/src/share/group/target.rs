//! The group's epoch and the target assignment for it.

use super::assign::assign;
use super::heartbeat::Beat;
use super::state::Share;
use crate::consumer::{Partitions, TopicInfo, Topics};
use crate::record::CoordinatorRecord;
use crate::share::rule;
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

impl Share {
    /// Topics that are subscribed to and there, each with its partitions that may be shared out. None is without.
    fn to_share_out(&self, topics: &Topics<'_>) -> Partitions {
        let found = self.names().filter_map(|name| (topics.find)(name));
        let of_topic = |topic: TopicInfo| {
            let all = rule!("only what is initialised is shared out", None, Some((0..topic.partitions).collect()));
            (topic.id, all.unwrap_or_else(|| self.assignable(topic).collect::<BTreeSet<i32>>()))
        };
        found.map(of_topic).filter(|(_, partitions)| !partitions.is_empty()).collect()
    }

    /// Whether there is something to share out that is nobody's.
    pub(super) fn has_unassigned(&self, topics: &Topics<'_>) -> bool {
        let mut assigned = BTreeMap::<TopicId, BTreeSet<i32>>::new();
        for (topic, partitions) in self.targets().values().flatten() {
            assigned.entry(*topic).or_default().extend(partitions);
        }
        let is_assigned = |topic: &TopicId, partitions: &BTreeSet<i32>| {
            assigned.get(topic).is_some_and(|assigned| partitions.is_subset(assigned))
        };
        self.to_share_out(topics).iter().any(|(topic, partitions)| !is_assigned(topic, partitions))
    }

    /// What each member is to have from now on.
    fn targets_now(&self, topics: &Topics<'_>) -> BTreeMap<String, Partitions> {
        let mut members = BTreeMap::<&str, BTreeSet<TopicId>>::new();
        for (id, member) in self.members() {
            let found = member.metadata.names.iter().filter_map(|name| (topics.find)(name));
            members.insert(id, found.map(|topic| topic.id).collect());
        }
        let targets = assign(&members, &self.to_share_out(topics), self.targets());
        targets.into_iter().map(|(id, target)| (id.to_owned(), target)).collect()
    }
}

impl Beat<'_> {
    /// The group goes to its next epoch where its subscriptions have changed, the topics that it subscribes to, or what may be shared out of
    /// them; whether it does.
    pub(super) fn update_epoch(&mut self, resubscribes: bool) -> bool {
        let is_settled = self.share.settled == Some(self.topics.version);
        let has_more =
            !is_settled && self.share.target_epoch >= self.share.epoch && self.share.has_unassigned(self.topics);
        let must_rise = resubscribes || has_more;
        if !must_rise && self.share.seen == Some(self.topics.version) {
            return false;
        }
        let hash = self.share.look_at(self.topics);
        let rises = must_rise || hash != self.share.metadata_hash;
        if rises {
            self.raise_epoch(hash);
        }
        rises
    }

    /// The record goes before all others of this decision: what may be left of them after a crash is shared out anew then.
    pub(super) fn raise_epoch(&mut self, hash: i64) {
        self.share.epoch = self.share.epoch.saturating_add(1);
        self.share.metadata_hash = hash;
        let record = CoordinatorRecord::share_epoch(self.id, self.share.epoch, hash);
        self.fx.records.insert(self.start, record);
    }

    /// The hash for an epoch that rises without a look at the topics. After a takeover nobody has had one: the next heartbeat has.
    pub(super) fn known_hash(&self) -> i64 {
        if self.share.seen.is_some() { self.share.hash_of_seen() } else { self.share.metadata_hash }
    }

    /// Shares out anew where the target is of an older epoch, and the last one is not too young.
    pub(super) fn update_target(&mut self) {
        if self.share.target_epoch >= self.share.epoch || self.is_target_young() {
            return;
        }
        for (member_id, target) in self.share.targets_now(self.topics) {
            if self.share.targets().get(&member_id) != Some(&target) {
                self.fx.records.push(CoordinatorRecord::share_target(self.id, &member_id, &target));
                self.share.put_target(&member_id, target);
            }
        }
        (self.share.target_epoch, self.share.target_at) = (self.share.epoch, self.now.wall);
        let record = CoordinatorRecord::share_target_epoch(self.id, self.share.target_epoch, self.share.target_at);
        self.fx.records.push(record);
    }

    /// A clock that was set back must not hold up the group.
    fn is_target_young(&self) -> bool {
        let interval = self.configs.assignment_interval().unwrap_or(self.options.assignment_interval);
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let age_ms = self.now.wall.0.saturating_sub(self.share.target_at.0);
        self.share.target_epoch != -1 && (0..interval_ms).contains(&age_ms)
    }
}
