//! Examples of what administrators see, of expiry, and of the copy of a log.

use super::bench::{Bench, ID};
use crate::transactions::{
    InitRequest, ListFilter, TransactionCursor, TransactionEffects, TransactionError, TransactionState, Transactions,
};
use base::UnixMillis;
use std::time::Duration;

const ALL: ListFilter = ListFilter { producer_ids: Vec::new(), states: Vec::new(), duration_ms: -1 };

/// Three ids: `a` without a transaction, `b` which is none of this, and `tx` with one that is ten seconds old.
fn three() -> Bench {
    let mut bench = Bench::new();
    for id in ["a", "b"] {
        let request = InitRequest { transactional_id: id.to_owned(), timeout_ms: 1, ..InitRequest::default() };
        bench.run(|transactions, now, fx| transactions.init(now, &request, fx)).unwrap();
    }
    let now = bench.init(None).unwrap();
    bench.add(now, "t", 0).unwrap();
    bench.pass(Duration::from_secs(10));
    bench
}

fn listed(bench: &Bench, filter: &ListFilter) -> Vec<String> {
    let list = bench.transactions.list(bench.now.wall, filter, |_| true);
    list.transactions.into_iter().map(|line| line.transactional_id).collect()
}

#[test]
fn a_list_is_filtered_as_kafka_does() {
    let bench = three();
    assert_eq!(listed(&bench, &ALL), ["a", "b", ID]);
    assert_eq!(listed(&bench, &ListFilter { producer_ids: vec![1001, 7], ..ALL }), ["b"]);
    let states = |names: &[&str]| ListFilter { states: names.iter().map(|it| (*it).to_owned()).collect(), ..ALL };
    assert_eq!(listed(&bench, &states(&["Ongoing"])), [ID]);
    assert_eq!(listed(&bench, &states(&["Ongoing", "Empty", "Dead"])).len(), 3);
    assert!(listed(&bench, &states(&["nonsense"])).is_empty(), "a filter without a state lets none pass");
    // Where nothing is open, Kafka counts from before all time.
    assert_eq!(listed(&bench, &ListFilter { duration_ms: 9_999, ..ALL }).len(), 3);
    assert_eq!(listed(&bench, &ListFilter { duration_ms: 10_000, ..ALL }), ["a", "b"]);
    let list = bench.transactions.list(bench.now.wall, &states(&["nonsense", "Empty"]), |id| id == "a");
    assert_eq!((list.unknown_states, list.transactions.len()), (vec!["nonsense".to_owned()], 1));
    assert_eq!(list.transactions[0].state, TransactionState::Empty);
    assert!(bench.transactions.listed_bytes() > 0 && bench.transactions.described_bytes(ID) > 0);
}

#[test]
fn what_is_not_there_is_not_described() {
    let bench = three();
    assert_eq!(bench.transactions.describe("other"), Err(TransactionError::NotFound));
    assert_eq!(bench.transactions.describe(""), Err(TransactionError::InvalidRequest));
    let named = TransactionState::ALL.map(|state| TransactionState::of_name(state.name()));
    assert_eq!(named, TransactionState::ALL.map(Some));
}

#[test]
fn ids_that_nobody_uses_expire_unless_a_transaction_is_open() {
    let mut bench = three();
    let week = i64::from(7 * 24 * 3600 * 1000);
    let begun = bench.now.wall.0 - 10_000;
    let expire = |bench: &mut Bench, at| {
        let mut fx = TransactionEffects::default();
        bench.transactions.expire(UnixMillis(at), &mut fx);
        bench.log.extend(fx.records);
        listed(bench, &ALL)
    };
    assert_eq!(expire(&mut bench, begun + week - 1).len(), 3);
    assert_eq!(expire(&mut bench, begun + week), [ID]);
    assert_eq!(bench.transactions.bytes(), bench.transactions.count());
    bench.restart();
    assert_eq!(listed(&bench, &ALL), [ID], "the log says so too");
}

#[test]
fn a_copy_says_what_the_log_says() {
    let bench = three();
    for bytes_max in [1, 60, usize::MAX] {
        let (mut cursor, mut copied) = (TransactionCursor::default(), Vec::new());
        loop {
            let mut fx = TransactionEffects::default();
            let is_whole = bench.transactions.copy(&mut cursor, bytes_max, &mut fx);
            copied.extend(fx.records);
            if is_whole {
                break;
            }
        }
        assert_eq!(copied.len(), 3);
        assert_eq!(copied[2], *bench.log.last().unwrap());
        let mut replayed = Transactions::default();
        for record in &copied {
            replayed.replay(record).unwrap();
        }
        replayed.loaded(bench.now, &mut TransactionEffects::default());
        assert_eq!(replayed.describe(ID), bench.transactions.describe(ID));
        assert!(replayed.are_all_there_is());
    }
}
