//! Reads what a stream has in objects, from front to back, within compaction's budget: what the layer above learns from before it rewrites.
//!
//! Only what is below the stream's committed end, and as one image has it: where an object is gone meanwhile the scan ends with
//! trouble, and whoever scans begins anew later. Memory: one piece of one object.

use super::budget::Budget;
use super::input::Input;
use super::job::{Fault, counts_twice, cut, lacks, overlap};
use crate::shared::Shared;
use crate::store::ReadError;
use base::{Offset, OffsetRange, StreamId, UnixMillis};
use bytes::Bytes;
use control_core::{Reference, StreamRecord};
use std::collections::VecDeque;
use stream_core::object::{BlockEntry, Run};

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
    range: OffsetRange,
    left: VecDeque<Reference>,
    open: Option<Reading>,
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
        let image = shared.ledger.image();
        let references = image.streams.get(&stream).map(|record| parts(record)).unwrap_or_default();
        let left = references.into_iter().filter(|it| it.bytes > 0 && overlap(it.range, range)).collect();
        let budget = Budget::new(shared, bytes_per_second);
        Scan { shared, budget, stream, which, range, left, open: None }
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
            if let Some(reading) = &mut self.open {
                if let Some((_, run)) = reading.next(&mut self.budget, self.which).await? {
                    return Ok(Some(run.bytes.body));
                }
                self.open = None;
            }
            let Some(reference) = self.left.pop_front() else { return Ok(None) };
            let wanted =
                OffsetRange::new(reference.range.base.max(self.range.base), reference.range.next.min(self.range.next));
            let read_bytes = self.shared.options.compaction.read_bytes;
            self.open = Some(Reading::open(&mut self.budget, self.stream, (reference, wanted), read_bytes).await?);
        }
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
