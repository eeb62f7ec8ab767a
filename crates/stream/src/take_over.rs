//! A dead start's WAL that this start speaks for: its tail is served, uploaded and committed; then the WAL is deleted and forgotten.
//!
//! Follows the sealing entry (`recover`). A dead WAL is deleted only when the ledger shows all of it committed (rule D-2); what is
//! adopted in memory counts for nothing in this. Its fences stay (B5). One task for each WAL; they take turns at reading their tails.

use crate::recover::tenures;
use crate::shared::{LogReader, Shared};
use crate::upload::{self, Source, UploadEnd};
use crate::wal::{self, WalReader};
use base::{Offset, StreamEpoch, StreamId, WalId, WalPosition, planted};
use control::LedgerError;
use control_core::{Command, Image, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use stream_core::recover::{FoundGroup, fold, fold_producers};
use stream_core::upload::{BlockRange, Uploader};
use tokio::sync::{Semaphore, watch};
use world::retry::Backoff;
use world::{ObjectStore, World, lock};

/// A WAL that this start speaks for from now on.
pub(crate) struct Adopted {
    pub(crate) wal: WalId,
    pub(crate) end: WalPosition,
    pub(crate) found: Vec<FoundGroup>,
    /// `None` where nothing is left to read.
    pub(crate) reader: Option<WalReader>,
}

/// What the tail of a WAL that this start speaks for has beyond what is committed.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Bytes of records.
    pub(crate) bytes: u64,
    /// Whose records, or whose producers' state.
    pub(crate) streams: BTreeSet<StreamId>,
}

/// What this start knows of dead WALs.
pub(crate) struct DeadWals {
    /// Those whose tails it still uploads.
    pub(crate) recovering: watch::Sender<usize>,
    /// Why others could not be recovered.
    pub(crate) offline: Mutex<BTreeMap<WalId, String>>,
    /// They are uploaded one block at a time, all together: their tails are read into memory for it.
    pub(crate) blocks: Semaphore,
    /// Those of which some records are damaged and all others are uploaded: they stay, with this start as their recoverer.
    pub(crate) damaged: watch::Sender<BTreeSet<WalId>>,
}

impl DeadWals {
    pub(crate) fn new() -> DeadWals {
        DeadWals {
            recovering: watch::Sender::new(0),
            offline: Mutex::default(),
            blocks: Semaphore::new(1),
            damaged: watch::Sender::new(BTreeSet::new()),
        }
    }
}

/// Serves and uploads an adopted WAL's tail, which it tells, then deletes the WAL. The task is counted in [`DeadWals`].
pub(crate) fn take_over(shared: &Arc<Shared>, adopted: Adopted) -> Tail {
    let image = shared.ledger.image();
    let Adopted { wal, end, found, reader } = adopted;
    let recovered = match fold(&found, &tenures(&image, wal)) {
        Ok(recovered) => recovered,
        Err(loss) => {
            tracing::error!(%wal, %loss, "a dead write-ahead log is left as it is");
            lock(&shared.dead.offline).insert(wal, loss.to_string());
            return Tail::default();
        }
    };
    lock(&shared.readers).extend(reader.map(|reader| (wal, LogReader::of(reader))));
    let below_end = found.iter().take_while(|group| group.end <= end);
    let parts = fold_producers(below_end, |stream, epoch| bound(&image, stream, epoch), shared.world.clock.wall());
    let mut tail = Tail { bytes: 0, streams: parts.keys().map(|(stream, _)| *stream).collect() };
    shared.producers.adopt(wal, planted!("producers of a dead log forgotten", parts, BTreeMap::new()));
    let start = image.wals.get(&wal).map_or(WalPosition(0), |record| record.trim);
    let mut uploader = Uploader::new(shared.options.upload_limits(), start);
    let now = shared.world.clock.now();
    // An earlier recoverer may have committed a part since the walk began; it was declared dead before this one spoke for the WAL.
    let left = recovered.tails.into_iter().skip_while(|group| group.end <= start);
    for group in left.take_while(|group| group.end <= end) {
        for (stream, stream_epoch, run) in group.runs {
            let part = BlockRange { stream_epoch, range: run.range, bytes: u64::from(run.place.len) };
            tail.bytes += part.bytes;
            tail.streams.insert(stream);
            lock(&shared.cache).adopt(stream, run);
            uploader.acknowledged(now, stream, part);
        }
        uploader.group_ends(group.end);
        uploader.freeze_if_due(now, false);
    }
    uploader.group_ends(end.max(start));
    uploader.freeze();
    let source = Arc::new(Source::new(wal, uploader));
    shared.dead.recovering.send_modify(|count| *count += 1);
    let task = shared.clone();
    let finish = async move {
        match finish(&task, &source).await {
            Ok(()) => tracing::info!(%wal, "a dead write-ahead log is committed and deleted"),
            Err(error) => {
                // While this start lives nobody else may take it over, and its place in the ring would never be free.
                task.stop(format!("can't commit the dead write-ahead log {wal}: {error}"));
            }
        }
        lock(&task.readers).remove(&wal);
        task.producers.release(wal);
        task.dead.recovering.send_modify(|count| *count -= 1);
    };
    drop(shared.world.clock.spawn("recovered-upload", Box::pin(finish)));
    tail
}

async fn finish(shared: &Arc<Shared>, source: &Arc<Source>) -> Result<(), UploadEnd> {
    let wal = source.wal;
    let deletable = |image: &Image| image.can_delete_wal(wal);
    if planted!("D3", false, true) {
        // It tries no more than once.
        let _whether = delete(&shared.world, &shared.objects.wals, &shared.ledger.image(), wal).await;
    }
    if !deletable(&shared.ledger.image()) {
        upload::run(shared, source).await?;
    }
    if source.has_damage() {
        shared.dead.damaged.send_if_modified(|damaged| damaged.insert(wal));
    }
    let mut images = shared.ledger.watch();
    if images.wait_for(|image| deletable(image) || !image.wals.contains_key(&wal)).await.is_err() {
        return Err(UploadEnd::Ledger(LedgerError::Closed));
    }
    let mut backoff = Backoff::new();
    // Where it was read, which need not be where its writer had it mounted.
    let place = match shared.reader(wal) {
        Some(WalReader::Ring(ring)) => Some(ring.path().to_owned()),
        Some(WalReader::Object(_)) | None => None,
    };
    while let Err(error) =
        delete_at(&shared.world, &shared.objects.wals, &shared.ledger.image(), wal, place.as_deref()).await
    {
        if backoff.is_worth_a_line() {
            tracing::warn!(%wal, error, "can't delete a dead write-ahead log; tries again");
        }
        backoff.wait(&*shared.world.clock).await;
    }
    // A bucket that refuses is waited for here as everywhere: credentials are renewed one day.
    if let Outcome::Refused(refusal) = upload::submit_for_ever(shared, &Command::ForgetWal { wal }).await? {
        return Err(UploadEnd::Deposed(format!("it can't be forgotten: {refusal}")));
    }
    shared.release_committed(&shared.ledger.image());
    Ok(())
}

/// Deletes a dead WAL's objects, but for fences, or its shared file. A ring's region is free once the ledger forgets the WAL. After an
/// error, which is told in a line, try again.
pub(crate) async fn delete(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    image: &Image,
    wal: WalId,
) -> Result<(), String> {
    delete_at(world, objects, image, wal, None).await
}

/// The same of a shared file that may be at another place than the ledger says.
async fn delete_at(
    world: &World,
    objects: &Arc<dyn ObjectStore>,
    image: &Image,
    wal: WalId,
    place: Option<&Path>,
) -> Result<(), String> {
    let Some(record) = image.wals.get(&wal) else { return Ok(()) };
    if let Some(path) = wal::shared_path(&record.url) {
        let path = place.unwrap_or(&path);
        return wal::remove_shared(world.disk.as_ref(), path).await.map_err(|error| error.to_string());
    }
    if !record.in_storage {
        return Ok(());
    }
    wal::delete_dead_objects(objects, wal).await.map_err(|error| error.to_string())
}

/// Where offsets of a stream end that were numbered in that epoch; `None` where the stream is gone, or not known yet.
fn bound(image: &Image, stream: StreamId, epoch: StreamEpoch) -> Option<Offset> {
    let record = image.streams.get(&stream)?;
    let later = record.tenures.iter().find(|tenure| tenure.stream_epoch > epoch);
    Some(later.map_or(Offset::MAX, |tenure| tenure.start))
}
