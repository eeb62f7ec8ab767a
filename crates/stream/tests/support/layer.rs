//! A bucket with something between: a test says what it does otherwise, the rest goes on to the bucket below.

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Deref;
use std::sync::Arc;
use world::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};

#[async_trait]
pub(crate) trait Layer: Send + Sync {
    fn bucket(&self) -> &Arc<dyn ObjectStore>;
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.bucket().put_if_absent(key, parts).await
    }
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.bucket().get(key, range).await
    }
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.bucket().list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.bucket().delete(keys).await
    }
}

/// The bucket that a layer makes of the one below.
pub(crate) struct Over<L>(pub(crate) L);

impl<L> Deref for Over<L> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.0
    }
}

#[async_trait]
impl<L: Layer> ObjectStore for Over<L> {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.0.put_if_absent(key, parts).await
    }
    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.0.get(key, range).await
    }
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.0.list(prefix, after, limit).await
    }
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.0.delete(keys).await
    }
    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.0.bucket().make_durable(prefix).await
    }
    fn describe(&self) -> String {
        self.0.bucket().describe()
    }
}
