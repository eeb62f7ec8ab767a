//! The read path: log cache → block cache → object, and the WAL for what is spilled.
//!
//! A read never sees beyond the confirmed offset, and gives whole batches. What may be read, and from which object, is planned from an
//! image; images age, so a 404 is answered by reading the ledger to its end and planning anew (rule R-3): only an object that the
//! fresh image still references is lost. Cold reads have their own memory and their own budget of requests; a reader that stays
//! sequential is read ahead for.

use crate::block_cache::{Claim, Found, Key, Value, Visit};
use crate::keys::data_key;
use crate::object_index::read_index_by;
use crate::open_stream::OpenStream;
use crate::options::in_memory;
use crate::shared::{LogReader, Shared, committed_in};
use crate::store::{ReadBatches, ReadError};
use crate::wal::{WalReadError, WalSpan};
use base::{ObjectId, Offset, OffsetRange, StreamId, WalId, planted};
use bytes::Bytes;
use control::LedgerError;
use control_core::{Image, Reference};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream_core::cache::{Lookup, Place};
use stream_core::object::BlockEntry;
use stream_core::read::{BlockSpan, ReadAhead, ReadAheadLimits, blocks_for};
use stream_core::walk;
use tokio::sync::{Semaphore, oneshot};
use world::{ClockExt, GetRange, StoreError, lock};

/// Readers whose read-ahead is remembered.
const READERS_MAX: usize = 4096;

/// What is read ahead for all readers is at most this part of the block cache: with it, what lies between them has room as well.
const READ_AHEAD_PART: u64 = 4;

/// How often a plan is made anew before the reader is told to come again.
const PLANS_MAX: usize = 8;

/// How long a reader waits for a tail that another start uploads, before it makes its plan anew.
const TAIL_WAIT: Duration = Duration::from_millis(100);

/// How often bytes that fail their checksum are read again: a cut or garbled answer is not damage yet.
const VERIFY_TRIES: usize = 3;

/// What cold reads share.
pub(crate) struct ColdReads {
    ahead: Mutex<ReadAhead>,
    /// Bounds GETs that somebody waits for.
    gets: Semaphore,
    /// Bounds GETs that nobody waits for yet.
    prefetches: Arc<Semaphore>,
    /// Reads that met what is not what was written.
    pub(crate) corrupt: AtomicU64,
}

/// Why a plan did not work out.
enum Fault {
    /// What was planned is not there any more: look at a newer image.
    Stale(String),
    Error(ReadError),
}

impl ColdReads {
    pub(crate) fn new(options: &crate::Options) -> ColdReads {
        let requests_max = options.requests_max.max(1);
        let ahead = ReadAheadLimits {
            bytes_max: in_memory(options.read_ahead_bytes_max),
            total_bytes_max: in_memory(options.block_cache_bytes_max / READ_AHEAD_PART),
            block_bytes: options.data_block_bytes,
            readers_max: READERS_MAX,
        };
        ColdReads {
            ahead: Mutex::new(ReadAhead::new(ahead)),
            gets: Semaphore::new(requests_max),
            prefetches: Arc::new(Semaphore::new(requests_max)),
            corrupt: AtomicU64::new(0),
        }
    }

    /// Tells the operator: a client is told by an error code, and may pass it over. Clients ask again and again.
    fn note(&self, stream: StreamId, offset: Offset, error: &ReadError) {
        if matches!(error, ReadError::Corrupt(_)) {
            let reads = self.corrupt.fetch_add(1, Ordering::Relaxed) + 1;
            if reads.is_power_of_two() {
                tracing::error!(%stream, %offset, %error, reads, "stored records can't be given to who asks for them");
            }
        }
    }
}

/// See [`crate::Stream::read_below`].
pub(crate) async fn read(
    shared: &Arc<Shared>,
    stream: &OpenStream,
    (from, below): (Offset, Offset),
    bytes_max: usize,
) -> Result<ReadBatches, ReadError> {
    let confirmed = stream.confirmed().min(below);
    let mut batches = ReadBatches { next: from, ..ReadBatches::default() };
    let mut plans = 0;
    while batches.next < confirmed && (batches.bytes == 0 || batches.bytes < bytes_max) {
        match read_next(shared, stream.id, confirmed, bytes_max, &mut batches).await {
            Ok(true) => plans = 0,
            Ok(false) => break,
            // What is there already is worth more than an error about what follows.
            Err(_) if batches.bytes > 0 => break,
            Err(Fault::Error(error)) => {
                shared.cold.note(stream.id, batches.next, &error);
                return Err(error);
            }
            Err(Fault::Stale(why)) => {
                plans += 1;
                if plans == PLANS_MAX {
                    return Err(ReadError::Trouble(why));
                }
                let refreshed = shared.ledger.refresh().await;
                let image = refreshed.map_err(|error| ReadError::Trouble(error.to_string()))?;
                let record = image.streams.get(&stream.id).ok_or(ReadError::NotOwner)?;
                if batches.next < record.start {
                    return Err(ReadError::OutOfRange);
                }
            }
        }
    }
    Ok(batches)
}

/// Adds what lies at `batches.next`; false where the next batch does not fit any more.
async fn read_next(
    shared: &Arc<Shared>,
    stream: StreamId,
    confirmed: Offset,
    bytes_max: usize,
    batches: &mut ReadBatches,
) -> Result<bool, Fault> {
    let room = bytes_max.saturating_sub(batches.bytes);
    let lookup = lock(&shared.cache).read(stream, batches.next, confirmed, room);
    match lookup {
        Lookup::Memory(pieces, next) => {
            let len: usize = pieces.iter().map(stream_core::BatchBytes::len).sum();
            if batches.bytes > 0 && len > room {
                return Ok(false);
            }
            for piece in pieces {
                batches.pieces.extend([piece.head, piece.body].into_iter().filter(|bytes| !bytes.is_empty()));
            }
            batches.bytes += len;
            batches.next = next;
            Ok(true)
        }
        Lookup::Spilled(place, range) => {
            let bytes = spilled(shared, stream, place, range).await?;
            let added = add_cut(batches, &bytes, confirmed, bytes_max, || {
                format!("write-ahead log {} at {}", place.wal, place.position)
            })?;
            Ok(added == Added::Some)
        }
        Lookup::Miss => cold(shared, stream, confirmed, bytes_max, batches).await,
    }
}

/// What a run had for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    Some,
    /// The next batch does not fit any more.
    NoRoom,
    /// It has no batch there: compaction has taken them.
    Nothing,
}

/// Adds the part of a run that is asked for.
fn add_cut(
    batches: &mut ReadBatches,
    run: &Bytes,
    below: Offset,
    bytes_max: usize,
    name: impl Fn() -> String,
) -> Result<Added, Fault> {
    let room = bytes_max.saturating_sub(batches.bytes);
    let (span, next) = walk::cut(run, batches.next, below, room)
        .map_err(|error| Fault::Error(ReadError::Corrupt(format!("{}: {error}", name()))))?;
    if span.is_empty() {
        return Ok(Added::Nothing);
    }
    if batches.bytes > 0 && span.len() > room {
        return Ok(Added::NoRoom);
    }
    batches.bytes += span.len();
    batches.pieces.push(run.slice(span));
    batches.next = next;
    Ok(Added::Some)
}

async fn spilled(shared: &Shared, stream: StreamId, place: Place, range: OffsetRange) -> Result<Bytes, Fault> {
    let key = Key::Spilled(place.wal, place.position);
    let clock = shared.world.clock.as_ref();
    let deadline = clock.now().plus(shared.options.request_timeout);
    loop {
        let left = deadline.since(clock.now());
        let claim = match shared.blocks.find(&[key], Visit::Begin) {
            // A run grows when its neighbour is spilled: an older, shorter one may be here.
            Found::Here(Value::Bytes(bytes)) if bytes.len() == place.len as usize => return Ok(bytes),
            Found::Here(_) => None,
            Found::Awaited(mut done) => {
                // It ends with an error when the claim is dropped, which is the only end it has.
                match clock.timeout(left, done.changed()).await {
                    Some(_ended) => continue,
                    None => return Err(Fault::Error(ReadError::Trouble(no_answer(place.wal)))),
                }
            }
            Found::Claimed(claim) => Some(claim),
        };
        let Some(reader) = shared.log_reader(place.wal) else {
            return Err(Fault::Stale(format!("write-ahead log {} is closed", place.wal)));
        };
        let read = read_spilled(shared, place, reader, left).await;
        // What was read is only the run while the run stands: its place may have been written over meanwhile.
        let stands = lock(&shared.cache).stands(stream, place, range);
        return match read {
            Ok(bytes) => {
                if let Some(claim) = claim {
                    claim.insert(key, Value::Bytes(bytes.clone()));
                }
                Ok(bytes)
            }
            Err(error) if !stands => Err(Fault::Stale(error.to_string())),
            Err(WalReadError::Trouble(why)) => Err(Fault::Error(ReadError::Trouble(why))),
            Err(WalReadError::Gone(why)) => Err(resolve_gone(shared, stream, place, range, why).await),
        };
    }
}

/// Reads from a log, for as long as that; who waits longer is told so. The read holds its place until it ends, whoever waits for it.
async fn read_spilled(shared: &Shared, place: Place, log: LogReader, left: Duration) -> Result<Bytes, WalReadError> {
    let LogReader { reader, places } = log;
    let (sender, receiver) = oneshot::channel();
    let clock = shared.world.clock.clone();
    let read = async {
        let permit = places.acquire_owned().await;
        let read = async move {
            drop(sender.send(reader.read(WalSpan { position: place.position, len: place.len, crc: place.crc }).await));
            drop(permit);
        };
        drop(clock.spawn("read of a log", Box::pin(read)));
        receiver.await
    };
    match clock.timeout(left, read).await {
        Some(Ok(read)) => read,
        _ => Err(WalReadError::Trouble(no_answer(place.wal))),
    }
}

fn no_answer(wal: WalId) -> String {
    format!("write-ahead log {wal} does not answer")
}

/// What it means that a WAL lacks a run that the log cache has there: a start that was declared dead while it was paused does not know
/// yet that others have committed the run and deleted the WAL (rule R-3 for objects, and the same here).
async fn resolve_gone(shared: &Shared, stream: StreamId, place: Place, range: OffsetRange, why: String) -> Fault {
    match shared.ledger.refresh().await {
        Err(LedgerError::Dead(_)) => Fault::Error(ReadError::NotOwner),
        Err(error) => Fault::Error(ReadError::Trouble(error.to_string())),
        Ok(image) if image.is_dead(shared.node_epoch) => Fault::Error(ReadError::NotOwner),
        Ok(image) if committed_in(&image, stream, place.wal) >= range.next => Fault::Stale(why),
        Ok(_) => Fault::Error(ReadError::Corrupt(why)),
    }
}

/// Adds what an object holds at `batches.next`.
async fn cold(
    shared: &Arc<Shared>,
    stream: StreamId,
    confirmed: Offset,
    bytes_max: usize,
    batches: &mut ReadBatches,
) -> Result<bool, Fault> {
    let from = batches.next;
    let Some(reference) = reference_at(shared, stream, from) else {
        if planted!("tail of another's dead log passed over", false, true) {
            batches.next = from.plus(1);
            return Ok(true);
        }
        tail_arrives(shared, stream, from).await;
        return Err(Fault::Stale(format!("offset {from} of stream {stream} is in no object of this broker's image")));
    };
    let room = bytes_max.saturating_sub(batches.bytes);
    let below = confirmed.min(reference.range.next);
    if reference.bytes == 0 {
        batches.next = below;
        return Ok(true);
    }
    let blocks = match index(shared, reference.object).await {
        Ok(index) => blocks_of(&index, stream),
        Err(error) => return Err(resolve(shared, stream, from, reference.object, error).await),
    };
    let at_once = in_memory(shared.options.read_ahead_bytes_max);
    let spans = spans(&blocks);
    let wanted = blocks_for(&spans, from, room.min(at_once));
    let Some(first) = blocks.get(wanted.start).filter(|block| block.range.contains(from)) else {
        return Err(Fault::Error(ReadError::Corrupt(format!(
            "object {} holds nothing of stream {stream} at offset {from}, which it is referenced for",
            reference.object
        ))));
    };
    let visit = if from <= first.range.base { Visit::Begin } else { Visit::GoOn };
    let bytes = match block(shared, reference.object, &blocks[wanted.clone()], visit).await {
        Ok(bytes) => bytes,
        Err(error) => return Err(resolve(shared, stream, from, reference.object, error).await),
    };
    let name = || format!("object {} at byte {}", reference.object, first.position);
    match add_cut(batches, &bytes, below, bytes_max, name)? {
        Added::NoRoom => return Ok(false),
        Added::Nothing => batches.next = first.range.next.min(below),
        Added::Some => {}
    }
    let ahead = lock(&shared.cold.ahead).advance(stream, from, batches.next);
    read_ahead(shared, reference.object, (&blocks, &spans), batches.next, ahead);
    Ok(true)
}

/// Waits a little, where these records lie in a dead log that another start has yet to upload: until an image shows something new.
async fn tail_arrives(shared: &Shared, stream: StreamId, from: Offset) {
    let mut images = shared.ledger.watch();
    let awaits = |image: &Image| {
        image.streams.get(&stream).is_some_and(|record| {
            record.tenures.iter().any(|it| it.committed <= from && it.end.is_some_and(|end| from < end))
        })
    };
    if awaits(&images.borrow_and_update()) {
        let arrives = async { images.wait_for(|image| !awaits(image)).await.is_ok() };
        let _is_here = shared.world.clock.timeout(TAIL_WAIT, arrives).await;
    }
}

fn reference_at(shared: &Shared, stream: StreamId, offset: Offset) -> Option<Reference> {
    let image = shared.ledger.image();
    let (_, reference) = image.streams.get(&stream)?.references.get_prev(&offset)?;
    Some(*reference).filter(|reference| reference.range.contains(offset))
}

/// What a failed read of an object means.
async fn resolve(shared: &Shared, stream: StreamId, from: Offset, object: ObjectId, error: StoreFault) -> Fault {
    match error {
        StoreFault::Store(StoreError::NotFound(_)) => {
            let lost = ReadError::Corrupt(format!("object {object} is referenced and not in the bucket"));
            if planted!("R7", false, true) {
                return Fault::Error(lost);
            }
            if let Err(error) = shared.ledger.refresh().await {
                return Fault::Error(ReadError::Trouble(error.to_string()));
            }
            match reference_at(shared, stream, from) {
                Some(fresh) if fresh.object == object => Fault::Error(lost),
                _ => Fault::Stale(format!("object {object} is gone")),
            }
        }
        StoreFault::Store(error) => Fault::Error(ReadError::Trouble(error.to_string())),
        StoreFault::Damaged(why) => Fault::Error(ReadError::Corrupt(format!("object {object}: {why}"))),
    }
}

/// Why an object's bytes could not be had.
#[derive(Debug)]
pub(crate) enum StoreFault {
    Store(StoreError),
    Damaged(String),
}

/// An object's index, from the cache or from the object's tail.
pub(crate) async fn index(shared: &Shared, object: ObjectId) -> Result<Arc<[BlockEntry]>, StoreFault> {
    let key = Key::Index(object);
    loop {
        let claim = match shared.blocks.find(&[key], Visit::Begin) {
            Found::Here(Value::Index(index)) => return Ok(index),
            Found::Here(Value::Bytes(_)) => unreachable!("an index key holds an index"),
            Found::Awaited(mut done) => {
                let _ended = done.changed().await;
                continue;
            }
            Found::Claimed(claim) => claim,
        };
        let mut tries = 0;
        let mut read = read_index(shared, object).await;
        while is_worth_another_try(&read, &mut tries) {
            read = read_index(shared, object).await;
        }
        let index: Arc<[BlockEntry]> = read?.into();
        claim.insert(key, Value::Index(index.clone()));
        return Ok(index);
    }
}

async fn read_index(shared: &Shared, object: ObjectId) -> Result<Vec<BlockEntry>, StoreFault> {
    let index = read_index_by(object, |range| get(shared, object, range)).await?;
    index.map(|(index, _)| index.blocks).map_err(StoreFault::Damaged)
}

/// The first of these adjacent blocks; brings the others with it where nobody has them.
async fn block(shared: &Shared, object: ObjectId, blocks: &[BlockEntry], visit: Visit) -> Result<Bytes, StoreFault> {
    let keys: Vec<Key> = blocks.iter().map(|block| Key::Block(object, block.position)).collect();
    loop {
        match shared.blocks.find(&keys, visit) {
            Found::Here(Value::Bytes(bytes)) => return Ok(bytes),
            Found::Here(Value::Index(_)) => unreachable!("a block key holds bytes"),
            Found::Awaited(mut done) => {
                let _ended = done.changed().await;
            }
            Found::Claimed(claim) => {
                let blocks = &blocks[..claim.keys.len()];
                let mut tries = 0;
                let mut read = read_blocks(shared, object, blocks, &claim).await;
                while is_worth_another_try(&read, &mut tries) {
                    read = read_blocks(shared, object, blocks, &claim).await;
                }
                return read;
            }
        }
    }
}

async fn read_blocks(
    shared: &Shared,
    object: ObjectId,
    blocks: &[BlockEntry],
    claim: &Claim,
) -> Result<Bytes, StoreFault> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
        unreachable!("a claim has at least one key");
    };
    let range = GetRange::Span { start: first.position, end: last.position + u64::from(last.len) };
    let (bytes, _) = get(shared, object, range).await?;
    let mut rest = bytes;
    let mut answer = None;
    for block in blocks {
        let len = block.len as usize;
        if rest.len() < len {
            return Err(StoreFault::Damaged("the answer is cut short".to_owned()));
        }
        let own = rest.split_to(len);
        block.verify(&own).map_err(|error| StoreFault::Damaged(error.to_string()))?;
        // Each block has memory of its own, so that the cache's account is true.
        let own = if blocks.len() == 1 { own } else { Bytes::copy_from_slice(&own) };
        claim.insert(Key::Block(object, block.position), Value::Bytes(own.clone()));
        answer.get_or_insert(own);
        // To check and to copy a block takes a quarter of a millisecond: others run between them.
        tokio::task::yield_now().await;
    }
    answer.ok_or_else(|| StoreFault::Damaged("no block was asked for".to_owned()))
}

/// A range of an object's bytes, and its size.
pub(crate) async fn get(shared: &Shared, object: ObjectId, range: GetRange) -> Result<(Bytes, u64), StoreFault> {
    let Ok(_permit) = shared.cold.gets.acquire().await else {
        unreachable!("the semaphore is never closed");
    };
    let key = data_key(object);
    let get = shared.objects.reads.get(&key, range);
    match shared.world.clock.timeout(shared.options.request_timeout, get).await {
        Some(result) => result.map_err(StoreFault::Store),
        None => Err(StoreFault::Store(StoreError::Trouble(format!("no answer about {key} in time")))),
    }
}

/// Whether to read again what failed its checksum.
fn is_worth_another_try<T>(read: &Result<T, StoreFault>, tries: &mut usize) -> bool {
    *tries += 1;
    matches!(read, Err(StoreFault::Damaged(_))) && *tries < VERIFY_TRIES
}

/// Fetches what a sequential reader will ask for next, unless enough of that is under way.
fn read_ahead(
    shared: &Arc<Shared>,
    object: ObjectId,
    (blocks, spans): (&[BlockEntry], &[BlockSpan]),
    next: Offset,
    bytes: usize,
) {
    if bytes == 0 {
        return;
    }
    let range = blocks_for(spans, next, bytes);
    let is_here = |block: &&BlockEntry| shared.blocks.has(Key::Block(object, block.position));
    let here = blocks[range.clone()].iter().take_while(is_here);
    let (count, held) = here.fold((0, 0), |(count, held), block| (count + 1, held + block.len as usize));
    let ahead = blocks[range][count..].to_vec();
    // Not block by block: a request costs as much for one as for many.
    if ahead.is_empty() || held > bytes / 2 {
        return;
    }
    let Ok(permit) = shared.cold.prefetches.clone().try_acquire_owned() else { return };
    let task = shared.clone();
    let fetch = async move {
        // Whoever needs these blocks meets the error again and handles it.
        if let Err(error) = block(&task, object, &ahead, Visit::GoOn).await {
            tracing::debug!(%object, ?error, "can't read ahead");
        }
        drop(permit);
    };
    drop(shared.world.clock.spawn("read-ahead", Box::pin(fetch)));
}

/// One stream's blocks of an index.
pub(crate) fn blocks_of(index: &[BlockEntry], stream: StreamId) -> Vec<BlockEntry> {
    let first = index.partition_point(|block| block.stream < stream);
    index[first..].iter().take_while(|block| block.stream == stream).copied().collect()
}

fn spans(blocks: &[BlockEntry]) -> Vec<BlockSpan> {
    blocks
        .iter()
        .map(|block| BlockSpan { range: block.range, position: block.position, len: block.len as usize })
        .collect()
}
