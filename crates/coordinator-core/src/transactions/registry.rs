//! The transactional ids of one partition of `__transaction_state`, how they come back from its records, and what time does to them.

use crate::groups::Now;
use crate::record::CoordinatorRecord;
use crate::transactions::effects::{TransactionEffects, TransactionError};
use crate::transactions::record::{TransactionRecordError, decode, record};
use crate::transactions::rule;
use crate::transactions::state::{NamedTopicPartitions, Transaction, TransactionState};
use base::{Micros, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How soon a transaction is looked at again that is too old, while no producer id is there for what follows it.
const NO_ID_WAIT: Duration = Duration::from_millis(100);

/// Bounds and periods, with Kafka's names where Kafka has them.
#[derive(Debug, Clone)]
pub struct TransactionOptions {
    /// `transaction.max.timeout.ms`.
    pub timeout_max: Duration,
    /// An id without a transaction is dropped after this (`transactional.id.expiration.ms`).
    pub expiration: Duration,
    /// How long after a failure markers are sent again.
    pub marker_retry_wait: Duration,
    /// Bytes of a transaction's record.
    pub record_bytes_max: usize,
}

impl Default for TransactionOptions {
    /// Kafka's defaults; where Kafka has no bound, one that no honest client meets.
    fn default() -> Self {
        TransactionOptions {
            timeout_max: Duration::from_secs(15 * 60),
            expiration: Duration::from_secs(7 * 24 * 3600),
            marker_retry_wait: Duration::from_millis(100),
            record_bytes_max: 8 << 20,
        }
    }
}

/// The transactional ids of one partition.
#[derive(Debug, Default)]
pub struct Transactions {
    pub(crate) options: TransactionOptions,
    pub(crate) transactions: BTreeMap<String, Transaction>,
    deadlines: BTreeSet<(Micros, String)>,
    /// Producer ids that nobody has been told yet.
    spare_ids: Vec<i64>,
    /// A transaction that is too old waits for one.
    wants_id: bool,
    /// Bytes of all ids, about.
    bytes: usize,
    /// Bytes that may be added.
    pub(crate) room: usize,
    /// There are records of a kind that is not known.
    holds_others: bool,
}

impl Transactions {
    /// No ids yet.
    #[must_use]
    pub fn new(options: TransactionOptions) -> Transactions {
        Transactions { options, room: usize::MAX, ..Transactions::default() }
    }

    /// Applies a record of the log, oldest first, before anything else is asked. Records of unknown kinds are passed over.
    ///
    /// # Errors
    /// The record is damaged, or of a version that is not known; nothing has changed.
    pub fn replay(&mut self, record: &CoordinatorRecord) -> Result<(), TransactionRecordError> {
        match decode(record)? {
            Some((id, Some(transaction))) => drop(self.transactions.insert(id, transaction)),
            Some((id, None)) => drop(self.transactions.remove(&id)),
            None => self.holds_others = true,
        }
        Ok(())
    }

    /// All records are replayed: transactions age from now on, and the markers of those that are decided are sent (again).
    pub fn loaded(&mut self, now: Now, fx: &mut TransactionEffects) {
        self.bytes = 0;
        let ids: Vec<String> = self.transactions.keys().cloned().collect();
        for id in ids {
            let Some(transaction) = self.transactions.get_mut(&id) else { continue };
            if transaction.state.is_prepared() {
                transaction.unmarked = transaction.partitions.clone();
            }
            self.recount(&id);
            rule!("a takeover keeps the time", self.set_timeout(&id, now), ());
            rule!("a takeover sends the markers", self.send_markers(&id, now, fx), ());
        }
    }

    /// A producer id that nobody has been told, for what needs one: an answer [`TransactionError::NeedsProducerId`], or
    /// [`Transactions::wants_producer_id`].
    pub fn supply(&mut self, producer_id: i64) {
        self.spare_ids.push(producer_id);
        self.wants_id = false;
    }

    /// Whether a transaction can't be aborted for want of a producer id.
    #[must_use]
    pub fn wants_producer_id(&self) -> bool {
        self.wants_id
    }

    pub(crate) fn take_producer_id(&mut self) -> Result<i64, TransactionError> {
        self.spare_ids.pop().ok_or(TransactionError::NeedsProducerId)
    }

    /// When [`Transactions::tick`] is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Does what is due: transactions that are too old are aborted, markers that failed are sent again.
    pub fn tick(&mut self, now: Now, fx: &mut TransactionEffects) {
        while self.next_deadline().is_some_and(|at| at <= now.at) {
            let Some((_, id)) = self.deadlines.pop_first() else { return };
            let Some(transaction) = self.transactions.get_mut(&id) else { continue };
            transaction.deadline = None;
            if transaction.state == TransactionState::Ongoing {
                if self.abort(&id, now, fx).is_err() {
                    self.wants_id = true;
                    self.set_deadline(&id, Some(now.at.plus(NO_ID_WAIT)));
                }
            } else {
                self.send_markers(&id, now, fx);
            }
        }
    }

    pub(crate) fn set_deadline(&mut self, id: &str, at: Option<Micros>) {
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        if let Some(before) = std::mem::replace(&mut transaction.deadline, at) {
            self.deadlines.remove(&(before, id.to_owned()));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, id.to_owned()));
        }
    }

    /// Whatever is due next of a transaction: its abort, where it is open.
    pub(crate) fn set_timeout(&mut self, id: &str, now: Now) {
        let at = self.transactions.get(id).and_then(|transaction| times_out_at(transaction, now));
        self.set_deadline(id, at);
    }

    /// Puts an id as it is to be from now on, and its record on its way.
    pub(crate) fn store(&mut self, id: &str, transaction: Transaction, now: Now, fx: &mut TransactionEffects) {
        fx.records.push(record(id, Some(&transaction)));
        let (counted, deadline) =
            self.transactions.get(id).map_or((0, None), |before| (before.counted, before.deadline));
        self.transactions.insert(id.to_owned(), Transaction { counted, deadline, ..transaction });
        self.recount(id);
        self.set_timeout(id, now);
    }

    pub(crate) fn remove(&mut self, id: &str, fx: &mut TransactionEffects) {
        self.set_deadline(id, None);
        self.bytes -= self.transactions.remove(id).map_or(0, |transaction| transaction.counted);
        fx.records.push(record(id, None));
    }

    /// Takes into account what has changed of an id.
    pub(crate) fn recount(&mut self, id: &str) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            let bytes = transaction.bytes(id);
            self.bytes = self.bytes - std::mem::replace(&mut transaction.counted, bytes) + bytes;
        }
    }

    /// How many ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Bytes that all ids take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.transactions.iter().map(|(id, transaction)| transaction.bytes(id)).sum()
    }

    /// How many bytes may be added from now on; what is there stays.
    pub fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Whether a copy of the ids is all that the log holds.
    #[must_use]
    pub fn are_all_there_is(&self) -> bool {
        !self.holds_others
    }

    /// NamedTopicPartitions of an id that have not confirmed their marker; none where nothing is decided.
    #[must_use]
    pub fn unmarked(&self, id: &str) -> Option<&NamedTopicPartitions> {
        self.transactions.get(id).map(|transaction| &transaction.unmarked).filter(|unmarked| !unmarked.is_empty())
    }
}

/// When a transaction is older than it may be: Kafka aborts what is older than its timeout, not as old. One of two phases (KIP-939) may
/// take as long as it likes. Whatever the wall clock says, nothing is left alone for longer than its timeout from now: the clock may have been
/// set back since, or that of who began it was ahead of this one, and readers would wait for it that long.
fn times_out_at(transaction: &Transaction, now: Now) -> Option<Micros> {
    let is_open = transaction.state == TransactionState::Ongoing && transaction.timeout_ms != i32::MAX;
    let UnixMillis(started_at) = transaction.started_at.filter(|_| is_open)?;
    let timeout_ms = i64::from(transaction.timeout_ms);
    let left_ms = started_at.saturating_add(timeout_ms).saturating_sub(now.wall.0).min(timeout_ms);
    let left = Duration::from_millis(u64::try_from(left_ms.saturating_add(1)).unwrap_or(0));
    Some(now.at.plus(left))
}
