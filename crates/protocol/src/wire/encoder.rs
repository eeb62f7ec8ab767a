//! Writes values into a rope: own bytes for what is small, shared [`Bytes`] for what is large, so that a fetch answer never
//! copies records.

use super::value::Wire;
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Why a message can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A version that the message's definition doesn't know.
    #[error("{message} has no version {version}")]
    Version {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set that this version can't carry, and Kafka doesn't let it be dropped silently.
    #[error("field {0} is set but this version of the message doesn't have it")]
    Absent(&'static str),
    /// Null in a field that can't be null in this version.
    #[error("field {0} is null but this version of the message has no null there")]
    UnexpectedNull(&'static str),
    /// A string, array, byte sequence or frame longer than its length field can say.
    #[error("a length of {0} doesn't fit its field")]
    TooLong(usize),
}

/// Shared bytes shorter than this are copied: a piece more in the rope costs more than so short a copy.
const SHARE_MIN: usize = 512;

/// The pieces of an encoded message, in order. Written to a socket with vectored writes, or joined where size allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rope {
    pieces: Vec<Bytes>,
}

impl Rope {
    /// The pieces. None is empty.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The pieces, owned.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// Bytes in all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All bytes in one piece; copies where there are several.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        join(&self.pieces)
    }
}

/// All of `pieces` in one; shares the memory where there is but one.
pub(super) fn join(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        several => {
            let mut joined = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
            for piece in several {
                joined.extend_from_slice(piece);
            }
            joined.freeze()
        }
    }
}

/// Collects a message's bytes.
#[derive(Debug, Default)]
pub struct Encoder {
    done: Vec<Bytes>,
    /// Bytes in `done`.
    done_bytes: usize,
    tail: BytesMut,
    flexible: bool,
    /// How many tagged fields we are inside of: their bytes must stay in `tail`, because their size is put in afterwards.
    tag_depth: u32,
    /// What answers say of it at least, where it is above 0.
    throttle_time_ms: i32,
    error: Option<EncodeError>,
}

/// Where a structure's count of tagged fields stands; `None` where the message isn't flexible.
#[derive(Debug, Clone, Copy)]
pub struct TagSection(Option<usize>);

impl Encoder {
    /// An encoder with nothing in it.
    #[must_use]
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Whether what follows has compact lengths and tagged fields.
    pub fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Every field that tells a client how long it is throttled says at least this, in milliseconds.
    pub fn set_throttle_time(&mut self, throttle_time_ms: i32) {
        self.throttle_time_ms = throttle_time_ms;
    }

    /// Adds such a field.
    pub fn throttle_time(&mut self, throttle_time_ms: i32) {
        let least = if self.throttle_time_ms > 0 { self.throttle_time_ms } else { throttle_time_ms };
        self.put(&throttle_time_ms.max(least), 0);
    }

    /// Remembers the first error.
    #[cold]
    pub fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.done_bytes + self.tail.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces.
    ///
    /// # Errors
    /// The first error met.
    pub fn finish(mut self) -> Result<Rope, EncodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.close_tail();
        Ok(Rope { pieces: self.done })
    }

    /// Adds a value.
    pub fn put<T: Wire>(&mut self, value: &T, version: i16) {
        value.write(self, version);
    }

    /// Adds a value that is nullable in other versions, but not in this one.
    pub fn put_some<T: Wire>(&mut self, value: Option<&T>, version: i16, field: &'static str) {
        match value {
            Some(value) => value.write(self, version),
            None => self.fail(EncodeError::UnexpectedNull(field)),
        }
    }

    /// Checks that a field which this version doesn't have has its default.
    pub fn absent(&mut self, is_default: bool, field: &'static str) {
        if !is_default {
            self.fail(EncodeError::Absent(field));
        }
    }

    /// Adds bytes by copying them.
    pub fn slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Adds bytes without copying them, unless they are few.
    pub fn share(&mut self, bytes: &Bytes) {
        if self.tag_depth > 0 || bytes.len() < SHARE_MIN {
            self.slice(bytes);
        } else {
            self.close_tail();
            self.done_bytes += bytes.len();
            self.done.push(bytes.clone());
        }
    }

    /// Adds an unsigned variable-length integer.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(low_byte(value));
    }

    /// Adds a string's length; `None` is null.
    pub(super) fn string_length(&mut self, length: Option<usize>) {
        if self.flexible {
            self.compact_length(length);
        } else {
            let length =
                length.map_or(Ok(-1), |length| i16::try_from(length).map_err(|_| EncodeError::TooLong(length)));
            match length {
                Ok(length) => self.tail.put_i16(length),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Adds an array's or byte sequence's length; `None` is null.
    pub(super) fn length(&mut self, length: Option<usize>) {
        if self.flexible {
            self.compact_length(length);
        } else {
            let length =
                length.map_or(Ok(-1), |length| i32::try_from(length).map_err(|_| EncodeError::TooLong(length)));
            match length {
                Ok(length) => self.tail.put_i32(length),
                Err(error) => self.fail(error),
            }
        }
    }

    fn compact_length(&mut self, length: Option<usize>) {
        // i32::MAX, although a varint could say more: Kafka's lengths are Java's.
        match length.map_or(Ok(0), |length| i32::try_from(length).map(|length| length.unsigned_abs() + 1)) {
            Ok(length) => self.unsigned_varint(length),
            Err(_) => self.fail(EncodeError::TooLong(length.unwrap_or_default())),
        }
    }

    /// Begins a structure's tagged fields. Nothing where the message isn't flexible.
    pub fn tags(&mut self) -> TagSection {
        if !self.flexible {
            return TagSection(None);
        }
        self.tail.put_u8(0);
        TagSection(Some(self.tail.len() - 1))
    }

    /// Adds a tagged field. Fields are added in the order of their tags.
    pub fn tag<T: Wire>(&mut self, section: TagSection, tag: u32, value: &T, version: i16) {
        let start = self.begin_tag(section, tag);
        value.write(self, version);
        self.end_tag(start);
    }

    fn begin_tag(&mut self, section: TagSection, tag: u32) -> usize {
        let at = section.0.expect("a tagged field lies in a flexible version");
        self.tail[at] += 1;
        assert!(self.tail[at] < 0x80, "the count of tagged fields takes one byte");
        self.tag_depth += 1;
        self.unsigned_varint(tag);
        self.tail.len()
    }

    fn end_tag(&mut self, start: usize) {
        self.tag_depth -= 1;
        let end = self.tail.len();
        match u32::try_from(end - start) {
            Ok(size) => self.unsigned_varint(size),
            Err(_) => self.fail(EncodeError::TooLong(end - start)),
        }
        // The size belongs before the value: both change places.
        let size_bytes = self.tail.len() - end;
        self.tail[start..].rotate_right(size_bytes);
    }

    /// Puts the count of all bytes behind the first four into those four, which must have been left for it.
    pub(crate) fn fill_frame_length(&mut self, at_start: [u8; 4]) {
        let length = self.len() - at_start.len();
        let Ok(value) = i32::try_from(length) else { return self.fail(EncodeError::TooLong(length)) };
        let bytes = value.to_be_bytes();
        match self.done.first_mut() {
            None => self.tail[..4].copy_from_slice(&bytes),
            Some(first) => {
                // The first piece is our own, not yet seen by anybody else, so this doesn't copy it.
                let mut piece = BytesMut::from(std::mem::take(first));
                piece[..4].copy_from_slice(&bytes);
                *first = piece.freeze();
            }
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.done_bytes += self.tail.len();
            self.done.push(self.tail.split().freeze());
        }
    }
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}
