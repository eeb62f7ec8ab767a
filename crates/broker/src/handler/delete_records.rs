//! DeleteRecords (KIP-107): moves the start of partitions forward, at once and for good.
//!
//! One ledger entry for each partition, however much lies below: nothing is read or written for it. The start may pass what is
//! committed to objects, up to the high watermark; what the WAL still holds below it needs no upload any more.

use crate::Shared;
use crate::checks::in_steps;
use crate::error::Failure;
use crate::rights::Rights;
use crate::topic_settings::TopicSettings;
use crate::topics;
use base::{Offset, TopicId};
use control_core::Image;
use futures::stream::StreamExt;
use protocol::api::Operation;
use protocol::error_code::ErrorCode;
use protocol::messages::delete_records_request::DeleteRecordsRequest;
use protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use world::ClockExt;

/// Partitions of one request that are worked on at the same time: a request may name a million, and most of them need not exist.
/// The ledger puts what waits together into one entry.
const DELETIONS_TOGETHER_MAX: usize = 256;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// The low watermark of a partition whose records were not deleted.
const NONE: i64 = -1;

pub(crate) async fn handle(broker: &Shared, request: DeleteRecordsRequest, rights: &Rights) -> DeleteRecordsResponse {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let until = broker.clock.now().plus(limit);
    let image = &broker.store.ledger().image();
    // Where the request has a topic or a partition twice, its last word counts, as Kafka's does.
    let mut asked: BTreeMap<Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in request.topics {
        let partitions = topic.partitions.into_iter().map(|it| (it.partition_index, it.offset));
        asked.entry(topic.name.into()).or_default().extend(partitions);
    }
    let mut deletions = Vec::new();
    for (name, partitions) in &asked {
        deletions.extend(partitions.iter().map(|(partition, offset)| (name.clone(), *partition, *offset)));
    }
    let results: Vec<DeleteRecordsPartitionResult> = in_steps(deletions)
        .map(async |(name, partition, offset)| {
            let limit = until.since(broker.clock.now());
            let outcome = broker.clock.timeout(limit, delete((broker, rights), image, &name, partition, offset)).await;
            describe(partition, outcome.unwrap_or(Err(Failure::TimedOut)))
        })
        .buffered(DELETIONS_TOGETHER_MAX)
        .collect()
        .await;
    let mut results = results.into_iter();
    let topics = asked
        .into_iter()
        .map(|(name, partitions)| DeleteRecordsTopicResult {
            name: name.as_ref().to_owned(),
            partitions: results.by_ref().take(partitions.len()).collect(),
        })
        .collect();
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

/// Moves the partition's start to `offset` unless it is beyond already. Answers where it is then.
async fn delete(
    (broker, rights): (&Shared, &Rights),
    image: &Image,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Offset, Failure> {
    let topic = topics::find_allowed(image, (topic, TopicId::default()), rights, Operation::Delete)?;
    if topic.internal {
        return Err(Failure::InvalidTopic(format!("only the broker itself deletes records of '{}'", topic.name)));
    }
    let id = topics::stream_of(topic, partition)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    // As in Kafka; where neither policy is set, nothing depends on what is there.
    let cleanup = TopicSettings::cleanup(&topic.configs, &broker.live.at(image));
    if cleanup.compact && !cleanup.delete {
        return Err(Failure::DeletionByPolicy);
    }
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
