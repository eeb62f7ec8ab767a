//! Record batches for this crate's tests, written by hand, so that the code under test does not vouch for itself.

use base::crc32c;
use bytes::{BufMut, Bytes, BytesMut};

/// An uncompressed batch of records with these timestamps and values.
pub(crate) fn batch(records: &[(i64, &str)]) -> Bytes {
    let first = records[0].0;
    let mut body = BytesMut::new();
    for (delta, (timestamp, value)) in (0_i64..).zip(records) {
        let mut record = BytesMut::new();
        record.put_u8(0);
        put_varint(&mut record, timestamp - first);
        put_varint(&mut record, delta);
        put_varint(&mut record, -1);
        put_varint(&mut record, i64::try_from(value.len()).unwrap());
        record.put_slice(value.as_bytes());
        put_varint(&mut record, 0);
        put_varint(&mut body, i64::try_from(record.len()).unwrap());
        body.put_slice(&record);
    }
    let count = i32::try_from(records.len()).unwrap();
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(49 + body.len()).unwrap());
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32(count - 1);
    batch.put_i64(first);
    batch.put_i64(records.iter().map(|record| record.0).max().unwrap());
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(count);
    batch.put_slice(&body);
    sealed(batch)
}

/// The same bytes changed by `change`, with a checksum that matches again.
pub(crate) fn changed(batch: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    change(&mut bytes);
    sealed(bytes)
}

fn sealed(mut batch: BytesMut) -> Bytes {
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = u64::from_be_bytes(((value << 1) ^ (value >> 63)).to_be_bytes());
    while zigzag >= 0x80 {
        out.put_u8(u8::try_from(zigzag & 0x7f).unwrap() | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(u8::try_from(zigzag).unwrap());
}
