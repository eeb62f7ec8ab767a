//! UnregisterBroker: forgets a broker that is dead. One that lives is refused, where Kafka forgets it until it comes again; and so is one of whose
//! write-ahead log something is needed, as its records would be forgotten with it.

use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, topics};
use base::NodeId;
use control_core::{Command, Refusal};
use protocol::api::Operation;
use protocol::messages::unregister_broker_request::UnregisterBrokerRequest;
use protocol::messages::unregister_broker_response::UnregisterBrokerResponse;
use std::time::Duration;

/// The request names no timeout of its own.
const UNREGISTER_WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn handle(
    broker: &Shared,
    request: UnregisterBrokerRequest,
    rights: &Rights,
) -> UnregisterBrokerResponse {
    match unregister(broker, request.broker_id, rights).await {
        Ok(()) => UnregisterBrokerResponse { error_message: None, ..UnregisterBrokerResponse::default() },
        Err(failure) => UnregisterBrokerResponse {
            error_code: failure.code().number(),
            error_message: Some(failure.to_string()),
            ..UnregisterBrokerResponse::default()
        },
    }
}

async fn unregister(broker: &Shared, id: i32, rights: &Rights) -> Result<(), Failure> {
    rights.check_cluster(Operation::Alter)?;
    match topics::submit(broker, Command::Unregister { node_id: NodeId(id) }, UNREGISTER_WAIT_MAX).await {
        Err(Failure::Refused(Refusal::Unknown(_))) => Err(Failure::BrokerNotRegistered(id)),
        Err(Failure::Refused(Refusal::Invalid(why))) => Err(Failure::InvalidRequest(why)),
        outcome => outcome,
    }
}
