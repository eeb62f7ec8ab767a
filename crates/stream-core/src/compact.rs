//! Which objects are worth merging: so that neither objects nor a stream's parts of them grow without bound, at few rewrites a byte.
//!
//! Uploads leave *set objects*, each with a short part of many streams, and *stream objects*, each with a long part of one. Three things
//! make work, and each is measured in levels that are a factor of `fan` apart, so that a byte is rewritten once a level, not once a merge:
//!
//! - *Small objects:* `fan` set objects of one level of size become fewer, larger ones.
//! - *Short parts:* `fan` set objects of one level of mean part size that have the same streams become as many bytes, in which a
//!   stream's parts lie together. Objects that no others overlap are left alone: to merge them would join nothing.
//! - *Short stream objects:* `fan` neighbours of one level become fewer, longer ones.
//!
//! A stream whose parts have become long enough leaves a merge in objects of its own: the shell lays them out, and they are met again here as
//! stream objects. And an object most of which nobody refers to any more is written anew without that.
//!
//! Everything here is a hint: what a plan names may have changed by the time it is carried out, and the ledger decides (rule R-1).

use base::{ObjectId, StreamId};
use std::collections::BTreeMap;
use std::ops::Range;

/// More levels than this there are not: whatever is smaller still is on the lowest.
const LEVELS_MAX: u32 = 3;

/// What is large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactLimits {
    /// So many are merged at once, and levels are so far apart; at least 2.
    pub fan: usize,
    /// No object is written larger, but for one run that is.
    pub object_bytes_max: u64,
    /// A set object whose mean part has so many bytes needs no merge for its parts' sake.
    pub part_bytes: u64,
    /// A stream with so many adjacent bytes leaves for objects of its own.
    pub stream_object_bytes: u64,
    /// An object is written anew when more than so many per cent of it are dead.
    pub dead_percent_max: u64,
}

/// An object that is referenced for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: ObjectId,
    /// Bytes of record batches that are referenced and not below their stream's start.
    pub live_bytes: u64,
    /// Bytes of record batches; 0: not known.
    pub data_bytes: u64,
    /// References to its records.
    pub parts: u64,
    /// The least stream among them.
    pub first: StreamId,
    /// The greatest.
    pub last: StreamId,
}

impl CompactLimits {
    /// An object of at least so many bytes needs no merge for its own sake: less than half, so that sections of streams fit
    /// ([`Sections`]).
    #[must_use]
    pub fn object_bytes_enough(&self) -> u64 {
        self.object_bytes_max / 5 * 2
    }

    /// Levels below `enough`: 0 for what needs no merge.
    fn level(&self, bytes: u64, enough: u64) -> u32 {
        let fan = self.fan.max(2) as u64;
        let mut reach = bytes.max(1);
        let mut level = 0;
        while reach < enough && level < LEVELS_MAX {
            reach = reach.saturating_mul(fan);
            level += 1;
        }
        level
    }
}

impl Candidate {
    /// Whether it holds one stream's records alone, and as many as a stream leaves others for.
    #[must_use]
    pub fn is_stream_object(&self, limits: &CompactLimits) -> bool {
        self.first == self.last && self.bytes() >= limits.stream_object_bytes.min(limits.object_bytes_enough())
    }

    /// What it is classed by: also what is dead, or an object that loses its oldest records to retention would count as a small one
    /// again, and what is left of it be written once more shortly before it goes too.
    fn bytes(&self) -> u64 {
        self.data_bytes.max(self.live_bytes)
    }

    /// Whether most of it is dead.
    #[must_use]
    pub fn is_mostly_dead(&self, limits: &CompactLimits) -> bool {
        let live = u128::from(self.live_bytes) * 100;
        live < u128::from(self.data_bytes) * u128::from(100u64.saturating_sub(limits.dead_percent_max))
    }
}

/// Where a merge ends an object and begins the next, by stream: at multiples of a power of two.
///
/// Merges of the same streams at different times have about as many bytes of each, not exactly: were an object ended when it is full,
/// the next merge's would be ended some streams away, and the merge of all of them would join what lies on either side of an end with
/// fewer others than the rest. So all end at the same streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    streams: u64,
}

impl Sections {
    /// For so many bytes of so many streams: where these are even, a section fills the largest object by half at the least, and has room
    /// to be a little longer than most.
    #[must_use]
    pub fn of(limits: &CompactLimits, bytes: u64, streams: u64) -> Sections {
        let each = (bytes / streams.max(1)).max(1);
        let fit = (limits.object_bytes_max / 16 * 15 / each).max(1);
        Sections { streams: 1 << fit.ilog2() }
    }

    /// Whether one ends between these two.
    #[must_use]
    pub fn end_between(&self, stream: StreamId, next: StreamId) -> bool {
        stream.0 / self.streams != next.0 / self.streams
    }
}

/// Set objects to be merged, one list for each merge, no object in two. `candidates` come oldest first.
#[must_use]
pub fn merges(candidates: &[Candidate], limits: &CompactLimits) -> Vec<Vec<ObjectId>> {
    let mut small: BTreeMap<u32, Vec<ObjectId>> = BTreeMap::new();
    let mut short: BTreeMap<u32, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| !candidate.is_stream_object(limits)) {
        let by_size = limits.level(candidate.bytes(), limits.object_bytes_enough());
        let by_part = limits.level(candidate.bytes() / candidate.parts.max(1), limits.part_bytes);
        if by_size > 0 {
            small.entry(by_size).or_default().push(candidate.id);
        } else if by_part > 0 {
            short.entry(by_part).or_default().push(candidate);
        }
    }
    let fan = limits.fan.max(2);
    let mut merges = Vec::new();
    for objects in small.values() {
        merges.extend(objects.chunks_exact(fan).map(<[ObjectId]>::to_vec));
    }
    for objects in short.values() {
        merges.extend(overlapping(objects, fan));
    }
    merges
}

/// Where so many of these overlap in their streams: which.
fn overlapping(objects: &[&Candidate], fan: usize) -> Vec<Vec<ObjectId>> {
    let mut sorted = objects.to_vec();
    sorted.sort_by_key(|candidate| (candidate.first, candidate.id));
    let mut merges = Vec::new();
    let mut open: Vec<&Candidate> = Vec::new();
    for candidate in sorted {
        open.retain(|other| other.last >= candidate.first);
        open.push(candidate);
        if open.len() >= fan {
            let mut merge: Vec<ObjectId> = open.drain(..).map(|candidate| candidate.id).collect();
            merge.sort_unstable();
            merges.push(merge);
        }
    }
    merges
}

/// Neighbours to be joined, by their places. `run` has the live bytes of stream objects that adjoin each other, by offset.
#[must_use]
pub fn joins(run: &[u64], limits: &CompactLimits) -> Vec<Range<usize>> {
    let levels: Vec<u32> = run.iter().map(|bytes| limits.level(*bytes, limits.object_bytes_enough())).collect();
    let fan = limits.fan.max(2);
    let mut joins: Vec<Range<usize>> = Vec::new();
    // The lowest level first; what is smaller than the level and lies between its objects goes along.
    for level in (1..=LEVELS_MAX).rev() {
        let (mut first, mut met) = (None, 0);
        for (at, found) in levels.iter().enumerate() {
            let taken = joins.iter().any(|join| join.contains(&at));
            if taken || *found < level {
                (first, met) = (None, 0);
                continue;
            }
            let from = *first.get_or_insert(at);
            met += usize::from(*found == level);
            if met == fan {
                joins.push(from..at + 1);
                (first, met) = (None, 0);
            }
        }
    }
    joins.sort_by_key(|join| join.start);
    joins
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::NodeEpoch;

    const MIB: u64 = 1 << 20;

    const LIMITS: CompactLimits = CompactLimits {
        fan: 8,
        object_bytes_max: 16 * MIB,
        part_bytes: 64 << 10,
        stream_object_bytes: 8 * MIB,
        dead_percent_max: 50,
    };

    fn id(counter: u64) -> ObjectId {
        ObjectId { node_epoch: NodeEpoch(1), counter }
    }

    /// Objects of a model: bytes of each stream.
    struct Model {
        next: u64,
        objects: BTreeMap<ObjectId, BTreeMap<u64, (u64, u64)>>,
        uploaded: u64,
        rewritten: u64,
    }

    impl Model {
        fn new() -> Model {
            Model { next: 0, objects: BTreeMap::new(), uploaded: 0, rewritten: 0 }
        }

        /// An object with so many bytes of each of the streams, each one part.
        fn upload(&mut self, streams: Range<u64>, bytes: u64) {
            self.next += 1;
            self.uploaded += (streams.end - streams.start) * bytes;
            self.objects.insert(id(self.next), streams.map(|stream| (stream, (bytes, 1))).collect());
        }

        fn candidates(&self) -> Vec<Candidate> {
            let candidate = |(id, streams): (&ObjectId, &BTreeMap<u64, (u64, u64)>)| {
                let live_bytes = streams.values().map(|(bytes, _)| bytes).sum();
                Candidate {
                    id: *id,
                    live_bytes,
                    data_bytes: live_bytes,
                    parts: streams.values().map(|(_, parts)| parts).sum(),
                    first: StreamId(*streams.first_key_value().unwrap().0),
                    last: StreamId(*streams.last_key_value().unwrap().0),
                }
            };
            self.objects.iter().map(candidate).collect()
        }

        /// Carries out all that is planned until nothing is; answers the number of merges.
        fn settle(&mut self) -> usize {
            let mut count = 0;
            loop {
                let merges = merges(&self.candidates(), &LIMITS);
                if merges.is_empty() {
                    return count;
                }
                for merge in merges {
                    count += 1;
                    assert!(count < 10_000, "it never ends");
                    self.merge(&merge);
                }
            }
        }

        fn merge(&mut self, merge: &[ObjectId]) {
            let mut streams: BTreeMap<u64, u64> = BTreeMap::new();
            for object in merge {
                for (stream, (bytes, _)) in self.objects.remove(object).expect("no object is in two merges") {
                    *streams.entry(stream).or_default() += bytes;
                }
            }
            let mut held: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            let mut held_bytes = 0;
            let sections = Sections::of(&LIMITS, streams.values().sum(), streams.len() as u64);
            for (stream, bytes) in streams {
                self.rewritten += bytes;
                let last = held.last_key_value().map_or(stream, |(last, _)| *last);
                let is_end = held_bytes >= LIMITS.object_bytes_enough()
                    && sections.end_between(StreamId(last), StreamId(stream));
                if is_end || held_bytes > 0 && held_bytes + bytes > LIMITS.object_bytes_max {
                    self.next += 1;
                    self.objects.insert(id(self.next), std::mem::take(&mut held));
                    held_bytes = 0;
                }
                held.insert(stream, (bytes, 1));
                held_bytes += bytes;
            }
            self.next += 1;
            self.objects.insert(id(self.next), held);
        }

        fn parts_of(&self, stream: u64) -> usize {
            self.objects.values().filter(|streams| streams.contains_key(&stream)).count()
        }
    }

    #[test]
    fn many_even_streams_are_merged_once_and_their_parts_become_long() {
        let mut model = Model::new();
        for _ in 0..64 {
            // 10,000 streams in one upload of 100 MiB.
            model.upload(0..10_000, 10_486);
            model.settle();
        }
        assert!(model.rewritten <= model.uploaded * 21 / 20, "{} of {} bytes", model.rewritten, model.uploaded);
        assert_eq!(model.parts_of(5_000), 8, "64 parts have become 8");
        let mean = LIMITS.object_bytes_max * 3 / 5;
        assert!(model.objects.len() as u64 <= model.uploaded / mean, "{} objects", model.objects.len());
    }

    #[test]
    fn a_day_of_trickling_streams_leaves_few_objects() {
        let mut model = Model::new();
        for minute in 0..1440 {
            model.upload(minute % 7 * 1000..minute % 7 * 1000 + 3000, 20);
            model.settle();
        }
        assert!(model.objects.len() <= 8 * 4 + 8, "{} objects", model.objects.len());
        assert!(model.rewritten <= 4 * model.uploaded, "each byte once a level");
    }

    /// Each upload of some streams has a little more or less of them, as a day's hours do.
    #[test]
    fn what_is_written_unevenly_is_rewritten_once_a_level_too() {
        let mut model = Model::new();
        for minute in 0..512 {
            model.upload(0..10_000, 1_100 + minute * 37 % 200);
            model.settle();
        }
        assert!(model.rewritten * 10 <= model.uploaded * 23, "{} of {}", model.rewritten, model.uploaded);
        assert!(model.parts_of(5_000) <= 24, "{}", model.parts_of(5_000));
    }

    #[test]
    fn objects_without_a_stream_in_common_are_not_merged_for_their_parts() {
        let mut model = Model::new();
        for part in 0..20 {
            model.upload(part * 1000..(part + 1) * 1000, 10_000);
        }
        assert_eq!(model.settle(), 0, "each has 10 MB and streams of its own");
        for _ in 0..8 {
            model.upload(500..1500, 10_000);
        }
        assert!(model.settle() > 0);
    }

    #[test]
    fn what_retention_has_cut_is_not_merged_again_for_being_small() {
        let whole = |counter, dead_percent: u64| Candidate {
            id: id(counter),
            live_bytes: 16 * MIB * (100 - dead_percent) / 100,
            data_bytes: 16 * MIB,
            parts: 16 * MIB / LIMITS.part_bytes,
            first: StreamId(1),
            last: StreamId(256),
        };
        for dead_percent in [0, 30, 60, 90] {
            let objects: Vec<Candidate> = (1..=16).map(|counter| whole(counter, dead_percent)).collect();
            assert_eq!(merges(&objects, &LIMITS), Vec::<Vec<ObjectId>>::new(), "{dead_percent}% dead");
        }
        let unknown: Vec<Candidate> =
            (1..=8).map(|counter| Candidate { data_bytes: 0, ..whole(counter, 60) }).collect();
        assert_eq!(merges(&unknown, &LIMITS).len(), 1, "by what lives, where what was there is not known");
    }

    #[test]
    fn neighbours_are_joined_level_by_level() {
        let full = 8 * MIB;
        assert_eq!(joins(&[full; 30], &LIMITS), [], "long enough");
        assert_eq!(joins(&[2 * MIB; 7], &LIMITS), []);
        assert_eq!(joins(&[2 * MIB; 17], &LIMITS), [0..8, 8..16]);
        let mut run = vec![2 * MIB; 5];
        run.extend([full, 2 * MIB, 2 * MIB, 2 * MIB]);
        assert_eq!(joins(&run, &LIMITS), [], "a full one lies between");
        let mut run = vec![2 * MIB];
        run.extend([1000; 7]);
        assert_eq!(joins(&run, &LIMITS), [], "one larger and seven smaller are no eight of a level");
        run.push(1000);
        assert_eq!(joins(&run, &LIMITS).first(), Some(&(1..9)), "the larger one is left alone");
        let mut run = vec![2 * MIB; 7];
        run.extend([1000, 1000, 2 * MIB]);
        assert_eq!(joins(&run, &LIMITS).first(), Some(&(0..10)), "the smaller ones go along");
    }

    #[test]
    fn most_of_it_dead_is_more_than_the_bound() {
        let half =
            Candidate { id: id(1), live_bytes: 50, data_bytes: 100, parts: 1, first: StreamId(1), last: StreamId(1) };
        assert!(!half.is_mostly_dead(&LIMITS));
        assert!(Candidate { live_bytes: 49, ..half }.is_mostly_dead(&LIMITS));
        assert!(!Candidate { live_bytes: 49, data_bytes: 0, ..half }.is_mostly_dead(&LIMITS), "not known");
    }
}
