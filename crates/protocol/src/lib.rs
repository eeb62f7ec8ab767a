//! Kafka's wire format: frames, messages, record batches, error codes. Bytes in, values out, and back; no I/O, no clock.
//!
//! - [`frame`] cuts a connection's bytes into frames, reads headers, writes whole frames.
//! - [`messages`] has a module for each of Kafka's messages, generated from Kafka's definitions, for all their versions.
//! - [`wire`] is what those are made of, and where hostile bytes are held off.
//! - [`api`] is the table of what Millstream serves, [`refused`] of what it does not; [`api_key`] has the names of all APIs.
//! - [`error_code`] has Kafka's error codes.
//! - [`record_batch`] views, checks and makes batches of records.
//!
//! A server's side of a request:
//!
//! ```
//! use bytes::BytesMut;
//! use protocol::api_key::ApiKey;
//! use protocol::error_code::ErrorCode;
//! use protocol::frame::{RequestFrame, decode_response, encode_request, encode_response, next_frame};
//! use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
//! use protocol::messages::list_offsets_response::{
//!     ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // What a client sends.
//! let partition = ListOffsetsPartition { partition_index: 0, timestamp: -1, ..Default::default() };
//! let topic = ListOffsetsTopic { name: "orders".to_owned(), partitions: vec![partition] };
//! let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
//! let mut received = BytesMut::from(&encode_request(7, Some("me"), 5, &request)?.into_bytes()[..]);
//!
//! // What the server makes of it. No memory is set aside for more than 1 MiB.
//! let frame = next_frame(&mut received, 1 << 20)?.expect("a whole frame has come");
//! let request = RequestFrame::decode(frame)?;
//! let header = request.header.clone();
//! assert!(protocol::api::served(header.key).is_some_and(|api| api.serves(header.version)));
//! let answer = match header.key {
//!     ApiKey::ListOffsets => {
//!         let body: ListOffsetsRequest = request.body()?;
//!         let partition = ListOffsetsPartitionResponse {
//!             error_code: ErrorCode::None.number(),
//!             offset: 42,
//!             ..Default::default()
//!         };
//!         let name = body.topics[0].name.clone();
//!         let topics = vec![ListOffsetsTopicResponse { name, partitions: vec![partition] }];
//!         encode_response(header.key, header.version, header.correlation_id, &ListOffsetsResponse {
//!             topics,
//!             ..Default::default()
//!         })?
//!     }
//!     _ => unreachable!("this example has one handler"),
//! };
//!
//! // What the client reads: the same frames.
//! let mut received = BytesMut::from(&answer.into_bytes()[..]);
//! let frame = next_frame(&mut received, 1 << 20)?.expect("a whole frame has come");
//! let (correlation_id, body) = decode_response::<ListOffsetsRequest>(frame, 5)?;
//! assert_eq!((correlation_id, body.topics[0].partitions[0].offset), (7, 42));
//! # Ok(())
//! # }
//! ```
//!
//! Conventions of the generated structures: fields have Kafka's names in snake case; what can be null in any version is an
//! `Option`; strings are `String`; `bytes` are [`bytes::Bytes`] that share the frame's memory (so copy what outlives the
//! request); `records` are [`wire::Records`], which a fetch answer fills with as many pieces as it likes, none of them copied.
//! `Default` gives Kafka's defaults, among them *empty* rather than null for a nullable array that says nothing else. Encoding
//! fails where a field is set that the version lacks and that Kafka doesn't mark as ignorable.

pub mod api;
pub mod api_key;
pub mod error_code;
pub mod frame;
pub mod messages;
pub mod record_batch;
pub mod refused;
pub mod wire;
