//! DescribeGroups: a group's state and its members. A group is described once, however often it is named.

use crate::Shared;
use crate::authorized;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::requests;
use coordinator_core::{Description, GroupError, MemberDescription};
use protocol::api::Resource;
use protocol::error_code::ErrorCode;
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::describe_groups_response::{DescribeGroupsResponse, DescribedGroup, DescribedGroupMember};
use tokio::sync::OwnedSemaphorePermit;

/// From this version on a group that does not exist is an error; before, it is dead.
const NOT_FOUND_VERSION: i16 = 6;

/// The state of a group that does not exist.
const DEAD: &str = "Dead";

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeGroupsRequest,
    version: i16,
) -> (DescribeGroupsResponse, Option<OwnedSemaphorePermit>) {
    let operations = authorized::field(request.include_authorized_operations, Resource::Group);
    let ids = requests::once(request.groups, String::clone);
    let sizes = ids.iter().filter_map(|id| broker.coordinators.look(broker, id, |groups| groups.described_bytes(id)));
    let memory = broker.answer_memory.take_ahead(COPIES * sizes.sum::<usize>()).await;
    let mut left = broker.answer_memory.total();
    let mut groups = Vec::new();
    for id in ids {
        let described = if left == 0 { Err(Failure::too_much_for_one_answer()) } else { describe(broker, &id).await };
        let described = match described {
            Ok(description) => {
                left = left.saturating_sub(COPIES * description.bytes());
                describe_group(id, description)
            }
            Err(Failure::Group(GroupError::NotFound)) if version < NOT_FOUND_VERSION => {
                DescribedGroup { group_id: id, group_state: DEAD.to_owned(), ..DescribedGroup::default() }
            }
            Err(failure) => {
                let is_absent = matches!(failure, Failure::Group(GroupError::NotFound));
                // Kafka's words, which tools show as they are.
                let message = if is_absent { format!("Group {id} not found.") } else { failure.to_string() };
                DescribedGroup {
                    error_code: failure.code().number(),
                    error_message: Some(message),
                    group_id: id,
                    group_state: if is_absent { DEAD.to_owned() } else { String::new() },
                    ..DescribedGroup::default()
                }
            }
        };
        groups.push(DescribedGroup { authorized_operations: operations, ..described });
    }
    (DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }, memory)
}

async fn describe(broker: &Shared, group: &str) -> Result<Description, Failure> {
    let shard = broker.coordinators.shard(broker, group).await?;
    Ok(shard.read(broker, |groups| groups.describe(group)).await??)
}

fn describe_group(group_id: String, description: Description) -> DescribedGroup {
    let member = |it: MemberDescription| DescribedGroupMember {
        member_id: it.member_id,
        group_instance_id: it.instance_id,
        client_id: it.client_id,
        client_host: it.client_host,
        member_metadata: it.metadata,
        member_assignment: it.assignment,
    };
    DescribedGroup {
        error_code: ErrorCode::None.number(),
        error_message: None,
        group_id,
        group_state: description.state.name().to_owned(),
        protocol_type: description.protocol_type,
        protocol_data: description.protocol,
        members: description.members.into_iter().map(member).collect(),
        authorized_operations: authorized::NOT_ASKED_FOR,
    }
}
