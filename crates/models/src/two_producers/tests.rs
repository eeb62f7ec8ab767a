//! The rules together hold; each left out is found.

use super::{Bounds, EPOCH_MAX, Rules, TwoProducers, clients, coordinator, partition};
use crate::{Step, explore};

const STATES_MAX: usize = 2_000_000;

/// Two transactions of two processes, and no fault.
const CALM: Bounds = Bounds { transactions: 2, repeats: 0, recoveries: 0, failovers: 0, timeouts: 0, first_epoch: 0 };

/// The second identity is the last of its producer id.
const LATE: i8 = EPOCH_MAX - 2;

fn told(way: &[Step]) -> String {
    way.iter().map(Step::to_string).collect::<Vec<_>>().join(" ")
}

fn holds(bounds: Bounds) {
    let explored = explore(&TwoProducers { rules: Rules::ALL, bounds }, STATES_MAX);
    let found = explored.found.map(|(what, way)| format!("{what}: {}", told(&way)));
    assert_eq!(found, None, "{bounds:?}");
    assert!(explored.whole, "{bounds:?}: more than {} states", explored.states);
}

fn breaks(rules: Rules, bounds: Bounds, expected: &str) {
    let explored = explore(&TwoProducers { rules, bounds }, STATES_MAX);
    let (what, way) = explored.found.unwrap_or_default();
    assert_eq!(what, expected, "{rules:?}: {}", told(&way));
}

#[test]
fn all_rules_together_hold_when_requests_come_late() {
    holds(Bounds { repeats: 1, recoveries: 1, ..CALM });
}

#[test]
fn all_rules_together_hold_over_a_fail_over_and_a_timeout() {
    holds(Bounds { failovers: 1, timeouts: 1, ..CALM });
    holds(Bounds { failovers: 1, recoveries: 1, transactions: 1, ..CALM });
}

#[test]
fn all_rules_together_hold_where_epochs_run_out() {
    holds(Bounds { recoveries: 1, timeouts: 1, first_epoch: LATE, transactions: 1, ..CALM });
    holds(Bounds { repeats: 1, timeouts: 1, first_epoch: LATE, ..CALM });
}

#[test]
#[ignore = "takes a minute: `cargo test -p models -- --ignored`"]
fn all_rules_together_hold_over_all_faults_at_once() {
    holds(Bounds { repeats: 1, recoveries: 1, failovers: 1, timeouts: 1, transactions: 1, ..CALM });
    holds(Bounds { repeats: 1, recoveries: 1, failovers: 1, timeouts: 1, transactions: 1, first_epoch: LATE });
    holds(Bounds { repeats: 1, failovers: 1, timeouts: 1, ..CALM });
}

#[test]
fn an_epoch_that_is_not_raised_is_shared() {
    breaks(Rules { bumps: false, ..Rules::ALL }, CALM, clients::SHARED);
}

#[test]
fn a_transaction_that_is_not_aborted_first_stays_open() {
    breaks(Rules { aborts_first: false, ..Rules::ALL }, Bounds { transactions: 1, ..CALM }, partition::HANGING);
}

#[test]
fn a_new_epoch_before_all_markers_are_written_loses_what_was_decided() {
    breaks(Rules { waits_for_complete: false, ..Rules::ALL }, CALM, partition::MIXED);
}

#[test]
fn an_epoch_that_is_told_before_it_is_durable_is_told_twice() {
    breaks(Rules { tells_confirmed: false, ..Rules::ALL }, Bounds { failovers: 1, ..CALM }, clients::SHARED);
}

#[test]
fn a_producer_whose_epoch_is_not_compared_comes_back() {
    let bounds = Bounds { recoveries: 1, transactions: 1, ..CALM };
    breaks(Rules { compares_expected: false, ..Rules::ALL }, bounds, clients::BACK);
}

#[test]
fn a_producer_whose_epoch_is_compared_too_late_disturbs_its_successor() {
    let rules = Rules { compares_before_abort: false, ..Rules::ALL };
    breaks(rules, Bounds { recoveries: 1, ..CALM }, coordinator::FENCED_ABORTS);
}

#[test]
fn a_last_epoch_that_outlives_its_producer_lets_it_in_again() {
    breaks(Rules { forgets_last: false, ..Rules::ALL }, Bounds { recoveries: 1, ..CALM }, clients::SHARED);
}

#[test]
fn a_repeat_that_raises_the_epoch_fences_its_own_producer() {
    let rules = Rules { tells_repeat_the_same: false, ..Rules::ALL };
    breaks(rules, Bounds { repeats: 1, recoveries: 1, ..CALM }, coordinator::OWN_REPEAT);
}

#[test]
fn a_producer_whose_epochs_begin_anew_is_refused_by_those_that_saw_higher_ones() {
    let bounds = Bounds { first_epoch: LATE, ..CALM };
    breaks(Rules { takes_new_id: false, ..Rules::ALL }, bounds, partition::REFUSED);
}

#[test]
fn without_an_epoch_kept_back_the_last_producer_cannot_be_fenced() {
    let bounds = Bounds { first_epoch: EPOCH_MAX, ..CALM };
    breaks(Rules { keeps_one_epoch: false, ..Rules::ALL }, bounds, coordinator::BEYOND);
}

#[test]
fn any_epoch_of_the_id_before_lets_a_fenced_producer_in_again() {
    let bounds = Bounds { first_epoch: LATE, recoveries: 1, repeats: 1, ..CALM };
    breaks(Rules { compares_epoch_of_id_before: false, ..Rules::ALL }, bounds, clients::SHARED);
}

#[test]
fn a_timeout_without_a_higher_epoch_leaves_its_data_open() {
    let bounds = Bounds { timeouts: 1, ..CALM };
    breaks(Rules { timeout_bumps: false, ..Rules::ALL }, bounds, partition::HANGING);
}

#[test]
fn a_late_marker_of_an_equal_epoch_ends_the_next_transaction() {
    breaks(Rules { markers_are_higher: false, ..Rules::ALL }, CALM, partition::MIXED);
}

#[test]
fn a_repeat_of_end_txn_that_is_not_compared_is_told_the_other_outcome() {
    let bounds = Bounds { timeouts: 1, transactions: 1, ..CALM };
    breaks(Rules { compares_result: false, ..Rules::ALL }, bounds, partition::CHANGED);
}
