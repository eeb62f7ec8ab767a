//! Batches that are built and read back, compared with Kafka's own, cut, damaged, and made to lie.

use super::*;
use base::Seed;
use bytes::BytesMut;

const KAFKAS: &str = include_str!("../../testdata/batches.txt");
const MAX: usize = 1 << 20;

fn kafkas(name: &str) -> Bytes {
    let line =
        KAFKAS.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect("the line is in the file");
    let digits: Vec<char> = line.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex")).collect()
}

/// The records that `MakeBatches.java` puts into each batch.
fn with_its_records(builder: BatchBuilder) -> BatchBuilder {
    let value = "value".repeat(20);
    let headers = [("trace", Some(&b"abc"[..])), ("empty", None)];
    builder
        .record(&NewRecord {
            timestamp: 1_700_000_000_000,
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &headers,
        })
        .record(&NewRecord { timestamp: 1_700_000_000_007, value: Some(b"second"), ..NewRecord::default() })
        .record(&NewRecord { timestamp: 1_699_999_999_999, key: Some(b"tombstone"), ..NewRecord::default() })
}

fn built(builder: BatchBuilder) -> RecordBatch {
    with_its_records(builder).build(0).expect("it can be built")
}

fn rules() -> ProduceRules {
    ProduceRules { batch_bytes_max: MAX, zstd: true }
}

/// The batch with other bytes at `at`, and a checksum that says they are right.
fn forged(batch: &RecordBatch, at: usize, bytes: &[u8]) -> RecordBatch {
    let mut forged = BytesMut::from(&batch.bytes()[..]);
    forged[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&forged[CRC_FROM..]);
    forged[17..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::split_first(&mut forged.freeze()).expect("its length is as it was")
}

#[test]
fn numbered_and_built_batches_are_byte_for_byte_kafkas() {
    for (name, builder, offset) in [
        ("none", BatchBuilder::new(), 100),
        ("transactional", BatchBuilder::new().transactional().producer(77, 3, 9), 200),
    ] {
        let batch = built(builder);
        let numbered = [&batch.numbered_head(offset, 5)[..], &batch.bytes()[HEAD_BYTES..]].concat();
        assert_eq!(numbered, kafkas(name), "{name}");
    }
}

#[test]
fn kafkas_batches_are_read_whatever_their_codec() {
    for (name, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().zip(Compression::ALL) {
        let batch = batches(kafkas(name)).next().expect("there is one").expect("it is whole");
        batch.check().expect("it is right");
        assert_eq!(batch.check_produced(&rules()), Err(BatchError::BaseOffset(100)), "it has been stored");
        forged(&batch, 0, &0_i64.to_be_bytes()).check_produced(&rules()).expect("as a producer sends it");
        batch.check_records(MAX).expect("so are its records");
        assert_eq!(batch.compression(), Ok(codec));
        assert_eq!((batch.base_offset(), batch.last_offset(), batch.leader_epoch()), (100, 102, 5));
        let records: Vec<Record> = batch.records(MAX).expect("it decompresses").map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
        let headers: Vec<Header> = records[0].headers.iter().collect();
        assert_eq!((headers.len(), records[0].headers.len()), (2, 2));
        assert_eq!((&headers[0].key[..], headers[0].value.as_deref()), (&b"trace"[..], Some(&b"abc"[..])));
        assert_eq!((&headers[1].key[..], headers[1].value.as_deref()), (&b"empty"[..], None));
        assert_eq!((records[1].key.clone(), records[1].offset, records[1].timestamp), (None, 101, 1_700_000_000_007));
        assert_eq!((records[2].value.clone(), records[2].timestamp), (None, 1_699_999_999_999));
    }
    let marker = batches(kafkas("marker")).next().expect("there is one").expect("it is whole");
    assert!(marker.is_control() && marker.is_transactional());
    assert_eq!((marker.producer_id(), marker.producer_epoch(), marker.base_sequence()), (77, 3, -1));
    let sent = forged(&marker, 0, &0_i64.to_be_bytes());
    assert_eq!(sent.check_produced(&rules()), Err(BatchError::Control));
}

#[test]
fn each_codec_reads_what_it_wrote() {
    for codec in Compression::ALL {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let compressed = codec.compress(&plain).expect("memory takes it");
        assert_eq!(codec.decompress(compressed.into(), plain.len()).as_deref(), Ok(&plain[..]), "{codec:?}");
        assert_eq!(Compression::from_number(codec.number()), Ok(codec));
    }
    let bare = snap::raw::Encoder::new().compress_vec(b"no framing, as some clients send it").expect("it compresses");
    assert_eq!(
        Compression::Snappy.decompress(bare.into(), MAX).as_deref(),
        Ok(&b"no framing, as some clients send it"[..])
    );
}

#[test]
fn decompressing_stops_at_the_bound() {
    let zeroes = vec![0; 16 * MAX];
    for codec in Compression::ALL.into_iter().skip(1) {
        let bomb = codec.compress(&zeroes).expect("memory takes it");
        assert!(bomb.len() < MAX, "{codec:?} makes it small");
        assert_eq!(codec.decompress(bomb.into(), MAX), Err(BatchError::DecompressedSize(MAX)), "{codec:?}");
    }
    // A bare Snappy block that promises 4 GiB and has nothing.
    let promise = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    assert_eq!(Compression::Snappy.decompress(promise, usize::MAX), Err(BatchError::Decompress));
}

#[test]
fn batches_are_cut_apart_where_they_end() {
    let one = built(BatchBuilder::new());
    let two = built(BatchBuilder::new().compression(Compression::Lz4));
    let both: Bytes = [&one.bytes()[..], &two.bytes()[..]].concat().into();
    let cut: Vec<_> = batches(both.clone()).collect();
    assert_eq!(cut, [Ok(one.clone()), Ok(two)]);
    assert_eq!(only_batch(&Records::from(both.clone())), Err(BatchError::NotOne));
    assert_eq!(only_batch(&Records::default()), Err(BatchError::NotOne));
    assert_eq!(only_batch(&Records::from(one.bytes().clone())), Ok(one.clone()));

    let short = both.slice(..both.len() - 1);
    let cut: Vec<_> = batches(short).collect();
    assert_eq!(cut.len(), 2);
    assert!(matches!(cut[1], Err(BatchError::Truncated { .. })), "{cut:?}");
    for end in 1..one.bytes().len() {
        let left = batches(one.bytes().slice(..end)).next().expect("there are bytes");
        assert!(matches!(left, Err(BatchError::Truncated { .. })), "{end}: {left:?}");
    }
}

#[test]
fn older_formats_and_impossible_lengths_are_told_apart() {
    let first = |at: usize, bytes: &[u8]| {
        let mut other = BytesMut::from(&built(BatchBuilder::new()).bytes()[..]);
        other[at..at + bytes.len()].copy_from_slice(bytes);
        batches(other.freeze()).next().expect("there are bytes").expect_err("it is wrong")
    };
    assert_eq!(first(16, &[0]), BatchError::OldMagic(0));
    assert_eq!(first(16, &[1]), BatchError::OldMagic(1));
    assert_eq!(first(16, &[3]), BatchError::UnknownMagic(3));
    assert_eq!(first(16, &[0xff]), BatchError::UnknownMagic(-1));
    assert_eq!(first(8, &(-1_i32).to_be_bytes()), BatchError::Length(-1));
    assert_eq!(first(8, &48_i32.to_be_bytes()), BatchError::Length(48));
    assert!(matches!(first(8, &i32::MAX.to_be_bytes()), BatchError::Truncated { .. }));
}

#[test]
fn what_a_producer_may_not_send_is_answered_as_kafka_answers_it() {
    let batch = built(BatchBuilder::new());
    let answer =
        |batch: &RecordBatch, rules: &ProduceRules| batch.check_produced(rules).expect_err("it is wrong").error_code();
    let mut damaged = BytesMut::from(&batch.bytes()[..]);
    *damaged.last_mut().expect("it has bytes") ^= 1;
    let damaged = RecordBatch::split_first(&mut damaged.freeze()).expect("it is whole");
    assert_eq!(answer(&damaged, &rules()), ErrorCode::CorruptMessage);
    let small = ProduceRules { batch_bytes_max: batch.bytes().len() - 1, ..rules() };
    assert_eq!(answer(&batch, &small), ErrorCode::MessageTooLarge);
    for (at, bytes) in [(57, 4_i32), (57, 2), (57, 0), (57, -1), (57, i32::MAX), (23, -1), (23, i32::MAX)] {
        assert_eq!(
            answer(&forged(&batch, at, &bytes.to_be_bytes()), &rules()),
            ErrorCode::InvalidRecord,
            "{at} {bytes}"
        );
    }
    assert_eq!(answer(&forged(&batch, 22, &[7]), &rules()), ErrorCode::UnsupportedCompressionType);
    let zstd = built(BatchBuilder::new().compression(Compression::Zstd));
    assert_eq!(answer(&zstd, &ProduceRules { zstd: false, ..rules() }), ErrorCode::UnsupportedCompressionType);
    let corrected = forged(&batch, 35, &5_i64.to_be_bytes()).with_max_timestamp(batch.max_timestamp());
    assert_eq!(corrected, batch);
    assert_eq!(answer(&built(BatchBuilder::new().producer(1, 0, -1)), &rules()), ErrorCode::InvalidRecord);
    assert_eq!(answer(&built(BatchBuilder::new().transactional()), &rules()), ErrorCode::InvalidRecord);
    let with_horizon = forged(&batch, 22, &[0x40]);
    assert_eq!(with_horizon.check_produced(&rules()), Err(BatchError::DeleteHorizon));
    assert_eq!(answer(&with_horizon, &rules()), ErrorCode::InvalidRecord);
    forged(&batch, 21, &[0x7f]).check_produced(&rules()).expect("bits without a meaning are no matter");
    assert_eq!(BatchError::OldMagic(1).error_code(), ErrorCode::InvalidRecord);
    let elsewhere = forged(&batch, 0, &7_i64.to_be_bytes());
    assert_eq!(elsewhere.check_produced(&small), Err(BatchError::BaseOffset(7)), "before its size");
    assert_eq!(answer(&elsewhere, &rules()), ErrorCode::InvalidRecord);
    for unreadable in [BatchError::UnknownMagic(3), BatchError::Length(5)] {
        assert_eq!(unreadable.error_code(), ErrorCode::CorruptMessage);
    }
}

#[test]
fn records_that_do_not_fit_their_batch_are_found() {
    let batch = built(BatchBuilder::new());
    batch.check_records(MAX).expect("as built it is right");
    let wrong_time = forged(&batch, 35, &1_700_000_000_008_i64.to_be_bytes());
    assert_eq!(wrong_time.check_records(MAX), Err(BatchError::Timestamp(1_700_000_000_008)));
    // The first record's length, longer and shorter than it is.
    for length in [0x00, 0x7e] {
        let wrong_length = forged(&batch, HEADER_BYTES, &[length]);
        assert_eq!(wrong_length.check_records(MAX), Err(BatchError::Record(0)), "{length}");
    }
    // One record more, or fewer, than there are.
    for count in [2_i32, 4] {
        let wrong_count = forged(&batch, 57, &count.to_be_bytes());
        assert!(matches!(wrong_count.check_records(MAX), Err(BatchError::Record(_))), "{count}");
    }
}

#[test]
fn sequences_wrap_round() {
    let batch = built(BatchBuilder::new().producer(1, 0, i32::MAX - 1));
    assert_eq!(batch.last_sequence(), 0);
    assert_eq!(built(BatchBuilder::new()).last_sequence(), -1);
}

#[test]
fn no_damage_makes_it_panic() {
    let mut seed = Seed::new(7);
    for codec in Compression::ALL {
        let batch = built(BatchBuilder::new().compression(codec));
        for at in 0..batch.bytes().len() {
            for _ in 0..8 {
                let mut bytes = BytesMut::from(&batch.bytes()[..]);
                bytes[at] = seed.next_u64().to_le_bytes()[0];
                // With the checksum put right, so that what lies behind it is reached too.
                let crc = crc32c(&bytes[CRC_FROM..]);
                bytes[17..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
                for batch in batches(bytes.freeze()).flatten() {
                    // Either outcome is right; that there is one is what is tested.
                    let _either = (batch.check_produced(&rules()), batch.check_records(MAX), batch.last_sequence());
                    assert!(batch.records(MAX).map_or(0, Iterator::count) <= batch.bytes().len() * 1024);
                }
            }
        }
    }
}
