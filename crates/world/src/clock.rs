//! Time, randomness and tasks of one host: the [`Clock`] seam and the real [`SystemClock`].
//!
//! Everything above takes time and randomness from here, so that in the simulator one seed tells one story. The real clock
//! is the only place of the project that asks the operating system for either.

use base::{Micros, Nonce, UnixMillis};
use futures::future::BoxFuture;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

/// Time, randomness and tasks. In the simulator a host's tasks are killed and paused together through this seam.
pub trait Clock: Send + Sync {
    /// Monotonic time of this process.
    fn now(&self) -> Micros;

    /// The wall clock. May step in either direction.
    fn wall(&self) -> UnixMillis;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// 64 random bits, from the operating system in the real clock.
    fn random(&self) -> u64;

    /// Runs a task on this host. `name` shows up in traces and panics. Dropping the handle detaches the task.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;
}

/// Helpers over any [`Clock`].
pub trait ClockExt: Clock {
    /// A fresh nonce for one put.
    fn nonce(&self) -> Nonce {
        Nonce(u128::from(self.random()) << 64 | u128::from(self.random()))
    }

    /// `work`'s output, or `None` where `limit` passes first (and `work` is dropped).
    fn timeout<F: Future + Send>(&self, limit: Duration, work: F) -> impl Future<Output = Option<F::Output>> + Send
    where
        F::Output: Send,
    {
        let sleep = self.sleep(limit);
        async move {
            tokio::select! {
                biased;
                output = work => Some(output),
                () = sleep => None,
            }
        }
    }
}

impl<C: Clock + ?Sized> ClockExt for C {}

/// A spawned task: await it for its end, or abort it.
#[derive(Debug)]
pub struct TaskHandle(tokio::task::JoinHandle<()>);

impl TaskHandle {
    /// Wraps the runtime's handle; for implementations of [`Clock`].
    #[must_use]
    pub fn new(handle: tokio::task::JoinHandle<()>) -> TaskHandle {
        TaskHandle(handle)
    }

    /// Drops the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the end. `Err` says that the task panicked or was aborted.
    ///
    /// # Errors
    /// The task did not run to its end; the message says why.
    pub async fn join(self) -> Result<(), String> {
        self.0.await.map_err(|error| error.to_string())
    }
}

/// The operating system's clocks and randomness, and the tokio runtime that it is used in.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the real clock is where time comes from")]
    pub fn new() -> SystemClock {
        SystemClock { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        Micros(0).plus(self.started.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "the real clock is where time comes from")]
    fn wall(&self) -> UnixMillis {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => UnixMillis(millis(since)),
            Err(before) => UnixMillis(-millis(before.duration())),
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        #[cfg(target_os = "linux")]
        if !duration.is_zero() && duration < crate::precise::PRECISE_BELOW {
            return Box::pin(crate::precise::sleep(duration));
        }
        Box::pin(tokio::time::sleep(duration))
    }

    /// # Panics
    /// Where the operating system has no randomness: ids would no longer be unique, and nothing could go on safely.
    fn random(&self) -> u64 {
        let random = getrandom::u64();
        random.expect("the operating system gives random bytes")
    }

    /// # Panics
    /// Outside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "the real clock is where tasks come from")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task))
    }
}
