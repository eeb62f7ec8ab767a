//! A store that is not hammered while it is in trouble.
//!
//! Everybody above tries again for ever, each with its own growing waits. Many of them together are still many requests to a
//! store that has asked for fewer, or is just coming back. So all requests of a process share an account: a success earns half of what
//! a failure costs. As long as two of three succeed nobody waits. When the account is used up requests start at intervals that double
//! with each failure, up to a second, and halve with each success; once a few have succeeded all may go again.
//!
//! Nothing is refused here and nothing is tried again: who waits stands in a line, and has its turn. Who gives up leaves the line, so
//! that turns are never kept for callers who have gone; a request that its caller gave up earns and costs nothing.

use crate::clock::Clock;
use crate::object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};
use crate::store_use::Purpose;
use crate::sync::lock;
use async_trait::async_trait;
use base::Micros;
use bytes::Bytes;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What may be owed by failures before requests go at intervals, where a failure costs two and a success earns one.
const CREDIT_MAX: i32 = 100;
/// So much must be earned, once it was used up, before all may go again.
const DEBT_MAX: i32 = 10;
/// The first interval,
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// and the longest: what a store that is gone is asked.
const INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Any store, paced.
pub struct Paced {
    store: Arc<dyn ObjectStore>,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    pace: Mutex<Pace>,
    /// Whose turn it is next holds this, in the order of asking.
    line: tokio::sync::Mutex<()>,
    /// All may go again.
    opened: Notify,
}

/// The account.
#[derive(Debug)]
struct Pace {
    credit: i32,
    /// Nothing while the account is in credit.
    interval: Duration,
    /// Before then nobody else goes.
    next: Micros,
}

/// What an answer changed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    Paced,
    Opened,
}

impl Pace {
    fn new() -> Pace {
        Pace { credit: CREDIT_MAX, interval: Duration::ZERO, next: Micros(0) }
    }

    fn is_open(&self) -> bool {
        self.interval.is_zero()
    }

    /// A request goes now.
    fn goes(&mut self, now: Micros) {
        self.next = now.plus(self.interval);
    }

    fn succeeded(&mut self) -> Change {
        self.credit = (self.credit + 1).min(CREDIT_MAX);
        if self.is_open() {
            return Change::None;
        }
        self.interval = (self.interval / 2).max(Duration::from_millis(1));
        if self.credit <= 0 {
            return Change::None;
        }
        self.interval = Duration::ZERO;
        Change::Opened
    }

    fn failed(&mut self) -> Change {
        self.credit = (self.credit - 2).max(-DEBT_MAX);
        if !self.is_open() {
            self.interval = (self.interval * 2).clamp(INTERVAL_MIN, INTERVAL_MAX);
            return Change::None;
        }
        if self.credit > 0 {
            return Change::None;
        }
        self.credit = -DEBT_MAX;
        self.interval = INTERVAL_MIN;
        Change::Paced
    }
}

impl Paced {
    /// All requests that are made through this, or through what [`ObjectStore::counted_as`] makes of it, share one account.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Paced {
        Paced { store, shared: Arc::new(Shared::new(clock)) }
    }

    async fn ask<T>(&self, request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.shared.turn().await;
        let answer = request.await;
        self.shared.note(matches!(answer, Err(StoreError::Trouble(_) | StoreError::Refused(_))));
        answer
    }
}

impl Shared {
    fn new(clock: Arc<dyn Clock>) -> Shared {
        Shared { clock, pace: Mutex::new(Pace::new()), line: tokio::sync::Mutex::new(()), opened: Notify::new() }
    }

    /// Waits for a turn, where requests go at intervals.
    async fn turn(&self) {
        // Made before the look, so that it hears of what comes after.
        let opened = self.opened.notified();
        if lock(&self.pace).is_open() {
            return;
        }
        tokio::select! {
            biased;
            () = opened => {}
            () = self.in_line() => {}
        }
    }

    /// The line moves on with whoever goes, or gives up.
    async fn in_line(&self) {
        let _first = self.line.lock().await;
        let next = lock(&self.pace).next;
        self.clock.sleep(next.since(self.clock.now())).await;
        lock(&self.pace).goes(self.clock.now());
    }

    fn note(&self, has_failed: bool) {
        let change = {
            let mut pace = lock(&self.pace);
            if has_failed { pace.failed() } else { pace.succeeded() }
        };
        match change {
            Change::None => {}
            Change::Paced => {
                tracing::warn!(
                    "too many requests to the object store fail: from now on they go at intervals, once a second at the most"
                )
            }
            Change::Opened => {
                tracing::info!("the object store answers again");
                self.opened.notify_waiters();
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Paced {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        self.ask(self.store.put_if_absent(key, parts)).await
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        self.ask(self.store.get(key, range)).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.ask(self.store.list(prefix, after, limit)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.ask(self.store.delete(keys)).await
    }

    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.store.make_durable(prefix).await
    }

    fn describe(&self) -> String {
        self.store.describe()
    }

    fn counted_as(&self, purpose: Purpose) -> Option<Arc<dyn ObjectStore>> {
        let store = self.store.counted_as(purpose)?;
        Some(Arc::new(Paced { store, shared: self.shared.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Seed;

    const SECOND: u64 = 1_000_000;

    /// When the next request goes.
    fn goes(pace: &mut Pace, now: u64) -> u64 {
        let turn = if pace.is_open() { now } else { now.max(pace.next.0) };
        pace.goes(Micros(turn));
        turn
    }

    /// Requests that go in ten seconds while `callers` ask as often as they may and `fails` says which fail.
    fn requests(pace: &mut Pace, from: u64, callers: u64, mut fails: impl FnMut() -> bool) -> u64 {
        let mut count = 0;
        let mut now = from;
        while now < from + 10 * SECOND {
            for _ in 0..callers {
                now = goes(pace, now);
                count += 1;
                if fails() {
                    pace.failed()
                } else {
                    pace.succeeded()
                };
            }
            now += SECOND / 100;
        }
        count
    }

    #[test]
    fn nobody_waits_while_two_of_three_succeed() {
        let mut random = Seed::new(5);
        let mut pace = Pace::new();
        let free = requests(&mut pace, 0, 10, || false);
        let mut pace = Pace::new();
        assert_eq!(requests(&mut pace, 0, 10, || random.chance(300)), free, "thirty of a hundred fail");
    }

    #[test]
    fn a_store_that_is_gone_is_asked_once_a_second_and_has_all_back_soon() {
        let mut pace = Pace::new();
        let asked = requests(&mut pace, 0, 10, || true);
        assert!((50..100).contains(&asked), "{asked} requests");
        assert!((9..=11).contains(&requests(&mut pace, 100 * SECOND, 1, || true)));
        let mut now = goes(&mut pace, 200 * SECOND);
        let back = now;
        while pace.succeeded() != Change::Opened {
            now = goes(&mut pace, now);
        }
        assert!(now - back < 3 * SECOND, "{} s", (now - back) / SECOND);
        assert_eq!((goes(&mut pace, now), goes(&mut pace, now)), (now, now));
    }

    #[test]
    fn it_says_once_that_requests_are_paced() {
        let mut pace = Pace::new();
        let changes: Vec<Change> = (0..1000).map(|_| pace.failed()).collect();
        assert_eq!(changes.iter().filter(|change| **change == Change::Paced).count(), 1);
        assert_eq!(changes[49], Change::Paced);
    }

    fn in_trouble() -> Shared {
        let shared = Shared::new(Arc::new(crate::SystemClock::new()));
        for _ in 0..60 {
            shared.note(true);
        }
        shared
    }

    #[tokio::test]
    async fn who_waits_goes_as_soon_as_the_store_answers_again() {
        let shared = in_trouble();
        // A minute away.
        let now = shared.clock.now();
        lock(&shared.pace).next = now.plus(Duration::from_secs(60));
        let began = shared.clock.now();
        let answers = async {
            for _ in 0..11 {
                shared.note(false);
            }
        };
        futures::join!(shared.turn(), answers);
        assert!(shared.clock.now().since(began) < Duration::from_secs(5));
    }

    /// Readers of a bucket that is gone give up and ask again, more of them than there are turns: whoever waits must still have one.
    #[tokio::test]
    async fn turns_are_not_kept_for_callers_who_have_gone() {
        let shared = in_trouble();
        for _ in 0..600 {
            // Asks, and is gone.
            let _gone = futures::FutureExt::now_or_never(shared.turn());
        }
        let began = shared.clock.now();
        shared.turn().await;
        assert!(shared.clock.now().since(began) < Duration::from_secs(5), "600 turns of a second were kept");
    }
}
