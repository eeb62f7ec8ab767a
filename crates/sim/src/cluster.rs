//! The cluster under test: seats for brokers, each with a supervisor that starts the broker's real shell in a fresh process
//! and starts it again whenever that process ends, whatever ended it.

use crate::checker::ImageWatch;
use crate::launch;
use crate::plan::{Plan, Storage};
use crate::world::{FILER, Fuse, HostDisk, HostId, Process, Universe, now, spawn, wait};
use base::{Micros, Seed};
use control::Ledger;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stream::Store;
use tokio::sync::Notify;

/// The port that every broker listens at; brokers that share a host count up from it.
const PORT: u16 = 9092;
/// The first host that a broker moves to when its own is lost.
const SPARE_HOST: u8 = 20;

/// The cluster of one run; clones share it.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    universe: Universe,
    plan: Plan,
    watch: ImageWatch,
    seats: Vec<Seat>,
    state: Mutex<State>,
}

struct State {
    seed: Seed,
    next_host: u8,
    ended: bool,
}

struct Seat {
    state: Mutex<SeatState>,
    stop: Arc<Notify>,
}

struct SeatState {
    host: HostId,
    process: Option<Arc<Process>>,
    ledger: Option<Ledger>,
    /// It stays away until then.
    away_until: Micros,
    stop_asked: bool,
}

impl Cluster {
    /// A cluster of this plan; [`Cluster::start`] brings it to life.
    #[must_use]
    pub fn new(universe: Universe, plan: Plan, watch: ImageWatch, mut seed: Seed) -> Cluster {
        let seats = (0..plan.brokers)
            .map(|broker| {
                let host = HostId(if plan.storage.is_folder() { 1 } else { broker + 1 });
                let state = SeatState { host, process: None, ledger: None, away_until: Micros(0), stop_asked: false };
                Seat { state: Mutex::new(state), stop: Arc::new(Notify::new()) }
            })
            .collect();
        let state = State { seed: seed.fork("cluster"), next_host: SPARE_HOST, ended: false };
        Cluster(Arc::new(Inner { universe, plan, watch, seats, state: Mutex::new(state) }))
    }

    /// Starts the supervisors.
    pub fn start(&self) {
        for broker in 0..self.0.seats.len() {
            let cluster = self.clone();
            spawn(async move { cluster.supervise(broker).await });
        }
    }

    /// The world it lives in.
    #[must_use]
    pub fn universe(&self) -> &Universe {
        &self.0.universe
    }

    /// What this run is made of.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// Where clients find the brokers at first.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        (0..self.0.seats.len()).map(|broker| self.address(broker)).collect()
    }

    /// The address of a broker, which changes with its host.
    #[must_use]
    pub fn address(&self, broker: usize) -> String {
        let offset = u16::try_from(broker).expect("few brokers");
        format!("{}:{}", self.host(broker).ip(), PORT + offset)
    }

    /// Where a broker runs.
    #[must_use]
    pub fn host(&self, broker: usize) -> HostId {
        self.seat(broker).host
    }

    /// The disk that holds a broker's write-ahead log, where it has one.
    #[must_use]
    pub fn wal_disk(&self, broker: usize) -> HostDisk {
        let shared = self.0.plan.storage == Storage::SharedWal;
        self.0.universe.disk(if shared { FILER } else { self.host(broker) })
    }

    /// A broker's present process.
    #[must_use]
    pub fn process(&self, broker: usize) -> Option<Arc<Process>> {
        self.seat(broker).process.clone().filter(|process| !process.is_dead())
    }

    /// A broker's ledger, where its present process has started that far.
    #[must_use]
    pub fn ledger(&self, broker: usize) -> Option<Ledger> {
        self.seat(broker).ledger.clone()
    }

    /// Kills a broker; its supervisor waits `away` before it starts it again.
    pub fn kill(&self, broker: usize, away: Duration, why: &str) {
        let process = {
            let mut seat = self.seat(broker);
            seat.away_until = now().plus(away);
            seat.process.clone()
        };
        if let Some(process) = process {
            process.kill(why);
        }
    }

    /// Takes the power of the host of a broker.
    pub fn power_loss(&self, broker: usize, away: Duration) {
        let host = self.host(broker);
        for (seat, index) in self.0.seats.iter().zip(0..) {
            if self.host(index) == host {
                lock(&seat.state).away_until = now().plus(away);
            }
        }
        self.0.universe.power_loss(host);
    }

    /// Kills a broker, destroys its host's disk and starts it on a new host. Only where its disk holds nothing that matters.
    pub fn move_host(&self, broker: usize, away: Duration) {
        self.kill(broker, away, "host lost");
        self.0.universe.disk(self.host(broker)).destroy();
        let mut state = lock(&self.0.state);
        self.seat(broker).host = HostId(state.next_host);
        state.next_host += 1;
    }

    /// Asks a broker to stop, as SIGTERM does.
    pub fn stop(&self, broker: usize) {
        self.seat(broker).stop_asked = true;
        self.0.seats[broker].stop.notify_waiters();
    }

    /// Kills or pauses a broker at one of its next calls to a seam.
    pub fn light_fuse(&self, broker: usize, fuse: Fuse) {
        if let Some(process) = self.process(broker) {
            process.light_fuse(Some(fuse));
        }
    }

    /// Takes a fuse back that has not blown.
    pub fn snuff_fuse(&self, broker: usize) {
        if let Some(process) = self.process(broker) {
            process.light_fuse(None);
        }
    }

    /// Ends a pause.
    pub fn resume(&self, broker: usize) {
        if let Some(process) = self.process(broker) {
            process.resume();
        }
    }

    /// Starts no more processes.
    pub fn end(&self) {
        lock(&self.0.state).ended = true;
    }

    async fn supervise(&self, broker: usize) {
        let universe = &self.0.universe;
        while !lock(&self.0.state).ended {
            let (host, stop) = (self.host(broker), Arc::clone(&self.0.seats[broker].stop));
            let (process, world) = universe.process(host, &format!("broker{broker}"));
            {
                let mut seat = self.seat(broker);
                seat.process = Some(Arc::clone(&process));
                seat.ledger = None;
                seat.stop_asked = false;
            }
            let life = launch::Life {
                universe: universe.clone(),
                plan: self.0.plan.clone(),
                process: Arc::clone(&process),
                world,
                node_id: base::NodeId(i32::try_from(broker).expect("few brokers")),
                address: self.address(broker),
                stop,
            };
            let (cluster, life_process) = (self.clone(), Arc::clone(&process));
            process.spawn(
                "main",
                Box::pin(async move {
                    let why = life.run(|store| cluster.started(broker, &life_process, store)).await;
                    cluster.0.watch.told(&life_process.name, &why);
                    life_process.kill(&why);
                }),
            );
            process.ended().await;
            universe.trace.count("cluster.deaths");
            let restart = Duration::from_millis(lock(&self.0.state).seed.between(10, 300));
            let away = self.seat(broker).away_until.since(now());
            wait(restart.max(away)).await;
        }
    }

    /// The process serves: its images are watched from outside for as long as it lives.
    fn started(&self, broker: usize, process: &Arc<Process>, store: &Store) {
        let (watch, name) = (self.0.watch.clone(), process.name.clone());
        let ledger = store.ledger().clone();
        for stream in ledger.image().streams.keys() {
            if let Some(why) = store.offline_reason(*stream) {
                watch.told(&name, &why);
            }
        }
        let images = ledger.watch();
        self.seat(broker).ledger = Some(ledger);
        spawn(async move { watch.follow(name, images).await });
    }

    fn seat(&self, broker: usize) -> MutexGuard<'_, SeatState> {
        lock(&self.0.seats[broker].state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
