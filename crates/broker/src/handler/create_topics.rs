//! CreateTopics: checks each topic of the request on its own, creates those that pass in one go, answers topic by topic.

use crate::error::Failure;
use crate::topics::{self, CheckedTopic, NewTopic};
use crate::{Shared, topic_settings};
use control_core::Image;
use protocol::error_code::ErrorCode;
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Kafka's numbers for where a setting's value comes from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

pub(crate) async fn handle(broker: &Shared, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let image = broker.store.ledger().image();
    let doubled = doubled_names(&request.topics);
    let validate_only = request.validate_only;
    let results = request.topics.into_iter().map(|asked| {
        let image = image.clone();
        let doubled = &doubled;
        async move {
            let name = asked.name.clone();
            let outcome = if doubled.contains(&name) {
                Err(Failure::InvalidRequest(format!("the request names topic '{name}' more than once")))
            } else {
                create(broker, &image, &asked, validate_only, limit).await
            };
            (name, outcome)
        }
    });
    let mut answered = BTreeSet::new();
    let mut topics = Vec::new();
    for (name, outcome) in futures::future::join_all(results).await {
        // A name that the request has twice gets one answer, as Kafka's does.
        if answered.insert(name.clone()) {
            topics.push(match outcome {
                Ok((checked, configs)) => CreatableTopicResult {
                    name,
                    topic_id: checked.id.into(),
                    error_code: ErrorCode::None.number(),
                    num_partitions: checked.partitions,
                    replication_factor: checked.replication_factor,
                    configs: Some(describe_configs(broker, &configs)),
                    ..CreatableTopicResult::default()
                },
                Err(failure) => CreatableTopicResult {
                    name,
                    error_code: failure.code().number(),
                    error_message: Some(failure.to_string()),
                    num_partitions: -1,
                    replication_factor: -1,
                    ..CreatableTopicResult::default()
                },
            });
        }
    }
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
}

fn doubled_names(topics: &[CreatableTopic]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    topics.iter().filter(|topic| !seen.insert(&topic.name)).map(|topic| topic.name.clone()).collect()
}

async fn create(
    broker: &Shared,
    image: &Image,
    asked: &CreatableTopic,
    validate_only: bool,
    limit: Duration,
) -> Result<(CheckedTopic, BTreeMap<String, String>), Failure> {
    let (partitions, replication_factor) = shape(image, asked)?;
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = &config.value else {
            return Err(Failure::InvalidConfig(format!("{} has no value", config.name)));
        };
        configs.insert(config.name.clone(), value.clone());
    }
    let topic = NewTopic { name: asked.name.clone(), partitions, replication_factor, configs: configs.clone() };
    let checked = topics::check(broker, image, &topic)?;
    if !validate_only {
        topics::create(broker, topic, &checked, limit).await?;
    }
    Ok((checked, configs))
}

/// Partitions and replication factor: as numbers, or as what a manual assignment comes to.
fn shape(image: &Image, asked: &CreatableTopic) -> Result<(i32, i16), Failure> {
    if asked.assignments.is_empty() {
        return Ok((asked.num_partitions, asked.replication_factor));
    }
    if asked.num_partitions != -1 || asked.replication_factor != -1 {
        return Err(Failure::InvalidRequest(
            "with a manual assignment, partitions and replication factor must both be -1".to_owned(),
        ));
    }
    let living = topics::living(image);
    let width = asked.assignments[0].broker_ids.len();
    let mut numbers = BTreeSet::new();
    for assignment in &asked.assignments {
        let ids: BTreeSet<i32> = assignment.broker_ids.iter().copied().collect();
        let number = assignment.partition_index;
        let wrong = if ids.is_empty() {
            "has no broker".to_owned()
        } else if ids.len() != assignment.broker_ids.len() {
            "names a broker more than once".to_owned()
        } else if ids.len() != width {
            "has another number of brokers than the first partition".to_owned()
        } else if let Some(unknown) = ids.iter().find(|id| !living.contains_key(&base::NodeId(**id))) {
            format!("names broker {unknown}, which is not there")
        } else if !numbers.insert(number) {
            "is assigned more than once".to_owned()
        } else {
            continue;
        };
        return Err(Failure::InvalidAssignment(format!("partition {number} {wrong}")));
    }
    let partitions = i32::try_from(numbers.len()).unwrap_or(i32::MAX);
    if numbers.first() != Some(&0) || numbers.last() != Some(&(partitions - 1)) {
        return Err(Failure::InvalidAssignment("partitions must be numbered from 0 on without gaps".to_owned()));
    }
    Ok((partitions, i16::try_from(width).unwrap_or(i16::MAX)))
}

fn describe_configs(broker: &Shared, configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let entry = |name: &str, value: &str, source| CreatableTopicConfigs {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        config_source: source,
        ..CreatableTopicConfigs::default()
    };
    let set = configs.iter().map(|(name, value)| entry(name, value, SOURCE_TOPIC));
    let defaults = topic_settings::defaults(&broker.options);
    let absent = defaults.iter().filter(|(name, _)| !configs.contains_key(*name));
    set.chain(absent.map(|(name, value)| entry(name, value, SOURCE_DEFAULT))).collect()
}
