//! What a leader has decided about records lasts.

use crate::consumer::Topics;
use crate::share::rule;
use crate::share::state::batches::{StateBatch, combine};
use crate::share::state::effects::{ShareStateEffects, ShareStateError};
use crate::share::state::key::ShareStateKey;
use crate::share::state::registry::{Entry, ShareStates, State, check_topic};
use base::UnixMillis;

/// A WriteShareGroupState request for one share-partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// The one that was read. -1: not said.
    pub state_epoch: i32,
    /// -1: not said.
    pub leader_epoch: i32,
    /// -1: it stays.
    pub start_offset: i64,
    /// Records from the start on that are done with. -1: unknown (version 0).
    pub delivery_complete_count: i32,
    /// Batches that have changed.
    pub batches: Vec<StateBatch>,
}

/// What an update says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    /// Of the last snapshot.
    pub(crate) snapshot_epoch: i32,
    pub(crate) leader_epoch: i32,
    /// -1: it stays.
    pub(crate) start_offset: i64,
    pub(crate) delivery_complete_count: i32,
    pub(crate) batches: Vec<StateBatch>,
}

impl Update {
    /// What it says where there is no snapshot.
    pub(crate) fn alone(&self) -> State {
        State {
            snapshot_epoch: self.snapshot_epoch,
            state_epoch: 0,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            delivery_complete_count: self.delivery_complete_count,
            created_at: UnixMillis(0),
            written_at: UnixMillis(0),
            batches: self.batches.clone(),
        }
    }
}

impl ShareStates {
    /// WriteShareGroupState.
    ///
    /// # Errors
    /// Why not; nothing has changed. A leader that is fenced reads again, if it leads still.
    pub fn write(
        &mut self,
        now: UnixMillis,
        topics: &Topics<'_>,
        key: &ShareStateKey,
        write: &StateWrite,
        fx: &mut ShareStateEffects,
    ) -> Result<(), ShareStateError> {
        key.check()?;
        let nothing = "Write operation on uninitialized share partition not allowed.";
        let Entry { state, .. } = self.entries.get(key).ok_or(ShareStateError::Invalid(nothing))?;
        state.check_leader(write.leader_epoch)?;
        let is_fenced = write.state_epoch != -1 && state.state_epoch > write.state_epoch;
        if rule!("a write's state epoch is compared", is_fenced, false) {
            return Err(ShareStateError::FencedStateEpoch);
        }
        check_topic(topics, key)?;
        if write.start_offset < -1
            || write.batches.iter().any(|it| it.first_offset < 0 || it.first_offset > it.last_offset)
        {
            return Err(ShareStateError::Invalid("An offset is negative, or the last of a batch before the first."));
        }
        let update = Update {
            snapshot_epoch: state.snapshot_epoch,
            // Reading makes a leader.
            leader_epoch: state.leader_epoch,
            start_offset: write.start_offset,
            delivery_complete_count: write.delivery_complete_count,
            batches: combine(&[], &write.batches, write.start_offset),
        };
        self.store_update(now, key, &update, fx)
    }
}

impl State {
    /// Who leads, or may have come to lead since.
    pub(super) fn check_leader(&self, leader_epoch: i32) -> Result<(), ShareStateError> {
        let is_fenced = leader_epoch != -1 && self.leader_epoch > leader_epoch;
        let is_fenced = rule!("an older leader is fenced", is_fenced, false);
        if is_fenced { Err(ShareStateError::FencedLeaderEpoch) } else { Ok(()) }
    }
}
