//! A ring that its writer has left for another kind of log or another place, or whose host is gone: opened to be recovered, and written
//! by nobody any more.
//!
//! The lock on file or device is the fence, as for a ring that goes on being used: whoever held it is gone. A ring in a shared file is
//! fenced through its control block instead.

use super::ring_file::{FILE_NAME, RingFile, SlotsError, cannot, read_slots};
use super::ring_shared::{is_shared_name, shared_path};
use super::{Patience, WalOpenError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stream_core::ring_header::RingHeader;
use world::{Disk, DiskError, OpenMode, World};

/// Why a ring that was left could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// Another process has it locked.
    #[error("{0}")]
    Held(WalOpenError),
    /// Its file or device fails; it may be well again before long.
    #[error("{0}")]
    Trouble(WalOpenError),
    /// It is not there, may not be read, or is another ring.
    #[error("{0}")]
    Failed(#[from] WalOpenError),
}

impl LeftError {
    fn of(verb: &str, error: &DiskError) -> LeftError {
        let explained = cannot(verb, error);
        match error {
            DiskError::Locked(_) => LeftError::Held(explained),
            DiskError::Failed { .. } => LeftError::Trouble(explained),
            DiskError::NotFound(_) | DiskError::Exists(_) | DiskError::Full(_) | DiskError::Denied { .. } => {
                LeftError::Failed(explained)
            }
        }
    }
}

impl From<SlotsError> for LeftError {
    fn from(error: SlotsError) -> LeftError {
        match error {
            SlotsError::Disk { verb, error } => LeftError::of(verb, &error),
            SlotsError::Content(why) => LeftError::Failed(why),
        }
    }
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
        let Some((path, is_device)) = place_of(url) else {
            return Err(WalOpenError(format!("{url} is no place of a ring")).into());
        };
        RingFile::open_left_at(world, patience, Path::new(path), is_device, ring_id).await
    }

    /// Opens a ring that was found, to be recovered: locked, but for one in a shared file, which is to be fenced before it is read.
    ///
    /// # Errors
    /// Nothing was changed.
    pub(crate) async fn open_found(
        world: &World,
        patience: &Arc<Patience>,
        found: &FoundRing,
    ) -> Result<RingFile, LeftError> {
        let FoundRing { path, is_device, header } = found;
        if header.has_control {
            return Ok(RingFile::open_dead(world, patience, path, header.ring_id).await?);
        }
        RingFile::open_left_at(world, patience, path, *is_device, header.ring_id).await
    }

    async fn open_left_at(
        world: &World,
        patience: &Arc<Patience>,
        path: &Path,
        exclusive: bool,
        ring_id: u128,
    ) -> Result<RingFile, LeftError> {
        let mode = OpenMode { write: true, direct: true, exclusive, ..OpenMode::default() };
        let file = patience.open(world, path, mode).await.map_err(|error| LeftError::of("open", &error))?;
        file.lock().await.map_err(|error| LeftError::of("lock", &error))?;
        let header = read_slots(file.as_ref(), path).await?.header(path)?;
        match header.filter(|header| header.ring_id == ring_id && !header.has_control) {
            Some(header) => {
                // What is read from now on is durable, even where its writer died between a write and its sync.
                file.sync().await.map_err(|error| LeftError::of("sync", &error))?;
                Ok(RingFile::new(world, file, path.to_owned(), header, None))
            }
            None => Err(WalOpenError(format!("{} is another write-ahead log by now", path.display())).into()),
        }
    }
}

/// Why no ring was found at a place.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    /// It is another place: nothing is there, or no log.
    #[error("{0}")]
    NoLog(String),
    /// What is there can't be read.
    #[error(transparent)]
    Unreadable(#[from] WalOpenError),
}

/// A ring as it was found, not opened yet.
#[derive(Debug, Clone)]
pub struct FoundRing {
    /// The file or device.
    pub path: PathBuf,
    /// Whether it is a device.
    pub is_device: bool,
    /// Its header.
    pub header: RingHeader,
}

/// The rings at a place: that file or device, or those in that folder, a broker's own and the shared ones. Reads only, and takes no lock.
///
/// # Errors
/// There is none, or what is there can't be read.
pub async fn rings_at(disk: &dyn Disk, place: &Path) -> Result<Vec<FoundRing>, RingsError> {
    let paths = match disk.list(place).await {
        Ok(names) => {
            let is_ring = |name: &str| name == FILE_NAME || is_shared_name(name);
            names
                .into_iter()
                .filter(|(name, is_dir)| !is_dir && is_ring(name))
                .map(|(name, _)| place.join(name))
                .collect()
        }
        // It is no folder.
        Err(_) => vec![place.to_owned()],
    };
    let mut rings = Vec::new();
    for path in paths {
        let file = disk.open(&path, OpenMode::default()).await.map_err(|error| match error {
            DiskError::NotFound(_) => RingsError::NoLog(error.to_string()),
            _ => cannot("open", &error).into(),
        })?;
        let slots = read_slots(file.as_ref(), &path).await.map_err(WalOpenError::from)?;
        if slots.is_unreadable() {
            return Err(RingsError::NoLog(format!(
                "{} is no write-ahead log, or its header is damaged",
                path.display()
            )));
        }
        if let Some(header) = slots.newest {
            rings.push(FoundRing { is_device: file.is_device(), path, header });
        }
    }
    if rings.is_empty() {
        return Err(RingsError::NoLog(format!("{} holds no write-ahead log", place.display())));
    }
    Ok(rings)
}

/// Where the ledger's URL says that a ring is.
#[must_use]
pub fn ring_path(url: &str) -> Option<PathBuf> {
    shared_path(url).or_else(|| place_of(url).map(|(path, _)| PathBuf::from(path)))
}

/// The file or device of a ring that is not shared, and whether it is a device.
fn place_of(url: &str) -> Option<(&str, bool)> {
    let file = url.strip_prefix("file://").map(|path| (path, false));
    file.or_else(|| url.strip_prefix("block://").map(|path| (path, true)))
}
