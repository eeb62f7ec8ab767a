//! Parked fetches: waits until one of a fetch's partitions has confirmed more, or its stream has lost its owner.
//!
//! The last stop of the fetch walk. A fetch is parked on the confirmed offsets themselves (one watch per partition), so an append
//! wakes exactly the fetches that read its partition. Bounded: a connection parks one fetch, and of a fetch's partitions at most
//! [`PARKED_PARTITIONS_MAX`] wake it. How long to wait, and what to read after waking, is left to `handler::fetch`.

use base::Offset;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

/// Partitions of one fetch that may wake it. What is appended to those beyond is found when its time is up and it asks again.
pub(crate) const PARKED_PARTITIONS_MAX: usize = 10_000;

/// The partitions that a fetch waits for.
#[derive(Default)]
pub(crate) struct Waiter {
    waits: FuturesUnordered<BoxFuture<'static, usize>>,
}

impl Waiter {
    /// Wakes with `index` once the offset is beyond `seen`, the stream is deleted, or nobody confirms any more. May wake early.
    pub(crate) fn add(&mut self, index: usize, mut confirmed: watch::Receiver<Offset>, seen: Offset) {
        if self.waits.len() < PARKED_PARTITIONS_MAX {
            self.waits.push(Box::pin(async move {
                if *confirmed.borrow_and_update() <= seen {
                    // An error says that the owner is gone, which the fetch finds out when it reads.
                    let _changed = confirmed.changed().await.is_ok();
                }
                index
            }));
        }
    }

    /// The next partition that changed; waits for ever where there is none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> usize {
        match self.waits.next().await {
            Some(index) => index,
            None => futures::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn wakes_for_what_is_confirmed_beyond_what_was_seen_and_for_a_lost_owner() {
        let (first, first_confirmed) = watch::channel(Offset(5));
        let (second, second_confirmed) = watch::channel(Offset(0));
        let mut waiter = Waiter::default();
        waiter.add(1, first_confirmed, Offset(5));
        waiter.add(2, second_confirmed, Offset(3));
        assert!(waiter.next().now_or_never().is_none(), "nothing beyond what was seen");
        first.send_replace(Offset(6));
        assert_eq!(waiter.next().await, 1);
        drop(second);
        assert_eq!(waiter.next().await, 2);
        assert!(waiter.next().now_or_never().is_none(), "nobody is left to wake it");
    }
}
