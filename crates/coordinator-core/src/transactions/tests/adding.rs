//! Examples of AddPartitionsToTxn, AddOffsetsToTxn and of the partitions' question.

use super::bench::{Bench, ID, TIMEOUT_MS, producer};
use crate::transactions::{
    AddRequest, ClientVersion, NamedTopicPartitions, OFFSETS_TOPIC, TransactionError, TransactionState,
};
use base::UnixMillis;
use std::time::Duration;

#[test]
fn the_first_partition_begins_the_transaction() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    let begun = bench.now.wall;
    bench.pass(Duration::from_secs(1));
    bench.add(now, "t", 1).unwrap();
    bench.add(now, "u", 0).unwrap();
    let described = bench.described();
    assert_eq!((described.state, described.started_at), (TransactionState::Ongoing, Some(begun)));
    let expected = NamedTopicPartitions::from([("t".to_owned(), [0, 1].into()), ("u".to_owned(), [0].into())]);
    assert_eq!((described.partitions, described.timeout_ms), (expected, TIMEOUT_MS));
}

#[test]
fn what_is_in_already_makes_no_record() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    let before = bench.log.len();
    bench.add(now, "t", 0).unwrap();
    assert_eq!(bench.log.len(), before);
}

#[test]
fn only_the_present_producer_adds() {
    let mut bench = Bench::new();
    assert_eq!(bench.add(producer(1, 0), "t", 0), Err(TransactionError::UnknownProducer));
    let first = bench.init(None).unwrap();
    let second = bench.init(None).unwrap();
    assert_eq!(bench.add(first, "t", 0), Err(TransactionError::Fenced));
    assert_eq!(bench.add(producer(1, 1), "t", 0), Err(TransactionError::UnknownProducer));
    assert_eq!(bench.add(second, "t", 0), Ok(()));
    assert_eq!(TransactionError::Fenced.told(false), TransactionError::InvalidEpoch, "to clients of old");
    assert_eq!(TransactionError::Fenced.told(true), TransactionError::Fenced);
}

#[test]
fn nothing_is_added_until_the_transaction_before_is_complete() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    bench.add(first, "t", 0).unwrap();
    let second = bench.end(first, true).unwrap();
    for now in [first, second] {
        assert_eq!(bench.add(now, "t", 0), Err(TransactionError::Concurrent));
    }
    bench.complete();
    assert_eq!(bench.add(second, "t", 0), Ok(()));
}

#[test]
fn offsets_are_in_the_partition_of_their_group() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    let request = AddRequest {
        transactional_id: ID.to_owned(),
        producer: now,
        version: ClientVersion::V2,
        partitions: NamedTopicPartitions::new(),
    };
    bench.run(|transactions, at, fx| transactions.add_offsets(at, request.clone(), ("a", 50), fx)).unwrap();
    assert_eq!(bench.described().partitions, NamedTopicPartitions::from([(OFFSETS_TOPIC.to_owned(), [47].into())]));
}

#[test]
fn a_partition_is_told_whether_it_is_in_the_transaction() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    let verify = |bench: &Bench, id, now, partition| bench.transactions.verify(id, now, "t", partition);
    assert_eq!(verify(&bench, ID, now, 0), Ok(()));
    assert_eq!(verify(&bench, ID, now, 1), Err(TransactionError::NotInTransaction));
    assert_eq!(verify(&bench, "", now, 0), Err(TransactionError::InvalidRequest));
    assert_eq!(verify(&bench, "other", now, 0), Err(TransactionError::UnknownProducer));
    assert_eq!(verify(&bench, ID, producer(now.id, 1), 0), Err(TransactionError::Fenced));
    assert_eq!(verify(&bench, ID, producer(1, 0), 0), Err(TransactionError::UnknownProducer));
    let next = bench.end(now, true).unwrap();
    assert_eq!(verify(&bench, ID, now, 0), Err(TransactionError::Fenced));
    assert_eq!(verify(&bench, ID, next, 0), Err(TransactionError::Concurrent));
    bench.complete();
    assert_eq!(verify(&bench, ID, next, 0), Err(TransactionError::NotInTransaction));
}

#[test]
fn a_transaction_is_bounded_by_memory_and_by_its_record() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.transactions.set_room(64);
    assert_eq!(bench.add(now, "t", 0), Err(TransactionError::NoRoom));
    bench.transactions.set_room(usize::MAX);
    bench.transactions.options.record_bytes_max = 100;
    assert_eq!(bench.add(now, &"t".repeat(100), 0), Err(TransactionError::RecordTooLarge));
    assert_eq!(bench.add(now, &"t".repeat(40_000), 0), Err(TransactionError::InvalidRequest));
    assert_eq!(bench.described().state, TransactionState::Empty);
}

#[test]
fn a_transaction_that_is_too_old_is_aborted_with_a_higher_epoch() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    let timeout = Duration::from_millis(TIMEOUT_MS.unsigned_abs().into());
    bench.pass(timeout);
    assert_eq!(bench.described().state, TransactionState::Ongoing, "as old as it may be");
    // The age is the transaction's, whoever looks after it.
    bench.restart();
    bench.pass(Duration::from_millis(1));
    assert_eq!(
        (bench.described().state, bench.described().producer),
        (TransactionState::PrepareAbort, producer(1000, 1))
    );
    assert_eq!(bench.markers.len(), 1);
    assert_eq!(bench.add(now, "t", 1), Err(TransactionError::Concurrent));
    bench.complete();
    assert_eq!(bench.add(now, "t", 1), Err(TransactionError::Fenced));
    assert_eq!(bench.end(now, true), Err(TransactionError::InvalidState), "it is aborted");
    assert_eq!(bench.end(now, false), Ok(producer(1000, 1)));
}

#[test]
fn a_transaction_that_is_too_old_at_the_last_epoch_waits_for_a_producer_id() {
    let mut bench = Bench::new();
    let last = bench.begin_at(i16::MAX - 1);
    bench.add(last, "t", 0).unwrap();
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.described().state, TransactionState::Ongoing);
    assert!(bench.transactions.wants_producer_id());
    bench.supply();
    assert!(!bench.transactions.wants_producer_id());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.described().state, TransactionState::PrepareAbort);
    assert_eq!(bench.transactions.next_deadline(), None);
}

#[test]
fn a_clock_that_was_set_back_leaves_no_transaction_open_for_longer() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    bench.now.wall = UnixMillis(bench.now.wall.0 - 3_600_000);
    bench.restart();
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.described().state, TransactionState::PrepareAbort);
}

#[test]
fn one_of_two_phases_takes_as_long_as_it_likes() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    let known = bench.transactions.transactions.get_mut(ID).unwrap();
    known.timeout_ms = i32::MAX;
    known.started_at = Some(UnixMillis(0));
    bench.transactions.set_timeout(ID, bench.now);
    assert_eq!(bench.transactions.next_deadline(), None, "as a log of Kafka's may hold it (KIP-939)");
}
