//! Locks that run out.

use super::bench::{ACCEPT, Bench, RENEW, fetched, state};
use crate::share_partition::{DeliveryState, ShareError, ShareOptions};
use base::Offset;
use std::time::Duration;

const LOCK: Duration = Duration::from_secs(30);

#[test]
fn a_record_is_taken_from_who_keeps_it_too_long() {
    let mut bench = Bench::new();
    bench.acquire("a", 5, &[fetched(0, 5)]);
    assert_eq!(bench.share.next_deadline(), Some(bench.now.plus(LOCK)));
    bench.pass(LOCK - Duration::from_micros(1));
    assert!(bench.fx.writes.is_empty());
    bench.pass(Duration::from_micros(1));
    assert_eq!(bench.write().batches, [state(0, 5, DeliveryState::Available, 1)]);
    // At once, whatever becomes of that write.
    assert_eq!(bench.acquire("b", 5, &[fetched(0, 5)]), [(0, 5, 2)]);
    let ticket = bench.acknowledge("a", 0, 5, &[ACCEPT]);
    assert!(bench.answer(ticket).is_some_and(|answer| answer.is_err()));
}

#[test]
fn who_renews_keeps_a_record_for_longer() {
    let mut bench = Bench::new();
    bench.acquire("a", 5, &[fetched(0, 5)]);
    bench.pass(LOCK / 2);
    bench.acknowledge("a", 0, 3, &[RENEW]);
    bench.pass(LOCK / 2);
    assert_eq!(bench.write().batches, [state(3, 5, DeliveryState::Available, 1)]);
    bench.acknowledge("a", 0, 3, &[RENEW]);
    bench.pass(LOCK / 2);
    bench.settle();
    bench.pass(LOCK / 2);
    assert_eq!(bench.next_fetch(), 0);
}

#[test]
fn who_renews_very_often_is_looked_at_once_for_it() {
    let mut bench = Bench::new();
    bench.acquire("a", 5, &[fetched(0, 5)]);
    for place in 0..1000 {
        bench.pass(Duration::from_millis(1));
        bench.acknowledge("a", place % 5, place % 5 + 1, &[RENEW]);
    }
    assert_eq!(bench.share.wakes.len(), 1);
    // The records are taken back one after the other, each when its own time is over.
    bench.pass(LOCK - Duration::from_millis(1000));
    assert!(bench.fx.writes.is_empty());
    for left in [996, 997, 998, 999, 1000] {
        assert!(bench.share.next_deadline().is_some(), "{left}");
        bench.pass(Duration::from_millis(if left == 996 { 996 } else { 1 }));
        let write = bench.write();
        assert_eq!(write.batches.len(), 1, "{left}");
        bench.wrote(&write, Ok(()));
    }
    assert_eq!(bench.share.next_deadline(), None);
}

#[test]
fn a_lock_that_runs_out_while_it_is_written_is_over_if_the_write_fails() {
    let mut bench = Bench::new();
    bench.acquire("a", 5, &[fetched(0, 5)]);
    let ticket = bench.acknowledge("a", 0, 5, &[ACCEPT]);
    let write = bench.write();
    bench.pass(LOCK);
    assert!(bench.fx.writes.is_empty());
    bench.wrote(&write, Err(ShareError::CoordinatorNotAvailable));
    assert_eq!(bench.answer(ticket), Some(Err(ShareError::CoordinatorNotAvailable)));
    assert_eq!(bench.write().batches, [state(0, 5, DeliveryState::Available, 1)]);
    assert_eq!(bench.acquire("b", 5, &[fetched(0, 5)]), [(0, 5, 2)]);
}

#[test]
fn a_record_that_is_delivered_too_often_is_archived() {
    let options = ShareOptions { deliveries_max: 2, ..ShareOptions::default() };
    let mut bench = Bench::with(options, 0, &[]);
    for _ in 0..2 {
        assert_eq!(bench.acquire("a", 5, &[fetched(0, 1)]).len(), 1);
        bench.pass(LOCK);
    }
    bench.settle();
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(1), 1));
    assert_eq!(bench.share.next_deadline(), None);
}
