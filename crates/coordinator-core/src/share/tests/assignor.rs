//! The simple assignor: nothing without somebody, even, sticky.

use crate::Partitions;
use crate::share::group::assign;
use base::TopicId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Members = BTreeMap<String, BTreeSet<TopicId>>;

fn run(
    members: &Members,
    assignable: &Partitions,
    before: &BTreeMap<String, Partitions>,
) -> BTreeMap<String, Partitions> {
    let members = members.iter().map(|(id, topics)| (id.as_str(), topics.clone())).collect();
    assign(&members, assignable, before).into_iter().map(|(id, target)| (id.to_owned(), target)).collect()
}

fn topics(counts: &[i32]) -> Partitions {
    let all = counts.iter().zip(1..).map(|(count, id)| (TopicId(id), (0..*count).collect::<BTreeSet<i32>>()));
    all.filter(|(_, partitions)| !partitions.is_empty()).collect()
}

fn count(target: &Partitions, topic: Option<TopicId>) -> usize {
    target.iter().filter(|(it, _)| topic.is_none_or(|topic| topic == **it)).map(|(_, all)| all.len()).sum()
}

/// Who has a partition.
fn holders(targets: &BTreeMap<String, Partitions>, topic: TopicId, partition: i32) -> usize {
    targets.values().filter(|target| target.get(&topic).is_some_and(|all| all.contains(&partition))).count()
}

fn members(count: usize, topics: &[u128]) -> Members {
    (0..count).map(|id| (format!("m{id}"), topics.iter().map(|topic| TopicId(*topic)).collect())).collect()
}

/// The example of KIP-932: as members come, they take over.
#[test]
fn members_that_come_take_their_part() {
    let all = topics(&[4]);
    let mut before = BTreeMap::new();
    for (count_of_members, each, sharing) in [(1, 4, 1), (2, 2, 1), (4, 1, 1), (8, 1, 2)] {
        let targets = run(&members(count_of_members, &[1]), &all, &before);
        assert!(targets.values().all(|target| count(target, None) == each));
        assert!((0..4).all(|partition| holders(&targets, TopicId(1), partition) == sharing));
        for (id, target) in &before {
            let kept: &Partitions = &targets[id];
            assert!(kept.iter().all(|(topic, all)| all.is_subset(&target[topic])), "{id} got nothing new");
        }
        before = targets;
    }
}

#[test]
fn a_target_is_kept_where_nothing_changes() {
    let all = topics(&[3, 5]);
    let mut everybody = members(3, &[1, 2]);
    let first = run(&everybody, &all, &BTreeMap::new());
    assert_eq!(run(&everybody, &all, &first), first);
    everybody.remove("m1");
    let second = run(&everybody, &all, &first);
    for (id, target) in &second {
        assert!(first[id].iter().all(|(topic, all)| all.is_subset(&target[topic])), "{id} keeps what it had");
    }
}

#[test]
fn who_subscribes_to_nothing_that_is_there_has_nothing() {
    let targets = run(&members(2, &[7]), &topics(&[2]), &BTreeMap::new());
    assert_eq!(targets.len(), 2);
    assert!(targets.values().all(Partitions::is_empty));
    assert!(run(&Members::new(), &topics(&[2]), &BTreeMap::new()).is_empty());
}

prop_compose! {
    fn group()(wishes in prop::collection::vec(prop::collection::btree_set(1_u128..4, 0..4), 1..9)) -> Members {
        let topics = |wish: BTreeSet<u128>| wish.into_iter().map(TopicId).collect();
        wishes.into_iter().enumerate().map(|(id, wish)| (format!("m{id}"), topics(wish))).collect()
    }
}

fn had() -> impl Strategy<Value = Vec<Vec<(u128, i32)>>> {
    prop::collection::vec(prop::collection::vec((1_u128..5, 0..7_i32), 0..12), 9)
}

fn check(members: &Members, all: &Partitions, targets: &BTreeMap<String, Partitions>) {
    assert_eq!(targets.len(), members.len());
    for (id, target) in targets {
        for (topic, partitions) in target {
            assert!(!partitions.is_empty() && members[id].contains(topic) && partitions.is_subset(&all[topic]));
        }
    }
    let same = members.values().all(|topics| topics == members.values().next().unwrap());
    for (topic, partitions) in all {
        let subscribed: Vec<&String> = members.iter().filter(|(_, it)| it.contains(topic)).map(|(id, _)| id).collect();
        if subscribed.is_empty() {
            continue;
        }
        let places = if same {
            members["m0"].iter().filter_map(|it| all.get(it)).map(BTreeSet::len).sum()
        } else {
            partitions.len()
        };
        let sharing = subscribed.len().div_ceil(places);
        for partition in partitions {
            let count = holders(targets, *topic, *partition);
            assert!((1..=sharing).contains(&count), "nobody is without one, and none has more than its part");
        }
        let of = if same { None } else { Some(*topic) };
        let counts = subscribed.iter().map(|id| count(&targets[*id], of));
        let most = (sharing * places).div_ceil(subscribed.len());
        assert!(counts.max().unwrap() <= most, "no member has more than its part");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_has_somebody_and_nobody_too_many(members in group(), counts in prop::collection::vec(0..7_i32, 3),
                                                        had in had()) {
        let all = topics(&counts);
        let mut before = BTreeMap::<String, Partitions>::new();
        for (id, had) in members.keys().zip(had) {
            for (topic, partition) in had {
                before.entry(id.clone()).or_default().entry(TopicId(topic)).or_default().insert(partition);
            }
        }
        let targets = run(&members, &all, &before);
        check(&members, &all, &targets);
        let again = run(&members, &all, &targets);
        check(&members, &all, &again);
    }

    #[test]
    fn members_are_even_to_within_one_where_there_are_partitions_enough(members_count in 1..9_usize, counts in prop::collection::vec(3..7_i32, 3)) {
        let everybody = members(members_count, &[1, 2, 3]);
        let targets = run(&everybody, &topics(&counts), &BTreeMap::new());
        let counts: Vec<usize> = targets.values().map(|target| count(target, None)).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        prop_assert_eq!(run(&everybody, &topics(&[9, 9, 9]), &targets).len(), members_count);
    }
}
