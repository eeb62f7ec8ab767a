//! FindCoordinator: answers honestly that there are no group and transaction coordinators yet.

use crate::error::Failure;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

/// From this version on a request names several keys.
const MANY_KEYS_VERSION: i16 = 4;

pub(crate) fn handle(request: FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
    let failure = Failure::NotServedYet(
        "consumer groups and transactions arrive in a later version; consume with assigned partitions".to_owned(),
    );
    let code = failure.code().number();
    let message = Some(failure.to_string());
    if version < MANY_KEYS_VERSION {
        return FindCoordinatorResponse {
            error_code: code,
            error_message: message,
            node_id: -1,
            port: -1,
            ..FindCoordinatorResponse::default()
        };
    }
    let missing = |key| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: code,
        error_message: message.clone(),
        ..Coordinator::default()
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.into_iter().map(missing).collect(),
        ..FindCoordinatorResponse::default()
    }
}
