//! DeleteGroups: groups without members go, with all that they committed. Of a share group the share coordinator forgets first what it keeps.

use crate::Shared;
use crate::answer_bounds::{self, Reasons};
use crate::checks::{Steps, in_steps};
use crate::coordinator::{GROUPS_MAX, with_topics};
use crate::error::Failure;
use crate::rights::Rights;
use crate::{requests, share};
use coordinator_core::{Effects, Groups, StateDeletion};
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Share groups of one request that the share coordinator forgets at the same time.
const TOGETHER_MAX: usize = 16;

pub(crate) async fn handle(broker: &Shared, request: DeleteGroupsRequest, rights: &Rights) -> DeleteGroupsResponse {
    // A name that the request has twice gets one answer, as Kafka's does.
    let ids = requests::once_each(request.groups_names).await;
    let (ids, denied): (Vec<String>, Vec<String>) =
        ids.into_iter().partition(|id| rights.allow(Operation::Delete, Resource::Group, id));
    let mut refused = forget_shares(broker, &ids).await;
    refused.extend(shrink(broker, &ids).await);
    let left: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !refused.contains_key(*id)).collect();
    let delete = |groups: &mut Groups, place: usize, fx: &mut Effects| groups.delete_group(left[place], fx);
    let outcomes = broker.coordinators.run_each(broker, &left, delete).await;
    let mut outcomes = answer_bounds::rest_too_much(outcomes);
    let mut reasons = Reasons::default();
    let results = in_steps(ids).map(|group_id| {
        let outcome = match refused.get(&group_id) {
            Some(failure) => Err(failure.clone()),
            // There are as many as are left, and more.
            None => outcomes.next().unwrap_or(Err(Failure::NotCoordinator)).and_then(|outcome| Ok(outcome?)),
        };
        let (error_code, error_message) = reasons.of(&outcome);
        DeletableGroupResult { group_id, error_code, error_message }
    });
    let mut results: Vec<DeletableGroupResult> = results.collect().await;
    let refused = |group_id: String| {
        let failure = Failure::NotAuthorized(Resource::Group);
        DeletableGroupResult { group_id, error_code: failure.code().number(), error_message: None }
    };
    results.extend(denied.into_iter().map(refused));
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}

/// Deletes offsets of groups whose deletion makes too many records for one go, until it does not; those of which that fails. Most have none such.
async fn shrink(broker: &Shared, ids: &[String]) -> BTreeMap<String, Failure> {
    let (mut refused, mut steps) = (BTreeMap::new(), Steps::default());
    for id in ids.iter().take(GROUPS_MAX) {
        steps.next().await;
        if broker.coordinators.look(broker, id, |groups| groups.deletes_in_pieces(id)) == Some(true)
            && let Err(failure) = shrink_one(broker, id).await
        {
            refused.insert(id.clone(), failure);
        }
    }
    refused
}

async fn shrink_one(broker: &Shared, id: &str) -> Result<(), Failure> {
    let shard = broker.coordinators.shard(broker, id).await?;
    let decide = |groups: &mut Groups, _, fx: &mut Effects| match groups.delete_some_offsets(id, fx) {
        Ok(true) => ControlFlow::Continue(()),
        Ok(false) => ControlFlow::Break(Ok(())),
        Err(error) => ControlFlow::Break(Err(error)),
    };
    Ok(shard.run_in_pieces(broker, decide).await??)
}

/// The first half of deleting share groups; those that can't be.
async fn forget_shares(broker: &Shared, ids: &[String]) -> BTreeMap<String, Failure> {
    let (mut shares, mut steps) = (Vec::new(), Steps::default());
    for id in ids.iter().take(GROUPS_MAX) {
        steps.next().await;
        if broker.coordinators.look(broker, id, |groups| groups.is_share(id)) == Some(true) {
            shares.push(id.as_str());
        }
    }
    let begin = |groups: &mut Groups, place: usize, fx: &mut Effects| {
        with_topics(broker, |topics| groups.begin_deleting_share_group(shares[place], topics, fx))
    };
    let begun = broker.coordinators.run_each(broker, &shares, begin).await;
    let begun: Vec<(String, _)> = shares.into_iter().map(str::to_owned).zip(begun).collect();
    let forgotten = futures::stream::iter(begun).map(async |(id, begun)| {
        let outcome = match begun.and_then(|begun| Ok(begun?)) {
            Ok(Some(deletion)) => forget(broker, &deletion).await,
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        (id, outcome)
    });
    let forgotten: Vec<_> = forgotten.buffer_unordered(TOGETHER_MAX).collect().await;
    forgotten.into_iter().filter_map(|(id, outcome)| Some((id, outcome.err()?))).collect()
}

async fn forget(broker: &Shared, deletion: &StateDeletion) -> Result<(), Failure> {
    let shard = broker.coordinators.shard(broker, &deletion.group).await?;
    share::delete(broker, &shard, deletion).await.into_values().collect()
}
