//! Offsets of consumer groups: who may commit and ask, what is deleted, what expires.

use super::bench::{Bench, GROUP, beats, joins, membership, of, owns};
use crate::{Effects, GroupError, LEAVES};
use base::UnixMillis;

fn two() -> Bench {
    let mut bench = Bench::new(&[("t", 2), ("u", 1)]);
    bench.beat(&joins("a", &["t"])).unwrap();
    bench.pass_seconds(2);
    bench.beat(&joins("b", &["t"])).unwrap();
    let topic = bench.id("t");
    bench.beat(&owns("a", 1, of(topic, 0..2))).unwrap();
    bench
}

#[test]
fn a_member_commits_at_its_epoch_or_at_one_since_which_it_holds_the_partition() {
    let mut bench = two();
    let topic = bench.id("t");
    assert_eq!(bench.commit(membership("a", 1), &[("t", 0), ("t", 1), ("u", 0)], true), Ok(()));
    assert_eq!(bench.commit(membership("a", 2), &[("t", 0)], true), Err(GroupError::StaleMemberEpoch));
    assert_eq!(bench.commit(membership("a", 1), &[("t", 0)], false), Err(GroupError::NeedsMemberEpochs));
    assert_eq!(bench.commit(membership("c", 1), &[("t", 0)], true), Err(GroupError::UnknownMember));
    assert_eq!(bench.commit(membership("", -1), &[("t", 0)], true), Err(GroupError::UnknownMember));
    bench.beat(&owns("a", 1, of(topic, [0]))).unwrap();
    bench.beat(&beats("b", 2)).unwrap();
    assert_eq!(bench.commit(membership("a", 1), &[("t", 0)], true), Ok(()), "held since epoch 1");
    assert_eq!(bench.commit(membership("a", 1), &[("t", 1)], true), Err(GroupError::StaleMemberEpoch), "given up");
    assert_eq!(bench.commit(membership("a", 1), &[("t", 0), ("u", 0)], true), Err(GroupError::StaleMemberEpoch));
    assert_eq!(bench.commit(membership("b", 1), &[("t", 1)], true), Err(GroupError::StaleMemberEpoch), "since epoch 2");
    assert_eq!(bench.commit(membership("b", 2), &[("t", 1)], true), Ok(()));
}

#[test]
fn others_commit_while_nobody_is_in_the_group() {
    let mut bench = two();
    bench.beat(&beats("a", LEAVES)).unwrap();
    bench.beat(&beats("b", LEAVES)).unwrap();
    assert_eq!(bench.commit(membership("", -1), &[("t", 0)], true), Ok(()));
    assert_eq!(bench.commit(membership("a", 1), &[("t", 0)], true), Err(GroupError::UnknownMember));
}

#[test]
fn a_member_asks_at_its_epoch() {
    let bench = two();
    let check = |member, epoch| bench.groups.check_fetch(GROUP, member, epoch);
    assert_eq!(check(None, -1), Ok(()));
    assert_eq!(check(Some("a"), 1), Ok(()));
    assert_eq!(check(Some("a"), 2), Err(GroupError::StaleMemberEpoch));
    assert_eq!(check(Some("c"), 1), Err(GroupError::UnknownMember));
    assert_eq!(check(None, 1), Err(GroupError::UnknownMember));
    assert_eq!(bench.groups.check_fetch("other", Some("a"), 7), Ok(()));
}

#[test]
fn offsets_of_subscribed_topics_stay() {
    let mut bench = two();
    bench.commit(membership("a", 1), &[("t", 0), ("u", 0)], true).unwrap();
    let mut fx = Effects::default();
    let partitions = [("t".to_owned(), 0), ("u".to_owned(), 0)];
    let outcomes = bench.groups.delete_offsets(GROUP, &partitions, &mut fx).unwrap();
    assert_eq!(outcomes, [Err(GroupError::Subscribed), Ok(())]);
    bench.commit(membership("a", 1), &[("u", 0)], true).unwrap();
    let later = UnixMillis(bench.now.wall.0 + 8 * 24 * 3_600_000);
    bench.groups.expire(later, &mut fx);
    let topics: Vec<&String> = bench.groups.committed(GROUP).unwrap().keys().collect();
    assert_eq!(topics, ["t"]);
}

#[test]
fn a_group_without_members_and_offsets_goes() {
    let mut bench = two();
    bench.commit(membership("a", 1), &[("t", 0)], true).unwrap();
    let mut fx = Effects::default();
    assert_eq!(bench.groups.delete_group(GROUP, &mut fx), Err(GroupError::NotEmpty));
    bench.beat(&beats("a", LEAVES)).unwrap();
    bench.beat(&beats("b", LEAVES)).unwrap();
    bench.groups.expire(bench.now.wall, &mut fx);
    assert!(bench.describe().is_ok(), "its offsets are young");
    let later = UnixMillis(bench.now.wall.0 + 8 * 24 * 3_600_000);
    bench.groups.expire(later, &mut fx);
    assert_eq!(bench.describe().unwrap_err(), GroupError::NotFound);
    bench.log.extend(fx.records);
    bench.restart();
    assert_eq!((bench.groups.list_consumers().count(), bench.groups.list().count()), (0, 0));
}
