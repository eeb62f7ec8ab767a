//! Frames: the length prefix, the request's and the response's header, and the body behind it.
//!
//! First on the way of every request (bytes in, `RequestFrame` out) and last on the way of every answer. A frame's length is
//! compared with the reader's greatest before any memory is set aside for it. What is in a frame that can't be read is told as
//! an error; whether to answer it or to close the connection is the broker's matter.

use crate::api_key::ApiKey;
use crate::wire::{DecodeError, Decoder, EncodeError, Encoder, Message, Request, Rope};
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Why a connection's bytes are not a frame with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length prefix is negative or beyond what the reader accepts.
    #[error("a frame of {claimed} bytes, where at most {max} are accepted")]
    Length {
        /// What the prefix says.
        claimed: i32,
        /// The reader's bound.
        max: usize,
    },
    /// The number isn't that of any API.
    #[error("no API has the key {0}")]
    UnknownApi(i16),
    /// The header can't be read.
    #[error("the request's header: {0}")]
    Header(#[from] DecodeError),
}

/// Takes the next whole frame, without its length prefix, off the front of what a connection has sent; `None` until it is whole.
///
/// # Errors
/// [`FrameError::Length`] as soon as the prefix shows it, before the rest has come.
pub fn next_frame(received: &mut BytesMut, max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = received.first_chunk::<4>() else { return Ok(None) };
    let claimed = i32::from_be_bytes(*prefix);
    let length = usize::try_from(claimed).ok().filter(|length| *length <= max);
    let length = length.ok_or(FrameError::Length { claimed, max })?;
    if received.len() - prefix.len() < length {
        return Ok(None);
    }
    received.advance(4);
    Ok(Some(received.split_to(length).freeze()))
}

/// What stands before every request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub key: ApiKey,
    /// In which version; any number, also one that nobody knows.
    pub version: i16,
    /// Chosen by the client, repeated in the answer.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
}

/// A request whose header has been read and whose body has not.
#[derive(Debug)]
pub struct RequestFrame {
    /// The header.
    pub header: RequestHeader,
    body: Decoder,
}

impl RequestFrame {
    /// Reads the header of a frame.
    ///
    /// # Errors
    /// Where there is no such API, or the header is broken.
    pub fn decode(frame: Bytes) -> Result<RequestFrame, FrameError> {
        let mut decoder = Decoder::new(frame);
        let number: i16 = decoder.get(0);
        let version: i16 = decoder.get(0);
        let correlation_id: i32 = decoder.get(0);
        if decoder.failed() {
            decoder.finish()?;
            unreachable!("a failed decoder tells its error");
        }
        let key = ApiKey::from_number(number).ok_or(FrameError::UnknownApi(number))?;
        // The client id keeps its classic length in every version, so that any server can read any ApiVersions request.
        let client_id: Option<String> = decoder.get(0);
        if version >= key.flexible_from() {
            decoder.set_flexible(true);
            decoder.skip_tags();
        }
        let header = RequestHeader { key, version, correlation_id, client_id };
        match decoder.failed() {
            false => Ok(RequestFrame { header, body: decoder }),
            true => Err(decoder.finish().err().map_or(FrameError::UnknownApi(number), FrameError::Header)),
        }
    }

    /// Reads the body. `R` must be the request of the header's API.
    ///
    /// # Errors
    /// Where the body isn't exactly such a request in the header's version.
    pub fn body<R: Request>(mut self) -> Result<R, DecodeError> {
        assert_eq!(R::KEY, self.header.key, "the caller matched on the header's key");
        let body = R::decode_from(&mut self.body, self.header.version);
        self.body.finish()?;
        Ok(body)
    }
}

/// A request as a frame, with its length prefix.
///
/// # Errors
/// Where `version` can't express the request.
pub fn encode_request<R: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    body: &R,
) -> Result<Rope, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.slice(&LENGTH_TO_COME);
    encoder.put(&R::KEY.number(), 0);
    encoder.put(&version, 0);
    encoder.put(&correlation_id, 0);
    encoder.put(&client_id.map(str::to_owned), 0);
    if version >= R::FLEXIBLE_FROM {
        encoder.set_flexible(true);
        encoder.tags();
    }
    body.encode_to(&mut encoder, version);
    encoder.fill_frame_length(LENGTH_TO_COME);
    encoder.finish()
}

/// An answer as a frame, with its length prefix.
///
/// `version` is the request's, save where ApiVersions is answered in version 0 because the asked version is unknown.
///
/// # Errors
/// Where `version` can't express the response.
pub fn encode_response<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Rope, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.slice(&LENGTH_TO_COME);
    encoder.put(&correlation_id, 0);
    if response_header_has_tags(key, version) {
        encoder.set_flexible(true);
        encoder.tags();
    }
    body.encode_to(&mut encoder, version);
    encoder.fill_frame_length(LENGTH_TO_COME);
    encoder.finish()
}

/// Reads the answer to an `R` in `version` from a frame: its correlation id and its body.
///
/// # Errors
/// Where the frame isn't exactly such an answer.
pub fn decode_response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut decoder = Decoder::new(frame);
    let correlation_id = decoder.get(0);
    if response_header_has_tags(R::KEY, version) {
        decoder.set_flexible(true);
        decoder.skip_tags();
    }
    let body = R::Response::decode_from(&mut decoder, version);
    decoder.finish()?;
    Ok((correlation_id, body))
}

/// The answer to ApiVersions never has them: a client reads it before it can know what the server knows.
fn response_header_has_tags(key: ApiKey, version: i16) -> bool {
    key != ApiKey::ApiVersions && version >= key.flexible_from()
}

const LENGTH_TO_COME: [u8; 4] = [0; 4];
