//! How an object WAL spends its puts: when the next group goes and how large it grows, how many are in flight, when a slow one is sent
//! a second time.
//!
//! Stands between the appender, which forms groups on [`Pace::terms`], and the WAL's writer, which reports what became of its puts.
//! Light load buys latency with requests, heavy load is charged by the byte:
//!
//! - In the long run no more than `puts_per_second` go out, second copies and repeats included; one in eight is kept for those.
//! - A group that finds another in flight waits a quarter of what a put takes for company (it lingers): it is acknowledged after that
//!   one anyway.
//! - The more bytes come, the further groups go apart, up to `spacing_max`, where half of `object_bytes` come within it. Where all of it
//!   does, a group goes when it has so many: from there on a GiB costs so many puts, whatever the rate. Where that is more than
//!   `puts_per_second`, objects grow further, up to `object_bytes_max`.
//! - The window of puts in flight grows by one for each window of puts that took as long as ever; it shrinks where they take twice as
//!   long, for then they wait for one another, and halves where the store is in trouble.
//! - A put that takes longer than nine in ten of its size did lately is sent a second time, unless the store is in trouble.
//!
//! Nothing here bears on safety: a copy has the number, the bytes and the nonce of the first, and what counts is decided by the
//! rules B of `docs/rules.md`, however many there are.

mod bucket;
mod latency;
mod rate;
#[cfg(test)]
mod tests;

use crate::append::Terms;
use base::Micros;
use bucket::Bucket;
use latency::Latencies;
use rate::Rate;
use std::time::Duration;

/// Bounds of an object WAL's puts.
#[derive(Debug, Clone)]
pub struct PaceLimits {
    /// Puts a second in the long run, copies and repeats included; not 0.
    pub puts_per_second: u32,
    /// Bytes of an object under heavy load: what a GiB costs.
    pub object_bytes: usize,
    /// Bytes of an object at the most, where `puts_per_second` leaves no other way.
    pub object_bytes_max: usize,
    /// Under load, groups go no further apart.
    pub spacing_max: Duration,
    /// A group lingers no longer for company.
    pub linger_max: Duration,
    /// Puts in flight at the most, not 0.
    pub in_flight_max: usize,
    /// A put may be sent twice once so many of its size have answered; `None`: never.
    pub copy_samples_min: Option<usize>,
    /// Nothing is sent twice for so long after the store was in trouble.
    pub calm: Duration,
}

/// For a store that charges as S3 Standard does, and answers as fast: 20 puts a second are 260 dollars a month at the very most,
/// and of a GiB's cost the log takes a twentieth of a cent.
impl Default for PaceLimits {
    fn default() -> Self {
        PaceLimits {
            puts_per_second: 20,
            object_bytes: object_bytes_for(100),
            object_bytes_max: 32 << 20,
            spacing_max: Duration::from_millis(250),
            linger_max: Duration::from_millis(20),
            in_flight_max: 16,
            copy_samples_min: Some(20),
            calm: Duration::from_secs(1),
        }
    }
}

/// The size of objects of which so many hold a GiB.
#[must_use]
pub fn object_bytes_for(puts_per_gib: u32) -> usize {
    (1 << 30) / puts_per_gib.max(1) as usize
}

impl PaceLimits {
    /// The same where puts cost nothing, and a slow one is not answered sooner if sent twice: a folder.
    #[must_use]
    pub fn without_price(self) -> PaceLimits {
        PaceLimits { puts_per_second: 100_000, spacing_max: Duration::ZERO, copy_samples_min: None, ..self }
    }
}

/// Bursts are so many seconds' worth of puts.
const BURST: Duration = Duration::from_secs(2);
/// One put in so many is kept for copies and repeats.
const COPIES_SHARE: u32 = 8;
/// Bytes of copies that are allowed before anything was put, and that may be saved up.
const COPY_BYTES_FIRST: usize = 1 << 20;
const COPY_BYTES_SAVED_MAX: usize = 64 << 20;
/// The window of puts in flight begins with so many.
const WINDOW_FIRST: usize = 4;

/// The state of one object WAL's pace.
#[derive(Debug)]
pub struct Pace {
    limits: PaceLimits,
    groups: Bucket,
    copies: Bucket,
    /// Bytes that may still be sent a second time.
    copy_bytes: usize,
    rate: Rate,
    last_sent: Micros,
    latencies: Latencies,
    /// Puts in flight at the most, now.
    window: usize,
    /// Puts since the window grew.
    credit: usize,
    in_flight: usize,
    trouble_at: Option<Micros>,
}

impl Pace {
    /// Nothing put yet.
    #[must_use]
    pub fn new(limits: PaceLimits) -> Pace {
        let a_second = Duration::from_secs(1);
        let interval = a_second / limits.puts_per_second.max(1);
        Pace {
            groups: Bucket::new(interval * COPIES_SHARE / (COPIES_SHARE - 1), BURST),
            copies: Bucket::new(interval * COPIES_SHARE, BURST),
            copy_bytes: COPY_BYTES_FIRST,
            rate: Rate::default(),
            last_sent: Micros(0),
            latencies: Latencies::default(),
            window: WINDOW_FIRST.min(limits.in_flight_max).max(1),
            credit: 0,
            in_flight: 0,
            trouble_at: None,
            limits,
        }
    }

    /// On what terms the next group goes.
    #[must_use]
    pub fn terms(&self, now: Micros) -> Terms {
        let limits = &self.limits;
        let linger = self.latencies.usual().map_or(limits.linger_max, |usual| (usual / 4).min(limits.linger_max));
        Terms {
            linger,
            spaced: self.last_sent.plus(self.spacing(now)),
            allowed: self.groups.next(),
            full_bytes: limits.object_bytes.min(limits.object_bytes_max),
            group_bytes_max: limits.object_bytes_max,
            in_flight_max: self.window,
        }
    }

    /// A group of so many bytes goes now.
    pub fn sent(&mut self, now: Micros, bytes: usize) {
        self.groups.take(now);
        self.rate.add(now, bytes);
        self.last_sent = now;
        self.in_flight += 1;
        let earned = bytes / COPIES_SHARE as usize;
        self.copy_bytes = (self.copy_bytes + earned).min(COPY_BYTES_SAVED_MAX.max(self.copy_bytes));
    }

    /// After what time a put of that size counts as slow; `None` while too little is known.
    #[must_use]
    pub fn slow_after(&self, bytes: usize) -> Option<Duration> {
        self.latencies.slow(bytes, self.limits.copy_samples_min?)
    }

    /// Whether a slow put may be sent a second time now; it counts as sent then.
    pub fn may_copy(&mut self, now: Micros, bytes: usize) -> bool {
        let calm = self.trouble_at.is_none_or(|at| now >= at.plus(self.limits.calm));
        if !calm || bytes > self.copy_bytes || now < self.copies.next() {
            return false;
        }
        self.copy_bytes -= bytes;
        self.copies.take(now);
        true
    }

    /// How long a put whose copies have all failed waits, besides its own backing off, until it may be sent again; it counts as sent
    /// then.
    pub fn repeat_after(&mut self, now: Micros) -> Duration {
        let bucket = if self.copies.next() <= self.groups.next() { &mut self.copies } else { &mut self.groups };
        let at = bucket.next().max(now);
        bucket.take(at);
        at.since(now)
    }

    /// A group is durable, after so long where no try of it failed.
    pub fn done(&mut self, bytes: usize, took: Option<Duration>) {
        let was_limited = self.in_flight >= self.window;
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(took) = took else { return };
        if self.latencies.add(bytes, took) {
            // They wait for one another.
            self.window = (self.window - 1).max(1);
            self.credit = 0;
        } else if was_limited {
            self.credit += 1;
            if self.credit >= self.window {
                self.window = (self.window + 1).min(self.limits.in_flight_max.max(1));
                self.credit = 0;
            }
        }
    }

    /// A try failed. All that were in flight may tell of the same trouble, which counts once.
    pub fn trouble(&mut self, now: Micros) {
        let counted = self.trouble_at.is_some_and(|at| now < at.plus(self.limits.calm));
        if !counted {
            self.window = (self.window / 2).max(1);
            self.credit = 0;
            self.trouble_at = Some(now);
        }
    }

    /// How far groups go apart: in proportion to the rate.
    fn spacing(&self, now: Micros) -> Duration {
        let limits = &self.limits;
        let half_full = (limits.object_bytes.min(limits.object_bytes_max) / 2).max(1) as u128;
        let longest = limits.spacing_max.as_micros();
        let in_longest = u128::from(self.rate.bytes_per_second(now)) * longest / 1_000_000;
        let spacing = longest * in_longest.min(half_full) / half_full;
        Duration::from_micros(u64::try_from(spacing).unwrap_or(u64::MAX))
    }
}
