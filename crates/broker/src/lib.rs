//! Kafka's semantics over streams.

use base::NodeId;
use std::sync::Arc;
use stream::Store;
use world::{Listener, World};

/// What a broker needs to know besides its streams.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// What Metadata tells clients.
    pub advertised: String,
    /// Create topics on first use.
    pub auto_create_topics: bool,
    /// Partitions of a topic where the request leaves it open.
    pub num_partitions: i32,
    /// Greatest request frame in bytes.
    pub request_bytes_max: usize,
    /// Bytes of all requests in memory at the most; beyond that sockets are not read.
    pub requests_bytes_max: usize,
    /// Greatest record batch in bytes (`message.max.bytes`).
    pub batch_bytes_max: usize,
    /// Connections at the most.
    pub connections_max: usize,
}

/// A running broker.
pub struct Broker {}

impl Broker {
    /// Accepts and serves until [`Broker::stop`].
    pub fn start(_world: &World, _listener: Box<dyn Listener>, _store: Store, _options: BrokerOptions) -> Arc<Broker> {
        todo!()
    }

    /// Its id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    /// Stops accepting, lets requests in flight end, closes.
    pub async fn stop(&self) {
        todo!()
    }
}
