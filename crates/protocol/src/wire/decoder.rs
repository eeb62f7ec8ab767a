//! Reads values from one frame, never beyond its end and never into more memory than the frame entitles it to.

use super::value::Wire;
#[cfg(test)]
use base::Seed;
use bytes::{Buf, Bytes};
use thiserror::Error;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a value, or a length says more than there is.
    #[error("{needed} bytes needed where {left} are left")]
    Truncated {
        /// Bytes that the next value takes at least.
        needed: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// A length below -1.
    #[error("a length of {0}")]
    NegativeLength(i32),
    /// Null where this version of the message has no null.
    #[error("null in a field that can't be null")]
    UnexpectedNull,
    /// A string that isn't UTF-8.
    #[error("a string that is not UTF-8")]
    NotUtf8,
    /// A variable-length integer longer than its type.
    #[error("a variable-length integer that doesn't end")]
    Varint,
    /// A tagged field whose size differs from what its value takes.
    #[error("tagged field {tag} takes another number of bytes than it says")]
    TagSize {
        /// The field's tag.
        tag: u32,
    },
    /// More and larger structures than a frame of this size may ask memory for.
    #[error("the message's arrays need more memory than its size entitles it to")]
    Allowance,
    /// Bytes behind the message's end.
    #[error("{0} bytes behind the end of the message")]
    Trailing(usize),
    /// A version that the message's definition doesn't know.
    #[error("{message} has no version {version}")]
    Version {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// Memory that structures decoded from a frame may take for each byte of a small frame.
const ALLOWANCE_PER_BYTE: usize = 16;
/// Memory that they may take beyond [`ALLOWANCE_PER_BYTE`], so that the smallest frames need no sums.
const ALLOWANCE_LEAST: usize = 64 << 10;
/// Memory that they may take beyond twice a large frame's size.
const ALLOWANCE_LARGE: usize = 16 << 20;

/// A cursor over one frame's bytes.
///
/// A byte on the wire can become many in memory (an empty array of three bytes is a `Vec` of 24), so what is decoded is bounded
/// twice: a length must fit the bytes left at its element's least size, and all arrays and strings together must fit an
/// allowance of min(16 × frame + 64 KiB, 2 × frame + 16 MiB).
#[derive(Debug)]
pub struct Decoder {
    bytes: Bytes,
    flexible: bool,
    allowance: usize,
    error: Option<DecodeError>,
    /// Where set, values are invented instead of read: every generated `read` is then its message's own generator.
    #[cfg(test)]
    invent: Option<Seed>,
}

impl Decoder {
    /// A decoder of all of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Decoder {
        let small = bytes.len().saturating_mul(ALLOWANCE_PER_BYTE).saturating_add(ALLOWANCE_LEAST);
        let large = bytes.len().saturating_mul(2).saturating_add(ALLOWANCE_LARGE);
        Decoder {
            bytes,
            flexible: false,
            allowance: small.min(large),
            error: None,
            #[cfg(test)]
            invent: None,
        }
    }

    /// A decoder that invents what it is asked for.
    #[cfg(test)]
    pub(crate) fn inventing(seed: Seed) -> Decoder {
        let mut decoder = Decoder::new(Bytes::new());
        decoder.allowance = usize::MAX;
        decoder.invent = Some(seed);
        decoder
    }

    /// Whether what follows has compact lengths and tagged fields.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Remembers the first error. From now on there are no bytes left.
    #[cold]
    pub fn fail(&mut self, error: DecodeError) {
        self.error.get_or_insert(error);
        self.bytes = Bytes::new();
    }

    /// Whether anything went wrong so far.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Says whether what was read so far was right.
    ///
    /// # Errors
    /// The first error met.
    pub fn so_far(&self) -> Result<(), DecodeError> {
        self.error.map_or(Ok(()), Err)
    }

    /// Says whether all bytes were read and all were right.
    ///
    /// # Errors
    /// The first error met; or [`DecodeError::Trailing`].
    pub fn finish(self) -> Result<(), DecodeError> {
        self.so_far()?;
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.bytes.len())) }
    }

    /// The next value.
    pub fn get<T: Wire>(&mut self, version: i16) -> T {
        T::read(self, version)
    }

    /// The next `N` bytes; zeroes where there are fewer.
    pub fn fixed<const N: usize>(&mut self) -> [u8; N] {
        #[cfg(test)]
        if let Some(seed) = &mut self.invent {
            return std::array::from_fn(|_| seed.next_u64().to_le_bytes()[0]);
        }
        let mut value = [0; N];
        if N > self.bytes.len() {
            self.fail(DecodeError::Truncated { needed: N, left: self.bytes.len() });
        } else {
            self.bytes.copy_to_slice(&mut value);
        }
        value
    }

    /// The next `length` bytes, sharing the frame's memory.
    pub fn take(&mut self, length: usize) -> Bytes {
        #[cfg(test)]
        if let Some(seed) = &mut self.invent {
            return (0..length).map(|_| b'a' + seed.below(26).to_le_bytes()[0]).collect();
        }
        if length > self.bytes.len() {
            self.fail(DecodeError::Truncated { needed: length, left: self.bytes.len() });
            return Bytes::new();
        }
        self.bytes.split_to(length)
    }

    /// An unsigned variable-length integer of up to 32 bits.
    pub fn unsigned_varint(&mut self) -> u32 {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed();
            let part = u32::from(byte & 0x7f);
            if shift == 28 && part > 0x0f {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        self.fail(DecodeError::Varint);
        0
    }

    /// A string's length; `None` is null.
    pub(super) fn string_length(&mut self) -> Option<usize> {
        #[cfg(test)]
        if self.invent.is_some() {
            return self.invent_length();
        }
        if self.flexible {
            self.compact_length()
        } else {
            self.classic_length(|d| i32::from(i16::from_be_bytes(d.fixed())))
        }
    }

    /// An array's or byte sequence's length; `None` is null.
    pub(super) fn length(&mut self) -> Option<usize> {
        #[cfg(test)]
        if self.invent.is_some() {
            return self.invent_length();
        }
        if self.flexible { self.compact_length() } else { self.classic_length(|d| i32::from_be_bytes(d.fixed())) }
    }

    /// The number of an array's elements, which are `least` bytes each at the least and become `size` bytes of memory.
    /// Both are checked before the caller allocates.
    pub(super) fn count(&mut self, least: usize, size: usize) -> Option<usize> {
        let count = self.length()?;
        #[cfg(test)]
        if self.invent.is_some() {
            return Some(count.min(3));
        }
        // Division, not multiplication: a claimed length times a size may overflow.
        if count > self.bytes.len() / least {
            let needed = count.saturating_mul(least);
            self.fail(DecodeError::Truncated { needed, left: self.bytes.len() });
            return Some(0);
        }
        self.charge(count.saturating_mul(size)).then_some(count).or(Some(0))
    }

    /// Takes `memory` from the allowance; false, and failed, where there is less.
    pub(super) fn charge(&mut self, memory: usize) -> bool {
        let left = self.allowance.checked_sub(memory);
        match left {
            Some(left) => self.allowance = left,
            None => self.fail(DecodeError::Allowance),
        }
        left.is_some()
    }

    fn compact_length(&mut self) -> Option<usize> {
        let length = self.unsigned_varint().checked_sub(1);
        if self.failed() { Some(0) } else { length.map(widen) }
    }

    fn classic_length(&mut self, read: impl FnOnce(&mut Decoder) -> i32) -> Option<usize> {
        match read(self) {
            -1 => None,
            length => match usize::try_from(length) {
                Ok(length) => Some(length),
                Err(_) => {
                    self.fail(DecodeError::NegativeLength(length));
                    Some(0)
                }
            },
        }
    }

    /// The tagged fields that follow; none where the message isn't flexible.
    pub fn tags(&mut self) -> Tags {
        #[cfg(test)]
        if self.invent.is_some() {
            return Tags { left: if self.flexible { 4 } else { 0 }, open: None };
        }
        Tags { left: if self.flexible { self.unsigned_varint() } else { 0 }, open: None }
    }

    /// Passes over all tagged fields.
    pub fn skip_tags(&mut self) {
        let mut tags = self.tags();
        while tags.next(self).is_some() {
            tags.skip(self);
        }
    }

    #[cfg(test)]
    pub(crate) fn invent_chance(&mut self, per_mille: u64) -> Option<bool> {
        self.invent.as_mut().map(|seed| seed.chance(per_mille))
    }

    #[cfg(test)]
    #[expect(clippy::unnecessary_wraps, reason = "stands in for the functions that read a length")]
    fn invent_length(&mut self) -> Option<usize> {
        let length = self.invent.as_mut().map_or(0, |seed| seed.below(8));
        Some(usize::try_from(length).unwrap_or(0))
    }
}

/// A walk over a structure's tagged fields.
#[derive(Debug)]
pub struct Tags {
    left: u32,
    /// The field handed out last, and the bytes that must be left when it has been read.
    open: Option<(u32, usize)>,
}

impl Tags {
    /// The next field's tag. Its value must be read, or [`Tags::skip`]ped, before the next call.
    pub fn next(&mut self, decoder: &mut Decoder) -> Option<u32> {
        #[cfg(test)]
        if let Some(seed) = &mut decoder.invent {
            self.left = self.left.checked_sub(1)?;
            let tag = 3 - self.left;
            return if seed.chance(500) { Some(tag) } else { self.next(decoder) };
        }
        if let Some((tag, end)) = self.open.take()
            && decoder.left() != end
        {
            decoder.fail(DecodeError::TagSize { tag });
        }
        if self.left == 0 || decoder.failed() {
            return None;
        }
        self.left -= 1;
        let tag = decoder.unsigned_varint();
        let size = widen(decoder.unsigned_varint());
        let Some(end) = decoder.left().checked_sub(size) else {
            decoder.fail(DecodeError::Truncated { needed: size, left: decoder.left() });
            return None;
        };
        self.open = Some((tag, end));
        (!decoder.failed()).then_some(tag)
    }

    /// Passes over the value of the field handed out last.
    pub fn skip(&mut self, decoder: &mut Decoder) {
        if let Some((_, end)) = self.open {
            decoder.take(decoder.left().saturating_sub(end));
        }
    }
}

fn widen(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
