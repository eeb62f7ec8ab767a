//! DeleteTopics: by name and, from version 6 on, by name or id.

use crate::error::Failure;
use crate::{Shared, requests, topics};
use base::TopicId;
use control_core::Image;
use futures::future::join_all;
use protocol::error_code::ErrorCode;
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use std::collections::BTreeSet;
use std::time::Duration;

/// From this version on topics are states with a name or an id, before that plain names.
const STATES_VERSION: i16 = 6;

pub(crate) async fn handle(broker: &Shared, request: DeleteTopicsRequest, version: i16) -> DeleteTopicsResponse {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let asked = if version >= STATES_VERSION {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
        request.topic_names.into_iter().map(by_name).collect()
    };
    if !broker.options.delete_topics {
        return disabled(asked, version);
    }
    let image = broker.store.ledger().image();
    let doubled = requests::doubled(asked.iter().map(key));
    let named_twice = doubled_topics(&image, &asked);
    let mut answered = BTreeSet::new();
    let deletions = asked.into_iter().filter_map(|state| {
        let key = key(&state);
        let refused = if doubled.contains(&key) {
            Some(if state.name.is_some() { "Duplicate topic name." } else { "Duplicate topic id." })
        } else {
            let is_twice = resolve(&image, &state).is_some_and(|id| named_twice.contains(&id));
            is_twice.then_some("The provided topic name maps to an ID that was already supplied.")
        };
        // What the request has twice is not touched and gets one answer, as Kafka's does.
        answered.insert(key).then(|| delete(broker, &image, state, refused, limit))
    });
    let responses = join_all(deletions).await;
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

/// Older clients don't know the code that says so.
fn disabled(asked: Vec<DeleteTopicState>, version: i16) -> DeleteTopicsResponse {
    let failure = match version {
        0..=2 => Failure::InvalidRequest("delete.topic.enable is false".to_owned()),
        _ => Failure::DeletionDisabled,
    };
    let refused = |state: DeleteTopicState| DeletableTopicResult {
        name: state.name,
        topic_id: state.topic_id,
        error_code: failure.code().number(),
        error_message: Some(failure.to_string()),
    };
    DeleteTopicsResponse { responses: asked.into_iter().map(refused).collect(), ..DeleteTopicsResponse::default() }
}

fn key(state: &DeleteTopicState) -> (Option<String>, TopicId) {
    (state.name.clone(), TopicId::from(state.topic_id))
}

/// Topics that the request has both by name and by id.
fn doubled_topics(image: &Image, asked: &[DeleteTopicState]) -> BTreeSet<TopicId> {
    let distinct: BTreeSet<_> = asked.iter().map(|state| (resolve(image, state), state.name.is_some())).collect();
    requests::doubled(distinct.into_iter().filter_map(|(id, _)| id))
}

/// The topic that is meant, where there is one.
fn resolve(image: &Image, state: &DeleteTopicState) -> Option<TopicId> {
    let name = state.name.as_deref().unwrap_or_default();
    topics::find(image, name, TopicId::from(state.topic_id)).ok().map(|topic| topic.id)
}

async fn delete(
    broker: &Shared,
    image: &Image,
    state: DeleteTopicState,
    refused: Option<&str>,
    limit: Duration,
) -> DeletableTopicResult {
    let id = TopicId::from(state.topic_id);
    let refuse = |why: &str| Err(Failure::InvalidRequest(why.to_owned()));
    let found = match (&state.name, id != TopicId::default()) {
        (Some(_), true) => refuse("You may not specify both topic name and topic id."),
        (None, false) => refuse("Neither topic name nor id were specified."),
        (name, _) => match refused {
            Some(why) => refuse(why),
            None => topics::find(image, name.as_deref().unwrap_or_default(), id).cloned(),
        },
    };
    let outcome = match &found {
        Ok(topic) => topics::delete(broker, topic.id, limit).await,
        Err(failure) => Err(failure.clone()),
    };
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::None.number(), None),
        Err(failure) => (failure.code().number(), Some(failure.to_string())),
    };
    DeletableTopicResult {
        name: state.name.or_else(|| found.as_ref().ok().map(|topic| topic.name.clone())),
        topic_id: found.map_or(state.topic_id, |topic| topic.id.into()),
        error_code,
        error_message,
    }
}
