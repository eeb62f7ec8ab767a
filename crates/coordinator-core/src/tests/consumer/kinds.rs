//! A group that may not change its protocol while it runs is of one at a time: what is said in the other one is refused while anybody is
//! in it.

use super::bench::{Bench, GROUP, beats, joins, membership, of, owns, static_member, with};
use crate::tests::bench::joiner;
use crate::{
    ConsumerState, Effects, GroupError, GroupOptions, Groups, JoinRequest, LeavingMember, Membership, Migration, Now,
    State, Topics,
};
use std::collections::BTreeMap;

/// What a join is answered.
fn join(bench: &mut Bench, request: &JoinRequest) -> Option<GroupError> {
    let ticket = bench.join(request);
    bench.join_answer(ticket).and_then(|answer| answer.error)
}

fn of_one_kind() -> Bench {
    let mut options = GroupOptions::default();
    options.consumer.migration = Migration::Disabled;
    Bench::with(options, &[("t", 2)])
}

#[test]
fn the_classic_protocol_is_refused_in_a_group_of_the_newer() {
    let mut bench = of_one_kind();
    bench.beat(&joins("a", &["t"])).unwrap();
    let before = bench.log.len();
    assert_eq!(join(&mut bench, &joiner("c")), Some(GroupError::InconsistentProtocol));
    assert_eq!(bench.heartbeat(&membership("a", 1)), Err(GroupError::UnknownMember));
    assert_eq!(bench.fetch("a", 1), Err(GroupError::UnknownMember));
    let leaving = LeavingMember { member_id: "b".to_owned(), instance_id: None };
    assert_eq!(bench.leave(&[leaving]), [Err(GroupError::UnknownMember)]);
    assert_eq!(bench.groups.describe(GROUP), Err(GroupError::NotClassic));
    assert_eq!((bench.groups.list().count(), bench.groups.list_consumers().count()), (0, 1));
    assert_eq!(bench.log.len(), before);
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Stable);
}

#[test]
fn the_newer_protocol_is_refused_in_a_group_of_the_classic() {
    let mut bench = of_one_kind();
    assert_eq!(join(&mut bench, &joiner("c")), None);
    assert_eq!(bench.beat(&joins("a", &["t"])), Err(GroupError::CannotUpgrade("online upgrade is disabled.")));
    for request in [beats("a", 1), beats("a", crate::LEAVES)] {
        assert_eq!(bench.beat(&request), Err(GroupError::NotConsumer));
    }
    assert_eq!(bench.describe().unwrap_err(), GroupError::NotConsumer);
    assert_eq!(bench.groups.check_fetch(GROUP, Some("a"), 1), Ok(()));
}

#[test]
fn a_group_without_members_changes_its_protocol_and_keeps_its_offsets() {
    let mut bench = Bench::new(&[("t", 2)]);
    // By a client that manages its own members.
    let nobody = || Membership { group: GROUP.to_owned(), generation: -1, ..Membership::default() };
    bench.commit(nobody(), &[("t", 0)], true).unwrap();
    let member_id = "c-unique-c".to_owned();
    assert_eq!(join(&mut bench, &joiner("c")), None);
    bench.pass_seconds(5);
    bench.pass_seconds(60);
    assert_eq!(bench.groups.describe(GROUP).unwrap().state, State::Empty, "it has not synced");
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.restart();
    assert_eq!(bench.beat(&beats("a", 1)).unwrap().member_epoch, 1);
    assert_eq!(bench.groups.committed(GROUP).unwrap().len(), 1);
    assert_eq!((bench.groups.list().count(), bench.groups.list_consumers().count()), (0, 1));
    bench.beat(&beats("a", crate::LEAVES)).unwrap();
    let again = JoinRequest { member_id, ..joiner("c") };
    assert_eq!(join(&mut bench, &again), Some(GroupError::UnknownMember));
    assert_eq!(join(&mut bench, &joiner("c")), None);
    bench.restart();
    assert_eq!((bench.groups.list().count(), bench.groups.list_consumers().count()), (1, 0));
    assert_eq!(bench.groups.committed(GROUP).unwrap().len(), 1);
    assert_eq!(bench.groups.bytes(), bench.groups.count());
}

#[test]
fn an_administrator_sees_what_members_hold_and_what_they_are_to_hold() {
    let mut bench = Bench::new(&[("t", 4)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.pass_seconds(2);
    bench.beat(&joins("b", &["t"])).unwrap();
    let topic = bench.id("t");
    bench.beat(&owns("a", 1, of(topic, 0..4))).unwrap();
    let group = bench.describe().unwrap();
    assert_eq!(
        (group.state, group.epoch, group.assignment_epoch, group.assignor),
        (ConsumerState::Reconciling, 2, 2, "uniform")
    );
    let [a, b] = &group.members[..] else { panic!() };
    assert_eq!((a.member_id.as_str(), a.epoch, a.client_host.as_str()), ("a", 1, "/127.0.0.1"));
    assert_eq!((a.names.clone(), a.regex.as_str()), (vec!["t".to_owned()], ""));
    assert_eq!((a.assignment[0].name.as_str(), a.assignment[0].partitions.clone()), ("t", vec![0, 1, 2, 3]));
    assert_eq!((a.target[0].partitions.clone(), b.target[0].partitions.clone()), (vec![0, 1], vec![2, 3]));
    assert!(b.assignment.is_empty());
    assert!(bench.groups.described_consumer_bytes(GROUP) > 0);
    bench.delete_topic("t");
    assert!(bench.describe().unwrap().members[0].assignment.is_empty(), "what is gone has no name");
}

#[test]
fn the_older_request_to_leave_takes_members_of_the_newer_protocol_out() {
    let mut bench = Bench::new(&[("t", 2)]);
    for (member, name) in [("a", "i"), ("b", "j")] {
        bench.beat(&static_member(joins(member, &["t"]), name)).unwrap();
    }
    bench.beat(&joins("c", &["t"])).unwrap();
    let leaving = |member_id: &str, instance_id: Option<&str>| LeavingMember {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
    };
    let all = [
        leaving("", Some("i")),
        leaving("x", Some("j")),
        leaving("c", None),
        leaving("d", None),
        leaving("", Some("k")),
    ];
    let epoch = bench.epochs().0;
    let left = bench.leave(&all);
    let unknown = Err(GroupError::UnknownMember);
    assert_eq!(left, [Ok(()), Err(GroupError::FencedInstance), Ok(()), unknown, unknown]);
    assert_eq!(bench.epochs().0, epoch + 1, "once for all of them");
    bench.restart();
    let members = bench.describe().unwrap().members;
    assert_eq!(members.iter().map(|member| member.member_id.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn the_first_subscription_begins_with_the_epoch_of_kafka_4_3() {
    let first = |names: &[&str]| {
        let mut groups = Groups::new(GroupOptions::default());
        let topics = BTreeMap::new();
        let beat = |topics: &Topics<'_>| {
            groups.consumer_heartbeat(Now::default(), topics, &joins("a", names), &mut Effects::default())
        };
        with(&topics, 1, beat).unwrap().member_epoch
    };
    assert_eq!((first(&["t"]), first(&[])), (2, 1));
}
