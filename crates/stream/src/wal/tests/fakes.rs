//! A clock without time, a disk that loses unsynced sectors, a bucket with late, repeated and lost answers.

use async_trait::async_trait;
use base::{Micros, Seed, UnixMillis};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::disk::BLOCK_BYTES;
use world::{
    AlignedBuf, Clock, Connection, Disk, DiskError, File, GetRange, Listener, Network, ObjectMeta, ObjectStore,
    OpenMode, PutOutcome, StoreError, TaskHandle, World,
};

const SECTOR_BYTES: usize = 512;
/// Sleeps from here on are limits, or parts of them.
const LIMIT_MIN: Duration = Duration::from_secs(5);
/// How many turns a limit of half a minute takes.
pub(super) const LIMIT_TURNS: u64 = 20_000;

/// A world with this disk.
pub(super) fn world(seed: u64, disk: &Arc<FakeDisk>) -> World {
    let clock = FakeClock { random: Mutex::new(Seed::new(seed)), weather: disk.weather.clone() };
    World { clock: Arc::new(clock), network: Arc::new(NoNetwork), disk: disk.clone() }
}

struct FakeClock {
    random: Mutex<Seed>,
    weather: Arc<DiskWeather>,
}

impl Clock for FakeClock {
    fn now(&self) -> Micros {
        Micros(0)
    }
    fn wall(&self) -> UnixMillis {
        UnixMillis(0)
    }
    /// A turn, or, for what is a limit and no wait, more turns than anything takes that does not hang.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let is_limit = duration >= LIMIT_MIN;
        let turns = if is_limit { LIMIT_TURNS * duration.as_secs() / 30 } else { 1 };
        let turns = if is_limit && self.weather.paused.swap(false, Ordering::Relaxed) { 0 } else { turns };
        Box::pin(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        })
    }
    fn random(&self) -> u64 {
        self.random.lock().unwrap().next_u64()
    }
    #[expect(clippy::disallowed_methods, reason = "a fake of the seam through which all others spawn")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task))
    }
}

struct NoNetwork;

#[async_trait]
impl Network for NoNetwork {
    async fn listen(&self, _address: &str) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn connect(&self, _address: &str) -> io::Result<Box<dyn Connection>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Files in memory. [`FakeDisk::lose_power`] drops what was not synced, sector by sector, and names that were not.
#[derive(Default)]
pub(super) struct FakeDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<Inode>>>,
    /// Bytes that may be allocated in all.
    pub(super) capacity: AtomicU64,
    pub(super) bytes_read: Arc<AtomicU64>,
    pub(super) weather: Arc<DiskWeather>,
}

/// What befalls all files of a disk.
#[derive(Default)]
pub(super) struct DiskWeather {
    /// Writes leave some of their sectors behind and fail, and syncs fail.
    pub(super) failing: AtomicBool,
    /// A write or a sync takes so many turns more.
    pub(super) slow_turns: AtomicU64,
    /// The process stands still for hours as the next limit begins.
    pub(super) paused: AtomicBool,
}

impl DiskWeather {
    async fn wait(&self) {
        for _ in 0..self.slow_turns.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    fn strikes(&self, path: &Path) -> Result<(), DiskError> {
        if self.failing.load(Ordering::Relaxed) {
            return Err(DiskError::Failed { path: path.to_owned(), message: "input/output error".to_owned() });
        }
        Ok(())
    }
}

#[derive(Default)]
struct Inode {
    content: Mutex<Content>,
    locked: AtomicBool,
    name_durable: AtomicBool,
    fail_syncs: AtomicBool,
    device: bool,
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<usize>,
}

impl FakeDisk {
    pub(super) fn new() -> Arc<FakeDisk> {
        let disk = FakeDisk::default();
        disk.capacity.store(u64::MAX, Ordering::Relaxed);
        Arc::new(disk)
    }

    /// A raw device with these bytes.
    pub(super) fn add_device(&self, path: &Path, content: Vec<u8>) {
        let content = Content { durable: content.clone(), now: content, unsynced: Vec::new() };
        let inode = Inode { content: Mutex::new(content), device: true, ..Inode::default() };
        inode.name_durable.store(true, Ordering::Relaxed);
        self.files.lock().unwrap().insert(path.to_owned(), Arc::new(inode));
    }

    /// Each unsynced sector survives or not.
    pub(super) fn lose_power(&self, random: &mut Seed) {
        let mut files = self.files.lock().unwrap();
        files.retain(|_, inode| inode.name_durable.load(Ordering::Relaxed));
        for inode in files.values() {
            let mut content = inode.content.lock().unwrap();
            let Content { now, durable, unsynced } = &mut *content;
            durable.resize(now.len(), 0);
            for sector in unsynced.drain(..) {
                if random.chance(500) {
                    durable[sector..sector + SECTOR_BYTES].copy_from_slice(&now[sector..sector + SECTOR_BYTES]);
                }
            }
            now.clone_from(durable);
        }
    }

    /// Changes bytes behind everybody's back.
    pub(super) fn damage(&self, path: &Path, at: usize, bytes: &[u8]) {
        let inode = self.files.lock().unwrap()[path].clone();
        let mut content = inode.content.lock().unwrap();
        content.now[at..at + bytes.len()].copy_from_slice(bytes);
        content.durable[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn fail_syncs(&self, path: &Path) {
        self.files.lock().unwrap()[path].fail_syncs.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Disk for FakeDisk {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        let mut files = self.files.lock().unwrap();
        let inode = match (files.get(path), mode.create_new) {
            (Some(_), true) => return Err(DiskError::Exists(path.to_owned())),
            (None, false) => return Err(DiskError::NotFound(path.to_owned())),
            (Some(inode), false) => inode.clone(),
            (None, true) => files.entry(path.to_owned()).or_default().clone(),
        };
        let capacity = self.capacity.load(Ordering::Relaxed);
        let bytes_read = self.bytes_read.clone();
        Ok(Arc::new(FakeFile {
            inode,
            path: path.to_owned(),
            holds_lock: AtomicBool::new(false),
            capacity,
            bytes_read,
            weather: self.weather.clone(),
        }))
    }
    async fn create_dir_all(&self, _path: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        for (name, inode) in self.files.lock().unwrap().iter() {
            if name.parent() == Some(path) {
                inode.name_durable.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }
    async fn link(&self, _from: &Path, _to: &Path) -> Result<(), DiskError> {
        unimplemented_here()
    }
    async fn rename(&self, _from: &Path, _to: &Path) -> Result<(), DiskError> {
        unimplemented_here()
    }
    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.files.lock().unwrap().remove(path);
        Ok(())
    }
    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        let files = self.files.lock().unwrap();
        let names = files.keys().filter(|name| name.parent() == Some(path));
        Ok(names.map(|name| (name.file_name().unwrap().to_str().unwrap().to_owned(), false)).collect())
    }
    async fn free_bytes(&self, _path: &Path) -> Result<u64, DiskError> {
        Ok(self.capacity.load(Ordering::Relaxed))
    }
}

fn unimplemented_here<T>() -> Result<T, DiskError> {
    panic!("no WAL does that")
}

struct FakeFile {
    inode: Arc<Inode>,
    path: PathBuf,
    holds_lock: AtomicBool,
    capacity: u64,
    bytes_read: Arc<AtomicU64>,
    weather: Arc<DiskWeather>,
}

impl Drop for FakeFile {
    fn drop(&mut self) {
        if self.holds_lock.load(Ordering::Relaxed) {
            self.inode.locked.store(false, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl File for FakeFile {
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        let position = usize::try_from(position).unwrap();
        assert!(position.is_multiple_of(BLOCK_BYTES) && len.is_multiple_of(BLOCK_BYTES), "direct I/O is aligned");
        let content = self.inode.content.lock().unwrap();
        let end = content.now.len().min(position + len);
        self.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(Bytes::copy_from_slice(content.now.get(position..end).unwrap_or_default()))
    }

    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        tokio::task::yield_now().await;
        let position = usize::try_from(position).unwrap();
        let bytes = data.as_slice();
        assert!(
            position.is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES),
            "direct I/O is aligned"
        );
        self.weather.wait().await;
        let struck = self.weather.strikes(&self.path);
        let bytes = if struck.is_ok() { bytes } else { &bytes[..bytes.len() / 2 / SECTOR_BYTES * SECTOR_BYTES] };
        {
            let mut content = self.inode.content.lock().unwrap();
            assert!(position + bytes.len() <= content.now.len(), "a ring never grows");
            content.now[position..position + bytes.len()].copy_from_slice(bytes);
            content.unsynced.extend((position..position + bytes.len()).step_by(SECTOR_BYTES));
        }
        tokio::task::yield_now().await;
        struck
    }

    async fn sync(&self) -> Result<(), DiskError> {
        tokio::task::yield_now().await;
        self.weather.wait().await;
        self.weather.strikes(&self.path)?;
        if self.inode.fail_syncs.load(Ordering::Relaxed) {
            return Err(DiskError::Failed { path: self.path.clone(), message: "input/output error".to_owned() });
        }
        let mut content = self.inode.content.lock().unwrap();
        let Content { now, durable, unsynced } = &mut *content;
        durable.resize(now.len(), 0);
        for sector in unsynced.drain(..) {
            durable[sector..sector + SECTOR_BYTES].copy_from_slice(&now[sector..sector + SECTOR_BYTES]);
        }
        Ok(())
    }

    async fn size(&self) -> Result<u64, DiskError> {
        Ok(self.inode.content.lock().unwrap().now.len() as u64)
    }

    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        if self.inode.device {
            let size = self.inode.content.lock().unwrap().now.len() as u64;
            return if len <= size { Ok(()) } else { Err(DiskError::Full(self.path.clone())) };
        }
        if len > self.capacity {
            return Err(DiskError::Full(self.path.clone()));
        }
        self.inode.content.lock().unwrap().now.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    async fn lock(&self) -> Result<(), DiskError> {
        if self.inode.locked.swap(true, Ordering::Relaxed) {
            return Err(DiskError::Locked(self.path.clone()));
        }
        self.holds_lock.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn is_device(&self) -> bool {
        self.inode.device
    }
}

/// A bucket whose calls take effect and answer at odd moments, and answer wrongly now and then.
pub(super) struct FakeStore {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    random: Mutex<Seed>,
    /// Of a thousand calls so many go wrong: before they take effect, after it, or by a short answer.
    pub(super) trouble_per_mille: AtomicU64,
    /// Of a thousand puts so many are said to have failed, and take effect up to [`FakeStore::late_turns_max`] turns later.
    pub(super) late_per_mille: AtomicU64,
    pub(super) late_turns_max: AtomicU64,
    /// A call takes up to so many turns.
    pub(super) turns_max: AtomicU64,
}

impl FakeStore {
    pub(super) fn new(seed: u64) -> Arc<FakeStore> {
        Arc::new(FakeStore {
            objects: Arc::default(),
            random: Mutex::new(Seed::new(seed)),
            trouble_per_mille: AtomicU64::new(0),
            late_per_mille: AtomicU64::new(0),
            late_turns_max: AtomicU64::new(40),
            turns_max: AtomicU64::new(6),
        })
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(super) fn replace(&self, key: &str, bytes: &[u8]) {
        self.objects.lock().unwrap().insert(key.to_owned(), Bytes::copy_from_slice(bytes));
    }

    fn chance(&self) -> bool {
        self.random.lock().unwrap().chance(self.trouble_per_mille.load(Ordering::Relaxed))
    }

    /// How many turns too late a put takes effect that was said to have failed.
    fn lateness(&self) -> Option<u64> {
        let mut random = self.random.lock().unwrap();
        let late = random.chance(self.late_per_mille.load(Ordering::Relaxed));
        late.then(|| random.below(self.late_turns_max.load(Ordering::Relaxed)))
    }

    async fn wander(&self) {
        let turns = self.random.lock().unwrap().below(self.turns_max.load(Ordering::Relaxed));
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn maybe_trouble(&self) -> Result<(), StoreError> {
        self.wander().await;
        if self.chance() { Err(StoreError::Trouble("503".to_owned())) } else { Ok(()) }
    }
}

fn put_now(objects: &Mutex<BTreeMap<String, Bytes>>, key: &str, parts: &[Bytes]) -> PutOutcome {
    let mut objects = objects.lock().unwrap();
    if objects.contains_key(key) {
        return PutOutcome::Exists;
    }
    objects.insert(key.to_owned(), Bytes::from(parts.concat()));
    PutOutcome::Created
}

#[expect(clippy::disallowed_methods, reason = "what the bucket does, no host waits for")]
fn put_later(objects: Arc<Mutex<BTreeMap<String, Bytes>>>, turns: u64, key: String, parts: Vec<Bytes>) {
    tokio::spawn(async move {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        put_now(&objects, &key, &parts);
    });
}

#[async_trait]
impl ObjectStore for FakeStore {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.maybe_trouble().await?;
        if let Some(turns) = self.lateness() {
            put_later(self.objects.clone(), turns, key.to_owned(), parts);
            return Err(StoreError::Trouble("timed out".to_owned()));
        }
        let outcome = put_now(&self.objects, key, &parts);
        self.maybe_trouble().await?;
        Ok(outcome)
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.maybe_trouble().await?;
        let object = self.objects.lock().unwrap().get(key).cloned();
        let object = object.ok_or_else(|| StoreError::NotFound(key.to_owned()))?;
        let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(object.len());
        let bytes = match range {
            GetRange::All => object.clone(),
            GetRange::Span { start, end } => object.slice(clamp(start)..clamp(end)),
            GetRange::Suffix(len) => object.slice(object.len() - clamp(len)..),
        };
        self.wander().await;
        let cut = if self.chance() { bytes.len() / 2 } else { bytes.len() };
        Ok((bytes.slice(..cut), object.len() as u64))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.maybe_trouble().await?;
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        Ok(found.take(limit).map(|(key, bytes)| ObjectMeta { key: key.clone(), size: bytes.len() as u64 }).collect())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            self.maybe_trouble().await?;
            self.objects.lock().unwrap().remove(key);
        }
        Ok(())
    }

    async fn make_durable(&self, _prefix: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn describe(&self) -> String {
        "fake".to_owned()
    }
}
