//! Kafka's record batch v2, written and read by hand: a test must not trust the code under test with its own bytes.

use base::crc32c;
use bytes::{BufMut, Bytes, BytesMut};

/// Base offset and batch length.
const PREFIX: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const HEADER: usize = 61;

/// One uncompressed batch of values without keys.
pub(crate) fn encode(values: &[Vec<u8>]) -> Bytes {
    let mut records = BytesMut::new();
    for (delta, value) in values.iter().enumerate() {
        let mut record = BytesMut::new();
        record.put_u8(0);
        put_varint(&mut record, 0);
        put_varint(&mut record, delta as i64);
        put_varint(&mut record, -1);
        put_varint(&mut record, value.len() as i64);
        record.put_slice(value);
        put_varint(&mut record, 0);
        put_varint(&mut records, record.len() as i64);
        records.put_slice(&record);
    }
    let count = i32::try_from(values.len()).unwrap();
    let mut batch = BytesMut::with_capacity(HEADER + records.len());
    batch.put_i64(0);
    batch.put_i32(i32::try_from(HEADER - PREFIX + records.len()).unwrap());
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32(count - 1);
    batch.put_i64(1_700_000_000_000);
    batch.put_i64(1_700_000_000_000);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(count);
    batch.put_slice(&records);
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

/// Offsets and values of the whole batches in a fetch answer; a cut one at the end is left out.
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut found = Vec::new();
    while bytes.len() >= PREFIX {
        let base = i64::from_be_bytes(bytes[..8].try_into().unwrap());
        let length = PREFIX + usize::try_from(i32::from_be_bytes(bytes[8..12].try_into().unwrap())).unwrap();
        if bytes.len() < length {
            break;
        }
        let (batch, rest) = bytes.split_at(length);
        let crc = u32::from_be_bytes(batch[CRC_AT..CRC_FROM].try_into().unwrap());
        assert_eq!(crc, crc32c(&batch[CRC_FROM..]), "checksum of the batch at {base}");
        decode_records(base, &batch[HEADER..], &mut found);
        bytes = rest;
    }
    found
}

fn decode_records(base: i64, mut bytes: &[u8], found: &mut Vec<(i64, Vec<u8>)>) {
    while !bytes.is_empty() {
        let _length = take_varint(&mut bytes);
        bytes = &bytes[1..];
        let _timestamp = take_varint(&mut bytes);
        let delta = take_varint(&mut bytes);
        assert_eq!(take_varint(&mut bytes), -1, "no key was sent");
        let length = usize::try_from(take_varint(&mut bytes)).unwrap();
        let (value, rest) = bytes.split_at(length);
        bytes = rest;
        assert_eq!(take_varint(&mut bytes), 0, "no header was sent");
        found.push((base + delta, value.to_vec()));
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        out.put_u8(u8::try_from(raw & 0x7f).unwrap() | 0x80);
        raw >>= 7;
    }
    out.put_u8(u8::try_from(raw).unwrap());
}

fn take_varint(bytes: &mut &[u8]) -> i64 {
    let mut raw = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

#[test]
fn what_is_encoded_decodes() {
    let values: Vec<Vec<u8>> = (0..100).map(|n| vec![7; n]).collect();
    let decoded = decode(&encode(&values));
    assert!(decoded.iter().map(|(offset, _)| *offset).eq(0..100));
    assert!(decoded.iter().map(|(_, value)| value).eq(values.iter()));
}
