//! OffsetDelete: forgets how far a group has come in partitions that none of its members consumes.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::topics;
use base::TopicId;
use coordinator_core::{Effects, GroupError, Groups, offsets_together};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::offset_delete_request::OffsetDeleteRequest;
use protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use std::ops::ControlFlow;

pub(crate) async fn handle(broker: &Shared, request: OffsetDeleteRequest, rights: &Rights) -> OffsetDeleteResponse {
    let image = broker.store.ledger().image();
    let exists = |topic: &str, partition| {
        let topic = topics::find_allowed(&image, (topic, TopicId::default()), rights, Operation::Read)?;
        topics::stream_of(topic, partition).map(drop)
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let known = topic.partitions.iter().filter(|it| exists(&topic.name, it.partition_index).is_ok());
        wanted.extend(known.map(|it| (topic.name.clone(), it.partition_index)));
    }
    let deleted = match rights.check(Operation::Delete, Resource::Group, &request.group_id) {
        Ok(()) => delete(broker, request.group_id, wanted).await,
        Err(failure) => Err(failure),
    };
    let deleted = match deleted {
        Ok(deleted) => deleted,
        Err(failure) => {
            return OffsetDeleteResponse { error_code: failure.code().number(), ..OffsetDeleteResponse::default() };
        }
    };
    let mut deleted = deleted.into_iter();
    let mut answer = |topic: &str, partition_index| {
        let code = match exists(topic, partition_index) {
            Err(failure) => failure.code(),
            Ok(()) => match deleted.next() {
                Some(Err(error)) => Failure::Group(error).code(),
                Some(Ok(())) | None => ErrorCode::None,
            },
        };
        OffsetDeleteResponsePartition { partition_index, error_code: code.number() }
    };
    let mut topics = Vec::new();
    for topic in request.topics {
        let partitions = topic.partitions.iter().map(|it| answer(&topic.name, it.partition_index)).collect();
        topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }
}

async fn delete(
    broker: &Shared,
    group: String,
    offsets: Vec<(String, i32)>,
) -> Result<Vec<Result<(), GroupError>>, Failure> {
    if group.is_empty() {
        return Err(GroupError::InvalidGroupId.into());
    }
    let shard = broker.coordinators.shard(broker, &group).await?;
    // Each record has the group's name, which may be long: not all are made at once. Where the group has come to refuse meanwhile, some are gone.
    let mut pieces = offsets.chunks(offsets_together(&group));
    let mut outcomes = Vec::with_capacity(offsets.len());
    let decide = |groups: &mut Groups, _, fx: &mut Effects| {
        let piece = pieces.next().unwrap_or_default();
        match groups.delete_offsets(&group, piece, fx) {
            Ok(deleted) => outcomes.extend(deleted),
            Err(error) => return ControlFlow::Break(Err(error)),
        }
        if outcomes.len() < offsets.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(Ok(())) }
    };
    shard.run_in_pieces(broker, decide).await??;
    Ok(outcomes)
}
