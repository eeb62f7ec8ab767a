//! The simulated world: the four seams, deterministic and hostile.
//!
//! All of it runs in one single-threaded tokio runtime with paused time, so time passes only when nothing else can happen,
//! and every latency and fault is drawn from the run's seed. [`Universe`] holds what outlives processes: hosts with their
//! disks and wall clocks, the network between them, the bucket. [`Universe::process`] makes a process with its `World`.

pub mod clock;
pub mod disk;
pub mod network;
pub mod process;
pub mod store;
pub mod trace;
mod wakes;

use base::{Micros, Seed};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use world::World;

pub use clock::{SimClock, WallSkew, true_wall};
pub use disk::{DiskWeather, HostDisk, SimDisk};
pub use network::{Net, SimNetwork};
pub use process::{Fuse, Process};
pub use store::{Bucket, SimStore, StoreWeather};
pub use trace::Trace;

/// A simulated machine, or the bucket, seen as one end of a network link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub u8);

/// The disk that every host has mounted at [`disk::SHARED_FOLDER`]. It never loses power while a process runs.
pub const FILER: HostId = HostId(201);

/// The bucket's end of a link.
pub const BUCKET_HOST: HostId = HostId(200);

impl HostId {
    /// Its address.
    #[must_use]
    pub fn ip(self) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::new(10, 0, 0, self.0)
    }
}

/// What outlives processes.
#[derive(Clone)]
pub struct Universe {
    /// The run's trace.
    pub trace: Trace,
    /// The network between hosts, and to the bucket.
    pub net: Net,
    /// The bucket.
    pub bucket: Bucket,
    hosts: Arc<Mutex<Hosts>>,
}

struct Hosts {
    seed: Seed,
    next_process: u64,
    hosts: BTreeMap<HostId, Host>,
    processes: Vec<Arc<Process>>,
}

#[derive(Clone)]
struct Host {
    disk: HostDisk,
    skew: Arc<WallSkew>,
}

impl Universe {
    /// An empty world, whose every draw comes from `seed`.
    #[must_use]
    pub fn new(seed: &mut Seed, trace: Trace) -> Universe {
        let net = Net::new(seed.fork("network"), trace.clone());
        let bucket = Bucket::new(seed.fork("bucket"), trace.clone(), net.clone());
        let hosts = Hosts { seed: seed.fork("hosts"), next_process: 1, hosts: BTreeMap::new(), processes: Vec::new() };
        Universe { trace, net, bucket, hosts: Arc::new(Mutex::new(hosts)) }
    }

    /// Starts a process on a host, which comes into being with its first one.
    #[must_use]
    pub fn process(&self, host: HostId, program: &str) -> (Arc<Process>, World) {
        let mut hosts = self.lock();
        let id = hosts.next_process;
        hosts.next_process += 1;
        let process = Process::new(id, host, format!("{program}@{}#{id}", host.0), self.trace.clone());
        let seed = hosts.seed.fork(&process.name);
        let Host { disk, skew } = self.host(&mut hosts, host);
        let filer = self.host(&mut hosts, FILER).disk;
        hosts.processes.push(Arc::clone(&process));
        drop(hosts);
        let clock = SimClock::new(Arc::clone(&process), skew, self.trace.clone(), seed);
        let world = World {
            clock: Arc::new(clock),
            network: Arc::new(SimNetwork::new(self.net.clone(), Arc::clone(&process))),
            disk: Arc::new(SimDisk::new(disk, filer, Arc::clone(&process))),
        };
        (process, world)
    }

    /// The host's disk, as the nemesis and the checkers see it.
    #[must_use]
    pub fn disk(&self, host: HostId) -> HostDisk {
        let mut hosts = self.lock();
        self.host(&mut hosts, host).disk
    }

    /// The host's wall clock.
    #[must_use]
    pub fn skew(&self, host: HostId) -> Arc<WallSkew> {
        let mut hosts = self.lock();
        self.host(&mut hosts, host).skew
    }

    /// Takes the host's power: all its processes die, and its disk loses what was not durable.
    pub fn power_loss(&self, host: HostId) {
        let victims: Vec<_> = self.lock().processes.iter().filter(|process| process.host == host).cloned().collect();
        for process in victims {
            process.kill("power loss");
        }
        self.disk(host).power_loss();
    }

    /// The first panic of any task of any process.
    #[must_use]
    pub fn panicked(&self) -> Option<String> {
        self.lock().processes.iter().find_map(|process| process.panicked())
    }

    /// Ends the run: kills every process, so that nothing of it survives in a cycle of references.
    pub fn end(&self) {
        let processes = std::mem::take(&mut self.lock().processes);
        for process in processes {
            process.kill("end of the run");
        }
    }

    fn host(&self, hosts: &mut Hosts, id: HostId) -> Host {
        if let Some(host) = hosts.hosts.get(&id) {
            return host.clone();
        }
        let disk = HostDisk::new(id, hosts.seed.fork("disk"), self.trace.clone());
        let host = Host { disk, skew: Arc::default() };
        hosts.hosts.insert(id, host.clone());
        host
    }

    fn lock(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Virtual time since the start of the run.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the simulator's clock is tokio's paused one; all other time derives from here"
)]
pub fn now() -> Micros {
    thread_local! {
        static START: std::cell::Cell<Option<tokio::time::Instant>> = const { std::cell::Cell::new(None) };
    }
    // A run owns its thread, and its runtime starts at whatever instant the thread was made: only differences count.
    let now = tokio::time::Instant::now();
    let start = START.get().unwrap_or_else(|| {
        START.set(Some(now));
        now
    });
    Micros(u64::try_from(now.duration_since(start).as_micros()).unwrap_or(u64::MAX))
}

/// Lets virtual time pass.
pub async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs a task of the world itself: it belongs to no process and no death stops it (a request that is under way, say).
#[expect(clippy::disallowed_methods, reason = "the one place where the simulator starts tasks")]
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(wakes::Ordered::new(task))
}

#[cfg(test)]
mod tests;
