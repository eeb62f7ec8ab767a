//! Which part of which object stands for which of a stream's offsets, where no ledger says so.
//!
//! Objects may overlap: an upload that compaction has merged since, or that was made twice. Whatever they hold at an offset is the same
//! record, since only acknowledged records are uploaded; but an object that Kafka's log compaction has cleaned has fewer of them, and is the
//! newer one. So what compaction made comes first, then the newer object, and before both what the ledger referenced as far as it is known.
//!
//! Pure: from indexes to references.

use base::{ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis};
use control_core::Reference;
use std::collections::BTreeMap;
use stream_core::object::BlockEntry;

/// A part of an object without a gap: one stream's.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) object: ObjectId,
    /// The greater one counts where several have an offset.
    pub(super) rank: Rank,
    /// By offset; each begins where the one before ends.
    pub(super) blocks: Vec<BlockEntry>,
}

/// What is to be preferred, by the head of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) referenced: bool,
    pub(super) merged: bool,
    pub(super) object: ObjectId,
}

impl Part {
    pub(super) fn range(&self) -> OffsetRange {
        let (first, last) = (self.blocks.first(), self.blocks.last());
        let (Some(first), Some(last)) = (first, last) else { return OffsetRange::new(Offset(0), Offset(0)) };
        OffsetRange::new(first.range.base, last.range.next)
    }
}

/// The parts that an object's blocks come to, by stream.
pub(super) fn parts_of(object: ObjectId, merged: bool, blocks: &[BlockEntry]) -> Vec<(StreamId, Part)> {
    let mut parts: Vec<(StreamId, Part)> = Vec::new();
    for block in blocks.iter().filter(|block| !block.range.is_empty()) {
        match parts.last_mut() {
            Some((stream, part)) if *stream == block.stream && part.range().next == block.range.base => {
                part.blocks.push(*block);
            }
            _ => {
                let rank = Rank { referenced: false, merged, object };
                parts.push((block.stream, Part { object, rank, blocks: vec![*block] }));
            }
        }
    }
    parts
}

/// What stands for a stream from `start` on.
#[derive(Debug, Default)]
pub(super) struct Cover {
    /// By base offset, without overlaps; there may be holes.
    pub(super) references: Vec<Reference>,
    /// Stream epochs and the first offset of each.
    pub(super) epochs: Vec<(StreamEpoch, Offset)>,
}

impl Cover {
    /// The offsets between the references that none covers.
    pub(super) fn holes(&self) -> Vec<OffsetRange> {
        let pairs = self.references.windows(2).filter(|pair| pair[0].range.next < pair[1].range.base);
        pairs.map(|pair| OffsetRange::new(pair[0].range.next, pair[1].range.base)).collect()
    }
}

pub(super) fn cover(parts: &[Part], start: Offset) -> Cover {
    let mut order: Vec<&Part> = parts.iter().filter(|part| part.range().next > start).collect();
    order.sort_by_key(|part| std::cmp::Reverse(part.rank));
    let mut taken: BTreeMap<Offset, (Offset, &Part)> = BTreeMap::new();
    for part in order {
        for free in free_in(&taken, part.range(), start) {
            taken.insert(free.base, (free.next, part));
        }
    }
    let mut cover = Cover::default();
    for (base, (next, part)) in taken {
        let counted = OffsetRange::new(base, next);
        cover.references.push(refer(part, counted));
        for block in part.blocks.iter().filter(|block| overlaps(block.range, counted)) {
            if cover.epochs.last().is_none_or(|(last, _)| block.stream_epoch > *last) {
                cover.epochs.push((block.stream_epoch, block.range.base.max(base)));
            }
        }
    }
    cover
}

/// What of `range` from `start` on nobody has taken.
fn free_in(taken: &BTreeMap<Offset, (Offset, &Part)>, range: OffsetRange, start: Offset) -> Vec<OffsetRange> {
    let mut free = Vec::new();
    let mut at = range.base.max(start);
    let before = taken.range(..=at).next_back().map(|(base, (next, _))| (*base, *next));
    let within = taken.range(at..range.next).map(|(base, (next, _))| (*base, *next));
    for (base, next) in before.into_iter().chain(within) {
        if base > at {
            free.push(OffsetRange::new(at, base));
        }
        at = at.max(next);
    }
    if at < range.next {
        free.push(OffsetRange::new(at, range.next));
    }
    free
}

fn overlaps(block: OffsetRange, counted: OffsetRange) -> bool {
    block.base < counted.next && counted.base < block.next
}

fn refer(part: &Part, counted: OffsetRange) -> Reference {
    let mut reference = Reference {
        object: part.object,
        range: counted,
        bytes: 0,
        records: 0,
        max_timestamp: UnixMillis(i64::MIN),
        max_timestamp_offset: counted.base,
    };
    for block in part.blocks.iter().filter(|block| overlaps(block.range, counted)) {
        let shared = block.range.next.min(counted.next).0 - block.range.base.max(counted.base).0;
        // Never 0 for what has batches: that would say that it has none.
        reference.bytes += portion(u64::from(block.len), shared, block.range.len()).max(1);
        reference.records += portion(block.records, shared, block.range.len());
        if block.max_timestamp > reference.max_timestamp {
            (reference.max_timestamp, reference.max_timestamp_offset) =
                (block.max_timestamp, block.max_timestamp_offset);
        }
    }
    reference
}

/// What says that there are no batches at these offsets, in an object that stands beside them.
pub(super) fn nothing_at(hole: OffsetRange, neighbour: &Reference) -> Reference {
    Reference {
        object: neighbour.object,
        range: hole,
        bytes: 0,
        records: 0,
        max_timestamp: UnixMillis(i64::MIN),
        max_timestamp_offset: hole.base,
    }
}

fn portion(total: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(total) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::NodeEpoch;

    fn block(base: u64, next: u64, epoch: i32) -> BlockEntry {
        BlockEntry {
            stream: StreamId(1),
            stream_epoch: StreamEpoch(epoch),
            range: OffsetRange::new(Offset(base), Offset(next)),
            position: 0,
            len: u32::try_from((next - base) * 100).unwrap(),
            crc: 0,
            records: next - base,
            max_timestamp: UnixMillis(next.cast_signed()),
            max_timestamp_offset: Offset(next - 1),
            control: false,
        }
    }

    fn parts(counter: u64, merged: bool, blocks: &[BlockEntry]) -> Vec<Part> {
        let object = ObjectId { node_epoch: NodeEpoch(1), counter };
        parts_of(object, merged, blocks).into_iter().map(|(_, part)| part).collect()
    }

    fn told(cover: &Cover) -> Vec<(u64, u64, u64)> {
        cover.references.iter().map(|it| (it.object.counter, it.range.base.0, it.range.next.0)).collect()
    }

    #[test]
    fn what_compaction_made_stands_before_what_it_was_made_of() {
        let mut all = parts(7, false, &[block(0, 10, 0)]);
        all.extend(parts(8, false, &[block(10, 20, 0), block(20, 30, 1)]));
        all.extend(parts(3, true, &[block(5, 20, 0)]));
        let cover = cover(&all, Offset(2));
        assert_eq!(told(&cover), [(7, 2, 5), (3, 5, 20), (8, 20, 30)]);
        assert_eq!(cover.references[0].bytes, 300);
        assert_eq!(cover.references[2].records, 10);
        assert_eq!(cover.epochs, [(StreamEpoch(0), Offset(2)), (StreamEpoch(1), Offset(20))]);
        assert_eq!(cover.holes(), []);
    }

    #[test]
    fn what_the_ledger_referenced_stands_before_all() {
        let mut all = parts(9, true, &[block(0, 30, 0)]);
        let mut known = parts(1, false, &[block(10, 20, 0)]);
        known[0].rank.referenced = true;
        all.extend(known);
        assert_eq!(told(&cover(&all, Offset(0))), [(9, 0, 10), (1, 10, 20), (9, 20, 30)]);
    }

    #[test]
    fn a_hole_stays_one() {
        let mut all = parts(1, false, &[block(0, 10, 0), block(15, 20, 0)]);
        all.extend(parts(2, false, &[block(40, 50, 0)]));
        let found = cover(&all, Offset(0));
        assert_eq!(told(&found), [(1, 0, 10), (1, 15, 20), (2, 40, 50)]);
        let hole = |base, next| OffsetRange::new(Offset(base), Offset(next));
        assert_eq!(found.holes(), [hole(10, 15), hole(20, 40)]);
        let nothing = nothing_at(hole(10, 15), &found.references[0]);
        assert_eq!((nothing.bytes, nothing.object.counter), (0, 1));
    }

    #[test]
    fn every_offset_has_one_part_whatever_the_order() {
        // Each triple is (counter, base, next); the answer must cover their union once, whatever overlaps.
        let cases: [&[(u64, u64, u64)]; 4] = [
            &[(1, 0, 100), (2, 20, 30), (3, 25, 80)],
            &[(3, 0, 10), (2, 5, 15), (1, 0, 30)],
            &[(1, 0, 5), (2, 0, 5), (3, 0, 5)],
            &[(2, 10, 20), (1, 0, 40), (3, 39, 41)],
        ];
        for case in cases {
            let all: Vec<Part> = case
                .iter()
                .flat_map(|(counter, base, next)| parts(*counter, false, &[block(*base, *next, 0)]))
                .collect();
            let found = cover(&all, Offset(0));
            assert!(found.references.windows(2).all(|pair| pair[0].range.next <= pair[1].range.base), "{case:?}");
            let covered: u64 = found.references.iter().map(|it| it.range.len()).sum();
            let union = (0..200).filter(|at| case.iter().any(|(_, base, next)| (base..next).contains(&at))).count();
            assert_eq!(covered, union as u64, "{case:?}");
        }
    }
}
