//! What a cold read fetches: which blocks of an object, and how far ahead of the reader.
//!
//! Stands behind the log cache: [`crate::cache::LogCache::read`] missed, so the bytes are in objects. Readers have no names here: a
//! read that begins where an earlier one ended is taken for the same reader.

use base::{Offset, OffsetRange, StreamId};
use std::collections::BTreeMap;
use std::ops::Range;

/// Read-ahead of a reader that was met for the first time or jumped.
pub const READ_AHEAD_BYTES_MIN: usize = 64 << 10;

/// One data block of one stream, as an object's index tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpan {
    /// What it covers.
    pub range: OffsetRange,
    /// Where it begins in the object.
    pub position: u64,
    /// Its stored bytes.
    pub len: usize,
}

/// The blocks that hold `from` and what follows, until `bytes` are reached: at least one; empty where none holds `from` or more.
///
/// `blocks` are one stream's, by offset.
#[must_use]
pub fn blocks_for(blocks: &[BlockSpan], from: Offset, bytes: usize) -> Range<usize> {
    let first = blocks.partition_point(|block| block.range.next <= from);
    let mut end = first;
    let mut held = 0;
    while end < blocks.len() && (end == first || held < bytes) {
        held += blocks[end].len;
        end += 1;
    }
    first..end
}

/// Reads that are looked back at to see how many readers there are,
const ACTIVE_READS: u64 = 1024;

/// and how often that is looked at, in reads.
const ACTIVE_EVERY: u64 = 64;

/// What may be read ahead.
#[derive(Debug, Clone, Copy)]
pub struct ReadAheadLimits {
    /// For one reader.
    pub bytes_max: usize,
    /// For all of them: more would push itself out of the cache before anybody has come to it.
    pub total_bytes_max: usize,
    /// A block's length: where a reader's share is less, nothing is read ahead.
    pub block_bytes: usize,
    /// Readers that are remembered.
    pub readers_max: usize,
}

/// How far ahead of each reader blocks are fetched: doubles while it stays sequential, begins anew after a jump, and is less where
/// many read at once.
#[derive(Debug)]
pub struct ReadAhead {
    limits: ReadAheadLimits,
    /// By stream and the offset that the reader will ask for next.
    readers: BTreeMap<(StreamId, Offset), Reader>,
    /// The least recently met first.
    by_age: BTreeMap<u64, (StreamId, Offset)>,
    age: u64,
    /// Readers that were met among the last reads.
    active: usize,
}

#[derive(Debug, Clone, Copy)]
struct Reader {
    bytes: usize,
    age: u64,
}

impl ReadAhead {
    /// Knows nobody.
    #[must_use]
    pub fn new(limits: ReadAheadLimits) -> ReadAhead {
        ReadAhead { limits, readers: BTreeMap::new(), by_age: BTreeMap::new(), age: 0, active: 0 }
    }

    /// A read of `[from, next)` was answered; answers how many bytes beyond to fetch ahead.
    ///
    /// Several readers that go the same way are one: whoever comes second to an offset must not begin anew for all of them.
    pub fn advance(&mut self, stream: StreamId, from: Offset, next: Offset) -> usize {
        let before = self.take(stream, from).map_or(READ_AHEAD_BYTES_MIN, |bytes| bytes * 2);
        let bytes = before.max(self.take(stream, next).unwrap_or(0)).min(self.limits.bytes_max);
        self.age += 1;
        self.readers.insert((stream, next), Reader { bytes, age: self.age });
        self.by_age.insert(self.age, (stream, next));
        while self.readers.len() > self.limits.readers_max {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.readers.remove(&oldest);
        }
        if self.age.is_multiple_of(ACTIVE_EVERY) {
            self.active = self.by_age.range(self.age.saturating_sub(ACTIVE_READS)..).count();
        }
        let share = self.limits.total_bytes_max / self.active.max(1);
        if share < self.limits.block_bytes { 0 } else { bytes.min(share) }
    }

    /// Forgets the reader that will ask for this offset next; answers how far ahead of it was fetched.
    fn take(&mut self, stream: StreamId, offset: Offset) -> Option<usize> {
        let reader = self.readers.remove(&(stream, offset))?;
        self.by_age.remove(&reader.age);
        Some(reader.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans() -> Vec<BlockSpan> {
        let span = |base, next, position| BlockSpan {
            range: OffsetRange::new(Offset(base), Offset(next)),
            position,
            len: 100,
        };
        vec![span(0, 10, 0), span(10, 20, 100), span(20, 30, 200)]
    }

    fn limits(bytes_max: usize, readers_max: usize) -> ReadAheadLimits {
        ReadAheadLimits { bytes_max, total_bytes_max: 4 << 20, block_bytes: 64 << 10, readers_max }
    }

    #[test]
    fn takes_the_block_that_holds_the_offset_and_enough_after_it() {
        assert_eq!(blocks_for(&spans(), Offset(15), 1), 1..2);
        assert_eq!(blocks_for(&spans(), Offset(15), 101), 1..3);
        assert_eq!(blocks_for(&spans(), Offset(0), 10_000), 0..3);
        assert_eq!(blocks_for(&spans(), Offset(30), 10_000), 3..3);
    }

    #[test]
    fn grows_while_sequential_and_begins_anew_after_a_jump() {
        let mut ahead = ReadAhead::new(limits(300 << 10, 2));
        assert_eq!(ahead.advance(StreamId(1), Offset(0), Offset(10)), 64 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(10), Offset(20)), 128 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(20), Offset(30)), 256 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(30), Offset(40)), 300 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(90), Offset(95)), 64 << 10, "a jump");
        assert_eq!(ahead.advance(StreamId(2), Offset(0), Offset(5)), 64 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(40), Offset(50)), 64 << 10, "forgotten: two readers at the most");
        assert_eq!(ahead.readers.len(), ahead.by_age.len());
    }

    #[test]
    fn readers_side_by_side_are_read_ahead_for_as_one() {
        let mut ahead = ReadAhead::new(limits(1 << 20, 9));
        let mut step = |from, next| [(); 3].map(|()| ahead.advance(StreamId(1), Offset(from), Offset(next)));
        assert_eq!(step(0, 10), [64 << 10; 3]);
        assert_eq!(step(10, 20), [128 << 10; 3], "the second and the third come where the first has been");
        assert_eq!(step(20, 30), [256 << 10; 3]);
        assert_eq!(ahead.readers.len(), 1);
        assert_eq!(ahead.by_age.len(), 1);
    }

    #[test]
    fn many_readers_share_what_may_be_read_ahead_and_have_it_back_when_others_have_gone() {
        let mut ahead = ReadAhead::new(limits(1 << 20, 9999));
        let mut round = |readers: u64, step: u64| {
            let mut read = |reader| ahead.advance(StreamId(reader), Offset(step), Offset(step + 1));
            (0..readers).map(&mut read).last().unwrap()
        };
        let grown = |round: &mut dyn FnMut(u64, u64) -> usize, readers, from| {
            (from..from + 1200).map(|step| round(readers, step)).last().unwrap()
        };
        assert_eq!(grown(&mut round, 1, 0), 1 << 20);
        assert_eq!(grown(&mut round, 16, 2000), (4 << 20) / 16);
        assert_eq!(grown(&mut round, 100, 4000), 0, "less than a block");
        assert_eq!(grown(&mut round, 1, 6000), 1 << 20);
    }
}
