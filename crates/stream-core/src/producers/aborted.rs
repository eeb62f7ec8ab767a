//! Which transactions of a stream were aborted: what a reader that is to see decided records only must pass over.

use base::{Offset, OffsetRange};
use std::collections::VecDeque;

/// Aborted transactions that are remembered of a stream, the newest: what a state section holds of them has a bound by that. Of older ones
/// the log's markers tell.
pub const ABORTED_MAX: usize = 4096;

/// An aborted transaction, as Kafka's index has it (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: i64,
    /// Where its first batch begins.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// The last stable offset behind the marker: no transaction whose marker stands behind this one begins below.
    pub last_stable: Offset,
}

/// Not all markers at these offsets are remembered that end what was aborted: the log must be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the aborted transactions that end in {0} are forgotten")]
pub struct Forgotten(pub OffsetRange);

/// The aborted transactions of one stream, by their markers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) entries: VecDeque<AbortedTransaction>,
    /// Of markers below it not all are here.
    pub(super) forgotten: Offset,
}

impl Aborted {
    /// Notes one. What two tell of the same marker is one, which begins where the earlier begins.
    pub(super) fn insert(&mut self, entry: AbortedTransaction) {
        if entry.last < self.forgotten {
            return;
        }
        let at = self.entries.partition_point(|it| it.last < entry.last);
        match self.entries.get_mut(at).filter(|it| it.last == entry.last) {
            Some(known) => {
                known.first = known.first.min(entry.first);
                known.last_stable = known.last_stable.min(entry.last_stable);
            }
            None => self.entries.insert(at, entry),
        }
    }

    /// See [`super::Producers::aborted`].
    pub(super) fn found(&self, range: OffsetRange, settled: Offset) -> Result<Vec<AbortedTransaction>, Forgotten> {
        let from = range.base.max(settled);
        if from < self.forgotten {
            return Err(Forgotten(OffsetRange::new(from, self.forgotten)));
        }
        let mut found = Vec::new();
        let behind = self.entries.partition_point(|it| it.last < from);
        for entry in self.entries.range(behind..) {
            if entry.first < range.next {
                found.push(*entry);
            }
            if entry.last_stable >= range.next {
                break;
            }
        }
        Ok(found)
    }

    /// Forgets the oldest confirmed ones beyond [`ABORTED_MAX`].
    pub(super) fn bound(&mut self, confirmed: Offset) {
        while self.entries.len() > ABORTED_MAX
            && let Some(oldest) = self.entries.pop_front_if(|it| it.last < confirmed)
        {
            self.forgotten = oldest.last.plus(1);
        }
    }

    /// Of markers below `offset` nobody asks any more.
    pub(super) fn forget_below(&mut self, offset: Offset) {
        while self.entries.pop_front_if(|it| it.last < offset).is_some() {}
        if self.forgotten <= offset {
            self.forgotten = Offset(0);
        }
    }

    /// Another part of the stream has forgotten that much.
    pub(super) fn forgotten_below(&mut self, forgotten: Offset) {
        if forgotten > self.forgotten {
            while self.entries.pop_front_if(|it| it.last < forgotten).is_some() {}
            self.forgotten = forgotten;
        }
    }

    pub(super) fn as_of(&self, confirmed: Offset) -> Aborted {
        let entries = self.entries.iter().filter(|it| it.last < confirmed).copied().collect();
        Aborted { entries, forgotten: self.forgotten.min(confirmed) }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.forgotten == Offset(0)
    }
}
