//! Another broker that starts asks whether this one answers; so this one learns that it is not alone.
//!
//! A broker that believes itself alone looks at the ledger every two minutes only, as each look is paid for. The one that starts is in
//! the ledger by the time that it asks, so one look is worth it then, and from there on the two follow each other closely. Whoever
//! only pretends to be a broker costs one look a second.

use crate::Shared;
use protocol::api_key::ApiKey;
use protocol::frame::{RequestFrame, RequestHeader, encode_response};
use protocol::messages::api_versions_response::ApiVersionsResponse;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::Connection;

/// The client id of a start that asks who lives.
pub const START_CLIENT_ID: &str = "millstream-start";

/// The client id of a broker that watches others. It asks often, so that nothing comes of its question but the answer.
pub const WATCH_CLIENT_ID: &str = "millstream-watch";

/// The question is shorter.
const QUESTION_BYTES_MAX: usize = 1024;

/// A broker that asks whether this one lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// It starts, and declares dead who does not answer.
    Start,
    /// It watches this one, and declares it dead when it does not answer for long.
    Watcher,
}

impl Asker {
    /// Who asks with that request; `None`: it is no broker's question.
    pub(crate) fn of(header: &RequestHeader) -> Option<Asker> {
        match (header.key, header.client_id.as_deref()) {
            (ApiKey::ApiVersions, Some(START_CLIENT_ID)) => Some(Asker::Start),
            (ApiKey::ApiVersions, Some(WATCH_CLIENT_ID)) => Some(Asker::Watcher),
            _ => None,
        }
    }
}

/// Answers the question of one of `askers`, where that is the first thing that comes; who asked. The caller bounds the time, and closes.
///
/// # Errors
/// Something else came, or the connection failed.
pub async fn answer(connection: &mut dyn Connection, askers: &[Asker]) -> io::Result<Asker> {
    let length = usize::try_from(connection.read_i32().await?).unwrap_or(usize::MAX);
    if length > QUESTION_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    connection.read_exact(&mut frame).await?;
    let header = RequestFrame::decode(frame.into()).map_err(io::Error::other)?.header;
    let asker = Asker::of(&header).filter(|asker| askers.contains(asker)).ok_or(io::ErrorKind::Unsupported)?;
    // In version 0 whatever was asked: every client can read it.
    let answer = encode_response(header.key, 0, header.correlation_id, &ApiVersionsResponse::default());
    connection.write_all(&answer.map_err(io::Error::other)?.into_bytes()).await?;
    connection.flush().await?;
    Ok(asker)
}

/// Between two looks.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Looks at the ledger whenever somebody has said hello, until the broker stops.
pub(crate) async fn run(broker: Arc<Shared>) {
    while !broker.stops_before(broker.said_hello.notified()).await {
        if let Err(error) = broker.store.ledger().refresh().await {
            tracing::warn!("another broker starts, and this one can't look at the ledger: {error}");
        }
        broker.clock.sleep(LOOK_PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_whether_one_lives_is_a_brokers() {
        let asks = |key, client: Option<&str>| {
            let client_id = client.map(str::to_owned);
            Asker::of(&RequestHeader { key, version: 0, correlation_id: 1, client_id })
        };
        assert_eq!(asks(ApiKey::ApiVersions, Some(WATCH_CLIENT_ID)), Some(Asker::Watcher));
        assert_eq!(asks(ApiKey::ApiVersions, Some(START_CLIENT_ID)), Some(Asker::Start));
        assert_eq!(asks(ApiKey::Produce, Some(WATCH_CLIENT_ID)), None);
        assert_eq!((asks(ApiKey::ApiVersions, Some("somebody")), asks(ApiKey::ApiVersions, None)), (None, None));
    }
}
