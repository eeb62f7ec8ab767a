//! Whether an LZ4 frame is one that every Kafka client reads.
//!
//! Kafka's own reader takes independent blocks only, and reads up to the end mark; a decoder that is more generous would let a batch
//! into the log that no Java consumer ever passes. Nothing is decompressed here: the frame's blocks are stepped over.

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
