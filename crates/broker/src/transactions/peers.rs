//! What this broker asks others: to write markers, and whether a producer's transaction is in a partition.
//!
//! One connection for each kind of question to each broker, with one request under way; what is to be asked meanwhile waits, and goes
//! together in the next one. So a peer appends once for all of it, and a peer that hangs holds up only what is meant for it. Whoever
//! gets no answer does not know whether it was done.

use client::{ClientError, ClientOptions, Connection};
use futures::FutureExt;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTransaction};
use protocol::messages::add_partitions_to_txn_response::{AddPartitionsToTxnResponse, AddPartitionsToTxnResult};
use protocol::messages::write_txn_markers_request::{WritableTxnMarker, WriteTxnMarkersRequest};
use protocol::messages::write_txn_markers_response::{WritableTxnMarkerResult, WriteTxnMarkersResponse};
use protocol::wire::Request;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use world::{World, lock};

/// The name that other brokers see.
const CLIENT_ID: &str = "millstream-broker";

/// One request takes no longer.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Questions in one request at the most.
const TOGETHER_MAX: usize = 512;

/// Questions that wait for a peer at the most; whoever comes then gets no answer, and comes again.
const WAITING_MAX: usize = 65_536;

/// So many addresses are remembered, but for those that are in use.
const IDLE_MAX: usize = 64;

/// A kind of question, of which many go in one request.
pub(super) trait Question: Sized + Send + 'static {
    type Asks: Request + Send + Sync;
    type Answer: Send + 'static;

    fn ask(questions: Vec<Self>) -> Self::Asks;
    /// The answers by the questions' places; none where the peer has not said.
    fn told(asked: &Self::Asks, answer: <Self::Asks as Request>::Response) -> Vec<Option<Self::Answer>>;
}

/// The connections to other brokers.
pub(crate) struct Peers {
    world: World,
    markers: Lanes<WritableTxnMarker>,
    additions: Lanes<AddPartitionsToTxnTransaction>,
}

type Lanes<Q> = Mutex<BTreeMap<String, Arc<Lane<Q>>>>;

/// What is to be asked of one broker.
struct Lane<Q: Question> {
    world: World,
    address: String,
    waiting: Mutex<Waiting<Q>>,
    /// Used by whoever carries the questions out.
    connection: tokio::sync::Mutex<Option<Connection>>,
}

struct Waiting<Q: Question> {
    questions: VecDeque<(Q, oneshot::Sender<Q::Answer>)>,
    /// Somebody carries them out.
    is_served: bool,
}

impl Peers {
    pub(crate) fn new(world: World) -> Peers {
        Peers { world, markers: Mutex::default(), additions: Mutex::default() }
    }

    /// Has a marker written by the broker at that address; what became of it, partition by partition.
    pub(super) async fn write(&self, address: &str, marker: WritableTxnMarker) -> Option<WritableTxnMarkerResult> {
        self.lane(&self.markers, address).ask(marker).await
    }

    /// Adds partitions to a transaction, or asks whether they are in it, at the broker at that address.
    pub(super) async fn add(
        &self,
        address: &str,
        transaction: AddPartitionsToTxnTransaction,
    ) -> Option<AddPartitionsToTxnResult> {
        self.lane(&self.additions, address).ask(transaction).await
    }

    fn lane<Q: Question>(&self, lanes: &Lanes<Q>, address: &str) -> Arc<Lane<Q>> {
        let mut lanes = lock(lanes);
        if lanes.len() >= IDLE_MAX {
            // Most are of brokers that are gone.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = lanes.entry(address.to_owned()).or_insert_with(|| {
            let waiting = Mutex::new(Waiting { questions: VecDeque::new(), is_served: false });
            let connection = tokio::sync::Mutex::default();
            Arc::new(Lane { world: self.world.clone(), address: address.to_owned(), waiting, connection })
        });
        lane.clone()
    }
}

impl<Q: Question> Lane<Q> {
    async fn ask(self: Arc<Self>, question: Q) -> Option<Q::Answer> {
        let (sender, answer) = oneshot::channel();
        let begins = {
            let mut waiting = lock(&self.waiting);
            if waiting.questions.len() >= WAITING_MAX {
                return None;
            }
            waiting.questions.push_back((question, sender));
            !std::mem::replace(&mut waiting.is_served, true)
        };
        if begins {
            // Not within this call, which may be given up while others wait.
            self.world.clock.spawn("ask a peer", self.clone().serve().boxed());
        }
        answer.await.ok()
    }

    /// Asks until nothing waits.
    async fn serve(self: Arc<Self>) {
        loop {
            let (questions, askers): (Vec<_>, Vec<_>) = {
                let mut waiting = lock(&self.waiting);
                let count = waiting.questions.len().min(TOGETHER_MAX);
                waiting.is_served = count > 0;
                waiting.questions.drain(..count).unzip()
            };
            if questions.is_empty() {
                return;
            }
            let asks = Q::ask(questions);
            match self.call(&asks).await {
                Ok(answer) => {
                    for (asker, answer) in askers.into_iter().zip(Q::told(&asks, answer)) {
                        // Whoever asked may have gone.
                        let _is_heard = answer.map(|answer| asker.send(answer));
                    }
                }
                // They come again; a broker that is gone is no news.
                Err(error) => tracing::debug!("ask another broker: {error}"),
            }
        }
    }

    async fn call(&self, asks: &Q::Asks) -> Result<<Q::Asks as Request>::Response, ClientError> {
        let mut held = self.connection.lock().await;
        let connection = match held.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => {
                let options = ClientOptions { client_id: CLIENT_ID.to_owned(), ..ClientOptions::new("") };
                Connection::open(&self.world, &options, &self.address).await?
            }
        };
        let answer = connection.call(asks, CALL_MAX).await;
        *held = Some(connection);
        answer
    }
}

impl Question for AddPartitionsToTxnTransaction {
    type Asks = AddPartitionsToTxnRequest;
    type Answer = AddPartitionsToTxnResult;

    fn ask(transactions: Vec<Self>) -> AddPartitionsToTxnRequest {
        AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() }
    }

    fn told(asked: &AddPartitionsToTxnRequest, answer: AddPartitionsToTxnResponse) -> Vec<Option<Self::Answer>> {
        let mut results = answer.results_by_transaction.into_iter();
        let of = |asked: &AddPartitionsToTxnTransaction| {
            results.next().filter(|result| result.transactional_id == asked.transactional_id)
        };
        asked.transactions.iter().map(of).collect()
    }
}

impl Question for WritableTxnMarker {
    type Asks = WriteTxnMarkersRequest;
    type Answer = WritableTxnMarkerResult;

    fn ask(markers: Vec<Self>) -> WriteTxnMarkersRequest {
        WriteTxnMarkersRequest { markers }
    }

    /// The answer has one result for a producer, whose transactions end one after the other.
    fn told(asked: &WriteTxnMarkersRequest, answer: WriteTxnMarkersResponse) -> Vec<Option<Self::Answer>> {
        let results: BTreeMap<i64, WritableTxnMarkerResult> =
            answer.markers.into_iter().map(|result| (result.producer_id, result)).collect();
        asked.markers.iter().map(|marker| results.get(&marker.producer_id).cloned()).collect()
    }
}
