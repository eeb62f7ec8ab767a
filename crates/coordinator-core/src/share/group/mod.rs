//! The group coordinator's decisions about share groups: members say which topics they subscribe to, the coordinator shares out their
//! partitions, to several members each where there are more members than partitions.
//!
//! ```text
//!  heartbeat ─▶ who speaks      ─▶ what it says   ─▶ group epoch             ─▶ target      ─▶ what it has now ─▶ answer
//!               `request`          `heartbeat`       rises with every            `target`,     `heartbeat`          + what is to be
//!               `heartbeat`                          change of subscriptions,    `assign`                             initialised, `topics`
//!                                                    of their topics, or of what
//!                                                    is initialised
//! ```
//!
//! Nobody needs to give up anything before another one gets it, so a member has its part of a target with its next heartbeat. But a partition
//! is shared out only when the share coordinator has something to keep its progress in: with a heartbeat (and with
//! new offsets, `alter`) topics go into *initializing* and a [`StateInitialization`] to the share coordinator; its answer moves them to
//! *initialized*. Deleting goes the other way, through *deleting* and a [`StateDeletion`] (`remove`). What is asked of the share coordinator leaves
//! when the records are confirmed.
//!
//! A group is a [`Share`] inside of a [`crate::group::Group`]. It is a share group until it is deleted, has no committed offsets, and does not
//! expire. All that lasts is in Kafka's records (`record`), one for each part, so that a heartbeat that changes nothing appends nothing.

mod alter;
mod assign;
mod configs;
mod copy;
mod describe;
mod heartbeat;
mod leave;
mod offsets;
mod options;
mod record;
mod remove;
mod replay;
mod request;
mod state;
mod target;
mod topics;

pub use alter::{AlterOutcome, NewStartOffset};
pub use configs::{ShareConfigError, ShareConfigs};
pub use describe::{ShareDescription, ShareMemberDescription, ShareSummary};
pub use offsets::{OffsetsQuestion, ShareOffset, told_offset};
pub use options::ShareGroupOptions;
pub use remove::{DeletionRefused, OffsetsDeletion, StateDeletion};
pub use request::{ShareHeartbeatAnswer, ShareHeartbeatRequest};
pub use state::ShareState;
pub use topics::{StartOffsets, StateInitialization};

pub(crate) use copy::SharePlace;
pub(crate) use record::{ShareChange, read};
pub(crate) use state::Share;

#[cfg(test)]
pub(crate) use {
    assign::assign,
    record::{Key, Value},
    state::{Current, Metadata, Named, StateTopics},
};
