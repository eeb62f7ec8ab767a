//! CRC-32C (Castagnoli), the checksum of every stored byte and of Kafka's record batch v2; and the CRC-32 of zip, that of the message formats
//! before it.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

/// The CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    narrow(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

/// The CRC-32C of two pieces back to back, from theirs and the second one's length.
#[must_use]
pub fn crc32c_joined(first: u32, second: u32, second_len: u64) -> u32 {
    narrow(checksum_combine(CrcAlgorithm::Crc32Iscsi, u64::from(first), u64::from(second), second_len))
}

/// A CRC-32C over several pieces.
#[derive(Debug)]
pub struct Crc32c(Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces so far.
    #[must_use]
    pub fn value(&self) -> u32 {
        narrow(self.0.finalize())
    }
}

/// The CRC-32 of zip and Ethernet over several pieces.
#[derive(Debug)]
pub struct Crc32(Digest);

impl Default for Crc32 {
    fn default() -> Self {
        Crc32(Digest::new(CrcAlgorithm::Crc32IsoHdlc))
    }
}

impl Crc32 {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces so far.
    #[must_use]
    pub fn value(&self) -> u32 {
        narrow(self.0.finalize())
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or_else(|_| unreachable!("a 32-bit checksum fits 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_rfc_3720_and_is_the_same_in_pieces() {
        // RFC 3720, appendix B.4: 32 bytes of zeroes.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let mut pieces = Crc32c::default();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xe306_9283);
        assert_eq!(crc32c_joined(crc32c(b"1234"), crc32c(b"56789"), 5), 0xe306_9283);
    }

    #[test]
    fn the_older_one_has_its_check_value() {
        let mut pieces = Crc32::default();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xcbf4_3926);
    }
}
