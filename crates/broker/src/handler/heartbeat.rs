//! Heartbeat: a member is there, and learns whether its generation still stands.

use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use coordinator_core::{Effects, GroupError, Groups, Membership};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::heartbeat_response::HeartbeatResponse;

pub(crate) async fn handle(broker: &Shared, request: HeartbeatRequest, rights: &Rights) -> HeartbeatResponse {
    let error_code = match beat(broker, request, rights).await {
        // Nobody is taken for gone while the group is loaded, as in Kafka.
        Ok(()) | Err(Failure::CoordinatorLoading) => ErrorCode::None,
        Err(failure) => failure.code(),
    };
    HeartbeatResponse { error_code: error_code.number(), ..HeartbeatResponse::default() }
}

async fn beat(broker: &Shared, request: HeartbeatRequest, rights: &Rights) -> Result<(), Failure> {
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    if request.group_id.is_empty() {
        return Err(GroupError::InvalidGroupId.into());
    }
    let shard = broker.coordinators.shard(broker, &request.group_id).await?;
    let member = Membership {
        group: request.group_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id,
    };
    let beat = |groups: &mut Groups, now, fx: &mut Effects| {
        with_topics(broker, |topics| groups.heartbeat(now, topics, &member, fx))
    };
    Ok(shard.note(broker, beat).await??)
}
