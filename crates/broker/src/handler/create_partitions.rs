//! CreatePartitions (KIP-195): gives topics more partitions; each topic of the request on its own.
//!
//! The ledger adds the partitions only where the topic still has as many as this broker saw, so that requests which cross each other
//! are judged one after the other. Refusals are in Kafka's words.

use crate::answer_bounds::Reasons;
use crate::checks::in_steps;
use crate::error::Failure;
use crate::quota::{Meter, Strictness};
use crate::requests::{self, Named};
use crate::rights::Rights;
use crate::{Shared, topic_name, topics};
use base::{Micros, NodeEpoch, TopicId};
use control_core::Image;
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use std::time::Duration;

/// From this version on clients understand that a quota refuses partitions (KIP-599).
const STRICT_QUOTA_VERSION: i16 = 3;

pub(crate) async fn handle(
    broker: &Shared,
    request: CreatePartitionsRequest,
    version: i16,
    (rights, meter): (&Rights, &Meter),
) -> CreatePartitionsResponse {
    let strictness = Strictness::of(version, STRICT_QUOTA_VERSION);
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let until = broker.clock.now().plus(limit);
    let named = requests::named(request.topics.iter().map(|topic| topic.name.as_str()).collect()).await;
    let checked = &requests::check_names(&named).and_then(|()| {
        let image = broker.store.ledger().image();
        let more = request.topics.iter().map(|asked| more_partitions(&image, asked));
        requests::check_partitions(more, broker.options.topic_partitions_max)
    });
    let mut reasons = Reasons::default();
    // A name that the request has twice gets one answer, as Kafka's does.
    let asked = in_steps(request.topics.into_iter().zip(named).filter(|(_, named)| *named != Named::Again));
    let results = asked
        .enumerate()
        .map(async |(place, (asked, named))| {
            let outcome = match checked {
                Err(failure) => Err(failure.clone()),
                Ok(()) if named == Named::First => Err(Failure::InvalidRequest("Duplicate topic name.".to_owned())),
                Ok(()) if !rights.allow(Operation::Alter, Resource::Topic, &asked.name) => {
                    Err(Failure::NotAuthorized(Resource::Topic))
                }
                Ok(()) => {
                    let charge = |partitions| meter.charge_mutation(partitions, strictness);
                    grow_to(broker, &asked, (request.validate_only, charge), (until, place)).await
                }
            };
            (asked.name, outcome)
        })
        .buffered(requests::CHANGES_TOGETHER_MAX)
        .map(|(name, outcome)| {
            let (error_code, error_message) = match &outcome {
                // Kafka has no words for it beside the code.
                Err(failure @ Failure::NotAuthorized(_)) => (failure.code().number(), None),
                outcome => reasons.of(outcome),
            };
            CreatePartitionsTopicResult { name, error_code, error_message }
        });
    CreatePartitionsResponse { results: results.collect().await, ..CreatePartitionsResponse::default() }
}

/// How many partitions a topic is to have beyond those that it has.
fn more_partitions(image: &Image, asked: &CreatePartitionsTopic) -> i64 {
    let Some(topic) = image.topic(&asked.name) else { return 0 };
    i64::from(asked.count).saturating_sub(i64::try_from(topic.partitions.len()).unwrap_or(i64::MAX))
}

async fn grow_to(
    broker: &Shared,
    asked: &CreatePartitionsTopic,
    (validate_only, charge): (bool, impl Fn(usize) -> Result<(), Failure>),
    (until, place): (Micros, usize),
) -> Result<(), Failure> {
    let mut is_charged = false;
    loop {
        let image = broker.store.ledger().image();
        let growth = check(&image, broker.store.node_epoch(), asked)?;
        let Growth { topic, first, leaders } = growth;
        broker.creating.check_room(broker, &image, leaders.len())?;
        if !std::mem::replace(&mut is_charged, true) {
            charge(leaders.len())?;
        }
        if validate_only {
            return Ok(());
        }
        // Somebody else's request came first where this is refused; then the image shows it.
        if topics::grow(broker, topic, first, leaders, requests::time_left(broker, until, place)?).await? {
            return Ok(());
        }
    }
}

/// What is to be added to which topic.
#[derive(Debug, PartialEq, Eq)]
struct Growth {
    topic: TopicId,
    /// How many partitions there are before.
    first: i32,
    /// Who leads each new one.
    leaders: Vec<NodeEpoch>,
}

/// `own`: this broker, which leads what nobody is assigned to.
fn check(image: &Image, own: NodeEpoch, asked: &CreatePartitionsTopic) -> Result<Growth, Failure> {
    let topic = topics::find(image, &asked.name, TopicId::default())?;
    if topic_name::is_internal(&topic.name) {
        return Err(Failure::InvalidRequest(format!(
            "The number of partitions of {} cannot be changed: it says which of them a group belongs to.",
            topic.name
        )));
    }
    let first = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if asked.count == first {
        return Err(Failure::InvalidPartitions(format!("Topic already has {first} partition(s).")));
    }
    if asked.count < first {
        return Err(Failure::InvalidPartitions(format!(
            "The topic {} currently has {first} partition(s); {} would not be an increase.",
            asked.name, asked.count
        )));
    }
    let more = usize::try_from(asked.count - first).unwrap_or(0);
    let leaders = match &asked.assignments {
        None => vec![own; more],
        Some(assignments) if assignments.len() != more => {
            return Err(Failure::InvalidAssignment(format!(
                "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            )));
        }
        Some(assignments) => {
            let living = topics::living(image);
            let leader = |it: &CreatePartitionsAssignment| requests::assigned_leader(&living, &it.broker_ids);
            assignments.iter().map(leader).collect::<Result<_, _>>()?
        }
    };
    Ok(Growth { topic: topic.id, first, leaders })
}
