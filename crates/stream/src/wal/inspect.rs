//! What `millstream inspect wal` prints. Reads only, takes no lock, and trusts nothing: also for a WAL in use or damaged.

use super::WalOpenError;
use super::object::position_of;
use super::ring_file::{BLOCK, FILE_NAME, read_slots};
use crate::keys::{wal_object_number, wal_prefix};
use base::{WalId, WalPosition};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use stream_core::DirectoryEntry;
use stream_core::ring_header::RingHeader;
use stream_core::wal_group::{GroupKind, GroupPlace, WalGroup, decode_group, decode_header};
use world::disk::BLOCK_BYTES;
use world::{Disk, DiskError, File, GetRange, ObjectStore, OpenMode, Pages, StoreError};

/// Read at once.
const READ_BYTES: u64 = 1 << 20;

/// Names listed by one call.
const LIST_KEYS_MAX: usize = 1000;

/// A ring file as it stands.
#[derive(Debug, Clone)]
pub struct RingDescription {
    /// Its header; `None` where it was never finished.
    pub header: Option<RingHeader>,
    /// Every whole group in the file, in file order: also those that are trimmed, sealed or of starts long gone.
    pub groups: Vec<GroupDescription>,
    /// How far each log got, by the heads that stand in the file, whole or not: a writer placed a group up to there.
    pub reached: BTreeMap<WalId, WalPosition>,
}

/// A group as it stands.
#[derive(Debug, Clone)]
pub struct GroupDescription {
    /// What it is for.
    pub kind: GroupKind,
    /// Whose, where, and what was durable when it was written.
    pub place: GroupPlace,
    /// Bytes of all of it.
    pub total_len: u64,
    /// Its directory.
    pub entries: Vec<DirectoryEntry>,
    /// Whether the payload is what the directory says.
    pub payload_whole: bool,
}

impl GroupDescription {
    fn new(group: WalGroup, payload_whole: bool) -> GroupDescription {
        let header = group.header;
        GroupDescription {
            kind: header.kind,
            place: header.place,
            total_len: header.total_len,
            entries: group.entries,
            payload_whole,
        }
    }
}

/// Describes the ring in the folder `place`, or on that device.
///
/// # Errors
/// It can't be opened or read, or is a newer release's.
pub async fn inspect_ring(disk: &dyn Disk, place: &Path) -> Result<RingDescription, WalOpenError> {
    let in_folder = place.join(FILE_NAME);
    let cannot_read = |error: DiskError| WalOpenError(format!("can't read the write-ahead log: {error}"));
    let (file, path) = match disk.open(&in_folder, OpenMode::default()).await {
        Err(DiskError::NotFound(missing)) => match disk.open(place, OpenMode::default()).await {
            Err(DiskError::NotFound(_)) => return Err(cannot_read(DiskError::NotFound(missing))),
            opened => (opened.map_err(cannot_read)?, place),
        },
        opened => (opened.map_err(cannot_read)?, in_folder.as_path()),
    };
    let header = read_slots(file.as_ref(), path).await?.header(path)?;
    let (mut groups, mut reached) = (Vec::new(), BTreeMap::new());
    if let Some(header) = header {
        let mut offset = 0;
        while offset < header.data_bytes {
            let bytes = read(file.as_ref(), &header, offset, READ_BYTES).await.map_err(cannot_read)?;
            let mut at = 0;
            while let Some(block) = bytes.get(at..at + BLOCK_BYTES) {
                let step = match group_at(file.as_ref(), &header, offset + at as u64, block, &mut reached)
                    .await
                    .map_err(cannot_read)?
                {
                    Some(group) => {
                        let total = group.total_len;
                        groups.push(group);
                        total
                    }
                    None => BLOCK,
                };
                at += usize::try_from(step).expect("a ring is smaller than the address space");
            }
            // At least one block: a group may reach beyond what was read.
            offset += (at as u64).max(BLOCK);
        }
    }
    Ok(RingDescription { header, groups, reached })
}

/// The whole group that begins at `offset` of the data area with `block`.
async fn group_at(
    file: &dyn File,
    header: &RingHeader,
    offset: u64,
    block: &[u8],
    reached: &mut BTreeMap<WalId, WalPosition>,
) -> Result<Option<GroupDescription>, DiskError> {
    let Ok(group) = decode_header(block) else { return Ok(None) };
    let total = group.total_len;
    let placed = group.place.tag == header.ring_id && group.place.position.0 % header.data_bytes == offset;
    if !placed || total == 0 || total % BLOCK != 0 || total > header.data_bytes - offset {
        return Ok(None);
    }
    let end = reached.entry(group.place.wal).or_default();
    *end = WalPosition(group.place.position.0.saturating_add(total)).max(*end);
    let bytes = read(file, header, offset, if group.kind == GroupKind::Data { total } else { BLOCK }).await?;
    Ok(decode_group(&bytes).ok().map(|group| {
        let whole = group.verify_payload(&bytes).is_ok();
        GroupDescription::new(group, whole)
    }))
}

async fn read(file: &dyn File, header: &RingHeader, offset: u64, len: u64) -> Result<Bytes, DiskError> {
    let len = len.min(header.data_bytes - offset);
    file.read_at(header.data_start() + offset, usize::try_from(len).expect("a ring is smaller than the address space"))
        .await
}

/// Describes the objects of one WAL in the bucket, as a listing shows them. Each answer is (number, what it holds or why not).
///
/// # Errors
/// The store's.
pub async fn inspect_object_wal(
    store: &Arc<dyn ObjectStore>,
    wal: WalId,
) -> Result<Vec<(u64, Result<GroupDescription, String>)>, StoreError> {
    let mut found = Vec::new();
    let mut pages = Pages::new(store.as_ref(), wal_prefix(wal), LIST_KEYS_MAX);
    while let Some(page) = pages.next().await? {
        for object in page {
            let Some(number) = wal_object_number(&object.key) else { continue };
            let described = match store.get(&object.key, GetRange::All).await {
                Ok((bytes, _)) => describe_object(&bytes, wal, number),
                Err(StoreError::NotFound(key)) => Err(format!("{key} is gone")),
                Err(error) => return Err(error),
            };
            found.push((number, described));
        }
    }
    Ok(found)
}

fn describe_object(bytes: &[u8], wal: WalId, number: u64) -> Result<GroupDescription, String> {
    let group = decode_group(bytes).map_err(|error| error.to_string())?;
    if group.header.place.wal != wal || group.header.place.position != position_of(number) {
        return Err("holds another number's group".to_owned());
    }
    let whole = group.verify_payload(bytes).is_ok() && group.header.total_len == bytes.len() as u64;
    Ok(GroupDescription::new(group, whole))
}
