//! The producer state of the streams that this start owns, and that of dead WALs whose tails it uploads.
//!
//! ```text
//! state sections that the image refers to ─┐
//! parts of dead WALs that this start adopted ─┴─load─▶ held ─▶ Stream::append decides ─▶ saved with the next upload ─▶ may leave memory
//! ```
//! Guarantees: a stream's first idempotent append finds all that was ever acknowledged to idempotent producers there, or waits;
//! what is saved is what is confirmed, and all of it is saved before the WAL that had it is trimmed (rules P-1 to P-3); what is not
//! saved never leaves memory, and no state does for its own stream's sake, which would ask for it again. Where memory is short even
//! so, the longest silent are forgotten (`docs/adr/0162-memory-for-producers.md`). Who may write what is
//! [`stream_core::producers`]' decision.

use crate::open_stream::OpenStream;
use crate::options::Options;
use crate::read::{StoreFault, get};
use crate::shared::Shared;
use crate::store::{AppendError, ReadError};
use base::{Micros, Offset, OffsetRange, StreamEpoch, StreamId, WalId, crc32c, planted};
use bytes::Bytes;
use control_core::{Image, StateReference, StreamRecord};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stream_core::producers::{Grants, MarkerRule, Producers, Verdict, Written, decode_section, encode_section};
use stream_core::recover::TailPart;
use stream_core::{BatchKind, ProducerDelta};
use tokio::sync::Semaphore;
use world::retry::Backoff;
use world::{GetRange, StoreError, lock};

/// Reads of a section whose checksum differs, before it counts as damaged.
const READ_TRIES: usize = 3;

/// One stream's state, or its absence.
pub(crate) struct OpenProducers {
    held: Mutex<Option<Held>>,
    /// One load at a time.
    loading: Semaphore,
}

/// A state in memory.
pub(crate) struct Held {
    pub(crate) state: Producers,
    /// What coordinators were asked: goes with this tenure, and when the state leaves memory.
    pub(crate) grants: Grants,
    /// The end of the last batch that changed it; at or below the image's saved end there is nothing to save.
    changed: Offset,
    pub(crate) used: Micros,
}

/// A state that was used stays so long, whoever else wants the room: else streams in turns read the bucket at every batch.
const STAY: Duration = Duration::from_millis(100);

/// Where producers must be forgotten, this part of all that may be held is, so that it is not done for each stranger.
const FORGOTTEN_PART: usize = 16;

/// A producer that was silent for so long is forgotten, unless the layer above says otherwise.
const EXPIRATION: Duration = Duration::from_hours(24);

/// By stream and tenure.
type Parts = BTreeMap<(StreamId, StreamEpoch), TailPart>;

/// What all streams of a start share.
pub(crate) struct ProducerMemory {
    expiration_ms: AtomicU64,
    /// Producers held, of all streams, and what aborted transactions take beside them.
    count: AtomicUsize,
    /// Questions to coordinators have a number each.
    questions: AtomicU64,
    /// By WAL, until all of it is committed: what its tail holds of each stream, in each tenure.
    adopted: Mutex<BTreeMap<WalId, Parts>>,
}

/// A state section to be uploaded.
pub(crate) struct Section {
    pub(crate) stream: StreamId,
    pub(crate) stream_epoch: StreamEpoch,
    pub(crate) range: OffsetRange,
    pub(crate) bytes: Bytes,
}

impl OpenProducers {
    pub(crate) fn new() -> OpenProducers {
        OpenProducers { held: Mutex::new(None), loading: Semaphore::new(1) }
    }

    /// Locked from the check of a batch to its acceptance. The only lock that is taken under that of the front.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        lock(&self.held)
    }
}

/// What becomes of a batch with this delta; of a marker by this rule.
pub(crate) fn check(
    shared: &Shared,
    held: &mut Option<Held>,
    delta: &ProducerDelta,
    rule: MarkerRule,
) -> Result<Verdict, AppendError> {
    let held = held.as_mut().ok_or(AppendError::ProducersAway)?;
    let clock = &shared.world.clock;
    held.used = clock.now();
    if let BatchKind::Marker(marker) = delta.kind {
        // Also of a stranger whom there is no room for: nobody else can end what may be on its way.
        return Ok(held.state.check_marker(delta, marker, rule)?);
    }
    let verdict = held.state.check(delta, clock.wall(), shared.producers.expiration())?;
    if verdict == Verdict::New {
        held.state.check_granted(&held.grants, delta)?;
    }
    let is_stranger = verdict == Verdict::New && !held.state.knows(delta.producer_id);
    if is_stranger && shared.producers.count.load(Ordering::Relaxed) >= shared.options.producers_max {
        return Err(AppendError::TooManyProducers);
    }
    Ok(verdict)
}

/// Where a producer's newest batch begins; the outer `None`: what producers wrote is not in memory, the inner one: it is forgotten.
#[expect(clippy::option_option, reason = "not knowing is not the same as knowing that there is none")]
pub(crate) fn newest_of(stream: &OpenStream, producer_id: i64) -> Option<Option<Offset>> {
    stream.producers.lock().as_ref().map(|held| held.state.newest(producer_id).map(|batch| batch.base))
}

/// Notes a batch that was accepted behind [`check`].
pub(crate) fn accepted(shared: &Shared, held: &mut Option<Held>, written: &Written, confirmed: Offset) {
    let Some(held) = held else { unreachable!("what was checked is locked until it is accepted") };
    held.changed = written.range.next;
    held.grants.accepted(&written.delta);
    shared.producers.change(&mut held.state, |state| {
        let (now, expiration) = (shared.world.clock.wall(), shared.producers.expiration());
        state.accepted(written, now, expiration, confirmed);
    });
}

/// Below it nothing is left that an aborted transaction wrote, by that image.
pub(crate) fn settled(image: &Image, stream: StreamId) -> Offset {
    image.streams.get(&stream).map_or(Offset(0), |record| record.start.max(record.cleaned))
}

impl ProducerMemory {
    pub(crate) fn new() -> ProducerMemory {
        let memory = ProducerMemory {
            expiration_ms: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            questions: AtomicU64::new(0),
            adopted: Mutex::default(),
        };
        memory.set_expiration(EXPIRATION);
        memory
    }

    /// From now on.
    pub(crate) fn set_expiration(&self, expiration: Duration) {
        let millis = u64::try_from(expiration.as_millis()).unwrap_or(u64::MAX);
        self.expiration_ms.store(millis, Ordering::Relaxed);
    }

    fn expiration(&self) -> Duration {
        Duration::from_millis(self.expiration_ms.load(Ordering::Relaxed))
    }

    /// Changes a state and keeps count.
    fn change(&self, state: &mut Producers, change: impl FnOnce(&mut Producers)) {
        let before = state.weight();
        change(state);
        self.count.fetch_add(state.weight(), Ordering::Relaxed);
        self.count.fetch_sub(before, Ordering::Relaxed);
    }

    /// What the tail of a dead WAL holds, from when this start speaks for it.
    pub(crate) fn adopt(&self, wal: WalId, parts: Parts) {
        lock(&self.adopted).insert(wal, parts);
    }

    /// All of it is committed, or this start has given it up.
    pub(crate) fn release(&self, wal: WalId) {
        lock(&self.adopted).remove(&wal);
    }

    /// The number of the next question to a coordinator.
    pub(crate) fn question(&self) -> u64 {
        self.questions.fetch_add(1, Ordering::Relaxed)
    }

    /// How many producers are held, with what aborted transactions take counted as some more.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many must leave before so many more can come.
    fn excess(&self, options: &Options, wanted: usize) -> usize {
        (self.len() + wanted).saturating_sub(options.producers_max)
    }
}

/// Brings a stream's state into memory unless it is there.
///
/// # Errors
/// The kind says what to do.
pub(crate) async fn load(shared: &Shared, stream: &OpenStream) -> Result<(), ReadError> {
    let _one = stream.producers.loading.acquire().await.expect("this semaphore is never closed");
    let mut images = shared.ledger.watch();
    loop {
        if stream.producers.lock().is_some() {
            return Ok(());
        }
        if stream.is_over() || shared.has_stopped() {
            return Err(ReadError::NotOwner);
        }
        let image = images.borrow_and_update().clone();
        let Some(record) = image.streams.get(&stream.id) else { return Err(ReadError::NotOwner) };
        let Some(parts) = adopted_parts(shared, stream.id, record) else {
            // Another start uploads that WAL, or nobody can read it now: its state comes by the ledger.
            tokio::select! {
                biased;
                changed = images.changed() => if changed.is_err() { return Err(ReadError::NotOwner) },
                _ = shared.until_stopped() => return Err(ReadError::NotOwner),
            }
            continue;
        };
        if let Some(state) = gather(shared, stream.id, record, &parts).await? {
            return hold(shared, stream, record, parts, state);
        }
    }
}

/// The parts that are in no object yet; `None` where this start does not have all of them. What went through its own logs it has had in
/// memory, and let go only when it was saved.
fn adopted_parts(shared: &Shared, stream: StreamId, record: &StreamRecord) -> Option<Vec<TailPart>> {
    let adopted = lock(&shared.producers.adopted);
    let mut parts = Vec::new();
    for wal in record.unsaved.iter().filter(|wal| shared.log_of(**wal).is_none()) {
        let of_stream = (stream, StreamEpoch(i32::MIN))..=(stream, StreamEpoch(i32::MAX));
        match adopted.get(wal) {
            Some(of_wal) => parts.extend(of_wal.range(of_stream).map(|(_, part)| part.clone())),
            None if planted!("producers of another's dead log not waited for", true, false) => return None,
            None => {}
        }
    }
    Some(parts)
}

/// Everything that is saved or adopted. `None`: the references have changed meanwhile.
async fn gather(
    shared: &Shared,
    stream: StreamId,
    record: &StreamRecord,
    parts: &[TailPart],
) -> Result<Option<Producers>, ReadError> {
    let mut all: Vec<(OffsetRange, Producers)> =
        parts.iter().map(|part| (part.range, part.producers.clone())).collect();
    for reference in &record.producers {
        match read_section(shared, reference).await {
            Ok(part) => all.push((reference.range, part)),
            Err(StoreFault::Store(StoreError::NotFound(_))) => {
                let fresh = shared.ledger.refresh().await.map_err(|error| ReadError::Trouble(error.to_string()))?;
                if fresh.streams.get(&stream).is_some_and(|it| it.producers.contains(reference)) {
                    let lost = format!("object {} is referenced and not in the bucket", reference.object);
                    return Err(ReadError::Corrupt(lost));
                }
                return Ok(None);
            }
            Err(StoreFault::Store(error)) => return Err(ReadError::Trouble(error.to_string())),
            Err(StoreFault::Damaged(why)) => {
                return Err(ReadError::Corrupt(format!("object {}: {why}", reference.object)));
            }
        }
    }
    let mut state = Producers::of_parts(all);
    if record.reborn {
        state.admit_strangers();
    }
    Ok(Some(state))
}

async fn read_section(shared: &Shared, reference: &StateReference) -> Result<Producers, StoreFault> {
    let mut tries = 0;
    let mut backoff = Backoff::new();
    let end = reference.position + u64::from(reference.len);
    loop {
        tries += 1;
        let range = GetRange::Span { start: reference.position, end };
        match get(shared, reference.object, range).await {
            Ok((bytes, _)) if bytes.len() as u64 == u64::from(reference.len) && crc32c(&bytes) == reference.crc => {
                return decode_section(&bytes).map_err(|error| StoreFault::Damaged(error.to_string()));
            }
            Ok(_) if tries >= READ_TRIES => {
                return Err(StoreFault::Damaged("a state section's checksum differs".to_owned()));
            }
            Ok(_) => {}
            // Who waits for this has a time limit.
            Err(StoreFault::Store(StoreError::Trouble(_))) if !shared.has_stopped() => {
                backoff.wait(&*shared.world.clock).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

fn hold(
    shared: &Shared,
    stream: &OpenStream,
    record: &StreamRecord,
    parts: Vec<TailPart>,
    mut state: Producers,
) -> Result<(), ReadError> {
    let clock = &shared.world.clock;
    state.expire(clock.wall(), shared.producers.expiration(), Offset::MAX);
    state.forget_aborted(record.start.max(record.cleaned));
    if !state.is_empty() && !make_room(shared, state.weight(), stream.id) {
        let excess = shared.producers.excess(&shared.options, state.weight());
        state.forget(excess, clock.wall(), shared.options.producer_silence_min, Offset::MAX);
        if !make_room(shared, state.weight(), stream.id) {
            let full = "the memory for producers is full until the next upload; try again";
            return Err(ReadError::Trouble(full.to_owned()));
        }
    }
    let saved = record.producers.iter().map(|reference| reference.range.next);
    let changed = saved.chain(parts.into_iter().map(|part| part.range.next)).max().unwrap_or_default();
    shared.producers.count.fetch_add(state.weight(), Ordering::Relaxed);
    let mut locked = stream.producers.lock();
    // Who moves a stream marks it first, then takes what is here.
    if stream.is_over() {
        shared.producers.count.fetch_sub(state.weight(), Ordering::Relaxed);
        return Err(ReadError::NotOwner);
    }
    *locked = Some(Held { state, grants: Grants::default(), changed, used: clock.now() });
    Ok(())
}

/// Whether the stream `own` may hold so many producers more. What other streams have saved leaves memory for them; then who was silent
/// for long is forgotten; what must be saved first is uploaded soon.
pub(crate) fn make_room(shared: &Shared, wanted: usize, own: StreamId) -> bool {
    // One state is always taken when nothing else is held, so that a large one is slow and not impossible.
    let fits = || shared.producers.len() == 0 || shared.producers.excess(&shared.options, wanted) == 0;
    if fits() {
        return true;
    }
    let stay = u64::try_from(STAY.as_micros()).unwrap_or(u64::MAX);
    let idle = Micros(shared.world.clock.now().0.saturating_sub(stay));
    let left = let_go(shared, &Idle { new: idle, saved: Some(idle) }, Some(own));
    if !fits() {
        forget(shared, wanted);
    }
    if !fits() && left.must_be_saved {
        // Whichever log is uploaded next saves all that has changed.
        for log in &shared.logs {
            log.source.freeze();
        }
    }
    fits()
}

/// Forgets the longest silent producers of the states that are held, until there is room for `wanted` and some more.
fn forget(shared: &Shared, wanted: usize) {
    let spare = shared.options.producers_max / FORGOTTEN_PART;
    for stream in open_streams(shared) {
        let count = shared.producers.excess(&shared.options, wanted + spare);
        let mut locked = stream.producers.lock();
        let Some(held) = locked.as_mut() else { continue };
        let confirmed = stream.confirmed();
        shared.producers.change(&mut held.state, |state| {
            state.forget(count, shared.world.clock.wall(), shared.options.producer_silence_min, confirmed);
        });
    }
}

/// Forgets expired producers. Of the saved states that nobody has used since `idle_since` the longest idle leave memory, until no more than
/// [`crate::Options::producers_idle_max`] producers are left: what has left is read from the bucket when its next batch comes, so that a
/// partition which is written every ten minutes would cost a request each time.
pub(crate) fn tidy(shared: &Shared, idle_since: Micros) {
    let excess = shared.producers.len().saturating_sub(shared.options.producers_idle_max);
    let mut idle = Vec::new();
    if excess > 0 {
        for stream in open_streams(shared) {
            let held = stream.producers.lock();
            idle.extend(held.as_ref().filter(|it| it.used <= idle_since).map(|it| (it.used, it.state.weight())));
        }
    }
    idle.sort_unstable();
    let mut left = excess;
    let leave = idle.into_iter().take_while(|(_, weight)| {
        let is_needed = left > 0;
        left = left.saturating_sub(*weight);
        is_needed
    });
    let saved_since = leave.last().map(|(used, _)| used);
    let_go(shared, &Idle { new: idle_since, saved: saved_since }, None);
}

/// Which states may leave, by when they were used last.
struct Idle {
    /// Such as hold nothing.
    new: Micros,
    /// Such as are saved.
    saved: Option<Micros>,
}

/// What is held after some have left.
struct Left {
    /// Of others than the one that asks, something that can't leave before it is saved.
    must_be_saved: bool,
}

/// The same, but for the state of `own`.
fn let_go(shared: &Shared, idle: &Idle, own: Option<StreamId>) -> Left {
    let image = shared.ledger.image();
    let mut left = Left { must_be_saved: false };
    for stream in open_streams(shared) {
        let mut locked = stream.producers.lock();
        let Some(held) = locked.as_mut() else { continue };
        let confirmed = stream.confirmed();
        shared.producers.change(&mut held.state, |state| {
            state.expire(shared.world.clock.wall(), shared.producers.expiration(), confirmed);
            state.forget_aborted(settled(&image, stream.id));
        });
        let is_saved = saved_end(&image, stream.id).is_some_and(|saved| held.changed <= saved);
        let is_new = held.changed == Offset(0) && held.state.is_empty();
        let is_own = own == Some(stream.id);
        left.must_be_saved |= !(is_own || is_saved || is_new);
        let is_idle = is_new && held.used <= idle.new || is_saved && idle.saved.is_some_and(|since| held.used <= since);
        if is_idle && !is_own {
            shared.producers.count.fetch_sub(held.state.weight(), Ordering::Relaxed);
            *locked = None;
        }
    }
    left
}

fn open_streams(shared: &Shared) -> Vec<Arc<OpenStream>> {
    lock(&shared.streams).values().cloned().collect()
}

/// Up to where the image has a stream's whole state. `None`: nowhere.
fn saved_end(image: &Image, stream: StreamId) -> Option<Offset> {
    let whole = |reference: &&StateReference| reference.range.base == Offset(0);
    Some(image.streams.get(&stream)?.producers.iter().rfind(whole)?.range.next)
}

/// What producers wrote to the tenure that is over goes on with the next one: all that is confirmed.
pub(crate) fn hand_over(shared: &Shared, over: &OpenStream, next: &OpenStream) {
    let Some(mut held) = over.producers.lock().take() else { return };
    if planted!("producers forgotten by a move", false, true) {
        shared.producers.change(&mut held.state, |state| *state = Producers::default());
    }
    let confirmed = over.confirmed();
    // Only where the log failed may there be more.
    if held.changed > confirmed {
        shared.producers.change(&mut held.state, |state| *state = state.as_of(confirmed));
        held.changed = confirmed;
    }
    // What was asked was asked by the tenure that is over.
    held.grants = Grants::default();
    *next.producers.lock() = Some(held);
}

/// What producers wrote to a stream that is deleted leaves memory. It was marked as deleted first, so that no load brings it back.
pub(crate) fn drop_of(shared: &Shared, stream: &OpenStream) {
    if let Some(held) = stream.producers.lock().take() {
        shared.producers.count.fetch_sub(held.state.weight(), Ordering::Relaxed);
    }
}

/// What a block of one of this start's own WALs must save beside its records: each state of its streams that has changed since it was saved, as far as it is
/// confirmed, which all of the block is. Also of records that were deleted meanwhile.
pub(crate) fn own_sections(shared: &Shared, wal: WalId) -> Vec<Section> {
    if planted!("producer state left out of a commit", false, true) {
        return Vec::new();
    }
    let image = shared.ledger.image();
    let section = |stream: Arc<OpenStream>| {
        let confirmed = stream.confirmed();
        let locked = stream.producers.lock();
        let held = locked.as_ref()?;
        let saved = saved_end(&image, stream.id).unwrap_or_default();
        let is_lost = planted!("producer state lost with deleted records", false, {
            image.streams.get(&stream.id).is_some_and(|record| record.start >= held.changed)
        });
        if held.changed <= saved || confirmed <= saved || is_lost {
            return None;
        }
        let state = held.state.as_of(planted!("producer state beyond what is confirmed", confirmed, Offset::MAX));
        let range = OffsetRange::new(Offset(0), confirmed);
        let section =
            || Section { stream: stream.id, stream_epoch: stream.epoch, range, bytes: encode_section(&state) };
        (!state.is_empty()).then(section)
    };
    let of_log = |stream: &Arc<OpenStream>| stream.was_written_to(wal);
    open_streams(shared).into_iter().filter(of_log).filter_map(section).collect()
}

/// What the first block of a dead WAL must save: the part of each stream's state that its tail holds. All of it is below the sealed
/// end, so all of it is confirmed.
pub(crate) fn adopted_sections(shared: &Shared, wal: WalId) -> Vec<Section> {
    if planted!("producer state left out of a commit", false, true) {
        return Vec::new();
    }
    let image = shared.ledger.image();
    let adopted = lock(&shared.producers.adopted);
    let parts = adopted.get(&wal).into_iter().flatten();
    let is_needed = |((stream, _), part): &(&(StreamId, StreamEpoch), &TailPart)| {
        let Some(record) = image.streams.get(stream) else { return false };
        !record.producers.iter().any(|reference| reference.range.covers(part.range))
    };
    let section = |((stream, _), part): (&(StreamId, StreamEpoch), &TailPart)| Section {
        stream: *stream,
        stream_epoch: part.stream_epoch,
        range: part.range,
        bytes: encode_section(&part.producers),
    };
    parts.filter(is_needed).map(section).collect()
}
