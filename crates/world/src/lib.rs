//! The seams: the four traits through which everything above reaches the outside, and their real implementations.
//!
//! | seam | real | simulated |
//! |---|---|---|
//! | [`ObjectStore`] | [`folder`] (over [`Disk`]), `cloud` (with its features) | `sim::world::store` |
//! | [`Disk`] | [`os_disk`] | `sim::world::disk` |
//! | [`Network`] | [`tcp`] | `sim::world::network` |
//! | [`Clock`] (time, randomness, tasks) | [`clock`] | `sim::world::clock` |
//!
//! Nothing above this crate names a socket, a file, a thread, a clock or a random source. These are the only traits of the
//! project with several implementations; the WAL kinds are an enum above them and run unchanged in the simulator.

pub mod clock;
#[cfg(feature = "cloud")]
pub mod cloud;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod disk;
pub mod folder;
pub mod metered;
pub mod network;
pub mod object_store;
pub mod open;
pub mod os_disk;
pub mod paced;
#[cfg(target_os = "linux")]
mod precise;
pub mod probe;
pub mod retry;
pub mod store_use;
pub mod sync;
pub mod tcp;

use std::sync::Arc;

pub use clock::{Clock, ClockExt, SystemClock, TaskHandle};
pub use disk::{AlignedBuf, Disk, DiskError, File, OpenMode};
pub use folder::FolderStore;
pub use metered::Metered;
pub use network::{Connection, Listener, Network};
pub use object_store::{GetRange, ObjectMeta, ObjectStore, Pages, PutOutcome, StoreError, counted_as};
pub use open::{OpenError, open_store, open_store_to_read};
pub use os_disk::OsDisk;
pub use paced::Paced;
pub use probe::{ProbeDepth, ProbeError, ProbeReport, probe};
pub use retry::Backoff;
pub use store_use::{Ended, Operation, Purpose, StoreUse};
pub use sync::lock;
pub use tcp::TcpNetwork;

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

impl World {
    /// This machine.
    #[must_use]
    pub fn system() -> World {
        World { clock: Arc::new(SystemClock::new()), network: Arc::new(TcpNetwork), disk: Arc::new(OsDisk::new()) }
    }
}
