//! Accepts connections, keeps their number within the bound, and closes the idle ones.
//!
//! Over the bound the newest is closed (`turned_away`), and over its address's quota it is closed late, each with a log line as often as
//! `complaints` lets there be one, and all others are unharmed. One sweep serves all connections, so that an idle one costs no timer. What
//! happens on a connection is left to `connection`.

use crate::connection::{self, Activity};
use crate::{BrokerOptions, Shared, turned_away};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{Connection, Listener, TaskHandle, lock};

/// Pause after a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    activity: Arc<Activity>,
    /// `None` only until the task has been spawned.
    task: Option<TaskHandle>,
}

/// Why there is no room for a connection.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0} are open (max.connections)")]
    All(usize),
    #[error("{0} of its address are open (max.connections.per.ip)")]
    OfAddress(usize),
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        lock(&self.open)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_number.len()
    }

    /// Ends all of them at once.
    pub(crate) fn abort_all(&self) {
        let entries = std::mem::take(&mut self.lock().by_number);
        entries.values().filter_map(|entry| entry.task.as_ref()).for_each(TaskHandle::abort);
    }

    fn insert(&self, peer: SocketAddr, activity: Arc<Activity>, options: &BrokerOptions) -> Result<u64, Refused> {
        let mut open = self.lock();
        if open.by_number.len() >= options.connections_max {
            return Err(Refused::All(options.connections_max));
        }
        let address = peer.ip().to_canonical();
        let of_address = *options.connections_per_ip.get(&address).unwrap_or(&options.connections_per_ip_max);
        // Counted only where it can matter: it takes a look at every connection.
        let of_it = || open.by_number.values().filter(|entry| entry.peer.ip().to_canonical() == address).count();
        if of_address <= open.by_number.len() && of_it() >= of_address {
            return Err(Refused::OfAddress(of_address));
        }
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, Entry { peer, activity, task: None });
        Ok(number)
    }

    fn attach(&self, number: u64, task: TaskHandle) {
        if let Some(entry) = self.lock().by_number.get_mut(&number) {
            entry.task = Some(task);
        }
    }

    fn remove(&self, number: u64) {
        self.lock().by_number.remove(&number);
    }

    fn take_idle(&self, now: base::Micros, idle_max: Duration) -> Vec<Entry> {
        let mut open = self.lock();
        let idle = |entry: &Entry| entry.activity.idle(now).is_some_and(|idle| idle > idle_max);
        let numbers: Vec<u64> = open.by_number.iter().filter(|(_, it)| idle(it)).map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| open.by_number.remove(number)).collect()
    }
}

/// Accepts until the broker stops.
pub(crate) async fn accept(broker: Arc<Shared>, listener: Box<dyn Listener>) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => admit(&broker, socket, peer),
            Err(error) => {
                tracing::warn!("accept connection: {error}; raise the limit of open files if it is exhausted");
                broker.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(broker: &Arc<Shared>, socket: Box<dyn Connection>, peer: SocketAddr) {
    let activity = Arc::new(Activity::idle_since(broker.clock.now()));
    let number = match broker.connections.insert(peer, activity.clone(), &broker.live()) {
        Ok(number) => number,
        Err(refused) => {
            turned_away::turn_away(broker, socket, peer, refused);
            return;
        }
    };
    let now = broker.clock.now();
    let throttled = broker.quotas.record_connection(&broker.store.ledger().image(), peer.ip(), now);
    if let Some(wait) = throttled {
        let wait = wait.as_millis();
        let why = "its address has made more than its quota connection_creation_rate allows";
        broker.complaints.tell(now, peer, format_args!("not served, and closed in {wait} ms: {why}"));
    }
    let shared = broker.clone();
    let task = broker.clock.spawn(
        "connection",
        Box::pin(async move {
            let leaving = Leaving { shared, number };
            match throttled {
                None => connection::serve(leaving.shared.clone(), socket, (peer, number), activity).await,
                Some(wait) => hold(&leaving.shared, socket, wait).await,
            }
            leaving.shared.connections.remove(number);
        }),
    );
    broker.connections.attach(number, task);
}

/// Keeps a connection of an address that makes too many of them waiting and closes it then, as Kafka does (KIP-612): its client is as
/// slow as one that waited before it tried again. But a broker's question is answered at once.
async fn hold(broker: &Shared, mut socket: Box<dyn Connection>, wait: Duration) {
    let answered = async {
        if !turned_away::answers(broker, socket.as_mut()).await {
            std::future::pending::<()>().await
        }
    };
    let mut stopping = broker.stopping.subscribe();
    tokio::select! {
        biased;
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = broker.clock.sleep(wait) => {}
        () = answered => {}
    }
    drop(socket);
}

/// A connection that is served; dropped at its end, however it comes.
struct Leaving {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.shared.shares.disconnected(&self.shared, self.number);
    }
}

/// Closes connections that have been idle for too long, until the broker stops.
pub(crate) async fn sweep(broker: Arc<Shared>) {
    let mut stopping = broker.stopping.subscribe();
    let idle_max = broker.options.connection_idle_max;
    let period = (idle_max / 4).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = broker.clock.sleep(period) => {}
        }
        for entry in broker.connections.take_idle(broker.clock.now(), idle_max) {
            tracing::debug!(peer = %entry.peer, "idle connection closed (connections.max.idle.ms)");
            if let Some(task) = entry.task {
                task.abort();
            }
        }
    }
}
