//! What a start that takes long answers on its port: that it lives, to other starts and to brokers that watch it, which would declare it dead
//! otherwise. So does a broker that stops, to those that watch it, while it uploads what it has.
//!
//! Two brokers that both wait for a log that can't be read, or read a long one, would take each other's lives for ever. So from its
//! registration on a start answers the one request of [`super::answers`]. Whatever else connects is closed: its client asks another
//! broker, or comes back. A start that is done soon answers nobody; connections wait in the listener's backlog for it to serve.

use broker::{START_CLIENT_ID, WATCH_CLIENT_ID};
use futures::stream::{FuturesUnordered, StreamExt};
use protocol::api_key::ApiKey;
use protocol::frame::{RequestFrame, encode_response};
use protocol::messages::api_versions_response::ApiVersionsResponse;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{ClockExt, Connection, Listener, World};

/// A start that is done so soon after its registration need not answer: who asks waits longer.
const SOON: Duration = Duration::from_millis(300);
/// A start that takes longer hangs: others may take its place.
const ANSWERS_FOR: Duration = Duration::from_mins(10);
/// Connections that are being read, at the most; others wait.
const CONNECTIONS_MAX: usize = 64;
/// What has not asked by then is closed.
const ASKS_WITHIN: Duration = Duration::from_millis(300);
/// The request that is answered is shorter.
const REQUEST_BYTES_MAX: usize = 1024;
/// Pause after a failed accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers other starts until it is dropped.
pub(super) async fn answer_starts(world: &World, listener: &dyn Listener) -> Infallible {
    world.clock.sleep(SOON).await;
    let answering = answer_for_ever(world, listener, &[START_CLIENT_ID, WATCH_CLIENT_ID]);
    match world.clock.timeout(ANSWERS_FOR, answering).await {
        Some(never) => match never {},
        None => std::future::pending().await,
    }
}

/// Answers those that watch, and no start: that is to take what this one leaves.
pub(super) async fn answer_watchers(world: &World, listener: &dyn Listener) -> Infallible {
    answer_for_ever(world, listener, &[WATCH_CLIENT_ID]).await
}

async fn answer_for_ever(world: &World, listener: &dyn Listener, clients: &[&str]) -> Infallible {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((connection, _)) => {
                    connections.push(world.clock.timeout(ASKS_WITHIN, answer(connection, clients)));
                }
                Err(error) => {
                    tracing::debug!(%error, "can't accept a connection while starting or stopping");
                    world.clock.sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn answer(mut connection: Box<dyn Connection>, clients: &[&str]) -> io::Result<()> {
    let length = usize::try_from(connection.read_i32().await?).unwrap_or(usize::MAX);
    if length > REQUEST_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    connection.read_exact(&mut frame).await?;
    let header = RequestFrame::decode(frame.into()).map_err(io::Error::other)?.header;
    let is_asked = header.client_id.as_deref().is_some_and(|client| clients.contains(&client));
    if header.key != ApiKey::ApiVersions || !is_asked {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // In version 0 whatever was asked: every client can read it.
    let answer = encode_response(header.key, 0, header.correlation_id, &ApiVersionsResponse::default());
    connection.write_all(&answer.map_err(io::Error::other)?.into_bytes()).await?;
    connection.flush().await
}
