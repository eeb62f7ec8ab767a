//! The WAL kinds: an enum above the seams Disk and ObjectStore, one group format, one contract.
//!
//! The simple form of what the appender does with a WAL is
//! ```text
//! loop { let (placed, group) = wal.place(&entries)?; wal.write(group).await?; acknowledge(placed) }
//! ```
//! The necessary form keeps as many writes in flight as [`Wal::terms`] allow and acknowledges in the order of placing: a group counts
//! as durable only when it **and every group before it** is. That order is the appender's duty (rule B6), since a WAL can't know
//! what its caller acknowledges.
//!
//! | kind | in |
//! |---|---|
//! | a ring, in a local file | `ring`, `ring_file`, `ring_scan` |
//! | … in a file that hosts share | `ring_shared` |
//! | … on a raw device | `ring_device` |
//! | numbered objects in the cluster's bucket | `object`, `object_put`, `object_recover` |
//!
//! What this module guarantees: a write that returned `Ok` survives the loss of the process and of power, and is found by
//! [`RingFile::recover`] or [`recover_objects`] as long as everything before it is there and nothing above the trim point was
//! dropped; after a fence no write returns `Ok` any more; a recovery is idempotent and yields a prefix of what was placed.
//! What it leaves to others: what may be trimmed (the image says), when an end is decided (the ledger's sealing entry), and what
//! the bytes mean.

mod inspect;
mod object;
mod object_put;
mod object_recover;
mod patience;
mod ring;
mod ring_device;
mod ring_file;
mod ring_left;
mod ring_scan;
mod ring_shared;
#[cfg(test)]
mod tests;

use base::{Micros, WalId, WalPosition, planted};
use bytes::Bytes;
use control_core::image::Image;
use futures::future::BoxFuture;
use std::time::Duration;
use stream_core::append::Terms;
use stream_core::pace::PaceLimits;
use stream_core::{DirectoryEntry, WalEntry};

pub use inspect::{GroupDescription, RingDescription, inspect_object_wal, inspect_ring};
pub(crate) use object::position_of as object_position;
pub use object::{ObjectWal, ObjectWalReader};
pub use object_put::PutCounts;
pub use object_recover::{delete_dead_objects, recover_objects};
pub(crate) use object_recover::{is_fence, object_ends_by};
pub use patience::told_while_waiting;
pub(crate) use patience::{Patience, within};
pub use ring::RingWal;
pub use ring_device::device_ring_bytes;
pub use ring_file::{RING_BYTES_MIN, RingFile, default_ring_bytes, existing_ring_bytes};
pub use ring_left::{FoundRing, LeftError, RingsError, ring_path, rings_at};
pub(crate) use ring_shared::{remove_shared, shared_path, sweep_unbegun};

/// Reads of an entry whose checksum differs, before it counts as gone.
const READ_TRIES: u32 = 5;

/// Bounds and periods of a WAL.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Groups of a ring written at once. More than one only hides the latency of a sync behind the next write.
    pub ring_in_flight_max: usize,
    /// Bytes of one group of a ring at the most.
    pub ring_group_bytes_max: usize,
    /// How long a ring collects while a group is in flight.
    pub ring_linger: Duration,
    /// Groups of a ring begin no closer to each other, unless they are full: with each write and each sync the machine is busy for
    /// longer than the device is, and a batch that finds the log at rest does not wait.
    pub ring_spacing: Duration,
    /// A ring whose device has not made a write durable for so long has failed.
    pub ring_stalled_max: Duration,
    /// A start waits no longer for an answer about a dead start's ring that it could do without.
    pub dead_ring_stalled_max: Duration,
    /// How an object WAL spends its puts.
    pub object_pace: PaceLimits,
    /// Bytes of untrimmed objects at the most: bounds a store's partial outage and the time of a recovery.
    pub object_capacity_bytes: u64,
    /// Bytes of one WAL object at the most.
    pub object_bytes_max: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions {
            ring_in_flight_max: 2,
            ring_group_bytes_max: 8 << 20,
            ring_linger: Duration::from_millis(20),
            ring_spacing: Duration::from_micros(900),
            ring_stalled_max: Duration::from_secs(30),
            dead_ring_stalled_max: Duration::from_secs(30),
            object_pace: PaceLimits::default(),
            object_capacity_bytes: 16 << 30,
            object_bytes_max: 256 << 20,
        }
    }
}

/// Bytes of one entry in a WAL: enough to read them back and to know that they are the ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSpan {
    /// First byte.
    pub position: WalPosition,
    /// Bytes.
    pub len: u32,
    /// CRC-32C of those bytes.
    pub crc: u32,
}

/// Where a group and its entries went.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The group's first byte.
    pub position: WalPosition,
    /// Where the next group begins, at the earliest: the WAL may be trimmed to here once all entries are committed.
    pub end: WalPosition,
    /// Each entry's bytes, in the order of the entries.
    pub spans: Vec<WalSpan>,
}

/// A placed group that waits to be written.
pub struct UnwrittenGroup(Unwritten);

enum Unwritten {
    Ring(ring::RingGroup),
    Object(object_put::ObjectGroup),
}

/// No room before the next trim: uploads must catch up. Nothing was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write-ahead log is full: {needed} bytes needed, {free} free")]
pub struct WalFull {
    /// What the group would have taken.
    pub needed: u64,
    /// What is free.
    pub free: u64,
}

/// Why a group is not, and never will be known to be, durable. Both end this WAL: nothing more is acknowledged from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// A recoverer ended this WAL: this start was declared dead.
    #[error("the write-ahead log was fenced: {0}")]
    Fenced(String),
    /// The device failed. What was confirmed before is still in memory and is to be uploaded.
    #[error("the write-ahead log failed: {0}")]
    Failed(String),
}

/// Why bytes could not be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalReadError {
    /// No longer there: trimmed (and, in a ring, overwritten) since the caller learned of it. Look at the image and plan anew.
    /// Where the image still needs them, they are damaged.
    #[error("no longer in the write-ahead log, or damaged: {0}")]
    Gone(String),
    /// May pass.
    #[error("the write-ahead log can't be read now: {0}")]
    Trouble(String),
}

/// Why a WAL file could not be opened: one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WalOpenError(pub String);

/// Why a dead start's WAL could not be recovered. Its streams stay offline; nothing of it may be overwritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Bytes that were known to be durable are not what was written. Never shortened silently: an operator must look.
    #[error(
        "the write-ahead log {wal} is damaged at {position}: {reason}; keep it, and see \"A damaged log\" in docs/operating.md"
    )]
    Damaged {
        /// Which.
        wal: WalId,
        /// The first group that is not whole.
        position: WalPosition,
        /// What was found.
        reason: String,
    },
    /// Can't be read here and now.
    #[error("the write-ahead log {wal} can't be read: {reason}")]
    Unreadable {
        /// Which.
        wal: WalId,
        /// What the disk said.
        reason: String,
    },
}

/// What a dead start's WAL holds from its trim point on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Which.
    pub wal: WalId,
    /// Where it ends. The first one in the ledger counts (rule B-2).
    pub end: WalPosition,
    /// Its groups, oldest first.
    pub groups: Vec<RecoveredGroup>,
}

/// A group of a dead start's WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// First byte.
    pub position: WalPosition,
    /// Where the next one begins.
    pub end: WalPosition,
    /// Its directory, in WAL order.
    pub entries: Vec<DirectoryEntry>,
}

impl RecoveredGroup {
    /// Where an entry's bytes are.
    #[must_use]
    pub fn span(&self, entry: &DirectoryEntry) -> WalSpan {
        span(self.position, entry)
    }
}

/// A start's write-ahead log.
pub enum Wal {
    /// A ring in a file, local or shared, or on a device.
    Ring(RingWal),
    /// Numbered objects in the cluster's bucket.
    Object(ObjectWal),
}

impl Wal {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> WalId {
        match self {
            Wal::Ring(ring) => ring.id(),
            Wal::Object(objects) => objects.id(),
        }
    }

    /// Gives a group of these entries the next place, in order. The group must then be written; a place can't be given back.
    ///
    /// # Errors
    /// [`WalFull`]; nothing was placed then.
    ///
    /// # Panics
    /// With no entries, more than [`Wal::group_entries_max`] or more than [`Wal::group_bytes_max`] of payload.
    pub fn place(&mut self, entries: &[WalEntry]) -> Result<(Placed, UnwrittenGroup), WalFull> {
        match self {
            Wal::Ring(ring) => {
                ring.place(entries).map(|(placed, group)| (placed, UnwrittenGroup(Unwritten::Ring(group))))
            }
            Wal::Object(objects) => {
                objects.place(entries).map(|(placed, group)| (placed, UnwrittenGroup(Unwritten::Object(group))))
            }
        }
    }

    /// Makes a placed group durable. Several may run at once, as many as [`Wal::terms`] allow, begun in the order of placing.
    /// Trouble of a store is waited out, for ever. `Ok` counts only when all groups before this one are `Ok`.
    #[must_use]
    pub fn write(&self, group: UnwrittenGroup) -> BoxFuture<'static, Result<(), WalError>> {
        match (self, group.0) {
            (Wal::Ring(ring), Unwritten::Ring(group)) => ring.write(group),
            (Wal::Object(objects), Unwritten::Object(group)) => objects.write(group),
            (Wal::Ring(_), Unwritten::Object(_)) | (Wal::Object(_), Unwritten::Ring(_)) => {
                unreachable!("a group is written to the WAL that placed it")
            }
        }
    }

    /// The lowest position that `image` shows to be needed, of this WAL and of older ones in the same ring.
    #[must_use]
    pub fn floor_in(&self, image: &Image) -> WalPosition {
        match self {
            Wal::Ring(ring) => ring.floor_in(image),
            Wal::Object(objects) => objects.floor_in(image),
        }
    }

    /// Frees what lies below `floor`, which must have been **seen** in an image (rule B-3): see [`Wal::floor_in`]. A lower floor
    /// than before changes nothing. Objects are deleted in the background; what is left over is swept after this start's death.
    pub fn trim(&mut self, floor: WalPosition) {
        match self {
            Wal::Ring(ring) => ring.trim(floor),
            Wal::Object(objects) => objects.trim(floor),
        }
    }

    /// Where the next group goes, at the earliest.
    #[must_use]
    pub fn next_position(&self) -> WalPosition {
        match self {
            Wal::Ring(ring) => ring.next_position(),
            Wal::Object(objects) => objects.next_position(),
        }
    }

    /// Bytes that can't be written over now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        match self {
            Wal::Ring(ring) => ring.used_bytes(),
            Wal::Object(objects) => objects.used_bytes(),
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        match self {
            Wal::Ring(ring) => ring.capacity_bytes(),
            Wal::Object(objects) => objects.capacity_bytes(),
        }
    }

    /// Payload bytes of one group at the most, whatever the caller would like: no single batch may be larger.
    #[must_use]
    pub fn group_bytes_max(&self) -> usize {
        match self {
            Wal::Ring(ring) => ring.group_bytes_max(),
            Wal::Object(objects) => objects.group_bytes_max(),
        }
    }

    /// Entries of one group at the most.
    #[must_use]
    pub fn group_entries_max(&self) -> usize {
        match self {
            Wal::Ring(ring) => ring.group_entries_max(),
            Wal::Object(_) => stream_core::wal_group::ENTRIES_MAX,
        }
    }

    /// On what terms the next group is to be formed.
    #[must_use]
    pub fn terms(&self, now: Micros) -> Terms {
        match self {
            Wal::Ring(ring) => ring.terms(),
            Wal::Object(objects) => objects.terms(now),
        }
    }

    /// The puts of an object WAL; none of any other kind.
    #[must_use]
    pub fn put_counts(&self) -> PutCounts {
        match self {
            Wal::Ring(_) => PutCounts::default(),
            Wal::Object(objects) => objects.put_counts(),
        }
    }

    /// A handle that reads entries back, and may be cloned into tasks.
    #[must_use]
    pub fn reader(&self) -> WalReader {
        match self {
            Wal::Ring(ring) => WalReader::Ring(ring.file().clone()),
            Wal::Object(objects) => WalReader::Object(objects.reader()),
        }
    }
}

/// Reads entries back: spilled ones, and those of a dead start's WAL.
#[derive(Clone)]
pub enum WalReader {
    /// Any WAL in this ring.
    Ring(RingFile),
    /// One WAL's objects.
    Object(ObjectWalReader),
}

impl WalReader {
    /// The bytes of one entry, verified.
    ///
    /// # Errors
    /// [`WalReadError::Gone`] where other bytes or none are there now; [`WalReadError::Trouble`] where asking again may help.
    pub async fn read(&self, span: WalSpan) -> Result<Bytes, WalReadError> {
        // A store may give a wrong answer once; what is there gives the same each time.
        for _ in 0..READ_TRIES {
            let bytes = match self {
                WalReader::Ring(file) => file.read_span(span).await?,
                WalReader::Object(reader) => reader.read_span(span).await?,
            };
            if planted!("spilled block read from a wrapped position", base::crc32c(&bytes) == span.crc, true) {
                return Ok(bytes);
            }
        }
        Err(WalReadError::Gone(format!("checksum differs at {}", span.position)))
    }
}

/// Where an entry of the group at `group` has its bytes.
fn span(group: WalPosition, entry: &DirectoryEntry) -> WalSpan {
    WalSpan {
        position: WalPosition(group.0 + u64::from(entry.payload_position)),
        len: entry.payload_len,
        crc: entry.payload_crc,
    }
}
