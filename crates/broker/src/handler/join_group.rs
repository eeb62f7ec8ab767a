//! JoinGroup: a member comes into its group, or back; answered when the next generation begins.

use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::memory::FrameMemory;
use crate::rights::Rights;
use coordinator_core::{Answer, Effects, GroupError, Groups, JoinAnswer, JoinRequest, Protocol};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::join_group_request::JoinGroupRequest;
use protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};

/// From this version on the request has a rebalance timeout; before, it is the session's.
const REBALANCE_TIMEOUT_VERSION: i16 = 1;
/// From this version on a new member is given its id first.
const TWO_STEPS_VERSION: i16 = 4;
/// From this version on the protocol's name may be null.
const NULL_PROTOCOL_VERSION: i16 = 7;
/// From this version on a leader can be told not to assign.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// `memory` is that of the request's frame. It is held until the group has copied what it keeps, and not while others are waited for.
pub(crate) async fn handle(
    broker: &Shared,
    request: JoinGroupRequest,
    version: i16,
    client: (Option<String>, &Rights),
    memory: FrameMemory,
) -> JoinGroupResponse {
    let is_allowed = client.1.allow(Operation::Read, Resource::Group, &request.group_id);
    let member_id = if is_allowed { request.member_id.clone() } else { String::new() };
    let answer = join(broker, request, version, client, memory).await;
    let (error_code, answer) = match answer {
        Ok(answer) => (answer.error.map_or(ErrorCode::None, |error| Failure::Group(error).code()), answer),
        Err(failure) => (failure.code(), JoinAnswer { generation: -1, member_id, ..JoinAnswer::default() }),
    };
    let members = answer.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        metadata: member.metadata,
    });
    JoinGroupResponse {
        error_code: error_code.number(),
        generation_id: answer.generation,
        protocol_type: answer.protocol_type,
        protocol_name: answer.protocol.or_else(|| (version < NULL_PROTOCOL_VERSION).then(String::new)),
        leader: answer.leader,
        skip_assignment: answer.skip_assignment,
        member_id: answer.member_id,
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}

async fn join(
    broker: &Shared,
    request: JoinGroupRequest,
    version: i16,
    (client_id, rights): (Option<String>, &Rights),
    memory: FrameMemory,
) -> Result<JoinAnswer, Failure> {
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    if request.group_id.is_empty() {
        return Err(GroupError::InvalidGroupId.into());
    }
    let shard = broker.coordinators.shard(broker, &request.group_id).await?;
    let rebalance_timeout_ms =
        if version >= REBALANCE_TIMEOUT_VERSION { request.rebalance_timeout_ms } else { request.session_timeout_ms };
    let protocols = request.protocols.into_iter().map(|it| Protocol { name: it.name, metadata: it.metadata });
    let request = JoinRequest {
        group: request.group_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        client_id: client_id.unwrap_or_default(),
        client_host: format!("/{}", rights.caller.peer.address.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: protocols.collect(),
        joins_in_two_steps: version >= TWO_STEPS_VERSION,
        may_skip_assignment: version >= SKIP_ASSIGNMENT_VERSION,
        unique: unique(broker),
    };
    let decide = move |groups: &mut Groups, now, ticket, fx: &mut Effects| {
        with_topics(broker, |topics| groups.join(now, topics, ticket, &request, fx));
        drop((request, memory));
    };
    let answer = shard.ask(broker, decide).await?;
    match answer {
        Answer::Join(answer) => Ok(answer),
        Answer::Sync(answer) => Err(Failure::Unexpected(format!("a join was answered by {answer:?}"))),
    }
}

/// A UUID's usual text.
fn unique(broker: &Shared) -> String {
    let id = crate::uuid::random(|| broker.clock.random()).0;
    let hex = format!("{id:032x}");
    let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    groups.join("-")
}
