//! A group begins with a share-partition, or begins with it anew.

use crate::consumer::Topics;
use crate::share::UNINITIALIZED_OFFSET;
use crate::share::rule;
use crate::share::state::effects::{ShareStateEffects, ShareStateError};
use crate::share::state::key::ShareStateKey;
use crate::share::state::registry::{Entry, ShareStates, State, check_topic};
use base::UnixMillis;

impl ShareStates {
    /// InitializeShareGroupState: from now on the share-partition begins at that offset ([`UNINITIALIZED_OFFSET`]: where its leader finds
    /// it to), and who writes for an earlier state epoch is fenced.
    ///
    /// A repeat, which comes with the state epoch that is there, changes nothing: by then records may have been delivered. Each epoch of
    /// a group initialises a share-partition in one way ([`crate::Groups::alter_share_offsets`]).
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub fn initialize(
        &mut self,
        now: UnixMillis,
        topics: &Topics<'_>,
        key: &ShareStateKey,
        (state_epoch, start_offset): (i32, i64),
        fx: &mut ShareStateEffects,
    ) -> Result<(), ShareStateError> {
        key.check()?;
        let before = self.entries.get(key).map(|Entry { state, .. }| state);
        if before.is_some_and(|before| rule!("initialize fences", before.state_epoch > state_epoch, false)) {
            return Err(ShareStateError::FencedStateEpoch);
        }
        check_topic(topics, key)?;
        if start_offset < UNINITIALIZED_OFFSET {
            return Err(ShareStateError::Invalid("The start offset is below -1."));
        }
        if before.is_some_and(|before| rule!("a repeat changes nothing", before.state_epoch == state_epoch, false)) {
            return Ok(());
        }
        let state = State {
            snapshot_epoch: before.map_or(0, |before| before.snapshot_epoch.saturating_add(1)),
            state_epoch,
            // What fences a leader outlasts this. Kafka keeps it in memory, and stores 0.
            leader_epoch: before.map_or(0, |before| before.leader_epoch),
            start_offset,
            // From a given offset on it can be counted (KIP-1226).
            delivery_complete_count: if start_offset == UNINITIALIZED_OFFSET { -1 } else { 0 },
            created_at: now,
            written_at: now,
            batches: Vec::new(),
        };
        self.check_room(key, &state)?;
        self.store_snapshot(key, state, fx);
        Ok(())
    }
}
