//! DeleteRecords (KIP-107): moves the start of partitions forward, at once and for good.
//!
//! One ledger entry for each partition, however much lies below: nothing is read or written for it. The start may pass what is
//! committed to objects, up to the high watermark; what the WAL still holds below it needs no upload any more.

use crate::Shared;
use crate::error::Failure;
use crate::topics;
use base::{Offset, TopicId};
use control_core::Image;
use futures::future::join_all;
use protocol::error_code::ErrorCode;
use protocol::messages::delete_records_request::DeleteRecordsRequest;
use protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use std::collections::BTreeMap;
use std::time::Duration;
use world::ClockExt;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// The low watermark of a partition whose records were not deleted.
const NONE: i64 = -1;

pub(crate) async fn handle(broker: &Shared, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let image = broker.store.ledger().image();
    // Where the request has a topic or a partition twice, its last word counts, as Kafka's does.
    let mut asked: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in request.topics {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition_index, it.offset));
        asked.entry(topic.name).or_default().extend(partitions);
    }
    let topics = asked.into_iter().map(async |(name, partitions)| {
        let results = partitions.into_iter().map(async |(partition, offset)| {
            let outcome = match broker.clock.timeout(limit, delete(broker, &image, &name, partition, offset)).await {
                Some(outcome) => outcome,
                None => Err(Failure::TimedOut),
            };
            describe(partition, outcome)
        });
        let partitions = join_all(results).await;
        DeleteRecordsTopicResult { name: name.clone(), partitions }
    });
    let topics = join_all(topics).await;
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

/// Moves the partition's start to `offset` unless it is beyond already. Answers where it is then.
async fn delete(broker: &Shared, image: &Image, topic: &str, partition: i32, offset: i64) -> Result<Offset, Failure> {
    let topic = topics::find(image, topic, TopicId::default())?;
    let id = topics::stream_of(topic, partition)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    let start = match offset {
        HIGH_WATERMARK => partition.high_watermark(),
        offset => Offset::from_kafka(offset).ok_or(Failure::OffsetOutOfRange)?,
    };
    partition.delete_before(start).await?;
    Ok(partition.log_start().max(start))
}

fn describe(partition_index: i32, outcome: Result<Offset, Failure>) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match outcome {
        Ok(start) => (start.to_kafka(), ErrorCode::None.number()),
        Err(failure) => (NONE, failure.code().number()),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code }
}
