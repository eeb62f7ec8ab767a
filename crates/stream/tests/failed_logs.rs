//! A write-ahead log that fails, of several and alone: nobody else's streams stop, its own go on, and what it had acknowledged is uploaded as far
//! as anything can be read. On a real disk.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::logs::*;
use crate::support::*;

use base::{Offset, StreamId};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::wal::WalOptions;
use stream::{AppendError, Appended, NamedWal, Options, ReadError, Store, WalTarget};
use stream_core::testing::batch;
use world::World;

#[test]
fn a_log_that_fails_stops_nobody_elses_and_its_streams_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (first, last) = life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let store = start_logs(&world, root, both(root), options()).await;
        let hot = create(&store, "hot", 1).await[0];
        let cold = create(&store, "cold", 1).await[0];
        choose(&store, "cold", Some("bulk")).await;
        moved(&store, "cold", 1).await;
        write(&world, &store, hot, 0..50).await;
        let other = store.stream(cold).unwrap();
        append(&other, 20, 700).await;
        let before = store.stream(hot).unwrap();
        let doomed = before.append(from_producer(Offset(50), 50));
        let Ok(Appended::Enqueued(doomed)) = doomed else { panic!("{doomed:?}") };
        let durable = doomed.await.is_ok();
        device.fail();
        // Its fate may be unknown; asked again it is stored once, in the other log.
        write(&world, &store, hot, 50 + i32::from(durable)..100).await;
        assert_eq!(indexes(&store, "hot"), [1]);
        check_known(&store, hot, 100).await;
        check_all(&store.stream(hot).unwrap(), 500).await;
        append(&other, 20, 700).await;
        assert_eq!(other.epoch(), store.stream(cold).unwrap().epoch(), "the other log's streams notice nothing");
        assert!(store.gauges().wals[0].has_failed);
        until("what it had acknowledged is in the bucket", || store.ledger().image().wals.len() == 1).await;
        check_all(&store.stream(hot).unwrap(), 500).await;
        check_bucket(&world, root, &store).await;
        (hot, cold)
    });
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        assert_eq!(store.stream(last).unwrap().confirmed(), Offset(40));
        moved(&store, "hot", 0).await;
        check_known(&store, first, 100).await;
        check_all(&store.stream(first).unwrap(), 500).await;
        check_all(&store.stream(last).unwrap(), 700).await;
    });
}

#[test]
fn a_start_whose_only_log_fails_ends() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let store = start_logs(&world, root, vec![NamedWal::default_of(ring(root, "fast"))], options()).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        append(&stream, 5, 700).await;
        device.fail();
        assert!(enqueue(&stream, batch(5, 1, 700)).await.is_err(), "its fate is unknown");
        assert!(store.stopped().await.contains("the device is gone"));
    });
}

/// Little is in memory, and nothing is uploaded by its age.
fn spilling() -> Options {
    let wal = WalOptions { ring_stalled_max: Duration::from_secs(1), ..options().wal };
    Options { log_cache_bytes_max: 60_000, upload_age: Duration::from_hours(1), wal, ..options() }
}

/// A start of which one stream's records are spilled to the log on the device, and another's are all in memory.
async fn spilled_and_not(world: &World, root: &Path, wals: Vec<NamedWal>) -> (Store, Vec<StreamId>) {
    spilled_and_not_with(world, root, wals, spilling()).await
}

async fn spilled_and_not_with(
    world: &World,
    root: &Path,
    wals: Vec<NamedWal>,
    options: Options,
) -> (Store, Vec<StreamId>) {
    let store = start_logs(world, root, wals, options).await;
    let ids = create(&store, "hot", 3).await;
    append(&store.stream(ids[0]).unwrap(), 200, 700).await;
    append(&store.stream(ids[1]).unwrap(), 10, 700).await;
    assert!(store.gauges().spilled_runs > 0);
    (store, ids)
}

/// The device does not come back, and the next start serves what was in memory.
fn check_without_device(root: &Path) {
    std::fs::remove_dir_all(root.join("fast")).unwrap();
    life(|world| async move {
        let store = start_logs(&world, root, vec![NamedWal::default_of(WalTarget::Storage)], options()).await;
        let second = store.stream(streams_of(&store, "hot")[1]).unwrap();
        assert!(second.confirmed() >= Offset(10));
        check_all(&second, 700).await;
    });
}

fn in_bucket(store: &Store, id: StreamId) -> Offset {
    store.ledger().image().streams[&id].committed()
}

#[test]
fn what_a_failed_log_had_acknowledged_is_uploaded_from_memory() {
    for hangs in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        life(|world| async move {
            let device = Arc::new(Device::default());
            let world = on_device(world, root, &device);
            let (store, ids) = spilled_and_not(&world, root, both(root)).await;
            if hangs {
                device.hang()
            } else {
                device.fail()
            }
            assert!(enqueue(&store.stream(ids[2]).unwrap(), batch(0, 1, 700)).await.is_err(), "its fate is unknown");
            until("the streams go on", || indexes(&store, "hot") == [1, 1, 1]).await;
            until("they accept", || store.stream(ids[1]).unwrap().epoch().0 == 1).await;
            append(&store.stream(ids[1]).unwrap(), 1, 700).await;
            until("what is in memory is in the bucket", || in_bucket(&store, ids[1]) >= Offset(10)).await;
            let image = store.ledger().image();
            let failed = image.streams[&ids[0]].tenures[0];
            assert!(failed.committed < Offset(200), "what the device keeps can't be committed");
            let record = &image.wals[&failed.wal];
            assert!(record.trim <= record.start, "the log keeps what was not uploaded: {record:?}");
            check_all(&store.stream(ids[1]).unwrap(), 700).await;
            store.drain(Duration::from_secs(10)).await;
            assert_eq!(in_bucket(&store, ids[1]), Offset(11));
        });
        check_without_device(root);
    }
}

#[test]
fn what_a_failed_device_keeps_is_recovered_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let (store, ids) = spilled_and_not(&world, root, both(root)).await;
        device.fail();
        assert!(enqueue(&store.stream(ids[2]).unwrap(), batch(0, 1, 700)).await.is_err(), "its fate is unknown");
        until("what is in memory is in the bucket", || in_bucket(&store, ids[1]) >= Offset(10)).await;
        store.drain(Duration::from_secs(10)).await;
    });
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        for (id, confirmed) in streams_of(&store, "hot").into_iter().zip([200, 10, 0]) {
            let stream = store.stream(id).unwrap();
            assert_eq!(stream.confirmed(), Offset(confirmed));
            check_all(&stream, 700).await;
        }
        until("the failed log is committed", || store.gauges().recovering_wals == 0).await;
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn a_start_whose_only_log_fails_uploads_what_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let only = vec![NamedWal::default_of(ring(root, "fast"))];
        let (store, ids) = spilled_and_not(&world, root, only).await;
        let stream = store.stream(ids[2]).unwrap();
        device.fail();
        assert!(enqueue(&stream, batch(0, 1, 700)).await.is_err(), "its fate is unknown");
        assert!(store.stopped().await.contains("the device is gone"));
        let after = stream.append(batch(0, 1, 700));
        assert!(matches!(after, Err(AppendError::NotOwner)), "nobody comes back for it: {after:?}");
        store.drain(Duration::from_secs(10)).await;
        assert_eq!(in_bucket(&store, ids[1]), Offset(10));
    });
}

#[test]
fn who_reads_from_a_log_that_does_not_answer_is_told_so_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let patient = WalOptions { ring_stalled_max: Duration::from_mins(5), ..options().wal };
        let options = Options { request_timeout: Duration::from_secs(1), wal: patient, ..spilling() };
        let (store, ids) = spilled_and_not_with(&world, root, both(root), options).await;
        device.hang();
        let stream = store.stream(ids[0]).unwrap();
        let reads = (0..20).map(|at| stream.read(Offset(at * 9), 700));
        let began = world.clock.now();
        let read = futures::future::join_all(reads).await;
        assert!(
            read.iter().any(|read| matches!(read, Err(ReadError::Trouble(why)) if why.contains("does not answer")))
        );
        assert!(world.clock.now().since(began) < Duration::from_secs(10));
        assert!(
            device.hung_reads() <= 3,
            "it has few of the threads that all files share: two for readers and one for the upload"
        );
        check_all(&store.stream(ids[1]).unwrap(), 700).await;
    });
}

#[test]
fn nothing_is_spilled_to_a_log_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let device = Arc::new(Device::default());
        let world = on_device(world, root, &device);
        let slow = WalOptions { ring_stalled_max: Duration::from_secs(4), ..options().wal };
        let store = start_logs(&world, root, both(root), Options { wal: slow, ..spilling() }).await;
        let hot = create(&store, "hot", 2).await;
        let cold = create(&store, "cold", 1).await[0];
        choose(&store, "cold", Some("bulk")).await;
        moved(&store, "cold", 1).await;
        append(&store.stream(hot[1]).unwrap(), 10, 700).await;
        device.hang();
        let waits = store.stream(hot[0]).unwrap().append(batch(0, 1, 700));
        let Ok(Appended::Enqueued(waits)) = waits else { panic!("{waits:?}") };
        until("it is stalled", || store.gauges().wals[0].append_age >= Duration::from_secs(2)).await;
        append(&store.stream(cold).unwrap(), 200, 700).await;
        assert!(waits.await.is_err(), "its fate is unknown");
        until("what it had acknowledged is in the bucket", || in_bucket(&store, hot[1]) >= Offset(10)).await;
        until("and the log is forgotten", || !store.ledger().image().wals.keys().any(|wal| wal.index.0 == 0)).await;
    });
    check_without_device(root);
}
