//! The records' bytes: as Kafka 4.3.1 writes them (`GroupCoordinatorRecordHelpers`, `ShareCoordinatorRecordHelpers`, serialised by its own
//! classes).

use crate::record::Change;
use crate::share::group::{Current, Key, Metadata, Named, StateTopics, Value};
use crate::share::state::{State, StateChange, Update, decode, snapshot_record, tombstone, update_record};
use crate::{
    CoordinatorRecord, Groups, Now, Partitions, RecordError, ShareStateKey, ShareStates, StateBatch,
    share_state_record_of_nothing,
};
use base::{TopicId, UnixMillis};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

const T3: &str = "00000000000000000000000000000003";
const T4: &str = "00000000000000000000000000000004";
const T5: &str = "00000000000000000000000000000005";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(record: &CoordinatorRecord, key: &str, value: Option<&str>) {
    assert_eq!((hex(&record.key).as_str(), record.value.as_ref().map(|value| hex(value)).as_deref()), (key, value));
}

/// What is read back of a record.
fn value_of(record: &CoordinatorRecord) -> Value {
    match record.decode().unwrap() {
        Change::Share(change) => change.value.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_have_kafkas_bytes() {
    let metadata = Metadata {
        rack_id: Some("r".to_owned()),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        names: ["u", "t"].map(str::to_owned).into(),
    };
    let record = CoordinatorRecord::share_metadata("g", "m", &metadata);
    check(&record, "000a00016700016d", Some("0000027202630b2f3132372e302e302e31030274027500"));
    assert_eq!(value_of(&record), Value::Metadata(metadata.clone()));
    let other = Metadata { rack_id: None, names: ["t".to_owned()].into(), ..metadata };
    let record = CoordinatorRecord::share_metadata("g", "m", &other);
    check(&record, "000a00016700016d", Some("00000002630b2f3132372e302e302e3102027400"));
    assert_eq!(value_of(&record), Value::Metadata(other));
}

#[test]
fn epochs_have_kafkas_bytes() {
    let record = CoordinatorRecord::share_epoch("g", 7, 0x0102_0304_0506_0708);
    check(&record, "000b000167", Some("000000000007010203040506070800"));
    assert_eq!(value_of(&record), Value::Epoch { epoch: 7, metadata_hash: 0x0102_0304_0506_0708 });
    check(&CoordinatorRecord::share_epoch("g", 7, 0), "000b000167", Some("000000000007000000000000000000"));
    let at = UnixMillis(1_700_000_000_000);
    let record = CoordinatorRecord::share_target_epoch("g", 7, at);
    check(&record, "000c000167", Some("0000000000070100080000018bcfe56800"));
    assert_eq!(value_of(&record), Value::TargetEpoch { epoch: 7, at });
    check(&CoordinatorRecord::share_target_epoch("g", 7, UnixMillis(0)), "000c000167", Some("00000000000700"));
}

#[test]
fn assignments_have_kafkas_bytes() {
    let target = Partitions::from([(TopicId(3), [1].into())]);
    let record = CoordinatorRecord::share_target("g", "m", &target);
    check(&record, "000d00016700016d", Some(&format!("000002{T3}02000000010000")));
    assert_eq!(value_of(&record), Value::Target(target.clone()));
    check(&CoordinatorRecord::share_target("g", "m", &Partitions::new()), "000d00016700016d", Some("00000100"));
    let current = Current { epoch: 5, previous_epoch: 4, assigned: target };
    let record = CoordinatorRecord::share_current("g", "m", &current);
    check(&record, "000e00016700016d", Some(&format!("000000000005000000040002{T3}02000000010000")));
    assert_eq!(value_of(&record), Value::Current(current));
    let joined = Current { epoch: 1, previous_epoch: 0, ..Current::default() };
    let record = CoordinatorRecord::share_current("g", "m", &joined);
    check(&record, "000e00016700016d", Some("00000000000100000000000100"));
}

#[test]
fn topics_have_kafkas_bytes() {
    let named = |topic: u128, name: &str, partitions: &[i32]| {
        let named = Named { name: name.to_owned(), partitions: partitions.iter().copied().collect() };
        BTreeMap::from([(TopicId(topic), named)])
    };
    let topics = StateTopics {
        initializing: named(3, "t", &[0, 1]),
        initialized: named(4, "u", &[2]),
        deleting: [(TopicId(5), "v".to_owned())].into(),
    };
    let record = CoordinatorRecord::share_topics("g", &topics);
    let value = "000002".to_owned() + T3 + "027403" + "00000000" + "00000001" + "00";
    let value = value + "02" + T4 + "027502" + "00000002" + "00" + "02" + T5 + "027600" + "00";
    check(&record, "000f000167", Some(&value));
    assert_eq!(value_of(&record), Value::Topics(topics));
    let record = CoordinatorRecord::share_topics("g", &StateTopics::default());
    check(&record, "000f000167", Some("000001010100"));
}

#[test]
fn what_is_taken_back_has_kafkas_keys() {
    let keys = [
        (Key::Metadata("m".to_owned()), "000a00016700016d"),
        (Key::Epoch, "000b000167"),
        (Key::TargetEpoch, "000c000167"),
        (Key::Target("m".to_owned()), "000d00016700016d"),
        (Key::Current("m".to_owned()), "000e00016700016d"),
        (Key::Topics, "000f000167"),
    ];
    let mut groups = Groups::default();
    for (key, bytes) in keys {
        let record = CoordinatorRecord::share_gone("g", &key);
        check(&record, bytes, None);
        groups.replay(&record).unwrap();
    }
    assert_eq!((groups.list().count(), groups.list_shares().count()), (0, 0), "it makes no group");
}

fn key() -> ShareStateKey {
    ShareStateKey { group: "g".into(), topic: TopicId(3), partition: 1 }
}

#[test]
fn states_have_kafkas_bytes() {
    let batch = |first_offset, last_offset, delivery_state, delivery_count| StateBatch {
        first_offset,
        last_offset,
        delivery_state,
        delivery_count,
    };
    let state = State {
        snapshot_epoch: 2,
        state_epoch: 3,
        leader_epoch: 4,
        start_offset: 10,
        delivery_complete_count: 9,
        created_at: UnixMillis(1_700_000_000_000),
        written_at: UnixMillis(1_700_000_000_001),
        batches: vec![batch(10, 19, 0, 1), batch(21, 29, 2, 3)],
    };
    let batches = "03".to_owned() + "000000000000000a" + "0000000000000013" + "00" + "0001" + "00";
    let batches = batches + "0000000000000015" + "000000000000001d" + "02" + "0003" + "00";
    let count = "01000400000009";
    let record = snapshot_record(&key(), &state);
    let times = "0000018bcfe56800".to_owned() + "0000018bcfe56801";
    let value = "0000".to_owned() + "00000002" + "00000003" + "00000004" + "000000000000000a" + &times;
    let state_key = format!("0000000167{T3}00000001");
    check(&record, &state_key, Some(&(value + &batches + count)));
    assert_eq!(decode(&record).unwrap(), StateChange::Snapshot(key(), Some(state.clone())));
    let update = Update {
        snapshot_epoch: 2,
        leader_epoch: 4,
        start_offset: 10,
        delivery_complete_count: 9,
        batches: state.batches.clone(),
    };
    let record = update_record(&key(), &update);
    let value = "0000".to_owned() + "00000002" + "00000004" + "000000000000000a" + &batches + count;
    check(&record, &format!("0001000167{T3}00000001"), Some(&value));
    assert_eq!(decode(&record).unwrap(), StateChange::Update(key(), Some(update)));
    check(&tombstone(&key()), &state_key, None);
    let begun = State {
        snapshot_epoch: 0,
        leader_epoch: 0,
        start_offset: -1,
        delivery_complete_count: -1,
        written_at: UnixMillis(1_700_000_000_000),
        batches: vec![],
        ..state
    };
    let record = snapshot_record(&key(), &begun);
    let value = "0000".to_owned() + "00000000" + "00000003" + "00000000" + "ffffffffffffffff";
    check(&record, &state_key, Some(&(value + "0000018bcfe56800" + "0000018bcfe56800" + "0100")));
    assert_eq!(decode(&record).unwrap(), StateChange::Snapshot(key(), Some(begun)));
}

/// Kafka's choice of a partition (`ShareCoordinatorService.partitionFor`).
#[test]
fn share_partitions_lie_where_kafka_puts_them() {
    let place = |group: &str, topic: u128, partition| {
        ShareStateKey { group: group.into(), topic: TopicId(topic), partition }.state_partition(50)
    };
    assert_eq!(place("g", 3, 1), 4);
    assert_eq!(place("group:x", 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00, 17), 36);
    assert_eq!(place("gruppe-ä", u128::MAX - 1, 0), 0);
    let key = ShareStateKey {
        group: "group:x".into(),
        topic: TopicId(0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00),
        partition: 17,
    };
    assert_eq!(key.to_string(), "group:x:ESIzRFVmd4iZqrvM3e7_AA:17");
}

#[test]
fn what_is_newer_is_refused_or_passed_over() {
    let newer = |record: &CoordinatorRecord| CoordinatorRecord {
        value: Some(Bytes::from_static(&[0, 1, 0, 0])),
        ..record.clone()
    };
    let epoch = newer(&CoordinatorRecord::share_gone("g", &Key::Epoch));
    assert_eq!(epoch.decode().unwrap_err(), RecordError::Version(1));
    assert_eq!(decode(&newer(&tombstone(&key()))), Err(RecordError::Version(1)));
    let mut states = ShareStates::default();
    states.replay(&share_state_record_of_nothing()).unwrap();
    assert!(states.are_all_there_is() && states.is_empty());
    states.replay(&CoordinatorRecord { key: Bytes::from_static(&[0, 2]), value: None }).unwrap();
    assert!(!states.are_all_there_is());
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(kind in 10_u8..16,
                                    named in any::<bool>(),
                                    value in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut key = vec![0, kind, 0, 1, b'g'];
        if named {
            key.extend([0, 1, b'm']);
        }
        let mut own_value = vec![0, 0];
        own_value.extend(&value);
        let mut groups = Groups::default();
        let record = CoordinatorRecord { key: key.into(), value: Some(own_value.clone().into()) };
        let _is_readable = groups.replay(&record).is_ok();
        groups.loaded(Now::default());
        prop_assert_eq!(groups.bytes(), groups.count());
        let mut states = ShareStates::default();
        for record in [tombstone(&self::key()), update_record(&self::key(), &Update {
            snapshot_epoch: 0, leader_epoch: 0, start_offset: 0, delivery_complete_count: 0, batches: vec![],
        })] {
            let record = CoordinatorRecord { value: Some(own_value.clone().into()), ..record };
            let _is_readable = states.replay(&record).is_ok();
            prop_assert_eq!(states.bytes(), states.count());
        }
    }
}
