//! Bounds and periods of consumer groups, with Kafka's names where Kafka has them.

use std::time::Duration;

/// See each.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// A member that is not heard of for so long is fenced (`group.consumer.session.timeout.ms`).
    pub session_timeout: Duration,
    /// What members are told to wait between heartbeats (`group.consumer.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// Members of a group (`group.consumer.max.size`).
    pub members_max: usize,
    /// Between two target assignments of a group, so that members that come together are assigned to together
    /// (`group.consumer.assignment.interval.ms`, KIP-1263).
    pub assignment_interval: Duration,
    /// Bytes of a regular expression.
    pub regex_bytes_max: usize,
    /// Bytes that a regular expression takes when it is compiled.
    pub regex_compiled_bytes_max: usize,
    /// Different regular expressions that the members of a group subscribe to.
    pub regexes_max: usize,
    /// Between two looks at all topics on behalf of a group, where topics have changed.
    pub regex_refresh_interval: Duration,
}

impl Default for ConsumerOptions {
    /// Kafka's defaults; where Kafka has no bound, one that no honest client meets.
    fn default() -> Self {
        ConsumerOptions {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            members_max: 50_000,
            assignment_interval: Duration::from_secs(1),
            regex_bytes_max: 8 << 10,
            regex_compiled_bytes_max: 1 << 20,
            regexes_max: 100,
            regex_refresh_interval: Duration::from_secs(10),
        }
    }
}
