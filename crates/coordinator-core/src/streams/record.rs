//! The records of a streams group, in the format of Kafka 4.3: one for the group's epoch, one for its topology, one for the epoch of its target,
//! three for each member.

use super::state::{Current, Held, HeldTasks, MemberState, Metadata, TaskSets, Tasks};
use crate::record::{CoordinatorRecord, RecordError, encode_with, gone, open_value, put_tagged_number, tagged_number};
use base::UnixMillis;
use bytes::Bytes;
use protocol::messages::streams_group_heartbeat_request::{KeyValue, TaskIds, Topology};
use protocol::wire::{Decoder, Encoder, Wire};
use std::collections::{BTreeMap, BTreeSet};

const EPOCH_KEY: i16 = 17;
const METADATA_KEY: i16 = 19;
const TARGET_EPOCH_KEY: i16 = 20;
const TARGET_KEY: i16 = 21;
const CURRENT_KEY: i16 = 22;
const TOPOLOGY_KEY: i16 = 23;

/// The only version of all these values. It has compact lengths and tagged fields. A topology, an endpoint and task ids are in it as in
/// this version of the request that brings them.
const VERSION: i16 = 0;

/// What a record of a streams group says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StreamsChange {
    pub(crate) group: String,
    pub(crate) key: Key,
    /// None takes back what the key names.
    pub(crate) value: Option<Value>,
}

/// What it is about: the group, or a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Epoch,
    Topology,
    TargetEpoch,
    Metadata(String),
    Target(String),
    Current(String),
}

/// What of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Epoch(Epoch),
    Topology(Topology),
    TargetEpoch { epoch: i32, at: UnixMillis },
    Metadata(Metadata),
    Target(TaskSets),
    Current(Current),
}

/// What is said of the group as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) epoch: i32,
    pub(crate) metadata_hash: i64,
    pub(crate) validated_topology_epoch: i32,
    pub(crate) assignment_configs: BTreeMap<String, String>,
}

impl Key {
    fn kind(&self) -> i16 {
        match self {
            Key::Epoch => EPOCH_KEY,
            Key::Topology => TOPOLOGY_KEY,
            Key::TargetEpoch => TARGET_EPOCH_KEY,
            Key::Metadata(_) => METADATA_KEY,
            Key::Target(_) => TARGET_KEY,
            Key::Current(_) => CURRENT_KEY,
        }
    }

    fn member(&self) -> Option<&String> {
        match self {
            Key::Epoch | Key::Topology | Key::TargetEpoch => None,
            Key::Metadata(member) | Key::Target(member) | Key::Current(member) => Some(member),
        }
    }

    fn read(kind: i16, mut decoder: Decoder) -> Result<Option<(String, Key)>, RecordError> {
        let group = decoder.get(0);
        let key = match kind {
            EPOCH_KEY => Key::Epoch,
            TOPOLOGY_KEY => Key::Topology,
            TARGET_EPOCH_KEY => Key::TargetEpoch,
            METADATA_KEY => Key::Metadata(decoder.get(0)),
            TARGET_KEY => Key::Target(decoder.get(0)),
            CURRENT_KEY => Key::Current(decoder.get(0)),
            _ => return Ok(None),
        };
        decoder.finish().map_err(RecordError::Key)?;
        Ok(Some((group, key)))
    }
}

impl CoordinatorRecord {
    /// A record that takes back what the key names.
    pub(crate) fn streams_gone(group: &str, key: &Key) -> CoordinatorRecord {
        gone(key.kind(), group, key.member())
    }

    pub(crate) fn streams_epoch(group: &str, epoch: &Epoch) -> CoordinatorRecord {
        streams(group, &Key::Epoch, |encoder| {
            encoder.put(&epoch.epoch, VERSION);
            encoder.put(&epoch.metadata_hash, VERSION);
            let tags = encoder.tags();
            if epoch.validated_topology_epoch != -1 {
                encoder.tag(tags, 0, &epoch.validated_topology_epoch, VERSION);
            }
            encoder.tag(tags, 1, &key_values(&epoch.assignment_configs), VERSION);
        })
    }

    pub(crate) fn streams_topology(group: &str, topology: &Topology) -> CoordinatorRecord {
        streams(group, &Key::Topology, |encoder| encoder.put(topology, VERSION))
    }

    pub(crate) fn streams_target_epoch(group: &str, epoch: i32, at: UnixMillis) -> CoordinatorRecord {
        streams(group, &Key::TargetEpoch, |encoder| {
            encoder.put(&epoch, VERSION);
            put_tagged_number(encoder, at.0);
        })
    }

    pub(crate) fn streams_metadata(group: &str, member: &str, metadata: &Metadata) -> CoordinatorRecord {
        streams(group, &Key::Metadata(member.to_owned()), |encoder| {
            encoder.put(&metadata.instance_id, VERSION);
            encoder.put(&metadata.rack_id, VERSION);
            encoder.put(&metadata.client_id, VERSION);
            encoder.put(&metadata.client_host, VERSION);
            encoder.put(&metadata.rebalance_timeout_ms, VERSION);
            encoder.put(&metadata.topology_epoch, VERSION);
            encoder.put(&metadata.process_id, VERSION);
            encoder.put(&metadata.endpoint, VERSION);
            encoder.put(&key_values(&metadata.tags), VERSION);
            encoder.tags();
        })
    }

    pub(crate) fn streams_target(group: &str, member: &str, target: &TaskSets) -> CoordinatorRecord {
        streams(group, &Key::Target(member.to_owned()), |encoder| {
            for tasks in [&target.active, &target.standby, &target.warmup] {
                encoder.put(&task_ids(tasks), VERSION);
            }
            encoder.tags();
        })
    }

    pub(crate) fn streams_current(group: &str, member: &str, current: &Current) -> CoordinatorRecord {
        streams(group, &Key::Current(member.to_owned()), |encoder| {
            encoder.put(&current.epoch, VERSION);
            encoder.put(&current.previous_epoch, VERSION);
            encoder.put(&current.state.number(), VERSION);
            for held in [&current.assigned, &current.revoking] {
                encoder.put(&listed_active(&held.active), VERSION);
                encoder.put(&listed(&held.standby), VERSION);
                encoder.put(&listed(&held.warmup), VERSION);
            }
            encoder.tags();
        })
    }
}

fn streams(group: &str, key: &Key, fields: impl FnOnce(&mut Encoder)) -> CoordinatorRecord {
    let value = Some(encode_with(VERSION, true, fields));
    CoordinatorRecord { value, ..CoordinatorRecord::streams_gone(group, key) }
}

/// Reads a record by its kind and what follows that in its key; none where the kind is of another protocol.
pub(crate) fn read(kind: i16, key: Decoder, value: Option<&Bytes>) -> Result<Option<StreamsChange>, RecordError> {
    let Some((group, key)) = Key::read(kind, key)? else { return Ok(None) };
    let value = value.map(|value| read_value(&key, value)).transpose()?;
    Ok(Some(StreamsChange { group, key, value }))
}

fn read_value(key: &Key, value: &Bytes) -> Result<Value, RecordError> {
    let mut decoder = open_value(value, VERSION)?;
    let value = match key {
        Key::Epoch => Value::Epoch(read_epoch(&mut decoder)),
        Key::Topology => Value::Topology(decoder.get(VERSION)),
        Key::TargetEpoch => {
            let epoch = decoder.get(VERSION);
            Value::TargetEpoch { epoch, at: UnixMillis(tagged_number(&mut decoder)) }
        }
        Key::Metadata(_) => Value::Metadata(read_metadata(&mut decoder)),
        Key::Target(_) => {
            let mut next = || tasks_of(decoder.get(VERSION));
            let target = TaskSets { active: next(), standby: next(), warmup: next() };
            decoder.skip_tags();
            Value::Target(target)
        }
        Key::Current(_) => Value::Current(read_current(&mut decoder)),
    };
    decoder.finish().map_err(RecordError::Value)?;
    Ok(value)
}

fn read_epoch(decoder: &mut Decoder) -> Epoch {
    let (epoch, metadata_hash) = (decoder.get(VERSION), decoder.get(VERSION));
    let mut read = Epoch { epoch, metadata_hash, validated_topology_epoch: -1, ..Epoch::default() };
    let mut tags = decoder.tags();
    while let Some(tag) = tags.next(decoder) {
        match tag {
            0 => read.validated_topology_epoch = decoder.get(VERSION),
            1 => read.assignment_configs = map_of(decoder.get::<Option<Vec<KeyValue>>>(VERSION).unwrap_or_default()),
            _ => tags.skip(decoder),
        }
    }
    read
}

fn read_metadata(decoder: &mut Decoder) -> Metadata {
    let metadata = Metadata {
        instance_id: decoder.get(VERSION),
        rack_id: decoder.get(VERSION),
        client_id: decoder.get(VERSION),
        client_host: decoder.get(VERSION),
        rebalance_timeout_ms: decoder.get(VERSION),
        topology_epoch: decoder.get(VERSION),
        process_id: decoder.get(VERSION),
        endpoint: decoder.get(VERSION),
        tags: map_of(decoder.get(VERSION)),
    };
    decoder.skip_tags();
    metadata
}

fn read_current(decoder: &mut Decoder) -> Current {
    let (epoch, previous_epoch) = (decoder.get(VERSION), decoder.get(VERSION));
    let state = MemberState::of_number(decoder.get(VERSION));
    let (assigned, revoking) = (read_held(decoder, epoch), read_held(decoder, epoch));
    decoder.skip_tags();
    Current { epoch, previous_epoch, state, assigned, revoking }
}

fn read_held(decoder: &mut Decoder, member_epoch: i32) -> Held {
    let mut active = HeldTasks::new();
    for HeldIds { subtopology_id, partitions, epochs } in decoder.get::<Vec<HeldIds>>(VERSION) {
        if !partitions.is_empty() {
            // Older brokers did not say when a task was given.
            let epochs = epochs.filter(|epochs| epochs.len() == partitions.len());
            let epochs = epochs.unwrap_or_else(|| vec![member_epoch.max(0); partitions.len()]);
            active.entry(subtopology_id).or_default().extend(partitions.into_iter().zip(epochs));
        }
    }
    let mut next = || {
        let ids = decoder.get::<Vec<HeldIds>>(VERSION).into_iter();
        tasks_of(ids.map(|HeldIds { subtopology_id, partitions, .. }| TaskIds { subtopology_id, partitions }).collect())
    };
    Held { active, standby: next(), warmup: next() }
}

fn key_values(map: &BTreeMap<String, String>) -> Vec<KeyValue> {
    map.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect()
}

fn map_of(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter().map(|KeyValue { key, value }| (key, value)).collect()
}

fn task_ids(tasks: &Tasks) -> Vec<TaskIds> {
    let ids = |(subtopology_id, partitions): (&String, &BTreeSet<i32>)| TaskIds {
        subtopology_id: subtopology_id.clone(),
        partitions: partitions.iter().copied().collect(),
    };
    tasks.iter().map(ids).collect()
}

fn tasks_of(ids: Vec<TaskIds>) -> Tasks {
    let mut tasks = Tasks::new();
    for TaskIds { subtopology_id, partitions } in ids.into_iter().filter(|ids| !ids.partitions.is_empty()) {
        tasks.entry(subtopology_id).or_default().extend(partitions);
    }
    tasks
}

/// A subtopology's tasks that a member has.
#[derive(Debug, Default)]
struct HeldIds {
    subtopology_id: String,
    partitions: Vec<i32>,
    /// Of active tasks.
    epochs: Option<Vec<i32>>,
}

fn listed_active(held: &HeldTasks) -> Vec<HeldIds> {
    let ids = |(subtopology_id, tasks): (&String, &BTreeMap<i32, i32>)| HeldIds {
        subtopology_id: subtopology_id.clone(),
        partitions: tasks.keys().copied().collect(),
        epochs: Some(tasks.values().copied().collect()),
    };
    held.iter().map(ids).collect()
}

fn listed(tasks: &Tasks) -> Vec<HeldIds> {
    let ids = |TaskIds { subtopology_id, partitions }| HeldIds { subtopology_id, partitions, epochs: None };
    task_ids(tasks).into_iter().map(ids).collect()
}

impl Wire for HeldIds {
    const LEAST: usize = 3;

    fn read(decoder: &mut Decoder, version: i16) -> HeldIds {
        let (subtopology_id, partitions) = (decoder.get(version), decoder.get(version));
        let mut epochs = None;
        let mut tags = decoder.tags();
        while let Some(tag) = tags.next(decoder) {
            match tag {
                0 => epochs = decoder.get(version),
                _ => tags.skip(decoder),
            }
        }
        HeldIds { subtopology_id, partitions, epochs }
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.subtopology_id, version);
        encoder.put(&self.partitions, version);
        let tags = encoder.tags();
        if let Some(epochs) = &self.epochs {
            encoder.tag(tags, 0, epochs, version);
        }
    }
}
