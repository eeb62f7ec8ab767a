//! The transaction coordinator: who answers for a transactional id, and how its decisions reach the partitions.
//!
//! The walk of every transaction API: `handler::<api>` → `crate::coordinator` (the ids of one partition of `__transaction_state`, applied
//! when enqueued and told when confirmed, as groups are) → `coordinator-core`'s `transactions` (decides) → `markers` (what was decided goes
//! to the partitions once it is durable, and what became of it back into the core) → `handler::write_txn_markers` here, or the same at
//! another broker through `peers`. The other way, a partition's leader asks by [`verify`] whether a producer may begin a transaction in it.
//!
//! Guarantees: no marker leaves before its decision is confirmed (F-1), a transaction is complete when all its partitions have answered
//! (F-3), and after a takeover every decision is brought to its end (F-4). Nothing here decides by a clock but when something is tried again.

mod hosted;
mod markers;
mod peers;
mod verify;

pub(crate) use peers::Peers;
pub(crate) use verify::{added, answer_add, results, verify};

use crate::Shared;
use crate::coordinator::Shard;
use crate::error::Failure;
use base::planted;
use coordinator_core::{Now, TransactionEffects, TransactionError, Transactions};

/// Decides what may need a new producer id: then it is decided once more, with one. Told when confirmed.
pub(crate) async fn run_with_id<T: Send>(
    broker: &Shared,
    shard: &Shard<Transactions>,
    decide: impl Fn(&mut Transactions, Now, &mut TransactionEffects) -> Result<T, TransactionError> + Send + Sync,
) -> Result<T, Failure> {
    loop {
        match planted!("F1", shard.run(broker, &decide).await?, shard.apply(broker, &decide).value) {
            Err(TransactionError::NeedsProducerId) => {
                let id = broker.producer_ids.next(&broker.store).await.map_err(when_no_id)?;
                shard.apply(broker, |transactions, _, _| transactions.supply(id));
            }
            decided => return Ok(decided?),
        }
    }
}

/// Another try may find a ledger that can be written; Kafka's answer while it waits for its controller.
pub(crate) fn when_no_id(failure: Failure) -> Failure {
    match failure {
        Failure::Ledger(_) => Failure::CoordinatorLoading,
        other => other,
    }
}
