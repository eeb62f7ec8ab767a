//! TxnOffsetCommit: how far a group has come, as part of a transaction: it counts when that is committed (KIP-98). Answered when it is durable.
//!
//! Checked: the member, its generation or epoch, where the client says them (KIP-447); that the transaction has offsets of this group, which
//! its coordinator is asked, or told from version 5 on (KIP-890).

use super::offset_commit::known;
use super::offset_outcomes::OffsetOutcomes;
use crate::Shared;
use crate::checks::Steps;
use crate::coordinator::OFFSETS;
use crate::error::{self, Failure};
use crate::rights::Rights;
use crate::verification::{self, Client, Transaction};
use base::{TopicId, UnixMillis};
use coordinator_core::{Committed, GroupError, Membership, NewOffset, TransactionalCommit};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition};
use protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use world::ClockExt;

/// From this version on clients know of a coordinator that loads (KAFKA-7296).
const LOADING_VERSION: i16 = 2;

/// From this version on topics are named by their ids alone.
const TOPIC_ID_VERSION: i16 = 6;

pub(crate) async fn handle(
    broker: &Shared,
    request: TxnOffsetCommitRequest,
    version: i16,
    rights: &Rights,
) -> TxnOffsetCommitResponse {
    let image = broker.store.ledger().image();
    let now = broker.clock.wall();
    let mut outcomes = OffsetOutcomes::default();
    let checked = rights
        .check(Operation::Write, Resource::TransactionalId, &request.transactional_id)
        .and_then(|()| rights.check(Operation::Read, Resource::Group, &request.group_id));
    let mut steps = Steps::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            steps.next().await;
            let named = (topic.name.as_str(), topic.topic_id.into(), version >= TOPIC_ID_VERSION);
            let found = checked.clone().and_then(|()| known(&image, named, partition.partition_index, rights));
            outcomes.add(found.map(|(name, id)| new_offset(name, id, partition, now)));
        }
    }
    let transaction = Transaction {
        transactional_id: request.transactional_id,
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
    };
    let member = Membership {
        group: request.group_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
    };
    let client = Client::of_offset_commit(version);
    let offsets = std::mem::take(&mut outcomes.offsets);
    let committed =
        if offsets.is_empty() { Ok(Vec::new()) } else { commit(broker, (&transaction, client), member, offsets).await };
    let mut codes = outcomes.codes(committed, |failure| code_of(failure, version));
    let mut answer = |partition: TxnOffsetCommitRequestPartition| TxnOffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: codes.next().unwrap_or_default(),
    };
    let topics = request.topics.into_iter().map(|topic| TxnOffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partitions.into_iter().map(&mut answer).collect(),
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}

fn new_offset(topic: String, id: TopicId, asked: &TxnOffsetCommitRequestPartition, now: UnixMillis) -> NewOffset {
    let committed = Committed {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.clone().unwrap_or_default(),
        committed_at: now,
        expires_at: None,
        topic: id,
    };
    NewOffset { topic, partition: asked.partition_index, committed }
}

async fn commit(
    broker: &Shared,
    (transaction, client): (&Transaction, Client),
    member: Membership,
    offsets: Vec<NewOffset>,
) -> Result<Vec<Result<(), GroupError>>, Failure> {
    let Transaction { producer_id, producer_epoch, .. } = *transaction;
    if member.group.is_empty() {
        return Err(GroupError::InvalidGroupId.into());
    }
    let shard = broker.coordinators.shard(broker, &member.group).await?;
    let own_name = OFFSETS.name_of(&broker.store.ledger().image(), &member.group);
    let own_name = own_name.ok_or(Failure::NotCoordinator)?;
    if producer_id < 0 || producer_epoch < 0 {
        verified(broker, transaction, own_name, client).await?;
        return Err(Failure::InvalidRequest("a transaction has a producer id and its epoch".to_owned()));
    }
    let request = TransactionalCommit { member, producer_id, producer_epoch, offsets };
    let committed = shard.commit_in_transaction(broker, &request, (transaction, client), own_name.clone()).await;
    let is_of_member = |error: &GroupError| !matches!(error, GroupError::InvalidGroupId);
    if matches!(&committed, Err(Failure::Group(error)) if is_of_member(error)) {
        // As in Kafka: who has no such transaction is told that, whatever is wrong with the member.
        verified(broker, transaction, own_name, client).await?;
    }
    committed
}

/// Whether the coordinator knows of the transaction, where nothing is written that would ask it.
async fn verified(
    broker: &Shared,
    transaction: &Transaction,
    name: (String, i32),
    client: Client,
) -> Result<(), Failure> {
    let limit = broker.options.group_wait_max;
    let asked = verification::verify(broker, transaction, vec![name.clone()], client);
    let codes = broker.clock.timeout(limit, asked).await.unwrap_or_default();
    verification::granted(&codes, &name, client)
}

fn code_of(failure: &Failure, version: i16) -> ErrorCode {
    let code = match failure {
        Failure::Unverified { told, client } => error::unverified_offsets(*told, *client),
        other => other.code(),
    };
    if code == ErrorCode::CoordinatorLoadInProgress && version < LOADING_VERSION {
        return ErrorCode::CoordinatorNotAvailable;
    }
    code
}
