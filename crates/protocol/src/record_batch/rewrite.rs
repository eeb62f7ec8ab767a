//! What becomes of a batch that loses records: Kafka's log compaction.
//!
//! Offsets, sequence numbers, producer and leader epoch stay as they are, and so does every byte of a record that stays, but for its
//! time where that is counted anew; the codec is the same. So readers see the same records at the same offsets, and fewer of
//! them. Which ones stay is the caller's decision.
//!
//! Memory: what stays, compressed as it was. Records pass through a small window, a piece at a time, as the caller's [`Pace`] has it.

use super::builder::{put_length, put_varlong};
use super::encoder::{Encoder, Level};
use super::input::Input;
use super::{
    ATTRIBUTES_AT, BASE_TIMESTAMP_AT, BatchError, COUNT_AT, DELETE_HORIZON, HEADER_BYTES, MAX_TIMESTAMP_AT,
    NO_TIMESTAMP, Pace, RecordBatch,
};

/// Copied at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes of a variable-length integer.
const VARINT_BYTES_MAX: usize = 10;

/// What a record costs beside its bytes: about the time in which so many are decompressed.
const RECORD_COST: usize = 16;

/// Attributes that an empty batch keeps: who set the times, transactional, control.
const KEPT_ATTRIBUTES: i16 = 0x38;

/// Which of a batch's records stay, one after another: a bit each, since a batch may have millions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    words: Vec<u64>,
    total: usize,
    kept: usize,
}

impl Keep {
    /// Says of the next record whether it stays.
    pub fn push(&mut self, stays: bool) {
        let (word, bit) = (self.total / 64, self.total % 64);
        if bit == 0 {
            self.words.push(0);
        }
        self.words[word] |= u64::from(stays) << bit;
        self.total += 1;
        self.kept += usize::from(stays);
    }

    /// How many stay.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// How many don't.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.total - self.kept
    }

    fn has(&self, record: usize) -> bool {
        record < self.total && self.words[record / 64] >> (record % 64) & 1 == 1
    }
}

impl FromIterator<bool> for Keep {
    fn from_iter<T: IntoIterator<Item = bool>>(stay: T) -> Keep {
        let mut keep = Keep::default();
        stay.into_iter().for_each(|stays| keep.push(stays));
        keep
    }
}

/// How a batch is to be rewritten.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'a> {
    /// Which records stay; at least one does.
    pub keep: &'a Keep,
    /// The delete horizon that it gets; none: it keeps what it has.
    pub delete_horizon: Option<i64>,
    /// The most that its records may take when they are decompressed.
    pub decompressed_max: usize,
}

/// The batch with the records that stay.
///
/// # Errors
/// Its records are malformed, can't be decompressed, or not within the bound.
pub async fn rewrite(batch: &RecordBatch, how: &Rewrite<'_>, pace: &mut impl Pace) -> Result<RecordBatch, BatchError> {
    let codec = batch.compression()?;
    let level = Level { codec, level: None };
    let mut copying = Copying {
        input: Input::new(codec, batch.bytes().slice(HEADER_BYTES..), how.decompressed_max)?,
        encoder: Encoder::begin(level, pace).await?,
        base_timestamp: batch.base_timestamp(),
        delete_horizon: how.delete_horizon,
        greatest: NO_TIMESTAMP,
        cost: level.cost().max(1),
    };
    for number in 0..batch.record_count() {
        let is_kept = usize::try_from(number).is_ok_and(|at| how.keep.has(at));
        if copying.record(is_kept, pace).await?.is_none() {
            return Err(BatchError::Record(number));
        }
    }
    let Copying { encoder, greatest, .. } = copying;
    let packed = encoder.finish().map_err(|_| BatchError::Decompress)?;
    let kept = how.keep.kept();
    let count = i32::try_from(kept).map_err(|_| BatchError::Record(batch.record_count()))?;
    let max_timestamp = if batch.is_log_append_time() { batch.max_timestamp() } else { greatest };
    let base_timestamp = how.delete_horizon.unwrap_or(batch.base_timestamp());
    let flag = if how.delete_horizon.is_some() { DELETE_HORIZON } else { 0 };
    let header = Header { attributes: batch.attributes() | flag, base_timestamp, max_timestamp, count };
    assembled(batch, &header, &packed)
}

/// Records on their way from one batch to the other.
struct Copying {
    input: Input,
    encoder: Encoder,
    base_timestamp: i64,
    delete_horizon: Option<i64>,
    /// The greatest time of a record that stays.
    greatest: i64,
    /// What a byte costs that stays.
    cost: usize,
}

impl Copying {
    /// Takes over one record, or steps over it; `None` where it is malformed.
    async fn record(&mut self, is_kept: bool, pace: &mut impl Pace) -> Result<Option<()>, BatchError> {
        let Some((length, _)) = self.input.varlong(VARINT_BYTES_MAX, pace).await? else { return Ok(None) };
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        pace.spent(RECORD_COST).await;
        if !is_kept {
            return self.copy(length, false, pace).await;
        }
        let Some(attributes) = self.input.byte(pace).await? else { return Ok(None) };
        let Some((delta, delta_bytes)) = self.input.varlong(length.saturating_sub(1), pace).await? else {
            return Ok(None);
        };
        let time = self.base_timestamp.wrapping_add(delta);
        self.greatest = self.greatest.max(time);
        // Times are counted from the horizon where there is a new one.
        let delta = self.delete_horizon.map_or(delta, |horizon| time.wrapping_sub(horizon));
        let mut head = Vec::with_capacity(2 * VARINT_BYTES_MAX + 1);
        put_varlong(&mut head, delta);
        let rest = length - 1 - delta_bytes;
        let mut whole = Vec::with_capacity(3 * VARINT_BYTES_MAX);
        put_length(&mut whole, 1 + head.len() + rest);
        whole.push(attributes);
        whole.extend_from_slice(&head);
        self.encoder.write(&whole).map_err(|_| BatchError::Decompress)?;
        pace.spent(whole.len().saturating_mul(self.cost)).await;
        self.copy(rest, true, pace).await
    }

    async fn copy(&mut self, mut bytes: usize, is_kept: bool, pace: &mut impl Pace) -> Result<Option<()>, BatchError> {
        loop {
            let mut here = bytes.min(self.input.window().len());
            if is_kept {
                here = here.min(PIECE_BYTES);
                self.encoder.write(&self.input.window()[..here]).map_err(|_| BatchError::Decompress)?;
                pace.spent(here.saturating_mul(self.cost)).await;
            }
            self.input.at += here;
            bytes -= here;
            if bytes == 0 {
                return Ok(Some(()));
            }
            if self.input.window().is_empty() && !self.input.fill(pace).await? {
                return Ok(None);
            }
        }
    }
}

/// The batch without any record, so that its offsets and its producer's sequence are still told. Its greatest time stays.
///
/// # Errors
/// None that can happen: a header's length fits its field.
pub fn emptied(batch: &RecordBatch) -> Result<RecordBatch, BatchError> {
    let attributes = batch.attributes() & KEPT_ATTRIBUTES;
    let max_timestamp = batch.max_timestamp();
    assembled(batch, &Header { attributes, base_timestamp: NO_TIMESTAMP, max_timestamp, count: 0 }, &[])
}

/// What changes in a header.
struct Header {
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
}

fn assembled(batch: &RecordBatch, new: &Header, records: &[u8]) -> Result<RecordBatch, BatchError> {
    batch.with_records(records, |header| {
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(ATTRIBUTES_AT, &new.attributes.to_be_bytes());
        put(BASE_TIMESTAMP_AT, &new.base_timestamp.to_be_bytes());
        put(MAX_TIMESTAMP_AT, &new.max_timestamp.to_be_bytes());
        put(COUNT_AT, &new.count.to_be_bytes());
    })
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Compression, NewRecord};
    use super::*;
    use base::crc32c;
    use bytes::{Bytes, BytesMut};
    use std::task::{Context, Poll, Waker};

    struct Free;

    impl Pace for Free {
        async fn spent(&mut self, _: usize) {}
    }

    fn run(batch: &RecordBatch, how: &Rewrite<'_>) -> Result<RecordBatch, BatchError> {
        let mut free = Free;
        let mut work = std::pin::pin!(rewrite(batch, how, &mut free));
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => unreachable!("nothing is waited for"),
        }
    }

    fn five(codec: Compression) -> RecordBatch {
        let builder = BatchBuilder::new().compression(codec).producer(7, 3, 20);
        let add = |builder: BatchBuilder, i: i64| {
            let (key, value) = (format!("key{i}"), format!("value{i}").repeat(100));
            builder.record(&NewRecord {
                timestamp: 1000 - 10 * i,
                key: Some(key.as_bytes()),
                value: (i != 3).then_some(value.as_bytes()),
                headers: &[("a", Some(b"b"))],
            })
        };
        let batch = (0..5).fold(builder, add).build(40).unwrap();
        let mut bytes = BytesMut::from(&batch.bytes()[..]);
        bytes[12..16].copy_from_slice(&9_i32.to_be_bytes());
        RecordBatch::split_first(&mut bytes.freeze()).unwrap()
    }

    const MAX: usize = 1 << 20;

    fn all(records: usize) -> Keep {
        std::iter::repeat_n(true, records).collect()
    }

    #[test]
    fn what_stays_is_what_it_was_in_every_codec_with_and_without_a_delete_horizon() {
        let keep = [false, true, false, true, false].into_iter().collect();
        for codec in Compression::ALL {
            let batch = five(codec);
            let before: Vec<_> = batch.records(MAX).unwrap().map(Result::unwrap).collect();
            for delete_horizon in [None, Some(5), Some(1_700_000_000_000)] {
                let new = run(&batch, &Rewrite { keep: &keep, delete_horizon, decompressed_max: MAX }).unwrap();
                new.check().unwrap();
                assert_eq!(new.delete_horizon(), delete_horizon, "{codec:?}");
                assert_eq!(new.compression(), Ok(codec));
                assert_eq!((new.base_offset(), new.last_offset(), new.leader_epoch()), (40, 44, 9));
                assert_eq!((new.producer_id(), new.producer_epoch()), (7, 3));
                assert_eq!((new.base_sequence(), new.last_sequence(), new.record_count()), (20, 24, 2));
                assert_eq!(new.max_timestamp(), 990, "the greatest of what is left");
                let after: Vec<_> = new.records(MAX).unwrap().map(Result::unwrap).collect();
                assert_eq!(after, [before[1].clone(), before[3].clone()], "{codec:?} {delete_horizon:?}");
                // Once more: the horizon stays, and so do the times.
                let again =
                    Rewrite { keep: &[false, true].into_iter().collect(), delete_horizon: None, decompressed_max: MAX };
                let last = run(&new, &again).unwrap();
                assert_eq!(last.delete_horizon(), delete_horizon);
                assert_eq!(last.records(MAX).unwrap().map(Result::unwrap).collect::<Vec<_>>(), [before[3].clone()]);
            }
        }
    }

    #[test]
    fn an_empty_batch_still_tells_its_offsets_and_sequence() {
        for codec in Compression::ALL {
            let batch = five(codec);
            let with_horizon = Rewrite { keep: &all(5), delete_horizon: Some(77), decompressed_max: MAX };
            let empty = emptied(&run(&batch, &with_horizon).unwrap()).unwrap();
            empty.check().unwrap();
            assert_eq!(empty.bytes().len(), HEADER_BYTES);
            assert_eq!((empty.base_offset(), empty.last_offset(), empty.record_count()), (40, 44, 0));
            assert_eq!((empty.producer_id(), empty.last_sequence(), empty.max_timestamp()), (7, 24, 1000));
            assert_eq!((empty.delete_horizon(), empty.compression()), (None, Ok(Compression::None)));
            assert_eq!(empty.records(MAX).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_bound_holds_and_damage_is_told() {
        for codec in Compression::ALL {
            let batch = five(codec);
            let tight = Rewrite { keep: &all(5), delete_horizon: None, decompressed_max: 100 };
            if codec != Compression::None {
                assert_eq!(run(&batch, &tight), Err(BatchError::DecompressedSize(100)), "{codec:?}");
            }
            let mut bytes = batch.bytes().to_vec();
            for at in HEADER_BYTES..bytes.len() {
                bytes[at] ^= 0x15;
                let changed = RecordBatch::split_first(&mut Bytes::from(bytes.clone())).unwrap();
                let how = Rewrite { keep: &all(5), delete_horizon: Some(9), decompressed_max: MAX };
                // Whatever comes out, nothing panics, and what is made has a checksum.
                if let Ok(new) = run(&changed, &how) {
                    new.check().unwrap();
                }
                bytes[at] ^= 0x15;
            }
        }
    }

    #[test]
    fn the_brokers_time_stays() {
        let batch = five(Compression::None);
        let mut bytes = BytesMut::from(&batch.bytes()[..]);
        bytes[22] |= 8;
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let stamped = RecordBatch::split_first(&mut bytes.freeze()).unwrap();
        let keep = [false, false, true, false, false].into_iter().collect();
        let how = Rewrite { keep: &keep, delete_horizon: Some(5), decompressed_max: MAX };
        let new = run(&stamped, &how).unwrap();
        assert_eq!((new.is_log_append_time(), new.max_timestamp()), (true, 1000));
        assert_eq!(new.records(MAX).unwrap().map(|record| record.unwrap().timestamp).collect::<Vec<_>>(), [1000]);
    }
}
