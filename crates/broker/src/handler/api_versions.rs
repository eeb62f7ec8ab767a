//! ApiVersions: what this broker serves, straight from the protocol's one table.

use crate::Shared;
use protocol::api;
use protocol::error_code::ErrorCode;
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use protocol::wire::Uuid;

/// Answers a version that is served.
pub(crate) fn handle(broker: &Shared, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let cluster_id = Uuid(broker.store.ledger().image().cluster_id).to_string();
    let other_cluster = request.cluster_id.as_ref().is_some_and(|expected| *expected != cluster_id);
    let other_node = request.node_id >= 0 && request.node_id != broker.store.node_id().0;
    // The client expects somebody else at this address: it must look for its cluster anew.
    let code = if other_cluster || other_node { ErrorCode::RebootstrapRequired } else { ErrorCode::None };
    answer(code)
}

/// Answers, in version 0, a version that is not served: by this the client learns which to use.
pub(crate) fn unserved_version() -> ApiVersionsResponse {
    answer(ErrorCode::UnsupportedVersion)
}

fn answer(code: ErrorCode) -> ApiVersionsResponse {
    let row = |api: &api::Api| ApiVersion {
        api_key: api.key.number(),
        min_version: api.advertised_first(),
        max_version: api.last(),
    };
    ApiVersionsResponse {
        error_code: code.number(),
        api_keys: api::SERVED.iter().map(row).collect(),
        finalized_features_epoch: -1,
        ..ApiVersionsResponse::default()
    }
}
