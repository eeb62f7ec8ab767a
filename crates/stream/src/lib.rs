//! S3Stream: append-only streams on object storage, acknowledged by a write-ahead log.
//!
//! [`Store::start`] brings a start of a broker to life (lead, register, declare dead, recover, seal, open); a [`Stream`] is one
//! stream that this start owns.

mod store;
pub mod wal;

pub use store::{
    AppendError, Confirmation, Options, ReadBatches, ReadError, StartError, StartRequest, Store, Stream, WalTarget,
};
pub use stream_core::{BatchBytes, NumberedBatch, ProducerDelta};
