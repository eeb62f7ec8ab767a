//! The copy that bounds the log: all that is stored of the groups once more, slice by slice.
//!
//! The log of a partition is replayed as a whole, so what it says may be said again at its end, and what lies before that copy may go.
//! Records of decisions lie between the slices: each key is copied as it is stored at that moment, so what was said of it after the
//! copy began is said before its copy as well, or after it. What is in memory only (a rebalance that is under way) is not copied.
//! Offsets that wait for their transaction's end are stored behind what they may replace, in the same slice: their marker comes before
//! both or behind both, and a replay has them in their order.

use crate::consumer::Place;
use crate::effects::Effects;
use crate::group::Group;
use crate::groups::Groups;
use crate::pending::PendingOffsets;
use crate::record::CoordinatorRecord;
use crate::share::SharePlace;
use crate::streams::StreamsPlace;
use base::planted;
use std::ops::Bound;

/// How far a copy has come: the last key that is in it.
#[derive(Debug, Clone, Default)]
pub struct CopyCursor {
    group: Option<String>,
    /// None: of that group's records, where it is of the newer protocol, none is copied.
    consumer: Option<Place>,
    /// The same of a share group.
    share: Option<SharePlace>,
    /// The same of a streams group.
    streams: Option<StreamsPlace>,
    /// None: of that group no offset is copied.
    offset: Option<(String, i32)>,
}

/// A slice that is being filled.
struct Slice<'a> {
    cursor: &'a mut CopyCursor,
    fx: &'a mut Effects,
    pending: &'a PendingOffsets,
    bytes_left: usize,
}

impl Groups {
    /// The next records of a copy, about `bytes_max` of them; whether it is whole then.
    pub fn copy(&self, cursor: &mut CopyCursor, bytes_max: usize, fx: &mut Effects) -> bool {
        let begun = cursor.group.clone();
        let first = begun.as_ref().map_or(Bound::Unbounded, |group| Bound::Included(group.clone()));
        let mut slice = Slice { cursor, fx, pending: &self.pending, bytes_left: bytes_max };
        for (id, group) in self.groups.range::<String, _>((first, Bound::Unbounded)) {
            if begun.as_ref() != Some(id) {
                slice.cursor.group = Some(id.clone());
                (slice.cursor.consumer, slice.cursor.share, slice.cursor.offset) = (None, None, None);
                slice.cursor.streams = None;
                if let Some(stored) = &group.stored {
                    if group.is_downgraded {
                        slice.push(CoordinatorRecord::consumer_end(id));
                    }
                    slice.push(CoordinatorRecord::stored_group(id, stored.clone()));
                }
                slice.pending_alone(id, group);
            }
            let has_room = slice.consumer(id, group) && slice.share(id, group) && slice.streams(id, group);
            if !has_room || !slice.offsets(id, group) {
                return false;
            }
        }
        true
    }
}

impl Slice<'_> {
    /// The records of a group of the newer protocol behind the cursor; whether there was room for all of them.
    fn consumer(&mut self, id: &str, group: &Group) -> bool {
        let begun = self.cursor.consumer.clone();
        for (place, record) in group.consumer.iter().flat_map(|consumer| consumer.records(id, begun.as_ref())) {
            if self.bytes_left == 0 {
                return false;
            }
            self.cursor.consumer = Some(place);
            self.push(record);
        }
        true
    }

    /// The records of a share group behind the cursor; whether there was room for all of them.
    fn share(&mut self, id: &str, group: &Group) -> bool {
        let begun = self.cursor.share.clone();
        for (place, record) in group.share.iter().flat_map(|share| share.records(id, begun.as_ref())) {
            if self.bytes_left == 0 {
                return false;
            }
            self.cursor.share = Some(place);
            self.push(record);
        }
        true
    }

    /// The records of a streams group behind the cursor; whether there was room for all of them.
    fn streams(&mut self, id: &str, group: &Group) -> bool {
        let begun = self.cursor.streams.clone();
        for (place, record) in group.streams.iter().flat_map(|streams| streams.records(id, begun.as_ref())) {
            if self.bytes_left == 0 {
                return false;
            }
            self.cursor.streams = Some(place);
            self.push(record);
        }
        true
    }

    /// The group's offsets behind the cursor; whether there was room for all of them.
    fn offsets(&mut self, id: &str, group: &Group) -> bool {
        let begun = self.cursor.offset.clone();
        let first = begun.as_ref().map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic.clone()));
        for (topic, partitions) in group.offsets.range::<String, _>((first, Bound::Unbounded)) {
            let after = begun.as_ref().filter(|(begun, _)| begun == topic);
            let after = after.map_or(Bound::Unbounded, |(_, partition)| Bound::Excluded(*partition));
            for (partition, committed) in partitions.range((after, Bound::Unbounded)) {
                if self.bytes_left == 0 {
                    return false;
                }
                self.cursor.offset = Some((topic.clone(), *partition));
                if planted!("copy that misses an offset", true, partition % 2 != 0) {
                    self.push(CoordinatorRecord::offset(id, topic, *partition, Some(committed)));
                }
                self.pending_at(id, topic, *partition);
            }
        }
        self.bytes_left > 0
    }

    /// What waits for partitions of which nothing counts yet: all of the group's at once, so that none ends before its turn has come.
    fn pending_alone(&mut self, id: &str, group: &Group) {
        for (topic, partition) in self.pending.of_group(id) {
            if group.offset(&topic, partition).is_none() {
                self.pending_at(id, &topic, partition);
            }
        }
    }

    fn pending_at(&mut self, id: &str, topic: &str, partition: i32) {
        let pending = planted!("copy that forgets transactions", self.pending.at(id, topic, partition), Vec::new());
        for (producer, committed) in pending {
            let record = CoordinatorRecord::offset(id, topic, partition, Some(committed));
            self.bytes_left = self.bytes_left.saturating_sub(record.len());
            self.fx.transactional.push((producer, record));
        }
    }

    fn push(&mut self, record: CoordinatorRecord) {
        self.bytes_left = self.bytes_left.saturating_sub(record.len());
        self.fx.records.push(record);
    }
}
