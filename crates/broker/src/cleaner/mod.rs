//! Kafka's log compaction: keeps the last record of each key of the topics whose `cleanup.policy` says so.
//!
//! ```text
//! settings, what is stored ─▶ choose: what is worth it ─▶ pass: keys, then the log anew ─▶ the stream's compaction ─▶ the ledger
//!                                                          │ filter: Kafka's rules, batch by batch
//! ```
//! One partition at a time, the one that needs it most, of those that this broker owns. Guarantees: each key's last record stays, at its
//! offset; memory and bandwidth are bounded; whatever goes wrong is tried again later, and others go on. Leaves to others: what lies
//! where, and that nothing else has changed it meanwhile (`stream`). The broker's own topics are not cleaned: groups are copied and cut
//! (`coordinator::compact`).

mod choose;
mod filter;
mod keys;
mod offset_map;
mod pass;
mod transactions;

use crate::Shared;
use crate::options::Cleaning;
use crate::partition::Partition;
use crate::topic_settings;
use base::{Micros, Offset, StreamId, UnixMillis};
use choose::Dirty;
use control_core::Image;
use pass::{Done, Pass};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stream::ReadError;
use world::ClockExt;

/// How long producers' state is waited for before a cleaning begins without it.
const PRODUCERS_WAIT: Duration = Duration::from_secs(5);

/// A partition that could not be cleaned is left alone for so long,
const TROUBLE_WAIT: Duration = Duration::from_secs(60);
/// or so long where somebody has to do something about it.
const DAMAGE_WAIT: Duration = Duration::from_secs(3600);

/// What the cleaner has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanerUse {
    /// Partitions cleaned; one that was cleaned twice counts twice.
    pub passes: u64,
    /// Those that were given up.
    pub passes_given_up: u64,
    /// Bytes of record batches looked at to be rewritten.
    pub bytes_read: u64,
    /// Bytes of those that stayed.
    pub bytes_kept: u64,
    /// Records removed.
    pub removed_records: u64,
}

/// The counts behind [`CleanerUse`].
#[derive(Default)]
pub(crate) struct Counts {
    passes: AtomicU64,
    passes_given_up: AtomicU64,
    bytes_read: AtomicU64,
    bytes_kept: AtomicU64,
    removed_records: AtomicU64,
}

impl Counts {
    pub(crate) fn used(&self) -> CleanerUse {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CleanerUse {
            passes: read(&self.passes),
            passes_given_up: read(&self.passes_given_up),
            bytes_read: read(&self.bytes_read),
            bytes_kept: read(&self.bytes_kept),
            removed_records: read(&self.removed_records),
        }
    }
}

/// What is remembered from round to round.
#[derive(Default)]
struct Memory {
    /// Partitions that are left alone until then.
    waits: BTreeMap<StreamId, Micros>,
    /// Since when there is something to clean beyond that cleaned end.
    dirty_since: BTreeMap<StreamId, (Offset, Micros)>,
    /// The time of the first record that was never cleaned, by where it is, where that matters.
    first_times: BTreeMap<StreamId, (Offset, Option<UnixMillis>)>,
}

/// A partition of a topic that is compacted.
struct Compacted {
    stream: StreamId,
    name: String,
    cleaning: Cleaning,
}

/// What is worth cleaning in it.
struct Candidate {
    dirty: Dirty,
    is_overdue: bool,
}

/// Cleans until the broker stops.
pub(crate) async fn run(broker: Arc<Shared>) {
    if !broker.live().cleaner.is_enabled {
        return;
    }
    let mut memory = Memory::default();
    while !broker.stops_before(rounds(&broker, &mut memory)).await {}
}

/// Waits a while, then cleans as long as anything is worth it.
async fn rounds(broker: &Shared, memory: &mut Memory) {
    broker.clock.sleep(broker.live().cleaner.period).await;
    while round(broker, memory).await {}
}

/// Cleans what is worth it, the partitions that need it most first; whether any was.
async fn round(broker: &Shared, memory: &mut Memory) -> bool {
    let image = broker.store.ledger().image();
    memory.waits.retain(|stream, until| *until > broker.clock.now() && image.streams.contains_key(stream));
    memory.dirty_since.retain(|stream, _| image.streams.contains_key(stream));
    memory.first_times.retain(|stream, _| image.streams.contains_key(stream));
    let mut worth: Vec<(Candidate, Compacted)> = Vec::new();
    for compacted in compacted(broker, &image) {
        if let Some(found) = candidate(broker, memory, &compacted).await {
            worth.push((found, compacted));
        }
    }
    worth.sort_by(|(a, _), (b, _)| b.is_overdue.cmp(&a.is_overdue).then(b.dirty.ratio().total_cmp(&a.dirty.ratio())));
    let mut any = false;
    for (_, mut compacted) in worth {
        // Its turn may come long after it was looked at: the topic's settings and what is stored may be others by now.
        let Some(cleaning) = cleaning_now(broker, compacted.stream) else { continue };
        compacted.cleaning = cleaning;
        if let Some(Candidate { dirty, .. }) = candidate(broker, memory, &compacted).await {
            any |= clean(broker, memory, &compacted, dirty).await;
        }
    }
    any
}

/// How a partition's topic is compacted now; none where it is not. What came while it was not may have no keys, so this is asked once
/// more after it is known what is to be cleaned.
fn cleaning_now(broker: &Shared, stream: StreamId) -> Option<Cleaning> {
    let image = broker.store.ledger().image();
    let topic = image.topics.get(&image.streams.get(&stream)?.topic)?;
    topic_settings::cleaning(&topic.configs, &broker.live.at(&image))
}

fn compacted(broker: &Shared, image: &Image) -> Vec<Compacted> {
    let options = broker.live.at(image);
    let mut found = Vec::new();
    for topic in image.topics.values().filter(|topic| !topic.internal) {
        let Some(cleaning) = topic_settings::cleaning(&topic.configs, &options) else { continue };
        let owned = (0..).zip(&topic.partitions).filter(|(_, stream)| broker.partitions.owned(**stream).is_some());
        found.extend(owned.map(|(number, stream): (u32, _)| Compacted {
            stream: *stream,
            name: format!("{}-{number}", topic.name),
            cleaning,
        }));
    }
    found
}

async fn candidate(broker: &Shared, memory: &mut Memory, compacted: &Compacted) -> Option<Candidate> {
    let Compacted { stream, cleaning, .. } = compacted;
    if memory.waits.get(stream).is_some_and(|until| *until > broker.clock.now()) {
        return None;
    }
    let partition = broker.partitions.owned(*stream)?;
    let now = broker.clock.wall();
    let ends = (partition.log_start(), partition.cleaned());
    let dirty = choose::dirty(&partition.stored(), ends, cleaning, now)?;
    let first =
        if cleaning.lag_max_ms < i64::MAX { first_time(memory, &partition, *stream, &dirty).await } else { None };
    let is_overdue = dirty.is_overdue(cleaning, first, now);
    let known_ms = memory.dirty_for_ms(*stream, partition.cleaned(), broker.clock.now());
    let is_worth = dirty.is_worth(cleaning, broker.live().cleaner.little_bytes, known_ms);
    (is_worth || is_overdue).then_some(Candidate { dirty, is_overdue })
}

impl Memory {
    /// How long it has been known that there is something beyond that end; noted when it is first asked.
    fn dirty_for_ms(&mut self, stream: StreamId, cleaned: Offset, now: Micros) -> i64 {
        let since = self.dirty_since.entry(stream).or_insert((cleaned, now));
        if since.0 != cleaned {
            *since = (cleaned, now);
        }
        i64::try_from(now.since(since.1).as_millis()).unwrap_or(i64::MAX)
    }
}

/// The time of the first record that was never cleaned; read once for each place where that begins.
async fn first_time(memory: &mut Memory, partition: &Partition, stream: StreamId, dirty: &Dirty) -> Option<UnixMillis> {
    let from = dirty.range.base;
    if let Some((_, time)) = memory.first_times.get(&stream).filter(|(at, _)| *at == from) {
        return *time;
    }
    match pass::time_of_first(partition, dirty.range).await {
        Ok(time) => {
            memory.first_times.insert(stream, (from, time));
            time
        }
        Err(error) => {
            tracing::debug!(%stream, %error, "can't tell how long a record waits to be cleaned; tries again");
            None
        }
    }
}

/// Cleans one partition; whether it could be.
async fn clean(broker: &Shared, memory: &mut Memory, compacted: &Compacted, dirty: Dirty) -> bool {
    let Compacted { stream, name, cleaning } = compacted;
    let Some(partition) = broker.partitions.owned(*stream) else { return false };
    let live = broker.live();
    // For the empty batches that tell a producer's sequence: without it more of them stay.
    let _may_be_late = broker.clock.timeout(PRODUCERS_WAIT, partition.load_producers()).await;
    let pass = Pass {
        partition: &partition,
        options: &live.cleaner,
        cleaning: *cleaning,
        is_wanted: &|| cleaning_now(broker, *stream).is_some(),
        dirty,
        now: broker.clock.wall(),
        secret: u128::from(broker.clock.random()) << 64 | u128::from(broker.clock.random()),
    };
    let began = broker.clock.now();
    let counts = &broker.cleaner;
    let add = |count: &AtomicU64, more: u64| count.fetch_add(more, Ordering::Relaxed);
    let wait = match pass.run().await {
        Ok(done @ Done { cleaned: Some(cleaned), .. }) => {
            let Done { keys, bytes_read, bytes_kept, removed_records, .. } = done;
            let took_ms = broker.clock.now().since(began).as_millis();
            tracing::info!(partition = %name, %cleaned, keys, removed_records, bytes_read, bytes_kept, took_ms, "cleaned");
            add(&counts.passes, 1);
            add(&counts.bytes_read, bytes_read);
            add(&counts.bytes_kept, bytes_kept);
            add(&counts.removed_records, removed_records);
            return true;
        }
        Ok(Done { is_too_much: true, .. }) => {
            tracing::error!(partition = %name, "one batch has more keys than the cleaner has memory for; raise --memory or log.cleaner.dedupe.buffer.size");
            DAMAGE_WAIT
        }
        Ok(_) => {
            tracing::debug!(partition = %name, "nothing can be cleaned now: a transaction is open, what is next is young, or the topic is compacted no more");
            TROUBLE_WAIT
        }
        Err(error @ ReadError::Corrupt(_)) => {
            tracing::error!(partition = %name, %error, "can't be cleaned; look at it with fsck");
            DAMAGE_WAIT
        }
        Err(error) => {
            tracing::info!(partition = %name, %error, "a cleaning was given up; tries again");
            TROUBLE_WAIT
        }
    };
    add(&counts.passes_given_up, 1);
    memory.waits.insert(*stream, broker.clock.now().plus(wait.min(live.cleaner.retry_max)));
    false
}
