//! The records of `__transaction_state`, in Kafka's own format: what a transactional id is rebuilt from.
//!
//! A key is the number 0 and the id. A value begins with its version: 0 and 1 are read, 1 is written, as Kafka does from `transaction.version` 1
//! on. Its tagged fields are the producer id before (0), the one that follows (1) and the client's transaction version (2); Kafka 4.3 defines an
//! epoch of the one that follows as well (3) and never writes it. A record without a value takes the id back.

use crate::record::{CoordinatorRecord, TEXT_BYTES_MAX};
use crate::transactions::state::{
    ClientVersion, NO_EPOCH, NO_ID, NamedTopicPartitions, Producer, Transaction, TransactionState,
};
use base::UnixMillis;
use bytes::Bytes;
use protocol::wire::{DecodeError, Decoder, Encoder, Wire};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 1;

/// No time.
const NO_TIME: i64 = -1;

/// A record that is not what its version says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionRecordError {
    #[error("a key that can't be read: {0}")]
    Key(DecodeError),
    #[error("a value that can't be read: {0}")]
    Value(DecodeError),
    #[error("a value of the unknown version {0}")]
    Version(i16),
    #[error("a transaction in the state {0}, which is never stored")]
    State(i8),
    #[error("the unknown transaction version {0}")]
    ClientVersion(i16),
    #[error("a text of {0} bytes")]
    Text(usize),
}

/// A record that says nothing: an id taken back that no client can have, as it is empty. Its confirmation proves that its
/// writer still owned the partition.
#[must_use]
pub fn transaction_record_of_nothing() -> CoordinatorRecord {
    record("", None)
}

/// A transactional id as it stands, or taken back.
pub(crate) fn record(id: &str, transaction: Option<&Transaction>) -> CoordinatorRecord {
    let key = encode(KEY_VERSION, |encoder| encoder.put(&id.to_owned(), 0));
    let value = transaction.map(|it| encode(VALUE_VERSION, |encoder| write(encoder, it)));
    CoordinatorRecord { key, value }
}

/// What a record says of which id; nothing where it is of a kind that is not known.
pub(crate) fn decode(
    record: &CoordinatorRecord,
) -> Result<Option<(String, Option<Transaction>)>, TransactionRecordError> {
    let mut key = Decoder::new(record.key.clone());
    let kind: i16 = key.get(0);
    key.so_far().map_err(TransactionRecordError::Key)?;
    if kind != KEY_VERSION {
        return Ok(None);
    }
    let id: String = key.get(0);
    key.finish().map_err(TransactionRecordError::Key)?;
    let transaction = record.value.clone().map(read).transpose()?;
    Ok(Some((id, transaction)))
}

fn encode(version: i16, fields: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut encoder = Encoder::new();
    encoder.put(&version, 0);
    encoder.set_flexible(version == VALUE_VERSION);
    fields(&mut encoder);
    encoder.finish().expect("every text was measured when it came in").into_bytes()
}

fn write(encoder: &mut Encoder, transaction: &Transaction) {
    encoder.put(&transaction.producer.id, 0);
    encoder.put(&transaction.producer.epoch, 0);
    encoder.put(&transaction.timeout_ms, 0);
    let place = TransactionState::ALL.iter().position(|state| *state == transaction.state);
    encoder.put(&i8::try_from(place.unwrap_or_default()).expect("there are eight states"), 0);
    // Null is not the same as none: Kafka tells the one that never began apart.
    let is_there = transaction.state != TransactionState::Empty;
    encoder.put(&is_there.then(|| topics_of(&transaction.partitions)), 0);
    encoder.put(&transaction.updated_at.0, 0);
    encoder.put(&transaction.started_at.map_or(NO_TIME, |at| at.0), 0);
    let tags = encoder.tags();
    if transaction.id_before != NO_ID {
        encoder.tag(tags, 0, &transaction.id_before, 0);
    }
    if transaction.id_next != NO_ID {
        encoder.tag(tags, 1, &transaction.id_next, 0);
    }
    if transaction.version != ClientVersion::V0 {
        encoder.tag(tags, 2, &transaction.version.level(), 0);
    }
}

fn read(value: Bytes) -> Result<Transaction, TransactionRecordError> {
    let mut decoder = Decoder::new(value);
    let version: i16 = decoder.get(0);
    decoder.so_far().map_err(TransactionRecordError::Value)?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(TransactionRecordError::Version(version));
    }
    decoder.set_flexible(version == VALUE_VERSION);
    let producer = Producer { id: decoder.get(0), epoch: decoder.get(0) };
    let timeout_ms = decoder.get(0);
    let number: i8 = decoder.get(0);
    let topics: Option<Vec<Topic>> = decoder.get(0);
    let updated_at = UnixMillis(decoder.get(0));
    let started_at: i64 = decoder.get(0);
    let (mut id_before, mut id_next, mut level) = (NO_ID, NO_ID, 0);
    let mut tags = decoder.tags();
    while let Some(tag) = tags.next(&mut decoder) {
        match tag {
            0 => id_before = decoder.get(0),
            1 => id_next = decoder.get(0),
            2 => level = decoder.get(0),
            _ => tags.skip(&mut decoder),
        }
    }
    decoder.finish().map_err(TransactionRecordError::Value)?;
    Ok(Transaction {
        id_before,
        id_next,
        state: state_of(number)?,
        partitions: partitions_of(topics.unwrap_or_default())?,
        started_at: (started_at != NO_TIME).then_some(UnixMillis(started_at)),
        version: ClientVersion::of_level(level).ok_or(TransactionRecordError::ClientVersion(level))?,
        last_epoch: NO_EPOCH,
        ..Transaction::new(producer, timeout_ms, updated_at)
    })
}

fn state_of(number: i8) -> Result<TransactionState, TransactionRecordError> {
    let state = usize::try_from(number).ok().and_then(|place| TransactionState::ALL.get(place).copied());
    match state {
        None | Some(TransactionState::Dead | TransactionState::PrepareEpochFence) => {
            Err(TransactionRecordError::State(number))
        }
        Some(state) => Ok(state),
    }
}

/// A topic with its partitions, as it is stored.
#[derive(Debug, Default)]
struct Topic {
    name: String,
    partitions: Vec<i32>,
}

impl Wire for Topic {
    const LEAST: usize = 2;

    fn read(decoder: &mut Decoder, version: i16) -> Topic {
        let topic = Topic { name: decoder.get(version), partitions: decoder.get(version) };
        decoder.skip_tags();
        topic
    }

    fn write(&self, encoder: &mut Encoder, version: i16) {
        encoder.put(&self.name, version);
        encoder.put(&self.partitions, version);
        encoder.tags();
    }
}

fn topics_of(partitions: &NamedTopicPartitions) -> Vec<Topic> {
    let of = |(name, ids): (&String, &std::collections::BTreeSet<i32>)| Topic {
        name: name.clone(),
        partitions: ids.iter().copied().collect(),
    };
    partitions.iter().map(of).collect()
}

fn partitions_of(topics: Vec<Topic>) -> Result<NamedTopicPartitions, TransactionRecordError> {
    let mut partitions = NamedTopicPartitions::new();
    for Topic { name, partitions: ids } in topics {
        if name.len() > TEXT_BYTES_MAX {
            return Err(TransactionRecordError::Text(name.len()));
        }
        partitions.entry(name).or_default().extend(ids);
    }
    Ok(partitions)
}
