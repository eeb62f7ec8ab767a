//! LeaveGroup: members go, by their own word or an administrator's.

use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use coordinator_core::{Effects, GroupError, Groups, LeavingMember};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};

/// From this version on a request names several members, before that one.
const MANY_MEMBERS_VERSION: i16 = 3;

pub(crate) async fn handle(
    broker: &Shared,
    request: LeaveGroupRequest,
    version: i16,
    rights: &Rights,
) -> LeaveGroupResponse {
    let names_many = version >= MANY_MEMBERS_VERSION;
    let members = if names_many {
        request.members
    } else {
        vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }]
    };
    let left = match rights.check(Operation::Read, Resource::Group, &request.group_id) {
        Ok(()) => leave(broker, request.group_id, &members).await,
        Err(failure) => Err(failure),
    };
    let code = |outcome: &Result<(), GroupError>| match outcome {
        Ok(()) => ErrorCode::None.number(),
        Err(error) => Failure::Group(*error).code().number(),
    };
    match left {
        Err(failure) => LeaveGroupResponse { error_code: failure.code().number(), ..LeaveGroupResponse::default() },
        Ok(left) if !names_many => {
            LeaveGroupResponse { error_code: left.first().map_or(0, code), ..LeaveGroupResponse::default() }
        }
        Ok(left) => {
            let answer = |(member, outcome): (MemberIdentity, Result<(), GroupError>)| MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code: code(&outcome),
            };
            let members = members.into_iter().zip(left).map(answer).collect();
            LeaveGroupResponse { members, ..LeaveGroupResponse::default() }
        }
    }
}

async fn leave(
    broker: &Shared,
    group: String,
    members: &[MemberIdentity],
) -> Result<Vec<Result<(), GroupError>>, Failure> {
    if group.is_empty() {
        return Err(GroupError::InvalidGroupId.into());
    }
    let shard = broker.coordinators.shard(broker, &group).await?;
    let leaving = |member: &MemberIdentity| LeavingMember {
        member_id: member.member_id.clone(),
        instance_id: member.group_instance_id.clone(),
    };
    let members: Vec<LeavingMember> = members.iter().map(leaving).collect();
    let leave = |groups: &mut Groups, now, fx: &mut Effects| {
        with_topics(broker, |topics| groups.leave(now, topics, &group, &members, fx))
    };
    Ok(shard.run(broker, leave).await??)
}
