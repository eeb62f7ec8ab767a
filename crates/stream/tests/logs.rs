//! Several write-ahead logs of one start: streams in each, recovered each, moved between them, one of them failing. On a real disk.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod support;

use support::*;

use async_trait::async_trait;
use base::{Offset, StreamId, WalIndex};
use bytes::Bytes;
use control::LedgerOptions;
use control_core::{Command, Image, Outcome};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::{
    AppendError, Appended, NamedWal, NumberedBatch, Options, ProducerDelta, StartRequest, Store, Stream, WalTarget,
};
use stream_core::testing::batch;
use world::{AlignedBuf, Disk, DiskError, File, OpenMode, World};

/// What topics choose their log by.
const CHOICE: &str = "log";

fn choice(image: &Image, stream: StreamId) -> Option<&str> {
    let topic = image.topics.get(&image.streams.get(&stream)?.topic)?;
    topic.configs.get(CHOICE).map(String::as_str)
}

fn ring(root: &Path, name: &str) -> WalTarget {
    WalTarget::File { dir: root.join(name), bytes: 16 << 20 }
}

fn named(name: &str, target: WalTarget) -> NamedWal {
    NamedWal { name: name.to_owned(), target, pace: None }
}

/// A fast ring, and objects for bulk.
fn both(root: &Path) -> Vec<NamedWal> {
    vec![NamedWal::default_of(ring(root, "fast")), named("bulk", WalTarget::Storage)]
}

async fn start_logs(world: &World, root: &Path, wals: Vec<NamedWal>, options: Options) -> Store {
    let request = StartRequest {
        node_id: None,
        advertised: "127.0.0.1:9092".to_owned(),
        wals,
        choice,
        answers: Arc::new(|_| Box::pin(async { false })),
        registered: Arc::default(),
        options,
        ledger_options: LedgerOptions::default(),
    };
    Store::start(world, bucket(world, root).await, request).await.unwrap()
}

async fn choose(store: &Store, topic: &str, log: Option<&str>) {
    let id = store.ledger().image().topic(topic).unwrap().id;
    let changes = BTreeMap::from([(CHOICE.to_owned(), log.map(str::to_owned))]);
    assert_eq!(store.ledger().submit(Command::AlterTopicConfigs { id, changes }).await.unwrap(), Outcome::Done);
}

/// In which log each stream of a topic is.
fn indexes(store: &Store, topic: &str) -> Vec<u16> {
    let image = store.ledger().image();
    let streams = image.topic(topic).unwrap().partitions.clone();
    streams.iter().map(|id| image.streams[id].owner().unwrap().wal.index.0).collect()
}

async fn moved(store: &Store, topic: &str, index: u16) {
    until("the topic has moved", || indexes(store, topic).iter().all(|it| *it == index)).await;
    // The ledger knows before the streams accept again.
    let epochs = || {
        let image = store.ledger().image();
        streams_of(store, topic).iter().all(|id| store.stream(*id).unwrap().epoch() == image.streams[id].epoch)
    };
    until("its streams go on", epochs).await;
}

#[test]
fn each_log_is_recovered_and_its_streams_go_on_in_the_log_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        create(&store, "hot", 2).await;
        create(&store, "cold", 2).await;
        choose(&store, "cold", Some("bulk")).await;
        moved(&store, "cold", 1).await;
        for topic in ["hot", "cold"] {
            for id in streams_of(&store, topic) {
                append(&store.stream(id).unwrap(), 40, 700).await;
            }
        }
        assert_eq!((indexes(&store, "hot"), indexes(&store, "cold")), (vec![0, 0], vec![1, 1]));
        let appended: Vec<u64> = store.gauges().wals.iter().map(|wal| wal.appended_bytes).collect();
        assert!(appended.iter().all(|bytes| *bytes > 40 * 700), "{appended:?}");
    });
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        assert_eq!((indexes(&store, "hot"), indexes(&store, "cold")), (vec![0, 0], vec![1, 1]));
        for topic in ["hot", "cold"] {
            for id in streams_of(&store, topic) {
                let stream = store.stream(id).unwrap();
                assert_eq!(stream.confirmed(), Offset(40));
                append(&stream, 10, 700).await;
                check_all(&stream, 700).await;
            }
        }
        until("the dead logs are committed", || store.gauges().recovering_wals == 0).await;
        assert_eq!(store.ledger().image().wals.len(), 2, "and forgotten");
        check_bucket(&world, root, &store).await;
        store.drain(Duration::from_secs(10)).await;
        assert!(store.ledger().image().wals.is_empty(), "a clean stop gives up both");
    });
    // A start with the second one alone, under another name: everything is written there.
    life(|world| async move {
        let store = start_logs(&world, root, vec![NamedWal::default_of(WalTarget::Storage)], options()).await;
        for topic in ["hot", "cold"] {
            assert_eq!(indexes(&store, topic), [0, 0]);
            for id in streams_of(&store, topic) {
                let stream = store.stream(id).unwrap();
                append(&stream, 1, 700).await;
                check_all(&stream, 700).await;
                assert_eq!(stream.confirmed(), Offset(51));
            }
        }
    });
    // And one with both again recovers it, and opens each where it belongs.
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        moved(&store, "cold", 1).await;
        assert_eq!(indexes(&store, "hot"), [0, 0]);
        for id in [streams_of(&store, "hot"), streams_of(&store, "cold")].concat() {
            check_all(&store.stream(id).unwrap(), 700).await;
        }
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn a_start_without_a_log_of_before_recovers_it_and_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        let wals = vec![NamedWal::default_of(ring(root, "fast")), named("bulk", ring(root, "slow"))];
        let store = start_logs(&world, root, wals, options()).await;
        let id = create(&store, "cold", 1).await[0];
        choose(&store, "cold", Some("bulk")).await;
        moved(&store, "cold", 1).await;
        append(&store.stream(id).unwrap(), 30, 900).await;
        id
    });
    life(|world| async move {
        let store = start_logs(&world, root, vec![NamedWal::default_of(ring(root, "fast"))], options()).await;
        let stream = store.stream(id).unwrap();
        assert_eq!((stream.confirmed(), indexes(&store, "cold")), (Offset(30), vec![0]));
        check_all(&stream, 900).await;
        until("the old logs are committed", || store.gauges().recovering_wals == 0).await;
        assert_eq!(store.ledger().image().wals.len(), 1);
    });
}

fn from_producer(base: Offset, sequence: i32) -> NumberedBatch {
    let delta = ProducerDelta {
        producer_id: 9,
        producer_epoch: 0,
        first_sequence: sequence,
        last_sequence: sequence,
        transactional: false,
    };
    NumberedBatch { producer: Some(delta), ..batch(base.0, 1, 500) }
}

/// Sends one record as a broker does for an idempotent producer, whatever happens to the stream. Where it stands, whether it was there.
async fn send(store: &Store, id: StreamId, sequence: i32) -> (Offset, bool) {
    loop {
        let stream = store.stream(id).unwrap();
        let base = stream.next();
        match stream.append(from_producer(base, sequence)) {
            Ok(Appended::Enqueued(confirmation)) => {
                if confirmation.await.is_ok() {
                    return (base, false);
                }
            }
            Ok(Appended::Repeat(original)) => {
                if stream.until_confirmed(original.next()).await {
                    return (original.base, true);
                }
            }
            Err(AppendError::ProducersAway) => drop(stream.load_producers().await),
            Err(AppendError::Busy) => stream.room().await,
            Err(AppendError::NotOwner) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A producer that writes on while its topic is moved; how long its slowest record took.
async fn write(world: &World, store: &Store, id: StreamId, records: std::ops::Range<i32>) -> Duration {
    let mut slowest = Duration::ZERO;
    for sequence in records {
        let began = world.clock.now();
        assert_eq!(send(store, id, sequence).await, (Offset(u64::try_from(sequence).unwrap()), false));
        slowest = slowest.max(world.clock.now().since(began));
    }
    slowest
}

async fn check_known(store: &Store, id: StreamId, next: i32) {
    for sequence in next - 5..next {
        let there = (Offset(u64::try_from(sequence).unwrap()), true);
        assert_eq!(send(store, id, sequence).await, there, "it is a repeat");
    }
    assert_eq!(store.stream(id).unwrap().next(), Offset(u64::try_from(next).unwrap()), "and is not stored twice");
}

#[test]
fn a_topic_moves_between_logs_under_load_and_loses_and_doubles_nothing() {
    for upload_age in [Duration::from_millis(15), Duration::from_hours(1)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let tiny = Options { upload_age, log_cache_bytes_max: 60_000, ..options() };
        let (first, again) = (tiny.clone(), tiny);
        let id = life(|world| async move {
            let store = start_logs(&world, root, both(root), first).await;
            let id = create(&store, "a", 1).await[0];
            let moves = async {
                for round in 0..6 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let to = round % 2 == 0;
                    choose(&store, "a", to.then_some("bulk")).await;
                    moved(&store, "a", u16::from(to)).await;
                }
            };
            let (slowest, ()) = tokio::join!(write(&world, &store, id, 0..600), moves);
            assert!(slowest < Duration::from_secs(1), "the slowest record took {slowest:?}");
            let stream = store.stream(id).unwrap();
            assert_eq!((stream.confirmed(), stream.epoch().0), (Offset(600), 6));
            check_all(&stream, 500).await;
            check_known(&store, id, 600).await;
            id
        });
        life(|world| async move {
            let store = start_logs(&world, root, both(root), again).await;
            assert_eq!(store.stream(id).unwrap().confirmed(), Offset(600), "{upload_age:?}");
            check_known(&store, id, 600).await;
            check_all(&store.stream(id).unwrap(), 500).await;
            until("the dead logs are committed", || store.gauges().recovering_wals == 0).await;
            assert_eq!(store.ledger().image().wals.len(), 2);
            check_all(&store.stream(id).unwrap(), 500).await;
            check_known(&store, id, 600).await;
            check_bucket(&world, root, &store).await;
        });
    }
}

#[test]
fn a_handle_of_before_the_move_ends_where_its_tenure_ends() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        let id = create(&store, "a", 1).await[0];
        let before: Stream = store.stream(id).unwrap();
        append(&before, 5, 100).await;
        let mut parked = before.watch_confirmed();
        parked.mark_unchanged();
        choose(&store, "a", Some("bulk")).await;
        moved(&store, "a", 1).await;
        assert!(parked.has_changed().unwrap(), "whoever waits looks again");
        let after = store.stream(id).unwrap();
        append(&after, 5, 100).await;
        assert!(before.is_over() && !before.is_deleted());
        assert_eq!((before.confirmed(), after.confirmed()), (Offset(5), Offset(10)));
        assert_eq!(before.append(batch(5, 1, 100)).unwrap_err(), AppendError::NotOwner);
        assert!(!before.until_confirmed(Offset(6)).await, "what another tenure has there is not what was asked for");
        assert!(!before.is_still_owned().await.unwrap());
        check_all(&after, 100).await;
    });
}

/// A disk whose files below one folder fail from some moment on.
struct FailingDisk {
    disk: Arc<dyn Disk>,
    below: std::path::PathBuf,
    fails: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn File>,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl Disk for FailingDisk {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.open(path, mode).await?;
        if !path.starts_with(&self.below) {
            return Ok(file);
        }
        Ok(Arc::new(FailingFile { file, fails: self.fails.clone() }))
    }
    async fn create_dir_all(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.create_dir_all(path).await
    }
    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.sync_dir(path).await
    }
    async fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.disk.link(from, to).await
    }
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.disk.rename(from, to).await
    }
    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.remove(path).await
    }
    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        self.disk.list(path).await
    }
    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.disk.free_bytes(path).await
    }
}

impl FailingFile {
    fn check(&self) -> Result<(), DiskError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(DiskError::Failed { path: "ring".into(), message: "the device is gone".to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl File for FailingFile {
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        self.check()?;
        self.file.read_at(position, len).await
    }
    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.check()?;
        self.file.write_at(position, data).await
    }
    async fn sync(&self) -> Result<(), DiskError> {
        self.check()?;
        self.file.sync().await
    }
    async fn size(&self) -> Result<u64, DiskError> {
        self.file.size().await
    }
    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        self.file.allocate(len).await
    }
    async fn lock(&self) -> Result<(), DiskError> {
        self.file.lock().await
    }
    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }
    fn is_device(&self) -> bool {
        self.file.is_device()
    }
}

#[test]
fn a_log_that_fails_stops_nobody_elses_and_its_streams_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (first, last) = life(|world| async move {
        let fails = Arc::new(AtomicBool::new(false));
        let disk = FailingDisk { disk: world.disk.clone(), below: root.join("fast"), fails: fails.clone() };
        let world = World { disk: Arc::new(disk), ..world };
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
        fails.store(true, Ordering::SeqCst);
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
        let fails = Arc::new(AtomicBool::new(false));
        let disk = FailingDisk { disk: world.disk.clone(), below: root.join("fast"), fails: fails.clone() };
        let world = World { disk: Arc::new(disk), ..world };
        let store = start_logs(&world, root, vec![NamedWal::default_of(ring(root, "fast"))], options()).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        append(&stream, 5, 700).await;
        fails.store(true, Ordering::SeqCst);
        assert!(enqueue(&stream, batch(5, 1, 700)).await.is_err(), "its fate is unknown");
        assert!(store.stopped().await.contains("the device is gone"));
    });
}

#[test]
fn a_topic_made_in_a_log_is_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        let id = base::TopicId(77);
        let command = Command::CreateTopic {
            id,
            name: "cold".to_owned(),
            partitions: vec![(store.node_epoch(), WalIndex(1))],
            replication_factor: 1,
            configs: BTreeMap::from([(CHOICE.to_owned(), "bulk".to_owned())]),
            internal: false,
        };
        assert_eq!(store.ledger().submit(command).await.unwrap(), Outcome::Done);
        let stream = store.stream(streams_of(&store, "cold")[0]).unwrap();
        append(&stream, 3, 100).await;
        assert_eq!((indexes(&store, "cold"), stream.epoch().0), (vec![1], 0));
    });
}
