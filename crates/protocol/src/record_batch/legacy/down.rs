//! Stored batches become messages, for consumers from before Kafka 0.11.
//!
//! A message's checksum stands before its bytes, and its size before its key. So a batch is walked twice at the same time: one walk is a
//! record ahead and finds out what the other one writes. That takes two windows instead of a record's whole length.

use super::{COPIED_BYTES, ITEM_COST, LENGTH_BYTES, NULL, OldFormat, PIECE_BYTES, SIZE_FROM};
use crate::record_batch::encoder::{Encoder, Level};
use crate::record_batch::input::Input;
use crate::record_batch::{
    BatchError, Compression, HEADER_BYTES, LOG_APPEND_TIME, NO_TIMESTAMP, Pace, RecordBatch, batches, lz4_frame,
};
use base::Crc32;
use bytes::{BufMut, Bytes};

/// A wrapper gets no further message beyond so many bytes before they are compressed: consumers of that age decompress all of it at once.
const WRAPPER_BYTES_MAX: usize = 1024 * 1024;

/// How batches become messages.
#[derive(Debug, Clone, Copy)]
pub struct Downconvert {
    /// The messages' format.
    pub format: OldFormat,
    /// Records before this offset are left out.
    pub from: i64,
    /// Bytes of messages; but what comes first is there whatever it takes, or its consumer would never pass it.
    pub bytes_max: usize,
    /// The most that a batch's records may take when they are decompressed.
    pub decompressed_max: usize,
}

/// Messages made of batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downconverted {
    /// Their bytes, in pieces.
    pub pieces: Vec<Bytes>,
    /// The pieces' length.
    pub bytes: usize,
    /// Where to go on: what is before has been dealt with, be it left out.
    pub next: i64,
}

/// The messages of the batches that lie one behind another in `stored`, as far as they fit. Control records and batches without any
/// are left out, and so are headers. Offsets, times and codecs stay.
///
/// # Errors
/// [`BatchError::Compression`] where Zstandard comes first, which no client of these formats has; else it ends before that. A batch is
/// malformed.
pub async fn downconverted(
    stored: &Bytes,
    how: Downconvert,
    pace: &mut impl Pace,
) -> Result<Downconverted, BatchError> {
    let mut out = Downconverted { pieces: Vec::new(), bytes: 0, next: how.from };
    for batch in batches(stored.clone()) {
        let batch = batch?;
        let end = batch.last_offset().saturating_add(1);
        pace.spent(ITEM_COST).await;
        if !batch.is_control() && batch.record_count() > 0 && end > how.from {
            let codec = batch.compression()?;
            if codec == Compression::Zstd {
                return if out.bytes > 0 { Ok(out) } else { Err(BatchError::Compression(codec.number())) };
            }
            if !Converting::new(&batch, codec, how)?.all(&mut out, pace).await? {
                return Ok(out);
            }
        }
        out.next = out.next.max(end);
    }
    Ok(out)
}

/// One batch on its way.
struct Converting<'a> {
    batch: &'a RecordBatch,
    how: Downconvert,
    codec: Compression,
    ahead: Walk,
    behind: Walk,
    /// None before there is a message for it.
    group: Option<Group>,
}

/// Messages that become one wrapper, or stay as they are where they are not compressed.
struct Group {
    encoder: Encoder,
    /// Bytes before they are compressed.
    bytes: usize,
    first: i64,
    last: i64,
    max_timestamp: i64,
}

/// What is known of a record once the walk ahead has passed it.
struct Record {
    offset: i64,
    timestamp: i64,
    key: Option<usize>,
    value: Option<usize>,
    crc: u32,
    /// Bytes of the message, all of them.
    bytes: usize,
}

impl Group {
    async fn begin(codec: Compression, first: i64, pace: &mut impl Pace) -> Result<Group, BatchError> {
        let encoder = Encoder::begin(Level { codec, level: None }, pace).await?;
        Ok(Group { encoder, bytes: 0, first, last: first, max_timestamp: NO_TIMESTAMP })
    }
}

impl<'a> Converting<'a> {
    fn new(batch: &'a RecordBatch, codec: Compression, how: Downconvert) -> Result<Converting<'a>, BatchError> {
        Ok(Converting {
            batch,
            how,
            codec,
            ahead: Walk::new(batch, codec, how.decompressed_max)?,
            behind: Walk::new(batch, codec, how.decompressed_max)?,
            group: None,
        })
    }

    /// Whether all of the batch is out.
    async fn all(mut self, out: &mut Downconverted, pace: &mut impl Pace) -> Result<bool, BatchError> {
        for _ in 0..self.batch.record_count() {
            pace.spent(ITEM_COST).await;
            let record = self.look_ahead(pace).await?;
            if record.offset < self.how.from {
                self.behind.step_over(pace).await?;
                continue;
            }
            let before = self.group.as_ref().map_or(0, |group| group.bytes);
            let with = before + record.bytes;
            let is_full = match self.codec {
                Compression::None => out.bytes + before > 0 && out.bytes + with > self.how.bytes_max,
                _ => before > 0 && with > WRAPPER_BYTES_MAX,
            };
            if is_full && (!self.put_group(out)? || self.codec == Compression::None) {
                return Ok(false);
            }
            self.put(&record, pace).await?;
        }
        self.put_group(out)
    }

    fn stamp(&self) -> Option<i64> {
        self.batch.is_log_append_time().then(|| self.batch.max_timestamp())
    }

    /// Attributes of a message with this codec.
    fn attributes(&self, codec: Compression) -> u8 {
        let is_stamped = self.how.format == OldFormat::V1 && self.batch.is_log_append_time();
        codec.number() | if is_stamped { LOG_APPEND_TIME } else { 0 }
    }

    /// What the checksum counts of a message up to its key.
    fn counted_head(&self, codec: Compression, timestamp: i64, key: Option<usize>) -> Result<Vec<u8>, BatchError> {
        let mut head = vec![self.how.format.magic(), self.attributes(codec)];
        if self.how.format == OldFormat::V1 {
            head.put_i64(timestamp);
        }
        head.put_i32(length(key)?);
        Ok(head)
    }

    /// Walks over the next record.
    async fn look_ahead(&mut self, pace: &mut impl Pace) -> Result<Record, BatchError> {
        let head = self.ahead.head(pace).await?;
        let offset = self.batch.base_offset().saturating_add(i64::from(head.offset_delta));
        let timestamp = self.stamp().unwrap_or(self.batch.base_timestamp().wrapping_add(head.timestamp_delta));
        let mut crc = Crc32::default();
        crc.update(&self.counted_head(Compression::None, timestamp, head.key)?);
        let key_bytes = head.key.unwrap_or(0);
        let mut count = |piece: &[u8]| {
            crc.update(piece);
            Ok(())
        };
        self.ahead.pass(key_bytes, 0, pace, &mut count).await?;
        let value = self.ahead.length(pace).await?;
        count(&length(value)?.to_be_bytes())?;
        let value_bytes = value.unwrap_or(0);
        self.ahead.pass(value_bytes, 0, pace, &mut count).await?;
        self.ahead.end(pace).await?;
        let bytes = SIZE_FROM + self.how.format.overhead() + key_bytes + value_bytes;
        Ok(Record { offset, timestamp, key: head.key, value, crc: crc.value(), bytes })
    }

    /// Writes the record that has been looked at.
    async fn put(&mut self, record: &Record, pace: &mut impl Pace) -> Result<(), BatchError> {
        let head = self.counted_head(Compression::None, record.timestamp, record.key)?;
        let cost = Level { codec: self.codec, level: None }.cost();
        let Converting { how, codec, behind, group, .. } = self;
        let group = match group {
            Some(group) => group,
            none => none.insert(Group::begin(*codec, record.offset, pace).await?),
        };
        let is_counted_from_first = how.format == OldFormat::V1 && *codec != Compression::None;
        let offset = if is_counted_from_first { record.offset.saturating_sub(group.first) } else { record.offset };
        let mut message = Vec::with_capacity(SIZE_FROM + how.format.overhead());
        message.put_i64(offset);
        message.put_i32(length(Some(record.bytes - SIZE_FROM))?);
        message.put_u32(record.crc);
        message.extend_from_slice(&head);
        let encoder = &mut group.encoder;
        let mut write = |piece: &[u8]| encoder.write(piece).map_err(|_| BatchError::Decompress);
        write(&message)?;
        // And the value's length.
        pace.spent((message.len() + LENGTH_BYTES).saturating_mul(cost)).await;
        behind.head(pace).await?;
        behind.pass(record.key.unwrap_or(0), cost, pace, &mut write).await?;
        behind.length(pace).await?;
        write(&length(record.value)?.to_be_bytes())?;
        behind.pass(record.value.unwrap_or(0), cost, pace, &mut write).await?;
        behind.end(pace).await?;
        group.bytes += record.bytes;
        group.last = record.offset;
        group.max_timestamp = group.max_timestamp.max(record.timestamp);
        Ok(())
    }

    /// Ends what has been collected; whether it fits.
    fn put_group(&mut self, out: &mut Downconverted) -> Result<bool, BatchError> {
        let Some(group) = self.group.take() else { return Ok(true) };
        let messages = Bytes::from(group.encoder.finish().map_err(|_| BatchError::Decompress)?);
        let pieces = match self.codec {
            Compression::None => vec![messages],
            codec => {
                let is_of_old = self.how.format == OldFormat::V0 && codec == Compression::Lz4;
                let set = if is_of_old { lz4_frame::with_head_checksum(&messages, true) } else { messages };
                let timestamp = self.stamp().unwrap_or(group.max_timestamp);
                vec![self.wrapper_head(codec, group.last, timestamp, &set)?, set]
            }
        };
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if out.bytes > 0 && out.bytes + bytes > self.how.bytes_max {
            return Ok(false);
        }
        out.bytes += bytes;
        out.pieces.extend(pieces);
        out.next = group.last.saturating_add(1);
        Ok(true)
    }

    /// The message whose value is `set`, up to that.
    fn wrapper_head(&self, codec: Compression, offset: i64, timestamp: i64, set: &[u8]) -> Result<Bytes, BatchError> {
        let mut counted = self.counted_head(codec, timestamp, None)?;
        counted.put_i32(length(Some(set.len()))?);
        let mut crc = Crc32::default();
        crc.update(&counted);
        crc.update(set);
        let mut head = Vec::with_capacity(SIZE_FROM + self.how.format.overhead());
        head.put_i64(offset);
        head.put_i32(length(Some(self.how.format.overhead() + set.len()))?);
        head.put_u32(crc.value());
        head.extend_from_slice(&counted);
        Ok(head.into())
    }
}

/// As a field of four bytes.
fn length(bytes: Option<usize>) -> Result<i32, BatchError> {
    let Some(bytes) = bytes else { return Ok(NULL) };
    i32::try_from(bytes).map_err(|_| BatchError::TooLarge { bytes, max: 0x7fff_ffff })
}

/// A walk over a batch's records that stops within them.
struct Walk {
    input: Input,
    /// Bytes left of the record.
    left: usize,
    record: i32,
}

/// A record up to its key's length.
struct Head {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<usize>,
}

impl Walk {
    fn new(batch: &RecordBatch, codec: Compression, decompressed_max: usize) -> Result<Walk, BatchError> {
        let input = Input::new(codec, batch.bytes().slice(HEADER_BYTES..), decompressed_max)?;
        Ok(Walk { input, left: 0, record: 0 })
    }

    async fn head(&mut self, pace: &mut impl Pace) -> Result<Head, BatchError> {
        // No record is longer than its length says, which itself is outside of it.
        self.left = usize::MAX;
        self.left = usize::try_from(self.varlong(pace).await?).map_err(|_| self.malformed())?;
        self.pass(1, 0, pace, |_| Ok(())).await?;
        let timestamp_delta = self.varlong(pace).await?;
        let offset_delta = i32::try_from(self.varlong(pace).await?).map_err(|_| self.malformed())?;
        Ok(Head { timestamp_delta, offset_delta, key: self.length(pace).await? })
    }

    /// The length of a key or a value.
    async fn length(&mut self, pace: &mut impl Pace) -> Result<Option<usize>, BatchError> {
        match self.varlong(pace).await? {
            null if null == i64::from(NULL) => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| self.malformed()),
        }
    }

    /// Shows the next bytes of the record, each of which costs so much more than to be copied.
    async fn pass(
        &mut self,
        mut bytes: usize,
        cost: usize,
        pace: &mut impl Pace,
        mut show: impl FnMut(&[u8]) -> Result<(), BatchError> + Send,
    ) -> Result<(), BatchError> {
        self.left = self.left.checked_sub(bytes).ok_or(self.malformed())?;
        while bytes > 0 {
            if self.input.window().is_empty() && !self.input.fill(pace).await? {
                return Err(self.malformed());
            }
            let here = bytes.min(self.input.window().len()).min(PIECE_BYTES);
            show(&self.input.window()[..here])?;
            self.input.at += here;
            bytes -= here;
            pace.spent(here / COPIED_BYTES + here.saturating_mul(cost)).await;
        }
        Ok(())
    }

    /// Steps over what is left of the record: its headers.
    async fn end(&mut self, pace: &mut impl Pace) -> Result<(), BatchError> {
        self.pass(self.left, 0, pace, |_| Ok(())).await?;
        self.record += 1;
        Ok(())
    }

    /// Steps over a whole record.
    async fn step_over(&mut self, pace: &mut impl Pace) -> Result<(), BatchError> {
        self.left = usize::MAX;
        self.left = usize::try_from(self.varlong(pace).await?).map_err(|_| self.malformed())?;
        self.end(pace).await
    }

    async fn varlong(&mut self, pace: &mut impl Pace) -> Result<i64, BatchError> {
        let (value, bytes) = self.input.varlong(self.left, pace).await?.ok_or(self.malformed())?;
        self.left -= bytes;
        Ok(value)
    }

    fn malformed(&self) -> BatchError {
        BatchError::Record(self.record)
    }
}
