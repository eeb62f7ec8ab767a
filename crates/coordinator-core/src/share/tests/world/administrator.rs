//! Offsets are altered and deleted, and the group is.

use super::super::bench::GROUP;
use super::members::key;
use super::{Place, World};
use crate::{AlterOutcome, NewStartOffset, StateInitialization};

impl World {
    pub(super) fn alter(&mut self, topic: &str) {
        let partition = i32::try_from(self.seed.below(4)).unwrap();
        let start_offset = i64::try_from(self.seed.below(40)).unwrap();
        let offset = NewStartOffset { topic: topic.to_owned(), partition, start_offset };
        let altered = self
            .bench
            .at_groups(|groups, now, topics, fx| groups.alter_share_offsets(now, topics, GROUP, &[offset], fx));
        if let Ok((outcomes, request)) = altered {
            if let [AlterOutcome::Asked(topic)] = outcomes[..] {
                self.progress.remove(&(topic, partition));
            }
            self.send(request);
        }
    }

    /// An offset that the share coordinator has taken: its administrator is told, if it was not altered again since.
    pub(super) fn note_altered(&mut self, request: &StateInitialization) {
        let offsets = request.start_offsets.iter();
        let places = offsets.flat_map(|(topic, all)| all.iter().map(move |(it, start)| ((*topic, *it), *start)));
        for (place, start) in places.filter(|(_, start)| *start >= 0) {
            let read = self.bench.read(&key(place), -1);
            let is_it = read.is_ok_and(|read| read.state_epoch == request.state_epoch && read.start_offset >= start);
            if is_it && self.is_counted(place) {
                let known = self.progress.entry(place).or_insert(start);
                *known = start.max(*known);
            }
        }
    }

    pub(super) fn delete_offsets(&mut self, topic: &str) {
        let id = self.bench.id(topic);
        let names = [topic.to_owned()];
        let begun = self
            .bench
            .at_groups(|groups, _, topics, fx| groups.begin_deleting_share_offsets(GROUP, &names, topics, fx));
        let Some(deletion) = begun.ok().and_then(|begun| begun.deletion) else { return };
        self.progress.retain(|(it, _), _| *it != id);
        if self.seed.chance(300) || !self.bench.delete_all(&deletion) {
            return;
        }
        self.requests.clear();
        if self.seed.chance(700) {
            self.bench.at_groups(|groups, _, _, fx| groups.share_deleted(GROUP, [id], fx));
        }
    }

    pub(super) fn delete_group(&mut self) {
        let begun = self.bench.at_groups(|groups, _, topics, fx| groups.begin_deleting_share_group(GROUP, topics, fx));
        let Ok(deletion) = begun else { return };
        self.progress.clear();
        if self.seed.chance(300) || deletion.is_some_and(|deletion| !self.bench.delete_all(&deletion)) {
            return;
        }
        self.requests.clear();
        if self.bench.at_groups(|groups, _, _, fx| groups.delete_group(GROUP, fx)).is_ok() {
            self.answers.clear();
            self.leaders.clear();
        }
    }

    /// Whether the group has done with initialising it, so that what is written there counts.
    pub(super) fn is_counted(&self, (topic, partition): Place) -> bool {
        let share = self.bench.groups.find(GROUP).ok().and_then(|group| group.share.as_ref());
        share.is_some_and(|share| {
            let topics = share.topics();
            let is_in = |topics: &std::collections::BTreeMap<_, crate::share::group::Named>| {
                topics.get(&topic).is_some_and(|named| named.partitions.contains(&partition))
            };
            is_in(&topics.initialized) && !is_in(&topics.initializing)
        })
    }
}
