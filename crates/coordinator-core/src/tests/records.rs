//! The records' bytes: Kafka's, so that its tools and a broker of its own can read them.

use super::bench::Bench;
use crate::record::Change;
use crate::{Committed, CoordinatorRecord, Groups, RecordError};
use base::{TopicId, UnixMillis};
use bytes::Bytes;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as Kafka 4.3.1 writes them (`GroupCoordinatorRecordHelpers`, serialised by its own classes).
#[test]
fn offsets_have_kafkas_bytes() {
    let committed = Committed {
        offset: 258,
        leader_epoch: 7,
        metadata: "m".to_owned(),
        committed_at: UnixMillis(1),
        expires_at: None,
        topic: TopicId(3),
    };
    let record = CoordinatorRecord::offset("g", "t", 2, Some(&committed));
    assert_eq!(hex(&record.key), "0001000167000174".to_owned() + "00000002");
    let value = "0004".to_owned() + "0000000000000102" + "00000007" + "026d" + "0000000000000001";
    let topic = "01".to_owned() + "0010" + "00000000000000000000000000000003";
    assert_eq!(hex(record.value.as_ref().unwrap()), value.clone() + &topic);
    let nameless = Committed { topic: TopicId::default(), ..committed.clone() };
    let record = CoordinatorRecord::offset("g", "t", 2, Some(&nameless));
    assert_eq!(hex(record.value.as_ref().unwrap()), value + "00");
    let expiring = Committed { expires_at: Some(UnixMillis(9)), ..nameless };
    let record = CoordinatorRecord::offset("g", "t", 2, Some(&expiring));
    let value = "0001".to_owned() + "0000000000000102" + "00016d" + "0000000000000001" + "0000000000000009";
    assert_eq!(hex(record.value.as_ref().unwrap()), value);
}

#[test]
fn groups_have_kafkas_bytes() {
    let mut bench = Bench::new();
    bench.stable(1);
    let empty = &bench.log[0];
    assert_eq!(hex(&empty.key), "0002000167");
    let since = format!("{:016x}", 1_700_000_000_000_i64);
    let nobody = "0003".to_owned() + "0000" + "00000000" + "ffff" + "ffff" + &since + "00000000";
    assert_eq!(hex(empty.value.as_ref().unwrap()), nobody);
    let text = |text: &str| format!("{:04x}{}", text.len(), hex(text.as_bytes()));
    let bytes = |bytes: &[u8]| format!("{:08x}{}", bytes.len(), hex(bytes));
    let stable = bench.log.last().unwrap().value.as_ref().unwrap();
    let since = hex(&stable[2 + 10 + 4 + 7 + 14..][..8]);
    let expected = "0003".to_owned()
        + &text("consumer")
        + "00000001"
        + &text("range")
        + &text("c0-unique-c0")
        + &since
        + "00000001"
        + &text("c0-unique-c0")
        + "ffff"
        + &text("c0")
        + &text("/127.0.0.1")
        + &format!("{:08x}{:08x}", 30_000, 10_000)
        + &bytes(&super::bench::protocol("range", &["t"]).metadata)
        + &bytes(b"for c0-unique-c0");
    assert_eq!(hex(stable), expected);
}

#[test]
fn older_values_are_read_and_newer_ones_refused() {
    let key = CoordinatorRecord::offset("g", "t", 2, None).key;
    let value = |version: u8, rest: &[u8]| {
        let mut bytes = vec![0, version, 0, 0, 0, 0, 0, 0, 0, 5];
        bytes.extend(rest);
        CoordinatorRecord { key: key.clone(), value: Some(bytes.into()) }
    };
    let cases: [(u8, &[u8]); 3] = [
        (0, &[0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 1]),
        (2, &[0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 1]),
        (3, &[0xff, 0xff, 0xff, 0xff, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 1]),
    ];
    for (version, rest) in cases {
        let Ok(Change::Offset { value: Some(committed), .. }) = value(version, rest).decode() else {
            panic!("version {version}");
        };
        assert_eq!((committed.offset, committed.leader_epoch, committed.metadata.as_str()), (5, -1, "m"));
    }
    assert_eq!(value(5, &[]).decode().unwrap_err(), RecordError::Version(5));
    let other = CoordinatorRecord { key: Bytes::from_static(&[0, 99, 0, 1, b'g']), value: None };
    assert!(matches!(other.decode(), Ok(Change::Other)), "of another protocol");
}

#[test]
fn a_record_that_says_nothing_changes_nothing() {
    let mut groups = Groups::default();
    groups.replay(&CoordinatorRecord::nothing()).unwrap();
    assert_eq!(groups.list().count(), 0);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(key in prop::collection::vec(any::<u8>(), 0..40),
                                    kind in 0_u8..4,
                                    version in 0_u8..6,
                                    value in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut groups = Groups::default();
        let mut own_key = vec![0, kind];
        own_key.extend(key);
        let mut own_value = vec![0, version];
        own_value.extend(value);
        let record = CoordinatorRecord { key: own_key.into(), value: Some(own_value.into()) };
        let _is_readable = groups.replay(&record).is_ok();
    }
}
