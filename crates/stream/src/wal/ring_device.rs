//! A ring on a raw block device: the whole device is the ring, and what else might be on it is asked about first.
//!
//! Layout, walk and writer are those of a ring in a file; only making and opening differ:
//! - The device is opened exclusively: not where it is mounted, or part of a RAID, a volume group, swap, or held by another broker.
//! - One that holds anything but zeroes or a ring is refused, with the token that gives up exactly that ([`stream_core::foreign`]).
//!   The same for a ring of another cluster, once the bucket says so ([`super::RingFile::next_start`]).
//! - Its size is the ring's; it keeps the size that it was made with where the device grows.

use super::WalOpenError;
use super::ring_file::{BLOCK, RING_BYTES_MIN, RingFile, SLOTS_END, cannot, new_header, read_slots, write_header};
use std::path::Path;
use stream_core::foreign::{Foreign, HEAD_BYTES, TAIL_BYTES, recognise};
use stream_core::ring_header::RingHeader;
use world::{AlignedBuf, Disk, DiskError, File, OpenMode, World};

/// Bytes of the beginning and of the end that are zeroed when what stood there is given up.
const WIPED_BYTES: u64 = 1 << 20;

impl RingFile {
    /// Opens the ring on the device `path`, or makes one there. `give_up` names what else may be written over, as a refusal told it.
    ///
    /// # Errors
    /// One line that says what to do: no device, in use, too small, damaged, something else on it.
    pub async fn open_device(world: &World, path: &Path, give_up: Option<&str>) -> Result<RingFile, WalOpenError> {
        let mode = OpenMode { write: true, direct: true, exclusive: true, ..OpenMode::default() };
        let file = world.disk.open(path, mode).await.map_err(|error| cannot_open(path, error))?;
        if !file.is_device() {
            return Err(WalOpenError(format!(
                "{} is not a block device: say --wal file:///dir for a ring in a file",
                path.display()
            )));
        }
        file.lock().await.map_err(|error| cannot_open(path, error))?;
        let found = read_slots(file.as_ref(), path).await?.header(path)?;
        let header = match found {
            Some(header) => header,
            None => make(world, file.as_ref(), path, give_up).await?,
        };
        file.sync().await.map_err(|error| cannot("sync", &error))?;
        let ring = RingFile::new(world, file, path.to_owned(), header, give_up.map(str::to_owned));
        Ok(if found.is_none() { ring.made() } else { ring })
    }
}

/// Bytes of the ring that is, or would be, on the device `path`. `None` where there is no such device, or none that can be read: what
/// is wrong then is told by [`RingFile::open_device`].
pub async fn device_ring_bytes(disk: &dyn Disk, path: &Path) -> Option<u64> {
    let file = disk.open(path, OpenMode::default()).await.ok().filter(|file| file.is_device())?;
    let slots = read_slots(file.as_ref(), path).await.ok()?;
    match slots.newest {
        Some(header) => Some(header.data_bytes),
        None => Some(data_bytes(file.size().await.ok()?)),
    }
}

fn data_bytes(device_bytes: u64) -> u64 {
    device_bytes.saturating_sub(SLOTS_END) / BLOCK * BLOCK
}

/// Makes the ring where nothing else is, or what is there is given up.
async fn make(world: &World, file: &dyn File, path: &Path, give_up: Option<&str>) -> Result<RingHeader, WalOpenError> {
    let size = file.size().await.map_err(|error| cannot("measure", &error))?;
    let bytes = data_bytes(size);
    if bytes < RING_BYTES_MIN {
        return Err(WalOpenError(format!(
            "the device {} has {size} bytes, too few for a write-ahead log: give a larger one",
            path.display()
        )));
    }
    if let Some(foreign) = foreign(file, size).await.map_err(|error| cannot("read", &error))? {
        if give_up != Some(&foreign.token) {
            return Err(WalOpenError(format!(
                "the device {path} holds {}: give another --wal, or, to lose what it holds, say --wal 'block://{path}?overwrite={}'",
                foreign.what,
                foreign.token,
                path = path.display()
            )));
        }
        tracing::warn!(path = %path.display(), "writes over {}, as it was told to", foreign.what);
        wipe(file, size).await.map_err(|error| cannot("write", &error))?;
    }
    let header = new_header(world, bytes);
    write_header(file, &header).await.map_err(|error| cannot("write the header of", &error))?;
    Ok(header)
}

async fn foreign(file: &dyn File, size: u64) -> Result<Option<Foreign>, DiskError> {
    let head = file.read_at(0, HEAD_BYTES).await?;
    let whole = size / BLOCK * BLOCK;
    let tail = file.read_at(whole.saturating_sub(TAIL_BYTES as u64), TAIL_BYTES).await?;
    Ok(recognise(&head, &tail))
}

/// Zeroes both ends, so that nothing takes the device for what it was.
async fn wipe(file: &dyn File, size: u64) -> Result<(), DiskError> {
    let whole = size / BLOCK * BLOCK;
    let len = WIPED_BYTES.min(whole);
    for at in [0, whole - len] {
        let zeroes = vec![0; usize::try_from(len).expect("a mebibyte")];
        file.write_at(at, AlignedBuf::copy_of(&zeroes)).await?;
    }
    file.sync().await
}

fn cannot_open(path: &Path, error: DiskError) -> WalOpenError {
    match error {
        DiskError::Locked(_) => WalOpenError(format!(
            "the device {} is in use: unmount it, take it out of what holds it, or stop the other process, or give another --wal",
            path.display()
        )),
        DiskError::NotFound(_) => {
            WalOpenError(format!("there is no device {}: attach it, or give another --wal", path.display()))
        }
        error => cannot("open", &error),
    }
}
