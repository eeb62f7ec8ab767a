//! What a start that takes long answers on its port: that it lives, to other starts and to brokers that watch it, which would declare it dead
//! otherwise. So does a broker that stops, to those that watch it, while it uploads what it has.
//!
//! Two brokers that both wait for a log that can't be read, or read a long one, would take each other's lives for ever. So from its
//! registration on a start answers the one request of [`super::answers`]. Whatever else connects is closed: its client asks another
//! broker, or comes back. A start that is done soon answers nobody; connections wait in the listener's backlog for it to serve.

use broker::{Asker, answer_brokers_question};
use futures::stream::{FuturesUnordered, StreamExt};
use std::convert::Infallible;
use std::time::Duration;
use world::{ClockExt, Listener, World};

/// A start that is done so soon after its registration need not answer: who asks waits longer.
const SOON: Duration = Duration::from_millis(300);
/// A start that takes longer hangs: others may take its place.
const ANSWERS_FOR: Duration = Duration::from_mins(10);
/// Connections that are being read, at the most; others wait.
const CONNECTIONS_MAX: usize = 64;
/// What has not asked by then is closed.
const ASKS_WITHIN: Duration = Duration::from_millis(300);
/// Pause after a failed accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers other starts until it is dropped.
pub(super) async fn answer_starts(world: &World, listener: &dyn Listener) -> Infallible {
    world.clock.sleep(SOON).await;
    let answering = answer_for_ever(world, listener, &[Asker::Start, Asker::Watcher]);
    match world.clock.timeout(ANSWERS_FOR, answering).await {
        Some(never) => match never {},
        None => std::future::pending().await,
    }
}

/// Answers those that watch, and no start: that is to take what this one leaves.
pub(super) async fn answer_watchers(world: &World, listener: &dyn Listener) -> Infallible {
    answer_for_ever(world, listener, &[Asker::Watcher]).await
}

async fn answer_for_ever(world: &World, listener: &dyn Listener, askers: &[Asker]) -> Infallible {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((mut connection, _)) => {
                    let asked = async move { answer_brokers_question(connection.as_mut(), askers).await };
                    connections.push(world.clock.timeout(ASKS_WITHIN, asked));
                }
                Err(error) => {
                    tracing::debug!(%error, "can't accept a connection while starting or stopping");
                    world.clock.sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}
