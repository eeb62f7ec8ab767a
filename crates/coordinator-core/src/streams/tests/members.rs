//! Members come, run tasks, give them up and go.

use super::bench::{Bench, GROUP, beats, joins, reads, runs, tasks, topology, with_state};
use crate::{
    CommitRequest, Effects, GroupError, GroupOptions, HeartbeatRequest, JoinRequest, LEAVES, Membership, NewOffset,
    Partitions, Protocol, StreamsHeartbeatRequest, StreamsState, StreamsStatusCode, Tasks, Ticket, Topics,
};
use bytes::Bytes;
use protocol::messages::streams_group_heartbeat_request::Endpoint;

const NO_TOPICS: Topics<'static> = Topics { version: 1, find: &|_| None, name_of: &|_| None, names: &|_| {} };

#[test]
fn a_second_member_gets_what_the_first_gives_up() {
    let mut bench = Bench::new(&[("t", 4)]);
    let app = topology(vec![reads("0", &["t"])]);
    let first = bench.beat(&joins("a", &app)).unwrap();
    assert_eq!((first.member_epoch, first.tasks.unwrap().active), (2, tasks("0", 0..4)));
    assert_eq!(first.status, []);
    assert_eq!(bench.beat(&runs("a", 2, tasks("0", 0..4))).unwrap().tasks, None, "it knows");
    let second = bench.beat(&joins("b", &app)).unwrap();
    assert_eq!((second.member_epoch, second.tasks.unwrap().active), (3, Tasks::new()), "nothing is free yet");
    assert_eq!(bench.describe().state, StreamsState::Reconciling);
    let kept = bench.beat(&runs("a", 2, tasks("0", 0..4))).unwrap();
    let kept = (kept.member_epoch, kept.tasks.unwrap().active);
    assert_eq!(kept, (2, tasks("0", 0..2)), "it gives up the others first");
    assert_eq!(bench.beat(&beats("b", 3)).unwrap().tasks, None);
    assert_eq!(bench.beat(&runs("a", 2, kept.1)).unwrap().member_epoch, 3);
    assert_eq!(bench.beat(&beats("b", 3)).unwrap().tasks.unwrap().active, tasks("0", 2..4));
    assert_eq!(bench.describe().state, StreamsState::Stable);
    bench.restart();
    assert_eq!(bench.beat(&beats("b", 3)).unwrap().tasks, None, "a takeover changes nothing");
    assert_eq!(bench.describe().epoch, 3);
}

#[test]
fn who_does_not_give_up_in_time_is_out_and_so_is_who_is_not_heard_of() {
    let mut bench = Bench::new(&[("t", 2)]);
    let app = topology(vec![reads("0", &["t"])]);
    bench.beat(&joins("a", &app)).unwrap();
    bench.beat(&joins("b", &app)).unwrap();
    bench.beat(&runs("a", 2, tasks("0", 0..2))).unwrap();
    bench.restart();
    for _ in 0..4 {
        bench.pass_seconds(8);
        let _refused_or_not = bench.beat(&beats("a", 2));
        bench.beat(&beats("b", bench.describe().members.last().unwrap().epoch)).unwrap();
    }
    assert_eq!(bench.beat(&beats("a", 2)).unwrap_err(), GroupError::UnknownMember);
    assert_eq!(bench.describe().members[0].assignment.active, tasks("0", 0..2));
    bench.pass_seconds(46);
    assert_eq!(bench.describe().state, StreamsState::Empty);
    assert!(bench.groups.next_deadline().is_none());
}

#[test]
fn epochs_are_held_against_what_the_coordinator_knows() {
    let mut bench = Bench::new(&[("t", 2)]);
    let app = topology(vec![reads("0", &["t"])]);
    assert_eq!(bench.beat(&beats("a", 1)).unwrap_err(), GroupError::NotFound);
    bench.beat(&joins("a", &app)).unwrap();
    assert_eq!(bench.beat(&beats("b", 1)).unwrap_err(), GroupError::UnknownMember);
    assert_eq!(bench.beat(&beats("a", 5)).unwrap_err(), GroupError::FencedMemberEpoch);
    assert_eq!(
        bench.beat(&beats("a", 0 - 3)).unwrap_err().to_string(),
        "MemberEpoch must be greater than or equal to -2."
    );
    assert_eq!(
        bench.beat(&runs("a", 2, tasks("1", 0..1))).unwrap_err().to_string(),
        "A subtopology does not exist in the topology."
    );
    assert_eq!(
        bench.beat(&runs("a", 2, tasks("0", 1..3))).unwrap_err().to_string(),
        "A task is not one of its subtopology."
    );
    bench.beat(&beats("a", LEAVES)).unwrap();
    assert_eq!(bench.beat(&beats("a", LEAVES)).unwrap_err(), GroupError::UnknownMember);
}

#[test]
fn the_first_member_waits_for_more_as_long_as_the_group_says() {
    let mut bench = Bench::with(GroupOptions::default(), &[("t", 4)]);
    let app = topology(vec![reads("0", &["t"])]);
    for member in ["a", "b"] {
        let answer = bench.beat(&joins(member, &app)).unwrap();
        assert_eq!((answer.member_epoch, answer.status[0].code), (1, StreamsStatusCode::AssignmentDelayed));
        assert!(answer.tasks.unwrap().is_empty());
    }
    bench.pass_seconds(3);
    assert_eq!(bench.beat(&beats("a", 1)).unwrap().tasks.unwrap().active, tasks("0", [0, 2]));
    assert_eq!(bench.beat(&beats("b", 1)).unwrap().tasks.unwrap().active, tasks("0", [1, 3]));
    // Between two assignments some time passes.
    let third = bench.beat(&joins("c", &app)).unwrap();
    assert_eq!(third.status[0].detail, "Assignment delayed due to the configured assignment interval.");
    bench.pass_seconds(1);
    assert!(bench.beat(&beats("c", third.member_epoch)).unwrap().status.is_empty());
}

#[test]
fn one_member_may_shut_all_of_the_application_down() {
    let mut bench = Bench::new(&[("t", 2)]);
    let app = topology(vec![reads("0", &["t"])]);
    bench.beat(&joins("a", &app)).unwrap();
    bench.beat(&joins("b", &app)).unwrap();
    bench.beat(&StreamsHeartbeatRequest { shuts_down: true, ..beats("b", LEAVES) }).unwrap();
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!(answer.status[0].code, StreamsStatusCode::ShutdownApplication);
    bench.beat(&beats("a", LEAVES)).unwrap();
    assert!(bench.beat(&joins("a", &app)).unwrap().status.is_empty(), "the next start is another one");
}

#[test]
fn members_that_answer_queries_are_told_of_with_what_they_run() {
    let mut bench = Bench::new(&[("t", 2), ("u", 1)]);
    let app = topology(vec![reads("0", &["t", "u"])]);
    let endpoint = Endpoint { host: "h".to_owned(), port: 7 };
    let first = StreamsHeartbeatRequest { endpoint: Some(endpoint.clone()), ..joins("a", &app) };
    let answer = bench.beat(&first).unwrap();
    assert!(answer.tells_endpoints);
    let told = bench.endpoints();
    assert_eq!((&told[0].endpoint, answer.endpoint_epoch), (&endpoint, 0));
    assert_eq!(told[0].active, [("t".to_owned(), vec![0, 1]), ("u".to_owned(), vec![0])]);
    let size = bench.groups.streams_endpoints_size(GROUP);
    let size = (size.entries, size.name_bytes, size.partitions);
    assert_eq!(size, (3, 3, 4), "the numbers of partitions of topics are not looked up");
    assert!(!bench.beat(&beats("a", 2)).unwrap().tells_endpoints);
    let late = bench.beat(&StreamsHeartbeatRequest { endpoint_epoch: 9, ..beats("a", 2) }).unwrap();
    assert!(late.tells_endpoints);
    assert_eq!(bench.endpoints().len(), 1);
}

#[test]
fn standby_tasks_come_and_go_with_the_group_s_settings() {
    let mut bench = Bench::new(&[("t", 2), ("g-log", 2)]);
    let app = topology(vec![with_state(reads("0", &["t"]), "g-log")]);
    let mut times = bench.groups.options.streams.times;
    times.standby_replicas = 1;
    let with = |request: StreamsHeartbeatRequest| StreamsHeartbeatRequest { times: Some(times), ..request };
    bench.beat(&with(joins("a", &app))).unwrap();
    bench.beat(&with(joins("b", &app))).unwrap();
    bench.beat(&with(runs("a", 2, tasks("0", 0..2)))).unwrap();
    bench.beat(&with(runs("a", 2, tasks("0", 0..1)))).unwrap();
    let mut group = bench.describe();
    for _ in 0..3 {
        for member in &group.members {
            let assigned = member.assignment.clone();
            let request = StreamsHeartbeatRequest {
                standby: Some(assigned.standby),
                ..runs(&member.member_id, member.epoch, assigned.active)
            };
            bench.beat(&with(request)).unwrap();
        }
        group = bench.describe();
    }
    assert_eq!(group.state, StreamsState::Stable);
    for member in &group.members {
        let (active, standby) = (&member.assignment.active["0"], &member.assignment.standby["0"]);
        assert!(active.is_disjoint(standby) && active.len() == 1 && standby.len() == 1);
    }
    let epoch = group.members[0].epoch;
    bench.beat(&beats("a", epoch)).unwrap();
    assert_eq!(bench.describe().epoch, epoch + 1, "without the setting of its own");
}

#[test]
fn who_commits_is_held_against_the_tasks() {
    let mut bench = Bench::new(&[("t", 2)]);
    let app = topology(vec![reads("0", &["t"])]);
    let commit = |bench: &mut Bench, member_id: &str, generation: i32, partition: i32| {
        let offset = NewOffset { topic: "t".to_owned(), partition, ..NewOffset::default() };
        let member = Membership {
            group: GROUP.to_owned(),
            member_id: member_id.to_owned(),
            generation,
            ..Membership::default()
        };
        let request = CommitRequest { member, offsets: vec![offset], knows_member_epochs: true };
        let mut fx = Effects::default();
        let outcome = bench.groups.commit(bench.now, request, &mut fx);
        bench.log.extend(fx.records);
        outcome.map(|_| ())
    };
    assert_eq!(commit(&mut bench, "", -1, 0), Ok(()), "before there is a group");
    bench.beat(&joins("a", &app)).unwrap();
    assert_eq!(commit(&mut bench, "", -1, 0), Err(GroupError::UnknownMember));
    assert_eq!(commit(&mut bench, "a", 2, 1), Ok(()));
    assert_eq!(commit(&mut bench, "a", 3, 1), Err(GroupError::StaleMemberEpoch));
    bench.beat(&joins("b", &app)).unwrap();
    bench.beat(&runs("a", 2, tasks("0", 0..2))).unwrap();
    bench.beat(&runs("a", 2, tasks("0", 0..1))).unwrap();
    assert_eq!(commit(&mut bench, "a", 2, 0), Ok(()), "it has had that task since then");
    assert_eq!(commit(&mut bench, "a", 2, 1), Err(GroupError::StaleMemberEpoch));
    assert_eq!(bench.groups.check_fetch(GROUP, Some("a"), 3), Ok(()));
    assert_eq!(bench.groups.check_fetch(GROUP, Some("a"), 2), Err(GroupError::StaleMemberEpoch));
    assert_eq!(bench.groups.check_fetch(GROUP, None, -1), Ok(()));
    let refused = bench.groups.delete_offsets(GROUP, &[("t".to_owned(), 0)], &mut Effects::default()).unwrap();
    assert_eq!(refused, [Err(GroupError::Subscribed)]);
}

#[test]
fn a_group_is_of_one_kind_at_a_time() {
    let mut bench = Bench::new(&[("t", 2)]);
    let app = topology(vec![reads("0", &["t"])]);
    let classic = JoinRequest {
        group: GROUP.to_owned(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::new() }],
        unique: "u".to_owned(),
        ..JoinRequest::default()
    };
    let newer = HeartbeatRequest {
        group: GROUP.to_owned(),
        member_id: "n".to_owned(),
        rebalance_timeout_ms: 45_000,
        names: Some(vec!["t".to_owned()]),
        owned: Some(Partitions::new()),
        ..HeartbeatRequest::default()
    };
    let mut fx = Effects::default();
    bench.groups.join(bench.now, &NO_TOPICS, Ticket(1), &classic, &mut fx);
    assert_eq!(bench.beat(&joins("a", &app)).unwrap_err(), GroupError::NotStreams);
    bench.pass_seconds(400);
    bench.beat(&joins("a", &app)).unwrap();
    let refused = bench.groups.consumer_heartbeat(bench.now, &NO_TOPICS, &newer, &mut fx);
    assert_eq!(refused, Err(GroupError::NotConsumer));
    assert_eq!(bench.groups.describe(GROUP), Err(GroupError::NotClassic));
    assert_eq!((bench.groups.list().count(), bench.groups.list_streams().count()), (0, 1));
    assert_eq!(bench.groups.delete_group(GROUP, &mut fx), Err(GroupError::NotEmpty));
    bench.beat(&beats("a", LEAVES)).unwrap();
    bench.groups.join(bench.now, &NO_TOPICS, Ticket(2), &classic, &mut fx);
    assert_eq!((bench.groups.list().count(), bench.groups.list_streams().count()), (1, 0), "nobody was in it");
    let mut bench = Bench::new(&[("t", 2)]);
    bench.groups.consumer_heartbeat(bench.now, &NO_TOPICS, &newer, &mut fx).unwrap();
    assert_eq!(bench.beat(&joins("a", &app)).unwrap_err(), GroupError::NotStreams);
}
