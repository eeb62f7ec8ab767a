//! AddPartitionsToTxn and AddOffsetsToTxn: partitions become part of a transaction, which begins with the first; and the question of a
//! partition's owner whether it is part of one (KIP-890).

use crate::groups::Now;
use crate::partition::partition_of;
use crate::record::TEXT_BYTES_MAX;
use crate::transactions::effects::{TransactionEffects, TransactionError};
use crate::transactions::record::record;
use crate::transactions::registry::Transactions;
use crate::transactions::rule;
use crate::transactions::state::{
    ClientVersion, NamedTopicPartitions, Producer, Transaction, TransactionState, partitions_bytes,
};

/// Where offsets are committed: a group's partition there is part of the transaction like any other.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// An AddPartitionsToTxn request for one transactional id, from a client or, under version 2, from a partition's owner.
#[derive(Debug, Clone)]
pub struct AddRequest {
    pub transactional_id: String,
    pub producer: Producer,
    pub version: ClientVersion,
    pub partitions: NamedTopicPartitions,
}

impl Transactions {
    /// Adds all of the partitions, or none. Told when confirmed: a partition takes data only then (F-4).
    ///
    /// # Errors
    /// None is added, and why.
    pub fn add(&mut self, now: Now, request: AddRequest, fx: &mut TransactionEffects) -> Result<(), TransactionError> {
        let AddRequest { transactional_id: id, producer, version, partitions } = request;
        let known = self.find_of(&id)?;
        // F-3; before the producer is compared, as under version 2 it may be told its next id before the transaction is complete.
        if rule!("F11", known.state.is_prepared(), false) {
            return Err(TransactionError::Concurrent);
        }
        check_producer(known, producer)?;
        if partitions.keys().any(|topic| topic.len() > TEXT_BYTES_MAX) {
            return Err(TransactionError::InvalidRequest);
        }
        let is_open = known.state == TransactionState::Ongoing;
        if is_open && holds(&known.partitions, &partitions) {
            return Ok(());
        }
        let mut joined = known.partitions.clone();
        for (topic, ids) in partitions {
            joined.entry(topic).or_default().extend(ids);
        }
        if partitions_bytes(&joined).saturating_sub(partitions_bytes(&known.partitions)) > self.room {
            return Err(TransactionError::NoRoom);
        }
        let transaction = Transaction {
            state: TransactionState::Ongoing,
            id_before: known.producer.id,
            partitions: joined,
            started_at: if is_open { known.started_at } else { Some(now.wall) },
            updated_at: now.wall,
            version,
            ..known.clone()
        };
        if record(&id, Some(&transaction)).len() > self.options.record_bytes_max {
            return Err(TransactionError::RecordTooLarge);
        }
        self.store(&id, transaction, now, fx);
        Ok(())
    }

    /// Adds the partition that a group's offsets are in: AddOffsetsToTxn.
    ///
    /// # Errors
    /// As [`Transactions::add`].
    pub fn add_offsets(
        &mut self,
        now: Now,
        request: AddRequest,
        (group, offsets_partitions): (&str, u32),
        fx: &mut TransactionEffects,
    ) -> Result<(), TransactionError> {
        let partition = i32::try_from(partition_of(group, offsets_partitions)).unwrap_or(i32::MAX);
        let partitions = NamedTopicPartitions::from([(OFFSETS_TOPIC.to_owned(), [partition].into())]);
        self.add(now, AddRequest { partitions, ..request }, fx)
    }

    /// What a partition's owner is told that asks whether it is in the transaction (`verifyOnly`). Others act on it, so it must be read as what is
    /// current: when something appended since the question came is confirmed (F-1).
    ///
    /// # Errors
    /// It is not, and why.
    pub fn verify(&self, id: &str, producer: Producer, topic: &str, partition: i32) -> Result<(), TransactionError> {
        let known = self.find_of(id)?;
        check_producer(known, producer)?;
        if known.state.is_prepared() {
            return Err(TransactionError::Concurrent);
        }
        let is_in = known.partitions.get(topic).is_some_and(|ids| ids.contains(&partition));
        if is_in { Ok(()) } else { Err(TransactionError::NotInTransaction) }
    }

    pub(crate) fn find_of(&self, id: &str) -> Result<&Transaction, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        self.transactions.get(id).ok_or(TransactionError::UnknownProducer)
    }
}

/// Whether a request comes from the present producer.
fn check_producer(known: &Transaction, producer: Producer) -> Result<(), TransactionError> {
    if known.producer.id != producer.id {
        return Err(TransactionError::UnknownProducer);
    }
    let is_current = rule!("a fenced producer adds nothing", known.producer.epoch == producer.epoch, true);
    if is_current { Ok(()) } else { Err(TransactionError::Fenced) }
}

fn holds(all: &NamedTopicPartitions, some: &NamedTopicPartitions) -> bool {
    some.iter().all(|(topic, ids)| all.get(topic).map_or(ids.is_empty(), |held| ids.is_subset(held)))
}
