//! OffsetCommit: how far a group has come; answered when that is durable.

use super::offset_outcomes::OffsetOutcomes;
use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use crate::rights::Rights;
use crate::topics;
use base::{TopicId, UnixMillis};
use control_core::Image;
use coordinator_core::{CommitRequest, Committed, GroupError, Membership, NewOffset};
use protocol::api::{Operation, Resource};
use protocol::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition};
use protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

/// Before this version a group that does not exist is told as a wrong generation.
const NOT_FOUND_VERSION: i16 = 9;

/// From this version on topics are named by their ids alone (KIP-848).
const TOPIC_ID_VERSION: i16 = 10;

/// The value of times that the client leaves to the broker.
const UNSET: i64 = -1;

pub(crate) async fn handle(
    broker: &Shared,
    request: OffsetCommitRequest,
    version: i16,
    rights: &Rights,
) -> OffsetCommitResponse {
    let image = broker.store.ledger().image();
    let now = broker.clock.wall();
    let expires_at =
        (request.retention_time_ms != UNSET).then(|| UnixMillis(now.0.saturating_add(request.retention_time_ms)));
    let mut outcomes = OffsetOutcomes::default();
    let of_group = rights.check(Operation::Read, Resource::Group, &request.group_id);
    let mut steps = Steps::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            steps.next().await;
            let named = (topic.name.as_str(), topic.topic_id.into(), version >= TOPIC_ID_VERSION);
            let found = of_group.clone().and_then(|()| known(&image, named, partition.partition_index, rights));
            outcomes.add(found.map(|(name, id)| new_offset(name, id, partition, now, expires_at)));
        }
    }
    let member = Membership {
        group: request.group_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
    };
    let offsets = std::mem::take(&mut outcomes.offsets);
    let committed = if offsets.is_empty() { Ok(Vec::new()) } else { commit(broker, member, offsets, version).await };
    let mut codes = outcomes.codes(committed, Failure::code);
    let mut answer = |partition: OffsetCommitRequestPartition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: codes.next().unwrap_or_default(),
    };
    let topics = request.topics.into_iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(&mut answer).collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

/// Name and id of the topic, where it has that partition.
pub(super) fn known(
    image: &Image,
    (name, id, by_id): (&str, TopicId, bool),
    partition_index: i32,
    rights: &Rights,
) -> Result<(String, TopicId), Failure> {
    if name.is_empty() && id == TopicId::default() {
        return Err(if by_id { Failure::UnknownTopicId } else { Failure::UnknownPartition });
    }
    let found = topics::find_allowed(image, (name, id), rights, Operation::Read)?;
    topics::stream_of(found, partition_index)?;
    Ok((found.name.clone(), found.id))
}

fn new_offset(
    topic: String,
    id: TopicId,
    asked: &OffsetCommitRequestPartition,
    now: UnixMillis,
    expires_at: Option<UnixMillis>,
) -> NewOffset {
    let committed = Committed {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.clone().unwrap_or_default(),
        committed_at: if asked.commit_timestamp == UNSET { now } else { UnixMillis(asked.commit_timestamp) },
        expires_at,
        topic: id,
    };
    NewOffset { topic, partition: asked.partition_index, committed }
}

async fn commit(
    broker: &Shared,
    member: Membership,
    offsets: Vec<NewOffset>,
    version: i16,
) -> Result<Vec<Result<(), GroupError>>, Failure> {
    let shard = broker.coordinators.shard(broker, &member.group).await?;
    let request = CommitRequest { member, offsets, knows_member_epochs: version >= NOT_FOUND_VERSION };
    match shard.run(broker, move |groups, now, fx| groups.commit(now, request, fx)).await? {
        Err(GroupError::NotFound) if version < NOT_FOUND_VERSION => Err(GroupError::IllegalGeneration.into()),
        outcome => Ok(outcome?),
    }
}
