//! Examples of InitProducerId.

use super::bench::{Bench, TIMEOUT_MS, init_request, producer};
use crate::transactions::{InitRequest, MarkerOutcome, TransactionError, TransactionState};
use std::time::Duration;

fn asked(request: &InitRequest) -> TransactionError {
    Bench::new().run(|transactions, now, fx| transactions.init(now, request, fx)).unwrap_err()
}

#[test]
fn each_new_producer_has_a_higher_epoch() {
    let mut bench = Bench::new();
    assert_eq!(bench.init(None), Ok(producer(1000, 0)));
    assert_eq!(bench.init(None), Ok(producer(1000, 1)));
    bench.restart();
    assert_eq!(bench.init(None), Ok(producer(1000, 2)));
    assert_eq!(bench.log.len(), 3, "each is in the log before it is told");
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let nameless = InitRequest { transactional_id: String::new(), ..init_request() };
    assert_eq!(asked(&nameless), TransactionError::InvalidRequest);
    let long = InitRequest { transactional_id: "x".repeat(40_000), ..init_request() };
    assert_eq!(asked(&long), TransactionError::InvalidRequest);
    for (id, epoch) in [(1000, -1), (-1, 0)] {
        let half = InitRequest { expected: Some(producer(id, epoch)), ..init_request() };
        assert_eq!(asked(&half), TransactionError::InvalidRequest);
    }
    for timeout_ms in [-1, 0, 15 * 60 * 1000 + 1] {
        let request = InitRequest { timeout_ms, ..init_request() };
        assert_eq!(asked(&request), TransactionError::InvalidTimeout, "{timeout_ms}");
    }
}

#[test]
fn two_phase_commit_is_refused_as_kafka_refuses_it_where_it_is_off() {
    let two_phase = InitRequest { enables_two_phase_commit: true, keeps_prepared: true, ..init_request() };
    assert_eq!(asked(&two_phase), TransactionError::TwoPhaseCommitDisabled);
    let keeps = InitRequest { keeps_prepared: true, timeout_ms: 0, ..init_request() };
    assert_eq!(asked(&keeps), TransactionError::KeepsNoPrepared);
}

#[test]
fn an_open_transaction_is_aborted_before_the_next_producer_begins() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    bench.add(first, "t", 0).unwrap();
    assert_eq!(bench.init(None), Err(TransactionError::Concurrent));
    assert_eq!(bench.described().state, TransactionState::PrepareAbort);
    assert_eq!(bench.markers[0].producer, producer(1000, 1), "above all that the transaction wrote");
    assert!(!bench.markers[0].commit);
    assert_eq!(bench.init(None), Err(TransactionError::Concurrent), "while partitions are being told");
    bench.complete();
    assert_eq!(bench.init(None), Ok(producer(1000, 2)));
    assert_eq!(bench.add(first, "t", 0), Err(TransactionError::Fenced));
    assert_eq!(bench.end(first, true), Err(TransactionError::Fenced));
}

#[test]
fn a_producer_that_says_its_epoch_gets_the_next_and_is_told_the_same_again() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    let second = producer(1000, 1);
    assert_eq!(bench.init(Some(first)), Ok(second));
    assert_eq!(bench.init(Some(first)), Ok(second), "its answer may have been lost");
    assert_eq!(bench.init(Some(second)), Ok(producer(1000, 2)));
    assert_eq!(bench.init(Some(first)), Err(TransactionError::Fenced));
    assert_eq!(bench.init(Some(producer(999, 2))), Err(TransactionError::Fenced));
}

#[test]
fn a_producer_that_says_nothing_fences_those_that_say_their_epoch() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    assert_eq!(bench.init(None), Ok(producer(1000, 1)));
    assert_eq!(bench.init(Some(first)), Err(TransactionError::Fenced));
}

#[test]
fn a_fenced_producer_does_not_abort_its_successors_transaction() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    let second = bench.init(None).unwrap();
    bench.add(second, "t", 0).unwrap();
    assert_eq!(bench.init(Some(first)), Err(TransactionError::Fenced));
    assert_eq!(bench.described().state, TransactionState::Ongoing);
    assert_eq!(bench.init(Some(second)), Err(TransactionError::Concurrent), "its own it may");
    assert_eq!(bench.described().state, TransactionState::PrepareAbort);
}

#[test]
fn who_lost_its_transaction_to_its_age_goes_on_by_its_epoch() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    bench.add(first, "t", 0).unwrap();
    bench.pass(Duration::from_millis(TIMEOUT_MS.unsigned_abs().into()) + Duration::from_millis(1));
    bench.complete();
    assert_eq!(bench.init(Some(first)), Ok(producer(1000, 1)), "the epoch that the abort left");
    assert_eq!(bench.described().state, TransactionState::Empty);
}

#[test]
fn a_producer_that_comes_back_to_an_id_that_expired_gets_a_new_producer_id() {
    let mut bench = Bench::new();
    assert_eq!(bench.init(Some(producer(7, 3))), Ok(producer(1000, 0)));
}

#[test]
fn behind_the_last_epoch_comes_a_new_producer_id() {
    let mut bench = Bench::new();
    let last = bench.begin_at(i16::MAX - 1);
    assert_eq!(bench.init(None), Ok(producer(1001, 0)));
    assert_eq!(bench.init(Some(last)), Err(TransactionError::Fenced), "another producer began since");

    let mut bench = Bench::new();
    let last = bench.begin_at(i16::MAX - 1);
    assert_eq!(bench.init(Some(last)), Ok(producer(1001, 0)));
    assert_eq!(bench.init(Some(last)), Ok(producer(1001, 0)), "its answer may have been lost");
    assert_eq!(bench.init(Some(producer(1000, 5))), Err(TransactionError::Fenced));
}

#[test]
fn a_repeat_at_the_last_epoch_is_told_the_same_again() {
    let mut bench = Bench::new();
    let before = bench.begin_at(i16::MAX - 2);
    let last = producer(1000, i16::MAX - 1);
    assert_eq!(bench.init(Some(before)), Ok(last));
    assert_eq!(bench.init(Some(before)), Ok(last));
}

#[test]
fn the_last_epoch_is_fenced_with_the_one_that_is_kept_back() {
    let mut bench = Bench::new();
    let last = bench.begin_at(i16::MAX - 1);
    bench.add(last, "t", 0).unwrap();
    assert_eq!(bench.init(None), Err(TransactionError::Concurrent));
    assert_eq!(bench.markers[0].producer, producer(1000, i16::MAX));
    bench.answer(MarkerOutcome::Written);
    assert_eq!(bench.described().producer, producer(1001, 0));
    assert_eq!(bench.init(None), Ok(producer(1001, 1)));
}

#[test]
fn there_is_no_room_for_more_ids_than_fit() {
    let mut bench = Bench::new();
    bench.transactions.set_room(10);
    assert_eq!(bench.init(None), Err(TransactionError::NoRoom));
    assert!(bench.log.is_empty());
}
