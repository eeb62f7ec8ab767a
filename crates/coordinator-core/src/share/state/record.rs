//! The records of `__share_group_state`, in Kafka's own format: a snapshot of a share-partition, kind 0, or an update of it, kind 1, with the
//! same key beside the kind. A snapshot without a value takes the share-partition back.

use crate::record::{CoordinatorRecord, RecordError, encode_with};
use crate::share::state::batches::{StateBatch, combine};
use crate::share::state::key::ShareStateKey;
use crate::share::state::registry::State;
use crate::share::state::write::Update;
use base::{TopicId, UnixMillis};
use bytes::Bytes;
use protocol::wire::{Decoder, Encoder, Uuid, Wire};
use std::sync::Arc;

const SNAPSHOT_KEY: i16 = 0;
const UPDATE_KEY: i16 = 1;

/// The only version of both values. It has compact lengths and tagged fields.
const VERSION: i16 = 0;

/// Where a record does not say how many are complete.
const UNKNOWN_COUNT: i32 = -1;

/// What a record says; none of the values: it takes something back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StateChange {
    Snapshot(ShareStateKey, Option<State>),
    Update(ShareStateKey, Option<Update>),
    /// Of a kind that is not known.
    Other,
}

/// A record that says nothing: what is taken back is no share-partition, as no group has an empty name. Its confirmation proves that
/// its writer still owned the partition.
#[must_use]
pub fn share_state_record_of_nothing() -> CoordinatorRecord {
    tombstone(&ShareStateKey { group: Arc::default(), topic: TopicId::default(), partition: -1 })
}

pub(crate) fn tombstone(key: &ShareStateKey) -> CoordinatorRecord {
    CoordinatorRecord { key: encode_key(SNAPSHOT_KEY, key), value: None }
}

pub(crate) fn snapshot_record(key: &ShareStateKey, state: &State) -> CoordinatorRecord {
    let value = encode_with(VERSION, true, |encoder| {
        encoder.put(&state.snapshot_epoch, VERSION);
        encoder.put(&state.state_epoch, VERSION);
        encoder.put(&state.leader_epoch, VERSION);
        encoder.put(&state.start_offset, VERSION);
        encoder.put(&state.created_at.0, VERSION);
        encoder.put(&state.written_at.0, VERSION);
        encoder.put(&state.batches, VERSION);
        write_count(encoder, state.delivery_complete_count);
    });
    CoordinatorRecord { key: encode_key(SNAPSHOT_KEY, key), value: Some(value) }
}

pub(crate) fn update_record(key: &ShareStateKey, update: &Update) -> CoordinatorRecord {
    let value = encode_with(VERSION, true, |encoder| {
        encoder.put(&update.snapshot_epoch, VERSION);
        encoder.put(&update.leader_epoch, VERSION);
        encoder.put(&update.start_offset, VERSION);
        encoder.put(&update.batches, VERSION);
        write_count(encoder, update.delivery_complete_count);
    });
    CoordinatorRecord { key: encode_key(UPDATE_KEY, key), value: Some(value) }
}

fn encode_key(kind: i16, key: &ShareStateKey) -> Bytes {
    encode_with(kind, false, |encoder| {
        encoder.put(&key.group.to_string(), 0);
        encoder.put(&Uuid::from(key.topic), 0);
        encoder.put(&key.partition, 0);
    })
}

/// KIP-1226.
fn write_count(encoder: &mut Encoder, count: i32) {
    let tags = encoder.tags();
    if count != UNKNOWN_COUNT {
        encoder.tag(tags, 0, &count, VERSION);
    }
}

/// Reads a record.
pub(crate) fn decode(record: &CoordinatorRecord) -> Result<StateChange, RecordError> {
    let mut decoder = Decoder::new(record.key.clone());
    let kind: i16 = decoder.get(0);
    decoder.so_far().map_err(RecordError::Key)?;
    if !(SNAPSHOT_KEY..=UPDATE_KEY).contains(&kind) {
        return Ok(StateChange::Other);
    }
    let group = decoder.get::<String>(0).into();
    let topic = decoder.get::<Uuid>(0).into();
    let partition = decoder.get(0);
    decoder.finish().map_err(RecordError::Key)?;
    let key = ShareStateKey { group, topic, partition };
    let value = record.value.as_ref();
    Ok(if kind == SNAPSHOT_KEY {
        StateChange::Snapshot(key, value.map(|value| read_value(value, read_snapshot)).transpose()?)
    } else {
        StateChange::Update(key, value.map(|value| read_value(value, read_update)).transpose()?)
    })
}

fn read_value<T>(value: &Bytes, read: impl FnOnce(&mut Decoder) -> T) -> Result<T, RecordError> {
    let mut decoder = Decoder::new(value.clone());
    let version: i16 = decoder.get(0);
    decoder.so_far().map_err(RecordError::Value)?;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    decoder.set_flexible(true);
    let value = read(&mut decoder);
    decoder.finish().map_err(RecordError::Value)?;
    Ok(value)
}

fn read_snapshot(decoder: &mut Decoder) -> State {
    let mut state = State {
        snapshot_epoch: decoder.get(VERSION),
        state_epoch: decoder.get(VERSION),
        leader_epoch: decoder.get(VERSION),
        start_offset: decoder.get(VERSION),
        delivery_complete_count: UNKNOWN_COUNT,
        created_at: UnixMillis(decoder.get(VERSION)),
        written_at: UnixMillis(decoder.get(VERSION)),
        batches: read_batches(decoder),
    };
    state.delivery_complete_count = read_count(decoder);
    state
}

fn read_update(decoder: &mut Decoder) -> Update {
    let mut update = Update {
        snapshot_epoch: decoder.get(VERSION),
        leader_epoch: decoder.get(VERSION),
        start_offset: decoder.get(VERSION),
        delivery_complete_count: UNKNOWN_COUNT,
        batches: read_batches(decoder),
    };
    update.delivery_complete_count = read_count(decoder);
    update
}

/// In order, whatever the record has.
fn read_batches(decoder: &mut Decoder) -> Vec<StateBatch> {
    combine(&[], &decoder.get::<Vec<StateBatch>>(VERSION), i64::MIN)
}

fn read_count(decoder: &mut Decoder) -> i32 {
    let mut count = UNKNOWN_COUNT;
    let mut tags = decoder.tags();
    while let Some(tag) = tags.next(decoder) {
        match tag {
            0 => count = decoder.get(VERSION),
            _ => tags.skip(decoder),
        }
    }
    count
}

impl Wire for StateBatch {
    const LEAST: usize = 20;

    fn read(decoder: &mut Decoder, version: i16) -> StateBatch {
        let batch = StateBatch {
            first_offset: decoder.get(version),
            last_offset: decoder.get(version),
            delivery_state: decoder.get(version),
            delivery_count: decoder.get(version),
        };
        decoder.skip_tags();
        batch
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.first_offset, version);
        encoder.put(&self.last_offset, version);
        encoder.put(&self.delivery_state, version);
        encoder.put(&self.delivery_count, version);
        encoder.tags();
    }
}
