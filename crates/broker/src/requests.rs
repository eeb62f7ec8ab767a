//! Checks that several requests share: what is named twice, how many names one may have and partitions it may make, who is to lead them.
//!
//! Refusals are Kafka's words where it has some.

use crate::Shared;
use crate::checks::Steps;
use crate::error::Failure;
use base::{Micros, NodeEpoch, NodeId};
use control_core::Node;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a request names more than once. Who reads the answer could not tell which question it belongs to.
pub(crate) fn doubled<K: Ord + Clone>(named: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    named.filter(|key| !seen.insert(key.clone())).collect()
}

/// Names of topics, or resources, in one request of an administrator at the most. Kafka's controller makes so many records of one request.
pub(crate) const NAMES_MAX: usize = 10_000;

/// Changes of one request that are asked of the ledger at the same time: it puts so many into one entry.
pub(crate) const CHANGES_TOGETHER_MAX: usize = control_core::ANSWERED_MAX;

/// How often a request names the thing at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Once,
    /// The first of several times.
    First,
    /// It has been named before.
    Again,
}

/// The same of each place, in their order. Others have their turns meanwhile.
pub(crate) async fn named<K: Ord + Send>(keys: Vec<K>) -> Vec<Named> {
    let (mut places, mut named, mut steps) = (BTreeMap::new(), Vec::new(), Steps::default());
    for key in keys {
        steps.next().await;
        let it = match places.entry(key) {
            Entry::Occupied(first) => {
                named[*first.get()] = Named::First;
                Named::Again
            }
            Entry::Vacant(free) => {
                free.insert(named.len());
                Named::Once
            }
        };
        named.push(it);
    }
    named
}

/// These names, each once, at its first place; with turns for others.
pub(crate) async fn once_each(names: Vec<String>) -> Vec<String> {
    let named = named(names.iter().collect()).await;
    names.into_iter().zip(named).filter(|(_, named)| *named != Named::Again).map(|(name, _)| name).collect()
}

/// Nothing is done of a request that names too much.
pub(crate) fn check_names(named: &[Named]) -> Result<(), Failure> {
    let different = named.iter().filter(|it| **it != Named::Again).count();
    if different > NAMES_MAX { Err(Failure::TooManyNames { most: NAMES_MAX }) } else { Ok(()) }
}

/// How long the change at this place of a request may take, of a time that all of it has. Where that is over already it is not begun, so
/// that nothing is done of which the client was told that it was not; but the first ones are begun whatever the client's timeout, as in
/// Kafka.
pub(crate) fn time_left(broker: &Shared, until: Micros, place: usize) -> Result<Duration, Failure> {
    let left = until.since(broker.clock.now());
    if left.is_zero() && place >= CHANGES_TOGETHER_MAX { Err(Failure::TimedOut) } else { Ok(left) }
}

/// What a request names, each once, at its first place: who asks for the same thing again gets no greater answer. With turns for others.
pub(crate) async fn once<T: Send, K: Ord + Send>(named: Vec<T>, key: impl Fn(&T) -> K + Send) -> Vec<T> {
    merged(named, key, |_, _| ()).await
}

/// The same, where `join` adds to the first what else is asked of it.
pub(crate) async fn merged<T: Send, K: Ord + Send>(
    named: Vec<T>,
    key: impl Fn(&T) -> K + Send,
    join: impl Fn(&mut T, T) + Send,
) -> Vec<T> {
    let mut merged: Vec<T> = Vec::new();
    let (mut places, mut steps) = (BTreeMap::new(), Steps::default());
    for it in named {
        steps.next().await;
        match places.entry(key(&it)) {
            Entry::Occupied(place) => join(&mut merged[*place.get()], it),
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(it);
            }
        }
    }
    merged
}

/// A request of a few bytes can ask for any number of partitions, each of which takes memory for good: nothing is done of one that
/// asks for more than `most` in all.
pub(crate) fn check_partitions(asked: impl Iterator<Item = i64>, most: i32) -> Result<(), Failure> {
    let all = asked.map(|count| count.max(0)).fold(0, i64::saturating_add);
    if all > i64::from(most) { Err(Failure::TooManyPartitions { most }) } else { Ok(()) }
}

/// Who leads a partition that is assigned by hand to these brokers. A longer list is refused: its further brokers would be
/// forgotten, as a partition has one place and no copies.
pub(crate) fn assigned_leader(
    living: &BTreeMap<NodeId, (NodeEpoch, &Arc<Node>)>,
    broker_ids: &[i32],
) -> Result<NodeEpoch, Failure> {
    let leader = check_assignment(living, broker_ids)?;
    match broker_ids.len() {
        1 => Ok(leader),
        count => Err(refused_assignment(&format!(
            "a partition with {count} replica(s): name one broker, the leader, as records are kept by object storage and not by \
             further brokers."
        ))),
    }
}

/// The first of some brokers, all different, that are there.
pub(crate) fn check_assignment(
    living: &BTreeMap<NodeId, (NodeEpoch, &Arc<Node>)>,
    broker_ids: &[i32],
) -> Result<NodeEpoch, Failure> {
    let mut leader = None;
    for id in broker_ids {
        let Some((node_epoch, _)) = living.get(&NodeId(*id)) else {
            return Err(refused_assignment(&format!("broker {id}, but no such broker is registered.")));
        };
        leader.get_or_insert(*node_epoch);
    }
    if let Some(id) = doubled(broker_ids.iter()).first() {
        return Err(refused_assignment(&format!("the broker {id} more than once.")));
    }
    leader.ok_or_else(|| refused_assignment("an empty replica list."))
}

fn refused_assignment(why: &str) -> Failure {
    Failure::InvalidAssignment(format!("The manual partition assignment includes {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_core::NodeState;

    #[test]
    fn one_living_broker_leads() {
        let node = |node_id: i32| {
            Arc::new(Node {
                node_id: NodeId(node_id),
                state: NodeState::Alive,
                advertised: String::new(),
                incarnation: 0,
                min_counter: 0,
                answered: Default::default(),
            })
        };
        let (one, two) = (node(1), node(2));
        let living = BTreeMap::from([(NodeId(1), (NodeEpoch(4), &one)), (NodeId(2), (NodeEpoch(5), &two))]);
        assert_eq!(assigned_leader(&living, &[2]).unwrap(), NodeEpoch(5));
        let cases: [(&[i32], &str); 4] = [
            (&[], "an empty replica list."),
            (&[3], "broker 3, but no such broker is registered."),
            (&[1, 1], "the broker 1 more than once."),
            (&[1, 2], "a partition with 2 replica(s): name one broker"),
        ];
        for (assigned, why) in cases {
            let refused = assigned_leader(&living, assigned).unwrap_err();
            assert!(refused.to_string().starts_with(&format!("The manual partition assignment includes {why}")));
        }
    }

    #[test]
    fn partitions_are_counted_over_the_whole_request() {
        assert!(check_partitions([4, 6].into_iter(), 10).is_ok());
        assert!(check_partitions([4, -1, 7].into_iter(), 10).is_err());
        assert!(check_partitions([11].into_iter(), 10).is_err());
        assert!(check_partitions([i64::MAX, i64::MAX].into_iter(), 10).is_err());
    }

    #[tokio::test]
    async fn names_are_counted_once_however_often_they_stand_there() {
        assert_eq!(named(vec![1, 2, 1, 1]).await, [Named::First, Named::Once, Named::Again, Named::Again]);
        let all = (0..NAMES_MAX).chain([0, 1]);
        assert!(check_names(&named(all.clone().collect()).await).is_ok());
        let refused = check_names(&named(all.chain([NAMES_MAX]).collect()).await).unwrap_err();
        assert_eq!(refused.code(), protocol::error_code::ErrorCode::PolicyViolation);
    }

    #[tokio::test]
    async fn what_is_named_twice_is_told_once() {
        assert_eq!(doubled(["a", "b", "a", "a"].into_iter()), BTreeSet::from(["a"]));
        assert_eq!(once(vec!["b", "a", "b", "c", "a"], |it| *it).await, ["b", "a", "c"]);
    }
}
