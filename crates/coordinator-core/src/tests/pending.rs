//! Offsets in transactions: who may commit them, when they count, and that a log says the same after each step, copied or not.

use super::bench::{Bench, GROUP, membership, nobody};
use crate::{
    Committed, CoordinatorRecord, CopyCursor, Effects, GroupError, GroupOptions, Groups, Membership, NewOffset,
    TransactionalCommit,
};
use base::{Seed, UnixMillis};

fn offset(topic: &str, partition: i32, offset: i64) -> NewOffset {
    let committed = Committed { offset, leader_epoch: -1, committed_at: UnixMillis(offset), ..Committed::default() };
    NewOffset { topic: topic.to_owned(), partition, committed }
}

fn check(bench: &Bench, member: Membership) -> Result<(), GroupError> {
    let offsets = vec![offset("t", 0, 1)];
    let request = TransactionalCommit { member, producer_id: 7, producer_epoch: 0, offsets };
    bench.groups.check_transactional(&request).and_then(|outcomes| outcomes[0])
}

#[test]
fn a_member_commits_in_its_generation_and_who_says_nothing_always() {
    let mut bench = Bench::new();
    assert_eq!(check(&bench, nobody()), Ok(()), "without a group");
    assert_eq!(check(&bench, membership("m", 0)), Err(GroupError::IllegalGeneration));
    assert_eq!(check(&bench, Membership::default()), Err(GroupError::InvalidGroupId));
    let ids = bench.stable(2);
    assert_eq!(check(&bench, nobody()), Ok(()), "older clients can't say more");
    assert_eq!(check(&bench, membership(&ids[0], 1)), Ok(()));
    assert_eq!(check(&bench, membership(&ids[0], 0)), Err(GroupError::IllegalGeneration));
    assert_eq!(check(&bench, membership("m", 1)), Err(GroupError::UnknownMember));
}

#[test]
fn what_waits_keeps_its_group_and_goes_with_its_offset() {
    let mut groups = Groups::new(GroupOptions::default());
    let mut fx = Effects::default();
    groups.put_transactional((7, 0), GROUP, offset("t", 0, 5));
    groups.expire(UnixMillis(i64::MAX), &mut fx);
    assert!(fx.records.is_empty() && groups.committed(GROUP).is_some());
    assert_eq!(groups.unstable(GROUP).len(), 1);
    assert_eq!(groups.delete_offsets(GROUP, &[("t".to_owned(), 0)], &mut fx), Ok(vec![Ok(())]));
    assert_eq!(fx.records.len(), 1, "taken back though it does not count yet");
    groups.end_transaction(7, true);
    assert!(groups.committed(GROUP).unwrap().is_empty());
    groups.put_transactional((7, 1), GROUP, offset("t", 0, 6));
    assert_eq!(groups.delete_group(GROUP, &mut fx), Ok(()));
    groups.end_transaction(7, true);
    assert!(groups.committed(GROUP).is_none());
    groups.put_transactional((7, 2), GROUP, offset("t", 0, 7));
    groups.forget_topics(|_, _| true, &mut fx);
    groups.end_transaction(7, true);
    assert!(groups.committed(GROUP).unwrap().is_empty());
    assert_eq!(groups.bytes(), groups.count());
}

/// What is in a log.
#[derive(Debug, Clone)]
enum Entry {
    Record(CoordinatorRecord),
    Transactional((i64, i16), CoordinatorRecord),
    Marker(i64, bool),
}

fn replayed<'a>(log: impl Iterator<Item = &'a Entry>) -> Groups {
    let mut groups = Groups::new(GroupOptions::default());
    for entry in log {
        match entry {
            Entry::Record(record) => groups.replay(record).unwrap(),
            Entry::Transactional(producer, record) => groups.replay_transactional(record, *producer).unwrap(),
            Entry::Marker(producer_id, commits) => groups.end_transaction(*producer_id, *commits),
        }
    }
    groups
}

/// What is committed, if all transactions that are open end like that.
fn told(mut groups: Groups, commits: bool) -> Vec<(String, i32, i64)> {
    for producer_id in 0..3 {
        groups.end_transaction(producer_id, commits);
    }
    let all = groups.committed(GROUP).into_iter().flatten();
    all.flat_map(|(topic, them)| them.iter().map(|(it, committed)| (topic.clone(), *it, committed.offset))).collect()
}

#[test]
fn a_log_says_what_was_decided_after_each_step_also_where_it_begins_with_a_copy() {
    for seed in 0..300 {
        let mut seed = Seed::new(seed);
        let mut groups = Groups::new(GroupOptions::default());
        let mut log: Vec<Entry> = Vec::new();
        let mut copy: Option<(CopyCursor, usize)> = None;
        for step in 0..60_i64 {
            let mut fx = Effects::default();
            let producer_id = i64::try_from(seed.below(3)).unwrap();
            let new = offset(if seed.below(2) == 0 { "t" } else { "u" }, i32::try_from(seed.below(2)).unwrap(), step);
            match seed.below(10) {
                0..=1 => {
                    let request =
                        crate::CommitRequest { member: nobody(), offsets: vec![new], knows_member_epochs: true };
                    groups.commit(crate::Now::default(), request, &mut fx).unwrap();
                }
                2..=4 => {
                    log.push(Entry::Transactional((producer_id, 0), new.record(GROUP)));
                    groups.put_transactional((producer_id, 0), GROUP, new);
                }
                5..=6 => {
                    let commits = seed.below(3) > 0;
                    log.push(Entry::Marker(producer_id, commits));
                    groups.end_transaction(producer_id, commits);
                }
                7 => {
                    if groups.committed(GROUP).is_some() {
                        groups.delete_offsets(GROUP, &[(new.topic, new.partition)], &mut fx).unwrap();
                    }
                }
                _ => {
                    let (mut cursor, begin) = copy.take().unwrap_or((CopyCursor::default(), log.len()));
                    let is_whole = groups.copy(&mut cursor, 1, &mut fx);
                    copy = if is_whole { None } else { Some((cursor, begin)) };
                    if is_whole {
                        take(&mut log, &mut fx);
                        log.drain(..begin);
                    }
                }
            }
            take(&mut log, &mut fx);
            assert_eq!(groups.bytes(), groups.count());
            for commits in [true, false] {
                let found = told(replayed(log.iter()), commits);
                let live = told(groups.clone(), commits);
                assert_eq!(found, live, "step {step}, {commits}: {log:?}");
            }
        }
    }
}

fn take(log: &mut Vec<Entry>, fx: &mut Effects) {
    log.extend(std::mem::take(&mut fx.records).into_iter().map(Entry::Record));
    let transactional = std::mem::take(&mut fx.transactional).into_iter();
    log.extend(transactional.map(|(producer, record)| Entry::Transactional(producer, record)));
}
