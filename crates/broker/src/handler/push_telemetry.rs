//! PushTelemetry (KIP-714): what a client counts, as OpenTelemetry's metrics, compressed or not.

use crate::Shared;
use crate::peer::Peer;
use crate::telemetry::{ClientInfo, DECOMPRESSED_BYTES_MAX, Push};
use protocol::error_code::ErrorCode;
use protocol::messages::push_telemetry_request::PushTelemetryRequest;
use protocol::messages::push_telemetry_response::PushTelemetryResponse;

pub(crate) async fn handle(
    broker: &Shared,
    request: PushTelemetryRequest,
    client_id: Option<&str>,
    peer: &Peer,
) -> PushTelemetryResponse {
    let PushTelemetryRequest { client_instance_id: id, subscription_id, terminating, compression_type, metrics } =
        request;
    let (software_name, software_version) = peer.software();
    let client = ClientInfo { id, client_id, software_name, software_version, peer: peer.address };
    let push = Push {
        subscription_id,
        terminating,
        compression: compression_type,
        bytes: metrics.len(),
        bytes_max: broker.options.telemetry_bytes_max,
    };
    let image = broker.store.ledger().image();
    let mut outcome = broker.telemetry.admit(&image, &client, push, broker.clock.now());
    if outcome.is_ok() && !metrics.is_empty() {
        // What it decompresses to is counted before it is.
        let _memory = broker.answer_memory.take(DECOMPRESSED_BYTES_MAX).await;
        outcome = broker.telemetry.take(id, compression_type, metrics);
    }
    let error_code = outcome.err().map_or(ErrorCode::None, |failure| failure.code()).number();
    PushTelemetryResponse { error_code, ..PushTelemetryResponse::default() }
}
