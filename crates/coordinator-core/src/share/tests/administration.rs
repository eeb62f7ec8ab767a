//! What administrators see and do: groups are described, their offsets altered and deleted, and they themselves.

use super::bench::{Bench, GROUP, beats, joins, leaves};
use crate::consumer::NamedPartitions;
use crate::{
    AlterOutcome, DeletionRefused, GroupError, NewStartOffset, OffsetsDeletion, OffsetsQuestion, ShareOffset,
    ShareState, ShareStateError, StateDeletion, StateInitialization, StateSummary, StateWrite, told_offset,
};

/// A group that has had a member with all of `t`, which is gone.
fn left_alone(partitions: i32) -> Bench {
    let mut bench = Bench::new(&[("t", partitions)]);
    bench.beat_through(&joins("a", &["t"]));
    bench.beat(&leaves("a")).unwrap();
    bench
}

fn offset(topic: &str, partition: i32, start_offset: i64) -> NewStartOffset {
    NewStartOffset { topic: topic.to_owned(), partition, start_offset }
}

type Altered = Result<(Vec<AlterOutcome>, Option<StateInitialization>), GroupError>;

fn alter(bench: &mut Bench, offsets: &[NewStartOffset]) -> Altered {
    bench.at_groups(|groups, now, topics, fx| groups.alter_share_offsets(now, topics, GROUP, offsets, fx))
}

fn delete_offsets(bench: &mut Bench, names: &[&str]) -> Result<OffsetsDeletion, GroupError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    bench.at_groups(|groups, _, topics, fx| groups.begin_deleting_share_offsets(GROUP, &names, topics, fx))
}

fn begin_deleting(bench: &mut Bench) -> Result<Option<StateDeletion>, GroupError> {
    bench.at_groups(|groups, _, topics, fx| groups.begin_deleting_share_group(GROUP, topics, fx))
}

fn delete_group(bench: &mut Bench) -> Result<(), GroupError> {
    bench.at_groups(|groups, _, _, fx| groups.delete_group(GROUP, fx))
}

fn summary(bench: &Bench, partition: i32) -> StateSummary {
    let key = bench.key("t", partition);
    super::bench::with(&bench.topics, 0, |topics| bench.states.summary(topics, &key)).unwrap()
}

#[test]
fn groups_are_listed_and_described() {
    let mut bench = Bench::new(&[("t", 2)]);
    let describe =
        |bench: &mut Bench, id: &str| bench.at_groups(|groups, _, topics, _| groups.describe_share(id, topics));
    assert_eq!(describe(&mut bench, GROUP), Err(GroupError::NotFound));
    bench.beat_through(&joins("a", &["t"]));
    bench.pass_seconds(1);
    bench.beat(&beats("a", 2)).unwrap();
    let described = describe(&mut bench, GROUP).unwrap();
    assert_eq!((described.state, described.assignor), (ShareState::Stable, "simple"));
    assert_eq!((described.epoch, described.assignment_epoch), (3, 3));
    let member = &described.members[0];
    assert_eq!((member.member_id.as_str(), member.epoch, member.client_id.as_str()), ("a", 3, "c"));
    assert_eq!((member.client_host.as_str(), &member.names), ("/127.0.0.1", &vec!["t".to_owned()]));
    let all = NamedPartitions { topic: bench.id("t"), name: "t".to_owned(), partitions: vec![0, 1] };
    assert_eq!(member.assignment, [all]);
    bench.beat(&leaves("a")).unwrap();
    let described = describe(&mut bench, GROUP).unwrap();
    assert_eq!((described.state.name(), described.members.len()), ("Empty", 0));
    assert_eq!(bench.groups.list_shares().map(|it| it.state.name()).collect::<Vec<_>>(), ["Empty"]);
}

#[test]
fn offsets_are_altered_in_a_group_without_members() {
    let mut bench = Bench::new(&[("t", 2)]);
    let offsets = [offset("t", 1, 7), offset("t", 2, 7), offset("u", 0, 7), offset("t", 0, -1)];
    let (outcomes, initialization) = alter(&mut bench, &offsets).unwrap();
    let unknown = AlterOutcome::UnknownPartition;
    assert_eq!(outcomes, [AlterOutcome::Asked(bench.id("t")), unknown, unknown, AlterOutcome::InvalidOffset]);
    bench.carry(&initialization.unwrap());
    assert_eq!(bench.groups.list_shares().count(), 1, "a group that is not there is made");
    let altered = summary(&bench, 1);
    assert_eq!((altered.start_offset, altered.delivery_complete_count, altered.state_epoch), (7, 0, 2));
    let (_, again) = alter(&mut bench, &[offset("t", 1, 9)]).unwrap();
    let again = again.unwrap();
    bench.carry(&again);
    assert_eq!((summary(&bench, 1).start_offset, bench.epochs().0), (9, 3));
    // Who joins goes on there, and only the other partition is initialised.
    let asked = bench.beat_through(&joins("a", &["t"])).initialize.unwrap();
    assert_eq!(asked.start_offsets[&bench.id("t")].keys().copied().collect::<Vec<i32>>(), [0]);
    let key = bench.key("t", 1);
    let read = bench.read(&key, 0).unwrap();
    assert_eq!((read.start_offset, read.state_epoch), (9, 3));
    let write =
        StateWrite { state_epoch: 3, leader_epoch: 0, start_offset: 12, delivery_complete_count: 0, batches: vec![] };
    bench.write(&key, &write).unwrap();
    bench.carry(&again);
    assert_eq!(summary(&bench, 1).start_offset, 12, "a late repeat does not take it back");
    assert_eq!(alter(&mut bench, &[offset("t", 1, 9)]), Err(GroupError::NotEmpty));
    assert_eq!(alter(&mut Bench::new(&[]), &[]), Ok((vec![], None)));
}

#[test]
fn offsets_are_asked_for_and_told() {
    let bench = left_alone(2);
    let question = |asked: Option<&[(String, Vec<i32>)]>| {
        super::bench::with(&bench.topics, 0, |topics| bench.groups.share_offsets_question(GROUP, asked, topics))
    };
    let known = |partitions| NamedPartitions { topic: bench.id("t"), name: "t".to_owned(), partitions };
    assert_eq!(question(None), OffsetsQuestion { known: vec![known(vec![0, 1])], unknown: vec![] });
    let asked = [("t".to_owned(), vec![5]), ("u".to_owned(), vec![0])];
    let both = OffsetsQuestion { known: vec![known(vec![5])], unknown: vec![("u".to_owned(), vec![0])] };
    assert_eq!(question(Some(&asked)), both);
    let nothing = ShareOffset { start_offset: -1, leader_epoch: 0, lag: -1 };
    assert_eq!(told_offset(None, None), nothing);
    assert_eq!(told_offset(Some(Err(ShareStateError::NoRoom)), Some(9)), nothing);
    assert_eq!(told_offset(Some(Ok(summary(&bench, 0))), Some(9)), nothing);
    let summary = StateSummary { state_epoch: 1, leader_epoch: 4, start_offset: 10, delivery_complete_count: 3 };
    let told = ShareOffset { start_offset: 10, leader_epoch: 4, lag: 7 };
    assert_eq!(told_offset(Some(Ok(summary)), Some(20)), told);
    let uncounted = StateSummary { delivery_complete_count: -1, ..summary };
    assert_eq!(told_offset(Some(Ok(uncounted)), Some(20)), ShareOffset { lag: -1, ..told });
}

#[test]
fn offsets_are_deleted_topic_by_topic() {
    let mut bench = left_alone(2);
    bench.make_topic("u", 1);
    let refused =
        vec![("u".to_owned(), DeletionRefused::NothingThere), ("v".to_owned(), DeletionRefused::UnknownTopic)];
    let begun = delete_offsets(&mut bench, &["t", "u", "v"]).unwrap();
    assert_eq!(begun.refused, refused);
    // What is deleted is lost, or can't be: it is deleted again.
    let again = delete_offsets(&mut bench, &["t"]).unwrap();
    assert_eq!(again.deletion, begun.deletion);
    bench.restart();
    let again = delete_offsets(&mut bench, &["t", "t"]).unwrap().deletion;
    assert_eq!(again, begun.deletion);
    assert!(bench.delete_all(&again.unwrap()));
    let topic = bench.id("t");
    bench.at_groups(|groups, _, _, fx| groups.share_deleted(GROUP, [topic], fx));
    assert_eq!((bench.states.len(), bench.share().topics().deleting.len()), (0, 0));
    let refused = vec![("t".to_owned(), DeletionRefused::NothingThere)];
    assert_eq!(delete_offsets(&mut bench, &["t"]), Ok(OffsetsDeletion { refused, deletion: None }));
    bench.beat_through(&joins("a", &["t"]));
    assert_eq!(bench.states.len(), 2, "who joins begins anew");
    assert_eq!(delete_offsets(&mut bench, &["t"]), Err(GroupError::NotEmpty));
}

#[test]
fn what_was_being_deleted_is_initialised_anew() {
    let mut bench = left_alone(1);
    delete_offsets(&mut bench, &["t"]).unwrap();
    let answer = bench.beat(&joins("a", &["t"])).unwrap();
    assert!(bench.share().topics().deleting.is_empty());
    bench.carry(&answer.initialize.unwrap());
    assert_eq!(summary(&bench, 0).state_epoch, bench.epochs().0);
}

#[test]
fn a_group_is_deleted_in_two_steps() {
    let mut bench = Bench::new(&[("t", 2)]);
    assert_eq!(begin_deleting(&mut bench), Err(GroupError::NotFound));
    bench.beat_through(&joins("a", &["t"]));
    assert_eq!(begin_deleting(&mut bench), Err(GroupError::NotEmpty));
    assert_eq!(delete_group(&mut bench), Err(GroupError::NotEmpty));
    bench.beat(&leaves("a")).unwrap();
    assert_eq!(delete_group(&mut bench), Err(GroupError::NotEmpty), "the share coordinator keeps something of it");
    let deletion = begin_deleting(&mut bench).unwrap().unwrap();
    bench.restart();
    assert_eq!(begin_deleting(&mut bench).unwrap().as_ref(), Some(&deletion), "again, as it was not done");
    assert!(bench.delete_all(&deletion));
    delete_group(&mut bench).unwrap();
    assert_eq!((bench.groups.list_shares().count(), bench.states.len(), bench.groups.bytes()), (0, 0, 0));
    bench.restart();
    assert_eq!(bench.groups.list_shares().count(), 0);
    assert_eq!(bench.groups.next_deadline(), None);
    // One that has nothing is deleted at once; topics that are gone do not hold it up.
    let mut bench = left_alone(1);
    bench.delete_topic("t");
    assert_eq!(begin_deleting(&mut bench), Ok(None));
    delete_group(&mut bench).unwrap();
}
