//! A leader begins where the last one was, which is fenced then; and others look on.

use crate::consumer::Topics;
use crate::share::UNINITIALIZED_OFFSET;
use crate::share::rule;
use crate::share::state::batches::StateBatch;
use crate::share::state::effects::{ShareStateEffects, ShareStateError};
use crate::share::state::key::ShareStateKey;
use crate::share::state::registry::{Entry, ShareStates, check_topic};
use crate::share::state::write::Update;
use base::UnixMillis;

/// What a leader is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRead {
    /// Its writes come with this.
    pub state_epoch: i32,
    /// [`UNINITIALIZED_OFFSET`]: it is to find out where to begin.
    pub start_offset: i64,
    /// In order, without overlaps. Nothing is known of records that are in none.
    pub batches: Vec<StateBatch>,
}

/// What the group's coordinator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSummary {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    /// -1: unknown.
    pub delivery_complete_count: i32,
}

impl Default for StateSummary {
    /// Of a share-partition that is not there.
    fn default() -> Self {
        StateSummary {
            state_epoch: 0,
            leader_epoch: 0,
            start_offset: UNINITIALIZED_OFFSET,
            delivery_complete_count: -1,
        }
    }
}

impl ShareStates {
    /// ReadShareGroupState, by the leader of that epoch; -1: by nobody in particular.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub fn read(
        &mut self,
        now: UnixMillis,
        topics: &Topics<'_>,
        key: &ShareStateKey,
        leader_epoch: i32,
        fx: &mut ShareStateEffects,
    ) -> Result<StateRead, ShareStateError> {
        key.check()?;
        let nothing = "Read operation on uninitialized share partition not allowed.";
        let Entry { state, .. } = self.entries.get(key).ok_or(ShareStateError::Invalid(nothing))?;
        state.check_leader(leader_epoch)?;
        check_topic(topics, key)?;
        let answer = StateRead {
            state_epoch: state.state_epoch,
            start_offset: state.start_offset,
            batches: state.batches.clone(),
        };
        if leader_epoch != -1 && leader_epoch != state.leader_epoch {
            let update = Update {
                snapshot_epoch: state.snapshot_epoch,
                leader_epoch: rule!("reading fences older leaders", leader_epoch, state.leader_epoch),
                start_offset: state.start_offset,
                delivery_complete_count: state.delivery_complete_count,
                batches: Vec::new(),
            };
            self.store_update(now, key, &update, fx)?;
        }
        Ok(answer)
    }

    /// ReadShareGroupStateSummary. A share-partition that is not there is told as one that nobody has read from.
    ///
    /// # Errors
    /// The request is not valid, or there is no such partition.
    pub fn summary(&self, topics: &Topics<'_>, key: &ShareStateKey) -> Result<StateSummary, ShareStateError> {
        key.check()?;
        check_topic(topics, key)?;
        let of = |Entry { state, .. }: &Entry| StateSummary {
            state_epoch: state.state_epoch,
            leader_epoch: state.leader_epoch,
            start_offset: state.start_offset,
            delivery_complete_count: state.delivery_complete_count,
        };
        Ok(self.entries.get(key).map(of).unwrap_or_default())
    }
}
