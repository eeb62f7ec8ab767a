//! Produce: check each partition's batch, enqueue all, then wait for their confirmations. Third stop of the produce walk.
//!
//! Two phases, because a connection pipelines: [`start`] ends when every batch has its offsets and is on the way to the WAL (or
//! was refused), so that the connection may start its next produce; the wait for durability is the future that it returns. acks=1
//! is acks=all: there is one durability. acks=0 is not answered, and an error closes the connection, as the client has no other
//! way to learn of it.
//!
//! A batch that begins a transaction in its partition waits in `start` for the transaction's coordinator (`verification`): those of a request
//! are asked about together.
//!
//! Back-pressure, in two steps: while a partition's WAL is filling, answers carry a throttle time ([`stream::Stream::throttle`]); while it is
//! full, `start` waits for room, which keeps the connection from reading on. Of several logs each lets only so many wait that the producers of
//! the others have memory left; the rest are told to come again at once.

use crate::Shared;
use crate::answer_bounds::Reasons;
use crate::appending::{self, Patience, confirm};
use crate::batch_check::{self, CheckedBatch, Checking, DECOMPRESSED_BYTES_MAX};
use crate::checks::{Steps, Work};
use crate::error::Failure;
use crate::growth::Growth;
use crate::partition::{Appended, Partition};
use crate::rights::Rights;
use crate::topic_settings::TopicSettings;
use crate::topics;
use crate::verification::{self, Client, Transaction, verify};
use base::TopicId;
use control_core::{Image, Topic};
use futures::future::join_all;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use protocol::record_batch::{self, BatchError};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use stream::{AppendError, FrameUse, SequenceError};
use world::ClockExt;

/// The value of time and offset fields that have none.
const NONE: i64 = -1;

/// From this version on topics are named by their ids alone (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// A write to a log takes so long at the most while all is well, be it in the bucket. Kafka's timeout is for what follows its own: with one
/// replica there is nothing to wait for, so a producer whose timeout is 0 is told that its batch is there. Here as well, then.
const WAIT_LEAST: Duration = Duration::from_secs(1);

/// A batch on its way, by the place of its partition in the answer.
struct Enqueued {
    topic: usize,
    place: usize,
    appended: Appended,
}

/// A batch that may be appended once its transaction's coordinator says so.
struct Ungranted {
    topic: usize,
    place: usize,
    /// By which the coordinator knows it.
    name: (String, i32),
    partition: Partition,
    batch: CheckedBatch,
}

/// What comes of a request: its answer as it is if all that is enqueued becomes durable.
#[derive(Default)]
struct Outcome {
    responses: Vec<TopicProduceResponse>,
    enqueued: Vec<Enqueued>,
    ungranted: Vec<Ungranted>,
    /// Where batches were to be appended; their logs tell how busy they are.
    partitions: Vec<Partition>,
    /// The first refusal.
    refusal: Option<String>,
    reasons: Reasons,
}

/// Enqueues the request's batches in order. The future that it returns waits until they are durable: `None` is acks=0 and all
/// well, an error acks=0 and something refused.
pub(crate) async fn start(
    broker: Arc<Shared>,
    mut request: ProduceRequest,
    version: i16,
    (frame_bytes, rights): (usize, Rights),
) -> impl Future<Output = Result<Option<ProduceResponse>, Failure>> + Send + use<> {
    let began = broker.clock.now();
    let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    // Kafka's timeout is for waiting on other replicas, so acks=1 never had one.
    let limit = match request.acks {
        -1 => asked.max(WAIT_LEAST).min(broker.options.produce_wait_max),
        _ => broker.options.produce_wait_max,
    };
    let deadline = began.plus(limit);
    let acks = request.acks;
    // A setting that may change; what it acts on is looked at nowhere but by produces and after them.
    broker.store.set_producer_expiration(broker.live().producer_expiration);
    let image = broker.store.ledger().image();
    let is_there = |topic: &_, index| find_partition(&broker, (&*image, &rights), version, (topic, index)).is_ok();
    let (refused, transaction) = match transaction(&mut request, is_there) {
        Ok(transaction) => (refuse_whole(&request).or_else(|| denied(&rights, transaction.as_ref())), transaction),
        Err(failure) => (Some(failure), None),
    };
    let check = Check {
        rights,
        refused,
        transaction,
        image,
        patience: Patience { deadline, frame_bytes },
        frame: FrameUse::new(frame_bytes),
    };
    let mut checking = Checking {
        clock: broker.clock.as_ref(),
        checks: &broker.checks,
        version,
        work: Work::of(frame_bytes, DECOMPRESSED_BYTES_MAX, deadline).keeping_places(),
        growth: Growth::new(&broker.frames.memory, frame_bytes),
        told_left: batch_check::REFUSED_RECORDS_TOLD_MAX,
    };
    let (mut outcome, mut steps) = (Outcome::default(), Steps::default());
    for mut asked in std::mem::take(&mut request.topic_data) {
        let data = std::mem::take(&mut asked.partition_data);
        let mut answers = Vec::with_capacity(data.len());
        for data in data {
            steps.next().await;
            let place = (outcome.responses.len(), answers.len());
            answers.push(enqueue(&broker, (&check, &mut checking), (&asked, data), (&mut outcome, place)).await);
        }
        outcome.responses.push(TopicProduceResponse {
            name: asked.name,
            topic_id: asked.topic_id,
            partition_responses: answers,
        });
    }
    append_granted(&broker, &check, version, &mut outcome).await;
    async move {
        let enqueued = std::mem::take(&mut outcome.enqueued).into_iter();
        let waits = enqueued.map(async |it| (it.topic, it.place, confirm(&broker, it.appended, deadline).await));
        for (topic, place, confirmed) in join_all(waits).await {
            let Err(failure) = confirmed else { continue };
            let (name, answer) = {
                let topic = &outcome.responses[topic];
                (topic.name.clone(), &topic.partition_responses[place])
            };
            let (index, log_start_offset) = (answer.index, answer.log_start_offset);
            let refused = outcome.refuse(&name, index, log_start_offset, failure);
            outcome.responses[topic].partition_responses[place] = refused;
        }
        let Outcome { responses, partitions, refusal, .. } = outcome;
        if acks == 0 {
            // It is not answered: the connection is closed with the first refusal.
            return refusal.map_or(Ok(None), |reason| Err(Failure::InvalidRequest(reason)));
        }
        // A client that heeds it sends nothing for so long; one that does not soon meets a broker that does not read on.
        let throttle = partitions.iter().map(Partition::throttle).max().unwrap_or_default();
        let throttle_time_ms = i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX);
        Ok(Some(ProduceResponse { responses, throttle_time_ms, ..ProduceResponse::default() }))
    }
}

/// What the checks of all partitions of one request share.
struct Check {
    rights: Rights,
    /// The request as a whole can't be served.
    refused: Option<Failure>,
    /// The one that batches of it are part of.
    transaction: Option<Transaction>,
    image: Arc<Image>,
    patience: Patience,
    /// What of the request is stored.
    frame: Arc<FrameUse>,
}

/// Whether the caller may not write as part of that transaction.
fn denied(rights: &Rights, transaction: Option<&Transaction>) -> Option<Failure> {
    rights.check(Operation::Write, Resource::TransactionalId, &transaction?.transactional_id).err()
}

fn refuse_whole(request: &ProduceRequest) -> Option<Failure> {
    if !matches!(request.acks, -1..=1) {
        return Some(Failure::InvalidAcks(request.acks));
    }
    None
}

/// The transaction that the request's batches are part of, if some are. As in Kafka, an id alone makes no transaction, a batch that says that
/// it is part of one needs the id before anything else of it counts, and there is one producer of what goes to partitions that are there.
fn transaction(
    request: &mut ProduceRequest,
    is_there: impl Fn(&TopicProduceData, i32) -> bool,
) -> Result<Option<Transaction>, Failure> {
    let mut found: Option<(i64, i16)> = None;
    let each = request.topic_data.iter().flat_map(|topic| topic.partition_data.iter().map(move |data| (topic, data)));
    for (topic, data) in each {
        // What is no batch is told so later.
        let batch = data.records.as_ref().and_then(|records| record_batch::only_batch(records).ok());
        let Some(batch) = batch.filter(record_batch::RecordBatch::is_transactional) else { continue };
        if request.transactional_id.is_none() {
            return Err(Failure::NoTransactionalId);
        }
        if !batch.has_producer_id() || !is_there(topic, data.index) {
            continue;
        }
        let producer = (batch.producer_id(), batch.producer_epoch());
        if *found.get_or_insert(producer) != producer {
            return Err(Failure::SeveralProducers);
        }
    }
    let Some((producer_id, producer_epoch)) = found else { return Ok(None) };
    let transactional_id = request.transactional_id.take().ok_or(Failure::NoTransactionalId)?;
    Ok(Some(Transaction { transactional_id, producer_id, producer_epoch }))
}

/// Enqueues one partition's batch; the answer, if what is enqueued becomes durable. A request may name a million partitions that are not
/// there, so what is refused costs no more than that.
async fn enqueue(
    broker: &Shared,
    (check, checking): (&Check, &mut Checking<'_>),
    (topic, data): (&TopicProduceData, PartitionProduceData),
    (outcome, (topic_place, place)): (&mut Outcome, (usize, usize)),
) -> PartitionProduceResponse {
    let index = data.index;
    let checked = match &check.refused {
        // As in Kafka: what is not there is told first.
        Some(refused @ (Failure::InvalidAcks(_) | Failure::SeveralProducers)) => {
            let found = find_partition(broker, (&*check.image, &check.rights), checking.version, (topic, index));
            Err((NONE, found.err().unwrap_or_else(|| refused.clone())))
        }
        Some(refused) => Err((NONE, refused.clone())),
        None => check_partition(broker, (check, checking), topic, data).await,
    };
    let (mut partition, batch) = match checked {
        Ok(checked) => checked,
        Err((log_start, failure)) => return outcome.refuse(&topic.name, index, log_start, failure),
    };
    let enqueue = |partition: &Partition| partition.append(&batch);
    let appended = appending::append(broker, &mut partition, check.patience, enqueue).await;
    let needs_grant = matches!(appended, Err(Failure::Append(AppendError::Sequence(SequenceError::NeedsGrant { .. }))));
    if needs_grant && let Ok(found) = topics::find(&check.image, &topic.name, topic.topic_id.into()) {
        let name = (found.name.clone(), index);
        outcome.ungranted.push(Ungranted { topic: topic_place, place, name, partition, batch });
        return PartitionProduceResponse { index, ..PartitionProduceResponse::default() };
    }
    outcome.tell((topic_place, place), (&topic.name, index), (partition, batch), appended)
}

/// Asks the transaction's coordinator about the batches that begin it in their partitions, and appends those that it grants. What ends or
/// begins a transaction meanwhile makes the answer worthless: then it is asked anew.
async fn append_granted(broker: &Shared, check: &Check, version: i16, outcome: &mut Outcome) {
    let client = Client::of_produce(version);
    let Some(transaction) = &check.transaction else { return };
    while !outcome.ungranted.is_empty() {
        let asked: Vec<_> = std::mem::take(&mut outcome.ungranted);
        let tickets: Vec<_> = asked.iter().map(|it| it.partition.ask_grant(&it.batch)).collect();
        let names = asked.iter().map(|it| it.name.clone()).collect();
        let left = check.patience.deadline.since(broker.clock.now());
        let codes = broker.clock.timeout(left, verify(broker, transaction, names, client)).await.unwrap_or_default();
        for (mut it, ticket) in asked.into_iter().zip(tickets) {
            let granted = verification::granted(&codes, &it.name, client);
            if let Some(ticket) = ticket {
                it.partition.answer_grant(ticket, granted.is_ok());
            }
            let appended = match granted {
                Ok(()) => {
                    let enqueue = |partition: &Partition| partition.append(&it.batch);
                    appending::append(broker, &mut it.partition, check.patience, enqueue).await
                }
                Err(failure) => Err(failure),
            };
            let is_worthless =
                matches!(appended, Err(Failure::Append(AppendError::Sequence(SequenceError::NeedsGrant { .. }))));
            if is_worthless && broker.clock.now() < check.patience.deadline {
                outcome.ungranted.push(it);
                continue;
            }
            let (topic, place) = (it.topic, it.place);
            let name = outcome.responses[topic].name.clone();
            let told = outcome.tell((topic, place), (&name, it.name.1), (it.partition, it.batch), appended);
            outcome.responses[topic].partition_responses[place] = told;
        }
    }
}

/// A failure is told with where the partition's log begins, where it is about what that was given.
async fn check_partition(
    broker: &Shared,
    (check, checking): (&Check, &mut Checking<'_>),
    topic: &TopicProduceData,
    data: PartitionProduceData,
) -> Result<(Partition, CheckedBatch), (i64, Failure)> {
    let found = find_partition(broker, (&*check.image, &check.rights), checking.version, (topic, data.index));
    let (found, partition) = found.map_err(|failure| (NONE, failure))?;
    checking.growth.begin(partition.log_index());
    let settings = TopicSettings::of(&found.configs, &broker.live.at(&check.image));
    let records = data.records.unwrap_or_default();
    let batch = batch_check::check(checking, &records, &settings, broker.clock.wall()).await.map_err(|failure| {
        let log_start = if is_of_records(&failure) { partition.log_start().to_kafka() } else { NONE };
        (log_start, failure)
    })?;
    Ok((partition, batch.part_of(&check.frame)))
}

/// Whether Kafka's log says so, that is, of a batch which could be read: then it says where it begins as well.
fn is_of_records(failure: &Failure) -> bool {
    let is_none =
        matches!(failure, Failure::Batch(BatchError::NotOne | BatchError::OldMagic(_) | BatchError::Truncated { .. }));
    !is_none && matches!(failure.code(), ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp)
}

fn find_partition<'a>(
    broker: &Shared,
    (image, rights): (&'a Image, &Rights),
    version: i16,
    (topic, index): (&TopicProduceData, i32),
) -> Result<(&'a Topic, Partition), Failure> {
    let id = TopicId::from(topic.topic_id);
    if version >= TOPIC_ID_VERSION && id == TopicId::default() {
        return Err(Failure::UnknownTopicId);
    }
    let found: &Topic = topics::find_allowed(image, (&topic.name, id), rights, Operation::Write)?;
    if found.internal {
        return Err(Failure::InvalidTopic(format!("only the broker itself writes to '{}'", found.name)));
    }
    let id = topics::stream_of(found, index)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    Ok((found, partition))
}

impl Outcome {
    /// The answer for a partition whose batch was looked at, if what is enqueued becomes durable.
    fn tell(
        &mut self,
        (topic_place, place): (usize, usize),
        (topic, index): (&str, i32),
        (partition, batch): (Partition, CheckedBatch),
        appended: Result<Appended, Failure>,
    ) -> PartitionProduceResponse {
        let log_start_offset = partition.log_start().to_kafka();
        self.partitions.push(partition);
        let appended = match appended {
            Ok(appended) => appended,
            // As in Kafka: the partition was not come to.
            Err(failure @ Failure::Unverified { .. }) => return self.refuse(topic, index, NONE, failure),
            Err(failure) => return self.refuse(topic, index, log_start_offset, failure),
        };
        // Kafka answers a repeat with the original's time, also where it is the producer's.
        let stamped = appended.repeats.or(batch.stamped());
        let base_offset = appended.base.to_kafka();
        self.enqueued.push(Enqueued { topic: topic_place, place, appended });
        PartitionProduceResponse {
            index,
            error_code: ErrorCode::None.number(),
            base_offset,
            // A repeat's original may have no time.
            log_append_time_ms: stamped.map_or(NONE, |stamp| stamp.0.max(NONE)),
            log_start_offset,
            ..PartitionProduceResponse::default()
        }
    }

    /// The answer for a partition whose batch is not there.
    fn refuse(&mut self, topic: &str, index: i32, log_start_offset: i64, failure: Failure) -> PartitionProduceResponse {
        self.refusal.get_or_insert_with(|| format!("produce with acks=0 to '{topic}' partition {index}: {failure}"));
        PartitionProduceResponse {
            index,
            error_code: failure.code().number(),
            base_offset: NONE,
            log_append_time_ms: NONE,
            log_start_offset,
            error_message: self.reasons.tell(&failure),
            record_errors: refused_records(failure),
            ..PartitionProduceResponse::default()
        }
    }
}

fn refused_records(failure: Failure) -> Vec<BatchIndexAndErrorMessage> {
    let Failure::Records { records, .. } = failure else { return Vec::new() };
    let tell = |(batch_index, why)| BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(why) };
    records.into_iter().map(tell).collect()
}
