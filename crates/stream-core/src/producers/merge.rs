//! A stream's state from parts of it: what was saved, and what dead logs hold beyond that.

use super::aborted::AbortedTransaction;
use super::producer::{FirstEnding, Producer};
use super::{NO_COORDINATOR, Producers};
use crate::Ending;
use base::{Offset, OffsetRange};
use std::cmp::Reverse;

/// A transaction that is open in one part.
struct Open {
    first: Offset,
    producer_id: i64,
    /// The marker in a later part that ends it; `None`: it stays open.
    ends: Option<FirstEnding>,
}

impl Producers {
    /// A stream's whole state from parts that speak for ranges of it, of which nothing is missing. They may overlap and say the same twice.
    #[must_use]
    pub fn of_parts(mut parts: Vec<(OffsetRange, Producers)>) -> Producers {
        parts.sort_by_key(|(range, _)| (range.base, Reverse(range.next)));
        let mut whole = Producers::default();
        let mut covered: Vec<OffsetRange> = Vec::new();
        for (range, part) in &parts {
            // Who is forgotten in a later state must not come back from an earlier one.
            if !covered.iter().any(|it| it.covers(*range)) {
                whole.merge(part);
                covered.push(*range);
            }
        }
        for producer in whole.by_id.values_mut() {
            producer.first_ending = None;
        }
        whole
    }

    /// Folds a part of the same stream's state that does not begin before this one; it may overlap this one. All of both is confirmed.
    pub fn merge(&mut self, later: &Producers) {
        self.expired |= later.expired;
        let open = self.meet(later);
        for entry in &later.transactions.aborted.entries {
            let last_stable = entry.last_stable.min(begun_before(&open, entry.producer_id, entry.last));
            self.transactions.aborted.insert(AbortedTransaction { last_stable, ..*entry });
        }
        for Open { first, producer_id, ends } in &open {
            if let Some(FirstEnding { at, ending: Ending::Abort, stable }) = *ends {
                let last_stable = stable.min(begun_before(&open, *producer_id, at));
                let entry = AbortedTransaction { producer_id: *producer_id, first: *first, last: at, last_stable };
                self.transactions.aborted.insert(entry);
            }
        }
        self.transactions.aborted.forgotten_below(later.transactions.aborted.forgotten);
        for (id, producer) in &later.by_id {
            self.merge_producer(*id, producer);
        }
        self.transactions.forget_beyond(Offset::MAX);
    }

    /// Ends what is open here and has met its marker there. Yields all that began here and is not known there from its beginning.
    fn meet(&mut self, later: &Producers) -> Vec<Open> {
        let mut open = Vec::new();
        let by_id = &mut self.by_id;
        self.transactions.retain_open(|first, producer_id| {
            let there = later.by_id.get(&producer_id);
            let is_over = there.and_then(Producer::ended).is_some_and(|ended| ended > first);
            let ends = there.and_then(|it| it.first_ending).filter(|ending| ending.at > first);
            // What ends there with another than the first marker begins there too: the part tells all of it.
            if !is_over || ends.is_some() {
                open.push(Open { first, producer_id, ends });
            }
            if is_over && let Some(producer) = by_id.get_mut(&producer_id) {
                producer.open = None;
            }
            !is_over
        });
        open
    }

    fn merge_producer(&mut self, id: i64, later: &Producer) {
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(later.seen));
        producer.seen = producer.seen.max(later.seen);
        for batch in &later.batches {
            producer.add(*batch);
        }
        let (ended, coordinator_epoch) = (producer.ended(), producer.coordinator_epoch());
        for mark in &later.marks {
            if producer.marks.last().is_none_or(|last| last.range.base < mark.range.base) {
                producer.marks.push(*mark);
            }
        }
        if let Some(newest) = producer.marks.last_mut() {
            newest.ended = newest.ended.or(ended);
            if newest.coordinator_epoch == NO_COORDINATOR {
                newest.coordinator_epoch = coordinator_epoch;
            }
        }
        producer.first_ending = producer.first_ending.or(later.first_ending);
        producer.forget_beyond(Offset::MAX);
        let ended = producer.ended();
        if let Some(first) = later.open.filter(|first| producer.open.is_none() && ended.is_none_or(|it| it < *first)) {
            producer.open = Some(first);
            self.transactions.begin(first, id);
        }
    }
}

/// Where transactions of others begin that were open at that marker; [`Offset::MAX`] where there are none.
fn begun_before(open: &[Open], producer_id: i64, marker: Offset) -> Offset {
    let others = open.iter().filter(|it| it.producer_id != producer_id);
    let undecided = others.filter(|it| it.ends.is_none_or(|ends| ends.at > marker));
    undecided.map(|it| it.first).min().unwrap_or(Offset::MAX)
}
