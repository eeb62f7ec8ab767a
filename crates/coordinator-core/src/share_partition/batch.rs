//! What was fetched together: one state for all its records as long as they go the same way, else one for each.

use super::record::Record;
use base::{Micros, OffsetRange};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum States {
    Whole(Record),
    /// By offset, from the first of the batch on.
    Each(Vec<Record>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) range: OffsetRange,
    pub(super) states: States,
    /// When it is to be looked at; what has become of those locks is seen then.
    pub(super) wakes: Vec<Micros>,
}

impl Batch {
    pub(super) fn new(range: OffsetRange, record: Record) -> Batch {
        Batch { range, states: States::Whole(record), wakes: Vec::new() }
    }

    /// What it takes, roughly.
    pub(super) fn kept_bytes(&self) -> usize {
        let records = match &self.states {
            States::Whole(_) => 1,
            States::Each(records) => records.len(),
        };
        size_of::<Batch>() + records * size_of::<Record>()
    }

    /// Whether all its records lie in a range.
    pub(super) fn lies_in(&self, range: OffsetRange) -> bool {
        range.covers(self.range)
    }

    pub(super) fn whole(&self) -> Option<&Record> {
        match &self.states {
            States::Whole(record) => Some(record),
            States::Each(_) => None,
        }
    }

    pub(super) fn whole_mut(&mut self) -> Option<&mut Record> {
        match &mut self.states {
            States::Whole(record) => Some(record),
            States::Each(_) => None,
        }
    }

    /// From now on each of its records goes its own way.
    pub(super) fn split(&mut self) {
        if let States::Whole(record) = &self.states {
            let count = usize::try_from(self.range.len()).unwrap_or(usize::MAX);
            self.states = States::Each(vec![record.clone(); count]);
        }
    }

    /// Its states with the offsets that each stands for, as far as they lie in a range.
    pub(super) fn within(&self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &Record)> {
        let Batch { range: all, states, .. } = self;
        let records = match states {
            States::Whole(record) => std::slice::from_ref(record),
            States::Each(records) => records,
        };
        let is_whole = matches!(states, States::Whole(_));
        records.iter().enumerate().filter_map(move |(place, record)| {
            Some((overlap(if is_whole { *all } else { at(*all, place) }, range)?, record))
        })
    }

    /// The same, to be changed: a state of the whole batch changes for all of it.
    pub(super) fn within_mut(&mut self, range: OffsetRange) -> impl Iterator<Item = (OffsetRange, &mut Record)> {
        let Batch { range: all, states, .. } = self;
        let is_whole = matches!(states, States::Whole(_));
        let records = match states {
            States::Whole(record) => std::slice::from_mut(record),
            States::Each(records) => records,
        };
        records.iter_mut().enumerate().filter_map(move |(place, record)| {
            let stands_for = if is_whole { *all } else { at(*all, place) };
            overlap(stands_for, range).map(|_| (stands_for, record))
        })
    }
}

fn at(range: OffsetRange, place: usize) -> OffsetRange {
    let offset = range.base.plus(u64::try_from(place).unwrap_or(u64::MAX));
    OffsetRange::new(offset, offset.plus(1))
}

/// What two ranges have in common, if anything.
pub(super) fn overlap(one: OffsetRange, other: OffsetRange) -> Option<OffsetRange> {
    let (base, next) = (one.base.max(other.base), one.next.min(other.next));
    (base < next).then(|| OffsetRange::new(base, next))
}
