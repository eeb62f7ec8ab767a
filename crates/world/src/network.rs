//! Sockets of one host.

use async_trait::async_trait;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions: a TCP connection or its simulation. Supports vectored writes.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A host's network.
#[async_trait]
pub trait Network: Send + Sync {
    /// Listens. Port 0 picks a free one.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;

    /// Connects to `host:port`.
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Connection>>;
}

/// A listening socket.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next connection and its peer's address.
    async fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)>;

    /// Where it listens, with the real port.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Listens until the last of those who share it lets it go.
#[async_trait]
impl<T: Listener + ?Sized> Listener for Arc<T> {
    async fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)> {
        (**self).accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        (**self).local_addr()
    }
}
