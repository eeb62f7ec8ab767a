//! A produced message set becomes a batch.

use super::{
    COPIED_BYTES, CRC_AT, ITEM_COST, LENGTH_BYTES, MAGIC_AT, NULL, OldFormat, PIECE_BYTES, SIZE_AT, SIZE_FROM,
};
use crate::record_batch::builder::{put_length, put_varlong};
use crate::record_batch::encoder::{Encoder, Level};
use crate::record_batch::input::Input;
use crate::record_batch::{
    self, BatchBuilder, BatchError, Compression, HEADER_BYTES, LOG_APPEND_TIME, NO_TIMESTAMP, Pace, RecompressBounds,
    RecordBatch, lz4_frame,
};
use base::Crc32;
use bytes::{Buf, Bytes};

/// Where a batch's header has its last offset; the other places are known to the module of batches.
const LAST_OFFSET_DELTA_AT: usize = 23;

/// How a message set becomes a batch.
#[derive(Debug, Clone, Copy)]
pub struct Upconvert {
    /// How the batch is compressed; `None`: as the set is.
    pub level: Option<Level>,
    /// `batch_bytes_max` also bounds each message that is not within a wrapper.
    pub bounds: RecompressBounds,
}

/// The batch with the records of `set`, which is of this format, numbered from 0 on; and how many bytes were decompressed for it.
///
/// Records of format 0 have no time. Where messages say that the broker set their time, so does the batch. Keys and times are left to the
/// checks that every produced batch passes.
///
/// # Errors
/// [`BatchError::NotOne`] where there is a wrapper and something beside it; [`BatchError::Crc`]; the set, a message, or what is within the
/// wrapper is malformed; [`BatchError::Timestamp`] where one is below -1; a bound is exceeded.
pub async fn upconverted(
    set: &Bytes,
    format: OldFormat,
    how: Upconvert,
    pace: &mut impl Pace,
) -> (Result<RecordBatch, BatchError>, usize) {
    let mut taking = match Taking::begin(set, format, how, pace).await {
        Ok(taking) => taking,
        Err(error) => return (Err(error), 0),
    };
    let taken = taking.all(pace).await;
    let decompressed = taking.input.decompressed;
    (taken.and_then(|()| taking.finish()), decompressed)
}

/// A message that is a compressed set.
struct Wrapper {
    codec: Compression,
    offset: i64,
    timestamp: i64,
    is_stamped: bool,
    set: Bytes,
}

impl Wrapper {
    /// Of a set that is one; none where its first message is not compressed.
    fn of(set: &Bytes, format: OldFormat, bytes_max: usize) -> Result<Option<Wrapper>, BatchError> {
        let Some(&attributes) = set.get(super::ATTRIBUTES_AT) else { return Ok(None) };
        let codec = Compression::from_number(attributes & super::CODEC_MASK)?;
        if codec == Compression::None {
            return Ok(None);
        }
        let mut field = set.slice(SIZE_AT..);
        let bytes = SIZE_FROM + checked_size(field.try_get_i32().map_err(malformed)?)?;
        if bytes > bytes_max {
            return Err(BatchError::TooLarge { bytes, max: bytes_max });
        }
        if bytes > set.len() {
            return Err(BatchError::Truncated { needed: bytes, left: set.len() });
        }
        let crc = field.try_get_u32().map_err(malformed)?;
        let mut counted = Crc32::default();
        counted.update(&set[MAGIC_AT..bytes]);
        if counted.value() != crc {
            return Err(BatchError::Crc);
        }
        if bytes < set.len() {
            return Err(BatchError::NotOne);
        }
        // Zstandard came with batches; no client of these formats has it.
        if codec == Compression::Zstd {
            return Err(BatchError::Record(0));
        }
        field.advance(2);
        let is_stamped = format == OldFormat::V1 && attributes & LOG_APPEND_TIME != 0;
        let timestamp = match format {
            OldFormat::V0 => NO_TIMESTAMP,
            OldFormat::V1 => field.try_get_i64().map_err(malformed)?,
        };
        let mut wrapper =
            Wrapper { codec, offset: Bytes::get_i64(&mut set.clone()), timestamp, is_stamped, set: Bytes::new() };
        let key = field.try_get_i32().map_err(malformed)?.max(0);
        let key = usize::try_from(key).map_err(malformed)?;
        if key > field.len() {
            return Err(BatchError::Record(0));
        }
        field.advance(key);
        let value = field.try_get_i32().map_err(malformed)?;
        if usize::try_from(value) != Ok(field.len()) {
            return Err(BatchError::Record(0));
        }
        // Clients of that format have a wrong checksum there, and mind no right one (KAFKA-3160).
        let is_to_be_mended = format == OldFormat::V0 && codec == Compression::Lz4;
        wrapper.set = if is_to_be_mended { lz4_frame::with_head_checksum(&field, false) } else { field };
        Ok(Some(wrapper))
    }
}

fn malformed<E>(_: E) -> BatchError {
    BatchError::Record(0)
}

/// The size of a message that may be one of either format.
fn checked_size(size: i32) -> Result<usize, BatchError> {
    let least = OldFormat::V0.overhead();
    usize::try_from(size).ok().filter(|size| *size >= least).ok_or(BatchError::MessageSize(size))
}

/// Messages on their way into a batch.
struct Taking {
    format: OldFormat,
    wrapper: Option<Wrapper>,
    batch_bytes_max: usize,
    input: Input,
    level: Level,
    encoder: Encoder,
    /// Bytes given to the encoder beside keys and values, and not told yet.
    heads: usize,
    /// Of the message that is being taken: its checksum so far, and its bytes that are left.
    crc: Crc32,
    left: usize,
    count: i32,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    is_stamped: bool,
    /// The last message's, as the client has it.
    offset: i64,
}

impl Taking {
    async fn begin(set: &Bytes, format: OldFormat, how: Upconvert, pace: &mut impl Pace) -> Result<Taking, BatchError> {
        let RecompressBounds { decompressed_max, batch_bytes_max } = how.bounds;
        let wrapper = Wrapper::of(set, format, batch_bytes_max)?;
        let (codec, set) =
            wrapper.as_ref().map_or((Compression::None, set.clone()), |wrapper| (wrapper.codec, wrapper.set.clone()));
        let level = how.level.unwrap_or(Level { codec, level: None });
        Ok(Taking {
            format,
            batch_bytes_max,
            input: Input::new(codec, set, decompressed_max)?,
            level,
            encoder: Encoder::begin(level, pace).await?,
            heads: 0,
            crc: Crc32::default(),
            left: 0,
            count: 0,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            is_stamped: wrapper.as_ref().is_some_and(|wrapper| wrapper.is_stamped),
            offset: 0,
            wrapper,
        })
    }

    async fn all(&mut self, pace: &mut impl Pace) -> Result<(), BatchError> {
        while !self.input.window().is_empty() || self.input.fill(pace).await? {
            self.message(pace).await?;
            self.count = self.count.checked_add(1).ok_or(self.malformed())?;
        }
        // The offset of a wrapper is that of its last message; some clients leave it at 0.
        let offset = self.wrapper.as_ref().map_or(0, |wrapper| wrapper.offset);
        let is_behind = self.format == OldFormat::V1 && offset != 0 && offset < self.offset;
        if self.count == 0 || is_behind { Err(self.malformed()) } else { Ok(()) }
    }

    async fn message(&mut self, pace: &mut impl Pace) -> Result<(), BatchError> {
        pace.spent(ITEM_COST).await;
        self.offset = i64::from_be_bytes(self.uncounted(pace).await?);
        let size = checked_size(i32::from_be_bytes(self.uncounted(pace).await?))?;
        if self.wrapper.is_none() && SIZE_FROM + size > self.batch_bytes_max {
            return Err(BatchError::TooLarge { bytes: SIZE_FROM + size, max: self.batch_bytes_max });
        }
        let crc = u32::from_be_bytes(self.uncounted(pace).await?);
        self.left = size - (MAGIC_AT - CRC_AT);
        self.check_first(crc)?;
        self.crc = Crc32::default();
        let [magic, attributes] = self.counted(pace).await?;
        if magic != self.format.magic() {
            return Err(self.malformed());
        }
        if attributes & super::CODEC_MASK != 0 {
            return Err(if self.wrapper.is_none() { BatchError::NotOne } else { self.malformed() });
        }
        let timestamp = self.timestamp(attributes, pace).await?;
        let key = self.length(pace).await?;
        let key_bytes = key.unwrap_or(0);
        let value_bytes = self.left.checked_sub(key_bytes.saturating_add(LENGTH_BYTES)).ok_or(self.malformed())?;
        self.put_head(timestamp, key, value_bytes)?;
        self.copy(key_bytes, pace).await?;
        let value = self.length(pace).await?;
        if value.unwrap_or(0) != value_bytes {
            return Err(self.malformed());
        }
        self.put(|bytes| put_nullable(bytes, value))?;
        self.copy(value_bytes, pace).await?;
        // No headers.
        self.put(|bytes| put_length(bytes, 0))?;
        self.check_size(self.encoder.written())?;
        pace.spent(std::mem::take(&mut self.heads).saturating_mul(self.level.cost())).await;
        if self.crc.value() == crc { Ok(()) } else { Err(BatchError::Crc) }
    }

    /// What is not within a wrapper is all there, and damage on the way is to be told as such, whatever it hit: it is sent again then.
    fn check_first(&self, crc: u32) -> Result<(), BatchError> {
        if self.wrapper.is_some() {
            return Ok(());
        }
        let mut counted = Crc32::default();
        counted.update(self.input.window().get(..self.left).ok_or(self.malformed())?);
        if counted.value() == crc { Ok(()) } else { Err(BatchError::Crc) }
    }

    /// The time that the message has for readers.
    async fn timestamp(&mut self, attributes: u8, pace: &mut impl Pace) -> Result<i64, BatchError> {
        if self.format == OldFormat::V0 {
            return Ok(NO_TIMESTAMP);
        }
        let own = i64::from_be_bytes(self.counted(pace).await?);
        let timestamp = match &self.wrapper {
            // Those inside have the wrapper's kind of time.
            Some(wrapper) if wrapper.is_stamped => wrapper.timestamp,
            Some(_) => own,
            None => {
                self.is_stamped |= attributes & LOG_APPEND_TIME != 0;
                own
            }
        };
        // No record can be made of such a message, as in Kafka.
        if timestamp < NO_TIMESTAMP { Err(BatchError::Timestamp(timestamp)) } else { Ok(timestamp) }
    }

    /// What stands in a record before its key.
    fn put_head(&mut self, timestamp: i64, key: Option<usize>, value_bytes: usize) -> Result<(), BatchError> {
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let mut fields = vec![0];
        put_varlong(&mut fields, timestamp.wrapping_sub(base_timestamp));
        put_varlong(&mut fields, i64::from(self.count));
        put_nullable(&mut fields, key);
        // Whether the value is null is not known yet, but its length takes one byte then, as that of an empty one does.
        let mut value = Vec::new();
        put_length(&mut value, value_bytes);
        let headers = 1;
        let length = fields.len() + key.unwrap_or(0) + value.len() + value_bytes + headers;
        self.put(|bytes| put_length(bytes, length))?;
        self.put(|bytes| bytes.append(&mut fields))
    }

    fn put(&mut self, what: impl FnOnce(&mut Vec<u8>)) -> Result<(), BatchError> {
        let mut bytes = Vec::new();
        what(&mut bytes);
        self.heads += bytes.len();
        self.encoder.write(&bytes).map_err(|_| BatchError::Decompress)
    }

    /// Takes over so many bytes of a key or a value.
    async fn copy(&mut self, mut bytes: usize, pace: &mut impl Pace) -> Result<(), BatchError> {
        while bytes > 0 {
            if self.input.window().is_empty() && !self.input.fill(pace).await? {
                return Err(self.malformed());
            }
            let piece = &self.input.window()[..bytes.min(self.input.window().len()).min(PIECE_BYTES)];
            let here = piece.len();
            self.crc.update(piece);
            self.encoder.write(piece).map_err(|_| BatchError::Decompress)?;
            self.input.at += here;
            self.left = self.left.checked_sub(here).ok_or(self.malformed())?;
            bytes -= here;
            self.check_size(self.encoder.written())?;
            pace.spent(here / COPIED_BYTES + here.saturating_mul(self.level.cost())).await;
        }
        Ok(())
    }

    async fn uncounted<const N: usize>(&mut self, pace: &mut impl Pace) -> Result<[u8; N], BatchError> {
        self.input.array(pace).await?.ok_or(self.malformed())
    }

    /// Bytes of the message that its size and its checksum count.
    async fn counted<const N: usize>(&mut self, pace: &mut impl Pace) -> Result<[u8; N], BatchError> {
        let bytes = self.uncounted(pace).await?;
        self.left = self.left.checked_sub(N).ok_or(self.malformed())?;
        self.crc.update(&bytes);
        Ok(bytes)
    }

    async fn length(&mut self, pace: &mut impl Pace) -> Result<Option<usize>, BatchError> {
        match i32::from_be_bytes(self.counted(pace).await?) {
            NULL => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| self.malformed()),
        }
    }

    fn malformed(&self) -> BatchError {
        BatchError::Record(self.count)
    }

    fn check_size(&self, records: usize) -> Result<(), BatchError> {
        let (bytes, max) = (HEADER_BYTES + records, self.batch_bytes_max);
        if bytes > max { Err(BatchError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<RecordBatch, BatchError> {
        let none = Encoder::new(Level { codec: Compression::None, level: None }).map_err(|_| BatchError::Decompress)?;
        let records = std::mem::replace(&mut self.encoder, none).finish().map_err(|_| BatchError::Decompress)?;
        self.check_size(records.len())?;
        let stamped = if self.is_stamped { LOG_APPEND_TIME } else { 0 };
        BatchBuilder::new().build(0)?.with_records(&records, |header| {
            let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
            put(record_batch::ATTRIBUTES_AT, &[0, self.level.codec.number() | stamped]);
            put(LAST_OFFSET_DELTA_AT, &(self.count - 1).to_be_bytes());
            put(record_batch::BASE_TIMESTAMP_AT, &self.base_timestamp.unwrap_or(NO_TIMESTAMP).to_be_bytes());
            put(record_batch::MAX_TIMESTAMP_AT, &self.max_timestamp.to_be_bytes());
            put(record_batch::COUNT_AT, &self.count.to_be_bytes());
        })
    }
}

fn put_nullable(bytes: &mut Vec<u8>, length: Option<usize>) {
    match length {
        None => put_varlong(bytes, i64::from(NULL)),
        Some(length) => put_length(bytes, length),
    }
}
