//! One partition of an internal topic, with the groups or the transactional ids that live in it, while this broker owns it: applies
//! decisions, appends their records, and lets answers out when what they rest on is confirmed.
//!
//! Records are enqueued under the lock that the decision was made under, so that their order in the log is the order of decisions.
//! Where the write-ahead log has no room they wait in the outbox, and with them every answer; requests wait for room before they
//! are decided, so the outbox holds little. An answer names the log's end at the time of its decision: it may leave when
//! the partition's high watermark is there. A shard that lost its partition, or could not append, is thrown away and loaded anew.

use crate::Shared;
use crate::coordinator::Core;
use crate::coordinator::log_size::LogSize;
use crate::coordinator::outbox::{OwnRecord, batch_of, fits_batch};
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset, planted};
use coordinator_core::Now;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use stream::{AppendError, SequenceError};
use tokio::sync::Notify;
use world::{ClockExt, lock};

/// Where a shard stands. It only goes forward.
const LOADING: u8 = 0;
const SERVING: u8 = 1;
const LOST: u8 = 2;

/// A decision's result and the log's end at that time.
pub(crate) struct Decided<T> {
    pub(crate) value: T,
    pub(crate) after: Offset,
}

/// Bytes that what is in all shards of a kind takes.
pub(crate) type CoreMemory = Arc<AtomicUsize>;

pub(crate) struct Shard<C: Core> {
    partition: Partition,
    memory: CoreMemory,
    stage: AtomicU8,
    pub(super) inner: Mutex<Inner<C>>,
    /// Wakes the loop that keeps the time.
    wakes: Arc<Notify>,
    /// Wakes what runs beside ([`Core::beside`]).
    leaves: Notify,
    /// Wakes whoever waits for an answer or a confirmation when the shard is lost.
    lost: Notify,
}

#[derive(Default)]
pub(super) struct Inner<C: Core> {
    pub(super) core: C,
    /// Decided and not appended, oldest first.
    pub(super) outbox: VecDeque<OwnRecord>,
    /// What keeps the outbox from being appended, where it is about the partition's producers.
    hindrance: Option<AppendError>,
    pub(super) outgoing: C::Outgoing,
    /// What of [`Shard::memory`] is this shard's.
    counted: usize,
    pub(super) log: LogSize,
}

impl<C: Core> Shard<C> {
    pub(crate) fn new(partition: Partition, memory: CoreMemory, wakes: Arc<Notify>) -> Shard<C> {
        let (stage, inner) = (AtomicU8::new(LOADING), Mutex::default());
        Shard { partition, memory, stage, inner, wakes, leaves: Notify::new(), lost: Notify::new() }
    }

    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.partition.leader_epoch()
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.stage.load(Ordering::Acquire) == SERVING
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.stage.load(Ordering::Acquire) == LOST
    }

    /// All is as the log has it: requests may come.
    pub(crate) fn serve(&self, broker: &Shared, core: C, log_bytes: u64) {
        let image = broker.store.ledger().image();
        let mut inner = lock(&self.inner);
        inner.core = core;
        inner.log = LogSize::read(log_bytes);
        // Before anybody is let in, so that no timer takes the place of another one of somebody who waits.
        self.apply_locked(broker, &mut inner, |core, now, fx| core.loaded(broker, &image, now, fx));
        let from_loading = self.stage.compare_exchange(LOADING, SERVING, Ordering::AcqRel, Ordering::Acquire);
        if from_loading.is_ok() {
            self.wakes.notify_one();
        }
    }

    /// Nothing more is decided here; whoever waits is told to look for the coordinator.
    pub(crate) fn lose(&self) {
        self.stage.store(LOST, Ordering::Release);
        self.lose_locked(&mut lock(&self.inner));
    }

    pub(crate) fn next_deadline(&self) -> Option<Micros> {
        lock(&self.inner).core.next_deadline()
    }

    /// Does what is due.
    pub(crate) fn tick(&self, broker: &Shared) {
        if self.next_deadline().is_some_and(|next| next <= broker.clock.now()) {
            self.apply(broker, |core, now, fx| core.tick(broker, now, fx));
        }
    }

    /// Decides, and sends the records on their way; never waits.
    pub(crate) fn apply<T>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut C, Now, &mut C::Effects) -> T,
    ) -> Decided<T> {
        let mut inner = lock(&self.inner);
        let (value, after) = self.apply_locked(broker, &mut inner, decide);
        Decided { value, after }
    }

    pub(super) fn apply_locked<T>(
        &self,
        broker: &Shared,
        inner: &mut Inner<C>,
        decide: impl FnOnce(&mut C, Now, &mut C::Effects) -> T,
    ) -> (T, Offset) {
        let earliest = inner.core.next_deadline();
        let now = Now { at: broker.clock.now(), wall: broker.clock.wall() };
        let mut fx = C::Effects::default();
        self.set_room(broker, inner);
        let value = decide(&mut inner.core, now, &mut fx);
        self.count(inner);
        let before = inner.outbox.len();
        let plain = std::mem::take(C::records(&mut fx)).into_iter().map(|record| OwnRecord::new(record, None));
        inner.outbox.extend(plain);
        for place in C::whole(&mut fx).into_iter().flat_map(|range| range.skip(1)) {
            inner.outbox[before + place].is_joined = true;
        }
        let transactional = C::transactional(&mut fx).into_iter();
        inner.outbox.extend(transactional.map(|(producer, record)| OwnRecord::new(record, Some(producer))));
        inner.log.bytes += inner.outbox.range(before..).map(|it| it.record.len() as u64).sum::<u64>();
        self.flush(broker, inner);
        let after = self.end(inner);
        if inner.core.hand_on(&mut inner.outgoing, fx, after) {
            self.leaves.notify_one();
        }
        if self.is_long(broker, inner) {
            self.wakes.notify_one();
        }
        let next = inner.core.next_deadline();
        if next.is_some_and(|next| earliest.is_none_or(|earliest| next < earliest)) {
            self.wakes.notify_one();
        }
        (value, after)
    }

    /// Tells how much what is in memory may grow.
    pub(super) fn set_room(&self, broker: &Shared, inner: &mut Inner<C>) {
        let room = C::bytes_max(&broker.options).saturating_sub(self.memory.load(Ordering::Relaxed));
        inner.core.set_room(room);
    }

    /// Takes into account what was changed without a decision, in a log that is longer now.
    pub(super) fn has_changed(&self, broker: &Shared, inner: &mut Inner<C>) {
        self.count(inner);
        if self.is_long(broker, inner) {
            self.wakes.notify_one();
        }
    }

    /// Takes into account what a decision has changed of the memory that is taken.
    fn count(&self, inner: &mut Inner<C>) {
        let bytes = if self.is_lost() { 0 } else { inner.core.bytes() };
        let before = std::mem::replace(&mut inner.counted, bytes);
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        self.memory.fetch_sub(before, Ordering::Relaxed);
    }

    /// Where the log will end when the outbox is in it: a record is an offset, and nobody else appends here.
    pub(super) fn end(&self, inner: &Inner<C>) -> Offset {
        self.partition.log_end().plus(inner.outbox.len() as u64)
    }

    /// Appends what is in the outbox, as far as there is room.
    fn flush(&self, broker: &Shared, inner: &mut Inner<C>) {
        inner.hindrance = None;
        while !inner.outbox.is_empty() && !self.is_lost() {
            let producer = inner.outbox.front().and_then(|first| first.producer);
            let count = fits_batch(&inner.outbox);
            let batch = match batch_of(inner.outbox.iter().take(count), broker.clock.wall().0) {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::error!("build records of {}: {error}; this is a bug, they are loaded anew", C::WHAT);
                    return self.lose_locked(inner);
                }
            };
            match self.partition.append(&batch) {
                // That it is durable is told by the high watermark.
                Ok(_appended) => drop(inner.outbox.drain(..count)),
                Err(AppendError::Busy | AppendError::TooFarAhead) => return,
                Err(error @ (AppendError::ProducersAway | AppendError::TooManyProducers)) if producer.is_some() => {
                    inner.hindrance = Some(error);
                    return;
                }
                // A copy of what was granted when it was stored first; a restore from objects may have lost that.
                Err(AppendError::Sequence(SequenceError::NeedsGrant { .. })) if producer.is_some() => {
                    if let Some(ticket) = self.partition.ask_grant(&batch) {
                        self.partition.answer_grant(ticket, true);
                    }
                }
                Err(AppendError::NotOwner) => return self.lose_locked(inner),
                Err(
                    error @ (AppendError::Gap { .. }
                    | AppendError::TooLarge { .. }
                    | AppendError::ProducersAway
                    | AppendError::TooManyProducers
                    | AppendError::Sequence(_)),
                ) => {
                    tracing::error!("append records of {}: {error}; this is a bug, they are loaded anew", C::WHAT);
                    return self.lose_locked(inner);
                }
            }
        }
    }

    pub(super) fn lose_locked(&self, inner: &mut Inner<C>) {
        self.stage.store(LOST, Ordering::Release);
        self.count(inner);
        inner.outgoing = C::Outgoing::default();
        inner.outbox.clear();
        self.lost.notify_waiters();
        self.wakes.notify_one();
    }

    /// Decides when there is room, and answers when what it rests on is confirmed.
    pub(crate) async fn run<T>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut C, Now, &mut C::Effects) -> T + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
    {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        self.room(broker, deadline).await?;
        self.run_at_once(broker, deadline, decide).await
    }

    /// As [`Shard::run`], of what makes too many records for one go: decides until it breaks, each time when there is room, and waits for the
    /// confirmation of all of it at the end. Others may decide something in between.
    pub(crate) async fn run_in_pieces<T: Send>(
        &self,
        broker: &Shared,
        mut decide: impl FnMut(&mut C, Now, &mut C::Effects) -> ControlFlow<T> + Send,
    ) -> Result<T, Failure> {
        loop {
            let deadline = broker.clock.now().plus(broker.options.group_wait_max);
            self.room(broker, deadline).await?;
            let Decided { value, after } = self.apply(broker, &mut decide);
            if let ControlFlow::Break(value) = value {
                self.confirmed(broker, after, deadline).await?;
                return Ok(value);
            }
            tokio::task::yield_now().await;
        }
    }

    /// As [`Shard::run`], for what makes no record: it is decided at once, however long the log has had no room, so that nobody is taken
    /// for gone who is there.
    pub(crate) async fn note<T: Send>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut C, Now, &mut C::Effects) -> T + Send,
    ) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        self.run_at_once(broker, deadline, decide).await
    }

    async fn run_at_once<T: Send>(
        &self,
        broker: &Shared,
        deadline: Micros,
        decide: impl FnOnce(&mut C, Now, &mut C::Effects) -> T + Send,
    ) -> Result<T, Failure> {
        if !self.is_serving() {
            return Err(Failure::NotCoordinator);
        }
        let Decided { value, after } = self.apply(broker, decide);
        let after = planted!("G3", after, Offset(0));
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }

    /// Decides what is answered later than this returns: whoever waits for it enters first.
    pub(super) fn apply_entered<E>(
        &self,
        broker: &Shared,
        enter: impl FnOnce(&mut C::Outgoing) -> E,
        decide: impl FnOnce(&mut C, Now, E, &mut C::Effects),
    ) -> Result<(), Failure> {
        let mut inner = lock(&self.inner);
        if !self.is_serving() {
            return Err(Failure::NotCoordinator);
        }
        let entered = enter(&mut inner.outgoing);
        self.apply_locked(broker, &mut inner, |core, now, fx| decide(core, now, entered, fx));
        Ok(())
    }

    /// Takes what may leave once it is confirmed.
    pub(crate) fn take_outgoing(&self) -> C::Outgoing {
        std::mem::take(&mut lock(&self.inner).outgoing)
    }

    /// Waits until there is something new for what runs beside, or the shard is lost.
    pub(crate) async fn leaves(&self) {
        let lost = self.lost.notified();
        if self.is_lost() {
            return;
        }
        tokio::select! {
            biased;
            () = lost => {}
            () = self.leaves.notified() => {}
        }
    }

    /// Reads what is there now, confirmed or not: for what nobody is told.
    pub(crate) fn look<T>(&self, read: impl FnOnce(&C) -> T) -> T {
        read(&lock(&self.inner).core)
    }

    /// Reads what was true at some moment after this call began, whoever else may have taken the partition over before it: it is told
    /// only when something that was appended since the call is confirmed. What others append serves; else a record that
    /// says nothing is appended.
    pub(crate) async fn read<T: Send>(&self, broker: &Shared, read: impl FnOnce(&C) -> T + Send) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let before = self.end(&lock(&self.inner));
        // Whoever asks meanwhile shares one append.
        self.confirmed(broker, planted!("G1", before, Offset(0)), deadline).await?;
        self.room(broker, deadline).await?;
        let Decided { value, after } = {
            let mut inner = lock(&self.inner);
            self.prove(broker, &mut inner, before);
            Decided { value: read(&inner.core), after: self.end(&inner) }
        };
        self.confirmed(broker, planted!("G1", after, Offset(0)), deadline).await?;
        Ok(value)
    }

    /// As [`Shard::run`], and what it tells was true at some moment after this call began, also where nothing was decided.
    pub(crate) async fn run_proved<T: Send>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut C, Now, &mut C::Effects) -> T + Send,
    ) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        self.room(broker, deadline).await?;
        let Decided { value, after } = {
            let mut inner = lock(&self.inner);
            if !self.is_serving() {
                return Err(Failure::NotCoordinator);
            }
            let before = self.end(&inner);
            let (value, _) = self.apply_locked(broker, &mut inner, decide);
            self.prove(broker, &mut inner, before);
            Decided { value, after: self.end(&inner) }
        };
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }

    /// Appends a record that says nothing, unless something was appended since the log ended at `before`.
    fn prove(&self, broker: &Shared, inner: &mut Inner<C>, before: Offset) {
        if planted!("G2", self.end(inner) == before, false) {
            let nothing = C::nothing();
            inner.log.bytes += nothing.len() as u64;
            inner.outbox.push_back(OwnRecord::new(nothing, None));
            self.flush(broker, inner);
        }
    }

    /// Reads what is confirmed. Only before a [`Shard::read`] of another shard in the same write-ahead log, which proves that this start still
    /// owns that log.
    pub(crate) async fn peek<T: Send>(&self, broker: &Shared, read: impl FnOnce(&C) -> T + Send) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let Decided { value, after } = {
            let inner = lock(&self.inner);
            Decided { value: read(&inner.core), after: self.end(&inner) }
        };
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }

    /// Whether the log has taken all that was decided.
    pub(crate) fn is_flushed(&self) -> bool {
        lock(&self.inner).outbox.is_empty()
    }

    /// Waits until the outbox is empty.
    pub(crate) async fn room(&self, broker: &Shared, deadline: Micros) -> Result<(), Failure> {
        loop {
            let hindrance = {
                let mut inner = lock(&self.inner);
                self.flush(broker, &mut inner);
                if !self.is_serving() {
                    return Err(Failure::NotCoordinator);
                }
                if inner.outbox.is_empty() {
                    return Ok(());
                }
                inner.hindrance.clone()
            };
            if let Some(error) = hindrance {
                self.deal_with(broker, error, deadline).await?;
                continue;
            }
            let left = deadline.since(broker.clock.now());
            if broker.clock.timeout(left, self.partition.room()).await.is_none() {
                return Err(Failure::CoordinatorUnavailable("the write-ahead log is behind".to_owned()));
            }
        }
    }

    /// Waits until the log is confirmed up to `end`, by this owner.
    pub(crate) async fn confirmed(&self, broker: &Shared, end: Offset, deadline: Micros) -> Result<(), Failure> {
        let lost = self.lost.notified();
        if self.is_lost() {
            return Err(Failure::NotCoordinator);
        }
        if self.partition.high_watermark() >= end {
            return Ok(());
        }
        // The outbox may be what is waited for.
        self.room(broker, deadline).await?;
        let mut high_watermark = self.partition.watch_high_watermark();
        let mut stopping = broker.stopping.subscribe();
        let left = deadline.since(broker.clock.now());
        tokio::select! {
            biased;
            confirmed = high_watermark.wait_for(|confirmed| *confirmed >= end) => {
                confirmed.map(drop).map_err(|_| Failure::NotCoordinator)
            }
            () = lost => Err(Failure::NotCoordinator),
            _ = stopping.wait_for(|stopping| *stopping) => Err(stops()),
            () = broker.clock.sleep(left) => {
                Err(Failure::CoordinatorUnavailable("the change is not durable yet; it may still become so".to_owned()))
            }
        }
    }
}

pub(super) fn stops() -> Failure {
    Failure::CoordinatorUnavailable("this broker stops".to_owned())
}
