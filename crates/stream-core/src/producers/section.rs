//! A stream's producers as bytes: a state section of a data object (docs/formats/object.md). Its checksum stands in the object's
//! index and in the ledger's reference.
//!
//! Where nothing is known of transactions the bytes are those of the first form, which an earlier release reads; else a flag says that
//! there is more, and such a release refuses the section.

use super::aborted::Aborted;
use super::producer::{FirstEnding, Mark, Producer};
use super::{AbortedTransaction, BATCHES_KEPT, ProducerBatch, Producers};
use crate::batch::{ending_number, ending_of};
use crate::fields::Fields;
use base::{Offset, OffsetRange, UnixMillis};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeSet;

/// Bytes before the first producer.
const HEAD_BYTES: usize = 8;
/// Bytes of a producer before its batches.
const PRODUCER_BYTES: usize = 20;
/// Bytes of a batch.
const BATCH_BYTES: usize = 28;
/// Bytes of a producer's flags, behind its batches.
const KNOWN_BYTES: usize = 4;
/// Bytes of what says of its newest batch without sequences.
const MARK_BYTES: usize = 40;
/// Bytes of what says of its open transaction.
const OPEN_BYTES: usize = 8;
/// Bytes of what says of its first marker.
const FIRST_ENDING_BYTES: usize = 20;
/// Bytes before the aborted transactions.
const ABORTED_HEAD_BYTES: usize = 16;
/// Bytes of one.
const ABORTED_BYTES: usize = 32;

/// Flag: a producer has expired on this stream.
const EXPIRED: u32 = 1;
/// Flag: what is known of transactions is there.
const TRANSACTIONS: u32 = 2;

/// Flag of a producer: a batch without sequences.
const MARK: u32 = 1;
/// Flag: a marker is among what that batch tells.
const ENDED: u32 = 2;
/// Flag: an open transaction.
const OPEN: u32 = 4;
/// Flag: the first marker of a part.
const FIRST_ENDING: u32 = 8;

const SHORT: SectionError = SectionError("it is cut short");
const OUT_OF_RANGE: SectionError = SectionError("a number is out of range");

/// Bytes that are no state section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state section is corrupt: {0}")]
pub struct SectionError(pub &'static str);

/// The section's bytes. The same value always has the same.
///
/// # Panics
/// With more than `u32::MAX` producers, or with what is not confirmed: the caller bounds them, and takes [`Producers::as_of`].
#[must_use]
pub fn encode_section(producers: &Producers) -> Bytes {
    let has_transactions = has_transactions(producers);
    let mut out = BytesMut::with_capacity(HEAD_BYTES + producers.len() * (PRODUCER_BYTES + BATCHES_KEPT * BATCH_BYTES));
    out.put_u32_le(if producers.expired { EXPIRED } else { 0 } | if has_transactions { TRANSACTIONS } else { 0 });
    out.put_u32_le(count(producers.len()));
    for (id, producer) in &producers.by_id {
        out.put_i64_le(*id);
        out.put_i64_le(producer.seen.0);
        out.put_u32_le(count(producer.batches.len()));
        for batch in &producer.batches {
            out.put_u64_le(batch.base.0);
            out.put_i64_le(batch.timestamp.0);
            out.put_i32_le(batch.first_sequence);
            out.put_i32_le(batch.last_sequence);
            out.put_i16_le(batch.epoch);
            out.put_u16_le(0);
        }
        if has_transactions {
            encode_known(&mut out, producer);
        }
    }
    if has_transactions {
        encode_aborted(&mut out, &producers.transactions.aborted);
    }
    out.freeze()
}

fn has_transactions(producers: &Producers) -> bool {
    let knows_of_some = |it: &Producer| it.open.is_some() || it.first_ending.is_some() || !it.marks.is_empty();
    !producers.transactions.aborted.is_empty() || producers.by_id.values().any(knows_of_some)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("the caller bounds what is saved")
}

fn encode_known(out: &mut BytesMut, producer: &Producer) {
    let Producer { marks, open, first_ending, .. } = producer;
    assert!(marks.len() <= 1, "what is saved is confirmed");
    let mark = marks.last();
    let flag = |is_there: bool, flag: u32| if is_there { flag } else { 0 };
    out.put_u32_le(
        flag(mark.is_some(), MARK)
            | flag(mark.is_some_and(|mark| mark.ended.is_some()), ENDED)
            | flag(open.is_some(), OPEN)
            | flag(first_ending.is_some(), FIRST_ENDING),
    );
    if let Some(mark) = mark {
        out.put_u64_le(mark.range.base.0);
        out.put_u64_le(mark.range.next.0);
        out.put_i64_le(mark.timestamp.0);
        out.put_u64_le(mark.ended.unwrap_or_default().0);
        out.put_i32_le(mark.coordinator_epoch);
        out.put_i16_le(mark.epoch);
        out.put_u16_le(0);
    }
    if let Some(first) = open {
        out.put_u64_le(first.0);
    }
    if let Some(FirstEnding { at, ending, stable }) = first_ending {
        out.put_u64_le(at.0);
        out.put_u64_le(stable.0);
        out.put_u16_le(ending_number(*ending));
        out.put_u16_le(0);
    }
}

fn encode_aborted(out: &mut BytesMut, aborted: &Aborted) {
    out.put_u64_le(aborted.forgotten.0);
    out.put_u32_le(count(aborted.len()));
    out.put_u32_le(0);
    for AbortedTransaction { producer_id, first, last, last_stable } in &aborted.entries {
        out.put_i64_le(*producer_id);
        out.put_u64_le(first.0);
        out.put_u64_le(last.0);
        out.put_u64_le(last_stable.0);
    }
}

/// The value of such bytes.
///
/// # Errors
/// They are not what [`encode_section`] writes.
pub fn decode_section(bytes: &[u8]) -> Result<Producers, SectionError> {
    let mut rest = bytes;
    let mut fields = take(&mut rest, HEAD_BYTES)?;
    let (flags, count) = (fields.u32(), fields.u32());
    if flags & !(EXPIRED | TRANSACTIONS) != 0 {
        return Err(SectionError("unknown flags"));
    }
    let has_transactions = flags & TRANSACTIONS != 0;
    let mut producers = Producers { expired: flags & EXPIRED != 0, ..Producers::default() };
    let mut firsts = BTreeSet::new();
    for _ in 0..count {
        let (id, producer) = decode_producer(&mut rest, has_transactions)?;
        if producers.by_id.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(SectionError("producers out of order"));
        }
        if let Some(first) = producer.open {
            if !firsts.insert(first) {
                return Err(SectionError("two transactions that begin with the same batch"));
            }
            producers.transactions.begin(first, id);
        }
        producers.by_id.insert(id, producer);
    }
    if has_transactions {
        producers.transactions.aborted = decode_aborted(&mut rest)?;
    }
    if rest.is_empty() { Ok(producers) } else { Err(SectionError("bytes are left over")) }
}

/// The next `len` bytes.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<Fields<'a>, SectionError> {
    let (record, after) = rest.split_at_checked(len).ok_or(SHORT)?;
    *rest = after;
    Ok(Fields::new(record))
}

fn decode_producer(rest: &mut &[u8], has_transactions: bool) -> Result<(i64, Producer), SectionError> {
    let mut fields = take(rest, PRODUCER_BYTES)?;
    let (id, mut producer) = (fields.i64(), Producer::new(UnixMillis(fields.i64())));
    let batches = usize::try_from(fields.u32()).unwrap_or(usize::MAX);
    if batches > BATCHES_KEPT {
        return Err(SectionError("a producer with too many batches"));
    }
    for _ in 0..batches {
        producer.batches.push(decode_batch(take(rest, BATCH_BYTES)?)?);
    }
    if !producer.batches.is_sorted_by(|a, b| a.next() <= b.base) {
        return Err(SectionError("batches out of order"));
    }
    if has_transactions {
        decode_known(rest, &mut producer)?;
    }
    if producer.batches.is_empty() && producer.marks.is_empty() {
        return Err(SectionError("a producer of which nothing is known"));
    }
    Ok((id, producer))
}

fn decode_batch(mut fields: Fields<'_>) -> Result<ProducerBatch, SectionError> {
    let (base, timestamp) = (offset(fields.u64())?, UnixMillis(fields.i64()));
    let (first_sequence, last_sequence, epoch) = (fields.i32(), fields.i32(), fields.i16());
    if first_sequence < 0 || last_sequence < 0 || epoch < 0 {
        return Err(OUT_OF_RANGE);
    }
    Ok(ProducerBatch { epoch, first_sequence, last_sequence, base, timestamp })
}

/// So that the end of a batch there is an offset too.
fn offset(value: u64) -> Result<Offset, SectionError> {
    if value <= Offset::MAX.0 - (1 << 31) { Ok(Offset(value)) } else { Err(OUT_OF_RANGE) }
}

fn decode_known(rest: &mut &[u8], producer: &mut Producer) -> Result<(), SectionError> {
    let flags = take(rest, KNOWN_BYTES)?.u32();
    if flags & !(MARK | ENDED | OPEN | FIRST_ENDING) != 0 || flags & (MARK | ENDED) == ENDED {
        return Err(SectionError("unknown flags of a producer"));
    }
    if flags & MARK != 0 {
        let mut fields = take(rest, MARK_BYTES)?;
        let (base, next) = (offset(fields.u64())?, offset(fields.u64())?);
        let timestamp = UnixMillis(fields.i64());
        let ended = offset(fields.u64())?;
        let (coordinator_epoch, epoch) = (fields.i32(), fields.i16());
        if base >= next || ended > base || epoch < 0 {
            return Err(OUT_OF_RANGE);
        }
        let ended = (flags & ENDED != 0).then_some(ended);
        let range = OffsetRange::new(base, next);
        producer.marks.push(Mark { range, timestamp, epoch, coordinator_epoch, ended });
    }
    if flags & OPEN != 0 {
        producer.open = Some(offset(take(rest, OPEN_BYTES)?.u64())?);
    }
    if flags & FIRST_ENDING != 0 {
        let mut fields = take(rest, FIRST_ENDING_BYTES)?;
        let (at, stable) = (offset(fields.u64())?, offset(fields.u64())?);
        let ending = ending_of(fields.u16()).ok_or(SectionError("a marker of an unknown kind"))?;
        producer.first_ending = Some(FirstEnding { at, ending, stable });
    }
    Ok(())
}

fn decode_aborted(rest: &mut &[u8]) -> Result<Aborted, SectionError> {
    let mut fields = take(rest, ABORTED_HEAD_BYTES)?;
    let mut aborted = Aborted { forgotten: offset(fields.u64())?, ..Aborted::default() };
    for _ in 0..fields.u32() {
        let mut fields = take(rest, ABORTED_BYTES)?;
        let producer_id = fields.i64();
        let (first, last, last_stable) = (offset(fields.u64())?, offset(fields.u64())?, offset(fields.u64())?);
        if first >= last || last_stable > last.plus(1) {
            return Err(OUT_OF_RANGE);
        }
        if aborted.entries.back().is_some_and(|before| before.last >= last) {
            return Err(SectionError("aborted transactions out of order"));
        }
        aborted.entries.push_back(AbortedTransaction { producer_id, first, last, last_stable });
    }
    Ok(aborted)
}
