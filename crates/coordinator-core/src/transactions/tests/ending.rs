//! Examples of EndTxn.

use super::bench::{Bench, producer};
use crate::transactions::{ClientVersion, TransactionError, TransactionState};

const V0: ClientVersion = ClientVersion::V0;

#[test]
fn the_end_of_a_transaction_raises_the_epoch_and_a_repeat_is_told_the_same() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    bench.add(first, "t", 0).unwrap();
    let second = producer(1000, 1);
    assert_eq!(bench.end(first, true), Ok(second));
    assert_eq!(bench.markers[0].producer, second);
    assert_eq!(bench.end(first, true), Err(TransactionError::Concurrent), "while partitions are being told");
    assert_eq!(bench.end(first, false), Err(TransactionError::Concurrent));
    bench.complete();
    assert_eq!(bench.end(first, true), Ok(second));
    assert_eq!(bench.end(first, false), Err(TransactionError::InvalidState), "it is decided");
    let records = bench.log.len();
    bench.restart();
    assert_eq!(bench.end(first, true), Ok(second), "whoever coordinates");
    assert_eq!(bench.log.len(), records);
}

#[test]
fn a_late_copy_never_touches_another_transaction() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    bench.add(first, "t", 0).unwrap();
    let second = bench.end(first, true).unwrap();
    bench.complete();
    bench.add(second, "t", 0).unwrap();
    for commit in [true, false] {
        assert_eq!(bench.end(first, commit), Err(TransactionError::Fenced));
    }
    assert_eq!(bench.described().state, TransactionState::Ongoing);
    bench.end(second, false).unwrap();
    bench.complete();
    assert_eq!(bench.end(first, true), Err(TransactionError::Fenced));
    assert_eq!(bench.end(second, true), Err(TransactionError::InvalidState));
}

#[test]
fn an_abort_without_a_transaction_gets_a_new_epoch_and_a_commit_nothing() {
    let mut bench = Bench::new();
    let mut now = bench.init(None).unwrap();
    assert_eq!(bench.end(now, true), Err(TransactionError::InvalidState));
    for epoch in 1..4 {
        now = bench.end(now, false).unwrap();
        assert_eq!(now, producer(1000, epoch));
        let described = bench.described();
        assert_eq!((described.state, described.started_at), (TransactionState::CompleteAbort, Some(bench.now.wall)));
    }
    assert!(bench.markers.is_empty());
    assert_eq!(bench.end(now, true), Err(TransactionError::InvalidState), "behind an abort");
    bench.add(now, "t", 0).unwrap();
    now = bench.end(now, true).unwrap();
    bench.complete();
    assert_eq!(bench.end(now, true), Err(TransactionError::InvalidState), "behind a commit");
    assert_eq!(bench.end(now, false), Ok(producer(1000, 5)));
}

#[test]
fn only_the_present_producer_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.end(producer(1, 0), true), Err(TransactionError::UnknownProducer));
    let first = bench.init(None).unwrap();
    bench.add(first, "t", 0).unwrap();
    assert_eq!(bench.end(producer(1, 0), true), Err(TransactionError::UnknownProducer));
    assert_eq!(bench.end(producer(1000, 1), true), Err(TransactionError::Fenced));
    assert_eq!(bench.end_as(V0, producer(1000, 1), true), Err(TransactionError::Fenced));
    assert_eq!(bench.end_as(V0, producer(1, 0), true), Err(TransactionError::UnknownProducer));
    let nameless = super::super::EndRequest {
        transactional_id: String::new(),
        producer: first,
        commit: true,
        version: ClientVersion::V2,
    };
    let outcome = bench.run(|transactions, now, fx| transactions.end(now, &nameless, fx));
    assert_eq!(outcome, Err(TransactionError::InvalidRequest));
}

#[test]
fn behind_the_last_epoch_a_transaction_leaves_a_new_producer_id() {
    let mut bench = Bench::new();
    let last = bench.begin_at(i16::MAX - 1);
    bench.add(last, "t", 0).unwrap();
    let next = producer(1001, 0);
    assert_eq!(bench.end(last, true), Ok(next), "told at once");
    assert_eq!(bench.markers[0].producer, producer(1000, i16::MAX), "with the epoch that no producer is told");
    assert_eq!(bench.add(next, "t", 0), Err(TransactionError::Concurrent), "and not yet in use");
    bench.restart();
    bench.complete();
    assert_eq!(bench.end(last, true), Ok(next), "a repeat");
    assert_eq!(bench.end(last, false), Err(TransactionError::InvalidState));
    assert_eq!(bench.end(producer(1000, 7), true), Err(TransactionError::UnknownProducer));
    assert_eq!(bench.add(next, "t", 0), Ok(()));
    assert_eq!(bench.end(last, true), Err(TransactionError::UnknownProducer), "the next transaction");
}

#[test]
fn older_clients_keep_their_epoch() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    assert_eq!(bench.end_as(V0, now, false), Err(TransactionError::InvalidState), "without a transaction");
    for commit in [true, false] {
        bench.add_as(V0, now, "t", 0).unwrap();
        assert_eq!(bench.end_as(V0, now, commit), Ok(now));
        assert_eq!((bench.markers[0].producer, bench.markers[0].version), (now, V0));
        assert_eq!(bench.end_as(V0, now, commit), Err(TransactionError::Concurrent));
        bench.complete();
        assert_eq!(bench.end_as(V0, now, commit), Ok(now), "a repeat");
        assert_eq!(bench.end_as(V0, now, !commit), Err(TransactionError::InvalidState));
    }
    bench.restart();
    assert_eq!(bench.described().producer, now);
}
