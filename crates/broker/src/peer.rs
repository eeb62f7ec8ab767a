//! Who is at the other end of a connection, as far as it has said so.

use std::net::SocketAddr;
use std::sync::OnceLock;

/// What is kept of a name or a version at the most; a client that says more has said nothing.
const TEXT_BYTES_MAX: usize = 256;

/// What stands for a client's name and version where it did not tell them, as in Kafka.
const UNKNOWN: &str = "unknown";

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Name and version, by its first ApiVersions (KIP-511).
    software: OnceLock<Box<(String, String)>>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Peer {
        Peer { address, software: OnceLock::new() }
    }

    pub(crate) fn tells(&self, name: &str, version: &str) {
        if name.len() <= TEXT_BYTES_MAX && version.len() <= TEXT_BYTES_MAX {
            let _first = self.software.get_or_init(|| Box::new((name.to_owned(), version.to_owned())));
        }
    }

    /// Its name and version.
    pub(crate) fn software(&self) -> (&str, &str) {
        self.software.get().map_or((UNKNOWN, UNKNOWN), |told| (told.0.as_str(), told.1.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_what_it_said_first() {
        let peer = Peer::new("127.0.0.1:4000".parse().unwrap());
        peer.tells(&"x".repeat(TEXT_BYTES_MAX + 1), "1");
        assert_eq!(peer.software(), ("unknown", "unknown"));
        peer.tells("librdkafka", "2.1");
        peer.tells("other", "3");
        assert_eq!(peer.software(), ("librdkafka", "2.1"));
    }
}
