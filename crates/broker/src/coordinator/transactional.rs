//! What transactions do to a partition of groups: offsets that are committed in them, and the markers that end them.
//!
//! Both are appended by themselves, behind all that is decided, and applied under the same lock when they are on their way: whether a marker
//! is a repeat, and whether a transaction may begin, is the stream's to say, so that nothing can be decided before. Answers wait for
//! their confirmation, as all do.

use super::outbox::{BATCH_RECORD_BYTES_MAX, OwnRecord, batch_of};
use super::shard::{Inner, Shard};
use crate::Shared;
use crate::batch_check::CheckedBatch;
use crate::coordinator::Core;
use crate::end_marker::EndMarker;
use crate::error::Failure;
use crate::verification::{self, Client, Transaction, verify};
use base::{Micros, Offset, planted};
use coordinator_core::{GroupError, Groups, NewOffset, TransactionalCommit};
use stream::{AppendError, Ending, SequenceError, Ticket};
use world::{ClockExt, lock};

/// What became of one try.
enum Tried {
    /// So many of the offsets are on their way.
    Appended(usize),
    /// All of them are, up to that offset.
    Done(Vec<Result<(), GroupError>>, Offset),
    /// Once that is dealt with, again.
    Refused(AppendError, Option<Ticket>),
}

impl Shard<Groups> {
    /// Commits offsets in a transaction, which its coordinator is asked about where it begins here (rule F-4); what becomes of each stands at its
    /// place. What was stored before an error stays, for the transaction's end to decide.
    pub(crate) async fn commit_in_transaction(
        &self,
        broker: &Shared,
        request: &TransactionalCommit,
        (transaction, client): (&Transaction, Client),
        own_name: (String, i32),
    ) -> Result<Vec<Result<(), GroupError>>, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let mut stored = 0;
        loop {
            self.room(broker, deadline).await?;
            match self.try_commit(broker, request, stored)? {
                Tried::Appended(more) => stored += more,
                Tried::Done(outcomes, after) => {
                    let after = planted!("offsets told before they are durable", after, Offset(0));
                    self.confirmed(broker, after, deadline).await?;
                    return Ok(outcomes);
                }
                Tried::Refused(AppendError::Sequence(SequenceError::NeedsGrant { .. }), ticket) => {
                    let left = deadline.since(broker.clock.now());
                    let asked = verify(broker, transaction, vec![own_name.clone()], client);
                    let codes = broker.clock.timeout(left, asked).await.unwrap_or_default();
                    let granted = verification::granted(&codes, &own_name, client);
                    if let Some(ticket) = ticket {
                        self.partition().answer_grant(ticket, granted.is_ok());
                    }
                    granted?;
                }
                Tried::Refused(error, _) => self.deal_with(broker, error, deadline).await?,
            }
            if broker.clock.now() >= deadline {
                return Err(Failure::CoordinatorUnavailable("the offsets were not stored in time".to_owned()));
            }
        }
    }

    /// Appends what is left behind the first `stored` offsets, or a part of it.
    fn try_commit(&self, broker: &Shared, request: &TransactionalCommit, stored: usize) -> Result<Tried, Failure> {
        let mut inner = lock(&self.inner);
        if !self.is_serving() {
            return Err(Failure::NotCoordinator);
        }
        if !inner.outbox.is_empty() {
            return Ok(Tried::Refused(AppendError::Busy, None));
        }
        self.set_room(broker, &mut inner);
        let outcomes = inner.core.check_transactional(request)?;
        let good = request.offsets.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let group = &request.member.group;
        let mut bytes = 0;
        let (mut offsets, mut records): (Vec<NewOffset>, Vec<OwnRecord>) = (Vec::new(), Vec::new());
        let producer = (request.producer_id, request.producer_epoch);
        for (offset, _) in good.skip(stored) {
            let record = offset.record(group);
            bytes += record.len();
            if bytes > BATCH_RECORD_BYTES_MAX && !records.is_empty() {
                break;
            }
            records.push(OwnRecord::new(record, Some(producer)));
            offsets.push(offset.clone());
        }
        if records.is_empty() {
            let after = self.end(&inner);
            return Ok(Tried::Done(outcomes, after));
        }
        let batch = batch_of(records.iter(), broker.clock.wall().0)?;
        match self.partition().append(&batch) {
            // That it is durable is told by the high watermark.
            Ok(_appended) => {
                let count = offsets.len();
                for offset in offsets {
                    inner.core.put_transactional(producer, group, offset);
                }
                inner.log.bytes += records.iter().map(|it| it.record.len() as u64).sum::<u64>();
                self.has_changed(broker, &mut inner);
                Ok(Tried::Appended(count))
            }
            Err(error) => Ok(self.refused(&mut inner, &batch, error)),
        }
    }

    fn refused(&self, inner: &mut Inner<Groups>, batch: &CheckedBatch, error: AppendError) -> Tried {
        if error == AppendError::NotOwner {
            self.lose_locked(inner);
        }
        let needs_grant = matches!(error, AppendError::Sequence(SequenceError::NeedsGrant { .. }));
        let ticket = if needs_grant { self.partition().ask_grant(batch) } else { None };
        Tried::Refused(error, ticket)
    }

    /// A transaction's marker: its offsets count from then on, or are dropped.
    pub(crate) async fn end_transaction(&self, broker: &Shared, marker: &EndMarker) -> Result<(), Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        loop {
            self.room(broker, deadline).await?;
            let appended = {
                let mut inner = lock(&self.inner);
                if !self.is_serving() {
                    return Err(Failure::NotCoordinator);
                }
                if inner.outbox.is_empty() {
                    let batch = marker.batch(broker.clock.wall(), false)?;
                    let appended = self.partition().append_marker(marker, &batch);
                    match &appended {
                        // A repeat was applied when its original was appended, or replayed.
                        Ok(new) if planted!("a repeated marker ends offsets", new.repeats.is_none(), true) => {
                            let commits = marker.marker.ending == Ending::Commit;
                            inner.core.end_transaction(marker.producer_id, commits);
                            self.has_changed(broker, &mut inner);
                        }
                        Ok(_repeat) => {}
                        Err(AppendError::NotOwner) => self.lose_locked(&mut inner),
                        Err(_) => {}
                    }
                    appended
                } else {
                    Err(AppendError::Busy)
                }
            };
            match appended {
                Ok(appended) => return crate::appending::confirm(broker, appended, deadline).await,
                Err(error) => self.deal_with(broker, error, deadline).await?,
            }
            if broker.clock.now() >= deadline {
                return Err(Failure::TimedOut);
            }
        }
    }
}

impl<C: Core> Shard<C> {
    /// Waits for what stood in an append's way, where waiting helps.
    pub(super) async fn deal_with(&self, broker: &Shared, error: AppendError, deadline: Micros) -> Result<(), Failure> {
        let left = deadline.since(broker.clock.now());
        match error {
            AppendError::Busy | AppendError::TooFarAhead => {
                let waited = broker.clock.timeout(left, self.partition().room()).await;
                waited.ok_or_else(|| Failure::CoordinatorUnavailable("the write-ahead log is behind".to_owned()))?;
                tokio::task::yield_now().await;
                Ok(())
            }
            AppendError::ProducersAway => match broker.clock.timeout(left, self.partition().load_producers()).await {
                Some(Ok(())) => Ok(()),
                Some(Err(error)) => Err(Failure::CoordinatorUnavailable(error.to_string())),
                None => Err(Failure::CoordinatorUnavailable("the partition's producers are being loaded".to_owned())),
            },
            AppendError::TooManyProducers if self.partition().has_room_for_a_producer() => Ok(()),
            AppendError::TooManyProducers => Err(Failure::CoordinatorUnavailable(error.to_string())),
            AppendError::NotOwner => Err(Failure::NotCoordinator),
            AppendError::Gap { .. } => {
                tracing::error!("append to a partition of groups: {error}; this is a bug");
                Err(error.into())
            }
            AppendError::TooLarge { .. } | AppendError::Sequence(_) => Err(error.into()),
        }
    }
}
