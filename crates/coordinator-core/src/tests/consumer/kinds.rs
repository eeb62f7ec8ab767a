//! A group is of one protocol at a time: what is said in the other one is refused while anybody is in it.

use super::bench::{Bench, GROUP, beats, joins, membership, of, owns};
use crate::tests::bench::joiner;
use crate::{
    Answer, ConsumerState, Effects, GroupError, JoinRequest, LeavingMember, Membership, State, SyncRequest, Ticket,
};

/// What a join is answered.
fn join(bench: &mut Bench, request: &JoinRequest) -> Option<GroupError> {
    let mut fx = Effects::default();
    bench.groups.join(bench.now, Ticket(1), request, &mut fx);
    bench.log.extend(fx.records);
    match fx.answers.pop() {
        Some((_, Answer::Join(answer))) => answer.error,
        Some((_, Answer::Sync(_))) => panic!(),
        None => None,
    }
}

#[test]
fn the_classic_protocol_is_refused_in_a_group_of_the_newer() {
    let mut bench = Bench::new(&[("t", 2)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!(join(&mut bench, &joiner("c")), Some(GroupError::InconsistentProtocol));
    let mut fx = Effects::default();
    let member = || membership("a", 1);
    assert_eq!(bench.groups.heartbeat(bench.now, &member(), &mut fx), Err(GroupError::UnknownMember));
    let sync = SyncRequest { member: member(), ..SyncRequest::default() };
    bench.groups.sync(bench.now, Ticket(2), &sync, &mut fx);
    assert_eq!(fx.answers, [(Ticket(2), Answer::Sync(Err(GroupError::UnknownMember)))]);
    let leaving = LeavingMember { member_id: "a".to_owned(), instance_id: None };
    let left = bench.groups.leave(bench.now, GROUP, &[leaving], &mut fx).unwrap();
    assert_eq!(left, [Err(GroupError::UnknownMember)]);
    assert_eq!(bench.groups.describe(GROUP), Err(GroupError::NotFound));
    assert_eq!((bench.groups.list().count(), bench.groups.list_consumers().count()), (0, 1));
    assert!(fx.records.is_empty());
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Stable);
}

#[test]
fn the_newer_protocol_is_refused_in_a_group_of_the_classic() {
    let mut bench = Bench::new(&[("t", 2)]);
    assert_eq!(join(&mut bench, &joiner("c")), None);
    for request in [joins("a", &["t"]), beats("a", 1), beats("a", crate::LEAVES)] {
        assert_eq!(bench.beat(&request), Err(GroupError::NotFound));
    }
    assert_eq!(bench.describe().unwrap_err(), GroupError::NotFound);
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
