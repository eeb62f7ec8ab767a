//! Walks over a batch's records a piece at a time, whatever they decompress to: what a broker checks and searches batches with.
//!
//! Decompressed bytes pass through one small window and are gone, so a batch of a hundred KiB that becomes a hundred MiB takes
//! time but no memory. The time is the caller's to give: it is told of every piece through [`Pace`], and may let others run, or
//! give up, at each. Guarantees: the same batches are refused as by `RecordBatch::records`; decompressing stops at a bound.
//! What a record holds beyond [`RecordHead`] is stepped over; its key may be told by a digest.

use super::input::{Input, Varlong};
use super::{BatchError, RecordBatch};
use md5::{Digest, Md5};
use std::future::Future;

/// What a record, or one of its headers, costs beside its bytes: about the time in which so many are decompressed.
const ITEM_COST: usize = 16;

/// Headers of a record that are stepped over in one go.
const HEADERS_AT_ONCE_MAX: i32 = 64;

/// What a key's digest costs beside that.
const DIGEST_COST: usize = 256;

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
    /// Whether it has a value: what has none says that its key is deleted.
    pub has_value: bool,
    /// Its key's digest, where the walk makes them and there is a key.
    pub key: Option<KeyDigest>,
}

/// Stands for a key where many are remembered.
pub type KeyDigest = [u8; KEY_DIGEST_BYTES];

/// Bytes of a key's digest.
pub const KEY_DIGEST_BYTES: usize = 16;

/// Makes digests of keys. Kafka's log cleaner takes MD5 for that; here a number that nobody knows goes before each key, so that
/// nobody can make two keys with one digest.
#[derive(Debug, Clone)]
pub struct KeyHasher {
    begun: Md5,
}

impl KeyHasher {
    /// Digests of one hasher are comparable, and only these.
    #[must_use]
    pub fn new(secret: u128) -> KeyHasher {
        KeyHasher { begun: Md5::new_with_prefix(secret.to_le_bytes()) }
    }

    /// Of a key that is in one piece.
    #[must_use]
    pub fn digest(&self, key: &[u8]) -> KeyDigest {
        self.begun.clone().chain_update(key).finalize().into()
    }
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
    /// Makes the keys' digests, where they are asked for.
    hasher: Option<KeyHasher>,
}

/// What is made of bytes that are stepped over.
enum Sink<'a> {
    Nothing,
    Digest(&'a mut Md5),
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
            hasher: None,
        })
    }

    /// Tells each key by a digest of this hasher.
    #[must_use]
    pub fn with_keys(self, hasher: &KeyHasher) -> RecordWalk {
        RecordWalk { hasher: Some(hasher.clone()), ..self }
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
        pace.spent(ITEM_COST + if self.hasher.is_some() { DIGEST_COST } else { 0 }).await;
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
        let mut digest = self.hasher.as_ref().map(|hasher| hasher.begun.clone());
        let has_key = self.nullable(pace, digest.as_mut().map_or(Sink::Nothing, Sink::Digest)).await?;
        let key = digest.filter(|_| has_key).map(|digest| digest.finalize().into());
        let has_value = self.nullable(pace, Sink::Nothing).await?;
        let headers = self.varint(pace).await?;
        if headers < 0 {
            return Err(self.malformed());
        }
        for _ in 0..headers {
            pace.spent(ITEM_COST).await;
            if !self.nullable(pace, Sink::Nothing).await? {
                return Err(self.malformed());
            }
            self.nullable(pace, Sink::Nothing).await?;
        }
        let head = self.head((offset_delta, timestamp_delta), (has_key, has_value), key);
        let head = head.filter(|_| self.left == 0);
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
        let key = cursor.nullable()?;
        let has_value = cursor.nullable()?.is_some();
        let headers = cursor.varint()?;
        if !(0..=HEADERS_AT_ONCE_MAX).contains(&headers) {
            return None;
        }
        for _ in 0..headers {
            cursor.nullable()??;
            cursor.nullable()?;
        }
        if !cursor.left.is_empty() {
            return None;
        }
        let digest = self.hasher.as_ref().zip(key).map(|(hasher, key)| hasher.digest(key));
        let head = self.head((offset_delta, timestamp_delta), (key.is_some(), has_value), digest)?;
        Some((head, record_bytes))
    }

    fn head(
        &self,
        (offset_delta, timestamp_delta): (i32, i64),
        (has_key, has_value): (bool, bool),
        key: Option<KeyDigest>,
    ) -> Option<RecordHead> {
        Some(RecordHead {
            offset_delta,
            offset: self.base_offset.checked_add(i64::from(offset_delta))?,
            timestamp: self.append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            has_key,
            has_value,
            key,
        })
    }

    /// Steps over a length and so many bytes; whether it isn't null, whose length is -1.
    async fn nullable(&mut self, pace: &mut impl Pace, mut sink: Sink<'_>) -> Result<bool, BatchError> {
        let length = self.varint(pace).await?;
        if length == -1 {
            return Ok(false);
        }
        let mut length = usize::try_from(length).map_err(|_| self.malformed())?;
        self.left = self.left.checked_sub(length).ok_or(self.malformed())?;
        loop {
            let here = length.min(self.input.window().len());
            if let Sink::Digest(digest) = &mut sink {
                digest.update(&self.input.window()[..here]);
            }
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
        let (value, bytes) = self.input.varlong(self.left, pace).await?.ok_or(self.malformed())?;
        self.left -= bytes;
        Ok(value)
    }

    async fn byte(&mut self, pace: &mut impl Pace) -> Result<u8, BatchError> {
        self.left = self.left.checked_sub(1).ok_or(self.malformed())?;
        self.input.byte(pace).await?.ok_or(self.malformed())
    }

    fn malformed(&self) -> BatchError {
        BatchError::Record(self.next)
    }
}

/// What is left of a record that is all there; `None` from all of these: it is not as it should be.
struct Cursor<'a> {
    left: &'a [u8],
}

impl<'a> Cursor<'a> {
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

    /// A length and so many bytes, unless it is null.
    #[expect(clippy::option_option, reason = "the inner one is Kafka's null, the outer one is malformed bytes")]
    fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        let length = self.varint()?;
        if length == -1 {
            return Some(None);
        }
        let field = self.left.get(..usize::try_from(length).ok()?)?;
        self.skip(field.len())?;
        Some(Some(field))
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::WINDOW_BYTES;
    use super::super::{BatchBuilder, Compression, NewRecord};
    use super::*;
    use bytes::Bytes;
    use std::task::{Context, Poll, Waker};

    const HASHER_SECRET: u128 = 77;

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
        let mut walk = RecordWalk::new(batch, max)?.with_keys(&KeyHasher::new(HASHER_SECRET));
        let mut heads = Vec::new();
        while let Some(head) = walk.next(pace).await? {
            heads.push(head);
        }
        Ok(heads)
    }

    fn batch(codec: Compression, values: &[Vec<u8>]) -> RecordBatch {
        let builder = (0_i64..).zip(values).fold(BatchBuilder::new().compression(codec), |builder, (i, value)| {
            let long = vec![b'k'; 100_000];
            let key = (i % 2 == 0).then_some(if i == 2 { &long[..] } else { &b"key"[..] });
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
                let (has_key, has_value) = (record.key.is_some(), record.value.is_some());
                let key = record.key.map(|key| KeyHasher::new(HASHER_SECRET).digest(&key));
                RecordHead { offset_delta, offset, timestamp, has_key, has_value, key }
            });
            assert_eq!(walked.unwrap(), expected.collect::<Vec<_>>(), "{codec:?}");
            assert!(pace.greatest <= WINDOW_BYTES && polls > values.len(), "{codec:?}");
            assert!(codec == Compression::None || pace.cost > 470_000, "{codec:?}");
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
