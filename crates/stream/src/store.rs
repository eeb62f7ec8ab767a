//! The public face of the storage library: [`Store`] is one start of one broker, [`Stream`] a stream that this start owns.
//!
//! First stop of the append and the read walk. Guarantees: an append is accepted in offset order or refused with nothing enqueued; its
//! [`Confirmation`] resolves only when it is durable; a read shows confirmed batches only. What is behind that lies in `driver`,
//! `read`, `start` and `drain`; what the bytes mean is the caller's.

use crate::CompactionUse;
use crate::log::Log;
use crate::offsets::Greatest;
use crate::open_stream::OpenStream;
use crate::options::Options;
use crate::shared::{Shared, tenure_bounds};
use crate::wal::PutCounts;
use crate::watch::Watch;
use crate::{drain, offsets, producers, read, start};
use base::{NodeEpoch, NodeId, Offset, StreamEpoch, StreamId, UnixMillis, WalIndex, planted};
use bytes::Bytes;
use control::{Ledger, LedgerError};
use control_core::{Command, Image, Outcome, Refusal};
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use stream_core::pace::PaceLimits;
use stream_core::producers::{MarkerRule, ProducerBatch, SequenceError, Verdict, Written};
use stream_core::{NumberedBatch, WalEntry};
use tokio::sync::{Notify, oneshot, watch};
use world::{ObjectStore, World, lock};

/// Where a start's WAL lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalTarget {
    /// A ring in a local file of that folder, of so many bytes.
    File { dir: PathBuf, bytes: u64 },
    /// A ring that is the whole of that block device.
    Device {
        /// Such as `/dev/nvme1n1`.
        path: PathBuf,
        /// The token by which an earlier refusal named what is on it and may be lost.
        give_up: Option<String>,
    },
    /// A ring of so many bytes for this start alone, in a folder that all brokers see under this name.
    Shared { dir: PathBuf, bytes: u64 },
    /// Numbered objects in the cluster's own bucket.
    Storage,
}

/// A write-ahead log that a start is to have.
#[derive(Debug, Clone)]
pub struct NamedWal {
    /// By which topics choose it; no two of a start are the same.
    pub name: String,
    /// Where it lives.
    pub target: WalTarget,
    /// How it spends its puts, if it lives in the bucket. `None`: as [`Options`] say.
    pub pace: Option<PaceLimits>,
}

impl NamedWal {
    /// The only one, or the first, that nobody has named.
    #[must_use]
    pub fn default_of(target: WalTarget) -> NamedWal {
        NamedWal { name: DEFAULT_WAL.to_owned(), target, pace: None }
    }

    /// As the ledger has it.
    pub(crate) fn ledger_name(&self) -> &str {
        if self.name == DEFAULT_WAL { "" } else { &self.name }
    }
}

/// Which of these logs has that name, as the ledger has it or a topic chooses it; the first one where none has.
pub(crate) fn index_of(wals: &[NamedWal], name: Option<&str>) -> WalIndex {
    let found = (0u16..).zip(wals).find(|(_, wal)| name == Some(&wal.name) || name == Some(wal.ledger_name()));
    WalIndex(found.map_or(0, |(index, _)| index))
}

/// By which name a stream chooses its log; `None`: the first one.
pub type WalChoice = for<'a> fn(&'a Image, StreamId) -> Option<&'a str>;

/// The name by which the first log can always be chosen, whatever else it is called.
pub const DEFAULT_WAL: &str = "default";

/// What a start asks for.
#[derive(Clone)]
pub struct StartRequest {
    /// `--node-id`.
    pub node_id: Option<NodeId>,
    /// `host:port` that clients use.
    pub advertised: String,
    /// `--wal`, by index: the first one is for streams that don't say otherwise. At least one.
    pub wals: Vec<NamedWal>,
    /// Which of them a stream is written to. A name that none of them has is taken for the first one's.
    pub choice: WalChoice,
    /// Whether a broker at that advertised address answers; one that does is not declared dead.
    pub answers: Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>,
    /// How other brokers are watched while this one runs, and followed when they die. `None`: not at all.
    pub watch: Option<Watch>,
    /// Notified once the cluster knows of this start, which may serve long after: from then on it is to answer other starts.
    pub registered: Arc<Notify>,
    /// Bounds and periods.
    pub options: Options,
    /// Bounds and periods of the ledger.
    pub ledger_options: control::LedgerOptions,
}

/// Why a start failed: one line that says what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Why an append was not accepted. Nothing was enqueued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting (slow or failing WAL or bucket), or the stream changes its WAL: [`Stream::room`], then ask again.
    #[error("the write-ahead log is behind; try again")]
    Busy,
    /// As many offsets are given out beyond what is in the bucket as may be (rule D-10): [`Stream::room`], then ask again.
    #[error("too many offsets are acknowledged that are not in the bucket yet; try again")]
    TooFarAhead,
    /// This start does not own the stream (any more).
    #[error("not the owner")]
    NotOwner,
    /// The batch's base offset is not the stream's next. A programmer's error above, never written.
    #[error("batch begins at {base}, the stream's next offset is {next}")]
    Gap { base: Offset, next: Offset },
    /// No group of this WAL can hold the batch.
    #[error("batch of {bytes} bytes; this write-ahead log takes at most {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// What idempotent producers wrote to the stream is not in memory: [`Stream::load_producers`], then ask again.
    #[error("the stream's producers are being loaded")]
    ProducersAway,
    /// A producer that the stream does not know, and no memory for one more: [`Stream::make_room_for_producers`], or later.
    #[error("too many idempotent producers are active; try again")]
    TooManyProducers,
    /// Not the producer's next batch, nor a repeat of a known one; or its transaction is not known to be one here
    /// ([`SequenceError::NeedsGrant`]: [`Stream::ask_grant`], then its coordinator, then again).
    #[error("{0}")]
    Sequence(#[from] SequenceError),
}

/// Why a read could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Below the start or above the confirmed offset.
    #[error("offset out of range")]
    OutOfRange,
    /// This start does not own the stream (any more).
    #[error("not the owner")]
    NotOwner,
    /// The store is in trouble: retriable.
    #[error("{0}")]
    Trouble(String),
    /// A live object is missing or its bytes are damaged.
    #[error("{0}")]
    Corrupt(String),
}

/// Resolves when an append is durable: `Ok`, or `Err` when its fate will never be known here (this start was
/// fenced or the WAL failed): the client must ask again elsewhere.
pub type Confirmation = oneshot::Receiver<()>;

/// What became of a batch that was not refused.
#[derive(Debug)]
pub enum Appended {
    /// It is on its way.
    Enqueued(Confirmation),
    /// An idempotent producer sent it again: the original stands here, confirmed or on its way ([`Stream::until_confirmed`]).
    Repeat(ProducerBatch),
}

/// Whole batches, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ReadBatches {
    /// Their bytes; each piece is a whole batch, a run of whole batches, or a head followed by its body.
    pub pieces: Vec<Bytes>,
    /// Their total length.
    pub bytes: usize,
    /// The offset to read next.
    pub next: Offset,
}

/// The storage library of one start of one broker; clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// Leads the ledger, registers, declares its own previous start and every start that does not answer dead, recovers what it
    /// can, seals, opens, serves. Streams whose WAL can't be read stay offline: [`Store::offline_reason`].
    ///
    /// # Errors
    /// The bucket or the WAL can't be used; the message says what to do.
    pub async fn start(
        world: &World,
        objects: Arc<dyn ObjectStore>,
        request: StartRequest,
    ) -> Result<Store, StartError> {
        let shared = start::start(world, objects, request).await?;
        Ok(Store { shared })
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// This broker's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.node_id
    }

    /// Where the bucket is, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.shared.objects.uploads.describe()
    }

    /// This start.
    #[must_use]
    pub fn node_epoch(&self) -> NodeEpoch {
        self.shared.node_epoch
    }

    /// From now on producers are forgotten that were silent for so long.
    pub fn set_producer_expiration(&self, expiration: Duration) {
        self.shared.producers.set_expiration(expiration);
    }

    /// How many logs this start writes to.
    #[must_use]
    pub fn log_count(&self) -> usize {
        self.shared.logs.len()
    }

    /// The names of the logs that it was started with, by index; of some that have failed the ledger knows none any more.
    pub fn log_names(&self) -> impl Iterator<Item = &str> {
        self.shared.logs.iter().map(|log| log.name.as_str())
    }

    /// The greatest batch that every log takes, in bytes.
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        self.shared.logs.iter().map(|log| log.batch_bytes_max).min().unwrap_or_default()
    }

    /// The stream, if this start owns it now.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<Stream> {
        let stream = self.shared.open_stream(id)?;
        Some(Stream { shared: self.shared.clone(), stream })
    }

    /// Changes when a stream has moved from one of this start's logs to another, which is later than the ledger shows it.
    #[must_use]
    pub fn watch_moves(&self) -> watch::Receiver<u64> {
        self.shared.moved.subscribe()
    }

    /// Why a stream can't be served by anybody now, for people.
    #[must_use]
    pub fn offline_reason(&self, id: StreamId) -> Option<String> {
        let image = self.shared.ledger.image();
        let owner = image.streams.get(&id)?.owner()?;
        if !image.is_dead(owner.node_epoch()) {
            return None;
        }
        let why = lock(&self.shared.dead.offline).get(&owner.wal).cloned();
        Some(why.unwrap_or_else(|| {
            let url = image.wals.get(&owner.wal).map_or("a write-ahead log that is gone", |record| record.url.as_str());
            format!(
                "its owner died, and {url} waits to be recovered: start a broker that can read it, or, where it is lost, see `millstream \
                 broker abandon`"
            )
        }))
    }

    /// Resolves with the reason when this start must stop: declared dead, fenced, or its WAL failed.
    pub async fn stopped(&self) -> String {
        self.shared.until_stopped().await
    }

    /// Clean stop: no more appends; uploads and commits what is there until `limit` has passed; leaves the rest in the WAL. Where
    /// all of it is committed the WAL is given up: everything is in the bucket, and any broker may open the streams. Also after
    /// the WAL has failed: then it uploads what was confirmed.
    pub async fn drain(&self, limit: Duration) {
        drain::drain(&self.shared, limit).await;
    }

    /// What compaction has done since the start, for the console.
    #[must_use]
    pub fn compaction(&self) -> CompactionUse {
        self.shared.compaction.used()
    }

    /// How far behind and how full things are, for the console.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let (memory_bytes, spilled_runs) = {
            let cache = lock(&self.shared.cache);
            (cache.memory_bytes(), cache.spilled_runs())
        };
        let recovering_wals = *self.shared.dead.recovering.borrow();
        let wals: Vec<WalGauges> = self.shared.logs.iter().map(|log| WalGauges::of(log)).collect();
        Gauges {
            log_cache_bytes: memory_bytes,
            spilled_runs,
            appended_bytes: wals.iter().map(|wal| wal.appended_bytes).sum(),
            upload_behind_bytes: wals.iter().map(|wal| wal.upload_behind_bytes).sum(),
            wals,
            recovering_wals,
            corrupt_reads: self.shared.cold.corrupt.load(Ordering::Relaxed),
        }
    }
}

/// Momentary values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauges {
    /// Memory of the log cache.
    pub log_cache_bytes: u64,
    /// Runs of it that are only in a WAL.
    pub spilled_runs: usize,
    /// Bytes of batches acknowledged since the start.
    pub appended_bytes: u64,
    /// Bytes acknowledged and not committed.
    pub upload_behind_bytes: u64,
    /// Of each of this start's logs, by index.
    pub wals: Vec<WalGauges>,
    /// Dead WALs whose tails are still uploaded.
    pub recovering_wals: usize,
    /// Reads, since the start, of records that are damaged or missing where they are stored.
    pub corrupt_reads: u64,
}

/// Momentary values of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalGauges {
    /// By which topics choose it.
    pub name: String,
    /// Whether it has failed: its streams go on in another log until the next start.
    pub has_failed: bool,
    /// Bytes of it that are still needed.
    pub used_bytes: u64,
    /// Its size.
    pub capacity_bytes: u64,
    /// Bytes of batches acknowledged since the start.
    pub appended_bytes: u64,
    /// Where it lies in the bucket: its puts since the start.
    pub puts: PutCounts,
    /// Bytes accepted and not acknowledged.
    pub append_bytes: u64,
    /// How long the oldest of them has waited.
    pub append_age: Duration,
    /// What its producers are told now: [`Stream::throttle`].
    pub throttle: Duration,
    /// Bytes acknowledged and not committed.
    pub upload_behind_bytes: u64,
}

impl WalGauges {
    fn of(log: &Log) -> WalGauges {
        let (used_bytes, capacity_bytes, puts) = {
            let wal = lock(&log.wal);
            (wal.used_bytes(), wal.capacity_bytes(), wal.put_counts())
        };
        // Each lock is let go before the next look: the throttle time takes that of the front again.
        let append_bytes = lock(&log.front).appender.held_bytes() as u64;
        let upload_behind_bytes = lock(&log.source.core).behind_bytes();
        WalGauges {
            name: log.name.clone(),
            has_failed: log.has_failed(),
            used_bytes,
            capacity_bytes,
            appended_bytes: log.appended_bytes.load(Ordering::Relaxed),
            puts,
            append_bytes,
            append_age: log.oldest_append_waits(),
            throttle: log.throttle(),
            upload_behind_bytes,
        }
    }
}

/// One stream that this start owns; clones share it.
#[derive(Clone)]
pub struct Stream {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: Arc<OpenStream>,
}

impl Stream {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.stream.id
    }

    /// Kafka's leader epoch.
    #[must_use]
    pub fn epoch(&self) -> StreamEpoch {
        self.stream.epoch
    }

    /// Kafka's log start offset.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.shared.ledger.image().streams.get(&self.stream.id).map_or(Offset(0), |record| record.start)
    }

    /// Where the next batch must begin.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.stream.next()
    }

    /// Kafka's high watermark.
    #[must_use]
    pub fn confirmed(&self) -> Offset {
        self.stream.confirmed()
    }

    /// Follows the confirmed offset: what parked fetches wait on. Also changes when the tenure is over.
    #[must_use]
    pub fn watch_confirmed(&self) -> watch::Receiver<Offset> {
        self.stream.watch_confirmed()
    }

    /// Whether the ledger shows the stream deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.stream.is_deleted()
    }

    /// Whether this tenure is over: the stream is deleted, or was moved to another log; [`Store::stream`] has the next one then.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stream.is_over()
    }

    /// Enqueues a batch; never waits. The caller numbers and enqueues under one lock per stream, so that order is offset order.
    ///
    /// The batch's bytes are shared, not copied, until they are uploaded and evicted: a batch that is a small part of the memory
    /// behind it is the caller's to copy first (one below 16 KiB is copied here).
    ///
    /// A batch of an idempotent producer is enqueued if it is that producer's next one; a repeat is not, and told where it stands.
    ///
    /// # Errors
    /// Nothing was enqueued; the kind says what to do.
    pub fn append(&self, batch: NumberedBatch) -> Result<Appended, AppendError> {
        self.append_by(batch, MarkerRule::V2)
    }

    /// The same of what may be a marker, which is told from a repeat by this rule.
    pub(crate) fn append_by(&self, batch: NumberedBatch, rule: MarkerRule) -> Result<Appended, AppendError> {
        let shared = &self.shared;
        let bytes = batch.bytes.len();
        let log = &self.stream.log;
        if bytes > log.batch_bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max: log.batch_bytes_max });
        }
        // Where this start has ended nobody makes room any more, so that whoever came back would come back for ever.
        let later = |error| if shared.has_stopped() { AppendError::NotOwner } else { error };
        let mut front = lock(&log.front);
        if self.stream.is_over() {
            return Err(AppendError::NotOwner);
        }
        if self.stream.is_moving.load(Ordering::Acquire) || log.has_failed() {
            return Err(later(AppendError::Busy));
        }
        if front.closed {
            return Err(AppendError::NotOwner);
        }
        let (base, next) = (batch.range.base, self.stream.next());
        if base != next || batch.range.is_empty() {
            return Err(AppendError::Gap { base, next });
        }
        let (range, timestamp) = (batch.range, batch.max_timestamp);
        let written = batch.producer.map(|delta| Written { delta, range, timestamp });
        let mut held = self.stream.producers.lock();
        if let Some(written) = &written
            && let Verdict::Repeat(original) = producers::check(shared, &mut held, &written.delta, rule)?
        {
            return Ok(Appended::Repeat(original));
        }
        if log.is_full.load(Ordering::Acquire) {
            return Err(later(AppendError::Busy));
        }
        let after = batch.range.next;
        if !self.may_give_out_below(after) && planted!("numbered beyond the ceiling", true, false) {
            return Err(later(AppendError::TooFarAhead));
        }
        let entry = WalEntry { stream: self.stream.id, stream_epoch: self.stream.epoch, batch };
        let waited = front.appender.waiting_bytes();
        if front.appender.accept(shared.world.clock.now(), entry).is_err() {
            front.refused_bytes = front.refused_bytes.max(bytes);
            return Err(later(AppendError::Busy));
        }
        let (confirms, confirmation) = oneshot::channel();
        front.confirmations.push_back(confirms);
        self.stream.set_next(after);
        if let Some(written) = &written {
            producers::accepted(shared, &mut held, written, self.stream.confirmed());
        }
        drop(held);
        let wakes = front.appender.is_worth_waking(waited);
        drop(front);
        if wakes {
            log.driver_wakes.notify_one();
        }
        Ok(Appended::Enqueued(confirmation))
    }

    /// Which of its start's logs it is written to.
    #[must_use]
    pub fn log_index(&self) -> usize {
        usize::from(self.stream.log.id.index.0)
    }

    /// Whether these offsets may be given out: those of a log that is given up are passed over up to the ceiling that the ledger knows, and
    /// this start's image is never ahead of it (rule D-10). The image is asked once for as many offsets as there may be.
    fn may_give_out_below(&self, next: Offset) -> bool {
        if next <= self.stream.ceiling() {
            return true;
        }
        let image = self.shared.ledger.image();
        if let Some((committed, _)) = tenure_bounds(&image, self.stream.id, self.stream.log.id, self.stream.epoch) {
            self.stream.raise_ceiling(committed.plus(self.shared.options.uncommitted_offsets_max));
        }
        next <= self.stream.ceiling()
    }

    /// Waits until appends to its log have room again after [`AppendError::Busy`] or [`AppendError::TooFarAhead`], its move is over, or this
    /// start ends.
    pub async fn room(&self) {
        loop {
            let changed = self.shared.room.notified();
            let is_far_ahead = || !self.may_give_out_below(self.stream.next().plus(1));
            let waits = self.stream.is_moving.load(Ordering::Acquire) || self.stream.log.is_busy() || is_far_ahead();
            if !waits || self.stream.is_over() || self.shared.has_stopped() {
                return;
            }
            changed.await;
        }
    }

    /// How long a producer to this stream that is answered now should send nothing: more than none while its log fills faster than it is
    /// emptied, or is slow itself. Beyond that, appends are refused ([`AppendError::Busy`]).
    #[must_use]
    pub fn throttle(&self) -> Duration {
        self.stream.log.throttle()
    }

    /// Brings what idempotent producers wrote to the stream into memory, as [`AppendError::ProducersAway`] asks for. Waits while
    /// another start uploads what an earlier owner left; the caller bounds the wait.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn load_producers(&self) -> Result<(), ReadError> {
        producers::load(&self.shared, &self.stream).await
    }

    /// Lets other streams' saved producers leave memory, and forgets who was silent for long, as [`AppendError::TooManyProducers`]
    /// asks for; answers whether there is room now.
    #[must_use]
    pub fn make_room_for_producers(&self) -> bool {
        producers::make_room(&self.shared, 1, self.stream.id)
    }

    /// Whether this start owned the stream at some moment after this was asked: only then does what it has in memory include all that
    /// was acknowledged before, so that something's absence there may be told (the principle of docs/rules.md).
    ///
    /// # Errors
    /// The ledger can't be read now.
    pub async fn is_still_owned(&self) -> Result<bool, ReadError> {
        match self.shared.ledger.refresh().await {
            Err(LedgerError::Dead(_)) => Ok(false),
            Err(error) => Err(ReadError::Trouble(error.to_string())),
            Ok(image) => Ok(!image.is_dead(self.shared.node_epoch) && !self.stream.is_over()),
        }
    }

    /// Waits until everything below `next` is durable. False: whether it ever is will not be known here.
    pub async fn until_confirmed(&self, next: Offset) -> bool {
        if planted!("repeat answered before it is confirmed", false, true) {
            return true;
        }
        let mut confirmed = self.stream.watch_confirmed();
        let confirms = confirmed.wait_for(|confirmed| *confirmed >= next || self.stream.is_over());
        tokio::select! {
            biased;
            changed = confirms => changed.is_ok_and(|confirmed| *confirmed >= next),
            _ = self.shared.until_stopped() => self.stream.confirmed() >= next,
        }
    }

    /// Whole batches from the one that holds `from` on, confirmed ones only: at least one where there is any, then up to `bytes_max`.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn read(&self, from: Offset, bytes_max: usize) -> Result<ReadBatches, ReadError> {
        self.read_below(from, Offset::MAX, bytes_max).await
    }

    /// The same of those that begin below `below`, where a batch begins.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn read_below(&self, from: Offset, below: Offset, bytes_max: usize) -> Result<ReadBatches, ReadError> {
        if self.stream.is_over() {
            return Err(ReadError::NotOwner);
        }
        if from < self.start() || from > self.stream.confirmed() {
            return Err(ReadError::OutOfRange);
        }
        read::read(&self.shared, &self.stream, (from, below), bytes_max).await
    }

    /// An offset from which reading on meets the first batch whose greatest timestamp is at least `target`; `None`: there is none.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn seek_time(&self, target: UnixMillis) -> Result<Option<Offset>, ReadError> {
        offsets::seek_time(&self.shared, &self.stream, target).await
    }

    /// Where the stream's greatest timestamp is, from what references and the log cache know of theirs.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn greatest_time(&self) -> Result<Greatest, ReadError> {
        offsets::greatest_time(&self.shared, &self.stream).await
    }

    /// Where the stream would start were it to keep at most about `bytes` and nothing older than `before`: whole references go,
    /// oldest first, and none of what is not uploaded yet. The present start where nothing goes.
    #[must_use]
    pub fn retention_start(&self, bytes: Option<u64>, before: Option<UnixMillis>) -> Offset {
        let image = self.shared.ledger.image();
        image.streams.get(&self.stream.id).map_or(Offset(0), |record| offsets::retention_start(record, bytes, before))
    }

    /// Bytes of its batches from the start on: what objects hold by the ledger, and what is acknowledged and not in objects yet. A batch
    /// that the start cuts counts whole or in part.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        offsets::bytes(&self.shared, &self.stream)
    }

    /// What reading at `from` can bring at the most, in bytes, where that is less than `bytes_max` and easily known: at the end of the stream.
    /// What is confirmed after the call is not in it.
    #[must_use]
    pub fn bytes_from(&self, from: Offset, bytes_max: usize) -> Option<usize> {
        offsets::bytes_from(&self.shared, &self.stream, from, bytes_max)
    }

    /// Moves the start offset; at most the confirmed offset.
    ///
    /// # Errors
    /// The kind says what to do.
    pub async fn trim(&self, start: Offset) -> Result<(), ReadError> {
        if start > self.stream.confirmed() {
            return Err(ReadError::OutOfRange);
        }
        let (stream, node_epoch, stream_epoch) = (self.stream.id, self.shared.node_epoch, self.stream.epoch);
        self.submit(Command::Trim { stream, node_epoch, stream_epoch, start }).await
    }

    /// Has the ledger do what only a stream's owner may ask for.
    pub(crate) async fn submit(&self, command: Command) -> Result<(), ReadError> {
        match self.shared.ledger.submit(command).await {
            Ok(Outcome::Refused(Refusal::Invalid(why))) => Err(ReadError::Corrupt(why)),
            Ok(Outcome::Refused(_)) => Err(ReadError::NotOwner),
            Ok(_) => Ok(()),
            Err(error) => Err(ReadError::Trouble(error.to_string())),
        }
    }
}
