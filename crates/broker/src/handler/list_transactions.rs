//! ListTransactions: the transactional ids that this broker answers for.

use crate::Shared;
use crate::answer_bounds::Whole;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::rights::Rights;
use coordinator_core::{GroupError, IdPattern, ListFilter, TransactionList, TransactionSummary, Transactions};
use protocol::api::{Operation, Resource};
use protocol::messages::list_transactions_request::ListTransactionsRequest;
use protocol::messages::list_transactions_response::{ListTransactionsResponse, TransactionState};
use std::collections::BTreeSet;
use tokio::sync::OwnedSemaphorePermit;

/// What a line of the list takes beyond its text, about.
const LINE_BYTES: usize = 128;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ListTransactionsRequest,
    rights: &Rights,
) -> (ListTransactionsResponse, Option<OwnedSemaphorePermit>) {
    let refused =
        |failure: Failure| ListTransactionsResponse { error_code: failure.code().number(), ..Default::default() };
    let pattern = match IdPattern::new(request.transactional_id_pattern.as_deref()) {
        Ok(pattern) => pattern,
        Err(error) => return (refused(error.into()), None),
    };
    let filter = ListFilter {
        producer_ids: once(request.producer_id_filters),
        states: once(request.state_filters),
        duration_ms: request.duration_filter,
    };
    let shards = match broker.transactions.all(broker).await {
        Ok(shards) => shards,
        Err(failure) => return (refused(failure), None),
    };
    let mut bytes = 0;
    for shard in &shards {
        bytes += shard.look(Transactions::listed_bytes);
        tokio::task::yield_now().await;
    }
    let memory = broker.answer_memory.take_ahead(COPIES * bytes).await;
    let now = broker.clock.wall();
    let whole = Whole::new(broker.answer_memory.total());
    let list = |transactions: &Transactions| {
        let mut matching = pattern.matching();
        let list = transactions.list(now, &filter, |id| {
            matching.matches(id)
                && rights.allow(Operation::Describe, Resource::TransactionalId, id)
                && whole.has_room(LINE_BYTES + id.len())
        });
        matching.finish().map(|()| list)
    };
    let unknown_state_filters = Transactions::default().list(now, &filter, |_| false).unknown_states;
    let listed = broker.transactions.read_all(broker, &shards, list).await;
    let listed: Result<Vec<TransactionList>, Failure> =
        listed.and_then(|lists| Ok(lists.into_iter().collect::<Result<_, GroupError>>()?));
    let listed = listed.and_then(|lists| whole.check().map(|()| lists));
    let answer = match listed {
        Ok(lists) => ListTransactionsResponse {
            unknown_state_filters,
            transaction_states: lists.into_iter().flat_map(|list| list.transactions).map(state).collect(),
            ..ListTransactionsResponse::default()
        },
        Err(failure) => refused(failure),
    };
    (answer, memory)
}

/// However often a filter is named, ids are held against it once.
fn once<T: Ord>(filters: Vec<T>) -> Vec<T> {
    filters.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

fn state(summary: TransactionSummary) -> TransactionState {
    TransactionState {
        transactional_id: summary.transactional_id,
        producer_id: summary.producer_id,
        transaction_state: summary.state.name().to_owned(),
    }
}
