//! Kafka's feature levels (KIP-584): those that ApiVersions tells and UpdateFeatures judges.
//!
//! Only `metadata.version` is told, by which Kafka's tools know whose messages a broker speaks. The levels of groups and transactions are
//! each the promise of a protocol, and come with it: a producer takes to newer transactions where it reads of them.

/// A feature with a level.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// The levels that brokers can have.
    pub(crate) least: i16,
    pub(crate) most: i16,
    /// The one that the cluster has.
    pub(crate) level: i16,
}

/// From Kafka's number of 3.3-IV3, the lowest that a Kafka of series 4 serves, to that of 4.3-IV0. The level is fixed: all brokers of a
/// cluster read the ledger in the version that it is written in.
pub(crate) static FEATURES: [Feature; 1] = [Feature { name: "metadata.version", least: 7, most: 30, level: 30 }];

/// Features that Kafka knows and that have no level here: for both that is level 0.
pub(crate) static WITHOUT_LEVEL: [&str; 6] = [
    "eligible.leader.replicas.version",
    "group.version",
    "kraft.version",
    "share.version",
    "streams.version",
    "transaction.version",
];
