//! A stream's transactions: open, ended, aborted.

use super::aborted::{Aborted, AbortedTransaction};
use crate::Ending;
use base::{Offset, OffsetRange};
use std::collections::{BTreeMap, VecDeque};

/// The transactions of one stream, of all its producers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    /// Those that are open, and those whose marker is not confirmed yet, by where they begin.
    by_first: BTreeMap<Offset, Transaction>,
    /// Of the latter: where the marker stands, and where they begin.
    ended: VecDeque<(Offset, Offset)>,
    pub(super) aborted: Aborted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Transaction {
    producer_id: i64,
    /// Where its marker stands.
    ended: Option<Offset>,
}

impl Transactions {
    pub(super) fn begin(&mut self, first: Offset, producer_id: i64) {
        self.by_first.insert(first, Transaction { producer_id, ended: None });
    }

    /// A producer's open transaction that begins there has met its marker.
    pub(super) fn end(&mut self, first: Offset, producer_id: i64, marker: OffsetRange, ending: Ending) {
        if ending == Ending::Abort {
            let last_stable = self.stable_behind(producer_id, marker);
            self.aborted.insert(AbortedTransaction { producer_id, first, last: marker.base, last_stable });
        }
        if let Some(transaction) = self.by_first.get_mut(&first) {
            transaction.ended = Some(marker.base);
            self.ended.push_back((marker.base, first));
        }
    }

    /// The last stable offset behind a marker: where the transactions of others that are open then begin.
    pub(super) fn stable_behind(&self, producer_id: i64, marker: OffsetRange) -> Offset {
        self.open().find(|(_, other)| *other != producer_id).map_or(marker.next, |(first, _)| first)
    }

    /// Those that no marker has met, by where they begin, and whose they are.
    pub(super) fn open(&self) -> impl Iterator<Item = (Offset, i64)> {
        let open = self.by_first.iter().filter(|(_, it)| it.ended.is_none());
        open.map(|(first, it)| (*first, it.producer_id))
    }

    /// See [`super::Producers::last_stable`].
    pub(super) fn last_stable(&self, confirmed: Offset) -> Offset {
        let is_undecided = |it: &Transaction| it.ended.is_none_or(|marker| marker >= confirmed);
        let first = self.by_first.iter().find(|(_, it)| is_undecided(it)).map(|(first, _)| *first);
        first.map_or(confirmed, |first| first.min(confirmed))
    }

    /// Forgets what has ended below `confirmed`, but for aborted ones, of which some stay.
    pub(super) fn forget_beyond(&mut self, confirmed: Offset) {
        while let Some((_, first)) = self.ended.pop_front_if(|(marker, _)| *marker < confirmed) {
            self.by_first.remove(&first);
        }
        self.aborted.bound(confirmed);
    }

    /// What of it lies below.
    pub(super) fn as_of(&self, confirmed: Offset) -> Transactions {
        let is_open = |(first, it): &(&Offset, &Transaction)| {
            **first < confirmed && it.ended.is_none_or(|marker| marker >= confirmed)
        };
        let open = self.by_first.iter().filter(is_open);
        let by_first = open.map(|(first, it)| (*first, Transaction { ended: None, ..*it })).collect();
        Transactions { by_first, ended: VecDeque::new(), aborted: self.aborted.as_of(confirmed) }
    }

    /// Drops the open transactions that are not to stay.
    pub(super) fn retain_open(&mut self, mut stays: impl FnMut(Offset, i64) -> bool) {
        self.by_first.retain(|first, it| it.ended.is_some() || stays(*first, it.producer_id));
    }
}
