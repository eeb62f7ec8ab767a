//! The storage library's decisions and its two byte formats. No I/O, no clock, no randomness, no map with an order of its own.

pub mod batch;
pub mod object;
pub mod wal_group;

pub use batch::{BatchBytes, NumberedBatch, ProducerDelta};
