//! The copy that bounds the log, as that of groups: all ids as they are stored at that moment, slice by slice.

use crate::transactions::effects::TransactionEffects;
use crate::transactions::record::record;
use crate::transactions::registry::Transactions;
use std::ops::Bound;

/// How far a copy has come: the last id that is in it.
#[derive(Debug, Clone, Default)]
pub struct TransactionCursor {
    id: Option<String>,
}

impl Transactions {
    /// The next records of a copy, about `bytes_max` of them; whether it is whole then.
    pub fn copy(&self, cursor: &mut TransactionCursor, bytes_max: usize, fx: &mut TransactionEffects) -> bool {
        let mut bytes_left = bytes_max;
        let first = cursor.id.clone().map_or(Bound::Unbounded, Bound::Excluded);
        for (id, transaction) in self.transactions.range::<String, _>((first, Bound::Unbounded)) {
            if bytes_left == 0 {
                return false;
            }
            let record = record(id, Some(transaction));
            bytes_left = bytes_left.saturating_sub(record.len());
            fx.records.push(record);
            cursor.id = Some(id.clone());
        }
        true
    }
}
