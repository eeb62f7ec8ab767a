//! The topics that there are, as the caller knows them, and the number by which a group notices that some of its own have changed.

use base::TopicId;
use std::collections::BTreeMap;
use twox_hash::XxHash3_64;

/// What an assignment needs of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: TopicId,
    pub partitions: i32,
}

/// Hands the names of all topics over, one after another.
pub type Names<'a> = dyn Fn(&mut dyn FnMut(&str)) + 'a;

/// All topics at the moment of a call.
#[derive(Clone, Copy)]
pub struct Topics<'a> {
    /// Another number whenever a topic is made, deleted or gets partitions; more often is right too, and costs a comparison.
    pub version: i64,
    /// A topic by its name.
    pub find: &'a dyn Fn(&str) -> Option<TopicInfo>,
    /// The name of a topic that is there.
    pub name_of: &'a dyn Fn(TopicId) -> Option<String>,
    pub names: &'a Names<'a>,
}

#[cfg(test)]
impl Topics<'static> {
    /// There are none.
    pub(crate) const NONE: Topics<'static> = Topics { version: 0, find: &|_| None, name_of: &|_| None, names: &|_| {} };
}

impl std::fmt::Debug for Topics<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Kafka's hash of a topic (KIP-1101), of brokers without racks.
pub(crate) fn hash_of_topic(name: &str, topic: TopicInfo) -> u64 {
    let mut bytes = vec![0_u8];
    let halves = [(topic.id.0 >> 64) & u128::from(u64::MAX), topic.id.0 & u128::from(u64::MAX)];
    for half in halves {
        bytes.extend(&half.to_le_bytes()[..8]);
    }
    let mut units = 0_i32;
    for unit in name.encode_utf16() {
        bytes.extend(unit.to_le_bytes());
        units += 1;
    }
    bytes.extend(units.to_le_bytes());
    bytes.extend(topic.partitions.to_le_bytes());
    for partition in 0..topic.partitions {
        bytes.extend(partition.to_le_bytes());
    }
    XxHash3_64::oneshot(&bytes)
}

/// Kafka's hash of a group's topics; 0 where it has none.
pub(crate) fn hash_of_group<'a>(topics: impl Iterator<Item = (&'a String, u64)>) -> i64 {
    let sorted: BTreeMap<&String, u64> = topics.collect();
    if sorted.is_empty() {
        return 0;
    }
    let bytes: Vec<u8> = sorted.values().flat_map(|hash| hash.to_le_bytes()).collect();
    XxHash3_64::oneshot(&bytes).cast_signed()
}
