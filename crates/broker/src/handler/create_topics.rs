//! CreateTopics: checks each topic of the request on its own, creates those that pass in one go, answers topic by topic.

use crate::Shared;
use crate::answer_bounds::Reasons;
use crate::checks::in_steps;
use crate::error::Failure;
use crate::handler::describe_configs;
use crate::memory::COPIES;
use crate::quota::{Meter, Strictness};
use crate::requests::{self, Named};
use crate::rights::Rights;
use crate::topic_name;
use crate::topics::{self, CheckedTopic, NewTopic};
use base::{Micros, NodeEpoch};
use control_core::Image;
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest};
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// From this version on clients understand that a quota refuses a topic (KIP-599).
const STRICT_QUOTA_VERSION: i16 = 6;

/// From this version on the answer tells of each topic's settings.
const CONFIGS_VERSION: i16 = 5;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: CreateTopicsRequest,
    version: i16,
    (rights, meter): (&Rights, &Meter),
) -> (CreateTopicsResponse, Option<OwnedSemaphorePermit>) {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let until = broker.clock.now().plus(limit);
    let strictness = Strictness::of(version, STRICT_QUOTA_VERSION);
    let named = requests::named(request.topics.iter().map(|topic| topic.name.as_str()).collect()).await;
    // One topic, too: as in Kafka.
    let asked = request.topics.iter().map(|topic| asked_partitions(broker, topic));
    let checked = requests::check_names(&named)
        .and_then(|()| requests::check_partitions(asked, broker.options.topic_partitions_max));
    let mut reasons = Reasons::default();
    // A name that the request has twice gets one answer, as Kafka's does.
    let mut asked = pin!(in_steps(request.topics.into_iter().zip(named).filter(|(_, named)| *named != Named::Again)));
    if let Err(failure) = checked {
        let mut topics = Vec::new();
        while let Some((topic, _)) = asked.next().await {
            topics.push(refuse(topic.name, &failure, &mut reasons));
        }
        return (CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }, None);
    }
    let may_create_all = rights.allow_cluster(Operation::Create);
    let outcomes: Vec<(String, Outcome)> = asked
        .enumerate()
        .map(async |(place, (asked, named))| {
            let outcome = if named == Named::First {
                Err(Failure::InvalidRequest(format!("the request names topic '{}' more than once", asked.name)))
            } else if !may_create_all && !rights.allow(Operation::Create, Resource::Topic, &asked.name) {
                Err(Failure::NotAuthorized(Resource::Topic))
            } else {
                let charge = |partitions| meter.charge_mutation(partitions, strictness);
                create(broker, &asked, (request.validate_only, charge), (until, place)).await
            };
            (asked.name, outcome)
        })
        .buffered(requests::CHANGES_TOGETHER_MAX)
        .collect()
        .await;
    let mut configs = NewConfigs { broker, left: describe_configs::ANSWER_BYTES_MAX };
    let memory = if version >= CONFIGS_VERSION { configs.memory(&outcomes).await } else { None };
    let mut topics = Vec::new();
    for (name, outcome) in outcomes {
        topics.push(match outcome {
            Ok((checked, _)) if !rights.allow(Operation::DescribeConfigs, Resource::Topic, &name) => {
                untold(name, &checked, version)
            }
            Ok((checked, set)) => {
                let told = if version >= CONFIGS_VERSION { configs.of(&set) } else { Some(Vec::new()) };
                let untold = if told.is_some() { ErrorCode::None } else { ErrorCode::InvalidRequest };
                CreatableTopicResult {
                    name,
                    topic_id: checked.id.into(),
                    error_code: ErrorCode::None.number(),
                    error_message: None,
                    topic_config_error_code: untold.number(),
                    num_partitions: checked.partitions,
                    replication_factor: checked.replication_factor,
                    configs: told,
                }
            }
            Err(failure) => refuse(name, &failure, &mut reasons),
        });
        tokio::task::yield_now().await;
    }
    (CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }, memory)
}

/// A new topic of which the caller may not know how it is.
fn untold(name: String, checked: &CheckedTopic, version: i16) -> CreatableTopicResult {
    let is_told_so = version >= CONFIGS_VERSION;
    let failure = Failure::NotAuthorized(Resource::Topic);
    CreatableTopicResult {
        name,
        topic_id: checked.id.into(),
        error_message: None,
        topic_config_error_code: if is_told_so { failure.code().number() } else { ErrorCode::None.number() },
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

fn refuse(name: String, failure: &Failure, reasons: &mut Reasons) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: failure.code().number(),
        error_message: reasons.tell(failure),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopicResult::default()
    }
}

/// What became of a topic of the request: what it is, and the settings that it was given.
type Outcome = Result<(CheckedTopic, BTreeMap<String, String>), Failure>;

/// Tells of new topics' settings, as far as there is room: a few bytes make a topic, which has all of them.
struct NewConfigs<'a> {
    broker: &'a Shared,
    left: usize,
}

impl NewConfigs<'_> {
    /// Waits for what they take in the answer.
    async fn memory(&self, outcomes: &[(String, Outcome)]) -> Option<OwnedSemaphorePermit> {
        let created = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        // What they were given was in the request, whose memory is held.
        let defaults =
            if created == 0 { 0 } else { bytes_of(&describe_configs::of_new_topic(self.broker, &BTreeMap::new())) };
        self.broker.answer_memory.take_ahead(created.saturating_mul(defaults).min(self.left)).await
    }

    /// None where there is no more room.
    fn of(&mut self, set: &BTreeMap<String, String>) -> Option<Vec<CreatableTopicConfigs>> {
        if self.left == 0 {
            return None;
        }
        let configs = describe_configs::of_new_topic(self.broker, set);
        self.left = self.left.saturating_sub(bytes_of(&configs));
        Some(configs)
    }
}

/// Bytes that settings take as values and as bytes, about.
fn bytes_of(configs: &[CreatableTopicConfigs]) -> usize {
    let texts = |it: &CreatableTopicConfigs| it.name.len() + it.value.as_ref().map_or(0, String::len);
    configs.iter().map(|it| size_of::<CreatableTopicConfigs>() + COPIES * texts(it)).sum()
}

/// How many partitions a topic asks for, as Kafka counts them before it looks at anything else.
fn asked_partitions(broker: &Shared, topic: &CreatableTopic) -> i64 {
    match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => i64::from(broker.options.num_partitions),
        (0, asked) => i64::from(asked),
        (assigned, _) => i64::try_from(assigned).unwrap_or(i64::MAX),
    }
}

async fn create(
    broker: &Shared,
    asked: &CreatableTopic,
    (validate_only, charge): (bool, impl Fn(usize) -> Result<(), Failure>),
    (until, place): (Micros, usize),
) -> Outcome {
    if asked.name == topic_name::METADATA {
        return Err(Failure::InvalidRequest(format!("Creation of internal topic {} is prohibited.", asked.name)));
    }
    // Of this moment: others of the request may have been made by now.
    let image = broker.store.ledger().image();
    topics::check_name(broker, &image, &asked.name)?;
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            return Err(Failure::InvalidConfig(format!("{} has no value", config.name)));
        };
        configs.insert(config.name.clone(), value.clone());
    }
    topics::check_settings(broker, &image, &configs)?;
    let Shape { partitions, replication_factor, leaders } = shape(&image, asked)?;
    let topic =
        NewTopic { name: asked.name.clone(), partitions, replication_factor, leaders, configs: configs.clone() };
    let checked = topics::check_numbers(broker, &image, &topic)?;
    // Also of what is only to be validated, as in Kafka.
    charge(topics::count(checked.partitions))?;
    if !validate_only {
        topics::create(broker, topic, &checked, requests::time_left(broker, until, place)?).await?;
    }
    Ok((checked, configs))
}

/// How many partitions and replicas are asked for, and who is to lead: as numbers, or as a manual assignment says.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    partitions: i32,
    replication_factor: i16,
    /// One for each partition; empty where the request leaves it to this broker.
    leaders: Vec<NodeEpoch>,
}

fn shape(image: &Image, asked: &CreatableTopic) -> Result<Shape, Failure> {
    if asked.assignments.is_empty() {
        let (partitions, replication_factor) = (asked.num_partitions, asked.replication_factor);
        return Ok(Shape { partitions, replication_factor, leaders: Vec::new() });
    }
    if asked.num_partitions != -1 || asked.replication_factor != -1 {
        return Err(Failure::InvalidRequest(
            "with a manual assignment, partitions and replication factor must both be -1".to_owned(),
        ));
    }
    let leaders = assigned_leaders(image, &asked.assignments)?;
    let partitions = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
    Ok(Shape { partitions, replication_factor: 1, leaders })
}

/// The broker that each partition is assigned to.
fn assigned_leaders(image: &Image, assignments: &[CreatableReplicaAssignment]) -> Result<Vec<NodeEpoch>, Failure> {
    let living = topics::living(image);
    let mut leaders = BTreeMap::new();
    for assignment in assignments {
        let number = assignment.partition_index;
        let leader = requests::assigned_leader(&living, &assignment.broker_ids)?;
        if leaders.insert(number, leader).is_some() {
            let why = format!("Found multiple manual partition assignments for partition {number}");
            return Err(Failure::InvalidAssignment(why));
        }
    }
    if !leaders.keys().copied().eq((0..).take(leaders.len())) {
        let why = "partitions should be a consecutive 0-based integer sequence";
        return Err(Failure::InvalidAssignment(why.to_owned()));
    }
    Ok(leaders.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::NodeId;
    use control_core::{Node, NodeState};
    use std::sync::Arc;

    fn two_brokers() -> Image {
        let mut image = Image::default();
        for (node_epoch, node_id) in [(4, 1), (5, 2)] {
            let node = Node {
                node_id: NodeId(node_id),
                state: NodeState::Alive,
                advertised: format!("host{node_id}:9092"),
                incarnation: u128::from(node_epoch),
                min_counter: 0,
                answered: Default::default(),
            };
            image.nodes.insert(NodeEpoch(node_epoch), Arc::new(node));
        }
        image
    }

    /// Partition numbers and the brokers that each is assigned to.
    type Assigned = &'static [(i32, &'static [i32])];

    fn leaders(assigned: Assigned) -> Result<Shape, String> {
        let assignment = |(partition_index, broker_ids): &(i32, &[i32])| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: broker_ids.to_vec(),
        };
        let asked = CreatableTopic {
            num_partitions: -1,
            replication_factor: -1,
            assignments: assigned.iter().map(assignment).collect(),
            ..CreatableTopic::default()
        };
        shape(&two_brokers(), &asked).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_manual_assignment_says_who_leads_each_partition() {
        let shape = leaders(&[(1, &[1]), (0, &[2]), (2, &[2])]).unwrap();
        let leaders = [5, 4, 5].map(NodeEpoch).to_vec();
        assert_eq!(shape, Shape { partitions: 3, replication_factor: 1, leaders });
    }

    #[test]
    fn an_assignment_that_could_not_be_kept_is_refused_with_its_reason() {
        let cases: [(Assigned, &str); 5] = [
            (&[(0, &[])], "an empty replica list"),
            (&[(0, &[1, 2])], "a partition with 2 replica(s)"),
            (&[(0, &[3])], "no such broker is registered"),
            (&[(0, &[1]), (0, &[2])], "multiple manual partition assignments for partition 0"),
            (&[(0, &[1]), (2, &[2])], "a consecutive 0-based integer sequence"),
        ];
        for (assigned, reason) in cases {
            let refused = leaders(assigned).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
