//! A share group's records once more, for the copy that bounds the log; and those that take all of it back.

use super::record::Key;
use super::state::Share;
use crate::record::CoordinatorRecord;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A record's place among those of its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharePlace {
    part: Part,
    /// Empty where the part is the group's.
    member: String,
}

/// The order of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Epoch,
    Topics,
    Metadata,
    Target,
    TargetEpoch,
    Current,
}

impl Share {
    /// The records from which the group comes back, behind that place.
    pub(crate) fn records<'a>(
        &'a self,
        group: &'a str,
        after: Option<&SharePlace>,
    ) -> impl Iterator<Item = (SharePlace, CoordinatorRecord)> + use<'a> {
        let start = |part: Part| match after {
            Some(place) if place.part == part => Some(Bound::Excluded(place.member.clone())),
            Some(place) if place.part > part => None,
            _ => Some(Bound::Unbounded),
        };
        let once = |part: Part, record: CoordinatorRecord| {
            let is_next = matches!(start(part), Some(Bound::Unbounded));
            is_next.then(|| (SharePlace { part, member: String::new() }, record)).into_iter()
        };
        let epoch = once(Part::Epoch, CoordinatorRecord::share_epoch(group, self.epoch, self.metadata_hash));
        let topics = once(Part::Topics, CoordinatorRecord::share_topics(group, self.topics()));
        let target_epoch = (self.target_epoch != -1).then(|| {
            once(Part::TargetEpoch, CoordinatorRecord::share_target_epoch(group, self.target_epoch, self.target_at))
        });
        let metadata = walk(Part::Metadata, self.members(), start(Part::Metadata), move |id, member| {
            CoordinatorRecord::share_metadata(group, id, &member.metadata)
        });
        let targets = walk(Part::Target, self.targets(), start(Part::Target), move |id, target| {
            CoordinatorRecord::share_target(group, id, target)
        });
        let current = walk(Part::Current, self.members(), start(Part::Current), move |id, member| {
            CoordinatorRecord::share_current(group, id, &member.current)
        });
        let target_epoch = target_epoch.into_iter().flatten();
        epoch.chain(topics).chain(metadata).chain(targets).chain(target_epoch).chain(current)
    }

    /// The records that take all of the group back, in Kafka's order.
    pub(crate) fn tombstones(&self, group: &str) -> Vec<CoordinatorRecord> {
        let mut keys: Vec<Key> = self.members().keys().cloned().map(Key::Current).collect();
        keys.extend(self.targets().keys().cloned().map(Key::Target));
        keys.push(Key::TargetEpoch);
        keys.extend(self.members().keys().cloned().map(Key::Metadata));
        keys.extend([Key::Topics, Key::Epoch]);
        keys.iter().map(|key| CoordinatorRecord::share_gone(group, key)).collect()
    }
}

/// The records of one part, from `start` on; none where that is none.
fn walk<'a, V>(
    part: Part,
    all: &'a BTreeMap<String, V>,
    start: Option<Bound<String>>,
    record: impl Fn(&str, &V) -> CoordinatorRecord + 'a,
) -> impl Iterator<Item = (SharePlace, CoordinatorRecord)> {
    let entries = start.map(|start| all.range((start, Bound::Unbounded))).into_iter().flatten();
    entries.map(move |(id, value): (&String, &V)| (SharePlace { part, member: id.clone() }, record(id, value)))
}
