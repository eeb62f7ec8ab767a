//! One line of the tables of honoured settings: its name, how its text is read, how its value is shown; and the readings that many share.

use crate::BrokerOptions;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One honoured setting.
pub(super) struct Honoured {
    pub(super) name: &'static str,
    /// Puts a text that passed the table's check where it acts; `Err` says what more is wrong with it.
    pub(super) read: fn(&str, &mut BrokerOptions) -> Result<(), String>,
    /// The value that acts. `None` where several settings speak for one field.
    pub(super) show: Option<fn(&BrokerOptions) -> String>,
}

pub(super) const fn line(
    name: &'static str,
    read: fn(&str, &mut BrokerOptions) -> Result<(), String>,
    show: fn(&BrokerOptions) -> String,
) -> Honoured {
    Honoured { name, read, show: Some(show) }
}

/// Kafka's 32-bit and 64-bit settings end there.
pub(super) const INT_MAX: usize = 0x7fff_ffff;
pub(super) const LONG_MAX: u64 = 0x7fff_ffff_ffff_ffff;

pub(super) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

pub(super) fn number<N>(text: &str, low: N, high: N) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let wrong = || format!("say a whole number from {low} to {high}");
    let value: N = text.parse().map_err(|_| wrong())?;
    if value < low || value > high { Err(wrong()) } else { Ok(value) }
}

pub(super) fn duration(text: &str, low: u64) -> Result<Duration, String> {
    number(text, low, LONG_MAX).map(Duration::from_millis)
}

pub(super) fn least(text: &str, bounds: &mut RangeInclusive<Duration>) -> Result<(), String> {
    duration(text, 0).map(|least| *bounds = least..=*bounds.end())
}

pub(super) fn most(text: &str, bounds: &mut RangeInclusive<Duration>) -> Result<(), String> {
    duration(text, 0).map(|most| *bounds = *bounds.start()..=most)
}
