//! The share-partitions of one partition of `__share_group_state`, and how they come back from its records.

use crate::consumer::Topics;
use crate::record::{CoordinatorRecord, RecordError};
use crate::share::find_topic;
use crate::share::state::batches::{StateBatch, combine};
use crate::share::state::effects::{ShareStateEffects, ShareStateError};
use crate::share::state::key::ShareStateKey;
use crate::share::state::record::{StateChange, decode, snapshot_record, update_record};
use crate::share::state::write::Update;
use base::UnixMillis;
use std::collections::BTreeMap;

/// What a share-partition takes beyond its texts and batches, about.
const ENTRY_BYTES: usize = 192;
/// What a batch takes, in memory as in a record.
const BATCH_BYTES: usize = size_of::<StateBatch>();

/// Bounds, with Kafka's names where Kafka has them.
#[derive(Debug, Clone)]
pub struct ShareStateOptions {
    /// Updates of a share-partition between two snapshots (`share.coordinator.snapshot.update.records.per.snapshot`). 0: only snapshots.
    pub updates_per_snapshot: u32,
    /// Bytes of a share-partition's snapshot.
    pub record_bytes_max: usize,
}

impl Default for ShareStateOptions {
    /// Kafka's default; where Kafka has no bound, one that no honest leader meets.
    fn default() -> Self {
        ShareStateOptions { updates_per_snapshot: 500, record_bytes_max: 8 << 20 }
    }
}

/// What lasts of a share-partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// How many snapshots there were before.
    pub(crate) snapshot_epoch: i32,
    pub(crate) state_epoch: i32,
    /// The highest that was read with. 0: it was not.
    pub(crate) leader_epoch: i32,
    /// [`crate::UNINITIALIZED_OFFSET`]: its leader has not begun.
    pub(crate) start_offset: i64,
    /// Records from the start on that are done with. -1: unknown.
    pub(crate) delivery_complete_count: i32,
    pub(crate) created_at: UnixMillis,
    /// Of the snapshot, as Kafka has it.
    pub(crate) written_at: UnixMillis,
    pub(crate) batches: Vec<StateBatch>,
}

/// A share-partition.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Updates since its last snapshot.
    pub(super) updates: u32,
}

/// The share-partitions of one partition.
#[derive(Debug, Default)]
pub struct ShareStates {
    pub(super) options: ShareStateOptions,
    pub(super) entries: BTreeMap<ShareStateKey, Entry>,
    /// Bytes of all of them, about.
    bytes: usize,
    /// Bytes that may be added.
    room: usize,
    /// There are records of a kind that is not known.
    holds_others: bool,
}

impl ShareStates {
    /// No share-partitions yet.
    #[must_use]
    pub fn new(options: ShareStateOptions) -> ShareStates {
        ShareStates { options, room: usize::MAX, ..ShareStates::default() }
    }

    /// Applies a record of the log, oldest first, before anything else is asked. Records of unknown kinds are passed over.
    ///
    /// # Errors
    /// The record is damaged, or of a version that is not known; nothing has changed.
    pub fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), RecordError> {
        match decode(record)? {
            StateChange::Snapshot(key, Some(state)) => self.put(key, Entry { state, updates: 0 }),
            StateChange::Snapshot(key, None) => self.take(&key),
            StateChange::Update(key, Some(update)) => {
                // Without a snapshot it is the rest of something that the copy behind it replaces.
                let before = self.entries.get(&key);
                let state = before.map_or_else(|| update.alone(), |before| before.state.updated(&update));
                let updates = before.map_or(0, |before| before.updates) + 1;
                self.put(key, Entry { state, updates });
            }
            StateChange::Update(_, None) => {}
            StateChange::Other => self.holds_others = true,
        }
        Ok(())
    }

    /// Bytes that all share-partitions take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.entries.iter().map(|(key, entry)| bytes_of(key, &entry.state)).sum()
    }

    /// How many share-partitions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes may be added from now on; what is there stays.
    pub fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Whether a copy of the share-partitions is all that the log holds.
    #[must_use]
    pub fn are_all_there_is(&self) -> bool {
        !self.holds_others
    }

    /// A share-partition as it is to be from now on, its record on its way: an update, or a snapshot where there were enough of those.
    pub(super) fn store_update(
        &mut self,
        now: UnixMillis,
        key: &ShareStateKey,
        update: &Update,
        fx: &mut ShareStateEffects,
    ) -> Result<(), ShareStateError> {
        let Some(Entry { state, updates }) = self.entries.get(key) else { return Ok(()) };
        let (next, updates) = (state.updated(update), *updates);
        self.check_room(key, &next)?;
        if updates >= self.options.updates_per_snapshot {
            let snapshot_epoch = next.snapshot_epoch.saturating_add(1);
            let snapshot = State { snapshot_epoch, created_at: now, written_at: now, ..next };
            self.store_snapshot(key, snapshot, fx);
        } else {
            fx.records.push(update_record(key, update));
            self.put(key.clone(), Entry { state: next, updates: updates + 1 });
        }
        Ok(())
    }

    pub(super) fn store_snapshot(&mut self, key: &ShareStateKey, state: State, fx: &mut ShareStateEffects) {
        fx.records.push(snapshot_record(key, &state));
        self.put(key.clone(), Entry { state, updates: 0 });
    }

    /// Whether a share-partition may be so large.
    pub(super) fn check_room(&self, key: &ShareStateKey, next: &State) -> Result<(), ShareStateError> {
        let bytes = bytes_of(key, next);
        let before = self.entries.get(key).map_or(0, |entry| bytes_of(key, &entry.state));
        if bytes > self.options.record_bytes_max {
            return Err(ShareStateError::RecordTooLarge);
        }
        if bytes.saturating_sub(before) > self.room { Err(ShareStateError::NoRoom) } else { Ok(()) }
    }

    fn put(&mut self, key: ShareStateKey, entry: Entry) {
        self.bytes += bytes_of(&key, &entry.state);
        self.take(&key);
        self.entries.insert(key, entry);
    }

    pub(super) fn take(&mut self, key: &ShareStateKey) {
        self.bytes -= self.entries.remove(key).map_or(0, |entry| bytes_of(key, &entry.state));
    }
}

/// The partition is there.
pub(super) fn check_topic(topics: &Topics<'_>, key: &ShareStateKey) -> Result<(), ShareStateError> {
    let is_there = find_topic(topics, key.topic).is_some_and(|topic| key.partition < topic.partitions);
    if is_there { Ok(()) } else { Err(ShareStateError::UnknownPartition) }
}

impl State {
    /// What it is when an update has been applied to it.
    pub(crate) fn updated(&self, update: &Update) -> State {
        let start_offset = if update.start_offset == -1 { self.start_offset } else { update.start_offset };
        State {
            leader_epoch: if update.leader_epoch == -1 { self.leader_epoch } else { update.leader_epoch },
            start_offset,
            delivery_complete_count: update.delivery_complete_count,
            batches: combine(&self.batches, &update.batches, start_offset),
            ..self.clone_without_batches()
        }
    }

    fn clone_without_batches(&self) -> State {
        State { batches: Vec::new(), ..*self }
    }
}

fn bytes_of(key: &ShareStateKey, state: &State) -> usize {
    ENTRY_BYTES + key.group.len() + state.batches.len() * BATCH_BYTES
}
