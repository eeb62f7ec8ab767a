//! A member gets records: those that are available again, and those behind them that were never delivered.
//!
//! Batches are given whole, as they lie in the log, unless the member wants no more than it asked for (KIP-1206), or some of a batch has gone
//! another way. What was delivered often already is given in smaller parts, so that one record which nobody can consume does not take its
//! neighbours with it; what is delivered for the last time is given alone.

use super::batch::{Batch, overlap};
use super::fetched::{Acquired, AcquiredRange, Fetched, accumulate, without};
use super::partition::SharePartition;
use super::record::{DeliveryState, Member, Record};
use base::{Micros, Offset, OffsetRange};
use std::sync::Arc;

/// Whether more may be given than asked for (KIP-1206).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcquireMode {
    /// Batches are given whole, also where that is more than was asked for.
    #[default]
    BatchOptimized,
    /// Never more than was asked for.
    RecordLimit,
}

impl AcquireMode {
    /// By Kafka's number; none where there is no such mode.
    #[must_use]
    pub fn of_id(id: i8) -> Option<AcquireMode> {
        match id {
            0 => Some(AcquireMode::BatchOptimized),
            1 => Some(AcquireMode::RecordLimit),
            _ => None,
        }
    }
}

/// Who wants how much.
#[derive(Debug, Clone, Copy)]
pub struct AcquireRequest<'a> {
    pub member: &'a str,
    pub mode: AcquireMode,
    /// Records that are acknowledged together are at least so many, where batches allow it.
    pub batch_size: u32,
    /// Records that the request may still get.
    pub records_max: u32,
}

/// One acquisition, as far as it has come.
struct Acquiring<'a> {
    request: AcquireRequest<'a>,
    fetched: &'a Fetched<'a>,
    member: Member,
    until: Micros,
    /// From the first batch on to where may be acquired.
    span: OffsetRange,
    max: u64,
    count: u64,
    ranges: Vec<AcquiredRange>,
}

impl Acquiring<'_> {
    fn left(&self) -> u64 {
        self.max.saturating_sub(self.count)
    }
}

impl SharePartition {
    /// Gives a member what it can of what was read. It has these records until `now` and the lock's time, or longer if it renews.
    pub fn acquire(&mut self, now: Micros, request: AcquireRequest<'_>, fetched: &Fetched<'_>) -> Acquired {
        let (Some(first), Some(last)) = (fetched.batches.first(), fetched.batches.last()) else {
            return Acquired::default();
        };
        if self.is_fenced {
            return Acquired::default();
        }
        self.pass_what_is_gone(fetched.from, first.range.base);
        if last.range.next <= self.start {
            return Acquired::default();
        }
        let Some((next, max)) = self.limits(fetched.from, request.records_max, last.range.next) else {
            return Acquired::default();
        };
        let floor = self.batches.range(..=first.range.base).next_back().map(|(_, batch)| batch.range);
        // Where a batch is known it is taken up from its beginning; below the start nothing is.
        let base = match floor {
            None => first.range.base.max(self.start),
            Some(range) if range.next > first.range.base => range.base,
            Some(_) => first.range.base,
        };
        let from = first.range.base.min(base);
        if base >= next {
            return Acquired::default();
        }
        let mut acquiring = Acquiring {
            request,
            fetched,
            member: Arc::from(request.member),
            until: now.plus(self.options.lock),
            span: OffsetRange::new(first.range.base, next.max(first.range.base)),
            max,
            count: 0,
            ranges: Vec::new(),
        };
        let keys: Vec<Offset> = self.batches.range(from..next).map(|(key, _)| *key).collect();
        if keys.is_empty() {
            self.acquire_new(&mut acquiring, OffsetRange::new(base, next));
        } else {
            self.acquire_known(&mut acquiring, base, &keys);
            if let Some(last) = acquiring.ranges.last() {
                self.pass_gaps(last.range.next);
            }
        }
        self.without_aborted(acquiring)
    }

    /// Up to where may be acquired, and how many records; none where as many are in flight as may be.
    fn limits(&self, from: Offset, records_max: u32, next: Offset) -> Option<(Offset, u64)> {
        let records_max = u64::from(records_max);
        let room = u64::from(self.options.in_flight_max).saturating_sub(self.in_flight());
        let (next, max) = if room > 0 {
            (next, records_max.min(room))
        } else {
            // Only what was acquired before.
            (next.min(self.next), records_max.min(self.next.0.saturating_sub(from.0)))
        };
        (max > 0).then_some((next, max))
    }

    /// Between where was read and what was found there is nothing, or not any more since it was compacted away. What was available there is
    /// archived, and nothing is expected there, so that the start gets past it.
    fn pass_what_is_gone(&mut self, from: Offset, found: Offset) {
        if from >= found {
            return;
        }
        if self.archive(OffsetRange::new(from, found), DeliveryState::Available) {
            self.looks_back = true;
        }
        if self.active_gaps().is_some_and(|gaps| from <= gaps.from) {
            self.pass_gaps(found);
        }
        self.move_start();
    }

    fn acquire_known(&mut self, acquiring: &mut Acquiring<'_>, base: Offset, keys: &[Offset]) {
        let mut gap = base;
        let mut known = base;
        for key in keys {
            let Some(range) = self.batches.get(key).map(|batch| batch.range) else { continue };
            known = range.next;
            if acquiring.left() == 0 {
                return;
            }
            if self.active_gaps().is_some() {
                if gap < *key {
                    self.acquire_new(acquiring, OffsetRange::new(gap, *key));
                }
                gap = range.next;
                if acquiring.left() == 0 {
                    return;
                }
            }
            if !self.acquire_batch(acquiring, *key) {
                return;
            }
        }
        if acquiring.left() > 0 && known < acquiring.span.next {
            self.acquire_new(acquiring, OffsetRange::new(known, acquiring.span.next));
        }
    }

    /// Gives what is available of one batch. Says whether more may be given.
    fn acquire_batch(&mut self, acquiring: &mut Acquiring<'_>, key: Offset) -> bool {
        let (limit, throttled_from) = (self.options.deliveries_max, self.options.throttled_from());
        let Some(batch) = self.batches.get_mut(&key) else { return true };
        let is_limited = acquiring.request.mode == AcquireMode::RecordLimit;
        let exceeds = is_limited && batch.range.len() > acquiring.left();
        let is_throttled = is_throttled(batch, acquiring.span, throttled_from);
        if is_throttled && acquiring.count > 0 {
            return false;
        }
        let is_full = batch.lies_in(acquiring.span);
        match batch.whole_mut() {
            // Before anything else: a batch that nobody can have is not split for nothing.
            Some(record) if !record.is_available() => return true,
            Some(record) if is_full && !exceeds && !is_throttled => {
                record.acquire(&acquiring.member, acquiring.until);
                let delivery_count = record.count;
                acquiring.ranges.push(AcquiredRange { range: batch.range, delivery_count });
                acquiring.count += batch.range.len();
                self.schedule(key, acquiring.until);
                return true;
            }
            Some(_) | None => batch.split(),
        }
        let max = if is_limited { acquiring.left() } else { u64::MAX };
        let given = acquire_each(batch, acquiring, max, limit, throttled_from);
        if given.is_empty() {
            return true;
        }
        acquiring.count += given.iter().map(|it| it.range.len()).sum::<u64>();
        accumulate(&mut acquiring.ranges, &given);
        self.schedule(key, acquiring.until);
        !is_throttled
    }

    /// Gives what was never delivered before.
    fn acquire_new(&mut self, acquiring: &mut Acquiring<'_>, range: OffsetRange) {
        let base = if self.batches.is_empty() { range.base.max(self.next) } else { range.base };
        if base >= range.next {
            return;
        }
        let mut next = range.next;
        let max = acquiring.left();
        if max < next.0 - base.0 {
            // To the end of the batch, unless something is known that begins before.
            let asked = base.plus(max);
            let batches = acquiring.fetched.batches;
            let last =
                batches.get(batches.partition_point(|it| it.range.next < asked)).filter(|it| it.range.base < asked);
            next = last.map_or(asked, |batch| batch.range.next);
            if self.active_gaps().is_some() {
                next = next.min(range.next);
            }
        }
        let range = OffsetRange::new(base, next);
        let acquired_next = if acquiring.request.mode == AcquireMode::RecordLimit {
            self.add_limited(acquiring, range, max)
        } else {
            self.add_batches(acquiring, range)
        };
        if self.batches.first_key_value().is_some_and(|(key, _)| *key == base) {
            self.start = self.start.max(base);
        }
        self.next = self.next.max(next);
        acquiring.count += acquired_next.0 - base.0;
        self.pass_gaps(acquired_next);
    }

    /// Adds what is acquired, in parts of about the size that is asked for, which begin where batches do.
    fn add_batches(&mut self, acquiring: &mut Acquiring<'_>, range: OffsetRange) -> Offset {
        let size = u64::from(acquiring.request.batch_size);
        let mut base = range.base;
        let mut parts = Vec::new();
        if range.len() > size {
            let batches = acquiring.fetched.batches;
            let first = batches.partition_point(|batch| batch.range.base <= range.base);
            for batch in batches[first..].iter().take_while(|batch| batch.range.base < range.next) {
                let begins = batch.range.base;
                if begins > base && begins.0 - base.0 >= size {
                    parts.push(OffsetRange::new(base, begins));
                    base = begins;
                }
            }
        }
        parts.push(OffsetRange::new(base, range.next));
        for range in parts {
            let record = Record::acquired(1, &acquiring.member, acquiring.until);
            self.batches.insert(range.base, Batch::new(range, record));
            self.schedule(range.base, acquiring.until);
            acquiring.ranges.push(AcquiredRange { range, delivery_count: 1 });
        }
        range.next
    }

    /// Adds a batch of which so many records at most are acquired; the others are available.
    fn add_limited(&mut self, acquiring: &mut Acquiring<'_>, range: OffsetRange, max: u64) -> Offset {
        let next = range.next.min(range.base.plus(max));
        let mut batch = Batch::new(range, Record::acquired(1, &acquiring.member, acquiring.until));
        if next < range.next {
            batch.split();
            for (_, record) in batch.within_mut(OffsetRange::new(next, range.next)) {
                *record = Record::default();
            }
            self.looks_back = true;
        }
        self.batches.insert(range.base, batch);
        self.schedule(range.base, acquiring.until);
        acquiring.ranges.push(AcquiredRange { range: OffsetRange::new(range.base, next), delivery_count: 1 });
        next
    }

    /// Records of aborted transactions are archived, and given to nobody.
    fn without_aborted(&mut self, acquiring: Acquiring<'_>) -> Acquired {
        let Acquiring { mut ranges, mut count, fetched, .. } = acquiring;
        if !ranges.is_empty() && !fetched.aborted.is_empty() {
            let aborted = fetched.aborted_batches();
            for range in &aborted {
                self.archive(*range, DeliveryState::Acquired);
            }
            // Else as many as may be in flight could all be such, and nothing would ever come of another fetch.
            self.move_start();
            ranges = without(ranges, &aborted);
            count = ranges.iter().map(|it| it.range.len()).sum();
        }
        Acquired { ranges, count: u32::try_from(count).unwrap_or(u32::MAX) }
    }
}

/// Whether something that may be given was delivered so often that it is given in parts.
fn is_throttled(batch: &Batch, span: OffsetRange, throttled_from: i16) -> bool {
    let within = if batch.whole().is_some() { batch.range } else { span };
    let available = batch.within(within).filter(|(_, record)| record.is_available());
    available.map(|(_, record)| record.count).max().is_some_and(|count| count >= throttled_from)
}

/// Gives records of a batch, as if one by one: so many at most, fewer the more often the first of them was delivered, and alone what is
/// delivered for the last time.
fn acquire_each(
    batch: &mut Batch,
    acquiring: &Acquiring<'_>,
    max: u64,
    limit: i16,
    throttled_from: i16,
) -> Vec<AcquiredRange> {
    let mut given = Vec::new();
    let Some(within) = overlap(batch.range, acquiring.span).filter(|_| batch.whole().is_none()) else { return given };
    let available = batch.within(within).filter(|(_, record)| record.is_available());
    let available: Vec<(OffsetRange, i16)> = available.map(|(at, record)| (at, record.count)).collect();
    let (mut count, mut throttled_max) = (0, None);
    for (at, deliveries) in available {
        let is_last = limit > 2 && deliveries.saturating_add(1) == limit;
        if is_last && count > 0 {
            break;
        }
        if deliveries >= throttled_from && throttled_max.is_none() {
            let halvings = u32::from(deliveries.abs_diff(throttled_from)) + 1;
            throttled_max = Some(batch.range.len().checked_shr(halvings).unwrap_or(0).max(1));
        }
        let mut most = if is_last { 1 } else { max.saturating_sub(count) };
        // As Kafka compares: more than that may have been given before the first that is throttled.
        if let Some(throttled_max) = throttled_max.filter(|throttled_max| count < *throttled_max) {
            most = most.min(throttled_max - count);
        }
        let range = OffsetRange::new(at.base, at.next.min(at.base.plus(most)));
        for (range, record) in batch.within_mut(range) {
            record.acquire(&acquiring.member, acquiring.until);
            given.push(AcquiredRange { range, delivery_count: record.count });
        }
        count += range.len();
        if is_last || count == max || Some(count) == throttled_max {
            break;
        }
    }
    given
}
