//! What was fetched together: one state for all its records as long as they go the same way, else one for each run of records that do.
//!
//! A batch may be very wide: of a million small records, or of few between which others were compacted away. It takes as much as it has runs,
//! and what is done with a part of it costs as much as that part has.

use super::record::Record;
use base::{Micros, Offset, OffsetRange};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum States {
    Whole(Record),
    /// By their first offsets, with the offset behind each. Together they are the batch.
    Runs(BTreeMap<Offset, (Offset, Record)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) range: OffsetRange,
    pub(super) states: States,
    /// When it is to be looked at: no lock ends before. What has become of those locks is seen then; a member may renew them as often as it
    /// likes meanwhile.
    pub(super) wakes: Option<Micros>,
}

impl Batch {
    pub(super) fn new(range: OffsetRange, record: Record) -> Batch {
        Batch { range, states: States::Whole(record), wakes: None }
    }

    /// What it takes, roughly.
    pub(super) fn kept_bytes(&self) -> usize {
        let runs = match &self.states {
            States::Whole(_) => 1,
            States::Runs(runs) => runs.len(),
        };
        size_of::<Batch>() + runs * size_of::<(Offset, Offset, Record)>()
    }

    /// When the first lock ends that has not yet, also where its end is being written, as that may fail.
    pub(super) fn next_lock_end(&self, now: Micros) -> Option<Micros> {
        let locked = self.within(self.range).filter_map(|(_, record)| record.locked_until);
        locked.filter(|until| *until > now).min()
    }

    /// Whether all its records lie in a range.
    pub(super) fn lies_in(&self, range: OffsetRange) -> bool {
        range.covers(self.range)
    }

    pub(super) fn whole(&self) -> Option<&Record> {
        match &self.states {
            States::Whole(record) => Some(record),
            States::Runs(_) => None,
        }
    }

    pub(super) fn whole_mut(&mut self) -> Option<&mut Record> {
        match &mut self.states {
            States::Whole(record) => Some(record),
            States::Runs(_) => None,
        }
    }

    /// From now on its records may go their own ways.
    pub(super) fn split(&mut self) {
        if let States::Whole(record) = &self.states {
            self.states = States::Runs(BTreeMap::from([(self.range.base, (self.range.next, record.clone()))]));
        }
    }

    /// Where it is split no run reaches over this offset from now on.
    pub(super) fn cut(&mut self, at: Offset) {
        let States::Runs(runs) = &mut self.states else { return };
        let Some((_, (next, record))) = runs.range_mut(..at).next_back().filter(|(_, (next, _))| *next > at) else {
            return;
        };
        let behind = (std::mem::replace(next, at), record.clone());
        runs.insert(at, behind);
    }

    /// Runs of a range that are alike, and with its neighbours, are one again.
    pub(super) fn join(&mut self, range: OffsetRange) {
        let States::Runs(runs) = &mut self.states else { return };
        let before = runs.range(..range.base).next_back();
        let mut at = before.or_else(|| runs.range(range.base..).next()).map(|(key, _)| *key);
        while let Some(key) = at.filter(|key| *key < range.next) {
            let Some((next, record)) = runs.get(&key) else { return };
            let (next, is_alike) = (*next, runs.get(next).is_some_and(|(_, behind)| behind == record));
            if is_alike {
                let behind = runs.remove(&next).map_or(next, |(next, _)| next);
                runs.entry(key).and_modify(|(next, _)| *next = behind);
            }
            at = if is_alike { Some(key) } else { Some(next) };
        }
    }

    /// Its states with the offsets that each stands for, as far as they lie in a range.
    pub(super) fn within(&self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &Record)> {
        let (whole, runs) = match &self.states {
            States::Whole(record) => (Some((self.range, record)), None),
            States::Runs(runs) => {
                let floor = runs.range(..=range.base).next_back().map_or(range.base, |(key, _)| *key);
                (None, Some(runs.range(floor..range.next.max(floor))))
            }
        };
        let runs = runs.into_iter().flatten().map(|(base, (next, record))| (OffsetRange::new(*base, *next), record));
        whole.into_iter().chain(runs).filter_map(move |(of, record)| Some((overlap(of, range)?, record)))
    }

    /// The same, to be changed: a state of the whole batch changes for all of it.
    pub(super) fn within_mut(&mut self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &mut Record)> {
        self.cut(range.base);
        self.cut(range.next);
        let all = self.range;
        let (whole, runs) = match &mut self.states {
            States::Whole(record) => (overlap(all, range).map(|_| (all, record)), None),
            States::Runs(runs) => (None, Some(runs.range_mut(range.base..range.next.max(range.base)))),
        };
        let runs = runs.into_iter().flatten().map(|(base, (next, record))| (OffsetRange::new(*base, *next), record));
        whole.into_iter().chain(runs)
    }
}

/// What two ranges have in common, if anything.
pub(super) fn overlap(one: OffsetRange, other: OffsetRange) -> Option<OffsetRange> {
    let (base, next) = (one.base.max(other.base), one.next.min(other.next));
    (base < next).then(|| OffsetRange::new(base, next))
}
