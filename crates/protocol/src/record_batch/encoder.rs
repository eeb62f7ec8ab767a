//! Compressing piece by piece, at a level: what comes out so far is known at any time, so that its maker can stop.

use super::compression::{SNAPPY_BLOCK_BYTES, SNAPPY_HEADER};
use super::{BatchError, Compression, Pace};
use std::io::{self, Write};
use zstd::zstd_safe::CParameter;

/// What Zstandard gets in one go where no more comes: it then makes tables for just so much, and they are most of its work. Less than that
/// waits. Its own blocks are as large, so what is compressed in one go is no more than otherwise.
const ZSTD_WAITING_MAX: usize = 128 * 1024;

/// From this level on Zstandard's tables would be greater than [`ZSTD_BOUNDS`] where it does not know how much comes.
const ZSTD_BOUNDED_FROM: i32 = 9;

/// Powers of two: 2 MiB of window, and 4 MiB for each of two tables. Level 22 would take 640 MiB for the sake of repeats that lie further
/// apart. To bound the window alone leaves the tables as they are.
const ZSTD_BOUNDS: [CParameter; 3] = [CParameter::WindowLog(21), CParameter::ChainLog(20), CParameter::HashLog(20)];

/// What a codec costs to begin and to end with next to nothing between, as measured: gzip clears some 300 KiB each time.
const SNAPPY_SETUP_COST: usize = 500;
const LZ4_SETUP_COST: usize = 4_000;
const GZIP_SETUP_COST: usize = 25_000;
const ZSTD_SETUP_COST: usize = 6_000;
/// And from [`ZSTD_BOUNDED_FROM`] on.
const ZSTD_HARD_SETUP_COST: usize = 16_000;

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
    Zstd(ZstdWriter),
}

impl Level {
    /// About how much longer a byte takes than to be decompressed.
    pub(super) fn cost(self) -> usize {
        match (self.codec, self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)) {
            (Compression::None, _) => 0,
            (Compression::Snappy | Compression::Lz4, _) => 2,
            (Compression::Gzip, _) | (Compression::Zstd, 6..=8) => 32,
            (Compression::Zstd, ..=5) => 4,
            (Compression::Zstd, 9..=12) => 128,
            (Compression::Zstd, 13..=18) => 512,
            (Compression::Zstd, _) => 1024,
        }
    }

    /// What it costs to begin and to end, whatever is compressed: about the time in which so many bytes are decompressed.
    fn setup_cost(self) -> usize {
        match (self.codec, self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)) {
            (Compression::None, _) => 0,
            (Compression::Snappy, _) => SNAPPY_SETUP_COST,
            (Compression::Lz4, _) => LZ4_SETUP_COST,
            (Compression::Gzip, _) => GZIP_SETUP_COST,
            (Compression::Zstd, ..ZSTD_BOUNDED_FROM) => ZSTD_SETUP_COST,
            (Compression::Zstd, _) => ZSTD_HARD_SETUP_COST,
        }
    }
}

impl Encoder {
    /// Begins once its cost has been told: its tables are not there before.
    pub(super) async fn begin(level: Level, pace: &mut impl Pace) -> Result<Encoder, BatchError> {
        pace.spent(level.setup_cost()).await;
        Encoder::new(level).map_err(|_| BatchError::Decompress)
    }

    /// One that nobody waits for.
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
                Encoder::Zstd(ZstdWriter { level, waiting: Vec::new(), stream: None })
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::None(out) => out.extend_from_slice(bytes),
            Encoder::Gzip(encoder) => encoder.write_all(bytes)?,
            Encoder::Snappy(writer) => writer.write(bytes)?,
            Encoder::Lz4(encoder) => encoder.write_all(bytes)?,
            Encoder::Zstd(writer) => writer.write(bytes)?,
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
            Encoder::Zstd(writer) => writer.stream.as_ref().map_or(0, |stream| stream.get_ref().len()),
        }
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::None(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Snappy(writer) => writer.finish(),
            Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Encoder::Zstd(writer) => writer.finish(),
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

/// Zstandard: in one go, or from [`ZSTD_WAITING_MAX`] on as a stream.
pub(super) struct ZstdWriter {
    level: i32,
    waiting: Vec<u8>,
    stream: Option<zstd::stream::write::Encoder<'static, Vec<u8>>>,
}

impl ZstdWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(stream) = &mut self.stream {
            return stream.write_all(bytes);
        }
        if self.waiting.len() + bytes.len() <= ZSTD_WAITING_MAX {
            self.waiting.extend_from_slice(bytes);
            return Ok(());
        }
        let mut stream = zstd::stream::write::Encoder::new(Vec::new(), self.level)?;
        for parameter in zstd_bounds(self.level) {
            stream.set_parameter(*parameter)?;
        }
        stream.write_all(&std::mem::take(&mut self.waiting))?;
        self.stream.insert(stream).write_all(bytes)
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self.stream {
            Some(stream) => stream.finish(),
            None => zstd::bulk::compress(&self.waiting, self.level),
        }
    }
}

/// What bounds the memory of a stream at this level.
fn zstd_bounds(level: i32) -> &'static [CParameter] {
    if level < ZSTD_BOUNDED_FROM { &[] } else { &ZSTD_BOUNDS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd::zstd_safe::{CCtx, InBuffer, OutBuffer};

    const MIB: usize = 1024 * 1024;

    /// What Zstandard has taken for a stream at this level once it has begun.
    fn stream_bytes(level: i32) -> usize {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::CompressionLevel(level)).unwrap();
        for parameter in zstd_bounds(level) {
            context.set_parameter(*parameter).unwrap();
        }
        let input = vec![7; ZSTD_WAITING_MAX];
        let mut out = vec![0; MIB];
        context.compress_stream(&mut OutBuffer::around(&mut out[..]), &mut InBuffer::around(&input)).unwrap();
        context.sizeof()
    }

    #[test]
    fn zstandard_takes_twelve_mib_at_most_at_any_level() {
        for level in 1..=22 {
            let bytes = stream_bytes(level);
            assert!(bytes < 12 * MIB, "level {level}: {} KiB", bytes / 1024);
        }
    }

    #[test]
    fn what_zstandard_makes_in_one_go_and_as_a_stream_is_what_it_was() {
        let text: Vec<u8> =
            (0..60_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
        for level in [-5, 3, 9, 22] {
            for bytes in [0, 1, ZSTD_WAITING_MAX - 1, ZSTD_WAITING_MAX, ZSTD_WAITING_MAX + 1, text.len()] {
                let mut encoder = Encoder::new(Level { codec: Compression::Zstd, level: Some(level) }).unwrap();
                for piece in text[..bytes].chunks(10_000) {
                    encoder.write(piece).unwrap();
                }
                let Encoder::Zstd(writer) = &encoder else { panic!() };
                assert_eq!(writer.stream.is_some(), bytes > ZSTD_WAITING_MAX, "little takes no great tables");
                let made = encoder.finish().unwrap();
                let back = Compression::Zstd.decompress(made.into(), 2 * text.len()).unwrap();
                assert_eq!(back, text[..bytes], "level {level}, {bytes} bytes");
            }
        }
    }
}
