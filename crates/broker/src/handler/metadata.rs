//! Metadata: which brokers live, which topics exist, who leads each partition; creates topics on first use where allowed.
//!
//! A partition whose owner is dead, or that nobody can recover now, is reported without a leader (LEADER_NOT_AVAILABLE) and with
//! its last owner as an offline replica, so that clients keep asking instead of giving up.

use crate::checks::in_steps;
use crate::coordinator::OwnTopic;
use crate::error::Failure;
use crate::quota::Meter;
use crate::rights::Rights;
use crate::topics::{self, NewTopic};
use crate::{Shared, answer_size, authorized, requests, topic_name};
use base::{StreamId, TopicId};
use control_core::{Image, Topic};
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::wire::Uuid;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Before this version an empty list of topics asks for all.
const NULL_MEANS_ALL_VERSION: i16 = 1;
/// Before this version the request can't say whether it wants topics created.
const CREATION_FLAG_VERSION: i16 = 4;
/// The longest that creation on first use keeps an answer waiting.
const CREATION_WAIT_MAX: Duration = Duration::from_secs(10);
/// Topics created on first use travel to the ledger together: one after the other, a request of many would outlast its client.
const CREATIONS_TOGETHER_MAX: usize = 256;
/// Names that are looked up to reckon what an answer takes.
const SIZED_NAMES_MAX: usize = 1000;
/// Before this version topics are asked for by name only, although the field for their ids is there a little longer.
const TOPIC_ID_VERSION: i16 = 12;

/// Of what has one of these errors there is no topic whose operations could be told: the caller may not know of it, its id is nobody's,
/// or the request can't ask for it.
const WITHOUT_OPERATIONS: [ErrorCode; 3] =
    [ErrorCode::TopicAuthorizationFailed, ErrorCode::UnknownTopicId, ErrorCode::InvalidRequest];

/// What the answer takes while it is made, or more where very much is asked for.
fn answer_bytes(broker: &Shared, request: &MetadataRequest, version: i16) -> usize {
    let image = broker.store.ledger().image();
    match &request.topics {
        // Very many names are not looked up for this.
        Some(asked) if asked.len() <= SIZED_NAMES_MAX && (version >= NULL_MEANS_ALL_VERSION || !asked.is_empty()) => {
            let find = |topic: &MetadataRequestTopic| {
                let name = topic.name.as_deref().unwrap_or_default();
                topics::find(&image, name, TopicId::from(topic.topic_id)).ok().map(AsRef::as_ref)
            };
            answer_size::of_topics(&image, asked.iter().filter_map(find))
        }
        _ => answer_size::of_all(&image),
    }
}

pub(crate) async fn handle(
    broker: &Shared,
    request: MetadataRequest,
    version: i16,
    (rights, meter): (&Rights, &Meter),
) -> (MetadataResponse, Option<OwnedSemaphorePermit>) {
    let memory = broker.answer_memory.take_ahead(answer_bytes(broker, &request, version)).await;
    (describe_all(broker, request, version, (rights, meter)).await, memory)
}

async fn describe_all(
    broker: &Shared,
    request: MetadataRequest,
    version: i16,
    (rights, meter): (&Rights, &Meter),
) -> MetadataResponse {
    let asked = request.topics.filter(|topics| version >= NULL_MEANS_ALL_VERSION || !topics.is_empty());
    let may_create = version < CREATION_FLAG_VERSION || request.allow_auto_topic_creation;
    let mut topics: Vec<MetadataResponseTopic> = match asked {
        None => {
            let image = broker.store.ledger().image();
            let may_know = |name: &str| rights.allow(Operation::Describe, Resource::Topic, name);
            let known = image.topics.values().filter(|topic| may_know(&topic.name));
            known.map(|topic| describe(broker, &image, topic)).collect()
        }
        Some(asked) if version < TOPIC_ID_VERSION && asked.iter().any(is_by_id) => {
            asked.into_iter().map(refuse_by_id).collect()
        }
        Some(asked) => describe_asked((broker, rights), asked, may_create.then_some(meter)).await,
    };
    let has_operations =
        |topic: &MetadataResponseTopic| !WITHOUT_OPERATIONS.iter().any(|code| code.number() == topic.error_code);
    for topic in topics.iter_mut().filter(|topic| has_operations(topic)) {
        let (asked, name) = (request.include_topic_authorized_operations, topic.name.as_deref().unwrap_or_default());
        topic.topic_authorized_operations = authorized::field(asked, rights, Resource::Topic, name);
    }
    let image = broker.store.ledger().image();
    MetadataResponse {
        brokers: topics::living(&image).iter().map(|(id, (_, node))| describe_broker(id.0, &node.advertised)).collect(),
        cluster_id: Some(Uuid(image.cluster_id).to_string()),
        controller_id: topics::controller(broker, &image).0,
        topics,
        cluster_authorized_operations: authorized::of_cluster(request.include_cluster_authorized_operations, rights),
        ..MetadataResponse::default()
    }
}

fn is_by_id(asked: &MetadataRequestTopic) -> bool {
    asked.name.is_none() || TopicId::from(asked.topic_id) != TopicId::default()
}

/// The answer to every topic of a request which has one that it could not ask for in its version.
fn refuse_by_id(asked: MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.number(),
        name: Some(asked.name.unwrap_or_default()),
        topic_id: asked.topic_id,
        ..MetadataResponseTopic::default()
    }
}

/// `creates`: what is charged for topics that are created; none are without it.
async fn describe_asked(
    (broker, rights): (&Shared, &Rights),
    mut asked: Vec<MetadataRequestTopic>,
    creates: Option<&Meter>,
) -> Vec<MetadataResponseTopic> {
    let is_named = |topic: &MetadataRequestTopic| TopicId::from(topic.topic_id) == TopicId::default();
    // Who asks for ids is told of them alone, as by Apache Kafka.
    if !asked.iter().all(is_named) {
        asked.retain(|topic| !is_named(topic));
    }
    // Beside an id a name says nothing, so that it makes no other topic of it.
    let key = |topic: &MetadataRequestTopic| (topic.topic_id, topic.name.clone().filter(|_| is_named(topic)));
    in_steps(requests::once(asked, key).await)
        .map(|topic| describe_or_create((broker, rights), topic, creates))
        .buffered(CREATIONS_TOGETHER_MAX)
        .collect()
        .await
}

async fn describe_or_create(
    (broker, rights): (&Shared, &Rights),
    asked: MetadataRequestTopic,
    creates: Option<&Meter>,
) -> MetadataResponseTopic {
    let id = TopicId::from(asked.topic_id);
    let name = asked.name.unwrap_or_default();
    let mut image = broker.store.ledger().image();
    let mut found = topics::find_allowed(&image, (&name, id), rights, Operation::Describe).cloned();
    if matches!(found, Err(Failure::UnknownPartition)) && id == TopicId::default() {
        let created = create((broker, rights), &image, &name, creates).await;
        image = broker.store.ledger().image();
        found = created.and_then(|()| topics::find(&image, &name, id).cloned());
    }
    match found {
        Ok(topic) => describe(broker, &image, &topic),
        Err(failure) => MetadataResponseTopic {
            error_code: failure.code().number(),
            is_internal: topic_name::is_internal(&name) && !matches!(failure, Failure::NotAuthorized(_)),
            name: (id == TopicId::default()).then_some(name),
            topic_id: id.into(),
            ..MetadataResponseTopic::default()
        },
    }
}

/// Creates a topic on first use. This answer says that it is unknown, as Apache Kafka's does, and the client asks again; whoever asks
/// after this answer finds it. `Ok` where it is there already. A client that may create nothing now by its quota asks again as well.
async fn create(
    (broker, rights): (&Shared, &Rights),
    image: &Image,
    name: &str,
    creates: Option<&Meter>,
) -> Result<(), Failure> {
    topic_name::check(name).map_err(Failure::InvalidTopic)?;
    let Some(meter) = creates else { return Err(Failure::UnknownPartition) };
    if !broker.options.auto_create_topics || name == topic_name::METADATA {
        return Err(Failure::UnknownPartition);
    }
    if !rights.allow_cluster(Operation::Create) {
        rights.check(Operation::Create, Resource::Topic, name)?;
    }
    if topic_name::is_internal(name) {
        // Its maker knows how it has to be.
        return match OwnTopic::named(name) {
            Some(own) => own.ensure(broker).await.and(Err(Failure::UnknownPartition)),
            None => Err(Failure::UnknownPartition),
        };
    }
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: -1,
        replication_factor: -1,
        leaders: Vec::new(),
        configs: BTreeMap::new(),
    };
    let checked = topics::check(broker, image, &topic)?;
    if !meter.may_create(topics::count(checked.partitions)) {
        return Err(Failure::UnknownPartition);
    }
    match topics::create(broker, topic, &checked, CREATION_WAIT_MAX).await {
        Err(Failure::TopicExists(_)) => Ok(()),
        // Also where the ledger is slow: the client asks again and finds it then.
        Ok(()) | Err(Failure::TimedOut) => Err(Failure::UnknownPartition),
        Err(failure) => Err(failure),
    }
}

fn describe_broker(node_id: i32, advertised: &str) -> MetadataResponseBroker {
    let (host, port) = topics::endpoint(advertised);
    MetadataResponseBroker { node_id, host, port, ..MetadataResponseBroker::default() }
}

fn describe(broker: &Shared, image: &Image, topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        error_code: ErrorCode::None.number(),
        name: Some(topic.name.clone()),
        topic_id: topic.id.into(),
        is_internal: topic.internal,
        partitions: partitions.map(|(number, id)| describe_partition(broker, image, number, *id)).collect(),
        ..MetadataResponseTopic::default()
    }
}

fn describe_partition(broker: &Shared, image: &Image, number: usize, id: StreamId) -> MetadataResponsePartition {
    let mut partition = MetadataResponsePartition {
        partition_index: i32::try_from(number).unwrap_or(i32::MAX),
        leader_id: -1,
        leader_epoch: -1,
        ..MetadataResponsePartition::default()
    };
    let Some(stream) = image.streams.get(&id) else {
        partition.error_code = Failure::UnknownPartition.code().number();
        return partition;
    };
    let placement = topics::placement(image, stream);
    if placement.leader < 0 {
        let reason = broker.store.offline_reason(id).unwrap_or_default();
        partition.error_code = Failure::Offline(reason).code().number();
    }
    partition.leader_id = placement.leader;
    partition.leader_epoch = placement.leader_epoch;
    partition.replica_nodes = placement.replicas;
    partition.isr_nodes = placement.in_sync;
    partition.offline_replicas = placement.offline;
    partition
}
