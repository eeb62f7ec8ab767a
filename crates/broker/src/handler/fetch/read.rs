//! Reads the partitions of one fetch, side by side where records come from the bucket.
//!
//! Who reads decided records only is read for by `committed`.
//!
//! Bounds: the answer's total and each partition's share, in the request's order; but where nothing fits, the first batch that is
//! there comes whole, or a consumer with small bounds would never pass it. A read that has begun has its part of the total put
//! aside, so those beside it can't exceed it together. What memory answers at once is never waited for: only reads that wait run
//! beside each other, [`READS_TOGETHER_MAX`] at most.
//!
//! Memory: record data is shared with the caches, never copied but where it is then converted (`convert`) or lasts (`detach`), and
//! counted in the broker's answer memory until it is written. A fetch waits for that memory only while it holds none, so fetches
//! never wait for one another in a circle. What was read of a partition stays until it has been read anew, so a fetch that finds
//! no memory for that can answer with what it has.

use super::committed::{self, Part};
use super::{Slot, convert};
use crate::Shared;
use crate::detach::SHARED_FOR_MAX;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset};
use futures::stream::{FuturesUnordered, StreamExt};
use protocol::record_batch::OldFormat;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use world::ClockExt;

/// Reads of one fetch that wait for the bucket at the same time.
const READS_TOGETHER_MAX: usize = 16;

/// Reads of cold data go on beyond the time that the client wants to wait, but not into its request timeout;
const READ_WAIT_MAX: Duration = Duration::from_secs(20);

/// and where other partitions have records for the client already, they are kept from it no longer than this.
pub(super) const OTHERS_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a fetch may read.
#[derive(Debug, Clone, Copy)]
pub(in crate::handler) struct Bounds {
    /// It waits for so much.
    pub(in crate::handler) bytes_min: usize,
    pub(in crate::handler) bytes_max: usize,
    /// What records are converted to once they have been read; none: they are sent as they are.
    pub(in crate::handler) format: Option<OldFormat>,
    /// Whether the client is to see decided records only.
    pub(in crate::handler) is_committed: bool,
}

/// The bounds of one fetch and what it has used of them.
pub(in crate::handler) struct Progress {
    pub(in crate::handler) bytes_min: usize,
    pub(in crate::handler) bytes: usize,
    /// What there is to read within the bounds, whole batches or not: this is what is measured by `bytes_min`. Else a client would wait for
    /// more than its bounds let through.
    pub(in crate::handler) readable: usize,
    pub(in crate::handler) memory: Option<OwnedSemaphorePermit>,
    /// Something was not read for want of memory.
    pub(in crate::handler) is_short: bool,
    pub(super) bytes_max: usize,
    pub(super) read_deadline: Micros,
    others_deadline: Micros,
    /// What has been read until then has memory of its own from then on,
    detaches: Micros,
    /// if anything that was read until now shares the caches' memory; what has been given up since still counts.
    is_sharing: bool,
    /// The client must hear of a partition at once.
    pub(super) has_news: bool,
    /// What reads that wait may bring, and the memory that they may need for it.
    reserved: usize,
    reserved_memory: usize,
    /// A partition whose first batch did not fit while something else was read.
    too_large: Option<usize>,
    /// What records are converted to once they have been read; none: they are sent as they are.
    pub(super) format: Option<OldFormat>,
    /// What a read reserves for each byte.
    pub(super) copies: usize,
    /// Whether the client is to see decided records only.
    is_committed: bool,
}

/// A read that has not answered at once.
type Waiting<'a> = Pin<Box<dyn Future<Output = (Read, Result<Part, Failure>)> + Send + 'a>>;

/// What a read was allowed.
#[derive(Debug, Clone, Copy)]
struct Read {
    index: usize,
    bytes_max: usize,
    memory: usize,
}

/// What to do with a partition.
enum Next {
    Read(Read),
    /// Nothing, now or because of its own bounds.
    Pass,
    /// It may have its turn when a read that waits has ended.
    Later,
}

impl Progress {
    pub(in crate::handler) fn new(broker: &Shared, bounds: Bounds, now: Micros, wait: Duration) -> Progress {
        let Bounds { bytes_min, bytes_max, format, is_committed } = bounds;
        let bytes_max = bytes_max.min(broker.options.fetch_bytes_max);
        let share = broker.answer_memory.share();
        let bytes_max = bytes_max.min(if format.is_some() { share / convert::COPIES } else { share });
        Progress {
            bytes_min: bytes_min.min(bytes_max),
            bytes: 0,
            readable: 0,
            memory: None,
            is_short: false,
            bytes_max,
            read_deadline: now.plus(wait.max(READ_WAIT_MAX)),
            others_deadline: now.plus(wait.max(OTHERS_WAIT_MAX)),
            detaches: now.plus(SHARED_FOR_MAX),
            is_sharing: false,
            has_news: false,
            reserved: 0,
            reserved_memory: 0,
            too_large: None,
            format,
            copies: 1,
            is_committed,
        }
    }

    /// The same with another bound beside: what the client's quota lets through at once.
    pub(super) fn at_most(mut self, bytes_max: usize) -> Progress {
        self.bytes_max = self.bytes_max.min(bytes_max);
        self.bytes_min = self.bytes_min.min(self.bytes_max);
        self
    }

    /// How long what has been read may share the caches' memory yet; for ever where nothing does.
    pub(super) fn shares(&self, now: Micros) -> Duration {
        if self.is_sharing { self.detaches.since(now) } else { Duration::MAX }
    }

    /// That time is up.
    pub(super) async fn detach(&mut self, broker: &Shared, slots: &mut [Slot]) {
        for slot in slots {
            slot.detach().await;
        }
        self.is_sharing = false;
        self.detaches = broker.clock.now().plus(SHARED_FOR_MAX);
    }

    fn settle(&mut self, slot: &mut Slot, read: Read, is_alone: bool, result: Result<Part, Failure>) {
        self.reserved -= read.bytes_max;
        self.reserved_memory -= read.memory;
        match result {
            Ok(Part { batches, end, aborted }) => {
                slot.stable = self.is_committed.then_some(end);
                self.readable -= slot.readable;
                let goes_on = batches.next < end;
                slot.readable = if goes_on { read.bytes_max.max(batches.bytes) } else { batches.bytes };
                self.readable += slot.readable;
                let of_others = self.bytes - slot.records.len();
                let fits = batches.bytes <= read.bytes_max && of_others + batches.bytes <= self.bytes_max;
                if fits || (of_others == 0 && is_alone) {
                    self.bytes = of_others + batches.bytes;
                    slot.fill(batches.pieces.into_iter().collect());
                    self.is_sharing |= slot.is_shared();
                    slot.aborted = aborted;
                } else if self.bytes == 0 {
                    self.too_large = Some(self.too_large.map_or(read.index, |first| first.min(read.index)));
                }
                // Otherwise a batch larger than what is left: it comes first in another answer.
            }
            Err(failure) => self.refuse(slot, failure),
        }
    }

    pub(super) fn refuse(&mut self, slot: &mut Slot, failure: Failure) {
        self.forget(slot);
        slot.found = Err(failure);
        self.has_news = true;
    }

    /// Gives up what was read of a partition.
    pub(super) fn forget(&mut self, slot: &mut Slot) {
        self.bytes -= std::mem::take(&mut slot.records).len();
        self.readable -= std::mem::take(&mut slot.readable);
        slot.aborted.clear();
    }
}

/// Reads what these partitions have, in their order, in place of what was read of them before.
pub(in crate::handler) async fn read_all(
    broker: &Shared,
    slots: &mut [Slot],
    indexes: &[usize],
    progress: &mut Progress,
) {
    progress.is_short = false;
    progress.has_news |= indexes.iter().any(|index| slots[*index].is_news());
    read_side_by_side(broker, slots, indexes, progress).await;
    if let Some(index) = progress.too_large.take()
        && progress.bytes == 0
    {
        // Nothing smaller has come: now it is alone.
        read_side_by_side(broker, slots, &[index], progress).await;
    }
}

async fn read_side_by_side(broker: &Shared, slots: &mut [Slot], indexes: &[usize], progress: &mut Progress) {
    let mut waiting: FuturesUnordered<Waiting<'_>> = FuturesUnordered::new();
    let mut indexes = indexes.iter().copied().peekable();
    loop {
        while let Some(index) = indexes.peek().copied().filter(|_| waiting.len() < READS_TOGETHER_MAX) {
            let slot = &mut slots[index];
            let read = match next(broker, slot, index, waiting.is_empty(), progress).await {
                Next::Later => break,
                Next::Pass => None,
                Next::Read(read) => Some(read),
            };
            indexes.next();
            if let (Some(read), Ok(partition)) = (read, &slot.found) {
                let of_slot = (partition.clone(), slot.asked.offset, slot.seen);
                let mut begun = begin(broker, of_slot, read, progress);
                match futures::poll!(begun.as_mut()) {
                    Poll::Ready((read, result)) => {
                        count_excess(broker, progress, read, &result);
                        progress.settle(slot, read, waiting.is_empty(), result);
                    }
                    Poll::Pending => waiting.push(begun),
                }
            }
        }
        if waiting.is_empty() {
            return;
        }
        let has_news = progress.bytes > 0 || progress.has_news;
        let deadline = if has_news { progress.others_deadline } else { progress.read_deadline };
        let now = broker.clock.now();
        let (left, shares) = (deadline.since(now), progress.shares(now));
        let ended = broker.clock.timeout(left.min(shares), waiting.next()).await;
        if ended.is_none() && shares < left {
            progress.detach(broker, slots).await;
            continue;
        }
        let Some(Some((read, result))) = ended else {
            // Slower than the client waits: it asks again.
            (progress.reserved, progress.reserved_memory) = (0, 0);
            return;
        };
        count_excess(broker, progress, read, &result);
        progress.settle(&mut slots[read.index], read, waiting.is_empty(), result);
    }
}

fn begin<'a>(
    broker: &'a Shared,
    (partition, offset, seen): (Arc<Partition>, i64, Offset),
    read: Read,
    progress: &Progress,
) -> Waiting<'a> {
    let from = Offset::from_kafka(offset).unwrap_or_default();
    let deadline = progress.read_deadline;
    if progress.is_committed {
        return Box::pin(
            async move { (read, committed::read(broker, &partition, (from, read.bytes_max), deadline).await) },
        );
    }
    let of_all = move |batches| Part { batches, end: seen, aborted: Vec::new() };
    Box::pin(async move { (read, partition.read(from, read.bytes_max).await.map(of_all).map_err(Failure::from)) })
}

/// Checks a partition without reading it, and says how much of it may be read.
async fn next(broker: &Shared, slot: &mut Slot, index: usize, is_alone: bool, progress: &mut Progress) -> Next {
    let Ok(partition) = slot.found.clone() else { return Next::Pass };
    let from = match check(broker, &partition, slot) {
        Ok(from) => from,
        Err(failure) => {
            progress.refuse(slot, failure);
            return Next::Pass;
        }
    };
    progress.has_news |= slot.diverging.is_some();
    slot.seen = partition.high_watermark().max(from);
    // Where it is not known, reading finds out.
    let stable = if progress.is_committed { partition.last_stable() } else { None };
    if slot.diverging.is_some() || from >= stable.unwrap_or_else(|| partition.high_watermark()) {
        progress.forget(slot);
        return Next::Pass;
    }
    let of_partition = usize::try_from(slot.asked.bytes_max).unwrap_or(0);
    let of_others = progress.bytes - slot.records.len();
    let left = progress.bytes_max.saturating_sub(of_others + progress.reserved);
    let bytes_max = of_partition.min(left);
    if bytes_max == 0 && of_others > 0 && (is_alone || of_partition == 0) {
        return Next::Pass;
    }
    if bytes_max == 0 && !is_alone {
        return Next::Later;
    }
    // What was written before the bound was lowered is read as well.
    let batch_bytes_max = broker.options.batch_bytes_max.max(broker.live().batch_bytes_max).max(slot.batch_bytes_max);
    // Of the newest records there is mostly little to read, and what others wait for is not kept from them for more.
    let most = bytes_max.max(batch_bytes_max);
    let there = partition.bytes_from(from, most);
    let bytes_max = there.map_or(bytes_max, |there| bytes_max.min(there));
    let memory = there.unwrap_or(most).saturating_mul(progress.copies);
    if !take_memory(broker, progress, memory).await {
        if !is_alone {
            return Next::Later;
        }
        progress.is_short = true;
        return Next::Pass;
    }
    progress.reserved += bytes_max;
    progress.reserved_memory += memory;
    Next::Read(Read { index, bytes_max, memory })
}

/// Where to read from; also finds out whether what the client has is what was kept here.
fn check(broker: &Shared, partition: &Partition, slot: &mut Slot) -> Result<Offset, Failure> {
    if partition.is_deleted() {
        return Err(Failure::UnknownPartition);
    }
    if partition.is_over() {
        return Err(Failure::NotLeader);
    }
    let from = Offset::from_kafka(slot.asked.offset).ok_or(Failure::OffsetOutOfRange)?;
    if slot.asked.last_fetched_epoch >= 0 {
        let image = broker.store.ledger().image();
        let last = slot.asked.last_fetched_epoch;
        let (epoch, end) = partition.epoch_end(&image, last).ok_or(Failure::OffsetOutOfRange)?;
        if from < partition.log_start() {
            return Err(Failure::OffsetOutOfRange);
        }
        slot.diverging = (epoch < last || end < from).then_some((epoch, end));
        if slot.diverging.is_some() {
            return Ok(from);
        }
    }
    if from < partition.log_start() || from > partition.log_end() {
        return Err(Failure::OffsetOutOfRange);
    }
    Ok(from)
}

/// A batch from a time when its topic allowed greater ones may be above what was put aside for it. What is free is counted.
fn count_excess(broker: &Shared, progress: &mut Progress, read: Read, result: &Result<Part, Failure>) {
    let excess = result.as_ref().map_or(0, |part| part.batches.bytes.saturating_sub(read.memory));
    if let (Some(held), Some(more)) = (&mut progress.memory, broker.answer_memory.try_take(excess)) {
        held.merge(more);
    }
}

/// Makes sure that the answer may grow by `memory`; false where memory is short.
async fn take_memory(broker: &Shared, progress: &mut Progress, memory: usize) -> bool {
    let wanted = progress.bytes + progress.reserved_memory + memory;
    match &mut progress.memory {
        None => {
            let wait = progress.read_deadline.since(broker.clock.now());
            progress.memory = broker.clock.timeout(wait, broker.answer_memory.take(wanted)).await;
            progress.memory.is_some()
        }
        Some(held) => {
            let missing = wanted.saturating_sub(held.num_permits());
            let Some(more) = broker.answer_memory.try_take(missing) else { return false };
            held.merge(more);
            true
        }
    }
}
