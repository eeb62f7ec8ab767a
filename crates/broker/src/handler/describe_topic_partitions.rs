//! DescribeTopicPartitions (KIP-966): topics and where their partitions are, page by page, sorted by name; a cursor says where the next page
//! begins.

use crate::error::Failure;
use crate::rights::Rights;
use crate::topics::{self, Placement};
use crate::{Shared, answer_size, authorized, topic_name};
use control_core::{Image, Topic};
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use std::collections::BTreeSet;
use tokio::sync::OwnedSemaphorePermit;

/// What the answer takes while it is made, but for the names that nothing is known of.
fn answer_bytes(broker: &Shared, request: &DescribeTopicPartitionsRequest) -> usize {
    let room = room(broker, request.response_partition_limit);
    answer_size::of_page(room, room).min(answer_size::of_all(&broker.store.ledger().image()))
}

/// Partitions of one page.
fn room(broker: &Shared, limit: i32) -> usize {
    let limit = usize::try_from(limit).unwrap_or(0);
    limit.min(broker.options.described_partitions_max).max(1)
}

pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeTopicPartitionsRequest,
    rights: &Rights,
) -> (DescribeTopicPartitionsResponse, Option<OwnedSemaphorePermit>) {
    let memory = broker.answer_memory.take_ahead(answer_bytes(broker, &request)).await;
    (describe_page(broker, request, rights), memory)
}

fn describe_page(
    broker: &Shared,
    request: DescribeTopicPartitionsRequest,
    rights: &Rights,
) -> DescribeTopicPartitionsResponse {
    let image = broker.store.ledger().image();
    let asked: BTreeSet<String> = request.topics.into_iter().map(|topic| topic.name).collect();
    let start = match start(request.cursor.map(|it| (it.topic_name, it.partition_index)), &asked) {
        Ok(start) => start,
        Err(failure) => {
            let topics = asked.into_iter().map(|name| refused(name, &failure)).collect();
            return DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() };
        }
    };
    let room = room(broker, request.response_partition_limit);
    let may_know = |name: &str| rights.allow(Operation::Describe, Resource::Topic, name);
    if asked.is_empty() {
        let names = image.topic_names.range(start.0.clone()..).map(|(name, _)| name.as_str());
        page((&image, rights), names.filter(|name| may_know(name)), &start, room)
    } else {
        // What the caller may not know of is told so behind the rest, whatever there is.
        let (known, denied): (BTreeSet<String>, BTreeSet<String>) = asked.into_iter().partition(|name| may_know(name));
        let mut answer = page((&image, rights), known.range(start.0.clone()..).map(String::as_str), &start, room);
        let denied = denied.into_iter().map(|name| DescribeTopicPartitionsResponseTopic {
            error_code: Failure::NotAuthorized(Resource::Topic).code().number(),
            name: Some(name),
            topic_authorized_operations: authorized::NOT_ASKED_FOR,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        answer.topics.extend(denied);
        answer
    }
}

/// The topic and the partition that the page begins with.
fn start(cursor: Option<(String, i32)>, asked: &BTreeSet<String>) -> Result<(String, usize), Failure> {
    let Some((name, partition)) = cursor else { return Ok((String::new(), 0)) };
    if !asked.is_empty() && !asked.contains(&name) {
        return Err(Failure::InvalidRequest(format!(
            "DescribeTopicPartitionsRequest topic list should contain the cursor topic: {name}"
        )));
    }
    let partition = usize::try_from(partition).map_err(|_| {
        Failure::InvalidRequest(format!("DescribeTopicPartitionsRequest cursor partition must be valid: {partition}"))
    })?;
    Ok((name, partition))
}

/// At most `room` partitions. Where there is more, the cursor tells what comes next.
fn page<'a>(
    (image, rights): (&Image, &Rights),
    names: impl Iterator<Item = &'a str>,
    start: &(String, usize),
    mut room: usize,
) -> DescribeTopicPartitionsResponse {
    let mut answer = DescribeTopicPartitionsResponse::default();
    let cursor = |name: &str, partition: usize| {
        let partition_index = i32::try_from(partition).unwrap_or(i32::MAX);
        Some(Cursor { topic_name: name.to_owned(), partition_index })
    };
    for name in names {
        if room == 0 {
            answer.next_cursor = cursor(name, 0);
            break;
        }
        let Some(topic) = image.topic(name) else {
            let failure = match topic_name::check(name) {
                Ok(()) => Failure::UnknownPartition,
                Err(why) => Failure::InvalidTopic(why),
            };
            // As Apache Kafka, which tells of any name what the caller might do with it.
            let topic_authorized_operations = authorized::field(true, rights, Resource::Topic, name);
            let unknown = refused(name.to_owned(), &failure);
            answer.topics.push(DescribeTopicPartitionsResponseTopic { topic_authorized_operations, ..unknown });
            continue;
        };
        let first = if name == start.0 { start.1 } else { 0 };
        let described = describe((image, rights), topic, first, room);
        let next = first.saturating_add(room).min(topic.partitions.len()).max(first);
        room -= next - first;
        answer.topics.push(described);
        if next < topic.partitions.len() {
            answer.next_cursor = cursor(name, next);
            break;
        }
    }
    answer
}

fn describe(
    (image, rights): (&Image, &Rights),
    topic: &Topic,
    first: usize,
    room: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partition = |(number, id)| {
        let stream = image.streams.get(id)?;
        let Placement { leader, leader_epoch, replicas, in_sync, offline } = topics::placement(image, stream);
        Some(DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::None.number(),
            partition_index: number,
            leader_id: leader,
            leader_epoch,
            replica_nodes: replicas,
            isr_nodes: in_sync,
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: offline,
        })
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None.number(),
        name: Some(topic.name.clone()),
        topic_id: topic.id.into(),
        is_internal: topic.internal,
        partitions: (0..).zip(&topic.partitions).skip(first).take(room).filter_map(partition).collect(),
        topic_authorized_operations: authorized::field(true, rights, Resource::Topic, &topic.name),
    }
}

fn refused(name: String, failure: &Failure) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: failure.code().number(),
        is_internal: topic_name::is_internal(&name),
        name: Some(name),
        topic_authorized_operations: authorized::NOT_ASKED_FOR,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
