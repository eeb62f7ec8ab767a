//! The records of a consumer group, in the format of Kafka 4.3: one for the group's epoch, one for the epoch of its target, three for
//! each member, one for each regular expression.
//!
//! A kind that Kafka 4.0 wrote, of the topics' partitions, is known so that it can be taken back; what it says is not kept.

use super::state::{Classic, Current, Held, MemberState, Metadata, Partitions, Resolved};
use super::stored_classic::StoredClassic;
use crate::record::{
    CoordinatorRecord, RecordError, encode_with, fits, gone, open_value, put_tagged_number, tagged_number,
};
use base::{TopicId, UnixMillis};
use bytes::Bytes;
use protocol::wire::{Decoder, Encoder, Uuid, Wire};
use std::collections::{BTreeMap, BTreeSet};

const EPOCH_KEY: i16 = 3;
const PARTITIONS_KEY: i16 = 4;
const METADATA_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;

/// The only version of all these values. It has compact lengths and tagged fields.
const VERSION: i16 = 0;

/// What a record of a consumer group says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerChange {
    pub(crate) group: String,
    pub(crate) key: Key,
    /// None takes back what the key names.
    pub(crate) value: Option<Value>,
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Epoch,
    Partitions,
    Metadata(String),
    TargetEpoch,
    Target(String),
    Current(String),
    Regex(String),
}

/// What of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Epoch { epoch: i32, metadata_hash: i64 },
    Partitions,
    Metadata(Metadata),
    TargetEpoch { epoch: i32, at: UnixMillis },
    Target(Partitions),
    Current(Current),
    Regex(Resolved),
}

impl ConsumerChange {
    /// Whether it takes back all of the group.
    pub(crate) fn ends_group(&self) -> bool {
        self.key == Key::Epoch && self.value.is_none()
    }
}

impl Key {
    fn kind(&self) -> i16 {
        match self {
            Key::Epoch => EPOCH_KEY,
            Key::Partitions => PARTITIONS_KEY,
            Key::Metadata(_) => METADATA_KEY,
            Key::TargetEpoch => TARGET_EPOCH_KEY,
            Key::Target(_) => TARGET_KEY,
            Key::Current(_) => CURRENT_KEY,
            Key::Regex(_) => REGEX_KEY,
        }
    }

    /// What the key names beside the group: a member, or a regular expression.
    fn name(&self) -> Option<&String> {
        match self {
            Key::Epoch | Key::Partitions | Key::TargetEpoch => None,
            Key::Metadata(name) | Key::Target(name) | Key::Current(name) | Key::Regex(name) => Some(name),
        }
    }

    fn read(kind: i16, mut decoder: Decoder) -> Result<Option<(String, Key)>, RecordError> {
        let of_group = |key: Key| Some((key, false));
        let of_name = |key: fn(String) -> Key| Some((key(String::new()), true));
        let found = match kind {
            EPOCH_KEY => of_group(Key::Epoch),
            PARTITIONS_KEY => of_group(Key::Partitions),
            TARGET_EPOCH_KEY => of_group(Key::TargetEpoch),
            METADATA_KEY => of_name(Key::Metadata),
            TARGET_KEY => of_name(Key::Target),
            CURRENT_KEY => of_name(Key::Current),
            REGEX_KEY => of_name(Key::Regex),
            _ => None,
        };
        let Some((mut key, is_named)) = found else { return Ok(None) };
        let group = decoder.get(0);
        if is_named {
            let read: String = decoder.get(0);
            if let Key::Metadata(name) | Key::Target(name) | Key::Current(name) | Key::Regex(name) = &mut key {
                *name = read;
            }
        }
        decoder.finish().map_err(RecordError::Key)?;
        Ok(Some((group, key)))
    }
}

impl CoordinatorRecord {
    /// A record that takes back what the key names.
    pub(crate) fn consumer_gone(group: &str, key: &Key) -> CoordinatorRecord {
        gone(key.kind(), group, key.name())
    }

    /// The last of those that take a consumer group back.
    pub(crate) fn consumer_end(group: &str) -> CoordinatorRecord {
        CoordinatorRecord::consumer_gone(group, &Key::Epoch)
    }

    pub(crate) fn consumer_epoch(group: &str, epoch: i32, metadata_hash: i64) -> CoordinatorRecord {
        consumer(group, &Key::Epoch, |encoder| {
            encoder.put(&epoch, VERSION);
            put_tagged_number(encoder, metadata_hash);
        })
    }

    pub(crate) fn consumer_metadata(group: &str, member: &str, metadata: &Metadata) -> CoordinatorRecord {
        consumer(group, &Key::Metadata(member.to_owned()), |encoder| {
            encoder.put(&metadata.instance_id, VERSION);
            encoder.put(&metadata.rack_id, VERSION);
            encoder.put(&metadata.client_id, VERSION);
            encoder.put(&metadata.client_host, VERSION);
            encoder.put(&metadata.names.iter().cloned().collect::<Vec<String>>(), VERSION);
            encoder.put(&metadata.regex, VERSION);
            encoder.put(&metadata.rebalance_timeout_ms, VERSION);
            encoder.put(&metadata.assignor, VERSION);
            let tags = encoder.tags();
            match &metadata.classic {
                None => encoder.tag(tags, 0, &0_i8, VERSION),
                // To Kafka its absence is one that says nothing.
                Some(classic) if *classic == Classic::default() => {}
                Some(classic) => encoder.tag(tags, 0, &StoredClassic(classic.clone()), VERSION),
            }
        })
    }

    pub(crate) fn consumer_target_epoch(group: &str, epoch: i32, at: UnixMillis) -> CoordinatorRecord {
        consumer(group, &Key::TargetEpoch, |encoder| {
            encoder.put(&epoch, VERSION);
            put_tagged_number(encoder, at.0);
        })
    }

    pub(crate) fn consumer_target(group: &str, member: &str, target: &Partitions) -> CoordinatorRecord {
        consumer(group, &Key::Target(member.to_owned()), |encoder| {
            let topic = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| TopicPartitions {
                topic: (*topic).into(),
                partitions: partitions.iter().copied().collect(),
                epochs: None,
            };
            encoder.put(&target.iter().map(topic).collect::<Vec<TopicPartitions>>(), VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn consumer_current(group: &str, member: &str, current: &Current) -> CoordinatorRecord {
        consumer(group, &Key::Current(member.to_owned()), |encoder| {
            encoder.put(&current.epoch, VERSION);
            encoder.put(&current.previous_epoch, VERSION);
            encoder.put(&current.state.number(), VERSION);
            encoder.put(&listed(&current.assigned), VERSION);
            encoder.put(&listed(&current.revoking), VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn consumer_regex(group: &str, regex: &str, resolved: &Resolved) -> CoordinatorRecord {
        consumer(group, &Key::Regex(regex.to_owned()), |encoder| {
            encoder.put(&resolved.topics.iter().cloned().collect::<Vec<String>>(), VERSION);
            encoder.put(&resolved.version, VERSION);
            encoder.put(&resolved.at.0, VERSION);
            encoder.tags();
        })
    }
}

fn consumer(group: &str, key: &Key, fields: impl FnOnce(&mut Encoder)) -> CoordinatorRecord {
    let value = Some(encode_with(VERSION, true, fields));
    CoordinatorRecord { value, ..CoordinatorRecord::consumer_gone(group, key) }
}

/// Reads a record by its kind and what follows that in its key; none where the kind is of another protocol.
pub(crate) fn read(kind: i16, key: Decoder, value: Option<&Bytes>) -> Result<Option<ConsumerChange>, RecordError> {
    let Some((group, key)) = Key::read(kind, key)? else { return Ok(None) };
    let value = value.map(|value| read_value(&key, value)).transpose()?;
    Ok(Some(ConsumerChange { group, key, value }))
}

fn read_value(key: &Key, value: &Bytes) -> Result<Value, RecordError> {
    let mut decoder = open_value(value, VERSION)?;
    let value = match key {
        Key::Epoch => {
            let epoch = decoder.get(VERSION);
            Value::Epoch { epoch, metadata_hash: tagged_number(&mut decoder) }
        }
        // A later version of it may come, and it says nothing here.
        Key::Partitions => return Ok(Value::Partitions),
        Key::Metadata(_) => Value::Metadata(read_metadata(&mut decoder)?),
        Key::TargetEpoch => {
            let epoch = decoder.get(VERSION);
            Value::TargetEpoch { epoch, at: UnixMillis(tagged_number(&mut decoder)) }
        }
        Key::Target(_) => Value::Target(read_target(&mut decoder)),
        Key::Current(_) => Value::Current(read_current(&mut decoder)),
        Key::Regex(_) => Value::Regex(read_regex(&mut decoder)),
    };
    decoder.finish().map_err(RecordError::Value)?;
    Ok(value)
}

fn read_metadata(decoder: &mut Decoder) -> Result<Metadata, RecordError> {
    let mut metadata = Metadata {
        instance_id: decoder.get(VERSION),
        rack_id: decoder.get(VERSION),
        client_id: decoder.get(VERSION),
        client_host: decoder.get(VERSION),
        names: decoder.get::<Vec<String>>(VERSION).into_iter().collect(),
        regex: decoder.get::<Option<String>>(VERSION).unwrap_or_default(),
        rebalance_timeout_ms: decoder.get(VERSION),
        assignor: decoder.get(VERSION),
        classic: Some(Classic::default()),
    };
    let mut tags = decoder.tags();
    while let Some(tag) = tags.next(decoder) {
        match tag {
            0 => metadata.classic = read_classic(decoder),
            _ => tags.skip(decoder),
        }
    }
    // An expression names a record of its own, and all that is said of a member of the classic protocol may come into its group's record.
    fits(&metadata.regex)?;
    if let Some(classic) = &metadata.classic {
        let texts = [&metadata.client_id, &metadata.client_host].into_iter().chain(&metadata.instance_id);
        let names = classic.protocols.iter().map(|protocol| &protocol.name);
        texts.chain(names).try_for_each(|text| fits(text))?;
    }
    Ok(metadata)
}

fn read_classic(decoder: &mut Decoder) -> Option<Classic> {
    let is_there = decoder.get::<i8>(VERSION) != 0;
    is_there.then(|| decoder.get::<StoredClassic>(VERSION).0)
}

fn read_target(decoder: &mut Decoder) -> Partitions {
    let topics: Vec<TopicPartitions> = decoder.get(VERSION);
    decoder.skip_tags();
    let mut target = Partitions::new();
    for TopicPartitions { topic, partitions, .. } in topics.into_iter().filter(|it| !it.partitions.is_empty()) {
        target.entry(topic.into()).or_default().extend(partitions);
    }
    target
}

fn read_current(decoder: &mut Decoder) -> Current {
    let epoch = decoder.get(VERSION);
    let previous_epoch = decoder.get(VERSION);
    let state = MemberState::of_number(decoder.get(VERSION));
    let (assigned, revoking) = (read_held(decoder, epoch), read_held(decoder, epoch));
    decoder.skip_tags();
    Current { epoch, previous_epoch, state, assigned, revoking }
}

fn read_held(decoder: &mut Decoder, member_epoch: i32) -> Held {
    let topics: Vec<TopicPartitions> = decoder.get(VERSION);
    let mut held = Held::new();
    for TopicPartitions { topic, partitions, epochs } in topics.into_iter().filter(|it| !it.partitions.is_empty()) {
        // Older brokers did not say when a partition was given.
        let epochs = epochs.filter(|epochs| epochs.len() == partitions.len());
        let epochs = epochs.unwrap_or_else(|| vec![member_epoch.max(0); partitions.len()]);
        held.entry(topic.into()).or_default().extend(partitions.into_iter().zip(epochs));
    }
    held
}

fn read_regex(decoder: &mut Decoder) -> Resolved {
    let topics = decoder.get::<Vec<String>>(VERSION).into_iter().collect();
    let resolved = Resolved { topics, version: decoder.get(VERSION), at: UnixMillis(decoder.get(VERSION)) };
    decoder.skip_tags();
    resolved
}

/// A topic's partitions, as both kinds of assignment have them.
#[derive(Debug, Default)]
struct TopicPartitions {
    topic: Uuid,
    partitions: Vec<i32>,
    epochs: Option<Vec<i32>>,
}

fn listed(held: &Held) -> Vec<TopicPartitions> {
    let topic = |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| TopicPartitions {
        topic: (*topic).into(),
        partitions: partitions.keys().copied().collect(),
        epochs: Some(partitions.values().copied().collect()),
    };
    held.iter().map(topic).collect()
}

impl Wire for TopicPartitions {
    const LEAST: usize = 18;

    fn read(decoder: &mut Decoder, version: i16) -> TopicPartitions {
        let (topic, partitions) = (decoder.get(version), decoder.get(version));
        let mut epochs = None;
        let mut tags = decoder.tags();
        while let Some(tag) = tags.next(decoder) {
            match tag {
                0 => epochs = decoder.get(version),
                _ => tags.skip(decoder),
            }
        }
        TopicPartitions { topic, partitions, epochs }
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.topic, version);
        encoder.put(&self.partitions, version);
        let tags = encoder.tags();
        if let Some(epochs) = &self.epochs {
            encoder.tag(tags, 0, epochs, version);
        }
    }
}
