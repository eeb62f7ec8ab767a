//! Walks over a batch's records a piece at a time, whatever they decompress to: what a broker checks and searches batches with.
//!
//! Decompressed bytes pass through one small window and are gone, so a batch of a hundred KiB that becomes a hundred MiB takes
//! time but no memory. The time is the caller's to give: it is told of every piece through [`Pace`], and may let others run, or
//! give up, at each. Guarantees: the same batches are refused as by `RecordBatch::records`; decompressing stops at a bound.
//! What a record holds beyond [`RecordHead`] is stepped over.

use super::input::Input;
use super::{BatchError, RecordBatch};
use std::future::Future;

/// What a record, or one of its headers, costs beside its bytes: about the time in which so many are decompressed.
const ITEM_COST: usize = 16;

/// Headers of a record that are stepped over in one go.
const HEADERS_AT_ONCE_MAX: i32 = 64;

/// Hears how much work has been done.
pub trait Pace: Send {
    /// Called at every step with its cost in decompressed bytes, or what takes as long. The walk goes on when it completes.
    fn spent(&mut self, cost: usize) -> impl Future<Output = ()> + Send;
}

/// What matters of a record for its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// Its offset in the log less the batch's.
    pub offset_delta: i32,
    /// Its offset in the log.
    pub offset: i64,
    /// Its time in milliseconds; the batch's where the broker set it.
    pub timestamp: i64,
    /// Whether it has a key.
    pub has_key: bool,
}

/// A walk over one batch. Over after the first error.
pub struct RecordWalk {
    input: Input,
    base_offset: i64,
    base_timestamp: i64,
    /// The time of all records, where the broker set it.
    append_time: Option<i64>,
    next: i32,
    count: i32,
    /// Bytes left of the record that is being read.
    left: usize,
}

impl RecordWalk {
    /// Before the first record of `batch`, which may become at most `decompressed_max` bytes.
    ///
    /// # Errors
    /// Where its codec does not exist, or can't begin.
    pub fn new(batch: &RecordBatch, decompressed_max: usize) -> Result<RecordWalk, BatchError> {
        Ok(RecordWalk {
            input: Input::new(batch.compression()?, batch.bytes.slice(super::HEADER_BYTES..), decompressed_max)?,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_time: batch.is_log_append_time().then(|| batch.max_timestamp()),
            next: 0,
            count: batch.record_count(),
            left: 0,
        })
    }

    /// The next record's head; none behind the last one.
    ///
    /// # Errors
    /// Where the record is malformed, can't be decompressed or not within the bound, or where bytes follow behind the last one.
    pub async fn next(&mut self, pace: &mut impl Pace) -> Result<Option<RecordHead>, BatchError> {
        if self.next >= self.count {
            let trailing = !self.input.window().is_empty() || self.input.fill(pace).await?;
            return if trailing { Err(BatchError::Record(self.count)) } else { Ok(None) };
        }
        let head = self.record(pace).await?;
        self.next += 1;
        Ok(Some(head))
    }

    /// Bytes decompressed so far; 0 where the batch isn't compressed.
    #[must_use]
    pub fn decompressed(&self) -> usize {
        self.input.decompressed
    }

    async fn record(&mut self, pace: &mut impl Pace) -> Result<RecordHead, BatchError> {
        pace.spent(ITEM_COST).await;
        if let Some((head, len)) = self.whole() {
            self.input.at += len;
            return Ok(head);
        }
        // No record is longer than its length says, which itself is outside of it.
        self.left = usize::MAX;
        let length = self.varint(pace).await?;
        self.left = usize::try_from(length).map_err(|_| self.malformed())?;
        self.byte(pace).await?;
        let timestamp_delta = self.varlong(pace).await?;
        let offset_delta = self.varint(pace).await?;
        let has_key = self.nullable(pace).await?;
        self.nullable(pace).await?;
        let headers = self.varint(pace).await?;
        if headers < 0 {
            return Err(self.malformed());
        }
        for _ in 0..headers {
            pace.spent(ITEM_COST).await;
            if !self.nullable(pace).await? {
                return Err(self.malformed());
            }
            self.nullable(pace).await?;
        }
        let head = self.head(offset_delta, timestamp_delta, has_key).filter(|_| self.left == 0);
        head.ok_or(self.malformed())
    }

    /// The next record and its length, where all of it is in the window, nothing is wrong with it and it has few headers: nearly always.
    /// For all others the long way says what is wrong, and gives its caller time.
    fn whole(&self) -> Option<(RecordHead, usize)> {
        let window = self.input.window();
        let mut cursor = Cursor { left: window };
        let length = usize::try_from(cursor.varint()?).ok()?;
        let record_bytes = window.len() - cursor.left.len() + length;
        cursor.left = cursor.left.get(..length)?;
        cursor.skip(1)?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let has_key = cursor.nullable()?;
        cursor.nullable()?;
        let headers = cursor.varint()?;
        if !(0..=HEADERS_AT_ONCE_MAX).contains(&headers) {
            return None;
        }
        for _ in 0..headers {
            if !cursor.nullable()? {
                return None;
            }
            cursor.nullable()?;
        }
        if !cursor.left.is_empty() {
            return None;
        }
        Some((self.head(offset_delta, timestamp_delta, has_key)?, record_bytes))
    }

    fn head(&self, offset_delta: i32, timestamp_delta: i64, has_key: bool) -> Option<RecordHead> {
        Some(RecordHead {
            offset_delta,
            offset: self.base_offset.checked_add(i64::from(offset_delta))?,
            timestamp: self.append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            has_key,
        })
    }

    /// Steps over a length and so many bytes; whether it isn't null, whose length is -1.
    async fn nullable(&mut self, pace: &mut impl Pace) -> Result<bool, BatchError> {
        let length = self.varint(pace).await?;
        if length == -1 {
            return Ok(false);
        }
        let mut length = usize::try_from(length).map_err(|_| self.malformed())?;
        self.left = self.left.checked_sub(length).ok_or(self.malformed())?;
        loop {
            let here = length.min(self.input.window().len());
            self.input.at += here;
            length -= here;
            if length == 0 {
                return Ok(true);
            }
            if !self.input.fill(pace).await? {
                return Err(self.malformed());
            }
        }
    }

    async fn varint(&mut self, pace: &mut impl Pace) -> Result<i32, BatchError> {
        i32::try_from(self.varlong(pace).await?).map_err(|_| self.malformed())
    }

    async fn varlong(&mut self, pace: &mut impl Pace) -> Result<i64, BatchError> {
        let mut varlong = Varlong::default();
        loop {
            let byte = self.byte(pace).await?;
            if let Some(value) = varlong.push(byte).ok_or(self.malformed())? {
                return Ok(value);
            }
        }
    }

    async fn byte(&mut self, pace: &mut impl Pace) -> Result<u8, BatchError> {
        self.left = self.left.checked_sub(1).ok_or(self.malformed())?;
        if self.input.window().is_empty() && !self.input.fill(pace).await? {
            return Err(self.malformed());
        }
        let byte = self.input.window()[0];
        self.input.at += 1;
        Ok(byte)
    }

    fn malformed(&self) -> BatchError {
        BatchError::Record(self.next)
    }
}

/// A variable-length integer as its bytes come: seven bits a byte, least first, the sign in the lowest bit.
#[derive(Default)]
struct Varlong {
    value: u64,
    shift: u32,
}

impl Varlong {
    /// Takes the next byte: the value with the last one. `None`: it is longer than ten bytes, or greater than 64 bits.
    fn push(&mut self, byte: u8) -> Option<Option<i64>> {
        let part = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && part > 1) {
            return None;
        }
        self.value |= part << self.shift;
        self.shift += 7;
        let is_last = byte & 0x80 == 0;
        Some(is_last.then_some((self.value >> 1).cast_signed() ^ -(self.value & 1).cast_signed()))
    }
}

/// What is left of a record that is all there; `None` from all of these: it is not as it should be.
struct Cursor<'a> {
    left: &'a [u8],
}

impl Cursor<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.get(bytes..)?;
        Some(())
    }

    fn varlong(&mut self) -> Option<i64> {
        let mut varlong = Varlong::default();
        for (at, byte) in self.left.iter().enumerate() {
            if let Some(value) = varlong.push(*byte)? {
                self.skip(at + 1)?;
                return Some(value);
            }
        }
        None
    }

    fn varint(&mut self) -> Option<i32> {
        i32::try_from(self.varlong()?).ok()
    }

    /// Steps over a length and so many bytes; whether it isn't null.
    fn nullable(&mut self) -> Option<bool> {
        match self.varint()? {
            -1 => Some(false),
            length => self.skip(usize::try_from(length).ok()?).map(|()| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::WINDOW_BYTES;
    use super::super::{BatchBuilder, Compression, NewRecord};
    use super::*;
    use bytes::Bytes;
    use std::task::{Context, Poll, Waker};

    /// Stops for a moment at every step, and counts.
    #[derive(Default)]
    struct Count {
        cost: usize,
        greatest: usize,
    }

    impl Pace for Count {
        async fn spent(&mut self, cost: usize) {
            self.cost += cost;
            self.greatest = self.greatest.max(cost);
            let mut first = true;
            std::future::poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
        }
    }

    /// Polls until it is done; how often that was.
    fn run<T>(work: impl Future<Output = T>) -> (T, usize) {
        let mut work = std::pin::pin!(work);
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 1;
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
                return (done, polls);
            }
            polls += 1;
        }
    }

    async fn heads(batch: &RecordBatch, max: usize, pace: &mut Count) -> Result<Vec<RecordHead>, BatchError> {
        let mut walk = RecordWalk::new(batch, max)?;
        let mut heads = Vec::new();
        while let Some(head) = walk.next(pace).await? {
            heads.push(head);
        }
        Ok(heads)
    }

    fn batch(codec: Compression, values: &[Vec<u8>]) -> RecordBatch {
        let builder = (0_i64..).zip(values).fold(BatchBuilder::new().compression(codec), |builder, (i, value)| {
            let key = (i % 2 == 0).then_some(&b"key"[..]);
            builder.record(&NewRecord {
                timestamp: 1000 - i,
                key,
                value: Some(value),
                headers: &[("a", Some(&[7; 9]))],
            })
        });
        builder.build(40).unwrap()
    }

    #[test]
    fn tells_what_the_records_iterator_tells_in_pieces_of_a_window_at_most() {
        let values: Vec<Vec<u8>> = [0, 1, 100, 70_000, 300_000, 5].map(|bytes| vec![b'x'; bytes]).into();
        for codec in Compression::ALL {
            let batch = batch(codec, &values);
            let mut pace = Count::default();
            let (walked, polls) = run(heads(&batch, 1 << 20, &mut pace));
            let expected = batch.records(1 << 20).unwrap().map(|record| {
                let record = record.unwrap();
                let (offset_delta, offset, timestamp) = (record.offset_delta, record.offset, record.timestamp);
                RecordHead { offset_delta, offset, timestamp, has_key: record.key.is_some() }
            });
            assert_eq!(walked.unwrap(), expected.collect::<Vec<_>>(), "{codec:?}");
            assert!(pace.greatest <= WINDOW_BYTES && polls > values.len(), "{codec:?}");
            assert!(codec == Compression::None || pace.cost > 370_000, "{codec:?}");
        }
    }

    #[test]
    fn stops_at_the_bound_and_refuses_what_the_iterator_refuses() {
        let values = vec![vec![b'y'; 50_000]; 4];
        for codec in Compression::ALL {
            let good = batch(codec, &values);
            let mut bytes = good.bytes().to_vec();
            for at in 0..bytes.len().min(300) {
                bytes[at] ^= 0x15;
                if let Ok(changed) = RecordBatch::split_first(&mut Bytes::from(bytes.clone())) {
                    let listed = changed.records(1 << 20).and_then(|it| it.collect::<Result<Vec<_>, _>>());
                    let walked = run(heads(&changed, 1 << 20, &mut Count::default())).0;
                    assert_eq!(walked.is_ok(), listed.is_ok(), "{codec:?}, byte {at}: {walked:?}");
                }
                bytes[at] ^= 0x15;
            }
            if codec != Compression::None {
                let (refused, _) = run(heads(&good, 150_000, &mut Count::default()));
                assert_eq!(refused, Err(BatchError::DecompressedSize(150_000)), "{codec:?}");
            }
        }
    }
}
