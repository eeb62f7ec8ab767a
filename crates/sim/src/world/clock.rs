//! Time, randomness and tasks of one simulated process: virtual time, a wall clock that steps, seeded randomness.

use crate::world::{Process, Trace, now, wait};
use base::{Micros, Seed, UnixMillis};
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use world::{Clock, TaskHandle};

/// The wall clock of a host: how far it is from true time, in milliseconds. Steps at the nemesis' will.
#[derive(Debug, Default)]
pub struct WallSkew(AtomicI64);

impl WallSkew {
    /// Sets the clock to true time plus `millis`.
    pub fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// True time at the start of every run: some day in 2023.
const WALL_START_MILLIS: i64 = 1_700_000_000_000;

/// True wall-clock time.
#[must_use]
pub fn true_wall() -> UnixMillis {
    UnixMillis(WALL_START_MILLIS + i64::try_from(now().0 / 1000).unwrap_or(i64::MAX / 2))
}

/// The seam Clock of one process.
pub struct SimClock {
    process: Arc<Process>,
    skew: Arc<WallSkew>,
    trace: Trace,
    /// Each process counts its monotonic time from a place of its own, so that two processes' times don't compare.
    boot: Micros,
    random: Mutex<Seed>,
}

impl SimClock {
    /// The clock of `process`, on a host whose wall clock is `skew` off.
    #[must_use]
    pub fn new(process: Arc<Process>, skew: Arc<WallSkew>, trace: Trace, mut seed: Seed) -> SimClock {
        let boot = Micros(seed.below(1 << 40));
        SimClock { process, skew, trace, boot, random: Mutex::new(seed) }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Micros {
        Micros(self.boot.0 + now().0)
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(true_wall().0 + self.skew.0.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(wait(duration))
    }

    fn random(&self) -> u64 {
        let drawn = self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        self.trace.mix(drawn);
        drawn
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.process.spawn(name, task)
    }
}
