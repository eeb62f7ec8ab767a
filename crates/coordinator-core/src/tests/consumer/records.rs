//! The records' bytes: as Kafka 4.3.1 writes them (`GroupCoordinatorRecordHelpers`, serialised by its own classes).

use crate::consumer::{Classic, Current, Held, Key, Metadata, Resolved, Value, hash_of_group, hash_of_topic};
use crate::record::Change;
use crate::{CoordinatorRecord, Groups, MemberState, Partitions, Protocol, RecordError, TopicInfo};
use base::{TopicId, UnixMillis};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(record: &CoordinatorRecord, key: &str, value: Option<&str>) {
    assert_eq!((hex(&record.key).as_str(), record.value.as_ref().map(|value| hex(value)).as_deref()), (key, value));
}

/// What is read back of a record.
fn value_of(record: &CoordinatorRecord) -> Value {
    match record.decode().unwrap() {
        Change::Consumer(change) => change.value.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn held(partition: i32, epoch: i32) -> Held {
    Held::from([(TopicId(3), BTreeMap::from([(partition, epoch)]))])
}

fn static_metadata() -> Metadata {
    Metadata {
        instance_id: Some("i".to_owned()),
        rack_id: Some("r".to_owned()),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        names: ["u", "t"].map(str::to_owned).into(),
        regex: "t.*".to_owned(),
        rebalance_timeout_ms: 45_000,
        assignor: Some("range".to_owned()),
        classic: None,
    }
}

#[test]
fn members_have_kafkas_bytes() {
    let metadata = static_metadata();
    let record = CoordinatorRecord::consumer_metadata("g", "m", &metadata);
    let value = "00000269027202630b2f3132372e302e302e31030274027504742e2a0000afc80672616e676501000100";
    check(&record, "000500016700016d", Some(value));
    assert_eq!(value_of(&record), Value::Metadata(metadata.clone()));
    let dynamic = Metadata {
        instance_id: None,
        rack_id: None,
        names: ["t".to_owned()].into(),
        regex: String::new(),
        assignor: None,
        ..metadata
    };
    let record = CoordinatorRecord::consumer_metadata("g", "m", &dynamic);
    check(&record, "000500016700016d", Some("0000000002630b2f3132372e302e302e31020274010000afc80001000100"));
    assert_eq!(value_of(&record), Value::Metadata(dynamic));
}

#[test]
fn members_of_the_classic_protocol_have_kafkas_bytes() {
    let protocol = |name: &str, metadata: &'static [u8]| Protocol {
        name: name.to_owned(),
        metadata: Bytes::from_static(metadata),
    };
    let protocols = vec![protocol("range", &[0, 1, 2]), protocol("cooperative-sticky", &[3])];
    let classic = Classic { session_timeout_ms: 10_000, protocols };
    let metadata = Metadata { regex: String::new(), assignor: None, classic: Some(classic), ..static_metadata() };
    let record = CoordinatorRecord::consumer_metadata("g", "m", &metadata);
    let said = "00000269027202630b2f3132372e302e302e310302740275010000afc800";
    let value = "0100280100002710030672616e6765040001020013636f6f70657261746976652d737469636b7902030000";
    check(&record, "000500016700016d", Some(&format!("{said}{value}")));
    assert_eq!(value_of(&record), Value::Metadata(metadata.clone()));
    let silent = Metadata { classic: Some(Classic::default()), ..metadata };
    let record = CoordinatorRecord::consumer_metadata("g", "m", &silent);
    check(&record, "000500016700016d", Some(&format!("{said}00")));
    assert_eq!(value_of(&record), Value::Metadata(silent));
}

#[test]
fn epochs_have_kafkas_bytes() {
    let record = CoordinatorRecord::consumer_epoch("g", 7, 0x0102_0304_0506_0708);
    check(&record, "0003000167", Some("0000000000070100080102030405060708"));
    assert_eq!(value_of(&record), Value::Epoch { epoch: 7, metadata_hash: 0x0102_0304_0506_0708 });
    check(&CoordinatorRecord::consumer_epoch("g", 7, 0), "0003000167", Some("00000000000700"));
    let at = UnixMillis(1_700_000_000_000);
    let record = CoordinatorRecord::consumer_target_epoch("g", 7, at);
    check(&record, "0006000167", Some("0000000000070100080000018bcfe56800"));
    assert_eq!(value_of(&record), Value::TargetEpoch { epoch: 7, at });
    check(&CoordinatorRecord::consumer_target_epoch("g", 7, UnixMillis(0)), "0006000167", Some("00000000000700"));
}

#[test]
fn assignments_have_kafkas_bytes() {
    let target = Partitions::from([(TopicId(3), [1].into())]);
    let record = CoordinatorRecord::consumer_target("g", "m", &target);
    check(&record, "000700016700016d", Some("0000020000000000000000000000000000000302000000010000"));
    assert_eq!(value_of(&record), Value::Target(target));
    let record = CoordinatorRecord::consumer_target("g", "m", &Partitions::new());
    check(&record, "000700016700016d", Some("00000100"));
    let current = Current {
        epoch: 5,
        previous_epoch: 4,
        state: MemberState::Unrevoked,
        assigned: held(1, 5),
        revoking: held(2, 3),
    };
    let record = CoordinatorRecord::consumer_current("g", "m", &current);
    let topic = |partition: &str, epoch: &str| {
        format!("02{}02{partition}010005{}{epoch}", "00000000000000000000000000000003", "02")
    };
    let value = "00000000000500000004".to_owned() + "01";
    let value = value + &topic("00000001", "00000005") + &topic("00000002", "00000003") + "00";
    check(&record, "000800016700016d", Some(&value));
    assert_eq!(value_of(&record), Value::Current(current));
    let joined = Current { epoch: 1, previous_epoch: 0, ..Current::default() };
    let record = CoordinatorRecord::consumer_current("g", "m", &joined);
    check(&record, "000800016700016d", Some("0000000000010000000000010100"));
}

#[test]
fn regexes_have_kafkas_bytes() {
    let resolved = Resolved { topics: ["t".to_owned()].into(), version: 9, at: UnixMillis(1_700_000_000_000) };
    let record = CoordinatorRecord::consumer_regex("g", "t.*", &resolved);
    check(&record, "00100001670003742e2a", Some("000002027400000000000000090000018bcfe5680000"));
    assert_eq!(value_of(&record), Value::Regex(resolved));
}

#[test]
fn what_is_taken_back_has_kafkas_keys() {
    let keys = [
        (Key::Epoch, "0003000167"),
        (Key::Partitions, "0004000167"),
        (Key::Metadata("m".to_owned()), "000500016700016d"),
        (Key::TargetEpoch, "0006000167"),
        (Key::Target("m".to_owned()), "000700016700016d"),
        (Key::Current("m".to_owned()), "000800016700016d"),
        (Key::Regex("t.*".to_owned()), "00100001670003742e2a"),
    ];
    for (key, bytes) in keys {
        check(&CoordinatorRecord::consumer_gone("g", &key), bytes, None);
    }
}

/// Kafka's own hashes (`Utils.computeTopicHash`, `Utils.computeGroupHash`).
#[test]
fn topics_have_kafkas_hashes() {
    let topic = |id: u64, partitions| TopicInfo {
        id: TopicId(u128::from(0x1122_3344_5566_7788_u64) << 64 | u128::from(id)),
        partitions,
    };
    assert_eq!(hash_of_topic("t", topic(3, 2)), 0xef7b_07f5_3723_f9d2);
    assert_eq!(hash_of_topic("a-longer-topic-name-with-ä", topic(99, 100)), 0x410c_e04a_36fc_7f38);
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(hash_of_group([(&b, 2), (&a, 1)].into_iter()), 0x07ee_86c2_8144_6bef);
    assert_eq!(hash_of_group([].into_iter()), 0);
}

#[test]
fn what_older_and_newer_brokers_write_is_read() {
    let value = |key: &Key, value: &[u8]| {
        let bytes = Bytes::copy_from_slice(value);
        CoordinatorRecord { value: Some(bytes), ..CoordinatorRecord::consumer_gone("g", key) }
    };
    // Kafka 4.0: without the epochs of partitions, and with a state to come.
    let mut bytes = vec![0, 0, 0, 0, 0, 5, 0, 0, 0, 4, 9, 2];
    bytes.extend([0; 15]);
    bytes.extend([3, 2, 0, 0, 0, 1, 0, 1, 0]);
    let Value::Current(current) = value_of(&value(&Key::Current("m".to_owned()), &bytes)) else { panic!() };
    assert_eq!((current.state, current.assigned), (MemberState::Unknown, held(1, 5)));
    let partitions = value(&Key::Partitions, &[0, 0, 1, 0]);
    assert_eq!(value_of(&partitions), Value::Partitions);
    let newer = value(&Key::Epoch, &[0, 1, 0, 0, 0, 1, 0]);
    assert_eq!(newer.decode().unwrap_err(), RecordError::Version(1));
    let unknown = CoordinatorRecord { key: Bytes::from_static(&[0, 99, 0, 1, b'g']), value: None };
    assert!(matches!(unknown.decode(), Ok(Change::Other)), "of another protocol");
}

#[test]
fn what_is_taken_back_of_nobody_makes_no_group() {
    let mut groups = Groups::default();
    for key in [Key::Epoch, Key::Partitions, Key::Metadata("m".to_owned()), Key::Current("m".to_owned())] {
        groups.replay(&CoordinatorRecord::consumer_gone("g", &key)).unwrap();
    }
    assert_eq!((groups.list().count(), groups.list_consumers().count()), (0, 0));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(kind in prop::sample::select(vec![3_u8, 4, 5, 6, 7, 8, 16]),
                                    named in any::<bool>(),
                                    value in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut key = vec![0, kind, 0, 1, b'g'];
        if named {
            key.extend([0, 1, b'm']);
        }
        let mut own_value = vec![0, 0];
        own_value.extend(value);
        let mut groups = Groups::default();
        let record = CoordinatorRecord { key: key.into(), value: Some(own_value.into()) };
        let _is_readable = groups.replay(&record).is_ok();
        groups.loaded(crate::Now::default());
        prop_assert_eq!(groups.bytes(), groups.count());
    }
}
