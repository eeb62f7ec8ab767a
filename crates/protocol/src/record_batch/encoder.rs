//! Compressing piece by piece, at a level: what comes out so far is known at any time, so that its maker can stop.

use super::Compression;
use super::compression::{SNAPPY_BLOCK_BYTES, SNAPPY_HEADER};
use std::io::{self, Write};

/// Zstandard's window at the levels above the usual one, as a power of two: 2 MiB. They would take hundreds of MiB for the sake of
/// repeats that lie further apart.
const ZSTD_WINDOW_LOG_MAX: u32 = 21;

/// A codec and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The codec.
    pub codec: Compression,
    /// Gzip: 1 to 9. Zstandard: -131072 to 22. `None`, and of other codecs any: the usual one.
    pub level: Option<i32>,
}

/// A codec at work.
pub(super) enum Encoder {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Snappy(SnappyWriter),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Level {
    /// About how much longer a byte takes than to be decompressed.
    pub(super) fn cost(self) -> usize {
        match (self.codec, self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)) {
            (Compression::None, _) => 0,
            (Compression::Snappy | Compression::Lz4, _) => 2,
            (Compression::Gzip, _) | (Compression::Zstd, 6..=12) => 32,
            (Compression::Zstd, ..=5) => 4,
            (Compression::Zstd, _) => 512,
        }
    }
}

impl Encoder {
    pub(super) fn new(Level { codec, level }: Level) -> io::Result<Encoder> {
        Ok(match codec {
            Compression::None => Encoder::None(Vec::new()),
            Compression::Gzip => {
                let level = level.and_then(|level| u32::try_from(level).ok()).filter(|level| (1..=9).contains(level));
                let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Compression::Snappy => Encoder::Snappy(SnappyWriter { out: SNAPPY_HEADER.to_vec(), block: Vec::new() }),
            Compression::Lz4 => Encoder::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(Vec::new()))),
            Compression::Zstd => {
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                if level > zstd::DEFAULT_COMPRESSION_LEVEL {
                    encoder.window_log(ZSTD_WINDOW_LOG_MAX)?;
                }
                Encoder::Zstd(encoder)
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::None(out) => out.extend_from_slice(bytes),
            Encoder::Gzip(encoder) => encoder.write_all(bytes)?,
            Encoder::Snappy(writer) => writer.write(bytes)?,
            Encoder::Lz4(encoder) => encoder.write_all(bytes)?,
            Encoder::Zstd(encoder) => encoder.write_all(bytes)?,
        }
        Ok(())
    }

    /// Bytes that have come out so far; what the codec still holds is little.
    pub(super) fn written(&self) -> usize {
        match self {
            Encoder::None(out) => out.len(),
            Encoder::Gzip(encoder) => encoder.get_ref().len(),
            Encoder::Snappy(writer) => writer.out.len(),
            Encoder::Lz4(encoder) => encoder.get_ref().len(),
            Encoder::Zstd(encoder) => encoder.get_ref().len(),
        }
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Snappy(writer) => writer.finish(),
            Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Whole blocks, each behind its length.
pub(super) struct SnappyWriter {
    out: Vec<u8>,
    /// Less than a block.
    block: Vec<u8>,
}

impl SnappyWriter {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SNAPPY_BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == SNAPPY_BLOCK_BYTES {
                self.put_block()?;
            }
        }
        Ok(())
    }

    fn put_block(&mut self) -> io::Result<()> {
        let block = snap::raw::Encoder::new().compress_vec(&self.block).map_err(io::Error::other)?;
        self.block.clear();
        let length = i32::try_from(block.len()).map_err(io::Error::other)?;
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&block);
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.block.is_empty() {
            self.put_block()?;
        }
        Ok(self.out)
    }
}
