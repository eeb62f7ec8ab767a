//! The log cache: what was acknowledged and may still be asked for from memory, by stream and offset.
//!
//! Stands between acknowledgement and upload: a batch enters when it is acknowledged, is read from here by consumers and by the
//! upload, and may be forgotten once it is committed.
//!
//! - A run is in memory or *spilled*: then only its place in the WAL is kept. What is not committed is never forgotten.
//! - Memory is bounded by `bytes_max`: beyond it the oldest runs go, committed ones altogether, others to their place in the WAL.
//!   Commits of one WAL come in its order, so of one WAL's runs the oldest are the committed ones whenever there are any.
//! - Adjacent small batches of one acknowledgement are copied together: one allocation, one index entry. A tiny batch is copied, so that it
//!   does not pin the request frame that it came in, and so is a larger one where less than half of its frame is stored ([`FrameUse`]).
//! - What is counted is what is in memory: a frame counts as a whole until the last batch that shares it has left, in whatever order they do.
//!   The oldest run's turn comes where memory is short, so nothing keeps a frame for longer than that, but what its WAL can't give back: that
//!   is copied out of a frame of which little is left.
//!
//! Runs of recovered WALs enter spilled. The shell reads places; positions are opaque here but for adding lengths inside a group.

use crate::frame_use::{FrameUse, SHARED_BATCH_BYTES_MIN};
use crate::walk;
use crate::{BatchBytes, NumberedBatch};
use base::{Offset, OffsetRange, StreamId, UnixMillis, WalId, WalPosition, crc32c, crc32c_joined};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Adjacent batches below this length are copied together into one run. A copy of so little costs microseconds.
const JOINED_BATCH_BYTES_MAX: usize = 16 << 10;

/// Up to this length.
const JOINED_RUN_BYTES_MAX: usize = 256 << 10;

/// Runs that are adjacent in the WAL become one spilled run up to this length: it is also what one read of the WAL brings back.
pub const SPILLED_RUN_BYTES_MAX: u32 = 1 << 20;

/// Entries of runs that have left the memory, kept at the most besides one for each that has not.
const OLDEST_SPARE: usize = 1024;

/// What an index entry costs besides its bytes, roughly.
const RUN_OVERHEAD_BYTES: u64 = 160;

/// Where a run's bytes are in a WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which WAL.
    pub wal: WalId,
    /// Position of the first byte.
    pub position: WalPosition,
    /// How many.
    pub len: u32,
    /// Their CRC-32C.
    pub crc: u32,
}

/// A batch and where the WAL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedBatch {
    /// The batch.
    pub batch: NumberedBatch,
    /// Its place.
    pub place: Place,
}

/// Where a run's bytes can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Here. With a head: exactly one batch.
    Memory(BatchBytes),
    /// At the run's place in the WAL.
    Spilled,
}

/// Whole batches of one stream, back to back in one WAL group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What it covers.
    pub range: OffsetRange,
    /// Records (not offsets).
    pub records: u64,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// Base offset of the first batch that holds it.
    pub max_timestamp_offset: Offset,
    /// Holds Kafka's control batches.
    pub control: bool,
    /// Its place in the WAL, whether spilled or not.
    pub place: Place,
    /// Its bytes.
    pub body: Body,
    /// The request's frame that keeps them in memory; `None` where they have memory of their own, or none.
    pub frame: Option<Arc<FrameUse>>,
}

impl Run {
    /// Counts the run in its frame. Answers the bytes that are in memory for it.
    fn enter(&self) -> u64 {
        let Body::Memory(bytes) = &self.body else { return 0 };
        let len = bytes.len();
        let taken = self.frame.as_ref().map_or(len, |frame| frame.keep(len));
        taken as u64 + RUN_OVERHEAD_BYTES
    }

    /// The reverse, when its bytes leave: the bytes that are not in memory any more.
    fn leave(&self) -> u64 {
        let Body::Memory(bytes) = &self.body else { return 0 };
        let len = bytes.len();
        let freed = self.frame.as_ref().map_or(len, |frame| frame.let_go(len));
        freed as u64 + RUN_OVERHEAD_BYTES
    }
}

/// One stream's runs.
#[derive(Debug, Default)]
struct Tail {
    /// By offset, not overlapping. There are holes only where a later tenure's runs were committed and forgotten earlier.
    runs: VecDeque<Run>,
    /// Where the last append ended, from the first one on.
    appended: Option<Offset>,
}

/// An answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Whole batches, and the offset after them.
    Memory(Vec<BatchBytes>, Offset),
    /// Read this place in the WAL, then look again whether the run still stands: if not, what was read may be overwritten bytes.
    Spilled(Place, OffsetRange),
    /// Not here: in objects, if anywhere.
    Miss,
}

/// The index and its accounts.
#[derive(Debug)]
pub struct LogCache {
    bytes_max: u64,
    tails: BTreeMap<StreamId, Tail>,
    /// Runs in memory, oldest first; those that left by another way are skipped when met, and cleared away when they are most.
    oldest: VecDeque<(StreamId, Offset)>,
    memory_bytes: u64,
    memory_runs: usize,
    spilled_runs: usize,
}

impl LogCache {
    /// An empty cache.
    #[must_use]
    pub fn new(bytes_max: u64) -> LogCache {
        LogCache {
            bytes_max,
            tails: BTreeMap::new(),
            oldest: VecDeque::new(),
            memory_bytes: 0,
            memory_runs: 0,
            spilled_runs: 0,
        }
    }

    /// Adds a stream's batches of one acknowledged group.
    ///
    /// # Panics
    /// Where they don't continue what is here: a programmer's error above, which must not be acknowledged.
    pub fn append(&mut self, stream: StreamId, batches: &[PlacedBatch]) {
        let tail = self.tails.entry(stream).or_default();
        for run in runs_of(batches) {
            // Behind recovered runs this tenure's first ones may have been committed and forgotten already.
            let follows = match (tail.appended, tail.runs.back()) {
                (Some(end), _) => run.range.base == end,
                (None, Some(last)) => run.range.base >= last.range.next,
                (None, None) => true,
            };
            assert!(follows, "stream {stream}: the tail must be contiguous: {} follows {:?}", run.range, tail.appended);
            tail.appended = Some(run.range.next);
            self.memory_bytes += run.enter();
            self.memory_runs += 1;
            self.oldest.push_back((stream, run.range.base));
            tail.runs.push_back(run);
        }
        self.clear_oldest();
    }

    /// Adds a recovered run, spilled. Runs of several WALs may come in any order but do not overlap.
    pub fn adopt(&mut self, stream: StreamId, run: Run) {
        assert_eq!(run.body, Body::Spilled, "recovered runs are in their WAL");
        let tail = self.tails.entry(stream).or_default();
        let at = tail.runs.partition_point(|it| it.range.base < run.range.base);
        tail.runs.insert(at, run);
        self.spilled_runs += 1;
    }

    /// Forgets what lies wholly below `committed` and is only spilled: it is in objects now and its place may be overwritten.
    /// What is in memory stays until memory is short.
    pub fn committed(&mut self, stream: StreamId, wal: WalId, committed: Offset) {
        let Some(tail) = self.tails.get_mut(&stream) else { return };
        let spilled = &mut self.spilled_runs;
        tail.runs.retain(|run| {
            let gone = run.place.wal == wal && run.range.next <= committed && run.body == Body::Spilled;
            *spilled -= usize::from(gone);
            !gone
        });
        self.forget_if_empty(stream);
    }

    /// Forgets what lies wholly below this offset and needs no commit: nobody may read it, as the stream starts there, or it is to be read
    /// from objects, where cleaning has taken some of it.
    pub fn trimmed(&mut self, stream: StreamId, start: Offset) {
        while let Some(first) = self.tails.get(&stream).and_then(|tail| tail.runs.front()) {
            if first.range.next > start {
                return;
            }
            self.remove_run(stream, 0);
        }
    }

    /// Forgets a deleted stream.
    pub fn dropped(&mut self, stream: StreamId) {
        while self.tails.contains_key(&stream) {
            self.remove_run(stream, 0);
        }
    }

    /// Brings memory below the bound: the oldest runs leave, committed ones altogether, others to their WAL unless it can't give them back
    /// (`may_spill`). `committed` tells a stream's committed end in a WAL, from an image.
    pub fn fit(&mut self, committed: impl Fn(StreamId, WalId) -> Offset, may_spill: impl Fn(WalId) -> bool) {
        let mut stay = Vec::new();
        while self.memory_bytes > self.bytes_max {
            let Some((stream, base)) = self.oldest.pop_front() else { break };
            let Some(index) = self.index_of(stream, base) else { continue };
            let run = &self.tails[&stream].runs[index];
            if run.body == Body::Spilled {
                continue;
            }
            let (wal, next) = (run.place.wal, run.range.next);
            let end = committed(stream, wal);
            if next <= end {
                self.remove_run(stream, index);
                // The image may show a commit before [`LogCache::committed`] hears of it: what was spilled before this run goes with it,
                // or the next append would follow a hole.
                self.committed(stream, wal, end);
            } else if may_spill(wal) {
                self.spill(stream, index);
            } else {
                self.copy_out(stream, index);
                stay.push((stream, base));
            }
        }
        for entry in stay.into_iter().rev() {
            self.oldest.push_front(entry);
        }
    }

    /// Whole batches from the one that holds `from` on, up to `bytes_max` bytes but at least one, none at or beyond `below`.
    #[must_use]
    pub fn read(&self, stream: StreamId, from: Offset, below: Offset, bytes_max: usize) -> Lookup {
        let Some(tail) = self.tails.get(&stream) else { return Lookup::Miss };
        let first = tail.runs.partition_point(|run| run.range.next <= from);
        let mut pieces = Vec::new();
        let (mut bytes, mut next) = (0, from);
        for run in tail.runs.range(first..) {
            if run.range.base > next || run.range.base >= below {
                break;
            }
            let Body::Memory(memory) = &run.body else {
                if pieces.is_empty() {
                    return Lookup::Spilled(run.place, run.range);
                }
                break;
            };
            let room = bytes_max.saturating_sub(bytes);
            if !pieces.is_empty() && room == 0 {
                break;
            }
            let (piece, after) = part_of(memory, run.range, next, below, room);
            if piece.is_empty() || (!pieces.is_empty() && piece.len() > room) {
                break;
            }
            bytes += piece.len();
            next = after;
            pieces.push(piece);
            if after < run.range.next {
                break;
            }
        }
        if pieces.is_empty() { Lookup::Miss } else { Lookup::Memory(pieces, next) }
    }

    /// The end of the run that holds `offset`, where there is one.
    #[must_use]
    pub fn run_end(&self, stream: StreamId, offset: Offset) -> Option<Offset> {
        let index = self.index_of(stream, offset)?;
        Some(self.tails[&stream].runs[index].range.next)
    }

    /// The base of the first run, at or above `from` and below `below`, whose greatest timestamp is at least `target`.
    #[must_use]
    pub fn seek_time(&self, stream: StreamId, from: Offset, below: Offset, target: UnixMillis) -> Option<Offset> {
        let mut readable = self.runs_between(stream, from, below);
        readable.find(|run| run.max_timestamp >= target).map(|run| run.range.base.max(from))
    }

    /// The runs that hold offsets at or above `from` and begin below `below`, oldest first.
    pub fn runs_between(&self, stream: StreamId, from: Offset, below: Offset) -> impl Iterator<Item = &Run> {
        let runs = self.tails.get(&stream).into_iter().flat_map(move |tail| {
            let first = tail.runs.partition_point(|run| run.range.next <= from);
            tail.runs.range(first..)
        });
        runs.take_while(move |run| run.range.base < below)
    }

    /// Whether these bytes of the WAL are still what the cache has, alone or joined with their neighbours: what was read from there is
    /// then the run, and the WAL is still needed for it (or would be, were it not in memory as well).
    #[must_use]
    pub fn stands(&self, stream: StreamId, place: Place, range: OffsetRange) -> bool {
        let Some(index) = self.index_of(stream, range.base) else { return false };
        let run = &self.tails[&stream].runs[index];
        let end = |place: Place| place.position.0 + u64::from(place.len);
        let within = run.place.position <= place.position && end(place) <= end(run.place);
        run.place.wal == place.wal && within && run.range.next >= range.next
    }

    /// The runs of one WAL that touch `range`, oldest first: what an upload of that range holds. Shares bytes.
    #[must_use]
    pub fn runs(&self, stream: StreamId, wal: WalId, range: OffsetRange) -> Vec<Run> {
        let Some(tail) = self.tails.get(&stream) else { return Vec::new() };
        let first = tail.runs.partition_point(|run| run.range.next <= range.base);
        let touching = tail.runs.range(first..).take_while(|run| run.range.base < range.next);
        touching.filter(|run| run.place.wal == wal).cloned().collect()
    }

    /// The streams that have runs here.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamId> {
        self.tails.keys().copied().collect()
    }

    /// Bytes in memory, with the index.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes + self.spilled_runs as u64 * RUN_OVERHEAD_BYTES
    }

    /// Runs that are only in the WAL.
    #[must_use]
    pub fn spilled_runs(&self) -> usize {
        self.spilled_runs
    }

    fn index_of(&self, stream: StreamId, offset: Offset) -> Option<usize> {
        let runs = &self.tails.get(&stream)?.runs;
        let index = runs.partition_point(|run| run.range.next <= offset);
        runs.get(index).filter(|run| run.range.contains(offset)).map(|_| index)
    }

    fn remove_run(&mut self, stream: StreamId, index: usize) {
        let Some(run) = self.tails.get_mut(&stream).and_then(|tail| tail.runs.remove(index)) else {
            self.tails.remove(&stream);
            return;
        };
        self.memory_bytes -= run.leave();
        match run.body {
            Body::Memory(_) => self.memory_runs -= 1,
            Body::Spilled => self.spilled_runs -= 1,
        }
        self.forget_if_empty(stream);
    }

    fn spill(&mut self, stream: StreamId, index: usize) {
        let runs = &mut self.tails.get_mut(&stream).expect("the run was just found").runs;
        self.memory_bytes -= runs[index].leave();
        runs[index].body = Body::Spilled;
        runs[index].frame = None;
        self.memory_runs -= 1;
        self.spilled_runs += 1;
        let Some(before) = index.checked_sub(1) else { return };
        if let Some(joined) = join(&runs[before], &runs[index]) {
            runs[before] = joined;
            runs.remove(index);
            self.spilled_runs -= 1;
        }
    }

    /// A run that has to stay gets memory of its own where less than half of its frame is still kept.
    fn copy_out(&mut self, stream: StreamId, index: usize) {
        let run = &mut self.tails.get_mut(&stream).expect("the run was just found").runs[index];
        if !run.frame.as_deref().is_some_and(FrameUse::is_hardly_kept) {
            return;
        }
        let Body::Memory(bytes) = &run.body else { return };
        let own = together([bytes]);
        self.memory_bytes -= run.leave();
        (run.body, run.frame) = (Body::Memory(BatchBytes::whole(own)), None);
        self.memory_bytes += run.enter();
    }

    /// Where memory is never short, because what comes is trimmed or deleted soon, nobody meets the entries of what has left.
    fn clear_oldest(&mut self) {
        if self.oldest.len() <= 2 * self.memory_runs + OLDEST_SPARE {
            return;
        }
        let mut oldest = std::mem::take(&mut self.oldest);
        oldest.retain(|(stream, base)| {
            let run = self.index_of(*stream, *base).map(|index| &self.tails[stream].runs[index]);
            run.is_some_and(|run| run.range.base == *base && run.body != Body::Spilled)
        });
        self.oldest = oldest;
    }

    fn forget_if_empty(&mut self, stream: StreamId) {
        if self.tails.get(&stream).is_some_and(|tail| tail.runs.is_empty()) {
            self.tails.remove(&stream);
        }
    }
}

/// Two spilled runs as one, where they are adjacent in the stream and in the WAL: then they are of one group, since every group
/// begins with a header, and no trim point comes between them.
#[must_use]
pub fn join(first: &Run, second: &Run) -> Option<Run> {
    let (a, b) = (first.place, second.place);
    let adjacent = follows(a, b)
        && first.range.next == second.range.base
        && a.len + b.len <= SPILLED_RUN_BYTES_MAX
        && first.body == Body::Spilled
        && second.body == Body::Spilled;
    let later_is_greater = second.max_timestamp > first.max_timestamp;
    let greatest = if later_is_greater { second } else { first };
    adjacent.then(|| Run {
        range: OffsetRange::new(first.range.base, second.range.next),
        records: first.records + second.records,
        max_timestamp: greatest.max_timestamp,
        max_timestamp_offset: greatest.max_timestamp_offset,
        control: first.control || second.control,
        place: Place { len: a.len + b.len, crc: crc32c_joined(a.crc, b.crc, u64::from(b.len)), ..a },
        body: Body::Spilled,
        frame: None,
    })
}

fn follows(first: Place, second: Place) -> bool {
    first.wal == second.wal && first.position.0 + u64::from(first.len) == second.position.0
}

/// The asked-for part of a run in memory, as whole batches, and the offset after it.
fn part_of(
    memory: &BatchBytes,
    range: OffsetRange,
    from: Offset,
    below: Offset,
    bytes_max: usize,
) -> (BatchBytes, Offset) {
    let whole = from <= range.base && range.next <= below && memory.len() <= bytes_max;
    if whole || !memory.head.is_empty() {
        return (memory.clone(), range.next);
    }
    match walk::cut(&memory.body, from, below, bytes_max) {
        Ok((span, next)) => (BatchBytes::whole(memory.body.slice(span)), next),
        // Bytes that are no batches (the layer above numbers what it likes) can only be given whole.
        Err(_) => (memory.clone(), range.next),
    }
}

/// Runs of adjacent small batches, and large batches alone.
fn runs_of(batches: &[PlacedBatch]) -> impl Iterator<Item = Run> {
    let mut held = 0;
    batches
        .chunk_by(move |first, second| {
            let (len, next) = (first.batch.bytes.len(), second.batch.bytes.len());
            held += len;
            let small = len < JOINED_BATCH_BYTES_MAX && next < JOINED_BATCH_BYTES_MAX;
            let together = small && held + next <= JOINED_RUN_BYTES_MAX && follows(first.place, second.place);
            if !together {
                held = 0;
            }
            together
        })
        .map(run_of)
}

/// One run of adjacent batches: a single one that is neither tiny nor a small part of what its frame was taken for keeps its own bytes, others
/// are copied together.
fn run_of(batches: &[PlacedBatch]) -> Run {
    let (first, last) = (&batches[0], &batches[batches.len() - 1]);
    let mut greatest = first;
    for placed in batches {
        if placed.batch.max_timestamp > greatest.batch.max_timestamp {
            greatest = placed;
        }
    }
    let len = batches.iter().map(|placed| placed.batch.bytes.len()).sum();
    let is_kept = batches.len() == 1 && len >= SHARED_BATCH_BYTES_MIN;
    let (bytes, crc, frame) = if is_kept && first.batch.frame.as_deref().is_none_or(FrameUse::is_worth_keeping) {
        (first.batch.bytes.clone(), first.place.crc, first.batch.frame.clone())
    } else {
        let own = together(batches.iter().map(|placed| &placed.batch.bytes));
        let crc = crc32c(&own);
        (BatchBytes::whole(own), crc, None)
    };
    let place = Place { len: batches.iter().map(|placed| placed.place.len).sum(), crc, ..first.place };
    assert_eq!(place.len as usize, len, "the WAL has what was given to it");
    Run {
        range: OffsetRange::new(first.batch.range.base, last.batch.range.next),
        records: batches.iter().map(|placed| u64::from(placed.batch.records)).sum(),
        max_timestamp: greatest.batch.max_timestamp,
        max_timestamp_offset: greatest.batch.range.base,
        control: batches.iter().any(|placed| placed.batch.control),
        place,
        body: Body::Memory(bytes),
        frame,
    }
}

/// Copies these bytes into one piece of memory.
fn together<'a>(batches: impl IntoIterator<Item = &'a BatchBytes> + Clone) -> Bytes {
    let mut together = BytesMut::with_capacity(batches.clone().into_iter().map(BatchBytes::len).sum());
    for bytes in batches {
        together.extend_from_slice(&bytes.head);
        together.extend_from_slice(&bytes.body);
    }
    together.freeze()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
