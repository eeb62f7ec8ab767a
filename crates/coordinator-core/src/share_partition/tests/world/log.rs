//! The log of the small world: batches, some of them of aborted transactions, some of them compacted away.

use super::super::bench::fetched;
use crate::share_partition::{FetchedAbort, FetchedBatch};
use base::{Offset, Seed};

pub(super) const END: u64 = 40;

#[derive(Debug)]
pub(super) struct Log {
    pub(super) start: Offset,
    batches: Vec<FetchedBatch>,
    /// Of aborted transactions.
    aborted: Vec<FetchedAbort>,
    reads_committed: bool,
}

impl Log {
    pub(super) fn new(seed: &mut Seed) -> Log {
        let mut log =
            Log { start: Offset(0), batches: Vec::new(), aborted: Vec::new(), reads_committed: seed.chance(500) };
        let mut next = 0;
        while next < END {
            let length = 1 + seed.below(6).min(END - next - 1);
            let mut batch = fetched(next, next + length);
            next += length;
            if seed.chance(150) && next < END {
                let producer_id = i64::try_from(next).unwrap();
                (batch.producer_id, batch.is_transactional) = (Some(producer_id), true);
                log.aborted.push(FetchedAbort { producer_id, first: batch.range.base });
                let marker = FetchedBatch { is_abort_marker: true, range: fetched(next, next + 1).range, ..batch };
                next += 1;
                log.batches.extend([batch, marker]);
            } else {
                log.batches.push(batch);
            }
        }
        log
    }

    /// Batches from an offset on.
    pub(super) fn read(&self, from: Offset, count: usize) -> Vec<FetchedBatch> {
        self.batches.iter().filter(|batch| batch.range.next > from).take(count).copied().collect()
    }

    pub(super) fn aborted(&self) -> Vec<FetchedAbort> {
        if self.reads_committed { self.aborted.clone() } else { Vec::new() }
    }

    /// A batch goes, but for the last.
    pub(super) fn compact(&mut self, seed: &mut Seed) {
        if self.batches.len() > 1 {
            let place = seed.below(u64::try_from(self.batches.len() - 1).unwrap());
            self.batches.remove(usize::try_from(place).unwrap());
        }
    }

    /// Whether nobody may get it.
    pub(super) fn is_aborted(&self, offset: u64) -> bool {
        let is_it = |batch: &&FetchedBatch| batch.range.contains(Offset(offset)) && batch.is_transactional;
        self.reads_committed && self.batches.iter().find(is_it).is_some_and(|batch| !batch.is_abort_marker)
    }

    /// Records that somebody is to get.
    pub(super) fn records(&self) -> Vec<u64> {
        let is_there = |offset: &u64| self.batches.iter().any(|batch| batch.range.contains(Offset(*offset)));
        (self.start.0..END).filter(|it| is_there(it) && !self.is_aborted(*it)).collect()
    }
}
