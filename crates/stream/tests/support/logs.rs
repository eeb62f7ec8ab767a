//! Starts with several logs: how they are begun, how topics change between them, idempotent producers that write on meanwhile, and a device
//! that fails.

use super::*;

use async_trait::async_trait;
use base::Offset;
use bytes::Bytes;
use control_core::Image;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use stream::{AppendError, BatchKind, ProducerDelta};
use world::{AlignedBuf, Disk, DiskError, File, OpenMode};

/// What topics choose their log by.
pub(crate) const CHOICE: &str = "log";

pub(crate) fn choice(image: &Image, stream: StreamId) -> Option<&str> {
    let topic = image.topics.get(&image.streams.get(&stream)?.topic)?;
    topic.configs.get(CHOICE).map(String::as_str)
}

pub(crate) fn ring(root: &Path, name: &str) -> WalTarget {
    WalTarget::File { dir: root.join(name), bytes: 16 << 20 }
}

pub(crate) fn named(name: &str, target: WalTarget) -> NamedWal {
    NamedWal { name: name.to_owned(), target, pace: None }
}

/// A fast ring, and objects for bulk.
pub(crate) fn both(root: &Path) -> Vec<NamedWal> {
    vec![NamedWal::default_of(ring(root, "fast")), named("bulk", WalTarget::Storage)]
}

pub(crate) async fn start_logs(world: &World, root: &Path, wals: Vec<NamedWal>, options: Options) -> Store {
    start_logs_at(world, root, "127.0.0.1:9092", false, wals, options).await
}

/// At another address it is another broker; the others `answer`, or are dead.
pub(crate) async fn start_logs_at(
    world: &World,
    root: &Path,
    advertised: &str,
    answer: bool,
    wals: Vec<NamedWal>,
    options: Options,
) -> Store {
    let request = StartRequest {
        node_id: None,
        advertised: advertised.to_owned(),
        wals,
        choice,
        answers: Arc::new(move |_| Box::pin(async move { answer })),
        watch: None,
        registered: Arc::default(),
        options,
        ledger_options: LedgerOptions::default(),
    };
    Store::start(world, bucket(world, root).await, request).await.unwrap()
}

pub(crate) async fn choose(store: &Store, topic: &str, log: Option<&str>) {
    let id = store.ledger().image().topic(topic).unwrap().id;
    let changes = BTreeMap::from([(CHOICE.to_owned(), log.map(str::to_owned))]);
    assert_eq!(store.ledger().submit(Command::AlterTopicConfigs { id, changes }).await.unwrap(), Outcome::Done);
}

/// In which log each stream of a topic is.
pub(crate) fn indexes(store: &Store, topic: &str) -> Vec<u16> {
    let image = store.ledger().image();
    let streams = image.topic(topic).unwrap().partitions.clone();
    streams.iter().map(|id| image.streams[id].owner().unwrap().wal.index.0).collect()
}

pub(crate) async fn moved(store: &Store, topic: &str, index: u16) {
    until("the topic has moved", || indexes(store, topic).iter().all(|it| *it == index)).await;
    // The ledger knows before the streams accept again.
    let epochs = || {
        let image = store.ledger().image();
        streams_of(store, topic).iter().all(|id| store.stream(*id).unwrap().epoch() == image.streams[id].epoch)
    };
    until("its streams go on", epochs).await;
}

pub(crate) fn from_producer(base: Offset, sequence: i32) -> NumberedBatch {
    let delta = ProducerDelta {
        producer_id: 9,
        producer_epoch: 0,
        first_sequence: sequence,
        last_sequence: sequence,
        kind: BatchKind::Plain,
    };
    NumberedBatch { producer: Some(delta), ..batch(base.0, 1, 500) }
}

/// Sends one record as a broker does for an idempotent producer, whatever happens to the stream. Where it stands, whether it was there.
pub(crate) async fn send(store: &Store, id: StreamId, sequence: i32) -> (Offset, bool) {
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
pub(crate) async fn write(world: &World, store: &Store, id: StreamId, records: std::ops::Range<i32>) -> Duration {
    let mut slowest = Duration::ZERO;
    for sequence in records {
        let began = world.clock.now();
        assert_eq!(send(store, id, sequence).await, (Offset(u64::try_from(sequence).unwrap()), false));
        slowest = slowest.max(world.clock.now().since(began));
    }
    slowest
}

pub(crate) async fn check_known(store: &Store, id: StreamId, next: i32) {
    for sequence in next - 5..next {
        let there = (Offset(u64::try_from(sequence).unwrap()), true);
        assert_eq!(send(store, id, sequence).await, there, "it is a repeat");
    }
    assert_eq!(store.stream(id).unwrap().next(), Offset(u64::try_from(next).unwrap()), "and is not stored twice");
}

/// What a device does.
#[derive(Default)]
pub(crate) struct Device {
    fails: AtomicBool,
    hangs: AtomicBool,
    /// Reads that have met it hanging.
    hung_reads: AtomicUsize,
}

impl Device {
    pub(crate) fn hung_reads(&self) -> usize {
        self.hung_reads.load(Ordering::SeqCst)
    }

    pub(crate) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    async fn check(&self) -> Result<(), DiskError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(DiskError::Failed { path: "ring".into(), message: "the device is gone".to_owned() });
        }
        Ok(())
    }
}

/// A disk whose files below one folder lie on a device that fails or hangs from some moment on.
pub(crate) struct FailingDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) below: PathBuf,
    pub(crate) device: Arc<Device>,
}

struct FailingFile {
    file: Arc<dyn File>,
    device: Arc<Device>,
}

#[async_trait]
impl Disk for FailingDisk {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        let file = self.disk.open(path, mode).await?;
        if !path.starts_with(&self.below) {
            return Ok(file);
        }
        Ok(Arc::new(FailingFile { file, device: self.device.clone() }))
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

#[async_trait]
impl File for FailingFile {
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        if self.device.hangs.load(Ordering::SeqCst) {
            self.device.hung_reads.fetch_add(1, Ordering::SeqCst);
        }
        self.device.check().await?;
        self.file.read_at(position, len).await
    }
    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.device.check().await?;
        self.file.write_at(position, data).await
    }
    async fn sync(&self) -> Result<(), DiskError> {
        self.device.check().await?;
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

/// The same world, but that what lies below `root/fast` is on the device.
pub(crate) fn on_device(world: World, root: &Path, device: &Arc<Device>) -> World {
    let disk = FailingDisk { disk: world.disk.clone(), below: root.join("fast"), device: device.clone() };
    World { disk: Arc::new(disk), ..world }
}
