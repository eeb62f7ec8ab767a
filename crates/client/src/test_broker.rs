//! A broker for tests: real connections over loopback, answers by whoever made it.

use bytes::{Bytes, BytesMut};
use protocol::api_key::ApiKey;
use protocol::frame::{RequestFrame, RequestHeader, encode_response, next_frame};
use protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use protocol::messages::metadata_response::MetadataResponseBroker;
use protocol::wire::Message;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// Answers a request; `None` closes the connection, as a broker that is killed.
pub(crate) type Answers = Arc<dyn Fn(RequestFrame) -> Option<Bytes> + Send + Sync>;

/// Serves each connection on a thread of its own, until the tests end. Answers its port.
#[expect(clippy::disallowed_methods, reason = "a broker beside the client, in tests that are never simulated")]
pub(crate) fn start(answers: impl FnOnce(u16) -> Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = answers(port);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let answers = answers.clone();
            std::thread::spawn(move || serve(connection.unwrap(), &answers));
        }
    });
    port
}

fn serve(mut connection: TcpStream, answers: &Answers) {
    let mut received = BytesMut::new();
    let mut some = [0; 4096];
    loop {
        while let Some(frame) = next_frame(&mut received, 1 << 20).unwrap() {
            let Some(answer) = answers(RequestFrame::decode(frame).unwrap()) else { return };
            connection.write_all(&answer).unwrap();
        }
        match connection.read(&mut some) {
            Ok(0) | Err(_) => return,
            Ok(length) => received.extend_from_slice(&some[..length]),
        }
    }
}

/// The bytes of an answer.
pub(crate) fn answer(to: &RequestHeader, message: &impl Message) -> Option<Bytes> {
    Some(encode_response(to.key, to.version, to.correlation_id, message).unwrap().into_bytes())
}

/// Says that the broker serves these, in every version.
pub(crate) fn serves(keys: &[ApiKey]) -> ApiVersionsResponse {
    let row = |key: &ApiKey| ApiVersion { api_key: key.number(), min_version: 0, max_version: i16::MAX };
    ApiVersionsResponse { api_keys: keys.iter().map(row).collect(), ..ApiVersionsResponse::default() }
}

/// The broker itself, with this number.
pub(crate) fn itself(node_id: i32, port: u16) -> MetadataResponseBroker {
    let host = "127.0.0.1".to_owned();
    MetadataResponseBroker { node_id, host, port: i32::from(port), ..MetadataResponseBroker::default() }
}
