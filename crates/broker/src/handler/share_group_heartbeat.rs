//! ShareGroupHeartbeat (KIP-932): a member joins, is there, or leaves, and is told what it may fetch from; answered when that is durable.

use crate::checks::Steps;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::handler::consumer_group_heartbeat::not_a_member;
use crate::memory::COPIES;
use crate::rights::Rights;
use crate::{Shared, settings};
use control_core::SettingsScope;
use coordinator_core::{GroupError, Partitions, ShareConfigs, ShareHeartbeatAnswer, ShareHeartbeatRequest};
use protocol::api::{Operation, Resource};
use protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use protocol::messages::share_group_heartbeat_response::{Assignment, ShareGroupHeartbeatResponse, TopicPartitions};
use tokio::sync::OwnedSemaphorePermit;

/// What an assigned partition takes in an answer, as a value and as bytes, and what its topic does.
const PARTITION_BYTES: usize = COPIES * size_of::<i32>();
const TOPIC_BYTES: usize = COPIES * size_of::<TopicPartitions>();

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: ShareGroupHeartbeatRequest,
    client: (Option<String>, &Rights),
) -> (ShareGroupHeartbeatResponse, Option<OwnedSemaphorePermit>) {
    let (group, member) = (request.group_id.clone(), request.member_id.clone());
    match beat(broker, request, client).await {
        Ok(answer) => {
            let memory = broker.answer_memory.take_ahead(answer_bytes(&answer)).await;
            (told(answer).await, memory)
        }
        Err(failure) => {
            let words = match &failure {
                Failure::Group(GroupError::UnknownMember) => not_a_member(&member, &group),
                other => words(broker, other, &group),
            };
            let response = ShareGroupHeartbeatResponse {
                error_code: failure.code().number(),
                error_message: Some(words),
                ..ShareGroupHeartbeatResponse::default()
            };
            (response, None)
        }
    }
}

async fn beat(
    broker: &Shared,
    request: ShareGroupHeartbeatRequest,
    (client_id, rights): (Option<String>, &Rights),
) -> Result<ShareHeartbeatAnswer, Failure> {
    rights.check(Operation::Read, Resource::Group, &request.group_id)?;
    for name in request.subscribed_topic_names.iter().flatten() {
        rights.check(Operation::Describe, Resource::Topic, name)?;
    }
    let configs = configs_of(broker, &request.group_id);
    let request = ShareHeartbeatRequest {
        group: request.group_id,
        member_id: request.member_id,
        member_epoch: request.member_epoch,
        rack_id: request.rack_id,
        client_id: client_id.unwrap_or_default(),
        client_host: format!("/{}", rights.caller.peer.address.ip()),
        names: request.subscribed_topic_names,
    };
    let shard = broker.coordinators.shard(broker, &request.group).await?;
    let decided = shard.run(broker, |groups, now, fx| {
        let mut answer = with_topics(broker, |topics| groups.share_heartbeat(now, topics, &configs, &request, fx))?;
        // The member does not wait for it: it hears of what is initialised with its next heartbeats.
        fx.initialize.extend(answer.initialize.take());
        Ok::<_, GroupError>(answer)
    });
    Ok(decided.await??)
}

/// The periods of a group, of its own or of all.
fn configs_of(broker: &Shared, group: &str) -> ShareConfigs {
    let image = broker.store.ledger().image();
    let set = image.settings.get(&SettingsScope::Group(group.to_owned()));
    ShareConfigs::of_times(settings::share_times(&broker.live.at(&image), set.map(AsRef::as_ref)))
}

/// What is told beside the code: Kafka's words where clients may look at them.
pub(super) fn words(broker: &Shared, failure: &Failure, group: &str) -> String {
    match failure {
        Failure::Group(GroupError::NotFound) => {
            let is_another = broker.coordinators.look(broker, group, |groups| groups.has_group(group));
            not_found(group, is_another.unwrap_or(false))
        }
        other => other.to_string(),
    }
}

/// In Kafka's words.
pub(super) fn not_found(group: &str, is_of_another_kind: bool) -> String {
    if is_of_another_kind {
        format!("Group {group} is not a share group.")
    } else {
        format!("Group {group} not found.")
    }
}

fn answer_bytes(answer: &ShareHeartbeatAnswer) -> usize {
    let topics = answer.assignment.iter().flat_map(Partitions::values);
    topics.map(|partitions| TOPIC_BYTES + partitions.len() * PARTITION_BYTES).sum()
}

async fn told(answer: ShareHeartbeatAnswer) -> ShareGroupHeartbeatResponse {
    let assignment = match answer.assignment {
        None => None,
        Some(partitions) => {
            let (mut topics, mut steps) = (Vec::with_capacity(partitions.len()), Steps::default());
            for (topic, partitions) in partitions {
                steps.next().await;
                let partitions = partitions.into_iter().collect();
                topics.push(TopicPartitions { topic_id: topic.into(), partitions });
            }
            Some(Assignment { topic_partitions: topics })
        }
    };
    ShareGroupHeartbeatResponse {
        member_id: Some(answer.member_id),
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: answer.heartbeat_interval_ms,
        assignment,
        ..ShareGroupHeartbeatResponse::default()
    }
}
