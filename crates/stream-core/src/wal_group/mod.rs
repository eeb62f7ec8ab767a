//! WAL groups: what one write to a ring or one PUT of a WAL object makes durable (docs/formats/wal.md).
//!
//! A group is `[header][directory][payload][zeroes up to the alignment]`. The header and the directory share one checksum; each
//! directory entry carries the checksum of its own payload bytes, so a reader may verify one entry without reading the group, and
//! recovery may fold directories without reading payload at all.
//!
//! This module turns values into bytes and back. It guarantees that no byte sequence makes it panic or allocate by a claimed
//! length, and that a group cut or changed anywhere is never taken for a whole one. Where groups lie, which may be missing and
//! what a missing one means is the WAL kinds' business (`stream::wal`).

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use crate::NumberedBatch;
use base::{OffsetRange, StreamEpoch, StreamId, UnixMillis, WalId, WalPosition};

use crate::ProducerDelta;

pub use decode::{GroupError, GroupHeader, WalGroup, decode_group, decode_header};
pub use encode::{EncodedGroup, GroupSize, encode_fence, encode_group, encode_pad, measure};

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 88;

/// Entries of one group at the most; with it the directory has a bound too.
pub const ENTRIES_MAX: usize = 65_536;

/// Bytes of an entry without a producer delta.
const ENTRY_BYTES: usize = 56;

/// Bytes that a producer delta adds.
const PRODUCER_BYTES: usize = 24;

/// Bytes of header and directory at the most: a decoder never reads more than this for a directory, whatever a header claims.
pub const HEAD_BYTES_MAX: usize = HEADER_BYTES + ENTRIES_MAX * ENTRY_BYTES_MAX;

/// Bytes of an entry at the most.
pub const ENTRY_BYTES_MAX: usize = ENTRY_BYTES + PRODUCER_BYTES;

/// `MSWALGRP`: begins every group of every version.
const MAGIC: [u8; 8] = *b"MSWALGRP";

/// Flag of an entry: a control batch.
const CONTROL: u8 = 1;
/// Flag: a producer delta follows the entry.
const PRODUCER: u8 = 2;
/// Flags: the batch is part of a transaction, or, with [`CONTROL`], its marker. Two, since the first release ignores the lower one and refuses
/// the higher one: to recover such a log without its transactions would show consumers what nobody has decided.
const TRANSACTION: u8 = 4 | 8;

/// What a group is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// Holds entries.
    Data,
    /// Fills the rest of a ring's lap: no group wraps.
    Pad,
    /// Ends an object WAL for ever.
    Fence,
}

/// What goes into a WAL: a numbered batch and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalEntry {
    /// Which stream.
    pub stream: StreamId,
    /// The stream epoch of the tenure that it belongs to.
    pub stream_epoch: StreamEpoch,
    /// The batch; its bytes are fixed from here on.
    pub batch: NumberedBatch,
}

/// What a group's directory says of one entry: everything but the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Which stream.
    pub stream: StreamId,
    /// The stream epoch of the tenure that it belongs to.
    pub stream_epoch: StreamEpoch,
    /// What the batch covers.
    pub range: OffsetRange,
    /// First byte of the batch, counted from the group's first byte.
    pub payload_position: u32,
    /// Bytes of the batch.
    pub payload_len: u32,
    /// CRC-32C of those bytes.
    pub payload_crc: u32,
    /// Records (not offsets).
    pub records: u32,
    /// Greatest record timestamp.
    pub max_timestamp: UnixMillis,
    /// Kafka's control batch.
    pub control: bool,
    /// What it changes in the stream's producer state.
    pub producer: Option<ProducerDelta>,
}

/// Where a group stands and what was known when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPlace {
    /// Whose WAL.
    pub wal: WalId,
    /// Its first byte.
    pub position: WalPosition,
    /// Everything below was known to be durable when this group was written.
    pub durable: WalPosition,
    /// In a ring: the ring's id, a number that no client can know, so that no payload can be taken for a group.
    /// In an object: the nonce of its put, by which the writer recognises its own object.
    pub tag: u128,
}
