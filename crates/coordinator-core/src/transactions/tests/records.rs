//! The records' bytes: Kafka's, so that its tools and a broker of its own can read them.

use super::bench::{Bench, ID};
use crate::CoordinatorRecord;
use crate::transactions::{
    Producer, TransactionEffects, TransactionRecordError, TransactionState, Transactions, transaction_record_of_nothing,
};
use base::UnixMillis;
use bytes::Bytes;
use proptest::prelude::*;

const BEGUN: &str = "0000018bcfe56800";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Bytes {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Bytes as Kafka 4.3.1 writes them (`TransactionLog.keyToBytes` and `valueToBytes`, run on the same transactions).
#[test]
fn transactions_have_kafkas_bytes() {
    let mut bench = Bench::new();
    let now = bench.init(None).unwrap();
    assert_eq!(now.id, 0x3e8);
    assert_eq!(hex(&bench.log[0].key), "000000027478");
    let value = |bench: &Bench| hex(bench.log.last().unwrap().value.as_ref().unwrap());
    let empty = "0001".to_owned()
        + "00000000000003e8"
        + "0000"
        + "0000ea60"
        + "00"
        + "00"
        + BEGUN
        + "ffffffffffffffff"
        + "010008"
        + "00000000000003e8";
    assert_eq!(value(&bench), empty);
    bench.add(now, "t", 2).unwrap();
    let ongoing = "000100000000000003e800000000ea6001".to_owned()
        + "0202740200000002"
        + "00"
        + BEGUN
        + BEGUN
        + "020008"
        + "00000000000003e8"
        + "02020002";
    assert_eq!(value(&bench), ongoing);
    bench.end(now, true).unwrap();
    let prepared = ongoing.replacen("00000000000003e800000000ea6001", "00000000000003e800010000ea6002", 1);
    assert_eq!(value(&bench), prepared);
    bench.complete();
    let complete = "000100000000000003e800010000ea6004".to_owned()
        + "01"
        + BEGUN
        + BEGUN
        + "020008"
        + "00000000000003e8"
        + "02020002";
    assert_eq!(value(&bench), complete);
}

/// Likewise, with the epoch that no producer is told and the producer id that follows.
#[test]
fn the_end_of_the_last_epoch_has_kafkas_bytes() {
    let prepared = "000100000000000001027fff0000ea6002".to_owned()
        + "020274020000000200"
        + "0000018bcfe56803"
        + "0000018bcfe56801"
        + "030008"
        + "0000000000000102"
        + "0108"
        + "0000000000000103"
        + "02020002";
    let complete = "0001000000000000010300000000ea6004".to_owned()
        + "01"
        + "0000018bcfe56804"
        + "0000018bcfe56801"
        + "020008"
        + "0000000000000102"
        + "02020002";
    let mut bench = Bench::new();
    bench.now.wall = UnixMillis(0x18b_cfe5_6804);
    bench.log.push(CoordinatorRecord { key: bytes("000000027478"), value: Some(bytes(&prepared)) });
    bench.restart();
    assert_eq!(bench.described().producer, Producer { id: 0x102, epoch: i16::MAX });
    bench.complete();
    assert_eq!(hex(bench.log.last().unwrap().value.as_ref().unwrap()), complete);
}

#[test]
fn values_without_tagged_fields_are_read() {
    let ongoing = "000000000000000001020007".to_owned()
        + "0000ea60"
        + "01"
        + "00000001"
        + "000174"
        + "0000000100000002"
        + "0000018bcfe56802"
        + "0000018bcfe56801";
    let empty = "000000000000000001020007".to_owned()
        + "0000ea60"
        + "00"
        + "ffffffff"
        + "0000018bcfe56802"
        + "ffffffffffffffff";
    for (value, state, partitions) in [(ongoing, TransactionState::Ongoing, 1), (empty, TransactionState::Empty, 0)] {
        let mut transactions = Transactions::default();
        transactions.replay(&CoordinatorRecord { key: bytes("000000027478"), value: Some(bytes(&value)) }).unwrap();
        let described = transactions.describe(ID).unwrap();
        assert_eq!((described.state, described.producer), (state, Producer { id: 258, epoch: 7 }));
        assert_eq!(described.partitions.len(), partitions);
    }
}

#[test]
fn what_is_never_stored_is_refused() {
    let read = |value: &str| {
        let record = CoordinatorRecord { key: bytes("000000027478"), value: Some(bytes(value)) };
        Transactions::default().replay(&record)
    };
    let value = |version: &str, state: &str, tags: &str| {
        version.to_owned() + "000000000000010200070000ea60" + state + "00" + BEGUN + BEGUN + tags
    };
    assert_eq!(read(&value("0001", "00", "00")), Ok(()));
    assert_eq!(
        read(&value("0001", "00", "01030200ff")),
        Ok(()),
        "an epoch of the id that follows, which nobody writes"
    );
    assert_eq!(read(&value("0002", "00", "00")), Err(TransactionRecordError::Version(2)));
    for state in [6_i8, 7, 8, -1] {
        let outcome = read(&value("0001", &format!("{state:02x}"), "00"));
        assert_eq!(outcome, Err(TransactionRecordError::State(state)));
    }
    assert_eq!(read(&value("0001", "00", "0102020003")), Err(TransactionRecordError::ClientVersion(3)));
}

#[test]
fn an_id_that_is_taken_back_is_gone_and_one_that_says_nothing_changes_nothing() {
    let mut bench = Bench::new();
    bench.init(None).unwrap();
    let key = bench.log[0].key.clone();
    bench.log.push(transaction_record_of_nothing());
    bench.restart();
    assert!(bench.transactions.describe(ID).is_ok());
    bench.log.push(CoordinatorRecord { key, value: None });
    bench.restart();
    assert!(bench.transactions.describe(ID).is_err());
    assert_eq!(bench.transactions.bytes(), 0);
    let other = CoordinatorRecord { key: Bytes::from_static(&[0, 9, 0, 1, b'g']), value: None };
    bench.transactions.replay(&other).unwrap();
    assert!(!bench.transactions.are_all_there_is());
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(key in prop::collection::vec(any::<u8>(), 0..20),
                                    version in 0_u8..3,
                                    value in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut transactions = Transactions::default();
        let own_value: Vec<u8> = [0, version].into_iter().chain(value).collect();
        for key in [vec![0, 0, 0, 2, b't', b'x'], [vec![0, 0], key].concat()] {
            let record = CoordinatorRecord { key: key.into(), value: Some(own_value.clone().into()) };
            let _is_readable = transactions.replay(&record).is_ok();
        }
        transactions.loaded(Bench::new().now, &mut TransactionEffects::default());
    }
}
