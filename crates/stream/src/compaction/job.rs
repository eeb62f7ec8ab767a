//! One job: reads what is referenced of some objects, lays it out anew, and has the ledger put that in the place of the old.
//!
//! Streams come in order, a stream's runs by offset; so all inputs are read from front to end, and memory holds one output and a piece of
//! each input. Streams that have become long get objects of their own, in a second pass. Blocks are copied byte by byte; where a reference counts only a part of
//! a block, whole batches are cut out of it.
//!
//! What is written is handed to the ledger at boundaries where no run is half done, since an object becomes referenced by one command
//! only (rule R-2).

use super::add;
use super::budget::Budget;
use super::input::Input;
use super::plan::{Job, OldRun, old_runs};
use crate::shared::Shared;
use base::{ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, planted};
use bytes::Bytes;
use control::LedgerError;
use control_core::{Command, NewObject, Outcome, Reference, Swap};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream_core::BatchBytes;
use stream_core::compact::{CompactLimits, Sections};
use stream_core::object::{BlockEntry, BuiltObject, ObjectBuilder, Run};
use stream_core::walk::{self, WalkedBatch};
use world::retry::Backoff;
use world::{StoreError, lock};

/// Why a job was given up. What it has put waits for the sweep.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// An input is gone, or the store is in trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What an input holds is not what it is referenced for. Reads and `fsck` tell the same; nothing is rewritten.
    #[error("{0}")]
    Damaged(String),
    /// The ledger can't be written any more, or this start is dead.
    #[error("{0}")]
    Ended(String),
}

/// See the module.
pub(super) async fn run(shared: &Arc<Shared>, job: &Job) -> Result<(), Fault> {
    let mut runs = old_runs(&shared.ledger.image(), job);
    if runs.is_empty() {
        return Ok(());
    }
    // Those that leave for objects of their own come last, so that they don't part what the others share.
    let own_bytes = shared.options.compact_limits().stream_object_bytes;
    runs.sort_by_key(|run| run.live_bytes() >= own_bytes);
    let mut work = Work::new(shared, u64::MAX);
    let done = work.carry_out(job, &runs).await;
    if done.is_err() {
        work.give_up().await;
    }
    done
}

/// A job under way.
pub(super) struct Work<'a> {
    pub(super) shared: &'a Shared,
    pub(super) budget: Budget<'a>,
    inputs: BTreeMap<ObjectId, Input>,
    /// The object that is being laid out.
    pub(super) output: Option<ObjectBuilder>,
    /// What the next Replace says.
    done: Replacement,
    /// The run that is half done.
    pub(super) swap: Option<Swap>,
}

#[derive(Default)]
struct Replacement {
    /// Drawn for them: to be decided whatever becomes of them.
    ids: Vec<ObjectId>,
    objects: Vec<NewObject>,
    swaps: Vec<Swap>,
    data_bytes: u64,
}

impl<'a> Work<'a> {
    /// Nothing is done yet. It reads and writes at most so many bytes a second.
    pub(super) fn new(shared: &'a Shared, bytes_per_second: u64) -> Work<'a> {
        Work {
            shared,
            budget: Budget::new(shared, bytes_per_second),
            inputs: BTreeMap::new(),
            output: None,
            done: Replacement::default(),
            swap: None,
        }
    }
}

impl Work<'_> {
    async fn carry_out(&mut self, job: &Job, runs: &[OldRun]) -> Result<(), Fault> {
        for object in &job.objects {
            let input = Input::open(&mut self.budget, *object, self.shared.options.compaction.read_bytes).await?;
            self.inputs.insert(*object, input);
            add(&self.shared.compaction.objects_in, 1);
        }
        let own_bytes = self.shared.options.compact_limits().stream_object_bytes;
        let sections = sections(&self.shared.options.compact_limits(), runs);
        let mut last = runs.first().map(|run| run.stream);
        for run in runs {
            let hand_in = self.may_hand_in();
            let is_end = last.replace(run.stream).is_some_and(|last| sections.end_between(last, run.stream));
            if run.live_bytes() >= own_bytes || hand_in || (is_end && self.is_output_enough()) {
                self.finish_output().await?;
            }
            if hand_in {
                self.submit().await?;
            }
            self.copy_run(run).await?;
        }
        self.finish_output().await?;
        self.submit().await.map(|_all| ())
    }

    /// Whether so much is done that the ledger is to have it now. Not at the price of an object that would have to be merged again.
    fn may_hand_in(&self) -> bool {
        let options = &self.shared.options.compaction;
        let output = self.output.as_ref().map_or(0, ObjectBuilder::data_bytes);
        let is_much =
            self.done.data_bytes + output >= options.replace_bytes || self.done.swaps.len() >= options.replace_swaps;
        is_much && (self.output.is_none() || self.is_output_enough())
    }

    /// Whether the object that is being laid out need not be merged for its size.
    fn is_output_enough(&self) -> bool {
        let enough = self.shared.options.compact_limits().object_bytes_enough();
        self.output.as_ref().is_some_and(|output| output.data_bytes() >= enough)
    }

    async fn copy_run(&mut self, run: &OldRun) -> Result<(), Fault> {
        let old = run.references.iter().map(|reference| (reference.object, reference.range)).collect();
        self.swap = Some(Swap { stream: run.stream, old, new: Vec::new() });
        let mut covered = run.references[0].range.base.max(run.start);
        for reference in &run.references {
            covered = self.copy_reference(run, reference, covered).await?;
        }
        let end = run.references.iter().map(|reference| reference.range.next).max().unwrap_or(covered);
        self.end_swap(covered, end).await;
        Ok(())
    }

    /// The run is done. From `covered` to its end there are no batches any more.
    pub(super) async fn end_swap(&mut self, covered: Offset, end: Offset) {
        if covered < end {
            let object = self.object().await;
            self.speak_for(empty_reference(object, OffsetRange::new(covered, end)));
        }
        self.done.swaps.extend(self.swap.take());
    }

    /// Copies what the reference counts and lies at or above `covered`; answers up to where that reaches, which is below its end where no
    /// batches are.
    async fn copy_reference(
        &mut self,
        run: &OldRun,
        reference: &Reference,
        mut covered: Offset,
    ) -> Result<Offset, Fault> {
        if reference.bytes == 0 {
            return Ok(covered);
        }
        let Some(input) = self.inputs.get(&reference.object) else {
            unreachable!("a run consists of references to the job's objects");
        };
        let wanted = OffsetRange::new(reference.range.base.max(run.start), reference.range.next);
        let blocks = input.blocks_of(run.stream);
        let mut reached = wanted.base;
        let lost = planted!("merge loses a block", 0, usize::from(blocks.len() > 1));
        for block in blocks.iter().skip(lost).filter(|block| overlap(block.range, wanted)) {
            if block.range.base > reached && planted!("merge loses a block", true, false) {
                break;
            }
            reached = block.range.next;
            let Some(input) = self.inputs.get_mut(&reference.object) else { unreachable!("it was there") };
            let bytes = input.bytes(&mut self.budget, block).await?;
            let Some(piece) = cut(block, &bytes, wanted)? else { continue };
            // Only the first batch of a stream may begin below what is to be covered: its start lies in the middle of it.
            if piece.range.base < covered && covered != run.start {
                return Err(counts_twice(reference.object, piece.range, (run.stream, covered)));
            }
            self.push(run.stream, block.stream_epoch, piece, covered).await?;
            covered = block.range.next.min(wanted.next);
        }
        if reached < wanted.next && planted!("merge loses a block", true, false) {
            return Err(lacks(reference.object, OffsetRange::new(reached, wanted.next), run.stream));
        }
        Ok(covered)
    }

    /// Adds batches to the output. They cover from `covered` on.
    pub(super) async fn push(
        &mut self,
        stream: StreamId,
        stream_epoch: StreamEpoch,
        piece: Run,
        covered: Offset,
    ) -> Result<(), Fault> {
        let len = piece.bytes.len() as u64;
        let limit = self.shared.options.compaction.object_bytes_max;
        if self.output.as_ref().is_some_and(|output| !output.is_empty() && output.data_bytes() + len > limit) {
            self.finish_output().await?;
        }
        let object = self.object().await;
        let next = piece.range.next;
        let new = Reference {
            object,
            range: OffsetRange::new(covered, next),
            bytes: len,
            records: piece.records,
            max_timestamp: piece.max_timestamp,
            max_timestamp_offset: piece.max_timestamp_offset,
        };
        let range = OffsetRange::new(piece.range.base.min(covered), next);
        let Some(output) = &mut self.output else { unreachable!("it was just made") };
        output.push_run(stream, stream_epoch, &Run { range, ..piece });
        self.speak_for(new);
        Ok(())
    }

    /// The object that is being laid out; a new one where there is none.
    async fn object(&mut self) -> ObjectId {
        if self.output.is_none() {
            let id = {
                let mut counters = lock(&self.shared.counters);
                let id = counters.draw(self.shared.node_epoch, 1)[0];
                planted!("R5", (), counters.decided(std::iter::once(id)));
                id
            };
            self.output = Some(ObjectBuilder::merged(id, self.shared.options.data_block_bytes));
            self.done.ids.push(id);
        }
        let Some(id) = self.done.ids.last() else { unreachable!("an output's id is the last one drawn") };
        *id
    }

    /// Adds to the new references of the run that is half done.
    fn speak_for(&mut self, new: Reference) {
        let Some(swap) = &mut self.swap else { unreachable!("a run is half done") };
        let Some(last) = swap.new.last_mut().filter(|last| last.object == new.object && last.bytes > 0) else {
            swap.new.push(new);
            return;
        };
        if new.bytes == 0 {
            swap.new.push(new);
            return;
        }
        last.range = OffsetRange::new(last.range.base, new.range.next);
        last.bytes += new.bytes;
        last.records += new.records;
        if new.max_timestamp > last.max_timestamp {
            last.max_timestamp = new.max_timestamp;
            last.max_timestamp_offset = new.max_timestamp_offset;
        }
    }

    /// Puts the object that is being laid out, if there is one.
    pub(super) async fn finish_output(&mut self) -> Result<(), Fault> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let Some(id) = self.done.ids.last().copied() else { unreachable!("an output's id is the last one drawn") };
        let data_bytes = output.data_bytes();
        let BuiltObject { parts, size, .. } = output.finish();
        self.done.objects.push(NewObject { id, size, data_bytes });
        self.done.data_bytes += data_bytes;
        tracing::debug!(object = %id, data_bytes, "puts what is compacted");
        self.budget.put(id, parts, size).await?;
        add(&self.shared.compaction.objects_out, 1);
        Ok(())
    }

    /// Has the ledger decide about what is put; whether it has taken all of it.
    pub(super) async fn submit(&mut self) -> Result<bool, Fault> {
        let Replacement { ids, objects, swaps, .. } = std::mem::take(&mut self.done);
        if ids.is_empty() && swaps.is_empty() {
            return Ok(true);
        }
        let outcome = replace(self.shared, &ids, objects, swaps).await?;
        match outcome {
            Outcome::Replaced { swaps } => {
                let applied = swaps.iter().filter(|applied| **applied).count() as u64;
                add(&self.shared.compaction.swaps, applied);
                add(&self.shared.compaction.swaps_refused, swaps.len() as u64 - applied);
                planted!(
                    "R3",
                    (),
                    if swaps.contains(&false) {
                        delete(self.shared, &ids).await
                    }
                );
                Ok(!swaps.contains(&false))
            }
            Outcome::Refused(refusal) => Err(Fault::Ended(format!("a compaction was refused: {refusal}"))),
            other => unreachable!("a replacement is answered by {other:?}"),
        }
    }

    /// What was put and will never be referenced is declared so, that the sweep may take it; unless nothing was drawn.
    pub(super) async fn give_up(&mut self) {
        let ids = std::mem::take(&mut self.done.ids);
        if ids.is_empty() {
            return;
        }
        if let Err(fault) = replace(self.shared, &ids, Vec::new(), Vec::new()).await {
            tracing::debug!(%fault, "the objects of a compaction that was given up wait for this start's end");
        }
    }

    /// Forgets what is laid out, unless an object of it is put already; whether it could. What was never put needs no sweep.
    pub(super) fn forget(&mut self) -> bool {
        if !self.done.objects.is_empty() {
            return false;
        }
        lock(&self.shared.counters).decided(self.done.ids.drain(..));
        (self.output, self.swap) = (None, None);
        self.done = Replacement::default();
        true
    }
}

/// Of what streams share: those that leave for objects of their own don't count.
fn sections(limits: &CompactLimits, runs: &[OldRun]) -> Sections {
    let shared = || runs.iter().map(OldRun::live_bytes).filter(|bytes| *bytes < limits.stream_object_bytes);
    Sections::of(limits, shared().sum(), shared().count() as u64)
}

/// Asks the ledger until it answers, for as long as this start lives: while the fate of a command is unknown its objects are undecided.
async fn replace(
    shared: &Shared,
    ids: &[ObjectId],
    objects: Vec<NewObject>,
    swaps: Vec<Swap>,
) -> Result<Outcome, Fault> {
    let min_counter = lock(&shared.counters).min_after(|counter| ids.iter().any(|id| id.counter == counter));
    let command = Command::Replace { writer: shared.node_epoch, min_counter, objects, swaps };
    let mut backoff = Backoff::new();
    loop {
        match shared.ledger.submit(command.clone()).await {
            Ok(outcome) => {
                lock(&shared.counters).decided(ids.iter().copied());
                return Ok(outcome);
            }
            Err(LedgerError::Store(error)) => {
                tracing::warn!(%error, tries = backoff.tries(), "can't hand in what is compacted; tries again");
            }
            Err(error) => return Err(Fault::Ended(error.to_string())),
        }
        backoff.wait(&*shared.world.clock).await;
    }
}

/// Only a planted bug deletes what it has written.
#[cfg_attr(not(mutants), expect(dead_code, reason = "called by the planted bug R3 alone"))]
async fn delete(shared: &Shared, ids: &[ObjectId]) {
    let keys: Vec<String> = ids.iter().map(|id| crate::keys::data_key(*id)).collect();
    let _is_a_bug = shared.objects.compaction.delete(&keys).await;
}

/// An object does not hold what it is referenced for.
pub(super) fn lacks(object: ObjectId, range: OffsetRange, stream: StreamId) -> Fault {
    Fault::Damaged(format!("object {object} lacks {range} of stream {stream}, which it is referenced for"))
}

/// An object holds what an older one of the stream has been copied from already, up to `covered`.
pub(super) fn counts_twice(object: ObjectId, range: OffsetRange, (stream, covered): (StreamId, Offset)) -> Fault {
    Fault::Damaged(format!(
        "object {object} has {range} of stream {stream}, of which an older one counts up to {covered}"
    ))
}

pub(super) fn overlap(a: OffsetRange, b: OffsetRange) -> bool {
    a.base < b.next && b.base < a.next
}

fn empty_reference(object: ObjectId, range: OffsetRange) -> Reference {
    let max_timestamp = UnixMillis(-1);
    Reference { object, range, bytes: 0, records: 0, max_timestamp, max_timestamp_offset: range.base }
}

/// The batches of a block that lie in `wanted`, whole ones; `None` where none do. Its range ends where the block's part of `wanted` does.
pub(super) fn cut(block: &BlockEntry, bytes: &Bytes, wanted: OffsetRange) -> Result<Option<Run>, Fault> {
    let next = block.range.next.min(wanted.next);
    if wanted.base <= block.range.base && block.range.next <= wanted.next {
        return Ok(Some(Run {
            range: block.range,
            bytes: BatchBytes::whole(bytes.clone()),
            records: block.records,
            max_timestamp: block.max_timestamp,
            max_timestamp_offset: block.max_timestamp_offset,
            control: block.control,
        }));
    }
    let mut kept: Vec<WalkedBatch> = Vec::new();
    for batch in walk::walk(bytes) {
        let batch = batch.map_err(|error| Fault::Damaged(error.to_string()))?;
        if overlap(batch.range, wanted) {
            kept.push(batch);
        }
    }
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else { return Ok(None) };
    // Where log compaction has left an empty batch, its time is no record's.
    let with_records = || kept.iter().filter(|batch| batch.records > 0);
    let greatest = with_records().map(|batch| batch.max_timestamp).max().unwrap_or(NO_RECORDS);
    let holder = with_records().find(|batch| batch.max_timestamp == greatest).unwrap_or(first);
    Ok(Some(Run {
        range: OffsetRange::new(first.range.base.min(next), next),
        bytes: BatchBytes::whole(bytes.slice(first.at..last.at + last.len)),
        records: kept.iter().map(|batch| u64::from(batch.records)).sum(),
        max_timestamp: aged(greatest, block.max_timestamp),
        max_timestamp_offset: holder.range.base,
        control: block.control,
    }))
}

/// The greatest time of a record where there is none: it is as old as can be.
pub(super) const NO_RECORDS: UnixMillis = UnixMillis(i64::MIN);

/// The greatest time of some of a block's batches, of which their headers tell `greatest`. Where none of the block has a time, they are as
/// old as its latest arrival.
pub(super) fn aged(greatest: UnixMillis, of_block: UnixMillis) -> UnixMillis {
    let is_timeless = greatest != NO_RECORDS && greatest.0 < 0;
    if is_timeless && of_block.0 < 0 { of_block } else { greatest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stream_core::testing::batch_bytes;

    /// A batch of two offsets with this greatest time and so many records.
    fn timed(base: u64, timestamp: i64, records: u32) -> Vec<u8> {
        let mut bytes = batch_bytes(base, 2, 100);
        bytes[35..43].copy_from_slice(&timestamp.to_be_bytes());
        bytes[57..61].copy_from_slice(&records.to_be_bytes());
        bytes
    }

    #[test]
    fn a_part_of_a_block_has_the_time_of_its_records_or_that_of_the_blocks_arrival() {
        let of = |batches: &[(i64, u32)], block_time: UnixMillis| {
            let bytes: Bytes = (0..)
                .step_by(2)
                .zip(batches)
                .flat_map(|(base, (time, records))| timed(base, *time, *records))
                .collect();
            let range = OffsetRange::new(Offset(0), Offset(2 * batches.len() as u64));
            let block = BlockEntry {
                stream: StreamId(1),
                stream_epoch: StreamEpoch(0),
                range,
                position: 0,
                len: u32::try_from(bytes.len()).expect("a small block"),
                crc: 0,
                records: batches.len() as u64,
                max_timestamp: block_time,
                max_timestamp_offset: Offset(0),
                control: false,
            };
            let run = cut(&block, &bytes, OffsetRange::new(Offset(2), range.next)).expect("it is sound");
            let run = run.expect("there are batches");
            (run.max_timestamp, run.max_timestamp_offset.0)
        };
        let arrived = UnixMillis(77).arrival();
        assert_eq!(of(&[(9, 2), (5, 2), (7, 2)], UnixMillis(9)), (UnixMillis(7), 4));
        assert_eq!(of(&[(-1, 2), (-1, 2), (-1, 2)], arrived), (arrived, 2), "no later than the last of the block");
        assert_eq!(of(&[(9, 2), (-1, 2)], UnixMillis(9)), (UnixMillis(-1), 2), "when that arrived is not known");
        assert_eq!(of(&[(3, 2), (8, 0), (7, 2)], UnixMillis(7)), (UnixMillis(7), 4), "an empty batch has no time");
        assert_eq!(of(&[(3, 2), (8, 0)], UnixMillis(3)).0, NO_RECORDS);
    }
}
