//! ConsumerGroupHeartbeat (KIP-848): a member joins, is there, or leaves, and is told what it is to hold; answered when that is durable.

use crate::Shared;
use crate::checks::Steps;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::memory::COPIES;
use crate::rights::Rights;
use crate::{settings, uuid};
use base::TopicId;
use control_core::SettingsScope;
use coordinator_core::{ConsumerTimes, GroupError, HeartbeatAnswer, HeartbeatRequest, Partitions};
use protocol::api::{Operation, Resource};
use protocol::messages::consumer_group_heartbeat_request::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use protocol::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions as AssignedPartitions,
};
use tokio::sync::OwnedSemaphorePermit;

/// From this version on members draw their ids themselves (KIP-1082).
const OWN_ID_VERSION: i16 = 1;

/// What an assigned partition takes in an answer, as a value and as bytes, and what its topic does.
const PARTITION_BYTES: usize = COPIES * size_of::<i32>();
const TOPIC_BYTES: usize = COPIES * size_of::<AssignedPartitions>();

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
    client: (Option<String>, &Rights),
) -> (ConsumerGroupHeartbeatResponse, Option<OwnedSemaphorePermit>) {
    let names = Names {
        group: request.group_id.clone(),
        member: request.instance_id.is_none().then(|| request.member_id.clone()),
        assignor: request.server_assignor.clone().unwrap_or_default(),
    };
    match beat(broker, request, version, client).await {
        Ok(answer) => {
            let memory = broker.answer_memory.take_ahead(answer_bytes(&answer)).await;
            (told(answer).await, memory)
        }
        Err(failure) => {
            let response = ConsumerGroupHeartbeatResponse {
                error_code: failure.code().number(),
                error_message: words(broker, &failure, &names),
                ..ConsumerGroupHeartbeatResponse::default()
            };
            (response, None)
        }
    }
}

async fn beat(
    broker: &Shared,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
    (client_id, rights): (Option<String>, &Rights),
) -> Result<HeartbeatAnswer, Failure> {
    if !settings::serves_consumer_groups(&broker.options) {
        return Err(not_served());
    }
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    for name in request.subscribed_topic_names.iter().flatten() {
        rights.check(Operation::Describe, Resource::Topic, name)?;
    }
    let request = HeartbeatRequest {
        times: Some(times_of(broker, &request.group_id)),
        group: request.group_id,
        member_id: request.member_id,
        may_lack_member_id: version < OWN_ID_VERSION,
        unique: uuid::random(|| broker.clock.random()).to_string(),
        member_epoch: request.member_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        client_id: client_id.unwrap_or_default(),
        client_host: format!("/{}", rights.caller.peer.address.ip()),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        names: request.subscribed_topic_names,
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned: match request.topic_partitions {
            Some(topics) => Some(partitions_of(topics).await),
            None => None,
        },
    };
    let shard = broker.coordinators.shard(broker, &request.group).await?;
    // Who waits for room in the log is not gone meanwhile.
    shard.apply(broker, |groups, now, _| groups.consumer_is_there(now, &request));
    let decided = shard.run(broker, |groups, now, fx| {
        with_topics(broker, |topics| groups.consumer_heartbeat(now, topics, &request, fx))
    });
    Ok(decided.await??)
}

/// What a refusal may name.
struct Names {
    group: String,
    /// Of one that is known by its own id.
    member: Option<String>,
    assignor: String,
}

/// What is told beside the code: Kafka's words where clients may look at them.
fn words(broker: &Shared, failure: &Failure, Names { group, member, assignor }: &Names) -> Option<String> {
    match (failure, member) {
        (Failure::Group(GroupError::UnknownMember), Some(member)) => Some(not_a_member(member, group)),
        (other, _) => words_of(broker, other, (group, assignor)),
    }
}

/// In Kafka's words.
pub(super) fn not_a_member(member: &str, group: &str) -> String {
    format!("Member {member} is not a member of group {group}.")
}

fn words_of(broker: &Shared, failure: &Failure, (group, assignor): (&str, &str)) -> Option<String> {
    match failure {
        // Nothing is said of a protocol that is switched off.
        Failure::UnsupportedVersion(_) => None,
        Failure::Group(GroupError::NotFound) => Some(format!("Group {group} not found.")),
        Failure::Group(GroupError::NotConsumer) => Some(format!("Group {group} is not a consumer group.")),
        Failure::Group(GroupError::CannotUpgrade(reason)) => {
            Some(format!("Cannot upgrade classic group {group} to consumer group because {reason}"))
        }
        Failure::Group(GroupError::UnsupportedAssignor) => {
            let known: Vec<&str> = broker.options.groups.consumer.assignors.iter().map(|it| it.name()).collect();
            let known = known.join(", ");
            Some(format!("ServerAssignor {assignor} is not supported. Supported assignors: {known}."))
        }
        other => Some(other.to_string()),
    }
}

/// The operator has switched the protocol off.
pub(super) fn not_served() -> Failure {
    Failure::UnsupportedVersion("The version of API is not supported.".to_owned())
}

/// The periods of a group, of its own or of all.
fn times_of(broker: &Shared, group: &str) -> ConsumerTimes {
    let image = broker.store.ledger().image();
    let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
    settings::consumer_times(&broker.live.at(&image), set.map(AsRef::as_ref))
}

/// Each partition once; topics without any are left out.
async fn partitions_of(topics: Vec<TopicPartitions>) -> Partitions {
    let (mut partitions, mut steps) = (Partitions::new(), Steps::default());
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let of_topic = partitions.entry(TopicId::from(topic.topic_id)).or_default();
        for partition in topic.partitions {
            steps.next().await;
            of_topic.insert(partition);
        }
    }
    partitions
}

fn answer_bytes(answer: &HeartbeatAnswer) -> usize {
    let topics = answer.assignment.iter().flat_map(Partitions::values);
    topics.map(|partitions| TOPIC_BYTES + partitions.len() * PARTITION_BYTES).sum()
}

async fn told(answer: HeartbeatAnswer) -> ConsumerGroupHeartbeatResponse {
    let assignment = match answer.assignment {
        None => None,
        Some(partitions) => {
            let (mut topics, mut steps) = (Vec::with_capacity(partitions.len()), Steps::default());
            for (topic, partitions) in partitions {
                steps.next().await;
                let partitions = partitions.into_iter().collect();
                topics.push(AssignedPartitions { topic_id: topic.into(), partitions });
            }
            Some(Assignment { topic_partitions: topics })
        }
    };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(answer.member_id),
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: answer.heartbeat_interval_ms,
        assignment,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
