//! CreatePartitions (KIP-195): gives topics more partitions; each topic of the request on its own.
//!
//! The ledger adds the partitions only where the topic still has as many as this broker saw, so that requests which cross each other
//! are judged one after the other. Refusals are in Kafka's words.

use crate::error::Failure;
use crate::{Shared, requests, topic_name, topics};
use base::{NodeEpoch, TopicId};
use control_core::Image;
use futures::future::join_all;
use protocol::error_code::ErrorCode;
use protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) async fn handle(broker: &Shared, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let image = broker.store.ledger().image();
    let doubled = requests::doubled(request.topics.iter().map(|topic| topic.name.as_str()));
    let more = request.topics.iter().map(|asked| more_partitions(&image, asked));
    let checked = requests::check_partitions(more, broker.options.topic_partitions_max);
    let mut answered = BTreeSet::new();
    let results = request.topics.iter().filter_map(|asked| {
        let checked = if doubled.contains(asked.name.as_str()) {
            Err(Failure::InvalidRequest("Duplicate topic name.".to_owned()))
        } else {
            checked.clone()
        };
        // A name that the request has twice gets one answer, as Kafka's does.
        answered.insert(asked.name.as_str()).then(|| grow(broker, asked, checked, request.validate_only, limit))
    });
    CreatePartitionsResponse { results: join_all(results).await, ..CreatePartitionsResponse::default() }
}

/// How many partitions a topic is to have beyond those that it has.
fn more_partitions(image: &Image, asked: &CreatePartitionsTopic) -> i64 {
    let Some(topic) = image.topic(&asked.name) else { return 0 };
    i64::from(asked.count).saturating_sub(i64::try_from(topic.partitions.len()).unwrap_or(i64::MAX))
}

async fn grow(
    broker: &Shared,
    asked: &CreatePartitionsTopic,
    checked: Result<(), Failure>,
    validate_only: bool,
    limit: Duration,
) -> CreatePartitionsTopicResult {
    let outcome = match checked {
        Err(failure) => Err(failure),
        Ok(()) => grow_to(broker, asked, validate_only, limit).await,
    };
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None.number(), None),
        Err(failure) => (failure.code().number(), Some(failure.to_string())),
    };
    CreatePartitionsTopicResult { name: asked.name.clone(), error_code, error_message }
}

async fn grow_to(
    broker: &Shared,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
    limit: Duration,
) -> Result<(), Failure> {
    let until = broker.clock.now().plus(limit);
    loop {
        let image = broker.store.ledger().image();
        let growth = check(&image, broker.store.node_epoch(), asked)?;
        let Growth { topic, first, leaders } = growth;
        broker.creating.check_room(broker, &image, leaders.len())?;
        if validate_only {
            return Ok(());
        }
        // Somebody else's request came first where this is refused; then the image shows it.
        if topics::grow(broker, topic, first, leaders, until.since(broker.clock.now())).await? {
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
