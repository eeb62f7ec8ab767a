//! The groups of one partition of `__consumer_offsets`, while this broker owns it: applies decisions, appends their records, and lets
//! answers out when what they rest on is confirmed.
//!
//! Records are enqueued under the lock that the decision was made under, so that their order in the log is the order of decisions.
//! Where the write-ahead log has no room they wait in the outbox, and with them every answer; requests wait for room before they
//! are decided, so the outbox holds little. An answer names the log's end at the time of its decision: it may leave when
//! the partition's high watermark is there. A shard that lost its partition, or could not append, is thrown away and loaded anew.

use crate::Shared;
use crate::batch_check::CheckedBatch;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset, planted};
use coordinator_core::{Answer, CoordinatorRecord, CopyCursor, Effects, Groups, Now, Ticket};
use protocol::record_batch::{BatchBuilder, NewRecord};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use stream::AppendError;
use tokio::sync::{Notify, oneshot};
use world::{ClockExt, lock};

/// Bytes of records in one batch at the most, but for a single record that is larger.
const BATCH_RECORD_BYTES_MAX: usize = 512 * 1024;

/// Where a shard stands. It only goes forward.
const LOADING: u8 = 0;
const SERVING: u8 = 1;
const LOST: u8 = 2;

/// A decision's result and the log's end at that time.
pub(crate) struct Decided<T> {
    pub(crate) value: T,
    pub(crate) after: Offset,
}

/// Bytes that the groups of all shards take.
pub(crate) type GroupMemory = Arc<AtomicUsize>;

pub(crate) struct Shard {
    partition: Partition,
    memory: GroupMemory,
    stage: AtomicU8,
    inner: Mutex<Inner>,
    /// Wakes the loop that keeps the groups' time.
    wakes: Arc<Notify>,
    /// Wakes whoever waits for an answer or a confirmation when the shard is lost.
    lost: Notify,
}

#[derive(Default)]
struct Inner {
    groups: Groups,
    /// Decided and not appended, oldest first.
    outbox: VecDeque<CoordinatorRecord>,
    requesters: BTreeMap<Ticket, oneshot::Sender<Decided<Answer>>>,
    next_ticket: u64,
    /// What of [`Shard::memory`] is this shard's.
    counted: usize,
    log: LogSize,
}

/// Bytes of records in the log, from its start to its end with the outbox, and when that is to be copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogSize {
    pub(crate) bytes: u64,
    /// What the last copy took.
    copied: u64,
    is_copying: bool,
}

/// A copy that begins.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where the log ends: what lies before goes when the copy is there.
    pub(crate) begin: Offset,
    bytes_before: u64,
}

/// A log is copied when it is so many times longer than its last copy, so that copies are a small part of what is written.
const COPY_WHEN_LONGER: u64 = 3;

impl Shard {
    pub(crate) fn new(partition: Partition, memory: GroupMemory, wakes: Arc<Notify>) -> Shard {
        let (stage, inner) = (AtomicU8::new(LOADING), Mutex::default());
        Shard { partition, memory, stage, inner, wakes, lost: Notify::new() }
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

    /// The groups are as the log has them: requests may come.
    pub(crate) fn serve(&self, groups: Groups, log_bytes: u64) {
        {
            let mut inner = lock(&self.inner);
            inner.groups = groups;
            inner.log = LogSize { bytes: log_bytes, ..LogSize::default() };
            self.count(&mut inner);
        }
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
        lock(&self.inner).groups.next_deadline()
    }

    /// Does what is due.
    pub(crate) fn tick(&self, broker: &Shared) {
        if self.next_deadline().is_some_and(|next| next <= broker.clock.now()) {
            self.apply(broker, Groups::tick);
        }
    }

    /// Decides, and sends the records on their way; never waits.
    pub(crate) fn apply<T>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut Groups, Now, &mut Effects) -> T,
    ) -> Decided<T> {
        let mut inner = lock(&self.inner);
        let (value, after) = self.apply_locked(broker, &mut inner, decide);
        Decided { value, after }
    }

    fn apply_locked<T>(
        &self,
        broker: &Shared,
        inner: &mut Inner,
        decide: impl FnOnce(&mut Groups, Now, &mut Effects) -> T,
    ) -> (T, Offset) {
        let earliest = inner.groups.next_deadline();
        let now = Now { at: broker.clock.now(), wall: broker.clock.wall() };
        let mut fx = Effects::default();
        let room = broker.options.groups_bytes_max.saturating_sub(self.memory.load(Ordering::Relaxed));
        inner.groups.set_room(room);
        let value = decide(&mut inner.groups, now, &mut fx);
        self.count(inner);
        inner.log.bytes += fx.records.iter().map(|record| record.len() as u64).sum::<u64>();
        inner.outbox.extend(fx.records);
        self.flush(broker, inner);
        let after = self.end(inner);
        for (ticket, answer) in fx.answers {
            if let Some(requester) = inner.requesters.remove(&ticket) {
                // Who asked may have gone; what was decided stays.
                let _is_heard = requester.send(Decided { value: answer, after }).is_ok();
            }
        }
        if self.is_long(broker, inner) {
            self.wakes.notify_one();
        }
        let next = inner.groups.next_deadline();
        if next.is_some_and(|next| earliest.is_none_or(|earliest| next < earliest)) {
            self.wakes.notify_one();
        }
        (value, after)
    }

    /// Takes into account what a decision has changed of the memory that the groups take.
    fn count(&self, inner: &mut Inner) {
        let bytes = if self.is_lost() { 0 } else { inner.groups.bytes() };
        let before = std::mem::replace(&mut inner.counted, bytes);
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        self.memory.fetch_sub(before, Ordering::Relaxed);
    }

    fn is_long(&self, broker: &Shared, inner: &Inner) -> bool {
        let log = inner.log;
        let longest = broker.options.groups_log_bytes_max.max(COPY_WHEN_LONGER.saturating_mul(log.copied));
        !log.is_copying && log.bytes > longest && inner.groups.are_all_there_is()
    }

    /// Begins a copy where the log has become long, and none is under way.
    pub(crate) fn begin_copy(&self, broker: &Shared) -> Option<Begun> {
        let mut inner = lock(&self.inner);
        if !self.is_serving() || !self.is_long(broker, &inner) {
            return None;
        }
        inner.log.is_copying = true;
        Some(Begun { begin: self.end(&inner), bytes_before: inner.log.bytes })
    }

    /// The next slice of a copy: its bytes, and whether the copy is whole then.
    pub(crate) fn copy_slice(
        &self,
        broker: &Shared,
        cursor: &mut CopyCursor,
        bytes_max: usize,
    ) -> Decided<(u64, bool)> {
        self.apply(broker, |groups, _, fx| {
            let is_whole = groups.copy(cursor, bytes_max, fx);
            (fx.records.iter().map(|record| record.len() as u64).sum(), is_whole)
        })
    }

    /// The log begins with the copy now.
    pub(crate) fn has_copied(&self, begun: &Begun, bytes: u64) {
        let mut inner = lock(&self.inner);
        let rest = inner.log.bytes.saturating_sub(begun.bytes_before);
        inner.log = LogSize { bytes: rest, copied: bytes, is_copying: false };
    }

    /// Where the log will end when the outbox is in it: a record is an offset, and nobody else appends here.
    fn end(&self, inner: &Inner) -> Offset {
        self.partition.log_end().plus(inner.outbox.len() as u64)
    }

    /// Appends what is in the outbox, as far as there is room.
    fn flush(&self, broker: &Shared, inner: &mut Inner) {
        while !inner.outbox.is_empty() && !self.is_lost() {
            let mut bytes = 0;
            let fits = |record: &&CoordinatorRecord| {
                bytes += record.len();
                bytes <= BATCH_RECORD_BYTES_MAX
            };
            let count = inner.outbox.iter().take_while(fits).count().max(1);
            let batch = batch_of(inner.outbox.iter().take(count), broker.clock.wall().0);
            let appended = batch.map(|batch| self.partition.append(&batch));
            match appended {
                // That it is durable is told by the high watermark.
                Ok(Ok(_appended)) => drop(inner.outbox.drain(..count)),
                Ok(Err(AppendError::Busy | AppendError::TooFarAhead)) => return,
                Ok(Err(AppendError::NotOwner)) => return self.lose_locked(inner),
                Ok(Err(
                    error @ (AppendError::Gap { .. }
                    | AppendError::TooLarge { .. }
                    | AppendError::ProducersAway
                    | AppendError::TooManyProducers
                    | AppendError::Sequence(_)),
                )) => {
                    tracing::error!("append group records: {error}; this is a bug, the groups are loaded anew");
                    return self.lose_locked(inner);
                }
                Err(error) => {
                    tracing::error!("build group records: {error}; this is a bug, the groups are loaded anew");
                    return self.lose_locked(inner);
                }
            }
        }
    }

    fn lose_locked(&self, inner: &mut Inner) {
        self.stage.store(LOST, Ordering::Release);
        self.count(inner);
        inner.requesters.clear();
        inner.outbox.clear();
        self.lost.notify_waiters();
        self.wakes.notify_one();
    }

    /// Decides when there is room, and answers when what it rests on is confirmed.
    pub(crate) async fn run<T>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut Groups, Now, &mut Effects) -> T + Send,
    ) -> Result<T, Failure>
    where
        T: Send,
    {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        self.room(broker, deadline).await?;
        self.run_at_once(broker, deadline, decide).await
    }

    /// As [`Shard::run`], for what makes no record: it is decided at once, however long the log has had no room, so that nobody is taken
    /// for gone who is there.
    pub(crate) async fn note<T: Send>(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut Groups, Now, &mut Effects) -> T + Send,
    ) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        self.run_at_once(broker, deadline, decide).await
    }

    async fn run_at_once<T: Send>(
        &self,
        broker: &Shared,
        deadline: Micros,
        decide: impl FnOnce(&mut Groups, Now, &mut Effects) -> T + Send,
    ) -> Result<T, Failure> {
        if !self.is_serving() {
            return Err(Failure::NotCoordinator);
        }
        let Decided { value, after } = self.apply(broker, decide);
        let after = planted!("G3", after, Offset(0));
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }

    /// Decides what is answered by a ticket, and waits for that answer: as long as it takes.
    pub(crate) async fn ask(
        &self,
        broker: &Shared,
        decide: impl FnOnce(&mut Groups, Now, Ticket, &mut Effects) + Send,
    ) -> Result<Answer, Failure> {
        self.room(broker, broker.clock.now().plus(broker.options.group_wait_max)).await?;
        let (sender, answer) = oneshot::channel();
        {
            let mut inner = lock(&self.inner);
            if !self.is_serving() {
                return Err(Failure::NotCoordinator);
            }
            let ticket = Ticket(inner.next_ticket);
            inner.next_ticket += 1;
            inner.requesters.insert(ticket, sender);
            self.apply_locked(broker, &mut inner, |groups, now, fx| decide(groups, now, ticket, fx));
        }
        let mut stopping = broker.stopping.subscribe();
        let Decided { value, after } = tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| Failure::NotCoordinator)?,
            _ = stopping.wait_for(|stopping| *stopping) => return Err(stops()),
        };
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let after = planted!("assignment told before it is durable", after, Offset(0));
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }

    /// Reads what was true at some moment after this call began, whoever else may have taken the partition over before it: it is told
    /// only when something that was appended since the call is confirmed. What others append serves; else a record that
    /// says nothing is appended.
    pub(crate) async fn read<T: Send>(
        &self,
        broker: &Shared,
        read: impl FnOnce(&Groups) -> T + Send,
    ) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let before = self.end(&lock(&self.inner));
        // Whoever asks meanwhile shares one append.
        self.confirmed(broker, planted!("G1", before, Offset(0)), deadline).await?;
        self.room(broker, deadline).await?;
        let Decided { value, after } = {
            let mut inner = lock(&self.inner);
            if planted!("G2", self.end(&inner) == before, false) {
                let nothing = CoordinatorRecord::nothing();
                inner.log.bytes += nothing.len() as u64;
                inner.outbox.push_back(nothing);
                self.flush(broker, &mut inner);
            }
            Decided { value: read(&inner.groups), after: self.end(&inner) }
        };
        self.confirmed(broker, planted!("G1", after, Offset(0)), deadline).await?;
        Ok(value)
    }

    /// Reads what is confirmed. Only before a [`Shard::read`] of another shard in the same write-ahead log, which proves that this start still
    /// owns that log.
    pub(crate) async fn peek<T: Send>(
        &self,
        broker: &Shared,
        read: impl FnOnce(&Groups) -> T + Send,
    ) -> Result<T, Failure> {
        let deadline = broker.clock.now().plus(broker.options.group_wait_max);
        let Decided { value, after } = {
            let inner = lock(&self.inner);
            Decided { value: read(&inner.groups), after: self.end(&inner) }
        };
        self.confirmed(broker, after, deadline).await?;
        Ok(value)
    }

    /// Waits until the outbox is empty.
    pub(crate) async fn room(&self, broker: &Shared, deadline: Micros) -> Result<(), Failure> {
        loop {
            {
                let mut inner = lock(&self.inner);
                self.flush(broker, &mut inner);
                if !self.is_serving() {
                    return Err(Failure::NotCoordinator);
                }
                if inner.outbox.is_empty() {
                    return Ok(());
                }
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

fn stops() -> Failure {
    Failure::CoordinatorUnavailable("this broker stops".to_owned())
}

/// A batch of the broker's own records, dated now.
fn batch_of<'a>(
    records: impl Iterator<Item = &'a CoordinatorRecord>,
    timestamp: i64,
) -> Result<CheckedBatch, protocol::record_batch::BatchError> {
    let add = |builder: BatchBuilder, record: &CoordinatorRecord| {
        let (key, value) = (Some(&record.key[..]), record.value.as_deref());
        builder.record(&NewRecord { timestamp, key, value, headers: &[] })
    };
    records.fold(BatchBuilder::new(), add).build(0).map(CheckedBatch::own)
}
