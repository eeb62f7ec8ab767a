//! Which operations a caller is told to be allowed: the bit fields of Metadata, DescribeCluster, DescribeTopicPartitions and
//! DescribeGroups (KIP-430).
//!
//! There is no authorizer yet, so everybody may do everything, and each answer is all operations that Kafka knows for its kind of
//! resource, as Kafka's own is without an authorizer.

use protocol::api::{Operation, Resource};

/// The value of those fields where they were not asked for.
pub(crate) const NOT_ASKED_FOR: i32 = i32::MIN;

/// What the field says: nothing where the client did not ask.
pub(crate) fn field(asked: bool, resource: Resource) -> i32 {
    if asked { operations(resource) } else { NOT_ASKED_FOR }
}

/// One bit for each operation, at its number.
fn operations(resource: Resource) -> i32 {
    use Operation::{
        Alter, AlterConfigs, ClusterAction, Create, Delete, Describe, DescribeConfigs, IdempotentWrite, Read, Write,
    };
    let known: &[Operation] = match resource {
        Resource::Topic => &[Read, Write, Create, Describe, Delete, Alter, DescribeConfigs, AlterConfigs],
        Resource::Group => &[Read, Describe, Delete, DescribeConfigs, AlterConfigs],
        Resource::Cluster => &[Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe],
        Resource::TransactionalId => &[Describe, Write],
    };
    known.iter().fold(0, |bits, operation| bits | 1 << (*operation as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_that_apache_kafka_answers() {
        assert_eq!(field(true, Resource::Topic), 3576);
        assert_eq!(field(true, Resource::Group), 3400);
        assert_eq!(field(true, Resource::Cluster), 8096);
        assert_eq!(field(false, Resource::Cluster), i32::MIN);
    }
}
