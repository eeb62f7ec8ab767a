//! Kafka's feature levels (KIP-584): those that ApiVersions tells and UpdateFeatures judges.
//!
//! `metadata.version` is told, by which Kafka's tools know whose messages a broker speaks. The others are each the promise of a protocol, and
//! come with it: of consumer groups (KIP-848), of share groups (KIP-932), of streams groups (KIP-1071), and of transactions that end with a higher epoch each, which producers take to where they
//! read of them (KIP-890).

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

/// Those that are told. All are fixed: `metadata.version` from Kafka's number of 3.3-IV3, the lowest that a Kafka of series 4 serves, to that
/// of 4.3-IV0, as all brokers of a cluster read the ledger in the version that it is written in; the others say that the protocol is served.
pub(crate) static FEATURES: [Feature; 5] = [
    Feature { name: "metadata.version", least: 7, most: 30, level: 30 },
    Feature { name: "group.version", least: 0, most: 1, level: 1 },
    Feature { name: "streams.version", least: 0, most: 1, level: 1 },
    Feature { name: "transaction.version", least: 0, most: 2, level: 2 },
    Feature { name: "share.version", least: 0, most: 1, level: 1 },
];

/// Features that Kafka knows and that have no level here: for both that is level 0.
pub(crate) static WITHOUT_LEVEL: [&str; 2] = ["eligible.leader.replicas.version", "kraft.version"];
