//! The counters of this start's objects (rule O-1): which are drawn, and which may still be committed. Below the lowest of those
//! nothing will ever be, which each commit promises to the sweep.

use base::{NodeEpoch, ObjectId};
use std::collections::BTreeSet;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Counters {
    next: u64,
    undecided: BTreeSet<u64>,
}

impl Counters {
    /// So many new object ids, undecided until [`Counters::decided`].
    pub(crate) fn draw(&mut self, node_epoch: NodeEpoch, count: usize) -> Vec<ObjectId> {
        let first = self.next;
        self.next += count as u64;
        self.undecided.extend(first..self.next);
        (first..self.next).map(|counter| ObjectId { node_epoch, counter }).collect()
    }

    /// The lowest counter of any object that is not yet decided once these are.
    pub(crate) fn min_after(&self, deciding: impl Fn(u64) -> bool) -> u64 {
        self.undecided.iter().copied().find(|counter| !deciding(*counter)).unwrap_or(self.next)
    }

    /// The ledger has accepted or refused them.
    pub(crate) fn decided(&mut self, objects: impl Iterator<Item = ObjectId>) {
        for object in objects {
            self.undecided.remove(&object.counter);
        }
    }
}
