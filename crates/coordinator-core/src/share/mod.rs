//! Share groups (KIP-932), the coordinators' side: who is in a group and has which partitions, and what lasts of how far each of a
//! group's partitions has come.
//!
//! ```text
//!  member ─heartbeat─▶ group  ──initialise, delete─▶ state ◀─read, write── leader of a share-partition
//!                      `__consumer_offsets`          `__share_group_state`
//! ```
//!
//! The two are coordinators of their own, in partitions of two topics, on any two brokers; what one asks of the other is a value
//! ([`StateInitialization`], [`StateDeletion`]) that the caller carries over, and it may be late, lost, or carried over twice. What the leader
//! of a share-partition decides (who has which records, for how long) is elsewhere: here it is a client.

mod group;
mod state;

#[cfg(test)]
mod tests;

pub use group::{
    AlterOutcome, DeletionRefused, NewStartOffset, OffsetsDeletion, OffsetsQuestion, ShareConfigError, ShareConfigs,
    ShareDescription, ShareGroupOptions, ShareHeartbeatAnswer, ShareHeartbeatRequest, ShareMemberDescription,
    ShareOffset, ShareState, ShareSummary, StartOffsets, StateDeletion, StateInitialization, told_offset,
};
pub use state::{
    ShareStateCursor, ShareStateEffects, ShareStateError, ShareStateKey, ShareStateOptions, ShareStates, StateBatch,
    StateRead, StateSummary, StateWrite, share_state_record_of_nothing,
};

pub(crate) use group::{Share, ShareChange, SharePlace, read};

use crate::consumer::{TopicInfo, Topics};
use base::TopicId;

/// The offset of a share-partition that nobody has read from yet: where it begins is for its leader to find out.
pub const UNINITIALIZED_OFFSET: i64 = -1;

/// A topic by its id, where it is there.
fn find_topic(topics: &Topics<'_>, topic: TopicId) -> Option<TopicInfo> {
    let name = (topics.name_of)(topic)?;
    (topics.find)(&name).filter(|found| found.id == topic)
}

/// `right`, or `wrong` where a test of this crate has broken the named rule.
macro_rules! rule {
    ($name:literal, $right:expr, $wrong:expr $(,)?) => {{
        #[cfg(test)]
        let value = if $crate::share::tests::broken::is_broken($name) { $wrong } else { $right };
        #[cfg(not(test))]
        let value = $right;
        value
    }};
}
use rule;
