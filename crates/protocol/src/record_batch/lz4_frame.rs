//! Whether an LZ4 frame is one that every Kafka client reads, and the wrong checksum that those in messages of format 0 have.
//!
//! Kafka's own reader takes independent blocks only, and reads up to the end mark; a decoder that is more generous would let a batch
//! into the log that no Java consumer ever passes. Nothing is decompressed here: the frame's blocks are stepped over.

use bytes::{Bytes, BytesMut};

/// Little-endian on the wire.
const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Bits of the frame's first byte behind the magic.
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const INDEPENDENT_BLOCKS: u8 = 0x20;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const DICTIONARY: u8 = 0x01;

/// A block that is stored as it is has this bit in its length.
const STORED: u32 = 1 << 31;
const CHECKSUM_BYTES: usize = 4;

/// Whether the bytes begin with a frame of independent blocks that has its end mark.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    blocks(bytes).and_then(to_end_mark).is_some()
}

/// What follows the frame's head, and whether each block has a checksum behind it.
fn blocks(bytes: &[u8]) -> Option<(&[u8], bool)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let flags = *rest.first()?;
    if flags & VERSION_MASK != VERSION || flags & INDEPENDENT_BLOCKS == 0 || flags & DICTIONARY != 0 {
        return None;
    }
    // The flags, the size of blocks, a content size where it is said, a checksum of these.
    let head = 3 + if flags & CONTENT_SIZE == 0 { 0 } else { 8 };
    Some((rest.get(head..)?, flags & BLOCK_CHECKSUMS != 0))
}

fn to_end_mark((mut left, has_checksums): (&[u8], bool)) -> Option<()> {
    loop {
        let (length, rest) = left.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return Some(());
        }
        let block = usize::try_from(length & !STORED).ok()?;
        left = rest.get(block.checked_add(if has_checksums { CHECKSUM_BYTES } else { 0 })?..)?;
    }
}

/// The same frame with the checksum of its head as it should be; or `is_as_of_old`, over the magic as well, as Kafka's clients computed and
/// demanded it before 0.10 (KAFKA-3160). What is no frame stays as it is.
pub(super) fn with_head_checksum(frame: &Bytes, is_as_of_old: bool) -> Bytes {
    let Some(at) = head_checksum_at(frame) else { return frame.clone() };
    let from = if is_as_of_old { 0 } else { MAGIC.len() };
    let checksum = xxh32_of_few(&frame[from..at]).to_le_bytes()[1];
    if frame[at] == checksum {
        return frame.clone();
    }
    let mut mended = BytesMut::from(&frame[..]);
    mended[at] = checksum;
    mended.freeze()
}

/// Where the checksum of the head stands, if the frame has one.
fn head_checksum_at(frame: &[u8]) -> Option<usize> {
    let flags = *frame.strip_prefix(&MAGIC)?.first()?;
    let optional = if flags & CONTENT_SIZE == 0 { 0 } else { 8 } + if flags & DICTIONARY == 0 { 0 } else { 4 };
    let at = MAGIC.len() + 2 + optional;
    (at < frame.len() && at < XXH32_LONG_BYTES).then_some(at)
}

/// From so many bytes on XXH32 takes them four words at a time, which no head needs.
const XXH32_LONG_BYTES: usize = 16;

/// XXH32 of less than [`XXH32_LONG_BYTES`], seed 0.
fn xxh32_of_few(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];
    // The length is the first thing that counts.
    let mut hash = bytes.iter().fold(PRIMES[4], |hash, _| hash.wrapping_add(1));
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mixed = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]));
        hash = mixed.rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        let mixed = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = mixed.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::super::Compression;
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    fn framed(info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info.block_size(BlockSize::Max64KB), Vec::new());
        let text: Vec<u8> = (0..50_000_u32).flat_map(|n| (n % 1000).to_be_bytes()).collect();
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_checksum_of_a_head_is_made_wrong_and_right_again() {
        for info in [FrameInfo::new(), FrameInfo::new().content_size(Some(200_000))] {
            let right = Bytes::from(framed(info));
            let wrong = with_head_checksum(&right, true);
            assert_ne!(wrong, right);
            assert!(Compression::Lz4.decompress(wrong.clone(), 1 << 20).is_err(), "our decoder minds it");
            assert_eq!(with_head_checksum(&wrong, false), right);
        }
        for other in [&b""[..], &MAGIC, b"no frame at all"] {
            assert_eq!(with_head_checksum(&Bytes::copy_from_slice(other), false), other);
        }
    }

    #[test]
    fn whole_frames_of_independent_blocks_are_taken_and_no_others() {
        assert!(is_whole(&Compression::Lz4.compress(b"what we write ourselves").unwrap()));
        assert!(is_whole(&Compression::Lz4.compress(b"").unwrap()));
        let plain = framed(FrameInfo::new());
        assert!(is_whole(&plain));
        assert!(is_whole(&framed(FrameInfo::new().block_checksums(true).content_checksum(true))));
        assert!(is_whole(&framed(FrameInfo::new().content_size(Some(200_000)))));
        assert!(!is_whole(&framed(FrameInfo::new().block_mode(BlockMode::Linked))));
        for length in 0..plain.len() {
            assert!(!is_whole(&plain[..length]), "cut to {length} bytes");
        }
        assert!(!is_whole(&[0xff; 40]));
    }
}
