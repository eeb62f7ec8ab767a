//! The header of a ring file: two slots, written in turn, so that one is whole at any moment (docs/formats/wal.md).
//!
//! A slot is shorter than a sector, so a torn write leaves it old or new. The slots identify the ring and its cluster and say
//! which start writes it. Recovery does not rest on them: what is needed of a ring is told by the ledger's image.

use crate::fields::Fields;
use base::{NodeEpoch, WalId, WalIndex, WalPosition, crc32c};

/// The version of a ring without a control block.
const PLAIN: u16 = 1;

/// The version of a ring with one, and the newest that this build reads.
const WITH_CONTROL: u16 = 2;

/// Bytes of a block: each slot has one, and the control block is one.
const BLOCK_BYTES: u64 = 4096;

/// Bytes of one slot.
pub const SLOT_BYTES: usize = 100;

/// `MSWALRNG`: begins every slot of every version.
const MAGIC: [u8; 8] = *b"MSWALRNG";

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingHeader {
    /// Drawn when the ring was made. Also the tag of its groups.
    pub ring_id: u128,
    /// Whose ring it is; 0 until a start has begun to write it.
    pub cluster_id: u128,
    /// Bytes of the data area.
    pub data_bytes: u64,
    /// Rises by one with each write of a slot; the greater one counts.
    pub generation: u64,
    /// The start that writes it; node epoch 0 until there is one.
    pub wal: WalId,
    /// Where that start's groups begin.
    pub start: WalPosition,
    /// A control block lies between the slots and the data: a ring in a shared file.
    pub has_control: bool,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Only zeroes: never written.
    Empty,
    /// A whole header.
    Whole(RingHeader),
    /// Written in part, or damaged.
    Broken,
    /// Not zeroes, and not begun by any release.
    Foreign,
    /// Written by a newer release, of that version.
    Newer(u16),
}

impl RingHeader {
    /// The data area's first byte in the file.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        BLOCK_BYTES * if self.has_control { 3 } else { 2 }
    }

    /// The bytes of a slot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend(MAGIC);
        slot.extend((if self.has_control { WITH_CONTROL } else { PLAIN }).to_le_bytes());
        slot.extend([0; 6]);
        slot.extend(self.ring_id.to_le_bytes());
        slot.extend(self.cluster_id.to_le_bytes());
        slot.extend(self.data_bytes.to_le_bytes());
        slot.extend(self.generation.to_le_bytes());
        slot.extend(self.wal.node_epoch.0.to_le_bytes());
        slot.extend(self.wal.index.0.to_le_bytes());
        slot.extend([0; 14]);
        slot.extend(self.start.0.to_le_bytes());
        slot.extend(crc32c(&slot).to_le_bytes());
        assert_eq!(slot.len(), SLOT_BYTES, "a slot has a fixed size");
        slot
    }
}

/// Reads a slot from the first bytes of its block.
#[must_use]
pub fn decode_slot(block: &[u8]) -> Slot {
    let Some(slot) = block.get(..SLOT_BYTES) else { return Slot::Broken };
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    let Some(fields) = slot.strip_prefix(&MAGIC) else { return Slot::Foreign };
    let mut fields = Fields::new(fields);
    let version = fields.u16();
    if version > WITH_CONTROL {
        return Slot::Newer(version);
    }
    let (body, stored) = slot.split_at(SLOT_BYTES - 4);
    if stored != crc32c(body).to_le_bytes() {
        return Slot::Broken;
    }
    fields.skip(6);
    let (ring_id, cluster_id) = (fields.u128(), fields.u128());
    let (data_bytes, generation) = (fields.u64(), fields.u64());
    let wal = WalId { node_epoch: NodeEpoch(fields.u64()), index: WalIndex(fields.u16()) };
    fields.skip(14);
    let start = WalPosition(fields.u64());
    Slot::Whole(RingHeader {
        ring_id,
        cluster_id,
        data_bytes,
        generation,
        wal,
        start,
        has_control: version >= WITH_CONTROL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> RingHeader {
        RingHeader {
            ring_id: 0x0102_0304,
            cluster_id: 7,
            data_bytes: 1 << 20,
            generation: 3,
            wal: WalId { node_epoch: NodeEpoch(9), index: WalIndex(1) },
            start: WalPosition(8192),
            has_control: false,
        }
    }

    #[test]
    fn golden_bytes_are_those_of_the_document() {
        let document = include_str!("../../../docs/formats/wal.md");
        assert_eq!(crate::testing_doc::hex(&header().encode()), crate::testing_doc::hex_block(document, "slot"));
    }

    #[test]
    fn a_slot_round_trips_and_any_changed_byte_breaks_it() {
        let bytes = header().encode();
        assert_eq!(decode_slot(&bytes), Slot::Whole(header()));
        let shared = RingHeader { has_control: true, ..header() };
        assert_eq!(decode_slot(&shared.encode()), Slot::Whole(shared));
        assert_eq!(decode_slot(&[0; 4096]), Slot::Empty);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_ne!(decode_slot(&changed), Slot::Whole(header()), "byte {at}");
            assert!(!matches!(decode_slot(&changed), Slot::Whole(_)), "byte {at}");
            assert_eq!(decode_slot(&bytes[..at]), Slot::Broken);
        }
    }

    #[test]
    fn a_newer_version_is_told_apart() {
        let mut bytes = header().encode();
        bytes[8] = 3;
        assert_eq!(decode_slot(&bytes), Slot::Newer(3));
    }
}
