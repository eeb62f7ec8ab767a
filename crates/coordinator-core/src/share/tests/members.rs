//! Members come, subscribe, are shared out to, and go.

use super::bench::{Bench, GROUP, beats, joins, leaves, of};
use crate::{
    GroupError, GroupOptions, LEAVES, Partitions, ShareGroupOptions, ShareHeartbeatRequest, UNINITIALIZED_OFFSET,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn a_member_has_partitions_once_they_are_initialised() {
    let mut bench = Bench::new(&[("t", 2)]);
    let topic = bench.id("t");
    let answer = bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!((answer.member_id.as_str(), answer.member_epoch, answer.heartbeat_interval_ms), ("a", 2, 5_000));
    assert_eq!(answer.assignment, Some(Partitions::new()), "there is nothing to keep progress in yet");
    let initialization = answer.initialize.unwrap();
    assert_eq!((initialization.group.as_str(), initialization.state_epoch), (GROUP, 2));
    let offsets = BTreeMap::from([(0, UNINITIALIZED_OFFSET), (1, UNINITIALIZED_OFFSET)]);
    assert_eq!(initialization.start_offsets, BTreeMap::from([(topic, offsets)]));
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!((answer.assignment, answer.initialize), (None, None), "it is waited for");
    bench.carry(&initialization);
    // The next target is made when the last one is a second old.
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment, bench.epochs()), (2, None, (3, 2)));
    bench.pass_seconds(1);
    let answer = bench.beat(&beats("a", 2)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (3, Some(of(topic, 0..2))));
    let records = bench.log.len();
    let answer = bench.beat(&beats("a", 3)).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment, answer.initialize), (3, None, None));
    assert_eq!(bench.log.len(), records, "a heartbeat that changes nothing appends nothing");
}

/// A group of one topic in which these members have their partitions.
fn settled(partitions: i32, members: &[&str]) -> Bench {
    let mut bench = Bench::new(&[("t", partitions)]);
    members.iter().for_each(|id| drop(bench.beat_through(&joins(id, &["t"]))));
    settle(&mut bench);
    bench
}

fn settle(bench: &mut Bench) {
    for _ in 0..3 {
        bench.pass_seconds(1);
        let epochs: Vec<(String, i32)> =
            bench.share().members().iter().map(|(id, member)| (id.clone(), member.current.epoch)).collect();
        epochs.iter().for_each(|(id, epoch)| drop(bench.beat_through(&beats(id, *epoch))));
    }
}

#[test]
fn more_members_than_partitions_share_them() {
    let bench = settled(2, &["a", "b", "c", "d"]);
    let topic = bench.id("t");
    let mut counts = BTreeMap::new();
    for id in ["a", "b", "c", "d"] {
        let assigned = bench.assigned(id);
        assert_eq!(assigned[&topic].len(), 1);
        *counts.entry(assigned[&topic].clone()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<i32>>(), [2, 2]);
}

#[test]
fn requests_are_refused_as_kafka_refuses_them() {
    let mut bench = Bench::new(&[("t", 1)]);
    let invalid = |text| Err(GroupError::Invalid(text));
    let with = |change: fn(&mut ShareHeartbeatRequest)| {
        let mut request = joins("a", &["t"]);
        change(&mut request);
        request
    };
    assert_eq!(bench.beat(&with(|it| it.member_id.clear())), invalid("MemberId can't be empty."));
    assert_eq!(bench.beat(&with(|it| it.group = " ".to_owned())), invalid("GroupId can't be empty."));
    assert_eq!(bench.beat(&with(|it| it.rack_id = Some(String::new()))), invalid("RackId can't be empty."));
    let names = "SubscribedTopicNames must be set in first request.";
    assert_eq!(bench.beat(&with(|it| it.names = None)), invalid(names));
    assert_eq!(bench.beat(&with(|it| it.names = Some(vec![]))), invalid(names));
    assert_eq!(bench.beat(&with(|it| it.member_epoch = -2)), invalid("MemberEpoch is invalid."));
    assert_eq!(bench.beat(&with(|it| it.member_id = "m".repeat(40_000))), Err(GroupError::InvalidRequest));
    for request in [beats("a", 1), leaves("a")] {
        assert_eq!(bench.beat(&request), Err(GroupError::NotFound));
    }
    bench.beat(&joins("a", &["t"])).unwrap();
    for request in [beats("b", 1), leaves("b")] {
        assert_eq!(bench.beat(&request), Err(GroupError::UnknownMember));
    }
}

#[test]
fn a_member_speaks_at_its_epoch_or_the_one_before() {
    let mut bench = settled(2, &["a", "b"]);
    bench.beat(&leaves("b")).unwrap();
    settle(&mut bench);
    let epoch = bench.epochs().0;
    assert_eq!(bench.beat(&beats("a", epoch - 1)).unwrap().member_epoch, epoch, "its last answer was lost");
    for other in [epoch - 2, epoch + 1] {
        assert_eq!(bench.beat(&beats("a", other)), Err(GroupError::FencedMemberEpoch));
    }
    let answer = bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!((answer.member_epoch, answer.assignment), (epoch, Some(of(bench.id("t"), 0..2))), "it begins anew");
}

#[test]
fn who_leaves_or_is_silent_is_out() {
    let mut bench = settled(4, &["a", "b", "c"]);
    let epoch = bench.epochs().0;
    let answer = bench.beat(&leaves("b")).unwrap();
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms, answer.assignment), (LEAVES, 0, None));
    assert_eq!(bench.epochs(), (epoch + 1, epoch));
    bench.pass_seconds(40);
    bench.beat(&beats("a", epoch)).unwrap();
    bench.pass_seconds(10);
    assert_eq!(bench.share().members().keys().collect::<Vec<&String>>(), ["a"], "c was not heard of");
    settle(&mut bench);
    assert_eq!(bench.assigned("a"), of(bench.id("t"), 0..4));
    bench.pass_seconds(60);
    assert_eq!(bench.groups.list_shares().count(), 1, "a group without members stays");
    bench.at_groups(|groups, now, _, fx| groups.expire(now.wall, fx));
    assert_eq!(bench.groups.list_shares().count(), 1);
}

#[test]
fn a_group_has_room_for_so_many() {
    let share = ShareGroupOptions { members_max: 1, ..ShareGroupOptions::default() };
    let mut bench = Bench::with(GroupOptions { share, ..GroupOptions::default() }, &[("t", 1)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    assert_eq!(bench.beat(&joins("b", &["t"])), Err(GroupError::Full));
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.groups.set_room(0);
    assert_eq!(bench.beat(&joins("a", &["t", "u"])), Err(GroupError::Full));
    bench.beat(&beats("a", 2)).unwrap();
    let options = GroupOptions { record_bytes_max: 1_000, ..GroupOptions::default() };
    let mut bench = Bench::with(options, &[("t", 1), ("u", 1_000)]);
    assert_eq!(bench.beat(&joins("a", &["t".repeat(2_000).as_str()])), Err(GroupError::RecordTooLarge));
    let answer = bench.beat(&joins("a", &["t", "u"])).unwrap();
    let asked: Vec<_> = answer.initialize.unwrap().start_offsets.into_keys().collect();
    assert_eq!(asked, [bench.id("t")], "the other one is too large for the group's record");
}

#[test]
fn a_change_of_subscription_takes_away_at_once() {
    let mut bench = settled(2, &["a"]);
    bench.make_topic("u", 1);
    let epoch = bench.epochs().0;
    let request = ShareHeartbeatRequest { names: joins("a", &["u"]).names, ..beats("a", epoch) };
    let answer = bench.beat_through(&request);
    assert_eq!(answer.assignment, Some(Partitions::new()));
    settle(&mut bench);
    assert_eq!(bench.assigned("a"), of(bench.id("u"), 0..1));
}

#[test]
fn new_partitions_and_new_topics_are_initialised_and_shared_out() {
    let mut bench = settled(1, &["a"]);
    bench.make_topic("t", 3);
    let answer = bench.beat_through(&beats("a", bench.epochs().0));
    let asked = answer.initialize.unwrap().start_offsets;
    assert_eq!(asked[&bench.id("t")].keys().copied().collect::<Vec<i32>>(), [1, 2]);
    settle(&mut bench);
    assert_eq!(bench.assigned("a"), of(bench.id("t"), 0..3));
    let before = bench.id("t");
    bench.delete_topic("t");
    bench.make_topic("t", 1);
    settle(&mut bench);
    assert_ne!(bench.id("t"), before);
    assert_eq!(bench.assigned("a"), of(bench.id("t"), 0..1), "of that name another one");
    bench.hear_of_topics();
    assert_eq!(bench.share().topics().initialized.keys().copied().collect::<Vec<_>>(), [bench.id("t")]);
    assert_eq!(bench.states.len(), 1);
}

#[test]
fn a_newcomers_topics_are_initialised_while_a_target_is_young() {
    let mut bench = settled(2, &["a"]);
    bench.make_topic("u", 1);
    bench.beat_through(&joins("b", &["t"]));
    let answer = bench.beat(&joins("c", &["t", "u"])).unwrap();
    assert_eq!(bench.epochs(), (5, 4));
    assert_eq!(answer.initialize.unwrap().start_offsets.into_keys().collect::<Vec<_>>(), [bench.id("u")]);
}

#[test]
fn the_share_coordinator_is_asked_again() {
    let mut bench = Bench::new(&[("t", 1)]);
    let first = bench.beat(&joins("a", &["t"])).unwrap().initialize.unwrap();
    bench.pass_seconds(29);
    assert_eq!(bench.beat(&beats("a", 2)).unwrap().initialize, None);
    bench.pass_seconds(1);
    let second = bench.beat(&beats("a", 2)).unwrap().initialize.unwrap();
    assert_eq!(second, first, "after half a minute without an answer");
    bench.restart();
    let third = bench.beat(&beats("a", 2)).unwrap().initialize.unwrap();
    assert_eq!(third, first, "after a takeover at once");
    bench.tell(2, &[(bench.id("t"), 0, false)]);
    let fourth = bench.beat(&beats("a", 2)).unwrap().initialize.unwrap();
    assert_eq!(fourth, first, "where it could not");
    // Asked at another epoch since: the first one's answer no longer counts, as the second one may undo what follows.
    bench.pass_seconds(30);
    let fifth = bench.beat_through(&joins("b", &["t"]));
    assert_eq!(fifth.initialize.unwrap().state_epoch, 3);
    let mut bench = Bench::new(&[("t", 1)]);
    let first = bench.beat(&joins("a", &["t"])).unwrap().initialize.unwrap();
    bench.pass_seconds(30);
    let second = bench.beat(&joins("b", &["t"])).unwrap().initialize.unwrap();
    assert_eq!((first.state_epoch, second.state_epoch), (2, 3));
    bench.carry(&first);
    assert!(bench.share().topics().initialized.is_empty());
    bench.carry(&second);
    assert!(bench.share().topics().initializing.is_empty());
}

#[test]
fn a_group_has_configs_of_its_own() {
    let mut bench = Bench::new(&[("t", 1)]);
    bench.configs.set("share.heartbeat.interval.ms", "15000").unwrap();
    bench.configs.set("share.session.timeout.ms", "60000").unwrap();
    bench.configs.set("share.assignment.interval.ms", "0").unwrap();
    let answer = bench.beat_through(&joins("a", &["t"]));
    assert_eq!(answer.heartbeat_interval_ms, 15_000);
    let answer = bench.beat_through(&beats("a", 2));
    assert_eq!(answer.assignment, Some(of(bench.id("t"), 0..1)), "without an interval");
    let end = bench.groups.next_deadline().unwrap();
    assert_eq!(end, bench.now.at.plus(Duration::from_secs(60)));
}

#[test]
fn after_a_takeover_a_member_has_the_session_of_its_group() {
    for (session, is_there) in [(None, false), (Some(Duration::from_secs(60)), true)] {
        let mut bench = settled(1, &["a"]);
        bench.restart();
        let now = bench.now;
        bench.groups.share_loaded(now, |group| session.filter(|_| group == GROUP));
        bench.pass_seconds(50);
        assert_eq!(bench.share().members().contains_key("a"), is_there, "{session:?}");
    }
}
