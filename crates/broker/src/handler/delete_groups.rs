//! DeleteGroups: groups without members go, with all that they committed.

use crate::Shared;
use crate::answer_bounds::{self, Reasons};
use crate::checks::in_steps;
use crate::requests;
use coordinator_core::{Effects, Groups};
use futures::stream::StreamExt;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

pub(crate) async fn handle(broker: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    // A name that the request has twice gets one answer, as Kafka's does.
    let ids = requests::once_each(request.groups_names).await;
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let delete = |groups: &mut Groups, place: usize, fx: &mut Effects| groups.delete_group(&ids[place], fx);
    let outcomes = broker.coordinators.run_each(broker, &names, delete).await;
    let mut reasons = Reasons::default();
    let results = in_steps(ids.into_iter().zip(answer_bounds::rest_too_much(outcomes))).map(|(group_id, outcome)| {
        let (error_code, error_message) = reasons.of(&outcome.and_then(|outcome| Ok(outcome?)));
        DeletableGroupResult { group_id, error_code, error_message }
    });
    DeleteGroupsResponse { results: results.collect().await, ..DeleteGroupsResponse::default() }
}
