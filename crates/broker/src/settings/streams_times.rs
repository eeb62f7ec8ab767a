//! The periods and standby replicas of a streams group: its own settings within what brokers allow, or else those of brokers.

use super::consumer_times::{self, ConsumerBounds};
use crate::BrokerOptions;
use coordinator_core::{ConsumerTimes, StreamsTimes};
use std::collections::BTreeMap;
use std::time::Duration;

/// Behind `group.`, and before a group's own settings.
const KIND: &str = "streams";

/// What a group may set.
#[derive(Debug, Clone)]
pub struct StreamsBounds {
    /// `group.streams.min.…` and `max`, as of consumer groups.
    pub times: ConsumerBounds,
    /// `group.streams.max.standby.replicas`.
    pub standby_replicas_max: usize,
    /// `group.streams.min.task.offset.interval.ms`.
    pub task_offset_interval_min: Duration,
}

impl Default for StreamsBounds {
    /// Kafka's.
    fn default() -> Self {
        let task_offset_interval_min = Duration::from_secs(15);
        StreamsBounds { times: ConsumerBounds::default(), standby_replicas_max: 2, task_offset_interval_min }
    }
}

/// Those of a group that has set these. What it set before the brokers' bounds were others is brought within them, as in Kafka.
pub(crate) fn streams_times(options: &BrokerOptions, set: Option<&BTreeMap<String, String>>) -> StreamsTimes {
    let of_brokers =
        StreamsTimes { assignment_interval: options.streams_assignment_interval, ..options.groups.streams.times };
    let Some(set) = set else { return of_brokers };
    let number = |name: &str| set.get(name)?.trim().parse::<u64>().ok();
    let bounds = &options.streams_bounds;
    let own = consumer_times::times(KIND, periods(&of_brokers), &bounds.times, Some(set));
    let replicas = number("streams.num.standby.replicas").and_then(|count| usize::try_from(count).ok());
    StreamsTimes {
        session_timeout: own.session_timeout,
        heartbeat_interval: own.heartbeat_interval,
        assignment_interval: own.assignment_interval,
        initial_rebalance_delay: number("streams.initial.rebalance.delay.ms")
            .map_or(of_brokers.initial_rebalance_delay, Duration::from_millis),
        task_offset_interval: number("streams.task.offset.interval.ms")
            .map_or(of_brokers.task_offset_interval, |millis| {
                Duration::from_millis(millis).max(bounds.task_offset_interval_min)
            }),
        acceptable_recovery_lag: number("streams.acceptable.recovery.lag")
            .and_then(|lag| i64::try_from(lag).ok())
            .unwrap_or(of_brokers.acceptable_recovery_lag),
        standby_replicas: replicas.map_or(of_brokers.standby_replicas, |count| count.min(bounds.standby_replicas_max)),
    }
}

/// Those that groups of consumers have as well.
fn periods(times: &StreamsTimes) -> ConsumerTimes {
    ConsumerTimes {
        session_timeout: times.session_timeout,
        heartbeat_interval: times.heartbeat_interval,
        assignment_interval: times.assignment_interval,
    }
}

/// Kafka's rules about what brokers say of streams groups, in its words.
pub(super) fn check(options: &BrokerOptions) -> Result<(), String> {
    let BrokerOptions { streams_bounds: bounds, .. } = options;
    let times = streams_times(options, None);
    consumer_times::check_bounds(KIND, periods(&times), &bounds.times)?;
    if times.standby_replicas > bounds.standby_replicas_max {
        return Err(
            "group.streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas"
                .to_owned(),
        );
    }
    if times.task_offset_interval < bounds.task_offset_interval_min {
        return Err(
            "group.streams.task.offset.interval.ms must be greater than or equal to group.streams.min.task.offset.interval.ms"
                .to_owned(),
        );
    }
    consumer_times::check_heartbeat(KIND, periods(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_own_settings_go_over_those_of_all_within_the_bounds() {
        let options = BrokerOptions { streams_assignment_interval: Duration::from_secs(3), ..BrokerOptions::default() };
        let of_brokers = streams_times(&options, None);
        assert_eq!((of_brokers.assignment_interval, of_brokers.standby_replicas), (Duration::from_secs(3), 0));
        let set = [
            ("streams.session.timeout.ms", "50000"),
            ("streams.heartbeat.interval.ms", "20000"),
            ("streams.num.standby.replicas", "9"),
            ("streams.initial.rebalance.delay.ms", "0"),
            ("streams.task.offset.interval.ms", "1"),
            ("streams.acceptable.recovery.lag", "7"),
        ];
        let own = streams_times(&options, Some(&set.map(|(name, text)| (name.to_owned(), text.to_owned())).into()));
        assert_eq!((own.session_timeout, own.heartbeat_interval), (Duration::from_secs(50), Duration::from_secs(15)));
        assert_eq!((own.standby_replicas, own.initial_rebalance_delay), (2, Duration::ZERO));
        assert_eq!(own.assignment_interval, Duration::from_secs(3));
        assert_eq!((own.task_offset_interval, own.acceptable_recovery_lag), (Duration::from_secs(15), 7));
    }
}
