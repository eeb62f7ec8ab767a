//! Message sets compared with Kafka's own, both ways; damaged, lying, bounded.

use super::*;
use crate::error_code::ErrorCode;
use crate::record_batch::{
    BatchBuilder, BatchError, Compression, Level, NewRecord, Pace, RecompressBounds, Record, RecordBatch, lz4_frame,
};
use base::{Crc32, Seed};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;

/// Written by `MakeMessages.java`.
const KAFKAS: &str = include_str!("../../../testdata/messages_of_old.txt");
const MAX: usize = 1 << 20;
const STAMP: i64 = 1_700_000_009_000;
/// The codecs that clients of that age have.
const CODECS: [(Compression, &str); 4] = [
    (Compression::None, "none"),
    (Compression::Gzip, "gzip"),
    (Compression::Snappy, "snappy"),
    (Compression::Lz4, "lz4"),
];
const FORMATS: [OldFormat; 2] = [OldFormat::V0, OldFormat::V1];
/// Bytes of a wrapper before the set within it, by its format.
const WRAPPER_HEAD: [usize; 2] = [26, 34];

fn kafkas(what: &str, format: OldFormat, codec: &str) -> Bytes {
    let name = format!("{what} {} {codec} ", format.magic());
    let line = KAFKAS.lines().find_map(|line| line.strip_prefix(&name)).expect("the line is in the file");
    let digits: Vec<char> = line.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex")).collect()
}

type KeyAndValue = (Option<Bytes>, Option<Bytes>);

/// What `MakeMessages.java` puts into each set, with its times.
fn expected() -> Vec<(i64, KeyAndValue)> {
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    vec![
        (1_700_000_000_000, (bytes("key"), bytes(&"value".repeat(20)))),
        (1_700_000_000_007, (None, bytes("second"))),
        (1_699_999_999_999, (bytes("tombstone"), None)),
        (1_700_000_000_001, (bytes(""), bytes(""))),
    ]
}

/// The same as a batch at offset 100.
fn stored(codec: Compression) -> RecordBatch {
    let headers = [("trace", Some(&b"abc"[..])), ("empty", None)];
    let add = |builder: BatchBuilder, (at, (timestamp, (key, value))): (usize, &(i64, KeyAndValue))| {
        let headers = if at == 0 { &headers[..] } else { &[] };
        builder.record(&NewRecord { timestamp: *timestamp, key: key.as_deref(), value: value.as_deref(), headers })
    };
    let records = expected();
    let builder = BatchBuilder::new().compression(codec);
    records.iter().enumerate().fold(builder, add).build(100).expect("it can be built")
}

pub(super) struct Free(pub(super) usize);

impl Pace for Free {
    async fn spent(&mut self, cost: usize) {
        self.0 += cost;
    }
}

pub(super) const ROOMY: Upconvert =
    Upconvert { level: None, bounds: RecompressBounds { decompressed_max: MAX, batch_bytes_max: MAX } };

fn up(set: &Bytes, how: Upconvert) -> Result<RecordBatch, BatchError> {
    let format = OldFormat::of(&set.clone().into()).unwrap_or(OldFormat::V1);
    upconverted(set, format, how, &mut Free(0)).now_or_never().expect("nothing is waited for").0
}

fn down(batches: &[RecordBatch], how: Downconvert) -> Result<Downconverted, BatchError> {
    let stored: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect();
    downconverted(&stored.into(), how, &mut Free(0)).now_or_never().expect("nothing is waited for")
}

pub(super) fn all_of(format: OldFormat) -> Downconvert {
    Downconvert { format, from: 0, bytes_max: MAX, decompressed_max: MAX }
}

fn joined(converted: &Downconverted) -> Bytes {
    let bytes: Bytes = converted.pieces.concat().into();
    assert_eq!(bytes.len(), converted.bytes);
    bytes
}

fn records(batch: &RecordBatch) -> Vec<Record> {
    batch.check().expect("its header is right");
    batch.records(MAX).expect("it decompresses").map(|record| record.expect("it is right")).collect()
}

/// A message, with its checksum right.
pub(super) fn message(
    offset: i64,
    format: OldFormat,
    attributes: u8,
    timestamp: i64,
    (key, value): (&[u8], &[u8]),
) -> Vec<u8> {
    let mut counted = vec![format.magic(), attributes];
    if format == OldFormat::V1 {
        counted.put_i64(timestamp);
    }
    for field in [key, value] {
        counted.put_i32(i32::try_from(field.len()).expect("small"));
        counted.put_slice(field);
    }
    let mut crc = Crc32::default();
    crc.update(&counted);
    let mut message = Vec::new();
    message.put_i64(offset);
    message.put_i32(i32::try_from(counted.len() + 4).expect("small"));
    message.put_u32(crc.value());
    message.extend_from_slice(&counted);
    message
}

/// Messages of format 1 in a wrapper of it.
fn wrapped(codec: Compression, offset: i64, attributes: u8, set: &[u8]) -> Bytes {
    let set = codec.compress(set).expect("memory takes it");
    message(offset, OldFormat::V1, codec.number() | attributes, STAMP, (b"", &set)).into()
}

/// Offsets, times, keys and values of a set, wrappers opened, every checksum looked at.
fn listed(set: Bytes) -> Vec<(i64, i64, KeyAndValue)> {
    let mut left = set;
    let mut messages = Vec::new();
    while !left.is_empty() {
        let offset = left.get_i64();
        let size = usize::try_from(left.get_i32()).expect("a size");
        let mut body = left.split_to(size);
        let crc = body.get_u32();
        let mut counted = Crc32::default();
        counted.update(&body);
        assert_eq!(counted.value(), crc);
        let (magic, attributes) = (body.get_u8(), body.get_u8());
        let timestamp = if magic == 1 { body.get_i64() } else { -1 };
        let mut field = || usize::try_from(body.get_i32()).ok().map(|length| body.split_to(length));
        let (key, value) = (field(), field());
        assert!(body.is_empty());
        let codec = Compression::from_number(attributes & CODEC_MASK).expect("a codec");
        if codec == Compression::None {
            messages.push((offset, timestamp, (key, value)));
            continue;
        }
        let value = lz4_frame::with_head_checksum(&value.expect("a set"), false);
        let within = listed(codec.decompress(value, MAX).expect("it decompresses"));
        let last = within.last().expect("it is not empty").0;
        let first = if magic == 1 { offset - last } else { 0 };
        assert_eq!(first + last, offset);
        messages.extend(within.into_iter().map(|(offset, time, record)| (first + offset, time, record)));
    }
    messages
}

#[test]
fn what_kafkas_old_producers_sent_becomes_one_batch_in_the_codec_that_it_has_or_that_is_wanted() {
    for format in FORMATS {
        for (codec, name) in CODECS {
            let set = kafkas("produced", format, name);
            for wanted in [None, Some(Compression::None), Some(Compression::Zstd), Some(Compression::Lz4)] {
                let level = wanted.map(|codec| Level { codec, level: None });
                let batch = up(&set, Upconvert { level, ..ROOMY }).expect("it is right");
                batch.check_records(MAX).expect("the header's times are the records'");
                assert_eq!(batch.compression(), Ok(wanted.unwrap_or(codec)));
                assert_eq!((batch.base_offset(), batch.last_offset_delta(), batch.record_count()), (0, 3, 4));
                assert!(!batch.has_producer_id() && !batch.is_transactional() && !batch.is_log_append_time());
                let found: Vec<_> = records(&batch).into_iter().map(|it| (it.timestamp, (it.key, it.value))).collect();
                let has_times = format == OldFormat::V1;
                let expected = expected().into_iter().map(|(time, it)| (if has_times { time } else { -1 }, it));
                assert_eq!(found, expected.collect::<Vec<_>>(), "{format:?} {name} to {wanted:?}");
                assert_eq!(batch.max_timestamp(), if has_times { 1_700_000_000_007 } else { -1 });
            }
        }
    }
}

#[test]
fn the_brokers_time_of_a_wrapper_is_that_of_what_is_in_it() {
    let inside = message(0, OldFormat::V1, 0, 5, (b"k", b"v"));
    for (set, time) in
        [(wrapped(Compression::Gzip, 0, 8, &inside), STAMP), (message(0, OldFormat::V1, 8, 5, (b"k", b"v")).into(), 5)]
    {
        let batch = up(&set, ROOMY).expect("it is right");
        assert!(batch.is_log_append_time(), "which the checks of batches refuse");
        assert_eq!(batch.base_timestamp(), time);
    }
}

#[test]
fn what_is_fetched_is_what_kafka_sent() {
    for format in FORMATS {
        for (codec, name) in CODECS {
            let batch = stored(codec);
            let stamped = batch.numbered_and_stamped(100, 5, STAMP);
            for (batch, what) in [(&batch, "fetched"), (&stamped, "stamped")] {
                let converted = down(std::slice::from_ref(batch), all_of(format)).expect("it is right");
                assert_eq!(converted.next, 104);
                let (ours, kafkas) = (joined(&converted), kafkas(what, format, name));
                if codec == Compression::None {
                    assert_eq!(ours, kafkas, "{what} {format:?}");
                    continue;
                }
                // Compressors differ; what they are given does not, nor what is before it but for sizes and checksums.
                let head = WRAPPER_HEAD[usize::from(format.magic())];
                let within = |set: &Bytes| {
                    let frame = lz4_frame::with_head_checksum(&set.slice(head..), false);
                    codec.decompress(frame, MAX).expect("it decompresses")
                };
                assert_eq!(within(&ours), within(&kafkas), "{what} {format:?} {name}");
                let fields = |set: &Bytes| (set.slice(..SIZE_AT), set.slice(MAGIC_AT..head - LENGTH_BYTES));
                assert_eq!(fields(&ours), fields(&kafkas), "{what} {format:?} {name}");
                listed(ours.clone());
                if codec == Compression::Lz4 {
                    // The head's checksum, of the same flags and size of blocks.
                    let checksum = |set: &Bytes| (set.slice(head..head + 6), set[head + 6]);
                    let (ours, kafkas) = (checksum(&ours), checksum(&kafkas));
                    assert!(ours.0 != kafkas.0 || ours.1 == kafkas.1, "{ours:?} {kafkas:?}");
                }
            }
        }
    }
}

/// What Kafka's classes find in what is made here, they tell by themselves: the lines go to `MakeMessages.java` with an argument, and what it
/// says of those in `messages_of_old.txt` that are called "fetched" is what it must say of these.
#[test]
#[ignore = "prints what MakeMessages.java reads: compressors differ, so there are no golden bytes"]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn prints_what_is_made_for_kafkas_classes() {
    for format in FORMATS {
        for (codec, name) in CODECS {
            let set = joined(&down(&[stored(codec)], all_of(format)).expect("it is right"));
            let digits: String = set.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("fetched {} {name} {digits}", format.magic());
        }
    }
}

#[test]
fn small_bounds_give_some_and_the_rest_later_and_what_comes_first_whole() {
    let value: Vec<u8> = (0..300_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let record = NewRecord { timestamp: 7, value: Some(&value), ..NewRecord::default() };
    for format in FORMATS {
        for (codec, name) in CODECS {
            let builder = BatchBuilder::new().compression(codec);
            let builder = (0..600).fold(builder, |builder, _| builder.record(&record));
            let batches = [builder.build(0), builder.build(600)].map(|batch| batch.expect("it can be built"));
            for bytes_max in [1, 5000, 700_000] {
                let mut how = Downconvert { bytes_max, decompressed_max: 8 * MAX, ..all_of(format) };
                let mut found = Vec::new();
                let mut fetches = 0;
                while how.from < 1200 && fetches < 100 {
                    let converted = down(&batches, how).expect("it is right");
                    let messages = listed(joined(&converted));
                    let is_first = messages.len() == 1 || (codec != Compression::None && messages.len() < 1000);
                    assert!(converted.bytes <= bytes_max || is_first, "{} bytes of {bytes_max}", converted.bytes);
                    assert_eq!(Some(converted.next - 1), messages.last().map(|message| message.0));
                    found.extend(messages.into_iter().map(|message| message.0));
                    how.from = converted.next;
                    fetches += 1;
                }
                assert_eq!(found, (0..how.from).collect::<Vec<_>>(), "{format:?} {name} {bytes_max}");
                assert!(how.from == 1200 || bytes_max < 700_000 && codec == Compression::None);
            }
        }
    }
}

#[test]
fn a_fetch_from_within_a_batch_gets_none_of_the_records_before() {
    for format in FORMATS {
        for (codec, name) in CODECS {
            let converted = down(&[stored(codec)], Downconvert { from: 102, ..all_of(format) }).expect("it is right");
            let found: Vec<i64> = listed(joined(&converted)).into_iter().map(|message| message.0).collect();
            assert_eq!((found, converted.next), (vec![102, 103], 104), "{format:?} {name}");
            let behind = down(&[stored(codec)], Downconvert { from: 104, ..all_of(format) }).expect("it is right");
            assert_eq!((behind.bytes, behind.next), (0, 104));
        }
    }
}

#[test]
fn what_these_clients_never_knew_is_left_out_and_zstandard_ends_the_answer() {
    let control = BatchBuilder::new().control().record(&NewRecord::default()).build(90).expect("it can be built");
    let empty = crate::record_batch::emptied(&control).expect("it can be emptied");
    let (plain, zstd) = (stored(Compression::None), stored(Compression::Zstd));
    for format in FORMATS {
        let none = down(&[control.clone(), empty.clone()], all_of(format)).expect("they are right");
        assert_eq!((none.bytes, none.next), (0, 91));
        let both = down(&[control.clone(), plain.clone()], all_of(format)).expect("they are right");
        assert_eq!((listed(joined(&both)).len(), both.next), (4, 104));
        let before = down(&[plain.clone(), zstd.clone()], all_of(format)).expect("the first is right");
        assert_eq!((listed(joined(&before)).len(), before.next), (4, 104));
        let refused = down(&[control.clone(), zstd.clone()], all_of(format)).expect_err("it is first");
        assert_eq!(refused.error_code(), ErrorCode::UnsupportedCompressionType);
    }
}

#[test]
fn a_damaged_set_is_refused_and_no_damage_does_harm() {
    for format in FORMATS {
        for (_, name) in CODECS {
            let set = kafkas("produced", format, name);
            let mut bytes = set.to_vec();
            for at in 0..bytes.len() {
                for flip in [0x01, 0x15, 0x80] {
                    bytes[at] ^= flip;
                    let changed = up(&bytes.clone().into(), ROOMY);
                    if at >= SIZE_AT && name != "none" {
                        assert!(changed.is_err(), "{format:?} {name}, byte {at}");
                    }
                    bytes[at] ^= flip;
                }
                let cut = up(&set.slice(..at), ROOMY);
                assert!(cut.is_err() || name == "none", "{format:?} {name} cut to {at} bytes");
            }
            assert!(up(&[&set[..], &[0; 5]].concat().into(), ROOMY).is_err(), "{name} and more");
        }
    }
    for at in CRC_AT..kafkas("produced", OldFormat::V1, "none").len() {
        let mut bytes = kafkas("produced", OldFormat::V1, "none").to_vec();
        bytes[at] ^= 0x40;
        // The offset of a message says nothing.
        let is_an_offset = [125, 166, 209].iter().any(|size_end| (*size_end..size_end + 8).contains(&at));
        let changed = up(&bytes.into(), ROOMY);
        assert!(changed.is_err() || is_an_offset || changed.is_ok_and(|_| at > 130), "byte {at}");
    }
}

#[test]
fn stored_bytes_that_are_damaged_do_no_harm() {
    for (codec, _) in CODECS {
        let mut bytes = stored(codec).bytes().to_vec();
        for at in 0..bytes.len() {
            bytes[at] ^= 0x15;
            let stored = Bytes::from(bytes.clone());
            for format in FORMATS {
                let how = all_of(format);
                let converted =
                    downconverted(&stored, how, &mut Free(0)).now_or_never().expect("nothing is waited for");
                if let Ok(converted) = converted {
                    listed(joined(&converted));
                }
            }
            bytes[at] ^= 0x15;
        }
    }
}

#[test]
fn random_bytes_in_a_wrapper_or_for_a_set_do_no_harm() {
    let mut seed = Seed::new(7);
    for round in 0..2000_u32 {
        let mut bytes: Vec<u8> = (0..seed.below(200)).map(|_| seed.next_u64().to_le_bytes()[0]).collect();
        let codec = CODECS[usize::try_from(round % 4).expect("small")].0;
        if codec != Compression::None {
            assert!(up(&wrapped(codec, 0, 0, &bytes), ROOMY).is_err());
        }
        if bytes.len() > MAGIC_AT {
            bytes[MAGIC_AT] = 1;
        }
        assert!(up(&bytes.into(), ROOMY).is_err());
    }
}

#[test]
fn each_rule_of_a_set_has_its_answer() {
    let one = |attributes| message(0, OldFormat::V1, attributes, 5, (b"k", b"v"));
    let gzip = |offset, set: &[u8]| wrapped(Compression::Gzip, offset, 0, set);
    let code = |set: Bytes| up(&set, ROOMY).err().map(BatchError::error_code);
    let (invalid, corrupt) = (Some(ErrorCode::InvalidRecord), Some(ErrorCode::CorruptMessage));
    assert_eq!(code(gzip(0, &one(0))), None);
    assert_eq!(code([one(0), one(0)].concat().into()), None, "each with offset 0, as some clients number them");
    assert_eq!(code([&gzip(0, &one(0))[..], &one(0)].concat().into()), invalid, "something beside a wrapper");
    assert_eq!(code([&one(0), &gzip(0, &one(0))[..]].concat().into()), invalid, "the other way round");
    assert_eq!(code(gzip(0, &gzip(0, &one(0)))), invalid, "a wrapper in a wrapper");
    assert_eq!(code(gzip(0, &[])), invalid, "nothing in it");
    assert_eq!(code(gzip(0, &message(0, OldFormat::V0, 0, 0, (b"", b"")))), invalid, "another format in it");
    let last = message(7, OldFormat::V1, 0, 5, (b"k", b"v"));
    assert_eq!(code(gzip(0, &last)), None, "librdkafka left it at 0");
    assert_eq!(code(gzip(7, &last)), None);
    assert_eq!(code(gzip(6, &last)), invalid, "before the last one inside");
    assert_eq!(code(one(4).into()), invalid, "Zstandard");
    assert_eq!(code(one(5).into()), Some(ErrorCode::UnsupportedCompressionType));
    let size = |size: i32| Bytes::from([&[0; 8], &size.to_be_bytes()[..], &one(0)[SIZE_FROM..]].concat());
    assert_eq!([size(13), size(-1), size(14), size(25)].map(code), [corrupt, corrupt, corrupt, invalid]);
    let mut null = BytesMut::from(&gzip(0, &one(0))[..30]);
    null.put_i32(-1);
    let mut crc = Crc32::default();
    crc.update(&null[MAGIC_AT..]);
    null[CRC_AT..MAGIC_AT].copy_from_slice(&crc.value().to_be_bytes());
    null[SIZE_AT..SIZE_FROM].copy_from_slice(&22_i32.to_be_bytes());
    assert_eq!(code(null.freeze()), invalid, "no set in a wrapper");
    let mut wrong = one(0);
    let end = wrong.len() - 1;
    wrong[end] ^= 1;
    assert_eq!(code(wrong.clone().into()), corrupt);
    let at = |timestamp| message(0, OldFormat::V1, 0, timestamp, (b"k", b"v"));
    let out_of_time = Some(ErrorCode::InvalidTimestamp);
    assert_eq!(code(at(-1).into()), None, "no time");
    for before in [-2, i64::MIN] {
        assert_eq!(code(at(before).into()), out_of_time, "{before}");
        assert_eq!(code(gzip(0, &at(before))), out_of_time, "{before} in a wrapper");
    }
    assert_eq!(code(gzip(0, &wrong)), corrupt, "the checksum of one inside");
}

#[test]
fn what_is_made_and_what_is_decompressed_is_bounded() {
    let zeroes = message(0, OldFormat::V1, 0, 5, (b"", &vec![0; MAX]));
    let few = Upconvert { bounds: RecompressBounds { decompressed_max: MAX / 2, batch_bytes_max: 8 * MAX }, ..ROOMY };
    let small = Upconvert { bounds: RecompressBounds { decompressed_max: 8 * MAX, batch_bytes_max: MAX }, ..ROOMY };
    let plain = Upconvert { level: Some(Level { codec: Compression::None, level: None }), ..small };
    for (codec, _) in CODECS.into_iter().skip(1) {
        let bomb = wrapped(codec, 0, 0, &zeroes);
        assert_eq!(up(&bomb, few), Err(BatchError::DecompressedSize(MAX / 2)), "{codec:?}");
        assert_eq!(up(&bomb, small).map(|batch| batch.record_count()), Ok(1), "{codec:?}");
        assert!(matches!(up(&bomb, plain), Err(BatchError::TooLarge { .. })), "{codec:?}");
    }
    let bytes = zeroes.len();
    assert_eq!(up(&zeroes.into(), small), Err(BatchError::TooLarge { bytes, max: MAX }), "one message");
    let half = message(0, OldFormat::V1, 0, 5, (b"", &vec![0; MAX / 2]));
    assert!(
        matches!(up(&[half.clone(), half].concat().into(), small), Err(BatchError::TooLarge { .. })),
        "all of them"
    );
    // Very many records that are next to nothing when compressed.
    let nothing = message(0, OldFormat::V1, 0, 5, (b"", b""));
    let many = wrapped(Compression::Gzip, 0, 0, &nothing.repeat(200_000));
    assert!(matches!(up(&many, plain), Err(BatchError::TooLarge { bytes: ..1_100_000, .. })));
}

#[test]
fn one_great_record_passes_through_small_windows() {
    let value = vec![7; 8 * MAX];
    let record = NewRecord { timestamp: 7, value: Some(&value), ..NewRecord::default() };
    for (codec, name) in CODECS {
        let batch = BatchBuilder::new().compression(codec).record(&record).build(3).expect("it can be built");
        let how = Downconvert { decompressed_max: 9 * MAX, bytes_max: 10, ..all_of(OldFormat::V1) };
        let mut pace = Free(0);
        let converted = downconverted(batch.bytes(), how, &mut pace).now_or_never().expect("nothing is waited for");
        let set = joined(&converted.expect("it is right"));
        assert!(pace.0 > 2 * MAX, "each byte is work, twice");
        let roomy = RecompressBounds { decompressed_max: 9 * MAX, batch_bytes_max: 9 * MAX };
        let again = up(&set, Upconvert { level: None, bounds: roomy }).expect("it comes back");
        let records: Vec<_> = again.records(9 * MAX).expect("it decompresses").map(Result::unwrap).collect();
        assert_eq!((records.len(), records[0].value.as_ref().map(Bytes::len)), (1, Some(value.len())), "{name}");
        let tight = Downconvert { decompressed_max: MAX, ..how };
        if codec != Compression::None {
            assert_eq!(down(&[batch], tight), Err(BatchError::DecompressedSize(MAX)), "{name}");
        }
    }
}
