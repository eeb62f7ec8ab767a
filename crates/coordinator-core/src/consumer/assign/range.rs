//! Range: of each topic every subscriber gets one run of partitions, in the order of the members, so that partitions of the same number
//! come to the same member where members subscribe alike.

use super::Members;
use crate::consumer::state::Partitions;
use base::TopicId;
use std::collections::BTreeMap;

pub(super) fn assign<'a>(members: &Members<'a>) -> BTreeMap<&'a str, Partitions> {
    let mut order: Vec<&str> = members.keys().copied().collect();
    // Static members first, by their names, which they keep when their ids change.
    order.sort_by_key(|id| {
        let instance_id = members[id].instance_id;
        (instance_id.is_none(), instance_id.unwrap_or(id))
    });
    let mut subscribers: BTreeMap<TopicId, (i32, Vec<&str>)> = BTreeMap::new();
    for id in order {
        for (topic, count) in members[id].topics {
            subscribers.entry(*topic).or_insert((*count, Vec::new())).1.push(id);
        }
    }
    let mut target: BTreeMap<&str, Partitions> = BTreeMap::new();
    for (topic, (count, ids)) in subscribers {
        let divisor = i32::try_from(ids.len()).unwrap_or(i32::MAX);
        let (least, mut larger) = (count / divisor, count % divisor);
        let mut first = 0;
        for id in ids {
            let next = first + least + i32::from(larger > 0);
            larger = (larger - 1).max(0);
            if first < next {
                target.entry(id).or_default().insert(topic, (first..next).collect());
            }
            first = next;
        }
    }
    target
}
