//! So many a second, with bursts: what may go is told by the time at which the last that went would have gone at an even pace.

use base::Micros;
use std::time::Duration;

/// A bucket of permits that fills evenly.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    burst: Duration,
    /// When the next permit would fall due if none had been saved up.
    due: Micros,
}

impl Bucket {
    /// A permit each `interval`; what was saved up in `burst` may go at once.
    pub(super) fn new(interval: Duration, burst: Duration) -> Bucket {
        Bucket { interval, burst, due: Micros(0) }
    }

    /// When the next one may go.
    pub(super) fn next(&self) -> Micros {
        let burst = u64::try_from(self.burst.as_micros()).unwrap_or(u64::MAX);
        Micros(self.due.0.saturating_sub(burst))
    }

    /// One goes at that time.
    pub(super) fn take(&mut self, at: Micros) {
        self.due = self.due.max(at).plus(self.interval);
    }
}
