//! The periods of a consumer group, or of a share group: its own settings within what brokers allow, or else those of brokers.

use crate::BrokerOptions;
use coordinator_core::ConsumerTimes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Behind `group.consumer.` and `consumer.`, and the same of share groups.
const SESSION_TIMEOUT: &str = "session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "heartbeat.interval.ms";
const ASSIGNMENT_INTERVAL: &str = "assignment.interval.ms";

/// What a group may set, from the least to the most; here of consumer groups, and the same of share groups (`group.share.…`).
#[derive(Debug, Clone)]
pub struct ConsumerBounds {
    /// `group.consumer.min.session.timeout.ms`, and `max`.
    pub session_timeout: RangeInclusive<Duration>,
    /// `group.consumer.min.heartbeat.interval.ms`, and `max`.
    pub heartbeat_interval: RangeInclusive<Duration>,
    /// `group.consumer.min.assignment.interval.ms`, and `max`.
    pub assignment_interval: RangeInclusive<Duration>,
}

impl Default for ConsumerBounds {
    /// Kafka's.
    fn default() -> Self {
        let seconds = |least, most| Duration::from_secs(least)..=Duration::from_secs(most);
        ConsumerBounds {
            session_timeout: seconds(45, 60),
            heartbeat_interval: seconds(5, 15),
            assignment_interval: seconds(0, 15),
        }
    }
}

/// Those of a consumer group that has set these. What it set before the brokers' bounds were others is brought within them, as in Kafka.
pub(crate) fn consumer_times(options: &BrokerOptions, set: Option<&BTreeMap<String, String>>) -> ConsumerTimes {
    let of_brokers =
        ConsumerTimes { assignment_interval: options.consumer_assignment_interval, ..options.groups.consumer.times };
    times("consumer", of_brokers, &options.consumer_bounds, set)
}

/// The same of a share group.
pub(crate) fn share_times(options: &BrokerOptions, set: Option<&BTreeMap<String, String>>) -> ConsumerTimes {
    let of_brokers = ConsumerTimes {
        session_timeout: options.groups.share.session_timeout,
        heartbeat_interval: options.groups.share.heartbeat_interval,
        assignment_interval: options.share_assignment_interval,
    };
    times("share", of_brokers, &options.share_bounds, set)
}

/// Those of brokers, and over them a group's own, brought within the bounds.
pub(super) fn times(
    kind: &str,
    of_brokers: ConsumerTimes,
    bounds: &ConsumerBounds,
    set: Option<&BTreeMap<String, String>>,
) -> ConsumerTimes {
    let Some(set) = set else { return of_brokers };
    let own = |name: &str, bounds: &RangeInclusive<Duration>| {
        let millis: u64 = set.get(&format!("{kind}.{name}"))?.trim().parse().ok()?;
        Some(Duration::from_millis(millis).max(*bounds.start()).min(*bounds.end()))
    };
    ConsumerTimes {
        session_timeout: own(SESSION_TIMEOUT, &bounds.session_timeout).unwrap_or(of_brokers.session_timeout),
        heartbeat_interval: own(HEARTBEAT_INTERVAL, &bounds.heartbeat_interval)
            .unwrap_or(of_brokers.heartbeat_interval),
        assignment_interval: own(ASSIGNMENT_INTERVAL, &bounds.assignment_interval)
            .unwrap_or(of_brokers.assignment_interval),
    }
}

/// Kafka's rules about what brokers say of both, in its words.
pub(super) fn check(options: &BrokerOptions) -> Result<(), String> {
    check_kind("consumer", consumer_times(options, None), &options.consumer_bounds)?;
    check_kind("share", share_times(options, None), &options.share_bounds)
}

fn check_kind(kind: &str, times: ConsumerTimes, bounds: &ConsumerBounds) -> Result<(), String> {
    check_bounds(kind, times, bounds)?;
    check_heartbeat(kind, times)
}

/// That brokers' own periods are within what they allow groups.
pub(super) fn check_bounds(kind: &str, times: ConsumerTimes, bounds: &ConsumerBounds) -> Result<(), String> {
    check_within(kind, SESSION_TIMEOUT, &times.session_timeout, &bounds.session_timeout)?;
    check_within(kind, HEARTBEAT_INTERVAL, &times.heartbeat_interval, &bounds.heartbeat_interval)?;
    check_within(kind, ASSIGNMENT_INTERVAL, &times.assignment_interval, &bounds.assignment_interval)
}

/// That members are heard of before they are taken for gone.
pub(super) fn check_heartbeat(kind: &str, times: ConsumerTimes) -> Result<(), String> {
    if times.heartbeat_interval >= times.session_timeout {
        return Err(format!("group.{kind}.heartbeat.interval.ms must be less than group.{kind}.session.timeout.ms"));
    }
    Ok(())
}

/// That `group.KIND.NAME` is within `group.KIND.min.NAME` and `group.KIND.max.NAME`.
pub(super) fn check_within<T: PartialOrd>(
    kind: &str,
    name: &str,
    value: &T,
    bounds: &RangeInclusive<T>,
) -> Result<(), String> {
    let (least, most) = (format!("group.{kind}.min.{name}"), format!("group.{kind}.max.{name}"));
    if bounds.start() > bounds.end() {
        return Err(format!("{most} must be greater than or equal to {least}"));
    }
    if value < bounds.start() {
        return Err(format!("group.{kind}.{name} must be greater than or equal to {least}"));
    }
    if value > bounds.end() {
        return Err(format!("group.{kind}.{name} must be less than or equal to {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_own_periods_go_over_those_of_all_within_the_bounds() {
        let options =
            BrokerOptions { consumer_assignment_interval: Duration::from_secs(3), ..BrokerOptions::default() };
        let of_brokers = consumer_times(&options, None);
        assert_eq!(of_brokers.assignment_interval, Duration::from_secs(3));
        assert_eq!(of_brokers.session_timeout, Duration::from_secs(45));
        let set = [("consumer.session.timeout.ms", "50000"), ("consumer.heartbeat.interval.ms", "20000")];
        let set = set.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let own = consumer_times(&options, Some(&set));
        assert_eq!(own.session_timeout, Duration::from_secs(50));
        assert_eq!(own.heartbeat_interval, Duration::from_secs(15), "no more than brokers allow by now");
        assert_eq!(own.assignment_interval, Duration::from_secs(3));
    }
}
