//! Produce: check each partition's batch, enqueue all, then wait for their confirmations. Third stop of the produce walk.
//!
//! Two phases, because a connection pipelines: [`start`] ends when every batch has its offsets and is on the way to the WAL (or
//! was refused), so that the connection may start its next produce; the wait for durability is the future that it returns. acks=1
//! is acks=all: there is one durability. acks=0 is not answered, and an error closes the connection, as the client has no other
//! way to learn of it.
//!
//! Back-pressure, in two steps: while a partition's WAL is filling, answers carry a throttle time ([`stream::Stream::throttle`]); while it is
//! full, `start` waits for room, which keeps the connection from reading on. Of several logs each lets only so many wait that the producers of
//! the others have memory left; the rest are told to come again at once.

use crate::Shared;
use crate::batch_check::{self, CheckedBatch, Checking, DECOMPRESSED_BYTES_MAX};
use crate::checks::Work;
use crate::error::{Failure, kafka_offset};
use crate::partition::{Appended, Partition};
use crate::topic_settings::TopicSettings;
use crate::topics;
use base::{Micros, Offset, TopicId, UnixMillis};
use control_core::{Image, Topic};
use futures::future::join_all;
use protocol::error_code::ErrorCode;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use protocol::wire::Records;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use stream::{AppendError, SequenceError};
use world::ClockExt;

/// The value of time and offset fields that have none.
const NONE: i64 = -1;

/// From this version on topics are named by their ids alone (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// What became of one partition's batch.
struct Outcome {
    index: i32,
    log_start: Option<Offset>,
    stamped: Option<UnixMillis>,
    appended: Result<Appended, Failure>,
    /// Where it was to be appended; its log tells how busy it is.
    partition: Option<Partition>,
}

/// The partitions of one topic, as named by the request.
struct TopicOutcome {
    asked: TopicProduceData,
    partitions: Vec<Outcome>,
}

/// Enqueues the request's batches in order. The future that it returns waits until they are durable: `None` is acks=0 and all
/// well, an error acks=0 and something refused.
pub(crate) async fn start(
    broker: Arc<Shared>,
    mut request: ProduceRequest,
    version: i16,
    frame_bytes: usize,
) -> impl Future<Output = Result<Option<ProduceResponse>, Failure>> + Send + use<> {
    let began = broker.clock.now();
    let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    // Kafka's timeout is for waiting on other replicas, so acks=1 never had one.
    let limit =
        if request.acks == -1 { asked.min(broker.options.produce_wait_max) } else { broker.options.produce_wait_max };
    let deadline = began.plus(limit);
    let acks = request.acks;
    // A setting that may change; what it acts on is looked at nowhere but by produces and after them.
    broker.store.set_producer_expiration(broker.live().producer_expiration);
    let check = Check {
        refused: refuse_whole(&request),
        image: broker.store.ledger().image(),
        deadline,
        detach: keeps_too_much(&request, frame_bytes),
        frame_bytes,
    };
    let mut checking = Checking {
        clock: broker.clock.as_ref(),
        checks: &broker.checks,
        version,
        work: Work::of(frame_bytes, DECOMPRESSED_BYTES_MAX, deadline),
        told_left: batch_check::REFUSED_RECORDS_TOLD_MAX,
    };
    let mut outcomes = Vec::new();
    for mut asked in std::mem::take(&mut request.topic_data) {
        let mut partitions = Vec::new();
        for data in std::mem::take(&mut asked.partition_data) {
            partitions.push(enqueue(&broker, (&check, &mut checking), &asked, data).await);
        }
        outcomes.push(TopicOutcome { asked, partitions });
    }
    async move {
        let partitions = outcomes.iter_mut().flat_map(|topic| &mut topic.partitions);
        let partitions: Vec<Partition> = partitions.filter_map(|outcome| outcome.partition.take()).collect();
        let responses = join_all(outcomes.into_iter().map(|topic| confirm_topic(&broker, topic, deadline))).await;
        if acks == 0 {
            return refused_partition(&responses);
        }
        // A client that heeds it sends nothing for so long; one that does not soon meets a broker that does not read on.
        let throttle = partitions.iter().map(Partition::throttle).max().unwrap_or_default();
        let throttle_time_ms = i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX);
        Ok(Some(ProduceResponse { responses, throttle_time_ms, ..ProduceResponse::default() }))
    }
}

/// What the checks of all partitions of one request share.
struct Check {
    /// The request as a whole can't be served.
    refused: Option<Failure>,
    image: Arc<Image>,
    deadline: Micros,
    /// Copy batches out of the frame.
    detach: bool,
    /// What the request holds in memory while it waits.
    frame_bytes: usize,
}

fn refuse_whole(request: &ProduceRequest) -> Option<Failure> {
    if !matches!(request.acks, -1..=1) {
        return Some(Failure::InvalidAcks(request.acks));
    }
    request
        .transactional_id
        .as_ref()
        .map(|_| Failure::InvalidRecord("transactions arrive in a later version".to_owned()))
}

/// A stored batch shares the memory of its request's frame. Where the batches are less than half of the frame, that would keep
/// more alive than the log cache counts.
fn keeps_too_much(request: &ProduceRequest, frame_bytes: usize) -> bool {
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let batches: usize = partitions.filter_map(|data| data.records.as_ref().map(Records::len)).sum();
    batches < frame_bytes / 2
}

async fn enqueue(
    broker: &Shared,
    (check, checking): (&Check, &mut Checking<'_>),
    topic: &TopicProduceData,
    data: PartitionProduceData,
) -> Outcome {
    let index = data.index;
    let appended = Err(Failure::UnknownPartition);
    let mut outcome = Outcome { index, log_start: None, stamped: None, appended, partition: None };
    let checked = match &check.refused {
        Some(refused) => Err(refused.clone()),
        None => check_partition(broker, (check, checking), topic, data).await,
    };
    match checked {
        Ok((partition, batch)) => {
            outcome.log_start = Some(partition.log_start());
            outcome.stamped = batch.stamped();
            let mut partition = partition;
            outcome.appended = append(broker, &mut partition, &batch, check).await;
            // Kafka answers a repeat with the original's time, also where it is the producer's.
            let repeats = outcome.appended.as_ref().ok().and_then(|appended| appended.repeats);
            outcome.stamped = repeats.or(outcome.stamped);
            outcome.partition = Some(partition);
        }
        Err(failure) => outcome.appended = Err(failure),
    }
    outcome
}

async fn check_partition(
    broker: &Shared,
    (check, checking): (&Check, &mut Checking<'_>),
    topic: &TopicProduceData,
    data: PartitionProduceData,
) -> Result<(Partition, CheckedBatch), Failure> {
    let id = TopicId::from(topic.topic_id);
    if checking.version >= TOPIC_ID_VERSION && id == TopicId::default() {
        return Err(Failure::UnknownTopicId);
    }
    let found: &Topic = topics::find(&check.image, &topic.name, id)?;
    if found.internal {
        return Err(Failure::InvalidTopic(format!("only the broker itself writes to '{}'", found.name)));
    }
    let id = topics::stream_of(found, data.index)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    let settings = TopicSettings::of(&found.configs, &broker.live.at(&check.image));
    let records = data.records.unwrap_or_default();
    let batch = batch_check::check(checking, &records, &settings, broker.clock.wall()).await?;
    Ok((partition, if check.detach { batch.detached() } else { batch }))
}

/// Enqueues, waiting until the deadline for room in the WAL, and for the state of the partition's producers, which an idempotent
/// producer's first batch brings into memory.
async fn append(
    broker: &Shared,
    partition: &mut Partition,
    batch: &CheckedBatch,
    check: &Check,
) -> Result<Appended, Failure> {
    let deadline = check.deadline;
    loop {
        // Moved to another log meanwhile, and led by this broker still.
        if partition.is_over()
            && let Some(next) = broker.partitions.owned(partition.id())
        {
            *partition = next;
        }
        match partition.append(batch) {
            Ok(appended) => return Ok(appended),
            Err(error @ (AppendError::Busy | AppendError::TooFarAhead)) => {
                let Some(_wait) = broker.frames.memory.wait_for_log(partition.log_index(), check.frame_bytes) else {
                    return Err(error.into());
                };
                let left = deadline.since(broker.clock.now());
                if broker.clock.timeout(left, partition.room()).await.is_none() {
                    return Err(error.into());
                }
            }
            Err(AppendError::ProducersAway) => {
                let left = deadline.since(broker.clock.now());
                match broker.clock.timeout(left, partition.load_producers()).await {
                    Some(loaded) => loaded?,
                    None => return Err(AppendError::ProducersAway.into()),
                }
            }
            // That a batch is missing here says something only if nobody else leads the partition: a deposed leader that has not
            // noticed would tell a client off for what its successor has.
            Err(error @ AppendError::Sequence(SequenceError::OutOfOrder { .. })) => {
                let left = deadline.since(broker.clock.now());
                return match broker.clock.timeout(left, partition.is_still_owned()).await {
                    None => Err(Failure::TimedOut),
                    Some(Err(trouble)) => Err(trouble.into()),
                    Some(Ok(false)) => Err(Failure::NotLeader),
                    Some(Ok(true)) => Err(error.into()),
                };
            }
            Err(AppendError::NotOwner) if partition.is_over() && broker.partitions.owned(partition.id()).is_some() => {}
            Err(AppendError::TooManyProducers) if partition.has_room_for_a_producer() => {}
            Err(error @ AppendError::Gap { .. }) => {
                tracing::error!("append batch: {error}; this is a bug");
                return Err(error.into());
            }
            Err(
                error @ (AppendError::NotOwner
                | AppendError::TooLarge { .. }
                | AppendError::TooManyProducers
                | AppendError::Sequence(_)),
            ) => return Err(error.into()),
        }
    }
}

async fn confirm_topic(broker: &Shared, topic: TopicOutcome, deadline: Micros) -> TopicProduceResponse {
    let confirmed = topic.partitions.into_iter().map(|outcome| confirm(broker, outcome, deadline));
    TopicProduceResponse {
        name: topic.asked.name,
        topic_id: topic.asked.topic_id,
        partition_responses: join_all(confirmed).await,
    }
}

async fn confirm(broker: &Shared, outcome: Outcome, deadline: Micros) -> PartitionProduceResponse {
    let log_start_offset = kafka_offset(outcome.log_start);
    let confirmed = match outcome.appended {
        Err(failure) => Err(failure),
        Ok(appended) => {
            let left = deadline.since(broker.clock.now());
            let base = appended.base;
            match broker.clock.timeout(left, appended.confirmed()).await {
                Some(true) => Ok(base),
                Some(false) => Err(Failure::Unconfirmed),
                None => Err(Failure::TimedOut),
            }
        }
    };
    match confirmed {
        Ok(base) => PartitionProduceResponse {
            index: outcome.index,
            error_code: ErrorCode::None.number(),
            base_offset: base.to_kafka(),
            // A repeat's original may have no time.
            log_append_time_ms: outcome.stamped.map_or(NONE, |stamp| stamp.0.max(NONE)),
            log_start_offset,
            ..PartitionProduceResponse::default()
        },
        Err(failure) => PartitionProduceResponse {
            index: outcome.index,
            error_code: failure.code().number(),
            base_offset: NONE,
            log_append_time_ms: NONE,
            log_start_offset,
            error_message: Some(failure.to_string()),
            record_errors: refused_records(failure),
            ..PartitionProduceResponse::default()
        },
    }
}

fn refused_records(failure: Failure) -> Vec<BatchIndexAndErrorMessage> {
    let Failure::Records { records, .. } = failure else { return Vec::new() };
    let tell = |(batch_index, why)| BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(why) };
    records.into_iter().map(tell).collect()
}

/// The first refusal, told as a failure: what acks=0 closes the connection with.
fn refused_partition(responses: &[TopicProduceResponse]) -> Result<Option<ProduceResponse>, Failure> {
    let refused = responses.iter().find_map(|topic| {
        let wrong = topic.partition_responses.iter().find(|it| it.error_code != ErrorCode::None.number())?;
        let reason = wrong.error_message.as_deref().unwrap_or_default();
        Some(format!("produce with acks=0 to '{}' partition {}: {reason}", topic.name, wrong.index))
    });
    refused.map_or(Ok(None), |reason| Err(Failure::InvalidRequest(reason)))
}
