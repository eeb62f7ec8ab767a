//! Which producers may begin a transaction in a stream: what its owner has asked their coordinators (rule F-4).
//!
//! A grant lives in memory, and dies with the owner that has asked for it. Each question has a ticket of its own, which what begins or
//! ends the transaction makes worthless: else an answer that was slow would let a batch of one transaction into the next one.

use super::{Producers, SequenceError};
use crate::{BatchKind, ProducerDelta};
use base::planted;
use std::collections::BTreeMap;

/// Questions and grants of a stream at the most. Beyond that the oldest is forgotten, and asked again.
pub const GRANTS_MAX: usize = 1024;

/// A question to a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    producer_id: i64,
    number: u64,
}

/// What this owner of a stream has asked coordinators, and what they have granted.
#[derive(Debug, Default)]
pub struct Grants {
    by_producer: BTreeMap<i64, Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    number: u64,
    epoch: i16,
    /// The least of the batches that wait for the answer: those behind it must not be first.
    first_sequence: i32,
    is_granted: bool,
}

impl Grants {
    /// A batch was refused with [`SequenceError::NeedsGrant`]: what to answer with. Batches of one producer and epoch share a question.
    /// `number` is one that no other question to this stream has had, not before the stream came to its owner either.
    pub fn ask(&mut self, delta: &ProducerDelta, number: u64) -> Ticket {
        let ProducerDelta { producer_id, producer_epoch: epoch, first_sequence, .. } = *delta;
        if let Some(asked) = self.by_producer.get_mut(&producer_id).filter(|asked| asked.epoch == epoch) {
            asked.first_sequence = asked.first_sequence.min(first_sequence);
            return Ticket { producer_id, number: asked.number };
        }
        if self.by_producer.len() >= GRANTS_MAX
            && let Some(oldest) = self.by_producer.iter().min_by_key(|(_, asked)| asked.number).map(|(id, _)| *id)
        {
            self.by_producer.remove(&oldest);
        }
        self.by_producer.insert(producer_id, Asked { number, epoch, first_sequence, is_granted: false });
        Ticket { producer_id, number }
    }

    /// The coordinator has answered. False: the question is worthless by now; ask again where there is still a reason.
    pub fn answered(&mut self, ticket: Ticket, is_granted: bool) -> bool {
        let Some(asked) = self.by_producer.get_mut(&ticket.producer_id).filter(|it| it.number == ticket.number) else {
            return false;
        };
        if is_granted {
            asked.is_granted = true;
        } else {
            self.by_producer.remove(&ticket.producer_id);
        }
        true
    }

    /// A batch of this producer was accepted: one that is part of a transaction, or a marker, leaves no question open.
    pub fn accepted(&mut self, delta: &ProducerDelta) {
        if delta.kind != BatchKind::Plain {
            self.by_producer.remove(&delta.producer_id);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_producer.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_producer.is_empty()
    }
}

impl Producers {
    /// Whether a batch that [`Producers::check`] calls new may be numbered: no new transaction begins without a grant. Epoch and sequence
    /// were just looked at, so that a grant that has come too late is worth nothing.
    ///
    /// # Errors
    /// [`SequenceError::NeedsGrant`]; [`SequenceError::OutOfOrder`] where an earlier batch of the producer waits for the same grant.
    pub fn check_granted(&self, grants: &Grants, delta: &ProducerDelta) -> Result<(), SequenceError> {
        let ProducerDelta { producer_id, producer_epoch, first_sequence, kind, .. } = *delta;
        let known = self.by_id.get(&producer_id);
        let continues = known.is_some_and(|it| it.open.is_some() && it.epoch() == producer_epoch);
        if kind != BatchKind::Transactional || continues || planted!("F9", false, true) {
            return Ok(());
        }
        let granted = grants.by_producer.get(&producer_id).filter(|it| it.is_granted && it.epoch == producer_epoch);
        let Some(asked) = granted else { return Err(SequenceError::NeedsGrant { producer_id, producer_epoch }) };
        if first_sequence > asked.first_sequence {
            let expected = asked.first_sequence;
            return Err(SequenceError::OutOfOrder { producer_id, found: first_sequence, expected });
        }
        Ok(())
    }
}
