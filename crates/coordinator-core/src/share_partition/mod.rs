//! What the leader of a share-partition decides (KIP-932): which member has which records, until when, and what becomes of them.
//!
//! The walk: the state that the persister has kept makes a [`SharePartition`]; what was read of the log goes to `acquire`, and
//! comes back to `acknowledge`, or to `locks` when the time is over → [`ShareEffects`]: writes to the persister, answers. A change holds
//! at once and is told when its write is confirmed; until then it is hidden (not delivered anew, not passed by the start), and undone where
//! the write fails. A fetch or acknowledgement belongs to a session of its member, which `sessions` keeps.
//!
//! Guarantees: a member has a record alone until it gives it back or its time is over; what it was told is accepted stays so, as far as the
//! persister refuses leaders of the past, and each record is delivered until it is accepted, rejected, or was delivered too often.
//! That these rules do, and are needed, is modelled in `crates/models/src/share_partition`. Leaves to others: the log, the persister, the wire,
//! who is in the group, waiting.

mod acknowledge;
mod acquire;
mod batch;
mod effects;
mod fetched;
mod locks;
mod options;
mod partition;
mod record;
mod sessions;
mod start;
mod writes;

#[cfg(test)]
mod tests;

pub use acknowledge::{AcknowledgeBatch, acknowledgements_are_valid};
pub use acquire::{AcquireMode, AcquireRequest};
pub use effects::{DeadLetter, DeadLetterCause, ShareEffects, ShareError, ShareStateBatch, ShareWrite};
pub use fetched::{Acquired, AcquiredRange, Fetched, FetchedAbort, FetchedBatch};
pub use options::{ShareOffsetReset, ShareOptions, StartLookup};
pub use partition::{PersistedShare, ShareLoadError, SharePartition};
pub use record::DeliveryState;
pub use sessions::{
    EndedSession, SHARE_SESSION_BEGINS, SHARE_SESSION_ENDS, ShareSessionAnswer, ShareSessionError, ShareSessionKey,
    ShareSessionRequest, ShareSessions, SharedPartition,
};

/// `right`, or `wrong` where a test of this crate has broken the named rule, or a build with planted bugs has it awake.
macro_rules! rule {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {{
        #[cfg(test)]
        let value = if $crate::share_partition::tests::broken::is_broken($name) {
            $wrong
        } else {
            base::planted!($name, $right, $wrong)
        };
        #[cfg(not(test))]
        let value = base::planted!($name, $right, $wrong);
        value
    }};
}
use rule;
