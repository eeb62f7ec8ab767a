//! Dead logs that are recovered without a broker that serves: every kind, moved elsewhere, beside a living broker.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod support;

use support::layer::{Layer, Over};
use support::logs::{Device, both, choose, indexes, moved, on_device, start_logs_at};
use support::*;

use async_trait::async_trait;
use base::{Offset, OffsetRange, StreamId, WalId, WalIndex};
use bytes::Bytes;
use control::LedgerOptions;
use control_core::WalState;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::wal::{FoundRing, ring_path, rings_at};
use stream::{LogOutcome, RecoverLogs, Standing, Store, WalTarget, logs_to_recover, recover_logs};
use stream_core::testing::batch;
use world::{ObjectStore, PutOutcome, StoreError, World};

fn target(root: &Path, kind: &str) -> WalTarget {
    match kind {
        "ring" => WalTarget::File { dir: root.join("wal"), bytes: 16 << 20 },
        "shared" => WalTarget::Shared { dir: root.join("wal"), bytes: 16 << 20 },
        _ => WalTarget::Storage,
    }
}

/// A broker that was killed: two partitions with 30 and 7 batches, of which nothing is uploaded.
fn killed(root: &Path, kind: &str) -> (WalId, Vec<StreamId>) {
    life(|world| async move {
        let store =
            start_with(&world, bucket(&world, root).await, target(root, kind), "a:9092", false, options()).await;
        let ids = create(&store, "t", 2).await;
        append(&store.stream(ids[0]).unwrap(), 30, 700).await;
        append(&store.stream(ids[1]).unwrap(), 7, 300).await;
        (WalId { node_epoch: store.node_epoch(), index: WalIndex(0) }, ids)
    })
}

fn request(wals: impl IntoIterator<Item = WalId>, rings: Vec<FoundRing>) -> RecoverLogs {
    RecoverLogs {
        wals: wals.into_iter().collect(),
        rings,
        choice: support::logs::choice,
        options: options(),
        ledger_options: LedgerOptions::default(),
    }
}

async fn image(world: &World, root: &Path) -> control_core::Image {
    control::read_all(bucket(world, root).await.as_ref()).await.unwrap().image
}

/// Another broker without that log serves all of it.
fn all_is_served(root: &Path, ids: &[StreamId]) {
    life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "b:9092", false, options()).await;
        for (id, count, len) in [(ids[0], 30, 700), (ids[1], 7, 300)] {
            let stream = store.stream(id).unwrap();
            assert_eq!((stream.start(), stream.confirmed()), (Offset(0), Offset(count)));
            check_all(&stream, len).await;
            append(&stream, 1, len).await;
        }
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn every_kind_of_log_is_recovered_from_wherever_it_lies() {
    for kind in ["objects", "ring", "shared"] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (wal, ids) = killed(root, kind);
        let moved: PathBuf = root.join("elsewhere");
        if kind != "objects" {
            std::fs::rename(root.join("wal"), &moved).unwrap();
        }
        let (kept, place) = (ids.clone(), moved.clone());
        life(|world| async move {
            let (ids, moved) = (kept, place);
            let before = image(&world, root).await;
            let logs = logs_to_recover(&before);
            assert_eq!(logs.len(), 1, "{kind}");
            assert_eq!((logs[0].wal, &logs[0].standing), (wal, &Standing::Alive("a:9092".to_owned())), "{kind}");
            assert_eq!(logs[0].streams, ids, "{kind}");
            let rings = match logs[0].ring_id {
                Some(ring_id) => {
                    assert!(rings_at(world.disk.as_ref(), &ring_path(&logs[0].url).unwrap()).await.is_err(), "{kind}");
                    let rings = rings_at(world.disk.as_ref(), &moved).await.unwrap();
                    assert_eq!(rings.iter().map(|ring| ring.header.ring_id).collect::<Vec<_>>(), [ring_id], "{kind}");
                    rings
                }
                None => Vec::new(),
            };
            let (outcomes, handed_on) =
                recover_logs(&world, bucket(&world, root).await, request([wal], rings)).await.unwrap();
            assert_eq!(handed_on, 0, "{kind}");
            let LogOutcome::Recovered(found) = &outcomes[&wal] else { panic!("{kind}: {outcomes:?}") };
            assert_eq!((found.records, found.bytes, found.gaps.len()), (37, 30 * 700 + 7 * 300, 0), "{kind}");
            let all = |next| OffsetRange::new(Offset(0), Offset(next));
            assert_eq!(
                found.streams.iter().map(|(id, it)| (*id, *it)).collect::<Vec<_>>(),
                [(ids[0], all(30)), (ids[1], all(7))]
            );

            let after = image(&world, root).await;
            assert!(after.wals.is_empty() && after.living().next().is_none(), "{kind}: nothing is left behind");
            assert_eq!(logs_to_recover(&after), [], "{kind}");
            assert_eq!(after.ownerless_streams(), ids, "{kind}");
            assert_eq!(after.streams[&ids[0]].committed(), Offset(30), "{kind}");
            assert_eq!(control_core::check(&after), Vec::<String>::new(), "{kind}");
            let left = std::fs::read_dir(&moved).map_or(0, |names| names.count());
            assert_eq!(
                left,
                usize::from(kind == "ring"),
                "{kind}: a shared ring goes, one that may be used again stays"
            );
        });
        all_is_served(root, &ids);
    }
}

#[test]
fn brokers_that_live_go_on_and_get_the_streams() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = life(|world| async move {
        // It has died when the other one starts, which is told that it lives.
        let dead = start_at(&world, bucket(&world, root).await, "a:9092", false, options()).await;
        let ids = create(&dead, "t", 2).await;
        append(&dead.stream(ids[0]).unwrap(), 30, 700).await;
        append(&dead.stream(ids[1]).unwrap(), 7, 300).await;
        (WalId { node_epoch: dead.node_epoch(), index: WalIndex(0) }, ids)
    });
    life(|world| async move {
        let living: Store = start_at(&world, bucket(&world, root).await, "b:9092", true, options()).await;
        let own = create(&living, "other", 1).await[0];
        append(&living.stream(own).unwrap(), 3, 200).await;
        assert!(living.stream(ids[0]).is_none(), "its owner is dead, and nobody has said so");

        let refused = request([wal], Vec::new());
        let (outcomes, handed_on) = recover_logs(&world, bucket(&world, root).await, refused).await.unwrap();
        assert!(matches!(outcomes[&wal], LogOutcome::Recovered(_)), "{outcomes:?}");
        assert_eq!(handed_on, 2);
        let after = living.ledger().refresh().await.unwrap();
        let alive: BTreeSet<_> = after.living().map(|(epoch, _)| epoch).collect();
        assert_eq!(alive, BTreeSet::from([living.node_epoch()]), "it has left");
        for (id, count, len) in [(ids[0], 30, 700), (ids[1], 7, 300)] {
            let stream = living.stream(id).unwrap();
            assert_eq!(stream.confirmed(), Offset(count));
            check_all(&stream, len).await;
            append(&stream, 1, len).await;
        }
        append(&living.stream(own).unwrap(), 3, 200).await;
        check_bucket(&world, root, &living).await;
    });
}

/// A bucket that takes no data object.
struct NoUploads(Arc<dyn ObjectStore>);

#[async_trait]
impl Layer for NoUploads {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.0
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        if key.starts_with("data/") {
            return std::future::pending().await;
        }
        self.0.put_if_absent(key, parts).await
    }
}

#[test]
fn what_is_cut_short_after_the_seal_is_finished_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = killed(root, "objects");
    life(|world| async move {
        let stuck: Arc<dyn ObjectStore> = Arc::new(Over(NoUploads(bucket(&world, root).await)));
        let recovering = recover_logs(&world, stuck, request([wal], Vec::new()));
        let cut_short = tokio::time::timeout(Duration::from_secs(2), recovering).await;
        assert!(cut_short.is_err(), "it waits for the bucket");
        let left = image(&world, root).await;
        let own = left.living().next().unwrap().0;
        assert!(matches!(left.wals[&wal].state, WalState::Sealed { recoverer, .. } if recoverer == own));
        assert_eq!(left.ownerless_streams(), killed_streams(&left), "sealed, and nobody's yet");
    });
    all_is_served(root, &ids);
}

fn killed_streams(image: &control_core::Image) -> Vec<StreamId> {
    image.topic("t").unwrap().partitions.clone()
}

#[test]
fn a_ring_that_a_process_holds_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        let id = create(&store, "t", 1).await[0];
        append(&store.stream(id).unwrap(), 3, 200).await;
        let wal = WalId { node_epoch: store.node_epoch(), index: WalIndex(0) };
        let rings = rings_at(world.disk.as_ref(), &root.join("wal")).await.unwrap();
        let before = image(&world, root).await;
        let held = recover_logs(&world, bucket(&world, root).await, request([wal], rings)).await;
        let refused = held.unwrap_err().to_string();
        assert!(refused.contains("lock") && refused.contains("ring"), "{refused}");
        assert_eq!(image(&world, root).await, before, "the ledger has heard of nothing");
        append(&store.stream(id).unwrap(), 3, 200).await;
    });
}

#[test]
fn a_log_that_is_not_here_stays_for_whoever_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = killed(root, "ring");
    life(|world| async move {
        let (outcomes, _) = recover_logs(&world, bucket(&world, root).await, request([wal], Vec::new())).await.unwrap();
        assert!(matches!(&outcomes[&wal], LogOutcome::Left(why) if why.contains("/wal/ring")), "{outcomes:?}");
        let after = image(&world, root).await;
        assert!(after.living().next().is_none() && after.wals.contains_key(&wal));
    });
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        check_all(&store.stream(ids[0]).unwrap(), 700).await;
        assert_eq!(store.stream(ids[1]).unwrap().confirmed(), Offset(7));
    });
}

/// Another broker, of two logs, that takes the one which was killed for alive.
async fn with_two_logs_beside(world: &World, root: &Path) -> Store {
    start_logs_at(world, root, "b:9092", true, both(root), options()).await
}

#[test]
fn a_recovered_stream_goes_on_in_the_log_that_its_topic_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = killed(root, "objects");
    life(|world| async move {
        let living = with_two_logs_beside(&world, root).await;
        choose(&living, "t", Some("bulk")).await;
        let (_, handed_on) =
            recover_logs(&world, bucket(&world, root).await, request([wal], Vec::new())).await.unwrap();
        assert_eq!(handed_on, 2);
        living.ledger().refresh().await.unwrap();
        assert_eq!(indexes(&living, "t"), [1, 1]);
        let stream = living.stream(ids[0]).unwrap();
        append(&stream, 1, 700).await;
        check_all(&stream, 700).await;
    });
}

#[test]
fn a_stream_that_comes_to_a_start_in_another_log_than_its_own_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = killed(root, "objects");
    life(|world| async move {
        let living = with_two_logs_beside(&world, root).await;
        choose(&living, "t", Some("bulk")).await;
        // A recoverer that does not know what topics choose.
        let request = RecoverLogs { choice: |_, _| None, ..request([wal], Vec::new()) };
        recover_logs(&world, bucket(&world, root).await, request).await.unwrap();
        living.ledger().refresh().await.unwrap();
        assert_eq!(indexes(&living, "t"), [0, 0]);
        append(&living.stream(ids[0]).unwrap(), 1, 700).await;
        moved(&living, "t", 1).await;
        check_all(&living.stream(ids[0]).unwrap(), 700).await;
    });
}

#[test]
fn a_recovered_stream_goes_to_no_log_that_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = killed(root, "objects");
    life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let living = with_two_logs_beside(&world, root).await;
        let own = create(&living, "own", 1).await[0];
        device.fail();
        assert!(enqueue(&living.stream(own).unwrap(), batch(0, 1, 100)).await.is_err(), "its fate is unknown");
        until("it goes on", || indexes(&living, "own") == [1]).await;
        let (_, handed_on) =
            recover_logs(&world, bucket(&world, root).await, request([wal], Vec::new())).await.unwrap();
        assert_eq!(handed_on, 2);
        living.ledger().refresh().await.unwrap();
        assert_eq!(indexes(&living, "t"), [1, 1]);
        append(&living.stream(ids[0]).unwrap(), 1, 700).await;
    });
}
