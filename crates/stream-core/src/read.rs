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

/// How far ahead of each reader blocks are fetched: doubles while it stays sequential, begins anew after a jump.
#[derive(Debug)]
pub struct ReadAhead {
    bytes_max: usize,
    readers_max: usize,
    /// By stream and the offset that the reader will ask for next.
    readers: BTreeMap<(StreamId, Offset), Reader>,
    /// The least recently met first.
    by_age: BTreeMap<u64, (StreamId, Offset)>,
    age: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reader {
    bytes: usize,
    age: u64,
}

impl ReadAhead {
    /// Knows nobody; remembers at most `readers_max`.
    #[must_use]
    pub fn new(bytes_max: usize, readers_max: usize) -> ReadAhead {
        ReadAhead { bytes_max, readers_max, readers: BTreeMap::new(), by_age: BTreeMap::new(), age: 0 }
    }

    /// A read of `[from, next)` was answered; answers how many bytes beyond to fetch ahead.
    pub fn advance(&mut self, stream: StreamId, from: Offset, next: Offset) -> usize {
        let known = self.readers.remove(&(stream, from));
        if let Some(reader) = known {
            self.by_age.remove(&reader.age);
        }
        let bytes = known.map_or(READ_AHEAD_BYTES_MIN, |reader| reader.bytes * 2).min(self.bytes_max);
        self.age += 1;
        let reader = Reader { bytes, age: self.age };
        if let Some(other) = self.readers.insert((stream, next), reader) {
            self.by_age.remove(&other.age);
        }
        self.by_age.insert(self.age, (stream, next));
        while self.readers.len() > self.readers_max {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.readers.remove(&oldest);
        }
        bytes
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

    #[test]
    fn takes_the_block_that_holds_the_offset_and_enough_after_it() {
        assert_eq!(blocks_for(&spans(), Offset(15), 1), 1..2);
        assert_eq!(blocks_for(&spans(), Offset(15), 101), 1..3);
        assert_eq!(blocks_for(&spans(), Offset(0), 10_000), 0..3);
        assert_eq!(blocks_for(&spans(), Offset(30), 10_000), 3..3);
    }

    #[test]
    fn grows_while_sequential_and_begins_anew_after_a_jump() {
        let mut ahead = ReadAhead::new(300 << 10, 2);
        assert_eq!(ahead.advance(StreamId(1), Offset(0), Offset(10)), 64 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(10), Offset(20)), 128 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(20), Offset(30)), 256 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(30), Offset(40)), 300 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(90), Offset(95)), 64 << 10, "a jump");
        assert_eq!(ahead.advance(StreamId(2), Offset(0), Offset(5)), 64 << 10);
        assert_eq!(ahead.advance(StreamId(1), Offset(40), Offset(50)), 64 << 10, "forgotten: two readers at the most");
        assert_eq!(ahead.readers.len(), ahead.by_age.len());
    }
}
