//! StreamsGroupTopologyDescriptionUpdate (KIP-1331): a member hands in a description of its topology, for people to read. Kafka gives it to a
//! plug-in, which is a Java class; without one it asks no member for a description and takes none, and so it is here.

use super::consumer_group_heartbeat::not_served;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, settings};
use protocol::api::{Operation, Resource};
use protocol::messages::streams_group_topology_description_update_request::StreamsGroupTopologyDescriptionUpdateRequest;
use protocol::messages::streams_group_topology_description_update_response::StreamsGroupTopologyDescriptionUpdateResponse;

/// In Kafka's words.
const NOT_KEPT: &str = "The broker has no streams group topology description plugin configured.";

pub(crate) fn handle(
    broker: &Shared,
    request: &StreamsGroupTopologyDescriptionUpdateRequest,
    rights: &Rights,
) -> StreamsGroupTopologyDescriptionUpdateResponse {
    let (failure, is_told) = if settings::serves_streams_groups(&broker.options) {
        let denied = rights.check(Operation::Read, Resource::Group, &request.group_id).err();
        (denied.unwrap_or_else(|| Failure::UnsupportedVersion(NOT_KEPT.to_owned())), true)
    } else {
        // Nothing is said of a protocol that is switched off.
        (not_served(), false)
    };
    StreamsGroupTopologyDescriptionUpdateResponse {
        error_code: failure.code().number(),
        error_message: is_told.then(|| failure.to_string()),
        ..StreamsGroupTopologyDescriptionUpdateResponse::default()
    }
}
