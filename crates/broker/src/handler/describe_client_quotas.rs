//! DescribeClientQuotas (KIP-546): the quotas of the entities that a filter asks for.

use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use crate::quota::entity::{self, Filter};
use crate::rights::Rights;
use control_core::Image;
use protocol::api::Operation;
use protocol::messages::describe_client_quotas_request::DescribeClientQuotasRequest;
use protocol::messages::describe_client_quotas_response::{
    DescribeClientQuotasResponse, EntityData, EntryData, ValueData,
};
use tokio::sync::OwnedSemaphorePermit;

/// What an entity with its quotas takes beside their names, about.
const ENTRY_BYTES: usize = 256;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeClientQuotasRequest,
    rights: &Rights,
) -> (DescribeClientQuotasResponse, Option<OwnedSemaphorePermit>) {
    if let Err(failure) = rights.check_cluster(Operation::DescribeConfigs) {
        return (refuse(&failure), None);
    }
    let image = broker.store.ledger().image();
    let components = request.components.iter();
    let components = components.map(|it| (it.entity_type.as_str(), it.match_type, it.r#match.as_deref()));
    let filter = match Filter::of(components, request.strict) {
        Ok(filter) => filter,
        Err(failure) => return (refuse(&failure), None),
    };
    let bytes: usize = filter.matches(&image.quotas).map(|it| ENTRY_BYTES + named_bytes(it)).sum();
    let memory = match broker.answer_memory.take_to_tell(bytes).await {
        Ok(memory) => memory,
        Err(failure) => return (refuse(&failure), None),
    };
    let (mut entries, mut steps) = (Vec::new(), Steps::default());
    for whose in filter.matches(&image.quotas) {
        steps.next().await;
        entries.push(describe(&image, whose));
    }
    let answer = DescribeClientQuotasResponse { error_message: None, entries: Some(entries), ..Default::default() };
    (answer, memory)
}

fn refuse(failure: &Failure) -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse {
        error_code: failure.code().number(),
        error_message: Some(failure.to_string()),
        entries: None,
        ..DescribeClientQuotasResponse::default()
    }
}

fn named_bytes(whose: &control_core::QuotaEntity) -> usize {
    entity::parts(whose).map(|(kind, name)| kind.len() + name.map_or(0, str::len)).sum()
}

fn describe(image: &Image, whose: &control_core::QuotaEntity) -> EntryData {
    let part = |(kind, name): (&str, Option<&str>)| EntityData {
        entity_type: kind.to_owned(),
        entity_name: name.map(str::to_owned),
    };
    let quotas = image.quotas.get(whose).into_iter().flat_map(|quotas| quotas.iter());
    EntryData {
        entity: entity::parts(whose).map(part).collect(),
        values: quotas.map(|(key, value)| ValueData { key: key.clone(), value: value.get() }).collect(),
    }
}
