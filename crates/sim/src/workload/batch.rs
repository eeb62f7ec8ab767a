//! Kafka's record batch v2, written and read by hand: the checkers must not trust the code under test to read its own bytes.

use base::crc32c;
use bytes::{BufMut, Bytes, BytesMut};

/// One record as the workload sends and finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Its bytes.
    pub value: Bytes,
}

/// A batch found in a fetch answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Offset of the first record.
    pub base: i64,
    /// Leader epoch stamped by the broker.
    pub leader_epoch: i32,
    /// Its records, at consecutive offsets.
    pub records: Vec<Record>,
    /// Its producer's id and epoch; negative: none.
    pub producer: (i64, i16),
    /// Whether it is part of a transaction, or ends one.
    pub transactional: bool,
    /// It ends its producer's transaction.
    pub marker: Option<Marker>,
    /// Length on the wire.
    pub bytes: usize,
}

/// How a transaction ended, as its marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Committed, and not aborted.
    pub commits: bool,
    /// Of the coordinator that decided.
    pub coordinator_epoch: i32,
}

/// Bytes before the batch length counts.
const PREFIX_BYTES: usize = 12;
/// Where the checksum stands, and where what it covers begins.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
/// The whole header.
const HEADER_BYTES: usize = 61;
/// Attributes: part of a transaction, and written by the broker to end one.
const TRANSACTIONAL: u16 = 0x10;
const CONTROL: u16 = 0x20;

/// What an idempotent producer writes into a batch's header.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of the batch's first record.
    pub first_sequence: i32,
    /// Whether it is part of a transaction.
    pub transactional: bool,
}

/// Encodes records as one uncompressed batch without a producer id.
///
/// # Panics
/// Without records.
#[must_use]
pub fn encode(records: &[Record]) -> Bytes {
    encode_stamped(records, &Stamp { id: -1, epoch: -1, first_sequence: -1, transactional: false })
}

/// Encodes records as one uncompressed batch of that producer.
///
/// # Panics
/// Without records.
#[must_use]
pub fn encode_stamped(records: &[Record], stamp: &Stamp) -> Bytes {
    let first = records.first().expect("a batch has records").timestamp;
    let max = records.iter().map(|record| record.timestamp).max().unwrap_or(first);
    let mut body = BytesMut::new();
    for (delta, record) in (0_i64..).zip(records) {
        let mut inner = BytesMut::new();
        inner.put_u8(0);
        put_varint(&mut inner, record.timestamp - first);
        put_varint(&mut inner, delta);
        put_varint(&mut inner, -1);
        put_varint(&mut inner, length(record.value.len()));
        inner.put_slice(&record.value);
        put_varint(&mut inner, 0);
        put_varint(&mut body, length(inner.len()));
        body.put_slice(&inner);
    }
    let count = i32::try_from(records.len()).expect("batches are small");
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + body.len());
    batch.put_i64(0);
    batch.put_i32(i32::try_from(HEADER_BYTES - PREFIX_BYTES + body.len()).expect("batches are small"));
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(0);
    batch.put_u16(if stamp.transactional { TRANSACTIONAL } else { 0 });
    batch.put_i32(count - 1);
    batch.put_i64(first);
    batch.put_i64(max);
    batch.put_i64(stamp.id);
    batch.put_i16(stamp.epoch);
    batch.put_i32(stamp.first_sequence);
    batch.put_i32(count);
    batch.put_slice(&body);
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

/// Decodes the whole batches of a fetch answer; a cut one at the end is left out.
///
/// # Errors
/// Says what is wrong with the bytes.
pub fn decode(mut bytes: &[u8]) -> Result<Vec<Batch>, String> {
    let mut batches = Vec::new();
    while bytes.len() >= PREFIX_BYTES {
        let mut head = Reader(bytes);
        let base = head.i64()?;
        let len = PREFIX_BYTES + usize::try_from(head.i32()?).map_err(|_| "negative batch length")?;
        if bytes.len() < len {
            break;
        }
        batches.push(decode_one(base, &bytes[..len])?);
        bytes = &bytes[len..];
    }
    Ok(batches)
}

fn decode_one(base: i64, batch: &[u8]) -> Result<Batch, String> {
    if batch.len() < HEADER_BYTES {
        return Err("batch shorter than its header".to_owned());
    }
    let mut reader = Reader(&batch[PREFIX_BYTES..]);
    let leader_epoch = reader.i32()?;
    let magic = reader.take(1)?[0];
    if magic != 2 {
        return Err(format!("magic {magic}"));
    }
    let crc = u32::from_be_bytes(reader.array()?);
    if crc != crc32c(&batch[CRC_FROM..]) {
        return Err(format!("checksum of the batch at {base} does not match"));
    }
    let attributes = u16::from_be_bytes(reader.array()?);
    let last_delta = reader.i32()?;
    let first = reader.i64()?;
    let _max = reader.i64()?;
    let producer = (reader.i64()?, i16::from_be_bytes(reader.array()?));
    let _first_sequence = reader.take(4)?;
    let count = reader.i32()?;
    if last_delta != count - 1 {
        return Err(format!("batch at {base} has {count} records and last delta {last_delta}"));
    }
    let is_control = attributes & CONTROL != 0;
    let (mut records, mut marker) = (Vec::new(), None);
    for expected in 0..i64::from(count) {
        let _length = reader.varint()?;
        let _attributes = reader.take(1)?;
        let timestamp = first + reader.varint()?;
        let delta = reader.varint()?;
        if delta != expected {
            return Err(format!("record {expected} of the batch at {base} has delta {delta}"));
        }
        let key = usize::try_from(reader.varint()?).ok();
        if key.is_some() != is_control {
            return Err(format!("record {expected} of the batch at {base} has a key, or has none"));
        }
        let key = reader.take(key.unwrap_or(0))?;
        let len = usize::try_from(reader.varint()?).map_err(|_| "record without a value")?;
        let value = Bytes::copy_from_slice(reader.take(len)?);
        let _headers = reader.varint()?;
        if is_control {
            marker = Some(marker_of(key, &value)?);
        }
        records.push(Record { timestamp, value });
    }
    if !reader.0.is_empty() {
        return Err(format!("{} bytes after the last record of the batch at {base}", reader.0.len()));
    }
    let transactional = attributes & TRANSACTIONAL != 0;
    Ok(Batch { base, leader_epoch, records, producer, transactional, marker, bytes: batch.len() })
}

fn marker_of(key: &[u8], value: &[u8]) -> Result<Marker, String> {
    let (mut key, mut value) = (Reader(key), Reader(value));
    let _versions = (key.take(2)?, value.take(2)?);
    let kind = i16::from_be_bytes(key.array()?);
    Ok(Marker { commits: kind == 1, coordinator_epoch: value.i32()? })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("batch ends within a field")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "batch ends within a field".to_owned())
    }

    fn i32(&mut self) -> Result<i32, String> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, String> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn varint(&mut self) -> Result<i64, String> {
        let mut raw = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            raw |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
            }
        }
        Err("varint of more than 64 bits".to_owned())
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = u8::try_from(raw & 0x7f).expect("seven bits");
        raw >>= 7;
        if raw == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}

fn length(len: usize) -> i64 {
    i64::try_from(len).expect("batches are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_and_a_flipped_bit_shows() {
        let records: Vec<_> = (0..5_u8)
            .map(|n| Record { timestamp: 1_700_000_000_000 - i64::from(n) * 70, value: Bytes::from(vec![n; 300]) })
            .collect();
        let mut bytes = encode(&records).to_vec();
        let batches = decode(&bytes).unwrap();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].records, records);
        bytes[200] ^= 1;
        assert!(decode(&bytes).unwrap_err().contains("checksum"));
    }
}
