//! DeleteTopics: by name and, from version 6 on, by name or id.

use crate::answer_bounds::Reasons;
use crate::checks::{Steps, in_steps};
use crate::error::Failure;
use crate::quota::{Meter, Strictness};
use crate::requests::{self, Named};
use crate::rights::Rights;
use crate::{Shared, topics};
use base::TopicId;
use control_core::{Image, Topic};
use futures::stream::StreamExt;
use protocol::api::{Operation, Resource};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use std::collections::BTreeSet;
use std::time::Duration;

/// From this version on topics are states with a name or an id, before that plain names.
const STATES_VERSION: i16 = 6;

/// From this version on clients understand that a quota refuses a deletion (KIP-599).
const STRICT_QUOTA_VERSION: i16 = 5;

pub(crate) async fn handle(
    broker: &Shared,
    request: DeleteTopicsRequest,
    version: i16,
    (rights, meter): (&Rights, &Meter),
) -> DeleteTopicsResponse {
    let strictness = Strictness::of(version, STRICT_QUOTA_VERSION);
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let asked = if version >= STATES_VERSION {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() };
        request.topic_names.into_iter().map(by_name).collect()
    };
    if !broker.options.delete_topics {
        return disabled(asked, version).await;
    }
    let until = broker.clock.now().plus(limit);
    let image = &broker.store.ledger().image();
    let named = requests::named(asked.iter().map(key).collect()).await;
    let checked = &requests::check_names(&named);
    let named_twice = &if checked.is_ok() { doubled_topics(image, &asked).await } else { BTreeSet::new() };
    let mut reasons = Reasons::default();
    // What the request has twice is not touched and gets one answer, as Kafka's does.
    let asked = in_steps(asked.into_iter().zip(named).filter(|(_, named)| *named != Named::Again));
    let responses = asked
        .enumerate()
        .map(async |(place, (state, named))| match find(image, &state, (checked, named), named_twice) {
            Ok(topic) if !may_delete(rights, &topic.name) => {
                // Of one that is named by its id the name is told to whoever may know it.
                let is_known = state.name.is_some() || rights.allow(Operation::Describe, Resource::Topic, &topic.name);
                let id = if state.name.is_some() { state.topic_id } else { topic.id.into() };
                (is_known.then(|| topic.name.clone()), id, Err(Failure::NotAuthorized(Resource::Topic)))
            }
            Ok(topic) => {
                let charged = meter.charge_mutation(topic.partitions.len(), strictness);
                let outcome = match charged.and_then(|()| requests::time_left(broker, until, place)) {
                    Ok(left) => topics::delete(broker, topic.id, left).await,
                    Err(failure) => Err(failure),
                };
                (state.name.or_else(|| Some(topic.name.clone())), topic.id.into(), outcome)
            }
            Err(failure) => {
                let failure = hidden(rights, state.name.as_deref(), failure);
                (state.name, state.topic_id, Err(failure))
            }
        })
        .buffered(requests::CHANGES_TOGETHER_MAX)
        .map(|(name, topic_id, outcome)| {
            let (error_code, error_message) = reasons.of(&outcome);
            DeletableTopicResult { name, topic_id, error_code, error_message }
        });
    DeleteTopicsResponse { responses: responses.collect().await, ..DeleteTopicsResponse::default() }
}

fn may_delete(rights: &Rights, name: &str) -> bool {
    rights.allow_cluster(Operation::Delete) || rights.allow(Operation::Delete, Resource::Topic, name)
}

/// Who may not know of a topic is not told that it is not there.
fn hidden(rights: &Rights, name: Option<&str>, failure: Failure) -> Failure {
    let tells = matches!(failure, Failure::UnknownPartition | Failure::UnknownTopic(_));
    let may_know = |name: &str| {
        rights.allow_cluster(Operation::Delete) || rights.allow(Operation::Describe, Resource::Topic, name)
    };
    if tells && name.is_some_and(|name| !may_know(name)) { Failure::NotAuthorized(Resource::Topic) } else { failure }
}

/// Older clients don't know the code that says so.
async fn disabled(asked: Vec<DeleteTopicState>, version: i16) -> DeleteTopicsResponse {
    let failure = match version {
        0..=2 => Failure::InvalidRequest("delete.topic.enable is false".to_owned()),
        _ => Failure::DeletionDisabled,
    };
    let mut reasons = Reasons::default();
    let refused = |state: DeleteTopicState| DeletableTopicResult {
        name: state.name,
        topic_id: state.topic_id,
        error_code: failure.code().number(),
        error_message: reasons.tell(&failure),
    };
    let responses = in_steps(asked).map(refused).collect().await;
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

fn key(state: &DeleteTopicState) -> (Option<&str>, TopicId) {
    (state.name.as_deref(), TopicId::from(state.topic_id))
}

/// Topics that the request has both by name and by id.
async fn doubled_topics(image: &Image, asked: &[DeleteTopicState]) -> BTreeSet<TopicId> {
    let (mut distinct, mut steps) = (BTreeSet::new(), Steps::default());
    for state in asked {
        steps.next().await;
        distinct.insert((resolve(image, state), state.name.is_some()));
    }
    requests::doubled(distinct.into_iter().filter_map(|(id, _)| id))
}

/// The topic that is meant, where there is one.
fn resolve(image: &Image, state: &DeleteTopicState) -> Option<TopicId> {
    let name = state.name.as_deref().unwrap_or_default();
    topics::find(image, name, TopicId::from(state.topic_id)).ok().map(|topic| topic.id)
}

/// The topic that is to go.
fn find<'a>(
    image: &'a Image,
    state: &DeleteTopicState,
    (checked, named): (&Result<(), Failure>, Named),
    named_twice: &BTreeSet<TopicId>,
) -> Result<&'a Topic, Failure> {
    checked.clone()?;
    let id = TopicId::from(state.topic_id);
    let refuse = |why: &str| Err(Failure::InvalidRequest(why.to_owned()));
    match (&state.name, id != TopicId::default()) {
        (Some(_), true) => refuse("You may not specify both topic name and topic id."),
        (None, false) => refuse("Neither topic name nor id were specified."),
        (Some(_), _) if named == Named::First => refuse("Duplicate topic name."),
        (None, _) if named == Named::First => refuse("Duplicate topic id."),
        (name, _) => {
            let topic = topics::find(image, name.as_deref().unwrap_or_default(), id)?;
            if named_twice.contains(&topic.id) {
                return refuse("The provided topic name maps to an ID that was already supplied.");
            }
            Ok(topic)
        }
    }
}
