//! When the acknowledged tail of one WAL is worth objects, which objects, in what order they are committed, how far the WAL may be
//! trimmed.
//!
//! The tail is cut into blocks in WAL order. The open block grows with each acknowledged group; it is frozen when it is large, when
//! it is old, or when the WAL is filling. Frozen blocks are uploaded a few at a time and committed strictly in order, each with the
//! WAL position up to which everything is then committed (rules D-2, D-7): so a trim point never passes a record that is not.
//!
//! A commit is decided range by range. Refused ranges are cut anew from the image and commit before any later block does
//! ([`Uploader::cut_anew`]); ranges of deleted or trimmed streams need no commit.
//!
//! One [`Uploader`] speaks for one WAL: the start's own, or a dead one that it recovers, whose blocks are all cut at once.

use base::{Micros, Offset, OffsetRange, StreamEpoch, StreamId, WalPosition, planted};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Sizes and periods of the upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// The open block is frozen when it holds so many bytes,
    pub block_bytes: u64,
    /// or when its oldest batch is so old.
    pub age: Duration,
    /// Blocks uploaded at the same time, at the most.
    pub blocks_in_flight_max: usize,
    /// A stream with at least so many bytes in a block gets an object of its own.
    pub stream_object_bytes: u64,
    /// No stream-set object is planned larger.
    pub object_bytes_max: u64,
}

/// One stream's contiguous part of a block, all in one tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRange {
    /// The tenure.
    pub stream_epoch: StreamEpoch,
    /// What it covers.
    pub range: OffsetRange,
    /// Bytes of its batches.
    pub bytes: u64,
}

/// What one commit speaks for: everything of a WAL between two group ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// Rises by one.
    pub number: u64,
    /// By stream.
    pub ranges: BTreeMap<StreamId, BlockRange>,
    /// Bytes of all.
    pub bytes: u64,
    /// With this block committed, everything in the WAL below is.
    pub trim: WalPosition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Uploading,
    Uploaded,
    Committing,
}

/// The blocks of one WAL.
#[derive(Debug)]
pub struct Uploader {
    limits: UploadLimits,
    open: Block,
    open_since: Option<Micros>,
    frozen: VecDeque<(Block, Stage)>,
    /// The last frozen block's trim point: the open block begins here.
    frozen_to: WalPosition,
}

impl Uploader {
    /// Nothing acknowledged yet, everything below `start` committed.
    #[must_use]
    pub fn new(limits: UploadLimits, start: WalPosition) -> Uploader {
        let open = Block { trim: start, ..Block::default() };
        Uploader { limits, open, open_since: None, frozen: VecDeque::new(), frozen_to: start }
    }

    /// Adds acknowledged batches of one stream to the open block. Those of another tenure than the block has, as of a stream that was moved
    /// to another log and back, begin the next one.
    ///
    /// # Panics
    /// Where they don't continue the stream's range in the block.
    pub fn acknowledged(&mut self, now: Micros, stream: StreamId, part: BlockRange) {
        if self.open.ranges.get(&stream).is_some_and(|held| held.stream_epoch != part.stream_epoch) {
            self.freeze();
        }
        self.open_since.get_or_insert(now);
        self.open.bytes += part.bytes;
        let Some(held) = self.open.ranges.get_mut(&stream) else {
            self.open.ranges.insert(stream, part);
            return;
        };
        assert_eq!(held.range.next, part.range.base, "stream {stream}: a block's range must be contiguous");
        held.range.next = part.range.next;
        held.bytes += part.bytes;
    }

    /// Where the last group ends that was acknowledged.
    #[must_use]
    pub fn acknowledged_to(&self) -> WalPosition {
        self.open.trim
    }

    /// Notes that everything acknowledged so far lies below `end`, the end of a group: where blocks may be cut.
    pub fn group_ends(&mut self, end: WalPosition) {
        assert!(end >= self.open.trim, "groups are acknowledged in WAL order");
        self.open.trim = end;
    }

    /// Freezes the open block where it is time. Answers whether it did.
    pub fn freeze_if_due(&mut self, now: Micros, wal_is_filling: bool) -> bool {
        let large = self.open.bytes >= self.limits.block_bytes;
        let old = self.open_since.is_some_and(|since| now >= since.plus(self.limits.age));
        // A filling WAL is helped by an upload that begins now, not by many small ones behind it.
        let filling = wal_is_filling && self.frozen.is_empty();
        let due = large || old || filling;
        due && self.freeze()
    }

    /// Freezes the open block unless nothing was acknowledged since the last one. Answers whether it did.
    pub fn freeze(&mut self) -> bool {
        if self.open.trim == self.frozen_to && self.open.ranges.is_empty() {
            return false;
        }
        let next = Block { number: self.open.number + 1, trim: self.open.trim, ..Block::default() };
        let block = std::mem::replace(&mut self.open, next);
        self.frozen_to = block.trim;
        self.open_since = None;
        self.frozen.push_back((block, Stage::Waiting));
        true
    }

    /// When [`Uploader::freeze_if_due`] would freeze by age.
    #[must_use]
    pub fn due(&self) -> Option<Micros> {
        self.open_since.map(|since| since.plus(self.limits.age))
    }

    /// The next block to upload, while few enough are in flight.
    pub fn next_upload(&mut self) -> Option<Block> {
        let started = self.frozen.iter().filter(|(_, stage)| *stage != Stage::Waiting).count();
        if started >= self.limits.blocks_in_flight_max {
            return None;
        }
        let (block, stage) = self.frozen.iter_mut().find(|(_, stage)| *stage == Stage::Waiting)?;
        *stage = Stage::Uploading;
        Some(block.clone())
    }

    /// All of the block's objects are in the bucket.
    ///
    /// # Panics
    /// For a block that is not being uploaded: a programmer's error.
    pub fn uploaded(&mut self, number: u64) {
        let stage = self.stage_of(number);
        assert_eq!(*stage, Stage::Uploading, "block {number}");
        *stage = Stage::Uploaded;
    }

    /// The block to commit now: the oldest, once it is uploaded. One commit is in flight at a time.
    pub fn next_commit(&mut self) -> Option<u64> {
        let next = planted!("commit of a gap", self.frozen.front_mut(), self.any_uploaded());
        let (block, stage) = next.filter(|(_, stage)| *stage == Stage::Uploaded)?;
        *stage = Stage::Committing;
        Some(block.number)
    }

    /// The ledger has the block: it is done.
    ///
    /// # Panics
    /// For a block that is not being committed: a programmer's error.
    pub fn committed(&mut self, number: u64) {
        assert_eq!(*self.stage_of(number), Stage::Committing, "block {number}");
        self.frozen.retain(|(block, _)| block.number != number);
    }

    /// The ledger refused some of the block's ranges: what is left to commit is these, uploaded again before any later block commits.
    ///
    /// # Panics
    /// For a block that is not being committed: a programmer's error.
    pub fn cut_anew(&mut self, number: u64, ranges: BTreeMap<StreamId, BlockRange>) {
        let found = self.frozen.iter_mut().find(|(block, _)| block.number == number);
        let (block, stage) = found.expect("a block is being committed");
        assert_eq!(*stage, Stage::Committing, "block {number}");
        block.bytes = ranges.values().map(|range| range.bytes).sum();
        block.ranges = ranges;
        *stage = Stage::Waiting;
    }

    /// Whether everything acknowledged is committed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.frozen.is_empty() && self.open.ranges.is_empty()
    }

    /// Acknowledged bytes that are not committed.
    #[must_use]
    pub fn behind_bytes(&self) -> u64 {
        self.open.bytes + self.frozen.iter().map(|(block, _)| block.bytes).sum::<u64>()
    }

    /// Only the mutant commits in the order of the uploads' ends.
    #[cfg(mutants)]
    fn any_uploaded(&mut self) -> Option<&mut (Block, Stage)> {
        let busy = self.frozen.iter().any(|(_, stage)| *stage == Stage::Committing);
        self.frozen.iter_mut().find(|(_, stage)| *stage == Stage::Uploaded && !busy)
    }

    fn stage_of(&mut self, number: u64) -> &mut Stage {
        let found = self.frozen.iter_mut().find(|(block, _)| block.number == number);
        &mut found.expect("a block in hand is frozen").1
    }
}

/// Which streams share an object: one list per object, in the order in which they are written.
///
/// A stream with a long run gets its own (a stream object); the others share stream-set objects, sorted by stream.
#[must_use]
pub fn plan_objects(block: &Block, limits: &UploadLimits) -> Vec<Vec<(StreamId, BlockRange)>> {
    let (own, shared): (Vec<_>, Vec<_>) = block
        .ranges
        .iter()
        .map(|(stream, range)| (*stream, *range))
        .partition(|(_, range)| range.bytes >= limits.stream_object_bytes);
    let mut objects: Vec<Vec<_>> = own.into_iter().map(|range| vec![range]).collect();
    let mut set = Vec::new();
    let mut set_bytes = 0;
    for (stream, range) in shared {
        if !set.is_empty() && set_bytes + range.bytes > limits.object_bytes_max {
            objects.push(std::mem::take(&mut set));
            set_bytes = 0;
        }
        set_bytes += range.bytes;
        set.push((stream, range));
    }
    if !set.is_empty() {
        objects.push(set);
    }
    objects
}

/// What is left to commit of a refused range, by the tenure's state in the image: `None` where nothing is (the stream is deleted, the
/// tenure closed and gone, or its committed end beyond).
///
/// A range that begins above the tenure's committed end is stretched down to it: what lies between was never committed.
#[must_use]
pub fn recut(refused: BlockRange, tenure: Option<(Offset, Option<Offset>)>) -> Option<OffsetRange> {
    let (committed, end) = tenure?;
    let next = end.map_or(refused.range.next, |end| end.min(refused.range.next));
    (committed < next).then(|| OffsetRange::new(committed, next))
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
