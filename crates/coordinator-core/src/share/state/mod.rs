//! The share coordinator's decisions: what lasts of a share-partition (a group's view of a partition), so that its next leader goes on
//! where the last one was.
//!
//! The walk: a request about one share-partition goes to [`ShareStates`], the share-partitions of one partition of `__share_group_state` →
//! `initialize`, `write`, `read` or `remove` → [`ShareStateEffects`]: the record that makes the change last. As with groups the shell appends it
//! and lets the answer out when it is confirmed. After a takeover the same records go to [`ShareStates::replay`].
//!
//! Two epochs keep out who is late. The *state epoch* is the group's when it had the share-partition initialised: whoever
//! writes for an older one is fenced. The *leader epoch* is that of the partition, told by its leader when it reads: an older leader's writes
//! are fenced from then on.
//!
//! A record is a snapshot, all of a share-partition, or an update of it; after so many updates there is a snapshot, and the copy that
//! bounds the log consists of snapshots. Guarantees: what is read is what all confirmed writes said; the same records give the same state.

mod batches;
mod copy;
mod effects;
mod initialize;
mod key;
mod read;
mod record;
mod registry;
mod remove;
mod write;

pub use batches::StateBatch;
pub use copy::ShareStateCursor;
pub use effects::{ShareStateEffects, ShareStateError};
pub use key::ShareStateKey;
pub use read::{StateRead, StateSummary};
pub use record::share_state_record_of_nothing;
pub use registry::{ShareStateOptions, ShareStates};
pub use write::StateWrite;

#[cfg(test)]
pub(crate) use {
    batches::combine,
    record::{StateChange, decode, snapshot_record, tombstone, update_record},
    registry::State,
    write::Update,
};
