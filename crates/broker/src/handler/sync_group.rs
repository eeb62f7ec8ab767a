//! SyncGroup: members ask what is theirs, the leader brings it for all; answered when the assignment is durable.

use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::memory::FrameMemory;
use crate::rights::Rights;
use coordinator_core::{Answer, Effects, GroupError, Groups, Membership, SyncAnswer, SyncRequest};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::sync_group_request::SyncGroupRequest;
use protocol::messages::sync_group_response::SyncGroupResponse;

/// From this version on a request must say what it believes the group's protocol to be.
const PROTOCOL_VERSION: i16 = 5;

/// `memory` is that of the request's frame. It is held until the group has copied what it keeps, and not while the leader is waited for.
pub(crate) async fn handle(
    broker: &Shared,
    request: SyncGroupRequest,
    version: i16,
    (memory, rights): (FrameMemory, &Rights),
) -> SyncGroupResponse {
    match sync(broker, request, version, (memory, rights)).await {
        Ok(answer) => SyncGroupResponse {
            error_code: ErrorCode::None.number(),
            protocol_type: answer.protocol_type,
            protocol_name: answer.protocol,
            assignment: answer.assignment,
            ..SyncGroupResponse::default()
        },
        Err(failure) => SyncGroupResponse { error_code: failure.code().number(), ..SyncGroupResponse::default() },
    }
}

async fn sync(
    broker: &Shared,
    request: SyncGroupRequest,
    version: i16,
    (memory, rights): (FrameMemory, &Rights),
) -> Result<SyncAnswer, Failure> {
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    if request.group_id.is_empty() {
        return Err(GroupError::InvalidGroupId.into());
    }
    if version >= PROTOCOL_VERSION && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(GroupError::InconsistentProtocol.into());
    }
    let shard = broker.coordinators.shard(broker, &request.group_id).await?;
    let request = SyncRequest {
        member: Membership {
            group: request.group_id,
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: request.assignments.into_iter().map(|it| (it.member_id, it.assignment)).collect(),
    };
    let decide = move |groups: &mut Groups, now, ticket, fx: &mut Effects| {
        with_topics(broker, |topics| groups.sync(now, topics, ticket, &request, fx));
        drop((request, memory));
    };
    let answer = shard.ask(broker, decide).await?;
    match answer {
        Answer::Sync(answer) => Ok(answer?),
        Answer::Join(answer) => Err(Failure::Unexpected(format!("a sync was answered by {answer:?}"))),
    }
}
