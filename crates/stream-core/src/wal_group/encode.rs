//! Values to bytes. A group's size is known before its place is (a ring must choose where it fits), hence two passes.

use super::{
    CONTROL, DirectoryEntry, ENTRIES_MAX, ENTRY_BYTES, GroupKind, GroupPlace, HEADER_BYTES, MAGIC, PRODUCER,
    PRODUCER_BYTES, TRANSACTION, VERSION, WalEntry,
};
use crate::BatchKind;
use crate::batch::ending_number;
use base::Crc32c;
use bytes::{Bytes, BytesMut};

/// How many bytes a group will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupSize {
    /// Header and directory.
    pub head: usize,
    /// All entries' bytes.
    pub payload: usize,
    /// All of it, up to the alignment.
    pub total: usize,
}

/// A group ready to be written: `head`, then the entries' bytes in their order, then zeroes up to `size.total`.
#[derive(Debug, Clone)]
pub struct EncodedGroup {
    /// Header and directory.
    pub head: Bytes,
    /// What the directory says, in the entries' order.
    pub directory: Vec<DirectoryEntry>,
    /// How many bytes.
    pub size: GroupSize,
}

/// The size of a group of these entries whose length is a multiple of `alignment`.
#[must_use]
pub fn measure(entries: &[WalEntry], alignment: usize) -> GroupSize {
    let head = HEADER_BYTES + entries.iter().map(entry_bytes).sum::<usize>();
    let payload = entries.iter().map(|entry| entry.batch.bytes.len()).sum::<usize>();
    GroupSize { head, payload, total: (head + payload).next_multiple_of(alignment) }
}

/// Encodes the header and directory of a data group. Copies no payload: the caller lays the entries' bytes behind the head.
///
/// # Panics
/// With no entries, more than [`ENTRIES_MAX`], or 4 GiB and more: the caller bounds groups.
#[must_use]
pub fn encode_group(place: GroupPlace, entries: &[WalEntry], alignment: usize) -> EncodedGroup {
    assert!(!entries.is_empty() && entries.len() <= ENTRIES_MAX, "a group has 1 to {ENTRIES_MAX} entries");
    let size = measure(entries, alignment);
    let mut directory = Vec::with_capacity(entries.len());
    let mut payload_position = field(size.head);
    for entry in entries {
        let described = describe(entry, payload_position);
        payload_position += described.payload_len;
        directory.push(described);
    }
    let mut head = HeadWriter::new(place, GroupKind::Data, size, entries.len());
    for entry in &directory {
        head.entry(entry);
    }
    EncodedGroup { head: head.finish(), directory, size }
}

/// The header of a pad that makes `total` bytes of a ring mean nothing. What follows the header is not looked at.
#[must_use]
pub fn encode_pad(place: GroupPlace, total: usize) -> Bytes {
    HeadWriter::new(place, GroupKind::Pad, GroupSize { head: HEADER_BYTES, payload: 0, total }, 0).finish()
}

/// A whole fence object.
#[must_use]
pub fn encode_fence(place: GroupPlace) -> Bytes {
    let size = GroupSize { head: HEADER_BYTES, payload: 0, total: HEADER_BYTES };
    HeadWriter::new(place, GroupKind::Fence, size, 0).finish()
}

fn entry_bytes(entry: &WalEntry) -> usize {
    ENTRY_BYTES + if entry.batch.producer.is_some() { PRODUCER_BYTES } else { 0 }
}

fn describe(entry: &WalEntry, payload_position: u32) -> DirectoryEntry {
    let batch = &entry.batch;
    let mut crc = Crc32c::default();
    crc.update(&batch.bytes.head);
    crc.update(&batch.bytes.body);
    DirectoryEntry {
        stream: entry.stream,
        stream_epoch: entry.stream_epoch,
        range: batch.range,
        payload_position,
        payload_len: field(batch.bytes.len()),
        payload_crc: crc.value(),
        records: batch.records,
        max_timestamp: batch.max_timestamp,
        control: batch.control,
        producer: batch.producer,
    }
}

fn flags_of(entry: &DirectoryEntry) -> u8 {
    let of_producer = match entry.producer.map(|delta| delta.kind) {
        None => 0,
        Some(BatchKind::Plain) => PRODUCER,
        Some(BatchKind::Transactional | BatchKind::Marker(_)) => PRODUCER | TRANSACTION,
    };
    of_producer | if entry.control { CONTROL } else { 0 }
}

/// A length as the format's 32-bit field.
fn field(len: usize) -> u32 {
    u32::try_from(len).expect("the caller keeps groups below 4 GiB")
}

/// Appends fields in their order; the checksum goes to its place in the header at the end.
struct HeadWriter {
    bytes: BytesMut,
    size: GroupSize,
}

impl HeadWriter {
    fn new(place: GroupPlace, kind: GroupKind, size: GroupSize, entries: usize) -> HeadWriter {
        let mut writer = HeadWriter { bytes: BytesMut::with_capacity(size.head), size };
        writer.put(&MAGIC);
        writer.put(&VERSION.to_le_bytes());
        writer.put(&[
            match kind {
                GroupKind::Data => 0,
                GroupKind::Pad => 1,
                GroupKind::Fence => 2,
            },
            0,
        ]);
        writer.put(&field(entries).to_le_bytes());
        writer.put(&place.wal.node_epoch.0.to_le_bytes());
        writer.put(&place.wal.index.0.to_le_bytes());
        writer.put(&[0; 6]);
        writer.put(&place.position.0.to_le_bytes());
        writer.put(&u64::try_from(size.total).expect("a length in memory fits 64 bits").to_le_bytes());
        writer.put(&field(size.head - HEADER_BYTES).to_le_bytes());
        writer.put(&field(size.payload).to_le_bytes());
        writer.put(&place.durable.0.to_le_bytes());
        writer.put(&place.tag.to_le_bytes());
        writer.put(&[0; 4]);
        writer.put(&[0; 4]);
        assert_eq!(writer.bytes.len(), HEADER_BYTES);
        writer
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn entry(&mut self, entry: &DirectoryEntry) {
        self.put(&[0, flags_of(entry), 0, 0]);
        self.put(&entry.stream_epoch.0.to_le_bytes());
        self.put(&entry.stream.0.to_le_bytes());
        self.put(&entry.range.base.0.to_le_bytes());
        self.put(&entry.range.next.0.to_le_bytes());
        self.put(&entry.payload_position.to_le_bytes());
        self.put(&entry.payload_len.to_le_bytes());
        self.put(&entry.records.to_le_bytes());
        self.put(&entry.payload_crc.to_le_bytes());
        self.put(&entry.max_timestamp.0.to_le_bytes());
        if let Some(producer) = entry.producer {
            self.put(&producer.producer_id.to_le_bytes());
            self.put(&producer.first_sequence.to_le_bytes());
            self.put(&producer.last_sequence.to_le_bytes());
            self.put(&producer.producer_epoch.to_le_bytes());
            match producer.kind {
                BatchKind::Marker(marker) => {
                    self.put(&marker.coordinator_epoch.to_le_bytes());
                    self.put(&ending_number(marker.ending).to_le_bytes());
                }
                BatchKind::Plain | BatchKind::Transactional => self.put(&[0; 6]),
            }
        }
    }

    fn finish(mut self) -> Bytes {
        assert_eq!(self.bytes.len(), self.size.head, "measured and written agree");
        let crc = super::decode::head_crc(&self.bytes);
        self.bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.bytes.freeze()
    }
}
