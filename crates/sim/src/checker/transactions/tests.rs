//! What is evidence, and of what.

use super::*;

fn history() -> (TransactionHistory, History) {
    let trace = Trace::new(None);
    let history = History::new(trace.clone());
    (TransactionHistory::new(history.clone(), trace), history)
}

/// A transaction with a record in each of two partitions, at offset 5, whose commit was asked for.
fn asked(transactions: &TransactionHistory) -> (usize, Vec<u64>) {
    let it = transactions.begins("id", (1, 0));
    let numbers: Vec<u64> = (0..2).flat_map(|partition| transactions.sends(it, partition, 1)).collect();
    numbers.iter().for_each(|number| transactions.stored(&[*number], 5));
    transactions.asks_commit(it);
    (it, numbers)
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let (transactions, history) = history();
    let (it, numbers) = asked(&transactions);
    transactions.reads(0, (5, 6), &BTreeMap::from([(5, numbers[0])]));
    transactions.committed(it);
    assert_eq!(history.violations(), Vec::<String>::new());
    transactions.reads(1, (5, 6), &BTreeMap::new());
    assert_eq!(history.violations().len(), 1, "{:?}", history.violations());
    transactions.reads(0, (5, 6), &BTreeMap::new());
    assert_eq!(history.violations().len(), 2, "what was shown is shown for ever");
}

#[test]
fn nobody_sees_what_is_not_decided() {
    let (transactions, history) = history();
    let it = transactions.begins("id", (1, 0));
    let numbers = transactions.sends(it, 0, 1);
    transactions.reads(0, (0, 1), &BTreeMap::from([(0, numbers[0])]));
    assert_eq!(history.violations().len(), 1, "{:?}", history.violations());
    let passed = transactions.begins("id", (1, 0));
    transactions.stored(&transactions.sends(passed, 0, 1), 3);
    transactions.stable(1, 0, now(), (4, 4));
    transactions.asks_commit(passed);
    transactions.committed(passed);
    assert_eq!(history.violations().len(), 2, "{:?}", history.violations());
}

#[test]
fn a_fenced_producer_commits_nothing_new() {
    let (transactions, history) = history();
    let it = transactions.begins("id", (1, 0));
    transactions.told(1, (1, 0));
    transactions.took_over("id", (1, 1));
    transactions.told(2, (1, 1));
    assert_eq!(history.violations(), Vec::<String>::new());
    transactions.asks_commit(it);
    transactions.committed(it);
    transactions.told(3, (1, 1));
    assert_eq!(history.violations().len(), 2, "{:?}", history.violations());
}

#[test]
fn offsets_belong_to_their_transaction_and_each_record_is_consumed_once() {
    let (transactions, history) = history();
    let (source, numbers) = asked(&transactions);
    transactions.committed(source);
    transactions.reads(0, (0, 6), &BTreeMap::from([(5, numbers[0])]));
    let early = transactions.asks();
    let first = transactions.begins("t", (2, 0));
    transactions.consumes(first, 0, (0, 6), vec![numbers[0]]);
    transactions.asks_commit(first);
    transactions.committed(first);
    transactions.offset(early, 0, None, true);
    transactions.offset(transactions.asks(), 0, Some((6, first)), true);
    transactions.finish(0, 6);
    assert_eq!(history.violations(), Vec::<String>::new());
    let again = transactions.begins("t", (2, 0));
    transactions.consumes(again, 0, (0, 6), vec![numbers[0]]);
    transactions.asks_commit(again);
    transactions.committed(again);
    transactions.finish(0, 6);
    assert_eq!(history.violations().len(), 1, "{:?}", history.violations());
    transactions.offset(transactions.asks(), 0, Some((6, first)), true);
    assert_eq!(history.violations().len(), 2, "{:?}", history.violations());
}
