//! A group id is that of a share group until the group is deleted: what is said in another protocol is refused.

use super::bench::{Bench, GROUP, beats, joins, leaves};
use crate::{
    Answer, CommitRequest, Effects, GroupError, HeartbeatRequest, JoinRequest, Membership, NewOffset, Partitions,
    Protocol, Ticket, Topics, TransactionalCommit,
};
use bytes::Bytes;

fn join(bench: &mut Bench) -> Option<GroupError> {
    let request = JoinRequest {
        group: GROUP.to_owned(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::new() }],
        unique: "unique".to_owned(),
        ..JoinRequest::default()
    };
    let mut fx = Effects::default();
    bench.groups.join(bench.now, &Topics::NONE, Ticket(1), &request, &mut fx);
    bench.log.extend(fx.records);
    match fx.answers.pop() {
        Some((_, Answer::Join(answer))) => answer.error,
        Some((_, Answer::Sync(_))) => panic!(),
        None => None,
    }
}

fn newer() -> HeartbeatRequest {
    HeartbeatRequest {
        group: GROUP.to_owned(),
        member_id: "n".to_owned(),
        rebalance_timeout_ms: 45_000,
        names: Some(vec!["t".to_owned()]),
        owned: Some(Partitions::new()),
        ..HeartbeatRequest::default()
    }
}

#[test]
fn other_protocols_are_refused_in_a_share_group() {
    let mut bench = Bench::new(&[("t", 1)]);
    bench.beat_through(&joins("a", &["t"]));
    let check = |bench: &mut Bench| {
        assert_eq!(join(bench), Some(GroupError::InconsistentProtocol));
        let refused = bench.at_groups(|groups, now, topics, fx| groups.consumer_heartbeat(now, topics, &newer(), fx));
        assert_eq!(refused, Err(GroupError::NotConsumer));
        let nobody = || Membership { group: GROUP.to_owned(), generation: -1, ..Membership::default() };
        let member = Membership { member_id: "a".to_owned(), generation: 1, ..nobody() };
        let offsets = || vec![NewOffset { topic: "t".to_owned(), ..NewOffset::default() }];
        for member in [nobody(), member.clone()] {
            let transactional =
                TransactionalCommit { member: member.clone(), offsets: offsets(), ..Default::default() };
            assert_eq!(bench.groups.check_transactional(&transactional), Err(GroupError::CommitsNothing));
            let request = CommitRequest { member, offsets: offsets(), knows_member_epochs: true };
            let refused = bench.at_groups(|groups, now, _, fx| groups.commit(now, request, fx));
            assert_eq!(refused, Err(GroupError::CommitsNothing), "and not what older clients are told of no group");
        }
        let refused = bench.at_groups(|groups, now, topics, fx| groups.heartbeat(now, topics, &member, fx));
        assert_eq!(refused, Err(GroupError::UnknownMember));
        let refused = bench.at_groups(|groups, _, _, fx| groups.delete_offsets(GROUP, &[("t".to_owned(), 0)], fx));
        assert_eq!(refused, Err(GroupError::NotFound));
        assert_eq!(bench.groups.describe(GROUP), Err(GroupError::NotClassic));
        assert_eq!(bench.groups.check_fetch(GROUP, None, -1), Ok(()), "it is told that there is nothing");
        let lists = (bench.groups.list().count(), bench.groups.list_consumers().count());
        assert_eq!((lists, bench.groups.list_shares().count()), ((0, 0), 1));
    };
    check(&mut bench);
    bench.beat(&leaves("a")).unwrap();
    check(&mut bench);
    bench.restart();
    check(&mut bench);
}

#[test]
fn the_share_protocol_is_refused_in_other_groups() {
    let mut bench = Bench::new(&[("t", 1)]);
    assert_eq!(join(&mut bench), None);
    let check = |bench: &mut Bench| {
        for request in [joins("a", &["t"]), beats("a", 1), leaves("a")] {
            assert_eq!(bench.beat(&request), Err(GroupError::NotFound));
        }
        let refused =
            bench.at_groups(|groups, now, topics, fx| groups.alter_share_offsets(now, topics, GROUP, &[], fx));
        assert_eq!(refused, Err(GroupError::NotFound));
        let refused = bench.at_groups(|groups, _, topics, fx| groups.begin_deleting_share_group(GROUP, topics, fx));
        assert_eq!(refused, Err(GroupError::NotFound));
        let refused =
            bench.at_groups(|groups, _, topics, fx| groups.begin_deleting_share_offsets(GROUP, &[], topics, fx));
        assert_eq!(refused, Err(GroupError::NotFound));
    };
    check(&mut bench);
    let mut bench = Bench::new(&[("t", 1)]);
    bench.at_groups(|groups, now, topics, fx| groups.consumer_heartbeat(now, topics, &newer(), fx)).unwrap();
    check(&mut bench);
}
