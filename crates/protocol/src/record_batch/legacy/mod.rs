//! Messages and message sets: what records and batches were before Kafka 0.11 (magic 0 and 1), and how the one becomes the other.
//!
//! A message is an offset, a size, a CRC-32 of what follows, its format, attributes, a time (format 1 has one), key and value. A set is
//! messages one behind another. What is compressed is a *wrapper*: a message whose value is a set, compressed, and whose offset is the
//! last one's inside. Offsets inside count from the first one's in format 1, and are those of the log in format 0.
//!
//! Only batches are stored. `up` makes one of the set that a producer from before 0.11 sends, `down` makes sets for consumers of that age,
//! as Kafka did until 3.9 (KIP-32, KIP-98); what is lost on the way is what these clients never knew: headers, producers, transactions.
//!
//! Guarantees, as for batches: decompressing stops at a bound, records pass through small windows, no length inside is believed before it is
//! compared with the bytes there are, and others have their turn as the caller's [`Pace`](super::Pace) has it.

mod down;
mod up;

pub use down::{Downconvert, Downconverted, downconverted};
pub use up::{Upconvert, upconverted};

use crate::wire::Records;

/// Bytes before those that a message's size counts: its offset and the size itself.
const SIZE_FROM: usize = 12;
const SIZE_AT: usize = 8;
/// Where the checksum stands; it counts what follows.
const CRC_AT: usize = SIZE_FROM;
const MAGIC_AT: usize = 16;
const ATTRIBUTES_AT: usize = 17;
/// The attributes' bits for the codec.
const CODEC_MASK: u8 = 7;
/// Bytes of each of a message's lengths: its own, its key's and its value's.
const LENGTH_BYTES: usize = 4;
/// The length of a key or a value that is null.
const NULL: i32 = -1;
/// What a message costs beside its bytes: about the time in which so many are decompressed.
const ITEM_COST: usize = 32;
/// So many bytes that are counted by a checksum and copied take about the time of one that is decompressed.
const COPIED_BYTES: usize = 8;
/// Copied at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// A message format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldFormat {
    /// Magic 0: until Kafka 0.9.
    V0,
    /// Magic 1: Kafka 0.10. Messages have times (KIP-32).
    V1,
}

impl OldFormat {
    /// The format of a message set; none where the records are batches, or too few bytes to be either.
    #[must_use]
    pub fn of(records: &Records) -> Option<OldFormat> {
        // A request's records are in one piece.
        match records.pieces().first()?.get(MAGIC_AT)? {
            0 => Some(OldFormat::V0),
            1 => Some(OldFormat::V1),
            _ => None,
        }
    }

    fn magic(self) -> u8 {
        match self {
            OldFormat::V0 => 0,
            OldFormat::V1 => 1,
        }
    }

    /// What a message's size counts beside its key and its value.
    fn overhead(self) -> usize {
        let time = match self {
            OldFormat::V0 => 0,
            OldFormat::V1 => 8,
        };
        // Checksum, magic, attributes, time, two lengths.
        4 + 1 + 1 + time + 2 * LENGTH_BYTES
    }
}

#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod tests;
