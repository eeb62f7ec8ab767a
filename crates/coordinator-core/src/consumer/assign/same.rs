//! Uniform, where all members subscribe to the same topics: nobody has more than one partition more than another, and a partition
//! moves only where that, or its member's going, makes it.

use super::{Members, give, keepable};
use crate::consumer::state::Partitions;
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn assign<'a>(members: &Members<'a>) -> BTreeMap<&'a str, Partitions> {
    let Some(first) = members.values().next() else { return BTreeMap::new() };
    let topics = first.topics;
    let all = || topics.iter().flat_map(|(topic, count)| (0..*count).map(move |partition| (*topic, partition)));
    let total = all().count();
    let least = total / members.len();
    // So many members have one more.
    let mut larger = total % members.len();
    let mut taken: BTreeSet<(TopicId, i32)> = BTreeSet::new();
    let mut target: BTreeMap<&str, (Partitions, usize)> = BTreeMap::new();
    for (id, wish) in members {
        // Those who had more keep more, while there is more to keep.
        let kept: Vec<_> = keepable(wish, &taken).take(least + usize::from(larger > 0)).collect();
        larger -= usize::from(kept.len() > least);
        let (partitions, count) = target.entry(id).or_default();
        *count = kept.len();
        for partition in kept {
            taken.insert(partition);
            give(partitions, partition);
        }
    }
    let mut free = all().filter(|partition| !taken.contains(partition));
    for (partitions, count) in target.values_mut() {
        let is_larger = *count <= least && larger > 0;
        larger -= usize::from(is_larger);
        let wanted = (least + usize::from(is_larger)).saturating_sub(*count);
        free.by_ref().take(wanted).for_each(|partition| give(partitions, partition));
    }
    target.into_iter().map(|(id, (partitions, _))| (id, partitions)).collect()
}
