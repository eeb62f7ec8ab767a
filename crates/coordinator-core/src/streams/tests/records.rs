//! The records: Kafka's bytes, and what comes back from them.

use super::bench::{Bench, GROUP, joins, reads, runs, tasks, topology, with_state};
use crate::streams::record::{Epoch, Key, read};
use crate::streams::state::{Current, Held, MemberState, Metadata};
use crate::{CoordinatorRecord, CopyCursor, Effects, TaskSets};
use base::UnixMillis;
use bytes::Bytes;
use protocol::messages::streams_group_heartbeat_request::Endpoint;
use std::collections::BTreeMap;

fn hex(bytes: &Bytes) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Key and value, as Kafka's serializers of these messages write them.
#[test]
fn they_are_kafka_s_to_the_byte() {
    let told = |record: CoordinatorRecord| (hex(&record.key), record.value.as_ref().map(hex).unwrap_or_default());
    let configs = BTreeMap::from([("num.standby.replicas".to_owned(), "1".to_owned())]);
    let epoch = Epoch { epoch: 2, metadata_hash: 3, validated_topology_epoch: 0, assignment_configs: configs };
    assert_eq!(
        told(CoordinatorRecord::streams_epoch("g", &epoch)),
        (
            "0011000167".to_owned(),
            format!("0000{}{}02{}{}", "00000002", "0000000000000003", "000400000000", "01190215").to_owned()
                + "6e756d2e7374616e6462792e7265706c69636173"
                + "023100",
        )
    );
    assert_eq!(
        told(CoordinatorRecord::streams_target_epoch("g", 4, UnixMillis(5))),
        ("0014000167".to_owned(), "00000000000401 0008 0000000000000005".replace(' ', ""))
    );
    let metadata = Metadata {
        rack_id: Some("r".to_owned()),
        client_id: "c".to_owned(),
        client_host: "h".to_owned(),
        rebalance_timeout_ms: 9,
        topology_epoch: 1,
        process_id: "p".to_owned(),
        endpoint: Some(Endpoint { host: "e".to_owned(), port: 7 }),
        tags: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        ..Metadata::default()
    };
    assert_eq!(
        told(CoordinatorRecord::streams_metadata("g", "m", &metadata)),
        (
            "001300016700016d".to_owned(),
            "0000 00 0272 0263 0268 00000009 00000001 0270 01 0265 0007 00 02 026b 0276 00 00".replace(' ', ""),
        )
    );
    let target = TaskSets { active: tasks("0", [1, 2]), ..TaskSets::default() };
    assert_eq!(
        told(CoordinatorRecord::streams_target("g", "m", &target)),
        ("001500016700016d".to_owned(), "0000 02 0230 03 00000001 00000002 00 01 01 00".replace(' ', ""),)
    );
    let active = BTreeMap::from([("0".to_owned(), BTreeMap::from([(1, 7)]))]);
    let assigned = Held { active, standby: tasks("0", [2]), ..Held::default() };
    let current =
        Current { epoch: 7, previous_epoch: 6, state: MemberState::Unreleased, assigned, revoking: Held::default() };
    let record = CoordinatorRecord::streams_current("g", "m", &current);
    assert_eq!(
        told(record),
        (
            "001600016700016d".to_owned(),
            "0000 00000007 00000006 02 02 0230 02 00000001 01 00 05 02 00000007 02 0230 02 00000002 00 01 01 01 01 00"
                .replace(' ', ""),
        )
    );
    assert_eq!(told(CoordinatorRecord::streams_gone("g", &Key::Topology)), ("0017000167".to_owned(), String::new()));
}

#[test]
fn a_group_comes_back_from_them_and_from_a_copy() {
    let mut bench = Bench::new(&[("t", 2), ("l", 2)]);
    let app = topology(vec![with_state(reads("0", &["t"]), "l")]);
    bench.beat(&joins("a", &app)).unwrap();
    bench.beat(&joins("b", &app)).unwrap();
    bench.beat(&runs("a", 2, tasks("0", 0..2))).unwrap();
    let lasting = format!("{:?}", bench.streams().lasting());
    bench.restart();
    assert_eq!(format!("{:?}", bench.streams().lasting()), lasting);
    let (mut cursor, mut fx) = (CopyCursor::default(), Effects::default());
    while !bench.groups.copy(&mut cursor, 1, &mut fx) {}
    for record in &fx.records {
        let mut key = protocol::wire::Decoder::new(record.key.clone());
        let kind: i16 = key.get(0);
        assert!(read(kind, key, record.value.as_ref()).unwrap().is_some());
    }
    bench.log = fx.records;
    bench.restart();
    assert_eq!(format!("{:?}", bench.streams().lasting()), lasting);
    let mut fx = Effects::default();
    for member in ["a", "b"] {
        bench.beat(&super::bench::beats(member, crate::LEAVES)).unwrap();
    }
    bench.groups.delete_group(GROUP, &mut fx).unwrap();
    bench.log.extend(fx.records);
    assert_eq!(bench.replayed().list_streams().count(), 0);
}
