//! A ring in a file that several hosts see, fenced through its control block (rule C-1), so that any of them can recover it.
//!
//! ```text
//! writer:     group written and durable ─▶ control block read, uncached ─▶ still open? acknowledge
//! recoverer:  control block fenced and durable ─▶ ring read
//! ```
//! Whichever comes first on the storage decides, without a clock or a lease: a group whose check still saw the block open was durable
//! before the fence, so the recoverer finds it. A file lock is a courtesy here, never a fence.
//!
//! A ring is written by one start only and never used again: what a stopped writer has under way may land at any time, and in a
//! ring that somebody else has begun to write it would land on what was acknowledged. Here it lands beyond the sealed end, where
//! nobody reads, or in a file without a name.

use super::ring_file::{
    BLOCK, RING_BYTES_MIN, RingFile, SLOTS_END, cannot, new_header, no_space, read_slots, sync_names, write_header,
};
use super::{Patience, WalError, WalOpenError};
use base::{NodeEpoch, planted};
use control_core::image::Image;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stream_core::control_block::{ControlBlock, decode_control};
use stream_core::ring_header::RingHeader;
use world::disk::BLOCK_BYTES;
use world::{AlignedBuf, Disk, DiskError, File, OpenMode, World};

/// Where the control block lies.
const CONTROL_AT: u64 = SLOTS_END;

/// What is left of a ring that was made and never begun: the smallest ring, fenced.
const UNBEGUN_BYTES: u64 = CONTROL_AT + BLOCK + RING_BYTES_MIN;

/// Ends the name of the file of every shared ring,
const EXTENSION: &str = ".ring";
/// and its URL.
const SUFFIX: &str = "?shared";

/// The file of the shared ring that the ledger knows under this URL; `None` for every other kind.
#[must_use]
pub(crate) fn shared_path(url: &str) -> Option<PathBuf> {
    Some(PathBuf::from(url.strip_prefix("file://")?.strip_suffix(SUFFIX)?))
}

/// Whether a file of that name in a folder of logs is a shared ring.
pub(super) fn is_shared_name(name: &str) -> bool {
    name.ends_with(EXTENSION)
}

/// The URL by which the ledger knows that ring.
pub(super) fn shared_url(path: &Path) -> String {
    format!("file://{}{SUFFIX}", path.display())
}

/// Removes a shared ring that is sealed and wholly committed. Its writer, where it still runs, keeps a file without a name.
pub(crate) async fn remove_shared(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    disk.remove(path).await?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("/"))).await
}

impl RingFile {
    /// Makes a ring of `bytes` in the folder `dir`, for one start; what earlier starts left there that never registered gives its
    /// space back first.
    ///
    /// # Errors
    /// One line that says what to do: no direct I/O, full, denied.
    pub async fn create_shared(world: &World, dir: &Path, bytes: u64) -> Result<RingFile, WalOpenError> {
        let disk = world.disk.as_ref();
        if dir.to_str().is_none() {
            return Err(WalOpenError(format!("{}: a shared folder needs a name in UTF-8", dir.display())));
        }
        disk.create_dir_all(dir).await.map_err(|error| cannot("make the folder", &error))?;
        let bytes = bytes.max(RING_BYTES_MIN) / BLOCK * BLOCK;
        let header = RingHeader { has_control: true, ..new_header(world, bytes) };
        let path = dir.join(format!("{:032x}{EXTENSION}", header.ring_id));
        let mode = OpenMode { create_new: true, write: true, direct: true, ..OpenMode::default() };
        let file = disk.open(&path, mode).await.map_err(|error| cannot("create", &error))?;
        if let Err(error) = make(file.as_ref(), &header, &path).await {
            // Nobody knows of it yet.
            disk.remove(&path).await.map_err(|error| cannot("remove the unfinished", &error))?;
            return Err(error);
        }
        sync_names(disk, dir).await?;
        Ok(RingFile::new(world, file, path, header, None).made())
    }

    /// Opens the ring of a dead start, to fence and read it.
    ///
    /// # Errors
    /// It is not there, or is another ring.
    pub(crate) async fn open_dead(
        world: &World,
        patience: &Arc<Patience>,
        path: &Path,
        ring_id: u128,
    ) -> Result<RingFile, WalOpenError> {
        let mode = OpenMode { write: true, direct: true, ..OpenMode::default() };
        let file = patience.open(world, path, mode).await.map_err(|error| cannot("open", &error))?;
        if !file.is_direct() {
            return Err(not_direct(path));
        }
        let header = read_slots(file.as_ref(), path).await?.header(path)?;
        match header {
            Some(header) if header.ring_id == ring_id && header.has_control => {
                Ok(RingFile::new(world, file, path.to_owned(), header, None))
            }
            Some(_) | None => Err(WalOpenError(format!("{} is another write-ahead log", path.display()))),
        }
    }

    /// Nothing that is not durable in the ring when this returns will ever be acknowledged. May be repeated.
    ///
    /// # Errors
    /// The file's; nothing is known then.
    pub async fn fence(&self, by: NodeEpoch) -> Result<(), WalOpenError> {
        let block = ControlBlock { ring_id: self.id(), fenced_by: Some(by) };
        // Also where it is fenced already: who wrote that may have died before it was durable.
        write_control(self.file(), &block).await.map_err(|error| cannot("fence", &error))
    }

    /// Whether this ring's writer may acknowledge what was durable before this was called. Always, in a ring that is not shared.
    pub(super) async fn check_not_fenced(&self) -> Result<(), WalError> {
        if !self.is_shared() || planted!("shared log not checked", false, true) {
            return Ok(());
        }
        let block = self.file().read_at(CONTROL_AT, BLOCK_BYTES).await;
        let block = block.map_err(|error| WalError::Failed(error.to_string()))?;
        let open = ControlBlock { ring_id: self.id(), fenced_by: None };
        match decode_control(&block) {
            Some(found) if found == open => Ok(()),
            Some(ControlBlock { fenced_by: Some(by), .. }) => {
                Err(WalError::Fenced(format!("start {by} recovers it: this start was declared dead")))
            }
            Some(_) | None => {
                Err(WalError::Failed(format!("the control block of {} is damaged", self.path().display())))
            }
        }
    }
}

/// Gives back the space of rings that were made and never written, of starts that were cut short before they registered. The smallest
/// ring stays of each, fenced: should its start only have been paused, it finds out, and so does who recovers it.
pub(crate) async fn sweep_unbegun(world: &World, dir: &Path, image: &Image) {
    let names = match world.disk.list(dir).await {
        Ok(names) => names,
        Err(error) => {
            tracing::debug!(%error, "can't look for unfinished write-ahead logs");
            return;
        }
    };
    for (name, _) in names.iter().filter(|(name, is_folder)| is_shared_name(name) && !is_folder) {
        let path = dir.join(name);
        if let Err(error) = sweep_one(world, &path, image).await {
            tracing::debug!(path = %path.display(), %error, "an unfinished write-ahead log stays");
        }
    }
}

async fn sweep_one(world: &World, path: &Path, image: &Image) -> Result<(), WalOpenError> {
    let mode = OpenMode { write: true, direct: true, ..OpenMode::default() };
    let file = world.disk.open(path, mode).await.map_err(|error| cannot("open", &error))?;
    let unbegun = async || -> Result<Option<RingHeader>, WalOpenError> {
        let header = read_slots(file.as_ref(), path).await?.newest;
        Ok(header.filter(|header| header.generation == 0 && header.has_control))
    };
    let size = file.size().await.map_err(|error| cannot("measure", &error))?;
    let Some(header) = unbegun().await? else { return Ok(()) };
    if size <= UNBEGUN_BYTES || image.wals_of_ring(header.ring_id).next().is_some() {
        return Ok(());
    }
    // Whoever is about to register it holds the lock, where locks work; where they do not, the order of what follows is enough.
    file.lock().await.map_err(|error| cannot("lock", &error))?;
    let block = ControlBlock { ring_id: header.ring_id, fenced_by: Some(NodeEpoch(0)) };
    write_control(file.as_ref(), &block).await.map_err(|error| cannot("fence", &error))?;
    // A writer makes its header durable before its first group, so one without had acknowledged nothing before the fence.
    if unbegun().await?.is_some() {
        let smallest = RingHeader { data_bytes: RING_BYTES_MIN, ..header };
        write_header(file.as_ref(), &smallest).await.map_err(|error| cannot("shorten", &error))?;
        file.allocate(UNBEGUN_BYTES).await.map_err(|error| cannot("shorten", &error))?;
        file.sync().await.map_err(|error| cannot("sync", &error))?;
    }
    Ok(())
}

async fn make(file: &dyn File, header: &RingHeader, path: &Path) -> Result<(), WalOpenError> {
    if !file.is_direct() {
        return Err(not_direct(path));
    }
    match file.lock().await {
        Ok(()) => {}
        // Nobody else knows its name, so the lock is only for the sweep of others.
        Err(error) => tracing::debug!(path = %path.display(), %error, "no lock on a shared write-ahead log"),
    }
    match file.allocate(header.data_start() + header.data_bytes).await {
        Ok(()) => {}
        Err(DiskError::Full(_)) => return Err(no_space(path, header.data_bytes)),
        Err(error) => return Err(cannot("make", &error)),
    }
    let open = ControlBlock { ring_id: header.ring_id, fenced_by: None };
    write_control(file, &open).await.map_err(|error| cannot("write the control block of", &error))?;
    write_header(file, header).await.map_err(|error| cannot("write the header of", &error))
}

async fn write_control(file: &dyn File, control: &ControlBlock) -> Result<(), DiskError> {
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    block.extend(&control.encode());
    block.pad_to_block();
    file.write_at(CONTROL_AT, block).await?;
    file.sync().await
}

fn not_direct(path: &Path) -> WalOpenError {
    WalOpenError(format!(
        "{}: this file system has no direct I/O, without which a shared write-ahead log can't be fenced: give another folder, or \
         a --wal without shared",
        path.display()
    ))
}
