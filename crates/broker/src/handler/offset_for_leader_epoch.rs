//! OffsetForLeaderEpoch (KIP-101, KIP-320): where a leader epoch ends, by which a consumer finds out whether what it has read is still
//! part of the log.

use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use crate::rights::Rights;
use crate::topics;
use base::{Offset, TopicId};
use control_core::Image;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderEpochRequest, OffsetForLeaderPartition};
use protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

/// The epoch that stands for none.
const NO_EPOCH: i32 = -1;

pub(crate) async fn handle(
    broker: &Shared,
    request: OffsetForLeaderEpochRequest,
    rights: &Rights,
) -> OffsetForLeaderEpochResponse {
    let image = broker.store.ledger().image();
    let mut topics = Vec::new();
    let mut steps = Steps::default();
    for topic in request.topics {
        // Brokers may ask about all.
        let is_allowed = match rights.allow_cluster(Operation::ClusterAction) {
            true => Ok(()),
            false => rights.check(Operation::Describe, Resource::Topic, &topic.topic),
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            steps.next().await;
            partitions.push(describe(
                asked.partition,
                is_allowed.clone().and_then(|()| find(broker, &image, &topic.topic, &asked)),
            ));
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

/// The epoch that was found and its end; none where nothing is known of the one asked for.
fn find(
    broker: &Shared,
    image: &Image,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(i32, Offset)>, Failure> {
    let topic = topics::find(image, topic, TopicId::default())?;
    let id = topics::stream_of(topic, asked.partition)?;
    let partition = broker.partitions.owned(id).ok_or(Failure::NotLeader)?;
    partition.check_leader_epoch(asked.current_leader_epoch)?;
    Ok(if asked.leader_epoch == NO_EPOCH { None } else { partition.epoch_end(image, asked.leader_epoch) })
}

fn describe(partition: i32, found: Result<Option<(i32, Offset)>, Failure>) -> EpochEndOffset {
    match found {
        Ok(Some((leader_epoch, end))) => {
            EpochEndOffset { error_code: ErrorCode::None.number(), partition, leader_epoch, end_offset: end.to_kafka() }
        }
        Ok(None) => EpochEndOffset { partition, ..EpochEndOffset::default() },
        Err(failure) => EpochEndOffset { error_code: failure.code().number(), partition, ..EpochEndOffset::default() },
    }
}
