//! Puts fewer batches in the place of what a stream has in objects, with the same coverage: Kafka's log compaction, whose rules are the layer
//! above's.
//!
//! ```text
//! next: a block's batches ─▶ the layer above ─▶ keep: what stays of them ─▶ objects ─▶ Replace, part by part, oldest first
//! ```
//! A job as any other (`job`): it is refused where what it read no longer stands (rule R-1), and may be cut off at any step. What it
//! has handed in before stays. What is next is planned part by part, so that what others do between two parts costs nothing. Parts are
//! handed in oldest first and none behind one that was refused, so that nothing is removed because of what an older part was to lose.
//!
//! A part of which everything stays is left where it is.

use super::add;
use super::job::{Fault, NO_RECORDS, Work, aged};
use super::scan::{Blocks, Reading, parts, told};
use crate::shared::Shared;
use crate::store::ReadError;
use base::{Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis};
use bytes::Bytes;
use control_core::{Reference, Swap};
use std::collections::VecDeque;
use stream_core::BatchBytes;
use stream_core::object::Run;
use stream_core::walk;
use tokio::sync::MutexGuard;

/// A rewrite under way. One that is dropped half done waits for the end of this start with what it has put; see [`Rewrite::give_up`].
pub struct Rewrite<'a> {
    work: Work<'a>,
    shared: &'a Shared,
    stream: StreamId,
    below: Offset,
    start: Offset,
    /// Up to where it is handed in.
    done: Offset,
    /// What is to be read yet, as of when the turn was taken.
    left: VecDeque<Reference>,
    open: Option<Reading>,
    /// The block whose batches were given out, and not answered by `keep` yet.
    given: Option<Given>,
    progress: Progress,
    turn: Option<MutexGuard<'a, ()>>,
}

struct Given {
    stream_epoch: StreamEpoch,
    batches: Bytes,
    /// The greatest time in the block, or what stands for it.
    max_timestamp: UnixMillis,
}

/// What is laid out since the last Replace.
#[derive(Default)]
struct Progress {
    /// Up to where it speaks for offsets.
    covered: Offset,
    /// Up to where it was read.
    reached: Offset,
    /// Whether anything is to go.
    changed: bool,
    read_bytes: u64,
}

impl<'a> Rewrite<'a> {
    pub(crate) fn new(shared: &'a Shared, stream: StreamId, below: Offset, bytes_per_second: u64) -> Rewrite<'a> {
        Rewrite {
            work: Work::new(shared, bytes_per_second),
            shared,
            stream,
            below,
            start: Offset(0),
            done: Offset(0),
            left: VecDeque::new(),
            open: None,
            given: None,
            progress: Progress::default(),
            turn: None,
        }
    }

    /// The next batches, back to back, to be answered by [`Rewrite::keep`]; none when all that was kept is handed in.
    ///
    /// # Errors
    /// It is given up; what was handed in before stays.
    ///
    /// # Panics
    /// The batches before were not answered.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        assert!(self.given.is_none(), "what is given out is answered");
        match self.advance().await {
            Ok(next) => Ok(next),
            Err(fault) => Err(self.failed(fault).await),
        }
    }

    /// What stays of the batches that were given last: whole batches back to back, in order, at offsets that they were given for; and
    /// whether there are control batches among them.
    ///
    /// # Errors
    /// It is given up; what was handed in before stays.
    ///
    /// # Panics
    /// Nothing was given.
    pub async fn keep(&mut self, batches: Bytes, control: bool) -> Result<(), ReadError> {
        let given = self.given.take().expect("something was given");
        match self.add(&given, batches, control).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.failed(fault).await),
        }
    }

    /// Lets the sweep have what was put and not handed in.
    pub async fn give_up(mut self) {
        self.work.give_up().await;
    }

    async fn failed(&mut self, fault: Fault) -> ReadError {
        self.work.give_up().await;
        self.turn = None;
        told(fault)
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(reading) = &mut self.open {
                if let Some((block, run)) = reading.next(&mut self.work.budget, Blocks::All).await? {
                    // Only the first batch of a stream may begin below what is to be covered: its start lies in the middle of it.
                    if run.range.base < self.progress.covered && self.progress.covered != self.start {
                        return Err(reading.counts_twice(run.range, self.progress.covered));
                    }
                    let batches = run.bytes.body;
                    self.progress.read_bytes += batches.len() as u64;
                    let (stream_epoch, max_timestamp) = (block.stream_epoch, block.max_timestamp);
                    self.given = Some(Given { stream_epoch, batches: batches.clone(), max_timestamp });
                    return Ok(Some(batches));
                }
                self.open = None;
                if self.is_enough() {
                    self.hand_in().await?;
                }
            }
            if self.turn.is_none() {
                self.take_turn().await?;
            }
            let Some(reference) = self.left.pop_front() else {
                self.hand_in().await?;
                return Ok(None);
            };
            self.begin(reference).await?;
        }
    }

    /// Waits for the turn, then plans: whose turn it was may have merged what is to be read, most often where the log ends. An old plan
    /// would be refused there, time and again where the log grows.
    async fn take_turn(&mut self) -> Result<(), Fault> {
        self.turn = Some(self.shared.compaction_turn.lock().await);
        let image = self.shared.ledger.image();
        let record = image.streams.get(&self.stream);
        self.start = record.map_or(Offset(0), |record| record.start);
        let (done, below) = (self.done, self.below);
        let references = record.map(|record| parts(record)).unwrap_or_default();
        let wanted = |it: &Reference| it.range.next > done && it.range.base < below;
        self.left = references.into_iter().filter(wanted).collect();
        match self.left.front() {
            // What was given out already would be given out again.
            Some(first) if first.range.base.max(self.start) < done => Err(self.has_changed()),
            _ => Ok(()),
        }
    }

    fn has_changed(&self) -> Fault {
        let why = format!("stream {} has changed while it was rewritten; begins anew", self.stream);
        Fault::Store(world::StoreError::Trouble(why))
    }

    /// Whether what is laid out fills an object, or much was read for it.
    fn is_enough(&self) -> bool {
        let output = self.work.output.as_ref().map_or(0, stream_core::object::ObjectBuilder::data_bytes);
        let options = &self.shared.options.compaction;
        let old = self.work.swap.as_ref().map_or(0, |swap| swap.old.len());
        output >= self.shared.options.compact_limits().object_bytes_enough()
            || self.progress.read_bytes >= options.replace_bytes
            || old >= options.replace_swaps
    }

    async fn begin(&mut self, reference: Reference) -> Result<(), Fault> {
        let range = reference.range;
        if self.work.swap.is_none() {
            self.work.swap = Some(Swap { stream: self.stream, old: Vec::new(), new: Vec::new() });
            self.progress = Progress { covered: range.base.max(self.start), ..Progress::default() };
        }
        if let Some(swap) = &mut self.work.swap {
            swap.old.push((reference.object, range));
        }
        self.progress.reached = range.next;
        if reference.bytes == 0 {
            return Ok(());
        }
        let wanted = OffsetRange::new(range.base.max(self.start), range.next);
        let read_bytes = self.shared.options.compaction.read_bytes;
        self.open = Some(Reading::open(&mut self.work.budget, self.stream, (reference, wanted), read_bytes).await?);
        add(&self.shared.compaction.objects_in, 1);
        Ok(())
    }

    async fn add(&mut self, given: &Given, batches: Bytes, control: bool) -> Result<(), Fault> {
        self.progress.changed |= batches != given.batches;
        let Some(mut run) = run_of(batches, control)? else { return Ok(()) };
        run.max_timestamp = aged(run.max_timestamp, given.max_timestamp);
        if run.max_timestamp.ages_from().is_none() {
            // When records arrived that have no time, and stood beside such as have, nobody knows; not later than now.
            run.max_timestamp = self.shared.world.clock.wall().arrival();
        }
        let (next, covered) = (run.range.next, self.progress.covered);
        self.work.push(self.stream, given.stream_epoch, run, covered).await?;
        self.progress.covered = next;
        Ok(())
    }

    /// Has the ledger put what is laid out in the place of what was read for it.
    async fn hand_in(&mut self) -> Result<(), Fault> {
        let reached = self.progress.reached;
        if self.work.swap.is_none() || (!self.progress.changed && self.work.forget()) {
            (self.turn, self.done) = (None, reached);
            return Ok(());
        }
        self.work.end_swap(self.progress.covered, reached).await;
        self.work.finish_output().await?;
        let applied = self.work.submit().await?;
        self.turn = None;
        if !applied {
            return Err(self.has_changed());
        }
        self.done = reached;
        Ok(())
    }
}

/// The batches as one run; none where there are none.
fn run_of(batches: Bytes, control: bool) -> Result<Option<Run>, Fault> {
    let mut run: Option<Run> = None;
    for batch in walk::walk(&batches) {
        let batch = batch.map_err(|error| Fault::Damaged(error.to_string()))?;
        let run = run.get_or_insert_with(|| Run {
            range: batch.range,
            bytes: BatchBytes::whole(Bytes::new()),
            records: 0,
            max_timestamp: NO_RECORDS,
            max_timestamp_offset: batch.range.base,
            control,
        });
        run.range = OffsetRange::new(run.range.base, batch.range.next);
        run.records += u64::from(batch.records);
        // The time of a batch that is empty now is no record's.
        if batch.records > 0 && batch.max_timestamp > run.max_timestamp {
            (run.max_timestamp, run.max_timestamp_offset) = (batch.max_timestamp, batch.range.base);
        }
    }
    if let Some(run) = &mut run {
        run.bytes = BatchBytes::whole(batches);
    }
    Ok(run)
}
