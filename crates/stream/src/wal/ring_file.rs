//! The ring's file: creation, lock, the two header slots, and where positions lie.
//!
//! `[slot 0][slot 1][data]`, each slot a block, the data a multiple of blocks. A position is absolute and grows for ever; its
//! byte is at `data start + position % data length`. The slots are written in turn, so that one is whole at any moment; they
//! identify the ring and its cluster and say which start writes it. No recovery rests on them: which starts' groups are still
//! needed, and from where, is told by the image.
//!
//! [`RingFile::open`] syncs the file once it holds the lock: what is read from then on, a recovered tail above all, is durable
//! even where its writer died between a write and its sync.

use super::ring_scan;
use super::{RecoverError, Recovered, RingWal, WalOpenError, WalOptions, WalReadError, WalSpan};
use base::{NodeEpoch, WalId, WalIndex, WalPosition, crc32c, planted};
use bytes::Bytes;
use control_core::image::{Image, WalRecord, WalState};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use world::disk::BLOCK_BYTES;
use world::{AlignedBuf, ClockExt, Disk, DiskError, File, OpenMode, World};

/// The layout that this build writes, and the newest that it reads.
pub(super) const RING_VERSION: u16 = 1;

/// The smallest ring. Real ones are far larger; the simulator's are small so that they wrap and fill.
pub const RING_BYTES_MIN: u64 = 16 * BLOCK;

/// The largest ring that is made without being asked for.
const RING_BYTES_DEFAULT_MAX: u64 = 2 << 30;

/// [`BLOCK_BYTES`], as positions count.
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;

/// Where the data begins: behind the two header slots.
pub(super) const DATA_START: u64 = 2 * BLOCK;

const MAGIC: [u8; 8] = *b"MSWALRNG";
const SLOT_BYTES: usize = 96;

/// The size of a ring that nobody chose: 2 GiB, or a tenth of what is free where that is less.
#[must_use]
pub fn default_ring_bytes(free_bytes: u64) -> u64 {
    (free_bytes / 10).clamp(RING_BYTES_MIN, RING_BYTES_DEFAULT_MAX) / BLOCK * BLOCK
}

/// An open, locked ring; clones share it. The lock lasts until the last clone is dropped or the process ends.
#[derive(Clone)]
pub struct RingFile {
    inner: Arc<Inner>,
}

struct Inner {
    file: Arc<dyn File>,
    path: PathBuf,
    header: Mutex<RingHeader>,
    /// Scans that [`RingFile::next_start`] had to make, kept for the recovery that follows.
    scanned: Mutex<BTreeMap<WalId, (WalPosition, Recovered)>>,
}

/// What a header slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RingHeader {
    /// Drawn when the ring was made. Also the tag of its groups.
    pub(super) ring_id: u128,
    /// Whose ring it is; 0 until a start has begun to write it.
    pub(super) cluster_id: u128,
    /// Bytes of the data area.
    pub(super) data_bytes: u64,
    /// Rises by one with each write of a slot; the greater one counts.
    pub(super) generation: u64,
    /// The start that writes it.
    pub(super) wal: WalId,
    /// Where that start's groups begin.
    pub(super) start: WalPosition,
}

impl RingFile {
    /// Opens and locks the ring in `dir`, or makes one of `bytes`. One that is there keeps its size.
    ///
    /// # Errors
    /// One line that says what to do: locked, full, denied, damaged, or written by a newer release.
    pub async fn open(world: &World, dir: &Path, bytes: u64) -> Result<RingFile, WalOpenError> {
        todo!()
    }

    /// The number drawn when the ring was made, by which the ledger knows it.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.header().ring_id
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Bytes of the data area.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.header().data_bytes
    }

    /// Where a new start's groups may begin: at or beyond the end of every older start's in this ring. To be registered in the
    /// ledger before [`RingFile::begin`].
    ///
    /// # Errors
    /// The ring belongs to another cluster, or an older start's groups can't be read: then nothing may be written over.
    pub async fn next_start(&self, image: &Image) -> Result<WalPosition, WalOpenError> {
        todo!()
    }

    /// Begins to write as `wal`, which `image` must show registered at the position that [`RingFile::next_start`] gave.
    ///
    /// # Errors
    /// The header could not be written.
    pub async fn begin(&self, image: &Image, wal: WalId, options: WalOptions) -> Result<RingWal, WalOpenError> {
        todo!()
    }

    /// What the dead start `wal` left in this ring from `from` on: the greater of its start and its trim point, in an image that
    /// contains its death. Changes nothing, and yields the same whenever it is asked.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing is shortened then.
    pub async fn recover(&self, wal: WalId, from: WalPosition) -> Result<Recovered, RecoverError> {
        todo!()
    }

    /// The bytes of `span`, not verified yet.
    pub(super) async fn read_span(&self, span: WalSpan) -> Result<Bytes, WalReadError> {
        todo!()
    }

    pub(super) fn header(&self) -> RingHeader {
        *self.inner.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
