//! Dead starts' WALs at a start: fence and read, then seal in the ledger.
//!
//! The order is the safety (rules B-1, B-2, D-4): the death is in the ledger before a WAL is fenced and read, and the trim point that
//! the walk begins at comes from an image that contains the death; the end is in the ledger before a stream is opened or a byte
//! deleted. What becomes of a WAL that this start speaks for from then on is left to `take_over`.

use crate::quarantine;
use crate::ring_age::{self, RingHolds};
use crate::store::{NamedWal, index_of};
use crate::take_over::{self, Adopted};
use crate::wal::{
    self, LeftError, Patience, RecoverError, Recovered, RecoveredGroup, RingFile, WalOpenError, WalReader, ring_path,
};
use base::{NodeEpoch, StreamId, WalId, WalPosition, planted};
use control::{Ledger, LedgerError};
use control_core::{Command, Image, Outcome, Refusal, WalRecord, WalState};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use stream_core::DirectoryEntry;
use stream_core::cache::{Body, Place, Run};
use stream_core::producers::Written;
use stream_core::recover::{FoundBatch, FoundGroup, TenureView, fold};
use world::retry::Backoff;
use world::{ObjectStore, World, lock};

/// So often a start waits for rings that can't be read yet, all of them together. The first nine waits come to five seconds at the most,
/// each of the others to as much: half a minute. Meanwhile it is registered and serves nothing.
const WAITS_MAX: u32 = 14;

/// What recovery needs before there is a [`crate::shared::Shared`].
pub(crate) struct Recovery<'a> {
    pub(crate) world: &'a World,
    pub(crate) objects: &'a Arc<dyn ObjectStore>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) node_epoch: NodeEpoch,
    /// The logs that this start will write to.
    pub(crate) wals: &'a [NamedWal],
    /// Those of them that are rings.
    pub(crate) rings: &'a [RingFile],
    /// Other rings that were walked, by their ids: in shared files, and those that this broker has left. A ring that was left may hold the
    /// logs of several starts, and is locked once.
    pub(crate) other_rings: Mutex<BTreeMap<u128, RingFile>>,
    /// With the files of those.
    pub(crate) patience: Arc<Patience>,
    /// Which logs; `None`: whatever is dead.
    pub(crate) only: Option<BTreeSet<WalId>>,
    /// Whether a ring may be sealed that can't be the newest, by what the ledger knows of its log (`ring_age`).
    pub(crate) older_too: bool,
}

impl Recovery<'_> {
    fn own_ring(&self, record: &WalRecord) -> Option<&RingFile> {
        self.rings.iter().find(|ring| ring.id() == record.ring_id)
    }

    fn other_ring(&self, record: &WalRecord) -> Option<RingFile> {
        lock(&self.other_rings).get(&record.ring_id).cloned()
    }
}

/// What recovery left.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) adopted: Vec<Adopted>,
    /// Why the others could not be recovered.
    pub(crate) offline: BTreeMap<WalId, String>,
}

/// Why a start can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryEnd {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A device that this start is about to write to has failed: the first error ends it for this process (fail-stop). A later
    /// start may find it well again.
    #[error("{0}; start again, or, to go on without what it holds, give another --wal")]
    Device(String),
}

/// Why a WAL was not walked.
pub(crate) enum NotWalked {
    /// What reads it is the device of this start's own ring.
    DeviceFailed(String),
    /// It can't be read now, for this reason, which may pass.
    NotYet(String),
    /// It stays as it is, for this reason.
    Kept(String),
}

/// Recovers every WAL that is dead in `holds_deaths` and not sealed, or sealed by a recoverer that is dead there. Walks begin at the trim
/// points of `trims`, which is the same image; another one, and what was walked before the deaths (`early`), are planted bugs'.
///
/// Several starts may recover one WAL at a time, and whoever is first commits and deletes it under the others. So nothing that a walk
/// misses is waited for, nor told as a loss, before the ledger has been asked whether it may be missing by now.
pub(crate) async fn recover_dead(
    recovery: &Recovery<'_>,
    holds_deaths: &Image,
    trims: &Image,
    mut early: BTreeMap<WalId, Recovered>,
) -> Result<Outcomes, RecoveryEnd> {
    let mut outcomes = Outcomes::default();
    let mut waits = Backoff::new();
    let dead = holds_deaths.unsealed_dead_wals().chain(holds_deaths.orphaned_wals()).map(|(wal, _)| wal);
    for wal in dead.filter(|wal| recovery.only.as_ref().is_none_or(|only| only.contains(wal))) {
        let mut sealed = recover_one(recovery, wal, trims, early.remove(&wal), &mut waits).await?;
        while matches!(sealed, Sealed::Again) {
            let newer = recovery.ledger.image();
            sealed = recover_one(recovery, wal, &newer, None, &mut waits).await?;
        }
        match sealed {
            Sealed::Adopted(adopted) => outcomes.adopted.push(adopted),
            Sealed::Others | Sealed::Again => {}
            Sealed::Not(reason) => {
                tracing::error!(%wal, reason, "a dead write-ahead log can't be recovered; its streams stay offline");
                outcomes.offline.insert(wal, reason);
            }
        }
    }
    recovery.patience.end();
    Ok(outcomes)
}

async fn recover_one(
    recovery: &Recovery<'_>,
    wal: WalId,
    image: &Image,
    early: Option<Recovered>,
    waits: &mut Backoff,
) -> Result<Sealed, RecoveryEnd> {
    let now = recovery.ledger.image();
    let Some(record) = image.wals.get(&wal).or_else(|| now.wals.get(&wal)) else { return Ok(Sealed::Others) };
    let walked = match early.or_else(|| wholly_committed(&now, wal)) {
        Some(walked) => Ok(walked),
        None => walk(recovery, wal, record).await,
    };
    let (reason, may_pass) = match walked {
        Ok(walked) => {
            return Ok(match why_older(recovery, wal, &walked).await {
                Some(why) => Sealed::Not(why),
                None => seal(recovery, wal, record, walked).await?,
            });
        }
        Err(NotWalked::DeviceFailed(reason)) => return Err(RecoveryEnd::Device(reason)),
        Err(NotWalked::NotYet(reason)) => (reason, true),
        Err(NotWalked::Kept(reason)) => (reason, false),
    };
    if let Some(sealed) = by_others(recovery, wal, record, &now).await? {
        return Ok(sealed);
    }
    if !may_pass || waits.tries() == WAITS_MAX {
        return Ok(Sealed::Not(reason));
    }
    tracing::warn!(%wal, reason, "a dead write-ahead log can't be read yet; tries again");
    waits.wait(recovery.world.clock.as_ref()).await;
    Ok(Sealed::Again)
}

/// What others have done with a WAL since the image `then`, in which something was missed of it; `None` where nothing explains that.
async fn by_others(
    recovery: &Recovery<'_>,
    wal: WalId,
    walked_from: &WalRecord,
    then: &Image,
) -> Result<Option<Sealed>, LedgerError> {
    if planted!("a dead log waited for that others have deleted", false, true) {
        return Ok(None);
    }
    let newer = recovery.ledger.refresh().await?;
    let Some(record) = newer.wals.get(&wal) else { return Ok(Some(Sealed::Others)) };
    // Its recoverer lives: it has the tail, and deletes the WAL as soon as that is committed.
    if let WalState::Sealed { recoverer, .. } = record.state
        && recoverer != recovery.node_epoch
        && newer.is_alive(recoverer)
    {
        return Ok(Some(Sealed::Others));
    }
    // Its recoverer died between deleting and forgetting it.
    let has_become_deletable = wholly_committed(&newer, wal).is_some() && wholly_committed(then, wal).is_none();
    Ok((has_become_deletable || is_stale(&newer, wal, walked_from)).then_some(Sealed::Again))
}

/// A sealed WAL that is wholly committed needs no walk, and may not bear one: its recoverer may have died while it deleted it.
fn wholly_committed(image: &Image, wal: WalId) -> Option<Recovered> {
    let WalState::Sealed { end, .. } = image.wals.get(&wal)?.state else { return None };
    image.can_delete_wal(wal).then(|| Recovered { wal, end, groups: Vec::new() })
}

/// Makes sure that nothing more can be acknowledged from a dead WAL, and reads its directories from the trim point on.
pub(crate) async fn walk(recovery: &Recovery<'_>, wal: WalId, record: &WalRecord) -> Result<Recovered, NotWalked> {
    let from = record.trim.max(record.start);
    if record.in_storage {
        let walked = wal::recover_objects(recovery.world, recovery.objects, wal, from).await;
        return walked.map_err(|error| NotWalked::Kept(error.to_string()));
    }
    if recovery.own_ring(record).is_none() {
        let (clock, objects) = (recovery.world.clock.as_ref(), recovery.objects.as_ref());
        let asked = quarantine::refuse(clock, objects, record.ring_id, &record.url).await;
        asked.map_err(|why| NotWalked::Kept(format!("{why}; let `millstream broker abandon` end")))?;
    }
    if let Some(path) = wal::shared_path(&record.url) {
        return walk_shared(recovery, wal, record, &path, from).await;
    }
    match recovery.own_ring(record) {
        // The lock on the file is the fence: its writer is gone.
        Some(ring) => ring.recover(wal, from).await.map_err(|error| match error {
            RecoverError::Unreadable { .. } => NotWalked::DeviceFailed(error.to_string()),
            RecoverError::Damaged { .. } => NotWalked::Kept(error.to_string()),
        }),
        None => walk_left(recovery, wal, record, from).await,
    }
}

/// Reads a ring that an earlier start of this broker wrote, where this one can open it. Other brokers' rings are left to them, though they
/// may lie on the same host: a broker that comes back wants its own.
async fn walk_left(
    recovery: &Recovery<'_>,
    wal: WalId,
    record: &WalRecord,
    from: WalPosition,
) -> Result<Recovered, NotWalked> {
    let kept = |why: &str| format!("it is in {}{why}: start a broker with that --wal", record.url);
    if recovery.rings.iter().any(|own| own.url() == record.url) {
        // The folder or device was emptied or replaced, and this start has made a new ring there.
        let why = format!(
            "it was in {}, where another ring is by now: put its file or device back there, and start again; what it holds is nowhere else; \
             where it is lost, see `millstream broker abandon`",
            record.url
        );
        return Err(NotWalked::Kept(why));
    }
    let image = recovery.ledger.image();
    let open = recovery.other_ring(record);
    let broker = |epoch: NodeEpoch| image.nodes.get(&epoch).map(|node| node.node_id);
    let is_own = broker(wal.node_epoch).is_some() && broker(wal.node_epoch) == broker(recovery.node_epoch);
    if open.is_none() && !is_own {
        return Err(NotWalked::Kept(kept(", and this broker has another log")));
    }
    if planted!("W2", false, true) {
        return Ok(Recovered { wal, end: from, groups: Vec::new() });
    }
    let ring = match open {
        Some(ring) => ring,
        None => {
            let opened = RingFile::open_left(recovery.world, &recovery.patience, &record.url, record.ring_id).await;
            opened.map_err(|error| match error {
                // By the process of the start that wrote it, which is dead in the ledger and about to find out.
                LeftError::Held(why) => NotWalked::NotYet(kept(&format!(", which another process holds ({why})"))),
                LeftError::Trouble(why)
                    if ring_path(&record.url).is_some_and(|path| recovery.patience.has_hung(&path)) =>
                {
                    NotWalked::Kept(format!(
                        "it is in {}, which does not answer ({why}); start again when it does",
                        record.url
                    ))
                }
                LeftError::Trouble(why) => NotWalked::NotYet(kept(&format!(", which fails ({why})"))),
                LeftError::Failed(why) => NotWalked::Kept(kept(&format!(", which this start can't open ({why})"))),
            })?
        }
    };
    let recovered = ring.recover(wal, from).await.map_err(|error| not_walked(recovery, ring.path(), error))?;
    lock(&recovery.other_rings).insert(record.ring_id, ring);
    Ok(recovered)
}

/// Fences a ring in a shared file, then reads it (rule C-1). Another try opens the file anew.
async fn walk_shared(
    recovery: &Recovery<'_>,
    wal: WalId,
    record: &WalRecord,
    path: &Path,
    from: WalPosition,
) -> Result<Recovered, NotWalked> {
    let not_yet = |error: WalOpenError| {
        if recovery.patience.has_hung(path) {
            return NotWalked::Kept(format!("{error}; start again when it answers"));
        }
        NotWalked::NotYet(format!("{error}; mount its folder here under the same name, and start again"))
    };
    // Where whoever recovers has it mounted under another name, it is open already.
    let open = recovery.other_ring(record);
    let ring = match open {
        Some(ring) => ring,
        None => {
            let opened = RingFile::open_dead(recovery.world, &recovery.patience, path, record.ring_id).await;
            opened.map_err(not_yet)?
        }
    };
    if planted!("shared log read before its fence", true, false) {
        ring.fence(recovery.node_epoch).await.map_err(not_yet)?;
    }
    let recovered = ring.recover(wal, from).await.map_err(|error| not_walked(recovery, path, error))?;
    if planted!("shared log read before its fence", false, true) {
        ring.fence(recovery.node_epoch).await.map_err(not_yet)?;
    }
    lock(&recovery.other_rings).insert(record.ring_id, ring);
    Ok(recovered)
}

/// Why this ring is to be left, as it can't be the newest. Asked last before the end is fixed, of an image that holds the death: nobody
/// commits anything of this log any more but by an end.
async fn why_older(recovery: &Recovery<'_>, wal: WalId, walked: &Recovered) -> Option<String> {
    let image = recovery.ledger.image();
    let record = image.wals.get(&wal).filter(|record| !record.in_storage && !recovery.older_too)?;
    let ring = recovery.other_ring(record).or_else(|| recovery.own_ring(record).cloned())?;
    let header = ring.header();
    let mut whole = None;
    if walked.groups.is_empty() {
        match wal::inspect_ring(recovery.world.disk.as_ref(), ring.path()).await {
            Ok(ring) => whole = Some(ring),
            Err(error) => return Some(error.to_string()),
        }
    }
    let holds = RingHolds::of_walk(&image, walked, whole.as_ref());
    let why = ring_age::why_older(&image, wal, &header, &holds)?;
    Some(ring_age::older_told(ring.path(), &why))
}

/// Of a ring that this start does not write to: its device may be well again before this start gives up, unless it hangs.
fn not_walked(recovery: &Recovery<'_>, path: &Path, error: RecoverError) -> NotWalked {
    match error {
        RecoverError::Unreadable { .. } if recovery.patience.has_hung(path) => {
            NotWalked::Kept(format!("{error}; start again when it answers"))
        }
        RecoverError::Unreadable { .. } => NotWalked::NotYet(error.to_string()),
        RecoverError::Damaged { .. } => NotWalked::Kept(error.to_string()),
    }
}

/// What became of an attempt to seal a dead WAL.
enum Sealed {
    /// This start speaks for it.
    Adopted(Adopted),
    /// Another living start speaks for it, or has finished with it.
    Others,
    /// It was trimmed further, or deleted, while it was walked, so nothing was found where records are committed; or it could not be read
    /// yet: walk again.
    Again,
    /// It stays as it is, for this reason.
    Not(String),
}

/// Fixes the end in the ledger, or adopts the end that somebody else fixed.
async fn seal(
    recovery: &Recovery<'_>,
    wal: WalId,
    walked_from: &WalRecord,
    walked: Recovered,
) -> Result<Sealed, LedgerError> {
    let Recovered { end: walked_end, groups, .. } = walked;
    let found = found_groups(wal, groups);
    let before = recovery.ledger.image();
    let offered = match fold(&found, &tenures(&before, wal)) {
        Ok(recovered) => recovered.ends,
        Err(loss) => {
            let sealed = by_others(recovery, wal, walked_from, &before).await?;
            return Ok(sealed.unwrap_or_else(|| Sealed::Not(loss.to_string())));
        }
    };
    if planted!("B8", false, true) {
        let _whether = take_over::delete(recovery.world, recovery.objects, &before, wal).await;
    }
    let command = Command::WalRecovered {
        wal,
        end: walked_end,
        ends: offered,
        recoverer: recovery.node_epoch,
        // Of the same name, as what chose the one has chosen the other; a start that serves nobody opens none.
        open_on: (!recovery.wals.is_empty()).then(|| index_of(recovery.wals, Some(&walked_from.name))),
    };
    match recovery.ledger.submit(command).await? {
        // Somebody else was faster by all of it.
        Outcome::Refused(Refusal::Unknown(_)) => return Ok(Sealed::Others),
        Outcome::Refused(_) if is_stale(&recovery.ledger.image(), wal, walked_from) => return Ok(Sealed::Again),
        Outcome::Refused(refusal) => return Ok(Sealed::Not(refusal.to_string())),
        _ => {}
    }
    let image = recovery.ledger.image();
    let Some(record) = image.wals.get(&wal) else { return Ok(Sealed::Others) };
    let WalState::Sealed { end, recoverer } = record.state else {
        return Ok(Sealed::Not("the ledger did not seal it".to_owned()));
    };
    if recoverer != recovery.node_epoch {
        return Ok(Sealed::Others);
    }
    if walked_end < end && is_stale(&image, wal, walked_from) {
        return Ok(Sealed::Again);
    }
    if walked_end < end {
        return Ok(Sealed::Not(format!("it was sealed at {end} and ends at {walked_end}")));
    }
    let reader = if record.in_storage {
        Some(WalReader::Object(wal::ObjectWalReader::new(recovery.objects.clone(), wal)))
    } else {
        let own = || recovery.own_ring(record).cloned();
        recovery.other_ring(record).or_else(own).map(WalReader::Ring)
    };
    tracing::info!(%wal, %end, groups = found.len(), "recovered a dead write-ahead log");
    Ok(Sealed::Adopted(Adopted { wal, end, found, reader }))
}

fn is_stale(image: &Image, wal: WalId, walked_from: &WalRecord) -> bool {
    image.wals.get(&wal).is_some_and(|record| record.trim > walked_from.trim)
}

/// The tenures that have this WAL, by stream.
pub(crate) fn tenures(image: &Image, wal: WalId) -> BTreeMap<StreamId, Vec<TenureView>> {
    let mut views = BTreeMap::new();
    for (stream, record) in &image.streams {
        let of_wal: Vec<TenureView> = record
            .tenures
            .iter()
            .filter(|tenure| tenure.wal == wal)
            .map(|tenure| TenureView {
                stream_epoch: tenure.stream_epoch,
                start: tenure.start,
                committed: tenure.committed,
                end: tenure.end,
            })
            .collect();
        if !of_wal.is_empty() {
            views.insert(*stream, of_wal);
        }
    }
    views
}

/// What the groups' directories say. Each group is given up as it is read: a WAL of small batches has more directory than the memory
/// that it is read into can bear twice.
fn found_groups(wal: WalId, groups: Vec<RecoveredGroup>) -> Vec<FoundGroup> {
    let found = |group: RecoveredGroup| FoundGroup {
        end: group.end,
        runs: group.entries.iter().map(|entry| (entry.stream, run_of(wal, &group, entry))).collect(),
        producers: group.entries.iter().filter_map(batch_of).collect(),
    };
    groups.into_iter().map(found).collect()
}

fn run_of(wal: WalId, group: &RecoveredGroup, entry: &DirectoryEntry) -> Run {
    let span = group.span(entry);
    Run {
        range: entry.range,
        records: u64::from(entry.records),
        max_timestamp: entry.max_timestamp,
        max_timestamp_offset: entry.range.base,
        control: entry.control,
        place: Place { wal, position: span.position, len: span.len, crc: span.crc },
        body: Body::Spilled,
        frame: None,
    }
}

fn batch_of(entry: &DirectoryEntry) -> Option<FoundBatch> {
    let written = Written { delta: entry.producer?, range: entry.range, timestamp: entry.max_timestamp };
    Some(FoundBatch { stream: entry.stream, stream_epoch: entry.stream_epoch, written })
}
