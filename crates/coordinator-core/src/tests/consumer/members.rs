//! Who may speak: ids, epochs, static members, sessions, and what a group may take.

use super::bench::{Bench, GROUP, beats, joins, of, owns, static_member};
use crate::{
    Assignor, ConsumerOptions, ConsumerState, ConsumerTimes, GroupError, GroupOptions, HeartbeatRequest, LEAVES,
    LEAVES_FOR_NOW,
};
use std::time::Duration;

/// A group of one member that has all of one topic.
fn alone() -> Bench {
    let mut bench = Bench::new(&[("t", 3)]);
    let answer = bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!((answer.member_id.as_str(), answer.member_epoch, answer.heartbeat_interval_ms), ("a", 1, 5_000));
    assert_eq!(answer.assignment, Some(of(bench.id("t"), 0..3)));
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Stable);
    bench
}

#[test]
fn a_member_is_told_its_assignment_when_it_does_not_know() {
    let mut bench = alone();
    let records = bench.log.len();
    let quiet = bench.beat(&beats("a", 1)).unwrap();
    assert_eq!((quiet.member_epoch, quiet.assignment), (1, None));
    assert_eq!(bench.log.len(), records, "a heartbeat that changes nothing appends nothing");
    let all = of(bench.id("t"), 0..3);
    let full = HeartbeatRequest { member_epoch: 1, owned: Some(all.clone()), ..joins("a", &["t"]) };
    assert_eq!(bench.beat(&full).unwrap().assignment, Some(all.clone()), "it says all that it can say");
    let again = bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!((again.member_epoch, again.assignment), (1, Some(all)), "it joins again, at the same epoch");
    assert_eq!(bench.log.len(), records);
}

#[test]
fn an_older_client_is_given_an_id() {
    let mut bench = Bench::new(&[("t", 3)]);
    let request = HeartbeatRequest { may_lack_member_id: true, ..joins("", &["t"]) };
    let request = HeartbeatRequest { unique: "u".to_owned(), ..request };
    assert_eq!(bench.beat(&request).unwrap().member_id, "u");
    assert_eq!(bench.beat(&beats("u", 1)).unwrap().member_epoch, 1);
}

#[test]
fn a_member_speaks_at_its_epoch() {
    let mut bench = alone();
    assert_eq!(bench.beat(&beats("a", 2)), Err(GroupError::FencedMemberEpoch));
    assert_eq!(bench.beat(&beats("b", 1)), Err(GroupError::UnknownMember));
    let other = HeartbeatRequest { group: "other".to_owned(), ..beats("a", 1) };
    assert_eq!(bench.beat(&other), Err(GroupError::NotFound));
    assert_eq!(bench.beat(&HeartbeatRequest { member_epoch: LEAVES, ..other }), Err(GroupError::NotFound));
    // Its topic grows, so it is at the next epoch; its answer is lost.
    bench.make_topic("t", 4);
    bench.pass_seconds(2);
    let topic = bench.id("t");
    assert_eq!(bench.beat(&beats("a", 1)).unwrap().member_epoch, 2);
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::FencedMemberEpoch), "it does not say what it holds");
    assert_eq!(
        bench.beat(&owns("a", 1, of(topic, [0, 9]))),
        Err(GroupError::FencedMemberEpoch),
        "more than is its own"
    );
    let answer = bench.beat(&owns("a", 1, of(topic, 0..3))).unwrap();
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(
        bench.beat(&owns("a", 0, of(topic, 0..3))).unwrap_err(),
        GroupError::Invalid("RebalanceTimeoutMs must be provided in first request.")
    );
}

#[test]
fn a_member_that_is_not_heard_of_is_fenced() {
    let mut bench = alone();
    bench.pass_seconds(44);
    bench.beat(&beats("a", 1)).unwrap();
    bench.pass_seconds(44);
    assert_eq!(bench.describe().unwrap().members.len(), 1);
    bench.pass_seconds(2);
    let group = bench.describe().unwrap();
    assert_eq!(
        (group.state, group.epoch, group.assignment_epoch, group.members.len()),
        (ConsumerState::Empty, 2, 1, 0)
    );
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::UnknownMember));
    assert_eq!(bench.beat(&joins("a", &["t"])).unwrap().member_epoch, 3);
}

#[test]
fn a_session_begins_anew_when_the_records_are_read() {
    let mut bench = alone();
    bench.pass_seconds(40);
    bench.restart();
    bench.pass_seconds(40);
    bench.beat(&beats("a", 1)).unwrap();
    bench.restart();
    bench.pass_seconds(46);
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Empty);
}

#[test]
fn a_member_that_leaves_is_gone_at_once() {
    let mut bench = alone();
    bench.beat(&joins("b", &["t"])).unwrap();
    let answer = bench.beat(&beats("b", LEAVES)).unwrap();
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms, answer.assignment), (LEAVES, 0, None));
    assert_eq!(bench.beat(&beats("b", LEAVES)), Err(GroupError::UnknownMember));
    assert_eq!(bench.describe().unwrap().members.len(), 1);
}

#[test]
fn a_static_member_keeps_its_place() {
    let mut bench = Bench::new(&[("t", 4)]);
    bench.beat(&static_member(joins("a", &["t"]), "i")).unwrap();
    let other = || static_member(joins("b", &["t"]), "i");
    assert_eq!(bench.beat(&other()), Err(GroupError::UnreleasedInstance));
    assert_eq!(bench.beat(&static_member(joins("a", &["t"]), "i")), Err(GroupError::UnreleasedInstance));
    assert_eq!(bench.beat(&static_member(beats("b", 1), "i")), Err(GroupError::FencedInstance));
    assert_eq!(bench.beat(&static_member(beats("a", 1), "j")), Err(GroupError::UnknownMember));
    for (member, instance, error) in [("b", "i", GroupError::FencedInstance), ("a", "j", GroupError::UnknownMember)] {
        assert_eq!(bench.beat(&static_member(beats(member, LEAVES), instance)), Err(error));
    }
    let away = bench.beat(&static_member(beats("a", LEAVES_FOR_NOW), "i")).unwrap();
    assert_eq!((away.member_epoch, away.assignment), (LEAVES_FOR_NOW, None));
    let epochs = bench.epochs();
    bench.pass_seconds(2);
    let newcomer = bench.beat(&joins("c", &["t"])).unwrap();
    assert_eq!(newcomer.assignment, Some(of(bench.id("t"), [])), "what was assigned to who is away stays its own");
    let back = bench.beat(&other()).unwrap();
    assert_eq!(back.assignment, Some(of(bench.id("t"), 0..2)));
    assert_eq!(bench.epochs(), (epochs.0 + 1, epochs.1 + 1), "its coming back is no change of the group");
    assert_eq!(bench.beat(&static_member(beats("a", 1), "i")), Err(GroupError::FencedInstance));
    assert_eq!(bench.beat(&beats("a", 1)), Err(GroupError::UnknownMember));
}

#[test]
fn a_static_member_that_does_not_come_back_is_fenced() {
    let mut bench = Bench::new(&[("t", 4)]);
    bench.beat(&static_member(joins("a", &["t"]), "i")).unwrap();
    bench.beat(&static_member(beats("a", LEAVES_FOR_NOW), "i")).unwrap();
    bench.pass_seconds(46);
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Empty);
    let topic = bench.id("t");
    assert_eq!(bench.beat(&static_member(joins("b", &["t"]), "i")).unwrap().assignment, Some(of(topic, 0..4)));
}

fn small(change: impl FnOnce(&mut ConsumerOptions)) -> GroupOptions {
    let mut options = GroupOptions::default();
    change(&mut options.consumer);
    options
}

#[test]
fn a_group_takes_so_many_members() {
    let mut bench = Bench::with(small(|options| options.members_max = 2), &[("t", 4)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.beat(&joins("b", &["t"])).unwrap();
    assert_eq!(bench.beat(&joins("c", &["t"])), Err(GroupError::Full));
    assert!(bench.beat(&joins("a", &["t"])).is_ok(), "those who are in stay in");
}

#[test]
fn a_member_is_let_in_where_there_is_room() {
    let mut bench = alone();
    bench.groups.set_room(0);
    assert_eq!(bench.beat(&joins("b", &["t"])), Err(GroupError::Full));
    assert!(bench.beat(&beats("a", 1)).is_ok());
    let more = HeartbeatRequest { names: Some(vec!["t".to_owned(), "u".to_owned()]), ..beats("a", 1) };
    assert_eq!(bench.beat(&more), Err(GroupError::Full));
    let other = HeartbeatRequest { group: "other".to_owned(), ..joins("b", &["t"]) };
    assert_eq!(bench.beat(&other), Err(GroupError::Full));
    assert_eq!(bench.groups.list_consumers().count(), 1, "what is refused leaves no group behind");
    bench.groups.set_room(usize::MAX);
    let options = GroupOptions { record_bytes_max: 1_000, ..GroupOptions::default() };
    let mut bench = Bench::with(options, &[("t", 1)]);
    let names: Vec<String> = (0..200).map(|number| format!("topic-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(bench.beat(&joins("a", &names)), Err(GroupError::RecordTooLarge));
    let options = GroupOptions { group_bytes_max: 1_000, ..GroupOptions::default() };
    let mut bench = Bench::with(options, &[("t", 1)]);
    assert_eq!(bench.beat(&joins("a", &names)), Err(GroupError::Full));
}

#[test]
fn what_a_group_takes_is_counted() {
    let mut bench = alone();
    assert_eq!(bench.groups.bytes(), bench.groups.count());
    let before = bench.groups.bytes();
    bench.beat(&joins("b", &["t", "u"])).unwrap();
    assert!(bench.groups.bytes() > before);
    bench.beat(&beats("b", LEAVES)).unwrap();
    bench.beat(&beats("a", LEAVES)).unwrap();
    assert_eq!(bench.groups.bytes(), bench.groups.count());
    let mut fx = crate::Effects::default();
    bench.groups.delete_group(GROUP, &mut fx).unwrap();
    assert_eq!(bench.groups.bytes(), 0);
    bench.log.extend(fx.records);
    bench.pass(Duration::from_secs(60));
    bench.restart();
    assert_eq!((bench.groups.list_consumers().count(), bench.groups.bytes()), (0, 0));
}

#[test]
fn a_group_may_have_periods_of_its_own_after_a_restart_too() {
    let times = ConsumerTimes {
        session_timeout: Duration::from_secs(60),
        heartbeat_interval: Duration::from_secs(15),
        ..ConsumerTimes::default()
    };
    let mut bench = Bench::new(&[("t", 2)]);
    let answer = bench.beat(&HeartbeatRequest { times: Some(times), ..joins("a", &["t"]) }).unwrap();
    assert_eq!(answer.heartbeat_interval_ms, 15_000);
    bench.pass_seconds(59);
    assert_eq!(bench.describe().unwrap().members.len(), 1);
    bench.groups = bench.replayed();
    bench.groups.loaded_with(bench.now, |_| Some(times));
    bench.pass_seconds(59);
    assert_eq!(bench.describe().unwrap().members.len(), 1);
    bench.pass_seconds(1);
    assert_eq!(bench.describe().unwrap().members.len(), 0);
}

#[test]
fn a_member_whose_heartbeat_waits_for_the_log_is_there() {
    let mut bench = alone();
    for _ in 0..3 {
        bench.pass_seconds(40);
        bench.groups.consumer_is_there(bench.now, &beats("a", 1));
    }
    for other in [beats("a", 7), beats("b", 1), joins("a", &["t"])] {
        bench.groups.consumer_is_there(bench.now, &other);
    }
    assert_eq!(bench.describe().unwrap().members.len(), 1);
    bench.pass_seconds(30);
    bench.groups.consumer_is_there(bench.now, &beats("a", 7));
    bench.pass_seconds(15);
    assert_eq!(bench.describe().unwrap().members.len(), 0, "who is not known at that epoch is not there");
}

#[test]
fn assignors_are_those_that_the_broker_has_and_the_first_is_taken_where_nobody_asks() {
    let consumer = ConsumerOptions { assignors: vec![Assignor::Range], ..ConsumerOptions::default() };
    let mut bench = Bench::with(GroupOptions { consumer, ..GroupOptions::default() }, &[("t", 2)]);
    let asks = |name: &str| HeartbeatRequest { assignor: Some(name.to_owned()), ..joins("a", &["t"]) };
    assert_eq!(bench.beat(&asks("uniform")), Err(GroupError::UnsupportedAssignor));
    bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!(bench.describe().unwrap().assignor, "range");
    bench.beat(&HeartbeatRequest { member_id: "b".to_owned(), ..asks("range") }).unwrap();
    assert_eq!(bench.describe().unwrap().assignor, "range");
}
