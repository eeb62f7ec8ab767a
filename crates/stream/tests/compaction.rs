//! Compaction on a real disk: objects become few, every byte stays, coverage without batches is carried over and read over.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::*;

use base::{ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis};
use control_core::{Command, NewObject, Outcome, Reference, Swap};
use futures::future::BoxFuture;
use std::time::Duration;
use stream::{Store, data_key, fsck};
use stream_core::object::ObjectBuilder;
use stream_core::testing::batch;
use world::{ObjectStore, PutOutcome};

fn parts(store: &Store, stream: StreamId) -> Vec<(u64, u64)> {
    let image = store.ledger().image();
    let references = image.streams[&stream].references.values();
    references.map(|reference| (reference.range.base.0, reference.range.next.0)).collect()
}

#[test]
fn many_small_objects_become_few_and_nothing_changes_for_readers() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let streams = life(|world| async move {
            let store = start(&world, root, kind, eager(Duration::from_millis(10))).await;
            let streams = create(&store, "a", 4).await;
            for round in 1..=40 {
                for id in &streams {
                    append(&store.stream(*id).unwrap(), 3, 150).await;
                }
                let committed =
                    || streams.iter().all(|id| store.ledger().image().streams[id].committed().0 == round * 3);
                until("the round is uploaded", committed).await;
            }
            until("there are few objects", || store.ledger().image().objects.len() <= 10).await;
            let used = store.compaction();
            assert!(used.jobs > 0 && used.objects_out < used.objects_in && used.swaps > 0, "{used:?}");
            for id in &streams {
                assert!(parts(&store, *id).len() <= 10, "{:?}", parts(&store, *id));
                check_all(&store.stream(*id).unwrap(), 150).await;
            }
            streams
        });
        // Nothing is in memory now.
        life(|world| async move {
            let store = start(&world, root, kind, eager(NEVER)).await;
            for id in &streams {
                check_all(&store.stream(*id).unwrap(), 150).await;
            }
            check_bucket(&world, root, &store).await;
        });
    }
}

/// A check takes long, and brokers go on: what was merged and deleted under its eyes is not lost, and what is lost still is.
#[test]
fn a_check_knows_what_was_replaced_from_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(Duration::from_millis(10))).await;
        let [id] = create(&store, "a", 1).await[..] else { panic!("one") };
        let image = || store.ledger().image();
        let mut early = None;
        for round in 1..=20 {
            append(&store.stream(id).unwrap(), 3, 150).await;
            until("the round is uploaded", || image().streams[&id].committed().0 == round * 3).await;
            early = early.or_else(|| Some(image()));
        }
        let early = early.unwrap();
        let is_live = |object: &ObjectId| image().objects.contains_key(object);
        until("what was there early is merged", || !early.objects.keys().any(is_live)).await;
        let bucket = bucket(&world, root).await;
        let gone: Vec<String> = early.objects.keys().map(|object| data_key(*object)).collect();
        bucket.delete(&gone).await.unwrap();
        let newest = || -> BoxFuture<'_, _> { Box::pin(store.ledger().refresh()) };
        let report = fsck(&bucket, &early, &newest).await.unwrap();
        assert_eq!((report.problems, report.replaced), (Vec::new(), gone.len()));

        let mut now = store.ledger().refresh().await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let later = store.ledger().refresh().await.unwrap();
            // Nothing is merged any more.
            if later.objects == now.objects {
                break;
            }
            now = later;
        }
        let lost = *now.objects.keys().next_back().unwrap();
        bucket.delete(&[data_key(lost)]).await.unwrap();
        let report = fsck(&bucket, &now, &newest).await.unwrap();
        let told = report.problems.iter().any(|it| *it == format!("object {lost} is referenced and not in the bucket"));
        assert!(told, "{:?}", report.problems);
    });
}

#[test]
fn a_long_stream_leaves_for_objects_of_its_own_and_a_dead_share_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(Duration::from_millis(10))).await;
        let [long, short] = create(&store, "a", 2).await[..] else { panic!("two") };
        for round in 1..=30 {
            append(&store.stream(long).unwrap(), 2, 1000).await;
            append(&store.stream(short).unwrap(), 1, 100).await;
            let image = || store.ledger().image();
            until("the round is uploaded", || image().streams[&short].committed().0 == round).await;
            until("the round is uploaded", || image().streams[&long].committed().0 == round * 2).await;
        }
        let alone = || {
            let image = store.ledger().image();
            let own = image.objects.values().filter(|object| object.references == 1 && object.data_bytes >= 16_000);
            own.count()
        };
        until("it has objects of its own", || alone() > 0).await;

        let shared = || {
            let image = store.ledger().image();
            let sizes = image.objects.values().map(|object| object.data_bytes);
            sizes.sum::<u64>()
        };
        let before = shared();
        store.stream(long).unwrap().trim(Offset(59)).await.unwrap();
        until("what was trimmed is in no object", || shared() <= before - 50_000).await;
        check_all(&store.stream(long).unwrap(), 1000).await;
        check_all(&store.stream(short).unwrap(), 100).await;
        check_bucket(&world, root, &store).await;
    });
}

/// What a cleaner of records will do: the same coverage, fewer batches.
async fn clean(bucket: &dyn ObjectStore, store: &Store, stream: StreamId, kept: &[(u64, u64, u64)]) {
    let image = store.ledger().image();
    let old = image.streams[&stream].references.values().map(|reference| (reference.object, reference.range)).collect();
    let id = ObjectId { node_epoch: store.node_epoch(), counter: 1 << 40 };
    let mut builder = ObjectBuilder::merged(id, 1);
    let mut new: Vec<Reference> = Vec::new();
    for (base, next, at) in kept {
        let range = OffsetRange::new(Offset(*base), Offset(*next));
        let batch = batch(*at, 1, 150);
        let run = stream_core::object::Run {
            range,
            bytes: batch.bytes,
            records: 1,
            max_timestamp: batch.max_timestamp,
            max_timestamp_offset: Offset(*at),
            control: false,
        };
        builder.push_run(stream, StreamEpoch(0), &run);
        let (bytes, max_timestamp) = (150, batch.max_timestamp);
        new.push(Reference { object: id, range, bytes, records: 1, max_timestamp, max_timestamp_offset: Offset(*at) });
    }
    let (from, end) = (kept[kept.len() - 1].1, store.stream(stream).unwrap().confirmed());
    let nothing = Reference { bytes: 0, records: 0, max_timestamp: UnixMillis(-1), ..new[0] };
    new.push(Reference { range: OffsetRange::new(Offset(from), end), ..nothing });
    let object = builder.finish();
    assert_eq!(bucket.put_if_absent(&data_key(id), object.parts).await.unwrap(), PutOutcome::Created);
    let replace = Command::Replace {
        writer: store.node_epoch(),
        min_counter: 0,
        objects: vec![NewObject { id, size: object.size, data_bytes: 150 * kept.len() as u64 }],
        swaps: vec![Swap { stream, old, new }],
    };
    assert_eq!(store.ledger().submit(replace).await.unwrap(), Outcome::Replaced { swaps: vec![true] });
}

async fn offsets_read(store: &Store, stream: StreamId) -> (Vec<u64>, u64) {
    let stream = store.stream(stream).unwrap();
    let mut next = Offset(0);
    let mut found = Vec::new();
    while next < stream.confirmed() {
        let batches = stream.read(next, 1).await.unwrap();
        assert!(batches.next > next, "it goes on");
        found.extend(batches.pieces.iter().map(|piece| u64::from_be_bytes(piece[..8].try_into().unwrap())));
        next = batches.next;
    }
    (found, next.0)
}

#[test]
fn readers_go_over_offsets_that_have_no_batches_and_merges_keep_them_covered() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let stream = life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let stream = create(&store, "a", 1).await[0];
        append(&store.stream(stream).unwrap(), 30, 150).await;
        until("it is uploaded", || store.ledger().image().streams[&stream].committed().0 == 30).await;
        clean(&*bucket(&world, root).await, &store, stream, &[(0, 10, 3), (10, 20, 15)]).await;
        stream
    });
    // Cold, then merged with what comes behind.
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        assert_eq!(offsets_read(&store, stream).await, (vec![3, 15], 30));
        check_bucket(&world, root, &store).await;
    });
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(Duration::from_millis(10))).await;
        for round in 1..=4 {
            append(&store.stream(stream).unwrap(), 1, 150).await;
            until("it is uploaded", || store.ledger().image().streams[&stream].committed().0 == 30 + round).await;
        }
        until("they are merged", || parts(&store, stream).len() <= 2).await;
        assert_eq!(parts(&store, stream)[0].0, 0, "from the start on");
        assert_eq!(offsets_read(&store, stream).await, (vec![3, 15, 30, 31, 32, 33], 34));
    });
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        assert_eq!(offsets_read(&store, stream).await, (vec![3, 15, 30, 31, 32, 33], 34));
        check_bucket(&world, root, &store).await;
    });
}
