//! ListGroups: the groups that this broker answers for.

use crate::Shared;
use crate::error::Failure;
use coordinator_core::GroupSummary;
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};

/// The only type of group that is served.
const CLASSIC: &str = "classic";

pub(crate) async fn handle(broker: &Shared, request: ListGroupsRequest) -> ListGroupsResponse {
    let allows =
        |filter: &[String], it: &str| filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(it));
    let groups = match list(broker).await {
        Ok(groups) => groups,
        Err(failure) => {
            return ListGroupsResponse { error_code: failure.code().number(), ..ListGroupsResponse::default() };
        }
    };
    let wanted = |group: &GroupSummary| {
        allows(&request.states_filter, group.state.name()) && allows(&request.types_filter, CLASSIC)
    };
    let groups = groups.into_iter().filter(wanted).map(|group| ListedGroup {
        group_id: group.id,
        protocol_type: group.protocol_type,
        group_state: group.state.name().to_owned(),
        group_type: CLASSIC.to_owned(),
    });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}

async fn list(broker: &Shared) -> Result<Vec<GroupSummary>, Failure> {
    let mut listed = Vec::new();
    let shards = broker.coordinators.all(broker).await?;
    let Some((first, others)) = shards.split_first() else { return Ok(listed) };
    for shard in others {
        listed.extend(shard.peek(broker, |groups| groups.list().collect::<Vec<_>>()).await?);
    }
    // Last, so that it proves all of them: they lie in the same write-ahead log.
    listed.extend(first.read(broker, |groups| groups.list().collect::<Vec<_>>()).await?);
    Ok(listed)
}
