//! Bounds and periods of streams groups, with Kafka's names where Kafka has them.

use std::time::Duration;

/// See each.
#[derive(Debug, Clone)]
pub struct StreamsOptions {
    pub times: StreamsTimes,
    /// Members of a group (`group.streams.max.size`).
    pub members_max: usize,
    /// Tasks of a group with their standby replicas: a bound that no honest application meets.
    pub tasks_max: usize,
}

/// What a group may have of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsTimes {
    /// A member that is not heard of for so long is fenced (`group.streams.session.timeout.ms`).
    pub session_timeout: Duration,
    /// What members are told to wait between heartbeats (`group.streams.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
    /// Between two target assignments of a group (`group.streams.assignment.interval.ms`, KIP-1263).
    pub assignment_interval: Duration,
    /// How long the first member of a group waits for more (`group.streams.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay: Duration,
    /// How often members are to say how far their tasks' state is (`group.streams.task.offset.interval.ms`).
    pub task_offset_interval: Duration,
    /// Offsets that a task's state may be behind and be taken as warm (`group.streams.acceptable.recovery.lag`). Members are told; no task is
    /// warmed up, in Kafka 4.4 neither.
    pub acceptable_recovery_lag: i64,
    /// Copies of each task that has state (`group.streams.num.standby.replicas`).
    pub standby_replicas: usize,
}

impl Default for StreamsTimes {
    /// Kafka's defaults.
    fn default() -> Self {
        StreamsTimes {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            assignment_interval: Duration::from_secs(1),
            initial_rebalance_delay: Duration::from_secs(3),
            task_offset_interval: Duration::from_secs(60),
            acceptable_recovery_lag: 10_000,
            standby_replicas: 0,
        }
    }
}

impl Default for StreamsOptions {
    /// Kafka's defaults; where Kafka has no bound, one that no honest client meets.
    fn default() -> Self {
        StreamsOptions { times: StreamsTimes::default(), members_max: 50_000, tasks_max: 200_000 }
    }
}
