//! The codecs of record batches. Decompressing stops at a bound, however much the compressed bytes promise.

use super::BatchError;
use bytes::Bytes;
use std::io::{self, Read, Write};

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
const SNAPPY_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Of which only the magic tells that it is that framing.
const SNAPPY_MAGIC_BYTES: usize = 8;
/// Bytes in a block when we write it, as the Java library does.
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
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
        match self {
            Compression::None => Ok(bytes),
            Compression::Gzip => read_all(flate2::bufread::MultiGzDecoder::new(&bytes[..]), max),
            Compression::Snappy => snappy_decompress(&bytes, max),
            Compression::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(&bytes[..]), max),
            Compression::Zstd => {
                read_all(zstd::stream::read::Decoder::with_buffer(&bytes[..]).map_err(|_| BatchError::Decompress)?, max)
            }
        }
    }

    /// Compresses, at the codec's usual level.
    ///
    /// # Errors
    /// Those of the codec's library; writing to memory has none of its own.
    pub fn compress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(bytes.to_vec()),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Compression::Snappy => snappy_compress(bytes),
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes)?;
                encoder.finish().map_err(io::Error::other)
            }
            Compression::Zstd => zstd::stream::encode_all(bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
        }
    }
}

fn read_all(reader: impl Read, max: usize) -> Result<Bytes, BatchError> {
    let mut decompressed = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut decompressed).map_err(|_| BatchError::Decompress)?;
    if decompressed.len() > max { Err(BatchError::DecompressedSize(max)) } else { Ok(decompressed.into()) }
}

fn snappy_decompress(bytes: &[u8], max: usize) -> Result<Bytes, BatchError> {
    let mut decompressed = Vec::new();
    if !bytes.starts_with(&SNAPPY_HEADER[..SNAPPY_MAGIC_BYTES]) {
        snappy_block(bytes, &mut decompressed, max)?;
        return Ok(decompressed.into());
    }
    let mut left = bytes.get(SNAPPY_HEADER.len()..).ok_or(BatchError::Decompress)?;
    while let Some((length, rest)) = left.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| BatchError::Decompress)?;
        let (block, rest) = rest.split_at_checked(length).ok_or(BatchError::Decompress)?;
        snappy_block(block, &mut decompressed, max)?;
        left = rest;
    }
    if left.is_empty() { Ok(decompressed.into()) } else { Err(BatchError::Decompress) }
}

fn snappy_block(block: &[u8], decompressed: &mut Vec<u8>, max: usize) -> Result<(), BatchError> {
    let length = snap::raw::decompress_len(block).map_err(|_| BatchError::Decompress)?;
    if length > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(BatchError::Decompress);
    }
    let start = decompressed.len();
    let end = start.saturating_add(length);
    if end > max {
        return Err(BatchError::DecompressedSize(max));
    }
    decompressed.resize(end, 0);
    snap::raw::Decoder::new().decompress(block, &mut decompressed[start..]).map_err(|_| BatchError::Decompress)?;
    Ok(())
}

fn snappy_compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = SNAPPY_HEADER.to_vec();
    for block in bytes.chunks(SNAPPY_BLOCK_BYTES) {
        let block = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
        let length = i32::try_from(block.len()).map_err(io::Error::other)?;
        compressed.extend_from_slice(&length.to_be_bytes());
        compressed.extend_from_slice(&block);
    }
    Ok(compressed)
}
