//! A broker as a process, a Kafka client that blocks, record batches by hand, and a proxy that makes a bucket slow.

pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod commands;
pub(crate) mod process;
pub(crate) mod slow_store;

use std::time::{Duration, Instant};

/// The clock of the tests: they time real processes.
#[expect(clippy::disallowed_methods, reason = "these tests drive real processes and are never simulated")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until `probe` answers, at most for `limit`.
pub(crate) fn eventually<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says that this host does not allow a test. Where a promise is to be shown (`cargo xtask verify`) that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("MILLSTREAM_SKIP").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// A number from the environment, so that one test serves CI and longer runs.
pub(crate) fn from_environment(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}
