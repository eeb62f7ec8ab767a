//! What a share coordinator tells of the share-partitions that are its own.

use super::questions::{StateQuestion, place};
use crate::Shared;
use crate::checks::Steps;
use crate::coordinator::{Coordinators, Core, with_topics};
use crate::error::Failure;
use crate::memory::COPIES;
use crate::rights::Rights;
use base::StreamId;
use coordinator_core::{ShareStateError, ShareStates};
use futures::stream::{self, StreamExt};
use protocol::api::Operation;
use protocol::wire::Request;
use std::collections::BTreeMap;
use tokio::sync::OwnedSemaphorePermit;

/// Share-partitions of one request at the most, and how long the texts that name all of them may be: where each is kept is found by its text.
const QUESTIONS_MAX: usize = 100_000;
const NAMES_BYTES_MAX: usize = 64 << 20;

/// Partitions of the topic that one request works on at the same time.
const PARTITIONS_TOGETHER_MAX: usize = 64;

/// Share-partitions that are decided about in one go, while nobody else gets at their partition.
const TOGETHER_MAX: usize = 64;

/// What a refusal takes in an answer, about; few have words.
const REFUSED_BYTES: usize = 64;

/// Answers another broker's request. Where all of it is refused the memory for that is got ahead.
pub(crate) async fn answer<Q: StateQuestion>(
    broker: &Shared,
    request: Q::Asks,
    rights: &Rights,
) -> (<Q::Asks as Request>::Response, Option<OwnedSemaphorePermit>) {
    let questions = Q::asked(request);
    // As Kafka has it.
    let is_allowed = rights.allow_cluster(Operation::ClusterAction);
    if questions.first().is_none_or(|first| is_allowed && first.key().group.is_empty()) {
        return Default::default();
    }
    let places: Vec<_> = questions.iter().map(|question| place(question.key())).collect();
    let checked = rights.check_cluster(Operation::ClusterAction).and_then(|()| check_amount(&questions));
    if let Err(failure) = checked {
        let memory = broker.answer_memory.take_ahead(COPIES * places.len() * REFUSED_BYTES).await;
        return (Q::answer(places.into_iter().zip(std::iter::repeat(Err(failure)))).await, memory);
    }
    let told = serve(broker, questions).await;
    (Q::answer(places.into_iter().zip(told)).await, None)
}

/// What becomes of each at its place, once that is durable and proved to be this broker's to tell. They are not too many.
pub(crate) async fn serve<Q: StateQuestion>(broker: &Shared, questions: Vec<Q>) -> Vec<Result<Q::Told, Failure>> {
    know_topics(broker, &questions).await;
    let image = broker.store.ledger().image();
    let (mut by_partition, mut steps) = (BTreeMap::<Option<StreamId>, Vec<usize>>::new(), Steps::default());
    for (at, question) in questions.iter().enumerate() {
        steps.next().await;
        let id = ShareStates::TOPIC.stream_of(&image, &question.key().to_string());
        by_partition.entry(id).or_default().push(at);
    }
    let all = &questions;
    let served = stream::iter(by_partition).map(async |(id, places)| {
        let told = of_partition(broker, id, all, &places).await;
        places.into_iter().zip(told).collect::<Vec<_>>()
    });
    let served: Vec<_> = served.buffer_unordered(PARTITIONS_TOGETHER_MAX).collect().await;
    let mut told: Vec<_> = questions.iter().map(|_| Err(Failure::NotCoordinator)).collect();
    served.into_iter().flatten().for_each(|(at, answer)| told[at] = answer);
    told
}

pub(super) fn check_amount<Q: StateQuestion>(questions: &[Q]) -> Result<(), Failure> {
    let names_bytes = questions.iter().map(|question| question.key().group.len()).sum::<usize>();
    let are_too_many = questions.len() > QUESTIONS_MAX || names_bytes > NAMES_BYTES_MAX;
    if are_too_many { Err(Failure::too_much_for_one_answer()) } else { Ok(()) }
}

async fn of_partition<Q: StateQuestion>(
    broker: &Shared,
    id: Option<StreamId>,
    questions: &[Q],
    places: &[usize],
) -> Vec<Result<Q::Told, Failure>> {
    let coordinators: &Coordinators<ShareStates> = &broker.share_states;
    let shard = match id {
        Some(id) => coordinators.shard_at(broker, id).await,
        None => Err(Failure::NotCoordinator),
    };
    let shard = match shard {
        Ok(shard) => shard,
        Err(failure) => return places.iter().map(|_| Err(failure.clone())).collect(),
    };
    let mut told = Vec::with_capacity(places.len());
    for some in places.chunks(TOGETHER_MAX) {
        let decided = shard.run_proved(broker, |states, now, fx| {
            with_topics(broker, |topics| -> Vec<Result<Q::Told, ShareStateError>> {
                some.iter().map(|at| questions[*at].decide(now.wall, topics, states, fx)).collect()
            })
        });
        match decided.await {
            Ok(decided) => told.extend(decided.into_iter().map(|it| it.map_err(Failure::from))),
            Err(failure) => told.extend(some.iter().map(|_| Err(failure.clone()))),
        }
    }
    told
}

/// Whoever asks may have heard of a topic, or of new partitions, before this broker has.
async fn know_topics<Q: StateQuestion>(broker: &Shared, questions: &[Q]) {
    let image = broker.store.ledger().image();
    let is_known = |question: &Q| {
        let key = question.key();
        let count = image.topics.get(&key.topic).map_or(0, |topic| topic.partitions.len());
        usize::try_from(key.partition).is_ok_and(|partition| partition < count)
    };
    if !questions.iter().all(is_known) {
        // Where that fails the image as it is has the answer.
        let _refreshed = broker.store.ledger().refresh().await.is_ok();
    }
}
