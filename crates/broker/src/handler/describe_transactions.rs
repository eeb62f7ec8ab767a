//! DescribeTransactions: a transactional id's producer, and its transaction. An id is described once, however often it is named.

use crate::Shared;
use crate::answer_bounds::{self, Left};
use crate::checks::{Steps, in_steps};
use crate::coordinator::GROUPS_MAX;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::requests;
use crate::rights::Rights;
use coordinator_core::{TransactionDescription, Transactions};
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use protocol::messages::describe_transactions_response::{DescribeTransactionsResponse, TopicData, TransactionState};
use tokio::sync::OwnedSemaphorePermit;

/// The start of a transaction where there was none.
const NO_TIME: i64 = -1;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeTransactionsRequest,
    rights: &Rights,
) -> (DescribeTransactionsResponse, Option<OwnedSemaphorePermit>) {
    let ids = requests::once_each(request.transactional_ids).await;
    let (ids, denied): (Vec<String>, Vec<String>) =
        ids.into_iter().partition(|id| rights.allow(Operation::Describe, Resource::TransactionalId, id));
    let (mut bytes, mut steps) = ((ids.len() + denied.len()) * size_of::<TransactionState>(), Steps::default());
    for id in ids.iter().take(GROUPS_MAX) {
        let of_id = broker.transactions.look(broker, id, |transactions| transactions.described_bytes(id));
        bytes += COPIES * of_id.unwrap_or(0);
        steps.next().await;
    }
    let memory = broker.answer_memory.take_ahead(bytes).await;
    let left = Left::new(broker.answer_memory.total());
    let describe = |transactions: &Transactions, place: usize| -> Result<TransactionDescription, Failure> {
        left.check()?;
        left.spend(COPIES * transactions.described_bytes(&ids[place]));
        Ok(transactions.describe(&ids[place])?)
    };
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let described = broker.transactions.read_each(broker, &names, describe).await;
    let states = in_steps(ids.into_iter().zip(answer_bounds::rest_too_much(described))).map(|(id, described)| {
        let described = described.and_then(|described| described);
        match described {
            Ok(description) => state(id, description, rights),
            Err(failure) => TransactionState {
                error_code: failure.code().number(),
                transactional_id: id,
                ..TransactionState::default()
            },
        }
    });
    let mut transaction_states: Vec<TransactionState> = states.collect().await;
    let error_code = Failure::NotAuthorized(Resource::TransactionalId).code().number();
    let refused = |transactional_id| TransactionState { error_code, transactional_id, ..TransactionState::default() };
    transaction_states.extend(denied.into_iter().map(refused));
    (DescribeTransactionsResponse { transaction_states, ..DescribeTransactionsResponse::default() }, memory)
}

fn state(transactional_id: String, description: TransactionDescription, rights: &Rights) -> TransactionState {
    let topics = description
        .partitions
        .into_iter()
        .filter(|(topic, _)| rights.allow(Operation::Describe, Resource::Topic, topic))
        .map(|(topic, partitions)| TopicData { topic, partitions: partitions.into_iter().collect() });
    TransactionState {
        error_code: 0,
        transactional_id,
        transaction_state: description.state.name().to_owned(),
        transaction_timeout_ms: description.timeout_ms,
        transaction_start_time_ms: description.started_at.map_or(NO_TIME, |at| at.0),
        producer_id: description.producer.id,
        producer_epoch: description.producer.epoch,
        topics: topics.collect(),
    }
}
