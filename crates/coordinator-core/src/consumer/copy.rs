//! A consumer group's records once more, for the copy that bounds the log; and those that take all of it back.

use super::record::Key;
use super::state::Consumer;
use crate::record::CoordinatorRecord;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A record's place among those of its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    part: Part,
    /// A member, or a regular expression.
    name: String,
}

/// The order of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Epoch,
    Metadata,
    Target,
    TargetEpoch,
    Current,
    Regex,
}

impl Consumer {
    /// The records from which the group comes back, behind that place.
    pub(crate) fn records<'a>(
        &'a self,
        group: &'a str,
        after: Option<&Place>,
    ) -> impl Iterator<Item = (Place, CoordinatorRecord)> + use<'a> {
        let start = |part: Part| match after {
            Some(place) if place.part == part => Some(Bound::Excluded(place.name.clone())),
            Some(place) if place.part > part => None,
            _ => Some(Bound::Unbounded),
        };
        let once = |part: Part, record: CoordinatorRecord| {
            let is_next = matches!(start(part), Some(Bound::Unbounded));
            is_next.then(|| (Place { part, name: String::new() }, record)).into_iter()
        };
        let epoch = once(Part::Epoch, CoordinatorRecord::consumer_epoch(group, self.epoch, self.metadata_hash));
        let target_epoch = (self.target_epoch != -1).then(|| {
            once(Part::TargetEpoch, CoordinatorRecord::consumer_target_epoch(group, self.target_epoch, self.target_at))
        });
        let metadata = walk(Part::Metadata, self.members(), start(Part::Metadata), move |name, member| {
            CoordinatorRecord::consumer_metadata(group, name, &member.metadata)
        });
        let targets = walk(Part::Target, self.targets(), start(Part::Target), move |name, target| {
            CoordinatorRecord::consumer_target(group, name, target)
        });
        let current = walk(Part::Current, self.members(), start(Part::Current), move |name, member| {
            CoordinatorRecord::consumer_current(group, name, &member.current)
        });
        let regexes = walk(Part::Regex, self.regexes(), start(Part::Regex), move |name, resolved| {
            CoordinatorRecord::consumer_regex(group, name, resolved)
        });
        let target_epoch = target_epoch.into_iter().flatten();
        epoch.chain(metadata).chain(targets).chain(target_epoch).chain(current).chain(regexes)
    }

    /// The records that take back all of the group but its offsets, in Kafka's order.
    pub(crate) fn tombstones(&self, group: &str) -> Vec<CoordinatorRecord> {
        let mut keys: Vec<Key> = self.members().keys().cloned().map(Key::Current).collect();
        keys.extend(self.targets().keys().cloned().map(Key::Target));
        keys.push(Key::TargetEpoch);
        keys.extend(self.members().keys().cloned().map(Key::Metadata));
        keys.extend(self.regexes().keys().cloned().map(Key::Regex));
        keys.extend([Key::Partitions, Key::Epoch]);
        keys.iter().map(|key| CoordinatorRecord::consumer_gone(group, key)).collect()
    }
}

/// The records of one part, from `start` on; none where that is none.
fn walk<'a, V>(
    part: Part,
    all: &'a BTreeMap<String, V>,
    start: Option<Bound<String>>,
    record: impl Fn(&str, &V) -> CoordinatorRecord + 'a,
) -> impl Iterator<Item = (Place, CoordinatorRecord)> {
    let entries = start.map(|start| all.range((start, Bound::Unbounded))).into_iter().flatten();
    entries.map(move |(name, value): (&String, &V)| (Place { part, name: name.clone() }, record(name, value)))
}
