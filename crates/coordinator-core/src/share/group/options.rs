//! Bounds and periods of share groups, with Kafka's names where Kafka has them.

use std::time::Duration;

/// See each. A group may have others of its own ([`crate::ShareConfigs`]).
#[derive(Debug, Clone)]
pub struct ShareGroupOptions {
    /// A member that is not heard of for so long is fenced (`group.share.session.timeout.ms`).
    pub session_timeout: Duration,
    /// What members are told to wait between heartbeats (`group.share.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// Members of a group (`group.share.max.size`).
    pub members_max: usize,
    /// Between two target assignments of a group (`group.share.assignment.interval.ms`, KIP-1263).
    pub assignment_interval: Duration,
    /// How soon the share coordinator is asked again where it has not answered (`group.share.initialize.retry.interval.ms`).
    pub initialize_retry_interval: Duration,
}

impl Default for ShareGroupOptions {
    /// Kafka's defaults.
    fn default() -> Self {
        ShareGroupOptions {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            members_max: 200,
            assignment_interval: Duration::from_secs(1),
            initialize_retry_interval: Duration::from_secs(30),
        }
    }
}
