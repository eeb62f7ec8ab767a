//! The cluster as a client sees it: brokers, topics, leaders, and one connection to each broker that is spoken to.
//!
//! What is known is as old as the last Metadata answer. Whoever is told by a broker that it is out of date calls
//! [`Cluster::refresh`] and asks again; nothing is refreshed by the clock.

use crate::connection::{Connection, Pending};
use crate::error::{ClientError, in_seconds};
use crate::options::ClientOptions;
use base::Micros;
use protocol::error_code::ErrorCode;
use protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use protocol::wire::Request;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{Backoff, ClockExt, World, lock};

/// Between two tries no more than this passes.
pub(crate) const RETRY_WAIT_MAX: Duration = Duration::from_millis(500);
/// A broker that ends does not close so many connections in a row before it answers: it takes no more.
const TURNED_AWAY_MAX: u32 = 3;
/// A topic that was created a moment ago may not be known to every broker yet.
const UNKNOWN_TOPIC_WITHIN: Duration = Duration::from_millis(500);

/// A broker as it wants to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Kafka's broker id.
    pub id: i32,
    /// `HOST:PORT`.
    pub address: String,
}

/// A topic and where its partitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Whether it is the cluster's own.
    pub is_internal: bool,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// The broker that serves it; `None` while there is none.
    pub leader: Option<i32>,
    /// Kafka's leader epoch.
    pub leader_epoch: i32,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub in_sync: Vec<i32>,
}

impl Topic {
    /// The partition with this number.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        let at = self.partitions.binary_search_by_key(&index, |partition| partition.index).ok()?;
        self.partitions.get(at)
    }
}

/// A handle to one cluster. Clones share connections and knowledge.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    world: World,
    options: ClientOptions,
    /// By address. A slot is locked while its connection is being made, so that others wait for that one.
    slots: Mutex<BTreeMap<String, Slot>>,
    brokers: Mutex<BTreeMap<i32, Broker>>,
    topics: Mutex<BTreeMap<String, Arc<Topic>>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

impl Cluster {
    /// Reaches the cluster and learns its brokers.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] where no bootstrap address answers, within the time for one connection each and that of a call;
    /// [`ClientError::Refused`] where a broker does not take the login, [`ClientError::TurnedAway`] where it seems to want one.
    pub async fn connect(world: World, options: ClientOptions) -> Result<Cluster, ClientError> {
        if options.addresses().next().is_none() {
            return Err(ClientError::Impossible("there is no address to connect to: write HOST:PORT".to_owned()));
        }
        let cluster = Cluster(Arc::new(Inner {
            world,
            options,
            slots: Mutex::default(),
            brokers: Mutex::default(),
            topics: Mutex::default(),
        }));
        // No topics: brokers alone.
        cluster.metadata(Some(Vec::new())).await?;
        Ok(cluster)
    }

    /// The outside.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// Limits and addresses.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    /// The brokers known now.
    #[must_use]
    pub fn brokers(&self) -> Vec<Broker> {
        lock(&self.0.brokers).values().cloned().collect()
    }

    /// All topics, as some broker knows them now.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn topics(&self) -> Result<Vec<Arc<Topic>>, ClientError> {
        let answer = self.metadata(None).await?;
        let mut topics = Vec::new();
        for topic in answer.topics.iter().filter(|topic| topic.error_code == 0) {
            topics.push(self.learn(topic));
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// A topic with a leader for every partition, asked for where it is not known yet.
    ///
    /// # Errors
    /// There is no such topic, its leaders do not come up in time, or no broker answers.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        if let Some(topic) = lock(&self.0.topics).get(name) {
            return Ok(topic.clone());
        }
        let began = self.0.world.clock.now();
        let mut backoff = Backoff::up_to(RETRY_WAIT_MAX);
        loop {
            let error = match self.refresh(name).await {
                Ok(topic) => return Ok(topic),
                Err(error) => error,
            };
            let within = match error.code() {
                Some(ErrorCode::UnknownTopicOrPartition) => UNKNOWN_TOPIC_WITHIN,
                _ => self.0.options.call_within,
            };
            if !error.is_retriable() || self.0.world.clock.now().since(began) >= within {
                return Err(error);
            }
            backoff.wait(self.0.world.clock.as_ref()).await;
        }
    }

    /// The topic as some broker knows it now, whether or not its partitions have leaders.
    ///
    /// # Errors
    /// It is not there, or no broker answers in time.
    pub async fn look_up(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        let answer = self.metadata(Some(vec![name.to_owned()])).await?;
        let about = || format!("topic {name}");
        let found = answer.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
        let Some(found) = found else {
            let code = ErrorCode::UnknownTopicOrPartition;
            return Err(ClientError::Refused { what: about(), code, message: None });
        };
        ClientError::check(found.error_code, None, about)?;
        Ok(self.learn(found))
    }

    /// The topic as some broker knows it now.
    ///
    /// # Errors
    /// It is not there, not every partition has a leader, or no broker answers in time.
    pub async fn refresh(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        let topic = self.look_up(name).await?;
        match topic.partitions.iter().find(|partition| partition.leader.is_none()) {
            None => Ok(topic),
            Some(partition) => Err(ClientError::Refused {
                what: format!("topic {name}, partition {}", partition.index),
                code: ErrorCode::LeaderNotAvailable,
                message: Some("no broker serves it now".to_owned()),
            }),
        }
    }

    /// Sends `request` to any broker, and again until it is answered or the time is over. For requests that may be repeated. Where
    /// nobody can be reached it is told at once: most often the address is wrong.
    pub(crate) async fn call_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.call_repeated(request).await.map(|(answer, _)| answer)
    }

    /// The same for what changes something, where a repeat may be told that it is done already: also whether the request was sent before
    /// the try that was answered, and may have been carried out then.
    pub(crate) async fn call_repeated<R: Request>(&self, request: &R) -> Result<(R::Response, bool), ClientError> {
        let began = self.0.world.clock.now();
        let (mut is_repeat, mut turned_away) = (false, 0);
        let mut backoff = Backoff::up_to(RETRY_WAIT_MAX);
        loop {
            let left = || self.left_of(self.0.options.call_within, began);
            let connection = self.any(left()).await?;
            // What could not be queued was not sent.
            let (answered, was_sent) = match connection.begin(request, left()).await {
                Ok(answer) => (answer.await, true),
                Err(error) => (Err(error), false),
            };
            match answered {
                Err(error) if error.is_retriable() && !left().is_zero() => {
                    is_repeat |= was_sent;
                    turned_away = if matches!(error, ClientError::TurnedAway { .. }) { turned_away + 1 } else { 0 };
                    if turned_away == TURNED_AWAY_MAX {
                        return Err(error);
                    }
                    backoff.wait(self.0.world.clock.as_ref()).await;
                    // What went wrong says more than that no time is left.
                    if left().is_zero() {
                        return Err(error);
                    }
                }
                done => return done.map(|answer| (answer, is_repeat)),
            }
        }
    }

    /// What is left of a time that `began` then.
    pub(crate) fn left_of(&self, within: Duration, began: Micros) -> Duration {
        within.saturating_sub(self.0.world.clock.now().since(began))
    }

    /// Sends `request` to one broker, once. The connection and the answer take no longer than `within`.
    pub(crate) async fn begin<R: Request>(
        &self,
        node: i32,
        request: &R,
        within: Duration,
    ) -> Result<Pending<R>, ClientError> {
        let began = self.0.world.clock.now();
        let connection = self.connection(node, within).await?;
        connection.begin(request, self.left_of(within, began)).await
    }

    /// The connection to a broker, made where there is none.
    pub(crate) async fn connection(&self, node: i32, within: Duration) -> Result<Arc<Connection>, ClientError> {
        let address = lock(&self.0.brokers).get(&node).map(|broker| broker.address.clone());
        let gone =
            || ClientError::Lost { address: format!("broker {node}"), reason: "its address is not known".into() };
        self.at(&address.ok_or_else(gone)?, within).await
    }

    /// A connection to whoever can be reached `within` a time: one that is open, a known broker, a bootstrap address. Each may take
    /// its share of what is left, so that one that is silent does not keep us from the others.
    pub(crate) async fn any(&self, within: Duration) -> Result<Arc<Connection>, ClientError> {
        let began = self.0.world.clock.now();
        let known: Vec<String> = lock(&self.0.brokers).values().map(|broker| broker.address.clone()).collect();
        let addresses: Vec<&str> = known.iter().map(String::as_str).chain(self.0.options.addresses()).collect();
        let (mut reason, mut said_no) = (String::new(), None);
        for (address, untried) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let share = self.left_of(within, began) / u32::try_from(untried).unwrap_or(u32::MAX);
            match self.at(address, share).await {
                Ok(connection) => return Ok(connection),
                Err(ClientError::Lost { reason: why, .. }) => reason = why,
                // There is a broker: whoever asks must hear what it wants.
                Err(error @ (ClientError::Refused { .. } | ClientError::TurnedAway { .. })) => said_no = Some(error),
                Err(error) => reason = error.to_string(),
            }
        }
        if let Some(error) = said_no {
            return Err(error);
        }
        Err(ClientError::Unreachable { bootstrap: self.0.options.bootstrap.clone(), reason })
    }

    /// The connection to an address, made `within` a time where there is none.
    pub(crate) async fn at(&self, address: &str, within: Duration) -> Result<Arc<Connection>, ClientError> {
        let late = || ClientError::Lost {
            address: address.to_owned(),
            reason: format!("no answer within {} s", in_seconds(within)),
        };
        self.0.world.clock.timeout(within, self.made(address)).await.unwrap_or_else(|| Err(late()))
    }

    async fn made(&self, address: &str) -> Result<Arc<Connection>, ClientError> {
        let slot = lock(&self.0.slots).entry(address.to_owned()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(&self.0.world, &self.0.options, address).await?;
        let connection = Arc::new(connection);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// `None` asks for all topics.
    async fn metadata(&self, topics: Option<Vec<String>>) -> Result<MetadataResponse, ClientError> {
        let by_name = |name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: topics.map(|names| names.into_iter().map(by_name).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = self.call_any(&request).await?;
        let brokers = answer.brokers.iter().map(|broker| {
            let host = if broker.host.contains(':') { format!("[{}]", broker.host) } else { broker.host.clone() };
            (broker.node_id, Broker { id: broker.node_id, address: format!("{host}:{}", broker.port) })
        });
        *lock(&self.0.brokers) = brokers.collect();
        Ok(answer)
    }

    fn learn(&self, found: &MetadataResponseTopic) -> Arc<Topic> {
        let mut partitions: Vec<Partition> = found
            .partitions
            .iter()
            .map(|partition| Partition {
                index: partition.partition_index,
                leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                leader_epoch: partition.leader_epoch,
                replicas: partition.replica_nodes.clone(),
                in_sync: partition.isr_nodes.clone(),
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        let name = found.name.clone().unwrap_or_default();
        let topic = Arc::new(Topic { name: name.clone(), is_internal: found.is_internal, partitions });
        let mut topics = lock(&self.0.topics);
        // One without a leader is asked for again next time.
        if topic.partitions.iter().all(|partition| partition.leader.is_some()) {
            topics.insert(name, topic.clone());
        } else {
            topics.remove(&name);
        }
        topic
    }
}
