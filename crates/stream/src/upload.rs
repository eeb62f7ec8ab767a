//! Uploads and commits one WAL's tail: this start's own, or that of a dead WAL which it recovers.
//!
//! ```text
//! freeze ─▶ build objects (log cache, or WAL for what is spilled) ─▶ put ─▶ CommitObjects, in order ─▶ seen in the image ─▶ trim the WAL
//! ```
//! When, what and in which order is [`stream_core::upload`]'s decision. Trouble of the store is retried for ever, with backoff;
//! meanwhile appends go on until the WAL is full. A block's objects are in the bucket before its commit is asked for; the WAL is
//! trimmed only to what an image shows (rule B-3). No object is deleted here: a refused commit may be the repeat of a success.
//!
//! Damaged records hold up nobody else's: what stands before them is committed, and so is every other stream. From then on commits
//! leave the WAL's trim point where it is, so that a later start finds all of it again. Records that were spilled to a log of this start
//! whose device has failed since are no better, if it does not give them back soon.

use crate::keys::data_key;
use crate::producers::{self, Section};
use crate::shared::{Shared, committed_in, tenure_bounds};
use crate::wal::{WalReadError, WalReader, WalSpan, within};
use base::{ObjectId, Offset, OffsetRange, StreamEpoch, StreamId, WalId, WalPosition, crc32c_joined, planted};
use bytes::Bytes;
use control::LedgerError;
use control_core::{Command, CommitRange, CommitState, Image, Outcome, UploadedObject};
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use stream_core::BatchBytes;
use stream_core::cache::{Body, Place, Run};
use stream_core::object::{self, BuiltObject, ObjectBuilder};
use stream_core::upload::{Block, BlockRange, Uploader, plan_objects, recut};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use world::retry::Backoff;
use world::{ClockExt, StoreError, lock};

/// Spilled runs that lie side by side are read back by one request up to so many bytes.
const READ_TOGETHER_BYTES_MAX: u32 = 4 << 20;

/// So often is a run read that is not what was written, before it counts as damaged.
const DAMAGED_TRIES: u32 = 5;

/// So often is a failed device asked for a run: what lies in memory behind it is safe only in the bucket, and this start may end any moment.
const FAILED_TRIES: u32 = 7;

/// A WAL whose tail is uploaded.
pub(crate) struct Source {
    pub(crate) wal: WalId,
    pub(crate) core: Mutex<Uploader>,
    /// Something was acknowledged, or is to be frozen now.
    pub(crate) changed: Notify,
    /// Nobody uploads it any more.
    ended: AtomicBool,
    /// From where on a stream's records in this WAL can't be uploaded, since those at that offset are damaged.
    lost: Mutex<BTreeMap<StreamId, Offset>>,
    /// The failed device has kept a run to itself: others are asked for once,
    keeps_all: AtomicBool,
    /// or not at all where it does not answer.
    hangs: AtomicBool,
}

/// Why an upload ended before everything was committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadEnd {
    /// This start may not speak for the WAL any more.
    #[error("{0}")]
    Deposed(String),
    /// The ledger can't be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

enum Step {
    Uploaded(Block, Vec<UploadedObject>),
    Committed(Block, Vec<UploadedObject>, Result<Outcome, LedgerError>),
}

/// Uploads and commits until this start may not any more; a dead WAL, and after this start has ended its own, until everything is
/// committed: what a failed WAL confirmed is still in memory.
pub(crate) async fn run(shared: &Arc<Shared>, source: &Arc<Source>) -> Result<(), UploadEnd> {
    let own = shared.log_of(source.wal);
    let grows = || own.is_some_and(|log| !log.has_failed()) && !shared.has_stopped();
    let mut steps: FuturesUnordered<BoxFuture<'static, Step>> = FuturesUnordered::new();
    let mut uploaded: BTreeMap<u64, (Block, Vec<UploadedObject>)> = BTreeMap::new();
    loop {
        let due = {
            let now = shared.world.clock.now();
            let filling = own.is_some_and(|log| log.is_filling());
            let mut core = lock(&source.core);
            while core.freeze_if_due(now, filling) {}
            while let Some(block) = core.next_upload() {
                steps.push(Box::pin(upload_block(shared.clone(), source.clone(), block)));
            }
            if let Some((block, objects)) = core.next_commit().and_then(|number| uploaded.remove(&number)) {
                steps.push(Box::pin(commit_block(shared.clone(), source.clone(), block, objects)));
            }
            if !grows() && core.is_idle() {
                return Ok(());
            }
            core.due()
        };
        let clock = shared.world.clock.clone();
        let age = async {
            match due {
                Some(due) => clock.sleep(due.since(clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(step) = steps.next() => match step {
                Step::Uploaded(block, objects) => {
                    if planted!("trim before commit", false, true)
                        && let Some(log) = own
                    {
                        lock(&log.wal).trim(block.trim);
                    }
                    lock(&source.core).uploaded(block.number);
                    uploaded.insert(block.number, (block, objects));
                }
                Step::Committed(block, objects, outcome) => committed(shared, source, &block, &objects, outcome?).await?,
            },
            () = source.changed.notified() => {}
            () = age => {}
        }
    }
}

/// Everything of the block that still needs it is in the bucket when this ends.
async fn upload_block(shared: Arc<Shared>, source: Arc<Source>, block: Block) -> Step {
    let is_own = shared.log_of(source.wal).is_some();
    let _permit = if is_own { None } else { Some(permit(&shared.dead.blocks).await) };
    let mut backoff = Backoff::new();
    loop {
        let objects = put_block(&shared, &source, &block).await;
        let Some((stream, range)) = left_out(&shared.ledger.image(), &source, &block, &objects) else {
            return Step::Uploaded(block, objects);
        };
        // To commit now would trim records that are in no object.
        tracing::warn!(%stream, %range, wal = %source.wal, "an upload lacks records that it must have; uploads anew");
        lock(&shared.counters).decided(objects.iter().map(|object| object.id));
        backoff.wait(&*shared.world.clock).await;
    }
}

async fn put_block(shared: &Shared, source: &Source, block: &Block) -> Vec<UploadedObject> {
    let image = shared.ledger.image();
    let mut needed = block.clone();
    needed.ranges.retain(|stream, range| {
        range.range = source.readable(*stream, range.range);
        !range.range.is_empty() && image.needs_wal(source.wal, *stream, range.stream_epoch, range.range)
    });
    drop(image);
    let plans = plan_objects(&needed, &shared.options.upload_limits());
    // Before anything is put: what is confirmed now includes all of the block.
    let sections = if shared.log_of(source.wal).is_some() {
        producers::own_sections(shared, source.wal)
    } else if block.number == 0 {
        // Blocks are committed in order, so that the first one saves for all.
        producers::adopted_sections(shared, source.wal)
    } else {
        Vec::new()
    };
    let ids = lock(&shared.counters).draw(shared.node_epoch, plans.len());
    let mut states = Vec::new();
    for sections in by_object(sections) {
        states.push(put_states(shared, source, sections).await);
    }
    let objects = stream::iter(plans.into_iter().zip(ids))
        .map(|(ranges, id)| put_object(shared, source, id, ranges))
        .buffered(shared.options.requests_max.max(1))
        .collect::<Vec<Option<UploadedObject>>>()
        .await;
    objects.into_iter().flatten().chain(states).collect()
}

/// An object has one state of a stream at the most; a dead log may hold parts of several tenures of it.
fn by_object(sections: Vec<Section>) -> Vec<Vec<Section>> {
    let mut objects: Vec<Vec<Section>> = Vec::new();
    for section in sections {
        let free = objects.iter().position(|object| object.last().is_none_or(|last| last.stream < section.stream));
        match free {
            Some(free) => objects[free].push(section),
            None => objects.push(vec![section]),
        }
    }
    objects
}

/// Producer state in an object of its own: it would keep one with records alive long after these are deleted.
async fn put_states(shared: &Shared, source: &Source, sections: Vec<Section>) -> UploadedObject {
    let id = lock(&shared.counters).draw(shared.node_epoch, 1)[0];
    let mut builder = ObjectBuilder::new(id, source.wal, shared.options.data_block_bytes);
    for Section { stream, stream_epoch, range, bytes } in sections {
        builder.push_state(stream, stream_epoch, range, bytes);
    }
    let BuiltObject { parts, size, index, .. } = builder.finish();
    let _permit = permit(&shared.puts).await;
    put_for_ever(shared, &data_key(id), parts).await;
    shared.compaction.uploaded(size);
    let states = index.states.into_iter().map(|state| CommitState {
        stream: state.stream,
        stream_epoch: state.stream_epoch,
        range: state.range,
        position: state.position,
        len: state.len,
        crc: state.crc,
    });
    UploadedObject { id, size, ranges: Vec::new(), states: states.collect() }
}

/// A range of the block that still needs its WAL and does not reach its end in these objects, or the first of its records that are
/// damaged. A hole inside is the ledger's to refuse.
fn left_out(
    image: &Image,
    source: &Source,
    block: &Block,
    objects: &[UploadedObject],
) -> Option<(StreamId, OffsetRange)> {
    let mut reached: BTreeMap<StreamId, Offset> = BTreeMap::new();
    for range in objects.iter().flat_map(|object| &object.ranges) {
        let end = reached.entry(range.stream).or_default();
        *end = range.range.next.max(*end);
    }
    block.ranges.iter().find_map(|(stream, range)| {
        let readable = source.readable(*stream, range.range);
        let reaches = readable.is_empty() || reached.get(stream).is_some_and(|end| *end >= readable.next);
        let is_left = !reaches && image.needs_wal(source.wal, *stream, range.stream_epoch, readable);
        is_left.then_some((*stream, readable))
    })
}

/// `None` where nothing was left of these ranges meanwhile.
async fn put_object(
    shared: &Shared,
    source: &Source,
    id: ObjectId,
    ranges: Vec<(StreamId, BlockRange)>,
) -> Option<UploadedObject> {
    let runs_of = |stream, range| lock(&shared.cache).runs(stream, source.wal, range);
    let runs: Vec<(StreamId, StreamEpoch, Vec<Run>)> =
        ranges.into_iter().map(|(stream, range)| (stream, range.stream_epoch, runs_of(stream, range.range))).collect();
    let mut together = read_together(shared, source, runs.iter().flat_map(|(_, _, runs)| runs)).await;
    let mut builder = ObjectBuilder::new(id, source.wal, shared.options.data_block_bytes);
    for (stream, stream_epoch, runs) in runs {
        for run in runs {
            if source.readable(stream, run.range) != run.range {
                continue;
            }
            let bytes = match together.remove(&run.place.position) {
                Some(bytes) => Some(BatchBytes::whole(bytes)),
                None => bytes_of(shared, source, stream, &run).await,
            };
            let Some(bytes) = bytes else { continue };
            push_run(&mut builder, stream, stream_epoch, &run, bytes);
        }
    }
    if builder.is_empty() {
        lock(&shared.counters).decided(std::iter::once(id));
        return None;
    }
    let BuiltObject { parts, size, ranges, .. } = builder.finish();
    // Not before the bytes are here: a dead WAL that can't be read back must not hold up what this start acknowledges.
    let _permit = permit(&shared.puts).await;
    put_for_ever(shared, &data_key(id), parts).await;
    shared.compaction.uploaded(size);
    let ranges = ranges
        .into_iter()
        .map(|range| CommitRange {
            stream: range.stream,
            stream_epoch: range.stream_epoch,
            range: range.range,
            bytes: range.bytes,
            records: range.records,
            max_timestamp: range.max_timestamp,
            max_timestamp_offset: range.max_timestamp_offset,
        })
        .collect();
    Some(UploadedObject { id, size, ranges, states: Vec::new() })
}

async fn permit(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore.acquire().await.expect("these semaphores are never closed")
}

/// A run as one piece of a block.
fn push_run(builder: &mut ObjectBuilder, stream: StreamId, epoch: StreamEpoch, run: &Run, bytes: BatchBytes) {
    let piece = object::Run {
        range: run.range,
        bytes,
        records: run.records,
        max_timestamp: run.max_timestamp,
        max_timestamp_offset: run.max_timestamp_offset,
        control: run.control,
    };
    builder.push_run(stream, epoch, &piece);
}

/// The bytes of spilled runs by their positions, verified. What lies side by side in the WAL is read at once: a dead WAL may hold a
/// short run of each of thousands of streams in every group. A run that is not in the answer is to be asked for by itself.
async fn read_together(
    shared: &Shared,
    source: &Source,
    runs: impl Iterator<Item = &Run>,
) -> BTreeMap<WalPosition, Bytes> {
    let mut places: Vec<Place> = runs.filter(|run| run.body == Body::Spilled).map(|run| run.place).collect();
    places.sort_by_key(|place| place.position);
    let mut read = BTreeMap::new();
    let Some(reader) = shared.reader(source.wal) else { return read };
    let mut places = places.into_iter().peekable();
    while let Some(first) = places.next() {
        let mut lens = vec![first.len];
        let mut span = WalSpan { position: first.position, len: first.len, crc: first.crc };
        while let Some(next) = places.next_if(|next| {
            next.position.0 == span.position.0 + u64::from(span.len)
                && next.len <= READ_TOGETHER_BYTES_MAX.saturating_sub(span.len)
        }) {
            span.crc = crc32c_joined(span.crc, next.crc, u64::from(next.len));
            span.len += next.len;
            lens.push(next.len);
        }
        if lens.len() == 1 {
            continue;
        }
        // What is wrong is found, and waited out, run by run.
        let Ok(mut bytes) = read_in_time(shared, source, &reader, span).await else { continue };
        let mut position = span.position;
        for len in lens {
            read.insert(position, bytes.split_to(len as usize));
            position = WalPosition(position.0 + u64::from(len));
        }
    }
    read
}

/// A run's bytes, from memory or from the WAL. `None` where the run needs no upload any more, or is damaged.
async fn bytes_of(shared: &Shared, source: &Source, stream: StreamId, run: &Run) -> Option<BatchBytes> {
    if let Body::Memory(bytes) = &run.body {
        return Some(bytes.clone());
    }
    let wal = source.wal;
    let reader = shared.reader(wal)?;
    let (mut backoff, mut damaged) = (Backoff::new(), 0);
    loop {
        let span = WalSpan { position: run.place.position, len: run.place.len, crc: run.place.crc };
        match read_in_time(shared, source, &reader, span).await {
            Ok(bytes) => return Some(BatchBytes::whole(bytes)),
            Err(error) => {
                if !lock(&shared.cache).stands(stream, run.place, run.range) {
                    return None;
                }
                let is_damage = matches!(error, WalReadError::Gone(_));
                damaged += u32::from(is_damage);
                let is_given_up = !is_damage && source.gives_up(shared, backoff.tries() + 1);
                if damaged == DAMAGED_TRIES || is_given_up {
                    source.lose(stream, run.range, &error);
                    return None;
                }
                if backoff.is_worth_a_line() {
                    tracing::warn!(%stream, range = %run.range, %wal, %error, "can't read back what is to be uploaded; tries again");
                }
            }
        }
        backoff.wait(&*shared.world.clock).await;
    }
}

/// The bytes of spilled runs, verified. A ring of this start's own answers in time: one that does not write for so long has failed, and an
/// upload that waited for a device that hangs would hold up what is in memory. Dead logs' readers wait: nothing else is behind them.
async fn read_in_time(
    shared: &Shared,
    source: &Source,
    reader: &WalReader,
    span: WalSpan,
) -> Result<Bytes, WalReadError> {
    let read = reader.read(span);
    if !matches!(reader, WalReader::Ring(_)) || shared.log_of(source.wal).is_none() {
        return read.await;
    }
    let hangs = || Err(WalReadError::Trouble("the device does not answer".to_owned()));
    if source.hangs.load(Ordering::Acquire) {
        return hangs();
    }
    let in_time = within(shared.world.clock.as_ref(), shared.options.wal.ring_stalled_max, read).await;
    in_time.unwrap_or_else(|| {
        source.hangs.store(source.takes_no_more(shared), Ordering::Release);
        hangs()
    })
}

/// The object exists when this ends: *exists* says that an earlier try had succeeded, since ids are unique to this start.
pub(crate) async fn put_for_ever(shared: &Shared, key: &str, parts: Vec<Bytes>) {
    let bytes = parts.iter().map(|part| part.len() as u64).sum();
    let mut timeouts = 0;
    let mut backoff = Backoff::new();
    loop {
        let put = shared.objects.uploads.put_if_absent(key, parts.clone());
        let outcome = shared.world.clock.timeout(shared.put_limit(bytes, timeouts), put).await;
        let error = match outcome {
            Some(Ok(_)) => return,
            Some(Err(error)) => error,
            None => {
                timeouts += 1;
                StoreError::Trouble("no answer in time".to_owned())
            }
        };
        if backoff.is_worth_a_line() {
            tracing::warn!(key, %error, tries = backoff.tries(), "can't upload; tries again");
        }
        backoff.wait(&*shared.world.clock).await;
    }
}

async fn commit_block(shared: Arc<Shared>, source: Arc<Source>, block: Block, objects: Vec<UploadedObject>) -> Step {
    let wal = source.wal;
    let trim = if source.has_damage() {
        // Not the block's, as something below it may be what can't be uploaded.
        shared.ledger.image().wals.get(&wal).map_or(WalPosition(0), |record| record.trim)
    } else {
        block.trim
    };
    let min_counter = {
        let deciding: Vec<u64> = objects.iter().map(|object| object.id.counter).collect();
        lock(&shared.counters).min_after(|counter| deciding.contains(&counter))
    };
    let command =
        Command::CommitObjects { speaker: shared.node_epoch, wal, trim, min_counter, objects: objects.clone() };
    let outcome = submit_for_ever(&shared, &command).await;
    Step::Committed(block, objects, outcome)
}

/// Outlasts a bucket that refuses, as the puts do: permissions that were taken away are given back one day, and until then the WAL keeps
/// what is not committed. To ask again is safe: what a refused try has committed after all needs no commit, and a log that is forgotten
/// already is forgotten.
pub(crate) async fn submit_for_ever(shared: &Shared, command: &Command) -> Result<Outcome, LedgerError> {
    let mut backoff = Backoff::new();
    loop {
        match shared.ledger.submit(command.clone()).await {
            Err(LedgerError::Store(error)) => {
                if backoff.is_worth_a_line() {
                    tracing::warn!(%error, tries = backoff.tries(), "the ledger can't be written; tries again");
                }
            }
            outcome => return outcome,
        }
        backoff.wait(&*shared.world.clock).await;
    }
}

/// The ledger has decided, and this broker's image shows it.
async fn committed(
    shared: &Shared,
    source: &Source,
    block: &Block,
    objects: &[UploadedObject],
    outcome: Outcome,
) -> Result<(), UploadEnd> {
    let accepted = match outcome {
        Outcome::Committed { ranges } => ranges,
        Outcome::Refused(refusal) => return Err(UploadEnd::Deposed(format!("a commit was refused: {refusal}"))),
        other => unreachable!("a commit is answered by {other:?}"),
    };
    lock(&shared.counters).decided(objects.iter().map(|object| object.id));
    let image = shared.ledger.image();
    // A refused state has no range; the block is uploaded again, and what it must save is looked for anew.
    let ranges =
        objects.iter().flat_map(|object| object.ranges.iter().map(Some).chain(object.states.iter().map(|_| None)));
    let refused: Vec<Option<&CommitRange>> =
        ranges.zip(&accepted).filter(|(_, accepted)| !**accepted).map(|(it, _)| it).collect();
    if refused.is_empty() {
        lock(&source.core).committed(block.number);
    } else {
        let mut anew = BTreeMap::new();
        for range in refused.iter().flatten() {
            let Some(held) = block.ranges.get(&range.stream) else { continue };
            let tenure = tenure_bounds(&image, range.stream, source.wal, range.stream_epoch);
            if let Some(range_anew) = recut(*held, tenure) {
                anew.insert(range.stream, BlockRange { range: range_anew, ..*held });
            }
        }
        tracing::warn!(wal = %source.wal, refused = refused.len(), anew = anew.len(), "ranges of a commit were refused; cuts them anew");
        lock(&source.core).cut_anew(block.number, anew);
        // A refusal comes from an image that was older than the ledger; one that comes again and again must not spin.
        Backoff::new().wait(&*shared.world.clock).await;
    }
    {
        let mut cache = lock(&shared.cache);
        for stream in block.ranges.keys() {
            cache.committed(*stream, source.wal, committed_in(&image, *stream, source.wal));
        }
    }
    shared.release_committed(&image);
    Ok(())
}

impl Source {
    pub(crate) fn new(wal: WalId, uploader: Uploader) -> Source {
        Source {
            wal,
            core: Mutex::new(uploader),
            changed: Notify::new(),
            ended: AtomicBool::new(false),
            lost: Mutex::default(),
            keeps_all: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        }
    }

    /// Whether a run whose read has failed so often is not waited for any longer: only where the log is this start's own and takes nothing
    /// more. What its device does not give back now, a later start may find.
    fn gives_up(&self, shared: &Shared, tries: u32) -> bool {
        let is_asked_enough =
            || tries >= FAILED_TRIES || self.keeps_all.load(Ordering::Acquire) || self.hangs.load(Ordering::Acquire);
        let gives_up = self.takes_no_more(shared) && is_asked_enough();
        if gives_up {
            self.keeps_all.store(true, Ordering::Release);
        }
        gives_up
    }

    /// Whether it is this start's own log and has failed, or the start has ended, as where its only log fails.
    fn takes_no_more(&self, shared: &Shared) -> bool {
        shared.log_of(self.wal).is_some_and(|log| log.has_failed() || shared.has_stopped())
    }

    /// The records at the range's beginning are not what was written, or can't be read.
    fn lose(&self, stream: StreamId, range: OffsetRange, error: &WalReadError) {
        tracing::error!(
            %stream, %range, wal = %self.wal, %error,
            "acknowledged records can't be read back from the write-ahead log and are in no object yet; everything else is served, and \
             the log is kept as it is; see \"A damaged log\" in docs/operating.md"
        );
        let mut lost = lock(&self.lost);
        let first = lost.entry(stream).or_insert(range.base);
        *first = range.base.min(*first);
    }

    /// Whether anything of this WAL can't be uploaded.
    pub(crate) fn has_damage(&self) -> bool {
        !lock(&self.lost).is_empty()
    }

    /// The part of a range that lies before damaged records of its stream.
    fn readable(&self, stream: StreamId, range: OffsetRange) -> OffsetRange {
        let next = lock(&self.lost).get(&stream).map_or(range.next, |first| range.next.min(*first).max(range.base));
        OffsetRange { next, ..range }
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Freezes what is acknowledged now, so that it is uploaded without waiting for size or age.
    pub(crate) fn freeze(&self) {
        lock(&self.core).freeze();
        self.changed.notify_one();
    }

    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.core).is_idle()
    }
}

/// A fresh source for a WAL that begins at `start`.
pub(crate) fn source(options: &crate::Options, wal: WalId, start: WalPosition) -> Arc<Source> {
    Arc::new(Source::new(wal, Uploader::new(options.upload_limits(), start)))
}
