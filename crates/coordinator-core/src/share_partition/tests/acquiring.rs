//! Who is given what.

use super::bench::{ACCEPT, Bench, RELEASE, fetched, range, state};
use crate::share_partition::{AcquireMode, DeliveryState, FetchedAbort, FetchedBatch, ShareOptions};
use base::Offset;
use std::time::Duration;

#[test]
fn batches_are_given_whole_and_in_parts_that_begin_where_batches_do() {
    let mut bench = Bench::new();
    bench.batch_size = 10;
    let log = [fetched(0, 5), fetched(5, 12), fetched(12, 20), fetched(20, 30)];
    assert_eq!(bench.acquire("a", 13, &log), [(0, 12, 1), (12, 20, 1)]);
    assert_eq!(bench.next_fetch(), 20);
    assert_eq!(bench.acquire("b", 100, &log[3..]), [(20, 30, 1)]);
    assert_eq!(bench.share.in_flight(), 30);
}

#[test]
fn a_record_limit_is_kept_and_the_rest_of_the_batch_is_available() {
    let mut bench = Bench::new();
    let log = [fetched(0, 10), fetched(10, 20)];
    let limited = AcquireMode::RecordLimit;
    assert_eq!(bench.acquire_as("a", limited, 4, &log, &[]), [(0, 4, 1)]);
    assert_eq!(bench.next_fetch(), 4);
    assert_eq!(bench.acquire_as("b", limited, 3, &log, &[]), [(4, 7, 1)]);
    assert_eq!(bench.acquire_as("b", limited, 8, &log, &[]), [(7, 10, 1), (10, 15, 1)]);
    assert_eq!(bench.next_fetch(), 15);
}

#[test]
fn as_many_are_in_flight_as_may_be_and_what_is_released_is_given_all_the_same() {
    let options = ShareOptions { in_flight_max: 10, ..ShareOptions::default() };
    let mut bench = Bench::with(options, 0, &[]);
    let log = [fetched(0, 6), fetched(6, 12), fetched(12, 18)];
    assert_eq!(bench.acquire("a", 100, &log), [(0, 12, 1)]);
    assert!(!bench.share.can_acquire());
    assert_eq!(bench.acquire("a", 100, &log[2..]), []);
    bench.acknowledged("a", 3, 5, &[RELEASE]);
    assert!(bench.share.can_acquire());
    assert_eq!(bench.next_fetch(), 3);
    assert_eq!(bench.acquire("b", 100, &log), [(3, 5, 2)]);
    bench.acknowledged("a", 0, 3, &[ACCEPT]);
    assert_eq!((bench.share.start(), bench.share.in_flight()), (Offset(3), 9));
    assert_eq!(bench.acquire("b", 100, &log[2..]), [(12, 18, 1)]);
}

#[test]
fn what_was_delivered_often_is_given_in_smaller_parts_and_at_last_alone() {
    let mut bench = Bench::new();
    let log = [fetched(0, 8)];
    let throw_away = |bench: &mut Bench| bench.pass(Duration::from_secs(30));
    for count in 1..=3 {
        assert_eq!(bench.acquire("a", 100, &log), if count < 3 { vec![(0, 8, count)] } else { vec![(0, 8, 3)] });
        throw_away(&mut bench);
    }
    // Half of limit 5, rounded up, is 3: from the fourth time on.
    assert_eq!(bench.acquire("a", 100, &log), [(0, 4, 4)]);
    assert_eq!(bench.acquire("b", 100, &log), [(4, 8, 4)]);
    throw_away(&mut bench);
    assert_eq!(bench.acquire("a", 100, &log), [(0, 1, 5)]);
    assert_eq!(bench.acquire("a", 100, &log), [(1, 2, 5)]);
    throw_away(&mut bench);
    bench.settle();
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(2), 2));
}

#[test]
fn records_of_aborted_transactions_are_given_to_nobody() {
    let txn = |base, next| FetchedBatch { producer_id: Some(1), is_transactional: true, ..fetched(base, next) };
    let marker = FetchedBatch { is_abort_marker: true, ..txn(8, 9) };
    let log = [fetched(0, 2), txn(2, 5), fetched(5, 6), txn(6, 8), marker, txn(9, 11)];
    let aborted = [FetchedAbort { producer_id: 1, first: Offset(2) }];
    let mut bench = Bench::new();
    let given = bench.acquire_as("a", AcquireMode::BatchOptimized, 100, &log, &aborted);
    assert_eq!(given, [(0, 2, 1), (5, 6, 1), (8, 11, 1)]);
    assert_eq!(bench.share.delivery_complete_count(), 5);
    bench.acknowledged("a", 0, 2, &[ACCEPT]);
    assert_eq!(bench.share.start(), Offset(5));
    assert_eq!(bench.share.delivery_complete_count(), 2);
}

#[test]
fn an_aborted_transaction_as_large_as_what_may_be_in_flight_is_passed() {
    let aborted = [FetchedAbort { producer_id: 1, first: Offset(0) }];
    let batch = FetchedBatch { producer_id: Some(1), is_transactional: true, ..fetched(0, 10) };
    let options = ShareOptions { in_flight_max: 10, ..ShareOptions::default() };
    let mut bench = Bench::with(options, 0, &[]);
    assert_eq!(bench.acquire_as("a", AcquireMode::BatchOptimized, 100, &[batch], &aborted), []);
    assert_eq!((bench.share.start(), bench.share.can_acquire()), (Offset(10), true));
}

#[test]
fn what_was_compacted_away_is_passed() {
    let mut bench = Bench::new();
    assert_eq!(bench.acquire("a", 10, &[fetched(0, 10)]), [(0, 10, 1)]);
    assert_eq!(bench.acquire("a", 10, &[fetched(10, 20)]), [(10, 20, 1)]);
    bench.acknowledged("a", 0, 20, &[RELEASE]);
    // The first batch is gone since.
    assert_eq!(bench.acquire("a", 100, &[fetched(10, 20)]), [(10, 20, 2)]);
    assert_eq!(bench.share.start(), Offset(10));
}

#[test]
fn a_batch_that_begins_below_the_start_is_given_from_there() {
    let mut bench = Bench::with(ShareOptions::default(), 5, &[state(15, 21, DeliveryState::Archived, 1)]);
    assert_eq!(bench.acquire("a", 100, &[fetched(0, 11), fetched(11, 30)]), [(5, 15, 1), (21, 30, 1)]);
    assert_eq!(bench.next_fetch(), 30);
}

#[test]
fn one_request_at_a_time_reads() {
    let mut bench = Bench::new();
    assert!(bench.share.begin_fetch(1));
    assert!(!bench.share.begin_fetch(2));
    bench.share.end_fetch(2);
    assert!(!bench.share.begin_fetch(2));
    bench.share.end_fetch(1);
    assert!(bench.share.begin_fetch(2));
}

#[test]
fn the_start_of_the_log_takes_along_what_nobody_has() {
    let mut bench = Bench::new();
    assert_eq!(bench.acquire("a", 5, &[fetched(0, 5)]), [(0, 5, 1)]);
    assert_eq!(bench.acquire("b", 5, &[fetched(5, 10)]), [(5, 10, 1)]);
    bench.acknowledged("a", 0, 5, &[RELEASE]);
    bench.share.log_starts_at(Offset(7));
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(7), 10));
    // What is below is not acknowledged any more, the rest is.
    bench.acknowledged("b", 5, 10, &[ACCEPT]);
    assert_eq!((bench.share.start(), bench.share.in_flight()), (Offset(7), 3));
    bench.pass(Duration::from_secs(30));
    bench.settle();
    assert_eq!((bench.share.start(), bench.share.in_flight()), (Offset(10), 0));
    bench.share.log_starts_at(Offset(20));
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(20), 20));
    assert_eq!(range(20, 20).len(), bench.share.in_flight());
}
