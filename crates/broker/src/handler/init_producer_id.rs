//! InitProducerId: an id and epoch 0 for an idempotent producer. A producer with a transactional id is told that transactions are
//! not served yet, by an error that its client does not ask again for.
//!
//! A producer that names the id and epoch it has gets a new id too, as from Kafka: only transactional ones are continued (KIP-360).

use crate::Shared;
use crate::error::Failure;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::init_producer_id_response::InitProducerIdResponse;

/// Neither an id nor an epoch.
const NONE: i16 = -1;

pub(crate) async fn handle(broker: &Shared, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match init(broker, &request).await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() },
        Err(failure) => {
            // The answer has no room for words.
            tracing::debug!(error = %failure, "no producer id is handed out");
            InitProducerIdResponse {
                error_code: failure.code().number(),
                producer_id: NONE.into(),
                producer_epoch: NONE,
                throttle_time_ms: 0,
            }
        }
    }
}

async fn init(broker: &Shared, request: &InitProducerIdRequest) -> Result<i64, Failure> {
    if (request.producer_id == i64::from(NONE)) != (request.producer_epoch == NONE) {
        return Err(Failure::InvalidRequest("a producer id and a producer epoch go together".to_owned()));
    }
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return Err(Failure::InvalidRequest("a transactional id is not empty".to_owned())),
        Some(_) => {
            return Err(Failure::NotServedYet("transactions arrive in a later version".to_owned()));
        }
    }
    broker.producer_ids.next(&broker.store).await.map_err(|failure| match failure {
        // Another try may find a ledger that can be written; Kafka's answer while it waits for its controller.
        Failure::Ledger(_) => Failure::CoordinatorLoading,
        other => other,
    })
}
