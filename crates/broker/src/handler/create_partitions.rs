//! CreatePartitions (KIP-195): gives topics more partitions; each topic of the request on its own.
//!
//! The ledger adds the partitions only where the topic still has as many as this broker saw, so that requests which cross each other
//! are judged one after the other. Refusals are in Kafka's words.

use crate::error::Failure;
use crate::topics;
use crate::{Shared, topic_name};
use base::{NodeEpoch, NodeId, TopicId};
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
    let doubled = doubled_names(&request.topics);
    let too_many = too_many_partitions(broker, &image, &request.topics);
    let mut answered = BTreeSet::new();
    let results = request.topics.into_iter().filter_map(|asked| {
        let refused = if doubled.contains(&asked.name) {
            Some(Failure::InvalidRequest("Duplicate topic name.".to_owned()))
        } else {
            too_many.clone()
        };
        // A name that the request has twice gets one answer, as Kafka's does.
        answered.insert(asked.name.clone()).then(|| grow(broker, asked, refused, request.validate_only, limit))
    });
    CreatePartitionsResponse { results: join_all(results).await, ..CreatePartitionsResponse::default() }
}

fn doubled_names(topics: &[CreatePartitionsTopic]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    topics.iter().filter(|topic| !seen.insert(&topic.name)).map(|topic| topic.name.clone()).collect()
}

/// A request of a few bytes can ask for any number of partitions, each of which takes memory for good: nothing is done of one that
/// asks for too many in all.
fn too_many_partitions(broker: &Shared, image: &Image, topics: &[CreatePartitionsTopic]) -> Option<Failure> {
    let most = broker.options.topic_partitions_max;
    let more = |asked: &CreatePartitionsTopic| {
        let present = image.topic(&asked.name).map_or(0, |topic| topic.partitions.len());
        i64::from(asked.count).saturating_sub(i64::try_from(present).unwrap_or(i64::MAX)).max(0)
    };
    let asked = topics.iter().filter(|asked| image.topic(&asked.name).is_some()).map(more).fold(0, i64::saturating_add);
    (asked > i64::from(most)).then_some(Failure::TooManyPartitions { most })
}

async fn grow(
    broker: &Shared,
    asked: CreatePartitionsTopic,
    refused: Option<Failure>,
    validate_only: bool,
    limit: Duration,
) -> CreatePartitionsTopicResult {
    let outcome = match refused {
        Some(failure) => Err(failure),
        None => grow_to(broker, &asked, validate_only, limit).await,
    };
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None.number(), None),
        Err(failure) => (failure.code().number(), Some(failure.to_string())),
    };
    CreatePartitionsTopicResult { name: asked.name, error_code, error_message }
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
        Some(assignments) => assigned_leaders(image, assignments)?,
    };
    Ok(Growth { topic: topic.id, first, leaders })
}

/// The broker that each new partition is assigned to: one, as the partitions before have one.
fn assigned_leaders(image: &Image, assignments: &[CreatePartitionsAssignment]) -> Result<Vec<NodeEpoch>, Failure> {
    let living = topics::living(image);
    let refused = |why: String| Failure::InvalidAssignment(format!("The manual partition assignment includes {why}"));
    let leader = |assignment: &CreatePartitionsAssignment| {
        let ids = &assignment.broker_ids;
        if ids.is_empty() {
            return Err(refused("an empty replica list.".to_owned()));
        }
        if let Some(unknown) = ids.iter().find(|id| !living.contains_key(&NodeId(**id))) {
            return Err(refused(format!("broker {unknown}, but no such broker is registered.")));
        }
        let mut seen = BTreeSet::new();
        if let Some(doubled) = ids.iter().find(|id| !seen.insert(**id)) {
            return Err(refused(format!("the broker {doubled} more than once.")));
        }
        match (&ids[..], living.get(&NodeId(ids[0]))) {
            ([_], Some((node_epoch, _))) => Ok(*node_epoch),
            _ => Err(refused(format!(
                "a partition with {} replica(s), but this is not consistent with previous partitions, which have 1 replica(s).",
                ids.len()
            ))),
        }
    };
    assignments.iter().map(leader).collect()
}
