//! Times as they are written on the command line, as Kafka wants them: milliseconds since 1970.

use std::time::SystemTime;
use world::Clock;

/// Reads them.
pub(super) struct When;

impl When {
    /// A point in time, such as `2026-11-21T10:00:00Z`.
    pub(super) fn at(text: &str) -> Option<i64> {
        let time = humantime::parse_rfc3339_weak(text).ok()?;
        i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    /// A time that is so long ago, such as `10m`.
    pub(super) fn ago(text: &str, clock: &dyn Clock) -> Option<i64> {
        let ago = i64::try_from(humantime::parse_duration(text).ok()?.as_millis()).ok()?;
        Some(clock.wall().0.saturating_sub(ago).max(0))
    }
}
