//! ListGroups: the groups that this broker answers for.

use crate::Shared;
use crate::coordinator::Shard;
use crate::error::Failure;
use crate::memory::COPIES;
use coordinator_core::{GroupSummary, Groups, State};
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The only type of group that is served.
const CLASSIC: &str = "classic";

/// The states that a group can be in.
const STATES: [State; 4] = [State::Empty, State::PreparingRebalance, State::CompletingRebalance, State::Stable];

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ListGroupsRequest,
) -> (ListGroupsResponse, Option<OwnedSemaphorePermit>) {
    let wanted = wanted(&request);
    let refused = |failure: Failure| ListGroupsResponse { error_code: failure.code().number(), ..Default::default() };
    let shards = match broker.coordinators.all(broker).await {
        Ok(shards) => shards,
        Err(failure) => return (refused(failure), None),
    };
    let mut bytes = 0;
    for shard in &shards {
        bytes += shard.look(Groups::listed_bytes);
        tokio::task::yield_now().await;
    }
    let memory = broker.answer_memory.take_ahead(COPIES * bytes).await;
    match list(broker, &shards, &wanted).await {
        Ok(groups) => (ListGroupsResponse { groups, ..ListGroupsResponse::default() }, memory),
        Err(failure) => (refused(failure), memory),
    }
}

/// Which states are asked for, whatever the case of their letters, as in Kafka. However many filters there are, groups are held
/// against these.
fn wanted(request: &ListGroupsRequest) -> Vec<State> {
    let lower = |filter: &[String]| -> BTreeSet<String> { filter.iter().map(|it| it.to_ascii_lowercase()).collect() };
    let allows = |filter: &BTreeSet<String>, it: &str| filter.is_empty() || filter.contains(&it.to_ascii_lowercase());
    let (states, types) = (lower(&request.states_filter), lower(&request.types_filter));
    STATES.into_iter().filter(|state| allows(&types, CLASSIC) && allows(&states, state.name())).collect()
}

async fn list(broker: &Shared, shards: &[Arc<Shard<Groups>>], wanted: &[State]) -> Result<Vec<ListedGroup>, Failure> {
    let listed = |group: GroupSummary| ListedGroup {
        group_id: group.id,
        protocol_type: group.protocol_type,
        group_state: group.state.name().to_owned(),
        group_type: CLASSIC.to_owned(),
    };
    let of_shard = |groups: &Groups| -> Vec<ListedGroup> {
        groups.list().filter(|group| wanted.contains(&group.state)).map(listed).collect()
    };
    let of_shards = broker.coordinators.read_all(broker, shards, of_shard).await?;
    Ok(of_shards.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(states: &[&str], types: &[&str]) -> Vec<State> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        wanted(&ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) })
    }

    #[test]
    fn filters_name_states_and_types_in_any_case() {
        assert_eq!(of(&[], &[]), STATES);
        assert_eq!(of(&["sTABLE", "Empty", "dead", "empty"], &["Classic", "share"]), [State::Empty, State::Stable]);
        assert_eq!(of(&["dead"], &[]), []);
        assert_eq!(of(&["stable"], &["consumer"]), []);
    }
}
