//! Another broker that starts asks whether this one answers; so this one learns that it is not alone.
//!
//! A broker that believes itself alone looks at the ledger every two minutes only, as each look is paid for. The one that starts is in
//! the ledger by the time that it asks, so one look is worth it then, and from there on the two follow each other closely. Whoever
//! only pretends to be a broker costs one look a second.

use crate::Shared;
use std::sync::Arc;
use std::time::Duration;

/// The client id of a start that asks who lives.
pub const START_CLIENT_ID: &str = "millstream-start";

/// Between two looks.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Looks at the ledger whenever somebody has said hello, until the broker stops.
pub(crate) async fn run(broker: Arc<Shared>) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = broker.said_hello.notified() => {}
        }
        if let Err(error) = broker.store.ledger().refresh().await {
            tracing::warn!("another broker starts, and this one can't look at the ledger: {error}");
        }
        broker.clock.sleep(LOOK_PERIOD).await;
    }
}
