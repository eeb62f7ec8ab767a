//! Consumer groups of the newer protocol (KIP-848): members say what they subscribe to, the coordinator assigns.
//!
//! ```text
//!  heartbeat ─▶ who speaks      ─▶ what it says       ─▶ group epoch            ─▶ target         ─▶ what it may hold now ─▶ answer
//!               `request`          `heartbeat`,          rises with every          `target`,         `reconcile`
//!               `heartbeat`        `pattern`             change of subscriptions   `assign`
//!                                                        or of their topics
//! ```
//!
//! Three epochs follow each other: the group's, that of the target assignment, and each member's. A member gets its part of a new
//! target in two steps, of its own heartbeats: it gives up what is no longer its own, and then takes what is free. A partition
//! is free when no member holds it, in either list of its current assignment; so it never has two owners.
//!
//! A group is a [`Consumer`] inside of a [`crate::group::Group`], which holds its committed offsets whatever its kind. All that lasts is in
//! Kafka's records (`record`), one for each part, so that a heartbeat that changes nothing appends nothing. What is derived (who has
//! which instance id, how many hold a partition) is kept beside, by the few functions that change a `Consumer`.
//!
//! A classic group of consumers becomes such a group while it runs (`upgrade`), and a classic one again (`downgrade`). In between some of
//! its members go on speaking the classic protocol (`classic_join`, `classic_members`, `embedded`); what they are to have is decided as for
//! all others.
//!
//! Racks of members are stored and told, and no assignor looks at them, as in Kafka 4.

mod assign;
mod classic_join;
mod classic_members;
mod copy;
mod derived;
mod describe;
mod downgrade;
mod embedded;
mod heartbeat;
mod leave;
mod offsets;
mod options;
mod pattern;
mod reconcile;
mod record;
mod replay;
mod request;
mod state;
mod stored_classic;
mod target;
mod topics;
mod upgrade;

pub use assign::Assignor;
pub use describe::{ConsumerDescription, ConsumerMemberDescription, ConsumerSummary, NamedPartitions};
pub use options::{ConsumerOptions, ConsumerTimes, Migration};
pub use request::{HeartbeatAnswer, HeartbeatRequest, LEAVES, LEAVES_FOR_NOW};
pub use state::{ConsumerState, MemberState, Partitions};
pub use topics::{Names, TopicInfo, Topics};

pub(crate) use copy::Place;
pub(crate) use pattern::{Matching, Pattern, compile};
pub(crate) use record::{ConsumerChange, read};
pub(crate) use state::Consumer;
pub(crate) use topics::{hash_of_group, hash_of_topic};

#[cfg(test)]
pub(crate) use {
    assign::{Members, Wish, assign},
    embedded::{read_assignment, read_subscription},
    record::{Key, Value},
    state::{Classic, Current, Held, Metadata, Resolved},
};
