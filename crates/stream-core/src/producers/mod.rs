//! What a stream knows of its producers: which batches it holds, which of them belong to transactions, how those ended.
//!
//! Stands on the append path, before a batch is accepted, and is what a state section of a data object holds
//! ([`section`]). A value: the shell has one for each stream that idempotent producers write to, folds WAL directories into it
//! after a crash, and keeps it independent of the records, which may be deleted long before a repeat comes (invariant 7).
//!
//! - The last five batches of a producer are known, as in Kafka; of those not confirmed yet, all.
//! - A batch is accepted if it continues its producer's sequence, or begins a new epoch at 0. A repeat of a known batch is told
//!   where the original stands. Anything else is refused.
//! - An unknown producer begins at 0, unless one was forgotten here: then it may be that one, and any sequence is taken (KIP-360).
//! - A transaction begins with its producer's first transactional batch and ends with the next marker, which raises the producer's epoch
//!   even where nothing is open ([`markers`], rule F-2). Who may begin one is asked of its coordinator ([`Grants`], rule F-4).
//! - What nobody has decided lies at or above the last stable offset ([`Producers::last_stable`]); which of what lies below was aborted
//!   is told by an index ([`Producers::aborted`]).
//! - Folding is idempotent and may overlap: what lies below a producer's newest batch changes nothing but fills its history. Parts of a
//!   stream's state are put together in the order of what they speak for ([`Producers::of_parts`]).
//!
//! Time comes in as an argument; the budget of all streams together is the shell's.

mod aborted;
mod grants;
mod markers;
mod merge;
mod producer;
mod section;
#[cfg(test)]
mod tests;
mod transactions;

use crate::{BatchKind, ProducerDelta};
use base::{Offset, OffsetRange, UnixMillis, planted};
use producer::{FirstEnding, NO_COORDINATOR, Producer};
use std::collections::BTreeMap;
use std::time::Duration;
use transactions::Transactions;

pub use aborted::{ABORTED_MAX, AbortedTransaction, Forgotten};
pub use grants::{GRANTS_MAX, Grants, Ticket};
pub use markers::MarkerRule;
pub use section::{SectionError, decode_section, encode_section};

/// Confirmed batches of one producer that are remembered: clients have at most so many requests in flight (KAFKA-5494).
pub const BATCHES_KEPT: usize = 5;

/// What a known producer takes in memory, roughly; one with transactions half as much again.
pub const PRODUCER_BYTES: u64 = 320;

/// So many aborted transactions take about as much as a producer.
const ABORTED_OF_A_PRODUCER: usize = 8;

/// The greatest sequence; 0 follows it.
const SEQUENCE_MAX: i32 = i32::MAX;

/// A batch of a producer on its way into a stream, or found in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// What it changes.
    pub delta: ProducerDelta,
    /// Where it stands.
    pub range: OffsetRange,
    /// Its greatest timestamp.
    pub timestamp: UnixMillis,
}

/// A batch of an idempotent producer and where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// What is told of a producer to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerTold {
    /// Whose.
    pub producer_id: i64,
    /// The newest epoch.
    pub epoch: i16,
    /// Sequence of the last record of that epoch; [`crate::NO_SEQUENCE`]: there is none.
    pub last_sequence: i32,
    /// Timestamp of the newest batch, markers among them.
    pub timestamp: UnixMillis,
    /// Of its newest marker; -1: none was met.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub open: Option<Offset>,
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
    /// The coordinator that sends this marker was deposed: a later one has sent some.
    #[error("a marker of coordinator epoch {found} for producer {producer_id}, which has one of epoch {newest}")]
    StaleCoordinator {
        /// Whose.
        producer_id: i64,
        /// The marker's.
        found: i32,
        /// The greatest met here.
        newest: i32,
    },
    /// No part of the transaction that this producer has open here.
    #[error("producer {producer_id} has a transaction open here, and the batch is no part of it")]
    InTransaction {
        /// Whose.
        producer_id: i64,
    },
    /// The batch would begin a transaction here, and its coordinator has not said that it may ([`Grants::ask`], rule F-4).
    #[error(
        "whether producer {producer_id} with epoch {producer_epoch} has a transaction here is to be asked of its coordinator"
    )]
    NeedsGrant {
        /// Whose.
        producer_id: i64,
        /// The batch's.
        producer_epoch: i16,
    },
}

/// The producers of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// Somebody was forgotten here: a stranger may be who it was.
    expired: bool,
    transactions: Transactions,
}

impl Written {
    fn batch(&self) -> ProducerBatch {
        let ProducerDelta { producer_epoch, first_sequence, last_sequence, .. } = self.delta;
        let (base, timestamp) = (self.range.base, self.timestamp);
        ProducerBatch { epoch: producer_epoch, first_sequence, last_sequence, base, timestamp }
    }
}

impl ProducerBatch {
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
    /// stranger. Of a marker ask [`Producers::check_marker`], which this does by the stricter rule; of a batch that is new,
    /// [`Producers::check_granted`] as well.
    ///
    /// # Errors
    /// The kind says what the client did.
    pub fn check(
        &self,
        delta: &ProducerDelta,
        now: UnixMillis,
        expiration: Duration,
    ) -> Result<Verdict, SequenceError> {
        if let BatchKind::Marker(marker) = delta.kind {
            return self.check_marker(delta, marker, MarkerRule::V2);
        }
        let ProducerDelta { producer_id, producer_epoch, first_sequence, last_sequence, kind } = *delta;
        let has_sequence = kind == BatchKind::Plain || first_sequence >= 0;
        let known = self.by_id.get(&producer_id);
        let out_of_order = |expected| SequenceError::OutOfOrder { producer_id, found: first_sequence, expected };
        let Some(producer) = known.filter(|it| !it.is_expired(now, expiration)) else {
            let may_begin = first_sequence == 0 || !has_sequence || self.expired || known.is_some();
            return if may_begin { Ok(Verdict::New) } else { Err(out_of_order(0)) };
        };
        let newest = producer.epoch();
        if producer_epoch < newest {
            return Err(SequenceError::StaleEpoch { producer_id, found: producer_epoch, newest });
        }
        let same = |batch: &&ProducerBatch| {
            (batch.epoch, batch.first_sequence, batch.last_sequence) == (producer_epoch, first_sequence, last_sequence)
        };
        if let Some(original) = planted!("duplicate write", producer.batches.iter().find(same), None) {
            return Ok(Verdict::Repeat(*original));
        }
        // Where a marker has raised the epoch, none of the batches is of it, and it begins at 0 as well.
        let last = producer.batches.last().filter(|last| last.epoch == producer_epoch);
        let expected = last.map_or(0, |last| next_sequence(last.last_sequence));
        let is_gap = planted!("duplicate write", first_sequence != expected, first_sequence > expected);
        if has_sequence && is_gap {
            return Err(out_of_order(expected));
        }
        if kind == BatchKind::Plain && producer.open.is_some() {
            return Err(SequenceError::InTransaction { producer_id });
        }
        Ok(Verdict::New)
    }

    /// Whether this producer takes no room beyond what is held.
    #[must_use]
    pub fn knows(&self, producer_id: i64) -> bool {
        self.by_id.contains_key(&producer_id)
    }

    /// The newest batch of this producer that is no marker, where one is known.
    #[must_use]
    pub fn newest(&self, producer_id: i64) -> Option<ProducerBatch> {
        self.by_id.get(&producer_id)?.batches.last().copied()
    }

    /// Notes a batch that was accepted as [`Verdict::New`]. Below `confirmed` everything is durable.
    pub fn accepted(&mut self, written: &Written, now: UnixMillis, expiration: Duration, confirmed: Offset) {
        let producer_id = written.delta.producer_id;
        if self.by_id.get(&producer_id).is_some_and(|it| it.is_expired(now, expiration)) {
            self.by_id.remove(&producer_id);
            self.expired = true;
        }
        self.take(written, now);
        self.settle(producer_id, confirmed);
    }

    /// Folds a durable batch from a WAL's directory. One that is known already changes nothing.
    pub fn fold(&mut self, written: &Written, seen: UnixMillis) {
        let producer_id = written.delta.producer_id;
        let ending = match written.delta.kind {
            BatchKind::Marker(marker) => {
                let (at, stable) = (written.range.base, self.transactions.stable_behind(producer_id, written.range));
                Some(FirstEnding { at, ending: marker.ending, stable })
            }
            BatchKind::Plain | BatchKind::Transactional => None,
        };
        let producer = self.take(written, seen);
        // What it ends may have begun below all that is folded here.
        producer.first_ending = producer.first_ending.or(ending);
        self.settle(producer_id, Offset::MAX);
    }

    fn take(&mut self, written: &Written, seen: UnixMillis) -> &mut Producer {
        let Written { delta, range, .. } = *written;
        let producer_id = delta.producer_id;
        let producer = self.by_id.entry(producer_id).or_insert_with(|| Producer::new(seen));
        producer.seen = producer.seen.max(seen);
        let is_next = range.base >= producer.end();
        match delta.kind {
            BatchKind::Marker(marker) if is_next => {
                if let Some(first) = producer.open.take() {
                    self.transactions.end(first, producer_id, range, marker.ending);
                }
                producer.mark(written, Some(marker));
            }
            BatchKind::Marker(_) => {}
            BatchKind::Transactional if delta.first_sequence < 0 => {
                if is_next {
                    producer.mark(written, None);
                }
            }
            BatchKind::Plain | BatchKind::Transactional => producer.add(written.batch()),
        }
        if delta.kind == BatchKind::Transactional && is_next && producer.open.is_none() {
            producer.open = Some(range.base);
            self.transactions.begin(range.base, producer_id);
        }
        producer
    }

    /// Forgets what nobody asks for once everything below `confirmed` is durable.
    fn settle(&mut self, producer_id: i64, confirmed: Offset) {
        if let Some(producer) = self.by_id.get_mut(&producer_id) {
            producer.forget_beyond(confirmed);
        }
        self.transactions.forget_beyond(confirmed);
    }

    /// What a crash would leave of this: what lies below `confirmed`, which is the end of a batch.
    #[must_use]
    pub fn as_of(&self, confirmed: Offset) -> Producers {
        let mut by_id: BTreeMap<i64, Producer> =
            self.by_id.iter().filter_map(|(id, producer)| Some((*id, producer.as_of(confirmed)?))).collect();
        let mut transactions = self.transactions.as_of(confirmed);
        transactions.retain_open(|first, producer_id| match by_id.get_mut(&producer_id) {
            Some(producer) => producer.open.replace(first).is_none(),
            None => false,
        });
        Producers { by_id, expired: self.expired, transactions }
    }

    /// Where the batches begin of which is not decided, or not durable, how they end; `confirmed` where there are none: Kafka's last stable
    /// offset. Never goes back while `confirmed` does not (invariant 5).
    #[must_use]
    pub fn last_stable(&self, confirmed: Offset) -> Offset {
        self.transactions.last_stable(confirmed)
    }

    /// The aborted transactions that a reader of `range` must know: those with a batch in it, and some that have none, by their ends. It
    /// asks before it reads, and `settled` is told by an image from before it asked: below it nothing aborted is left, since records there
    /// are deleted, or were cleaned, and markers there may be gone, so that to tell of their transactions would hide later ones.
    ///
    /// # Errors
    /// The oldest are forgotten, and the log must be asked for their markers.
    pub fn aborted(&self, range: OffsetRange, settled: Offset) -> Result<Vec<AbortedTransaction>, Forgotten> {
        self.transactions.aborted.found(range, settled)
    }

    /// Forgets the aborted transactions of which nothing is left ([`Producers::aborted`]).
    pub fn forget_aborted(&mut self, settled: Offset) {
        self.transactions.aborted.forget_below(settled);
    }

    /// Forgets producers that were silent for `expiration` and have nothing unconfirmed and no transaction open (KIP-854).
    pub fn expire(&mut self, now: UnixMillis, expiration: Duration, confirmed: Offset) {
        let before = self.by_id.len();
        self.by_id.retain(|_, it| !it.is_expired(now, expiration) || it.end() > confirmed);
        self.expired |= self.by_id.len() < before;
    }

    /// Forgets up to `count` of the producers that were silent for `silence` and have nothing unconfirmed and no transaction open, the
    /// longest silent first: where there is no memory for all of them until they expire.
    pub fn forget(&mut self, count: usize, now: UnixMillis, silence: Duration, confirmed: Offset) {
        if count == 0 {
            return;
        }
        let may_go = |it: &Producer| it.is_expired(now, silence) && it.end() <= confirmed;
        let silent = self.by_id.iter().filter(|(_, it)| may_go(it));
        let mut silent: Vec<(UnixMillis, i64)> = silent.map(|(id, it)| (it.seen, *id)).collect();
        silent.sort_unstable();
        for (_, id) in silent.iter().take(count) {
            self.by_id.remove(id);
            self.expired = true;
        }
    }

    /// Each that is known, by its id.
    pub fn told(&self) -> impl Iterator<Item = ProducerTold> {
        self.by_id.iter().map(|(id, producer)| producer.told(*id))
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

    /// What it takes of the room for producers, in producers: more than [`Producers::len`] where transactions were aborted.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.by_id.len() + self.transactions.aborted.len().div_ceil(ABORTED_OF_A_PRODUCER)
    }

    /// Whether there is nothing to save.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && !self.expired && self.transactions.aborted.is_empty()
    }
}
