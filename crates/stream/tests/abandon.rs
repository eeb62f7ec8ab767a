//! Logs that are gone for good are given up (rule D-10): what the bucket has is served, nothing else is, and no offset is given out twice.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::layer::{Layer, Over};
use crate::support::*;

use async_trait::async_trait;
use base::{Offset, OffsetRange, StreamId, UnixMillis, WalId};
use bytes::Bytes;
use control::LedgerOptions;
use control_core::{Command, Image, Outcome};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use stream::wal::{FoundRing, rings_at};
use stream::{
    AbandonLogs, AbandonOutcome, AppendError, Appended, BatchKind, NamedWal, NumberedBatch, Options, ProducerDelta,
    RecoverLogs, RestoreRequest, SequenceError, StartError, StartRequest, Store, Stream, Verdict, WalTarget,
    abandon_logs, logs_to_recover, plan_restore, recover_logs,
};
use stream_core::abandoned::UNCOMMITTED_OFFSETS_MAX;
use stream_core::testing::batch;
use stream_core::walk;
use tokio::sync::Notify;
use world::{ObjectStore, PutOutcome, StoreError, World};

/// What topics choose their log by.
const CHOICE: &str = "log";

const PRODUCER: i64 = 9;

fn choice(image: &Image, stream: StreamId) -> Option<&str> {
    let topic = image.topics.get(&image.streams.get(&stream)?.topic)?;
    topic.configs.get(CHOICE).map(String::as_str)
}

/// A mutants build runs these tests with one planted bug awake: one of them must fail then.
fn wake() {
    #[cfg(mutants)]
    if let Ok(name) = std::env::var("MUTANT") {
        base::mutant::wake(&name);
    }
}

async fn start_on_rings(world: &World, root: &Path, options: Options) -> Result<Store, StartError> {
    let ring = |name: &str| WalTarget::File { dir: root.join(name), bytes: 1 << 20 };
    let bulk = NamedWal { name: "bulk".to_owned(), target: ring("bulk"), pace: None };
    let request = StartRequest {
        node_id: None,
        advertised: "a:9092".to_owned(),
        wals: vec![NamedWal::default_of(ring("fast")), bulk],
        choice,
        answers: Arc::new(|_| Box::pin(async { false })),
        watch: None,
        registered: Arc::default(),
        options,
        ledger_options: LedgerOptions::default(),
    };
    Store::start(world, bucket(world, root).await, request).await
}

async fn image(world: &World, root: &Path) -> Image {
    control::read_all(bucket(world, root).await.as_ref()).await.unwrap().image
}

async fn send(stream: &Stream, sequence: i32) -> Result<Offset, AppendError> {
    loop {
        let base = stream.next();
        let delta = ProducerDelta {
            producer_id: PRODUCER,
            producer_epoch: 0,
            first_sequence: sequence,
            last_sequence: sequence,
            kind: BatchKind::Plain,
        };
        match stream.append(NumberedBatch { producer: Some(delta), ..batch(base.0, 1, 300) }) {
            Ok(Appended::Enqueued(confirmation)) => {
                confirmation.await.unwrap();
                return Ok(base);
            }
            Ok(Appended::Repeat(original)) => return Ok(original.base),
            Err(AppendError::ProducersAway) => stream.load_producers().await.unwrap(),
            Err(error) => return Err(error),
        }
    }
}

/// Two partitions of one topic, and one of another that has changed its log.
#[derive(Debug, Clone, Copy)]
struct Ids {
    plain: StreamId,
    idempotent: StreamId,
    moved: StreamId,
}

/// A broker that was killed with two rings: 10 of 17 batches, and 5 of 8, are in the bucket; of a stream that has changed its log 4 batches
/// are in the one and 3 in the other, and nothing in the bucket; the log holds records of a deleted topic besides.
fn killed(root: &Path) -> Ids {
    wake();
    let ids = life(|world| async move {
        let store = start_on_rings(&world, root, eager(NEVER)).await.unwrap();
        let (t, m) = (create(&store, "t", 2).await, create(&store, "mm", 1).await);
        create(&store, "gone", 1).await;
        append(&store.stream(t[0]).unwrap(), 10, 700).await;
        for sequence in 0..5 {
            send(&store.stream(t[1]).unwrap(), sequence).await.unwrap();
        }
        let committed = |id: StreamId| store.ledger().image().streams[&id].committed().0;
        until("all is committed", || (committed(t[0]), committed(t[1])) == (10, 5)).await;
        Ids { plain: t[0], idempotent: t[1], moved: m[0] }
    });
    life(|world| async move {
        let store = start_on_rings(&world, root, options()).await.unwrap();
        until("the dead logs are forgotten", || store.ledger().image().wals.len() == 2).await;
        append(&store.stream(ids.plain).unwrap(), 7, 700).await;
        for sequence in 5..8 {
            send(&store.stream(ids.idempotent).unwrap(), sequence).await.unwrap();
        }
        append(&store.stream(ids.moved).unwrap(), 4, 300).await;
        let gone = store.ledger().image().topic("gone").unwrap().clone();
        append(&store.stream(gone.partitions[0]).unwrap(), 2, 300).await;
        let topic = store.ledger().image().topic("mm").unwrap().id;
        let changes = BTreeMap::from([(CHOICE.to_owned(), Some("bulk".to_owned()))]);
        for command in [Command::DeleteTopic { id: gone.id }, Command::AlterTopicConfigs { id: topic, changes }] {
            assert_eq!(store.ledger().submit(command).await.unwrap(), Outcome::Done);
        }
        let has_moved = || {
            let owner = *store.ledger().image().streams[&ids.moved].owner().unwrap();
            owner.wal.index.0 == 1 && store.stream(ids.moved).is_some_and(|stream| stream.epoch() == owner.stream_epoch)
        };
        until("the stream has changed its log", has_moved).await;
        append(&store.stream(ids.moved).unwrap(), 3, 300).await;
    });
    ids
}

fn lose(root: &Path) {
    for ring in ["fast", "bulk"] {
        std::fs::remove_dir_all(root.join(ring)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn request(wals: BTreeSet<WalId>, options: Options) -> AbandonLogs {
    AbandonLogs {
        wals,
        broker: None,
        said: ("2026-11-28T04:20:00Z".to_owned(), "millstream broker abandon 0".to_owned()),
        rings: Vec::new(),
        choice: |_, _| None,
        options,
        ledger_options: LedgerOptions::default(),
    }
}

fn lost_logs(image: &Image) -> BTreeSet<WalId> {
    logs_to_recover(image).into_iter().filter(|log| log.ring_id.is_some()).map(|log| log.wal).collect()
}

/// Gives up whatever is in rings.
async fn abandon(
    world: &World,
    root: &Path,
    options: Options,
) -> Result<(BTreeMap<WalId, AbandonOutcome>, usize), StartError> {
    let wals = lost_logs(&image(world, root).await);
    abandon_logs(world, bucket(world, root).await, request(wals, options)).await
}

/// The base offsets of all batches from `from` on.
async fn bases(stream: &Stream, from: Offset) -> Vec<u64> {
    let mut bases = Vec::new();
    let mut next = from;
    while next < stream.confirmed() {
        let read = stream.read(next, 10_000).await.unwrap();
        assert!(read.next > next, "a reader goes on");
        let bytes: Bytes = read.pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        bases.extend(walk::walk(&bytes).map(|batch| batch.unwrap().range.base.0));
        next = read.next;
    }
    bases
}

/// Where a stream goes on of which so many offsets were committed.
fn ceiling(committed: u64) -> u64 {
    committed + UNCOMMITTED_OFFSETS_MAX
}

/// A broker that never had these logs serves what the bucket has, and gives out new offsets alone. `more`: what has been appended to the plain
/// stream since.
async fn is_served(world: &World, root: &Path, ids: Ids, more: &[u64]) {
    let store = start_at(world, bucket(world, root).await, "b:9092", false, eager(NEVER)).await;
    let committed: Vec<u64> = (0..10).collect();
    let plain = store.stream(ids.plain).unwrap();
    assert_eq!((plain.start(), plain.next().0), (Offset(0), ceiling(10) + more.len() as u64));
    assert_eq!(bases(&plain, Offset(0)).await, [&committed[..], more].concat());
    append(&plain, 3, 700).await;
    let next = ceiling(10) + more.len() as u64;
    let appended: Vec<u64> = more.iter().copied().chain(next..next + 3).collect();
    // Who had read what is lost goes on at the next record.
    for inside in [10, 17, ceiling(10) - 1, ceiling(10)] {
        assert_eq!(bases(&plain, Offset(inside)).await, appended, "from {inside} on");
    }
    let moved = store.stream(ids.moved).unwrap();
    assert_eq!((moved.start().0, moved.next().0), (0, ceiling(4)));
    append(&moved, 1, 300).await;
    assert_eq!(bases(&moved, Offset(0)).await, [ceiling(4)]);

    let idempotent = store.stream(ids.idempotent).unwrap();
    let refused = send(&idempotent, 8).await;
    assert!(
        matches!(refused, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))),
        "what came before it is lost: {refused:?}"
    );
    assert_eq!(send(&idempotent, 4).await.unwrap(), Offset(4), "a repeat of what is in the bucket");
    assert_eq!(send(&idempotent, 5).await.unwrap(), Offset(ceiling(5)), "lost, and sent again");
    until("all is committed", || {
        let image = store.ledger().image();
        let ends = [(ids.plain, next + 3), (ids.moved, ceiling(4) + 1), (ids.idempotent, ceiling(5) + 1)];
        ends.iter().all(|(id, end)| image.streams[id].committed().0 == *end)
    })
    .await;
    is_sound(world, root, &store).await;
}

async fn is_sound(world: &World, root: &Path, store: &Store) {
    let image = store.ledger().refresh().await.unwrap();
    assert_eq!(control_core::check(&image), Vec::<String>::new());
    check_bucket(world, root, store).await;
}

#[test]
fn what_only_lost_logs_had_is_given_up_and_no_offset_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = killed(root);
    lose(root);
    life(|world| async move {
        let (outcomes, handed_on) = abandon(&world, root, options()).await.unwrap();
        assert_eq!((outcomes.len(), handed_on), (2, 0));
        let mut lost: Vec<(StreamId, OffsetRange, bool)> = Vec::new();
        for outcome in outcomes.values() {
            let AbandonOutcome::GivenUp(parts) = outcome else { panic!("{outcome:?}") };
            lost.extend(parts.iter().map(|part| (part.stream, part.range, part.is_open)));
        }
        lost.sort_by_key(|(stream, range, _)| (*stream, range.base));
        let range = |base, next| OffsetRange::new(Offset(base), Offset(next));
        let expected = [
            (ids.plain, range(10, ceiling(10)), true),
            (ids.idempotent, range(5, ceiling(5)), true),
            (ids.moved, range(0, 4), false),
            (ids.moved, range(4, ceiling(4)), true),
        ];
        assert_eq!(lost, expected);
        let after = image(&world, root).await;
        assert!(after.wals.is_empty() && after.living().next().is_none(), "nothing is left behind");
        assert_eq!(control_core::check(&after), Vec::<String>::new());
        assert_eq!(after.ownerless_streams(), [ids.plain, ids.idempotent, ids.moved]);
        let newest = || -> BoxFuture<'_, _> { Box::pin(async { Ok(Arc::new(image(&world, root).await)) }) };
        let report = stream::fsck(&bucket(&world, root).await, &after, &newest).await.unwrap();
        assert_eq!((report.problems, report.strangers), (Vec::new(), Vec::new()));
        assert_eq!(report.abandoned.len(), 2, "one for each ring");
    });
    life(|world| async move { is_served(&world, root, ids, &[]).await });
}

/// Times, retention, DeleteRecords and compaction where a stream has a hole of so many offsets.
#[test]
fn whatever_walks_a_stream_gets_over_what_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = killed(root);
    lose(root);
    life(|world| async move {
        abandon(&world, root, options()).await.unwrap();
        let merging = eager(std::time::Duration::from_millis(20));
        let store = start_at(&world, bucket(&world, root).await, "b:9092", false, merging).await;
        let plain = store.stream(ids.plain).unwrap();
        assert_eq!(plain.seek_time(UnixMillis(10)).await.unwrap(), None, "nothing is as young");
        assert_eq!(plain.greatest_time().await.unwrap().batch, Some(Offset(9)));
        // A batch's time is its offset.
        let committed = || store.ledger().image().streams[&ids.plain].committed();
        for _ in 0..20 {
            append(&plain, 5, 700).await;
            let end = plain.next();
            until("it is committed", || committed() == end).await;
        }
        let end = plain.next().0;
        let all: Vec<u64> = (0..10).chain(ceiling(10)..end).collect();
        let merged =
            || store.compaction().objects_in > 0 && store.ledger().image().streams[&ids.plain].references.len() < 10;
        until("objects are merged", merged).await;
        assert_eq!(bases(&plain, Offset(0)).await, all);
        assert_eq!(bases(&plain, Offset(12)).await, all[10..]);
        let found = plain.seek_time(UnixMillis(10)).await.unwrap().unwrap();
        assert_eq!(bases(&plain, found).await, all[10..]);
        assert_eq!(plain.greatest_time().await.unwrap().batch, Some(Offset(end - 1)));
        let kept = plain.retention_start(Some(20 * 700), None);
        assert!(kept == Offset(0) || kept.0 >= ceiling(10), "{kept}");
        is_sound(&world, root, &store).await;
        // Deleted up to somewhere inside.
        plain.trim(Offset(1000)).await.unwrap();
        assert_eq!(bases(&plain, Offset(1000)).await, all[10..]);
        is_sound(&world, root, &store).await;
        // One of which nothing else is left.
        let moved = store.stream(ids.moved).unwrap();
        assert_eq!(moved.seek_time(UnixMillis(0)).await.unwrap(), None);
        assert_eq!(moved.greatest_time().await.unwrap().batch, None);
        assert_eq!((moved.bytes(), moved.retention_start(Some(0), Some(UnixMillis(i64::MAX)))), (0, Offset(0)));
        moved.trim(moved.confirmed()).await.unwrap();
        append(&moved, 1, 300).await;
        assert_eq!(bases(&moved, moved.start()).await, [ceiling(4)]);
        is_sound(&world, root, &store).await;
    });
}

/// A bucket that stops at the n-th write, which has happened by then or never does.
struct Dies {
    bucket: Arc<dyn ObjectStore>,
    left: AtomicUsize,
    lands: bool,
    died: Notify,
}

impl Dies {
    async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if before.is_ok() {
            return write.await;
        }
        if self.lands {
            write.await;
        }
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Layer for Dies {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.bucket
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.write(self.bucket.put_if_absent(key, parts)).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.write(self.bucket.delete(keys)).await
    }
}

/// Whether it has come to its end.
fn cut_short(root: &Path, writes: usize, lands: bool) -> bool {
    life(|world| async move {
        let bucket = bucket(&world, root).await;
        let dies = Arc::new(Over(Dies { bucket, left: AtomicUsize::new(writes), lands, died: Notify::new() }));
        let wals = lost_logs(&image(&world, root).await);
        tokio::select! {
            biased;
            () = dies.died.notified() => false,
            ended = abandon_logs(&world, dies.clone(), request(wals, options())) => {
                ended.unwrap();
                true
            }
        }
    })
}

#[test]
fn one_that_is_cut_short_anywhere_is_finished_by_the_next_and_serves_nothing_wrong_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let ids = killed(folder.path());
    for lands in [false, true] {
        for writes in 0.. {
            let copied = tempfile::tempdir().unwrap();
            let root = copied.path();
            copy(&folder.path().join("bucket"), &root.join("bucket"));
            if cut_short(root, writes, lands) {
                assert!(writes > 8, "it writes more often than that");
                break;
            }
            let mut more = Vec::new();
            if writes % 3 == 1 {
                // A broker starts in between, and may serve by now.
                more = life(|world| async move {
                    let store = start_at(&world, bucket(&world, root).await, "c:9092", false, options()).await;
                    let Some(stream) = store.stream(ids.plain) else { return Vec::new() };
                    assert_eq!(stream.next().0, ceiling(10), "{writes}");
                    append(&stream, 1, 700).await;
                    vec![ceiling(10)]
                });
            } else if writes % 3 == 2 {
                // The disk is there again.
                for ring in ["fast", "bulk"] {
                    copy(&folder.path().join(ring), &root.join(ring));
                }
                let refused = life(|world| async move {
                    match start_on_rings(&world, root, options()).await {
                        Ok(store) => {
                            let stream = store.stream(ids.plain).unwrap();
                            assert_eq!(stream.next().0, 17, "{writes}: whole, or not at all");
                            check_all(&stream, 700).await;
                            assert_eq!(store.stream(ids.moved).unwrap().next().0, 7, "{writes}");
                            false
                        }
                        Err(error) => {
                            assert!(error.0.contains("was given up at 2026-"), "{writes}: {error}");
                            true
                        }
                    }
                });
                if !refused {
                    continue;
                }
                lose(root);
            }
            life(|world| async move {
                abandon(&world, root, options()).await.unwrap();
                is_served(&world, root, ids, &more).await;
            });
        }
    }
}

#[test]
fn a_ring_that_comes_back_is_refused_by_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = killed(root);
    for ring in ["fast", "bulk"] {
        copy(&root.join(ring), &root.join("kept").join(ring));
    }
    lose(root);
    life(|world| async move {
        let wals = lost_logs(&image(&world, root).await);
        abandon(&world, root, options()).await.unwrap();
        for ring in ["fast", "bulk"] {
            copy(&root.join("kept").join(ring), &root.join(ring));
        }
        let before = image(&world, root).await;
        let refused = start_on_rings(&world, root, options()).await.err().unwrap().0;
        for told in [
            "fast/ring was given up at 2026-11-28T04:20:00Z by `millstream broker abandon 0`",
            "inspect wal",
            "move the file away",
        ] {
            assert!(refused.contains(told), "{refused}");
        }
        assert_eq!(image(&world, root).await, before, "it has not even registered");

        let rings: Vec<FoundRing> = rings_at(world.disk.as_ref(), &root.join("fast")).await.unwrap();
        let recover = RecoverLogs {
            wals,
            silent: BTreeSet::new(),
            rings: rings.clone(),
            older_too: false,
            choice: |_, _| None,
            options: options(),
            ledger_options: LedgerOptions::default(),
        };
        let refused = recover_logs(&world, bucket(&world, root).await, recover).await.unwrap_err().0;
        assert!(refused.contains("was given up"), "{refused}");
        let restore = RestoreRequest { rings, ask_objects: true, ..RestoreRequest::default() };
        let refused = plan_restore(&world, &bucket(&world, root).await, &restore).await.err().unwrap().0;
        assert!(refused.contains("was given up"), "{refused}");
    });
    lose(root);
    life(|world| async move {
        let store = start_on_rings(&world, root, options()).await.unwrap();
        assert_eq!(bases(&store.stream(ids.plain).unwrap(), Offset(0)).await, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_ledger_that_is_lost_afterwards_is_rebuilt_with_the_hole() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = killed(root);
    lose(root);
    life(|world| async move {
        abandon(&world, root, options()).await.unwrap();
    });
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let store = bucket(&world, root).await;
        let plan = plan_restore(&world, &store, &RestoreRequest::default()).await.unwrap();
        assert_eq!(plan.verdict, Verdict::Rebuilt);
        for id in [ids.plain, ids.idempotent] {
            let told = &plan.streams[&id];
            assert_eq!(told.missing, [], "it is known what became of it");
        }
        assert_eq!((plan.streams[&ids.plain].start, plan.streams[&ids.plain].end), (Offset(0), Offset(ceiling(10))));
        let written = plan.execute(&world, &store, None).await.unwrap();
        assert_eq!(control_core::check(&written), Vec::<String>::new());
        assert!(written.next_stream_id > ids.moved, "of which there was nothing but the log");
        let store = start_at(&world, store, "b:9092", false, options()).await;
        let plain = store.stream(ids.plain).unwrap();
        append(&plain, 2, 700).await;
        let expected: Vec<u64> = (0..10).chain(ceiling(10)..ceiling(10) + 2).collect();
        assert_eq!(bases(&plain, Offset(0)).await, expected);
        assert_eq!(store.stream(ids.idempotent).unwrap().next().0, ceiling(5));
        is_sound(&world, root, &store).await;
    });
}

/// A bucket that takes data objects only while it is open.
struct Gate {
    bucket: Arc<dyn ObjectStore>,
    is_open: AtomicBool,
}

#[async_trait]
impl Layer for Gate {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.bucket
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        while key.starts_with("data/") && !self.is_open.load(Ordering::Acquire) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.bucket.put_if_absent(key, parts).await
    }
}

/// Appends until it is told that it is too far ahead, or so many times; where it ends then.
async fn append_as_far_as_may_be(stream: &Stream, times: u64) -> Offset {
    for _ in 0..times {
        match stream.append(batch(stream.next().0, 1, 300)) {
            Ok(Appended::Enqueued(confirmation)) => confirmation.await.unwrap(),
            Err(AppendError::TooFarAhead) => break,
            other => panic!("{other:?}"),
        }
    }
    stream.confirmed()
}

#[test]
fn an_owner_gives_out_nothing_beyond_what_a_lost_log_is_passed_over() {
    wake();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let bounded = || Options { uncommitted_offsets_max: 20, ..eager(NEVER) };
    let (id, end) = life(|world| async move {
        let gate = Arc::new(Over(Gate { bucket: bucket(&world, root).await, is_open: AtomicBool::new(false) }));
        let store = start_on(&world, gate.clone(), root, Kind::Ring, bounded()).await;
        let id = create(&store, "t", 1).await[0];
        let stream = store.stream(id).unwrap();
        assert_eq!(append_as_far_as_may_be(&stream, 30).await, Offset(20));
        gate.is_open.store(true, Ordering::Release);
        for _ in 0..30 {
            while let Err(AppendError::TooFarAhead) = stream.append(batch(stream.next().0, 1, 300)) {
                stream.room().await;
            }
        }
        until("it is committed", || store.ledger().image().streams[&id].committed() == Offset(50)).await;
        gate.is_open.store(false, Ordering::Release);
        let end = append_as_far_as_may_be(&stream, 30).await;
        assert!(matches!(stream.append(batch(end.0, 2, 300)), Err(AppendError::TooFarAhead)), "nor a part of one");
        (id, end)
    });
    assert_eq!(end, Offset(70));
    std::fs::remove_dir_all(root.join("wal")).unwrap();
    life(|world| async move {
        abandon(&world, root, bounded()).await.unwrap();
        let store = start_at(&world, bucket(&world, root).await, "b:9092", false, bounded()).await;
        let stream = store.stream(id).unwrap();
        assert!(stream.next() >= end, "offset {} was given out before", stream.next());
        assert_eq!(bases(&stream, Offset(0)).await, (0..50).collect::<Vec<_>>());
        is_sound(&world, root, &store).await;
    });
}

#[test]
fn a_ring_that_somebody_has_opened_meanwhile_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = killed(root);
    life(|world| async move {
        let wals = lost_logs(&image(&world, root).await);
        let store = start_on_rings(&world, root, options()).await.unwrap();
        // The plan was made before, and its logs may still be in the ledger.
        let refused = abandon_logs(&world, bucket(&world, root).await, request(wals, options())).await;
        if let Err(error) = &refused {
            assert!(error.0.contains("meanwhile") || error.0.contains("which lives"), "{error}");
        } else {
            assert!(refused.unwrap().0.values().all(|outcome| *outcome == AbandonOutcome::Others));
        }
        let markers = stream::markers(&bucket(&world, root).await).await.unwrap();
        assert_eq!(markers, []);
        append(&store.stream(ids.plain).unwrap(), 1, 700).await;
        check_all(&store.stream(ids.plain).unwrap(), 700).await;
    });
    life(|world| async move {
        let store = start_on_rings(&world, root, options()).await.unwrap();
        assert_eq!(store.stream(ids.plain).unwrap().next(), Offset(18));
    });
}
