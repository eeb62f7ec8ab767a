//! How much producers are asked to slow down before they have to wait.
//!
//! Between free running and no room at all there is this: with each answer a producer is told a time in which to send nothing
//! (Kafka's throttle time). It grows with what is used of the write-ahead log, from three quarters on, gently at first, and ends at the
//! nine tenths where appends are refused; so while a bucket takes nothing, or less than is produced, the log lasts longer. Where the log itself
//! is what is slow, as one in the bucket is in trouble, it grows with the memory of what was accepted and is not durable.
//!
//! It stays short on purpose. A client gives a record up when it has waited for its delivery timeout, which counts from when it was
//! made: 120 s by default, with 32 MiB of records in memory before it stops taking more. So a client must be let send 32 MiB in
//! 120 s, or the cure is the disease: five requests of one 16 KiB batch each, every [`THROTTLE_MAX`], are 400 KiB/s, half as much again.

use std::time::Duration;

/// No throttle time is longer.
pub const THROTTLE_MAX: Duration = Duration::from_millis(200);

/// What is waited for so long is slow; what is quicker may fill its memory at times without being in trouble.
pub const SLOW_APPEND: Duration = Duration::from_secs(1);

/// Thousandths of the log in use from which on producers are slowed,
pub const WAL_FROM_PERMILLE: u64 = 750;
/// and at which nothing more is accepted.
pub const WAL_FULL_PERMILLE: u64 = 900;
/// Thousandths of the memory for appends from which on producers are slowed while appends are slow.
const APPENDS_FROM_PERMILLE: u64 = 500;

/// How full things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Thousandths of the write-ahead log that are in use.
    pub wal_permille: u64,
    /// Thousandths of the memory for appends that are in use.
    pub appends_permille: u64,
    /// How long the oldest append that is not durable has waited.
    pub oldest_append: Duration,
}

impl Pressure {
    /// How long whoever is answered now should send nothing.
    #[must_use]
    pub fn throttle(&self) -> Duration {
        let by_wal = ramp(self.wal_permille, WAL_FROM_PERMILLE, WAL_FULL_PERMILLE);
        if self.oldest_append < SLOW_APPEND {
            return by_wal;
        }
        by_wal.max(ramp(self.appends_permille, APPENDS_FROM_PERMILLE, 1000))
    }
}

/// From nothing at `from` to [`THROTTLE_MAX`] at `to` and beyond, as the square: a log that only bursts into this range hardly slows
/// whoever fills it.
fn ramp(value: u64, from: u64, to: u64) -> Duration {
    let above = value.clamp(from, to) - from;
    THROTTLE_MAX.mul_f64((above as f64 / (to - from) as f64).powi(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_slows_producers_before_it_refuses_them() {
        let at = |wal_permille| Pressure { wal_permille, ..Pressure::default() }.throttle().as_millis();
        assert_eq!([0, 750, 751, 825, 900, 1000].map(at), [0, 0, 0, 50, 200, 200]);
        let mut last = 0;
        for permille in 0..1100 {
            assert!(at(permille) >= last);
            last = at(permille);
        }
    }

    #[test]
    fn a_full_memory_slows_producers_only_while_appends_are_slow() {
        let at = |appends_permille, oldest| {
            let oldest_append = Duration::from_millis(oldest);
            Pressure { wal_permille: 0, appends_permille, oldest_append }.throttle().as_millis()
        };
        assert_eq!(at(1000, 999), 0);
        assert_eq!([(500, 1000), (750, 5000), (2000, 1000)].map(|(held, oldest)| at(held, oldest)), [0, 50, 200]);
    }

    #[test]
    fn a_client_with_kafkas_defaults_can_send_all_it_holds_within_its_delivery_timeout() {
        let (batch, in_flight, memory, delivery) = (16 << 10, 5, 32 << 20, 120.0);
        let per_second = f64::from(batch * in_flight) / THROTTLE_MAX.as_secs_f64();
        assert!(f64::from(memory) / per_second < delivery * 0.75);
    }
}
