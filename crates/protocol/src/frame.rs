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
        decoder.so_far()?;
        let key = ApiKey::from_number(number).ok_or(FrameError::UnknownApi(number))?;
        // The client id keeps its classic length in every version, so that any server can read any ApiVersions request.
        let client_id: Option<String> = decoder.get(0);
        if version >= key.flexible_from() {
            decoder.set_flexible(true);
            decoder.skip_tags();
        }
        decoder.so_far()?;
        Ok(RequestFrame { header: RequestHeader { key, version, correlation_id, client_id }, body: decoder })
    }

    /// Reads the body. `R` must be the request of the header's API.
    ///
    /// Bytes behind it are passed over, as Kafka does, since clients rely on that: to ask for all topics in a flexible version,
    /// librdkafka 2.16 writes the absent array in four bytes instead of one.
    ///
    /// # Errors
    /// Where the body doesn't begin with such a request in the header's version.
    pub fn body<R: Request>(mut self) -> Result<R, DecodeError> {
        assert_eq!(R::KEY, self.header.key, "the caller matched on the header's key");
        let body = R::decode_from(&mut self.body, self.header.version);
        self.body.so_far()?;
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
    encode_throttled(key, version, (correlation_id, 0), body)
}

/// The same, where the client is throttled for at least so many milliseconds: the answer says so if its message has a field for it in this
/// version.
///
/// # Errors
/// Where `version` can't express the response.
pub fn encode_throttled<M: Message>(
    key: ApiKey,
    version: i16,
    (correlation_id, throttle_time_ms): (i32, i32),
    body: &M,
) -> Result<Rope, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.set_throttle_time(throttle_time_ms);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::api_versions_request::ApiVersionsRequest;
    use crate::messages::api_versions_response::ApiVersionsResponse;
    use crate::messages::fetch_request::FetchRequest;
    use crate::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
    use crate::messages::metadata_request::MetadataRequest;
    use crate::messages::produce_request::ProduceRequest;
    use crate::wire::Records;

    fn frame(bytes: &[u8]) -> Bytes {
        next_frame(&mut BytesMut::from(bytes), 1 << 20).expect("its length is allowed").expect("it is whole")
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole_and_not_before() {
        let mut received = BytesMut::new();
        for byte in [0, 0, 0, 3, b'a', b'b'] {
            received.extend_from_slice(&[byte]);
            assert_eq!(next_frame(&mut received, 3), Ok(None));
        }
        received.extend_from_slice(b"c\0\0\0\0\0");
        assert_eq!(next_frame(&mut received, 3), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(next_frame(&mut received, 3), Ok(Some(Bytes::new())));
        assert_eq!(&received[..], b"\0");
    }

    #[test]
    fn a_length_that_is_not_accepted_is_refused_before_the_bytes_come() {
        for claimed in [4, i32::MAX, -1, i32::MIN] {
            let mut received = BytesMut::from(&claimed.to_be_bytes()[..]);
            assert_eq!(next_frame(&mut received, 3), Err(FrameError::Length { claimed, max: 3 }));
            assert!(received.capacity() < 1 << 10, "nothing is set aside for it");
        }
    }

    #[test]
    fn headers_are_as_the_protocol_guide_has_them() {
        // Metadata 1, before tagged fields; Fetch 12, after: key, version, correlation id, client id, tagged fields.
        let old =
            RequestFrame::decode(Bytes::from_static(b"\0\x03\0\x01\0\0\0\x07\0\x02me\0\0\0\0")).expect("it is right");
        let header =
            RequestHeader { key: ApiKey::Metadata, version: 1, correlation_id: 7, client_id: Some("me".to_owned()) };
        assert_eq!(old.header, header);
        // One tagged field that nobody knows is passed over.
        let new = RequestFrame::decode(Bytes::from_static(b"\0\x01\0\x0c\0\0\0\x07\xff\xff\x01\x05\x02xx"))
            .expect("it is right");
        assert_eq!((new.header.key, new.header.client_id), (ApiKey::Fetch, None));
        // ApiVersions in a version of the future still has a header.
        let future = RequestFrame::decode(Bytes::from_static(b"\0\x12\0\x63\0\0\0\x07\0\0\0")).expect("it is right");
        assert_eq!((future.header.key, future.header.version), (ApiKey::ApiVersions, 99));
        assert!(matches!(future.body::<ApiVersionsRequest>(), Err(DecodeError::Version { version: 99, .. })));
    }

    #[test]
    fn broken_headers_are_errors() {
        assert_eq!(
            RequestFrame::decode(Bytes::from_static(b"\x7f\xff\0\0\0\0\0\0")).err(),
            Some(FrameError::UnknownApi(i16::MAX))
        );
        let whole = b"\0\x01\0\x0c\0\0\0\x07\0\x02me\x01\x05\x02xx";
        for end in 0..whole.len() {
            let cut = RequestFrame::decode(Bytes::copy_from_slice(&whole[..end]));
            assert!(matches!(cut, Err(FrameError::Header(_))), "cut at {end}: {cut:?}");
        }
    }

    #[test]
    fn requests_and_answers_come_out_as_they_went_in() {
        for version in 0..=18 {
            let request = FetchRequest { max_wait_ms: 5, session_id: 0, ..FetchRequest::default() };
            let bytes = encode_request(9, Some("me"), version, &request).expect("it can be written").into_bytes();
            let read = RequestFrame::decode(frame(&bytes)).expect("it is right");
            assert_eq!((read.header.key, read.header.version, read.header.correlation_id), (ApiKey::Fetch, version, 9));
            assert_eq!(read.body::<FetchRequest>(), Ok(request));
        }
        // An answer to ApiVersions has a header without tagged fields, whatever its version.
        for version in 0..=4 {
            let answer = ApiVersionsResponse::default();
            let bytes =
                encode_response(ApiKey::ApiVersions, version, 9, &answer).expect("it can be written").into_bytes();
            assert_eq!(bytes[8..10], [0, 0], "the error code follows the correlation id");
            assert_eq!(decode_response::<ApiVersionsRequest>(frame(&bytes), version), Ok((9, answer)));
        }
    }

    #[test]
    fn an_answer_says_how_long_the_client_is_throttled_where_it_has_a_field_for_it() {
        let told = |version: i16, throttle_time_ms: i32, own: i32| {
            let body = FetchResponse { throttle_time_ms: own, ..FetchResponse::default() };
            let rope = encode_throttled(ApiKey::Fetch, version, (7, throttle_time_ms), &body).expect("it is encoded");
            let (_, answer) = decode_response::<FetchRequest>(frame(&rope.into_bytes()), version).expect("it is right");
            answer.throttle_time_ms
        };
        assert_eq!((told(12, 250, 0), told(12, 250, 300), told(12, 0, 300)), (250, 300, 300));
    }

    #[test]
    fn what_librdkafka_writes_to_ask_for_all_topics_is_understood() {
        let frame = RequestFrame::decode(Bytes::from_static(b"\0\x03\0\x0d\0\0\0\x07\0\x02me\0\0\0\0\0\0\0\0"));
        let request = frame.expect("it is right").body::<MetadataRequest>();
        assert_eq!(request.map(|request| request.topics), Ok(None));
    }

    #[test]
    fn records_are_neither_copied_into_a_frame_nor_out_of_it() {
        let pieces = [Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 8192])];
        let partition = PartitionData { records: Some(pieces.iter().cloned().collect()), ..PartitionData::default() };
        let topic = FetchableTopicResponse { topic: "t".to_owned(), partitions: vec![partition], ..Default::default() };
        let answer = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
        let rope = encode_response(ApiKey::Fetch, 12, 1, &answer).expect("it can be written");
        for piece in &pieces {
            assert!(rope.pieces().iter().any(|part| part.as_ptr() == piece.as_ptr()), "it is shared");
        }
        let bytes = rope.into_bytes();
        let (_, read) = decode_response::<FetchRequest>(frame(&bytes), 12).expect("it is right");
        assert_eq!(read, answer);

        let request = ProduceRequest::decode(produce_frame(), 3).expect("it is right");
        let records = request.topic_data[0].partition_data[0].records.as_ref().map(Records::to_bytes);
        assert_eq!(records.as_deref(), Some(&b"abcd"[..]));
    }

    /// Produce 3 with four bytes of records for one partition.
    fn produce_frame() -> Bytes {
        Bytes::from_static(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\0\0\0\x04abcd")
    }
}
