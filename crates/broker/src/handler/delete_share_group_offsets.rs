//! DeleteShareGroupOffsets (KIP-932): a share group without members forgets how far it has come in topics.

use super::share_group_heartbeat::words;
use crate::Shared;
use crate::coordinator::with_topics;
use crate::error::Failure;
use crate::rights::Rights;
use crate::share;
use base::TopicId;
use coordinator_core::DeletionRefused;
use protocol::api::{Operation, Resource};
use protocol::error_code::ErrorCode;
use protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequest;
use protocol::messages::delete_share_group_offsets_response::{
    DeleteShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponseTopic,
};
use std::collections::BTreeMap;

pub(crate) async fn handle(
    broker: &Shared,
    request: DeleteShareGroupOffsetsRequest,
    rights: &Rights,
) -> DeleteShareGroupOffsetsResponse {
    if let Err(failure) = rights.check(Operation::Delete, Resource::Group, &request.group_id) {
        return refuse(&failure, failure.to_string());
    }
    let names = request.topics.into_iter().map(|topic| topic.topic_name);
    let (names, denied): (Vec<String>, Vec<String>) =
        names.partition(|name| rights.allow(Operation::Read, Resource::Topic, name));
    match delete(broker, &request.group_id, &names).await {
        Ok(done) => {
            let failure = Failure::NotAuthorized(Resource::Topic);
            let denied = denied.into_iter().map(|topic_name| DeleteShareGroupOffsetsResponseTopic {
                topic_name,
                error_code: failure.code().number(),
                error_message: Some(failure.to_string()),
                ..DeleteShareGroupOffsetsResponseTopic::default()
            });
            let responses = denied.chain(done).collect();
            DeleteShareGroupOffsetsResponse { responses, ..DeleteShareGroupOffsetsResponse::default() }
        }
        Err(failure) => refuse(&failure, words(broker, &failure, &request.group_id)),
    }
}

fn refuse(failure: &Failure, words: String) -> DeleteShareGroupOffsetsResponse {
    DeleteShareGroupOffsetsResponse {
        error_code: failure.code().number(),
        error_message: Some(words),
        ..DeleteShareGroupOffsetsResponse::default()
    }
}

async fn delete(
    broker: &Shared,
    group: &str,
    names: &[String],
) -> Result<Vec<DeleteShareGroupOffsetsResponseTopic>, Failure> {
    let shard = broker.coordinators.shard(broker, group).await?;
    let begun = shard.run_proved(broker, |groups, _, fx| {
        with_topics(broker, |topics| groups.begin_deleting_share_offsets(group, names, topics, fx))
    });
    let begun = begun.await??;
    let refused = begun.refused.into_iter().map(|(topic_name, refused)| DeleteShareGroupOffsetsResponseTopic {
        topic_name,
        error_code: ErrorCode::UnknownTopicOrPartition.number(),
        error_message: Some(match refused {
            DeletionRefused::UnknownTopic => Failure::UnknownPartition.to_string(),
            DeletionRefused::NothingThere => "There is no offset information to delete.".to_owned(),
        }),
        ..DeleteShareGroupOffsetsResponseTopic::default()
    });
    let mut responses: Vec<_> = refused.collect();
    let Some(deletion) = begun.deletion else { return Ok(responses) };
    let image = broker.store.ledger().image();
    let told = share::delete(broker, &shard, &deletion).await;
    // What has no outcome is in use again.
    let in_use = Failure::CoordinatorUnavailable("the group has begun with the topic anew".to_owned());
    let mut outcomes: BTreeMap<TopicId, Result<(), Failure>> =
        deletion.partitions.keys().map(|topic| (*topic, Err(in_use.clone()))).collect();
    for topic in deletion.partitions.keys() {
        let all = told.range((*topic, i32::MIN)..=(*topic, i32::MAX)).map(|(_, outcome)| outcome.clone());
        let all: Vec<_> = all.collect();
        if !all.is_empty() {
            outcomes.insert(*topic, all.into_iter().collect());
        }
    }
    let done: Vec<TopicId> = outcomes.iter().filter(|(_, it)| it.is_ok()).map(|(topic, _)| *topic).collect();
    if !done.is_empty() {
        shard.run(broker, |groups, _, fx| groups.share_deleted(group, done, fx)).await?;
    }
    responses.extend(outcomes.into_iter().map(|(topic, outcome)| {
        let failure = outcome.err();
        DeleteShareGroupOffsetsResponseTopic {
            topic_name: image.topics.get(&topic).map(|topic| topic.name.clone()).unwrap_or_default(),
            topic_id: topic.into(),
            error_code: failure.as_ref().map_or(ErrorCode::None, Failure::code).number(),
            error_message: failure.map(|failure| failure.to_string()),
        }
    }));
    Ok(responses)
}
