//! A folder as a bucket.

use crate::clock::Clock;
use crate::disk::Disk;
use crate::object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

/// A folder as a bucket, over any [`Disk`].
pub struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    /// Creates the folder where it is missing, and removes what crashed processes left half written in it.
    ///
    /// # Errors
    /// The folder cannot be made or used; the message says what to do.
    pub async fn open(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, root: PathBuf) -> Result<FolderStore, StoreError> {
        let _ = (disk, clock);
        Ok(FolderStore { root })
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_if_absent(&self, _key: &str, _parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        todo!()
    }
    async fn get(&self, _key: &str, _range: GetRange) -> Result<(Bytes, u64), StoreError> {
        todo!()
    }
    async fn list(&self, _prefix: &str, _after: &str, _limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        todo!()
    }
    async fn delete(&self, _keys: &[String]) -> Result<(), StoreError> {
        todo!()
    }
    fn describe(&self) -> String {
        format!("folder {}", self.root.display())
    }
}
