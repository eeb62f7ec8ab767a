//! A bucket that refuses, as with credentials that have expired, and takes everything again later: nothing ends, nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::layer::{Layer, Over};
use crate::support::*;

use async_trait::async_trait;
use base::{Offset, WalId, WalIndex};
use bytes::Bytes;
use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use world::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};

/// A bucket that refuses everything from some moment on.
struct Moody {
    bucket: Arc<dyn ObjectStore>,
    refuses: AtomicBool,
    /// It begins to refuse when something of a write-ahead log was deleted.
    after_wal_delete: AtomicBool,
}

impl Moody {
    fn check(&self) -> Result<(), StoreError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(StoreError::Refused("403 AccessDenied".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Layer for Moody {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.bucket
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.check()?;
        self.bucket.put_if_absent(key, parts).await
    }
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.check()?;
        self.bucket.get(key, range).await
    }
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.check()?;
        self.bucket.list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.check()?;
        self.bucket.delete(keys).await?;
        if keys.iter().any(|key| key.starts_with("wal/")) && self.after_wal_delete.swap(false, Ordering::SeqCst) {
            self.refuses.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn a_bucket_that_refuses_while_a_dead_log_is_forgotten_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (dead, id) = life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = create(&store, "a", 1).await[0];
        append(&store.stream(id).unwrap(), 10, 700).await;
        (WalId { node_epoch: store.node_epoch(), index: WalIndex(0) }, id)
    });
    life(|world| async move {
        let (refuses, after_wal_delete) = (AtomicBool::new(false), AtomicBool::new(true));
        let moody = Arc::new(Over(Moody { bucket: bucket(&world, root).await, refuses, after_wal_delete }));
        let store = start_on(&world, moody.clone(), root, Kind::Objects, options()).await;
        until("the dead log's objects are deleted", || moody.refuses.load(Ordering::SeqCst)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(store.stopped().now_or_never(), None, "it waits");
        assert!(store.ledger().image().wals.contains_key(&dead));
        moody.refuses.store(false, Ordering::SeqCst);
        until("the dead log is forgotten", || !store.ledger().image().wals.contains_key(&dead)).await;
        append(&store.stream(id).unwrap(), 5, 700).await;
        assert_eq!(store.stream(id).unwrap().confirmed(), Offset(15));
        check_all(&store.stream(id).unwrap(), 700).await;
    });
}

#[test]
fn appends_to_a_local_log_and_reads_from_memory_go_on_while_the_bucket_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let (refuses, after_wal_delete) = (AtomicBool::new(false), AtomicBool::new(false));
        let moody = Arc::new(Over(Moody { bucket: bucket(&world, root).await, refuses, after_wal_delete }));
        let uploads_at_once = stream::Options { upload_age: Duration::from_millis(20), ..options() };
        let store = start_on(&world, moody.clone(), root, Kind::Ring, uploads_at_once).await;
        let id = create(&store, "a", 1).await[0];
        let stream = store.stream(id).unwrap();
        moody.refuses.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            append(&stream, 10, 700).await;
            check_all(&stream, 700).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(store.stopped().now_or_never(), None, "it waits");
        assert!(store.gauges().upload_behind_bytes > 0);
        moody.refuses.store(false, Ordering::SeqCst);
        until("everything is committed", || store.gauges().upload_behind_bytes == 0).await;
        check_all(&stream, 700).await;
        check_bucket(&world, root, &store).await;
    });
}
