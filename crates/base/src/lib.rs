//! The vocabulary that every crate may use: ids, ranges, units, checksums, the seeded generator, planted bugs.
//!
//! What may live here: types whose meaning is the same in every layer and which have next to no behaviour.
//! What may not: anything that does I/O, reads a clock, draws randomness from the system or allocates by a claimed length.

pub mod checksum;
pub mod id;
pub mod mutant;
pub mod range;
pub mod seed;
pub mod units;

pub use checksum::{Crc32, Crc32c, crc32c, crc32c_joined};
pub use id::{
    LedgerEpoch, LedgerSeq, NodeEpoch, NodeId, Nonce, ObjectId, Offset, StreamEpoch, StreamId, TopicId, WalId,
    WalIndex, WalPosition,
};
pub use range::OffsetRange;
pub use seed::Seed;
pub use units::{Micros, UnixMillis};
