//! The time of a member is over: what it has not acknowledged is available again, or archived.
//!
//! A record of which an acknowledgement is being written is left to that write; if it fails, the record's time is over then.

use super::batch::overlap;
use super::effects::{DeadLetterCause, ShareEffects};
use super::partition::SharePartition;
use super::record::DeliveryState;
use super::rule;
use super::writes::Change;
use base::{Micros, Offset, OffsetRange};

impl SharePartition {
    /// When [`SharePartition::tick`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Takes from members what they have had for long enough. Holds at once, whatever becomes of the write.
    pub fn tick(&mut self, now: Micros, fx: &mut ShareEffects) {
        let mut change = Change::for_good();
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Some((at, key)) = self.wakes.pop_first() else { break };
            let Some(batch) = self.batches.get_mut(&key).filter(|batch| batch.wakes == Some(at)) else { continue };
            batch.wakes = None;
            let range = batch.range;
            self.expire(range, now, &mut change);
            if let Some(next) = self.batches.get(&key).and_then(|batch| batch.next_lock_end(now)) {
                self.schedule(key, next);
            }
        }
        fx.frees |= !change.batches.is_empty();
        self.submit(change, fx);
    }

    /// The same for a range, whose locks are looked at now.
    pub(super) fn expire(&mut self, range: OffsetRange, now: Micros, change: &mut Change) {
        let (start, options) = (self.start, self.options);
        let in_flight = OffsetRange::new(start, Offset::MAX);
        for key in self.keys_in(range) {
            let Some(batch) = self.batches.get_mut(&key) else { continue };
            let is_acquired = batch.whole().is_some_and(|record| record.state == DeliveryState::Acquired);
            if is_acquired && batch.range.base < start && start < batch.range.next {
                batch.split();
            }
            batch.cut(start);
            for (at, record) in batch.within_mut(range) {
                let is_locked =
                    record.state == DeliveryState::Acquired || rule!("expiry waits", false, record.before.is_some());
                if !is_locked || record.locked_until.is_none_or(|until| until > now) {
                    continue;
                }
                let is_gone = at.next <= start;
                record.expire(if is_gone { DeliveryState::Archived } else { DeliveryState::Available }, &options);
                if record.state.is_done() {
                    self.done += overlap(at, in_flight).map_or(0, |range| range.len());
                } else {
                    self.looks_back = true;
                }
                change.note(at, record, DeadLetterCause::DeliveredTooOften);
            }
            batch.join(range);
        }
    }

    /// Has a batch looked at when a lock on some of it runs out.
    pub(super) fn schedule(&mut self, key: Offset, at: Micros) {
        let Some(batch) = self.batches.get_mut(&key) else { return };
        if batch.wakes.is_none_or(|wakes| at < wakes) {
            if let Some(later) = batch.wakes.replace(at) {
                self.wakes.remove(&(later, key));
            }
            self.wakes.insert((at, key));
        }
    }
}
