//! The records of a share group, in the format of Kafka 4.3: one for the group's epoch, one for the epoch of its target, one for its
//! topics at the share coordinator, three for each member.

use super::state::{Current, Metadata, Named, StateTopics};
use crate::consumer::Partitions;
use crate::record::{CoordinatorRecord, RecordError, encode_with, gone, open_value, put_tagged_number, tagged_number};
use base::{TopicId, UnixMillis};
use bytes::Bytes;
use protocol::wire::{Decoder, Encoder, Uuid, Wire};
use std::collections::{BTreeMap, BTreeSet};

const METADATA_KEY: i16 = 10;
const EPOCH_KEY: i16 = 11;
const TARGET_EPOCH_KEY: i16 = 12;
const TARGET_KEY: i16 = 13;
const CURRENT_KEY: i16 = 14;
const TOPICS_KEY: i16 = 15;

/// The only version of all these values. It has compact lengths and tagged fields.
const VERSION: i16 = 0;

/// The only state of a member: it has all of its target.
const STABLE: i8 = 0;

/// What a record of a share group says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShareChange {
    pub(crate) group: String,
    pub(crate) key: Key,
    /// None takes back what the key names.
    pub(crate) value: Option<Value>,
}

/// What it is about; a member by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Metadata(String),
    Epoch,
    TargetEpoch,
    Target(String),
    Current(String),
    Topics,
}

/// What of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Metadata(Metadata),
    Epoch { epoch: i32, metadata_hash: i64 },
    TargetEpoch { epoch: i32, at: UnixMillis },
    Target(Partitions),
    Current(Current),
    Topics(StateTopics),
}

impl Key {
    fn kind(&self) -> i16 {
        match self {
            Key::Metadata(_) => METADATA_KEY,
            Key::Epoch => EPOCH_KEY,
            Key::TargetEpoch => TARGET_EPOCH_KEY,
            Key::Target(_) => TARGET_KEY,
            Key::Current(_) => CURRENT_KEY,
            Key::Topics => TOPICS_KEY,
        }
    }

    fn member(&self) -> Option<&String> {
        match self {
            Key::Epoch | Key::TargetEpoch | Key::Topics => None,
            Key::Metadata(member) | Key::Target(member) | Key::Current(member) => Some(member),
        }
    }
}

impl CoordinatorRecord {
    /// A record that takes back what the key names.
    pub(crate) fn share_gone(group: &str, key: &Key) -> CoordinatorRecord {
        gone(key.kind(), group, key.member())
    }

    pub(crate) fn share_metadata(group: &str, member: &str, metadata: &Metadata) -> CoordinatorRecord {
        share(group, &Key::Metadata(member.to_owned()), |encoder| {
            encoder.put(&metadata.rack_id, VERSION);
            encoder.put(&metadata.client_id, VERSION);
            encoder.put(&metadata.client_host, VERSION);
            encoder.put(&metadata.names.iter().cloned().collect::<Vec<String>>(), VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn share_epoch(group: &str, epoch: i32, metadata_hash: i64) -> CoordinatorRecord {
        share(group, &Key::Epoch, |encoder| {
            encoder.put(&epoch, VERSION);
            encoder.put(&metadata_hash, VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn share_target_epoch(group: &str, epoch: i32, at: UnixMillis) -> CoordinatorRecord {
        share(group, &Key::TargetEpoch, |encoder| {
            encoder.put(&epoch, VERSION);
            put_tagged_number(encoder, at.0);
        })
    }

    pub(crate) fn share_target(group: &str, member: &str, target: &Partitions) -> CoordinatorRecord {
        share(group, &Key::Target(member.to_owned()), |encoder| {
            encoder.put(&listed(target), VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn share_current(group: &str, member: &str, current: &Current) -> CoordinatorRecord {
        share(group, &Key::Current(member.to_owned()), |encoder| {
            encoder.put(&current.epoch, VERSION);
            encoder.put(&current.previous_epoch, VERSION);
            encoder.put(&STABLE, VERSION);
            encoder.put(&listed(&current.assigned), VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn share_topics(group: &str, topics: &StateTopics) -> CoordinatorRecord {
        let named = |topics: &BTreeMap<TopicId, Named>| {
            let each = topics.iter().map(|(topic, named)| NamedTopic {
                topic: (*topic).into(),
                name: named.name.clone(),
                partitions: named.partitions.iter().copied().collect(),
            });
            each.collect::<Vec<NamedTopic>>()
        };
        let deleting =
            topics.deleting.iter().map(|(topic, name)| GoingTopic { topic: (*topic).into(), name: name.clone() });
        share(group, &Key::Topics, |encoder| {
            encoder.put(&named(&topics.initializing), VERSION);
            encoder.put(&named(&topics.initialized), VERSION);
            encoder.put(&deleting.collect::<Vec<GoingTopic>>(), VERSION);
            encoder.tags();
        })
    }
}

fn share(group: &str, key: &Key, fields: impl FnOnce(&mut Encoder)) -> CoordinatorRecord {
    let value = Some(encode_with(VERSION, true, fields));
    CoordinatorRecord { value, ..CoordinatorRecord::share_gone(group, key) }
}

/// Reads a record by its kind and what follows that in its key; none where the kind is of another protocol.
pub(crate) fn read(kind: i16, mut key: Decoder, value: Option<&Bytes>) -> Result<Option<ShareChange>, RecordError> {
    if !(METADATA_KEY..=TOPICS_KEY).contains(&kind) {
        return Ok(None);
    }
    let group = key.get(0);
    let name = match kind {
        METADATA_KEY => Key::Metadata(key.get(0)),
        EPOCH_KEY => Key::Epoch,
        TARGET_EPOCH_KEY => Key::TargetEpoch,
        TARGET_KEY => Key::Target(key.get(0)),
        CURRENT_KEY => Key::Current(key.get(0)),
        _ => Key::Topics,
    };
    key.finish().map_err(RecordError::Key)?;
    let value = value.map(|value| read_value(&name, value)).transpose()?;
    Ok(Some(ShareChange { group, key: name, value }))
}

fn read_value(key: &Key, value: &Bytes) -> Result<Value, RecordError> {
    let mut decoder = open_value(value, VERSION)?;
    let value = match key {
        Key::Metadata(_) => Value::Metadata(read_metadata(&mut decoder)),
        Key::Epoch => {
            let (epoch, metadata_hash) = (decoder.get(VERSION), decoder.get(VERSION));
            decoder.skip_tags();
            Value::Epoch { epoch, metadata_hash }
        }
        Key::TargetEpoch => {
            let epoch = decoder.get(VERSION);
            Value::TargetEpoch { epoch, at: UnixMillis(tagged_number(&mut decoder)) }
        }
        Key::Target(_) => {
            let target = partitions_of(decoder.get(VERSION));
            decoder.skip_tags();
            Value::Target(target)
        }
        Key::Current(_) => Value::Current(read_current(&mut decoder)),
        Key::Topics => Value::Topics(read_topics(&mut decoder)),
    };
    decoder.finish().map_err(RecordError::Value)?;
    Ok(value)
}

fn read_metadata(decoder: &mut Decoder) -> Metadata {
    let metadata = Metadata {
        rack_id: decoder.get(VERSION),
        client_id: decoder.get(VERSION),
        client_host: decoder.get(VERSION),
        names: decoder.get::<Vec<String>>(VERSION).into_iter().collect(),
    };
    decoder.skip_tags();
    metadata
}

fn read_current(decoder: &mut Decoder) -> Current {
    let (epoch, previous_epoch) = (decoder.get(VERSION), decoder.get(VERSION));
    let _state: i8 = decoder.get(VERSION);
    let assigned = partitions_of(decoder.get(VERSION));
    decoder.skip_tags();
    Current { epoch, previous_epoch, assigned }
}

fn read_topics(decoder: &mut Decoder) -> StateTopics {
    let named = |topics: Vec<NamedTopic>| {
        let mut all = BTreeMap::<TopicId, Named>::new();
        for NamedTopic { topic, name, partitions } in topics.into_iter().filter(|it| !it.partitions.is_empty()) {
            let named = all.entry(topic.into()).or_default();
            named.name = name;
            named.partitions.extend(partitions);
        }
        all
    };
    let initializing = named(decoder.get(VERSION));
    let initialized = named(decoder.get(VERSION));
    let deleting = decoder.get::<Vec<GoingTopic>>(VERSION).into_iter().map(|it| (it.topic.into(), it.name)).collect();
    decoder.skip_tags();
    StateTopics { initializing, initialized, deleting }
}

/// A topic's partitions, as both kinds of assignment have them.
#[derive(Debug, Default)]
struct TopicPartitions {
    topic: Uuid,
    partitions: Vec<i32>,
}

fn listed(partitions: &Partitions) -> Vec<TopicPartitions> {
    let topic = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| TopicPartitions {
        topic: (*topic).into(),
        partitions: partitions.iter().copied().collect(),
    };
    partitions.iter().map(topic).collect()
}

fn partitions_of(topics: Vec<TopicPartitions>) -> Partitions {
    let mut all = Partitions::new();
    for TopicPartitions { topic, partitions } in topics.into_iter().filter(|it| !it.partitions.is_empty()) {
        all.entry(topic.into()).or_default().extend(partitions);
    }
    all
}

impl Wire for TopicPartitions {
    const LEAST: usize = 18;

    fn read(decoder: &mut Decoder, version: i16) -> TopicPartitions {
        let topic = TopicPartitions { topic: decoder.get(version), partitions: decoder.get(version) };
        decoder.skip_tags();
        topic
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.topic, version);
        encoder.put(&self.partitions, version);
        encoder.tags();
    }
}

/// A topic's partitions with its name.
#[derive(Debug, Default)]
struct NamedTopic {
    topic: Uuid,
    name: String,
    partitions: Vec<i32>,
}

impl Wire for NamedTopic {
    const LEAST: usize = 19;

    fn read(decoder: &mut Decoder, version: i16) -> NamedTopic {
        let topic =
            NamedTopic { topic: decoder.get(version), name: decoder.get(version), partitions: decoder.get(version) };
        decoder.skip_tags();
        topic
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.topic, version);
        encoder.put(&self.name, version);
        encoder.put(&self.partitions, version);
        encoder.tags();
    }
}

/// A topic with its name.
#[derive(Debug, Default)]
struct GoingTopic {
    topic: Uuid,
    name: String,
}

impl Wire for GoingTopic {
    const LEAST: usize = 18;

    fn read(decoder: &mut Decoder, version: i16) -> GoingTopic {
        let topic = GoingTopic { topic: decoder.get(version), name: decoder.get(version) };
        decoder.skip_tags();
        topic
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.topic, version);
        encoder.put(&self.name, version);
        encoder.tags();
    }
}
