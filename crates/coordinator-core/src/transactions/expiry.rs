//! Transactional ids that nobody has used for long go by themselves.

use crate::transactions::effects::TransactionEffects;
use crate::transactions::registry::Transactions;
use base::UnixMillis;

impl Transactions {
    /// Drops the ids that have had no transaction for as long as `transactional.id.expiration.ms`.
    pub fn expire(&mut self, now: UnixMillis, fx: &mut TransactionEffects) {
        let expiration_ms = i64::try_from(self.options.expiration.as_millis()).unwrap_or(i64::MAX);
        let is_over = now.0.saturating_sub(expiration_ms);
        let unused = self.transactions.iter().filter(|(_, it)| it.state.is_idle() && it.updated_at.0 <= is_over);
        let ids: Vec<String> = unused.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.remove(&id, fx);
        }
    }
}
