//! Gives dead starts' logs up that are gone for good: `millstream broker abandon` (rule D-10).
//!
//! ```text
//! lock what is reachable ─▶ register ─▶ declare dead ─▶ mark the rings ─▶ nobody else has them? ─▶ fence what is reachable
//!   ─▶ seal at the trim point, close tenures at the ceiling ─▶ say that there is nothing up to there ─▶ forget ─▶ hand the streams on ─▶ leave
//! ```
//! What the bucket has not got is lost, and no offset of it is ever given out again: its owner can have given out none at or beyond the
//! tenure's committed end plus [`Options::uncommitted_offsets_max`], which is where the tenure is closed. A reference without bytes covers
//! what lies between, so that readers pass over it and everything that walks references finds them contiguous.
//!
//! Each step may be repeated: one that was cut short is finished by the next, and until then the marker keeps everybody from reading a ring
//! that comes back. What the caller has made sure of: that nobody answers for these starts, and that their hosts are off.

use crate::alone;
use crate::keys::data_key;
use crate::options::Options;
use crate::quarantine;
use crate::recover::tenures;
use crate::recover_alone::{Standing, logs_left};
use crate::shared::Shared;
use crate::store::{StartError, WalChoice};
use crate::upload::{put_for_ever, submit_for_ever};
use crate::wal::{FoundRing, Patience, RingFile};
use base::{NodeId, OffsetRange, UnixMillis, WalId, WalPosition, planted};
use control::{Ledger, LedgerOptions};
use control_core::{Command, CommitRange, Image, Outcome, Refusal, UploadedObject, WalRecord, WalState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream_core::abandoned::{Abandoned, LostPart};
use stream_core::object::ObjectBuilder;
use world::{ObjectStore, Purpose, World, counted_as, lock};

/// Ranges that one commit says to be empty.
const RANGES_MAX: usize = 10_000;

/// How often what is refused is said anew, from a newer image.
const TRIES_MAX: usize = 5;

/// What to give up.
pub struct AbandonLogs {
    /// Which: with each ring all of its logs ([`logs_of_ring`]), none of them in the bucket.
    pub wals: BTreeSet<WalId>,
    /// Whose they are.
    pub broker: Option<NodeId>,
    /// When, in UTC, and by which command: for people.
    pub said: (String, String),
    /// Those of their rings that can be opened all the same: locked or fenced before anything is given up.
    pub rings: Vec<FoundRing>,
    /// Which of its owner's logs a stream wants.
    pub choice: WalChoice,
    /// Bounds and periods.
    pub options: Options,
    /// Those of the ledger.
    pub ledger_options: LedgerOptions,
}

/// What became of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbandonOutcome {
    /// The ledger has forgotten it; this is what nothing has any more, or may have had.
    GivenUp(Vec<LostPart>),
    /// Somebody else has recovered it, or is about to.
    Others,
}

/// The logs of that ring that the ledger knows, which are lost together.
#[must_use]
pub fn logs_of_ring(image: &Image, ring_id: u128) -> Vec<WalId> {
    image.wals_of_ring(ring_id).map(|(wal, _)| wal).collect()
}

/// What is lost with a log: of each of its tenures that is not wholly committed, the offsets from the committed end on. Of one that is open
/// nobody knows how many were given out; at the most so many.
#[must_use]
pub fn lost_with(image: &Image, wal: WalId, uncommitted_offsets_max: u64) -> Vec<LostPart> {
    let mut lost = Vec::new();
    for (stream, of_wal) in tenures(image, wal) {
        for tenure in of_wal {
            let end = tenure.end.unwrap_or(tenure.committed.plus(uncommitted_offsets_max));
            if tenure.committed < end {
                let range = OffsetRange::new(tenure.committed, end);
                let is_open = tenure.end.is_none();
                lost.push(LostPart { wal, stream, stream_epoch: tenure.stream_epoch, range, is_open });
            }
        }
    }
    lost
}

/// Gives these logs up; answers for each what became of it, and how many of their streams living brokers have got.
///
/// # Errors
/// Somebody has a ring, a process holds its lock, the bucket refuses, or this start was declared dead; the message says what to do. Asked
/// again, it goes on where it was.
pub async fn abandon_logs(
    world: &World,
    objects: Arc<dyn ObjectStore>,
    request: AbandonLogs,
) -> Result<(BTreeMap<WalId, AbandonOutcome>, usize), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError(error.to_string());
    let ledger = Ledger::open(world, counted_as(&objects, Purpose::Ledger), request.ledger_options.clone())
        .await
        .map_err(|error| failed(&error))?;
    let patience = Patience::new(world, request.options.wal.dead_ring_stalled_max);
    let mut rings = Vec::new();
    for found in &request.rings {
        rings.push(RingFile::open_found(world, &patience, found).await.map_err(|error| failed(&error))?);
    }
    // Recoveries that were cut short: their caller knows of them. One that seals a log from here on lives.
    let meant = logs_left(&ledger.image()).into_iter().filter(|log| request.wals.contains(&log.wal));
    let cut_short = meant.filter_map(|log| match log.standing {
        Standing::Recovering(start) => Some(start),
        _ => None,
    });
    let (node_id, node_epoch) = alone::register(world, &objects, &ledger).await?;
    alone::declare_dead(&ledger, cut_short).await?;
    if let Some(why) = in_use(&ledger.image(), &request) {
        return Err(StartError(why));
    }
    alone::declare_dead(&ledger, request.wals.iter().map(|wal| wal.node_epoch)).await?;
    // From here on nobody commits anything of these logs.
    let holds_deaths = ledger.image();
    let marked = mark(counted_as(&objects, Purpose::Wal), markers(&holds_deaths, &request)?).await?;
    // Whoever has opened one of these rings before its marker stood has registered with it by now.
    let image = ledger.refresh().await.map_err(|error| failed(&error))?;
    if let Some(why) = in_use(&image, &request) {
        marked.take_back(|_| true).await?;
        return Err(StartError(why));
    }
    for ring in rings.iter().filter(|ring| ring.is_shared()) {
        ring.fence(node_epoch).await.map_err(|error| failed(&error))?;
    }
    let options = (&request.options, &request.ledger_options, request.choice);
    let shared = alone::share(world, &objects, options, ledger, (node_id, node_epoch));
    let mut outcomes = BTreeMap::new();
    for wal in &request.wals {
        let sealed = seal(&shared, *wal).await?;
        outcomes.insert(*wal, sealed.map_or(AbandonOutcome::Others, AbandonOutcome::GivenUp));
    }
    let given_up = |wal: &WalId| matches!(outcomes.get(wal), Some(AbandonOutcome::GivenUp(_)));
    let is_lost = |ring_id| logs_of_ring(&holds_deaths, ring_id).iter().any(given_up);
    // Of a ring that others have recovered nothing is lost; one of which something was given up keeps its marker, also where somebody else
    // has taken that back meanwhile.
    marked.take_back(|ring_id| !is_lost(ring_id)).await?;
    marked.keep(is_lost).await?;
    for wal in request.wals.iter().copied().filter(given_up) {
        say_empty(&shared, wal).await?;
        forget(&shared, wal).await?;
    }
    let streams = request.wals.iter().flat_map(|wal| tenures(&holds_deaths, *wal).into_keys()).collect();
    let handed_on = alone::hand_on_and_leave(&shared, &streams).await?;
    Ok((outcomes, handed_on))
}

/// The rings' markers, and which of them this call has made.
struct Marked {
    store: Arc<dyn ObjectStore>,
    made: Vec<u128>,
    markers: Vec<Abandoned>,
}

async fn mark(store: Arc<dyn ObjectStore>, markers: Vec<Abandoned>) -> Result<Marked, StartError> {
    let mut made = Vec::new();
    for marker in &markers {
        let put = quarantine::put(store.as_ref(), marker).await;
        if put.map_err(|error| StartError(error.to_string()))? {
            made.push(marker.ring_id);
        }
    }
    Ok(Marked { store, made, markers })
}

impl Marked {
    async fn take_back(&self, of: impl Fn(u128) -> bool) -> Result<(), StartError> {
        for ring_id in self.made.iter().filter(|ring_id| of(**ring_id)) {
            let taken = quarantine::take_back(self.store.as_ref(), *ring_id).await;
            taken.map_err(|error| StartError(error.to_string()))?;
        }
        Ok(())
    }

    async fn keep(&self, of: impl Fn(u128) -> bool) -> Result<(), StartError> {
        for marker in self.markers.iter().filter(|marker| of(marker.ring_id)) {
            let put = quarantine::put(self.store.as_ref(), marker).await;
            put.map_err(|error| StartError(error.to_string()))?;
        }
        Ok(())
    }
}

/// What the markers of the logs' rings say, one for each ring.
fn markers(image: &Image, request: &AbandonLogs) -> Result<Vec<Abandoned>, StartError> {
    let mut markers: BTreeMap<u128, Abandoned> = BTreeMap::new();
    for wal in &request.wals {
        let Some(record) = image.wals.get(wal) else { continue };
        if record.in_storage {
            return Err(StartError(format!(
                "the write-ahead log {wal} is in the bucket and can't be lost: recover it"
            )));
        }
        let (when, command) = request.said.clone();
        let marker = markers.entry(record.ring_id).or_insert_with(|| Abandoned {
            cluster_id: image.cluster_id,
            ring_id: record.ring_id,
            broker: request.broker,
            when,
            command,
            logs: Vec::new(),
            lost: Vec::new(),
        });
        marker.logs.push((*wal, record.url.clone()));
        marker.lost.extend(lost_with(image, *wal, request.options.uncommitted_offsets_max));
    }
    Ok(markers.into_values().collect())
}

/// Why these logs can't be given up: somebody has their ring.
fn in_use(image: &Image, request: &AbandonLogs) -> Option<String> {
    let rings: BTreeSet<u128> =
        request.wals.iter().filter_map(|wal| image.wals.get(wal)).map(|record| record.ring_id).collect();
    let logs = || rings.iter().flat_map(|ring_id| image.wals_of_ring(*ring_id));
    let newer = logs().find(|(wal, _)| !request.wals.contains(wal));
    let newer = newer.map(|(wal, record)| {
        format!(
            "start {} has opened {} meanwhile: its log is not lost, and nothing was given up",
            wal.node_epoch, record.url
        )
    });
    newer.or_else(|| logs().find_map(|(wal, record)| of_the_living(image, wal, record)))
}

fn of_the_living(image: &Image, wal: WalId, record: &WalRecord) -> Option<String> {
    match record.state {
        WalState::Sealed { recoverer, .. } if image.is_alive(recoverer) => Some(format!(
            "the write-ahead log {wal} was recovered by start {recoverer}, which lives: nothing was given up"
        )),
        WalState::Sealed { .. } | WalState::Open => None,
    }
}

/// Fixes the log's end where it was trimmed to, and its open tenures' at their ceilings; one that was recovered in part by somebody who is
/// dead keeps its ends. Answers what is lost by that; `None`: somebody else speaks for it.
async fn seal(shared: &Shared, wal: WalId) -> Result<Option<Vec<LostPart>>, StartError> {
    let image = shared.ledger.image();
    let Some(record) = image.wals.get(&wal) else { return Ok(None) };
    let lost = lost_with(&image, wal, shared.options.uncommitted_offsets_max);
    let ceiling = |part: &LostPart| planted!("abandoned at the committed end", part.range.next, part.range.base);
    let ends = lost.iter().filter(|part| part.is_open).map(|part| (part.stream, ceiling(part))).collect();
    let end = record.trim.max(record.start);
    let command = Command::WalRecovered { wal, end, ends, recoverer: shared.node_epoch, open_on: None };
    match submit(shared, &command).await? {
        Outcome::Refused(Refusal::Unknown(_)) => return Ok(None),
        Outcome::Refused(refusal) => return Err(StartError(format!("the write-ahead log {wal}: {refusal}"))),
        _ => {}
    }
    let is_ours = shared.ledger.image().speaks_for(shared.node_epoch, wal);
    Ok(is_ours.then_some(lost))
}

/// Commits that there is nothing from the tenures' committed ends to their ends, and that the log's producers' state is gone with it.
async fn say_empty(shared: &Shared, wal: WalId) -> Result<(), StartError> {
    for _ in 0..TRIES_MAX {
        let image = shared.ledger.image();
        let Some(record) = image.wals.get(&wal) else { return Ok(()) };
        let WalState::Sealed { end, .. } = record.state else {
            return Err(StartError(format!("the ledger did not seal the write-ahead log {wal}")));
        };
        let lost = lost_with(&image, wal, 0);
        let mut rest = lost.as_slice();
        loop {
            let (now, later) = rest.split_at(rest.len().min(RANGES_MAX));
            rest = later;
            let trim = if rest.is_empty() { end } else { record.trim };
            let objects = match now {
                [] => Vec::new(),
                now => vec![put_empty(shared, wal, now).await],
            };
            commit(shared, wal, trim, objects).await?;
            if rest.is_empty() {
                break;
            }
        }
        if shared.ledger.image().can_delete_wal(wal) {
            return Ok(());
        }
    }
    Err(StartError(format!(
        "the ledger refuses that the write-ahead log {wal} is empty: this is a bug; nothing of it is served wrongly"
    )))
}

/// An object without records, which is referenced for these ranges.
async fn put_empty(shared: &Shared, wal: WalId, parts: &[LostPart]) -> UploadedObject {
    let id = lock(&shared.counters).draw(shared.node_epoch, 1)[0];
    let built = ObjectBuilder::new(id, wal, shared.options.data_block_bytes).finish();
    put_for_ever(shared, &data_key(id), built.parts).await;
    let ranges = parts.iter().map(|part| CommitRange {
        stream: part.stream,
        stream_epoch: part.stream_epoch,
        range: part.range,
        bytes: 0,
        records: 0,
        // Below every time, so that no search by time finds it.
        max_timestamp: UnixMillis(i64::MIN),
        max_timestamp_offset: part.range.base,
    });
    UploadedObject { id, size: built.size, ranges: ranges.collect(), states: Vec::new() }
}

async fn commit(
    shared: &Shared,
    wal: WalId,
    trim: WalPosition,
    objects: Vec<UploadedObject>,
) -> Result<(), StartError> {
    let ids: Vec<_> = objects.iter().map(|object| object.id).collect();
    let min_counter = lock(&shared.counters).min_after(|counter| ids.iter().any(|id| id.counter == counter));
    let command = Command::CommitObjects { speaker: shared.node_epoch, wal, trim, min_counter, objects };
    let outcome = submit(shared, &command).await?;
    lock(&shared.counters).decided(ids.into_iter());
    match outcome {
        Outcome::Refused(refusal) => Err(StartError(format!("the write-ahead log {wal}: {refusal}"))),
        // What is refused of it is looked at anew.
        _ => Ok(()),
    }
}

async fn forget(shared: &Shared, wal: WalId) -> Result<(), StartError> {
    match submit(shared, &Command::ForgetWal { wal }).await? {
        Outcome::Refused(refusal) => {
            Err(StartError(format!("the write-ahead log {wal} can't be forgotten: {refusal}")))
        }
        _ => Ok(()),
    }
}

async fn submit(shared: &Shared, command: &Command) -> Result<Outcome, StartError> {
    submit_for_ever(shared, command).await.map_err(|error| StartError(error.to_string()))
}
