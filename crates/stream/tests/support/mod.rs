//! What the tests of a store's life share: lives on a real disk, and appends that are waited for.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

pub(crate) mod layer;
pub(crate) mod logs;

use base::{StreamId, TopicId, WalIndex};
use control::LedgerOptions;
use control_core::{Command, Outcome};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::wal::WalOptions;
use stream::{
    Appended, CompactionOptions, Confirmation, NamedWal, NumberedBatch, Options, StartError, StartRequest, Store,
    Stream, WalTarget, fsck_of,
};
use stream_core::testing::{batch, batch_bytes};
use world::folder::FolderStore;
use world::{ObjectStore, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ring,
    Objects,
}

pub(crate) const BOTH: [Kind; 2] = [Kind::Ring, Kind::Objects];

pub(crate) fn options() -> Options {
    let defaults = Options::for_memory(64 << 20);
    let wal = WalOptions { object_pace: defaults.wal.object_pace.clone().without_price(), ..defaults.wal.clone() };
    Options {
        wal,
        data_block_bytes: 4096,
        stream_object_bytes: 64 << 10,
        // What is idle leaves memory, so that what comes back is tested.
        producers_idle_max: 0,
        dead_object_grace: Duration::from_millis(10),
        housekeeping_period: Duration::from_millis(30),
        sweep_period: Duration::from_millis(50),
        ..defaults
    }
}

/// No compaction while a test runs.
pub(crate) const NEVER: Duration = Duration::from_hours(1);

/// Uploads at once; compacts when it is asked to, three at a time; no object above 64 KiB.
pub(crate) fn eager(period: Duration) -> Options {
    let defaults = options();
    let compaction = CompactionOptions {
        period,
        fan: 3,
        object_bytes_max: 64 << 10,
        read_bytes: 4096,
        dead_age: Duration::ZERO,
        ..defaults.compaction.clone()
    };
    Options { upload_age: Duration::from_millis(5), stream_object_bytes: 16 << 10, compaction, ..defaults }
}

/// Runs one life to its end, then drops all of it.
pub(crate) fn life<F: Future>(work: impl FnOnce(World) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let output = runtime.block_on(async { work(World::system()).await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    output
}

pub(crate) async fn bucket(world: &World, root: &Path) -> Arc<dyn ObjectStore> {
    let store = FolderStore::open(world.disk.clone(), world.clock.clone(), root.join("bucket")).await.unwrap();
    Arc::new(store)
}

pub(crate) async fn start(world: &World, root: &Path, kind: Kind, options: Options) -> Store {
    start_on(world, bucket(world, root).await, root, kind, options).await
}

pub(crate) async fn start_on(
    world: &World,
    bucket: Arc<dyn ObjectStore>,
    root: &Path,
    kind: Kind,
    options: Options,
) -> Store {
    let wal = match kind {
        Kind::Ring => WalTarget::File { dir: root.join("wal"), bytes: 16 << 20 },
        Kind::Objects => WalTarget::Storage,
    };
    Starting { wal, advertised: "127.0.0.1:9092", others_live: false, options }.start(world, bucket).await
}

/// A broker at that address, with its log in the bucket. `others_live`: whether other brokers seem to live.
pub(crate) async fn start_at(
    world: &World,
    bucket: Arc<dyn ObjectStore>,
    advertised: &str,
    others_live: bool,
    options: Options,
) -> Store {
    Starting { wal: WalTarget::Storage, advertised, others_live, options }.start(world, bucket).await
}

/// A broker that is to start.
pub(crate) struct Starting<'a> {
    pub(crate) wal: WalTarget,
    pub(crate) advertised: &'a str,
    /// Whether other brokers seem to live.
    pub(crate) others_live: bool,
    pub(crate) options: Options,
}

impl Starting<'_> {
    pub(crate) async fn start(self, world: &World, bucket: Arc<dyn ObjectStore>) -> Store {
        self.try_start(world, bucket).await.unwrap()
    }

    /// The same, which may be refused.
    pub(crate) async fn try_start(self, world: &World, bucket: Arc<dyn ObjectStore>) -> Result<Store, StartError> {
        let others_live = self.others_live;
        let request = StartRequest {
            node_id: None,
            advertised: self.advertised.to_owned(),
            wals: vec![NamedWal::default_of(self.wal)],
            choice: |_, _| None,
            answers: Arc::new(move |_| Box::pin(async move { others_live })),
            watch: None,
            options: self.options,
            registered: Arc::default(),
            ledger_options: LedgerOptions::default(),
        };
        Store::start(world, bucket, request).await
    }
}

pub(crate) async fn create(store: &Store, name: &str, partitions: usize) -> Vec<StreamId> {
    let id = TopicId(u128::from(name.len() as u64) << 64 | u128::from(name.as_bytes()[0]));
    let command = Command::CreateTopic {
        id,
        name: name.to_owned(),
        partitions: vec![(store.node_epoch(), WalIndex(0)); partitions],
        replication_factor: 1,
        configs: std::collections::BTreeMap::new(),
        internal: false,
    };
    assert_eq!(store.ledger().submit(command).await.unwrap(), Outcome::Done);
    store.ledger().image().topic(name).unwrap().partitions.clone()
}

/// Appends a batch that is not a repeat.
pub(crate) fn enqueue(stream: &Stream, batch: NumberedBatch) -> Confirmation {
    match stream.append(batch).unwrap() {
        Appended::Enqueued(confirmation) => confirmation,
        Appended::Repeat(original) => panic!("no repeat of {original:?}"),
    }
}

/// Appends so many batches of one record each, and waits until all are confirmed.
pub(crate) async fn append(stream: &Stream, count: u64, len: usize) {
    let mut confirmations = Vec::new();
    for _ in 0..count {
        confirmations.push(enqueue(stream, batch(stream.next().0, 1, len)));
    }
    for confirmation in confirmations {
        confirmation.await.unwrap();
    }
}

/// Reads all that is confirmed and checks every byte.
pub(crate) async fn check_all(stream: &Stream, len: usize) {
    let mut next = stream.start();
    while next < stream.confirmed() {
        let batches = stream.read(next, 10_000).await.unwrap();
        assert!(batches.next > next && batches.next <= stream.confirmed());
        let bytes: Vec<u8> = batches.pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let expected: Vec<u8> = (next.0..batches.next.0).flat_map(|base| batch_bytes(base, 1, len)).collect();
        assert!(bytes == expected, "the bytes of [{next}, {}) are not what was appended", batches.next);
        next = batches.next;
    }
    assert!(stream.read(next, 1000).await.unwrap().pieces.is_empty());
}

pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..2000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

pub(crate) async fn check_bucket(world: &World, root: &Path, store: &Store) {
    let report = fsck_of(&bucket(world, root).await, store.ledger()).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.strangers, Vec::<String>::new());
}

pub(crate) fn streams_of(store: &Store, name: &str) -> Vec<StreamId> {
    store.ledger().image().topic(name).unwrap().partitions.clone()
}
