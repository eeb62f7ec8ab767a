//! Fetch: read each partition up to the bounds, park while there is too little, answer. Third stop of the fetch walk.
//!
//! `fetch_session` says which partitions a request means and which of them its answer needs; `read` reads them, and `convert` what clients
//! from before Kafka 0.11 ask for, once there is enough. The answer waits
//! until it has `min_bytes`, an error that reading met, or its time is up. A partition that is not there delays and hastens nothing
//! unless it is all that is asked for, as in Kafka: a client that goes on asking for it must not be answered at once each time.
//!
//! What the request was made of is not kept while it waits, and the memory of its frame is given back: others need it.
//!
//! Who asks for decided records only sees none at or above the last stable offset, and is told what of the rest was aborted (`committed`). That
//! offset rises with the high watermark only, so whoever waits for the one hears of the other.

mod committed;
mod convert;
mod forgotten;
mod read;
mod slot;

pub(crate) use self::committed::last_stable;
pub(crate) use self::convert::is_needed as needs_conversion;
pub(in crate::handler) use self::read::{Bounds, Progress, read_all};
pub(in crate::handler) use self::slot::Slot;

use crate::Shared;
use crate::answer::Held;
use crate::checks::Steps;
use crate::error::{Failure, kafka_offset};
use crate::fetch_session::{Asked, Told, TopicKey};
use crate::memory::{self, Parking};
use crate::partition::Partition;
use crate::quota::Meter;
use crate::rights::Rights;
use crate::topics;
use crate::waiter::Waiter;
use base::{Micros, TopicId};
use control_core::{Image, Topic};
use futures::FutureExt;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData,
};
use protocol::wire::Records;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The isolation level of clients that want to see committed transactions only.
pub(crate) const READ_COMMITTED: i8 = 1;

/// The longest that a fetch waits while it holds the memory of its frame, because parked ones keep all that they may: Kafka's default of
/// `fetch.max.wait.ms`.
const CROWDED_WAIT_MAX: Duration = Duration::from_millis(500);

/// What a partition of an answer has beside its records, about.
const PARTITION_BYTES: usize = 48;

/// What waking by a partition takes, roughly.
const WATCH_BYTES: usize = 256;

/// `held` has the memory of the request's frame: what is kept of it is counted there. `meter` is charged with what the answer brings: where
/// that is more than the client's quotas allow it brings nothing, and as in Kafka nothing is remembered of it.
pub(crate) async fn handle(
    broker: &Shared,
    request: FetchRequest,
    version: i16,
    held: &mut Held,
    (rights, meter): (&Rights, &Meter),
) -> (FetchResponse, Option<OwnedSemaphorePermit>) {
    let now = broker.clock.now();
    let (context, asked) = match broker.sessions.begin(now, &request, version) {
        Ok(begun) => begun,
        Err(failure) => return (refusal(0, &failure), None),
    };
    let mut slots = resolve((broker, rights), asked, context.keeps()).await;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let wait = wait.min(match held.frame.park(&broker.frames.memory, kept_bytes(&request, &slots)) {
        Parking::Free => broker.options.fetch_wait_max,
        Parking::Brief => CROWDED_WAIT_MAX,
        Parking::Never => Duration::ZERO,
    });
    let bounds = Bounds {
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0),
        format: convert::format(version),
        is_committed: request.isolation_level == READ_COMMITTED,
    };
    let mut progress = Progress::new(broker, bounds, now, wait).at_most(meter.fetch_bytes_max());
    let isolation_level = request.isolation_level;
    drop(request);
    let everything: Vec<usize> = (0..slots.len()).collect();
    read_all(broker, &mut slots, &everything, &mut progress).await;
    park(broker, &mut slots, &mut progress, now.plus(wait)).await;
    convert::all(broker, &mut slots, &mut progress).await;
    held.is_detached = !slots.iter().any(Slot::is_shared);
    let mut answers: Vec<(Asked, PartitionData)> =
        slots.into_iter().map(|slot| describe_partition(slot, isolation_level, version)).collect();
    if meter.throttles_fetch(answers.iter().map(|(_, data)| answer_bytes(data)).sum()) {
        return match context.unanswered() {
            Ok(session_id) => (FetchResponse { session_id, ..FetchResponse::default() }, None),
            Err((session_id, failure)) => (refusal(session_id, &failure), None),
        };
    }
    let random = || broker.clock.random();
    let session = context.finish(&broker.sessions, broker.clock.now(), &mut answers, |it| (&it.0, told(&it.1)), random);
    let session_id = match session {
        Ok(session_id) => session_id,
        Err((session_id, failure)) => return (refusal(session_id, &failure), None),
    };
    if let Some(memory) = &mut progress.memory {
        memory::keep_only(memory, progress.bytes);
    }
    (FetchResponse { session_id, responses: by_topic(answers), ..FetchResponse::default() }, progress.memory)
}

/// What counts of a partition for the client's quota: nothing where it is told nothing, about.
fn answer_bytes(data: &PartitionData) -> usize {
    match data.records.as_ref().map_or(0, Records::len) {
        0 if data.error_code == ErrorCode::None.number() => 0,
        records => PARTITION_BYTES + records,
    }
}

/// What a fetch takes while it waits, roughly.
fn kept_bytes(request: &FetchRequest, slots: &[Slot]) -> usize {
    let names: usize = request.topics.iter().map(|topic| topic.topic.len()).sum();
    names + slots.len() * (size_of::<Slot>() + WATCH_BYTES)
}

fn refusal(session_id: i32, failure: &Failure) -> FetchResponse {
    FetchResponse { error_code: failure.code().number(), session_id, ..FetchResponse::default() }
}

async fn resolve((broker, rights): (&Shared, &Rights), asked: Vec<Asked>, keeps_names: bool) -> Vec<Slot> {
    let image = broker.store.ledger().image();
    let mut last_name = None;
    let mut slots = Vec::with_capacity(asked.len());
    let mut steps = Steps::default();
    for mut asked in asked {
        steps.next().await;
        if keeps_names {
            remember_name(&image, &mut asked, &mut last_name);
        }
        let found = find((broker, rights), &image, &asked);
        let found = found.map(|(partition, batch_bytes_max)| (Arc::new(partition), batch_bytes_max));
        slots.push(Slot::new(asked, found));
    }
    slots
}

/// Partitions of one topic stand together and share its name.
fn remember_name(image: &Image, asked: &mut Asked, last: &mut Option<(TopicId, Arc<str>)>) {
    let TopicKey::Id(id) = asked.topic else { return };
    if asked.name.is_some() {
        return;
    }
    asked.name = match last {
        Some((last, name)) if *last == id => Some(name.clone()),
        _ => image.topics.get(&id).map(|topic| topic.name.as_str().into()),
    };
    *last = asked.name.clone().map(|name| (id, name));
}

/// The partition, and the greatest batch by its topic's own settings.
fn find((broker, rights): (&Shared, &Rights), image: &Image, asked: &Asked) -> Result<(Partition, usize), Failure> {
    let topic = match &asked.topic {
        TopicKey::Name(name) => topics::find_allowed(image, (name, TopicId::default()), rights, Operation::Read)?,
        TopicKey::Id(id) => match (image.topics.get(id), &asked.name) {
            (Some(topic), _) => {
                rights.check(Operation::Read, Resource::Topic, &topic.name)?;
                topic
            }
            (None, None) => return Err(Failure::UnknownTopicId),
            // The session knew the topic under this name.
            (None, Some(name)) => {
                rights.check(Operation::Read, Resource::Topic, name)?;
                let heir = image.topic(name).ok_or(Failure::UnknownPartition)?;
                topics::stream_of(heir, asked.partition)?;
                return Err(Failure::InconsistentTopicId);
            }
        },
    };
    let stream = topics::stream_of(topic, asked.partition)?;
    let partition = broker.partitions.owned(stream).ok_or(Failure::NotLeader)?;
    // Any negative epoch stands for none here, as in Kafka, which elsewhere knows -1 only.
    partition.check_leader_epoch(asked.leader_epoch.max(-1))?;
    Ok((partition, batch_bytes_max(topic)))
}

/// The greatest batch by the topic's own settings; 0 where these do not say.
pub(in crate::handler) fn batch_bytes_max(topic: &Topic) -> usize {
    topic.configs.get(topics::BATCH_BYTES_MAX).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Waits until there is enough, reading has met an error, time is up, or there is no memory to read what has come. Meanwhile others have
/// what memory it does not fill; and where that is not enough for one of them, the wait is over: what there is is answered.
///
/// A record is seen some milliseconds after it came, when it is durable. Who would be answered nothing waits for what has come in time:
/// Java's consumer of the newer protocol (4.3) may send no fetch for seconds behind an answer without records.
async fn park(broker: &Shared, slots: &mut [Slot], progress: &mut Progress, mut deadline: Micros) {
    if progress.readable >= progress.bytes_min || slots.iter().all(|slot| slot.is_absent) {
        return;
    }
    let mut waiter = Waiter::default();
    for (index, slot) in slots.iter().enumerate() {
        watch(&mut waiter, index, slot);
    }
    let mut stopping = broker.stopping.subscribe();
    let mut is_late = false;
    while progress.readable < progress.bytes_min && !progress.is_short && !progress.has_news {
        let now = broker.clock.now();
        let left = deadline.since(now);
        if left.is_zero() {
            return;
        }
        let shares = progress.shares(now);
        if shares.is_zero() {
            progress.detach(broker, slots).await;
            continue;
        }
        if progress.bytes == 0 {
            // And with none it may wait for as much as it needs.
            progress.memory = None;
        }
        if let Some(memory) = &mut progress.memory {
            memory::keep_only(memory, progress.bytes);
        }
        let woken = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            index = waiter.next() => index,
            () = broker.clock.sleep(left.min(shares)) => {
                if shares < left {
                    continue;
                }
                if is_late || progress.readable > 0 || !slots.iter().any(Slot::is_arriving) {
                    return;
                }
                is_late = true;
                deadline = deadline.plus(broker.options.fetch_arriving_wait_max);
                continue;
            }
            () = broker.answer_memory.becomes_short(), if progress.memory.is_some() => return,
        };
        let mut all_woken = vec![woken];
        while let Some(index) = waiter.next().now_or_never() {
            all_woken.push(index);
        }
        read_all(broker, slots, &all_woken, progress).await;
        for index in all_woken {
            watch(&mut waiter, index, &slots[index]);
        }
    }
}

fn watch(waiter: &mut Waiter, index: usize, slot: &Slot) {
    if let Ok(partition) = &slot.found {
        waiter.add(index, partition.watch_high_watermark(), slot.seen);
    }
}

fn describe_partition(slot: Slot, isolation_level: i8, version: i16) -> (Asked, PartitionData) {
    let (code, offsets) = match &slot.found {
        Ok(partition) => {
            // In this order: the start never passes the last stable offset, nor this the high watermark, and all move.
            let (log_start, last_stable) = (partition.log_start(), partition.last_stable());
            let last_stable = last_stable.or(slot.stable.map(|stable| stable.max(log_start)));
            let high_watermark = partition.high_watermark();
            if log_start > high_watermark {
                // Another broker has the partition by now, and has deleted records that this one does not know.
                (ErrorCode::NotLeaderOrFollower, None)
            } else {
                (ErrorCode::None, Some((log_start, last_stable, high_watermark)))
            }
        }
        Err(failure) => (failure.code(), None),
    };
    let diverging_epoch = slot
        .diverging
        .map_or_else(EpochEndOffset::default, |(epoch, end)| EpochEndOffset { epoch, end_offset: end.to_kafka() });
    let data = PartitionData {
        partition_index: slot.asked.partition,
        error_code: convert::known_code(code, version).number(),
        high_watermark: kafka_offset(offsets.map(|(_, _, high_watermark)| high_watermark)),
        // Of who reads everything it is told as far as it is known: nothing is loaded for that.
        last_stable_offset: kafka_offset(offsets.and_then(|(_, last_stable, _)| last_stable)),
        log_start_offset: kafka_offset(offsets.map(|(log_start, ..)| log_start)),
        diverging_epoch,
        aborted_transactions: (isolation_level == READ_COMMITTED && code == ErrorCode::None)
            .then(|| slot.aborted.iter().map(aborted).collect()),
        preferred_read_replica: -1,
        records: Some(if code == ErrorCode::None { slot.records } else { Records::default() }),
        ..PartitionData::default()
    };
    (slot.asked, data)
}

fn aborted(transaction: &stream::AbortedTransaction) -> AbortedTransaction {
    AbortedTransaction { producer_id: transaction.producer_id, first_offset: transaction.first.to_kafka() }
}

fn told(data: &PartitionData) -> Told {
    let is_error = data.error_code != ErrorCode::None.number();
    Told {
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
        has_records: data.records.as_ref().is_some_and(|records| !records.is_empty()),
        is_news: is_error || data.diverging_epoch != EpochEndOffset::default(),
        is_error,
    }
}

/// The answers in their order; neighbours of one topic stand together.
fn by_topic(answers: Vec<(Asked, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<(TopicKey, FetchableTopicResponse)> = Vec::new();
    for (asked, data) in answers {
        match topics.last_mut() {
            Some((key, topic)) if *key == asked.topic => topic.partitions.push(data),
            _ => {
                let mut topic = FetchableTopicResponse { partitions: vec![data], ..FetchableTopicResponse::default() };
                match &asked.topic {
                    TopicKey::Name(name) => topic.topic = name.to_string(),
                    TopicKey::Id(id) => topic.topic_id = (*id).into(),
                }
                topics.push((asked.topic, topic));
            }
        }
    }
    topics.into_iter().map(|(_, topic)| topic).collect()
}
