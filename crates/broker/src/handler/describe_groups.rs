//! DescribeGroups: a group's state and its members. A group is described once, however often it is named.

use crate::Shared;
use crate::answer_bounds::{self, Left, Reasons};
use crate::authorized;
use crate::checks::{Steps, in_steps};
use crate::coordinator::GROUPS_MAX;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::requests;
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
) -> (DescribeGroupsResponse, Option<OwnedSemaphorePermit>) {
    let operations = authorized::field(request.include_authorized_operations, Resource::Group);
    let ids = requests::once_each(request.groups).await;
    let (mut bytes, mut steps) = (ids.len() * size_of::<DescribedGroup>(), Steps::default());
    for id in ids.iter().take(GROUPS_MAX) {
        let of_group = broker.coordinators.look(broker, id, |groups| groups.described_bytes(id));
        bytes += COPIES * of_group.unwrap_or(0);
        steps.next().await;
    }
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let left = Left::new(broker.answer_memory.total());
    let describe = |groups: &Groups, place: usize| -> Result<Description, Failure> {
        left.check()?;
        let description = groups.describe(&ids[place])?;
        left.spend(COPIES * description.bytes());
        Ok(description)
    };
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let described = broker.coordinators.read_each(broker, &names, describe).await;
    let mut reasons = Reasons::default();
    let groups = in_steps(ids.into_iter().zip(answer_bounds::rest_too_much(described))).map(|(id, described)| {
        let described = match described.and_then(|described| described) {
            Ok(description) => describe_group(id, description),
            Err(Failure::Group(GroupError::NotFound | GroupError::NotClassic)) if version < NOT_FOUND_VERSION => {
                DescribedGroup { group_id: id, group_state: DEAD.to_owned(), ..DescribedGroup::default() }
            }
            Err(failure) => refuse(id, &failure, &mut reasons),
        };
        DescribedGroup { authorized_operations: operations, ..described }
    });
    (DescribeGroupsResponse { groups: groups.collect().await, ..DescribeGroupsResponse::default() }, memory)
}

fn refuse(group_id: String, failure: &Failure, reasons: &mut Reasons) -> DescribedGroup {
    let is_absent = matches!(failure, Failure::Group(GroupError::NotFound | GroupError::NotClassic));
    let reason = reasons.tell(failure);
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
