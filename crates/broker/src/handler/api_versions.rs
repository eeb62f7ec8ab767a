//! ApiVersions: what this broker serves, straight from the protocol's one table, and Kafka's feature levels (KIP-584).

use crate::Shared;
use crate::features::{FEATURES, Feature};
use crate::peer::Peer;
use protocol::api;
use protocol::error_code::ErrorCode;
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use protocol::wire::Uuid;

/// Before this version clients can't read of a feature whose lowest level is 0, so that it is left out of those supported (KAFKA-17492).
const LEVEL_0_FROM: i16 = 4;

/// The first version in which a client says what it is (KIP-511).
const TELLS_SOFTWARE_FROM: i16 = 3;

/// Answers a version that is served.
pub(crate) fn handle(broker: &Shared, request: &ApiVersionsRequest, version: i16, peer: &Peer) -> ApiVersionsResponse {
    let software = [&request.client_software_name, &request.client_software_version];
    if version >= TELLS_SOFTWARE_FROM && !software.into_iter().all(|text| is_software(text)) {
        let error_code = ErrorCode::InvalidRequest.number();
        return ApiVersionsResponse { error_code, finalized_features_epoch: -1, ..ApiVersionsResponse::default() };
    }
    if version >= TELLS_SOFTWARE_FROM {
        peer.tells(&request.client_software_name, &request.client_software_version);
    }
    let image = broker.store.ledger().image();
    let cluster_id = Uuid(image.cluster_id).to_string();
    let other_cluster = request.cluster_id.as_ref().is_some_and(|expected| *expected != cluster_id);
    let other_node = request.node_id >= 0 && request.node_id != broker.store.node_id().0;
    // The client expects somebody else at this address: it must look for its cluster anew.
    let code = if other_cluster || other_node { ErrorCode::RebootstrapRequired } else { ErrorCode::None };
    let is_told = |feature: &&Feature| feature.least > 0 || version >= LEVEL_0_FROM;
    let supported = |feature: &Feature| SupportedFeatureKey {
        name: feature.name.to_owned(),
        min_version: feature.least,
        max_version: feature.most,
    };
    let finalized = |feature: &Feature| FinalizedFeatureKey {
        name: feature.name.to_owned(),
        max_version_level: feature.level,
        min_version_level: feature.level,
    };
    ApiVersionsResponse {
        supported_features: FEATURES.iter().filter(is_told).map(supported).collect(),
        finalized_features_epoch: i64::try_from(image.seq.0).unwrap_or(i64::MAX),
        finalized_features: FEATURES.iter().map(finalized).collect(),
        ..answer(code)
    }
}

/// Kafka's rule for a client's name and version, which go into metrics and logs: letters, digits, and inside them `.` and `-`.
fn is_software(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().copied().all(is_inner)
}

/// Answers, in version 0, a version that is not served: by this the client learns which to use.
pub(crate) fn unserved_version() -> ApiVersionsResponse {
    answer(ErrorCode::UnsupportedVersion)
}

fn answer(code: ErrorCode) -> ApiVersionsResponse {
    let row =
        |api: &api::Api| ApiVersion { api_key: api.key.number(), min_version: api.first, max_version: api.last() };
    ApiVersionsResponse {
        error_code: code.number(),
        api_keys: api::SERVED.iter().map(row).collect(),
        finalized_features_epoch: -1,
        ..ApiVersionsResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_name_and_version_follow_kafkas_rule() {
        for good in ["a", "apache-kafka-java", "2.1.1", "librdkafka", "v1.0-rc.2"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "ä", "a\n"] {
            assert!(!is_software(bad), "{bad:?}");
        }
    }
}
