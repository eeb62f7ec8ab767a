//! UnregisterController (Kafka 4.4): forgets a controller that is gone. Each broker is its own controller here: one that lives is active, and any
//! other is none; UnregisterBroker forgets a broker.

use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, topics};
use base::NodeId;
use protocol::api::Operation;
use protocol::messages::unregister_controller_request::UnregisterControllerRequest;
use protocol::messages::unregister_controller_response::UnregisterControllerResponse;

pub(crate) fn handle(
    broker: &Shared,
    request: &UnregisterControllerRequest,
    rights: &Rights,
) -> UnregisterControllerResponse {
    let failure = refusal(broker, request.controller_id, rights);
    UnregisterControllerResponse {
        error_code: failure.code().number(),
        error_message: Some(failure.to_string()),
        ..UnregisterControllerResponse::default()
    }
}

fn refusal(broker: &Shared, id: i32, rights: &Rights) -> Failure {
    if let Err(failure) = rights.check_cluster(Operation::Alter) {
        return failure;
    }
    let is_active = topics::living(&broker.store.ledger().image()).contains_key(&NodeId(id));
    if is_active {
        // In Kafka's words.
        return Failure::InvalidRequest("Controller cannot unregister itself while it is active.".to_owned());
    }
    Failure::ControllerNotRegistered(id)
}
