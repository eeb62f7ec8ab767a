//! The control block of a ring in a shared file: says whether the ring's writer may still acknowledge (docs/formats/wal.md, rule C-1).
//!
//! Written open when the ring is made, and fenced by whoever recovers it, never back. It is shorter than a sector, so a torn write
//! leaves it old or new; whatever is not the open block of the expected ring counts as fenced.

use crate::fields::Fields;
use base::{NodeEpoch, crc32c};

/// Bytes of the block's contents; the rest of it is zero.
pub const CONTROL_BYTES: usize = 44;

/// `MSWALCTL`: begins the block of every version.
const MAGIC: [u8; 8] = *b"MSWALCTL";

/// The version that this build writes, and the only one that it takes for open.
const VERSION: u16 = 1;

/// What the block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlBlock {
    /// Whose ring.
    pub ring_id: u128,
    /// The start that recovers it; `None` while its writer may acknowledge.
    pub fenced_by: Option<NodeEpoch>,
}

impl ControlBlock {
    /// The block's contents.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(CONTROL_BYTES);
        block.extend(MAGIC);
        block.extend(VERSION.to_le_bytes());
        block.push(u8::from(self.fenced_by.is_some()));
        block.extend([0; 5]);
        block.extend(self.ring_id.to_le_bytes());
        block.extend(self.fenced_by.map_or(0, |epoch| epoch.0).to_le_bytes());
        block.extend(crc32c(&block).to_le_bytes());
        assert_eq!(block.len(), CONTROL_BYTES, "a control block has a fixed size");
        block
    }
}

/// Reads the block; `None` where it is not whole, or of another release.
#[must_use]
pub fn decode_control(block: &[u8]) -> Option<ControlBlock> {
    let block = block.get(..CONTROL_BYTES)?;
    let (body, stored) = block.split_at(CONTROL_BYTES - 4);
    let mut fields = Fields::new(body.strip_prefix(&MAGIC)?);
    if stored != crc32c(body).to_le_bytes() || fields.u16() != VERSION {
        return None;
    }
    let is_fenced = body[10] != 0;
    fields.skip(6);
    let (ring_id, by) = (fields.u128(), NodeEpoch(fields.u64()));
    Some(ControlBlock { ring_id, fenced_by: is_fenced.then_some(by) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_are_those_of_the_document() {
        let document = include_str!("../../../docs/formats/wal.md");
        for (name, fenced_by) in [("open control block", None), ("fenced control block", Some(NodeEpoch(12)))] {
            let bytes = ControlBlock { ring_id: 0x0102_0304, fenced_by }.encode();
            assert_eq!(crate::testing_doc::hex(&bytes), crate::testing_doc::hex_block(document, name));
        }
    }

    #[test]
    fn a_changed_byte_never_opens_a_block() {
        let fenced = ControlBlock { ring_id: 7, fenced_by: Some(NodeEpoch(3)) };
        let open = ControlBlock { ring_id: 7, fenced_by: None };
        for block in [fenced, open] {
            assert_eq!(decode_control(&block.encode()), Some(block));
        }
        let bytes = open.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode_control(&changed), None, "byte {at}");
            assert_eq!(decode_control(&bytes[..at]), None);
        }
        assert_eq!(decode_control(&[0; 4096]), None);
    }
}
