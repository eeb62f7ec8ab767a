//! Time as plain numbers, handed to cores as arguments.

use std::time::Duration;

/// Microseconds on a broker's own monotonic clock. Comparable within one process only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// This instant plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Micros {
        Micros(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long before this instant `earlier` was; zero where it was not.
    #[must_use]
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds since the Unix epoch by the wall clock: Kafka's timestamps. May step; never used for safety.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// What stands for the time of records that have none and arrived at this time: below every time, so that no search by time finds
    /// them, and later arrivals above earlier ones, so that of several the greatest is the latest.
    #[must_use]
    pub fn arrival(self) -> UnixMillis {
        UnixMillis(i64::MIN.saturating_add(self.0.max(0)))
    }

    /// From when the age of records counts whose time is this: their own time, or that of their arrival, as Kafka takes the time of the
    /// file. `None`: neither is known.
    #[must_use]
    pub fn ages_from(self) -> Option<UnixMillis> {
        if self.0 >= 0 {
            return Some(self);
        }
        // Times of arrival lie in the lower half of what is negative; -1 is what Kafka says for no time.
        Some(UnixMillis(self.0.wrapping_sub(i64::MIN))).filter(|_| self.0 < i64::MIN / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_lie_below_every_time_and_in_their_order() {
        let (early, late) = (UnixMillis(1_700_000_000_000), UnixMillis(1_800_000_000_000));
        assert!(early.arrival() < late.arrival() && late.arrival() < UnixMillis(-1));
        assert_eq!((early.ages_from(), early.arrival().ages_from()), (Some(early), Some(early)));
        assert_eq!((UnixMillis(-1).ages_from(), UnixMillis(-2).ages_from()), (None, None));
        assert_eq!(UnixMillis(-1).arrival().ages_from(), Some(UnixMillis(0)));
    }
}
