//! Which batches of which idempotent producers a stream holds: what tells a repeat from a new batch (invariant 7).
//!
//! Stands on the append path, before a batch is accepted, and is what a state section of a data object holds
//! ([`section`]). A value: the shell has one for each stream that idempotent producers write to, folds WAL directories into it
//! after a crash, and keeps it independent of the records, which may be deleted long before a repeat comes.
//!
//! - The last five batches of a producer are known, as in Kafka; of those not confirmed yet, all.
//! - A batch is accepted if it continues its producer's sequence, or begins a new epoch at 0. A repeat of a known batch is told
//!   where the original stands. Anything else is refused.
//! - An unknown producer begins at 0, unless one was forgotten here: then it may be that one, and any sequence is taken (KIP-360).
//! - Folding is idempotent and may overlap: what lies below a producer's newest batch changes nothing but fills its history.
//!
//! Time comes in as an argument; the budget of all streams together is the shell's.

mod section;
#[cfg(test)]
mod tests;

use crate::ProducerDelta;
use base::{Offset, OffsetRange, UnixMillis};
use std::collections::BTreeMap;

pub use section::{SectionError, decode_section, encode_section};

/// Confirmed batches of one producer that are remembered: clients have at most so many requests in flight (KAFKA-5494).
pub const BATCHES_KEPT: usize = 5;

/// What a known producer takes in memory, roughly.
pub const PRODUCER_BYTES: u64 = 320;

/// The greatest sequence; 0 follows it.
const SEQUENCE_MAX: i32 = i32::MAX;

/// A batch of an idempotent producer and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer's epoch.
    pub epoch: i16,
    /// Sequence of the first record.
    pub first_sequence: i32,
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Offset of the first record.
    pub base: Offset,
    /// Its greatest timestamp, which Kafka repeats to a client that sends the batch again.
    pub timestamp: UnixMillis,
}

/// Whether a batch is to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    New,
    /// This one is stored already, or on its way to the WAL.
    Repeat(ProducerBatch),
}

/// Why a batch may not be appended. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Neither the next one of its producer nor a repeat that is still known.
    #[error("out of order sequence number for producer {producer_id}: {found}, expected {expected}")]
    OutOfOrder {
        /// Whose.
        producer_id: i64,
        /// What the batch begins with.
        found: i32,
        /// What would continue.
        expected: i32,
    },
    /// A newer holder of the same producer id has written here.
    #[error("epoch {found} of producer {producer_id} is older than the last seen epoch {newest}")]
    StaleEpoch {
        /// Whose.
        producer_id: i64,
        /// The batch's.
        found: i16,
        /// The greatest met here.
        newest: i16,
    },
}

/// The producers of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// Somebody was forgotten here: a stranger may be who it was.
    expired: bool,
}

/// One producer: never without a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    /// By offset.
    batches: Vec<ProducerBatch>,
    /// When it last wrote, by the broker's clock.
    seen: UnixMillis,
}

impl ProducerBatch {
    /// A delta's batch with that base offset.
    #[must_use]
    pub fn of(delta: &ProducerDelta, base: Offset, timestamp: UnixMillis) -> ProducerBatch {
        let ProducerDelta { producer_epoch, first_sequence, last_sequence, .. } = *delta;
        ProducerBatch { epoch: producer_epoch, first_sequence, last_sequence, base, timestamp }
    }

    /// The offset after its last record.
    #[must_use]
    pub fn next(&self) -> Offset {
        let distance = i64::from(self.last_sequence) - i64::from(self.first_sequence);
        let wrapped = if distance < 0 { distance + i64::from(SEQUENCE_MAX) + 1 } else { distance };
        self.base.plus(wrapped.unsigned_abs() + 1)
    }

    /// What it covers.
    #[must_use]
    pub fn range(&self) -> OffsetRange {
        OffsetRange::new(self.base, self.next())
    }
}

/// The sequence of the last of `records` records from `first` on.
#[must_use]
pub fn last_sequence(first: i32, records: u32) -> i32 {
    let last = i64::from(first) + i64::from(records.max(1)) - 1;
    i32::try_from(last % (i64::from(SEQUENCE_MAX) + 1)).unwrap_or(SEQUENCE_MAX)
}

fn next_sequence(last: i32) -> i32 {
    if last == SEQUENCE_MAX { 0 } else { last + 1 }
}

impl Producers {
    /// From now on a producer that is not known begins anywhere, as in Kafka: its beginning may have been on a topic that is gone.
    pub fn admit_strangers(&mut self) {
        self.expired = true;
    }

    /// Whether the batch may be appended next. `now` is the broker's clock: a producer that was silent for `expiration` is a
    /// stranger.
    ///
    /// # Errors
    /// The kind says what the client did.
    pub fn check(
        &self,
        delta: &ProducerDelta,
        now: UnixMillis,
        expiration: std::time::Duration,
    ) -> Result<Verdict, SequenceError> {
        let ProducerDelta { producer_id, producer_epoch, first_sequence, last_sequence, .. } = *delta;
        let known = self.by_id.get(&producer_id);
        let out_of_order = |expected| SequenceError::OutOfOrder { producer_id, found: first_sequence, expected };
        let Some(producer) = known.filter(|it| !it.is_expired(now, expiration)) else {
            let may_begin = first_sequence == 0 || self.expired || known.is_some();
            return if may_begin { Ok(Verdict::New) } else { Err(out_of_order(0)) };
        };
        let newest = producer.newest();
        if producer_epoch < newest.epoch {
            return Err(SequenceError::StaleEpoch { producer_id, found: producer_epoch, newest: newest.epoch });
        }
        if producer_epoch > newest.epoch {
            return if first_sequence == 0 { Ok(Verdict::New) } else { Err(out_of_order(0)) };
        }
        let same = |batch: &&ProducerBatch| {
            (batch.epoch, batch.first_sequence, batch.last_sequence) == (producer_epoch, first_sequence, last_sequence)
        };
        if let Some(original) = producer.batches.iter().find(same) {
            return Ok(Verdict::Repeat(*original));
        }
        let expected = next_sequence(newest.last_sequence);
        if first_sequence == expected { Ok(Verdict::New) } else { Err(out_of_order(expected)) }
    }

    /// Whether this producer takes no room beyond what is held.
    #[must_use]
    pub fn knows(&self, producer_id: i64) -> bool {
        self.by_id.contains_key(&producer_id)
    }

    /// The newest batch of this producer, where it is known.
    #[must_use]
    pub fn newest(&self, producer_id: i64) -> Option<ProducerBatch> {
        self.by_id.get(&producer_id).map(|producer| *producer.newest())
    }

    /// Notes a batch that was accepted as [`Verdict::New`]. Below `confirmed` everything is durable.
    pub fn accepted(
        &mut self,
        producer_id: i64,
        batch: ProducerBatch,
        now: UnixMillis,
        expiration: std::time::Duration,
        confirmed: Offset,
    ) {
        if self.by_id.get(&producer_id).is_some_and(|it| it.is_expired(now, expiration)) {
            self.by_id.remove(&producer_id);
            self.expired = true;
        }
        let producer = self.by_id.entry(producer_id).or_insert_with(|| Producer { batches: Vec::new(), seen: now });
        producer.seen = producer.seen.max(now);
        producer.batches.push(batch);
        producer.forget_beyond(confirmed);
    }

    /// Folds a durable batch from a WAL's directory. One that is known already changes nothing.
    pub fn fold(&mut self, producer_id: i64, batch: ProducerBatch, seen: UnixMillis) {
        let producer = self.by_id.entry(producer_id).or_insert_with(|| Producer { batches: Vec::new(), seen });
        producer.seen = producer.seen.max(seen);
        let at = producer.batches.partition_point(|it| it.base < batch.base);
        if producer.batches.get(at).is_none_or(|it| it.base != batch.base) {
            producer.batches.insert(at, batch);
            producer.forget_beyond(Offset::MAX);
        }
    }

    /// Folds another part of the same stream's state, which may overlap this one.
    pub fn merge(&mut self, other: &Producers) {
        for (id, producer) in &other.by_id {
            for batch in &producer.batches {
                self.fold(*id, *batch, producer.seen);
            }
        }
        self.expired |= other.expired;
    }

    /// What a crash would leave of this: the batches below `confirmed`.
    #[must_use]
    pub fn as_of(&self, confirmed: Offset) -> Producers {
        let confirmed_part = |(id, producer): (&i64, &Producer)| {
            let mut batches: Vec<ProducerBatch> =
                producer.batches.iter().filter(|batch| batch.next() <= confirmed).copied().collect();
            batches.drain(..batches.len().saturating_sub(BATCHES_KEPT));
            (!batches.is_empty()).then_some((*id, Producer { batches, seen: producer.seen }))
        };
        Producers { by_id: self.by_id.iter().filter_map(confirmed_part).collect(), expired: self.expired }
    }

    /// Forgets producers that were silent for `expiration` and have nothing unconfirmed.
    pub fn expire(&mut self, now: UnixMillis, expiration: std::time::Duration, confirmed: Offset) {
        let before = self.by_id.len();
        self.by_id.retain(|_, it| !it.is_expired(now, expiration) || it.newest().next() > confirmed);
        self.expired |= self.by_id.len() < before;
    }

    /// Forgets up to `count` of the producers that were silent for `silence` and have nothing unconfirmed, the longest silent first:
    /// where there is no memory for all of them until they expire.
    pub fn forget(&mut self, count: usize, now: UnixMillis, silence: std::time::Duration, confirmed: Offset) {
        if count == 0 {
            return;
        }
        let may_go = |it: &Producer| it.is_expired(now, silence) && it.newest().next() <= confirmed;
        let silent = self.by_id.iter().filter(|(_, it)| may_go(it));
        let mut silent: Vec<(UnixMillis, i64)> = silent.map(|(id, it)| (it.seen, *id)).collect();
        silent.sort_unstable();
        for (_, id) in silent.iter().take(count) {
            self.by_id.remove(id);
            self.expired = true;
        }
    }

    /// The greatest producer id that is known.
    #[must_use]
    pub fn greatest_id(&self) -> Option<i64> {
        self.by_id.keys().next_back().copied()
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && !self.expired
    }
}

impl Producer {
    fn newest(&self) -> &ProducerBatch {
        self.batches.last().expect("a producer is never without a batch")
    }

    fn is_expired(&self, now: UnixMillis, expiration: std::time::Duration) -> bool {
        let silent = now.0.saturating_sub(self.seen.0);
        u64::try_from(silent).is_ok_and(|silent| u128::from(silent) >= expiration.as_millis())
    }

    /// Keeps what is not confirmed and the last few that are.
    fn forget_beyond(&mut self, confirmed: Offset) {
        let known = self.batches.partition_point(|batch| batch.next() <= confirmed);
        self.batches.drain(..known.saturating_sub(BATCHES_KEPT));
    }
}
