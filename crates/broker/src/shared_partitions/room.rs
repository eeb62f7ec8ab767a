//! What is known of share groups' records, counted group by group: where it is too much, those are held who have more than their part of it,
//! and nobody else.
//!
//! Kafka bounds the records of a share-partition that are in flight (`group.share.partition.max.record.locks`), but not what is known of them:
//! batches are given whole, and a member may say something else of every record of a wide one. Here that takes memory of all groups, so each has
//! its part: all of them divided by the groups that there are. A group beyond its part is given no new records once half of the memory is
//! taken, and may acknowledge in few parts only; the others go on. So all together stay within the memory: half of it is for those who were
//! there first, the other half for the parts of the others.
//!
//! A share-partition takes memory by being there, which no acknowledgement gives back: that holds nobody, and bounds how many are loaded. What
//! it leaves, half of all at least, is what is divided.

use std::collections::BTreeMap;
use std::sync::Arc;

/// In how many parts an acknowledgement may cut what is known of records, whatever there is already. Others have to be told in fewer parts, or in
/// time.
const PARTS_MIN: usize = 1000;

/// What a part takes, about.
const PART_BYTES: usize = 160;

/// What is known of the records of one group's share-partitions, and how many there are.
#[derive(Debug, Default)]
struct OfGroup {
    bytes: usize,
    count: usize,
}

/// The memory, and who has how much of it.
#[derive(Debug)]
pub(super) struct Room {
    bytes_max: usize,
    /// What share-partitions take by being there.
    led_bytes: usize,
    /// What is known of records.
    bytes: usize,
    groups: BTreeMap<Arc<str>, OfGroup>,
}

impl Room {
    pub(super) fn new(bytes_max: usize) -> Room {
        Room { bytes_max, led_bytes: 0, bytes: 0, groups: BTreeMap::new() }
    }

    /// A share-partition of the group comes, which takes so many bytes by being there.
    pub(super) fn enter(&mut self, group: &Arc<str>, bytes: usize) {
        self.groups.entry(group.clone()).or_default().count += 1;
        self.led_bytes += bytes;
    }

    /// One that came with so many bytes goes.
    pub(super) fn leave(&mut self, group: &Arc<str>, bytes: usize) {
        if let Some(of) = self.groups.get_mut(group) {
            self.led_bytes -= bytes;
            of.count -= 1;
            if of.count == 0 {
                // One that another has replaced may not have told yet that its records are gone.
                self.bytes -= of.bytes;
                self.groups.remove(group);
            }
        }
    }

    /// One takes so many bytes now instead of those.
    pub(super) fn took(&mut self, group: &Arc<str>, before: usize, now: usize) {
        if let Some(of) = self.groups.get_mut(group) {
            let after = (of.bytes + now).saturating_sub(before);
            self.bytes = self.bytes + after - of.bytes;
            of.bytes = after;
        }
    }

    /// All of it is taken: nothing more is loaded.
    pub(super) fn is_full(&self) -> bool {
        self.led_bytes + self.bytes >= self.bytes_max
    }

    /// Whether the group is to be given nothing new.
    pub(super) fn holds(&self, group: &Arc<str>) -> bool {
        self.bytes >= self.divided() / 2 && self.left(group) == 0
    }

    /// In how many parts one of the group's acknowledgements may cut what is known.
    pub(super) fn parts_max(&self, group: &Arc<str>) -> usize {
        PARTS_MIN.max(self.left(group) / PART_BYTES)
    }

    /// What there is for what is known of records.
    fn divided(&self) -> usize {
        self.bytes_max - self.led_bytes.min(self.bytes_max / 2)
    }

    /// What is left of the group's part.
    fn left(&self, group: &Arc<str>) -> usize {
        let part = self.divided() / 2 / self.groups.len().max(1);
        part.saturating_sub(self.groups.get(group).map_or(0, |of| of.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_takes_all_that_it_may_holds_up_nobody_else() {
        let (greedy, modest): (Arc<str>, Arc<str>) = ("greedy".into(), "modest".into());
        let mut room = Room::new(1 << 20);
        room.enter(&greedy, 1000);
        let parts = room.parts_max(&greedy);
        assert!((3_000..4_000).contains(&parts), "half of the memory in one go: {parts}");
        room.took(&greedy, 0, 1 << 19);
        assert!(room.holds(&greedy) && !room.is_full());
        assert_eq!(room.parts_max(&greedy), PARTS_MIN);
        room.enter(&modest, 1000);
        assert!(!room.holds(&modest) && room.holds(&greedy));
        assert!(room.parts_max(&modest) > PARTS_MIN, "a quarter is its own");
        room.took(&modest, 0, 1 << 18);
        assert!(room.holds(&modest));
        assert!(!room.is_full(), "with both parts filled there is some left");
        room.took(&greedy, 1 << 19, 0);
        assert!(!room.holds(&greedy) && !room.holds(&modest), "there is enough for both");
    }

    /// Nothing that a member says gives back what they take: whoever were held for it would be held for ever.
    #[test]
    fn share_partitions_that_know_nothing_of_records_hold_nobody() {
        for groups in [1, 4, 1000] {
            let mut room = Room::new(1 << 20);
            let names: Vec<Arc<str>> = (0..groups).map(|group| format!("g{group}").into()).collect();
            for partition in 0..1000 {
                room.enter(&names[partition % groups], 1024);
            }
            assert!(!names.iter().any(|group| room.holds(group)), "{groups} groups");
            room.took(&names[0], 0, 1 << 19);
            assert!(room.is_full() && room.holds(&names[0]), "{groups} groups");
            room.took(&names[0], 1 << 19, 0);
            assert!(!room.is_full() && !room.holds(&names[0]), "{groups} groups: it has given all of it back");
        }
    }

    #[test]
    fn a_group_is_forgotten_with_its_last_share_partition() {
        let group: Arc<str> = "g".into();
        let mut room = Room::new(1000);
        room.enter(&group, 300);
        room.enter(&group, 300);
        room.took(&group, 0, 400);
        assert!(room.is_full());
        room.took(&group, 400, 0);
        room.leave(&group, 300);
        assert_eq!((room.led_bytes, room.groups.len()), (300, 1));
        room.leave(&group, 300);
        assert_eq!((room.led_bytes, room.bytes, room.groups.len()), (0, 0, 0));
    }
}
