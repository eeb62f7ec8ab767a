//! The start moves: over what is done with, and with the start of the log.

use super::batch::overlap;
use super::partition::{Gaps, SharePartition};
use super::record::DeliveryState;
use base::{Offset, OffsetRange};

impl SharePartition {
    /// The log begins later now. What is below and available is archived; what members have they may keep until their time is over.
    /// Nothing of it is written before something else is, as in Kafka.
    pub fn log_starts_at(&mut self, log_start: Offset) {
        if log_start <= self.start {
            return;
        }
        let gone = OffsetRange::new(self.start, log_start);
        if self.archive(gone, DeliveryState::Available) {
            self.looks_back = true;
        }
        self.done -= self.done_in(gone);
        self.start = log_start;
        self.next = self.next.max(log_start);
        self.gaps = self.gaps.map(|gaps| Gaps { from: gaps.from.max(log_start), ..gaps });
        self.move_start();
    }

    /// Archives those records of a range that are in a state. Says whether there were any.
    pub(super) fn archive(&mut self, range: OffsetRange, state: DeliveryState) -> bool {
        let mut is_any = false;
        let in_flight = OffsetRange::new(self.start, Offset::MAX);
        for key in self.keys_in(range) {
            let Some(batch) = self.batches.get_mut(&key) else { continue };
            if !batch.lies_in(range) && batch.whole().is_some_and(|record| record.state == state) {
                batch.split();
            }
            for (at, record) in batch.within_mut(range) {
                if record.state == state {
                    record.archive();
                    self.done += overlap(at, in_flight).map_or(0, |range| range.len());
                    is_any = true;
                }
            }
            batch.join(range);
        }
        is_any
    }

    /// Records of a range, at or above the start, that are done with, or are if a write succeeds.
    fn done_in(&self, range: OffsetRange) -> u64 {
        let Some(range) = overlap(range, OffsetRange::new(self.start, Offset::MAX)) else { return 0 };
        let keys = self.keys_in(range);
        let batches = keys.iter().filter_map(|key| self.batches.get(key));
        batches.flat_map(|it| it.within(range)).filter(|(_, it)| it.state.is_done()).map(|(at, _)| at.len()).sum()
    }

    /// Passes what is done with from the first record on, and forgets batches that are passed whole.
    pub(super) fn move_start(&mut self) {
        let Some(passed) = self.passed() else { return };
        let done = self.done_in(OffsetRange::new(self.start.min(passed), passed));
        let behind = self.batches.range(passed..).next().map(|(key, _)| *key);
        let is_within = !self.keys_in(OffsetRange::new(passed, passed.plus(1))).is_empty();
        // What lies between two batches does not exist, unless nothing is known of it.
        let mut start = match behind {
            _ if is_within => passed,
            Some(next) => self.active_gaps().map_or(next, |gaps| gaps.from.min(next)).max(passed),
            None => self.next.max(passed),
        };
        start = start.max(self.start);
        while let Some(first) = self.batches.first_entry().filter(|first| first.get().range.next <= passed) {
            let (key, batch) = first.remove_entry();
            if let Some(at) = batch.wakes {
                self.wakes.remove(&(at, key));
            }
        }
        self.done -= done;
        self.start = start;
        self.next = self.next.max(start);
    }

    /// Behind the last record of those that are done with, from the first on; none where the first is not.
    fn passed(&self) -> Option<Offset> {
        let gap = self.active_gaps().map(|gaps| gaps.from);
        let mut passed = None;
        for batch in self.batches.values() {
            if gap.is_some_and(|gap| batch.range.next > gap) {
                return passed;
            }
            for (range, record) in batch.within(batch.range) {
                if !record.is_passed() {
                    return passed;
                }
                passed = Some(range.next);
            }
        }
        passed
    }
}
