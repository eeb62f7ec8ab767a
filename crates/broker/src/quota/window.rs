//! Rates as Kafka measures them: sums of a few windows, over the time that they span; and its bucket of tokens (KIP-599). Milliseconds are
//! counted from any moment, and never go back.

/// Over which time rates are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaWindows {
    /// How many windows, the present one among them; from 1 to [`QuotaWindows::COUNT_MAX`] (`quota.window.num`).
    pub count: u16,
    /// Seconds of each, from 1 to [`QuotaWindows::SECONDS_MAX`] (`quota.window.size.seconds`).
    pub seconds: u32,
}

impl QuotaWindows {
    /// Each client that uses something has so many numbers in memory at the most.
    pub const COUNT_MAX: u16 = 100;
    /// A day.
    pub const SECONDS_MAX: u32 = 24 * 3600;

    /// Of one window.
    pub(super) fn length_ms(self) -> u64 {
        u64::from(self.seconds) * 1000
    }

    /// Of all.
    pub(super) fn span_ms(self) -> u64 {
        self.length_ms() * u64::from(self.count)
    }

    /// Of all but the present one.
    pub(super) fn whole_seconds(self) -> f64 {
        f64::from(self.seconds) * f64::from(self.count - 1)
    }

    /// What a bucket of tokens holds.
    fn burst(self, limit: f64) -> f64 {
        f64::from(self.count) * f64::from(self.seconds) * limit
    }
}

impl Default for QuotaWindows {
    /// Kafka's.
    fn default() -> QuotaWindows {
        QuotaWindows { count: 11, seconds: 1 }
    }
}

/// What somebody has used.
pub(super) trait Sensor {
    /// Whether one that is made anew would not differ.
    fn is_at_rest(&self, windows: QuotaWindows, now: u64) -> bool;

    /// When something was used last, in milliseconds.
    fn last_used(&self) -> u64;
}

/// What was used in one window, and since when and until when.
#[derive(Debug, Clone, Copy)]
struct Sample {
    began: u64,
    last: u64,
    value: f64,
}

impl Sample {
    fn at(now: u64) -> Sample {
        Sample { began: now, last: now, value: 0.0 }
    }
}

/// How much is used in a second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// One more than there are windows: the oldest may overlap their time.
    samples: Vec<Sample>,
    current: usize,
}

impl Rate {
    pub(super) fn record(&mut self, windows: QuotaWindows, value: f64, now: u64) {
        if self.samples.is_empty() {
            self.samples.push(Sample::at(now));
        }
        if now.saturating_sub(self.samples[self.current].began) >= windows.length_ms() {
            self.current = (self.current + 1) % (usize::from(windows.count) + 1);
            match self.samples.get_mut(self.current) {
                Some(oldest) => *oldest = Sample::at(now),
                None => self.samples.push(Sample::at(now)),
            }
        }
        let sample = &mut self.samples[self.current];
        sample.value += value;
        sample.last = now;
    }

    /// For how many milliseconds nothing may be used, so that no more than the limit was used in a second; 0 where it was not.
    pub(super) fn excess_ms(&mut self, windows: QuotaWindows, limit: f64, now: u64) -> u64 {
        for sample in &mut self.samples {
            if now.saturating_sub(sample.last) >= windows.span_ms() {
                *sample = Sample::at(now);
            }
        }
        let began = self.samples.iter().map(|sample| sample.began).min().unwrap_or(now);
        let elapsed = now.saturating_sub(began);
        // All windows count, as if each before the first had been there and empty.
        let missing = u64::from(windows.count - 1).saturating_sub(elapsed / windows.length_ms());
        let spanned = to_f64((elapsed + missing * windows.length_ms()).max(1));
        let used = self.samples.iter().map(|sample| sample.value).sum::<f64>() / (spanned / 1000.0);
        if used <= limit { 0 } else { whole_ms((used - limit) / limit * spanned) }
    }
}

impl Sensor for Rate {
    fn is_at_rest(&self, windows: QuotaWindows, now: u64) -> bool {
        self.samples.iter().all(|sample| now.saturating_sub(sample.last) >= windows.span_ms())
    }

    fn last_used(&self) -> u64 {
        self.samples.iter().map(|sample| sample.last).max().unwrap_or(0)
    }
}

/// Tokens that come back with time and are used up: how many changes of topics may be made at once, and then in a second.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    last: u64,
    /// By which it was filled last.
    limit: f64,
}

impl Bucket {
    pub(super) fn full(windows: QuotaWindows, limit: f64, now: u64) -> Bucket {
        Bucket { tokens: windows.burst(limit), last: now, limit }
    }

    fn fill(&mut self, windows: QuotaWindows, limit: f64, now: u64) {
        let more = limit * to_f64(now.saturating_sub(self.last)) / 1000.0;
        self.tokens = (self.tokens + more).min(windows.burst(limit));
        (self.last, self.limit) = (now, limit);
    }

    /// May take more than there are.
    pub(super) fn take(&mut self, windows: QuotaWindows, limit: f64, tokens: f64, now: u64) {
        self.fill(windows, limit, now);
        self.tokens -= tokens;
    }

    /// After how many milliseconds there are no fewer than none.
    pub(super) fn excess_ms(&mut self, windows: QuotaWindows, limit: f64, now: u64) -> u64 {
        self.fill(windows, limit, now);
        if self.tokens < 0.0 { whole_ms(-self.tokens / limit * 1000.0) } else { 0 }
    }
}

impl Sensor for Bucket {
    fn is_at_rest(&self, windows: QuotaWindows, now: u64) -> bool {
        let more = self.limit * to_f64(now.saturating_sub(self.last)) / 1000.0;
        self.tokens + more >= windows.burst(self.limit)
    }

    fn last_used(&self) -> u64 {
        self.last
    }
}

fn to_f64(milliseconds: u64) -> f64 {
    milliseconds as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion saturates, and no number is 0"
)]
fn whole_ms(milliseconds: f64) -> u64 {
    milliseconds.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    #[test]
    fn who_uses_too_much_waits_until_it_is_within_its_limit_over_all_windows() {
        let windows = QuotaWindows::default();
        let mut rate = Rate::default();
        // Ten seconds of a limit of 500 may be used at once, as if the ten windows before had been empty.
        rate.record(windows, 5000.0, 0);
        assert_eq!(rate.excess_ms(windows, 500.0, 0), 0);
        // Kafka's own example: 20 % more than that takes two of the ten seconds.
        rate.record(windows, 1000.0, 0);
        assert_eq!(rate.excess_ms(windows, 500.0, 0), 2 * SECOND);
        assert_eq!(rate.excess_ms(windows, 500.0, SECOND), 2 * SECOND, "the first second was counted as empty already");
        assert_eq!(rate.excess_ms(windows, 500.0, 11 * SECOND), 0, "all windows have passed");
        assert!(rate.is_at_rest(windows, 22 * SECOND));
    }

    #[test]
    fn a_steady_use_within_the_limit_is_never_throttled_and_one_above_it_comes_down_to_it() {
        let windows = QuotaWindows::default();
        let mut rate = Rate::default();
        for now in (0..60 * SECOND).step_by(100) {
            rate.record(windows, 45.0, now);
            assert_eq!(rate.excess_ms(windows, 500.0, now), 0, "at {now}");
        }
        // Sends 300 at a time as soon as it may.
        let (mut rate, mut now, mut sent) = (Rate::default(), 0, 0.0);
        while now < 100 * SECOND {
            rate.record(windows, 300.0, now);
            sent += 300.0;
            now += rate.excess_ms(windows, 500.0, now).max(1);
        }
        assert!((50_000.0..56_000.0).contains(&sent), "{sent} in 100 seconds, 5000 of them at once");
        assert!(rate.samples.len() <= 12);
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let windows = QuotaWindows::default();
        let mut rate = Rate::default();
        rate.record(windows, 9000.0, 5);
        assert!(rate.excess_ms(windows, 500.0, 5) > 0);
        rate.record(windows, -9000.0, 5);
        assert_eq!(rate.excess_ms(windows, 500.0, 5), 0);
    }

    #[test]
    fn one_window_is_measured_as_well() {
        let windows = QuotaWindows { count: 1, seconds: 2 };
        let mut rate = Rate::default();
        rate.record(windows, 1.0, 0);
        assert_eq!(rate.excess_ms(windows, 500.0, 0), 1, "over a millisecond, the least");
        assert_eq!(rate.excess_ms(windows, 500.0, 2), 0);
    }

    #[test]
    fn a_bucket_is_full_at_first_and_waits_until_nothing_is_owed() {
        // Kafka's own example, with a hundred windows.
        let windows = QuotaWindows { count: 100, seconds: 1 };
        let mut bucket = Bucket::full(windows, 5.0, 7);
        bucket.take(windows, 5.0, 560.0, 7);
        assert_eq!(bucket.excess_ms(windows, 5.0, 7), 12 * SECOND);
        assert_eq!(bucket.excess_ms(windows, 5.0, 7 + 11 * SECOND), SECOND);
        assert_eq!(bucket.excess_ms(windows, 5.0, 7 + 12 * SECOND), 0);
        assert!(!bucket.is_at_rest(windows, 111 * SECOND));
        assert!(bucket.is_at_rest(windows, 7 + 112 * SECOND));
    }

    #[test]
    fn limits_that_are_no_numbers_throttle_nobody_for_ever() {
        let windows = QuotaWindows::default();
        let mut rate = Rate::default();
        rate.record(windows, 5.0, 0);
        assert_eq!(rate.excess_ms(windows, f64::NAN, 0), 0);
        assert_eq!(rate.excess_ms(windows, f64::INFINITY, 0), 0);
    }
}
