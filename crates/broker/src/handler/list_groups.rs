//! ListGroups: the groups that this broker answers for.

use crate::Shared;
use crate::answer_bounds::Whole;
use crate::coordinator::Shard;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::rights::Rights;
use coordinator_core::{
    ConsumerState, ConsumerSummary, GroupSummary, Groups, ShareState, ShareSummary, State, StreamsState, StreamsSummary,
};
use protocol::api::{Operation, Resource};
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The types of groups that are served.
const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";
const SHARE: &str = "share";
const STREAMS: &str = "streams";

/// The states that a group can be in.
const STATES: [State; 4] = [State::Empty, State::PreparingRebalance, State::CompletingRebalance, State::Stable];
const CONSUMER_STATES: [ConsumerState; 4] =
    [ConsumerState::Empty, ConsumerState::Assigning, ConsumerState::Reconciling, ConsumerState::Stable];
const SHARE_STATES: [ShareState; 2] = [ShareState::Empty, ShareState::Stable];
const STREAMS_STATES: [StreamsState; 5] = [
    StreamsState::Empty,
    StreamsState::NotReady,
    StreamsState::Assigning,
    StreamsState::Reconciling,
    StreamsState::Stable,
];

/// Which states are asked for, of each type of groups.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    classic: Vec<State>,
    consumer: Vec<ConsumerState>,
    share: Vec<ShareState>,
    streams: Vec<StreamsState>,
}

/// What a group takes beyond its texts, about.
const GROUP_BYTES: usize = 128;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ListGroupsRequest,
    rights: &Rights,
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
    match list((broker, rights), &shards, &wanted).await {
        Ok(groups) => (ListGroupsResponse { groups, ..ListGroupsResponse::default() }, memory),
        Err(failure) => (refused(failure), memory),
    }
}

/// What is asked for, whatever the case of its letters, as in Kafka. However many filters there are, groups are held against these.
fn wanted(request: &ListGroupsRequest) -> Wanted {
    let lower = |filter: &[String]| -> BTreeSet<String> { filter.iter().map(|it| it.to_ascii_lowercase()).collect() };
    let allows = |filter: &BTreeSet<String>, it: &str| filter.is_empty() || filter.contains(&it.to_ascii_lowercase());
    let (states, types) = (lower(&request.states_filter), lower(&request.types_filter));
    let classic = STATES.into_iter().filter(|state| allows(&types, CLASSIC) && allows(&states, state.name()));
    let consumer =
        CONSUMER_STATES.into_iter().filter(|state| allows(&types, CONSUMER) && allows(&states, state.name()));
    let share = SHARE_STATES.into_iter().filter(|state| allows(&types, SHARE) && allows(&states, state.name()));
    let streams = STREAMS_STATES.into_iter().filter(|state| allows(&types, STREAMS) && allows(&states, state.name()));
    Wanted {
        classic: classic.collect(),
        consumer: consumer.collect(),
        share: share.collect(),
        streams: streams.collect(),
    }
}

async fn list(
    (broker, rights): (&Shared, &Rights),
    shards: &[Arc<Shard<Groups>>],
    wanted: &Wanted,
) -> Result<Vec<ListedGroup>, Failure> {
    let lists_all = rights.allow_cluster(Operation::Describe);
    let is_shown = |id: &str| lists_all || rights.allow(Operation::Describe, Resource::Group, id);
    let listed = |group: GroupSummary| ListedGroup {
        group_id: group.id,
        protocol_type: group.protocol_type,
        group_state: group.state.name().to_owned(),
        group_type: CLASSIC.to_owned(),
    };
    let listed_consumer = |group: ConsumerSummary| ListedGroup {
        group_id: group.id,
        protocol_type: CONSUMER.to_owned(),
        group_state: group.state.name().to_owned(),
        group_type: CONSUMER.to_owned(),
    };
    let listed_share = |group: ShareSummary| ListedGroup {
        group_id: group.id,
        protocol_type: SHARE.to_owned(),
        group_state: group.state.name().to_owned(),
        group_type: SHARE.to_owned(),
    };
    let listed_streams = |group: StreamsSummary| ListedGroup {
        group_id: group.id,
        protocol_type: STREAMS.to_owned(),
        group_state: group.state.name().to_owned(),
        group_type: STREAMS.to_owned(),
    };
    // Others' groups do not count: who may know of few is told of them however many there are.
    let whole = Whole::new(broker.answer_memory.total());
    let is_told = |id: &str, protocol: &str| is_shown(id) && whole.has_room(GROUP_BYTES + id.len() + protocol.len());
    let of_shard = |groups: &Groups| -> Vec<ListedGroup> {
        let classic =
            groups.list().filter(|it| wanted.classic.contains(&it.state) && is_told(&it.id, &it.protocol_type));
        let consumers = groups.list_consumers().filter(|it| wanted.consumer.contains(&it.state) && is_told(&it.id, ""));
        let shares = groups.list_shares().filter(|it| wanted.share.contains(&it.state) && is_told(&it.id, ""));
        let streams = groups.list_streams().filter(|it| wanted.streams.contains(&it.state) && is_told(&it.id, ""));
        let newer = consumers.map(listed_consumer).chain(shares.map(listed_share)).chain(streams.map(listed_streams));
        newer.chain(classic.map(listed)).collect()
    };
    let of_shards = broker.coordinators.read_all(broker, shards, of_shard).await?;
    whole.check()?;
    Ok(of_shards.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(states: &[&str], types: &[&str]) -> (Vec<State>, Vec<ConsumerState>, Vec<ShareState>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let Wanted { classic, consumer, share, .. } =
            wanted(&ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) });
        (classic, consumer, share)
    }

    #[test]
    fn filters_name_states_and_types_in_any_case() {
        assert_eq!(of(&[], &[]), (STATES.to_vec(), CONSUMER_STATES.to_vec(), SHARE_STATES.to_vec()));
        let states = ["sTABLE", "Empty", "dead", "empty"];
        let both = vec![State::Empty, State::Stable];
        assert_eq!(of(&states, &["Classic", "share"]), (both, vec![], SHARE_STATES.to_vec()));
        assert_eq!(of(&["dead"], &[]), (vec![], vec![], vec![]));
        assert_eq!(of(&["stable", "assigning"], &["consumer"]).1, [ConsumerState::Assigning, ConsumerState::Stable]);
    }
}
