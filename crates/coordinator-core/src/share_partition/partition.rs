//! A share-partition as a whole: how it begins, where the next fetch is to read, and whether one is worth it.

use super::batch::{Batch, overlap};
use super::effects::{DeadLetter, DeadLetterCause, ShareEffects, ShareStateBatch};
use super::options::ShareOptions;
use super::record::{DeliveryState, Record};
use super::rule;
use super::writes::Writer;
use base::{Micros, Offset, OffsetRange};
use std::collections::{BTreeMap, BTreeSet};

/// What the persister has kept, as ReadShareGroupState tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PersistedShare {
    pub state_epoch: i32,
    /// In order, at or above the start.
    pub batches: Vec<ShareStateBatch>,
}

/// The state that was kept is damaged: Kafka refuses to serve the share-partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state of {range} is empty, below the start offset {start}, or below the one before")]
pub struct ShareLoadError {
    pub range: OffsetRange,
    pub start: Offset,
}

/// Of which records nothing was kept when this leader began: between those of which something was. They are to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gaps {
    /// Where the first is.
    pub(super) from: Offset,
    /// Where what was kept ends; once anything beyond has been acquired, there are none left.
    pub(super) until: Offset,
}

/// One group's part in one partition, as the partition's leader has it.
#[derive(Debug)]
pub struct SharePartition {
    pub(super) options: ShareOptions,
    pub(super) leader_epoch: i32,
    pub(super) state_epoch: i32,
    /// Below it all is done with.
    pub(super) start: Offset,
    /// From here on nothing was ever acquired.
    pub(super) next: Offset,
    /// By their first offsets. They do not overlap, and end at or below `next`.
    pub(super) batches: BTreeMap<Offset, Batch>,
    pub(super) gaps: Option<Gaps>,
    /// There may be something to deliver below `next`.
    pub(super) looks_back: bool,
    /// Records of the batches, from the start on, that are done with, or are if a write succeeds.
    pub(super) done: u64,
    pub(super) wakes: BTreeSet<(Micros, Offset)>,
    pub(super) writer: Writer,
    /// The request that reads the log for it.
    fetching: Option<u64>,
    pub(super) is_fenced: bool,
}

impl SharePartition {
    /// A leader begins with what the persister has kept, and with `start`: the one that is kept, or else what
    /// [`crate::ShareOffsetReset::lookup`] has found.
    ///
    /// # Errors
    /// The state is damaged.
    pub fn load(
        options: ShareOptions,
        leader_epoch: i32,
        start: Offset,
        persisted: &PersistedShare,
        fx: &mut ShareEffects,
    ) -> Result<SharePartition, ShareLoadError> {
        let mut partition = SharePartition {
            options,
            leader_epoch,
            state_epoch: persisted.state_epoch,
            start,
            next: start,
            batches: BTreeMap::new(),
            gaps: None,
            looks_back: !persisted.batches.is_empty(),
            done: 0,
            wakes: BTreeSet::new(),
            writer: Writer::default(),
            fetching: None,
            is_fenced: false,
        };
        let mut gap = None;
        for state in &persisted.batches {
            let range = state.range;
            if range.is_empty() || range.base < partition.next {
                return Err(ShareLoadError { range, start });
            }
            if range.base > partition.next {
                gap = gap.or(Some(partition.next));
            }
            partition.next = range.next;
            fx.dead_letters.extend(partition.letter_again(state));
            // Nobody has it any more, whatever was kept.
            let is_acquired = state.state == DeliveryState::Acquired;
            let kept = if is_acquired { DeliveryState::Available } else { state.state };
            let count = rule!("counts survive", state.delivery_count, 0);
            partition.batches.insert(range.base, Batch::new(range, Record::new(kept, count)));
            partition.note_done(kept, range);
        }
        let until = partition.next;
        partition.gaps = gap.filter(|_| rule!("gaps are delivered", true, false)).map(|from| Gaps { from, until });
        partition.move_start();
        Ok(partition)
    }

    /// Records that were on their way to another topic. Why is not kept.
    fn letter_again(&self, state: &ShareStateBatch) -> Option<DeadLetter> {
        let is_too_often = state.delivery_count >= self.options.deliveries_max;
        let cause = if is_too_often { DeadLetterCause::DeliveredTooOften } else { DeadLetterCause::Rejected };
        let letter = DeadLetter { range: state.range, delivery_count: state.delivery_count, cause };
        (state.state == DeliveryState::Archiving).then_some(letter)
    }

    /// The group's settings have changed.
    pub fn set_options(&mut self, options: ShareOptions) {
        self.options = options;
    }

    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    #[must_use]
    pub fn state_epoch(&self) -> i32 {
        self.state_epoch
    }

    /// Records from the start offset on that are done with, of which the group does not lag behind.
    #[must_use]
    pub fn delivery_complete_count(&self) -> i32 {
        i32::try_from(self.done).unwrap_or(i32::MAX)
    }

    /// From the start offset to the last record that was acquired.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        if self.batches.is_empty() { 0 } else { self.next.0 - self.start.0 }
    }

    /// What is known of records takes so many bytes, roughly; in time that rises with the batches.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.batches.values().map(Batch::kept_bytes).sum()
    }

    /// Whether it has to be dropped: the persister has refused its epochs, or it was told so.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// It is not served any more: nothing is acquired from now on. Writes that are under way are answered yet.
    pub fn fence(&mut self) {
        self.is_fenced = true;
    }

    /// One request at a time reads the log for a share-partition; whether it is this one. With [`SharePartition::end_fetch`] another may.
    pub fn begin_fetch(&mut self, request: u64) -> bool {
        let may = !self.is_fenced && self.fetching.is_none();
        if may {
            self.fetching = Some(request);
        }
        may
    }

    /// The request has acquired what it may, or given up.
    pub fn end_fetch(&mut self, request: u64) {
        if self.fetching == Some(request) {
            self.fetching = None;
        }
    }

    /// Whether a fetch can come to anything: it reads below what was acquired, or not as much is in flight as may be.
    pub fn can_acquire(&mut self) -> bool {
        self.next_fetch() != self.next || self.in_flight() < u64::from(self.options.in_flight_max)
    }

    /// Where the next fetch is to read: the first record that is available, or of which nothing is known.
    pub fn next_fetch(&mut self) -> Offset {
        if !self.looks_back {
            return self.next;
        }
        let mut gap = self.active_gaps().map(|gaps| gaps.from);
        for batch in self.batches.values() {
            if let Some(from) = gap {
                if batch.range.base > from {
                    return from;
                }
                gap = Some(from.max(batch.range.next));
            }
            let from_start = OffsetRange::new(self.start.min(self.next), self.next);
            let available = batch.within(from_start).find(|(_, record)| record.is_available());
            if let Some((range, _)) = available {
                return range.base;
            }
        }
        self.looks_back = false;
        self.next
    }

    pub(super) fn active_gaps(&self) -> Option<Gaps> {
        self.gaps.filter(|gaps| gaps.until == self.next)
    }

    /// Gaps below this offset have been acquired.
    pub(super) fn pass_gaps(&mut self, offset: Offset) {
        let Some(Gaps { mut from, until }) = self.active_gaps() else {
            self.gaps = None;
            return;
        };
        from = from.max(offset);
        // Behind what is known by now.
        while let Some((_, batch)) = self.batches.range(..=from).next_back().filter(|(_, it)| it.range.next > from) {
            from = batch.range.next;
        }
        self.gaps = (from < until).then_some(Gaps { from, until });
    }

    /// Records of a range that lie at or above the start.
    pub(super) fn in_flight_of(&self, range: OffsetRange) -> u64 {
        overlap(range, OffsetRange::new(self.start, Offset::MAX)).map_or(0, |range| range.len())
    }

    pub(super) fn note_done(&mut self, state: DeliveryState, range: OffsetRange) {
        if state.is_done() {
            self.done += self.in_flight_of(range);
        }
    }

    /// Those batches that have a record in a range, in order.
    pub(super) fn keys_in(&self, range: OffsetRange) -> Vec<Offset> {
        let floor = self.batches.range(..=range.base).next_back();
        let first = floor.filter(|(_, batch)| batch.range.next > range.base).map_or(range.base, |(key, _)| *key);
        if range.is_empty() { Vec::new() } else { self.batches.range(first..range.next).map(|(key, _)| *key).collect() }
    }
}
