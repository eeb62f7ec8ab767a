//! Writes, one at a time, and what becomes of those that fail.

use super::bench::{ACCEPT, Bench, REJECT, RELEASE, fetched, state};
use crate::share_partition::{DeliveryState, ShareError};
use base::Offset;
use std::time::Duration;

#[test]
fn what_comes_while_a_write_is_under_way_goes_with_the_next() {
    let mut bench = Bench::new();
    bench.acquire("a", 9, &[fetched(0, 9)]);
    bench.acknowledge("a", 0, 3, &[ACCEPT]);
    let first = bench.write();
    let tickets = [bench.acknowledge("a", 3, 6, &[ACCEPT]), bench.acknowledge("a", 6, 9, &[REJECT])];
    assert!(bench.fx.writes.is_empty());
    bench.wrote(&first, Ok(()));
    let second = bench.write();
    assert_eq!(second.start, Offset(3));
    let states = [state(3, 6, DeliveryState::Acknowledged, 1), state(6, 9, DeliveryState::Archived, 1)];
    assert_eq!(second.batches, states);
    bench.wrote(&second, Ok(()));
    assert!(tickets.into_iter().all(|ticket| bench.answer(ticket) == Some(Ok(()))));
    assert_eq!((bench.share.start(), bench.share.in_flight()), (Offset(9), 0));
}

#[test]
fn a_write_that_fails_leaves_records_with_who_had_them() {
    let mut bench = Bench::new();
    bench.acquire("a", 9, &[fetched(0, 9)]);
    let ticket = bench.acknowledge("a", 0, 9, &[ACCEPT]);
    assert_eq!(bench.share.delivery_complete_count(), 9);
    let write = bench.write();
    bench.wrote(&write, Err(ShareError::Failed));
    assert_eq!(bench.answer(ticket), Some(Err(ShareError::Failed)));
    assert_eq!((bench.share.delivery_complete_count(), bench.share.start()), (0, Offset(0)));
    bench.acknowledged("a", 0, 9, &[ACCEPT]);
    // And an answer that comes twice says nothing.
    bench.wrote(&write, Err(ShareError::Failed));
    assert_eq!(bench.share.start(), Offset(9));
}

#[test]
fn a_leader_that_is_fenced_answers_all_who_wait_and_gives_nothing_more() {
    let mut bench = Bench::new();
    bench.acquire("a", 9, &[fetched(0, 9)]);
    let tickets = [bench.acknowledge("a", 0, 3, &[ACCEPT]), bench.acknowledge("a", 3, 6, &[RELEASE])];
    let write = bench.write();
    bench.wrote(&write, Err(ShareError::NotLeader));
    assert!(tickets.into_iter().all(|ticket| bench.answer(ticket) == Some(Err(ShareError::NotLeader))));
    assert!(bench.share.is_fenced() && bench.fx.writes.is_empty());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.acquire("b", 9, &[fetched(0, 9)]), []);
    assert!(bench.fx.writes.is_empty());
}

#[test]
fn what_the_log_loses_meanwhile_is_not_given_again() {
    let mut bench = Bench::new();
    bench.acquire("a", 9, &[fetched(0, 9)]);
    bench.acknowledge("a", 0, 4, &[RELEASE]);
    let write = bench.write();
    bench.share.log_starts_at(Offset(2));
    bench.wrote(&write, Err(ShareError::Failed));
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(2), 9));
    bench.pass(Duration::from_secs(30));
    bench.settle();
    assert_eq!(bench.acquire("b", 9, &[fetched(0, 9)]), [(2, 9, 2)]);
}
