//! Batches for tests: real headers, meaningless bodies.

use crate::{BatchBytes, NumberedBatch};
use base::{Offset, OffsetRange, UnixMillis};
use bytes::Bytes;

/// A record batch v2 of `len` bytes that covers `count` offsets from `base` on; its body repeats the base offset's low byte.
///
/// # Panics
/// Where `len` can't hold the header.
#[must_use]
pub fn batch_bytes(base: u64, count: u32, len: usize) -> Vec<u8> {
    assert!(len >= crate::walk::HEADER_BYTES);
    let mut bytes = vec![base.to_le_bytes()[0]; len];
    bytes[0..8].copy_from_slice(&base.to_be_bytes());
    bytes[8..12].copy_from_slice(&u32::try_from(len - 12).expect("a test's batch is small").to_be_bytes());
    bytes[12..16].copy_from_slice(&0_i32.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[35..43].copy_from_slice(&base.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    bytes
}

/// [`batch_bytes`] as a numbered batch in two pieces, as the broker hands it over. Its timestamp is its base offset.
///
/// # Panics
/// Where `len` can't hold the header.
#[must_use]
pub fn batch(base: u64, count: u32, len: usize) -> NumberedBatch {
    let bytes = Bytes::from(batch_bytes(base, count, len));
    NumberedBatch {
        range: OffsetRange::new(Offset(base), Offset(base + u64::from(count))),
        bytes: BatchBytes { head: bytes.slice(..16), body: bytes.slice(16..) },
        records: count,
        max_timestamp: UnixMillis(base.cast_signed()),
        producer: None,
        control: false,
        frame: None,
    }
}
