//! Who is to have what: pure functions from what members subscribe to, and what was to be theirs before.
//!
//! Each partition of a topic that anybody subscribes to goes to one member that does. Neither assignor looks at racks, as in Kafka 4.

mod different;
mod range;
mod same;

use super::state::Partitions;
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// A way to assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Assignor {
    /// As even as can be, and moves as little as that allows.
    #[default]
    Uniform,
    /// The same ranges of all topics, for those who join topics.
    Range,
}

impl Assignor {
    /// The one that is called so.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }
}

/// What an assignor is told of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) instance_id: Option<&'a str>,
    /// Topics that it subscribes to and that are there, with their partitions.
    pub(crate) topics: &'a BTreeMap<TopicId, i32>,
    /// The target before this one.
    pub(crate) before: Option<&'a Partitions>,
}

/// By member id.
pub(crate) type Members<'a> = BTreeMap<&'a str, Wish<'a>>;

/// What each member is to have. All members are in it.
pub(crate) fn assign<'a>(assignor: Assignor, members: &Members<'a>) -> BTreeMap<&'a str, Partitions> {
    let mut target = match assignor {
        Assignor::Range => range::assign(members),
        Assignor::Uniform if subscribe_alike(members) => same::assign(members),
        Assignor::Uniform => different::assign(members),
    };
    for id in members.keys() {
        target.entry(id).or_default();
    }
    target
}

fn subscribe_alike(members: &Members<'_>) -> bool {
    let mut all = members.values().map(|wish| wish.topics);
    let first = all.next();
    all.all(|topics| first.is_some_and(|first| std::ptr::eq(first, topics) || first == topics))
}

/// What a member had that it may keep: of topics that it subscribes to, which are large enough, and that no other member has kept.
fn keepable<'a>(wish: &Wish<'a>, taken: &BTreeSet<(TopicId, i32)>) -> impl Iterator<Item = (TopicId, i32)> {
    let before = wish.before.into_iter().flatten();
    let partitions = before.flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)));
    let topics = wish.topics;
    partitions.filter(move |(topic, partition)| {
        topics.get(topic).is_some_and(|count| (0..*count).contains(partition)) && !taken.contains(&(*topic, *partition))
    })
}

fn give(to: &mut Partitions, (topic, partition): (TopicId, i32)) {
    to.entry(topic).or_default().insert(partition);
}
