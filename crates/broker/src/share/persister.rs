//! A share-partition's state, wherever its coordinator is: what the leader of the partition reads when it begins, and writes of what it decides.
//!
//! What can pass is tried again for some seconds: a coordinator that moves, loads, or does not answer. So `COORDINATOR_…`,
//! `NOT_COORDINATOR` and `REQUEST_TIMED_OUT` as an outcome say that nobody knows whether it was done; a repeat of the same call is harmless.
//! The calls of one leader about one share-partition must follow one another: each when the one before has returned.

use super::questions::{Read, StateQuestion, Write};
use super::serve::{check_amount, serve};
use crate::Shared;
use crate::coordinator::SHARE_STATE;
use crate::error::Failure;
use crate::places::{Place, of_number};
use control_core::Image;
use coordinator_core::{ShareStateKey, StateRead, StateWrite};
use futures::future::join_all;
use protocol::error_code::ErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Before the second try, the third, and so on; there is none behind the last.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The leader of that epoch begins: earlier leaders' writes are fenced from then on, and its own come with the state epoch that it is told
/// (KIP-932, ReadShareGroupState).
///
/// # Errors
/// `INVALID_REQUEST` where the group has not initialised the share-partition, `FENCED_LEADER_EPOCH`, `UNKNOWN_TOPIC_OR_PARTITION`, and those above.
#[allow(dead_code, reason = "the leaders of share-partitions are not served yet")]
pub(crate) async fn read_state(broker: &Shared, key: ShareStateKey, leader_epoch: i32) -> Result<StateRead, Failure> {
    one(broker, Read { key, leader_epoch }).await
}

/// What the leader has decided is durable (WriteShareGroupState).
///
/// # Errors
/// `FENCED_STATE_EPOCH` where the group has begun anew, `FENCED_LEADER_EPOCH` where another one leads, `INVALID_REQUEST`,
/// `UNKNOWN_TOPIC_OR_PARTITION`, and those above. A leader that is fenced reads again, if it leads still.
#[allow(dead_code, reason = "the leaders of share-partitions are not served yet")]
pub(crate) async fn write_state(broker: &Shared, key: ShareStateKey, write: StateWrite) -> Result<(), Failure> {
    one(broker, Write { key, write }).await
}

#[allow(dead_code, reason = "as these")]
async fn one<Q: StateQuestion>(broker: &Shared, question: Q) -> Result<Q::Told, Failure> {
    let told = ask(broker, vec![question]).await.pop();
    told.unwrap_or_else(|| Err(Failure::Unexpected("a question without an answer".to_owned())))
}

/// Asks the coordinators of these share-partitions, each at its place.
pub(crate) async fn ask<Q: StateQuestion>(broker: &Shared, questions: Vec<Q>) -> Vec<Result<Q::Told, Failure>> {
    if let Err(failure) = check_amount(&questions) {
        return questions.iter().map(|_| Err(failure.clone())).collect();
    }
    if let Err(failure) = SHARE_STATE.ensure(broker).await {
        return questions.iter().map(|_| Err(failure.clone())).collect();
    }
    let mut told = ask_once(broker, questions.clone()).await;
    for pause in PAUSES {
        let may_pass = |(_, told): &(usize, &Result<Q::Told, Failure>)| told.as_ref().is_err_and(may_pass);
        let again: Vec<usize> = told.iter().enumerate().filter(may_pass).map(|(at, _)| at).collect();
        if again.is_empty() || *broker.stopping.borrow() {
            break;
        }
        broker.clock.sleep(pause).await;
        let answers = ask_once(broker, again.iter().map(|at| questions[*at].clone()).collect()).await;
        again.into_iter().zip(answers).for_each(|(at, answer)| told[at] = answer);
    }
    told
}

/// Whether asking again may help.
fn may_pass(failure: &Failure) -> bool {
    // The other codes are about what was asked.
    matches!(
        failure.code(),
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::RequestTimedOut
    )
}

async fn ask_once<Q: StateQuestion>(broker: &Shared, questions: Vec<Q>) -> Vec<Result<Q::Told, Failure>> {
    let image = broker.store.ledger().image();
    let mut by_place: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (at, question) in questions.iter().enumerate() {
        by_place.entry(place_of(broker, &image, question.key())).or_default().push(at);
    }
    let all = &questions;
    let asked = by_place.into_iter().map(async |(place, places)| {
        let these = places.iter().map(|at| all[*at].clone());
        let told = match place {
            Place::Here => serve(broker, these.collect()).await,
            Place::At(address) => join_all(these.map(|question| ask_at(broker, &address, question))).await,
            Place::Nowhere | Place::Gone => these.map(|_| Err(nobody())).collect(),
        };
        places.into_iter().zip(told).collect::<Vec<_>>()
    });
    let asked: Vec<_> = join_all(asked).await;
    let mut told: Vec<_> = questions.iter().map(|_| Err(nobody())).collect();
    asked.into_iter().flatten().for_each(|(at, answer)| told[at] = answer);
    told
}

async fn ask_at<Q: StateQuestion>(broker: &Shared, address: &str, question: Q) -> Result<Q::Told, Failure> {
    Q::lanes(&broker.state_peers).ask(address, question).await.unwrap_or(Err(Failure::TimedOut))
}

fn nobody() -> Failure {
    Failure::CoordinatorUnavailable("the share coordinator's partition has no owner now".to_owned())
}

fn place_of(broker: &Shared, image: &Image, key: &ShareStateKey) -> Place {
    let Some(topic) = SHARE_STATE.find(image) else { return Place::Nowhere };
    let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let number = i32::try_from(key.state_partition(partitions)).unwrap_or(i32::MAX);
    of_number(broker, image, topic, number)
}
