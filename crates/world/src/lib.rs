//! The seams: the four traits through which everything above reaches the outside, and their real implementations.
//!
//! | seam | real | simulated |
//! |---|---|---|
//! | [`ObjectStore`] | [`folder`] (over [`Disk`]), `s3` | `sim::store` |
//! | [`Disk`] | [`disk`] | `sim::disk` |
//! | [`Network`] | [`tcp`] | `sim::network` |
//! | [`Clock`] (time, randomness, tasks) | [`clock`] | `sim::clock` |
//!
//! Nothing above this crate names a socket, a file, a thread, a clock or a random source. These are the only traits of the
//! project with several implementations; the WAL kinds are an enum above them and run unchanged in the simulator.

pub mod clock;
pub mod disk;
pub mod network;
pub mod object_store;

use std::sync::Arc;

pub use clock::{Clock, ClockExt, TaskHandle};
pub use disk::{AlignedBuf, Disk, DiskError, File, OpenMode};
pub use network::{Connection, Listener, Network};
pub use object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};

/// One host's outside, but for the object store, which several hosts share.
#[derive(Clone)]
pub struct World {
    /// Time, randomness, tasks.
    pub clock: Arc<dyn Clock>,
    /// Sockets.
    pub network: Arc<dyn Network>,
    /// Files and devices.
    pub disk: Arc<dyn Disk>,
}
