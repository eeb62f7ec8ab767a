//! Which operations a caller is told to be allowed: the bit fields of Metadata, DescribeCluster, DescribeTopicPartitions and
//! DescribeGroups (KIP-430): of those that Kafka knows for a kind of resource.

use crate::rights::{CLUSTER_NAME, Rights};
use protocol::api::{Operation, Resource};

/// The value of those fields where they were not asked for.
pub(crate) const NOT_ASKED_FOR: i32 = i32::MIN;

/// What the field says: nothing where the client did not ask.
pub(crate) fn field(asked: bool, rights: &Rights, resource: Resource, name: &str) -> i32 {
    if asked { operations(rights, resource, name) } else { NOT_ASKED_FOR }
}

/// The same of the cluster: nothing is allowed to whoever may not describe it.
pub(crate) fn of_cluster(asked: bool, rights: &Rights) -> i32 {
    match asked {
        true if !rights.allow_cluster(Operation::Describe) => 0,
        asked => field(asked, rights, Resource::Cluster, CLUSTER_NAME),
    }
}

/// One bit for each operation, at its number.
fn operations(rights: &Rights, resource: Resource, name: &str) -> i32 {
    use Operation::{
        Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe, DescribeConfigs, DescribeTokens,
        IdempotentWrite, Read, Write,
    };
    let known: &[Operation] = match resource {
        Resource::Topic => &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs],
        Resource::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
        Resource::Cluster => &[Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe],
        Resource::TransactionalId => &[Describe, Write],
        Resource::DelegationToken => &[Describe],
        Resource::User => &[CreateTokens, DescribeTokens],
    };
    let allowed = known.iter().filter(|operation| rights.allow(**operation, resource, name));
    allowed.fold(0, |bits, operation| bits | 1 << (*operation as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_that_apache_kafka_answers() {
        let all = &Rights::unlimited();
        assert_eq!(field(true, all, Resource::Topic, "t"), 3576);
        assert_eq!(field(true, all, Resource::Group, "g"), 3400);
        assert_eq!(of_cluster(true, all), 8096);
        assert_eq!(of_cluster(false, all), i32::MIN);
    }
}
