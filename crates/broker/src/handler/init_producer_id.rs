//! InitProducerId: an id and epoch 0 for an idempotent producer; for one with a transactional id what its coordinator says, which fences all
//! that had it before.
//!
//! A producer without a transactional id that names the id and epoch it has gets a new id too, as from Kafka: only transactional ones are
//! continued (KIP-360). Two-phase commit (KIP-939) has a version of this request that Kafka does not serve either by default.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::transactions::{run_with_id, when_no_id};
use coordinator_core::{InitRequest, Producer, TransactionError};
use protocol::api::{Operation, Resource};
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::init_producer_id_response::InitProducerIdResponse;

/// Neither an id nor an epoch.
const NONE: i16 = -1;

/// From this version on clients know `PRODUCER_FENCED`.
const FENCED_VERSION: i16 = 4;

pub(crate) async fn handle(
    broker: &Shared,
    request: InitProducerIdRequest,
    version: i16,
    rights: &Rights,
) -> InitProducerIdResponse {
    match init(broker, &request, version, rights).await {
        Ok(Producer { id: producer_id, epoch: producer_epoch }) => {
            InitProducerIdResponse { producer_id, producer_epoch, ..InitProducerIdResponse::default() }
        }
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

async fn init(
    broker: &Shared,
    request: &InitProducerIdRequest,
    version: i16,
    rights: &Rights,
) -> Result<Producer, Failure> {
    match request.transactional_id.as_deref() {
        Some(id) => rights.check(Operation::Write, Resource::TransactionalId, id)?,
        // Who may write to some topic may do so idempotently (KIP-679).
        None if rights.allow_cluster(Operation::IdempotentWrite) => {}
        None if rights.allow_any(Operation::Write, Resource::Topic) => {}
        None => return Err(Failure::NotAuthorized(Resource::Cluster)),
    }
    if (request.producer_id == i64::from(NONE)) != (request.producer_epoch == NONE) {
        return Err(Failure::InvalidRequest("a producer id and a producer epoch go together".to_owned()));
    }
    let Some(transactional_id) = request.transactional_id.as_deref() else {
        let id = broker.producer_ids.next(&broker.store).await.map_err(when_no_id)?;
        return Ok(Producer { id, epoch: 0 });
    };
    if transactional_id.is_empty() {
        return Err(TransactionError::InvalidRequest.into());
    }
    let expected = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let asked = InitRequest {
        transactional_id: transactional_id.to_owned(),
        timeout_ms: request.transaction_timeout_ms,
        expected: (request.producer_epoch != NONE).then_some(expected),
        ..InitRequest::default()
    };
    let shard = broker.transactions.shard(broker, transactional_id).await?;
    run_with_id(broker, &shard, |transactions, now, fx| {
        transactions.init(now, &asked, fx).map_err(|error| error.told(version >= FENCED_VERSION))
    })
    .await
}
