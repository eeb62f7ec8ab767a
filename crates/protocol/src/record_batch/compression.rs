//! The codecs of record batches. Decompressing stops at a bound, however much the compressed bytes promise.

use super::BatchError;
use super::encoder::{Encoder, Level};
use bytes::{Buf, Bytes};
use std::io::{self, Read};

/// How a batch's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Blocks of Snappy in the framing of the Java library, which Kafka's format took over, or one bare block.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// What the framing of the Java library begins with: its magic, its version, the oldest version that can read it.
pub(super) const SNAPPY_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Of which only the magic tells that it is that framing.
const SNAPPY_MAGIC_BYTES: usize = 8;
/// Bytes of the length before each block.
const LENGTH_BYTES: usize = 4;
/// Bytes in a block when we write it, as the Java library does.
pub(super) const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
/// Snappy's densest code makes 64 bytes of 3, so a block that promises more than this per byte is lying.
const SNAPPY_RATIO_MAX: usize = 22;

impl Compression {
    /// Every codec.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Its number in a batch's attributes.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec with this number.
    ///
    /// # Errors
    /// Where there is none.
    pub fn from_number(number: u8) -> Result<Compression, BatchError> {
        Compression::ALL.into_iter().find(|codec| codec.number() == number).ok_or(BatchError::Compression(number))
    }

    /// Decompresses into at most `max` bytes. What isn't compressed is shared and has no bound.
    ///
    /// # Errors
    /// Where the bytes aren't of this codec, or would become more than `max`.
    pub fn decompress(self, bytes: Bytes, max: usize) -> Result<Bytes, BatchError> {
        let Some(decoder) = self.decoder(bytes.clone(), max)? else { return Ok(bytes) };
        let mut decompressed = Vec::new();
        let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        decoder.take(bound).read_to_end(&mut decompressed).map_err(|error| refused(&error, max))?;
        if decompressed.len() > max { Err(BatchError::DecompressedSize(max)) } else { Ok(decompressed.into()) }
    }

    /// What decompresses `bytes` while it is read; none where they aren't compressed. Only Snappy's whole blocks know `max`.
    pub(super) fn decoder(self, bytes: Bytes, max: usize) -> Result<Option<Decoder>, BatchError> {
        Ok(Some(match self {
            Compression::None => return Ok(None),
            Compression::Gzip => Decoder::Stream(Box::new(flate2::bufread::MultiGzDecoder::new(bytes.reader()))),
            Compression::Snappy => Decoder::Snappy(SnappyBlocks::new(bytes, max)?),
            Compression::Lz4 => Decoder::Stream(Box::new(lz4_flex::frame::FrameDecoder::new(bytes.reader()))),
            Compression::Zstd => {
                let zstd = zstd::stream::read::Decoder::with_buffer(bytes.reader());
                Decoder::Stream(Box::new(zstd.map_err(|_| BatchError::Decompress)?))
            }
        }))
    }

    /// Compresses, at the codec's usual level.
    ///
    /// # Errors
    /// Those of the codec's library; writing to memory has none of its own.
    pub fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = Encoder::new(Level { codec: self, level: None })?;
        encoder.write(bytes)?;
        encoder.finish()
    }
}

/// A decoder at work.
pub(super) enum Decoder {
    /// One that makes as much as it is asked for, or little more.
    Stream(Box<dyn Read + Send>),
    /// One that makes whole blocks.
    Snappy(SnappyBlocks),
}

impl Decoder {
    /// Bytes that the next read makes whether they are asked for or not; none where it makes what it gives.
    pub(super) fn ahead(&self) -> Option<usize> {
        match self {
            Decoder::Stream(_) => None,
            Decoder::Snappy(blocks) => Some(blocks.ahead()),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Stream(stream) => stream.read(into),
            Decoder::Snappy(blocks) => blocks.read(into),
        }
    }
}

/// What is wrong where a decoder fails.
pub(super) fn refused(error: &io::Error, max: usize) -> BatchError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => BatchError::DecompressedSize(max),
        _ => BatchError::Decompress,
    }
}

/// Snappy's blocks, one after another.
pub(super) struct SnappyBlocks {
    /// Compressed blocks, behind their header.
    left: Bytes,
    /// Each block has its length before it. Otherwise there is one.
    framed: bool,
    block: Vec<u8>,
    at: usize,
    /// Bytes that further blocks may make.
    room: usize,
}

impl SnappyBlocks {
    fn new(bytes: Bytes, max: usize) -> Result<SnappyBlocks, BatchError> {
        let framed = bytes.starts_with(&SNAPPY_HEADER[..SNAPPY_MAGIC_BYTES]);
        let skip = if framed { SNAPPY_HEADER.len() } else { 0 };
        // An empty bare block does not exist, an empty list of blocks does.
        if bytes.len() < skip || bytes.is_empty() {
            return Err(BatchError::Decompress);
        }
        Ok(SnappyBlocks { left: bytes.slice(skip..), framed, block: Vec::new(), at: 0, room: max })
    }

    /// What the next block promises, where the last one is used up.
    fn ahead(&self) -> usize {
        if self.at < self.block.len() {
            return 0;
        }
        let block = if self.framed { self.left.get(LENGTH_BYTES..).unwrap_or_default() } else { &self.left };
        // Where it lies, or asks too much, the block is refused before anything is made of it.
        snap::raw::decompress_len(block).map_or(0, |length| length.min(self.room))
    }

    fn next_block(&mut self) -> io::Result<()> {
        let lying = || io::Error::from(io::ErrorKind::InvalidData);
        let mut length = self.left.len();
        if self.framed {
            let claimed = self.left.try_get_i32().map_err(|_| lying())?;
            length = usize::try_from(claimed).ok().filter(|length| *length <= self.left.len()).ok_or_else(lying)?;
        }
        let block = self.left.split_to(length);
        let bytes = snap::raw::decompress_len(&block).map_err(io::Error::other)?;
        if bytes > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(lying());
        }
        self.room = self.room.checked_sub(bytes).ok_or(io::ErrorKind::FileTooLarge)?;
        self.block.resize(bytes, 0);
        self.at = 0;
        snap::raw::Decoder::new().decompress(&block, &mut self.block).map_err(io::Error::other)?;
        Ok(())
    }
}

impl Read for SnappyBlocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() && !self.left.is_empty() {
            self.next_block()?;
        }
        let bytes = into.len().min(self.block.len() - self.at);
        into[..bytes].copy_from_slice(&self.block[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}
