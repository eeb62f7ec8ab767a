//! What share groups go by in a partition (KIP-932): a group's own settings within what brokers allow, or else those of brokers.

use super::consumer_times::check_within;
use super::value;
use crate::BrokerOptions;
use coordinator_core::{ShareOffsetReset, ShareOptions};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What brokers say of all share groups.
#[derive(Debug, Clone)]
pub struct ShareLimits {
    /// How long a member has a record (`group.share.record.lock.duration.ms`), and what a group may set.
    pub lock: Duration,
    /// `group.share.min.record.lock.duration.ms`, and `max`.
    pub lock_bounds: RangeInclusive<Duration>,
    /// How often a record is delivered (`group.share.delivery.count.limit`).
    pub deliveries_max: i16,
    /// `group.share.min.delivery.count.limit`, and `max`.
    pub deliveries_bounds: RangeInclusive<i16>,
    /// Records in flight for a group in one partition (`group.share.partition.max.record.locks`).
    pub in_flight_max: u32,
    /// `group.share.min.partition.max.record.locks`, and `max`.
    pub in_flight_bounds: RangeInclusive<u32>,
    /// Share sessions of this broker (`group.share.max.share.sessions`).
    pub sessions_max: usize,
}

impl Default for ShareLimits {
    /// Kafka's.
    fn default() -> Self {
        ShareLimits {
            lock: Duration::from_secs(30),
            lock_bounds: Duration::from_secs(15)..=Duration::from_secs(60),
            deliveries_max: 5,
            deliveries_bounds: 2..=10,
            in_flight_max: 2000,
            in_flight_bounds: 100..=4000,
            sessions_max: 2000,
        }
    }
}

/// What a group goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShareSettings {
    pub(crate) options: ShareOptions,
    pub(crate) reset: ShareOffsetReset,
    /// It is given decided records only (`share.isolation.level`).
    pub(crate) is_committed: bool,
}

/// Of a group that has set these. What it set before the brokers' bounds were others is brought within them, as in Kafka.
pub(crate) fn share_settings(limits: &ShareLimits, set: Option<&BTreeMap<String, String>>) -> ShareSettings {
    let text = |name: &str| set.and_then(|set| set.get(name)).map(|text| text.trim());
    let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
    let lock = number("share.record.lock.duration.ms").map(Duration::from_millis);
    let deliveries = number("share.delivery.count.limit").map(|it| i16::try_from(it).unwrap_or(i16::MAX));
    let in_flight = number("share.partition.max.record.locks").map(|it| u32::try_from(it).unwrap_or(u32::MAX));
    ShareSettings {
        options: ShareOptions {
            lock: lock.map_or(limits.lock, |it| within(it, &limits.lock_bounds)),
            deliveries_max: deliveries.map_or(limits.deliveries_max, |it| within(it, &limits.deliveries_bounds)),
            in_flight_max: in_flight.map_or(limits.in_flight_max, |it| within(it, &limits.in_flight_bounds)),
            renews: text("share.renew.acknowledge.enable").is_none_or(|text| text.eq_ignore_ascii_case("true")),
            dead_letters: false,
        },
        reset: text("share.auto.offset.reset").and_then(offset_reset).unwrap_or_default(),
        is_committed: text("share.isolation.level").is_some_and(|text| text.eq_ignore_ascii_case("read_committed")),
    }
}

fn within<T: Ord + Copy>(it: T, bounds: &RangeInclusive<T>) -> T {
    it.max(*bounds.start()).min(*bounds.end())
}

fn offset_reset(text: &str) -> Option<ShareOffsetReset> {
    match text {
        "earliest" => Some(ShareOffsetReset::Earliest),
        "latest" => Some(ShareOffsetReset::Latest),
        other => value::age(other).map(ShareOffsetReset::ByDuration),
    }
}

/// Kafka's rules about what brokers say of share groups, in its words.
pub(super) fn check(options: &BrokerOptions) -> Result<(), String> {
    let ShareLimits { lock, lock_bounds, deliveries_max, deliveries_bounds, in_flight_max, in_flight_bounds, .. } =
        &options.shares;
    check_within("share", "record.lock.duration.ms", lock, lock_bounds)?;
    check_within("share", "delivery.count.limit", deliveries_max, deliveries_bounds)?;
    check_within("share", "partition.max.record.locks", in_flight_max, in_flight_bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_own_settings_go_over_those_of_all_within_the_bounds() {
        let limits = ShareLimits { deliveries_max: 4, ..ShareLimits::default() };
        let of_brokers = share_settings(&limits, None);
        assert_eq!((of_brokers.options.deliveries_max, of_brokers.options.in_flight_max), (4, 2000));
        assert_eq!((of_brokers.reset, of_brokers.is_committed), (ShareOffsetReset::Latest, false));
        let set = [
            ("share.record.lock.duration.ms", "90000"),
            ("share.delivery.count.limit", "7"),
            ("share.partition.max.record.locks", "3"),
            ("share.renew.acknowledge.enable", "false"),
            ("share.isolation.level", "read_committed"),
            ("share.auto.offset.reset", "by_duration:P1DT1H1M1.5S"),
        ];
        let set = set.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let own = share_settings(&limits, Some(&set));
        assert_eq!(own.options.lock, Duration::from_secs(60), "no more than brokers allow by now");
        assert_eq!((own.options.deliveries_max, own.options.in_flight_max), (7, 100));
        assert!(!own.options.renews && own.is_committed);
        assert_eq!(own.reset, ShareOffsetReset::ByDuration(Duration::from_millis(90_061_500)));
    }

    #[test]
    fn brokers_must_not_contradict_themselves() {
        let mut options = BrokerOptions::default();
        assert_eq!(check(&options), Ok(()));
        options.shares.lock = Duration::from_secs(61);
        let wrong = check(&options).unwrap_err();
        assert!(wrong.contains("less than or equal to group.share.max.record.lock.duration.ms"), "{wrong}");
    }
}
