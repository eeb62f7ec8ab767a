//! Sleeps of less than the runtime's timer can tell apart.
//!
//! Tokio counts time in milliseconds, so that a pause of a third of one takes up to two. The kernel's timers know better; theirs
//! wakes the runtime as a socket does. The runtime's own timer runs beside it, so that nothing depends on the kernel's.

use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longer sleeps are left to the runtime: what it rounds up is little of them.
pub(crate) const PRECISE_BELOW: Duration = Duration::from_millis(2);

/// Sleeps for `duration`, and no more than some tens of microseconds longer.
///
/// # Panics
/// Outside a runtime with timers and I/O.
pub(crate) async fn sleep(duration: Duration) {
    let coarse = tokio::time::sleep(duration);
    let Ok(timer) = timer(duration) else { return coarse.await };
    tokio::select! {
        biased;
        Ok(_) = timer.readable() => {}
        () = coarse => {}
    }
}

/// A timer of the kernel's that fires once.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for owners whose descriptor may change: an `OwnedFd`'s never does"
)]
fn timer(after: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    // Zero would disarm it.
    let after = after.max(Duration::from_nanos(1));
    let tv_sec = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let it_value = Timespec { tv_sec, tv_nsec: after.subsec_nanos().into() };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(&fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    AsyncFd::with_interest(fd, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "what is tested is real time")]
    async fn never_wakes_early_and_uses_the_kernels_timer() {
        for micros in [1, 50, 400, 1999] {
            let duration = Duration::from_micros(micros);
            let began = Instant::now();
            sleep(duration).await;
            assert!(began.elapsed() >= duration, "{micros} µs");
        }
        let timer = timer(Duration::from_micros(300)).unwrap();
        assert!(timer.readable().await.unwrap().ready().is_readable(), "it fires by itself");
    }
}
