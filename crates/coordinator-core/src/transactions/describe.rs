//! What administrators see of transactions.

use crate::transactions::effects::TransactionError;
use crate::transactions::registry::Transactions;
use crate::transactions::state::{NamedTopicPartitions, Producer, Transaction, TransactionState, partitions_bytes};
use base::UnixMillis;

/// What a line of a list takes beyond its text, about.
const LINE_BYTES: usize = 128;

/// What of a list is asked for; an empty filter lets all pass.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    pub producer_ids: Vec<i64>,
    /// Kafka's names.
    pub states: Vec<String>,
    /// Transactions that have been open for longer than this, in milliseconds; negative for all.
    pub duration_ms: i64,
}

/// Transactions, and the names among the filter's states that are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionList {
    pub unknown_states: Vec<String>,
    pub transactions: Vec<TransactionSummary>,
}

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSummary {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: TransactionState,
}

/// One transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    pub state: TransactionState,
    pub producer: Producer,
    pub timeout_ms: i32,
    /// None where there was no transaction since the producer began.
    pub started_at: Option<UnixMillis>,
    /// Those of the transaction; once it is decided, those that have no marker yet.
    pub partitions: NamedTopicPartitions,
}

impl Transactions {
    /// Those that pass the filter and whose id matches (KIP-1152 has a pattern for it), by id.
    #[must_use]
    pub fn list(&self, now: UnixMillis, filter: &ListFilter, mut matches: impl FnMut(&str) -> bool) -> TransactionList {
        let states: Vec<TransactionState> =
            filter.states.iter().filter_map(|name| TransactionState::of_name(name)).collect();
        let unknown = filter.states.iter().filter(|name| TransactionState::of_name(name).is_none());
        let is_old = |transaction: &Transaction| {
            // Kafka counts from -1 where there was no transaction, which makes those the oldest of all.
            let started_at = transaction.started_at.map_or(-1, |at| at.0);
            filter.duration_ms < 0 || now.0.saturating_sub(started_at) > filter.duration_ms
        };
        let passes = |(id, transaction): &(&String, &Transaction)| {
            (filter.producer_ids.is_empty() || filter.producer_ids.contains(&transaction.producer.id))
                && (filter.states.is_empty() || states.contains(&transaction.state))
                && is_old(transaction)
                && matches(id)
        };
        let line = |(id, transaction): (&String, &Transaction)| TransactionSummary {
            transactional_id: id.clone(),
            producer_id: transaction.producer.id,
            state: transaction.state,
        };
        TransactionList {
            unknown_states: unknown.cloned().collect(),
            transactions: self.transactions.iter().filter(passes).map(line).collect(),
        }
    }

    /// Bytes that the list of all takes, about.
    #[must_use]
    pub fn listed_bytes(&self) -> usize {
        self.transactions.keys().map(|id| LINE_BYTES + id.len()).sum()
    }

    /// Bytes that the description of an id takes, about.
    #[must_use]
    pub fn described_bytes(&self, id: &str) -> usize {
        self.transactions.get(id).map_or(0, |transaction| partitions_bytes(shown(transaction)))
    }

    /// One transactional id.
    ///
    /// # Errors
    /// It is empty, or there is none of that name.
    pub fn describe(&self, id: &str) -> Result<TransactionDescription, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let transaction = self.transactions.get(id).ok_or(TransactionError::NotFound)?;
        Ok(TransactionDescription {
            state: transaction.state,
            producer: transaction.producer,
            timeout_ms: transaction.timeout_ms,
            started_at: transaction.started_at,
            partitions: shown(transaction).clone(),
        })
    }
}

fn shown(transaction: &Transaction) -> &NamedTopicPartitions {
    if transaction.state.is_prepared() { &transaction.unmarked } else { &transaction.partitions }
}
