//! The real [`Disk`].

use crate::disk::{Disk, DiskError, File, OpenMode};
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;

/// The operating system's files.
pub struct OsDisk {}

impl OsDisk {
    /// No thread runs before the first call.
    #[must_use]
    pub fn new() -> OsDisk {
        OsDisk {}
    }
}

impl Default for OsDisk {
    fn default() -> OsDisk {
        OsDisk::new()
    }
}

#[async_trait]
impl Disk for OsDisk {
    async fn open(&self, _path: &Path, _mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        todo!()
    }
    async fn create_dir_all(&self, _path: &Path) -> Result<(), DiskError> {
        todo!()
    }
    async fn sync_dir(&self, _path: &Path) -> Result<(), DiskError> {
        todo!()
    }
    async fn link(&self, _from: &Path, _to: &Path) -> Result<(), DiskError> {
        todo!()
    }
    async fn rename(&self, _from: &Path, _to: &Path) -> Result<(), DiskError> {
        todo!()
    }
    async fn remove(&self, _path: &Path) -> Result<(), DiskError> {
        todo!()
    }
    async fn list(&self, _path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        todo!()
    }
    async fn free_bytes(&self, _path: &Path) -> Result<u64, DiskError> {
        todo!()
    }
}
