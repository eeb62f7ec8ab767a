//! How each of Kafka's types is read and written.

use super::decoder::{DecodeError, Decoder};
use super::encoder::{Encoder, join};
use bytes::Bytes;
use std::fmt;

/// A value that has a form on the wire.
pub trait Wire: Sized + Default {
    /// The fewest bytes that a value takes as an array's element, in any version. At least 1.
    const LEAST: usize;

    /// Reads a value. After an error the value means nothing; see [`Decoder::finish`].
    fn read(decoder: &mut Decoder, version: i16) -> Self;

    /// Writes the value. What can't be written is told by [`Encoder::finish`].
    fn write(&self, encoder: &mut Encoder, version: i16);
}

/// A value that can be null on the wire, which then is an `Option` in memory.
pub trait Nullable: Sized {
    /// The fewest bytes that null or a value takes.
    const LEAST_NULLABLE: usize;

    /// Reads a value or null.
    fn read_nullable(decoder: &mut Decoder, version: i16) -> Option<Self>;

    /// Writes a value or null.
    fn write_nullable(value: Option<&Self>, encoder: &mut Encoder, version: i16);
}

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Wire for $type {
            const LEAST: usize = size_of::<$type>();

            fn read(decoder: &mut Decoder, _version: i16) -> Self {
                Self::from_be_bytes(decoder.fixed())
            }

            fn write(&self, encoder: &mut Encoder, _version: i16) {
                encoder.slice(&self.to_be_bytes());
            }
        }
    )+};
}

number!(i8, i16, u16, i32, u32, i64);

impl Wire for f64 {
    const LEAST: usize = 8;

    fn read(decoder: &mut Decoder, _version: i16) -> Self {
        let value = Self::from_be_bytes(decoder.fixed());
        #[cfg(test)]
        if decoder.invent_chance(0).is_some() {
            // An invented value is compared with its copy, and NaN is not equal to itself.
            return if value.is_nan() { 0.5 } else { value };
        }
        value
    }

    fn write(&self, encoder: &mut Encoder, _version: i16) {
        encoder.slice(&self.to_be_bytes());
    }
}

impl Wire for bool {
    const LEAST: usize = 1;

    fn read(decoder: &mut Decoder, _version: i16) -> Self {
        decoder.fixed() != [0]
    }

    fn write(&self, encoder: &mut Encoder, _version: i16) {
        encoder.slice(&[u8::from(*self)]);
    }
}

/// Kafka's UUID. Zero means none.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub u128);

impl Uuid {
    /// None.
    pub const ZERO: Uuid = Uuid(0);
}

impl Uuid {
    /// Reads the form of Kafka's tools, with padding or without; none where it is another one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Uuid> {
        let digits = text.trim_end_matches('=');
        if digits.len() != 22 || text.len() > 24 {
            return None;
        }
        let mut value = 0_u128;
        for (at, byte) in digits.bytes().enumerate() {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            // The last digit has two bits of it.
            value = if at < 21 { value << 6 | u128::from(six) } else { value << 2 | u128::from(six >> 4) };
        }
        Some(Uuid(value))
    }
}

impl From<base::TopicId> for Uuid {
    fn from(id: base::TopicId) -> Uuid {
        Uuid(id.0)
    }
}

impl From<Uuid> for base::TopicId {
    fn from(uuid: Uuid) -> base::TopicId {
        base::TopicId(uuid.0)
    }
}

impl fmt::Display for Uuid {
    /// The form of Kafka's tools: base 64 with the alphabet of URLs, without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 128 bits are 21 digits of six and one of two, which stands for its four missing bits as zeroes.
        for digit in 0..22_u32 {
            let six = if digit < 21 { self.0 >> (122 - 6 * digit) } else { self.0 << 4 };
            let index = usize::from(six.to_le_bytes()[0] & 0x3f);
            write!(f, "{}", char::from(ALPHABET[index]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Wire for Uuid {
    const LEAST: usize = 16;

    fn read(decoder: &mut Decoder, _version: i16) -> Self {
        Uuid(u128::from_be_bytes(decoder.fixed()))
    }

    fn write(&self, encoder: &mut Encoder, _version: i16) {
        encoder.slice(&self.0.to_be_bytes());
    }
}

/// A `records` field: record batches, one behind another, in one piece or several.
///
/// Decoding yields at most one piece, which shares the frame's memory. A fetch answer has as many as were read, none of which is
/// copied.
#[derive(Debug, Clone, Default)]
pub struct Records(Vec<Bytes>);

impl Records {
    /// Adds bytes at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.0.push(piece);
        }
    }

    /// The pieces. None is empty.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// Bytes in all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All bytes in one piece; copies where there are several.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        join(&self.0)
    }
}

impl PartialEq for Records {
    /// By their bytes, however they are cut into pieces.
    fn eq(&self, other: &Records) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Records {}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        let mut records = Records::default();
        records.push(bytes);
        records
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Records {
        let mut records = Records::default();
        pieces.into_iter().for_each(|piece| records.push(piece));
        records
    }
}

impl Nullable for String {
    const LEAST_NULLABLE: usize = 1;

    fn read_nullable(decoder: &mut Decoder, _version: i16) -> Option<Self> {
        let length = decoder.string_length()?;
        let bytes = decoder.take(length);
        if !decoder.charge(bytes.len()) {
            return Some(String::new());
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            decoder.fail(DecodeError::NotUtf8);
            return Some(String::new());
        };
        Some(text.to_owned())
    }

    fn write_nullable(value: Option<&Self>, encoder: &mut Encoder, _version: i16) {
        encoder.string_length(value.map(String::len));
        encoder.slice(value.map_or(&[], |text| text.as_bytes()));
    }
}

impl Nullable for Bytes {
    const LEAST_NULLABLE: usize = 1;

    fn read_nullable(decoder: &mut Decoder, _version: i16) -> Option<Self> {
        let length = decoder.length()?;
        Some(decoder.take(length))
    }

    fn write_nullable(value: Option<&Self>, encoder: &mut Encoder, _version: i16) {
        encoder.length(value.map(Bytes::len));
        if let Some(bytes) = value {
            encoder.share(bytes);
        }
    }
}

impl Nullable for Records {
    const LEAST_NULLABLE: usize = 1;

    fn read_nullable(decoder: &mut Decoder, version: i16) -> Option<Self> {
        let piece = Bytes::read_nullable(decoder, version)?;
        // Not by `push`, which would set aside room for more pieces to come, unseen by the allowance.
        let is_there = !piece.is_empty() && decoder.charge(size_of::<Bytes>());
        Some(Records(if is_there { vec![piece] } else { Vec::new() }))
    }

    fn write_nullable(value: Option<&Self>, encoder: &mut Encoder, _version: i16) {
        encoder.length(value.map(Records::len));
        for piece in value.map_or(&[][..], Records::pieces) {
            encoder.share(piece);
        }
    }
}

impl<T: Wire> Nullable for Vec<T> {
    const LEAST_NULLABLE: usize = 1;

    fn read_nullable(decoder: &mut Decoder, version: i16) -> Option<Self> {
        let count = decoder.count(T::LEAST, size_of::<T>())?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            if decoder.failed() {
                break;
            }
            items.push(T::read(decoder, version));
        }
        Some(items)
    }

    fn write_nullable(value: Option<&Self>, encoder: &mut Encoder, version: i16) {
        encoder.length(value.map(Vec::len));
        for item in value.into_iter().flatten() {
            item.write(encoder, version);
        }
    }
}

impl<T: Nullable> Wire for Option<T> {
    const LEAST: usize = T::LEAST_NULLABLE;

    fn read(decoder: &mut Decoder, version: i16) -> Self {
        #[cfg(test)]
        if decoder.invent_chance(250) == Some(true) {
            return None;
        }
        T::read_nullable(decoder, version)
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        T::write_nullable(self.as_ref(), encoder, version);
    }
}

macro_rules! never_null {
    ($([$($parameter:tt)*] $type:ty),+) => {$(
        impl<$($parameter)*> Wire for $type {
            const LEAST: usize = 1;

            fn read(decoder: &mut Decoder, version: i16) -> Self {
                Self::read_nullable(decoder, version).unwrap_or_else(|| {
                    decoder.fail(DecodeError::UnexpectedNull);
                    Self::default()
                })
            }

            fn write(&self, encoder: &mut Encoder, version: i16) {
                Self::write_nullable(Some(self), encoder, version);
            }
        }
    )+};
}

never_null!([] String, [] Bytes, [] Records, [T: Wire] Vec<T>);

/// Makes a structure nullable: a byte says whether it is there (1) or null (-1).
macro_rules! nullable_structure {
    ($($type:ty),+) => {$(
        impl $crate::wire::Nullable for $type {
            const LEAST_NULLABLE: usize = 1;

            fn read_nullable(decoder: &mut $crate::wire::Decoder, version: i16) -> Option<Self> {
                $crate::wire::structure_follows(decoder).then(|| decoder.get(version))
            }

            fn write_nullable(value: Option<&Self>, encoder: &mut $crate::wire::Encoder, version: i16) {
                encoder.slice(if value.is_some() { &[1] } else { &[0xff] });
                if let Some(value) = value {
                    encoder.put(value, version);
                }
            }
        }
    )+};
}
pub(crate) use nullable_structure;

/// Reads the byte that says whether a nullable structure is there.
pub(crate) fn structure_follows(decoder: &mut Decoder) -> bool {
    #[cfg(test)]
    if decoder.invent_chance(0).is_some() {
        return true;
    }
    i8::read(decoder, 0) >= 0
}
