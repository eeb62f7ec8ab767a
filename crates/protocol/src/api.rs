//! The table of APIs that Millstream serves: key, versions, who may call it. What ApiVersions answers is read from here, and so
//! is whether a request is taken at all; the broker's dispatch is a `match` on the key with an arm for each row.
//!
//! A version is served where this table and the message's definition both have it.

use crate::api_key::{ApiKey, DEFINED};

/// One served API.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Its key, which also names its handler: `broker/src/handler/<name>`.
    pub key: ApiKey,
    /// The first version served.
    pub first: i16,
    /// The last version served; `i16::MAX` means all that the definition has.
    last: i16,
    /// What a caller needs: each rule for each resource of its kind that the request names. None means that anybody may call.
    pub rules: &'static [Rule],
}

/// An operation that the caller must be allowed to do with a kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub operation: Operation,
    /// With what.
    pub resource: Resource,
    /// When the rule applies.
    pub when: When,
}

/// Kafka's operations, by their numbers in ACLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
    CreateTokens = 13,
    DescribeTokens = 14,
}

/// Kafka's kinds of resource, by their numbers in ACLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum Resource {
    Topic = 2,
    Group = 3,
    Cluster = 4,
    TransactionalId = 5,
    DelegationToken = 6,
    User = 7,
}

/// When a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// To every call.
    Always,
    /// Only where the request names a resource of that kind, or does by its content what the rule is about.
    Concerned,
    /// Where the rule before it doesn't allow the call, this one may.
    Else,
}

const fn rule(operation: Operation, resource: Resource, when: When) -> Rule {
    Rule { operation, resource, when }
}

const fn api(key: ApiKey, first: i16, last: i16, rules: &'static [Rule]) -> Api {
    Api { key, first, last, rules }
}

const ALL: i16 = i16::MAX;

/// What a member of a share group needs.
const SHARES: [Rule; 2] =
    [rule(Operation::Read, Resource::Group, When::Always), rule(Operation::Read, Resource::Topic, When::Concerned)];

/// Sorted by key.
pub static SERVED: [Api; 79] = [
    // Before version 3 the records are message sets of the older formats, which become batches.
    api(
        ApiKey::Produce,
        0,
        ALL,
        &[
            rule(Operation::Write, Resource::Topic, When::Always),
            rule(Operation::Write, Resource::TransactionalId, When::Concerned),
        ],
    ),
    // Before version 4 the answer is converted to the older formats.
    api(
        ApiKey::Fetch,
        0,
        ALL,
        &[
            rule(Operation::Read, Resource::Topic, When::Always),
            rule(Operation::ClusterAction, Resource::Cluster, When::Concerned),
        ],
    ),
    api(ApiKey::ListOffsets, 0, ALL, &[rule(Operation::Describe, Resource::Topic, When::Always)]),
    api(
        ApiKey::Metadata,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Topic, When::Always),
            rule(Operation::Create, Resource::Cluster, When::Concerned),
            rule(Operation::Create, Resource::Topic, When::Else),
        ],
    ),
    api(
        ApiKey::OffsetCommit,
        0,
        ALL,
        &[rule(Operation::Read, Resource::Group, When::Always), rule(Operation::Read, Resource::Topic, When::Always)],
    ),
    api(
        ApiKey::OffsetFetch,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Always),
        ],
    ),
    api(
        ApiKey::FindCoordinator,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Group, When::Concerned),
            rule(Operation::Describe, Resource::TransactionalId, When::Concerned),
            // Of a share-partition.
            rule(Operation::ClusterAction, Resource::Cluster, When::Concerned),
        ],
    ),
    api(ApiKey::JoinGroup, 0, ALL, &[rule(Operation::Read, Resource::Group, When::Always)]),
    api(ApiKey::Heartbeat, 0, ALL, &[rule(Operation::Read, Resource::Group, When::Always)]),
    api(ApiKey::LeaveGroup, 0, ALL, &[rule(Operation::Read, Resource::Group, When::Always)]),
    api(ApiKey::SyncGroup, 0, ALL, &[rule(Operation::Read, Resource::Group, When::Always)]),
    api(ApiKey::DescribeGroups, 0, ALL, &[rule(Operation::Describe, Resource::Group, When::Always)]),
    api(
        ApiKey::ListGroups,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Cluster, When::Always),
            rule(Operation::Describe, Resource::Group, When::Else),
        ],
    ),
    api(ApiKey::SaslHandshake, 0, ALL, &[]),
    api(ApiKey::ApiVersions, 0, ALL, &[]),
    api(
        ApiKey::CreateTopics,
        0,
        ALL,
        &[
            rule(Operation::Create, Resource::Cluster, When::Always),
            rule(Operation::Create, Resource::Topic, When::Else),
        ],
    ),
    api(
        ApiKey::DeleteTopics,
        0,
        ALL,
        &[
            rule(Operation::Delete, Resource::Cluster, When::Always),
            rule(Operation::Delete, Resource::Topic, When::Else),
        ],
    ),
    api(ApiKey::DeleteRecords, 0, ALL, &[rule(Operation::Delete, Resource::Topic, When::Always)]),
    api(
        ApiKey::InitProducerId,
        0,
        ALL,
        &[
            rule(Operation::Write, Resource::TransactionalId, When::Concerned),
            rule(Operation::IdempotentWrite, Resource::Cluster, When::Concerned),
            // Who may write to some topic may do so idempotently (KIP-679).
            rule(Operation::Write, Resource::Topic, When::Else),
        ],
    ),
    api(
        ApiKey::OffsetForLeaderEpoch,
        0,
        ALL,
        &[
            rule(Operation::ClusterAction, Resource::Cluster, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Else),
        ],
    ),
    // Up to version 3 from clients, from version 4 on from brokers.
    api(
        ApiKey::AddPartitionsToTxn,
        0,
        ALL,
        &[
            rule(Operation::Write, Resource::TransactionalId, When::Concerned),
            rule(Operation::Write, Resource::Topic, When::Concerned),
            rule(Operation::ClusterAction, Resource::Cluster, When::Concerned),
        ],
    ),
    api(
        ApiKey::AddOffsetsToTxn,
        0,
        ALL,
        &[
            rule(Operation::Write, Resource::TransactionalId, When::Always),
            rule(Operation::Read, Resource::Group, When::Always),
        ],
    ),
    api(ApiKey::EndTxn, 0, ALL, &[rule(Operation::Write, Resource::TransactionalId, When::Always)]),
    // Sent by a transaction's coordinator to the leaders of what is part of it.
    api(
        ApiKey::WriteTxnMarkers,
        0,
        ALL,
        &[
            rule(Operation::Alter, Resource::Cluster, When::Always),
            rule(Operation::ClusterAction, Resource::Cluster, When::Else),
        ],
    ),
    api(
        ApiKey::TxnOffsetCommit,
        0,
        ALL,
        &[
            rule(Operation::Write, Resource::TransactionalId, When::Always),
            rule(Operation::Read, Resource::Group, When::Always),
            rule(Operation::Read, Resource::Topic, When::Always),
        ],
    ),
    api(ApiKey::DescribeAcls, 0, ALL, &[rule(Operation::Describe, Resource::Cluster, When::Always)]),
    api(ApiKey::CreateAcls, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(ApiKey::DeleteAcls, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(
        ApiKey::DescribeConfigs,
        0,
        ALL,
        &[
            rule(Operation::DescribeConfigs, Resource::Cluster, When::Concerned),
            rule(Operation::DescribeConfigs, Resource::Topic, When::Concerned),
            rule(Operation::DescribeConfigs, Resource::Group, When::Concerned),
        ],
    ),
    api(
        ApiKey::AlterConfigs,
        0,
        ALL,
        &[
            rule(Operation::AlterConfigs, Resource::Cluster, When::Concerned),
            rule(Operation::AlterConfigs, Resource::Topic, When::Concerned),
            rule(Operation::AlterConfigs, Resource::Group, When::Concerned),
        ],
    ),
    api(ApiKey::AlterReplicaLogDirs, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(ApiKey::DescribeLogDirs, 0, ALL, &[rule(Operation::Describe, Resource::Cluster, When::Always)]),
    api(ApiKey::SaslAuthenticate, 0, ALL, &[]),
    api(ApiKey::CreatePartitions, 0, ALL, &[rule(Operation::Alter, Resource::Topic, When::Always)]),
    // For oneself everybody who has logged in may have one.
    api(ApiKey::CreateDelegationToken, 0, ALL, &[rule(Operation::CreateTokens, Resource::User, When::Concerned)]),
    // Whose a token is says who may do these.
    api(ApiKey::RenewDelegationToken, 0, ALL, &[]),
    api(ApiKey::ExpireDelegationToken, 0, ALL, &[]),
    // Others' that the caller may not describe are left out.
    api(
        ApiKey::DescribeDelegationToken,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::DelegationToken, When::Concerned),
            rule(Operation::DescribeTokens, Resource::User, When::Else),
        ],
    ),
    api(ApiKey::DeleteGroups, 0, ALL, &[rule(Operation::Delete, Resource::Group, When::Always)]),
    api(ApiKey::ElectLeaders, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(
        ApiKey::IncrementalAlterConfigs,
        0,
        ALL,
        &[
            rule(Operation::AlterConfigs, Resource::Cluster, When::Concerned),
            rule(Operation::AlterConfigs, Resource::Topic, When::Concerned),
            rule(Operation::AlterConfigs, Resource::Group, When::Concerned),
        ],
    ),
    api(ApiKey::AlterPartitionReassignments, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(ApiKey::ListPartitionReassignments, 0, ALL, &[rule(Operation::Describe, Resource::Cluster, When::Always)]),
    api(
        ApiKey::OffsetDelete,
        0,
        ALL,
        &[rule(Operation::Delete, Resource::Group, When::Always), rule(Operation::Read, Resource::Topic, When::Always)],
    ),
    api(ApiKey::DescribeClientQuotas, 0, ALL, &[rule(Operation::DescribeConfigs, Resource::Cluster, When::Always)]),
    api(ApiKey::AlterClientQuotas, 0, ALL, &[rule(Operation::AlterConfigs, Resource::Cluster, When::Always)]),
    api(ApiKey::DescribeUserScramCredentials, 0, ALL, &[rule(Operation::Describe, Resource::Cluster, When::Always)]),
    api(ApiKey::AlterUserScramCredentials, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(ApiKey::DescribeQuorum, 0, ALL, &[rule(Operation::Describe, Resource::Cluster, When::Always)]),
    api(ApiKey::UpdateFeatures, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    // Who may not describe the cluster is told its brokers, but not what may be done with it.
    api(ApiKey::DescribeCluster, 0, ALL, &[rule(Operation::Describe, Resource::Cluster, When::Concerned)]),
    api(ApiKey::DescribeProducers, 0, ALL, &[rule(Operation::Read, Resource::Topic, When::Always)]),
    api(ApiKey::UnregisterBroker, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    // What of its topics the caller may not describe is left out.
    api(
        ApiKey::DescribeTransactions,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::TransactionalId, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Always),
        ],
    ),
    // Those that the caller may not describe are left out.
    api(ApiKey::ListTransactions, 0, ALL, &[rule(Operation::Describe, Resource::TransactionalId, When::Always)]),
    api(
        ApiKey::ConsumerGroupHeartbeat,
        0,
        ALL,
        &[
            rule(Operation::Read, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
        ],
    ),
    // Who may not describe a topic that a member of a group has is told nothing of that group.
    api(
        ApiKey::ConsumerGroupDescribe,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
        ],
    ),
    // A client tells of itself and of nobody else.
    api(ApiKey::GetTelemetrySubscriptions, 0, ALL, &[]),
    api(ApiKey::PushTelemetry, 0, ALL, &[]),
    api(ApiKey::ListConfigResources, 0, ALL, &[rule(Operation::DescribeConfigs, Resource::Cluster, When::Always)]),
    api(ApiKey::DescribeTopicPartitions, 0, ALL, &[rule(Operation::Describe, Resource::Topic, When::Always)]),
    api(
        ApiKey::ShareGroupHeartbeat,
        1,
        ALL,
        &[
            rule(Operation::Read, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
        ],
    ),
    api(
        ApiKey::ShareGroupDescribe,
        1,
        ALL,
        &[
            rule(Operation::Describe, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
        ],
    ),
    api(ApiKey::ShareFetch, 1, ALL, &SHARES),
    api(ApiKey::ShareAcknowledge, 1, ALL, &SHARES),
    api(ApiKey::AddRaftVoter, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    api(ApiKey::RemoveRaftVoter, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
    // These five are sent by coordinators of groups and by leaders of partitions.
    api(ApiKey::InitializeShareGroupState, 0, ALL, &[rule(Operation::ClusterAction, Resource::Cluster, When::Always)]),
    api(ApiKey::ReadShareGroupState, 0, ALL, &[rule(Operation::ClusterAction, Resource::Cluster, When::Always)]),
    api(ApiKey::WriteShareGroupState, 0, ALL, &[rule(Operation::ClusterAction, Resource::Cluster, When::Always)]),
    api(ApiKey::DeleteShareGroupState, 0, ALL, &[rule(Operation::ClusterAction, Resource::Cluster, When::Always)]),
    api(ApiKey::ReadShareGroupStateSummary, 0, ALL, &[rule(Operation::ClusterAction, Resource::Cluster, When::Always)]),
    // Who may not create the application's internal topics runs it all the same where they are there.
    api(
        ApiKey::StreamsGroupHeartbeat,
        0,
        ALL,
        &[
            rule(Operation::Read, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
            rule(Operation::Create, Resource::Cluster, When::Concerned),
            rule(Operation::Create, Resource::Topic, When::Else),
        ],
    ),
    api(
        ApiKey::StreamsGroupDescribe,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
        ],
    ),
    api(
        ApiKey::DescribeShareGroupOffsets,
        0,
        ALL,
        &[
            rule(Operation::Describe, Resource::Group, When::Always),
            rule(Operation::Describe, Resource::Topic, When::Concerned),
        ],
    ),
    api(
        ApiKey::AlterShareGroupOffsets,
        0,
        ALL,
        &[rule(Operation::Read, Resource::Group, When::Always), rule(Operation::Read, Resource::Topic, When::Always)],
    ),
    api(
        ApiKey::DeleteShareGroupOffsets,
        0,
        ALL,
        &[rule(Operation::Delete, Resource::Group, When::Always), rule(Operation::Read, Resource::Topic, When::Always)],
    ),
    api(ApiKey::StreamsGroupTopologyDescriptionUpdate, 0, ALL, &[rule(Operation::Read, Resource::Group, When::Always)]),
    api(ApiKey::UnregisterController, 0, ALL, &[rule(Operation::Alter, Resource::Cluster, When::Always)]),
];

impl Api {
    /// The last version served.
    #[must_use]
    pub fn last(&self) -> i16 {
        self.last.min(self.key.defined().3)
    }

    /// Whether a version is served.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        self.first <= version && version <= self.last()
    }
}

/// The row of an API, where it is served at all.
#[must_use]
pub fn served(key: ApiKey) -> Option<&'static Api> {
    SERVED.iter().find(|api| api.key == key)
}

impl ApiKey {
    /// The API with this number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<ApiKey> {
        let at = DEFINED.binary_search_by_key(&number, |row| row.0.number()).ok()?;
        Some(DEFINED[at].0)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.defined().1
    }

    /// The first version with compact lengths and tagged fields, also in the headers; `i16::MAX` where there is none.
    #[must_use]
    pub fn flexible_from(self) -> i16 {
        self.defined().4
    }

    pub(crate) fn defined(self) -> &'static (ApiKey, &'static str, i16, i16, i16) {
        let at = DEFINED.binary_search_by_key(&self, |row| row.0);
        &DEFINED[at.expect("every key has a row, generated together with it")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_agree() {
        assert!(SERVED.is_sorted_by_key(|api| api.key));
        assert!(DEFINED.is_sorted_by_key(|row| row.0.number()));
        for row in &DEFINED {
            assert_eq!(ApiKey::from_number(row.0.number()), Some(row.0));
            assert_eq!((row.0.name(), row.0.flexible_from()), (row.1, row.4));
        }
        for api in &SERVED {
            let (_, name, first, last, _) = *api.key.defined();
            assert!(first <= api.first && api.first <= api.last() && api.last() <= last, "{name}");
            assert!(api.serves(api.first) && api.serves(api.last()), "{name}");
            // Apache Kafka 4 dropped the oldest versions (KIP-896); clients from 0.10 on send them. And librdkafka takes a server whose
            // Produce begins later for one without the formats that it knows (KAFKA-18659).
            assert_eq!(api.first, first, "{name}");
            assert!(!api.serves(api.first - 1) && !api.serves(api.last() + 1), "{name}");
        }
        assert!(served(ApiKey::Envelope).is_none(), "not for clients");
        assert_eq!(ApiKey::from_number(-1), None);
        assert_eq!(ApiKey::from_number(4), None, "dropped by Kafka 4");
    }
}
