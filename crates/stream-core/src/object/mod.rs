//! Data objects: blocks, index, footer (docs/formats/object.md).
//!
//! An object is `[data blocks][state sections][index][footer]`. A block is a run of one stream's batches, byte by byte
//! what consumers get, so that a read of a block needs no re-encoding. A state section holds what a stream's producers have written
//! ([`crate::producers`]). One read of the object's tail usually yields footer and index.

mod build;
mod decode;
#[cfg(test)]
mod tests;

use base::{NodeEpoch, ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, WalId, WalIndex};

pub use build::{BuiltObject, ObjectBuilder, ObjectRange, Run};
pub use decode::{ObjectError, ObjectTail, decode_footer, decode_index, decode_tail};

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u16 = 3;

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 80;

/// Bytes of one index entry of a block.
pub const INDEX_ENTRY_BYTES: usize = 80;

/// Bytes of one index entry of a state section.
pub const STATE_ENTRY_BYTES: usize = 48;

/// A tail read of so many bytes usually holds footer and index both.
pub const TAIL_BYTES: u64 = 64 << 10;

/// What the footer says of an object that compaction has merged: its records are of several logs. No start has this node epoch.
pub const MERGED: WalId = WalId { node_epoch: NodeEpoch(0), index: WalIndex(0) };

/// `MSOBJECT`: begins every footer of every version.
const MAGIC: [u8; 8] = *b"MSOBJECT";

/// What the index says of one data block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEntry {
    /// Whose batches.
    pub stream: StreamId,
    /// The stream epoch of the tenure that they were written in.
    pub stream_epoch: StreamEpoch,
    /// What the block speaks for: of this object, no other block has batches of the stream at these offsets. Where batches are missing it
    /// is wider than they are.
    pub range: OffsetRange,
    /// First byte in the object.
    pub position: u64,
    /// Bytes.
    pub len: u32,
    /// CRC-32C of those bytes.
    pub crc: u32,
    /// Records (not offsets).
    pub records: u64,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// Base offset of the first batch that holds `max_timestamp`.
    pub max_timestamp_offset: Offset,
    /// Holds control batches.
    pub control: bool,
}

/// What the index says of one state section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateEntry {
    /// Whose producers.
    pub stream: StreamId,
    /// The stream epoch of the tenure whose holder wrote it.
    pub stream_epoch: StreamEpoch,
    /// What it speaks for: all batches of idempotent producers at these offsets; from 0 on where it is the stream's whole state.
    pub range: OffsetRange,
    /// First byte in the object.
    pub position: u64,
    /// Bytes.
    pub len: u32,
    /// CRC-32C of those bytes.
    pub crc: u32,
}

/// What the index tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectIndex {
    /// By stream, then offset.
    pub blocks: Vec<BlockEntry>,
    /// By stream, at most one each.
    pub states: Vec<StateEntry>,
}

/// The end of every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Which object it is.
    pub object: ObjectId,
    /// The WAL whose records it holds; all of one, or [`MERGED`].
    pub wal: WalId,
    /// Blocks in the index.
    pub blocks: u32,
    /// State sections in the index, behind the blocks.
    pub states: u32,
    /// First byte of the state sections: where the blocks end.
    pub states_position: u64,
    /// First byte of the index.
    pub index_position: u64,
    /// Bytes of the index.
    pub index_len: u32,
    /// CRC-32C of the index.
    pub index_crc: u32,
}
