//! Waiting between tries of something that may pass: exponential, jittered, for ever.
//!
//! The caller decides what is worth another try ([`StoreError::Trouble`](crate::StoreError::Trouble) is) and how to resolve
//! an ambiguous answer; this only says how long to wait, so that many brokers do not knock in step at a store that is
//! coming back.

use crate::clock::Clock;
use std::time::Duration;

/// The first wait is at most this.
pub const WAIT_MIN: Duration = Duration::from_millis(10);
/// No wait is longer than this, unless [`Backoff::up_to`] says otherwise.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// How long to wait before the next try. One value per operation that is tried again.
#[derive(Debug, Clone)]
pub struct Backoff {
    tries: u32,
    wait_max: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::up_to(WAIT_MAX)
    }
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new() -> Backoff {
        Backoff::default()
    }

    /// Nothing has failed yet; no wait will be longer than `wait_max`.
    #[must_use]
    pub fn up_to(wait_max: Duration) -> Backoff {
        Backoff { tries: 0, wait_max }
    }

    /// How many waits there were.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Whether this failure is worth a line in the log: the first, then at each doubling, so that an outage of hours is a few lines.
    /// Asked before the wait.
    #[must_use]
    pub fn is_worth_a_line(&self) -> bool {
        self.tries == 0 || self.tries.is_power_of_two()
    }

    /// Forgets the failures: the operation has succeeded.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next wait, of which at least half is certain and the rest drawn from `random`.
    pub fn next_wait(&mut self, random: u64) -> Duration {
        let doublings = self.tries.min(16);
        self.tries = self.tries.saturating_add(1);
        let ceiling = WAIT_MIN.saturating_mul(1 << doublings).min(self.wait_max);
        let half_us = u64::try_from(ceiling.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half_us + random % (half_us + 1))
    }

    /// Sleeps for the next wait.
    pub async fn wait(&mut self, clock: &dyn Clock) {
        let wait = self.next_wait(clock.random());
        clock.sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_ten_milliseconds_to_five_seconds_and_stay_there() {
        let mut backoff = Backoff::new();
        let longest: Vec<u128> = (0..12).map(|_| backoff.clone_longest()).collect();
        assert_eq!(longest, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next_wait(0), WAIT_MIN / 2);
    }

    #[test]
    fn an_outage_of_hours_is_a_few_lines() {
        let mut backoff = Backoff::new();
        let mut lines = 0;
        for _ in 0..10_000 {
            lines += u32::from(backoff.is_worth_a_line());
            backoff.next_wait(0);
        }
        assert_eq!(lines, 15);
    }

    #[test]
    fn every_wait_is_between_half_and_all_of_its_ceiling_even_after_years() {
        let mut random = base::Seed::new(7);
        let mut backoff = Backoff { tries: u32::MAX - 5, ..Backoff::new() };
        for _ in 0..1000 {
            let wait = backoff.next_wait(random.next_u64());
            assert!(wait >= WAIT_MAX / 2 && wait <= WAIT_MAX, "{wait:?}");
        }
        assert_eq!(backoff.tries(), u32::MAX);
    }

    impl Backoff {
        /// The longest that the next wait can be, in milliseconds.
        fn clone_longest(&mut self) -> u128 {
            let mut copy = self.clone();
            let shortest = self.next_wait(0);
            let ceiling_half_us = u64::try_from(shortest.as_micros()).unwrap();
            copy.next_wait(ceiling_half_us).as_millis()
        }
    }
}
