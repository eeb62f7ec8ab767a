//! What must never be in the small world, and what must be when all is healed.

use super::{Message, Outcome, PARTITIONS, Partition, World};
use crate::transactions::tests::bench::{ID, TIMEOUT_MS};
use crate::transactions::{InitRequest, TransactionState};
use std::time::Duration;

impl World {
    pub(super) fn check(&self) -> Outcome {
        for (number, txn) in self.txns.iter().enumerate() {
            let outcomes = [0, 1].map(|place: usize| self.partitions[place].outcome(number));
            for outcome in outcomes.into_iter().flatten() {
                if outcome && txn.asked != Some(true) {
                    return Err("a transaction is committed whose producer did not ask for it");
                }
                if txn.told.is_some_and(|told| told != outcome) {
                    return Err("an outcome is not the one that was told");
                }
            }
            if let [Some(first), Some(second)] = outcomes
                && first != second
            {
                return Err("a transaction is committed in one partition and aborted in the other");
            }
            for (place, partition) in self.partitions.iter().enumerate() {
                if txn.told == Some(true) && txn.acknowledged[place] && !partition.has(number) {
                    return Err("data that was told committed is gone");
                }
            }
        }
        if self.transactions.bytes() != self.transactions.count() {
            return Err("what is counted is not what is there");
        }
        Ok(())
    }

    /// No more faults, and the processes are gone: what is open is aborted for its age, and all partitions hear of it.
    pub(super) fn heal(&mut self) -> Outcome {
        for _ in 0..4 {
            self.pass(Duration::from_millis(u64::from(TIMEOUT_MS.unsigned_abs()) + 1));
            self.settle()?;
        }
        if !self.state().is_none_or(TransactionState::is_idle) {
            return Err("a transaction is never complete");
        }
        let is_open = |it: &Partition| (0..it.log.len()).any(|at| it.is_open(at));
        if self.partitions.iter().any(is_open) {
            return Err("data is open for ever");
        }
        let request = InitRequest { transactional_id: ID.to_owned(), timeout_ms: TIMEOUT_MS, ..InitRequest::default() };
        let begun = self.decide(|transactions, now, fx| transactions.init(now, &request, fx));
        begun.map(drop).map_err(|_| "a new producer never gets its epoch")
    }

    fn settle(&mut self) -> Outcome {
        for _ in 0..4 {
            self.confirmed = self.log.len();
            self.release();
            self.network.retain(|message| !matches!(message, Message::Ask { .. } | Message::Reply { .. }));
            for _ in 0..self.network.len() {
                self.deliver(false)?;
            }
            (0..PARTITIONS).for_each(|partition| self.confirm_all_of(partition));
            self.check()?;
        }
        Ok(())
    }
}
