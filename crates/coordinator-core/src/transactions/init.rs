//! InitProducerId: a producer begins, and fences all that came before it under its transactional id.
//!
//! The rules that `crates/models/src/two_producers` left standing: the epoch goes up; an open transaction is aborted first, and until it is
//! complete the new producer is told nothing; the producer that says which epoch it had (KIP-360) is compared *before* anything
//! is aborted for it; a repeat is told the same again, and of a producer that says nothing no repeat is known; behind the last epoch comes
//! a new producer id, and one epoch is kept back to fence with.

use crate::groups::Now;
use crate::record::TEXT_BYTES_MAX;
use crate::transactions::effects::{TransactionEffects, TransactionError};
use crate::transactions::registry::Transactions;
use crate::transactions::rule;
use crate::transactions::state::{
    EPOCH_TOLD_MAX, NO_EPOCH, NamedTopicPartitions, Producer, Transaction, TransactionState,
};

/// An InitProducerId request with a transactional id; without one there is nothing to decide.
#[derive(Debug, Clone, Default)]
pub struct InitRequest {
    pub transactional_id: String,
    /// How long a transaction may take, in milliseconds.
    pub timeout_ms: i32,
    /// What the producer was told before (KIP-360); none where it begins.
    pub expected: Option<Producer>,
    /// KIP-939.
    pub enables_two_phase_commit: bool,
    /// KIP-939.
    pub keeps_prepared: bool,
}

impl Transactions {
    /// Makes its sender the one producer of its transactional id. Told when confirmed.
    ///
    /// # Errors
    /// It is not, and why. [`TransactionError::Concurrent`]: not yet; a transaction is being ended, maybe by this very request.
    pub fn init(
        &mut self,
        now: Now,
        request: &InitRequest,
        fx: &mut TransactionEffects,
    ) -> Result<Producer, TransactionError> {
        self.check_init(request)?;
        let InitRequest { transactional_id: id, timeout_ms, expected, .. } = request;
        let Some(known) = self.transactions.get(id) else {
            return self.create(now, id, *timeout_ms, fx);
        };
        if rule!("waits until complete", known.state.is_prepared(), false) {
            return Err(TransactionError::Concurrent);
        }
        if !expected.is_none_or(|expected| may_be_known(known, expected)) {
            return Err(TransactionError::Fenced);
        }
        if known.state == TransactionState::Ongoing {
            // Kafka compares the epoch only when there is no transaction, so that a producer which is fenced can abort its successor's.
            let is_current = expected.is_none_or(|expected| expected == known.producer);
            if rule!("compared before an abort", !is_current, false) {
                return Err(TransactionError::Fenced);
            }
            self.abort(id, now, fx)?;
            return Err(TransactionError::Concurrent);
        }
        self.begin_anew(now, request, fx)
    }

    fn check_init(&self, request: &InitRequest) -> Result<(), TransactionError> {
        let is_named = !request.transactional_id.is_empty() && request.transactional_id.len() <= TEXT_BYTES_MAX;
        let timeout_max = i32::try_from(self.options.timeout_max.as_millis()).unwrap_or(i32::MAX);
        match request {
            _ if !is_named => Err(TransactionError::InvalidRequest),
            // Half of an identity is none, and would match what is not known.
            InitRequest { expected: Some(Producer { id, epoch }), .. } if *id < 0 || *epoch < 0 => {
                Err(TransactionError::InvalidRequest)
            }
            InitRequest { enables_two_phase_commit: true, .. } => Err(TransactionError::TwoPhaseCommitDisabled),
            InitRequest { keeps_prepared: true, .. } => Err(TransactionError::KeepsNoPrepared),
            InitRequest { timeout_ms, .. } if *timeout_ms <= 0 || *timeout_ms > timeout_max => {
                Err(TransactionError::InvalidTimeout)
            }
            InitRequest { .. } => Ok(()),
        }
    }

    fn create(
        &mut self,
        now: Now,
        id: &str,
        timeout_ms: i32,
        fx: &mut TransactionEffects,
    ) -> Result<Producer, TransactionError> {
        let nobody = Producer { id: 0, epoch: 0 };
        if Transaction::new(nobody, timeout_ms, now.wall).bytes(id) > self.room {
            return Err(TransactionError::NoRoom);
        }
        let producer = Producer { id: self.take_producer_id()?, ..nobody };
        self.store(id, Transaction::new(producer, timeout_ms, now.wall), now, fx);
        Ok(producer)
    }

    fn begin_anew(
        &mut self,
        now: Now,
        request: &InitRequest,
        fx: &mut TransactionEffects,
    ) -> Result<Producer, TransactionError> {
        let id = &request.transactional_id;
        let known = self.transactions.get(id).ok_or(TransactionError::NotFound)?;
        let Producer { id: producer_id, epoch } = known.producer;
        let (next, last_epoch) = match request.expected {
            // Who says nothing fences all others, and leaves no epoch that a repeat of theirs could match.
            None => (None, rule!("forgets the last epoch", NO_EPOCH, epoch)),
            Some(expected) if expected == known.producer => (None, epoch),
            Some(expected) if expected.epoch == known.last_epoch => (Some(known.producer), known.last_epoch),
            Some(_) => return Err(TransactionError::Fenced),
        };
        let producer = match next {
            Some(repeated) => repeated,
            None if known.producer.is_exhausted() => Producer { id: self.take_producer_id()?, epoch: 0 },
            None => Producer { id: producer_id, epoch: rule!("raises the epoch", epoch + 1, epoch) },
        };
        let known = self.transactions.get(id).ok_or(TransactionError::NotFound)?;
        let transaction = Transaction {
            producer,
            id_before: producer_id,
            timeout_ms: request.timeout_ms,
            state: TransactionState::Empty,
            partitions: NamedTopicPartitions::new(),
            started_at: None,
            updated_at: now.wall,
            last_epoch,
            ..known.clone()
        };
        self.store(id, transaction, now, fx);
        Ok(producer)
    }
}

/// Whether a producer can be one that has not been fenced: its epoch is compared later. Of the id before, only the last epoch can be: its
/// producer may not have heard of the id that followed.
fn may_be_known(known: &Transaction, expected: Producer) -> bool {
    let was_last = expected.id == known.id_before && expected.epoch >= EPOCH_TOLD_MAX;
    expected.id == known.producer.id || was_last
}
