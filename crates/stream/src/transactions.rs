//! What a stream offers to Kafka's transactions, whose coordinators are the layer above's: markers, grants, what is undecided, what was
//! aborted.
//!
//! Guarantees: a marker and the state that it changes are durable together, and outlive this start as the records do; what
//! is told of aborted transactions covers all that may be read below the last stable offset. Leaves to others: to ask coordinators, to
//! wait for a marker's confirmation before it is answered ([`Stream::until_confirmed`]), to show readers what is decided only.

use crate::producers::{self, Held};
use crate::store::{AppendError, Appended, Stream};
use base::{Offset, OffsetRange};
use stream_core::producers::{AbortedTransaction, Forgotten, MarkerRule, ProducerTold, Ticket};
use stream_core::{NumberedBatch, ProducerDelta};

impl Stream {
    /// Enqueues a batch as [`Stream::append`] does; where it is a marker, it is told from a repeat by this rule. A repeat counts as
    /// written when everything below its original's end is confirmed.
    ///
    /// # Errors
    /// Nothing was enqueued; the kind says what to do.
    pub fn append_marker(&self, batch: NumberedBatch, rule: MarkerRule) -> Result<Appended, AppendError> {
        self.append_by(batch, rule)
    }

    /// Kafka's last stable offset: below it everything is confirmed and decided. `None`: what producers wrote is not in memory
    /// ([`Stream::load_producers`]); where none has written anything, nothing needs to be. Changes with the confirmed offset only
    /// ([`Stream::watch_confirmed`]).
    #[must_use]
    pub fn last_stable(&self) -> Option<Offset> {
        let confirmed = {
            let locked = self.stream.producers.lock();
            // Read under the lock: whatever is confirmed by then was accepted, so that the state knows of it; and without a state no
            // producer's batch is accepted.
            let confirmed = self.confirmed();
            match locked.as_ref() {
                Some(held) => return Some(held.state.last_stable(confirmed)),
                None => confirmed,
            }
        };
        self.has_no_producers().then_some(confirmed)
    }

    /// The aborted transactions that a reader of `range` must pass over, which asks before it reads. `None` as with
    /// [`Stream::last_stable`].
    ///
    /// # Errors
    /// The oldest are forgotten, and the log must be asked for their markers.
    #[must_use]
    pub fn aborted(&self, range: OffsetRange) -> Option<Result<Vec<AbortedTransaction>, Forgotten>> {
        let settled = producers::settled(&self.shared.ledger.image(), self.stream.id);
        let told = self.with_producers(|held| held.state.aborted(range, settled));
        told.or_else(|| self.has_no_producers().then(|| Ok(Vec::new())))
    }

    /// The producers that are known, by their ids, at most `count` of them. `None` as with [`Stream::last_stable`].
    #[must_use]
    pub fn producers(&self, count: usize) -> Option<Vec<ProducerTold>> {
        let told = self.with_producers(|held| held.state.told().take(count).collect());
        told.or_else(|| self.has_no_producers().then(Vec::new))
    }

    /// Asked behind a look at the state that found none in memory: there is none in objects either, nor on its way there.
    fn has_no_producers(&self) -> bool {
        let image = self.shared.ledger.image();
        image.streams.get(&self.stream.id).is_some_and(|it| it.producers.is_empty() && it.unsaved.is_empty())
    }

    /// A batch with this delta was refused since nobody has said that its producer's transaction is in this stream: what to answer with when
    /// its coordinator has. `None` as with [`Stream::last_stable`].
    #[must_use]
    pub fn ask_grant(&self, delta: &ProducerDelta) -> Option<Ticket> {
        let number = self.shared.producers.question();
        self.with_producers(|held| held.grants.ask(delta, number))
    }

    /// The coordinator has answered. False: the question is worthless by now, since the transaction has begun or ended meanwhile, or the
    /// stream was moved; whoever still wants to append asks again.
    #[must_use]
    pub fn answer_grant(&self, ticket: Ticket, is_granted: bool) -> bool {
        self.with_producers(|held| held.grants.answered(ticket, is_granted)).unwrap_or(false)
    }

    fn with_producers<T>(&self, then: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let mut locked = self.stream.producers.lock();
        let held = locked.as_mut()?;
        held.used = self.shared.world.clock.now();
        Some(then(held))
    }
}
