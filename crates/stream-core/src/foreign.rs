//! What else may be on a raw device that is to become a ring: known by the signatures of its first and last bytes.
//!
//! Whoever would write a ring over something shows it first, and is told to only by a token that names exactly that: its name and
//! the checksum of the bytes looked at. So a token that was left in a configuration gives up nothing that comes later.

use base::crc32c;

/// Bytes of the beginning that are looked at: every signature below lies in them.
pub const HEAD_BYTES: usize = 128 << 10;

/// Bytes of the end that are looked at: backup tables and superblocks that lie there.
pub const TAIL_BYTES: usize = 64 << 10;

/// Something that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// For people.
    pub what: &'static str,
    /// What an operator repeats to give it up.
    pub token: String,
}

/// A signature: where its bytes stand, and what they are of (short name, words).
type Signature = (usize, &'static [u8], &'static str, &'static str);

/// In the order of looking: what wraps others comes first.
const HEAD: [Signature; 22] = [
    (0, b"LUKS\xba\xbe", "luks", "an encrypted volume (LUKS)"),
    (512, b"LABELONE", "lvm", "a physical volume (LVM)"),
    (0, b"LABELONE", "lvm", "a physical volume (LVM)"),
    (0, b"\xfc\x4e\x2b\xa9", "raid", "a member of a RAID (md)"),
    (4096, b"\xfc\x4e\x2b\xa9", "raid", "a member of a RAID (md)"),
    (0, b"bluestore block device", "bluestore", "a Ceph BlueStore device"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache", "a bcache device"),
    (4086, b"SWAPSPACE2", "swap", "swap space"),
    (4086, b"SWAP-SPACE", "swap", "swap space"),
    (0, b"XFSB", "xfs", "an XFS file system"),
    (1080, b"\x53\xef", "ext4", "an ext2, ext3 or ext4 file system"),
    (65_600, b"_BHRfS_M", "btrfs", "a Btrfs file system"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs", "an F2FS file system"),
    (0, b"hsqs", "squashfs", "a SquashFS file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs", "an EROFS file system"),
    (32_769, b"CD001", "iso9660", "an ISO 9660 file system"),
    (3, b"NTFS    ", "ntfs", "an NTFS file system"),
    (3, b"EXFAT   ", "exfat", "an exFAT file system"),
    (82, b"FAT32   ", "fat", "a FAT file system"),
    (54, b"FAT1", "fat", "a FAT file system"),
    (512, b"EFI PART", "gpt", "a partition table (GPT)"),
    (4096, b"EFI PART", "gpt", "a partition table (GPT)"),
];

/// By distance from the end.
const TAIL: [Signature; 4] = [
    (512, b"EFI PART", "gpt", "the backup of a partition table (GPT)"),
    (4096, b"EFI PART", "gpt", "the backup of a partition table (GPT)"),
    (8192, b"\xfc\x4e\x2b\xa9", "raid", "a member of a RAID (md)"),
    (65_536, b"\xfc\x4e\x2b\xa9", "raid", "a member of a RAID (md)"),
];

/// What the first [`HEAD_BYTES`] and last [`TAIL_BYTES`] of a device (fewer of a small one) are of; `None` where all are zero.
#[must_use]
pub fn recognise(head: &[u8], tail: &[u8]) -> Option<Foreign> {
    if head.iter().chain(tail).all(|byte| *byte == 0) {
        return None;
    }
    let found =
        HEAD.iter().find(|(at, bytes, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes))).or_else(|| {
            let stands = |(back, bytes, ..): &&Signature| {
                tail.len().checked_sub(*back).is_some_and(|at| tail[at..].starts_with(bytes))
            };
            TAIL.iter().find(stands)
        });
    let (name, what) = match found {
        Some((.., name, what)) => (*name, *what),
        None if head.get(510..512) == Some(&[0x55, 0xaa]) => ("mbr", "a partition table (MBR)"),
        None => ("data", "bytes of unknown kind"),
    };
    let checksum = crc32c(head) ^ crc32c(tail).rotate_left(1);
    Some(Foreign { what, token: format!("{name}-{checksum:08x}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(head: &[u8], tail: &[u8]) -> String {
        let token = recognise(head, tail).expect("something is there").token;
        token.split('-').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn zeroes_are_nothing_and_anything_else_is_something() {
        let (mut head, mut tail) = (vec![0; HEAD_BYTES], vec![0; TAIL_BYTES]);
        assert_eq!(recognise(&head, &tail), None);
        assert_eq!(recognise(&[], &[]), None);
        tail[17] = 1;
        assert_eq!(name(&head, &tail), "data");
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(name(&head, &tail), "mbr");
    }

    #[test]
    fn every_signature_is_found_where_it_stands() {
        for (at, bytes, expected, _) in HEAD {
            let mut head = vec![0; HEAD_BYTES];
            head[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(name(&head, &[]), expected);
        }
        for (back, bytes, expected, _) in TAIL {
            let mut tail = vec![0; TAIL_BYTES];
            let at = TAIL_BYTES - back;
            tail[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(name(&[0; 4096], &tail), expected);
        }
    }

    #[test]
    fn a_token_names_what_was_seen_and_nothing_that_comes_later() {
        let (mut head, tail) = (vec![0; HEAD_BYTES], vec![0; TAIL_BYTES]);
        head[0..4].copy_from_slice(b"XFSB");
        let before = recognise(&head, &tail).unwrap();
        assert!(before.token.starts_with("xfs-") && before.what.contains("XFS"));
        head[100_000] = 1;
        assert_ne!(recognise(&head, &tail).unwrap().token, before.token);
    }
}
