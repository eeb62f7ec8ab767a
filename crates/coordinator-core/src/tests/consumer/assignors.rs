//! The assignors: everything is assigned once, to members that want it, evenly, and moves as little as that allows.

use crate::consumer::{Members, Wish, assign};
use crate::{Assignor, Partitions};
use base::TopicId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Members by number: what they subscribe to of topics by number, and what they had.
#[derive(Debug, Clone, Default)]
struct Case {
    /// Partitions of each topic.
    topics: Vec<i32>,
    /// Member id, and topics.
    members: Vec<(String, BTreeSet<usize>)>,
    before: BTreeMap<String, Partitions>,
}

impl Case {
    fn new(topics: &[i32], members: &[(&str, &[usize])]) -> Case {
        let members = members.iter().map(|(id, topics)| ((*id).to_owned(), topics.iter().copied().collect()));
        Case { topics: topics.to_vec(), members: members.collect(), ..Case::default() }
    }

    fn assign(&self, assignor: Assignor) -> BTreeMap<String, Partitions> {
        let wanted: Vec<BTreeMap<TopicId, i32>> = self
            .members
            .iter()
            .map(|(_, topics)| topics.iter().map(|it| (id(*it), self.topics[*it])).collect())
            .collect();
        let mut members = Members::new();
        for ((member, _), topics) in self.members.iter().zip(&wanted) {
            let instance_id = member.strip_prefix("static-");
            members.insert(member, Wish { instance_id, topics, before: self.before.get(member) });
        }
        assign(assignor, &members).into_iter().map(|(id, target)| (id.to_owned(), target)).collect()
    }

    /// Assigns, checks what must always hold, and goes on from there.
    fn step(&mut self, assignor: Assignor) {
        let target = self.assign(assignor);
        let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for (member, partitions) in &target {
            let wanted = &self.members.iter().find(|(id, _)| id == member).unwrap().1;
            for (topic, partitions) in partitions {
                let number = number(*topic);
                assert!(wanted.contains(&number) && !partitions.is_empty(), "{member} does not subscribe to it");
                for partition in partitions {
                    assert!((0..self.topics[number]).contains(partition));
                    assert_eq!(owners.insert((*topic, *partition), member), None, "two members have it");
                }
            }
        }
        for (topic, count) in self.topics.iter().enumerate() {
            if self.members.iter().any(|(_, topics)| topics.contains(&topic)) {
                assert!((0..*count).all(|it| owners.contains_key(&(id(topic), it))), "all is assigned");
            }
        }
        assert_eq!(target.len(), self.members.len());
        self.before = target;
    }

    fn load(&self, member: &str) -> usize {
        load(&self.before[member])
    }

    /// Nobody has two more than somebody who could have one of them.
    fn check_even(&self) {
        for (member, partitions) in &self.before {
            for topic in partitions.keys() {
                for (other, _) in self.members.iter().filter(|(_, topics)| topics.contains(&number(*topic))) {
                    assert!(self.load(member) <= self.load(other) + 1, "{member} has more than {other}: {self:?}");
                }
            }
        }
    }
}

fn id(topic: usize) -> TopicId {
    TopicId(u128::try_from(topic).unwrap() + 1)
}

fn number(topic: TopicId) -> usize {
    usize::try_from(topic.0).unwrap() - 1
}

fn load(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// Partitions of `after` that were another's, or nobody's, before.
fn moved(before: &BTreeMap<String, Partitions>, after: &BTreeMap<String, Partitions>) -> usize {
    let had = |member: &str, topic: &TopicId, partition: &i32| {
        let before = before.get(member).and_then(|before| before.get(topic));
        before.is_some_and(|before| before.contains(partition))
    };
    let each = after.iter().flat_map(|(member, partitions)| {
        partitions.iter().flat_map(move |(topic, partitions)| partitions.iter().map(move |it| (member, topic, it)))
    });
    each.filter(|(member, topic, partition)| !had(member, topic, partition)).count()
}

#[test]
fn uniform_moves_only_what_evenness_needs() {
    let mut case = Case::new(&[7, 3], &[("a", &[0, 1]), ("b", &[0, 1])]);
    case.step(Assignor::Uniform);
    assert_eq!((case.load("a"), case.load("b")), (5, 5));
    let before = case.before.clone();
    case.members.push(("c".to_owned(), [0, 1].into()));
    case.step(Assignor::Uniform);
    assert_eq!((case.load("a"), case.load("b"), case.load("c")), (4, 3, 3));
    assert_eq!(moved(&before, &case.before), 3, "no more than the newcomer gets");
    let before = case.before.clone();
    case.members.remove(1);
    case.step(Assignor::Uniform);
    assert_eq!(moved(&before, &case.before), 3, "no more than the leaver had");
    case.topics[1] = 5;
    let before = case.before.clone();
    case.step(Assignor::Uniform);
    assert_eq!(moved(&before, &case.before), 2, "no more than is new");
}

#[test]
fn uniform_makes_up_for_different_subscriptions() {
    let mut case = Case::new(&[4, 4, 4], &[("a", &[0, 1, 2]), ("b", &[0]), ("c", &[1])]);
    case.step(Assignor::Uniform);
    case.check_even();
    assert_eq!(["a", "b", "c"].map(|it| case.load(it)), [4, 4, 4]);
    let before = case.before.clone();
    case.step(Assignor::Uniform);
    assert_eq!(moved(&before, &case.before), 0);
    // One more for the same topic: it takes from whoever has most of those who have any of it.
    case.members.push(("d".to_owned(), [0].into()));
    case.step(Assignor::Uniform);
    case.check_even();
    assert_eq!((case.load("b"), case.load("d")), (2, 2));
}

#[test]
fn range_gives_the_same_numbers_of_all_topics() {
    let mut case = Case::new(&[5, 5], &[("b", &[0, 1]), ("a", &[0, 1])]);
    case.step(Assignor::Range);
    let expected =
        |from: i32, to: i32| Partitions::from([(id(0), (from..to).collect()), (id(1), (from..to).collect())]);
    assert_eq!((&case.before["a"], &case.before["b"]), (&expected(0, 3), &expected(3, 5)));
    // Static members come first, whatever their ids.
    case.members.push(("static-z".to_owned(), [0, 1].into()));
    case.step(Assignor::Range);
    assert_eq!(case.before["static-z"], expected(0, 2));
    case.members.push(("c".to_owned(), [1].into()));
    case.step(Assignor::Range);
    assert_eq!(case.before["c"], Partitions::from([(id(1), [4].into())]));
    let mut few = Case::new(&[1], &[("a", &[0]), ("b", &[0])]);
    few.step(Assignor::Range);
    assert_eq!((few.load("a"), few.load("b")), (1, 0));
}

/// Not a measurement, but what is far from linear would not come back.
#[test]
fn a_group_of_thousands_is_assigned() {
    let all: BTreeSet<usize> = (0..20).collect();
    let members = (0..5_000).map(|number| (format!("m{number:05}"), all.clone())).collect();
    let mut case = Case { topics: vec![500; 20], members, ..Case::default() };
    case.step(Assignor::Uniform);
    case.members[17].1.remove(&3);
    case.step(Assignor::Uniform);
    case.step(Assignor::Range);
}

#[derive(Debug, Clone)]
enum Change {
    Join(Vec<bool>),
    Leave(usize),
    Grow(usize),
    Resubscribe(usize, Vec<bool>),
}

fn change() -> impl Strategy<Value = Change> {
    let topics = || prop::collection::vec(any::<bool>(), 4);
    prop_oneof![
        3 => topics().prop_map(Change::Join),
        2 => (0..8_usize).prop_map(Change::Leave),
        2 => (0..4_usize).prop_map(Change::Grow),
        2 => (0..8_usize, topics()).prop_map(|(member, topics)| Change::Resubscribe(member, topics)),
    ]
}

fn picked(flags: &[bool], alike: bool) -> BTreeSet<usize> {
    flags.iter().enumerate().filter(|(_, flag)| alike || **flag).map(|(topic, _)| topic).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn assignments_are_whole_even_and_sticky(alike in any::<bool>(),
                                             changes in prop::collection::vec(change(), 1..30)) {
        let mut case = Case { topics: vec![3, 1, 6, 2], ..Case::default() };
        for (number, change) in changes.into_iter().enumerate() {
            let members = case.members.len();
            match change {
                Change::Join(topics) if members < 8 => {
                    case.members.push((format!("m{number}"), picked(&topics, alike)));
                }
                Change::Leave(member) if members > 0 => drop(case.members.remove(member % members)),
                Change::Grow(topic) => case.topics[topic] += 1,
                Change::Resubscribe(member, topics) if members > 0 => {
                    case.members[member % members].1 = picked(&topics, alike);
                }
                Change::Join(_) | Change::Leave(_) | Change::Resubscribe(..) => {}
            }
            let before = case.before.clone();
            case.step(Assignor::Uniform);
            case.check_even();
            let settled = case.before.clone();
            case.step(Assignor::Uniform);
            prop_assert_eq!(&settled, &case.before, "what is even stays");
            if alike {
                // So much must move: what nobody had that is here still, and what is beyond the share of those who had too much.
                let total = load(&settled.values().flatten().map(|(topic, it)| (*topic, it.clone())).fold(
                    Partitions::new(),
                    |mut all, (topic, it)| {
                        all.entry(topic).or_default().extend(it);
                        all
                    },
                ));
                let members = settled.len().max(1);
                let (least, mut larger) = (total / members, total % members);
                let mut kept = 0;
                for member in settled.keys() {
                    let had = before.get(member).map_or(0, load);
                    let more = usize::from(had > least && larger > 0);
                    larger -= more;
                    kept += had.min(least + more);
                }
                prop_assert_eq!(moved(&before, &settled), total - kept, "no partition moves for nothing");
            }
            case.step(Assignor::Range);
            case.before = settled;
        }
    }
}
