//! The group's epoch and the target assignment for it.

use super::assign::{Members, Wish, assign};
use super::heartbeat::Beat;
use super::options::ConsumerOptions;
use super::pattern::{compile, resolve};
use super::record::Key;
use super::state::{Consumer, Metadata, Partitions, Resolved};
use super::topics::{Topics, hash_of_topic};
use crate::record::CoordinatorRecord;
use base::TopicId;
use std::collections::BTreeMap;

/// A target's record may take this part of what a record may: what its member then holds is stored with epochs, and for a while beside
/// what it is to give up.
const TARGET_PART: usize = 4;

impl Consumer {
    /// Looks at the group's topics, those that it has seen already excepted; the hash of all.
    pub(super) fn look_at(&mut self, topics: &Topics<'_>) -> i64 {
        let is_same = self.seen == Some(topics.version);
        let known = if is_same { std::mem::take(&mut self.hashes) } else { BTreeMap::new() };
        let hash = |name: &String| {
            let known = known.get(name).copied();
            known.or_else(|| (topics.find)(name).map(|topic| hash_of_topic(name, topic)))
        };
        let hashes = self.subscriptions().filter_map(|name| hash(name).map(|hash| (name.clone(), hash)));
        self.hashes = hashes.collect();
        self.seen = Some(topics.version);
        self.hash_of_seen()
    }

    /// Whether the group's topics are others than those that its epoch stands for.
    pub(super) fn has_other_topics(&mut self, topics: &Topics<'_>) -> bool {
        if self.seen == Some(topics.version) {
            return false;
        }
        let (seen, hashes) = (self.seen, self.hashes.clone());
        let is_other = self.look_at(topics) != self.metadata_hash;
        if is_other {
            // Whoever makes the next epoch is to see it as well.
            (self.seen, self.hashes) = (seen, hashes);
        }
        is_other
    }

    /// What each member is to have from now on.
    fn targets_now(&self, topics: &Topics<'_>, options: &ConsumerOptions) -> BTreeMap<String, Partitions> {
        // Most members subscribe alike: their topics are looked up once.
        let mut looked_up: BTreeMap<(&std::collections::BTreeSet<String>, &str), BTreeMap<TopicId, i32>> =
            BTreeMap::new();
        for Metadata { names, regex, .. } in self.members().values().map(|member| &member.metadata) {
            looked_up.entry((names, regex)).or_default();
        }
        for ((names, regex), found) in &mut looked_up {
            let metadata = Metadata { names: (*names).clone(), regex: (*regex).to_owned(), ..Metadata::default() };
            *found = self.topics_of(&metadata, topics);
        }
        let mut members = Members::new();
        for (id, member) in self.members() {
            let metadata = &member.metadata;
            let wish = Wish {
                instance_id: metadata.instance_id.as_deref(),
                topics: &looked_up[&(&metadata.names, metadata.regex.as_str())],
                before: self.targets().get(id),
            };
            members.insert(id, wish);
        }
        assign(self.assignor(options), &members).into_iter().map(|(id, target)| (id.to_owned(), target)).collect()
    }
}

impl Beat<'_> {
    /// Holds the group's regular expressions against the topics: those that never were, and all where there are other topics and it was
    /// not done lately; whether any of them matches others.
    pub(super) fn match_regexes(&mut self) -> bool {
        let has_forgotten = self.consumer.matched.is_none() && self.forget_unsubscribed();
        let interval = self.options.regex_refresh_interval;
        let is_due = self
            .consumer
            .matched
            .is_none_or(|(version, at)| version != self.topics.version && self.now.at >= at.plus(interval));
        let regexes: Vec<String> = self.consumer.subscribed_regexes(is_due).cloned().collect();
        if is_due && !regexes.is_empty() {
            self.consumer.matched = Some((self.topics.version, self.now.at));
        }
        // Each of them, not only until one has changed.
        regexes.iter().filter(|regex| self.match_regex(regex)).count() > 0 || has_forgotten
    }

    /// A crash within a decision may have left what an expression matched that nobody subscribes to any more; whether there was any.
    fn forget_unsubscribed(&mut self) -> bool {
        let all = self.consumer.regexes().keys();
        let left: Vec<String> = all.filter(|regex| self.consumer.regex_members(regex) == 0).cloned().collect();
        for regex in &left {
            self.forget_regex(regex);
        }
        !left.is_empty()
    }

    /// Whether it matches other topics than before. One that can't be compiled, as another broker stored it, or takes too much with the topics
    /// that there are by now, goes on matching what it did.
    fn match_regex(&mut self, regex: &str) -> bool {
        let before = self.consumer.regexes().get(regex);
        let compiled = compile(regex, self.options).ok();
        let resolved = match compiled.and_then(|compiled| resolve(&compiled, self.topics, self.now.wall).ok()) {
            Some(resolved) => resolved,
            None if before.is_some() => return false,
            None => Resolved::default(),
        };
        if before.is_some_and(|before| before.topics == resolved.topics) {
            return false;
        }
        let record = CoordinatorRecord::consumer_regex(self.id, regex, &resolved);
        if record.len() > self.record_bytes_max {
            self.is_too_large = true;
            return false;
        }
        self.fx.records.push(record);
        self.consumer.put_regex(regex, resolved);
        true
    }

    /// The group goes to its next epoch where its subscriptions have changed, or the topics that it subscribes to.
    pub(super) fn update_epoch(&mut self, has_changed: bool) {
        // A group has an epoch from its first member on, whatever that subscribes to.
        let is_first = self.consumer.epoch == 0;
        let must_rise = has_changed || is_first;
        if !must_rise && self.consumer.seen == Some(self.topics.version) {
            return;
        }
        let hash = self.consumer.look_at(self.topics);
        if is_first && self.consumer.members().values().any(|member| !member.metadata.names.is_empty()) {
            self.consumer.epoch = self.options.first_epoch.saturating_sub(1);
        }
        if must_rise || hash != self.consumer.metadata_hash {
            self.raise_epoch(hash);
        }
        if std::mem::take(&mut self.consumer.has_partition_metadata) {
            self.fx.records.push(CoordinatorRecord::consumer_gone(self.id, &Key::Partitions));
        }
    }

    /// The record goes before all others of this decision: what may be left of them after a crash is assigned anew then.
    pub(super) fn raise_epoch(&mut self, hash: i64) {
        self.consumer.epoch = self.consumer.epoch.saturating_add(1);
        self.consumer.metadata_hash = hash;
        let record = CoordinatorRecord::consumer_epoch(self.id, self.consumer.epoch, hash);
        self.fx.records.insert(self.start, record);
    }

    /// Assigns anew where the target is of an older epoch, and the last one is not too young.
    pub(super) fn update_target(&mut self) {
        if self.consumer.target_epoch >= self.consumer.epoch || self.is_target_young() {
            return;
        }
        let mut changed = Vec::new();
        for (member_id, target) in self.consumer.targets_now(self.topics, self.options) {
            if self.consumer.targets().get(&member_id) != Some(&target) {
                let record = CoordinatorRecord::consumer_target(self.id, &member_id, &target);
                if record.len() > self.record_bytes_max / TARGET_PART {
                    self.is_too_large = true;
                    return;
                }
                changed.push((member_id, target, record));
            }
        }
        for (member_id, target, record) in changed {
            self.fx.records.push(record);
            self.consumer.put_target(&member_id, target);
        }
        (self.consumer.target_epoch, self.consumer.target_at) = (self.consumer.epoch, self.now.wall);
        let record =
            CoordinatorRecord::consumer_target_epoch(self.id, self.consumer.target_epoch, self.consumer.target_at);
        self.fx.records.push(record);
    }

    /// A clock that was set back must not hold up the group.
    pub(super) fn is_target_young(&self) -> bool {
        let interval_ms = i64::try_from(self.times.assignment_interval.as_millis()).unwrap_or(i64::MAX);
        let age_ms = self.now.wall.0.saturating_sub(self.consumer.target_at.0);
        self.consumer.target_epoch != -1 && (0..interval_ms).contains(&age_ms)
    }
}
