//! One life of a producer: from InitProducerId, which fences whoever had its transactional id before, until it is fenced itself.
//!
//! It does what Kafka's clients do: the same request again until its fate is known, an abort where the transaction can't go on. Under version
//! 1 a request whose answer was lost may come late and be taken for part of the next transaction; such a life has itself told a new epoch
//! before it goes on.

use super::client::Speaker;
use super::{Parts, Version};
use crate::checker::transactions::ProducerEpoch;
use crate::workload::batch::{self, Record, Stamp};
use crate::workload::client::{Failure, RETRIABLE};
use crate::workload::{Shared, breathe};
use crate::world::true_wall;
use base::Seed;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;

/// Tries of one request before a life ends.
const TRIES_MAX: u32 = 40;
/// How long a transaction may take, in milliseconds.
const TIMEOUT_MS: [u64; 2] = [1_000, 4_000];
/// Transactions after which a life has itself told a new epoch without need.
const RENEWED_PER_MILLE: u64 = 120;
/// Bytes of a value beside its number at the most.
const VALUE_BYTES_MAX: u64 = 60;

/// Kafka's errors that say *not yet*: a coordinator loads, is not available, is another one; concurrent transactions; unstable offset.
const NOT_YET: [i16; 5] = [14, 15, 16, 51, 88];
/// Somebody else is the producer now, or the transaction was too old: invalid producer epoch, invalid transaction state, invalid mapping,
/// fenced.
const FENCED: [i16; 4] = [47, 48, 49, 90];
/// The transaction can only be aborted.
const ABORTABLE: i16 = 120;

/// Why a transaction did not come to an end that its producer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The life is over.
    Life,
    /// The producer lives on, but for this transaction.
    Transaction,
}

/// A producer that lives.
pub(super) struct Life {
    pub(super) speaker: Speaker,
    pub(super) version: Version,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
    number: u64,
    producer: ProducerEpoch,
    timeout_ms: u64,
    /// Next sequence by partition, in this epoch.
    sequences: BTreeMap<usize, i32>,
    /// An answer was lost.
    is_tainted: bool,
}

impl Life {
    /// Begins a life; none, where the workload stops.
    pub(super) async fn begin(
        shared: &Arc<Shared>,
        speaker: Speaker,
        seed: &mut Seed,
        stopped: &watch::Receiver<bool>,
    ) -> Option<Life> {
        let version = if seed.chance(300) { Version::One } else { Version::Two };
        let mut life = Life {
            speaker,
            version,
            shared: Arc::clone(shared),
            stopped: stopped.clone(),
            number: shared.transactions.lives(),
            producer: (-1, -1),
            timeout_ms: seed.between(TIMEOUT_MS[0], TIMEOUT_MS[1]),
            sequences: BTreeMap::new(),
            is_tainted: false,
        };
        loop {
            match life.init(None).await {
                Ok(()) => return Some(life),
                Err(failure) => {
                    if life.judge(&failure) == Some(Over::Life) {
                        life.note("a new producer", &failure);
                    }
                }
            }
            if *stopped.borrow() {
                return None;
            }
            breathe(seed, 200).await;
        }
    }

    async fn init(&mut self, expected: Option<ProducerEpoch>) -> Result<(), Failure> {
        let timeout_ms = i32::try_from(self.timeout_ms).unwrap_or(i32::MAX);
        let producer = self.speaker.init(timeout_ms, expected).await?;
        let transactions = &self.shared.transactions;
        transactions.took_over(&self.speaker.id, producer);
        transactions.told(self.number, producer);
        if self.version == Version::One {
            let mut by_version_1 = self.shared.by_version_1.lock().unwrap_or_else(PoisonError::into_inner);
            by_version_1.insert(producer);
        }
        self.now_is(producer);
        Ok(())
    }

    fn now_is(&mut self, producer: ProducerEpoch) {
        if self.producer != producer {
            self.producer = producer;
            self.sequences.clear();
        }
    }

    /// Begins a transaction in the checker's books; nobody else hears of it yet.
    pub(super) fn transaction(&self) -> usize {
        self.shared.transactions.begins(&self.speaker.id, self.producer)
    }

    /// Tells the coordinator, as version 1 does.
    pub(super) async fn name(&mut self, partitions: &[usize], seed: &mut Seed) -> Result<(), Over> {
        if self.version == Version::Two {
            return Ok(());
        }
        for _ in 0..TRIES_MAX {
            match self.speaker.add_partitions(self.producer, partitions).await {
                Ok(()) => return Ok(()),
                Err(failure) => self.go_on(&failure, "partitions of a transaction", seed).await?,
            }
        }
        Err(Over::Life)
    }

    /// Writes so many records to each of these partitions, until all are acknowledged.
    pub(super) async fn write(
        &mut self,
        transaction: usize,
        counts: &BTreeMap<usize, usize>,
        seed: &mut Seed,
    ) -> Result<(), Over> {
        let mut left = Vec::new();
        let mut numbers = BTreeMap::new();
        for (partition, count) in counts.iter().filter(|(_, count)| **count > 0) {
            let sent = self.shared.transactions.sends(transaction, *partition, *count);
            left.push((*partition, self.batch(*partition, &sent, seed)));
            numbers.insert(*partition, sent);
        }
        for _ in 0..TRIES_MAX {
            let outcomes = self.speaker.produce(self.version, &left).await;
            let mut failed = None;
            for ((partition, batch), outcome) in std::mem::take(&mut left).into_iter().zip(outcomes) {
                match outcome {
                    Ok(base) => self.shared.transactions.stored(&numbers[&partition], base),
                    Err(failure) => {
                        left.push((partition, batch));
                        // One that ends it says more than one that does not.
                        if failed.is_none() || self.judge(&failure).is_some() {
                            failed = Some(failure);
                        }
                    }
                }
            }
            let Some(failure) = failed else { return Ok(()) };
            self.go_on(&failure, "a batch of a transaction", seed).await?;
        }
        Err(Over::Life)
    }

    /// Sends a last batch and does not wait for it, as a client does that aborts with something under way: what comes behind the end of its
    /// transaction is refused, and what comes before is aborted. Only of version 2: of version 1 it may become part of the next one.
    pub(super) async fn throw(&mut self, transaction: usize, partition: usize, seed: &mut Seed) {
        if self.version == Version::Two {
            let sent = self.shared.transactions.sends(transaction, partition, 1);
            let batch = self.batch(partition, &sent, seed);
            self.speaker.throw((partition, batch)).await;
        }
    }

    fn batch(&mut self, partition: usize, numbers: &[u64], seed: &mut Seed) -> Bytes {
        let first_sequence = *self.sequences.entry(partition).or_default();
        self.sequences.insert(partition, first_sequence + i32::try_from(numbers.len()).unwrap_or(0));
        let record = |number: &u64| {
            let mut value = BytesMut::new();
            value.put_u64(*number);
            value.put_bytes(b'.', usize::try_from(seed.below(VALUE_BYTES_MAX)).unwrap_or(0));
            Record { timestamp: true_wall().0, value: value.freeze() }
        };
        let records: Vec<Record> = numbers.iter().map(record).collect();
        let (id, epoch) = self.producer;
        batch::encode_stamped(&records, &Stamp { id, epoch, first_sequence, transactional: true })
    }

    /// Sends offsets with the transaction.
    pub(super) async fn send_offsets(
        &mut self,
        transaction: usize,
        offsets: &BTreeMap<usize, i64>,
        seed: &mut Seed,
    ) -> Result<(), Over> {
        let mut is_named = self.version == Version::Two;
        for _ in 0..TRIES_MAX {
            let tried = if is_named {
                self.speaker.send_offsets(self.version, self.producer, transaction, offsets).await
            } else {
                self.speaker.add_offsets(self.producer).await
            };
            match tried {
                Ok(()) if is_named => return Ok(()),
                Ok(()) => is_named = true,
                Err(failure) => self.go_on(&failure, "offsets of a transaction", seed).await?,
            }
        }
        Err(Over::Life)
    }

    /// Ends the transaction and makes ready for the next one.
    pub(super) async fn end(&mut self, transaction: usize, commit: bool, seed: &mut Seed) -> Result<(), Over> {
        if commit {
            self.shared.transactions.asks_commit(transaction);
        }
        for _ in 0..TRIES_MAX {
            match self.speaker.end(self.version, self.producer, commit).await {
                Ok(producer) => {
                    if commit {
                        self.shared.transactions.committed(transaction);
                    }
                    self.shared.cluster.universe().trace.count("workload.txn_ended");
                    self.shared.transactions.told(self.number, producer);
                    self.now_is(producer);
                    return self.begin_anew(seed).await;
                }
                Err(failure) => match self.go_on(&failure, "the end of a transaction", seed).await {
                    // Nothing is left to abort.
                    Err(Over::Transaction) => return Err(Over::Life),
                    other => other?,
                },
            }
        }
        Err(Over::Life)
    }

    /// Where an answer of version 1 was lost, nobody knows when the request comes: a new epoch makes it worthless. Others have themselves told
    /// one now and then, as clients do after an error (KIP-360).
    async fn begin_anew(&mut self, seed: &mut Seed) -> Result<(), Over> {
        let is_needed = self.version == Version::One && self.is_tainted;
        if !is_needed && !seed.chance(RENEWED_PER_MILLE) {
            return Ok(());
        }
        let expected = seed.chance(700).then_some(self.producer);
        for _ in 0..TRIES_MAX {
            match self.init(expected).await {
                Ok(()) => {
                    self.is_tainted = false;
                    return Ok(());
                }
                Err(failure) => self.go_on(&failure, "a new epoch", seed).await?,
            }
        }
        Err(Over::Life)
    }

    /// Waits, where the same request is to be sent again; else what is over.
    async fn go_on(&mut self, failure: &Failure, what: &str, seed: &mut Seed) -> Result<(), Over> {
        if let Some(over) = self.judge(failure) {
            self.note(what, failure);
            return Err(over);
        }
        if !matches!(failure, Failure::Kafka(_)) {
            self.is_tainted = true;
        }
        if *self.stopped.borrow() {
            return Err(Over::Life);
        }
        breathe(seed, 150).await;
        Ok(())
    }

    /// What is over by a failure; none, where the same request may be sent again.
    fn judge(&self, failure: &Failure) -> Option<Over> {
        match failure {
            Failure::Kafka(ABORTABLE) => Some(Over::Transaction),
            Failure::Kafka(code) if !RETRIABLE.contains(code) && !NOT_YET.contains(code) => Some(Over::Life),
            _ => None,
        }
    }

    /// Anything but fencing, and what has to be aborted, is a finding.
    fn note(&self, what: &str, failure: &Failure) {
        if let Failure::Kafka(code) = failure
            && !FENCED.contains(code)
            && *code != ABORTABLE
        {
            self.shared.history.violation(format!("transactions: {what} of {} met error {code}", self.speaker.id));
        }
        self.shared.cluster.universe().trace.count("workload.txn_over");
    }

    /// Longer than a transaction may take.
    pub(super) fn too_long_ms(&self) -> u64 {
        self.timeout_ms + 500
    }
}

/// The number of the record with this value.
pub(super) fn number_of(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Names a partition for people.
pub(super) fn name(parts: &Parts, partition: usize) -> String {
    parts.get(partition).map_or_else(String::new, |(topic, number)| format!("{}/{number}", topic.plan.name))
}
