//! The task that carries a producer's batches to the brokers that lead their partitions.
//!
//! When a batch has to go, what every other partition of the same leader has collected goes with it, one batch of each, as in
//! Apache Kafka's own client: a request costs a broker about the same however many partitions it holds. Order is kept lane by lane
//! by its [`Track`]; a request that is lost or refused in part sends only the lanes that it concerns back, and they go on once the
//! leaders were asked for anew. The first failure that can't be tried again ends the producer.

use crate::cluster::{RETRY_WAIT_MAX, Topic};
use crate::connection::Pending;
use crate::error::ClientError;
use crate::lane::Lane;
use crate::leader::Leader;
use crate::shared::{Ready, Shared};
use crate::track::Track;
use base::Micros;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use protocol::error_code::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use protocol::wire::Records;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use world::Backoff;

/// A request takes in no more batches once it has this many bytes (the Java client's `max.request.size`).
const REQUEST_BYTES: usize = 1 << 20;
/// No broker is obeyed that asks to be sent nothing for longer.
const THROTTLE_OBEYED_MAX: Duration = Duration::from_secs(10);
/// All in-sync replicas.
const ACKS_ALL: i16 = -1;

/// See the module.
pub(crate) struct Sender {
    shared: Arc<Shared>,
    lanes: Vec<Arc<Lane>>,
    /// One for each lane.
    tracks: Vec<Track>,
    leaders: BTreeMap<i32, Leader>,
    topic: Arc<Topic>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Lanes that something went wrong for and that wait for news of the leaders.
    troubled: BTreeSet<usize>,
    is_looking: bool,
    backoff: Backoff,
}

/// What the sender waits for.
enum Event {
    /// A request has its place in the connection's queue, or could not have one.
    Begun(Request, Result<Pending<ProduceRequest>, ClientError>),
    Answered(Request, Result<ProduceResponse, ClientError>),
    /// The leaders as they are now.
    Looked(Result<Arc<Topic>, ClientError>),
}

/// One request under way.
struct Request {
    leader: i32,
    batches: Vec<(usize, Ready)>,
}

/// What became of a batch.
enum Outcome {
    Delivered,
    Again(ClientError),
    Failed(ClientError),
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>, lanes: Vec<Arc<Lane>>, topic: Arc<Topic>) -> Sender {
        Sender {
            tracks: lanes.iter().map(|_| Track::default()).collect(),
            shared,
            lanes,
            leaders: BTreeMap::new(),
            topic,
            events: FuturesUnordered::new(),
            troubled: BTreeSet::new(),
            is_looking: false,
            backoff: Backoff::up_to(RETRY_WAIT_MAX),
        }
    }

    /// Sends what is collected, until the producer is closed or has failed.
    pub(crate) async fn run(mut self) {
        while !self.shared.is_closed() {
            if let Err(error) = self.step().await {
                self.shared.fail(error);
            }
        }
    }

    /// Sends what has to go, then waits for one thing to happen.
    async fn step(&mut self) -> Result<(), ClientError> {
        for at in self.shared.take_listed() {
            self.consider(at)?;
        }
        self.send_due()?;
        self.look_for_leaders();
        let clock = self.shared.cluster.world().clock.clone();
        let next_at = self.leaders.values().filter_map(Leader::next_at).min();
        let wait = next_at.map(|at| at.since(clock.now()));
        let event = tokio::select! {
            biased;
            Some(event) = self.events.next() => event,
            () = self.shared.listed() => return Ok(()),
            () = async { match wait {
                Some(wait) => clock.sleep(wait).await,
                None => std::future::pending().await,
            } } => return Ok(()),
        };
        match event {
            Event::Begun(request, Ok(answer)) => {
                self.leader(request.leader).has_begun();
                self.events.push(Box::pin(async move { Event::Answered(request, answer.await) }));
                Ok(())
            }
            Event::Begun(request, Err(error)) => {
                self.leader(request.leader).has_begun();
                self.answered(request, Err(error))
            }
            Event::Answered(request, answer) => self.answered(request, answer),
            Event::Looked(found) => self.looked(found),
        }
    }

    fn leader(&mut self, id: i32) -> &mut Leader {
        self.leaders.entry(id).or_default()
    }

    fn leader_of(&self, at: usize) -> Option<i32> {
        self.topic.partition(self.lanes[at].partition).and_then(|partition| partition.leader)
    }

    /// Puts a lane that has something to send into its leader's queue. One that may send nothing now is considered again when that
    /// changes: with an answer, or with news of the leaders.
    fn consider(&mut self, at: usize) -> Result<(), ClientError> {
        let waits_until = self.lanes[at].look(&self.shared);
        let leader = self.leader_of(at);
        let track = &mut self.tracks[at];
        let due = if track.has_again() { Some(Micros(0)) } else { waits_until };
        let Some(due) = due else { return Ok(()) };
        let Some(id) = leader else {
            let partition = self.lanes[at].partition;
            let why = refused(&self.shared.topic, partition, ErrorCode::LeaderNotAvailable, None);
            self.troubled.insert(at);
            return track.leaderless(&self.shared, &self.lanes[at], why);
        };
        if !track.may_send(&self.shared, id) {
            return Ok(());
        }
        let is_queued = std::mem::replace(&mut track.is_queued, true);
        let leader = self.leaders.entry(id).or_default();
        if !is_queued {
            leader.enqueue(at);
        }
        leader.hurry(due);
        Ok(())
    }

    fn send_due(&mut self) -> Result<(), ClientError> {
        let now = self.shared.now();
        let is_due = |leader: &Leader| leader.next_at().is_some_and(|at| at <= now);
        let due: Vec<i32> = self.leaders.iter().filter(|(_, leader)| is_due(leader)).map(|(id, _)| *id).collect();
        for id in due {
            self.send(id)?;
        }
        Ok(())
    }

    /// One request for a leader, of one batch from each lane in its queue as far as they fit.
    fn send(&mut self, id: i32) -> Result<(), ClientError> {
        let mut queue = self.leader(id).take();
        let (mut batches, mut bytes, mut seen) = (Vec::new(), 0, Vec::new());
        while bytes < REQUEST_BYTES
            && let Some(at) = queue.pop_front()
        {
            let leader_now = self.leader_of(at);
            let track = &mut self.tracks[at];
            track.is_queued = false;
            seen.push(at);
            // Since it was put there it may have met trouble, or got another leader.
            if leader_now != Some(id) || !track.may_send(&self.shared, id) {
                continue;
            }
            if let Some(ready) = track.next(&self.shared, &self.lanes[at], id)? {
                bytes += ready.batch.len();
                batches.push((at, ready));
            }
        }
        self.leader(id).put_back(queue);
        if !batches.is_empty() {
            self.begin(Request { leader: id, batches });
        }
        seen.into_iter().try_for_each(|at| self.consider(at))
    }

    fn begin(&mut self, request: Request) {
        let shared = &self.shared;
        let data = |(at, ready): &(usize, Ready)| PartitionProduceData {
            index: self.lanes[*at].partition,
            records: Some(Records::from(ready.batch.clone())),
        };
        let topic_data = vec![TopicProduceData {
            name: shared.topic.clone(),
            partition_data: request.batches.iter().map(data).collect(),
            ..TopicProduceData::default()
        }];
        let cluster = shared.cluster.clone();
        let within = cluster.options().call_within;
        let timeout_ms = i32::try_from(within.as_millis() / 2).unwrap_or(i32::MAX);
        let asked = ProduceRequest { acks: ACKS_ALL, timeout_ms, topic_data, ..ProduceRequest::default() };
        self.leader(request.leader).begin();
        self.events.push(Box::pin(async move {
            let begun = cluster.begin(request.leader, &asked, within).await;
            Event::Begun(request, begun)
        }));
    }

    fn answered(&mut self, request: Request, answer: Result<ProduceResponse, ClientError>) -> Result<(), ClientError> {
        let throttle_ms = answer.as_ref().map_or(0, |answer| answer.throttle_time_ms);
        let throttle = Duration::from_millis(u64::try_from(throttle_ms).unwrap_or(0)).min(THROTTLE_OBEYED_MAX);
        let muted_until = self.shared.now().plus(throttle);
        self.leader(request.leader).end(muted_until);
        let mut lanes = Vec::with_capacity(request.batches.len());
        {
            let mut outcomes = Outcomes::new(&self.shared.topic, &answer);
            for (at, ready) in request.batches {
                let outcome = outcomes.of(self.lanes[at].partition);
                settle(&self.shared, &self.lanes[at], &mut self.tracks[at], ready, outcome)?;
                lanes.push(at);
            }
        }
        for at in lanes {
            if self.tracks[at].is_in_trouble() {
                self.troubled.insert(at);
            }
            self.consider(at)?;
        }
        if self.troubled.is_empty() {
            self.backoff.reset();
        }
        Ok(())
    }

    /// Asks for the leaders after a wait, where a lane can't go on without.
    fn look_for_leaders(&mut self) {
        if self.is_looking || !self.troubled.iter().any(|at| self.tracks[*at].is_stuck()) {
            return;
        }
        self.is_looking = true;
        let shared = self.shared.clone();
        let clock = shared.cluster.world().clock.clone();
        let wait = self.backoff.next_wait(clock.random());
        self.events.push(Box::pin(async move {
            clock.sleep(wait).await;
            Event::Looked(shared.cluster.look_up(&shared.topic).await)
        }));
    }

    fn looked(&mut self, found: Result<Arc<Topic>, ClientError>) -> Result<(), ClientError> {
        self.is_looking = false;
        let stuck: Vec<usize> = self.troubled.iter().copied().filter(|at| self.tracks[*at].is_stuck()).collect();
        for at in &stuck {
            if let Some(why) = self.tracks[*at].too_late(&self.shared) {
                return Err(found.err().unwrap_or_else(|| why.clone()));
            }
        }
        match found {
            Err(error) if error.is_retriable() => return Ok(()),
            Err(error) => return Err(error),
            Ok(topic) => self.topic = topic,
        }
        // Lanes in queues may have other leaders now.
        let queued: Vec<usize> = self.leaders.values_mut().flat_map(Leader::take).collect();
        for at in &queued {
            self.tracks[*at].is_queued = false;
        }
        for at in &stuck {
            if self.leader_of(*at).is_some() {
                self.troubled.remove(at);
                self.tracks[*at].recovered();
            }
        }
        queued.into_iter().chain(stuck).try_for_each(|at| self.consider(at))
    }
}

/// Notes what became of a batch.
fn settle(shared: &Shared, lane: &Lane, track: &mut Track, ready: Ready, outcome: Outcome) -> Result<(), ClientError> {
    let again = match outcome {
        Outcome::Delivered => {
            track.delivered();
            shared.delivered(lane.partition, &ready);
            return Ok(());
        }
        Outcome::Again(error) => error,
        // It is out of order because an earlier one was not taken.
        Outcome::Failed(error)
            if track.is_in_trouble() && error.code() == Some(ErrorCode::OutOfOrderSequenceNumber) =>
        {
            error
        }
        Outcome::Failed(error) => return Err(error),
    };
    track.failed(ready, again);
    track.too_late(shared).map_or(Ok(()), |why| Err(why.clone()))
}

/// An answer, partition by partition.
struct Outcomes<'a> {
    topic: &'a str,
    answer: Result<BTreeMap<i32, &'a PartitionProduceResponse>, &'a ClientError>,
}

impl<'a> Outcomes<'a> {
    fn new(topic: &'a str, answer: &'a Result<ProduceResponse, ClientError>) -> Outcomes<'a> {
        let by_partition = |answer: &'a ProduceResponse| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            partitions.map(|partition| (partition.index, partition)).collect()
        };
        Outcomes { topic, answer: answer.as_ref().map(by_partition) }
    }

    fn of(&mut self, index: i32) -> Outcome {
        let partition = match &self.answer {
            Ok(partitions) => partitions.get(&index),
            Err(error) if error.is_retriable() => return Outcome::Again((*error).clone()),
            Err(error) => return Outcome::Failed((*error).clone()),
        };
        let Some(partition) = partition else {
            return Outcome::Failed(refused(self.topic, index, ErrorCode::UnknownServerError, None));
        };
        match ErrorCode::from_number(partition.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            // A duplicate is what an earlier try already brought.
            ErrorCode::None | ErrorCode::DuplicateSequenceNumber => Outcome::Delivered,
            code => {
                let error = refused(self.topic, index, code, partition.error_message.clone());
                if code.retriable() { Outcome::Again(error) } else { Outcome::Failed(error) }
            }
        }
    }
}

fn refused(topic: &str, partition: i32, code: ErrorCode, message: Option<String>) -> ClientError {
    ClientError::Refused { what: format!("produce to topic {topic}, partition {partition}"), code, message }
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
