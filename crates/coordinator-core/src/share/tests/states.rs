//! The share coordinator's rules, one by one.

use super::bench::{Bench, GROUP};
use crate::{
    CoordinatorRecord, ShareStateCursor, ShareStateEffects, ShareStateError, ShareStateKey, ShareStateOptions,
    ShareStates, StateBatch, StateRead, StateSummary, StateWrite, UNINITIALIZED_OFFSET,
};
use bytes::Bytes;

fn acknowledged(first_offset: i64, last_offset: i64) -> StateBatch {
    StateBatch { first_offset, last_offset, delivery_state: 2, delivery_count: 1 }
}

fn write(state_epoch: i32, leader_epoch: i32, start_offset: i64, batches: &[StateBatch]) -> StateWrite {
    StateWrite { state_epoch, leader_epoch, start_offset, delivery_complete_count: 0, batches: batches.to_vec() }
}

fn begun(state_epoch: i32) -> (Bench, ShareStateKey) {
    let mut bench = Bench::new(&[("t", 2)]);
    let key = bench.key("t", 0);
    bench.initialize(&key, state_epoch, UNINITIALIZED_OFFSET).unwrap();
    (bench, key)
}

fn summary(bench: &Bench, key: &ShareStateKey) -> Result<StateSummary, ShareStateError> {
    super::bench::with(&bench.topics, 0, |topics| bench.states.summary(topics, key))
}

#[test]
fn what_was_written_is_read() {
    let (mut bench, key) = begun(3);
    let fresh = StateRead { state_epoch: 3, start_offset: UNINITIALIZED_OFFSET, batches: vec![] };
    assert_eq!(bench.read(&key, 5), Ok(fresh));
    bench.write(&key, &write(3, 5, 10, &[acknowledged(12, 14)])).unwrap();
    bench.write(&key, &write(3, 5, -1, &[acknowledged(15, 15), acknowledged(9, 10)])).unwrap();
    let batches = vec![acknowledged(10, 10), acknowledged(12, 15)];
    let read = StateRead { state_epoch: 3, start_offset: 10, batches };
    assert_eq!(bench.read(&key, -1), Ok(read.clone()));
    bench.restart_states();
    assert_eq!(bench.read(&key, 5), Ok(read));
    bench.write(&key, &write(3, 5, 14, &[])).unwrap();
    assert_eq!(bench.read(&key, 5).unwrap().batches, [acknowledged(14, 15)], "what lies before the start is forgotten");
    let told = StateSummary { state_epoch: 3, leader_epoch: 5, start_offset: 14, delivery_complete_count: 0 };
    assert_eq!(summary(&bench, &key), Ok(told));
    let other = bench.key("t", 1);
    assert_eq!(summary(&bench, &other), Ok(StateSummary::default()));
}

#[test]
fn requests_are_refused_as_kafka_refuses_them() {
    let (mut bench, key) = begun(3);
    bench.read(&key, 5).unwrap();
    let invalid = |text| Err(ShareStateError::Invalid(text));
    let negative = ShareStateKey { partition: -1, ..key.clone() };
    let text = "The partition id cannot be a negative number.";
    assert_eq!(bench.write(&negative, &write(3, 5, 0, &[])), invalid(text));
    assert_eq!(bench.read(&negative, 5).unwrap_err(), ShareStateError::Invalid(text));
    assert_eq!(bench.initialize(&negative, 3, 0), invalid(text));
    assert_eq!(bench.delete(&negative), invalid(text));
    assert_eq!(summary(&bench, &negative).unwrap_err(), ShareStateError::Invalid(text));
    let other = bench.key("t", 1);
    let text = "Write operation on uninitialized share partition not allowed.";
    assert_eq!(bench.write(&other, &write(3, 5, 0, &[])), invalid(text));
    let text = "Read operation on uninitialized share partition not allowed.";
    assert_eq!(bench.read(&other, 5).unwrap_err(), ShareStateError::Invalid(text));
    for partition in [2, 7] {
        let unknown = bench.key("t", partition);
        for start_offset in [0, -2] {
            assert_eq!(bench.initialize(&unknown, 3, start_offset), Err(ShareStateError::UnknownPartition));
        }
        assert_eq!(bench.delete(&unknown), Err(ShareStateError::UnknownPartition));
        assert_eq!(summary(&bench, &unknown), Err(ShareStateError::UnknownPartition));
    }
    assert!(bench.write(&key, &write(3, 5, 0, &[acknowledged(9, 8)])).is_err());
    assert!(bench.write(&key, &write(3, 5, -2, &[])).is_err());
    assert!(bench.initialize(&key, 9, -2).is_err());
    let nameless = ShareStateKey { group: "".into(), ..key.clone() };
    assert!(bench.initialize(&nameless, 9, 0).is_err());
    bench.delete_topic("t");
    assert_eq!(bench.write(&key, &write(3, 5, 0, &[])), Err(ShareStateError::UnknownPartition));
    assert_eq!(bench.read(&key, 5), Err(ShareStateError::UnknownPartition));
}

#[test]
fn older_leaders_and_older_epochs_are_fenced() {
    let (mut bench, key) = begun(3);
    bench.read(&key, 5).unwrap();
    let fenced = Err(ShareStateError::FencedLeaderEpoch);
    assert_eq!(bench.write(&key, &write(3, 4, 0, &[])), fenced);
    assert_eq!(bench.read(&key, 4).unwrap_err(), ShareStateError::FencedLeaderEpoch);
    // A leader is one that has read; a write says nothing of that.
    bench.write(&key, &write(3, 6, 0, &[])).unwrap();
    bench.write(&key, &write(3, 5, 0, &[])).unwrap();
    bench.write(&key, &write(-1, -1, 0, &[])).unwrap();
    bench.initialize(&key, 4, 7).unwrap();
    assert_eq!(bench.write(&key, &write(3, 5, 9, &[])), Err(ShareStateError::FencedStateEpoch));
    assert_eq!(bench.initialize(&key, 3, 0), Err(ShareStateError::FencedStateEpoch));
    assert_eq!(bench.read(&key, 4).unwrap_err(), ShareStateError::FencedLeaderEpoch, "a new state fences as before");
    bench.restart_states();
    assert_eq!(bench.read(&key, 4).unwrap_err(), ShareStateError::FencedLeaderEpoch);
    let told = StateSummary { state_epoch: 4, leader_epoch: 5, start_offset: 7, delivery_complete_count: 0 };
    assert_eq!(summary(&bench, &key), Ok(told));
}

#[test]
fn a_repeated_initialisation_changes_nothing() {
    let (mut bench, key) = begun(3);
    bench.write(&key, &write(3, 0, 10, &[acknowledged(12, 14)])).unwrap();
    let records = bench.state_log.len();
    bench.initialize(&key, 3, UNINITIALIZED_OFFSET).unwrap();
    assert_eq!((bench.state_log.len(), bench.read(&key, 0).unwrap().start_offset), (records, 10));
    bench.initialize(&key, 4, UNINITIALIZED_OFFSET).unwrap();
    let anew = StateRead { state_epoch: 4, start_offset: UNINITIALIZED_OFFSET, batches: vec![] };
    assert_eq!(bench.read(&key, 0), Ok(anew));
}

#[test]
fn there_is_a_snapshot_after_so_many_updates() {
    let (mut bench, key) = begun(1);
    for offset in 0..8 {
        bench.write(&key, &write(1, 0, offset, &[])).unwrap();
    }
    let kinds: Vec<u8> = bench.state_log.iter().map(|record| record.key[1]).collect();
    assert_eq!(kinds, [0, 1, 1, 1, 0, 1, 1, 1, 0]);
    let epoch = |record: &CoordinatorRecord| record.value.as_ref().unwrap()[5];
    assert_eq!(bench.state_log.iter().map(epoch).collect::<Vec<u8>>(), [0, 0, 0, 0, 1, 1, 1, 1, 2]);
    bench.restart_states();
    bench.write(&key, &write(1, 0, 9, &[])).unwrap();
    assert_eq!(bench.state_log.last().unwrap().key[1], 1);
}

#[test]
fn what_is_deleted_is_gone() {
    let (mut bench, key) = begun(3);
    bench.delete(&key).unwrap();
    bench.delete(&key).unwrap();
    assert_eq!((bench.state_log.len(), bench.states.len(), bench.states.bytes()), (2, 0, 0));
    bench.initialize(&key, 1, 4).unwrap();
    bench.restart_states();
    assert_eq!(bench.read(&key, 0).unwrap().start_offset, 4, "and its epochs are");
    bench.delete_topic("t");
    bench.hear_of_topics();
    assert!(bench.states.is_empty());
    bench.restart_states();
    assert!(bench.states.is_empty());
}

#[test]
fn there_is_room_for_so_much() {
    let (mut bench, key) = begun(1);
    let batches: Vec<StateBatch> = (0..100).map(|it| acknowledged(2 * it, 2 * it)).collect();
    bench.states.set_room(100);
    assert_eq!(bench.write(&key, &write(1, 0, 0, &batches)), Err(ShareStateError::NoRoom));
    let other = bench.key("t", 1);
    assert_eq!(bench.initialize(&other, 1, 0), Err(ShareStateError::NoRoom));
    bench.write(&key, &write(1, 0, 0, &batches[..1])).unwrap();
    bench.states.set_room(usize::MAX);
    bench.state_options = ShareStateOptions { record_bytes_max: 1_000, ..ShareStateOptions::default() };
    bench.restart_states();
    assert_eq!(bench.write(&key, &write(1, 0, 0, &batches)), Err(ShareStateError::RecordTooLarge));
}

#[test]
fn a_copy_holds_everything() {
    let mut bench = Bench::new(&[("t", 9)]);
    for partition in 0..9 {
        let key = bench.key("t", partition);
        bench.initialize(&key, 1, 0).unwrap();
        bench.write(&key, &write(1, 0, i64::from(partition), &[acknowledged(20, 30)])).unwrap();
    }
    let begin = bench.state_log.len();
    let mut cursor = ShareStateCursor::default();
    let mut slices = 0;
    loop {
        let mut fx = ShareStateEffects::default();
        let is_whole = bench.states.copy(&mut cursor, 300, &mut fx);
        bench.state_log.extend(fx.records);
        slices += 1;
        // Between two slices it goes on.
        let key = bench.key("t", slices);
        bench.write(&key, &write(1, 0, 15, &[])).unwrap();
        if is_whole {
            break;
        }
    }
    let before: Vec<_> = (0..9).map(|partition| summary(&bench, &bench.key("t", partition))).collect();
    bench.state_log.drain(..begin);
    bench.restart_states();
    let after: Vec<_> = (0..9).map(|partition| summary(&bench, &bench.key("t", partition))).collect();
    assert_eq!(before, after);
    assert!((2..9).contains(&slices), "{slices}");
}

/// Kafka's update without a snapshot, as a log whose beginning is gone may have it.
#[test]
fn an_update_without_a_snapshot_is_all_there_is() {
    let mut states = ShareStates::default();
    let (mut bench, key) = begun(3);
    bench.write(&key, &write(3, 0, 7, &[])).unwrap();
    states.replay(&bench.state_log[1]).unwrap();
    let told = super::bench::with(&bench.topics, 0, |topics| states.summary(topics, &key)).unwrap();
    assert_eq!((told.start_offset, told.state_epoch), (7, 0));
    states.replay(&CoordinatorRecord { value: None, ..bench.state_log[1].clone() }).unwrap();
    assert_eq!(states.len(), 1);
    states.replay(&CoordinatorRecord { key: Bytes::new(), value: None }).unwrap_err();
    assert_eq!(&*key.group, GROUP);
}

/// What Kafka 4.3.1 answered to these, one after the other. Who writes does not come to lead by that, and -1 is nobody.
#[test]
fn a_read_by_an_older_leader_is_fenced_as_by_kafka() {
    let (mut bench, key) = begun(1);
    let is_fenced = |outcome: Result<StateRead, ShareStateError>| outcome == Err(ShareStateError::FencedLeaderEpoch);
    for (leader_epoch, fenced) in [(0, false), (-1, false), (6, false), (7, false), (5, true), (9, false), (8, true)] {
        assert_eq!(is_fenced(bench.read(&key, leader_epoch)), fenced, "leader epoch {leader_epoch}");
        if leader_epoch == -1 {
            bench.write(&key, &write(1, 7, -1, &[])).unwrap();
        }
    }
    assert_eq!(bench.write(&key, &write(1, 8, -1, &[])), Err(ShareStateError::FencedLeaderEpoch));
    bench.initialize(&key, 2, 0).unwrap();
    bench.restart_states();
    assert!(is_fenced(bench.read(&key, 3)), "a new state of the group, and a takeover, change nothing of that");
    assert_eq!(bench.read(&key, 9).map(|state| state.state_epoch), Ok(2));
}
