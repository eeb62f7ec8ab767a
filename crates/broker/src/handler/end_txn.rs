//! EndTxn: a transaction is committed or aborted. Answered when the decision is durable; its partitions hear of it afterwards.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::transactions::run_with_id;
use coordinator_core::{ClientVersion, EndRequest, Producer};
use protocol::api::{Operation, Resource};
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::end_txn_response::EndTxnResponse;

/// From this version on clients know `PRODUCER_FENCED`.
const FENCED_VERSION: i16 = 2;

/// From this version on each transaction ends with a higher epoch (KIP-890), which the answer tells.
const RAISING_VERSION: i16 = 5;

/// Neither an id nor an epoch.
const NOBODY: Producer = Producer { id: -1, epoch: -1 };

pub(crate) async fn handle(broker: &Shared, request: EndTxnRequest, version: i16, rights: &Rights) -> EndTxnResponse {
    let (error_code, producer) = match end(broker, request, version, rights).await {
        Ok(producer) => (0, if version >= RAISING_VERSION { producer } else { NOBODY }),
        Err(failure) => (failure.code().number(), NOBODY),
    };
    EndTxnResponse { error_code, producer_id: producer.id, producer_epoch: producer.epoch, throttle_time_ms: 0 }
}

async fn end(broker: &Shared, request: EndTxnRequest, version: i16, rights: &Rights) -> Result<Producer, Failure> {
    rights.check(Operation::Write, Resource::TransactionalId, &request.transactional_id)?;
    let shard = broker.transactions.shard(broker, &request.transactional_id).await?;
    let asked = EndRequest {
        transactional_id: request.transactional_id,
        producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
        commit: request.committed,
        version: if version >= RAISING_VERSION { ClientVersion::V2 } else { ClientVersion::V0 },
    };
    run_with_id(broker, &shard, |transactions, now, fx| {
        transactions.end(now, &asked, fx).map_err(|error| error.told(version >= FENCED_VERSION))
    })
    .await
}
