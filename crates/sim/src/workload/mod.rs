//! The clients: ordinary Kafka clients that keep topics busy, survive everything by retrying, and tell the history what they
//! did and saw. Nothing here knows which faults strike or which bugs are planted.
//!
//! [`topic`] keeps one topic alive (creates, deletes, creates again) and starts its [`producer`]s (or, where records are deleted,
//! [`pruner`]s; some of either are [`idempotent`]) and [`consumer`]s; [`admin`] makes topics that live for a moment, or that nobody
//! writes to; [`compacted`] has a topic whose old records go; [`logs`] moves topics between write-ahead logs; [`group`] has consumer
//! groups; [`transactions`] has transactions; [`client`] speaks Kafka; [`batch`] writes and reads record batches by hand.

mod admin;
pub mod batch;
mod client;
mod compacted;
mod connection;
mod consumer;
mod group;
mod idempotent;
mod logs;
mod producer;
mod pruner;
mod topic;
mod transactions;

use crate::checker::transactions::ProducerEpoch;
use crate::checker::{FinalScan, GroupHistory, History, PartitionKey, TransactionHistory};
use crate::cluster::Cluster;
use crate::world::{HostId, spawn, wait};
use base::Seed;
use client::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use topic::LiveTopic;
use world::World;

/// Where all clients run.
pub const CLIENT_HOST: HostId = HostId(100);

/// All clients of a run.
pub struct Workload {
    shared: Arc<Shared>,
    seed: Mutex<Seed>,
    stop: watch::Sender<bool>,
    actors: Vec<tokio::task::JoinHandle<()>>,
}

/// What the actors share.
struct Shared {
    cluster: Cluster,
    history: History,
    groups: GroupHistory,
    world: World,
    topics: Mutex<BTreeMap<String, LiveTopic>>,
    compacted: Mutex<compacted::Said>,
    transactions: TransactionHistory,
    /// Where transactions write to, once it is there.
    transactional: Mutex<Option<transactions::Parts>>,
    /// Epochs of clients whose markers have the epoch of what they end.
    by_version_1: Mutex<BTreeSet<ProducerEpoch>>,
}

impl Workload {
    /// Starts the clients.
    #[must_use]
    pub fn start(cluster: &Cluster, history: &History, mut seed: Seed) -> Workload {
        let (_process, world) = cluster.universe().process(CLIENT_HOST, "clients");
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            history: history.clone(),
            groups: GroupHistory::new(history.clone(), cluster.universe().trace.clone()),
            world,
            topics: Mutex::default(),
            compacted: Mutex::default(),
            transactions: TransactionHistory::new(history.clone(), cluster.universe().trace.clone()),
            transactional: Mutex::default(),
            by_version_1: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut actors = Vec::new();
        for plan in &cluster.plan().topics {
            let (shared, seed, stopped) = (Arc::clone(&shared), seed.fork(&plan.name), stopped.clone());
            let plan = plan.clone();
            actors.push(spawn(async move { topic::keep(shared, plan, seed, stopped).await }));
        }
        actors.extend(group::start(&shared, &mut seed, &stopped));
        let (admin, admin_seed) = (Arc::clone(&shared), seed.fork("admin"));
        let admin_stopped = stopped.clone();
        actors.push(spawn(async move { admin::run(admin, admin_seed, admin_stopped).await }));
        if cluster.plan().second.is_some() {
            // Beside the story, which has been the same for long.
            let (logs, logs_seed) = (Arc::clone(&shared), seed.clone().fork("logs"));
            let logs_stopped = stopped.clone();
            actors.push(spawn(async move { logs::run(logs, logs_seed, logs_stopped).await }));
        }
        // Beside it as well.
        let (transactional, transactional_seed) = (Arc::clone(&shared), seed.clone().fork("transactions"));
        let transactional_stopped = stopped.clone();
        actors.push(spawn(async move {
            transactions::run(transactional, transactional_seed, transactional_stopped).await;
        }));
        let (compacted, compacted_seed) = (Arc::clone(&shared), seed.fork("compacted"));
        actors.push(spawn(async move { compacted::run(compacted, compacted_seed, stopped).await }));
        Workload { shared, seed: Mutex::new(seed), stop, actors }
    }

    /// Stops the clients and waits for what they have under way.
    pub async fn stop(&mut self) {
        // The actors hold receivers for as long as they run; where none is left there is nobody to tell.
        self.stop.send_replace(true);
        for actor in self.actors.drain(..) {
            if let Err(error) = actor.await {
                self.shared.history.violation(format!("a client panicked: {error}"));
            }
        }
    }

    /// Whether every topic that should be there is there.
    #[must_use]
    pub fn topics(&self) -> Vec<(PartitionKey, Option<u64>)> {
        let topics = self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = topics.values().flat_map(|topic| {
            (0..topic.plan.partitions)
                .map(|partition| (PartitionKey { topic: topic.key.clone(), partition }, topic.plan.retention_bytes))
        });
        partitions.collect()
    }

    /// Writes to every partition until each has acknowledged a record, and asks every group until it has answered, within `limit`.
    pub async fn touch_all(&self, limit: Duration) {
        let deadline = crate::world::now().plus(limit);
        for (key, _) in self.topics() {
            let mut client = self.client();
            let Some(topic) = self.live(&key) else { continue };
            let acknowledged = producer::touch(&mut client, &self.shared, &topic, &key, deadline).await;
            // A topic that its owner deleted meanwhile owes nothing.
            if let Err(last) = acknowledged
                && self.live(&key).is_some()
            {
                self.shared.history.violation(format!(
                    "liveness: {key:?} took no record within {limit:?} after all faults had ended; last answer: {last}"
                ));
            }
            self.shared.cluster.universe().trace.count("check.liveness");
        }
        let mut seed = self.seed.lock().unwrap_or_else(PoisonError::into_inner).fork("groups");
        group::fetch_all(&self.shared, &mut seed, deadline).await;
    }

    /// Reads every partition from end to end and compares it with the history.
    pub async fn scan_all(&self, limit: Duration) -> BTreeMap<PartitionKey, FinalScan> {
        let deadline = crate::world::now().plus(limit);
        let mut scans = BTreeMap::new();
        for (key, retention) in self.topics() {
            let mut client = self.client();
            let Some(topic) = self.live(&key) else { continue };
            match consumer::scan(&mut client, &self.shared, &topic, &key, deadline).await {
                Ok(scan) => {
                    self.shared.history.finish(&key, &scan, retention);
                    scans.insert(key, scan);
                }
                Err(last) => self.shared.history.violation(format!(
                    "lost: {key:?} could not be read to its end after all faults had ended; last answer: {last}"
                )),
            }
        }
        let seed = self.seed.lock().unwrap_or_else(PoisonError::into_inner).fork("compacted");
        compacted::scan(&self.shared, seed, deadline).await;
        let seed = self.seed.lock().unwrap_or_else(PoisonError::into_inner).clone().fork("transactions");
        transactions::scan(&self.shared, seed, crate::world::now().plus(limit)).await;
        scans
    }

    fn live(&self, key: &PartitionKey) -> Option<LiveTopic> {
        let topics = self.shared.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(&key.topic.name).filter(|topic| topic.key == key.topic).cloned()
    }

    fn client(&self) -> Client {
        let seed = self.seed.lock().unwrap_or_else(PoisonError::into_inner).fork("client");
        Client::new(&self.shared, seed)
    }
}

/// What an actor does when it is told to wait and try again.
async fn breathe(seed: &mut Seed, millis_max: u64) {
    wait(Duration::from_millis(seed.between(1, millis_max))).await;
}
