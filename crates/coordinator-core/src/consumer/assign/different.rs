//! Uniform, where members subscribe to different topics: everybody keeps what was theirs, what is free goes to whoever has least of those who
//! want it, and then partitions move from those who have more to those who have less, as long as that makes it more even.

use super::{Members, Wish, give, keepable};
use crate::consumer::state::Partitions;
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// How often all topics are evened out at the most: each time after the first mends what the one before has made uneven.
const ROUNDS_MAX: usize = 64;

/// Members by number, with what they have.
struct Table<'a> {
    loads: Vec<usize>,
    /// By topic: its subscribers, and who has which of its partitions.
    topics: BTreeMap<TopicId, Topic>,
    members: Vec<(&'a str, Wish<'a>)>,
}

struct Topic {
    subscribers: Vec<usize>,
    owners: Vec<Option<usize>>,
}

pub(super) fn assign<'a>(members: &Members<'a>) -> BTreeMap<&'a str, Partitions> {
    let mut table = Table::new(members);
    table.keep();
    let order = table.order();
    for topic in &order {
        table.give_out(*topic);
    }
    for _ in 0..ROUNDS_MAX {
        // All are evened out even when one has moved nothing: `any` would stop.
        let moved = order.iter().filter(|topic| table.even_out(**topic)).count();
        if moved == 0 {
            break;
        }
    }
    table.target()
}

impl<'a> Table<'a> {
    fn new(members: &Members<'a>) -> Table<'a> {
        let members: Vec<(&str, Wish<'_>)> = members.iter().map(|(id, wish)| (*id, *wish)).collect();
        let mut topics: BTreeMap<TopicId, Topic> = BTreeMap::new();
        for (number, (_, wish)) in members.iter().enumerate() {
            for (topic, count) in wish.topics {
                let owners = || vec![None; usize::try_from(*count).unwrap_or(0)];
                let topic = topics.entry(*topic).or_insert_with(|| Topic { subscribers: Vec::new(), owners: owners() });
                topic.subscribers.push(number);
            }
        }
        Table { loads: vec![0; members.len()], topics, members }
    }

    fn keep(&mut self) {
        let nobody = BTreeSet::new();
        for (number, (_, wish)) in self.members.iter().enumerate() {
            for (topic, partition) in keepable(wish, &nobody) {
                let owners = self.topics.get_mut(&topic).map(|topic| &mut topic.owners);
                let place = usize::try_from(partition).ok();
                let owner = owners.zip(place).and_then(|(owners, place)| owners.get_mut(place));
                if let Some(owner @ None) = owner {
                    *owner = Some(number);
                    self.loads[number] += 1;
                }
            }
        }
    }

    /// First the topics that give their subscribers most, while the others can still be given to make up for it.
    fn order(&self) -> Vec<TopicId> {
        let mut order: Vec<TopicId> = self.topics.keys().copied().collect();
        order.sort_by(|left, right| {
            let [left, right] = [left, right].map(|id| &self.topics[id]);
            let [of_left, of_right] = [left, right].map(|topic| topic.subscribers.len());
            let shares = (right.owners.len() * of_left).cmp(&(left.owners.len() * of_right));
            shares.then(of_left.cmp(&of_right))
        });
        order
    }

    fn give_out(&mut self, topic: TopicId) {
        let Some(Topic { subscribers, owners }) = self.topics.get_mut(&topic) else { return };
        let mut by_load: BTreeSet<(usize, usize)> = subscribers.iter().map(|it| (self.loads[*it], *it)).collect();
        for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
            let Some((load, number)) = by_load.pop_first() else { return };
            by_load.insert((load + 1, number));
            self.loads[number] = load + 1;
            *owner = Some(number);
        }
    }

    /// Moves partitions of one topic; whether any moved.
    fn even_out(&mut self, topic: TopicId) -> bool {
        let Some(Topic { subscribers, owners }) = self.topics.get_mut(&topic) else { return false };
        let mut by_load: BTreeSet<(usize, usize)> = subscribers.iter().map(|it| (self.loads[*it], *it)).collect();
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in owners.iter().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(partition);
            }
        }
        // Those who have a partition of this topic to give.
        let mut givers: BTreeSet<(usize, usize)> = owned.keys().map(|it| (self.loads[*it], *it)).collect();
        let mut has_moved = false;
        while let (Some((most, from)), Some((least, to))) = (givers.last().copied(), by_load.first().copied()) {
            if most <= least + 1 {
                break;
            }
            givers.pop_last();
            let Some(partition) = owned.get_mut(&from).and_then(Vec::pop) else { continue };
            by_load.remove(&(most, from));
            by_load.remove(&(least, to));
            givers.remove(&(least, to));
            by_load.extend([(most - 1, from), (least + 1, to)]);
            owned.entry(to).or_default().push(partition);
            givers.extend([(most - 1, from), (least + 1, to)]);
            (self.loads[from], self.loads[to]) = (most - 1, least + 1);
            owners[partition] = Some(to);
            has_moved = true;
        }
        has_moved
    }

    fn target(self) -> BTreeMap<&'a str, Partitions> {
        let mut target: BTreeMap<&str, Partitions> = BTreeMap::new();
        for (id, topic) in self.topics {
            for (partition, owner) in (0..).zip(topic.owners) {
                if let Some(number) = owner {
                    give(target.entry(self.members[number].0).or_default(), (id, partition));
                }
            }
        }
        target
    }
}
