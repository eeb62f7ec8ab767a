//! EndTxn, and the abort of what is too old or whose producer is fenced: a decision, which stays.
//!
//! Under version 2 (KIP-890) the end of a transaction raises the epoch, so that nothing of it can be taken for part of the next. A request at
//! epoch *e* then decides a transaction at *e*, or is the repeat of one that is at *e + 1* with the same outcome (F-5). Under version 0 the epoch
//! stays, and Kafka's rules for it are all there is: a late copy of a request can't be told from the next one (F7 of the models).

use crate::groups::Now;
use crate::transactions::effects::{TransactionEffects, TransactionError};
use crate::transactions::registry::Transactions;
use crate::transactions::rule;
use crate::transactions::state::{
    ClientVersion, EPOCH_TOLD_MAX, NO_ID, NamedTopicPartitions, Producer, Transaction, TransactionState,
};

/// An EndTxn request.
#[derive(Debug, Clone)]
pub struct EndRequest {
    pub transactional_id: String,
    pub producer: Producer,
    pub commit: bool,
    pub version: ClientVersion,
}

impl Transactions {
    /// Ends a transaction; what its producer is from now on. Told when confirmed, before the partitions know of it.
    ///
    /// # Errors
    /// It is not ended by this request, and why.
    pub fn end(
        &mut self,
        now: Now,
        request: &EndRequest,
        fx: &mut TransactionEffects,
    ) -> Result<Producer, TransactionError> {
        let known = self.find_of(&request.transactional_id)?;
        let decides = if request.version.bumps() { decides_v2(known, request)? } else { decides_v0(known, request)? };
        if !decides {
            return Ok(known.producer);
        }
        let version = rule!("F7", request.version, ClientVersion::V0);
        self.decide(&request.transactional_id, request.commit, version, now, fx)
    }

    /// Aborts an open transaction, whatever its client speaks: the epoch is raised, so that its producer is fenced off from it.
    pub(crate) fn abort(&mut self, id: &str, now: Now, fx: &mut TransactionEffects) -> Result<(), TransactionError> {
        let version = rule!("an abort raises the epoch", ClientVersion::V2, ClientVersion::V0);
        self.decide(id, false, version, now, fx).map(drop)
    }

    fn decide(
        &mut self,
        id: &str,
        commit: bool,
        version: ClientVersion,
        now: Now,
        fx: &mut TransactionEffects,
    ) -> Result<Producer, TransactionError> {
        let known = self.transactions.get(id).ok_or(TransactionError::UnknownProducer)?;
        // Kafka's words for an abort without a transaction, which only version 2 has.
        let started_at = if known.state.is_idle() { Some(now.wall) } else { known.started_at };
        let is_last = version.bumps() && known.producer.is_exhausted();
        let id_next = if is_last { self.take_producer_id()? } else { NO_ID };
        let known = self.transactions.get(id).ok_or(TransactionError::UnknownProducer)?;
        let Producer { id: producer_id, epoch } = known.producer;
        let epoch_after = if version.bumps() { epoch.saturating_add(1) } else { epoch };
        let transaction = Transaction {
            producer: Producer { id: producer_id, epoch: epoch_after },
            id_before: producer_id,
            id_next,
            state: if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort },
            started_at,
            updated_at: now.wall,
            version,
            last_epoch: if version.bumps() { epoch } else { known.last_epoch },
            unmarked: known.partitions.clone(),
            ..known.clone()
        };
        let told = transaction.told();
        self.store(id, transaction, now, fx);
        self.send_markers(id, now, fx);
        Ok(told)
    }

    /// All partitions have their marker: the next transaction may begin.
    pub(crate) fn complete(&mut self, id: &str, now: Now, fx: &mut TransactionEffects) {
        let Some(known) = self.transactions.get(id) else { return };
        let is_commit = known.state == TransactionState::PrepareCommit;
        let transaction = Transaction {
            producer: known.told(),
            id_before: known.producer.id,
            id_next: NO_ID,
            state: if is_commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort },
            partitions: NamedTopicPartitions::new(),
            unmarked: NamedTopicPartitions::new(),
            updated_at: now.wall,
            ..known.clone()
        };
        self.store(id, transaction, now, fx);
    }
}

/// Whether a request of version 2 decides something now; not, where it repeats what is decided.
fn decides_v2(known: &Transaction, request: &EndRequest) -> Result<bool, TransactionError> {
    let EndRequest { producer, commit, .. } = *request;
    // First of all, as the producer may have been told its next id already, which is not its own yet.
    if known.state.is_prepared() {
        return Err(TransactionError::Concurrent);
    }
    let is_last = producer == Producer { id: known.id_before, epoch: EPOCH_TOLD_MAX };
    let repeats_last = is_last && known.producer.id != producer.id && known.producer.epoch == 0;
    let repeats = repeats_last || producer.epoch.checked_add(1) == Some(known.producer.epoch);
    if known.producer.id != producer.id && !repeats_last {
        return Err(TransactionError::UnknownProducer);
    }
    let is_current = rule!("a late EndTxn ends nothing", producer.epoch == known.producer.epoch, true);
    match known.state {
        TransactionState::Ongoing if is_current => Ok(true),
        // Nothing was written: the client's abort just gets it a new epoch.
        TransactionState::Empty if is_current && !commit => Ok(true),
        TransactionState::Empty if is_current => Err(TransactionError::InvalidState),
        TransactionState::CompleteCommit | TransactionState::CompleteAbort if repeats => {
            let is_same = commit == (known.state == TransactionState::CompleteCommit);
            if rule!("F12", is_same, true) { Ok(false) } else { Err(TransactionError::InvalidState) }
        }
        TransactionState::CompleteCommit | TransactionState::CompleteAbort if is_current => {
            if commit {
                Err(TransactionError::InvalidState)
            } else {
                Ok(true)
            }
        }
        _ => Err(TransactionError::Fenced),
    }
}

/// The same for older requests.
fn decides_v0(known: &Transaction, request: &EndRequest) -> Result<bool, TransactionError> {
    let EndRequest { producer, commit, .. } = *request;
    if known.producer.id != producer.id {
        return Err(TransactionError::UnknownProducer);
    }
    if known.producer.epoch != producer.epoch {
        return Err(TransactionError::Fenced);
    }
    match known.state {
        TransactionState::Ongoing => Ok(true),
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => Err(TransactionError::Concurrent),
        TransactionState::CompleteCommit if commit => Ok(false),
        TransactionState::CompleteAbort if !commit => Ok(false),
        _ => Err(TransactionError::InvalidState),
    }
}
