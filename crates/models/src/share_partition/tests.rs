//! The rules together hold; each left out is found.

use super::{Bounds, Rules, SharePartition, leader, persister};
use crate::{Step, explore};

const STATES_MAX: usize = 2_000_000;

/// One record, one leader, and no fault.
const CALM: Bounds =
    Bounds { records: 1, leaders: 0, expiries: 0, failures: 0, late: 0, failovers: 0, forgotten: 0, resets: 0 };

fn told(way: &[Step]) -> String {
    way.iter().map(Step::to_string).collect::<Vec<_>>().join(" ")
}

fn holds(bounds: Bounds) {
    let explored = explore(&SharePartition { rules: Rules::ALL, bounds }, STATES_MAX);
    let found = explored.found.map(|(what, way)| format!("{what}: {}", told(&way)));
    assert_eq!(found, None, "{bounds:?}");
    assert!(explored.whole, "{bounds:?}: more than {} states", explored.states);
}

fn breaks(rules: Rules, bounds: Bounds, expected: &str) {
    let explored = explore(&SharePartition { rules, bounds }, STATES_MAX);
    let (what, way) = explored.found.unwrap_or_default();
    assert_eq!(what, expected, "{rules:?}: {}", told(&way));
}

#[test]
fn all_rules_together_hold_when_locks_run_out_and_writes_fail() {
    holds(Bounds { expiries: 2, failures: 1, forgotten: 1, ..CALM });
    holds(Bounds { expiries: 1, late: 1, forgotten: 1, ..CALM });
    holds(Bounds { records: 2, failures: 1, ..CALM });
}

#[test]
fn all_rules_together_hold_over_leaders_and_fail_overs() {
    holds(Bounds { leaders: 1, failovers: 1, expiries: 1, ..CALM });
    holds(Bounds { leaders: 1, resets: 1, ..CALM });
}

#[test]
#[ignore = "takes minutes: `cargo test -p models -- --ignored`"]
fn all_rules_together_hold_over_all_faults_at_once() {
    holds(Bounds { leaders: 1, expiries: 1, failures: 1, late: 1, forgotten: 1, ..CALM });
    holds(Bounds { leaders: 1, failovers: 1, resets: 1, ..CALM });
    holds(Bounds { records: 2, leaders: 1, expiries: 1, ..CALM });
}

#[test]
fn a_deposed_leader_that_writes_undoes_what_its_successor_was_told() {
    let bounds = Bounds { leaders: 1, ..CALM };
    breaks(Rules { compares_leader_epoch: false, ..Rules::ALL }, bounds, leader::AGAIN);
}

#[test]
fn a_deposed_leader_that_writes_before_its_successor_does_is_told_what_that_does_not_know() {
    let bounds = Bounds { leaders: 1, ..CALM };
    breaks(Rules { read_raises_epoch: false, ..Rules::ALL }, bounds, leader::AGAIN);
}

#[test]
fn an_acknowledgement_that_is_read_before_a_fail_over_takes_it_back_is_believed() {
    let bounds = Bounds { leaders: 1, failovers: 1, ..CALM };
    breaks(Rules { reads_confirmed: false, ..Rules::ALL }, bounds, leader::LOST);
}

#[test]
fn a_leader_of_before_a_reset_undoes_it() {
    let bounds = Bounds { resets: 1, ..CALM };
    breaks(Rules { compares_state_epoch: false, ..Rules::ALL }, bounds, leader::LOST);
}

#[test]
fn an_acknowledgement_that_is_answered_before_it_is_durable_is_forgotten() {
    let bounds = Bounds { leaders: 1, ..CALM };
    breaks(Rules { answers_confirmed: false, ..Rules::ALL }, bounds, leader::AGAIN);
}

#[test]
fn a_write_that_arrives_after_a_later_one_undoes_it() {
    let bounds = Bounds { expiries: 1, ..CALM };
    breaks(Rules { writes_in_order: false, ..Rules::ALL }, bounds, persister::FALLEN);
}

#[test]
fn a_late_acknowledgement_of_another_member_takes_a_record_away() {
    let bounds = Bounds { expiries: 1, ..CALM };
    breaks(Rules { compares_member: false, ..Rules::ALL }, bounds, leader::TAKEN);
}

#[test]
fn a_record_that_is_delivered_while_its_release_is_not_durable_may_be_held_by_two() {
    let bounds = Bounds { failures: 1, ..CALM };
    breaks(Rules { hides_unconfirmed: false, ..Rules::ALL }, bounds, leader::TAKEN);
}

#[test]
fn a_start_that_passes_what_is_not_durable_loses_it() {
    let bounds = Bounds { failures: 1, ..CALM };
    breaks(Rules { start_waits: false, ..Rules::ALL }, bounds, leader::LOST);
}

#[test]
fn a_write_that_failed_and_is_not_rolled_back_loses_its_record() {
    let bounds = Bounds { failures: 1, ..CALM };
    breaks(Rules { rolls_back: false, ..Rules::ALL }, bounds, leader::LOST);
}

#[test]
fn a_lock_that_runs_out_under_an_acknowledgement_delivers_what_is_then_accepted() {
    let bounds = Bounds { expiries: 1, ..CALM };
    breaks(Rules { expiry_waits: false, ..Rules::ALL }, bounds, leader::AGAIN);
}

#[test]
fn a_lock_that_has_run_out_and_is_rolled_back_to_never_runs_out() {
    let bounds = Bounds { expiries: 1, failures: 1, ..CALM };
    breaks(Rules { expiry_is_remembered: false, ..Rules::ALL }, bounds, leader::STUCK);
}

#[test]
fn a_lock_without_an_end_keeps_its_record_for_ever() {
    let bounds = Bounds { forgotten: 1, ..CALM };
    breaks(Rules { locks_expire: false, ..Rules::ALL }, bounds, leader::STUCK);
}

#[test]
fn a_gap_that_is_not_delivered_is_lost() {
    let bounds = Bounds { records: 2, leaders: 1, ..CALM };
    breaks(Rules { gaps_are_delivered: false, ..Rules::ALL }, bounds, leader::LOST);
}

#[test]
fn a_count_that_is_not_written_falls() {
    let bounds = Bounds { leaders: 1, ..CALM };
    breaks(Rules { counts_are_written: false, ..Rules::ALL }, bounds, persister::FALLEN);
}
