//! Examples of what the partitions answer.

use super::bench::{Bench, producer};
use crate::transactions::{MarkerOutcome, NamedTopicPartitions, TransactionState};
use std::time::Duration;

fn committing() -> Bench {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    for partition in 0..3 {
        bench.add(now, "t", partition).unwrap();
    }
    bench.end(now, true).unwrap();
    bench
}

fn outcomes(of: &[(i32, MarkerOutcome)]) -> Vec<(String, i32, MarkerOutcome)> {
    of.iter().map(|(partition, outcome)| ("t".to_owned(), *partition, *outcome)).collect()
}

#[test]
fn a_transaction_is_complete_when_all_partitions_have_answered() {
    let mut bench = committing();
    let now = producer(1000, 1);
    bench.mark(now, &outcomes(&[(0, MarkerOutcome::Written)]));
    assert_eq!(bench.described().partitions, NamedTopicPartitions::from([("t".to_owned(), [1, 2].into())]));
    assert_eq!(bench.transactions.unmarked("tx"), Some(&bench.described().partitions));
    bench.mark(now, &outcomes(&[(1, MarkerOutcome::Gone), (0, MarkerOutcome::Written)]));
    assert_eq!(bench.described().state, TransactionState::PrepareCommit);
    bench.mark(now, &outcomes(&[(2, MarkerOutcome::Written)]));
    let described = bench.described();
    assert_eq!(
        (described.state, described.partitions),
        (TransactionState::CompleteCommit, NamedTopicPartitions::new())
    );
    assert_eq!(bench.transactions.unmarked("tx"), None);
}

#[test]
fn markers_that_failed_are_sent_again() {
    let mut bench = committing();
    bench.markers.clear();
    bench.mark(producer(1000, 1), &outcomes(&[(0, MarkerOutcome::Written), (1, MarkerOutcome::Retry)]));
    assert!(bench.markers.is_empty(), "not at once");
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.markers[0].partitions, NamedTopicPartitions::from([("t".to_owned(), [1, 2].into())]));
    bench.complete();
    assert_eq!(bench.described().state, TransactionState::CompleteCommit);
    assert_eq!(bench.transactions.next_deadline(), None);
}

#[test]
fn answers_to_other_transactions_say_nothing() {
    let mut bench = committing();
    let all = outcomes(&[0, 1, 2].map(|partition| (partition, MarkerOutcome::Written)));
    bench.mark(producer(1000, 0), &all);
    bench.mark(producer(999, 1), &all);
    assert_eq!(bench.described().state, TransactionState::PrepareCommit);
    bench.mark(producer(1000, 1), &all);
    let records = bench.log.len();
    bench.mark(producer(1000, 1), &all);
    assert_eq!((bench.described().state, bench.log.len()), (TransactionState::CompleteCommit, records));
}

#[test]
fn whoever_takes_over_sends_the_markers_of_what_is_decided() {
    let mut bench = committing();
    let before = std::mem::take(&mut bench.markers);
    bench.mark(producer(1000, 1), &outcomes(&[(0, MarkerOutcome::Written)]));
    bench.restart();
    assert_eq!(bench.markers, before, "all of them: what was answered is not in the log");
    bench.complete();
    bench.restart();
    assert!(bench.markers.is_empty());
}
