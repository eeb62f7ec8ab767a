//! A group's own configs of the kind `share.*` (resource type GROUP), by their names in Kafka: those that the group's coordinator goes by,
//! and those that it keeps for the leaders of its share-partitions.

use crate::consumer::ConsumerTimes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

const SESSION_TIMEOUT: &str = "share.session.timeout.ms";
const HEARTBEAT_INTERVAL: &str = "share.heartbeat.interval.ms";
const ASSIGNMENT_INTERVAL: &str = "share.assignment.interval.ms";
const RECORD_LOCK_DURATION: &str = "share.record.lock.duration.ms";
const DELIVERY_COUNT_LIMIT: &str = "share.delivery.count.limit";
const RECORD_LOCKS: &str = "share.partition.max.record.locks";
const AUTO_OFFSET_RESET: &str = "share.auto.offset.reset";
const ISOLATION_LEVEL: &str = "share.isolation.level";
const RENEW_ACKNOWLEDGE: &str = "share.renew.acknowledge.enable";

/// What a value may be, with Kafka's defaults for the bounds (`group.share.min.…`, `group.share.max.…`).
#[derive(Debug, Clone)]
enum Kind {
    Number(RangeInclusive<i32>),
    OneOf(&'static [&'static str]),
    OffsetReset,
}

/// Names, defaults, values.
static ALL: [(&str, &str, Kind); 9] = [
    (SESSION_TIMEOUT, "45000", Kind::Number(45_000..=60_000)),
    (HEARTBEAT_INTERVAL, "5000", Kind::Number(5_000..=15_000)),
    (ASSIGNMENT_INTERVAL, "1000", Kind::Number(0..=15_000)),
    (RECORD_LOCK_DURATION, "30000", Kind::Number(15_000..=60_000)),
    (DELIVERY_COUNT_LIMIT, "5", Kind::Number(2..=10)),
    (RECORD_LOCKS, "2000", Kind::Number(100..=4_000)),
    (AUTO_OFFSET_RESET, "latest", Kind::OffsetReset),
    (ISOLATION_LEVEL, "read_uncommitted", Kind::OneOf(&["read_committed", "read_uncommitted"])),
    (RENEW_ACKNOWLEDGE, "true", Kind::OneOf(&["true", "false"])),
];

/// Why a config is refused: `INVALID_CONFIG`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareConfigError {
    #[error("there is no config {0} of share groups")]
    Unknown(String),
    #[error("{name} must be a number from {least} to {most}")]
    Number { name: &'static str, least: i32, most: i32 },
    #[error("{name} must be one of {}", values.join(", "))]
    Value { name: &'static str, values: &'static [&'static str] },
    #[error("share.auto.offset.reset must be latest, earliest or by_duration:<PnDTnHnMn.nS>")]
    OffsetReset,
}

/// The configs that a group has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShareConfigs {
    values: BTreeMap<&'static str, String>,
}

impl ShareConfigs {
    /// Of a group with these periods, whatever the bounds here say: who knows others has looked.
    #[must_use]
    pub fn of_times(times: ConsumerTimes) -> ShareConfigs {
        let ConsumerTimes { session_timeout, heartbeat_interval, assignment_interval } = times;
        let periods = [
            (SESSION_TIMEOUT, session_timeout),
            (HEARTBEAT_INTERVAL, heartbeat_interval),
            (ASSIGNMENT_INTERVAL, assignment_interval),
        ];
        let values = periods.into_iter().map(|(name, period)| (name, period.as_millis().to_string()));
        ShareConfigs { values: values.collect() }
    }

    /// All names, with the values that a group has that does not say.
    pub fn defaults() -> impl Iterator<Item = (&'static str, &'static str)> {
        ALL.iter().map(|(name, default, _)| (*name, *default))
    }

    /// Sets a config.
    ///
    /// # Errors
    /// There is none of that name, or it can't have that value; nothing has changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ShareConfigError> {
        let found = ALL.iter().find(|(known, ..)| *known == name);
        let (name, _, kind) = found.ok_or_else(|| ShareConfigError::Unknown(name.to_owned()))?;
        kind.check(name, value)?;
        self.values.insert(name, value.to_owned());
        Ok(())
    }

    /// Takes a config back, if it was set.
    pub fn unset(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// The value that a config has in this group: its own, or the default; none where there is no such config.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let default = ALL.iter().find(|(known, ..)| *known == name).map(|(_, default, _)| *default);
        self.values.get(name).map(String::as_str).or(default)
    }

    pub(super) fn session_timeout(&self) -> Option<Duration> {
        self.millis(SESSION_TIMEOUT)
    }

    pub(super) fn heartbeat_interval(&self) -> Option<Duration> {
        self.millis(HEARTBEAT_INTERVAL)
    }

    pub(super) fn assignment_interval(&self) -> Option<Duration> {
        self.millis(ASSIGNMENT_INTERVAL)
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        let value = self.values.get(name)?;
        value.trim().parse().ok().map(Duration::from_millis)
    }
}

impl Kind {
    fn check(&self, name: &'static str, value: &str) -> Result<(), ShareConfigError> {
        match self {
            Kind::Number(range) => {
                let is_in = value.trim().parse().is_ok_and(|number: i32| range.contains(&number));
                let (least, most) = (*range.start(), *range.end());
                if is_in { Ok(()) } else { Err(ShareConfigError::Number { name, least, most }) }
            }
            Kind::OneOf(values) => {
                let is_one = values.iter().any(|known| value.eq_ignore_ascii_case(known));
                if is_one { Ok(()) } else { Err(ShareConfigError::Value { name, values }) }
            }
            Kind::OffsetReset if is_offset_reset(value) => Ok(()),
            Kind::OffsetReset => Err(ShareConfigError::OffsetReset),
        }
    }
}

/// A duration as Java reads it, of days, hours, minutes and seconds, and not negative.
fn is_offset_reset(value: &str) -> bool {
    let Some(duration) = value.strip_prefix("by_duration:") else { return matches!(value, "latest" | "earliest") };
    let Some(rest) = duration.to_ascii_uppercase().strip_prefix('P').map(str::to_owned) else { return false };
    let (days, time) = rest.split_once('T').map_or((rest.as_str(), None), |(days, time)| (days, Some(time)));
    let has_units = |text: &str, units: &str| {
        let mut left = units.chars();
        let is_number = |part: &str| part.chars().next().is_some_and(|it| it.is_ascii_digit());
        let mut parts = text.split_inclusive(|it: char| it.is_ascii_alphabetic());
        parts.all(|part| {
            let Some(unit) = part.chars().next_back() else { return false };
            let number = part.strip_suffix(unit).unwrap_or_default();
            let is_whole = number.chars().all(|it| it.is_ascii_digit());
            let is_fraction = unit == 'S' && number.chars().filter(|it| !it.is_ascii_digit()).eq(['.']);
            is_number(number) && (is_whole || is_fraction) && left.any(|it| it == unit)
        })
    };
    let has_time = time.is_none_or(|time| !time.is_empty() && has_units(time, "HMS"));
    has_units(days, "D") && has_time && !(days.is_empty() && time.is_none())
}
