//! What Kafka's log compaction asks of a stream: scans, rewrites part by part, and a cleaned end that outlives a start.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::*;

use base::{Offset, OffsetRange, StreamId, UnixMillis};
use bytes::{Bytes, BytesMut};
use control_core::{Command, NewObject, Outcome, Reference, Swap};
use std::path::Path;
use std::time::Duration;
use stream::{Blocks, ReadError, Store};
use stream_core::testing::{batch, batch_bytes};
use stream_core::walk;
use stream_core::{BatchBytes, NumberedBatch};
use world::World;

const ANY_RATE: u64 = u64::MAX;
const RECORD_BYTES: usize = 1000;

/// A stream with so many batches in objects, beside one that shares them.
async fn filled(store: &Store, batches: u64) -> StreamId {
    let [id, other] = create(store, "a", 2).await[..] else { panic!("two") };
    for round in 1..=batches / 10 {
        append(&store.stream(id).unwrap(), 10, RECORD_BYTES).await;
        append(&store.stream(other).unwrap(), 1, RECORD_BYTES).await;
        until("it is uploaded", || store.ledger().image().streams[&id].committed() == Offset(round * 10)).await;
    }
    id
}

/// Those batches of a run that are wanted, and their offsets.
fn chosen(run: &Bytes, wanted: impl Fn(u64) -> bool) -> (Bytes, Vec<u64>) {
    let (mut kept, mut offsets) = (BytesMut::new(), Vec::new());
    for batch in walk::walk(run) {
        let batch = batch.unwrap();
        if wanted(batch.range.base.0) {
            kept.extend_from_slice(&run[batch.at..batch.at + batch.len]);
            offsets.push(batch.range.base.0);
        }
    }
    (kept.freeze(), offsets)
}

async fn keep_only(store: &Store, id: StreamId, below: u64, wanted: impl Fn(u64) -> bool) -> Result<u64, ReadError> {
    let stream = store.stream(id).unwrap();
    let mut rewrite = stream.rewrite(Offset(below), ANY_RATE);
    let mut given = 0;
    while let Some(run) = rewrite.next().await? {
        given += run.len() as u64;
        rewrite.keep(chosen(&run, &wanted).0, false).await?;
    }
    Ok(given)
}

async fn scanned(store: &Store, id: StreamId, base: u64, next: u64) -> Vec<u64> {
    let stream = store.stream(id).unwrap();
    let mut scan = stream.scan(OffsetRange::new(Offset(base), Offset(next)), Blocks::All, ANY_RATE);
    rest_of(&mut scan).await
}

/// The offsets of the batches that a scan gives out from where it is.
async fn rest_of(scan: &mut stream::Scan<'_>) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Some(run) = scan.next().await.unwrap() {
        offsets.extend(chosen(&run, |_| true).1);
    }
    offsets
}

async fn read(store: &Store, id: StreamId) -> Vec<u64> {
    let stream = store.stream(id).unwrap();
    let (mut next, mut offsets) = (stream.start(), Vec::new());
    while next < stream.confirmed() {
        let batches = stream.read(next, 5000).await.unwrap();
        assert!(batches.next > next, "it goes on");
        let bytes: Vec<u8> = batches.pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        offsets.extend(chosen(&bytes.into(), |_| true).1);
        next = batches.next;
    }
    offsets
}

fn references(store: &Store, id: StreamId) -> Vec<(u64, u64)> {
    let stored = store.stream(id).unwrap().stored();
    stored.iter().map(|part| (part.range.base.0, part.range.next.0)).collect()
}

#[test]
fn what_is_taken_out_is_gone_for_readers_and_scans_and_the_rest_is_where_it_was() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let even: Vec<u64> = (0..200).filter(|offset| offset % 2 == 0 || *offset >= 150).collect();
        let id = life(|world| async move {
            let store = start(&world, root, kind, eager(NEVER)).await;
            let id = filled(&store, 200).await;
            assert_eq!(scanned(&store, id, 0, 200).await, (0..200).collect::<Vec<_>>());
            assert_eq!(scanned(&store, id, 15, 33).await, (15..33).collect::<Vec<_>>());
            let wanted = |offset: u64| offset.is_multiple_of(2) || offset >= 150;
            keep_only(&store, id, 150, wanted).await.unwrap();
            store.stream(id).unwrap().set_cleaned(Offset(150)).await.unwrap();
            let even: Vec<u64> = (0..200).filter(|offset| wanted(*offset)).collect();
            assert_eq!(scanned(&store, id, 0, 200).await, even);
            assert_eq!(read(&store, id).await, even);
            let covered = references(&store, id);
            assert!(covered.windows(2).all(|pair| pair[0].1 == pair[1].0), "{covered:?}");
            assert_eq!((covered[0].0, covered[covered.len() - 1].1), (0, 200));
            assert!(covered.len() > 2 && covered.len() < 20, "in parts, and fewer than before: {covered:?}");
            id
        });
        life(|world| async move {
            let store = start(&world, root, kind, eager(Duration::from_millis(10))).await;
            assert_eq!(store.stream(id).unwrap().cleaned(), Offset(150));
            assert_eq!(read(&store, id).await, even);
            // Merges go on over what was cleaned.
            append(&store.stream(id).unwrap(), 1, RECORD_BYTES).await;
            until("the other stream's dead bytes are gone", || store.compaction().jobs > 0).await;
            assert_eq!(read(&store, id).await[..even.len()], even[..]);
            check_bucket(&world, root, &store).await;
        });
    }
}

#[test]
fn a_part_of_which_everything_stays_is_left_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let id = filled(&store, 40).await;
        let before = references(&store, id);
        let read = keep_only(&store, id, 40, |_| true).await.unwrap();
        assert_eq!(read, 40 * RECORD_BYTES as u64);
        assert_eq!(references(&store, id), before);
        assert_eq!(store.compaction().written_bytes, 0);
        keep_only(&store, id, 40, |_| false).await.unwrap();
        store.stream(id).unwrap().set_cleaned(Offset(40)).await.unwrap();
        assert_eq!((self::read(&store, id).await, references(&store, id)), (vec![], vec![(0, 40)]));
        append(&store.stream(id).unwrap(), 1, RECORD_BYTES).await;
        assert_eq!(self::read(&store, id).await, [40], "readers go over what is gone");
        check_bucket(&world, root, &store).await;
    });
}

/// Has an object with the same batches, a block each, take the place of one reference, as a merge by another start does. Answers the
/// one whose place it takes.
async fn copy_by_hand(
    world: &World,
    root: &Path,
    store: &Store,
    id: StreamId,
    which: impl Fn(&[Reference]) -> Reference,
) -> base::ObjectId {
    let all: Vec<Reference> = store.ledger().image().streams[&id].references.values().copied().collect();
    let old = which(&all);
    let counter = old.object.counter.max(1 << 40) + 1;
    let same = base::ObjectId { node_epoch: store.node_epoch(), counter };
    let mut builder = stream_core::object::ObjectBuilder::merged(same, 1);
    for offset in old.range.base.0..old.range.next.0 {
        builder.push(id, base::StreamEpoch(0), &batch(offset, 1, RECORD_BYTES));
    }
    let object = builder.finish();
    bucket(world, root).await.put_if_absent(&stream::data_key(same), object.parts).await.unwrap();
    let replace = Command::Replace {
        writer: store.node_epoch(),
        min_counter: 0,
        objects: vec![NewObject { id: same, size: object.size, data_bytes: old.bytes }],
        swaps: vec![Swap {
            stream: id,
            old: vec![(old.object, old.range)],
            new: vec![Reference { object: same, ..old }],
        }],
    };
    assert_eq!(store.ledger().submit(replace).await.unwrap(), Outcome::Replaced { swaps: vec![true] });
    old.object
}

async fn delete(world: &World, root: &Path, object: base::ObjectId) {
    bucket(world, root).await.delete(&[stream::data_key(object)]).await.unwrap();
}

#[test]
fn what_others_merge_between_two_parts_is_read_where_it_is_then() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let id = filled(&store, 200).await;
        let stream = store.stream(id).unwrap();
        let mut rewrite = stream.rewrite(Offset(200), ANY_RATE);
        // The last part of several has another place by the time that it is read.
        let first = rewrite.next().await.unwrap().unwrap();
        copy_by_hand(&world, root, &store, id, |references| *references.last().unwrap()).await;
        rewrite.keep(chosen(&first, |offset| offset % 4 != 3).0, false).await.unwrap();
        while let Some(run) = rewrite.next().await.unwrap() {
            rewrite.keep(chosen(&run, |offset| offset % 4 != 3).0, false).await.unwrap();
        }
        assert!(store.compaction().swaps > 1, "in several parts");
        let stays: Vec<u64> = (0..200).filter(|offset| offset % 4 != 3).collect();
        assert_eq!(scanned(&store, id, 0, 200).await, stays);
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn what_others_merge_and_delete_while_a_scan_is_under_way_is_read_where_it_is_then() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let id = filled(&store, 200).await;
        let stream = store.stream(id).unwrap();
        let mut scan = stream.scan(OffsetRange::new(Offset(0), Offset(200)), Blocks::All, ANY_RATE);
        let mut offsets = chosen(&scan.next().await.unwrap().unwrap(), |_| true).1;
        // The last part of several has another place by the time that it is read, and the old one is gone.
        let old = copy_by_hand(&world, root, &store, id, |references| *references.last().unwrap()).await;
        delete(&world, root, old).await;
        offsets.extend(rest_of(&mut scan).await);
        assert_eq!(offsets, (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_merged_and_deleted_while_it_is_scanned_is_read_on_elsewhere_and_what_is_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let [id] = create(&store, "a", 1).await[..] else { panic!("one") };
        append(&store.stream(id).unwrap(), 10, RECORD_BYTES).await;
        until("it is uploaded", || store.ledger().image().streams[&id].committed() == Offset(10)).await;
        copy_by_hand(&world, root, &store, id, |references| references[0]).await;
        let stream = store.stream(id).unwrap();
        let mut scan = stream.scan(OffsetRange::new(Offset(0), Offset(10)), Blocks::All, ANY_RATE);
        let mut offsets = chosen(&scan.next().await.unwrap().unwrap(), |_| true).1;
        assert_eq!(offsets, [0], "a batch in each block, and some blocks in a request");
        let old = copy_by_hand(&world, root, &store, id, |references| references[0]).await;
        delete(&world, root, old).await;
        offsets.extend(rest_of(&mut scan).await);
        assert_eq!(offsets, (0..10).collect::<Vec<_>>());
        delete(&world, root, store.ledger().image().streams[&id].references.values().next().unwrap().object).await;
        let mut scan = stream.scan(OffsetRange::new(Offset(0), Offset(10)), Blocks::All, ANY_RATE);
        assert!(matches!(scan.next().await, Err(ReadError::Trouble(_))));
    });
}

#[test]
fn a_part_that_has_changed_meanwhile_is_not_touched_and_nothing_behind_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let id = filled(&store, 200).await;
        let stream = store.stream(id).unwrap();
        let mut slow = stream.rewrite(Offset(200), ANY_RATE);
        let first = slow.next().await.unwrap().unwrap();
        slow.keep(chosen(&first, |offset| offset != 3).0, false).await.unwrap();
        // It holds the turn until a part is handed in, so somebody else's cleaning comes by another start in practice; here by hand.
        copy_by_hand(&world, root, &store, id, |references| references[0]).await;
        let refused = loop {
            match slow.next().await {
                Ok(Some(run)) => slow.keep(chosen(&run, |offset| offset % 2 == 0).0, false).await.unwrap(),
                Ok(None) => panic!("it is refused"),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, ReadError::Trouble(_)), "{refused}");
        assert_eq!(scanned(&store, id, 0, 200).await, (0..200).collect::<Vec<_>>());
        // The next one begins anew, and the turn is free.
        keep_only(&store, id, 200, |offset| offset != 3).await.unwrap();
        assert_eq!(scanned(&store, id, 0, 200).await.len(), 199);
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn what_a_trim_has_passed_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let id = filled(&store, 100).await;
        store.stream(id).unwrap().trim(Offset(35)).await.unwrap();
        keep_only(&store, id, 100, |offset| {
            assert!(offset >= 35, "{offset} is gone");
            offset % 5 == 0
        })
        .await
        .unwrap();
        assert_eq!(scanned(&store, id, 0, 100).await, (35..100).filter(|offset| offset % 5 == 0).collect::<Vec<_>>());
        assert_eq!(
            store.stream(id).unwrap().set_cleaned(Offset(101)).await,
            Err(ReadError::Corrupt("101 lies beyond the committed end 100".to_owned()))
        );
        check_bucket(&world, root, &store).await;
    });
}

/// A record without a time that has arrived at this one.
fn timeless(base: u64, arrived: i64) -> NumberedBatch {
    let mut bytes = batch_bytes(base, 1, RECORD_BYTES);
    bytes[35..43].copy_from_slice(&(-1_i64).to_be_bytes());
    let bytes = BatchBytes::whole(bytes.into());
    NumberedBatch { bytes, max_timestamp: UnixMillis(arrived).arrival(), ..batch(base, 1, RECORD_BYTES) }
}

#[test]
fn records_without_a_time_age_from_their_arrival_after_a_rewrite_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, eager(NEVER)).await;
        let [id, mixed] = create(&store, "a", 2).await[..] else { panic!("two") };
        let mut confirmations = Vec::new();
        for n in 0..20 {
            confirmations.push(enqueue(&store.stream(id).unwrap(), timeless(n, 1000 + n.cast_signed())));
            let beside = if n % 2 == 0 { batch(n, 1, RECORD_BYTES) } else { timeless(n, 1000) };
            confirmations.push(enqueue(&store.stream(mixed).unwrap(), beside));
        }
        for confirmation in confirmations {
            confirmation.await.unwrap();
        }
        let committed = |id| store.ledger().image().streams[&id].committed();
        until("it is uploaded", || [id, mixed].map(committed) == [Offset(20); 2]).await;
        for twice in 0..2 {
            keep_only(&store, id, 20, |offset| offset % 4 != twice).await.unwrap();
            let ages_from = |part: &stream::StoredPart| part.max_timestamp.ages_from();
            let latest = store.stream(id).unwrap().stored().iter().filter_map(ages_from).max();
            assert_eq!(latest, Some(UnixMillis(1019)), "it stays the same, however often that is done");
        }
        let start_of = |id, before| store.stream(id).unwrap().retention_start(None, Some(UnixMillis(before)));
        assert_eq!((start_of(id, 1019), start_of(id, 1020)), (Offset(0), Offset(20)));
        // Of those that stood beside others with a time it is not known, but when it was at the latest.
        let began = world.clock.wall();
        keep_only(&store, mixed, 20, |offset| offset % 2 == 1).await.unwrap();
        assert_eq!((start_of(mixed, began.0), start_of(mixed, began.0 + 3_600_000)), (Offset(0), Offset(20)));
        check_bucket(&world, root, &store).await;
    });
}
