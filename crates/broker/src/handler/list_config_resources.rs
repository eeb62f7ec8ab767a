//! ListConfigResources (KIP-1142; version 0 is KIP-714's ListClientMetricsResources): what has settings, by name.
//!
//! As in Kafka topics and brokers are named whether or not something was set for them, groups and subscriptions where something was.

use crate::Shared;
use crate::handler::describe_configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::rights::Rights;
use crate::topics;
use control_core::{Image, SettingsScope};
use protocol::api::Operation;
use protocol::error_code::ErrorCode;
use protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use protocol::messages::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};
use std::borrow::Cow;
use tokio::sync::OwnedSemaphorePermit;

/// What can be asked for, in the order of Kafka's answer. Version 0 has the subscriptions alone.
const TYPES: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];
const TYPES_BEFORE_1: [i8; 1] = [CLIENT_METRICS];

/// What a resource takes beyond its name, roughly.
const RESOURCE_BYTES: usize = 64;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ListConfigResourcesRequest,
    version: i16,
    rights: &Rights,
) -> (ListConfigResourcesResponse, Option<OwnedSemaphorePermit>) {
    let refused = |error_code: ErrorCode| ListConfigResourcesResponse {
        error_code: error_code.number(),
        ..ListConfigResourcesResponse::default()
    };
    if let Err(failure) = rights.check_cluster(Operation::DescribeConfigs) {
        return (refused(failure.code()), None);
    }
    let known: &[i8] = if version == 0 { &TYPES_BEFORE_1 } else { &TYPES };
    let asked = request.resource_types;
    if asked.iter().any(|kind| !known.contains(kind)) {
        return (refused(ErrorCode::UnsupportedVersion), None);
    }
    let wanted: Vec<i8> = known.iter().copied().filter(|kind| asked.is_empty() || asked.contains(kind)).collect();
    let image = broker.store.ledger().image();
    let bytes: usize =
        wanted.iter().flat_map(|kind| names(&image, *kind)).map(|name| RESOURCE_BYTES + name.len()).sum();
    let memory = match broker.answer_memory.take_to_tell(bytes).await {
        Ok(memory) => memory,
        Err(failure) => return (refused(failure.code()), None),
    };
    let of = |kind: i8| {
        names(&image, kind).map(move |name| ConfigResource { resource_name: name.into_owned(), resource_type: kind })
    };
    let config_resources = wanted.into_iter().flat_map(of).collect();
    (ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }, memory)
}

/// The resources of one type, sorted.
fn names(image: &Image, kind: i8) -> Box<dyn Iterator<Item = Cow<'_, str>> + Send + '_> {
    match kind {
        TOPIC => Box::new(image.topic_names.keys().map(|name| Cow::Borrowed(name.as_str()))),
        BROKER | BROKER_LOGGER => Box::new(topics::living(image).into_keys().map(|id| Cow::Owned(id.0.to_string()))),
        _ => Box::new(image.settings.keys().filter_map(move |scope| match scope {
            SettingsScope::Group(name) if kind == GROUP => Some(Cow::Borrowed(name.as_str())),
            SettingsScope::ClientMetrics(name) if kind == CLIENT_METRICS => Some(Cow::Borrowed(name.as_str())),
            _ => None,
        })),
    }
}
