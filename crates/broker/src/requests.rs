//! Checks that several requests share: what is named twice, how many partitions one may make, who is to lead them. Pure.
//!
//! Refusals are Kafka's words where it has some.

use crate::error::Failure;
use base::{NodeEpoch, NodeId};
use control_core::Node;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a request names more than once. Who reads the answer could not tell which question it belongs to.
pub(crate) fn doubled<K: Ord + Clone>(named: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    named.filter(|key| !seen.insert(key.clone())).collect()
}

/// What a request names, each once, at its first place: who asks for the same thing again gets no greater answer.
pub(crate) fn once<T, K: Ord>(named: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    merged(named, key, |_, _| ())
}

/// The same, where `join` adds to the first what else is asked of it.
pub(crate) fn merged<T, K: Ord>(named: Vec<T>, key: impl Fn(&T) -> K, join: impl Fn(&mut T, T)) -> Vec<T> {
    let mut merged: Vec<T> = Vec::new();
    let mut places = BTreeMap::new();
    for it in named {
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
    let refused = |why: String| Failure::InvalidAssignment(format!("The manual partition assignment includes {why}"));
    let mut leader = None;
    for id in broker_ids {
        let Some((node_epoch, _)) = living.get(&NodeId(*id)) else {
            return Err(refused(format!("broker {id}, but no such broker is registered.")));
        };
        leader.get_or_insert(*node_epoch);
    }
    let leader = leader.ok_or_else(|| refused("an empty replica list.".to_owned()))?;
    if let Some(id) = doubled(broker_ids.iter()).first() {
        return Err(refused(format!("the broker {id} more than once.")));
    }
    match broker_ids.len() {
        1 => Ok(leader),
        count => Err(refused(format!(
            "a partition with {count} replica(s): name one broker, the leader, as records are kept by object storage and not by \
             further brokers."
        ))),
    }
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

    #[test]
    fn what_is_named_twice_is_told_once() {
        assert_eq!(doubled(["a", "b", "a", "a"].into_iter()), BTreeSet::from(["a"]));
        assert_eq!(once(vec!["b", "a", "b", "c", "a"], |it| *it), ["b", "a", "c"]);
    }
}
