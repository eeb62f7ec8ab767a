//! AlterClientQuotas (KIP-546): sets and removes quotas; each entity on its own, all or none of what is said of it.
//!
//! An answer without an error means that the ledger holds the change: from then on it acts here, and elsewhere as soon as that broker has
//! read so far.

use crate::answer_bounds::Reasons;
use crate::checks::in_steps;
use crate::error::Failure;
use crate::quota::entity;
use crate::requests::{self, Named};
use crate::rights::Rights;
use crate::{Shared, topics};
use control_core::{Command, Refusal};
use futures::stream::StreamExt;
use protocol::api::Operation;
use protocol::messages::alter_client_quotas_request::{AlterClientQuotasRequest, OpData};
use protocol::messages::alter_client_quotas_response::{AlterClientQuotasResponse, EntityData, EntryData};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// The request names no timeout of its own.
const ALTER_WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn handle(
    broker: &Shared,
    request: AlterClientQuotasRequest,
    rights: &Rights,
) -> AlterClientQuotasResponse {
    let until = broker.clock.now().plus(ALTER_WAIT_MAX);
    let validate_only = request.validate_only;
    let asked = in_steps(request.entries).map(|entry| {
        let named: entity::Named = entry.entity.into_iter().map(|it| (it.entity_type, it.entity_name)).collect();
        (named, entry.ops)
    });
    let asked: Vec<(entity::Named, Vec<OpData>)> = asked.collect().await;
    let named = requests::named(asked.iter().map(|(named, _)| named).collect()).await;
    let checked = &rights.check_cluster(Operation::AlterConfigs).and_then(|()| requests::check_names(&named));
    let mut reasons = Reasons::default();
    // An entity that the request has twice gets one answer, as Kafka's does.
    let asked = in_steps(asked.into_iter().zip(named).filter(|(_, named)| *named != Named::Again));
    let entries = asked
        .enumerate()
        .map(async |(place, ((whose, ops), named))| {
            let outcome = match (checked, plan(&whose, ops)) {
                (Err(failure), _) => Err(failure.clone()),
                (Ok(()), Ok(command)) if !validate_only => match requests::time_left(broker, until, place) {
                    Ok(left) => topics::submit(broker, command, left).await.map_err(in_words),
                    Err(failure) => Err(failure),
                },
                (Ok(()), planned) => planned.map(|_| ()),
            };
            // What is said of it first is done all the same.
            let outcome = if checked.is_ok() && named == Named::First { Err(named_twice(&whose)) } else { outcome };
            (whose, outcome)
        })
        .buffered(requests::CHANGES_TOGETHER_MAX)
        .map(|(whose, outcome)| {
            let (error_code, error_message) = reasons.of(&outcome);
            let part = |(entity_type, entity_name)| EntityData { entity_type, entity_name };
            EntryData { error_code, error_message, entity: whose.into_iter().map(part).collect() }
        });
    AlterClientQuotasResponse { entries: entries.collect().await, ..AlterClientQuotasResponse::default() }
}

/// What the ledger refuses is told as it says it.
fn in_words(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Refusal::Invalid(why)) => Failure::InvalidRequest(why),
        other => other,
    }
}

fn named_twice(whose: &entity::Named) -> Failure {
    Failure::InvalidRequest(format!("Ignoring duplicate entity {}", entity::printed(whose)))
}

fn plan(whose: &entity::Named, ops: Vec<OpData>) -> Result<Command, Failure> {
    let mut wanted = BTreeMap::new();
    for op in ops {
        match wanted.entry(op.key) {
            // In Kafka's words, though it is a quota that is there twice.
            Entry::Occupied(_) => return Err(named_twice(whose)),
            Entry::Vacant(free) => free.insert((!op.remove).then_some(op.value)),
        };
    }
    let entity = entity::check(whose)?;
    let mut changes = BTreeMap::new();
    for (key, value) in wanted {
        let value = value.map(|value| entity::check_value(&entity, &key, value)).transpose()?;
        changes.insert(key, value);
    }
    Ok(Command::AlterQuotas { entity, changes })
}
