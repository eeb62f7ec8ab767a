//! Two starts that recover one dead log, one of which dies in the midst of it.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::layer::{Layer, Over};
use crate::support::*;

use async_trait::async_trait;
use base::{Offset, StreamId, WalId, WalIndex, WalPosition};
use bytes::Bytes;
use control_core::{Command, Outcome};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stream::{Options, Store, WalTarget};
use tokio::sync::Semaphore;
use world::{ClockExt, Disk, DiskError, File, GetRange, ObjectStore, OpenMode, PutOutcome, StoreError, World};

/// A bucket that holds back reads of write-ahead logs, or puts of data objects.
pub(crate) struct Gate {
    bucket: Arc<dyn ObjectStore>,
    wal_gets: Semaphore,
    data_puts: Semaphore,
    /// How many have come to the gate.
    met: AtomicUsize,
}

impl Gate {
    pub(crate) async fn new(world: &World, root: &Path, wal_gets: usize, data_puts: usize) -> Arc<Over<Gate>> {
        Arc::new(Over(Gate {
            bucket: bucket(world, root).await,
            wal_gets: Semaphore::new(wal_gets),
            data_puts: Semaphore::new(data_puts),
            met: AtomicUsize::new(0),
        }))
    }

    /// From now on.
    pub(crate) fn lets_data_pass(&self) {
        self.data_puts.add_permits(Semaphore::MAX_PERMITS);
    }

    async fn pass(&self, gate: &Semaphore) {
        self.met.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Layer for Gate {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.bucket
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        if key.starts_with("data/") {
            self.pass(&self.data_puts).await;
        }
        self.bucket.put_if_absent(key, parts).await
    }
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        if key.starts_with("wal/") {
            self.pass(&self.wal_gets).await;
        }
        self.bucket.get(key, range).await
    }
}

/// Uploads a dead log in many blocks.
fn small_blocks() -> Options {
    Options { upload_block_bytes: 4096, ..options() }
}

#[test]
fn a_recoverer_goes_on_where_one_that_was_faster_and_died_has_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (dead, id) = life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = create(&store, "a", 1).await[0];
        for _ in 0..6 {
            append(&store.stream(id).unwrap(), 10, 700).await;
        }
        (WalId { node_epoch: store.node_epoch(), index: WalIndex(0) }, id)
    });
    life(|world| async move {
        let slow_bucket = Gate::new(&world, root, 0, Semaphore::MAX_PERMITS).await;
        let recovers = start_at(&world, slow_bucket.clone(), "slow:9092", false, small_blocks());
        let is_overtaken = async {
            until("the slow one walks the log", || slow_bucket.met.load(Ordering::Relaxed) > 0).await;
            let fast_bucket = Gate::new(&world, root, Semaphore::MAX_PERMITS, 1).await;
            let fast: Store = start_at(&world, fast_bucket, "fast:9092", true, small_blocks()).await;
            let trim = || fast.ledger().image().wals[&dead].trim;
            until("a part is committed", || trim() > WalPosition(0)).await;
            let died = Command::DeclareDead { node_epochs: vec![fast.node_epoch()] };
            assert_eq!(fast.ledger().submit(died).await.unwrap(), Outcome::Done);
            assert!(fast.ledger().image().wals.contains_key(&dead), "only a part");
            slow_bucket.wal_gets.add_permits(Semaphore::MAX_PERMITS / 2);
        };
        let (slow, ()) = futures::join!(recovers, is_overtaken);
        until("the dead log is forgotten", || !slow.ledger().image().wals.contains_key(&dead)).await;
        assert_eq!(slow.ledger().image().streams[&id].committed(), Offset(60));
        check_bucket(&world, root, &slow).await;
    });
}

/// A disk on which one file is opened only as the gate lets through, and removed at once while whoever has removed it hears late of it.
struct FileGate {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    opens: Semaphore,
    removals: Semaphore,
    /// How often it was asked for.
    opened: AtomicUsize,
    removed: AtomicUsize,
    /// So many opens fail first.
    failures: AtomicUsize,
}

impl FileGate {
    fn new(world: &World, file: &Path, opens: usize, removals: usize) -> Arc<FileGate> {
        let (opens, removals) = (Semaphore::new(opens), Semaphore::new(removals));
        let [opened, removed, failures] = [(); 3].map(|()| AtomicUsize::new(0));
        Arc::new(FileGate {
            disk: world.disk.clone(),
            file: file.to_owned(),
            opens,
            removals,
            opened,
            removed,
            failures,
        })
    }
}

#[async_trait]
impl Disk for FileGate {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        if path == self.file {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.opens.acquire().await.unwrap().forget();
            let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if fails.is_ok() {
                return Err(DiskError::Failed { path: path.to_owned(), message: "input/output error".to_owned() });
            }
        }
        self.disk.open(path, mode).await
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
        self.disk.remove(path).await?;
        if path == self.file {
            self.removed.fetch_add(1, Ordering::Relaxed);
            self.removals.acquire().await.unwrap().forget();
        }
        Ok(())
    }
    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        self.disk.list(path).await
    }
    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.disk.free_bytes(path).await
    }
}

async fn start_shared(world: &World, disk: &Arc<FileGate>, root: &Path, advertised: &str, others_live: bool) -> Store {
    let world = World { disk: disk.clone(), ..world.clone() };
    let wal = WalTarget::Shared { dir: root.join("shared"), bytes: 1 << 20 };
    Starting { wal, advertised, others_live, options: options() }.start(&world, bucket(&world, root).await).await
}

/// The slow one of two starts comes to a log's file when the fast one has removed it, which then goes on (or dies right there).
fn a_removed_file_is_not_waited_for(fast_dies: bool) {
    // Shared logs want direct I/O, which a folder in memory may lack.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = folder.path();
    let (dead, file, id) = life(|world| async move {
        let store = start_shared(&world, &FileGate::new(&world, root, 0, 0), root, "first:9092", false).await;
        let id = create(&store, "a", 1).await[0];
        append(&store.stream(id).unwrap(), 30, 700).await;
        let dead = WalId { node_epoch: store.node_epoch(), index: WalIndex(0) };
        let url = store.ledger().image().wals[&dead].url.clone();
        let file = url.strip_prefix("file://").unwrap().strip_suffix("?shared").unwrap();
        (dead, PathBuf::from(file), id)
    });
    let file = file.as_path();
    life(|world| async move {
        // The first look is that for files without an owner.
        let slow_disk = FileGate::new(&world, file, 1, Semaphore::MAX_PERMITS);
        let recovers = start_shared(&world, &slow_disk, root, "slow:9092", false);
        let is_overtaken = async {
            until("the slow one is at the file", || slow_disk.opened.load(Ordering::Relaxed) == 2).await;
            let removals = if fast_dies { 0 } else { Semaphore::MAX_PERMITS };
            let fast_disk = FileGate::new(&world, file, Semaphore::MAX_PERMITS, removals);
            let fast = start_shared(&world, &fast_disk, root, "fast:9092", true).await;
            until("the file is removed", || fast_disk.removed.load(Ordering::Relaxed) == 1).await;
            if fast_dies {
                let died = Command::DeclareDead { node_epochs: vec![fast.node_epoch()] };
                assert_eq!(fast.ledger().submit(died).await.unwrap(), Outcome::Done);
            } else {
                until("the log is forgotten", || !fast.ledger().image().wals.contains_key(&dead)).await;
            }
            slow_disk.opens.add_permits(Semaphore::MAX_PERMITS / 2);
            fast
        };
        let (slow, fast) = futures::join!(recovers, is_overtaken);
        assert_eq!(slow_disk.opened.load(Ordering::Relaxed), 2, "not there is not there");
        until("the log is forgotten", || !slow.ledger().image().wals.contains_key(&dead)).await;
        let image = slow.ledger().refresh().await.unwrap();
        assert_eq!(image.streams[&id].committed(), Offset(30));
        assert_eq!(image.streams[&id].owner().map(|tenure| tenure.wal.node_epoch), Some(fast.node_epoch()));
        check_bucket(&world, root, &slow).await;
    });
}

#[test]
fn a_file_that_another_recoverer_has_removed_is_not_waited_for() {
    a_removed_file_is_not_waited_for(false);
}

#[test]
fn nor_where_that_one_died_before_the_ledger_forgot_the_log() {
    a_removed_file_is_not_waited_for(true);
}

/// A start that writes thirty records of 700 bytes to a ring and dies.
fn life_with_a_ring(root: &Path) -> StreamId {
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        let id = create(&store, "a", 1).await[0];
        append(&store.stream(id).unwrap(), 30, 700).await;
        id
    })
}

#[test]
fn a_ring_that_was_left_with_the_logs_of_two_starts_gives_back_both() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life_with_a_ring(root);
    life(|world| async move {
        let takes_no_data = Gate::new(&world, root, Semaphore::MAX_PERMITS, 0).await;
        let store = start_on(&world, takes_no_data, root, Kind::Ring, options()).await;
        append(&store.stream(id).unwrap(), 5, 700).await;
        assert_eq!(store.ledger().image().wals.len(), 2);
    });
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let stream = store.stream(id).unwrap();
        assert_eq!(stream.confirmed(), Offset(35));
        check_all(&stream, 700).await;
        until("both are forgotten", || store.ledger().image().wals.len() == 1).await;
        check_all(&stream, 700).await;
        check_bucket(&world, root, &store).await;
    });
}

/// Its device fails for a moment, right when the start that has another log wants to read what it has left.
#[test]
fn a_ring_that_was_left_is_waited_for_while_its_device_fails() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life_with_a_ring(root);
    life(|world| async move {
        let fails = FileGate::new(&world, &root.join("wal/ring"), Semaphore::MAX_PERMITS, Semaphore::MAX_PERMITS);
        fails.failures.store(1, Ordering::Relaxed);
        let world = World { disk: fails.clone(), ..world };
        let store = start(&world, root, Kind::Objects, options()).await;
        assert_eq!(fails.opened.load(Ordering::Relaxed), 2);
        check_all(&store.stream(id).unwrap(), 700).await;
    });
}

/// The server of a shared folder is gone, and a mount of it waits for it, as NFS does.
#[test]
fn a_folder_that_hangs_keeps_no_start_from_serving_the_rest() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = folder.path();
    let (file, shared) = life(|world| async move {
        let store = start_shared(&world, &FileGate::new(&world, root, 0, 0), root, "first:9092", false).await;
        let id = create(&store, "a", 1).await[0];
        append(&store.stream(id).unwrap(), 30, 700).await;
        let dead = WalId { node_epoch: store.node_epoch(), index: WalIndex(0) };
        let url = store.ledger().image().wals[&dead].url.clone();
        (PathBuf::from(url.strip_prefix("file://").unwrap().strip_suffix("?shared").unwrap()), id)
    });
    let other = life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "other:9092", true, options()).await;
        let id = create(&store, "b", 1).await[0];
        append(&store.stream(id).unwrap(), 5, 700).await;
        id
    });
    life(|world| async move {
        let hangs = FileGate::new(&world, &file, 0, 0);
        let world = World { disk: hangs.clone(), ..world };
        let mut options = options();
        options.wal.dead_ring_stalled_max = Duration::from_millis(300);
        let starting = start_at(&world, bucket(&world, root).await, "other:9092", false, options);
        let store = world.clock.timeout(Duration::from_secs(20), starting).await.expect("it starts all the same");
        check_all(&store.stream(other).unwrap(), 700).await;
        assert!(store.stream(shared).is_none());
        let reason = store.offline_reason(shared).unwrap();
        assert!(reason.contains("has not answered") && reason.contains("start again"), "{reason}");
        assert_eq!(hangs.opened.load(Ordering::Relaxed), 1, "a call that hangs holds a thread");
    });
    life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "other:9092", false, options()).await;
        check_all(&store.stream(shared).unwrap(), 700).await;
        check_all(&store.stream(other).unwrap(), 700).await;
    });
}

#[test]
fn a_ring_whose_place_this_start_has_taken_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life_with_a_ring(root);
    std::fs::rename(root.join("wal/ring"), root.join("away")).unwrap();
    life(|world| async move {
        let starting = Box::pin(start(&world, root, Kind::Ring, options()));
        let store = world.clock.timeout(Duration::from_secs(8), starting).await.expect("nothing to wait for");
        let reason = store.offline_reason(id).unwrap();
        assert!(reason.contains("where another ring is by now"), "{reason}");
    });
    std::fs::rename(root.join("away"), root.join("wal/ring")).unwrap();
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, options()).await;
        check_all(&store.stream(id).unwrap(), 700).await;
    });
}
