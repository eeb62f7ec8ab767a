//! Writes to the persister: one at a time, with all that has come together meanwhile, and what becomes of them.
//!
//! They must be applied in order, none after a later one, else an acceptance that was told is undone. With one under way at a time that is so
//! wherever whoever carries it reports a failure only of what will not be applied any more.

use super::batch::overlap;
use super::effects::{DeadLetter, DeadLetterCause, ShareEffects, ShareError, ShareStateBatch, ShareWrite};
use super::fetched::push_state;
use super::partition::SharePartition;
use super::record::{DeliveryState, Record};
use super::rule;
use crate::effects::Ticket;
use base::{Micros, Offset, OffsetRange};
use std::collections::BTreeMap;

/// What one call has changed, and who waits for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    pub(super) batches: Vec<ShareStateBatch>,
    letters: Vec<DeadLetter>,
    ticket: Option<Ticket>,
    /// It is undone where its write fails.
    is_undone: bool,
}

impl Change {
    pub(super) fn new(ticket: Option<Ticket>) -> Change {
        Change { ticket, is_undone: true, ..Change::default() }
    }

    /// One that holds whatever becomes of its write.
    pub(super) fn for_good() -> Change {
        Change::default()
    }

    /// Takes down what a record is from now on, and what it goes to another topic for, if it does.
    pub(super) fn note(&mut self, range: OffsetRange, record: &Record, cause: DeadLetterCause) {
        let (state, delivery_count) = (record.state, record.count);
        push_state(&mut self.batches, ShareStateBatch { range, state, delivery_count });
        if state == DeliveryState::Archiving {
            match self.letters.last_mut() {
                Some(last)
                    if last.range.next == range.base
                        && (last.delivery_count, last.cause) == (delivery_count, cause) =>
                {
                    last.range.next = range.next;
                }
                _ => self.letters.push(DeadLetter { range, delivery_count, cause }),
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    next_id: u64,
    under_way: BTreeMap<u64, Vec<Change>>,
    waiting: Vec<Change>,
}

impl SharePartition {
    /// Has a change written, where there is something to write, and whoever waits for it answered.
    pub(super) fn submit(&mut self, change: Change, fx: &mut ShareEffects) {
        if change.batches.is_empty() {
            fx.answers.extend(change.ticket.map(|ticket| (ticket, Ok(()))));
            return;
        }
        if let Some(ticket) = change.ticket.filter(|_| rule!("answers confirmed", false, true)) {
            fx.answers.push((ticket, Ok(())));
        }
        self.writer.waiting.push(change);
        self.send(fx);
    }

    fn send(&mut self, fx: &mut ShareEffects) {
        let may = rule!("one write at a time", self.writer.under_way.is_empty(), true);
        if !may || self.writer.waiting.is_empty() || self.is_fenced {
            return;
        }
        let changes = std::mem::take(&mut self.writer.waiting);
        let mut batches = Vec::new();
        for batch in changes.iter().flat_map(|change| &change.batches) {
            push_state(&mut batches, *batch);
        }
        let id = self.writer.next_id;
        self.writer.next_id += 1;
        self.writer.under_way.insert(id, changes);
        let (state_epoch, leader_epoch, start) = (self.state_epoch, self.leader_epoch, self.start);
        let delivery_complete_count = self.delivery_complete_count();
        fx.writes.push(ShareWrite { id, state_epoch, leader_epoch, start, delivery_complete_count, batches });
    }

    /// What became of a write. Where it has failed, or its fate is not known, it must not be applied after a later one.
    pub fn wrote(&mut self, now: Micros, id: u64, outcome: Result<(), ShareError>, fx: &mut ShareEffects) {
        let Some(changes) = self.writer.under_way.remove(&id) else { return };
        self.is_fenced |= outcome.is_err_and(ShareError::fences);
        let mut expired = Change::for_good();
        for change in changes {
            self.settle(now, change, outcome, &mut expired, fx);
        }
        if let Some(error) = outcome.err().filter(|_| self.is_fenced) {
            for change in std::mem::take(&mut self.writer.waiting) {
                self.settle(now, change, Err(error), &mut expired, fx);
            }
        }
        self.move_start();
        fx.frees |= outcome.is_ok() || !expired.batches.is_empty();
        if !expired.batches.is_empty() {
            self.writer.waiting.push(expired);
        }
        self.send(fx);
    }

    fn settle(
        &mut self,
        now: Micros,
        change: Change,
        outcome: Result<(), ShareError>,
        expired: &mut Change,
        fx: &mut ShareEffects,
    ) {
        let holds = outcome.is_ok() || !change.is_undone;
        if change.is_undone {
            for batch in &change.batches {
                self.settle_range(batch.range, outcome.is_ok());
                if outcome.is_err() {
                    // What a member had until before now it does not have again.
                    let until = rule!("expiry is remembered", now, Micros(0));
                    self.expire(batch.range, until, expired);
                }
            }
        }
        if holds && !self.is_fenced {
            fx.dead_letters.extend(change.letters);
        }
        if let Some(ticket) = change.ticket.filter(|_| rule!("answers confirmed", true, false)) {
            fx.answers.push((ticket, outcome));
        }
    }

    /// A change that is refused is undone before anybody sees it.
    pub(super) fn undo(&mut self, now: Micros, change: Change, fx: &mut ShareEffects) {
        let mut expired = Change::for_good();
        for batch in &change.batches {
            self.settle_range(batch.range, false);
            self.expire(batch.range, now, &mut expired);
        }
        self.submit(expired, fx);
    }

    fn settle_range(&mut self, range: OffsetRange, is_confirmed: bool) {
        let in_flight = OffsetRange::new(self.start, Offset::MAX);
        for key in self.keys_in(range) {
            let Some(batch) = self.batches.get_mut(&key) else { continue };
            for (at, record) in batch.within_mut(range).filter(|(_, record)| record.before.is_some()) {
                let was_done = record.state.is_done();
                if is_confirmed {
                    record.confirm()
                } else {
                    record.undo()
                }
                if was_done && !record.state.is_done() {
                    self.done -= overlap(at, in_flight).map_or(0, |range| range.len());
                }
                self.looks_back |= record.state == DeliveryState::Available;
            }
            batch.join(range);
        }
    }

    /// Records have been copied to another topic, or can't be: they are archived (KIP-1191).
    pub fn dead_lettered(&mut self, range: OffsetRange, fx: &mut ShareEffects) {
        let mut change = Change::for_good();
        let options = self.options;
        let in_flight = OffsetRange::new(self.start, Offset::MAX);
        for key in self.keys_in(range) {
            let Some(batch) = self.batches.get_mut(&key) else { continue };
            for (at, record) in batch.within_mut(range) {
                if record.state == DeliveryState::Archiving && record.before.is_none() {
                    record.expire(DeliveryState::Archived, &options);
                    self.done += overlap(at, in_flight).map_or(0, |range| range.len());
                    change.note(at, record, DeadLetterCause::Rejected);
                }
            }
        }
        fx.frees |= !change.batches.is_empty();
        self.submit(change, fx);
        self.move_start();
    }
}
