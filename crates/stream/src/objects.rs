//! The bucket, once for each thing that it is used for, so that the cost meter can tell their requests apart. All are one store.

use std::sync::Arc;
use world::{ObjectStore, Purpose, counted_as};

/// See the head of this file.
pub(crate) struct Objects {
    /// Data objects of what was acknowledged.
    pub(crate) uploads: Arc<dyn ObjectStore>,
    /// Data objects for readers.
    pub(crate) reads: Arc<dyn ObjectStore>,
    /// Data objects for compaction.
    pub(crate) compaction: Arc<dyn ObjectStore>,
    /// Write-ahead logs.
    pub(crate) wals: Arc<dyn ObjectStore>,
    /// What nothing refers to.
    pub(crate) sweep: Arc<dyn ObjectStore>,
}

impl Objects {
    pub(crate) fn of(store: &Arc<dyn ObjectStore>) -> Objects {
        Objects {
            uploads: counted_as(store, Purpose::Upload),
            reads: counted_as(store, Purpose::Read),
            compaction: counted_as(store, Purpose::Compaction),
            wals: counted_as(store, Purpose::Wal),
            sweep: counted_as(store, Purpose::Sweep),
        }
    }
}
