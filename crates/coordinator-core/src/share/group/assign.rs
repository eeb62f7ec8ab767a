//! The assignor of share groups, Kafka's *simple* one by its rules (KIP-932): every partition has somebody, members have equally many to
//! within one, and partitions equally many members; beyond that whoever has something keeps it. Racks do not matter.
//!
//! Where members subscribe to the same topics, these are shared out together; else each topic by itself among its own members.

use crate::consumer::Partitions;
use base::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// A partition of a topic.
type Place = (TopicId, i32);

/// What each member is to have: `members` with the topics that each subscribes to, what may be shared out, and what each had. No member is
/// left out of the result, and no topic is in it without partitions.
pub(crate) fn assign<'a>(
    members: &BTreeMap<&'a str, BTreeSet<TopicId>>,
    assignable: &Partitions,
    before: &BTreeMap<String, Partitions>,
) -> BTreeMap<&'a str, Partitions> {
    let mut targets: BTreeMap<&str, Partitions> = members.keys().map(|id| (*id, Partitions::new())).collect();
    let mut give = |id: &'a str, places: BTreeSet<Place>| {
        for (topic, partition) in places {
            targets.entry(id).or_default().entry(topic).or_default().insert(partition);
        }
    };
    let mut subscriptions = members.values();
    let first = subscriptions.next();
    if let Some(first) = first.filter(|first| subscriptions.all(|other| other == *first)) {
        let all: Vec<&str> = members.keys().copied().collect();
        let shares = share_out(&places_of(first, assignable), &all, before);
        all.into_iter().zip(shares).for_each(|(id, places)| give(id, places));
        return targets;
    }
    for (topic, partitions) in assignable {
        let places: Vec<Place> = partitions.iter().map(|partition| (*topic, *partition)).collect();
        let subscribed = members.iter().filter(|(_, topics)| topics.contains(topic));
        let all: Vec<&str> = subscribed.map(|(id, _)| *id).collect();
        let shares = share_out(&places, &all, before);
        all.into_iter().zip(shares).for_each(|(id, places)| give(id, places));
    }
    targets
}

fn places_of(topics: &BTreeSet<TopicId>, assignable: &Partitions) -> Vec<Place> {
    let found = topics.iter().filter_map(|topic| Some((*topic, assignable.get(topic)?)));
    found.flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic, *partition))).collect()
}

/// Who is to have which of these partitions, member by member.
fn share_out(places: &[Place], members: &[&str], before: &BTreeMap<String, Partitions>) -> Vec<BTreeSet<Place>> {
    if places.is_empty() || members.is_empty() {
        return vec![BTreeSet::new(); members.len()];
    }
    // How many members each partition is to have, and from that how many partitions each member, so that in all it is the same.
    let sharing = members.len().div_ceil(places.len());
    let until = |count: usize| (sharing * places.len() * count).div_ceil(members.len());
    let wanted = (0..members.len()).map(|member| until(member + 1) - until(member)).collect();
    let mut shares = Shares { sharing, wanted, held: Vec::new(), holders: BTreeMap::new() };
    shares.begin(places, members, before);
    shares.give_up_overshared(places);
    shares.give_up_overfilled();
    shares.fill(places);
    shares.held
}

/// Who has what, on its way from what was to what is to be. Members go by their places in the list.
struct Shares {
    /// Members that a partition is to have.
    sharing: usize,
    /// Partitions that each member is to have: as many in all as members that partitions are to have.
    wanted: Vec<usize>,
    held: Vec<BTreeSet<Place>>,
    holders: BTreeMap<Place, BTreeSet<usize>>,
}

impl Shares {
    fn begin(&mut self, places: &[Place], members: &[&str], before: &BTreeMap<String, Partitions>) {
        self.holders = places.iter().map(|place| (*place, BTreeSet::new())).collect();
        for (member, id) in members.iter().enumerate() {
            let had = before.get(*id).into_iter().flatten();
            let had = had.flat_map(|(topic, partitions)| partitions.iter().map(move |it| (*topic, *it)));
            self.held.push(had.filter(|place| self.holders.contains_key(place)).collect());
            for place in &self.held[member] {
                self.holders.entry(*place).or_default().insert(member);
            }
        }
    }

    /// Those who have too many anyway come first.
    fn give_up_overshared(&mut self, places: &[Place]) {
        for place in places {
            let Some(holders) = self.holders.get_mut(place).filter(|holders| holders.len() > self.sharing) else {
                continue;
            };
            let mut order: Vec<usize> = holders.iter().copied().collect();
            let surplus = |member: &usize| self.held[*member].len().cast_signed() - self.wanted[*member].cast_signed();
            order.sort_by_key(|member| (surplus(member), *member));
            for member in order.split_off(self.sharing) {
                holders.remove(&member);
                self.held[member].remove(place);
            }
        }
    }

    /// Partitions that others have as well come first.
    fn give_up_overfilled(&mut self) {
        for member in 0..self.held.len() {
            if self.held[member].len() <= self.wanted[member] {
                continue;
            }
            let mut order: Vec<Place> = self.held[member].iter().copied().collect();
            order.sort_by_key(|place| (self.holders.get(place).map_or(0, BTreeSet::len), *place));
            for place in order.split_off(self.wanted[member]) {
                self.held[member].remove(&place);
                self.holders.entry(place).or_default().remove(&member);
            }
        }
    }

    /// Gives partitions that have too few to members that have too few, in turn. Those may all have the partition already: then it stays
    /// with fewer. It is never without: members want in all what partitions have to give, so while it has nobody some member wants one more.
    fn fill(&mut self, places: &[Place]) {
        let mut hungry: Vec<usize> =
            (0..self.held.len()).filter(|member| self.held[*member].len() < self.wanted[*member]).collect();
        let mut next = 0;
        for place in places {
            let holders = self.holders.entry(*place).or_default();
            let mut passed = 0;
            while holders.len() < self.sharing && passed < hungry.len() {
                next %= hungry.len();
                let member = hungry[next];
                if !holders.insert(member) {
                    passed += 1;
                    next += 1;
                    continue;
                }
                self.held[member].insert(*place);
                if self.held[member].len() < self.wanted[member] {
                    next += 1;
                } else {
                    hungry.remove(next);
                }
            }
        }
    }
}
