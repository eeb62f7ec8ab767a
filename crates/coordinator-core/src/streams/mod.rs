//! Streams groups (KIP-1071): members run the tasks of one application, the coordinator says which of them runs what.
//!
//! ```text
//!  heartbeat ─▶ who speaks      ─▶ topology, and     ─▶ group epoch             ─▶ target      ─▶ what it may run now ─▶ answer
//!               `request`          its topics           rises with every           `target`,      `reconcile`           + topics that are
//!               `heartbeat`        `configure`          change of members, of      `assign`                             to be made
//!                                                       topics, of settings
//! ```
//!
//! A *topology* is made of *subtopologies*, each of which reads topics; its *tasks* are numbered as the partitions of these are. A task that
//! is active at a member is so nowhere else; standby tasks keep copies of its state at other processes. Some topics the application makes
//! for itself: through them subtopologies hand records on (*repartition*), or a task's state is kept (*changelog*). The coordinator finds out how
//! many partitions these need and has them made, and assigns nothing before they are there.
//!
//! As in consumer groups (`crate::consumer`) three epochs follow each other, and a member gets its part of a target in two steps: it gives up
//! what is no longer its own, and then takes what is free.
//!
//! Left out, as in Kafka 4.4: topologies that change, source topics by regular expression, warm-up tasks (it assigns none yet), descriptions of
//! topologies (for which it needs a plug-in). As in Kafka 4.3: static members, standby replicas spread by tags.

mod assign;
mod configure;
mod copy;
mod describe;
mod endpoints;
mod heartbeat;
mod leave;
mod offsets;
mod options;
mod partitions;
mod reconcile;
mod record;
mod replay;
mod request;
mod state;
mod target;
mod task_offsets;

pub use configure::{NewInternalTopic, StreamsStatus, StreamsStatusCode};
pub use describe::{StreamsDescription, StreamsMemberDescription, StreamsSummary};
pub use endpoints::{EndpointPartitions, EndpointsSize};
pub use options::{StreamsOptions, StreamsTimes};
pub use request::{StreamsHeartbeatAnswer, StreamsHeartbeatRequest};
pub use state::{StreamsState, TaskSets, Tasks};
pub use task_offsets::{ReportedOffsets, TaskOffset};

pub(crate) use copy::StreamsPlace;
pub(crate) use record::{StreamsChange, read};
pub(crate) use state::Streams;

#[cfg(test)]
mod tests;
