//! Kafka's semantics over streams.
//!
//! The walks: `listener` → `connection` (frames in, answers out in order) → `dispatch` → `handler/<api>` → `partition` (the only
//! place where Kafka's words become stream words) → the `stream` crate; a fetch that finds too little parks in `waiter`. Kafka's
//! error codes come from one mapping, `error`. Topic rules are pure: `topic_name`, `topic_settings`.
//!
//! Absences: nothing here names an object, a WAL or a ledger entry's bytes; no records are copied between socket and stream.

mod frame;
mod memory;
mod options;
#[cfg(test)]
mod test_clock;
mod topic_name;
mod topic_settings;
mod waiter;

pub use options::BrokerOptions;

use base::NodeId;
use std::sync::Arc;
use stream::Store;
use world::{Listener, World};

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
