//! The storage library's decisions and its two byte formats. No I/O, no clock, no randomness, no map with an order of its own.
//!
//! | module | decides |
//! |---|---|
//! | [`append`] | what is accepted, what a WAL group holds, when it goes, when it is acknowledged |
//! | [`pace`] | how an object WAL spends its puts: when, how large, how many at once, which twice |
//! | [`pressure`] | how much producers are slowed before they have to wait |
//! | [`producers`] | which batches of producers are new, which are repeats; which transactions are open, which were aborted |
//! | [`cache`] | what of the tail is in memory, what is spilled to the WAL, what may be forgotten |
//! | [`upload`] | when the tail is worth objects, which, in what order they are committed, when the WAL is trimmed |
//! | [`compact`] | which objects are worth merging, joining, writing anew |
//! | [`read`] | which part of which object answers a read, how far to read ahead |
//! | [`recover`] | what the groups of a dead start's WAL mean |
//! | [`wal_group`], [`ring_header`], [`control_block`], [`object`] | the stored bytes |
//! | [`abandoned`] | … of what says that a log was given up; how far an owner may run ahead of the ledger |
//! | [`foreign`] | what else may be on a device |
//! | [`walk`] | where batches begin in a run of stored bytes |

pub mod abandoned;
pub mod append;
pub mod batch;
pub mod cache;
pub mod compact;
pub mod control_block;
mod fields;
pub mod foreign;
pub mod frame_use;
pub mod object;
pub mod pace;
pub mod pressure;
pub mod producers;
pub mod read;
pub mod recover;
pub mod ring_header;
pub mod testing;
#[cfg(test)]
mod testing_doc;
pub mod upload;
pub mod wal_group;
pub mod walk;

pub use batch::{BatchBytes, BatchKind, Ending, Marker, NO_SEQUENCE, NumberedBatch, ProducerDelta};
pub use frame_use::FrameUse;
pub use wal_group::{DirectoryEntry, WalEntry};
