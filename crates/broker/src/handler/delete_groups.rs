//! DeleteGroups: groups without members go, with all that they committed.

use crate::Shared;
use crate::error::Failure;
use protocol::error_code::ErrorCode;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};
use std::collections::BTreeSet;

pub(crate) async fn handle(broker: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut answered = BTreeSet::new();
    let mut results = Vec::new();
    for group_id in request.groups_names {
        // A name that the request has twice gets one answer, as Kafka's does.
        if !answered.insert(group_id.clone()) {
            continue;
        }
        let (error_code, error_message) = match delete(broker, &group_id).await {
            Ok(()) => (ErrorCode::None.number(), None),
            Err(failure) => (failure.code().number(), Some(failure.to_string())),
        };
        results.push(DeletableGroupResult { group_id, error_code, error_message });
    }
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}

async fn delete(broker: &Shared, group: &str) -> Result<(), Failure> {
    let shard = broker.coordinators.shard(broker, group).await?;
    Ok(shard.run(broker, |groups, _, fx| groups.delete_group(group, fx)).await??)
}
