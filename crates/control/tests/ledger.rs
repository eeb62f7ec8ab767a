//! The ledger over a bucket with scripted faults: the rules, by the stories that break them.
#![allow(clippy::unwrap_used, reason = "in tests an error is a failure")]

mod fake;

use base::{LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, TopicId, UnixMillis, WalIndex, WalPosition};
use bytes::Bytes;
use control::{Ledger, LedgerError, LedgerOptions, read_all};
use control_core::{Command, CommandId, Entry, Image, Outcome, WalRegistration, codec};
use fake::{Bucket, Fault, Kind, Store, open, options, world};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use world::ObjectStore;

const ENTRY: &str = "ledger/entry/";
const SNAPSHOT: &str = "ledger/snapshot/";

fn register(n: i32) -> Command {
    let ring_id = u128::try_from(n).unwrap() + 1;
    let wal = WalRegistration {
        url: "file:///w".to_owned(),
        ring_id,
        start: WalPosition(0),
        in_storage: false,
        name: String::new(),
    };
    let advertised = format!("host{n}:9092");
    Command::Register { node_id: Some(NodeId(n)), advertised, wals: vec![wal], incarnation: ring_id }
}

/// A registered broker on its own way to the bucket.
async fn broker(bucket: &Bucket, n: i32, options: LedgerOptions) -> (Arc<Store>, Ledger, NodeEpoch) {
    let store = bucket.store();
    let ledger = Ledger::open(&world(), store.clone(), options).await.unwrap();
    let (node_id, node_epoch) = ledger.register(register(n)).await.unwrap();
    assert_eq!(node_id, NodeId(n));
    (store, ledger, node_epoch)
}

fn topic(name: &str, owner: NodeEpoch) -> Command {
    Command::CreateTopic {
        id: TopicId(base::crc32c(name.as_bytes()).into()),
        name: name.to_owned(),
        partitions: vec![(owner, WalIndex(0))],
        replication_factor: 1,
        configs: BTreeMap::new(),
        internal: false,
    }
}

fn often() -> LedgerOptions {
    LedgerOptions { snapshot_entries: 2, ..options() }
}

/// A command that changes nothing.
fn nothing() -> Command {
    Command::ObjectsDeleted { objects: Vec::new() }
}

/// Lets tasks run until nothing moves.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// Appends through `ledger`, which snapshots every second entry, until its newest snapshot covers `seq` and all below is gone.
async fn collect_beyond(bucket: &Bucket, ledger: &Ledger, seq: u64) {
    for _ in 0..10 {
        assert_eq!(ledger.submit(nothing()).await.unwrap(), Outcome::Done);
        settle().await;
    }
    let newest = bucket.keys(SNAPSHOT).pop().unwrap();
    assert!(newest > format!("{SNAPSHOT}{seq:020}"), "{newest}");
    assert!(bucket.get(&format!("{ENTRY}{seq:020}")).is_none(), "entry {seq} is collected");
}

/// Another broker passes number `seq` and collects it; then the gate opens for whoever is held there.
async fn pass(bucket: &Bucket, seq: u64, gate: oneshot::Sender<()>) -> Ledger {
    settle().await;
    let (_, other, _) = broker(bucket, 1, often()).await;
    collect_beyond(bucket, &other, seq).await;
    gate.send(()).unwrap();
    other
}

/// A put of number `seq` by some broker of long ago, which lands now.
fn zombie_lands(bucket: &Bucket, seq: u64) {
    let commands = vec![(CommandId::default(), Command::Probed { endpoint: "zombie".to_owned() })];
    let (seq, epoch) = (LedgerSeq(seq), LedgerEpoch(1));
    let entry = Entry { seq, epoch, nonce: Nonce(0xdead), written: UnixMillis(0), commands };
    bucket.put(&format!("{ENTRY}{:020}", seq.0), codec::encode_entry(&entry));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_a_cluster_and_opening_it_again_gives_the_same_image() {
    let bucket = Bucket::default();
    assert!(
        open(&bucket.store()).await.image().seq == LedgerSeq(0) && bucket.keys("").is_empty(),
        "opening writes nothing"
    );
    let (_, ledger, start) = broker(&bucket, 0, options()).await;
    assert_eq!(ledger.submit(topic("t", start)).await.unwrap(), Outcome::Done);
    assert!(ledger.image().topic("t").is_some(), "the answer comes when this broker's image contains it");
    let again = open(&bucket.store()).await;
    assert_eq!(again.image(), ledger.image());
    let dump = read_all(&*bucket.store()).await.unwrap();
    assert_eq!((dump.image, dump.problems), ((*ledger.image()).clone(), vec![]));
    assert_eq!(dump.format.unwrap().cluster_id, ledger.image().cluster_id);
    assert_eq!((bucket.keys(ENTRY).len(), dump.entries.len()), (2, 2), "one entry leads and registers");
}

#[tokio::test(start_paused = true)]
async fn what_arrives_during_a_put_shares_the_next_entry() {
    let bucket = Bucket::default();
    let (store, ledger, _) = broker(&bucket, 0, options()).await;
    let gate = store.hold(Kind::Put, ENTRY);
    let submits = (0..100).map(|_| ledger.submit(nothing()));
    let all = futures::future::join_all(submits);
    let release = async {
        settle().await;
        gate.send(()).unwrap();
    };
    let (outcomes, ()) = tokio::join!(all, release);
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == Outcome::Done));
    assert!(ledger.image().seq <= LedgerSeq(3), "{} entries", ledger.image().seq);
}

#[tokio::test(start_paused = true)]
async fn an_entry_holds_a_bounded_number_of_commands_and_bytes() {
    let bucket = Bucket::default();
    let few = LedgerOptions { entry_commands_max: 4, entry_bytes_max: 1000, ..options() };
    let (store, ledger, _) = broker(&bucket, 0, few).await;
    let gate = store.hold(Kind::Put, ENTRY);
    let long = |_| ledger.submit(Command::Probed { endpoint: "x".repeat(600) });
    let release = async {
        settle().await;
        gate.send(()).unwrap();
    };
    tokio::join!(futures::future::join_all((0..9).map(|_| ledger.submit(nothing()))), release);
    futures::future::join_all((0..3).map(long)).await;
    let dump = read_all(&*bucket.store()).await.unwrap();
    assert!(dump.entries.iter().all(|entry| entry.commands.len() <= 4), "{:?}", dump.entries);
    assert_eq!(dump.entries.iter().flat_map(|entry| &entry.commands).count(), 2 + 9 + 3);
    let long = |entry: &&Entry| entry.commands.iter().any(|(_, command)| matches!(command, Command::Probed { .. }));
    assert_eq!(dump.entries.iter().filter(long).count(), 3, "each in an entry of its own");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_and_the_command_applied_once() {
    let bucket = Bucket::default();
    let (store, ledger, start) = broker(&bucket, 0, options()).await;
    store.fail(Kind::Put, ENTRY, Fault::AnswerLost);
    assert_eq!(ledger.submit(topic("t", start)).await.unwrap(), Outcome::Done);
    assert_eq!(ledger.image().streams.len(), 1);
    store.fail(Kind::Put, ENTRY, Fault::AnswerLost);
    store.fail(Kind::Put, ENTRY, Fault::Trouble);
    store.fail(Kind::Put, ENTRY, Fault::Silence);
    // What was ambiguous is not given up when the store begins to refuse.
    store.fail(Kind::Put, ENTRY, Fault::Refused);
    store.fail(Kind::List, SNAPSHOT, Fault::Silence);
    assert_eq!(ledger.submit(topic("u", start)).await.unwrap(), Outcome::Done);
    assert_eq!((ledger.image().streams.len(), store.faults_left()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_of_a_registration_is_found_out_too() {
    let bucket = Bucket::default();
    let store = bucket.store();
    store.fail(Kind::Put, ENTRY, Fault::AnswerLost);
    store.fail(Kind::Put, "format", Fault::AnswerLost);
    let ledger = open(&store).await;
    assert_eq!(ledger.register(register(3)).await.unwrap(), (NodeId(3), NodeEpoch(1)));
    assert_eq!(ledger.image().nodes.len(), 1);
}

/// A1: broker 0 sleeps before its put of n; the log passes n and n is collected; the put is *created*, and must not count.
#[tokio::test(start_paused = true)]
async fn a_put_into_a_collected_number_does_not_count() {
    let bucket = Bucket::default();
    let (store, sleeper, start) = broker(&bucket, 0, options()).await;
    let n = sleeper.image().seq.0 + 1;
    let gate = store.hold(Kind::Put, ENTRY);
    let submit = sleeper.submit(topic("t", start));
    let (outcome, other) = tokio::join!(submit, pass(&bucket, n, gate));
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert!(other.refresh().await.unwrap().topic("t").is_some(), "what is answered is in the log that all read");
    assert_eq!(sleeper.refresh().await.unwrap(), other.image());
}

/// A2: nothing at n, because it was collected, is not the end of the log.
#[tokio::test(start_paused = true)]
async fn a_bucket_that_lost_an_entry_is_not_taken_for_a_shorter_one() {
    let bucket = Bucket::default();
    let (_, ledger, start) = broker(&bucket, 0, options()).await;
    for name in ["a", "b", "c"] {
        ledger.submit(topic(name, start)).await.unwrap();
    }
    let lost = bucket.keys(ENTRY)[1].clone();
    let bytes = bucket.get(&lost).unwrap();
    let store = bucket.store();
    store.delete(std::slice::from_ref(&lost)).await.unwrap();
    let store: Arc<dyn ObjectStore> = store;
    let error = Ledger::open(&world(), store, options()).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&lost), "{error}");
    let problems = read_all(&*bucket.store()).await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.contains("is missing")), "{problems:?}");
    bucket.put(&lost, bytes);
    assert_eq!(open(&bucket.store()).await.image(), ledger.image());
    assert_eq!(read_all(&*bucket.store()).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_fell_behind_does_not_take_a_collected_number_for_the_end() {
    let bucket = Bucket::default();
    let (_, other, start) = broker(&bucket, 1, often()).await;
    let behind = open(&bucket.store()).await;
    let n = behind.image().seq.0 + 1;
    other.submit(topic("t", start)).await.unwrap();
    collect_beyond(&bucket, &other, n).await;
    assert!(behind.refresh().await.unwrap().topic("t").is_some());
    assert_eq!(behind.image(), other.refresh().await.unwrap());
}

/// A3: a late copy of a put re-creates a collected number; a reader at n − 1 must not fold it, whatever stands above.
#[tokio::test(start_paused = true)]
async fn a_resurrected_entry_is_not_folded() {
    let bucket = Bucket::default();
    let (_, other, _) = broker(&bucket, 1, often()).await;
    let mut behind = Vec::new();
    for _ in 0..6 {
        behind.push(open(&bucket.store()).await);
        other.submit(nothing()).await.unwrap();
        settle().await;
    }
    let newest: u64 = bucket.keys(SNAPSHOT).pop().unwrap().rsplit('/').next().unwrap().parse().unwrap();
    let reader = behind.iter().find(|reader| reader.image().seq.0 + 1 == newest).unwrap();
    // The worst case: nothing is missing between it and the entries that are not collected yet.
    zombie_lands(&bucket, newest);
    assert_eq!(reader.refresh().await.unwrap(), other.image());
    for reader in &behind {
        assert_eq!(reader.refresh().await.unwrap(), other.image());
    }
    // Nor by one that starts, and it goes with the next collection.
    assert_eq!(open(&bucket.store()).await.image(), other.image());
    collect_beyond(&bucket, &other, newest).await;
}

/// A10: the own put had succeeded, its answer was lost, the number was collected, and something else stands there now.
#[tokio::test(start_paused = true)]
async fn another_nonce_at_the_number_is_no_proof_that_the_own_put_failed() {
    let bucket = Bucket::default();
    let (store, sleeper, start) = broker(&bucket, 0, options()).await;
    let n = sleeper.image().seq.0 + 1;
    store.fail(Kind::Put, ENTRY, Fault::AnswerLost);
    let gate = store.hold(Kind::Put, ENTRY);
    let submit = sleeper.submit(topic("t", start));
    let meanwhile = async {
        settle().await;
        let (_, other, _) = broker(&bucket, 1, often()).await;
        assert!(other.image().topic("t").is_some(), "the first try had succeeded");
        collect_beyond(&bucket, &other, n).await;
        zombie_lands(&bucket, n);
        gate.send(()).unwrap();
        other
    };
    let (outcome, other) = tokio::join!(submit, meanwhile);
    assert_eq!(outcome.unwrap(), Outcome::Done, "not failed, and not applied again under another id");
    assert_eq!(sleeper.image(), other.image());
}

/// Rule A8: the listing counts only if it was begun after the answer; a snapshot that appears before it is seen.
#[tokio::test(start_paused = true)]
async fn a_put_that_is_passed_before_its_confirmation_is_told_by_the_snapshot() {
    let bucket = Bucket::default();
    let (store, sleeper, start) = broker(&bucket, 0, options()).await;
    let n = sleeper.image().seq.0 + 1;
    let gate = store.hold(Kind::List, SNAPSHOT);
    let submit = sleeper.submit(topic("t", start));
    let (outcome, other) = tokio::join!(submit, pass(&bucket, n, gate));
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!((sleeper.image(), other.image().streams.len()), (other.image(), 1));
}

#[tokio::test(start_paused = true)]
async fn two_living_brokers_take_the_lead_in_turns() {
    let bucket = Bucket::default();
    let (_, a, start_a) = broker(&bucket, 0, often()).await;
    let (_, b, start_b) = broker(&bucket, 1, often()).await;
    let work = |ledger: Ledger, start: NodeEpoch| async move {
        for n in 0..20 {
            assert_eq!(ledger.submit(topic(&format!("t{start}-{n}"), start)).await.unwrap(), Outcome::Done);
        }
    };
    tokio::join!(work(a.clone(), start_a), work(b.clone(), start_b));
    let (a, b) = (a.refresh().await.unwrap(), b.refresh().await.unwrap());
    assert_eq!((a.streams.len(), a.topics.len()), (40, 40), "each command is applied exactly once");
    assert_eq!(a, b);
    settle().await;
    let dump = read_all(&*bucket.store()).await.unwrap();
    assert_eq!((dump.image, dump.problems), ((*a).clone(), vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_declared_dead_is_told_so() {
    let bucket = Bucket::default();
    let (_, a, start) = broker(&bucket, 0, options()).await;
    let (_, b, _) = broker(&bucket, 1, options()).await;
    assert_eq!(b.submit(Command::DeclareDead { node_epochs: vec![start] }).await.unwrap(), Outcome::Done);
    for _ in 0..2 {
        let error = a.submit(topic("t", start)).await.unwrap_err();
        assert!(matches!(error, LedgerError::Dead(it) if it == start), "{error}");
    }
    assert!(matches!(a.refresh().await, Err(LedgerError::Dead(_))));
    assert!(a.image().is_dead(start), "its watchers see it");
    assert!(b.refresh().await.unwrap().topic("t").is_none());
    // The same incarnation can't come back.
    let again = open(&bucket.store()).await;
    assert!(matches!(again.register(register(0)).await, Err(LedgerError::Dead(it)) if it == start));
}

#[tokio::test(start_paused = true)]
async fn snapshots_cover_what_is_deleted() {
    let bucket = Bucket::default();
    let (_, ledger, start) = broker(&bucket, 0, LedgerOptions { snapshot_entries: 5, ..options() }).await;
    for n in 0..33 {
        ledger.submit(topic(&format!("t{n}"), start)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    settle().await;
    assert_eq!(bucket.keys(SNAPSHOT).len(), 1, "the newest only");
    assert!(bucket.keys(ENTRY).len() < 6, "{:?}", bucket.keys(ENTRY));
    let again = open(&bucket.store()).await;
    assert_eq!(again.image(), ledger.image());
    assert_eq!(again.image().topics.len(), 33);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_where_two_images_differ() {
    let bucket = Bucket::default();
    let (_, ledger, _) = broker(&bucket, 0, LedgerOptions { snapshot_entries: 3, ..options() }).await;
    let other = Image { seq: LedgerSeq(3), ..Image::default() };
    bucket.put(&format!("{SNAPSHOT}{:020}", 3), codec::encode_snapshot(&other));
    bucket.put(&format!("{ENTRY}{:020}", 3), Bytes::from_static(b"damaged"));
    ledger.submit(nothing()).await.unwrap_or(Outcome::Done);
    settle().await;
    assert_eq!(bucket.keys(ENTRY).len(), 3);
}

/// Rule A-11: in a folder another broker's snapshot shows before it is durable: a power loss could take it when all that it covers is gone.
#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_before_the_newest_snapshot_is_durable() {
    let bucket = Bucket::default();
    let (store, ledger, _) = broker(&bucket, 0, LedgerOptions { snapshot_entries: 3, ..options() }).await;
    let gate = store.hold(Kind::MakeDurable, SNAPSHOT);
    for _ in 0..2 {
        ledger.submit(nothing()).await.unwrap();
    }
    settle().await;
    assert_eq!((bucket.keys(SNAPSHOT).len(), bucket.keys(ENTRY).len()), (1, 3));
    gate.send(()).unwrap();
    settle().await;
    assert_eq!((bucket.keys(SNAPSHOT).len(), bucket.keys(ENTRY).len()), (1, 0));
}

/// Rule A-11.
#[tokio::test(start_paused = true)]
async fn an_entry_that_is_not_durable_is_not_believed() {
    let bucket = Bucket::default();
    let (_, writer, start) = broker(&bucket, 0, options()).await;
    let store = bucket.store();
    let reader = open(&store).await;
    writer.submit(topic("t", start)).await.unwrap();
    store.fail(Kind::MakeDurable, ENTRY, Fault::Refused);
    assert!(matches!(reader.refresh().await, Err(LedgerError::Store(_))));
    assert!(reader.image().topic("t").is_none());
    assert!(reader.refresh().await.unwrap().topic("t").is_some());
}

#[tokio::test(start_paused = true)]
async fn damage_on_the_way_is_outlasted_and_damage_in_the_bucket_reported() {
    let bucket = Bucket::default();
    let (_, ledger, start) = broker(&bucket, 0, options()).await;
    ledger.submit(topic("t", start)).await.unwrap();
    let store = bucket.store();
    for fault in [Fault::Cut, Fault::Changed, Fault::Trouble, Fault::Silence] {
        store.fail(Kind::Get, ENTRY, fault);
    }
    assert_eq!(open(&store).await.image(), ledger.image());
    assert_eq!(store.faults_left(), 0);

    bucket.put(&format!("{ENTRY}{:020}", 2), Bytes::from_static(b"MsLe damaged"));
    let error = Ledger::open(&world(), bucket.store(), options()).await.err().unwrap();
    assert!(matches!(&error, LedgerError::Unreadable(why) if why.contains("entry/00000000000000000002")), "{error}");
    let dump = read_all(&*bucket.store()).await.unwrap();
    assert_eq!(dump.problems.len(), 1, "{:?}", dump.problems);
}

#[tokio::test(start_paused = true)]
async fn a_newer_bucket_is_refused_and_so_is_what_the_store_refuses() {
    let bucket = Bucket::default();
    let (store, ledger, _) = broker(&bucket, 0, options()).await;
    store.fail(Kind::Put, ENTRY, Fault::Refused);
    assert!(matches!(ledger.submit(nothing()).await, Err(LedgerError::Store(_))));
    assert_eq!(ledger.submit(nothing()).await.unwrap(), Outcome::Done, "and goes on when it is allowed again");

    let refusing = bucket.store();
    refusing.fail(Kind::List, SNAPSHOT, Fault::Refused);
    let error = Ledger::open(&world(), refusing, options()).await.err().unwrap();
    assert!(matches!(error, LedgerError::Store(_)), "{error}");

    bucket.put("format", control::Format { layout: 2, reader: 2, cluster_id: 1 }.encode());
    let error = Ledger::open(&world(), bucket.store(), options()).await.err().unwrap();
    assert!(error.to_string().contains("start the newer version"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_broker_asks_little_and_sees_what_others_do() {
    let bucket = Bucket::default();
    let defaults = LedgerOptions::default();
    let (store, ledger, start) = broker(&bucket, 0, defaults.clone()).await;
    let before = store.requests.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let idle = store.requests.load(Ordering::Relaxed) - before;
    assert!((1..=100).contains(&idle), "{idle} requests in an idle hour");

    let (_, other, _) = broker(&bucket, 1, defaults.clone()).await;
    other.submit(Command::DeclareDead { node_epochs: vec![start] }).await.unwrap();
    let mut images = ledger.watch();
    let died = images.wait_for(|image| image.is_dead(start));
    assert!(tokio::time::timeout(2 * defaults.follow_alone.unwrap(), died).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_leaves_the_ledger_in_order() {
    let bucket = Bucket::default();
    let (store, ledger, start) = broker(&bucket, 0, options()).await;
    let gate = store.hold(Kind::Put, ENTRY);
    assert!(tokio::time::timeout(Duration::from_secs(1), ledger.submit(topic("t", start))).await.is_err());
    gate.send(()).unwrap();
    let outcome = ledger.submit(topic("u", start)).await.unwrap();
    assert_eq!((outcome, ledger.image().topics.len()), (Outcome::Done, 2));
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_of_a_loser_changes_nothing() {
    let bucket = Bucket::default();
    let (store, a, start) = broker(&bucket, 0, options()).await;
    let (_, b, _) = broker(&bucket, 1, often()).await;
    let n = b.image().seq.0 + 1;
    a.refresh().await.unwrap();
    // The first copy of broker 0's put is underway while broker 1 takes the number.
    let (sender, copy) = oneshot::channel();
    store.fail(Kind::Put, ENTRY, Fault::Late(sender));
    let gate = store.hold(Kind::Put, ENTRY);
    let meanwhile = async {
        settle().await;
        b.submit(nothing()).await.unwrap();
        gate.send(()).unwrap();
    };
    let (outcome, ()) = tokio::join!(a.submit(topic("t", start)), meanwhile);
    assert_eq!(outcome.unwrap(), Outcome::Done);
    collect_beyond(&bucket, &b, n).await;
    bucket.put(&format!("{ENTRY}{n:020}"), copy.await.unwrap());
    let behind = open(&bucket.store()).await;
    assert_eq!(behind.image(), b.refresh().await.unwrap());
    assert_eq!(a.refresh().await.unwrap(), b.image());
}
