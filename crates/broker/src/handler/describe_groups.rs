//! DescribeGroups: a group's state and its members. A group is described once, however often it is named.

use super::described::described;
use crate::Shared;
use crate::answer_bounds::Reasons;
use crate::authorized;
use crate::checks::in_steps;
use crate::error::Failure;
use crate::rights::Rights;
use coordinator_core::{Description, GroupError, Groups, MemberDescription};
use futures::stream::StreamExt;
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
    rights: &Rights,
) -> (DescribeGroupsResponse, Option<OwnedSemaphorePermit>) {
    let describe = |groups: &Groups, id: &str| {
        let description = groups.describe(id)?;
        let bytes = description.bytes();
        Ok((description, bytes))
    };
    let named = (request.groups, size_of::<DescribedGroup>());
    let (described, memory) = described((broker, rights), named, Groups::described_bytes, None, describe).await;
    let mut reasons = Reasons::default();
    let groups = in_steps(described).map(|(id, described)| {
        let described = match described {
            Ok(description) => describe_group(id, description),
            Err(Failure::Group(GroupError::NotFound | GroupError::NotClassic)) if version < NOT_FOUND_VERSION => {
                DescribedGroup { group_id: id, group_state: DEAD.to_owned(), ..DescribedGroup::default() }
            }
            Err(failure) => refuse(id, &failure, &mut reasons),
        };
        // Nothing is said of one that can't be described.
        let tells = request.include_authorized_operations && described.error_code == 0;
        let operations = authorized::field(tells, rights, Resource::Group, &described.group_id);
        DescribedGroup { authorized_operations: operations, ..described }
    });
    (DescribeGroupsResponse { groups: groups.collect().await, ..DescribeGroupsResponse::default() }, memory)
}

fn refuse(group_id: String, failure: &Failure, reasons: &mut Reasons) -> DescribedGroup {
    let is_absent = matches!(failure, Failure::Group(GroupError::NotFound | GroupError::NotClassic));
    let reason = reasons.tell_unless_denied(failure);
    // Kafka's words, which tools show as they are.
    let error_message = reason.map(|reason| match failure {
        Failure::Group(GroupError::NotFound) => format!("Group {group_id} not found."),
        Failure::Group(GroupError::NotClassic) => format!("Group {group_id} is not a classic group."),
        _ => reason,
    });
    DescribedGroup {
        error_code: failure.code().number(),
        error_message,
        group_id,
        group_state: if is_absent { DEAD.to_owned() } else { String::new() },
        authorized_operations: authorized::NOT_ASKED_FOR,
        ..DescribedGroup::default()
    }
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
