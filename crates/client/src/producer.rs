//! Writes records to a topic: collected into batches partition by partition, acknowledged by all in-sync replicas.
//!
//! [`Producer::send`] puts a record into the open batch of its partition's [lane](crate::lane), and waits only where memory is used up.
//! One task, the [sender](crate::sender), carries batches of all partitions to their leaders. Where the cluster gives out producer ids
//! the producer is idempotent: several batches of a partition are under way, and trying again neither doubles nor reorders. Elsewhere
//! one batch of a partition is under way at a time: order is kept, and a batch whose answer was lost may be there twice. The first
//! failure that can't be tried again ends the producer; everything not yet delivered by then is not reported.

use crate::cluster::{Cluster, Partition, Topic};
use crate::error::ClientError;
use crate::lane::Lane;
use crate::partitioner::partition_for_key;
use crate::sender::Sender;
use crate::shared::Shared;
use base::Micros;
use protocol::error_code::ErrorCode;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::record_batch::{Compression, NO_PRODUCER_ID};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use world::Backoff;

/// What a record takes beyond its key and value, at most, without headers.
const RECORD_OVERHEAD: usize = 32;

/// How a producer collects and sends.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// A batch is sent when it has this many bytes; a larger record goes alone.
    pub batch_bytes: usize,
    /// A batch that is not full is sent this long after its first record.
    pub linger: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// Records not yet acknowledged take no more memory than about this.
    pub buffer_bytes_max: usize,
    /// A record that is not acknowledged within this time ends the producer.
    pub delivery_within: Duration,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            batch_bytes: 256 << 10,
            linger: Duration::from_millis(5),
            compression: Compression::None,
            buffer_bytes_max: 64 << 20,
            delivery_within: Duration::from_secs(30),
        }
    }
}

/// A record to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutRecord<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// When it was meant to be sent: what [`Delivery::due`] brings back.
    pub due: Micros,
}

/// A batch that was acknowledged.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Where it is.
    pub partition: i32,
    /// When the acknowledgement came.
    pub at: Micros,
    /// One for each record.
    pub due: &'a [Micros],
}

/// Hears of every acknowledged batch, on the task that received the acknowledgement: it must be quick.
pub type OnDelivery = Arc<dyn Fn(&Delivery<'_>) + Send + Sync>;

/// A writer to one topic.
pub struct Producer {
    shared: Arc<Shared>,
    /// In the order of their partitions.
    lanes: Vec<Arc<Lane>>,
    /// The lane of records without a key; the next one follows when its batch is full.
    current: AtomicUsize,
}

impl Producer {
    /// Prepares to write to `topic`.
    ///
    /// # Errors
    /// There is no such topic, or no broker answers in time.
    pub async fn start(
        cluster: Cluster,
        topic: &str,
        options: ProducerOptions,
        on_delivery: OnDelivery,
    ) -> Result<Producer, ClientError> {
        let known: Arc<Topic> = cluster.topic(topic).await?;
        let id = producer_id(&cluster).await?;
        let clock = cluster.world().clock.clone();
        let lane = |(at, partition): (usize, &Partition)| Arc::new(Lane::new(at, partition.index));
        let lanes: Vec<Arc<Lane>> = known.partitions.iter().enumerate().map(lane).collect();
        let shared = Arc::new(Shared::new(cluster, topic, options, id, on_delivery));
        let sender = Sender::new(shared.clone(), lanes.clone(), known);
        clock.spawn("produce-send", Box::pin(sender.run()));
        let first = usize::try_from(clock.random() >> 32).unwrap_or(0);
        Ok(Producer { shared, lanes, current: AtomicUsize::new(first) })
    }

    /// How many partitions there are to write to.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.lanes.len()
    }

    /// Takes a record for the partition given, else that of its key, else any. Waits while too much is not acknowledged yet.
    ///
    /// # Errors
    /// There is no such partition, or the producer has failed, now or earlier.
    pub async fn send(&self, partition: Option<i32>, record: &OutRecord<'_>) -> Result<(), ClientError> {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD;
        let (lane, keyless) = self.lane(partition, record.key)?;
        let bytes = self.shared.reserve(bytes).await?;
        let filled = lane.push(&self.shared, record, bytes);
        if filled && keyless {
            self.current.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until everything taken so far is acknowledged.
    ///
    /// # Errors
    /// The producer has failed, now or earlier.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.shared.begin_flush();
        self.lanes.iter().for_each(|lane| lane.list(&self.shared));
        let flushed = self.shared.all_delivered().await;
        self.shared.end_flush();
        flushed
    }

    /// Why the producer has failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<ClientError> {
        self.shared.failure()
    }

    /// The lane, and whether it was chosen freely.
    fn lane(&self, partition: Option<i32>, key: Option<&[u8]>) -> Result<(&Lane, bool), ClientError> {
        let (at, free) = match (partition, key) {
            (Some(index), _) => {
                let at = self.lanes.binary_search_by_key(&index, |lane| lane.partition).ok();
                let none = || ClientError::Refused {
                    what: format!("topic {}", self.shared.topic),
                    code: ErrorCode::UnknownTopicOrPartition,
                    message: Some(format!("there is no partition {index}, it has {}", self.lanes.len())),
                };
                (at.ok_or_else(none)?, false)
            }
            (None, Some(key)) => (partition_for_key(key, self.lanes.len()), false),
            (None, None) => (self.current.load(Ordering::Relaxed) % self.lanes.len(), true),
        };
        Ok((&self.lanes[at], free))
    }
}

impl Drop for Producer {
    /// The sender ends. What was not flushed is given up.
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A producer id and epoch; `None` where the cluster gives none out.
async fn producer_id(cluster: &Cluster) -> Result<Option<(i64, i16)>, ClientError> {
    if !cluster.any(cluster.options().call_within).await?.serves::<InitProducerIdRequest>() {
        return Ok(None);
    }
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: -1,
    };
    let clock = &cluster.world().clock;
    let began = clock.now();
    let mut backoff = Backoff::up_to(crate::cluster::RETRY_WAIT_MAX);
    loop {
        let answer = cluster.call_any(&request).await?;
        let Err(error) = ClientError::check(answer.error_code, None, || "get a producer id".to_owned()) else {
            return Ok(Some((answer.producer_id, answer.producer_epoch)));
        };
        if !error.is_retriable() || clock.now().since(began) >= cluster.options().call_within {
            return Err(error);
        }
        backoff.wait(clock.as_ref()).await;
    }
}
