//! A clock on tokio's time for this crate's tests, so that they can pause it.

use base::{Micros, UnixMillis};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use world::{Clock, TaskHandle};

pub(crate) struct TestClock {
    start: tokio::time::Instant,
    drawn: AtomicU64,
}

impl TestClock {
    #[expect(clippy::disallowed_methods, reason = "this is the tests' seam")]
    pub(crate) fn shared() -> Arc<dyn Clock> {
        Arc::new(TestClock { start: tokio::time::Instant::now(), drawn: AtomicU64::new(1) })
    }
}

impl Clock for TestClock {
    fn now(&self) -> Micros {
        Micros(u64::try_from(self.start.elapsed().as_micros()).unwrap())
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        self.drawn.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the tests' seam")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(tokio::spawn(task))
    }
}
