//! The console's connections: through the network seam, few at a time, and none for longer than a minute.
//!
//! HTTP is served by axum, which accepts without end and waits for slow peers for ever; this is where both are bounded.

use futures::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use world::{Clock, Connection, Listener};

/// Connections at the most; others wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 32;
/// A connection is cut off after so long, whatever it does: a scrape takes milliseconds.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// After a failed accept (no file descriptor left, say).
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// A listener with those bounds.
pub(super) struct Few {
    listener: Box<dyn Listener>,
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
}

impl Few {
    pub(super) fn new(listener: Box<dyn Listener>, clock: Arc<dyn Clock>) -> Few {
        Few { listener, clock, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl axum::serve::Listener for Few {
    type Io = Short;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Short, SocketAddr) {
        let room = self.room.clone().acquire_owned().await.expect("this semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((connection, peer)) => {
                    let deadline = self.clock.sleep(CONNECTION_TIME_MAX);
                    return (Short { connection, deadline, _room: room }, peer);
                }
                Err(error) => {
                    tracing::warn!("accept on the console: {error}");
                    self.clock.sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself.
pub(super) struct Short {
    connection: Box<dyn Connection>,
    deadline: BoxFuture<'static, ()>,
    _room: OwnedSemaphorePermit,
}

impl Short {
    fn check_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Short {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl AsyncWrite for Short {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_deadline(context)?;
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}
