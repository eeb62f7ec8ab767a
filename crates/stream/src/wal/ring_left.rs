//! A ring that an earlier start of this broker wrote, and that this one has left for another kind of log or another place: opened to be
//! recovered, and written by nobody any more.
//!
//! The lock on file or device is the fence, as for a ring that goes on being used: whoever held it is gone.

use super::ring_file::{RingFile, cannot, read_slots};
use super::{Patience, WalOpenError};
use std::path::Path;
use std::sync::Arc;
use world::{DiskError, OpenMode, World};

/// Why a ring that was left could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// Another process has it locked.
    #[error("{0}")]
    Held(WalOpenError),
    /// It is not there, can't be read, or is another ring.
    #[error("{0}")]
    Failed(#[from] WalOpenError),
}

impl RingFile {
    /// Opens and locks the ring of that id where the ledger's URL says that it is.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(crate) async fn open_left(
        world: &World,
        patience: &Arc<Patience>,
        url: &str,
        ring_id: u128,
    ) -> Result<RingFile, LeftError> {
        let (path, exclusive) = match (url.strip_prefix("file://"), url.strip_prefix("block://")) {
            (Some(path), _) => (Path::new(path), false),
            (None, Some(device)) => (Path::new(device), true),
            (None, None) => return Err(WalOpenError(format!("{url} is no place of a ring")).into()),
        };
        let mode = OpenMode { write: true, direct: true, exclusive, ..OpenMode::default() };
        let file = patience.open(world, path, mode).await.map_err(|error| or_held("open", &error))?;
        file.lock().await.map_err(|error| or_held("lock", &error))?;
        let header = read_slots(file.as_ref(), path).await?.header(path)?;
        match header.filter(|header| header.ring_id == ring_id && !header.has_control) {
            Some(header) => {
                // What is read from now on is durable, even where its writer died between a write and its sync.
                file.sync().await.map_err(|error| cannot("sync", &error))?;
                Ok(RingFile::new(world, file, path.to_owned(), header, None))
            }
            None => Err(WalOpenError(format!("{} is another write-ahead log by now", path.display())).into()),
        }
    }
}

fn or_held(what: &str, error: &DiskError) -> LeftError {
    let explained = cannot(what, error);
    if matches!(error, DiskError::Locked(_)) { LeftError::Held(explained) } else { LeftError::Failed(explained) }
}
