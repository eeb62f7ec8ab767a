//! Kafka's primitive types, to and from bytes: what the generated messages are made of.
//!
//! Every generated structure implements [`Wire`]: one `read` and one `write`, each for all versions. Errors are *sticky*: a
//! [`Decoder`] or [`Encoder`] that has failed keeps its first error, further calls do nothing and yield empty values, and the
//! error surfaces once, in [`Message::decode`] or [`Message::encode`]. So generated code has no error path per field, which
//! keeps it small.
//!
//! Guarantees: no length is believed before it is compared with the bytes left; decoded structures stay within an allowance of
//! memory (see [`Decoder`]); `bytes` and `records` fields share the frame's memory and are never copied; unknown tagged fields
//! are skipped and not kept.

mod decoder;
mod encoder;
mod value;

pub use decoder::{DecodeError, Decoder, Tags};
pub use encoder::{EncodeError, Encoder, Rope, TagSection};
pub use value::{Nullable, Records, Uuid, Wire};
pub(crate) use value::{nullable_structure, structure_follows};

use crate::api_key::ApiKey;
use bytes::Bytes;
use std::ops::RangeInclusive;

/// A whole message: a request's or response's body, or a record that Kafka stores in its own topics.
pub trait Message: Wire {
    /// Kafka's name for it.
    const NAME: &'static str;
    /// The versions that the definition knows, not necessarily those that Millstream serves.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields; `i16::MAX` where there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads the whole of `bytes` as this message in `version`. Bytes left over are an error.
    ///
    /// # Errors
    /// Where the bytes are not exactly such a message, or the version is not one of [`Message::VERSIONS`].
    fn decode(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let message = Self::decode_from(&mut decoder, version);
        decoder.finish()?;
        Ok(message)
    }

    /// Reads this message from where `decoder` stands; what went wrong is told by [`Decoder::finish`].
    fn decode_from(decoder: &mut Decoder, version: i16) -> Self {
        if Self::VERSIONS.contains(&version) {
            decoder.set_flexible(version >= Self::FLEXIBLE_FROM);
        } else {
            decoder.fail(DecodeError::Version { message: Self::NAME, version });
        }
        Self::read(decoder, version)
    }

    /// This message's bytes in `version`.
    ///
    /// # Errors
    /// Where the version is unknown, or can't express a field that is set and that Kafka doesn't let be dropped silently.
    fn encode(&self, version: i16) -> Result<Rope, EncodeError> {
        let mut encoder = Encoder::new();
        self.encode_to(&mut encoder, version);
        encoder.finish()
    }

    /// Writes this message's bytes behind what `encoder` already has; what went wrong is told by [`Encoder::finish`].
    fn encode_to(&self, encoder: &mut Encoder, version: i16) {
        if Self::VERSIONS.contains(&version) {
            encoder.set_flexible(version >= Self::FLEXIBLE_FROM);
            self.write(encoder, version);
        } else {
            encoder.fail(EncodeError::Version { message: Self::NAME, version });
        }
    }
}

/// A request's body.
pub trait Request: Message {
    /// Its API key.
    const KEY: ApiKey;
    /// What answers it, in the same version.
    type Response: Message;
}

#[cfg(test)]
mod tests;
