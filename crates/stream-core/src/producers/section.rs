//! A stream's producers as bytes: a state section of a data object (docs/formats/object.md). Its checksum stands in the object's
//! index and in the ledger's reference.

use super::{BATCHES_KEPT, Producer, ProducerBatch, Producers};
use crate::fields::Fields;
use base::{Offset, UnixMillis};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before the first producer.
const HEAD_BYTES: usize = 8;
/// Bytes of a producer before its batches.
const PRODUCER_BYTES: usize = 20;
/// Bytes of a batch.
const BATCH_BYTES: usize = 28;
/// Flag: a producer has expired on this stream.
const EXPIRED: u32 = 1;

/// Bytes that are no state section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state section is corrupt: {0}")]
pub struct SectionError(pub &'static str);

/// The section's bytes. The same value always has the same.
///
/// # Panics
/// With more than `u32::MAX` producers: the caller bounds them.
#[must_use]
pub fn encode_section(producers: &Producers) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + producers.len() * (PRODUCER_BYTES + BATCHES_KEPT * BATCH_BYTES));
    out.put_u32_le(if producers.expired { EXPIRED } else { 0 });
    out.put_u32_le(u32::try_from(producers.len()).expect("the caller bounds producers"));
    for (id, producer) in &producers.by_id {
        out.put_i64_le(*id);
        out.put_i64_le(producer.seen.0);
        out.put_u32_le(u32::try_from(producer.batches.len()).expect("a producer has few batches"));
        for batch in &producer.batches {
            out.put_u64_le(batch.base.0);
            out.put_i64_le(batch.timestamp.0);
            out.put_i32_le(batch.first_sequence);
            out.put_i32_le(batch.last_sequence);
            out.put_i16_le(batch.epoch);
            out.put_u16_le(0);
        }
    }
    out.freeze()
}

/// The value of such bytes.
///
/// # Errors
/// They are not what [`encode_section`] writes.
pub fn decode_section(bytes: &[u8]) -> Result<Producers, SectionError> {
    const SHORT: SectionError = SectionError("it is cut short");
    let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(SHORT)?;
    let mut fields = Fields::new(head);
    let (flags, count) = (fields.u32(), fields.u32());
    if flags & !EXPIRED != 0 {
        return Err(SectionError("unknown flags"));
    }
    let mut producers = Producers { expired: flags & EXPIRED != 0, ..Producers::default() };
    for _ in 0..count {
        let (head, after) = rest.split_at_checked(PRODUCER_BYTES).ok_or(SHORT)?;
        let mut fields = Fields::new(head);
        let (id, seen) = (fields.i64(), UnixMillis(fields.i64()));
        let batches = usize::try_from(fields.u32()).unwrap_or(usize::MAX);
        if batches == 0 || batches > BATCHES_KEPT {
            return Err(SectionError("a producer without batches, or with too many"));
        }
        let (body, after) = after.split_at_checked(batches * BATCH_BYTES).ok_or(SHORT)?;
        let batches = body.chunks_exact(BATCH_BYTES).map(decode_batch).collect::<Result<Vec<_>, _>>()?;
        if !batches.is_sorted_by(|a, b| a.next() <= b.base) {
            return Err(SectionError("batches out of order"));
        }
        if producers.by_id.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(SectionError("producers out of order"));
        }
        producers.by_id.insert(id, Producer { batches, seen });
        rest = after;
    }
    if rest.is_empty() { Ok(producers) } else { Err(SectionError("bytes are left over")) }
}

fn decode_batch(record: &[u8]) -> Result<ProducerBatch, SectionError> {
    let mut fields = Fields::new(record);
    let (base, timestamp) = (Offset(fields.u64()), UnixMillis(fields.i64()));
    let (first_sequence, last_sequence, epoch) = (fields.i32(), fields.i32(), fields.i16());
    // So that the end of the batch is an offset too.
    let fits = base.0 <= Offset::MAX.0 - (1 << 31);
    if first_sequence < 0 || last_sequence < 0 || epoch < 0 || !fits {
        return Err(SectionError("a number is out of range"));
    }
    Ok(ProducerBatch { epoch, first_sequence, last_sequence, base, timestamp })
}
