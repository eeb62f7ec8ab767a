//! A streams group's records once more, for the copy that bounds the log; and those that take all of it back.

use super::record::Key;
use super::state::Streams;
use crate::record::CoordinatorRecord;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A record's place among those of its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamsPlace {
    part: Part,
    /// Empty where the part is the group's.
    member: String,
}

/// The order of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Epoch,
    Topology,
    Metadata,
    Target,
    TargetEpoch,
    Current,
}

impl Streams {
    /// The records from which the group comes back, behind that place.
    pub(crate) fn records<'a>(
        &'a self,
        group: &'a str,
        after: Option<&StreamsPlace>,
    ) -> impl Iterator<Item = (StreamsPlace, CoordinatorRecord)> + use<'a> {
        let start = |part: Part| match after {
            Some(place) if place.part == part => Some(Bound::Excluded(place.member.clone())),
            Some(place) if place.part > part => None,
            _ => Some(Bound::Unbounded),
        };
        let once = |part: Part, record: Option<CoordinatorRecord>| {
            let record = record.filter(|_| matches!(start(part), Some(Bound::Unbounded)));
            record.map(|record| (StreamsPlace { part, member: String::new() }, record)).into_iter()
        };
        let epoch = once(Part::Epoch, Some(CoordinatorRecord::streams_epoch(group, &self.epoch_record())));
        let topology = self.topology().map(|topology| CoordinatorRecord::streams_topology(group, topology));
        let topology = once(Part::Topology, topology);
        let metadata = walk(Part::Metadata, self.members(), start(Part::Metadata), move |id, member| {
            CoordinatorRecord::streams_metadata(group, id, &member.metadata)
        });
        let targets = walk(Part::Target, self.targets(), start(Part::Target), move |id, target| {
            CoordinatorRecord::streams_target(group, id, target)
        });
        let target_epoch = CoordinatorRecord::streams_target_epoch(group, self.target_epoch, self.target_at);
        let target_epoch = once(Part::TargetEpoch, Some(target_epoch));
        let current = walk(Part::Current, self.members(), start(Part::Current), move |id, member| {
            CoordinatorRecord::streams_current(group, id, &member.current)
        });
        epoch.chain(topology).chain(metadata).chain(targets).chain(target_epoch).chain(current)
    }

    /// The records that take all of the group back, in Kafka's order.
    pub(crate) fn tombstones(&self, group: &str) -> Vec<CoordinatorRecord> {
        let mut keys: Vec<Key> = self.members().keys().cloned().map(Key::Current).collect();
        keys.extend(self.targets().keys().cloned().map(Key::Target));
        keys.push(Key::TargetEpoch);
        keys.extend(self.members().keys().cloned().map(Key::Metadata));
        keys.extend([Key::Topology, Key::Epoch]);
        keys.iter().map(|key| CoordinatorRecord::streams_gone(group, key)).collect()
    }
}

/// The records of one part, from `start` on; none where that is none.
fn walk<'a, V>(
    part: Part,
    all: &'a BTreeMap<String, V>,
    start: Option<Bound<String>>,
    record: impl Fn(&str, &V) -> CoordinatorRecord + 'a,
) -> impl Iterator<Item = (StreamsPlace, CoordinatorRecord)> {
    let entries = start.map(|start| all.range((start, Bound::Unbounded))).into_iter().flatten();
    entries.map(move |(id, value): (&String, &V)| (StreamsPlace { part, member: id.clone() }, record(id, value)))
}
