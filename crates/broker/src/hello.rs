//! Another broker that starts asks whether this one answers; so this one learns that it is not alone.
//!
//! A broker that believes itself alone looks at the ledger every two minutes only, as each look is paid for. The one that starts is in
//! the ledger by the time that it asks, so one look is worth it then, and from there on the two follow each other closely. Whoever
//! only pretends to be a broker costs one look a second.

use crate::Shared;
use protocol::api_key::ApiKey;
use protocol::frame::RequestHeader;
use std::sync::Arc;
use std::time::Duration;

/// The client id of a start that asks who lives.
pub const START_CLIENT_ID: &str = "millstream-start";

/// The client id of a broker that watches others. It asks often, so that nothing comes of its question but the answer.
pub const WATCH_CLIENT_ID: &str = "millstream-watch";

/// Whether a broker asks whether this one lives: no quota of clients is to keep it from hearing so.
pub(crate) fn is_a_brokers(header: &RequestHeader) -> bool {
    let client = header.client_id.as_deref();
    header.key == ApiKey::ApiVersions && client.is_some_and(|id| [START_CLIENT_ID, WATCH_CLIENT_ID].contains(&id))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_whether_one_lives_is_a_brokers() {
        let asks = |key, client: Option<&str>| {
            let client_id = client.map(str::to_owned);
            is_a_brokers(&RequestHeader { key, version: 0, correlation_id: 1, client_id })
        };
        assert!(asks(ApiKey::ApiVersions, Some(WATCH_CLIENT_ID)) && asks(ApiKey::ApiVersions, Some(START_CLIENT_ID)));
        assert!(!asks(ApiKey::Produce, Some(WATCH_CLIENT_ID)));
        assert!(!asks(ApiKey::ApiVersions, Some("somebody")) && !asks(ApiKey::ApiVersions, None));
    }
}
