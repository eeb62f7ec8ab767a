//! The copy that bounds the log, as that of groups: a snapshot of each share-partition as it is at that moment, slice by slice.
//!
//! It takes the place of what Kafka does beside its snapshots: to make one of every share-partition that has been idle for
//! five minutes, and to delete the records before the oldest last one.

use crate::share::state::effects::ShareStateEffects;
use crate::share::state::key::ShareStateKey;
use crate::share::state::record::snapshot_record;
use crate::share::state::registry::ShareStates;
use std::ops::Bound;

/// How far a copy has come: the last share-partition that is in it.
#[derive(Debug, Clone, Default)]
pub struct ShareStateCursor {
    key: Option<ShareStateKey>,
}

impl ShareStates {
    /// The next records of a copy, about `bytes_max` of them; whether it is whole then.
    pub fn copy(&self, cursor: &mut ShareStateCursor, bytes_max: usize, fx: &mut ShareStateEffects) -> bool {
        let mut bytes_left = bytes_max;
        let first = cursor.key.clone().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, entry) in self.entries.range((first, Bound::Unbounded)) {
            if bytes_left == 0 {
                return false;
            }
            let record = snapshot_record(key, &entry.state);
            bytes_left = bytes_left.saturating_sub(record.len());
            fx.records.push(record);
            cursor.key = Some(key.clone());
        }
        true
    }
}
