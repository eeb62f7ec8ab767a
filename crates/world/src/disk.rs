//! Files and devices of one host.
//!
//! The contract that callers must assume, and that the simulator enforces by losing things:
//! - bytes written are durable only once [`File::sync`] or [`File::write_durably`] has returned;
//!   until then any sector-sized piece of them may or may not survive a power loss, in any order;
//! - a file created, linked or removed is durable under its name only once [`Disk::sync_dir`] of its folder has returned;
//! - a process kill loses nothing that was written.

use async_trait::async_trait;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The alignment, in bytes, of positions, lengths and memory for direct I/O. Also the ring WAL's block size.
pub const BLOCK_BYTES: usize = 4096;

/// Why a disk call failed. Coarse: callers act on the kind, people on the message.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// No such file or folder.
    #[error("{0}: no such file or folder")]
    NotFound(PathBuf),
    /// The name is taken.
    #[error("{0}: already exists")]
    Exists(PathBuf),
    /// Another process holds the lock, or the kernel the device.
    #[error("{0}: locked by another process")]
    Locked(PathBuf),
    /// The file system is full (ENOSPC, EDQUOT).
    #[error("{0}: no space left")]
    Full(PathBuf),
    /// Permission denied or read-only.
    #[error("{path}: {message}")]
    Denied { path: PathBuf, message: String },
    /// Any other I/O error. After a failed sync nothing is known about what had been written (fail-stop).
    #[error("{path}: {message}")]
    Failed { path: PathBuf, message: String },
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenMode {
    /// Create it; [`DiskError::Exists`] where it is there.
    pub create_new: bool,
    /// Open for writing as well.
    pub write: bool,
    /// Bypass the page cache (O_DIRECT). Where the file system refuses, opens without and [`File::is_direct`] says so.
    pub direct: bool,
    /// Of a device: [`DiskError::Locked`] where it is mounted, or part of something else that the kernel holds (O_EXCL). A file can't
    /// be held so.
    pub exclusive: bool,
    /// Nobody's acknowledgement waits for what is written: direct writes of it share their threads with others.
    pub bulk: bool,
}

/// A host's file system.
#[async_trait]
pub trait Disk: Send + Sync {
    /// Opens or creates a file.
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError>;

    /// Creates a folder and its parents; no error where it is there.
    async fn create_dir_all(&self, path: &Path) -> Result<(), DiskError>;

    /// Makes the folder's names durable.
    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// Gives the file `from` the second name `to`; [`DiskError::Exists`] where that is taken. Atomic: the put-if-absent.
    async fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Renames, replacing what is there. Atomic.
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Removes a file's name; no error where it is gone.
    async fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// The names in a folder, sorted, each with whether it is a folder. [`DiskError::NotFound`] where it is not there.
    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError>;

    /// The sizes of files in a folder, in the order of `names`; `None` for one that is not there.
    async fn sizes(&self, folder: &Path, names: &[String]) -> Result<Vec<Option<u64>>, DiskError> {
        let mut sizes = Vec::with_capacity(names.len());
        for name in names {
            sizes.push(match self.open(&folder.join(name), OpenMode::default()).await {
                Ok(file) => Some(file.size().await?),
                Err(DiskError::NotFound(_)) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(sizes)
    }

    /// Bytes free for this process on the file system that holds `path`.
    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError>;
}

/// An open file or device.
#[async_trait]
pub trait File: Send + Sync {
    /// Up to `len` bytes at `position`: fewer only at the end of the file. With direct I/O both are multiples of [`BLOCK_BYTES`].
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError>;

    /// Writes all of `data` at `position`. With direct I/O the position and `data.len()` are multiples of [`BLOCK_BYTES`].
    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError>;

    /// Makes all that was written durable (fdatasync). After an error the file must not be trusted again.
    async fn sync(&self) -> Result<(), DiskError>;

    /// [`File::write_at`], and returns only when that and every write that had returned before are durable. After an error the file
    /// must not be trusted again.
    async fn write_durably(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.write_at(position, data).await?;
        self.sync().await
    }

    /// The file's length in bytes; a device's capacity.
    async fn size(&self) -> Result<u64, DiskError>;

    /// Reserves space and sets the length. New bytes read as zeroes.
    async fn allocate(&self, len: u64) -> Result<(), DiskError>;

    /// Takes the exclusive lock, held until the file is dropped or the process ends; [`DiskError::Locked`] where taken.
    async fn lock(&self) -> Result<(), DiskError>;

    /// Whether direct I/O is in force.
    fn is_direct(&self) -> bool;

    /// Whether it is a block device: of fixed size, with no name to make durable.
    fn is_device(&self) -> bool;
}

/// Bytes in memory that begins at a multiple of [`BLOCK_BYTES`], as direct I/O wants them.
///
/// Built over a plain vector that has room for a block more, so no unsafe code is needed. Memory is touched as it is filled.
pub struct AlignedBuf {
    /// Never grows beyond its first capacity, or it would move.
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuf {
    /// An empty buffer with room for `capacity` bytes; it never grows.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> AlignedBuf {
        let mut memory: Vec<u8> = Vec::with_capacity(capacity + BLOCK_BYTES);
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        memory.resize(start, 0);
        AlignedBuf { memory, start }
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> AlignedBuf {
        let mut buf = AlignedBuf::with_capacity(bytes.len());
        buf.extend(bytes);
        buf
    }

    /// Appends.
    ///
    /// # Panics
    /// Beyond the capacity.
    pub fn extend(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.memory.capacity() - self.memory.len(), "it never grows");
        self.memory.extend_from_slice(bytes);
    }

    /// Appends zeroes up to the next multiple of [`BLOCK_BYTES`].
    ///
    /// # Panics
    /// Beyond the capacity.
    pub fn pad_to_block(&mut self) {
        let padded = self.start + self.len().next_multiple_of(BLOCK_BYTES);
        assert!(padded <= self.memory.capacity(), "capacity must be a multiple of the block");
        self.memory.resize(padded, 0);
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// The bytes, to change in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
