//! Kafka's semantics over streams.
//!
//! The walks: `listener` → `connection` (frames in, answers out in order) → `dispatch` → `handler/<api>` → `partition` (the only
//! place where Kafka's words become stream words) → the `stream` crate; a fetch that finds too little parks in `waiter`. Kafka's
//! error codes come from one mapping, `error`. Topic rules are pure: `topic_name`, `topic_settings`.
//!
//! Absences: nothing here names an object, a WAL's bytes or a ledger entry's; no record is copied between socket and stream, but
//! while a large frame grows and where it gets its timestamp here.

mod acls;
mod answer;
mod answer_bounds;
mod answer_size;
mod answer_writer;
mod appending;
mod authorized;
mod batch_check;
mod caller;
mod check_jobs;
mod checks;
mod cleaner;
mod complaints;
mod connection;
mod coordinator;
mod detach;
mod dispatch;
mod end_marker;
mod error;
mod features;
mod fetch_session;
mod flat_names;
mod frame;
mod growth;
mod handler;
mod hello;
mod listener;
mod memory;
mod options;
mod partition;
mod peer;
mod peer_login;
mod peers;
mod places;
mod producer_ids;
mod quota;
mod requests;
mod retention;
mod rights;
mod sasl;
mod scram;
pub mod settings;
mod share;
mod shared_partitions;
mod telemetry;
#[cfg(test)]
mod test_batch;
#[cfg(test)]
mod test_clock;
mod time_index;
mod tokens;
mod topic_name;
mod topic_settings;
mod topics;
mod transactions;
mod turned_away;
mod uuid;
mod verification;
mod waiter;
mod wals;

pub use cleaner::CleanerUse;
pub use coordinator_core::{
    ConsumerOptions, ConsumerTimes, GroupOptions, Migration, ShareGroupOptions, ShareStateOptions, StreamsOptions,
    StreamsTimes, TransactionOptions,
};
pub use hello::{Asker, START_CLIENT_ID, WATCH_CLIENT_ID, answer as answer_brokers_question};
pub use options::{BrokerOptions, CleanerOptions, Cleaning, CleanupPolicy};
pub use quota::QuotaWindows;
pub use rights::Authorizing;
pub use sasl::{Mechanism as SaslMechanism, OwnLogin, SaslOptions, Text as SecretText};
pub use telemetry::TelemetryUse;
pub use tokens::TokenOptions;
pub use topic_name::{check as check_topic_name, is_internal as is_internal_topic};
pub use wals::wal_choice;

use crate::checks::Checks;
use crate::coordinator::{Coordinators, TopicChanges};
use crate::fetch_session::Sessions;
use crate::frame::FrameLimits;
use crate::listener::Connections;
use crate::memory::{AnswerMemory, RequestMemory};
use crate::partition::Partitions;
use crate::peer_login::Refusals;
use crate::peers::Reach;
use crate::producer_ids::ProducerIds;
use crate::quota::Quotas;
use crate::share::{EndPeers, StatePeers, Turns};
use crate::shared_partitions::Shares;
use crate::topics::Creating;
use crate::transactions::Peers;
use base::NodeId;
use coordinator_core::{Groups, ShareStates, Transactions};
use std::sync::Arc;
use std::time::Duration;
use stream::Store;
use tokio::sync::{Notify, Semaphore, watch};
use world::{Clock, Listener, World};

/// How often [`Broker::stop`] looks whether the connections have ended.
const STOP_LOOK_PERIOD: Duration = Duration::from_millis(5);

/// The part of the memory for answers that fetch sessions may have: what they hold is what answers need not repeat.
const SESSIONS_PART: usize = 8;

/// A running broker.
pub struct Broker {
    shared: Arc<Shared>,
}

/// What connections, handlers and loops share.
struct Shared {
    options: BrokerOptions,
    /// The options that may change while it runs, as they are now.
    live: settings::Live,
    /// Held while settings are changed, so that one change is made on top of the other.
    altering: tokio::sync::Mutex<()>,
    clock: Arc<dyn Clock>,
    store: Store,
    partitions: Partitions,
    producer_ids: ProducerIds,
    coordinators: Coordinators<Groups>,
    /// How often topics have changed, for the groups that are subscribed to some.
    topic_changes: TopicChanges,
    transactions: Coordinators<Transactions>,
    /// Other brokers, for what coordinators and partitions have to tell each other.
    peers: Peers,
    share_states: Coordinators<ShareStates>,
    /// Other brokers, for what is asked about share-partitions.
    state_peers: StatePeers,
    /// The same for where partitions end.
    end_peers: EndPeers,
    /// Whose turn it is to ask about a share group.
    share_turns: Turns,
    connections: Connections,
    frames: FrameLimits,
    answer_memory: AnswerMemory,
    /// The right to copy a piece of a long answer into a socket.
    long_answers: Semaphore,
    /// Connections that a limit turns away, while they are looked at.
    turned_away: turned_away::TurnedAway,
    /// Log lines about peers.
    complaints: complaints::Complaints,
    checks: Checks,
    cleaner: cleaner::Counts,
    creating: Creating,
    sessions: Sessions,
    telemetry: telemetry::Telemetry,
    /// By what delegation tokens are shown.
    tokens: tokens::Tokens,
    /// What clients use, of what they may.
    quotas: Quotas,
    /// What share groups consume of the partitions that this broker leads.
    shares: Shares,
    /// Another broker that starts has asked for an answer.
    said_hello: Notify,
    /// Becomes true once, when the broker stops.
    stopping: watch::Sender<bool>,
}

impl Shared {
    /// The options at this moment: what a setting may change while the broker runs is read here, each time anew.
    fn live(&self) -> Arc<BrokerOptions> {
        self.live.at(&self.store.ledger().image())
    }

    /// Whether the broker stops before that is done, which is dropped then: what ends the loops that keep house.
    async fn stops_before(&self, done: impl Future<Output = ()>) -> bool {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => true,
            () = done => false,
        }
    }
}

impl Broker {
    /// Accepts and serves until [`Broker::stop`].
    pub fn start(world: &World, listener: Box<dyn Listener>, store: Store, options: BrokerOptions) -> Arc<Broker> {
        let clock = world.clock.clone();
        let node_id = store.node_id();
        let sessions_bytes = options.answers_bytes_max / SESSIONS_PART;
        let logs = store.log_count();
        let login = options.sasl.as_ref().and_then(|sasl| sasl.own_login());
        if let Some(warning) = peer_login::warning(&options) {
            tracing::warn!("{warning}");
        }
        let refusals = Arc::new(Refusals::new(store.ledger().clone(), &options));
        let reach = Reach { world: world.clone(), login, refusals };
        let shared = Arc::new(Shared {
            clock: clock.clone(),
            partitions: Partitions::new(store.clone()),
            producer_ids: ProducerIds::default(),
            store,
            coordinators: Coordinators::new(),
            topic_changes: TopicChanges::default(),
            transactions: Coordinators::new(),
            peers: Peers::new(&reach),
            share_states: Coordinators::new(),
            state_peers: StatePeers::new(&reach),
            end_peers: EndPeers::new(&reach),
            share_turns: Turns::default(),
            connections: Connections::default(),
            frames: FrameLimits {
                memory: RequestMemory::new(options.requests_bytes_max, options.request_bytes_max, logs),
                bytes_max: options.request_bytes_max,
                silence_max: frame::SILENCE_MAX,
                clock: clock.clone(),
            },
            turned_away: turned_away::TurnedAway::default(),
            complaints: complaints::Complaints::default(),
            answer_memory: AnswerMemory::new(options.answers_bytes_max - sessions_bytes),
            long_answers: Semaphore::new(options.long_writes_max.clamp(1, Semaphore::MAX_PERMITS)),
            checks: Checks::new(options.heavy_checks_max),
            cleaner: cleaner::Counts::default(),
            creating: Creating::default(),
            sessions: Sessions::new(options.fetch_sessions_max, sessions_bytes),
            telemetry: telemetry::Telemetry::default(),
            tokens: tokens::Tokens::new(&options.tokens),
            quotas: Quotas::new(&options),
            shares: Shares::new(options.shares.sessions_max, options.shares_bytes_max),
            altering: tokio::sync::Mutex::new(()),
            live: settings::Live::new(options.clone(), node_id),
            said_hello: Notify::new(),
            stopping: watch::Sender::new(false),
            options,
        });
        // The loops end by `stopping`; nobody waits for them but `stop`, through the connections.
        clock.spawn("accept", Box::pin(listener::accept(shared.clone(), listener)));
        clock.spawn("idle connections", Box::pin(listener::sweep(shared.clone())));
        clock.spawn("hello", Box::pin(hello::run(shared.clone())));
        clock.spawn("groups", Box::pin(coordinator::run::<Groups>(shared.clone())));
        clock.spawn("transactions", Box::pin(coordinator::run::<Transactions>(shared.clone())));
        clock.spawn("share-partitions", Box::pin(coordinator::run::<ShareStates>(shared.clone())));
        clock.spawn("led share-partitions", Box::pin(shared_partitions::run(shared.clone())));
        clock.spawn("retention", Box::pin(retention::run(shared.clone())));
        clock.spawn("cleaner", Box::pin(cleaner::run(shared.clone())));
        clock.spawn("delegation tokens", Box::pin(tokens::run(shared.clone())));
        Arc::new(Broker { shared })
    }

    /// Its id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.store.node_id()
    }

    /// What Kafka's log compaction has done since the start.
    #[must_use]
    pub fn cleaner(&self) -> CleanerUse {
        self.shared.cleaner.used()
    }

    /// What clients have told of themselves (KIP-714).
    #[must_use]
    pub fn telemetry(&self) -> TelemetryUse {
        self.shared.telemetry.used(self.shared.clock.now())
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// Stops accepting and reading, answers what runs, closes. Takes at most `stop_wait_max`.
    pub async fn stop(&self) {
        let shared = &self.shared;
        shared.stopping.send_replace(true);
        let deadline = shared.clock.now().plus(shared.options.stop_wait_max);
        while shared.connections.count() > 0 && shared.clock.now() < deadline {
            shared.clock.sleep(STOP_LOOK_PERIOD).await;
        }
        shared.connections.abort_all();
    }
}
