//! Groups that change their protocol while they run, example by example.

use super::bench::{Bench, GROUP, REBALANCE_MS, beats, joins, membership, of, owns, static_member};
use crate::tests::bench::{joiner, protocol};
use crate::{
    ConsumerState, GroupError, GroupOptions, JoinRequest, LEAVES, LeavingMember, Membership, Migration, Partitions,
    Protocol, State, SyncRequest,
};
use bytes::Bytes;
use protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use protocol::messages::consumer_protocol_subscription::{
    ConsumerProtocolSubscription, TopicPartition as OwnedPartitions,
};
use protocol::wire::Wire;

fn with_policy(migration: Migration) -> Bench {
    let mut options = GroupOptions::default();
    options.consumer.migration = migration;
    Bench::with(options, &[("t", 4)])
}

fn encoded(version: i16, message: &impl Wire) -> Bytes {
    crate::record::encode_with(version, false, |encoder| encoder.put(message, version))
}

pub(super) fn assignment(partitions: &[(&str, &[i32])]) -> Bytes {
    let topic = |(topic, partitions): &(&str, &[i32])| TopicPartition {
        topic: (*topic).to_owned(),
        partitions: partitions.to_vec(),
    };
    let assigned_partitions = partitions.iter().map(topic).collect();
    encoded(0, &ConsumerProtocolAssignment { assigned_partitions, user_data: None })
}

/// A cooperative consumer's protocol, with what it holds.
pub(super) fn holding(names: &[&str], owned: &[(&str, Vec<i32>)]) -> Protocol {
    let owned = owned
        .iter()
        .map(|(topic, partitions)| OwnedPartitions { topic: (*topic).to_owned(), partitions: partitions.clone() });
    let subscription = ConsumerProtocolSubscription {
        topics: names.iter().map(|name| (*name).to_owned()).collect(),
        owned_partitions: owned.collect(),
        ..ConsumerProtocolSubscription::default()
    };
    Protocol { name: "range".to_owned(), metadata: encoded(1, &subscription) }
}

/// A classic group of so many members, to which the leader has given these; their ids.
fn classic(bench: &mut Bench, given: &[&[i32]]) -> Vec<String> {
    let tickets: Vec<_> = (0..given.len()).map(|i| bench.join(&joiner(&format!("c{i}")))).collect();
    bench.pass_seconds(7);
    let answers: Vec<_> = tickets.into_iter().map(|ticket| bench.join_answer(ticket).unwrap()).collect();
    let ids: Vec<String> = answers.iter().map(|answer| answer.member_id.clone()).collect();
    let assignments = ids.iter().zip(given).map(|(id, given)| (id.clone(), assignment(&[("t", given)]))).collect();
    let leader = SyncRequest { member: membership(&answers[0].leader, 1), assignments, ..SyncRequest::default() };
    let ticket = bench.sync(&leader);
    assert!(bench.sync_answer(ticket).unwrap().is_ok());
    ids
}

fn again(member_id: &str, owned: &[i32]) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        protocols: vec![holding(&["t"], &[("t", owned.to_vec())])],
        ..joiner("c")
    }
}

fn state(bench: &Bench) -> State {
    bench.groups.describe(GROUP).unwrap().state
}

#[test]
fn a_classic_group_is_upgraded_by_the_first_heartbeat_of_the_newer_protocol() {
    let mut bench = with_policy(Migration::Upgrade);
    let ids = classic(&mut bench, &[&[0, 1], &[2, 3]]);
    bench.commit(membership(&ids[0], 1), &[("t", 0)], true).unwrap();
    let t = bench.id("t");
    let answer = bench.beat(&joins("n", &["t"])).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (2, Some(Partitions::new())), "all is held by others");
    assert_eq!(bench.epochs(), (2, 2));
    let group = bench.describe().unwrap();
    assert_eq!(group.state, ConsumerState::Reconciling);
    let kinds: Vec<bool> = group.members.iter().map(|member| member.is_classic).collect();
    assert_eq!(kinds, [true, true, false]);
    assert_eq!(bench.groups.describe(GROUP), Err(GroupError::NotClassic));
    assert_eq!(bench.groups.committed(GROUP).unwrap().len(), 1);
    bench.restart();
    // Those who were there are told to join again, say that they hold nothing any more, and are given less.
    let mut left = 0;
    for (id, before) in ids.iter().zip([[0, 1], [2, 3]]) {
        assert_eq!(bench.heartbeat(&membership(id, 1)), Err(GroupError::RebalanceInProgress));
        assert_eq!(bench.fetch(id, 1), Err(GroupError::RebalanceInProgress));
        let answer = bench.joined(&again(id, &[]));
        assert_eq!((answer.error, answer.generation, answer.leader.as_str()), (None, 2, ""));
        assert_eq!((answer.protocol_type.as_deref(), answer.protocol.as_deref()), (Some("consumer"), Some("range")));
        let held = bench.fetch(id, 2).unwrap();
        left += held[&t].len();
        assert!(held[&t].iter().all(|it| before.contains(it)), "nothing moves that need not");
        assert_eq!(bench.heartbeat(&membership(id, 2)), Ok(()));
    }
    let answer = bench.beat(&owns("n", 2, Partitions::new())).unwrap();
    assert_eq!(answer.assignment.unwrap()[&t].len(), 4 - left);
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Stable);
    assert_eq!(bench.groups.bytes(), bench.groups.count());
}

#[test]
fn a_member_that_holds_on_gives_up_before_others_get() {
    let mut bench = with_policy(Migration::Bidirectional);
    let ids = classic(&mut bench, &[&[0, 1, 2, 3]]);
    let t = bench.id("t");
    bench.beat(&joins("n", &["t"])).unwrap();
    // A cooperative one stays at its generation until it has given up what it must.
    assert_eq!(bench.heartbeat(&membership(&ids[0], 1)), Err(GroupError::RebalanceInProgress));
    assert_eq!(bench.joined(&again(&ids[0], &[0, 1, 2, 3])).generation, 1);
    let kept = bench.fetch(&ids[0], 1).unwrap();
    assert_eq!(kept, of(t, [0, 1]));
    assert_eq!(bench.beat(&owns("n", 2, Partitions::new())).unwrap().assignment, None);
    assert_eq!(bench.heartbeat(&membership(&ids[0], 1)), Err(GroupError::RebalanceInProgress));
    assert_eq!(bench.joined(&again(&ids[0], &[0, 1])).generation, 2);
    assert_eq!(bench.fetch(&ids[0], 2).unwrap(), kept);
    assert_eq!(bench.beat(&owns("n", 2, Partitions::new())).unwrap().assignment, Some(of(t, [2, 3])));
    // The other way round: a classic member waits for what one of the newer protocol holds.
    bench.pass_seconds(2);
    bench.beat(&owns("n", 2, of(t, [2, 3]))).unwrap();
    assert_eq!(bench.heartbeat(&membership(&ids[0], 2)), Ok(()));
    let answer = bench.joined(&joiner("late"));
    assert_eq!((answer.error, answer.generation), (None, 3));
    let late = answer.member_id;
    assert_eq!(bench.fetch(&late, 3).unwrap(), Partitions::new());
    assert_eq!(bench.heartbeat(&membership(&late, 3)), Ok(()), "what it waits for is held");
    assert_eq!(bench.joined(&again(&ids[0], &[0, 1])).generation, 3, "it gives nothing up");
    let answer = bench.beat(&owns("n", 2, of(t, [2, 3]))).unwrap();
    if let Some(less) = answer.assignment {
        bench.beat(&owns("n", answer.member_epoch, less)).unwrap();
    }
    assert_eq!(bench.heartbeat(&membership(&late, 3)), Err(GroupError::RebalanceInProgress));
    assert_eq!(bench.joined(&again(&late, &[])).generation, 3);
    assert_eq!(bench.fetch(&late, 3).unwrap()[&t].len(), 1);
}

#[test]
fn what_can_t_be_upgraded_stays_a_classic_group() {
    let refused = |bench: &mut Bench| match bench.beat(&joins("n", &["t"])) {
        Err(GroupError::CannotUpgrade(reason)) => reason,
        other => panic!("{other:?}"),
    };
    for policy in [Migration::Disabled, Migration::Downgrade] {
        let mut bench = with_policy(policy);
        classic(&mut bench, &[&[0]]);
        assert_eq!(refused(&mut bench), "online upgrade is disabled.");
    }
    let mut bench = with_policy(Migration::Upgrade);
    bench.join(&JoinRequest { protocol_type: "connect".to_owned(), ..joiner("c") });
    assert!(refused(&mut bench).contains("does not use the consumer embedded protocol"));
    let mut bench = with_policy(Migration::Upgrade);
    bench.join(&JoinRequest {
        protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::new() }],
        ..joiner("c")
    });
    assert!(refused(&mut bench).contains("is malformed"));
    let mut bench = with_policy(Migration::Upgrade);
    let ticket = bench.join(&joiner("c"));
    bench.pass_seconds(3);
    let id = bench.join_answer(ticket).unwrap().member_id;
    let custom = ConsumerProtocolAssignment { user_data: Some("x".into()), ..ConsumerProtocolAssignment::default() };
    let assignments = vec![(id.clone(), encoded(1, &custom))];
    bench.sync(&SyncRequest { member: membership(&id, 1), assignments, ..SyncRequest::default() });
    assert!(refused(&mut bench).contains("unsupported custom assignor"));
    bench.groups.options.consumer.members_max = 0;
    assert!(refused(&mut bench).contains("exceeds the consumer group maximum size"));
    assert_eq!(state(&bench), State::Stable);
    bench.restart();
    assert_eq!(state(&bench), State::Stable, "nothing of it was stored");
}

#[test]
fn who_waits_for_a_generation_is_told_to_join_again() {
    let mut bench = with_policy(Migration::Upgrade);
    let ticket = bench.join(&joiner("c"));
    bench.beat(&joins("n", &["t"])).unwrap();
    let answer = bench.join_answer(ticket).unwrap();
    assert_eq!(answer.error, Some(GroupError::RebalanceInProgress));
    assert_eq!(bench.epochs(), (2, 2));
    assert_eq!(bench.joined(&again(&answer.member_id, &[])).generation, 2);
    // In the middle of a rebalance members still hold what they were told last.
    let mut bench = with_policy(Migration::Upgrade);
    let ids = classic(&mut bench, &[&[0, 1], &[2, 3]]);
    bench.join(&joiner("late"));
    let ticket = bench.join(&again(&ids[0], &[0, 1]));
    assert!(bench.join_answer(ticket).is_none());
    bench.beat(&joins("n", &["t"])).unwrap();
    let assigned: Vec<usize> = bench
        .describe()
        .unwrap()
        .members
        .iter()
        .map(|member| member.assignment.iter().map(|it| it.partitions.len()).sum())
        .collect();
    assert_eq!(assigned, [2, 2, 0, 0]);
}

#[test]
fn the_last_member_of_the_newer_protocol_leaves_a_classic_group_behind() {
    let mut bench = with_policy(Migration::Downgrade);
    bench.beat(&joins("n", &["t"])).unwrap();
    bench.pass_seconds(2);
    let id = bench.joined(&joiner("c")).member_id;
    bench.fetch(&id, 2).unwrap();
    bench.commit(membership("n", 1), &[("t", 0)], true).unwrap();
    bench.beat(&beats("n", LEAVES)).unwrap();
    for _ in 0..2 {
        assert_eq!(state(&bench), State::PreparingRebalance);
        assert_eq!(bench.describe().unwrap_err(), GroupError::NotConsumer);
        assert_eq!(bench.heartbeat(&membership(&id, 2)), Err(GroupError::RebalanceInProgress));
        // What was to follow is not forgotten, nor by a copy of the log.
        let mut fx = crate::Effects::default();
        assert!(bench.groups.copy(&mut crate::CopyCursor::default(), 10_000, &mut fx));
        bench.log = fx.records;
        bench.restart();
    }
    let ticket = bench.join(&again(&id, &[]));
    let answer = bench.join_answer(ticket).unwrap();
    assert_eq!((answer.generation, answer.leader.as_str(), answer.members.len()), (3, id.as_str(), 1));
    bench.sync(&SyncRequest {
        member: membership(&id, 3),
        assignments: vec![(id.clone(), assignment(&[("t", &[0, 1, 2, 3])]))],
        ..SyncRequest::default()
    });
    bench.restart();
    assert_eq!(state(&bench), State::Stable);
    assert_eq!(bench.heartbeat(&membership(&id, 3)), Ok(()));
    assert_eq!(bench.groups.committed(GROUP).unwrap().len(), 1);
    assert_eq!(bench.groups.bytes(), bench.groups.count());
}

#[test]
fn whoever_is_fenced_last_downgrades_the_group_as_well() {
    let mut bench = with_policy(Migration::Bidirectional);
    bench.beat(&joins("n", &["t"])).unwrap();
    let id = bench.joined(&JoinRequest { session_timeout_ms: 100_000, ..joiner("c") }).member_id;
    assert_eq!(bench.fetch(&id, 1), Ok(Partitions::new()));
    bench.pass_seconds(46);
    assert_eq!(state(&bench), State::PreparingRebalance);
    // By an administrator's request, which names all that are to go.
    let mut bench = with_policy(Migration::Bidirectional);
    bench.beat(&joins("m", &["t"])).unwrap();
    bench.beat(&static_member(joins("n", &["t"]), "i")).unwrap();
    bench.joined(&joiner("c"));
    let leaving = |member_id: &str, instance_id: Option<&str>| LeavingMember {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
    };
    let left = bench.leave(&[leaving("m", None), leaving("x", None), leaving("", Some("i"))]);
    assert_eq!(left, [Ok(()), Err(GroupError::UnknownMember), Ok(())]);
    assert_eq!(state(&bench), State::PreparingRebalance);
    // And not where the policy says no, or nobody is left.
    let mut bench = with_policy(Migration::Upgrade);
    bench.beat(&joins("n", &["t"])).unwrap();
    let id = bench.joined(&joiner("c")).member_id;
    bench.fetch(&id, 1).unwrap();
    bench.beat(&beats("n", LEAVES)).unwrap();
    assert_eq!(bench.describe().unwrap().members.len(), 1);
    bench.pass_seconds(2);
    assert_eq!(bench.heartbeat(&membership(&id, 1)), Err(GroupError::RebalanceInProgress), "its join makes the target");
    let generation = bench.joined(&again(&id, &[])).generation;
    assert_eq!(bench.fetch(&id, generation).unwrap(), of(bench.id("t"), 0..4));
    bench.make_topic("t", 5);
    assert_eq!(bench.heartbeat(&membership(&id, generation)), Err(GroupError::RebalanceInProgress), "other topics");
    let generation = bench.joined(&again(&id, &[0, 1, 2, 3])).generation;
    bench.pass_seconds(2);
    assert_eq!(bench.heartbeat(&membership(&id, generation)), Err(GroupError::RebalanceInProgress));
    let generation = bench.joined(&again(&id, &[0, 1, 2, 3])).generation;
    assert_eq!(bench.fetch(&id, generation).unwrap(), of(bench.id("t"), 0..5));
    assert_eq!(bench.heartbeat(&membership(&id, generation)), Ok(()));
    bench.leave(&[leaving(&id, None)]);
    assert_eq!(bench.describe().unwrap().state, ConsumerState::Empty);
}

#[test]
fn a_static_member_changes_its_protocol_in_its_place() {
    let mut bench = with_policy(Migration::Bidirectional);
    let t = bench.id("t");
    bench.beat(&static_member(joins("n", &["t"]), "i")).unwrap();
    let classic = || JoinRequest { instance_id: Some("i".to_owned()), ..joiner("c") };
    let answer = bench.joined(&classic());
    assert_eq!((answer.error, answer.generation), (None, 1));
    // It had all, and has all: nothing is rebalanced.
    assert_eq!(state(&bench), State::Stable);
    assert_eq!(bench.fetch(&answer.member_id, 1), Ok(of(t, 0..4)));
    assert_eq!(bench.beat(&static_member(beats("n", 1), "i")), Err(GroupError::NotConsumer));
    let held = bench.beat(&static_member(joins("o", &["t"]), "i")).unwrap();
    assert_eq!((held.member_epoch, held.assignment), (1, Some(of(t, 0..4))));
    let old = Membership { instance_id: Some("i".to_owned()), ..membership(&answer.member_id, 1) };
    assert_eq!(bench.heartbeat(&old), Err(GroupError::FencedInstance));
    bench.restart();
    assert_eq!(bench.describe().unwrap().members.len(), 1);
    // With another subscription it is.
    bench.make_topic("u", 2);
    let other = bench.joined(&JoinRequest { protocols: vec![protocol("range", &["u"])], ..classic() });
    assert_eq!((state(&bench), other.error), (State::PreparingRebalance, None));
    assert_eq!(bench.fetch(&other.member_id, other.generation), Err(GroupError::RebalanceInProgress));
}

#[test]
fn classic_members_are_told_what_kafka_tells_them() {
    let mut bench = with_policy(Migration::Upgrade);
    bench.beat(&joins("n", &["t"])).unwrap();
    let two_steps = || JoinRequest { joins_in_two_steps: true, ..joiner("c") };
    let answer = bench.joined(&two_steps());
    assert_eq!(answer.error, Some(GroupError::MemberIdRequired));
    let id = answer.member_id;
    assert_eq!(bench.joined(&JoinRequest { member_id: id.clone(), ..two_steps() }).error, None);
    let error = |bench: &mut Bench, request: JoinRequest| bench.joined(&request).error.unwrap();
    let strange = JoinRequest { protocols: vec![protocol("mine", &["t"])], ..joiner("d") };
    assert_eq!(error(&mut bench, strange), GroupError::InconsistentProtocol);
    let connect = JoinRequest { protocol_type: "connect".to_owned(), ..joiner("d") };
    assert_eq!(error(&mut bench, connect), GroupError::InconsistentProtocol);
    let nothing = Protocol { name: "range".to_owned(), metadata: Bytes::new() };
    assert_eq!(
        error(&mut bench, JoinRequest { protocols: vec![nothing], ..joiner("d") }),
        GroupError::MalformedSubscription
    );
    let unknown = JoinRequest { member_id: "x".to_owned(), instance_id: Some("i".to_owned()), ..joiner("d") };
    assert_eq!(error(&mut bench, unknown), GroupError::UnknownMember);
    let said = |id: &str, protocol: &str| SyncRequest {
        member: membership(id, 1),
        protocol: Some(protocol.to_owned()),
        ..SyncRequest::default()
    };
    for (id, protocol, refused) in
        [(id.as_str(), "roundrobin", GroupError::InconsistentProtocol), ("n", "range", GroupError::UnknownMember)]
    {
        let ticket = bench.sync(&said(id, protocol));
        assert_eq!(bench.sync_answer(ticket).unwrap(), Err(refused));
    }
    assert_eq!(bench.fetch(&id, 7), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.heartbeat(&membership(&id, 7)), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.heartbeat(&membership("n", 1)), Err(GroupError::UnknownMember));
    // Offsets, by either kind; old clients of the classic protocol may go on.
    bench.commit(membership(&id, 1), &[("t", 0)], false).unwrap();
    assert_eq!(bench.commit(membership("n", 1), &[("t", 0)], false), Err(GroupError::NeedsMemberEpochs));
    assert_eq!(bench.commit(membership(&id, 7), &[("t", 0)], true), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.commit(membership("n", 7), &[("t", 0)], true), Err(GroupError::StaleMemberEpoch));
    assert_eq!(bench.groups.check_fetch(GROUP, Some(&id), 7), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.groups.check_fetch(GROUP, Some(&id), 1), Ok(()));
    bench.groups.options.consumer.members_max = 2;
    assert_eq!(error(&mut bench, joiner("d")), GroupError::Full);
}

#[test]
fn who_does_not_join_or_fetch_in_time_is_out() {
    let mut bench = with_policy(Migration::Upgrade);
    bench.beat(&joins("n", &["t"])).unwrap();
    let patient = || JoinRequest { session_timeout_ms: 60_000, ..joiner("c") };
    let id = bench.joined(&patient()).member_id;
    bench.pass_seconds(u64::try_from(REBALANCE_MS / 1000).unwrap() + 1);
    assert_eq!(bench.heartbeat(&membership(&id, 1)), Err(GroupError::UnknownMember), "it has not fetched");
    let answer = bench.joined(&patient());
    bench.fetch(&answer.member_id, answer.generation).unwrap();
    let member = membership(&answer.member_id, answer.generation);
    bench.pass_seconds(2);
    bench.beat(&joins("m", &["t"])).unwrap();
    assert_eq!(bench.heartbeat(&member), Err(GroupError::RebalanceInProgress));
    for _ in 0..7 {
        bench.pass_seconds(5);
        let _is_there = bench.heartbeat(&member).is_ok();
    }
    assert_eq!(bench.heartbeat(&member), Err(GroupError::UnknownMember), "it was told to join");
}

#[test]
fn a_member_changes_its_protocol_under_its_id() {
    let mut bench = with_policy(Migration::Upgrade);
    bench.beat(&joins("n", &["t"])).unwrap();
    bench.beat(&joins("m", &["t"])).unwrap();
    assert_eq!(bench.joined(&JoinRequest { member_id: "m".to_owned(), ..joiner("c") }).error, None);
    assert!(bench.describe().unwrap().members[0].is_classic);
    bench.restart();
    assert_eq!(bench.consumer().members()["m"].metadata.classic.as_ref().unwrap().session_timeout_ms, 10_000);
    bench.beat(&joins("m", &["t"])).unwrap();
    assert!(!bench.describe().unwrap().members[0].is_classic);
    bench.pass_seconds(40);
    assert_eq!(bench.describe().unwrap().members.len(), 2, "it has the newer protocol's session, and nothing to fetch");
}

/// As Kafka 4.3.1 does: it looks at who has not fetched, whatever that one speaks meanwhile.
#[test]
fn who_joins_by_the_classic_protocol_and_goes_on_with_the_newer_one_without_fetching_is_out() {
    let mut bench = with_policy(Migration::Upgrade);
    bench.beat(&joins("n", &["t"])).unwrap();
    let epoch = bench.beat(&joins("m", &["t"])).unwrap().member_epoch;
    let patient = JoinRequest { member_id: "m".to_owned(), session_timeout_ms: 60_000, ..joiner("c") };
    let answer = bench.joined(&patient);
    assert_eq!((answer.error, answer.generation), (None, epoch));
    let seconds = u64::try_from(REBALANCE_MS / 1000).unwrap();
    bench.pass_seconds(seconds / 2);
    bench.beat(&owns("m", epoch, Partitions::new())).unwrap();
    bench.beat(&beats("n", bench.consumer().members()["n"].current.epoch)).unwrap();
    assert!(!bench.consumer().members()["m"].is_classic());
    bench.pass_seconds(seconds - seconds / 2);
    assert_eq!(bench.beat(&beats("m", epoch)), Err(GroupError::UnknownMember));
    assert_eq!(bench.describe().unwrap().members.len(), 1);
}
