//! What a group's coordinator has decided reaches the share coordinator, and what became of that comes back into the core.

use super::persister::ask;
use super::questions::{Delete, Initialize, StateQuestion, place};
use super::turns::Turn;
use crate::Shared;
use crate::coordinator::Shard;
use crate::error::Failure;
use base::{Offset, TopicId};
use coordinator_core::{Groups, Partitions, ShareStateKey, StateDeletion, StateInitialization};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What became of each share-partition of a group.
pub(crate) type Outcomes = BTreeMap<(TopicId, i32), Result<(), Failure>>;

/// Initialisations of one shard under way at the most; others wait.
const UNDER_WAY_MAX: usize = 256;

/// Initialises what heartbeats have found that is to be, until the shard is lost or the broker stops.
pub(crate) async fn run(broker: Arc<Shared>, shard: Arc<Shard<Groups>>) {
    let mut stopping = broker.stopping.subscribe();
    let mut asking = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            Some(()) = asking.next(), if !asking.is_empty() => continue,
            () = shard.leaves(), if asking.len() < UNDER_WAY_MAX => {}
        }
        if shard.is_lost() {
            return;
        }
        for (after, wanted) in shard.take_initializations() {
            asking.push(when_confirmed(&broker, &shard, after, wanted));
        }
    }
}

async fn when_confirmed(broker: &Shared, shard: &Shard<Groups>, after: Offset, wanted: StateInitialization) {
    while shard.confirmed(broker, after, broker.clock.now().plus(broker.options.group_wait_max)).await.is_err() {
        if shard.is_lost() || *broker.stopping.borrow() {
            return;
        }
    }
    let group = wanted.group.clone();
    match initialize(broker, shard, wanted).await {
        Ok(outcomes) => {
            if let Some(failure) = outcomes.into_values().find_map(Result::err) {
                tracing::debug!(group, "initialise share-partitions: {failure}; the next heartbeat asks again");
            }
        }
        Err(failure) => tracing::debug!(group, "initialise share-partitions: {failure}"),
    }
}

/// Has the share coordinator begin with share-partitions, as was decided and is confirmed; what becomes of each, once the group's
/// coordinator's own word about that is durable. What is no longer wanted has no outcome.
///
/// # Errors
/// The outcome could not be stored, or this is not the coordinator any more.
pub(crate) async fn initialize(
    broker: &Shared,
    shard: &Shard<Groups>,
    wanted: StateInitialization,
) -> Result<Outcomes, Failure> {
    let mut turn = broker.share_turns.of(&wanted.group, shard.leader_epoch()).await;
    let outcomes = initialize_in_turn(broker, shard, &wanted, &mut turn).await;
    broker.share_turns.end(&wanted.group, turn);
    outcomes
}

async fn initialize_in_turn(
    broker: &Shared,
    shard: &Shard<Groups>,
    wanted: &StateInitialization,
    turn: &mut Turn,
) -> Result<Outcomes, Failure> {
    // What was decided since may have taken it back.
    let asked = shard.look(|groups| groups.share_awaits(wanted));
    let of_group: Arc<str> = wanted.group.as_str().into();
    let questions = asked.into_iter().map(|(topic, partition, start_offset)| Initialize {
        key: ShareStateKey { group: of_group.clone(), topic, partition },
        state_epoch: wanted.state_epoch,
        start_offset,
    });
    let questions: Vec<Initialize> = questions.collect();
    let outcomes = match settle(broker, shard, &mut turn.deletions).await {
        Ok(()) => told(broker, questions, &mut turn.initializations).await,
        Err(failure) => questions.iter().map(|it| (place(&it.key), Err(failure.clone()))).collect(),
    };
    let (mut done, mut failed) = (Partitions::new(), Partitions::new());
    for ((topic, partition), outcome) in &outcomes {
        let of = if outcome.is_ok() { &mut done } else { &mut failed };
        of.entry(*topic).or_default().insert(*partition);
    }
    let StateInitialization { group, state_epoch, .. } = wanted;
    let stored = shard.run(broker, |groups, _, fx| {
        groups.share_initialized(group, *state_epoch, &done, fx);
        groups.share_not_initialized(group, *state_epoch, &failed, fx);
    });
    stored.await.map(|()| outcomes)
}

/// Has the share coordinator forget share-partitions, as was decided and is confirmed. What is in use again has no outcome. The other half
/// of the deletion is the caller's.
pub(crate) async fn delete(broker: &Shared, shard: &Shard<Groups>, wanted: &StateDeletion) -> Outcomes {
    let mut turn = broker.share_turns.of(&wanted.group, shard.leader_epoch()).await;
    let of_group: Arc<str> = wanted.group.as_str().into();
    let key = |(topic, partition)| ShareStateKey { group: of_group.clone(), topic, partition };
    let still = shard.look(|groups| groups.share_deletes(wanted));
    let each = still.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)));
    let questions: Vec<Delete> = each.map(|place| Delete { key: key(place) }).collect();
    let outcomes = match settle(broker, shard, &mut turn.initializations).await {
        Ok(()) => told(broker, questions, &mut turn.deletions).await,
        Err(failure) => questions.iter().map(|it| (place(&it.key), Err(failure.clone()))).collect(),
    };
    broker.share_turns.end(&wanted.group, turn);
    outcomes
}

/// Asks, and remembers what has no answer.
async fn told<Q: StateQuestion<Told = ()>>(broker: &Shared, questions: Vec<Q>, unanswered: &mut Vec<Q>) -> Outcomes {
    let keys: BTreeSet<&ShareStateKey> = questions.iter().map(StateQuestion::key).collect();
    unanswered.retain(|before| !keys.contains(before.key()));
    // From now on: whoever waits for this may go away meanwhile, and it stays on its way.
    unanswered.extend(questions.iter().cloned());
    let places: Vec<_> = questions.iter().map(|question| place(question.key())).collect();
    let outcomes: Outcomes = places.into_iter().zip(ask(broker, questions).await).collect();
    unanswered.retain(|asked| {
        let outcome = outcomes.get(&place(asked.key()));
        outcome.is_none_or(|outcome| matches!(outcome, Err(Failure::TimedOut)))
    });
    outcomes
}

/// Has questions answered that had no answer before.
async fn settle<Q: StateQuestion<Told = ()>>(
    broker: &Shared,
    shard: &Shard<Groups>,
    unanswered: &mut Vec<Q>,
) -> Result<(), Failure> {
    if shard.is_lost() {
        return Err(Failure::NotCoordinator);
    }
    if !unanswered.is_empty() {
        told(broker, unanswered.clone(), unanswered).await;
    }
    if unanswered.is_empty() {
        return Ok(());
    }
    Err(Failure::CoordinatorUnavailable("the share coordinator has not answered what it was asked before".to_owned()))
}
