//! Dead starts' WALs: fence and read, seal in the ledger, serve and upload what is not committed, delete.
//!
//! The order is the safety (rules B-1, B-2, D-4): the death is in the ledger before a WAL is fenced and read, and the trim point that
//! the walk begins at comes from an image that contains the death; the end is in the ledger before a stream is opened or a byte
//! deleted; a dead WAL is deleted only when the ledger shows all of it committed. What is adopted in memory counts for nothing in this.

use crate::shared::Shared;
use crate::upload::{self, Source, UploadEnd};
use crate::wal::{self, RecoverError, Recovered, RingFile, WalReader};
use base::{NodeEpoch, Offset, StreamEpoch, StreamId, WalId, WalIndex, WalPosition, planted};
use control::{Ledger, LedgerError};
use control_core::{Command, Image, Outcome, Refusal, WalRecord, WalState};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream_core::cache::{Body, Place, Run};
use stream_core::recover::{FoundBatch, FoundGroup, TenureView, fold, fold_producers};
use stream_core::upload::Uploader;
use world::retry::Backoff;
use world::{ObjectStore, World, lock};

/// What recovery needs before there is a [`Shared`].
pub(crate) struct Recovery<'a> {
    pub(crate) world: &'a World,
    pub(crate) objects: &'a Arc<dyn ObjectStore>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) node_epoch: NodeEpoch,
    /// The ring that this process holds locked.
    pub(crate) ring: Option<&'a RingFile>,
}

/// A WAL that this start speaks for from now on.
pub(crate) struct Adopted {
    wal: WalId,
    end: WalPosition,
    found: Vec<FoundGroup>,
    reader: WalReader,
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
    /// The device that this start is about to write to has failed: the first error ends it for this process (fail-stop). A later
    /// start may find it well again.
    #[error("{0}; start again, or, to go on without what it holds, give another --wal")]
    Device(String),
}

/// Why a WAL was not walked.
pub(crate) enum NotWalked {
    /// What reads it is the device of this start's own ring.
    DeviceFailed(String),
    /// It stays as it is, for this reason.
    Kept(String),
}

/// Recovers every dead WAL that is not sealed, and every sealed one whose recoverer has died. `image` contains the deaths; what was
/// walked before them (`early`) is a planted bug's.
pub(crate) async fn recover_dead(
    recovery: &Recovery<'_>,
    image: &Image,
    mut early: BTreeMap<WalId, Recovered>,
) -> Result<Outcomes, RecoveryEnd> {
    let mut outcomes = Outcomes::default();
    let now = recovery.ledger.image();
    let wals: Vec<WalId> = now.unsealed_dead_wals().chain(now.orphaned_wals()).map(|(wal, _)| wal).collect();
    for wal in wals {
        let mut sealed = recover_one(recovery, wal, image, early.remove(&wal)).await?;
        while matches!(sealed, Sealed::Stale) {
            let newer = recovery.ledger.image();
            sealed = recover_one(recovery, wal, &newer, None).await?;
        }
        match sealed {
            Sealed::Adopted(adopted) => outcomes.adopted.push(adopted),
            Sealed::Others | Sealed::Stale => {}
            Sealed::Not(reason) => {
                tracing::error!(%wal, reason, "a dead write-ahead log can't be recovered; its streams stay offline");
                outcomes.offline.insert(wal, reason);
            }
        }
    }
    Ok(outcomes)
}

async fn recover_one(
    recovery: &Recovery<'_>,
    wal: WalId,
    image: &Image,
    early: Option<Recovered>,
) -> Result<Sealed, RecoveryEnd> {
    let now = recovery.ledger.image();
    let Some(record) = image.wals.get(&wal).or_else(|| now.wals.get(&wal)) else { return Ok(Sealed::Others) };
    let walked = match early.or_else(|| wholly_committed(&now, wal)) {
        Some(walked) => Ok(walked),
        None => walk(recovery, wal, record).await,
    };
    match walked {
        Ok(walked) => Ok(seal(recovery, wal, record, walked).await?),
        Err(NotWalked::DeviceFailed(reason)) => Err(RecoveryEnd::Device(reason)),
        Err(NotWalked::Kept(reason)) => Ok(Sealed::Not(reason)),
    }
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
    match recovery.ring.filter(|ring| ring.id() == record.ring_id) {
        // The lock on the file is the fence: its writer is gone.
        Some(ring) => ring.recover(wal, from).await.map_err(|error| match error {
            RecoverError::Unreadable { .. } => NotWalked::DeviceFailed(error.to_string()),
            RecoverError::Damaged { .. } => NotWalked::Kept(error.to_string()),
        }),
        None => {
            Err(NotWalked::Kept(format!("it is in {}, which this broker can't read: start a broker there", record.url)))
        }
    }
}

/// What became of an attempt to seal a dead WAL.
enum Sealed {
    /// This start speaks for it.
    Adopted(Adopted),
    /// Another living start speaks for it, or has finished with it.
    Others,
    /// It was trimmed further while it was walked, so nothing was found where records are committed and deleted: walk again.
    Stale,
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
    let found = found_groups(&walked);
    let before = recovery.ledger.image();
    let offered = match fold(&found, &tenures(&before, wal)) {
        Ok(recovered) => recovered.ends,
        Err(loss) => {
            return Ok(match recovery.ledger.refresh().await? {
                image if !image.wals.contains_key(&wal) => Sealed::Others,
                image if is_stale(&image, wal, walked_from) => Sealed::Stale,
                _ => Sealed::Not(format!("acknowledged records are missing: {loss}")),
            });
        }
    };
    if planted!("B8", false, true) {
        delete(recovery.objects, &before, wal, walked.end).await;
    }
    let command = Command::WalRecovered {
        wal,
        end: walked.end,
        ends: offered,
        recoverer: recovery.node_epoch,
        open_on: Some(WalIndex(0)),
    };
    match recovery.ledger.submit(command).await? {
        // Somebody else was faster by all of it.
        Outcome::Refused(Refusal::Unknown(_)) => return Ok(Sealed::Others),
        Outcome::Refused(_) if is_stale(&recovery.ledger.image(), wal, walked_from) => return Ok(Sealed::Stale),
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
    if walked.end < end && is_stale(&image, wal, walked_from) {
        return Ok(Sealed::Stale);
    }
    if walked.end < end {
        return Ok(Sealed::Not(format!("it was sealed at {end} and ends at {}", walked.end)));
    }
    let reader = match recovery.ring.filter(|_| !record.in_storage) {
        Some(ring) => WalReader::Ring(ring.clone()),
        None => WalReader::Object(wal::ObjectWalReader::new(recovery.objects.clone(), wal)),
    };
    tracing::info!(%wal, %end, groups = found.len(), "recovered a dead write-ahead log");
    Ok(Sealed::Adopted(Adopted { wal, end, found, reader }))
}

fn is_stale(image: &Image, wal: WalId, walked_from: &WalRecord) -> bool {
    image.wals.get(&wal).is_some_and(|record| record.trim > walked_from.trim)
}

/// Serves and uploads an adopted WAL's tail, then deletes the WAL. The task is counted in `shared.recovering`.
pub(crate) fn take_over(shared: &Arc<Shared>, adopted: Adopted) {
    let image = shared.ledger.image();
    let wal = adopted.wal;
    let Adopted { end, found, reader, .. } = adopted;
    let recovered = match fold(&found, &tenures(&image, wal)) {
        Ok(recovered) => recovered,
        Err(loss) => {
            tracing::error!(%wal, %loss, "acknowledged records are missing; the write-ahead log is left as it is");
            lock(&shared.offline).insert(wal, loss.to_string());
            return;
        }
    };
    lock(&shared.readers).insert(wal, reader);
    let below_end = found.iter().take_while(|group| group.end <= end);
    let parts = fold_producers(below_end, |stream, epoch| bound(&image, stream, epoch), shared.world.clock.wall());
    shared.producers.adopt(wal, planted!("producers of a dead log forgotten", parts, BTreeMap::new()));
    let start = image.wals.get(&wal).map_or(WalPosition(0), |record| record.trim);
    let mut uploader = Uploader::new(shared.options.upload_limits(), start);
    let now = shared.world.clock.now();
    // An earlier recoverer may have committed a part since the walk began; it was declared dead before this one spoke for the WAL.
    let left = recovered.tails.into_iter().skip_while(|group| group.end <= start);
    for group in left.take_while(|group| group.end <= end) {
        for (stream, stream_epoch, run) in group.runs {
            let part =
                stream_core::upload::BlockRange { stream_epoch, range: run.range, bytes: u64::from(run.place.len) };
            lock(&shared.cache).adopt(stream, run);
            uploader.acknowledged(now, stream, part);
        }
        uploader.group_ends(group.end);
        uploader.freeze_if_due(now, false);
    }
    uploader.group_ends(end.max(start));
    uploader.freeze();
    let source = Arc::new(Source::new(wal, uploader));
    shared.recovering.send_modify(|count| *count += 1);
    let task = shared.clone();
    let finish = async move {
        match finish(&task, &source, end).await {
            Ok(()) => tracing::info!(%wal, "a dead write-ahead log is committed and deleted"),
            Err(error) => {
                // While this start lives nobody else may take it over, and its place in the ring would never be free.
                task.stop(format!("can't commit the dead write-ahead log {wal}: {error}"));
            }
        }
        lock(&task.readers).remove(&wal);
        task.producers.release(wal);
        task.recovering.send_modify(|count| *count -= 1);
    };
    drop(shared.world.clock.spawn("recovered-upload", Box::pin(finish)));
}

async fn finish(shared: &Arc<Shared>, source: &Arc<Source>, end: WalPosition) -> Result<(), UploadEnd> {
    let wal = source.wal;
    let deletable = |image: &Image| image.can_delete_wal(wal);
    if planted!("D3", false, true) {
        delete(&shared.objects, &shared.ledger.image(), wal, end).await;
    }
    if !deletable(&shared.ledger.image()) {
        upload::run(shared, source, true).await?;
    }
    let mut images = shared.ledger.watch();
    if images.wait_for(|image| deletable(image) || !image.wals.contains_key(&wal)).await.is_err() {
        return Err(UploadEnd::Ledger(LedgerError::Closed));
    }
    let mut backoff = Backoff::new();
    while !delete(&shared.objects, &shared.ledger.image(), wal, end).await {
        backoff.wait(&*shared.world.clock).await;
    }
    shared.ledger.submit(Command::ForgetWal { wal }).await?;
    shared.release_committed(&shared.ledger.image());
    Ok(())
}

/// Deletes a dead WAL's objects, but for the fence. A ring's region is free once the ledger forgets the WAL. False: try again.
async fn delete(objects: &Arc<dyn ObjectStore>, image: &Image, wal: WalId, end: WalPosition) -> bool {
    if !image.wals.get(&wal).is_some_and(|record| record.in_storage) {
        return true;
    }
    match wal::delete_dead_objects(objects, wal, end).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%wal, %error, "can't delete a dead write-ahead log's objects; tries again");
            false
        }
    }
}

/// The tenures that have this WAL, by stream.
fn tenures(image: &Image, wal: WalId) -> BTreeMap<StreamId, Vec<TenureView>> {
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

/// Where offsets of a stream end that were numbered in that epoch; `None` where the stream is gone, or not known yet.
fn bound(image: &Image, stream: StreamId, epoch: StreamEpoch) -> Option<Offset> {
    let record = image.streams.get(&stream)?;
    let later = record.tenures.iter().find(|tenure| tenure.stream_epoch > epoch);
    Some(later.map_or(Offset::MAX, |tenure| tenure.start))
}

fn batch_of(entry: &stream_core::DirectoryEntry) -> Option<FoundBatch> {
    let delta = entry.producer?;
    let (base, timestamp) = (entry.range.base, entry.max_timestamp);
    Some(FoundBatch { stream: entry.stream, stream_epoch: entry.stream_epoch, base, timestamp, delta })
}

fn found_groups(walked: &Recovered) -> Vec<FoundGroup> {
    let run_of = |group: &wal::RecoveredGroup, entry: &stream_core::DirectoryEntry| {
        let span = group.span(entry);
        Run {
            range: entry.range,
            records: u64::from(entry.records),
            max_timestamp: entry.max_timestamp,
            max_timestamp_offset: entry.range.base,
            control: entry.control,
            place: Place { wal: walked.wal, position: span.position, len: span.len, crc: span.crc },
            body: Body::Spilled,
        }
    };
    walked
        .groups
        .iter()
        .map(|group| FoundGroup {
            end: group.end,
            runs: group.entries.iter().map(|entry| (entry.stream, run_of(group, entry))).collect(),
            producers: group.entries.iter().filter_map(batch_of).collect(),
        })
        .collect()
}
