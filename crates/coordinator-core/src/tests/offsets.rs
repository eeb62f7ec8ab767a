//! Commits, deletions and what goes by itself.

use super::bench::{Bench, GROUP, joiner, membership, nobody};
use crate::{CommitRequest, Committed, Effects, GroupError, Membership, NewOffset};
use base::UnixMillis;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn delete(bench: &mut Bench, topic: &str) -> Result<(), GroupError> {
    let mut fx = Effects::default();
    let outcome = bench.groups.delete_offsets(GROUP, &[(topic.to_owned(), 0)], &mut fx);
    bench.take(fx);
    outcome.and_then(|outcomes| outcomes[0])
}

fn expire(bench: &mut Bench) {
    let mut fx = Effects::default();
    bench.groups.expire(bench.now.wall, &mut fx);
    bench.take(fx);
}

#[test]
fn a_client_without_a_group_commits_and_so_do_members_in_their_generation() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit(membership("m", 3), "t", 5), Err(GroupError::NotFound));
    assert_eq!(bench.commit(nobody(), "t", 5), Ok(()));
    bench.restart();
    assert_eq!(bench.committed("t"), Some(5));
    assert_eq!(bench.commit(membership("m", 0), "t", 6), Err(GroupError::UnknownMember));

    let ids = bench.stable(2);
    assert_eq!(bench.commit(nobody(), "t", 7), Err(GroupError::UnknownMember), "there are members");
    assert_eq!(bench.commit(membership(&ids[1], 0), "t", 7), Err(GroupError::IllegalGeneration));
    assert_eq!(bench.commit(membership(&ids[1], 1), "t", 7), Ok(()));
    let ticket = bench.join(&joiner("new"));
    assert_eq!(bench.commit(membership(&ids[1], 1), "t", 8), Ok(()), "before it joins again");
    bench.pass(Duration::from_secs(11));
    let generation = bench.joined(ticket).unwrap().generation;
    let newcomer = membership("new-unique-new", generation);
    assert_eq!(bench.commit(newcomer, "t", 9), Err(GroupError::RebalanceInProgress));
    bench.restart();
    assert_eq!(bench.committed("t"), Some(8));
}

#[test]
fn a_commit_tells_that_its_member_is_there() {
    let mut bench = Bench::new();
    let ids = bench.stable(1);
    for offset in 0..5 {
        bench.pass(Duration::from_secs(9));
        assert_eq!(bench.commit(membership(&ids[0], 1), "t", offset), Ok(()));
    }
}

#[test]
fn a_commit_takes_no_more_than_a_record_may() {
    let mut bench = Bench::new();
    let member = Membership { group: "g".repeat(30_000), ..nobody() };
    let offset = NewOffset { topic: "t".to_owned(), ..NewOffset::default() };
    let request = CommitRequest { member, offsets: vec![offset; 1000], knows_member_epochs: false };
    let mut fx = Effects::default();
    let outcomes = bench.groups.commit(bench.now, request, &mut fx).unwrap();
    let bytes = fx.records.iter().map(crate::CoordinatorRecord::len).sum::<usize>();
    assert!(bytes <= bench.groups.options.record_bytes_max, "{bytes}");
    let count = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert_eq!(count, fx.records.len());
    assert!(count > 100 && outcomes[count..].iter().all(|outcome| *outcome == Err(GroupError::NoRoom)));
}

#[test]
fn too_much_metadata_is_refused_alone() {
    let mut bench = Bench::new();
    let committed = |metadata: String| Committed { metadata, ..Committed::default() };
    let offset = |partition, metadata| NewOffset { topic: "t".to_owned(), partition, committed: committed(metadata) };
    let offsets = vec![offset(0, "x".repeat(4096)), offset(1, "x".repeat(4097))];
    let mut fx = Effects::default();
    let request = CommitRequest { member: nobody(), offsets, knows_member_epochs: true };
    let outcome = bench.groups.commit(bench.now, request, &mut fx);
    assert_eq!(outcome, Ok(vec![Ok(()), Err(GroupError::MetadataTooLarge)]));
    assert_eq!(fx.records.len(), 1);
    let member = Membership { group: "g".repeat(40_000), ..nobody() };
    let refused =
        bench.groups.commit(bench.now, CommitRequest { member, offsets: vec![], knows_member_epochs: true }, &mut fx);
    assert_eq!(refused, Err(GroupError::InvalidGroupId));
}

#[test]
fn only_what_nobody_consumes_is_deleted() {
    let mut bench = Bench::new();
    assert_eq!(delete(&mut bench, "t"), Err(GroupError::NotFound));
    bench.commit(nobody(), "t", 1).unwrap();
    bench.commit(nobody(), "other", 1).unwrap();
    let ids = bench.stable(1);
    assert_eq!(delete(&mut bench, "t"), Err(GroupError::Subscribed));
    assert_eq!(delete(&mut bench, "other"), Ok(()));
    assert_eq!(bench.groups.delete_group(GROUP, &mut Effects::default()), Err(GroupError::NotEmpty));
    bench.leave(&ids[0], None).unwrap();
    bench.restart();
    assert_eq!((bench.committed("other"), bench.committed("t")), (None, Some(1)));
    let mut fx = Effects::default();
    assert_eq!(bench.groups.delete_group(GROUP, &mut fx), Ok(()));
    assert_eq!(bench.groups.delete_group(GROUP, &mut fx), Err(GroupError::NotFound));
    bench.take(fx);
    bench.restart();
    assert_eq!(bench.groups.committed(GROUP), None);
}

#[test]
fn offsets_expire_when_the_group_has_been_empty_for_long() {
    let mut bench = Bench::new();
    bench.commit(nobody(), "t", 1).unwrap();
    bench.pass(6 * DAY);
    let ids = bench.stable(1);
    bench.leave(&ids[0], None).unwrap();
    bench.pass(6 * DAY);
    expire(&mut bench);
    assert_eq!(bench.committed("t"), Some(1), "what counts is when the last member left");
    bench.restart();
    bench.pass(DAY);
    expire(&mut bench);
    assert_eq!(bench.groups.committed(GROUP), None, "and the group goes with its last offset");
    bench.restart();
    assert_eq!(bench.groups.committed(GROUP), None);
}

#[test]
fn what_a_stable_group_no_longer_consumes_expires_by_its_commit() {
    let mut bench = Bench::new();
    bench.commit(nobody(), "t", 1).unwrap();
    bench.commit(nobody(), "given up", 1).unwrap();
    let ids = bench.stable(1);
    bench.now.wall = UnixMillis(bench.now.wall.0 + 8 * 24 * 3600 * 1000);
    expire(&mut bench);
    assert_eq!((bench.committed("t"), bench.committed("given up")), (Some(1), None));
    assert_eq!(bench.heartbeat(&membership(&ids[0], 1)), Ok(()));
}

#[test]
fn offsets_of_deleted_topics_go() {
    let mut bench = Bench::new();
    bench.commit(nobody(), "t", 1).unwrap();
    bench.commit(nobody(), "gone", 1).unwrap();
    let mut fx = Effects::default();
    bench.groups.forget_topics(|topic, _| topic == "gone", &mut fx);
    bench.take(fx);
    bench.restart();
    assert_eq!((bench.committed("t"), bench.committed("gone")), (Some(1), None));
}

/// A group with a name so long, and so many offsets, that all of their records would take some hundred megabytes.
fn with_a_long_name(count: i32) -> (Bench, String) {
    let mut bench = Bench::new();
    let id = "g".repeat(30_000);
    for partition in 0..count {
        let member = Membership { group: id.clone(), ..nobody() };
        let committed = Committed { committed_at: bench.now.wall, ..Committed::default() };
        let offset = NewOffset { topic: "t".to_owned(), partition, committed };
        let request = CommitRequest { member, offsets: vec![offset], ..CommitRequest::default() };
        let mut fx = Effects::default();
        bench.groups.commit(bench.now, request, &mut fx).unwrap();
        bench.take(fx);
    }
    bench.log.clear();
    (bench, id)
}

fn record_bytes(fx: &Effects) -> usize {
    fx.records.iter().map(crate::CoordinatorRecord::len).sum()
}

#[test]
fn a_group_with_a_long_name_is_deleted_in_pieces() {
    let (mut bench, id) = with_a_long_name(1000);
    for _ in 0..100 {
        let mut fx = Effects::default();
        let has_more = bench.groups.delete_some_offsets(&id, &mut fx).unwrap();
        assert!(record_bytes(&fx) <= 1 << 20);
        assert_eq!(bench.groups.bytes(), bench.groups.count());
        if !has_more {
            assert!(fx.records.is_empty());
            bench.groups.delete_group(&id, &mut fx).unwrap();
            assert!(record_bytes(&fx) <= 2 << 20);
            assert_eq!((bench.groups.committed(&id), bench.groups.bytes()), (None, 0));
            return;
        }
    }
    panic!("it is never done");
}

#[test]
fn what_expires_goes_in_pieces_where_names_are_long() {
    let (mut bench, id) = with_a_long_name(1000);
    let wall = UnixMillis(bench.now.wall.0 + 8 * 24 * 3600 * 1000);
    let mut looks = 0;
    while bench.groups.committed(&id).is_some() {
        let mut fx = Effects::default();
        bench.groups.expire(wall, &mut fx);
        assert!(record_bytes(&fx) <= 9 << 20);
        assert_eq!(bench.groups.are_behind(), bench.groups.committed(&id).is_some());
        looks += 1;
    }
    assert!((4..=6).contains(&looks), "{looks}");
    // The least that a record counts for bounds their number where names are short.
    let mut groups = crate::Groups::new(crate::GroupOptions::default());
    for partition in 0..40_000 {
        let offset = || NewOffset { topic: "t".to_owned(), partition, committed: Committed::default() };
        groups.put_transactional((7, 0), "g", offset());
    }
    let gone: Vec<usize> = (0..2)
        .map(|_| {
            let mut fx = Effects::default();
            groups.forget_topics(|_, _| true, &mut fx);
            assert_eq!(groups.are_behind(), fx.records.len() > 10_000);
            fx.records.len()
        })
        .collect();
    assert_eq!(gone, [32_768, 40_000 - 32_768], "those of an open transaction go as well");
    groups.end_transaction(7, true);
    assert!(groups.committed("g").is_none_or(|offsets| offsets.is_empty()));

    let (mut bench, id) = with_a_long_name(300);
    let mut fx = Effects::default();
    bench.groups.forget_topics(|_, _| true, &mut fx);
    assert!(bench.groups.are_behind() && record_bytes(&fx) <= 9 << 20);
    bench.groups.forget_topics(|_, _| true, &mut Effects::default());
    assert!(!bench.groups.are_behind() && bench.groups.committed(&id).unwrap().is_empty());
}
