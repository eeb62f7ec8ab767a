//! AddPartitionsToTxn: partitions become part of a transaction. Up to version 3 a client says so of its own; from version 4 on the leaders of
//! partitions do, or only ask whether they are (KIP-890), for many transactions in one request.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::transactions::{added, answer_add, results};
use coordinator_core::{ClientVersion, Producer, TransactionError};
use futures::stream::{self, StreamExt};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResponse, AddPartitionsToTxnTopicResult,
};

/// From this version on a request is about many transactions, and comes from brokers.
const MANY_VERSION: i16 = 4;

/// From this version on clients know `PRODUCER_FENCED`.
const FENCED_VERSION: i16 = 2;

/// Transactions of one request that are looked at at the same time: what they append goes together.
const TOGETHER_MAX: usize = 512;

pub(crate) async fn handle(
    broker: &Shared,
    request: AddPartitionsToTxnRequest,
    version: i16,
    rights: &Rights,
) -> AddPartitionsToTxnResponse {
    if version >= MANY_VERSION {
        if let Err(failure) = rights.check_cluster(Operation::ClusterAction) {
            let error_code = failure.code().number();
            return AddPartitionsToTxnResponse { error_code, ..AddPartitionsToTxnResponse::default() };
        }
        let answers = stream::iter(request.transactions).map(|asked| answer_add(broker, asked));
        let results_by_transaction = answers.buffered(TOGETHER_MAX).collect().await;
        return AddPartitionsToTxnResponse { results_by_transaction, ..AddPartitionsToTxnResponse::default() };
    }
    let id = request.v3_and_below_transactional_id;
    let producer = Producer { id: request.v3_and_below_producer_id, epoch: request.v3_and_below_producer_epoch };
    if let Some(codes) = refused(rights, &id, &request.v3_and_below_topics) {
        return AddPartitionsToTxnResponse { results_by_topic_v3_and_below: codes, ..Default::default() };
    }
    let mut codes = added(broker, &id, (producer, ClientVersion::V0), request.v3_and_below_topics).await;
    if version < FENCED_VERSION {
        let told = Failure::from(TransactionError::Fenced.told(false)).code();
        codes.values_mut().filter(|code| **code == ErrorCode::ProducerFenced).for_each(|code| *code = told);
    }
    AddPartitionsToTxnResponse {
        results_by_topic_v3_and_below: results(codes),
        ..AddPartitionsToTxnResponse::default()
    }
}

/// What becomes of all partitions where some of them may not be added: of these as it is, of the others nothing is attempted.
fn refused(
    rights: &Rights,
    id: &str,
    topics: &[AddPartitionsToTxnTopic],
) -> Option<Vec<AddPartitionsToTxnTopicResult>> {
    let of_id = rights.check(Operation::Write, Resource::TransactionalId, id).err();
    let of_topic = |topic: &AddPartitionsToTxnTopic| rights.check(Operation::Write, Resource::Topic, &topic.name).err();
    let failures: Vec<Option<Failure>> = topics.iter().map(|topic| of_id.clone().or_else(|| of_topic(topic))).collect();
    if failures.iter().all(Option::is_none) {
        return None;
    }
    let result = |(topic, failure): (&AddPartitionsToTxnTopic, Option<Failure>)| {
        let code = failure.map_or(ErrorCode::OperationNotAttempted, |failure| failure.code()).number();
        let partition = |partition_index: &i32| AddPartitionsToTxnPartitionResult {
            partition_index: *partition_index,
            partition_error_code: code,
        };
        let results_by_partition = topic.partitions.iter().map(partition).collect();
        AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition }
    };
    Some(topics.iter().zip(failures).map(result).collect())
}
