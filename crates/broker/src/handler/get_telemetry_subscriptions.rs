//! GetTelemetrySubscriptions (KIP-714): which metrics a client is to send, how often, and under which id.

use crate::Shared;
use crate::peer::Peer;
use crate::telemetry::ClientInfo;
use crate::uuid;
use protocol::error_code::ErrorCode;
use protocol::messages::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest;
use protocol::messages::get_telemetry_subscriptions_response::GetTelemetrySubscriptionsResponse;
use protocol::wire::Uuid;

/// Kafka's numbers of the codecs that are taken, in Kafka's order: Zstandard, LZ4, gzip, Snappy.
const ACCEPTED: [i8; 4] = [4, 3, 1, 2];

pub(crate) fn handle(
    broker: &Shared,
    request: &GetTelemetrySubscriptionsRequest,
    client_id: Option<&str>,
    peer: &Peer,
) -> GetTelemetrySubscriptionsResponse {
    let asked_for = request.client_instance_id;
    let id = if asked_for == Uuid::default() { uuid::random(|| broker.clock.random()) } else { asked_for };
    let (software_name, software_version) = peer.software();
    let client = ClientInfo { id, client_id, software_name, software_version, peer: peer.address };
    let image = broker.store.ledger().image();
    match broker.telemetry.subscribe(&image, &client, broker.clock.now()) {
        Ok(asked) => GetTelemetrySubscriptionsResponse {
            error_code: ErrorCode::None.number(),
            client_instance_id: id,
            subscription_id: asked.id,
            accepted_compression_types: ACCEPTED.to_vec(),
            push_interval_ms: asked.interval_ms,
            telemetry_max_bytes: i32::try_from(broker.options.telemetry_bytes_max).unwrap_or(i32::MAX),
            // Sums are told as they are: the last value counts.
            delta_temporality: false,
            requested_metrics: asked.metrics,
            ..GetTelemetrySubscriptionsResponse::default()
        },
        Err(failure) => GetTelemetrySubscriptionsResponse {
            error_code: failure.code().number(),
            ..GetTelemetrySubscriptionsResponse::default()
        },
    }
}
