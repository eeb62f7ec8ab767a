//! How members come to what the target gives them, and how the target follows subscriptions and topics.

use super::bench::{Bench, REBALANCE_MS, beats, joins, of, owns};
use crate::{
    ConsumerOptions, ConsumerState, ConsumerTimes, GroupError, GroupOptions, HeartbeatRequest, LEAVES, MemberState,
};
use std::time::Duration;

fn state(bench: &Bench) -> ConsumerState {
    bench.describe().unwrap().state
}

/// How far a member is.
fn member(bench: &Bench, id: &str) -> (i32, MemberState) {
    let current = &bench.consumer().members()[id].current;
    (current.epoch, current.state)
}

/// Two members, the second of which has just come.
fn two() -> Bench {
    let mut bench = Bench::new(&[("t", 4)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.pass_seconds(2);
    let answer = bench.beat(&joins("b", &["t"])).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(of(bench.id("t"), []))));
    assert_eq!(state(&bench), ConsumerState::Reconciling);
    assert_eq!(member(&bench, "b"), (2, MemberState::Unreleased));
    bench
}

#[test]
fn a_partition_is_given_when_its_owner_has_given_it_up() {
    let mut bench = two();
    let topic = bench.id("t");
    let told = bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    assert_eq!((told.member_epoch, told.assignment), (1, Some(of(topic, 0..2))), "it stays at its epoch until it has");
    assert_eq!(member(&bench, "a"), (1, MemberState::Unrevoked));
    assert_eq!(bench.beat(&beats("b", 2)).unwrap().assignment, None);
    let still = bench.beat(&owns("a", 1, of(topic, 0..3))).unwrap();
    assert_eq!((still.member_epoch, still.assignment), (1, None), "it holds one of them still");
    assert_eq!(bench.beat(&beats("a", 1)).unwrap().member_epoch, 1, "it does not say what it holds");
    let done = bench.beat(&owns("a", 1, of(topic, 0..2))).unwrap();
    assert_eq!((done.member_epoch, done.assignment), (2, None));
    assert_eq!(bench.beat(&beats("b", 2)).unwrap().assignment, Some(of(topic, 2..4)));
    assert_eq!(state(&bench), ConsumerState::Stable);
}

#[test]
fn a_member_that_gives_nothing_up_in_time_is_fenced() {
    let mut bench = two();
    let topic = bench.id("t");
    let timeout = Duration::from_millis(u64::try_from(REBALANCE_MS).unwrap());
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    bench.pass(timeout - Duration::from_millis(1));
    assert_eq!(bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap().member_epoch, 1, "its time does not begin anew");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::UnknownMember));
    assert_eq!(bench.beat(&beats("b", 2)).unwrap().assignment, Some(of(topic, 0..4)));
}

#[test]
fn a_member_that_gives_nothing_up_in_time_after_a_takeover_is_fenced() {
    let mut bench = two();
    let topic = bench.id("t");
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    let half = Duration::from_millis(u64::try_from(REBALANCE_MS / 2).unwrap());
    bench.pass(half);
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    bench.beat(&beats("b", 2)).unwrap();
    bench.restart();
    bench.pass(half);
    assert_eq!(bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap().member_epoch, 1, "after a takeover it begins anew");
    bench.pass(half + Duration::from_millis(1));
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::UnknownMember));
    assert_eq!(bench.beat(&beats("b", 2)).unwrap().assignment, Some(of(topic, 0..4)));
}

#[test]
fn a_member_in_time_is_not_fenced() {
    let mut bench = two();
    let topic = bench.id("t");
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    bench.beat(&owns("a", 1, of(topic, 0..2))).unwrap();
    bench.pass(Duration::from_millis(u64::try_from(REBALANCE_MS).unwrap() + 1_000));
    assert_eq!(bench.beat(&beats("a", 2)).unwrap().member_epoch, 2);
}

#[test]
fn what_a_member_leaves_goes_to_the_others() {
    let mut bench = two();
    let topic = bench.id("t");
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    bench.beat(&owns("a", 1, of(topic, 0..2))).unwrap();
    bench.beat(&beats("b", LEAVES)).unwrap();
    assert_eq!(state(&bench), ConsumerState::Assigning);
    bench.pass_seconds(2);
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (3, Some(of(topic, 0..4))));
}

#[test]
fn a_member_has_what_it_was_to_give_up_where_the_target_changes_its_mind() {
    let mut bench = two();
    let topic = bench.id("t");
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    bench.beat(&beats("b", LEAVES)).unwrap();
    bench.pass_seconds(2);
    assert_eq!(bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap().member_epoch, 1, "what was begun is finished first");
    let answer = bench.beat(&owns("a", 1, of(topic, 0..2))).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (3, Some(of(topic, 0..4))));
}

#[test]
fn a_topics_new_partitions_are_assigned() {
    let mut bench = Bench::new(&[("t", 2), ("u", 1)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.pass_seconds(2);
    bench.make_topic("u", 5);
    assert_eq!(bench.beat(&beats("a", 1)).unwrap().member_epoch, 1, "nobody subscribes to it");
    bench.make_topic("t", 3);
    let answer = bench.beat(&beats("a", 1)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(of(bench.id("t"), 0..3))));
    bench.restart();
    bench.pass_seconds(2);
    assert_eq!(bench.beat(&beats("a", 2)).unwrap().member_epoch, 2, "what was known before a takeover is no change");
}

#[test]
fn a_topic_that_comes_later_is_assigned_and_one_that_goes_is_not() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.beat(&joins("a", &["t", "later"])).unwrap();
    bench.pass_seconds(2);
    let later = bench.make_topic("later", 1);
    let old = bench.id("t");
    let answer = bench.beat(&beats("a", 1)).unwrap();
    assert_eq!(answer.assignment.unwrap().get(&later).unwrap().len(), 1);
    bench.delete_topic("t");
    bench.pass_seconds(2);
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(of(later, [0]))), "it gives that up as all else");
    assert_eq!(bench.beat(&owns("a", 2, of(later, [0]))).unwrap().member_epoch, 3);
    let anew = bench.make_topic("t", 2);
    assert_ne!(anew, old);
    bench.pass_seconds(2);
    assert_eq!(bench.beat(&beats("a", 3)).unwrap().assignment.unwrap()[&anew].len(), 2);
}

#[test]
fn a_member_says_only_what_has_changed() {
    let mut bench = Bench::new(&[("t", 2), ("u", 2)]);
    let rich =
        HeartbeatRequest { rack_id: Some("r".to_owned()), assignor: Some("range".to_owned()), ..joins("a", &["t"]) };
    bench.beat(&rich).unwrap();
    let log = bench.log.len();
    let elsewhere = HeartbeatRequest { client_host: "/127.0.0.2".to_owned(), ..beats("a", 1) };
    bench.beat(&elsewhere).unwrap();
    assert_eq!((bench.log.len(), bench.epochs()), (log + 1, (1, 1)), "told, and no change of the group");
    let group = bench.describe().unwrap();
    assert_eq!((group.assignor, group.members[0].rack_id.as_deref()), ("range", Some("r")));
    bench.pass_seconds(2);
    let other = HeartbeatRequest { names: Some(vec!["u".to_owned()]), ..elsewhere };
    let answer = bench.beat(&other).unwrap();
    assert_eq!(
        (answer.member_epoch, answer.assignment),
        (1, Some(of(bench.id("t"), []))),
        "first it gives up the other"
    );
    let u = bench.id("u");
    let answer = bench.beat(&owns("a", 1, of(u, []))).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(of(u, 0..2))));
}

#[test]
fn members_that_come_together_are_assigned_to_together() {
    let mut bench = Bench::new(&[("t", 4)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!(bench.beat(&joins("b", &["t"])).unwrap().member_epoch, 1, "at the target that there is");
    assert_eq!(bench.beat(&joins("c", &["t"])).unwrap().member_epoch, 1);
    assert_eq!((bench.epochs(), state(&bench)), ((3, 1), ConsumerState::Assigning));
    bench.pass(Duration::from_millis(1_000));
    assert_eq!(bench.beat(&beats("b", 1)).unwrap().member_epoch, 3);
    assert_eq!(bench.epochs(), (3, 3));
    // A clock that was set back holds nobody up.
    bench.now.wall.0 -= 3_600_000;
    bench.beat(&joins("d", &["t"])).unwrap();
    assert_eq!(bench.epochs(), (4, 4));
}

#[test]
fn without_an_interval_each_change_is_assigned_at_once() {
    let times = ConsumerTimes { assignment_interval: Duration::ZERO, ..ConsumerTimes::default() };
    let consumer = ConsumerOptions { times, ..ConsumerOptions::default() };
    let mut bench = Bench::with(GroupOptions { consumer, ..GroupOptions::default() }, &[("t", 4)]);
    for (number, member) in (1..).zip(["a", "b", "c"]) {
        bench.beat(&joins(member, &["t"])).unwrap();
        assert_eq!(bench.epochs(), (number, number));
    }
}

#[test]
fn a_group_without_topics_has_an_epoch_as_well() {
    let mut bench = Bench::new(&[]);
    let answer = bench.beat(&joins("a", &[])).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (1, Some(crate::Partitions::new())));
    assert_eq!(state(&bench), ConsumerState::Stable);
}

#[test]
fn a_member_in_a_state_of_a_newer_kafka_begins_anew() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    let topic = bench.id("t");
    let current =
        crate::consumer::Current { state: MemberState::Unknown, ..bench.consumer().members()["a"].current.clone() };
    bench.log.push(crate::CoordinatorRecord::consumer_current(super::bench::GROUP, "a", &current));
    bench.restart();
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::FencedMemberEpoch));
    assert_eq!(bench.beat(&owns("a", 1, of(topic, 0..2))), Err(GroupError::FencedMemberEpoch));
    let answer = bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (1, Some(of(topic, 0..2))));
    assert_eq!(member(&bench, "a"), (1, MemberState::Stable));
}

#[test]
fn what_can_t_be_stored_is_not_assigned_and_the_member_is_told() {
    let options = || GroupOptions { record_bytes_max: 2_000, ..GroupOptions::default() };
    let mut bench = Bench::with(options(), &[("small", 100), ("large", 200)]);
    bench.beat(&joins("a", &["small"])).unwrap();
    bench.pass_seconds(1);
    let resubscribes = HeartbeatRequest { names: Some(vec!["large".to_owned()]), ..beats("a", 1) };
    assert_eq!(bench.beat(&resubscribes), Err(GroupError::RecordTooLarge));
    assert_eq!((bench.epochs(), state(&bench)), ((2, 1), ConsumerState::Assigning));
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::RecordTooLarge), "as long as it is so");
    bench.restart();
    let back = HeartbeatRequest { names: Some(vec!["small".to_owned()]), ..owns("a", 1, crate::Partitions::new()) };
    assert_eq!(bench.beat(&back).unwrap().member_epoch, 3);
    let mut bench = Bench::with(options(), &[]);
    for number in 0..100 {
        bench.make_topic(&format!("a topic with a name of some length {number}"), 1);
    }
    let matches_all = HeartbeatRequest { regex: Some(".*".to_owned()), ..joins("a", &[]) };
    assert_eq!(bench.beat(&matches_all), Err(GroupError::RecordTooLarge));
}
