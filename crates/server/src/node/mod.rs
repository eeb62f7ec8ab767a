//! One broker, built part by part, in order, on one page: used by `main` and by the simulator alike.
//!
//! ```text
//! listen ─▶ Store::start: ledger, register, recover, open ─▶ Broker::start: serve
//! ```
//!
//! It listens first, so that a port in use is told before the cluster hears of this start, and so that port 0 is a number by
//! the time it registers. Until it serves, connections wait in the listener's backlog; where that takes long, other starts are answered
//! that it lives. The same port is how brokers that run watch one another, until the end of a clean stop.
//!
//! The console and the process's signals are not here: they belong to the binary.

pub(crate) mod answers;
mod starting;

use base::NodeId;
use broker::{Broker, BrokerOptions};
use control::LedgerOptions;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::{NamedWal, Options, StartRequest, Store, Watch, WatchTimes};
use tokio::sync::Notify;
use world::{Listener, ObjectStore, World, lock};

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where Kafka clients connect; port 0 picks a free one.
    pub listen: String,
    /// What clients are told; `None`: where it listens.
    pub advertise: Option<String>,
    /// Kafka's broker id, if chosen.
    pub node_id: Option<NodeId>,
    /// Its write-ahead logs; the first one is for topics that don't choose.
    pub wals: Vec<NamedWal>,
    /// The broker's bounds; where it listens and what it advertises is filled in here.
    pub broker: BrokerOptions,
    /// The storage library's bounds.
    pub stream: Options,
    /// How other brokers are watched; `None`: not at all.
    pub watch: Option<WatchTimes>,
    /// The ledger's bounds.
    pub ledger: LedgerOptions,
}

/// Why a start failed: one line that says what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A broker that serves.
pub struct Node {
    kafka: SocketAddr,
    world: World,
    /// Until it stops.
    listener: Mutex<Option<Arc<dyn Listener>>>,
    store: Store,
    broker: Arc<Broker>,
}

impl Node {
    /// Listens, recovers what the last start left, and serves.
    ///
    /// # Errors
    /// The address can't be listened on, or the store can't be started: bucket, write-ahead log, ledger.
    pub async fn start(world: World, objects: Arc<dyn ObjectStore>, config: NodeConfig) -> Result<Node, StartError> {
        let NodeConfig { listen, advertise, node_id, wals, broker, stream, watch, ledger } = config;

        let listener = world.network.listen(&listen).await;
        let listener: Arc<dyn Listener> = listener.map_err(|error| cannot_listen("--listen", &listen, &error))?.into();
        let kafka = listener.local_addr().map_err(|error| cannot_listen("--listen", &listen, &error))?;
        let listening = with_port(&listen, kafka);
        let advertised = advertise.unwrap_or_else(|| listening.clone());

        let registered = Arc::new(Notify::new());
        let request = StartRequest {
            node_id,
            advertised: advertised.clone(),
            wals,
            choice: broker::wal_choice,
            answers: answers::probe(world.clone(), advertised.clone()),
            watch: watch.map(|times| {
                let (ask, connects) = (answers::watch(world.clone()), answers::connects(world.clone()));
                Watch { ask, connects, times }
            }),
            registered: registered.clone(),
            options: stream,
            ledger_options: ledger,
        };
        let lives = async {
            // Not before: the start that it replaces is dead, and whoever asks is to know.
            registered.notified().await;
            starting::answer_starts(&world, listener.as_ref()).await
        };
        let store = tokio::select! {
            biased;
            store = Store::start(&world, objects, request) => store.map_err(|error| StartError(error.0))?,
            never = lives => match never {},
        };
        let options = BrokerOptions { listening, advertised, ..broker };
        let broker = Broker::start(&world, Box::new(listener.clone()), store.clone(), options);
        Ok(Node { kafka, world, listener: Mutex::new(Some(listener)), store, broker })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn kafka_addr(&self) -> SocketAddr {
        self.kafka
    }

    /// Its storage library: for the console and for checkers.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its Kafka side: for the console and for checkers.
    #[must_use]
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Resolves with the reason when this broker must not go on: declared dead, fenced, or its write-ahead log failed.
    pub async fn stopped(&self) -> String {
        self.store.stopped().await
    }

    /// Clean stop: lets requests in flight end, then uploads and commits what is there until `limit` has passed. What is left
    /// stays in the write-ahead log and is recovered by a broker that lives and can read it, or by the next start.
    pub async fn stop(&self, limit: Duration) {
        let listener = lock(&self.listener).take();
        let stops = async {
            self.broker.stop().await;
            self.store.drain(limit).await;
        };
        // Until it has said good-bye in the ledger it is not to be taken for dead.
        let lives = async {
            match &listener {
                Some(listener) => starting::answer_watchers(&self.world, listener.as_ref()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stops => {}
            never = lives => match never {},
        }
    }
}

/// One line for an address that can't be listened on.
pub fn cannot_listen(option: &str, address: &str, error: &std::io::Error) -> StartError {
    let what = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another process listens there; stop it or choose another port".to_owned(),
        std::io::ErrorKind::AddrNotAvailable => "this host has no such address; choose one that it has".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied; choose a port above 1023".to_owned(),
        _ => error.to_string(),
    };
    StartError(format!("can't listen on {option} {address}: {what}"))
}

/// The host as written (a name stays a name), with the real port.
fn with_port(listen: &str, kafka: SocketAddr) -> String {
    match listen.rsplit_once(':') {
        Some((host, _)) => format!("{host}:{}", kafka.port()),
        None => kafka.to_string(),
    }
}
