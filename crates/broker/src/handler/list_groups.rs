//! ListGroups: the groups that this broker answers for.

use crate::Shared;
use crate::coordinator::Shard;
use crate::error::Failure;
use coordinator_core::GroupSummary;
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    let mut by_log: BTreeMap<usize, Vec<Arc<Shard>>> = BTreeMap::new();
    for shard in broker.coordinators.all(broker).await? {
        by_log.entry(shard.partition().log_index()).or_default().push(shard);
    }
    let mut listed = Vec::new();
    // Most often they lie in one. In several they lie while they move, and after a start with other logs than before.
    for shards in by_log.values() {
        let Some((first, others)) = shards.split_first() else { continue };
        for shard in others {
            listed.extend(shard.peek(broker, |groups| groups.list().collect::<Vec<_>>()).await?);
        }
        // Last, so that it proves all of this write-ahead log.
        listed.extend(first.read(broker, |groups| groups.list().collect::<Vec<_>>()).await?);
    }
    Ok(listed)
}
