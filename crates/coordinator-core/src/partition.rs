//! Which partition of `__consumer_offsets` a group belongs to. Part of Kafka's contract: other brokers and tools compute it too.

/// Kafka's choice: the hash of the id's UTF-16 units as Java computes it, without its sign, modulo the number of partitions.
#[must_use]
pub fn partition_of(group: &str, partitions: u32) -> u32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The one number whose sign Java can't take away counts as 0.
    let positive = if hash == i32::MIN { 0 } else { hash.unsigned_abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_where_kafka_puts_them() {
        // As Java's String.hashCode and Kafka's Utils.abs have it.
        for (group, partition) in
            [("", 0), ("a", 47), ("test-group", 12), ("console-consumer-12345", 6), ("gruppe-ä", 48)]
        {
            assert_eq!(partition_of(group, 50), partition, "{group}");
        }
        assert_eq!(partition_of("polygenelubricants", 50), 0, "its hash is the smallest number of all");
        assert_eq!(partition_of("a", 0), 0);
    }
}
