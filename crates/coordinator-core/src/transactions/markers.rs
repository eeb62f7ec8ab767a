//! WriteTxnMarkers, seen from the coordinator: which partitions are still to be told, and when all have been.

use crate::groups::Now;
use crate::transactions::effects::{Marker, MarkerOutcome, TransactionEffects};
use crate::transactions::registry::Transactions;
use crate::transactions::rule;
use crate::transactions::state::{Producer, TransactionState};

impl Transactions {
    /// What became of a marker. With the last partition the transaction is complete (F-3). Answers to markers of other transactions, which
    /// come late, say nothing.
    pub fn marked(
        &mut self,
        now: Now,
        id: &str,
        producer: Producer,
        outcomes: &[(String, i32, MarkerOutcome)],
        fx: &mut TransactionEffects,
    ) {
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        if !transaction.state.is_prepared() || transaction.producer != producer {
            return;
        }
        for (topic, partition, outcome) in outcomes {
            if *outcome == MarkerOutcome::Retry {
                continue;
            }
            if let Some(partitions) = transaction.unmarked.get_mut(topic) {
                partitions.remove(partition);
                if partitions.is_empty() {
                    transaction.unmarked.remove(topic);
                }
            }
        }
        let is_complete = rule!("all partitions are told", transaction.unmarked.is_empty(), true);
        self.recount(id);
        if is_complete {
            self.complete(id, now, fx);
        } else if rule!("markers are sent again", outcomes.iter().any(|(_, _, it)| *it == MarkerOutcome::Retry), false)
        {
            self.set_deadline(id, Some(now.at.plus(self.options.marker_retry_wait)));
        }
    }

    /// Sends the markers that are missing. A transaction without any is complete.
    pub(crate) fn send_markers(&mut self, id: &str, now: Now, fx: &mut TransactionEffects) {
        let Some(transaction) = self.transactions.get(id).filter(|it| it.state.is_prepared()) else { return };
        if transaction.unmarked.is_empty() {
            return self.complete(id, now, fx);
        }
        fx.markers.push(Marker {
            transactional_id: id.to_owned(),
            producer: transaction.producer,
            commit: transaction.state == TransactionState::PrepareCommit,
            version: transaction.version,
            partitions: transaction.unmarked.clone(),
        });
    }
}
