//! Bytes to values. Everything read here may be torn, stale, foreign or hostile.

use super::{
    CONTROL, DirectoryEntry, ENTRIES_MAX, ENTRY_BYTES, GroupKind, GroupPlace, HEAD_BYTES_MAX, HEADER_BYTES, MAGIC,
    PRODUCER, PRODUCER_BYTES, TRANSACTION, VERSION,
};
use crate::batch::ending_of;
use crate::fields::Fields;
use crate::{BatchKind, Marker, ProducerDelta};
use base::{
    Crc32c, NodeEpoch, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, WalId, WalIndex, WalPosition, crc32c,
};

/// Why bytes are not the group that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// No group begins here: the first bytes are not a group's.
    #[error("no WAL group begins here")]
    NotAGroup,
    /// A group begins here and is cut short or its checksum is wrong: written in part, or damaged.
    #[error("the WAL group is cut short or its checksum is wrong")]
    Torn,
    /// Written by a newer release.
    #[error("the WAL group has version {0}, this release reads up to {VERSION}: use a newer release")]
    Newer(u16),
    /// Its checksum is right and its fields contradict each other: no torn write makes that.
    #[error("the WAL group is corrupt: {0}")]
    Corrupt(&'static str),
}

/// The fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// What it is for.
    pub kind: GroupKind,
    /// Where it stands.
    pub place: GroupPlace,
    /// Entries in the directory.
    pub entries: usize,
    /// Bytes of header and directory, at most [`HEAD_BYTES_MAX`].
    pub head_len: usize,
    /// Bytes of all entries together.
    pub payload_len: u32,
    /// Bytes of the whole group.
    pub total_len: u64,
}

impl GroupHeader {
    /// The first position beyond the group.
    #[must_use]
    pub fn end(&self) -> WalPosition {
        WalPosition(self.place.position.0.saturating_add(self.total_len))
    }
}

/// A group without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalGroup {
    /// Its header.
    pub header: GroupHeader,
    /// Its directory, in WAL order.
    pub entries: Vec<DirectoryEntry>,
}

impl WalGroup {
    /// Whether `group`, the bytes from the header on, holds the payload that the directory describes.
    ///
    /// # Errors
    /// [`GroupError::Torn`] where it is cut short or an entry's checksum is wrong.
    pub fn verify_payload(&self, group: &[u8]) -> Result<(), GroupError> {
        for entry in &self.entries {
            let start = usize::try_from(entry.payload_position).map_err(|_| GroupError::Torn)?;
            let len = usize::try_from(entry.payload_len).map_err(|_| GroupError::Torn)?;
            let bytes = group.get(start..start.saturating_add(len)).ok_or(GroupError::Torn)?;
            if crc32c(bytes) != entry.payload_crc {
                return Err(GroupError::Torn);
            }
        }
        Ok(())
    }
}

/// Reads a fixed header, whose checksum can be checked only with the directory: until [`decode_group`] has accepted that, the
/// fields are a hint of how much to read. They are bounded and do not contradict each other.
///
/// # Errors
/// [`GroupError::Torn`] with fewer than [`HEADER_BYTES`].
pub fn decode_header(bytes: &[u8]) -> Result<GroupHeader, GroupError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(GroupError::NotAGroup);
    }
    let mut fields = Fields::new(bytes.get(MAGIC.len()..HEADER_BYTES).ok_or(GroupError::Torn)?);
    let version = fields.u16();
    if version > VERSION {
        return Err(GroupError::Newer(version));
    }
    let kind = match fields.u8() {
        0 => GroupKind::Data,
        1 => GroupKind::Pad,
        2 => GroupKind::Fence,
        _ => return Err(GroupError::Torn),
    };
    fields.skip(1);
    let entries = usize::try_from(fields.u32()).unwrap_or(usize::MAX);
    let node_epoch = NodeEpoch(fields.u64());
    let index = WalIndex(fields.u16());
    fields.skip(6);
    let position = WalPosition(fields.u64());
    let total_len = fields.u64();
    let directory_len = usize::try_from(fields.u32()).unwrap_or(usize::MAX);
    let payload_len = fields.u32();
    let durable = WalPosition(fields.u64());
    let tag = fields.u128();
    let head_len = HEADER_BYTES.saturating_add(directory_len);
    let fits = (head_len as u64).saturating_add(u64::from(payload_len)) <= total_len;
    if head_len > HEAD_BYTES_MAX || entries > ENTRIES_MAX || !fits || position.0.checked_add(total_len).is_none() {
        return Err(GroupError::Torn);
    }
    let place = GroupPlace { wal: WalId { node_epoch, index }, position, durable, tag };
    Ok(GroupHeader { kind, place, entries, head_len, payload_len, total_len })
}

/// Reads header and directory from the first bytes of a group; what follows is ignored. Whose group it should be is the caller's
/// to compare.
///
/// # Errors
/// See [`GroupError`]; [`GroupError::Torn`] also where `bytes` ends before the directory does.
pub fn decode_group(bytes: &[u8]) -> Result<WalGroup, GroupError> {
    let header = decode_header(bytes)?;
    let head = bytes.get(..header.head_len).ok_or(GroupError::Torn)?;
    let stored = &head[HEADER_BYTES - 4..HEADER_BYTES];
    if stored != head_crc(head).to_le_bytes() {
        return Err(GroupError::Torn);
    }
    if header.place.durable > header.place.position {
        return Err(GroupError::Corrupt("durable mark beyond the group"));
    }
    let entries = decode_entries(&header, &head[HEADER_BYTES..])?;
    Ok(WalGroup { header, entries })
}

/// The checksum over header and directory, without the field that holds it.
pub(super) fn head_crc(head: &[u8]) -> u32 {
    let mut crc = Crc32c::default();
    crc.update(&head[..HEADER_BYTES - 4]);
    crc.update(&head[HEADER_BYTES..]);
    crc.value()
}

fn decode_entries(header: &GroupHeader, directory: &[u8]) -> Result<Vec<DirectoryEntry>, GroupError> {
    if (header.kind == GroupKind::Data) != (header.entries > 0) {
        return Err(GroupError::Corrupt("entries in a pad or fence, or none in a data group"));
    }
    // At least an entry's smallest size of bytes stands behind each claimed entry.
    if header.entries > directory.len() / ENTRY_BYTES {
        return Err(GroupError::Corrupt("directory too short for its entries"));
    }
    let mut entries = Vec::with_capacity(header.entries);
    let mut rest = directory;
    let mut payload_position = header.head_len as u64;
    for _ in 0..header.entries {
        let (entry, used) = decode_entry(rest)?;
        if u64::from(entry.payload_position) != payload_position {
            return Err(GroupError::Corrupt("payload not contiguous"));
        }
        payload_position += u64::from(entry.payload_len);
        rest = &rest[used..];
        entries.push(entry);
    }
    let payload_end = header.head_len as u64 + u64::from(header.payload_len);
    if !rest.is_empty() || payload_position != payload_end {
        return Err(GroupError::Corrupt("directory and payload lengths disagree"));
    }
    Ok(entries)
}

fn decode_entry(bytes: &[u8]) -> Result<(DirectoryEntry, usize), GroupError> {
    const SHORT: GroupError = GroupError::Corrupt("directory too short for its entries");
    let mut fields = Fields::new(bytes.get(..ENTRY_BYTES).ok_or(SHORT)?);
    match fields.u8() {
        0 => {}
        1 => return Err(GroupError::Corrupt("a link entry, which this release does not know: use a newer release")),
        _ => return Err(GroupError::Corrupt("unknown entry kind")),
    }
    let flags = fields.u8();
    let (control, has_producer, in_transaction) =
        (flags & CONTROL != 0, flags & PRODUCER != 0, flags & TRANSACTION == TRANSACTION);
    let is_known = flags & !(CONTROL | PRODUCER | TRANSACTION) == 0 && (in_transaction || flags & TRANSACTION == 0);
    if !is_known || in_transaction && !has_producer {
        return Err(GroupError::Corrupt("unknown entry flags"));
    }
    fields.skip(2);
    let stream_epoch = StreamEpoch(fields.i32());
    let stream = StreamId(fields.u64());
    let (base, next) = (Offset(fields.u64()), Offset(fields.u64()));
    if base > next || next > Offset::MAX {
        return Err(GroupError::Corrupt("offsets out of order"));
    }
    let payload_position = fields.u32();
    let payload_len = fields.u32();
    let records = fields.u32();
    let payload_crc = fields.u32();
    let max_timestamp = UnixMillis(fields.i64());
    let mut used = ENTRY_BYTES;
    let producer = if has_producer {
        used += PRODUCER_BYTES;
        let record = bytes.get(ENTRY_BYTES..used).ok_or(SHORT)?;
        Some(decode_producer(record, control, in_transaction)?)
    } else {
        None
    };
    let entry = DirectoryEntry {
        stream,
        stream_epoch,
        range: OffsetRange::new(base, next),
        payload_position,
        payload_len,
        payload_crc,
        records,
        max_timestamp,
        control,
        producer,
    };
    Ok((entry, used))
}

fn decode_producer(record: &[u8], control: bool, in_transaction: bool) -> Result<ProducerDelta, GroupError> {
    let mut fields = Fields::new(record);
    let producer_id = fields.i64();
    let (first_sequence, last_sequence) = (fields.i32(), fields.i32());
    let producer_epoch = fields.i16();
    let kind = match (in_transaction, control) {
        (false, _) => BatchKind::Plain,
        (true, false) => BatchKind::Transactional,
        (true, true) => {
            let coordinator_epoch = fields.i32();
            let ending = ending_of(fields.u16()).ok_or(GroupError::Corrupt("a marker of an unknown kind"))?;
            BatchKind::Marker(Marker { ending, coordinator_epoch })
        }
    };
    Ok(ProducerDelta { producer_id, producer_epoch, first_sequence, last_sequence, kind })
}
