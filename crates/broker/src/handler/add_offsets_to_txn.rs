//! AddOffsetsToTxn: the partition of `__consumer_offsets` that a group belongs to becomes part of a transaction, in which offsets will be
//! committed.

use crate::Shared;
use crate::coordinator::OFFSETS;
use crate::error::Failure;
use crate::rights::Rights;
use coordinator_core::{AddRequest, ClientVersion, NamedTopicPartitions, Producer};
use protocol::api::{Operation, Resource};
use protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use protocol::messages::add_offsets_to_txn_response::AddOffsetsToTxnResponse;

/// From this version on clients know `PRODUCER_FENCED`.
const FENCED_VERSION: i16 = 2;

pub(crate) async fn handle(
    broker: &Shared,
    request: AddOffsetsToTxnRequest,
    version: i16,
    rights: &Rights,
) -> AddOffsetsToTxnResponse {
    let error_code = add(broker, request, version, rights).await.map_or_else(|failure| failure.code().number(), |()| 0);
    AddOffsetsToTxnResponse { error_code, throttle_time_ms: 0 }
}

async fn add(broker: &Shared, request: AddOffsetsToTxnRequest, version: i16, rights: &Rights) -> Result<(), Failure> {
    rights.check(Operation::Write, Resource::TransactionalId, &request.transactional_id)?;
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    OFFSETS.ensure(broker).await?;
    let partitions = OFFSETS.find(&broker.store.ledger().image()).map_or(0, |topic| topic.partitions.len());
    let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
    if partitions == 0 {
        return Err(Failure::CoordinatorUnavailable("there are no partitions for groups yet".to_owned()));
    }
    let shard = broker.transactions.shard(broker, &request.transactional_id).await?;
    let asked = AddRequest {
        transactional_id: request.transactional_id,
        producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
        version: ClientVersion::V0,
        partitions: NamedTopicPartitions::new(),
    };
    let group = (request.group_id.as_str(), partitions);
    let added = shard.run(broker, |transactions, now, fx| transactions.add_offsets(now, asked, group, fx)).await?;
    Ok(added.map_err(|error| error.told(version >= FENCED_VERSION))?)
}
