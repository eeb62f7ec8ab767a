//! The periods and standby replicas of a streams group: its own settings within what brokers allow, or else those of brokers.

use crate::BrokerOptions;
use coordinator_core::StreamsTimes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What a group may set, from the least to the most.
#[derive(Debug, Clone)]
pub struct StreamsBounds {
    /// `group.streams.min.session.timeout.ms`, and `max`.
    pub session_timeout: RangeInclusive<Duration>,
    /// `group.streams.min.heartbeat.interval.ms`, and `max`.
    pub heartbeat_interval: RangeInclusive<Duration>,
    /// `group.streams.min.assignment.interval.ms`, and `max`.
    pub assignment_interval: RangeInclusive<Duration>,
    /// `group.streams.max.standby.replicas`.
    pub standby_replicas_max: usize,
}

impl Default for StreamsBounds {
    /// Kafka's.
    fn default() -> Self {
        let seconds = |least, most| Duration::from_secs(least)..=Duration::from_secs(most);
        StreamsBounds {
            session_timeout: seconds(45, 60),
            heartbeat_interval: seconds(5, 15),
            assignment_interval: seconds(0, 15),
            standby_replicas_max: 2,
        }
    }
}

/// Those of a group that has set these. What it set before the brokers' bounds were others is brought within them, as in Kafka.
pub(crate) fn streams_times(options: &BrokerOptions, set: Option<&BTreeMap<String, String>>) -> StreamsTimes {
    let of_brokers =
        StreamsTimes { assignment_interval: options.streams_assignment_interval, ..options.groups.streams.times };
    let Some(set) = set else { return of_brokers };
    let number = |name: &str| set.get(name)?.trim().parse::<u64>().ok();
    let own = |name: &str, bounds: &RangeInclusive<Duration>| {
        number(name).map(|millis| Duration::from_millis(millis).max(*bounds.start()).min(*bounds.end()))
    };
    let bounds = &options.streams_bounds;
    let replicas = number("streams.num.standby.replicas").and_then(|count| usize::try_from(count).ok());
    StreamsTimes {
        session_timeout: own("streams.session.timeout.ms", &bounds.session_timeout)
            .unwrap_or(of_brokers.session_timeout),
        heartbeat_interval: own("streams.heartbeat.interval.ms", &bounds.heartbeat_interval)
            .unwrap_or(of_brokers.heartbeat_interval),
        assignment_interval: own("streams.assignment.interval.ms", &bounds.assignment_interval)
            .unwrap_or(of_brokers.assignment_interval),
        initial_rebalance_delay: number("streams.initial.rebalance.delay.ms")
            .map_or(of_brokers.initial_rebalance_delay, Duration::from_millis),
        standby_replicas: replicas.map_or(of_brokers.standby_replicas, |count| count.min(bounds.standby_replicas_max)),
    }
}

/// Kafka's rules about what brokers say of streams groups, in its words.
pub(super) fn check(options: &BrokerOptions) -> Result<(), String> {
    let BrokerOptions { streams_bounds: bounds, .. } = options;
    let times = streams_times(options, None);
    let all = [
        ("session.timeout.ms", times.session_timeout, &bounds.session_timeout),
        ("heartbeat.interval.ms", times.heartbeat_interval, &bounds.heartbeat_interval),
        ("assignment.interval.ms", times.assignment_interval, &bounds.assignment_interval),
    ];
    for (name, time, bounds) in all {
        let (least, most) = (format!("group.streams.min.{name}"), format!("group.streams.max.{name}"));
        if bounds.start() > bounds.end() {
            return Err(format!("{most} must be greater than or equal to {least}"));
        }
        if time < *bounds.start() {
            return Err(format!("group.streams.{name} must be greater than or equal to {least}"));
        }
        if time > *bounds.end() {
            return Err(format!("group.streams.{name} must be less than or equal to {most}"));
        }
    }
    if times.standby_replicas > bounds.standby_replicas_max {
        return Err(
            "group.streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas"
                .to_owned(),
        );
    }
    if times.heartbeat_interval >= times.session_timeout {
        return Err("group.streams.heartbeat.interval.ms must be less than group.streams.session.timeout.ms".to_owned());
    }
    Ok(())
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
        ];
        let own = streams_times(&options, Some(&set.map(|(name, text)| (name.to_owned(), text.to_owned())).into()));
        assert_eq!((own.session_timeout, own.heartbeat_interval), (Duration::from_secs(50), Duration::from_secs(15)));
        assert_eq!((own.standby_replicas, own.initial_rebalance_delay), (2, Duration::ZERO));
        assert_eq!(own.assignment_interval, Duration::from_secs(3));
    }
}
