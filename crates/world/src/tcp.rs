//! The real [`Network`]: TCP of the operating system.
//!
//! Nagle's algorithm is off, since requests and answers are written whole. A restarted broker takes its port over at once
//! (`SO_REUSEADDR`), but two living ones never share it.

use crate::network::{Connection, Listener, Network};
use async_trait::async_trait;
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, lookup_host};

/// Connections that the kernel completes for us before we accept them.
const ACCEPT_BACKLOG_MAX: u32 = 1024;

/// TCP sockets of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpNetwork;

#[async_trait]
impl Network for TcpNetwork {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let mut failure = None;
        for candidate in resolve(address).await? {
            match bind(candidate) {
                Ok(listener) => return Ok(Box::new(TcpAccept(listener))),
                Err(error) => failure = Some(explain_bind(candidate, &error)),
            }
        }
        Err(failure.unwrap_or_else(|| nothing_found(address)))
    }

    async fn connect(&self, address: &str) -> io::Result<Box<dyn Connection>> {
        let mut failure = None;
        for candidate in resolve(address).await? {
            let socket = socket_for(candidate)?;
            match socket.connect(candidate).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Err(error) => {
                    failure = Some(io::Error::new(error.kind(), format!("cannot connect to {candidate}: {error}")));
                }
            }
        }
        Err(failure.unwrap_or_else(|| nothing_found(address)))
    }
}

/// A listening TCP socket.
#[expect(clippy::disallowed_types, reason = "the real network is where sockets come from")]
struct TcpAccept(tokio::net::TcpListener);

#[async_trait]
impl Listener for TcpAccept {
    async fn accept(&self) -> io::Result<(Box<dyn Connection>, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[expect(clippy::disallowed_types, reason = "the real network is where sockets come from")]
fn bind(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = socket_for(address)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG_MAX)
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    match lookup_host(address).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => {
            let hint = if address.contains(':') { "" } else { " (expected HOST:PORT)" };
            Err(io::Error::new(error.kind(), format!("cannot resolve {address}{hint}: {error}")))
        }
    }
}

fn nothing_found(address: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{address} resolves to no address"))
}

/// Says what to do about a port that cannot be had.
fn explain_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another process; stop it or choose another port (0 picks a free one)")
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        io::ErrorKind::PermissionDenied => {
            format!("not allowed to listen on {address}; ports below 1024 need a privilege, choose a higher one")
        }
        _ => format!("cannot listen on {address}: {error}"),
    };
    io::Error::new(error.kind(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_pass_both_ways_and_the_port_is_the_real_one() {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let client = async {
            let mut connection = TcpNetwork.connect(&address.to_string()).await.unwrap();
            connection.write_all(b"ping").await.unwrap();
            let mut answer = [0; 4];
            connection.read_exact(&mut answer).await.unwrap();
            answer
        };
        let server = async {
            let (mut connection, peer) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            connection.read_exact(&mut request).await.unwrap();
            connection.write_all(b"pong").await.unwrap();
            (request, peer.ip().is_loopback())
        };
        let (answer, (request, from_here)) = tokio::join!(client, server);
        assert_eq!((&answer, &request, from_here), (b"pong", b"ping", true));
    }

    #[tokio::test]
    async fn a_taken_port_is_told_with_what_to_do() {
        let first = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let error = TcpNetwork.listen(&address.to_string()).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().starts_with(&format!("{address} is in use by another process; stop it or")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_port_is_free_again_at_once_after_a_connection() {
        let listener = TcpNetwork.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (client, served) = tokio::join!(TcpNetwork.connect(&address), listener.accept());
        // The side that closes first keeps the port in TIME_WAIT.
        drop(served.unwrap());
        drop(listener);
        drop(client.unwrap());
        TcpNetwork.listen(&address).await.unwrap();
    }

    #[tokio::test]
    async fn addresses_that_cannot_be_are_told_apart() {
        for (address, part) in
            [("127.0.0.1", "expected HOST:PORT"), ("192.0.2.1:9092", "is not an address of this machine")]
        {
            let error = TcpNetwork.listen(address).await.err().unwrap().to_string();
            assert!(error.contains(part), "{address}: {error}");
        }
    }
}
