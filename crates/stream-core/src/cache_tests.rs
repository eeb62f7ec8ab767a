//! Tests of the log cache: examples of each rule, then a model over random histories.

use super::*;
use crate::testing::batch;
use base::Seed;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

const S: StreamId = StreamId(7);

fn wal() -> WalId {
    WalId::default()
}

/// Batches back to back in the WAL from `position` on.
fn placed(mut position: u64, batches: Vec<NumberedBatch>) -> Vec<PlacedBatch> {
    let place = |batch: NumberedBatch| {
        let bytes = [&batch.bytes.head[..], &batch.bytes.body[..]].concat();
        let len = u32::try_from(bytes.len()).unwrap();
        let place = Place { wal: wal(), position: WalPosition(position), len, crc: crc32c(&bytes) };
        position += u64::from(len);
        PlacedBatch { batch, place }
    };
    batches.into_iter().map(place).collect()
}

fn len_of(lookup: &Lookup) -> usize {
    match lookup {
        Lookup::Memory(pieces, _) => pieces.iter().map(BatchBytes::len).sum(),
        other => panic!("expected memory, got {other:?}"),
    }
}

#[test]
fn small_batches_of_a_group_become_one_run_and_large_ones_keep_their_bytes() {
    let mut cache = LogCache::new(1 << 20);
    let large = batch(2, 1, JOINED_BATCH_BYTES_MAX);
    let batches = vec![batch(0, 1, 100), batch(1, 1, 100), large.clone(), batch(3, 1, 100)];
    cache.append(S, &placed(1000, batches));
    let runs = cache.runs(S, wal(), OffsetRange::new(Offset(0), Offset(4)));
    let ranges: Vec<_> = runs.iter().map(|run| (run.range.base.0, run.range.next.0, run.place.position.0)).collect();
    let after_large = 1200 + JOINED_BATCH_BYTES_MAX as u64;
    assert_eq!(ranges, [(0, 2, 1000), (2, 3, 1200), (3, 4, after_large)]);
    assert_eq!(runs[1].body, Body::Memory(large.bytes));
    assert_eq!((runs[0].records, runs[0].max_timestamp, runs[0].max_timestamp_offset), (2, UnixMillis(1), Offset(1)));
}

#[test]
fn a_batch_that_is_alone_keeps_its_bytes_unless_it_is_tiny() {
    let mut cache = LogCache::new(1 << 20);
    for (base, len, keeps) in [(0, SHARED_BATCH_BYTES_MIN - 1, false), (1, SHARED_BATCH_BYTES_MIN, true)] {
        let lone = batch(base, 1, len);
        let sent = lone.bytes.body.as_ptr();
        cache.append(S, &placed(8192 * base, vec![lone]));
        let range = OffsetRange::new(Offset(base), Offset(base + 1));
        let [Run { body: Body::Memory(kept), place, .. }] = &cache.runs(S, wal(), range)[..] else { panic!("one run") };
        assert_eq!(kept.body.as_ptr() == sent, keeps, "{len} bytes");
        assert_eq!(place.crc, crc32c(&[&kept.head[..], &kept.body[..]].concat()), "{len} bytes");
    }
}

/// One batch that is stored beside much that is refused would keep all of it in memory, counted as the one.
#[test]
fn a_batch_that_is_a_small_part_of_what_its_frame_was_taken_for_is_copied() {
    let mut cache = LogCache::new(1 << 20);
    let len = JOINED_BATCH_BYTES_MAX;
    for (base, others, keeps) in [(0, 0, false), (1, len, true)] {
        let frame = FrameUse::new(4 * len);
        let lone = NumberedBatch { frame: Some(frame.clone()), ..batch(base, 1, len) };
        let sent = lone.bytes.body.as_ptr();
        frame.accept(len);
        frame.accept(others);
        cache.append(S, &placed(32_768 * base, vec![lone]));
        let range = OffsetRange::new(Offset(base), Offset(base + 1));
        let [Run { body: Body::Memory(kept), .. }] = &cache.runs(S, wal(), range)[..] else { panic!("one run") };
        assert_eq!(kept.body.as_ptr() == sent, keeps, "{others} bytes beside it");
    }
}

/// A frame's memory, which tells when it is free.
struct Memory(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// The batches of one request, of so many bytes each and with these base offsets; all are stored. `in_memory` counts the frame while it is.
fn one_frame(bases: &[u64], len: usize, in_memory: &Arc<AtomicUsize>) -> Vec<NumberedBatch> {
    let bytes: Vec<u8> = bases.iter().flat_map(|base| crate::testing::batch_bytes(*base, 1, len)).collect();
    in_memory.fetch_add(bytes.len(), Ordering::Relaxed);
    let frame = FrameUse::new(bytes.len());
    frame.accept(bytes.len());
    let bytes = Bytes::from_owner(Memory(bytes, in_memory.clone()));
    let part = |(index, base): (usize, &u64)| {
        let own = bytes.slice(index * len..(index + 1) * len);
        // As the broker does: the head is made anew.
        let head = Bytes::copy_from_slice(&own[..16]);
        NumberedBatch {
            bytes: BatchBytes { head, body: own.slice(16..) },
            frame: Some(frame.clone()),
            ..batch(*base, 1, len)
        }
    };
    bases.iter().enumerate().map(part).collect()
}

/// Puts the batches of one frame into these streams, one each.
fn append_to(cache: &mut LogCache, streams: Range<u64>, position: u64, batches: Vec<NumberedBatch>) {
    let places = placed(position, batches);
    for (stream, one) in streams.zip(&places) {
        cache.append(StreamId(stream), std::slice::from_ref(one));
    }
}

#[test]
fn a_frame_counts_until_the_last_of_its_batches_has_left() {
    let (in_memory, len) = (Arc::default(), 2 * SHARED_BATCH_BYTES_MIN);
    let mut cache = LogCache::new(0);
    append_to(&mut cache, 0..4, 0, one_frame(&[0; 4], len, &in_memory));
    assert_eq!(cache.memory_bytes(), 4 * (len as u64 + RUN_OVERHEAD_BYTES));
    cache.trimmed(StreamId(1), Offset(1));
    cache.dropped(StreamId(0));
    cache.dropped(StreamId(3));
    assert_eq!(in_memory.load(Ordering::Relaxed), 4 * len, "the last one keeps the frame");
    assert_eq!(cache.memory_bytes(), 4 * len as u64 + RUN_OVERHEAD_BYTES);
    cache.dropped(StreamId(2));
    assert_eq!((in_memory.load(Ordering::Relaxed), cache.memory_bytes()), (0, 0));
}

/// All but one batch of each request is deleted: what is left of a hundred of them is little, their frames are not.
#[test]
fn frames_of_which_little_is_left_are_within_the_bound() {
    for may_spill in [true, false] {
        let (in_memory, len) = (Arc::default(), 2 * SHARED_BATCH_BYTES_MIN);
        let bound = 10 * 4 * len;
        let mut cache = LogCache::new(bound as u64);
        for request in 0..100 {
            append_to(&mut cache, 0..4, 4 * request * len as u64, one_frame(&[request; 4], len, &in_memory));
            for stream in 1..4 {
                cache.trimmed(StreamId(stream), Offset(request + 1));
            }
            cache.fit(|_, _| Offset(0), |_| may_spill);
            let frames = in_memory.load(Ordering::Relaxed);
            assert!(frames <= bound, "{frames} bytes after request {request}, may_spill: {may_spill}");
            assert!(frames as u64 <= cache.memory_bytes(), "{frames} bytes after request {request}");
        }
        assert_eq!(cache.run_end(StreamId(0), Offset(0)), Some(Offset(1)), "what is left can be read");
    }
}

/// Whatever leaves in whatever order: what is counted is no less than what is in memory.
#[test]
fn random_frames_are_counted_for_as_long_as_they_are_in_memory() {
    const LENS: [usize; 3] = [100, SHARED_BATCH_BYTES_MIN, 2 * SHARED_BATCH_BYTES_MIN];
    for seed in 0..60 {
        let mut random = Seed::new(seed);
        let in_memory = Arc::default();
        let mut cache = LogCache::new(random.below(100_000));
        let (mut next, mut position) = ([0_u64; 6], 0_u64);
        for _ in 0..200 {
            let stream = random.below(6);
            let at = usize::try_from(stream).unwrap();
            match random.below(8) {
                0..4 => {
                    let streams = stream..random.between(stream + 1, 6);
                    let len = LENS[usize::try_from(random.below(3)).unwrap()];
                    let of_frame = &mut next[at..usize::try_from(streams.end).unwrap()];
                    append_to(&mut cache, streams, position, one_frame(of_frame, len, &in_memory));
                    of_frame.iter_mut().for_each(|next| *next += 1);
                    position += (of_frame.len() * len) as u64;
                }
                4 => cache.trimmed(StreamId(stream), Offset(next[at])),
                5 => cache.dropped(StreamId(stream)),
                6 => {
                    let (committed, spills) = (random.below(200), random.below(2) == 0);
                    cache.fit(|_, _| Offset(committed), |_| spills);
                }
                _ => cache.fit(|_, _| Offset(0), |_| true),
            }
            let frames = in_memory.load(Ordering::Relaxed) as u64;
            assert!(frames <= cache.memory_bytes(), "seed {seed}: {frames} bytes, {} counted", cache.memory_bytes());
        }
        cache.fit(|_, _| Offset(0), |_| true);
        assert!(cache.memory_bytes <= cache.bytes_max, "seed {seed}: there is always something that can leave");
        for stream in 0..6 {
            cache.dropped(StreamId(stream));
        }
        assert_eq!((in_memory.load(Ordering::Relaxed), cache.memory_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn reads_whole_batches_and_never_at_or_beyond_the_confirmed_offset() {
    let mut cache = LogCache::new(1 << 20);
    cache.append(S, &placed(0, vec![batch(0, 5, 100), batch(5, 5, 100)]));
    cache.append(S, &placed(4096, vec![batch(10, 5, 100)]));
    assert_eq!(len_of(&cache.read(S, Offset(7), Offset(15), 1000)), 200);
    assert_eq!(len_of(&cache.read(S, Offset(0), Offset(15), 1)), 100, "at least one whole batch");
    assert_eq!(len_of(&cache.read(S, Offset(0), Offset(10), 1000)), 200);
    assert_eq!(cache.read(S, Offset(15), Offset(15), 1000), Lookup::Miss);
    assert_eq!(cache.read(StreamId(8), Offset(0), Offset(15), 1000), Lookup::Miss);
}

#[test]
fn what_is_trimmed_before_memory_is_short_leaves_nothing_behind() {
    let mut cache = LogCache::new(1 << 20);
    cache.append(StreamId(1), &placed(0, vec![batch(0, 1, 100)]));
    for base in 0..10_000 {
        cache.append(S, &placed(4096 * (base + 1), vec![batch(base, 1, 100)]));
        cache.trimmed(S, Offset(base));
    }
    assert!(cache.oldest.len() <= OLDEST_SPARE + 4, "{} entries", cache.oldest.len());
    assert_eq!(cache.oldest.front(), Some(&(StreamId(1), Offset(0))), "what is in memory keeps its turn");
    assert_eq!(cache.memory_runs, 2);
}

#[test]
fn beyond_the_bound_committed_runs_go_and_others_are_spilled_and_joined() {
    let mut cache = LogCache::new(0);
    cache.append(S, &placed(0, vec![batch(0, 1, 100)]));
    cache.append(S, &placed(4096, vec![batch(1, 1, JOINED_BATCH_BYTES_MAX), batch(2, 1, 100)]));
    cache.fit(|_, _| Offset(1), |_| true);
    assert_eq!(cache.read(S, Offset(0), Offset(3), 10), Lookup::Miss, "committed and evicted");
    let bytes =
        [crate::testing::batch_bytes(1, 1, JOINED_BATCH_BYTES_MAX), crate::testing::batch_bytes(2, 1, 100)].concat();
    let len = u32::try_from(bytes.len()).unwrap();
    let place = Place { wal: wal(), position: WalPosition(4096), len, crc: crc32c(&bytes) };
    let range = OffsetRange::new(Offset(1), Offset(3));
    assert_eq!(cache.read(S, Offset(2), Offset(3), 10), Lookup::Spilled(place, range));
    assert!(cache.stands(S, place, range));
    let part = Place { position: WalPosition(4096 + JOINED_BATCH_BYTES_MAX as u64), len: 100, ..place };
    assert!(cache.stands(S, part, OffsetRange::new(Offset(2), Offset(3))), "as it was before it was joined");
    assert_eq!(cache.memory_bytes(), RUN_OVERHEAD_BYTES);
    cache.committed(S, wal(), Offset(3));
    assert!(!cache.stands(S, place, range), "its place may be overwritten from now on");
    assert_eq!(cache.memory_bytes(), 0);
}

#[test]
fn recovered_runs_come_before_the_new_tenure_whatever_is_committed_first() {
    let mut cache = LogCache::new(0);
    let old = WalId { node_epoch: base::NodeEpoch(1), index: base::WalIndex(0) };
    let run = Run {
        range: OffsetRange::new(Offset(10), Offset(20)),
        records: 10,
        max_timestamp: UnixMillis(0),
        max_timestamp_offset: Offset(10),
        control: false,
        place: Place { wal: old, position: WalPosition(0), len: 500, crc: 0 },
        body: Body::Spilled,
        frame: None,
    };
    cache.adopt(S, run.clone());
    cache.append(S, &placed(0, vec![batch(20, 1, 100)]));
    cache.append(S, &placed(4096, vec![batch(21, 1, 100)]));
    cache.fit(|_, of| if of == old { Offset(10) } else { Offset(21) }, |_| true);
    assert_eq!(cache.read(S, Offset(20), Offset(22), 10), Lookup::Miss, "the new tenure's first run is in objects");
    assert_eq!(cache.read(S, Offset(12), Offset(22), 10), Lookup::Spilled(run.place, run.range));
    assert!(matches!(cache.read(S, Offset(21), Offset(22), 10), Lookup::Spilled(..)));
    cache.committed(S, old, Offset(20));
    assert_eq!(cache.read(S, Offset(12), Offset(22), 10), Lookup::Miss);
}

/// Against a plain list of what was appended: nothing uncommitted is ever missing, memory keeps its bound, accounts add up.
#[test]
fn random_histories_lose_nothing_and_keep_the_bound() {
    for seed in 0..200 {
        let mut random = Seed::new(seed);
        let mut cache = LogCache::new(20_000);
        let (mut next, mut position, mut committed) = ([0_u64; 3], 0_u64, [0_u64; 3]);
        for _ in 0..200 {
            let stream = usize::try_from(random.below(3)).unwrap();
            let id = StreamId(stream as u64);
            match random.below(10) {
                0..6 => {
                    let count = random.between(1, 4);
                    let sizes = (0..count).map(|_| if random.chance(100) { 17_000 } else { 61 + random.below(900) });
                    let sizes: Vec<usize> = sizes.map(|size| usize::try_from(size).unwrap()).collect();
                    let batches = sizes.iter().zip(next[stream]..).map(|(size, base)| batch(base, 1, *size)).collect();
                    cache.append(id, &placed(position, batches));
                    next[stream] += count;
                    position += sizes.iter().sum::<usize>() as u64 + random.below(2) * 64;
                }
                6 => {
                    committed[stream] = random.between(committed[stream], next[stream]);
                    cache.committed(id, wal(), Offset(committed[stream]));
                }
                7 => {
                    cache.trimmed(id, Offset(committed[stream]));
                }
                _ => cache.fit(|id, _| Offset(committed[usize::try_from(id.0).unwrap()]), |_| true),
            }
            for (stream, (from, below)) in committed.iter().zip(next).enumerate() {
                let id = StreamId(stream as u64);
                for offset in *from..below {
                    let found = cache.read(id, Offset(offset), Offset(below), 1);
                    assert_ne!(found, Lookup::Miss, "seed {seed}: stream {stream} lost {offset} of {from}..{below}");
                }
                let runs = cache.runs(id, wal(), OffsetRange::new(Offset(*from), Offset(below)));
                assert!(runs.windows(2).all(|two| two[0].range.next == two[1].range.base));
            }
        }
        cache.fit(|id, _| Offset(committed[usize::try_from(id.0).unwrap()]), |_| true);
        assert!(cache.memory_bytes <= 20_000);
        for stream in 0..3 {
            cache.dropped(StreamId(stream));
        }
        assert_eq!(cache.memory_bytes(), 0, "seed {seed}: the accounts add up");
        assert_eq!(cache.memory_runs, 0, "seed {seed}");
        assert!(cache.tails.is_empty());
    }
}

#[test]
fn a_commit_that_only_the_image_tells_yet_leaves_no_hole_before_the_next_append() {
    let mut cache = LogCache::new(0);
    cache.append(S, &placed(0, vec![batch(0, 1, 100)]));
    cache.fit(|_, _| Offset(0), |_| true);
    assert_eq!((cache.spilled_runs, cache.memory_runs), (1, 0));
    // The second one leaves memory, committed; so the first one, which is only spilled, is committed as well.
    cache.append(S, &placed(4096, vec![batch(1, 1, 100)]));
    cache.fit(|_, _| Offset(2), |_| true);
    assert_eq!((cache.spilled_runs, cache.memory_runs), (0, 0));
    cache.append(S, &placed(8192, vec![batch(2, 1, 100)]));
}

#[test]
fn a_stream_that_was_in_another_log_meanwhile_goes_on_behind_the_hole() {
    let mut cache = LogCache::new(0);
    let other = WalId { node_epoch: base::NodeEpoch(9), index: base::WalIndex(1) };
    let in_other = |position, batches| {
        let mut placed = placed(position, batches);
        placed.iter_mut().for_each(|it| it.place.wal = other);
        placed
    };
    cache.append(S, &placed(0, vec![batch(0, 1, 100)]));
    cache.append(S, &in_other(0, vec![batch(1, 1, 100)]));
    cache.fit(|_, of| if of == other { Offset(2) } else { Offset(0) }, |_| true);
    cache.append(S, &placed(4096, vec![batch(2, 1, 100)]));
    assert!(matches!(cache.read(S, Offset(0), Offset(3), 10), Lookup::Spilled(..)));
    assert_eq!(cache.read(S, Offset(1), Offset(3), 10), Lookup::Miss, "committed from the other log, and evicted");
    assert!(matches!(cache.read(S, Offset(2), Offset(3), 10), Lookup::Memory(..)));
}

#[test]
fn what_its_log_can_t_give_back_stays_in_memory_and_leaves_when_it_is_committed() {
    let mut cache = LogCache::new(0);
    cache.append(S, &placed(0, vec![batch(0, 1, 100)]));
    cache.append(StreamId(1), &placed(4096, vec![batch(0, 1, 100)]));
    cache.fit(|id, _| if id == S { Offset(0) } else { Offset(1) }, |_| false);
    assert_eq!((cache.spilled_runs, cache.memory_runs), (0, 1));
    assert!(matches!(cache.read(S, Offset(0), Offset(1), 10), Lookup::Memory(..)));
    cache.fit(|_, _| Offset(1), |_| false);
    assert_eq!((cache.memory_bytes(), cache.memory_runs), (0, 0));
}
