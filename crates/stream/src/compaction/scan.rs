//! Reads what a stream has in objects, from front to back, within compaction's budget: what the layer above learns from before it rewrites.
//!
//! Only what is below the stream's committed end. Where each part lies is looked up when its turn comes: a scan of a long log takes longer
//! than merged objects stay. What is read later may have fewer batches than before, where another start has cleaned meanwhile, and never
//! others. Memory: one piece of one object.

use super::budget::Budget;
use super::input::Input;
use super::job::{Fault, counts_twice, cut, lacks, overlap};
use crate::shared::Shared;
use crate::store::ReadError;
use base::{ObjectId, Offset, OffsetRange, StreamId, UnixMillis};
use bytes::Bytes;
use control_core::{Reference, StreamRecord};
use std::collections::VecDeque;
use stream_core::object::{BlockEntry, Run};
use world::StoreError;

/// A part of a stream that lies in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPart {
    /// What it covers.
    pub range: OffsetRange,
    /// Bytes of record batches.
    pub bytes: u64,
    /// The greatest timestamp of a record in it, or of one that was.
    pub max_timestamp: UnixMillis,
}

/// Which blocks a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// All.
    All,
    /// Those that hold control batches.
    Control,
}

/// Whole batches in order, block by block.
pub struct Scan<'a> {
    shared: &'a Shared,
    budget: Budget<'a>,
    stream: StreamId,
    which: Blocks,
    /// What is to be read yet.
    left: OffsetRange,
    open: Option<Reading>,
    /// What was opened last.
    opened: Option<ObjectId>,
}

/// One reference that is being read.
pub(super) struct Reading {
    reference: Reference,
    stream: StreamId,
    wanted: OffsetRange,
    input: Input,
    blocks: VecDeque<BlockEntry>,
    reached: Offset,
}

/// The references to what is in objects from the start on, up to the committed end, without a gap.
pub(crate) fn parts(record: &StreamRecord) -> Vec<Reference> {
    let committed = record.committed();
    let mut reached = record.start;
    let mut parts = Vec::new();
    for reference in record.references.values() {
        if reference.range.base > reached || reference.range.base >= committed {
            break;
        }
        reached = reference.range.next;
        parts.push(*reference);
    }
    parts
}

impl<'a> Scan<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        stream: StreamId,
        (range, which): (OffsetRange, Blocks),
        bytes_per_second: u64,
    ) -> Scan<'a> {
        let budget = Budget::new(shared, bytes_per_second);
        Scan { shared, budget, stream, which, left: range, open: None, opened: None }
    }

    /// The batches of the next block that lie in the range, in whole or in part; none at the end.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let _turn = self.shared.compaction_turn.lock().await;
        self.advance().await.map_err(told)
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let read = self.step().await;
            let Err(Fault::Store(StoreError::NotFound(_))) = &read else { return read };
            // Merged while it was read, and deleted since: what is left of it lies elsewhere.
            self.open = None;
            let refreshed = self.shared.ledger.refresh().await;
            refreshed.map_err(|error| Fault::Store(StoreError::Trouble(error.to_string())))?;
            if self.next_part().is_some_and(|(reference, _)| Some(reference.object) == self.opened) {
                return read;
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(reading) = &mut self.open {
                if let Some((block, run)) = reading.next(&mut self.budget, self.which).await? {
                    self.left.base = block.range.next.min(reading.wanted.next);
                    return Ok(Some(run.bytes.body));
                }
                self.left.base = reading.wanted.next;
                self.open = None;
            }
            let Some((reference, wanted)) = self.next_part() else { return Ok(None) };
            self.opened = Some(reference.object);
            let read_bytes = self.shared.options.compaction.read_bytes;
            self.open = Some(Reading::open(&mut self.budget, self.stream, (reference, wanted), read_bytes).await?);
        }
    }

    /// Where the next of what is left lies now, and how much of it is wanted; none at the end.
    fn next_part(&mut self) -> Option<(Reference, OffsetRange)> {
        let image = self.shared.ledger.image();
        let record = image.streams.get(&self.stream)?;
        self.left.base = self.left.base.max(record.start);
        while self.left.base < self.left.next {
            let (_, reference) = record.references.get_prev(&self.left.base)?;
            if !reference.range.contains(self.left.base) || reference.range.base >= record.committed() {
                return None;
            }
            let wanted = OffsetRange::new(self.left.base, reference.range.next.min(self.left.next));
            if reference.bytes > 0 {
                return Some((*reference, wanted));
            }
            self.left.base = wanted.next;
        }
        None
    }
}

impl Reading {
    /// Reads the object's index.
    pub(super) async fn open(
        budget: &mut Budget<'_>,
        stream: StreamId,
        (reference, wanted): (Reference, OffsetRange),
        read_bytes: u64,
    ) -> Result<Reading, Fault> {
        let mut input = Input::open(budget, reference.object, read_bytes).await?;
        input.only(stream);
        let blocks = input.blocks_of(stream).into_iter().filter(|block| overlap(block.range, wanted)).collect();
        Ok(Reading { reference, stream, wanted, input, blocks, reached: wanted.base })
    }

    /// The next block, and its batches that lie in what is wanted, in one piece; none at the end.
    pub(super) async fn next(
        &mut self,
        budget: &mut Budget<'_>,
        which: Blocks,
    ) -> Result<Option<(BlockEntry, Run)>, Fault> {
        while let Some(block) = self.blocks.pop_front() {
            if block.range.base > self.reached {
                break;
            }
            self.reached = block.range.next;
            if which == Blocks::Control && !block.control {
                continue;
            }
            let bytes = self.input.bytes(budget, &block).await?;
            if let Some(run) = cut(&block, &bytes, self.wanted)? {
                return Ok(Some((block, run)));
            }
        }
        if self.reached < self.wanted.next {
            let lacking = OffsetRange::new(self.reached, self.wanted.next);
            return Err(lacks(self.reference.object, lacking, self.stream));
        }
        Ok(None)
    }

    /// That an older object's part of the stream counts as well, up to there.
    pub(super) fn counts_twice(&self, range: OffsetRange, covered: Offset) -> Fault {
        counts_twice(self.reference.object, range, (self.stream, covered))
    }
}

/// What the layer above is told.
pub(super) fn told(fault: Fault) -> ReadError {
    match fault {
        Fault::Store(error) => ReadError::Trouble(error.to_string()),
        Fault::Damaged(why) => ReadError::Corrupt(why),
        Fault::Ended(_) => ReadError::NotOwner,
    }
}
