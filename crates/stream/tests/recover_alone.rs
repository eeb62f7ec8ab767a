//! Dead logs that are recovered without a broker that serves: every kind, moved elsewhere, beside a living broker.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::layer::{Layer, Over};
use crate::support::logs::{Device, both, choose, indexes, moved, on_device, start_logs_at};
use crate::support::*;

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
use stream::{LogOutcome, Options, RecoverLogs, Standing, Store, WalTarget, logs_left, logs_to_recover, recover_logs};
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
        let store = owner(target(root, kind), options()).start(&world, bucket(&world, root).await).await;
        let ids = create(&store, "t", 2).await;
        append(&store.stream(ids[0]).unwrap(), 30, 700).await;
        append(&store.stream(ids[1]).unwrap(), 7, 300).await;
        (WalId { node_epoch: store.node_epoch(), index: WalIndex(0) }, ids)
    })
}

/// The broker whose log is to be recovered.
fn owner(wal: WalTarget, options: Options) -> Starting<'static> {
    Starting { wal, advertised: "a:9092", others_live: false, options }
}

fn request(wals: impl IntoIterator<Item = WalId>, rings: Vec<FoundRing>) -> RecoverLogs {
    RecoverLogs {
        wals: wals.into_iter().collect(),
        silent: BTreeSet::new(),
        rings,
        older_too: false,
        choice: crate::support::logs::choice,
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

/// Recovers that log from the ring in that folder.
async fn recover_from(world: &World, root: &Path, wal: WalId, place: &Path, older_too: bool) -> LogOutcome {
    let rings = rings_at(world.disk.as_ref(), place).await.unwrap();
    let request = RecoverLogs { older_too, ..request([wal], rings) };
    let (mut outcomes, _) = recover_logs(world, bucket(world, root).await, request).await.unwrap();
    outcomes.remove(&wal).unwrap()
}

fn copy_of(root: &Path, name: &str) -> PathBuf {
    let copy = root.join(name);
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(root.join("wal/ring"), copy.join("ring")).unwrap();
    copy
}

/// A broker on the ring, at the same address each time, that is killed.
fn life_on_ring<F: Future>(root: &Path, options: Options, work: impl FnOnce(Store) -> F) -> WalId {
    life(|world| async move {
        let store = owner(target(root, "ring"), options).start(&world, bucket(&world, root).await).await;
        let wal = WalId { node_epoch: store.node_epoch(), index: WalIndex(0) };
        work(store).await;
        wal
    })
}

fn at_once() -> Options {
    Options { upload_age: Duration::from_millis(5), ..options() }
}

/// Refused, and the newest is recovered afterwards with everything.
fn is_told_from_the_newest(root: &Path, wal: WalId, older: &Path, told: &str, id: StreamId, confirmed: u64) {
    life(|world| async move {
        let refused = recover_from(&world, root, wal, older, false).await;
        assert!(
            matches!(&refused, LogOutcome::Left(why) if why.contains("is an older copy") && why.contains(told) && why.contains("--older-too")),
            "{refused:?}"
        );
        let left = image(&world, root).await;
        assert_eq!(left.wals[&wal].state, WalState::Open, "nothing is fixed");
        let newest = recover_from(&world, root, wal, &root.join("wal"), false).await;
        assert!(matches!(newest, LogOutcome::Recovered(_)), "{newest:?}");
        assert_eq!(image(&world, root).await.streams[&id].committed(), Offset(confirmed));
    });
}

#[test]
fn a_copy_from_before_the_last_start_is_not_taken_for_the_ring() {
    for stopped in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        life_on_ring(root, options(), |store| async move {
            let id = create(&store, "t", 1).await[0];
            append(&store.stream(id).unwrap(), 30, 700).await;
            if stopped {
                store.drain(Duration::from_secs(10)).await;
            }
        });
        let older = copy_of(root, "older");
        let id = StreamId(1);
        // What is recovered goes to the bucket at once; what this start acknowledges stays in the ring alone.
        let wal = life_on_ring(root, options(), |store| async move {
            assert_eq!(store.stream(id).unwrap().confirmed(), Offset(30));
            append(&store.stream(id).unwrap(), 5, 700).await;
            until("the older log is forgotten", || store.ledger().image().wals.len() == 1).await;
        });
        is_told_from_the_newest(root, wal, &older, "has not heard of start", id, 35);
    }
}

#[test]
fn a_copy_from_before_a_trim_is_not_taken_for_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let older = root.join("older");
    let at = older.clone();
    let wal = life_on_ring(root, at_once(), |store| async move {
        let id = create(&store, "t", 1).await[0];
        append(&store.stream(id).unwrap(), 10, 700).await;
        assert_eq!(copy_of(root, "older"), at);
        append(&store.stream(id).unwrap(), 10, 700).await;
        let wal = WalId { node_epoch: store.node_epoch(), index: WalIndex(0) };
        let all = || store.ledger().image().streams[&id].committed() == Offset(20);
        until("all is committed", all).await;
        assert!(store.ledger().image().wals[&wal].trim.0 > 0);
    });
    is_told_from_the_newest(root, wal, &older, "had reached position", StreamId(1), 20);
}

#[test]
fn a_copy_that_lacks_what_is_committed_is_not_taken_for_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let wal = life(|world| async move {
        // The trim point stays where the log begins, as one stream's records are not let into the bucket.
        let stuck: Arc<dyn ObjectStore> = Arc::new(Over(NoUploads(bucket(&world, root).await)));
        let store = owner(target(root, "ring"), at_once()).start(&world, stuck).await;
        let id = create(&store, "t", 1).await[0];
        append(&store.stream(id).unwrap(), 10, 700).await;
        copy_of(root, "older");
        append(&store.stream(id).unwrap(), 10, 700).await;
        // A deletion of records needs no object: it is the ledger's alone.
        let (node_epoch, stream_epoch) = (store.node_epoch(), store.ledger().image().streams[&id].epoch);
        let trim = control_core::Command::Trim { stream: id, node_epoch, stream_epoch, start: Offset(15) };
        assert_eq!(store.ledger().submit(trim).await.unwrap(), control_core::Outcome::Done);
        WalId { node_epoch, index: WalIndex(0) }
    });
    is_told_from_the_newest(root, wal, &root.join("older"), "offsets up to 15", StreamId(1), 20);
}

#[test]
fn an_older_copy_is_taken_where_its_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let wal = life_on_ring(root, at_once(), |store| async move {
        let id = create(&store, "t", 1).await[0];
        append(&store.stream(id).unwrap(), 10, 700).await;
        copy_of(root, "older");
        append(&store.stream(id).unwrap(), 10, 700).await;
        until("all is committed", || store.ledger().image().streams[&id].committed() == Offset(20)).await;
    });
    life(|world| async move {
        let taken = recover_from(&world, root, wal, &root.join("older"), true).await;
        assert!(matches!(taken, LogOutcome::Recovered(_)), "{taken:?}");
    });
}

/// Rings as brokers leave them that are killed at any moment, also several times while they start: none is taken for a copy.
#[test]
fn no_ring_that_a_broker_has_left_is_taken_for_an_older_copy() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = StreamId(1);
    let mut count = 0;
    for round in 0..12_u64 {
        let wal = life(|world| async move {
            // Now and then one is killed between its registration and its first group: its data objects never arrive.
            let store: Arc<dyn ObjectStore> = bucket(&world, root).await;
            let options = if round % 3 == 0 { at_once() } else { options() };
            let starting = owner(target(root, "ring"), options).start(&world, store);
            if round % 4 == 3 {
                let registered = image(&world, root).await.next_node_epoch;
                let cut = async {
                    loop {
                        if image(&world, root).await.next_node_epoch > registered {
                            return;
                        }
                    }
                };
                tokio::select! {
                    biased;
                    () = cut => {}
                    _ = starting => {}
                }
                return WalId { node_epoch: registered, index: WalIndex(0) };
            }
            let store = starting.await;
            if round == 0 {
                create(&store, "t", 1).await;
            }
            append(&store.stream(id).unwrap(), 1 + round, 3000).await;
            tokio::time::sleep(Duration::from_millis(5 * (round % 5))).await;
            WalId { node_epoch: store.node_epoch(), index: WalIndex(0) }
        });
        count += if round % 4 == 3 { 0 } else { 1 + round };
        if round % 2 == 1 {
            life(|world| async move {
                let left = logs_left(&image(&world, root).await);
                let waiting: BTreeSet<WalId> = left.iter().map(|log| log.wal).collect();
                assert!(waiting.contains(&wal), "{waiting:?}");
                let silent = left.iter().filter_map(|log| log.standing.recoverer()).collect();
                let rings = rings_at(world.disk.as_ref(), &root.join("wal")).await.unwrap();
                let request = RecoverLogs { silent, ..request(waiting, rings) };
                let (outcomes, _) = recover_logs(&world, bucket(&world, root).await, request).await.unwrap();
                assert!(outcomes.values().all(|it| matches!(it, LogOutcome::Recovered(_))), "{round}: {outcomes:?}");
                assert_eq!(image(&world, root).await.streams[&id].committed(), Offset(count), "{round}");
            });
        }
    }
}

/// A bucket that takes data objects when it is told to.
struct LateUploads(Arc<dyn ObjectStore>, tokio::sync::Semaphore);

#[async_trait]
impl Layer for LateUploads {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.0
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        if key.starts_with("data/") {
            self.1.acquire().await.unwrap().forget();
        }
        self.0.put_if_absent(key, parts).await
    }
}

/// Two dead brokers with their logs in the bucket, of 30 and 7 batches, and one of another topic's.
fn two_killed(root: &Path) -> (WalId, WalId, StreamId, StreamId) {
    let (first, ids) = killed(root, "objects");
    let (second, id) = life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "b:9092", true, options()).await;
        let id = create(&store, "other", 1).await[0];
        append(&store.stream(id).unwrap(), 4, 200).await;
        (WalId { node_epoch: store.node_epoch(), index: WalIndex(0) }, id)
    });
    (first, second, ids[0], id)
}

#[test]
fn recoveries_of_different_logs_leave_one_another_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (first, second, one, other) = two_killed(root);
    life(|world| async move {
        let late = Arc::new(Over(LateUploads(bucket(&world, root).await, tokio::sync::Semaphore::new(0))));
        let slow = recover_logs(&world, late.clone(), request([first], Vec::new()));
        let beside = async {
            while !matches!(image(&world, root).await.wals[&first].state, WalState::Sealed { .. }) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let fast = recover_logs(&world, bucket(&world, root).await, request([second], Vec::new())).await;
            assert!(matches!(fast.unwrap().0[&second], LogOutcome::Recovered(_)));
            let now = image(&world, root).await;
            let first = logs_left(&now).into_iter().find(|log| log.wal == first).unwrap();
            assert!(matches!(first.standing, Standing::Recovering(start) if now.is_alive(start)), "{first:?}");
            late.1.add_permits(1000);
        };
        let (slow, ()) = futures::join!(slow, beside);
        assert!(matches!(slow.unwrap().0[&first], LogOutcome::Recovered(_)));
        let after = image(&world, root).await;
        assert!(after.wals.is_empty() && after.living().next().is_none(), "{:?}", after.wals);
        assert_eq!((after.streams[&one].committed(), after.streams[&other].committed()), (Offset(30), Offset(4)));
        assert_eq!(control_core::check(&after), Vec::<String>::new());
    });
}

#[test]
fn of_two_recoveries_of_one_log_that_which_was_told_of_the_other_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (wal, ids) = killed(root, "objects");
    let kept = ids.clone();
    life(|world| async move {
        let ids = kept;
        let late = Arc::new(Over(LateUploads(bucket(&world, root).await, tokio::sync::Semaphore::new(0))));
        let slow = recover_logs(&world, late.clone(), request([wal], Vec::new()));
        let beside = async {
            let recoverer = loop {
                if let WalState::Sealed { recoverer, .. } = image(&world, root).await.wals[&wal].state {
                    break recoverer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            let untold = recover_logs(&world, bucket(&world, root).await, request([wal], Vec::new())).await;
            assert_eq!(untold.unwrap().0[&wal], LogOutcome::Others, "it leaves to the other what that one has");
            let silent = BTreeSet::from([recoverer]);
            let own = WalId { node_epoch: recoverer, index: WalIndex(0) };
            let told = RecoverLogs { silent, ..request([wal, own], Vec::new()) };
            let (outcomes, _) = recover_logs(&world, bucket(&world, root).await, told).await.unwrap();
            assert!(outcomes.values().all(|it| matches!(it, LogOutcome::Recovered(_))), "{outcomes:?}");
            late.1.add_permits(1000);
        };
        let (slow, ()) = futures::join!(slow, beside);
        let ended = slow.unwrap_err().to_string();
        assert!(ended.contains("was declared dead") && ended.contains("say it again"), "{ended}");
        let after = image(&world, root).await;
        assert!(after.wals.is_empty() && after.living().next().is_none(), "{:?}", after.wals);
        assert_eq!((after.streams[&ids[0]].committed(), after.streams[&ids[1]].committed()), (Offset(30), Offset(7)));
        assert_eq!(control_core::check(&after), Vec::<String>::new());
    });
    all_is_served(root, &ids);
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
