//! Joining, syncing, heartbeats, leaving: what each of Kafka's situations is answered with.

use super::bench::{Bench, GROUP, joiner, membership, nobody, protocol};
use crate::{GroupError, GroupOptions, JoinRequest, State, SyncRequest};
use bytes::Bytes;
use std::time::Duration;

fn state(bench: &Bench) -> Option<State> {
    bench.groups.describe(GROUP).ok().map(|it| it.state)
}

fn again(client_id: &str, member_id: &str) -> JoinRequest {
    JoinRequest { member_id: member_id.to_owned(), ..joiner(client_id) }
}

#[test]
fn the_first_members_wait_for_each_other_then_the_leader_assigns() {
    let mut bench = Bench::new();
    let first = bench.join(&joiner("a"));
    assert_eq!(bench.joined(first), None, "an empty group waits for more");
    bench.pass(Duration::from_secs(2));
    let second = bench.join(&joiner("b"));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.joined(first), None, "somebody came: it waits once more");
    bench.pass(Duration::from_secs(2));
    let (first, second) = (bench.joined(first).unwrap(), bench.joined(second).unwrap());
    assert_eq!((first.generation, first.error, first.protocol.as_deref()), (1, None, Some("range")));
    assert_eq!((first.leader.as_str(), first.members.len()), ("a-unique-a", 2));
    assert_eq!((second.leader.as_str(), second.members.len()), ("a-unique-a", 0));
    assert_eq!(state(&bench), Some(State::CompletingRebalance));

    let follower = bench.sync(&SyncRequest { member: membership("b-unique-b", 1), ..SyncRequest::default() });
    assert_eq!(bench.synced(follower), None, "it waits for the leader");
    let assignments = vec![("b-unique-b".to_owned(), Bytes::from_static(b"yours"))];
    let leader =
        bench.sync(&SyncRequest { member: membership("a-unique-a", 1), assignments, ..SyncRequest::default() });
    assert_eq!(bench.synced(follower).unwrap().unwrap().assignment, "yours");
    assert_eq!(bench.synced(leader).unwrap().unwrap().assignment, "", "it gave itself nothing");
    assert_eq!((state(&bench), bench.heartbeat(&membership("b-unique-b", 1))), (Some(State::Stable), Ok(())));
}

#[test]
fn newer_clients_get_their_id_first_and_pending_ids_expire() {
    let mut bench = Bench::new();
    let ticket = bench.join(&JoinRequest { joins_in_two_steps: true, ..joiner("a") });
    let refused = bench.joined(ticket).unwrap();
    assert_eq!((refused.error, refused.generation), (Some(GroupError::MemberIdRequired), -1));
    let ticket = bench.join(&JoinRequest { joins_in_two_steps: true, ..again("a", &refused.member_id) });
    bench.pass(Duration::from_secs(4));
    assert_eq!(bench.joined(ticket).unwrap().generation, 1);

    let mut bench = Bench::new();
    let ticket = bench.join(&JoinRequest { joins_in_two_steps: true, ..joiner("a") });
    let id = bench.joined(ticket).unwrap().member_id;
    bench.pass(Duration::from_secs(11));
    let late = bench.join(&again("a", &id));
    assert_eq!(bench.joined(late).unwrap().error, Some(GroupError::UnknownMember));
}

#[test]
fn an_id_that_nobody_came_back_with_disturbs_no_group() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let ticket = bench.join(&JoinRequest { joins_in_two_steps: true, ..joiner("late") });
    assert_eq!(bench.joined(ticket).unwrap().error, Some(GroupError::MemberIdRequired));
    for _ in 0..11 {
        bench.pass(Duration::from_secs(1));
        for id in &ids {
            assert_eq!(bench.heartbeat(&membership(id, 1)), Ok(()));
        }
    }
    assert_eq!(state(&bench), Some(State::Stable));

    // Where the others wait for it alone, they wait no longer.
    let ticket = bench.join(&JoinRequest { joins_in_two_steps: true, ..joiner("late") });
    assert_eq!(bench.joined(ticket).unwrap().error, Some(GroupError::MemberIdRequired));
    bench.pass(Duration::from_secs(5));
    let third = bench.join(&joiner("third"));
    let others: Vec<_> =
        ids.iter().map(|id| bench.join(&again(if id.starts_with("c0") { "c0" } else { "c1" }, id))).collect();
    assert_eq!(bench.joined(third), None, "an id is out there");
    bench.pass(Duration::from_secs(6));
    assert_eq!(bench.joined(third).unwrap().generation, 2);
    assert!(others.into_iter().all(|ticket| bench.joined(ticket).unwrap().generation == 2));
}

#[test]
fn an_id_that_nobody_came_back_with_does_not_cut_the_first_wait_short() {
    let options = GroupOptions { initial_rebalance_delay: Duration::from_secs(20), ..GroupOptions::default() };
    let mut bench = Bench::with(options);
    let ticket = bench.join(&JoinRequest { joins_in_two_steps: true, ..joiner("late") });
    assert_eq!(bench.joined(ticket).unwrap().error, Some(GroupError::MemberIdRequired));
    let first = bench.join(&joiner("a"));
    bench.pass(Duration::from_secs(12));
    assert_eq!(bench.joined(first), None, "the id is gone, and others may still come");
    let second = bench.join(&joiner("b"));
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.joined(first).unwrap().members.len(), 2);
    assert_eq!(bench.joined(second).unwrap().generation, 1);
}

#[test]
fn what_can_not_join_is_told_why() {
    let mut bench = Bench::new();
    let mut error = |request: JoinRequest| {
        let ticket = bench.join(&request);
        bench.joined(ticket).and_then(|answer| answer.error)
    };
    assert_eq!(error(JoinRequest { group: String::new(), ..joiner("a") }), Some(GroupError::InvalidGroupId));
    for session_timeout_ms in [-1, 0, 5_999, 1_800_001] {
        let refused = error(JoinRequest { session_timeout_ms, ..joiner("a") });
        assert_eq!(refused, Some(GroupError::InvalidSessionTimeout));
    }
    assert_eq!(error(again("a", "stranger")), Some(GroupError::UnknownMember), "no such group");
    assert_eq!(error(JoinRequest { protocols: vec![], ..joiner("a") }), Some(GroupError::InconsistentProtocol));
    let nameless = JoinRequest { protocol_type: String::new(), ..joiner("a") };
    assert_eq!(error(nameless), Some(GroupError::InconsistentProtocol));
    let endless = JoinRequest { instance_id: Some("i".repeat(40_000)), ..joiner("a") };
    assert_eq!(error(endless), Some(GroupError::InvalidRequest));

    let mut bench = Bench::new();
    bench.stable(1);
    let mut error = |request: JoinRequest| {
        let ticket = bench.join(&request);
        bench.joined(ticket).and_then(|answer| answer.error)
    };
    assert_eq!(error(again("a", "stranger")), Some(GroupError::UnknownMember), "no such member");
    let other_type = JoinRequest { protocol_type: "connect".to_owned(), ..joiner("b") };
    assert_eq!(error(other_type), Some(GroupError::InconsistentProtocol));
    let other = JoinRequest { protocols: vec![protocol("sticky", &["t"])], ..joiner("b") };
    assert_eq!(error(other), Some(GroupError::InconsistentProtocol));
}

#[test]
fn a_group_takes_so_many_members_and_so_many_bytes() {
    let mut bench = Bench::with(GroupOptions { members_max: 2, ..GroupOptions::default() });
    bench.stable(2);
    let third = bench.join(&joiner("c"));
    assert_eq!(bench.joined(third).unwrap().error, Some(GroupError::Full));
    assert_eq!(state(&bench), Some(State::Stable), "those who are in are not disturbed");

    let mut bench = Bench::with(GroupOptions { group_bytes_max: 10, ..GroupOptions::default() });
    let large = bench.join(&joiner("a"));
    assert_eq!(bench.joined(large).unwrap().error, Some(GroupError::Full));

    let mut bench = Bench::with(GroupOptions { record_bytes_max: 1000, ..GroupOptions::default() });
    let ticket = bench.join(&joiner("a"));
    bench.pass(Duration::from_secs(4));
    let id = bench.joined(ticket).unwrap().member_id;
    let assignments = vec![(id.clone(), Bytes::from(vec![0; 1000]))];
    let ticket = bench.sync(&SyncRequest { member: membership(&id, 1), assignments, ..SyncRequest::default() });
    assert_eq!(bench.synced(ticket), Some(Err(GroupError::RecordTooLarge)));
    assert_eq!(state(&bench), Some(State::PreparingRebalance));
}

#[test]
fn a_newcomer_makes_all_join_again_and_who_does_not_is_out() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let newcomer = bench.join(&joiner("new"));
    assert_eq!(state(&bench), Some(State::PreparingRebalance));
    assert_eq!(bench.heartbeat(&membership(&ids[1], 1)), Err(GroupError::RebalanceInProgress));
    let ticket = bench.sync(&SyncRequest { member: membership(&ids[1], 1), ..SyncRequest::default() });
    assert_eq!(bench.synced(ticket), Some(Err(GroupError::RebalanceInProgress)));
    let second = bench.join(&again("c1", &ids[1]));
    assert_eq!(bench.joined(second), None, "the leader has not joined");
    bench.pass(Duration::from_secs(11));
    let answer = bench.joined(second).unwrap();
    assert_eq!((answer.generation, answer.members.len()), (2, 2), "the old leader is out, this one leads");
    assert_eq!(bench.joined(newcomer).unwrap().leader, ids[1]);
    assert_eq!(bench.heartbeat(&membership(&ids[0], 2)), Err(GroupError::UnknownMember));
    assert_eq!(bench.heartbeat(&membership(&ids[1], 1)), Err(GroupError::IllegalGeneration));
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_running_generation() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let follower = bench.join(&again("c1", &ids[1]));
    let answer = bench.joined(follower).unwrap();
    assert_eq!((answer.generation, answer.members.len(), state(&bench)), (1, 0, Some(State::Stable)));
    let changed = JoinRequest { protocols: vec![protocol("range", &["t", "u"])], ..again("c1", &ids[1]) };
    bench.join(&changed);
    assert_eq!(state(&bench), Some(State::PreparingRebalance), "it says something else");

    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.join(&again("c0", &ids[0]));
    assert_eq!(state(&bench), Some(State::PreparingRebalance), "the leader has its reasons");
}

#[test]
fn the_protocol_that_all_know_and_most_prefer_is_chosen() {
    let mut bench = Bench::new();
    let of = |client: &str, names: &[&str]| {
        let protocols = names.iter().map(|name| protocol(name, &["t"])).collect();
        JoinRequest { protocols, ..joiner(client) }
    };
    let tickets = [
        bench.join(&of("a", &["range", "sticky", "own"])),
        bench.join(&of("b", &["sticky", "range"])),
        bench.join(&of("c", &["sticky", "range", "own"])),
    ];
    bench.pass(Duration::from_secs(20));
    for ticket in tickets {
        assert_eq!(bench.joined(ticket).unwrap().protocol.as_deref(), Some("sticky"));
    }
}

#[test]
fn silence_and_leaving_end_a_membership() {
    let mut bench = Bench::new();
    let ids = bench.stable(3);
    assert_eq!(bench.leave(&ids[2], None), Ok(()));
    assert_eq!(bench.leave(&ids[2], None), Err(GroupError::UnknownMember));
    let waiting = bench.join(&again("c0", &ids[0]));
    for _ in 0..2 {
        bench.pass(Duration::from_secs(6));
        assert_eq!(bench.joined(waiting), None, "one is not back yet, and its session not over");
        if bench.heartbeat(&membership(&ids[1], 1)) != Err(GroupError::RebalanceInProgress) {
            panic!("it is told to join");
        }
    }
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.joined(waiting).unwrap().members.len(), 1, "nothing was heard of the other");
    bench.leave(&ids[0], None).unwrap();
    assert_eq!(state(&bench), Some(State::Empty));
    assert_eq!(bench.groups.next_deadline(), None, "nobody is left to be waited for");
}

#[test]
fn who_joined_and_never_synced_is_out() {
    let mut bench = Bench::new();
    let tickets = [bench.join(&joiner("a")), bench.join(&joiner("b"))];
    bench.begin();
    let leader = bench.joined(tickets[0]).unwrap();
    let mut waiting = None;
    for _ in 0..5 {
        waiting = waiting.or_else(|| {
            let request = SyncRequest { member: membership("b-unique-b", leader.generation), ..SyncRequest::default() };
            Some(bench.sync(&request))
        });
        bench.pass(Duration::from_secs(9));
    }
    assert_eq!(bench.synced(waiting.unwrap()), Some(Err(GroupError::RebalanceInProgress)), "the leader never did");
    assert_eq!(bench.heartbeat(&membership(&leader.leader, leader.generation)), Err(GroupError::UnknownMember));
}

#[test]
fn a_static_member_comes_back_under_a_new_id_without_a_rebalance() {
    for may_skip_assignment in [false, true] {
        let mut bench = Bench::new();
        let fixed = |unique: &str| JoinRequest {
            instance_id: Some("i".to_owned()),
            unique: unique.to_owned(),
            may_skip_assignment,
            joins_in_two_steps: true,
            ..joiner("a")
        };
        let ticket = bench.join(&fixed("1"));
        bench.pass(Duration::from_secs(4));
        assert_eq!(bench.joined(ticket).unwrap().member_id, "i-1", "it needs no second step");
        let member = |id: &str| crate::Membership { instance_id: Some("i".to_owned()), ..membership(id, 1) };
        let assignments = vec![("i-1".to_owned(), Bytes::from_static(b"mine"))];
        let ticket = bench.sync(&SyncRequest { member: member("i-1"), assignments, ..SyncRequest::default() });
        assert!(bench.synced(ticket).unwrap().is_ok());

        let ticket = bench.join(&fixed("2"));
        let answer = bench.joined(ticket).unwrap();
        let leader = if may_skip_assignment { "i-2" } else { "i-1" };
        assert_eq!((answer.member_id.as_str(), answer.generation, answer.leader.as_str()), ("i-2", 1, leader));
        assert_eq!(
            (answer.skip_assignment, answer.members.len()),
            (may_skip_assignment, usize::from(may_skip_assignment))
        );
        assert_eq!(bench.heartbeat(&member("i-1")), Err(GroupError::FencedInstance));
        let ticket = bench.join(&JoinRequest { member_id: "i-1".to_owned(), ..fixed("3") });
        assert_eq!(bench.joined(ticket).unwrap().error, Some(GroupError::FencedInstance));
        bench.restart();
        let ticket = bench.sync(&SyncRequest { member: member("i-2"), ..SyncRequest::default() });
        assert_eq!(bench.synced(ticket).unwrap().unwrap().assignment, "mine", "also after a takeover");
        assert_eq!(bench.leave("", Some("i")), Ok(()), "by an administrator");
        assert_eq!(bench.leave("", Some("i")), Err(GroupError::UnknownMember));
    }
}

#[test]
fn a_stable_group_survives_a_takeover_and_an_unfinished_rebalance_does_not() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.join(&joiner("new"));
    bench.restart();
    assert_eq!((state(&bench), bench.heartbeat(&membership(&ids[1], 1))), (Some(State::Stable), Ok(())));
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.heartbeat(&membership(&ids[1], 1)), Ok(()));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.heartbeat(&membership(&ids[0], 1)), Err(GroupError::UnknownMember), "it was not heard of");
    assert_eq!(bench.groups.describe(GROUP).unwrap().members.len(), 1);
    assert_eq!(bench.commit(nobody(), "t", 1), Err(GroupError::UnknownMember));
}
