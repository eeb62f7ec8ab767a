//! Fetch: read each partition up to the bounds, park while there is too little, answer. Third stop of the fetch walk.
//!
//! Bounds: the answer's total and each partition's share, but the first batch of an answer always comes whole, or a consumer with
//! small bounds would never pass it. The answer waits until it has `min_bytes`, an error, or its time is up. Sessions are not
//! kept: the answer's session id is 0, which tells the client to name its partitions in each request.
//!
//! Memory: record data is shared with the caches, never copied, and counted in the broker's answer memory until it is written. A
//! fetch waits for that memory only while it holds none, so fetches never wait for one another in a circle.

use crate::Shared;
use crate::error::{Failure, kafka_offset};
use crate::memory;
use crate::partition::Partition;
use crate::topics;
use crate::waiter::Waiter;
use base::{Micros, Offset, TopicId};
use control_core::Image;
use protocol::error_code::ErrorCode;
use protocol::messages::fetch_request::{FetchPartition, FetchRequest};
use protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use protocol::wire::Records;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use world::ClockExt;

/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 13;
/// The epoch that ends a session, or says that the client wants none.
const FINAL_EPOCH: i32 = -1;
/// Reads of cold data go on beyond the time that the client wants to wait, but not into its request timeout.
const READ_WAIT_MAX: Duration = Duration::from_secs(20);

/// One partition of the request and what has been read of it.
struct Slot {
    /// Index of its topic in the request.
    topic: usize,
    asked: FetchPartition,
    found: Result<Partition, Failure>,
    records: Records,
    /// The high watermark before the last read: more than that is worth another one.
    seen: Offset,
}

/// The bounds of one fetch and what it has used of them.
struct Progress {
    bytes_min: usize,
    bytes_max: usize,
    bytes: usize,
    read_deadline: Micros,
    memory: Option<OwnedSemaphorePermit>,
}

pub(crate) async fn handle(
    broker: &Shared,
    request: FetchRequest,
    version: i16,
) -> (FetchResponse, Option<OwnedSemaphorePermit>) {
    if request.session_id != 0 && request.session_epoch != FINAL_EPOCH {
        let error_code = Failure::NoSession.code().number();
        return (FetchResponse { error_code, ..FetchResponse::default() }, None);
    }
    let now = broker.clock.now();
    let wait =
        Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(broker.options.fetch_wait_max);
    let mut progress = Progress {
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(broker.options.fetch_bytes_max),
        bytes: 0,
        read_deadline: now.plus(wait.max(READ_WAIT_MAX)),
        memory: None,
    };
    let mut slots = resolve(broker, &request, version);
    for slot in &mut slots {
        read(broker, slot, &mut progress).await;
    }
    park(broker, &mut slots, &mut progress, now.plus(wait)).await;
    if let Some(memory) = &mut progress.memory {
        memory::keep_only(memory, progress.bytes);
    }
    (describe(request, slots), progress.memory)
}

fn resolve(broker: &Shared, request: &FetchRequest, version: i16) -> Vec<Slot> {
    let image = broker.store.ledger().image();
    let mut slots = Vec::new();
    for (index, topic) in request.topics.iter().enumerate() {
        let id = if version >= TOPIC_ID_VERSION { topic.topic_id.into() } else { TopicId::default() };
        for asked in &topic.partitions {
            let known = if version >= TOPIC_ID_VERSION && id == TopicId::default() {
                Err(Failure::UnknownTopicId)
            } else {
                find(broker, &image, &topic.topic, id, asked)
            };
            let seen = Offset::from_kafka(asked.fetch_offset).unwrap_or_default();
            slots.push(Slot { topic: index, asked: asked.clone(), found: known, records: Records::default(), seen });
        }
    }
    slots
}

fn find(broker: &Shared, image: &Image, name: &str, id: TopicId, asked: &FetchPartition) -> Result<Partition, Failure> {
    let topic = topics::find(image, name, id)?;
    let stream = topics::stream_of(topic, asked.partition)?;
    let partition = broker.partitions.owned(stream).ok_or(Failure::NotLeader)?;
    partition.check_leader_epoch(asked.current_leader_epoch)?;
    Ok(partition)
}

/// Reads what one partition has, in place of what was read of it before.
async fn read(broker: &Shared, slot: &mut Slot, progress: &mut Progress) {
    let Ok(partition) = &slot.found else { return };
    progress.bytes -= slot.records.len();
    slot.records = Records::default();
    let left = progress.bytes_max.saturating_sub(progress.bytes);
    let bytes_max = left.min(usize::try_from(slot.asked.partition_max_bytes).unwrap_or(0));
    let is_first = progress.bytes == 0;
    if bytes_max == 0 && !is_first {
        return;
    }
    let Some(from) = Offset::from_kafka(slot.asked.fetch_offset) else {
        slot.found = Err(Failure::OffsetOutOfRange);
        return;
    };
    if partition.is_deleted() {
        slot.found = Err(Failure::NotLeader);
        return;
    }
    slot.seen = partition.high_watermark().max(from);
    if !partition.may_have(from) || !take_memory(broker, progress, bytes_max).await {
        return;
    }
    let wait = progress.read_deadline.since(broker.clock.now());
    match broker.clock.timeout(wait, partition.read(from, bytes_max)).await {
        // Slower than the client waits: it asks again.
        None => {}
        Some(Ok(batches)) if is_first || batches.bytes <= bytes_max => {
            progress.bytes += batches.bytes;
            slot.records = batches.pieces.into_iter().collect();
        }
        // A batch larger than what is left comes first in another answer.
        Some(Ok(_)) => {}
        Some(Err(error)) => slot.found = Err(error.into()),
    }
}

/// Makes sure that the answer may grow by one read of up to `bytes_max`; false where memory is short.
async fn take_memory(broker: &Shared, progress: &mut Progress, bytes_max: usize) -> bool {
    let wanted = progress.bytes + bytes_max.max(broker.options.batch_bytes_max);
    match &mut progress.memory {
        None => {
            let wait = progress.read_deadline.since(broker.clock.now());
            progress.memory = broker.clock.timeout(wait, broker.answer_memory.take(wanted)).await;
            progress.memory.is_some()
        }
        Some(held) => {
            let missing = wanted.saturating_sub(held.num_permits());
            let Some(more) = broker.answer_memory.try_take(missing) else { return false };
            held.merge(more);
            true
        }
    }
}

/// Waits until there is enough, something is wrong, or time is up.
async fn park(broker: &Shared, slots: &mut [Slot], progress: &mut Progress, deadline: Micros) {
    if slots.is_empty() || progress.bytes >= progress.bytes_min {
        return;
    }
    let mut waiter = Waiter::default();
    for (index, slot) in slots.iter().enumerate() {
        watch(&mut waiter, index, slot);
    }
    let mut stopping = broker.stopping.subscribe();
    while progress.bytes < progress.bytes_min && slots.iter().all(|slot| slot.found.is_ok()) {
        let left = deadline.since(broker.clock.now());
        if left.is_zero() {
            return;
        }
        if progress.bytes == 0 {
            // Parked without data: others may use the memory.
            progress.memory = None;
        }
        let woken = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            index = waiter.next() => index,
            () = broker.clock.sleep(left) => return,
        };
        if let Some(slot) = slots.get_mut(woken) {
            read(broker, slot, progress).await;
            watch(&mut waiter, woken, slot);
        }
    }
}

fn watch(waiter: &mut Waiter, index: usize, slot: &Slot) {
    if let Ok(partition) = &slot.found {
        waiter.add(index, partition.watch_high_watermark(), slot.seen);
    }
}

fn describe(request: FetchRequest, slots: Vec<Slot>) -> FetchResponse {
    let mut responses: Vec<FetchableTopicResponse> = request
        .topics
        .into_iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            ..FetchableTopicResponse::default()
        })
        .collect();
    for slot in slots {
        if let Some(topic) = responses.get_mut(slot.topic) {
            topic.partitions.push(describe_partition(slot));
        }
    }
    FetchResponse { responses, ..FetchResponse::default() }
}

fn describe_partition(slot: Slot) -> PartitionData {
    let (code, high_watermark, log_start) = match &slot.found {
        Ok(partition) => {
            // In this order: the start never passes the high watermark, and both move.
            let (log_start, high_watermark) = (partition.log_start(), partition.high_watermark());
            if log_start > high_watermark {
                // Another broker has the partition by now, and has deleted records that this one does not know.
                (ErrorCode::NotLeaderOrFollower, None, None)
            } else {
                (ErrorCode::None, Some(high_watermark), Some(log_start))
            }
        }
        Err(failure) => (failure.code(), None, None),
    };
    PartitionData {
        partition_index: slot.asked.partition,
        error_code: code.number(),
        high_watermark: kafka_offset(high_watermark),
        last_stable_offset: kafka_offset(high_watermark),
        log_start_offset: kafka_offset(log_start),
        preferred_read_replica: -1,
        records: Some(if code == ErrorCode::None { slot.records } else { Records::default() }),
        ..PartitionData::default()
    }
}
