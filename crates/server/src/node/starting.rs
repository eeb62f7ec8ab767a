//! What a start that takes long answers on its port: that it lives, to other starts and to brokers that watch it, which would declare it dead
//! otherwise. So does a broker that stops, to those that watch it, while it uploads what it has.
//!
//! Two brokers that both wait for a log that can't be read, or read a long one, would take each other's lives for ever. So from its
//! registration on a start answers the one request of [`super::answers`]. Whatever else connects is closed: its client asks another
//! broker, or comes back. A start that is done soon answers nobody; connections wait in the listener's backlog for it to serve.
//!
//! It answers for as long as it is at it, as a broker that serves does: what a start waits for has bounds of its own (`stream`'s recovery
//! waits half a minute for rings that can't be read), but for the bucket, without which nobody gets further. What takes long is a long log,
//! and whoever took its place would begin that log anew, and be no faster. A process that hangs is its operator's to end.

use broker::{Asker, answer_brokers_question};
use futures::stream::{FuturesUnordered, StreamExt};
use std::convert::Infallible;
use std::time::Duration;
use world::{ClockExt, Listener, World};

/// A start that is done so soon after its registration need not answer: who asks waits longer.
const SOON: Duration = Duration::from_millis(300);
/// Connections that are being read, at the most; others wait.
const CONNECTIONS_MAX: usize = 64;
/// What has not asked by then is closed.
const ASKS_WITHIN: Duration = Duration::from_millis(300);
/// Pause after a failed accept, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers other starts until it is dropped.
pub(super) async fn answer_starts(world: &World, listener: &dyn Listener) -> Infallible {
    world.clock.sleep(SOON).await;
    answer_for_ever(world, listener, &[Asker::Start, Asker::Watcher]).await
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

#[cfg(test)]
mod tests {
    use super::super::answers::ask;
    use super::*;
    use async_trait::async_trait;
    use broker::START_CLIENT_ID;
    use std::io;
    use std::net::SocketAddr;
    use tokio::io::DuplexStream;
    use tokio::sync::{Mutex, mpsc};
    use world::Connection;

    /// Takes connections that are in memory.
    struct Door(Mutex<mpsc::Receiver<DuplexStream>>);

    #[async_trait]
    impl Listener for Door {
        async fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)> {
            let connection = self.0.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok((Box::new(connection), SocketAddr::from(([127, 0, 0, 1], 9092))))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_takes_an_hour_answers_all_the_while() {
        let world = World::system();
        let (dial, dialled) = mpsc::channel(1);
        let door = Door(Mutex::new(dialled));
        let asks = async {
            for minutes in [1, 9, 20, 30] {
                world.clock.sleep(Duration::from_mins(minutes)).await;
                let (mut here, there) = tokio::io::duplex(1024);
                dial.send(there).await.unwrap();
                let answered = world.clock.timeout(ASKS_WITHIN, ask(&mut here, START_CLIENT_ID)).await;
                assert!(matches!(answered, Some(Ok(()))), "{answered:?}");
            }
        };
        tokio::select! {
            () = asks => {}
            never = answer_starts(&world, &door) => match never {},
        }
    }
}
