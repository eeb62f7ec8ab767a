//! The codecs of record batches. Decompressing stops at a bound, however much the compressed bytes promise.

use super::BatchError;
use super::encoder::{Encoder, Level};
use bytes::{Buf, Bytes};
use std::io::{self, Read};
use zstd::stream::raw::{InBuffer, Operation, OutBuffer, WriteBuf};
use zstd::stream::zio;
use zstd::zstd_safe::{DCtx, ResetDirective};

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

/// What a decoder that passes records through a window may keep of them itself: Zstandard's window, of 16 MiB and what goes with it, or a
/// block of Snappy. Up to level 19 Zstandard's windows are of 8 MiB, and from 20 on of 32 to 128 MiB, of which it uses as much as there are
/// records; Snappy's blocks have 32 KiB in Java, and all of a batch in librdkafka. More would be memory that nobody counts.
pub(super) const HELD_BYTES_MAX: usize = 17 * 1024 * 1024;

/// What a decoder costs with next to nothing to make, as measured; Zstandard's most where 128 MiB are announced.
const GZIP_DECODER_COST: usize = 2_000;
const SNAPPY_DECODER_COST: usize = 500;
const LZ4_DECODER_COST: usize = 2_000;
const ZSTD_DECODER_COST: usize = 8_000;

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
        let Some(decoder) = self.decoder(bytes.clone(), Limits { max, held: usize::MAX })? else { return Ok(bytes) };
        let mut decompressed = Vec::new();
        let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        decoder.take(bound).read_to_end(&mut decompressed).map_err(|error| refused(&error, max))?;
        if decompressed.len() > max { Err(BatchError::DecompressedSize(max)) } else { Ok(decompressed.into()) }
    }

    /// What decompresses `bytes` while it is read; none where they aren't compressed. Only Snappy's whole blocks know `max`.
    pub(super) fn decoder(self, bytes: Bytes, limits: Limits) -> Result<Option<Decoder>, BatchError> {
        Ok(Some(match self {
            Compression::None => return Ok(None),
            Compression::Gzip => Decoder::Stream(Box::new(flate2::bufread::MultiGzDecoder::new(bytes.reader()))),
            Compression::Snappy => Decoder::Snappy(SnappyBlocks::new(bytes, limits)?),
            Compression::Lz4 => Decoder::Stream(Box::new(lz4_flex::frame::FrameDecoder::new(bytes.reader()))),
            Compression::Zstd => {
                let context = DCtx::try_create().ok_or(BatchError::Decompress)?;
                let frames = ZstdFrames { context, made: 0, held_max: limits.held };
                Decoder::Stream(Box::new(zio::Reader::new(bytes.reader(), frames)))
            }
        }))
    }

    /// What a decoder costs beside what it makes: about the time in which so many bytes are decompressed.
    pub(super) fn decoder_cost(self) -> usize {
        match self {
            Compression::None => 0,
            Compression::Gzip => GZIP_DECODER_COST,
            Compression::Snappy => SNAPPY_DECODER_COST,
            Compression::Lz4 => LZ4_DECODER_COST,
            Compression::Zstd => ZSTD_DECODER_COST,
        }
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

/// Bounds of a decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes that it makes in all.
    pub(super) max: usize,
    /// Bytes that it keeps at once.
    pub(super) held: usize,
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
        io::ErrorKind::QuotaExceeded => BatchError::Held(HELD_BYTES_MAX),
        _ => BatchError::Decompress,
    }
}

/// Zstandard's frames, one after another, within a bound for what is kept of them.
struct ZstdFrames {
    context: DCtx<'static>,
    made: usize,
    held_max: usize,
}

impl Operation for ZstdFrames {
    fn run<C: WriteBuf + ?Sized>(
        &mut self,
        input: &mut InBuffer<'_>,
        output: &mut OutBuffer<'_, C>,
    ) -> io::Result<usize> {
        let before = output.pos();
        let run = self.context.decompress_stream(output, input);
        let hint = run.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        self.made += output.pos() - before;
        // Producers at the highest levels announce 128 MiB for any batch. What is announced is memory only once something is written there.
        if self.made.min(self.context.sizeof()) > self.held_max {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(hint)
    }

    fn reinit(&mut self) -> io::Result<()> {
        let reset = self.context.reset(ResetDirective::SessionOnly);
        reset.map(|_| ()).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn finish<C: WriteBuf + ?Sized>(&mut self, _: &mut OutBuffer<'_, C>, is_whole: bool) -> io::Result<usize> {
        if is_whole { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
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
    /// Bytes that further blocks may make, and each one.
    room: usize,
    block_max: usize,
}

impl SnappyBlocks {
    fn new(bytes: Bytes, limits: Limits) -> Result<SnappyBlocks, BatchError> {
        let framed = bytes.starts_with(&SNAPPY_HEADER[..SNAPPY_MAGIC_BYTES]);
        let skip = if framed { SNAPPY_HEADER.len() } else { 0 };
        // An empty bare block does not exist, an empty list of blocks does.
        if bytes.len() < skip || bytes.is_empty() {
            return Err(BatchError::Decompress);
        }
        let (left, Limits { max: room, held: block_max }) = (bytes.slice(skip..), limits);
        Ok(SnappyBlocks { left, framed, block: Vec::new(), at: 0, room, block_max })
    }

    /// What the next block promises, where the last one is used up.
    fn ahead(&self) -> usize {
        if self.at < self.block.len() {
            return 0;
        }
        let block = if self.framed { self.left.get(LENGTH_BYTES..).unwrap_or_default() } else { &self.left };
        // Where it lies, or asks too much, the block is refused before anything is made of it.
        snap::raw::decompress_len(block).map_or(0, |length| length.min(self.room).min(self.block_max))
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
        if bytes > self.block_max {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
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

#[cfg(test)]
mod tests {
    use super::super::encoder::Level;
    use super::super::{BatchBuilder, HEADER_BYTES, Pace, RecompressBounds, RecordBatch, recompressed};
    use super::*;
    use futures::FutureExt;
    use std::io::Write;

    const MIB: usize = 1024 * 1024;

    struct Free;

    impl Pace for Free {
        async fn spent(&mut self, _: usize) {}
    }

    /// Passes these records through a window, whatever they are.
    fn passed(codec: Compression, compressed: &[u8]) -> Result<(), BatchError> {
        let empty = BatchBuilder::new().build(0).unwrap();
        let set = |header: &mut [u8]| header[22] = codec.number();
        let batch: RecordBatch = empty.with_records(compressed, set).unwrap();
        assert_eq!(batch.bytes().len(), HEADER_BYTES + compressed.len());
        let bounds = RecompressBounds { decompressed_max: 64 * MIB, batch_bytes_max: 64 * MIB };
        let lz4 = Level { codec: Compression::Lz4, level: None };
        recompressed(&batch, lz4, bounds, &mut Free).now_or_never().unwrap().map(|_| ())
    }

    /// A frame of so many zeroes that announces a window of this power of two.
    fn frame(window_log: u32, bytes: usize) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        let zeroes = vec![0; MIB];
        for _ in 0..bytes / MIB {
            encoder.write_all(&zeroes).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn what_a_decoder_keeps_is_bounded_and_the_windows_that_producers_announce_are_not() {
        let refused = Err(BatchError::Held(HELD_BYTES_MAX));
        assert_eq!(
            passed(Compression::Zstd, &frame(24, 40 * MIB)),
            Ok(()),
            "a window of 16 MiB, be the rest what it may"
        );
        assert_eq!(passed(Compression::Zstd, &frame(27, 16 * MIB)), Ok(()), "level 22 as producers have it");
        assert_eq!(passed(Compression::Zstd, &frame(27, 40 * MIB)), refused, "all of it in the window");
        assert_eq!(
            passed(Compression::Zstd, &[frame(20, MIB), frame(27, 40 * MIB)].concat()),
            refused,
            "the second one"
        );
        let block = |bytes| snap::raw::Encoder::new().compress_vec(&vec![0; bytes]).unwrap();
        assert_eq!(passed(Compression::Snappy, &block(16 * MIB)), Ok(()));
        assert_eq!(passed(Compression::Snappy, &block(20 * MIB)), refused);
        // Whoever wants all of it has room for it.
        let all = Compression::Zstd.decompress(frame(27, 40 * MIB).into(), 64 * MIB);
        assert_eq!(all.map(|bytes| bytes.len()), Ok(40 * MIB));
    }

    #[test]
    fn a_frame_of_zstandard_that_ends_early_is_refused() {
        let whole = frame(20, MIB);
        assert_eq!(Compression::Zstd.decompress(whole.clone().into(), 2 * MIB).map(|bytes| bytes.len()), Ok(MIB));
        for cut in [1, whole.len() / 2, whole.len() - 5] {
            let part = Bytes::copy_from_slice(&whole[..whole.len() - cut]);
            assert_eq!(Compression::Zstd.decompress(part, 2 * MIB), Err(BatchError::Decompress), "{cut}");
        }
    }
}
