//! From an image to jobs: what this start is to compact.

use crate::shared::Shared;
use base::{Micros, NodeEpoch, ObjectId, Offset, StreamId};
use control_core::{Image, Reference, StreamRecord};
use std::collections::{BTreeMap, BTreeSet};
use stream_core::compact::{Candidate, CompactLimits, joins, merges};

/// Objects that are merged into others: all of what is referenced of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// Which, oldest first.
    pub(super) objects: Vec<ObjectId>,
    /// The least stream in them.
    pub(super) first: StreamId,
    /// The greatest.
    pub(super) last: StreamId,
    /// For the log.
    pub(super) why: Why,
}

/// What makes a job worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Small set objects, or short parts.
    Merge,
    /// Short stream objects.
    Join,
    /// Most of them is dead.
    Dead,
}

/// Adjacent references of one stream to objects of a job: what one swap takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OldRun {
    pub(super) stream: StreamId,
    /// Where the stream starts: what lies below is not copied.
    pub(super) start: Offset,
    pub(super) references: Vec<Reference>,
}

impl OldRun {
    /// Bytes of its live parts.
    pub(super) fn live_bytes(&self) -> u64 {
        self.references.iter().map(|reference| reference.live_bytes(self.start)).sum()
    }
}

/// What is worth it now, no object in two jobs.
pub(super) fn jobs(shared: &Shared, image: &Image, dead_since: &mut BTreeMap<ObjectId, Micros>) -> Vec<Job> {
    let limits = shared.options.compact_limits();
    let candidates = candidates(image, |id| is_ours(image, shared.node_epoch, id));
    let mut jobs = Vec::new();
    let mut taken: BTreeSet<ObjectId> = BTreeSet::new();
    let mut push = |why: Why, objects: Vec<ObjectId>| {
        if objects.iter().any(|id| taken.contains(id)) {
            return;
        }
        let met = || objects.iter().filter_map(|id| candidates.get(id));
        let (Some(first), Some(last)) = (met().map(|it| it.first).min(), met().map(|it| it.last).max()) else { return };
        taken.extend(&objects);
        jobs.push(Job { objects, first, last, why });
    };
    let oldest_first: Vec<Candidate> = candidates.values().copied().collect();
    for objects in merges(&oldest_first, &limits) {
        push(Why::Merge, objects);
    }
    for stream in image.streams.values() {
        for objects in joins_of(stream, &candidates, &limits) {
            push(Why::Join, objects);
        }
    }
    for objects in long_dead(shared, &oldest_first, &limits, dead_since).chunks(limits.fan.max(1)) {
        push(Why::Dead, objects.to_vec());
    }
    jobs
}

/// Whoever wrote an object compacts it while alive; else the oldest living start does.
fn is_ours(image: &Image, own: NodeEpoch, object: ObjectId) -> bool {
    if image.is_alive(object.node_epoch) {
        return object.node_epoch == own;
    }
    image.living().next().is_some_and(|(oldest, _)| oldest == own)
}

/// Objects that are referenced for records, oldest first.
fn candidates(image: &Image, is_ours: impl Fn(ObjectId) -> bool) -> BTreeMap<ObjectId, Candidate> {
    let mut candidates: BTreeMap<ObjectId, Candidate> = BTreeMap::new();
    for (stream, record) in &image.streams {
        for reference in record.references.values().filter(|reference| is_ours(reference.object)) {
            let data_bytes = image.objects.get(&reference.object).map_or(0, |object| object.data_bytes);
            let id = reference.object;
            let candidate = candidates.entry(id).or_insert(Candidate {
                id,
                live_bytes: 0,
                data_bytes,
                parts: 0,
                first: *stream,
                last: *stream,
            });
            candidate.live_bytes += reference.live_bytes(record.start);
            candidate.parts += 1;
            candidate.last = *stream;
        }
    }
    candidates
}

/// Neighbouring stream objects of a stream that are to be joined.
fn joins_of(
    stream: &StreamRecord,
    candidates: &BTreeMap<ObjectId, Candidate>,
    limits: &CompactLimits,
) -> Vec<Vec<ObjectId>> {
    let mut found = Vec::new();
    let mut run: Vec<(ObjectId, u64)> = Vec::new();
    let mut end = None;
    let mut close = |run: &mut Vec<(ObjectId, u64)>| {
        let bytes: Vec<u64> = run.iter().map(|(_, bytes)| *bytes).collect();
        found.extend(joins(&bytes, limits).into_iter().map(|join| {
            let mut objects: Vec<ObjectId> = run[join].iter().map(|(object, _)| *object).collect();
            objects.dedup();
            objects
        }));
        run.clear();
    };
    for reference in stream.references.values() {
        let is_own = candidates.get(&reference.object).is_some_and(|candidate| candidate.is_stream_object(limits));
        if !is_own || end != Some(reference.range.base) {
            close(&mut run);
        }
        if is_own {
            run.push((reference.object, reference.live_bytes(stream.start)));
        }
        end = Some(reference.range.next);
    }
    close(&mut run);
    found.retain(|objects| objects.len() > 1);
    found
}

/// Objects that have been mostly dead for so long that they will not be wholly dead soon.
fn long_dead(
    shared: &Shared,
    candidates: &[Candidate],
    limits: &CompactLimits,
    dead_since: &mut BTreeMap<ObjectId, Micros>,
) -> Vec<ObjectId> {
    let now = shared.world.clock.now();
    let dead: BTreeSet<ObjectId> =
        candidates.iter().filter(|candidate| candidate.is_mostly_dead(limits)).map(|candidate| candidate.id).collect();
    dead_since.retain(|object, _| dead.contains(object));
    let age = shared.options.compaction.dead_age;
    dead.into_iter().filter(|object| now.since(*dead_since.entry(*object).or_insert(now)) >= age).collect()
}

/// What an image references of these objects, by stream and offset.
pub(super) fn old_runs(image: &Image, job: &Job) -> Vec<OldRun> {
    let mut runs: Vec<OldRun> = Vec::new();
    for (stream, record) in image.streams.range(job.first..=job.last) {
        let mut end = None;
        for reference in record.references.values().filter(|reference| job.objects.contains(&reference.object)) {
            match runs.last_mut() {
                Some(run) if end == Some(reference.range.base) => run.references.push(*reference),
                _ => runs.push(OldRun { stream: *stream, start: record.start, references: vec![*reference] }),
            }
            end = Some(reference.range.next);
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{OffsetRange, StreamEpoch, TopicId, UnixMillis};
    use control_core::ObjectRecord;
    use std::sync::Arc;

    fn id(counter: u64) -> ObjectId {
        ObjectId { node_epoch: NodeEpoch(1), counter }
    }

    /// A stream and its references: object, base, next.
    type Stream<'a> = (u64, &'a [(u64, u64, u64)]);

    fn image(streams: &[Stream<'_>]) -> Image {
        let mut image = Image::default();
        for (stream, references) in streams {
            let references = references.iter().map(|(object, base, next)| {
                let reference = Reference {
                    object: id(*object),
                    range: OffsetRange::new(Offset(*base), Offset(*next)),
                    bytes: (next - base) * 100,
                    records: next - base,
                    max_timestamp: UnixMillis(0),
                    max_timestamp_offset: Offset(*base),
                };
                image.objects.insert(id(*object), ObjectRecord { size: 1, references: 1, data_bytes: 2000 });
                (Offset(*base), reference)
            });
            let record = StreamRecord {
                topic: TopicId(1),
                partition: 0,
                epoch: StreamEpoch(0),
                start: Offset(0),
                tenures: Vec::new(),
                epochs: Vec::new(),
                references: references.collect(),
                live_bytes: 0,
                producers: Vec::new(),
                unsaved: Vec::new(),
                reborn: false,
                cleaned: Offset(0),
            };
            image.streams.insert(StreamId(*stream), Arc::new(record));
        }
        image
    }

    #[test]
    fn what_lies_between_merged_objects_parts_a_run() {
        let image = image(&[(1, &[(1, 0, 5), (2, 5, 9), (3, 9, 10), (2, 10, 12)]), (4, &[(2, 0, 3)])]);
        let job = Job { objects: vec![id(1), id(2)], first: StreamId(1), last: StreamId(4), why: Why::Merge };
        let runs = old_runs(&image, &job);
        let told: Vec<_> = runs.iter().map(|run| (run.stream.0, run.references.len(), run.live_bytes())).collect();
        assert_eq!(told, [(1, 2, 900), (1, 1, 200), (4, 1, 300)]);
    }

    #[test]
    fn an_object_is_judged_by_all_streams_parts() {
        let image = image(&[(1, &[(1, 0, 5), (2, 5, 9)]), (4, &[(2, 0, 3)])]);
        let found = candidates(&image, |_| true);
        let of = |counter| found[&id(counter)];
        assert_eq!((of(1).live_bytes, of(1).parts, of(1).first, of(1).last), (500, 1, StreamId(1), StreamId(1)));
        assert_eq!((of(2).live_bytes, of(2).parts, of(2).first, of(2).last), (700, 2, StreamId(1), StreamId(4)));
    }

    #[test]
    fn stream_objects_are_joined_only_where_nothing_lies_between() {
        let image = image(&[(1, &[(1, 0, 20), (2, 20, 40), (3, 41, 61), (4, 61, 81)])]);
        let limits = CompactLimits {
            fan: 2,
            object_bytes_max: 10_000,
            part_bytes: 10,
            stream_object_bytes: 2000,
            dead_percent_max: 50,
        };
        let record = &image.streams[&StreamId(1)];
        let found = joins_of(record, &candidates(&image, |_| true), &limits);
        assert_eq!(found, [[id(1), id(2)], [id(3), id(4)]]);
    }
}
