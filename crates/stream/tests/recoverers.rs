//! Two starts that recover one dead log, one of which dies in the midst of it.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod support;

use support::*;

use async_trait::async_trait;
use base::{Offset, WalId, WalIndex, WalPosition};
use bytes::Bytes;
use control_core::{Command, Outcome};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use stream::{Options, Store};
use tokio::sync::Semaphore;
use world::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError, World};

/// A bucket that holds back reads of write-ahead logs, or puts of data objects.
struct Gate {
    bucket: Arc<dyn ObjectStore>,
    wal_gets: Semaphore,
    data_puts: Semaphore,
    /// How many have come to the gate.
    met: AtomicUsize,
}

impl Gate {
    async fn new(world: &World, root: &Path, wal_gets: usize, data_puts: usize) -> Arc<Gate> {
        Arc::new(Gate {
            bucket: bucket(world, root).await,
            wal_gets: Semaphore::new(wal_gets),
            data_puts: Semaphore::new(data_puts),
            met: AtomicUsize::new(0),
        })
    }

    async fn pass(&self, gate: &Semaphore) {
        self.met.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl ObjectStore for Gate {
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
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.bucket.list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.bucket.delete(keys).await
    }
    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.bucket.make_durable(prefix).await
    }
    fn describe(&self) -> String {
        self.bucket.describe()
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
