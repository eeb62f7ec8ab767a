//! The leaders of share-partitions: who has led, and who leads now.

use super::members::key;
use super::{Outcome, Place, World};
use crate::share::state::combine;
use crate::{ShareStateError, StateBatch, StateWrite};

/// A leader's idea of its share-partition.
#[derive(Debug, Clone)]
pub(super) struct Leader {
    pub(super) epoch: i32,
    pub(super) state_epoch: i32,
    pub(super) start: i64,
    pub(super) batches: Vec<StateBatch>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Leaders {
    /// The last epoch that there was.
    last_epoch: i32,
    pub(super) present: Option<Leader>,
    /// It does not know yet.
    past: Option<Leader>,
}

impl World {
    fn pick_place(&mut self) -> Option<Place> {
        let places = self.places();
        let at = self.pick(places.len());
        places.get(at).copied()
    }

    /// Another leader begins.
    pub(super) fn lead(&mut self) {
        let Some(place) = self.pick_place() else { return };
        let epoch = {
            let leaders = self.leaders.entry(place).or_default();
            leaders.last_epoch += 1;
            leaders.last_epoch
        };
        self.read(place, epoch);
    }

    fn read(&mut self, place: Place, epoch: i32) {
        let read = self.bench.read(&key(place), epoch);
        let leaders = self.leaders.entry(place).or_default();
        let Ok(read) = read else { return };
        let leader = Leader { epoch, state_epoch: read.state_epoch, start: read.start_offset, batches: read.batches };
        let before = leaders.present.replace(leader);
        if before.as_ref().is_some_and(|before| before.epoch != epoch) {
            leaders.past = before;
        }
    }

    /// A leader, the present or a past one, goes on.
    pub(super) fn write(&mut self, is_present: bool) -> Outcome {
        let Some(place) = self.pick_place() else { return Ok(()) };
        let found =
            self.leaders.get(&place).and_then(|it| if is_present { it.present.clone() } else { it.past.clone() });
        let Some(leader) = found else {
            if is_present {
                self.lead();
            }
            return Ok(());
        };
        let (write, next) = self.next(&leader);
        let written = self.bench.write(&key(place), &write);
        let is_counted = self.is_counted(place);
        let leaders = self.leaders.entry(place).or_default();
        match written {
            Ok(()) if !is_present => return Err("a leader wrote that another one has followed"),
            Ok(()) => {
                if is_counted {
                    self.progress.insert(place, next.start);
                }
                leaders.present = Some(next);
            }
            Err(ShareStateError::FencedStateEpoch) if is_present => self.read(place, leader.epoch),
            Err(_) if is_present => leaders.present = None,
            Err(_) => leaders.past = None,
        }
        Ok(())
    }

    /// What a leader writes, and what it knows when that lasts.
    fn next(&mut self, leader: &Leader) -> (StateWrite, Leader) {
        let start = leader.start.max(0) + i64::try_from(self.seed.between(1, 3)).unwrap();
        let first_offset = start + i64::try_from(self.seed.below(6)).unwrap();
        let delivery_state = if self.seed.chance(500) { 2 } else { 0 };
        let batch = StateBatch { first_offset, last_offset: first_offset + 1, delivery_state, delivery_count: 1 };
        let write = StateWrite {
            state_epoch: leader.state_epoch,
            leader_epoch: leader.epoch,
            start_offset: start,
            delivery_complete_count: 0,
            batches: vec![batch],
        };
        let batches = combine(&leader.batches, &write.batches, start);
        (write, Leader { start, batches, ..leader.clone() })
    }

    /// The share coordinator ends before a write lasts, or before its leader hears that it did: then it reads again.
    pub(super) fn write_and_crash(&mut self) {
        let Some(place) = self.pick_place() else { return };
        let found = self.leaders.get(&place).and_then(|leaders| leaders.present.clone());
        let Some(leader) = found else { return };
        let before = self.bench.state_log.len();
        let (write, _) = self.next(&leader);
        let _unheard = self.bench.write(&key(place), &write).is_ok();
        if self.seed.chance(500) {
            self.bench.state_log.truncate(before);
        }
        self.crash_states();
        self.read(place, leader.epoch);
    }
}
