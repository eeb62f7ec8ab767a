//! One partition's way to its leader: an open batch that fills, full ones that wait, and those that are under way.
//!
//! Records are appended under a short lock by whoever sends; a task of the lane takes batches from there, sends them in order and
//! keeps that order when some must be sent again: nothing behind a batch that failed counts before that batch does.

use crate::cluster::{Cluster, RETRY_WAIT_MAX};
use crate::connection::Pending;
use crate::error::ClientError;
use crate::producer::{Delivery, OnDelivery, OutRecord, ProducerOptions};
use base::Micros;
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::messages::produce_response::ProduceResponse;
use protocol::record_batch::{BatchBuilder, NewRecord};
use protocol::wire::Records;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use world::{Backoff, lock};

/// No broker is obeyed that asks to be sent nothing for longer.
const THROTTLE_OBEYED_MAX: Duration = Duration::from_secs(10);
/// All in-sync replicas.
const ACKS_ALL: i16 = -1;

/// What all lanes of a producer have in common.
pub(crate) struct Shared {
    pub(crate) topic: String,
    cluster: Cluster,
    options: ProducerOptions,
    /// Producer id and epoch, where the producer is idempotent.
    id: Option<(i64, i16)>,
    in_flight_max: usize,
    on_delivery: OnDelivery,
    /// One permit a byte.
    memory: Semaphore,
    /// Records taken and not acknowledged.
    outstanding: AtomicU64,
    progress: Notify,
    flushing: AtomicBool,
    closed: AtomicBool,
    failure: Mutex<Option<ClientError>>,
}

/// One partition.
pub(crate) struct Lane {
    pub(crate) partition: i32,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    open: Collected,
    full: VecDeque<Collected>,
}

/// Records of a batch to be.
#[derive(Default)]
struct Collected {
    builder: BatchBuilder,
    bytes: usize,
    due: Vec<Micros>,
    since: Micros,
}

/// A batch that has its final bytes.
struct Ready {
    batch: Bytes,
    bytes: usize,
    due: Vec<Micros>,
    first_sent: Micros,
}

struct InFlight {
    ready: Ready,
    answer: Pending<ProduceRequest>,
}

/// What became of a batch.
enum Outcome {
    Delivered,
    Again(ClientError),
    Failed(ClientError),
}

impl Shared {
    pub(crate) fn new(
        cluster: Cluster,
        topic: &str,
        options: ProducerOptions,
        id: Option<(i64, i16)>,
        in_flight_max: usize,
        on_delivery: OnDelivery,
    ) -> Shared {
        let memory = Semaphore::new(options.buffer_bytes_max.min(Semaphore::MAX_PERMITS));
        Shared {
            topic: topic.to_owned(),
            cluster,
            options,
            id,
            in_flight_max,
            on_delivery,
            memory,
            outstanding: AtomicU64::new(0),
            progress: Notify::new(),
            flushing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Waits until `bytes` fit the memory. A record larger than all of it goes alone. Answers what to give back later.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<usize, ClientError> {
        let bytes = bytes.min(self.options.buffer_bytes_max);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.memory.acquire_many(permits).await {
            Ok(taken) => taken.forget(),
            Err(_) => return Err(self.failure().unwrap_or_else(ended)),
        }
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        Ok(bytes)
    }

    pub(crate) fn failure(&self) -> Option<ClientError> {
        lock(&self.failure).clone()
    }

    pub(crate) fn begin_flush(&self) {
        self.flushing.store(true, Ordering::Release);
    }

    pub(crate) fn end_flush(&self) {
        self.flushing.store(false, Ordering::Release);
    }

    pub(crate) async fn all_delivered(&self) -> Result<(), ClientError> {
        loop {
            // Registered before looking, so that nothing is missed between the look and the wait.
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if self.outstanding.load(Ordering::Acquire) == 0 {
                return Ok(());
            }
            progress.await;
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.memory.close();
    }

    fn fail(&self, error: ClientError) {
        lock(&self.failure).get_or_insert(error);
        self.close();
        self.progress.notify_waiters();
    }

    fn delivered(&self, partition: i32, ready: &Ready) {
        let at = self.cluster.world().clock.now();
        (self.on_delivery)(&Delivery { partition, at, due: &ready.due });
        self.memory.add_permits(ready.bytes);
        let records = u64::try_from(ready.due.len()).unwrap_or(u64::MAX);
        if self.outstanding.fetch_sub(records, Ordering::AcqRel) == records {
            self.progress.notify_waiters();
        }
    }

    fn now(&self) -> Micros {
        self.cluster.world().clock.now()
    }
}

impl Lane {
    pub(crate) fn new(partition: i32) -> Lane {
        Lane { partition, waiting: Mutex::default(), changed: Notify::new() }
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Puts a record into the open batch, for which `bytes` are reserved. Answers whether that filled a batch.
    pub(crate) fn push(&self, shared: &Shared, record: &OutRecord<'_>, bytes: usize) -> bool {
        let timestamp = shared.cluster.world().clock.wall().0;
        let new = NewRecord { timestamp, key: record.key, value: record.value, headers: &[] };
        let mut waiting = lock(&self.waiting);
        let mut filled = !waiting.open.due.is_empty() && waiting.open.bytes + bytes > shared.options.batch_bytes;
        if filled {
            waiting.close_open();
        }
        let open = &mut waiting.open;
        let is_first = open.due.is_empty();
        if is_first {
            open.since = shared.now();
        }
        open.builder = std::mem::take(&mut open.builder).record(&new);
        open.bytes += bytes;
        open.due.push(record.due);
        if open.bytes >= shared.options.batch_bytes {
            waiting.close_open();
            filled = true;
        }
        let full = !waiting.full.is_empty();
        drop(waiting);
        if is_first || full {
            self.wake();
        }
        filled
    }

    /// Sends what is collected, until the producer is closed or has failed.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        let mut sender = Sender {
            route: Route { lane: &self, shared: &shared },
            in_flight: VecDeque::new(),
            sequence: 0,
            has_begun: false,
            muted_until: Micros(0),
        };
        while !shared.closed.load(Ordering::Acquire) {
            if let Err(error) = sender.step().await {
                shared.fail(error);
            }
        }
    }

    /// The next batch to send now; else how long the open one may still wait, where there is one.
    fn take(&self, shared: &Shared) -> Result<Collected, Option<Duration>> {
        let mut waiting = lock(&self.waiting);
        if let Some(full) = waiting.full.pop_front() {
            return Ok(full);
        }
        if waiting.open.due.is_empty() {
            return Err(None);
        }
        let waited = shared.now().since(waiting.open.since);
        let left = shared.options.linger.saturating_sub(waited);
        if left.is_zero() || shared.flushing.load(Ordering::Acquire) {
            return Ok(std::mem::take(&mut waiting.open));
        }
        Err(Some(left))
    }
}

impl Waiting {
    fn close_open(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.full.push_back(open);
    }
}

/// Where a lane's batches go.
#[derive(Clone, Copy)]
struct Route<'a> {
    lane: &'a Lane,
    shared: &'a Shared,
}

impl Route<'_> {
    async fn begin(&self, batch: &Bytes) -> Result<Pending<ProduceRequest>, ClientError> {
        let (topic, partition) = (&self.shared.topic, self.lane.partition);
        let known = self.shared.cluster.topic(topic).await?;
        let leader = known.partition(partition).and_then(|partition| partition.leader);
        let leader = leader.ok_or_else(|| refused(topic, partition, ErrorCode::LeaderNotAvailable, None))?;
        let data = PartitionProduceData { index: partition, records: Some(Records::from(batch.clone())) };
        let topic_data =
            vec![TopicProduceData { name: topic.clone(), partition_data: vec![data], ..TopicProduceData::default() }];
        let within = self.shared.cluster.options().call_within;
        let timeout_ms = i32::try_from(within.as_millis() / 2).unwrap_or(i32::MAX);
        let request = ProduceRequest { acks: ACKS_ALL, timeout_ms, topic_data, ..ProduceRequest::default() };
        self.shared.cluster.begin(leader, &request, within).await
    }

    fn outcome(&self, answer: Result<ProduceResponse, ClientError>) -> Outcome {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_retriable() => return Outcome::Again(error),
            Err(error) => return Outcome::Failed(error),
        };
        let (topic, index) = (&self.shared.topic, self.lane.partition);
        let found = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        let Some(partition) = found.into_iter().find(|partition| partition.index == index) else {
            return Outcome::Failed(refused(topic, index, ErrorCode::UnknownServerError, None));
        };
        match ErrorCode::from_number(partition.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            // A duplicate is what an earlier try already brought.
            ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Outcome::Delivered,
            code => {
                let error = refused(topic, index, code, partition.error_message.clone());
                if code.retriable() { Outcome::Again(error) } else { Outcome::Failed(error) }
            }
        }
    }
}

/// The lane's task.
struct Sender<'a> {
    route: Route<'a>,
    /// In the order in which they were sent.
    in_flight: VecDeque<InFlight>,
    /// Of the next record.
    sequence: i32,
    /// A batch was acknowledged. Until then one goes at a time: a broker that knows nothing of a producer may take any sequence for its
    /// first, as Apache Kafka does (KIP-360), so a second batch behind a first one that was refused would shut that one out.
    has_begun: bool,
    /// The broker has asked to be sent nothing before then.
    muted_until: Micros,
}

impl Sender<'_> {
    /// Sends what may be sent, then waits for one thing to happen.
    async fn step(&mut self) -> Result<(), ClientError> {
        let Route { lane, shared } = self.route;
        let muted = self.muted_until.since(shared.now());
        let mut linger = (!muted.is_zero()).then_some(muted);
        let in_flight_max = if self.has_begun { shared.in_flight_max } else { 1 };
        while muted.is_zero() && self.in_flight.len() < in_flight_max {
            match lane.take(shared) {
                Ok(collected) => {
                    let ready = self.finish(collected)?;
                    self.send(ready).await;
                }
                Err(wait) => {
                    linger = wait;
                    break;
                }
            }
        }
        let clock = &shared.cluster.world().clock;
        let answered = tokio::select! {
            biased;
            answer = first_answer(&mut self.in_flight) => Some(answer),
            () = lane.changed.notified() => None,
            () = async { match linger {
                Some(wait) => clock.sleep(wait).await,
                None => std::future::pending().await,
            } } => None,
        };
        let Some(answer) = answered else { return Ok(()) };
        let head = self.in_flight.pop_front().expect("its answer came").ready;
        let throttle_ms = answer.as_ref().map_or(0, |answer| answer.throttle_time_ms);
        let throttle = Duration::from_millis(u64::try_from(throttle_ms).unwrap_or(0)).min(THROTTLE_OBEYED_MAX);
        self.muted_until = self.muted_until.max(shared.now().plus(throttle));
        match self.route.outcome(answer) {
            Outcome::Delivered => {
                self.has_begun = true;
                shared.delivered(lane.partition, &head);
                Ok(())
            }
            Outcome::Again(error) => self.again(head, error).await,
            Outcome::Failed(error) => Err(error),
        }
    }

    fn finish(&mut self, collected: Collected) -> Result<Ready, ClientError> {
        let shared = self.route.shared;
        let mut builder = collected.builder.compression(shared.options.compression);
        if let Some((id, epoch)) = shared.id {
            builder = builder.producer(id, epoch, self.sequence);
            let records = i32::try_from(collected.due.len()).unwrap_or(i32::MAX);
            // Sequences wrap round to 0 behind the greatest.
            self.sequence = self.sequence.wrapping_add(records) & i32::MAX;
        }
        let built = builder.build(0);
        let batch = built.map_err(|error| ClientError::Impossible(format!("make a batch: {error}")))?;
        let (bytes, due) = (collected.bytes, collected.due);
        Ok(Ready { batch: batch.bytes().clone(), bytes, due, first_sent: shared.now() })
    }

    async fn send(&mut self, ready: Ready) {
        let answer = match self.route.begin(&ready.batch).await {
            Ok(answer) => answer,
            Err(error) => Box::pin(std::future::ready(Err(error))),
        };
        self.in_flight.push_back(InFlight { ready, answer });
    }

    /// Sends `head` and all behind it that were not taken once more, in their order.
    async fn again(&mut self, head: Ready, error: ClientError) -> Result<(), ClientError> {
        let Route { lane, shared } = self.route;
        if shared.now().since(head.first_sent) >= shared.options.delivery_within {
            return Err(error);
        }
        let mut left = vec![head];
        while let Some(InFlight { ready, answer }) = self.in_flight.pop_front() {
            match self.route.outcome(answer.await) {
                Outcome::Delivered => shared.delivered(lane.partition, &ready),
                Outcome::Again(_) => left.push(ready),
                // It is out of order because an earlier one was not taken.
                Outcome::Failed(error) if error.code() == Some(ErrorCode::OutOfOrderSequenceNumber) => left.push(ready),
                Outcome::Failed(error) => return Err(error),
            }
        }
        let clock = &shared.cluster.world().clock;
        let mut backoff = Backoff::up_to(RETRY_WAIT_MAX);
        loop {
            clock.sleep(backoff.next_wait(clock.random())).await;
            match shared.cluster.refresh(&shared.topic).await {
                Ok(_) => break,
                Err(why) if shared.now().since(left[0].first_sent) >= shared.options.delivery_within => {
                    return Err(why);
                }
                Err(why) if why.is_retriable() => {}
                Err(why) => return Err(why),
            }
        }
        for ready in left {
            self.send(ready).await;
        }
        Ok(())
    }
}

async fn first_answer(in_flight: &mut VecDeque<InFlight>) -> Result<ProduceResponse, ClientError> {
    match in_flight.front_mut() {
        Some(first) => (&mut first.answer).await,
        None => std::future::pending().await,
    }
}

fn refused(topic: &str, partition: i32, code: ErrorCode, message: Option<String>) -> ClientError {
    ClientError::Refused { what: format!("produce to topic {topic}, partition {partition}"), code, message }
}

fn ended() -> ClientError {
    ClientError::Impossible("the producer was closed".to_owned())
}
