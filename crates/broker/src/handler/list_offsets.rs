//! ListOffsets: where a partition begins and ends, which record has the greatest timestamp, and the first at or after a time.
//!
//! By time: the stream finds the first batch that holds a timestamp of at least the target; the record is found within it, since
//! timestamps may be out of order there as well.
//!
//! For clients that read decided records only, a partition ends at its last stable offset.
//!
//! Version 0, of Kafka's first consumers, asks for something else: several offsets to begin at, each of which has only older records before it.
//! Kafka told the end and where its segments begin. There are none here: the end, the first record of that time or later, and the start serve.

use crate::Shared;
use crate::checks::{Steps, Work};
use crate::error::Failure;
use crate::handler::fetch::{self, READ_COMMITTED};
use crate::partition::Partition;
use crate::requests;
use crate::rights::Rights;
use crate::time_index;
use crate::topics;
use base::{Offset, TopicId, UnixMillis};
use control_core::{Image, StreamRecord};
use protocol::api::Operation;
use protocol::error_code::ErrorCode;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use std::time::Duration;

/// Kafka's timestamps with a meaning of their own.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on the broker's own disk. Nothing is there only, so it is where the log begins.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in remote storage: everything is, or is on its way; the end of what is committed there.
const LATEST_TIERED: i64 = -5;
/// The first offset that remote storage does not hold yet.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// From this version on answers carry a leader epoch.
const LEADER_EPOCH_VERSION: i16 = 4;

/// From which version on each special timestamp has its meaning.
const SPECIAL_FROM_VERSION: [(i64, i16); 6] = [
    (LATEST, 0),
    (EARLIEST, 0),
    (MAX_TIMESTAMP, 7),
    (EARLIEST_LOCAL, 8),
    (LATEST_TIERED, 9),
    (EARLIEST_PENDING_UPLOAD, 11),
];

/// The longest that a search by time waits for its turn with what takes long to decompress.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(30);

/// The field that stands for "no offset" and "no timestamp".
const NONE: i64 = -1;

/// An offset that was asked for, and the timestamp of its record where it was found by one.
struct Found {
    /// Those of version 0.
    offsets: Vec<i64>,
    offset: Option<Offset>,
    timestamp: Option<UnixMillis>,
    leader_epoch: i32,
}

pub(crate) async fn handle(
    broker: &Shared,
    request: ListOffsetsRequest,
    version: i16,
    rights: &Rights,
) -> ListOffsetsResponse {
    let image = broker.store.ledger().image();
    let named = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index)));
    let doubled = requests::doubled(named);
    // What is stored was checked when it came, so its sum has no bound here.
    let mut work = Work::of(0, usize::MAX, broker.clock.now().plus(SEARCH_WAIT_MAX));
    let mut topics = Vec::new();
    let mut steps = Steps::default();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            steps.next().await;
            let found = if doubled.contains(&(topic.name.as_str(), asked.partition_index)) {
                Err(Failure::InvalidRequest("the request names this partition more than once".to_owned()))
            } else {
                find((broker, rights), &mut work, &image, &topic.name, (asked, request.isolation_level, version)).await
            };
            partitions.push(describe(asked.partition_index, found, version));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
    }
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

/// A negative timestamp is a question of its own, which older versions don't have.
fn check_special(timestamp: i64, version: i16) -> Result<(), Failure> {
    let known = SPECIAL_FROM_VERSION.iter().any(|(special, first)| *special == timestamp && version >= *first);
    if timestamp >= 0 || known {
        return Ok(());
    }
    Err(Failure::UnsupportedVersion(format!("timestamp {timestamp} has no meaning in version {version}")))
}

async fn find(
    (broker, rights): (&Shared, &Rights),
    work: &mut Work,
    image: &Image,
    topic: &str,
    (asked, isolation_level, version): (&ListOffsetsPartition, i8, i16),
) -> Result<Found, Failure> {
    check_special(asked.timestamp, version)?;
    let topic = topics::find_allowed(image, (topic, TopicId::default()), rights, Operation::Describe)?;
    let id = topics::stream_of(topic, asked.partition_index)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    partition.check_leader_epoch(asked.current_leader_epoch)?;
    if version == 0 {
        return before(broker, work, &partition, asked).await;
    }
    let end = match isolation_level {
        READ_COMMITTED => fetch::last_stable(broker, &partition, work.deadline()).await?,
        _ => partition.high_watermark(),
    };
    let stream = image.streams.get(&id);
    let at = |offset: Option<Offset>| Found {
        offsets: Vec::new(),
        offset,
        timestamp: None,
        leader_epoch: offset.map_or(-1, |offset| epoch_at(&partition, stream.map(AsRef::as_ref), offset)),
    };
    let committed = || stream.map_or(partition.log_start(), |stream| stream.committed().max(partition.log_start()));
    match asked.timestamp {
        LATEST => Ok(at(Some(end))),
        EARLIEST | EARLIEST_LOCAL => Ok(at(Some(partition.log_start()))),
        LATEST_TIERED => {
            let last = committed().0.checked_sub(1).map(Offset).filter(|last| *last >= partition.log_start());
            Ok(at(last))
        }
        EARLIEST_PENDING_UPLOAD => Ok(at(Some(committed()))),
        MAX_TIMESTAMP => by_time(time_index::greatest(broker, work, &partition).await?, end, at),
        target => by_time(time_index::first_from(broker, work, &partition, UnixMillis(target)).await?, end, at),
    }
}

/// The answer to version 0: the newest first.
async fn before(
    broker: &Shared,
    work: &mut Work,
    partition: &Partition,
    asked: &ListOffsetsPartition,
) -> Result<Found, Failure> {
    let (start, end) = (partition.log_start(), partition.high_watermark());
    let newest = match asked.timestamp {
        LATEST => Some(end),
        EARLIEST => Some(start),
        target => match time_index::first_from(broker, work, partition, UnixMillis(target)).await? {
            None => Some(end),
            Some((offset, _)) => Some(offset).filter(|offset| *offset > start),
        },
    };
    let oldest = newest.filter(|newest| *newest > start).map(|_| start);
    let offsets = newest.into_iter().chain(oldest).map(Offset::to_kafka);
    let offsets = offsets.take(usize::try_from(asked.max_num_offsets).unwrap_or(0)).collect();
    Ok(Found { offsets, offset: None, timestamp: None, leader_epoch: -1 })
}

/// A record at or above `end`, which the client could not fetch yet, is not told, as in Kafka.
#[expect(clippy::unnecessary_wraps, reason = "an arm among others that can fail")]
fn by_time(
    record: Option<(Offset, UnixMillis)>,
    end: Offset,
    at: impl Fn(Option<Offset>) -> Found,
) -> Result<Found, Failure> {
    let record = record.filter(|(offset, _)| *offset < end);
    let found = at(record.map(|(offset, _)| offset));
    Ok(Found { timestamp: record.map(|(_, timestamp)| timestamp), ..found })
}

/// The leader epoch that the record at `offset` was written in, or would be.
fn epoch_at(partition: &Partition, stream: Option<&StreamRecord>, offset: Offset) -> i32 {
    let Some(stream) = stream else { return partition.leader_epoch() };
    if stream.owner().is_some_and(|tenure| offset >= tenure.start) {
        return partition.leader_epoch();
    }
    let known = stream.epochs.iter().rev().find(|(_, first)| *first <= offset);
    known.map_or(partition.leader_epoch(), |(epoch, _)| epoch.0)
}

fn describe(partition_index: i32, found: Result<Found, Failure>, version: i16) -> ListOffsetsPartitionResponse {
    let mut answer = ListOffsetsPartitionResponse {
        partition_index,
        error_code: ErrorCode::None.number(),
        timestamp: NONE,
        offset: NONE,
        leader_epoch: -1,
        ..ListOffsetsPartitionResponse::default()
    };
    match found {
        Ok(found) if version == 0 => answer.old_style_offsets = found.offsets,
        Ok(found) => {
            answer.offset = found.offset.map_or(NONE, Offset::to_kafka);
            answer.timestamp = found.timestamp.map_or(NONE, |timestamp| timestamp.0);
            answer.leader_epoch = if version >= LEADER_EPOCH_VERSION { found.leader_epoch } else { -1 };
        }
        Err(failure) => answer.error_code = failure.code().number(),
    }
    answer
}
