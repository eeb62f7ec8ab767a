//! A store's life on a real disk, for both WAL kinds: append, confirm, read, upload, read from objects, crash, restart, clean stop.
//!
//! Each life runs on a runtime of its own, whose end drops every task at once, as a kill does: nothing is drained unless asked for.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::layer::{Layer, Over};
use crate::support::*;

use async_trait::async_trait;
use base::{Offset, UnixMillis, WalId, WalIndex, WalPosition};
use bytes::Bytes;
use control_core::{Command, Outcome};
use futures::future::join_all;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use stream::{AppendError, Appended, Options, Stream};
use stream_core::testing::batch;
use world::{GetRange, ObjectStore, PutOutcome, StoreError, World};

#[test]
fn what_was_confirmed_is_there_after_a_crash_at_any_stage() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let streams = life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let streams = create(&store, "a", 3).await;
            for id in &streams {
                let stream = store.stream(*id).unwrap();
                append(&stream, 50, 700).await;
                check_all(&stream, 700).await;
            }
            streams
        });
        // The first tail is recovered from the WAL and uploaded; a second one follows it in the new start's WAL.
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            for id in &streams {
                let stream = store.stream(*id).unwrap();
                assert_eq!(
                    (stream.confirmed(), stream.next(), stream.epoch().0),
                    (Offset(50), Offset(50), 1),
                    "{kind:?}"
                );
                check_all(&stream, 700).await;
                append(&stream, 50, 700).await;
                check_all(&stream, 700).await;
            }
            until("the recovered tail is uploaded", || store.gauges().recovering_wals == 0).await;
            for id in &streams {
                check_all(&store.stream(*id).unwrap(), 700).await;
                assert_eq!(store.ledger().image().streams[id].committed(), Offset(50));
            }
            assert_eq!(store.ledger().image().wals.len(), 1, "the dead one is forgotten");
            check_bucket(&world, root, &store).await;
        });
        life(|world| async move {
            let store = start(&world, root, kind, Options { upload_age: Duration::from_millis(20), ..options() }).await;
            for id in &streams_of(&store, "a") {
                let stream = store.stream(*id).unwrap();
                assert_eq!(stream.confirmed(), Offset(100), "{kind:?}");
                append(&stream, 1, 700).await;
            }
            until("everything is uploaded", || store.gauges().upload_behind_bytes == 0).await;
            until("the recovered tail is uploaded", || store.gauges().recovering_wals == 0).await;
            for id in &streams_of(&store, "a") {
                assert_eq!(store.ledger().image().streams[id].committed(), Offset(101));
                check_all(&store.stream(*id).unwrap(), 700).await;
            }
            check_bucket(&world, root, &store).await;
        });
    }
}

#[test]
fn a_broker_with_another_kind_of_log_recovers_its_old_one_and_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        for id in create(&store, "a", 2).await {
            append(&store.stream(id).unwrap(), 30, 900).await;
        }
    });
    for (round, kind) in [Kind::Objects, Kind::Ring, Kind::Objects].into_iter().enumerate() {
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            for id in streams_of(&store, "a") {
                let stream = store.stream(id).unwrap();
                assert_eq!(stream.confirmed(), Offset(30 + round as u64), "round {round}");
                append(&stream, 1, 900).await;
                check_all(&stream, 900).await;
            }
            until("the old log is committed", || store.gauges().recovering_wals == 0).await;
            assert_eq!(store.ledger().image().wals.len(), 1, "and forgotten");
            for id in streams_of(&store, "a") {
                check_all(&store.stream(id).unwrap(), 900).await;
            }
            check_bucket(&world, root, &store).await;
        });
    }
}

#[test]
fn a_ring_that_this_host_lacks_is_missed_until_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        for id in create(&store, "a", 1).await {
            append(&store.stream(id).unwrap(), 30, 900).await;
        }
    });
    let (ring, elsewhere) = (root.join("wal/ring"), root.join("wal/elsewhere"));
    std::fs::rename(&ring, &elsewhere).unwrap();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = store.ledger().image().topic("a").unwrap().partitions[0];
        let why = store.offline_reason(id).unwrap();
        assert!(why.contains("can't open") && why.contains("--wal"), "{why}");
    });
    std::fs::rename(&elsewhere, &ring).unwrap();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let stream = store.stream(streams_of(&store, "a")[0]).unwrap();
        assert_eq!(stream.confirmed(), Offset(30));
        check_all(&stream, 900).await;
    });
}

#[test]
fn after_a_clean_stop_the_bucket_is_enough() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            for id in create(&store, "a", 4).await {
                append(&store.stream(id).unwrap(), 30, 2000).await;
            }
            store.drain(Duration::from_secs(10)).await;
            assert_eq!(store.stopped().await, "stopped by request");
            assert!(store.ledger().image().wals.is_empty(), "{kind:?}: nothing is left to recover");
        });
        if kind == Kind::Ring {
            std::fs::remove_dir_all(root.join("wal")).unwrap();
        }
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            for id in streams_of(&store, "a") {
                let stream = store.stream(id).unwrap();
                assert_eq!(stream.confirmed(), Offset(30));
                check_all(&stream, 2000).await;
                append(&stream, 1, 2000).await;
                check_all(&stream, 2000).await;
            }
            check_bucket(&world, root, &store).await;
        });
    }
}

/// A start may end between the deletion of a WAL that nobody needs and the word of it to the ledger.
#[test]
fn a_dead_wal_that_was_deleted_halfway_is_deleted_for_good_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let dead = life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        append(&stream, 20, 1000).await;
        let topic = store.ledger().image().topic("a").unwrap().id;
        store.ledger().submit(Command::DeleteTopic { id: topic }).await.unwrap();
        // Its own seal, but for the commit of its trim point, as if it had died right after.
        let wal = WalId { node_epoch: store.node_epoch(), index: WalIndex(0) };
        let (end, recoverer) = (WalPosition(20 << 32), store.node_epoch());
        let seal = Command::WalRecovered { wal, end, ends: Vec::new(), recoverer, open_on: None };
        assert_eq!(store.ledger().submit(seal).await.unwrap(), Outcome::Done);
        wal
    });
    std::fs::remove_dir_all(root.join("bucket/wal")).unwrap();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        until("the ledger forgets it", || !store.ledger().image().wals.contains_key(&dead)).await;
    });
}

/// The last group is acknowledged while the stop looks whether it was.
#[test]
fn a_stop_in_the_midst_of_appends_cuts_off_nothing_that_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut large_groups = Options { append_bytes_max: 16 << 20, ..options() };
    large_groups.wal.ring_group_bytes_max = 8 << 20;
    for round in 0..12_u64 {
        let options = large_groups.clone();
        life(|world| async move {
            let store = start(&world, root, Kind::Ring, options).await;
            let id = if round == 0 { create(&store, "a", 1).await[0] } else { streams_of(&store, "a")[0] };
            let stream = store.stream(id).unwrap();
            let mut confirmations = Vec::new();
            for _ in 0..3000 + 100 * round {
                match stream.append(batch(stream.next().0, 1, 1000)) {
                    Ok(Appended::Enqueued(confirmation)) => confirmations.push(confirmation),
                    Ok(Appended::Repeat(original)) => panic!("no repeat of {original:?}"),
                    Err(AppendError::Busy) => stream.room().await,
                    Err(error) => panic!("{error}"),
                }
            }
            store.drain(Duration::from_secs(30)).await;
            for confirmation in confirmations {
                confirmation.await.unwrap();
            }
            let confirmed = stream.confirmed();
            let end = store.ledger().image().streams.get(&id).unwrap().tenures.last().unwrap().end;
            assert_eq!(end, Some(confirmed), "round {round}");
        });
    }
}

#[test]
fn beyond_its_memory_the_tail_is_read_from_the_wal() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        life(|world| async move {
            let small = Options { log_cache_bytes_max: 100_000, block_cache_bytes_max: 50_000, ..options() };
            let store = start(&world, root, kind, small).await;
            let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
            append(&stream, 400, 5000).await;
            let gauges = store.gauges();
            assert!(gauges.spilled_runs > 0 && gauges.log_cache_bytes < 200_000, "{kind:?}: {gauges:?}");
            check_all(&stream, 5000).await;
            store.drain(Duration::from_secs(10)).await;
            assert_eq!(store.gauges().upload_behind_bytes, 0, "{kind:?}: uploaded from the WAL");
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            check_all(&store.stream(streams_of(&store, "a")[0]).unwrap(), 5000).await;
            check_bucket(&world, root, &store).await;
        });
    }
}

/// A bucket whose ledger may not be written for a while, and that counts.
struct Watched {
    bucket: Arc<dyn ObjectStore>,
    forbids: AtomicBool,
    /// How often it has refused.
    refused: AtomicUsize,
    /// GETs of objects of write-ahead logs.
    wal_gets: AtomicUsize,
}

async fn watched(world: &World, root: &Path) -> Arc<Over<Watched>> {
    let (forbids, refused, wal_gets) = Default::default();
    Arc::new(Over(Watched { bucket: bucket(world, root).await, forbids, refused, wal_gets }))
}

#[async_trait]
impl Layer for Watched {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.bucket
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        if key.starts_with("ledger/") && self.forbids.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Refused("no permission".to_owned()));
        }
        self.bucket.put_if_absent(key, parts).await
    }
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.wal_gets.fetch_add(usize::from(key.starts_with("wal/")), Ordering::Relaxed);
        self.bucket.get(key, range).await
    }
}

#[test]
fn a_ledger_that_refuses_for_a_while_ends_no_start() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        life(|world| async move {
            let store = watched(&world, root).await;
            let eager = Options { upload_age: Duration::from_millis(10), ..options() };
            let started = start_on(&world, store.clone(), root, kind, eager).await;
            let id = create(&started, "a", 1).await[0];
            let stream = started.stream(id).unwrap();
            store.forbids.store(true, Ordering::Relaxed);
            append(&stream, 20, 500).await;
            until("commits were refused", || store.refused.load(Ordering::Relaxed) >= 3).await;
            append(&stream, 20, 500).await;
            store.forbids.store(false, Ordering::Relaxed);
            until("committed", || started.ledger().image().streams[&id].committed() == Offset(40)).await;
            check_all(&stream, 500).await;
            check_bucket(&world, root, &started).await;
        });
    }
}

#[test]
fn a_dead_wal_of_many_streams_is_read_back_in_few_requests() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let streams: Vec<Stream> =
            create(&store, "a", 300).await.into_iter().map(|id| store.stream(id).unwrap()).collect();
        join_all(streams.iter().map(|stream| append(stream, 2, 500))).await;
    });
    life(|world| async move {
        let store = watched(&world, root).await;
        let started = start_on(&world, store.clone(), root, Kind::Objects, options()).await;
        until("the recovered tail is uploaded", || started.gauges().recovering_wals == 0).await;
        let gets = store.wal_gets.load(Ordering::Relaxed);
        assert!(gets < 150, "{gets} requests for 300 streams");
        for id in streams_of(&started, "a") {
            let stream = started.stream(id).unwrap();
            assert_eq!(stream.confirmed(), Offset(2));
            check_all(&stream, 500).await;
        }
        check_bucket(&world, root, &started).await;
    });
}

#[test]
fn a_small_ring_is_written_around_many_times() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        let mut appended = 0;
        while appended < 2000 {
            match stream.append(batch(stream.next().0, 1, 60_000)) {
                Ok(_) => appended += 1,
                Err(AppendError::Busy) => stream.room().await,
                Err(error) => panic!("{error}"),
            }
        }
        until("all is confirmed", || stream.confirmed() == Offset(2000)).await;
        check_all(&stream, 60_000).await;
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn trims_retention_time_and_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let eager = Options { upload_age: Duration::from_millis(10), ..options() };
        let store = start(&world, root, Kind::Ring, eager).await;
        let ids = create(&store, "a", 2).await;
        let stream = store.stream(ids[0]).unwrap();
        for _ in 0..5 {
            append(&stream, 20, 500).await;
            until("uploaded", || store.gauges().upload_behind_bytes == 0).await;
        }
        // A batch's timestamp is its offset.
        assert_eq!(stream.retention_start(None, Some(UnixMillis(0))), Offset(0));
        let kept = stream.retention_start(Some(20_000), None);
        assert!(kept > Offset(0) && kept < Offset(100), "{kept}");
        let found = stream.seek_time(UnixMillis(57)).await.unwrap().unwrap();
        assert!(found <= Offset(57) && found >= Offset(40), "{found}");
        assert_eq!(stream.seek_time(UnixMillis(100)).await.unwrap(), None);
        stream.trim(Offset(50)).await.unwrap();
        assert_eq!(stream.start(), Offset(50));
        assert_eq!(stream.read(Offset(49), 100).await.unwrap_err(), stream::ReadError::OutOfRange);
        assert_eq!(stream.trim(Offset(101)).await.unwrap_err(), stream::ReadError::OutOfRange);
        check_all(&stream, 500).await;

        append(&store.stream(ids[1]).unwrap(), 5, 500).await;
        let topic = store.ledger().image().topic("a").unwrap().id;
        store.ledger().submit(Command::DeleteTopic { id: topic }).await.unwrap();
        assert!(store.stream(ids[0]).is_none());
        until("the follower has seen it", || stream.is_deleted()).await;
        assert_eq!(stream.append(batch(100, 1, 500)).unwrap_err(), AppendError::NotOwner);
        until("dead objects are deleted", || store.ledger().image().dead_objects.is_empty()).await;
        until("the WAL needs nothing", || store.gauges().upload_behind_bytes == 0).await;
        assert!(store.ledger().image().objects.is_empty());
        // What was on its way as the topic went is an orphan, which the sweep takes.
        let bucket = bucket(&world, root).await;
        let mut left = bucket.list("data/", "", 10).await.unwrap();
        for _ in 0..500 {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            left = bucket.list("data/", "", 10).await.unwrap();
        }
        assert_eq!(left, vec![]);
    });
}

#[test]
fn an_object_that_is_referenced_and_gone_is_told_as_lost_by_every_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let eager = Options { upload_age: Duration::from_millis(10), log_cache_bytes_max: 0, ..options() };
        let store = start(&world, root, Kind::Objects, eager).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        append(&stream, 20, 500).await;
        until("uploaded", || store.gauges().upload_behind_bytes == 0 && store.gauges().spilled_runs == 0).await;
        let bucket = bucket(&world, root).await;
        let objects = bucket.list("data/", "", 100).await.unwrap();
        bucket.delete(&objects.into_iter().map(|object| object.key).collect::<Vec<_>>()).await.unwrap();
        let lost = |error: &stream::ReadError| matches!(error, stream::ReadError::Corrupt(_));
        let sought = stream.seek_time(UnixMillis(5)).await.unwrap_err();
        assert!(lost(&sought), "{sought}");
        let read = stream.read(Offset(0), 100).await.unwrap_err();
        assert!(lost(&read), "{read}");
    });
}

#[test]
fn a_batch_out_of_place_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        assert_eq!(stream.append(batch(1, 1, 100)).unwrap_err(), AppendError::Gap { base: Offset(1), next: Offset(0) });
        assert_eq!(stream.next(), Offset(0));
        assert_eq!(stream.read(Offset(1), 100).await.unwrap_err(), stream::ReadError::OutOfRange);
    });
}
