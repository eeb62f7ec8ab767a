//! Counts what goes to the object store and comes back: requests are what a bucket costs.
//!
//! A wrapper around the real store, so that neither the store nor its callers know of metrics.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};

/// One kind of request.
#[derive(Debug, Default)]
pub struct Operation {
    /// Requests answered or failed.
    pub requests: AtomicU64,
    /// Those that failed; an absent object counts as an answer.
    pub failures: AtomicU64,
    /// Bytes of objects put or got.
    pub bytes: AtomicU64,
}

/// What was asked of the store since this process began.
#[derive(Debug, Default)]
pub struct StoreMeter {
    /// Puts; `bytes` are those offered.
    pub put: Operation,
    /// Gets of a range.
    pub get: Operation,
    /// Listings.
    pub list: Operation,
    /// Deletes, in batches.
    pub delete: Operation,
}

/// A store that counts.
pub struct MeteredStore {
    inner: Arc<dyn ObjectStore>,
    meter: Arc<StoreMeter>,
}

impl MeteredStore {
    /// Counts what goes through to `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>) -> (Arc<dyn ObjectStore>, Arc<StoreMeter>) {
        let meter = Arc::new(StoreMeter::default());
        (Arc::new(MeteredStore { inner, meter: meter.clone() }), meter)
    }
}

impl Operation {
    fn count<T>(&self, bytes: usize, outcome: &Result<T, StoreError>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        match outcome {
            Ok(_) | Err(StoreError::NotFound(_)) => {}
            Err(StoreError::Trouble(_) | StoreError::Refused(_)) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[async_trait]
impl ObjectStore for MeteredStore {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        let bytes = parts.iter().map(Bytes::len).sum();
        let outcome = self.inner.put_if_absent(key, parts).await;
        self.meter.put.count(bytes, &outcome);
        outcome
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        let outcome = self.inner.get(key, range).await;
        self.meter.get.count(outcome.as_ref().map_or(0, |(bytes, _)| bytes.len()), &outcome);
        outcome
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let outcome = self.inner.list(prefix, after, limit).await;
        self.meter.list.count(0, &outcome);
        outcome
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let outcome = self.inner.delete(keys).await;
        self.meter.delete.count(0, &outcome);
        outcome
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}
