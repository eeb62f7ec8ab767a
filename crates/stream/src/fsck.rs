//! Whether the bucket holds what an image says: every referenced object whole, every reference covered, nothing unexpected.
//!
//! Reads only. Object by object, so that memory is bounded by the largest object's block; every byte of every block is read and
//! checked. What may be there for a while by design (dead objects in their grace, orphans before the sweep, WAL objects of living
//! and unrecovered starts) is listed apart from what must not be.
//!
//! Brokers may go on: an object that is gone is lost only where the ledger's newest image still references it (rule R-3).

use crate::housekeeping::is_wal_leftover;
use crate::keys::{DATA_PREFIX, WAL_PREFIX, data_key, object_of_key, wal_of_key};
use crate::object_index::read_index;
use crate::quarantine;
use crate::read::blocks_of;
use base::{ObjectId, Offset, OffsetRange, StreamId, WalId};
use bytes::Bytes;
use control::{Ledger, LedgerError};
use control_core::{Image, Reference};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use stream_core::abandoned::Abandoned;
use stream_core::object::{BlockEntry, StateEntry};
use stream_core::producers::decode_section;
use stream_core::walk;
use world::{GetRange, ObjectStore, Pages, StoreError};

/// Keys asked for by one list.
const PAGE_KEYS: usize = 1000;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Objects that are referenced.
    pub objects: usize,
    /// Those of them that brokers have replaced and deleted before they were read.
    pub replaced: usize,
    /// Blocks whose every byte was checked.
    pub blocks: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// What must not be: lost or damaged data, holes, contradictions. Empty in a healthy cluster.
    pub problems: Vec<String>,
    /// In the bucket, dead in the image: deleted after their grace.
    pub dead: Vec<ObjectId>,
    /// In the bucket, never committed: swept once the image shows that they never will be.
    pub orphans: Vec<ObjectId>,
    /// Below `data/`, by no release of ours.
    pub strangers: Vec<String>,
    /// Objects of WALs in the bucket, fences included, by WAL.
    pub wal_objects: BTreeMap<WalId, usize>,
    /// Those of them whose WAL is forgotten: fences and leftovers.
    pub forgotten_wal_objects: usize,
    /// Those that the sweep deletes: of forgotten WALs, or trimmed.
    pub wal_leftovers: usize,
    /// Rings that were given up.
    pub abandoned: Vec<Abandoned>,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The bucket can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its ledger can't.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Reads the ledger to its confirmed end.
pub type Newest<'a> = dyn Fn() -> BoxFuture<'a, Result<Arc<Image>, LedgerError>> + Sync + 'a;

/// Checks everything in the bucket against `image`, and asks for the `newest` where the bucket has not what that says.
///
/// # Errors
/// The store or the ledger can't be read; nothing is known then.
pub async fn fsck(store: &Arc<dyn ObjectStore>, image: &Image, newest: &Newest<'_>) -> Result<FsckReport, FsckError> {
    let mut report = FsckReport::default();
    for (stream, record) in &image.streams {
        check_coverage(&mut report, *stream, record);
    }
    let mut missing = Vec::new();
    for (object, references) in &references_by_object(image) {
        report.objects += 1;
        match check_object(store, &mut report, image, *object, references).await {
            Ok(()) => {}
            Err(StoreError::NotFound(_)) => missing.push(*object),
            Err(error) => return Err(error.into()),
        }
    }
    let unknown = list_data(store, &mut report, image).await?;
    if !missing.is_empty() || !unknown.is_empty() {
        judge(&mut report, newest().await?.as_ref(), &missing, unknown);
    }
    list_wals(store, &mut report, image).await?;
    for (_, marker) in quarantine::markers(store).await? {
        match marker {
            Ok(marker) => report.abandoned.push(marker),
            Err(why) => report.problems.push(why),
        }
    }
    Ok(report)
}

/// The same as of the newest image of a ledger that is open.
///
/// # Errors
/// As [`fsck`].
pub async fn fsck_of(store: &Arc<dyn ObjectStore>, ledger: &Ledger) -> Result<FsckReport, FsckError> {
    let newest = || -> BoxFuture<'_, _> { Box::pin(ledger.refresh()) };
    let image = newest().await?;
    fsck(store, &image, &newest).await
}

/// References are contiguous from the start to the stream's committed end, and nothing lies between objects and WALs.
fn check_coverage(report: &mut FsckReport, stream: StreamId, record: &control_core::StreamRecord) {
    let mut next = record.start;
    let committed = record.committed();
    for reference in record.references.values().filter(|reference| reference.range.base < committed) {
        if reference.range.base > next {
            report.problems.push(format!("stream {stream}: no object has [{next}, {})", reference.range.base));
        }
        next = next.max(reference.range.next);
    }
    if next < committed {
        report.problems.push(format!("stream {stream}: no object has [{next}, {committed}), which is committed"));
    }
}

fn references_by_object(image: &Image) -> BTreeMap<ObjectId, Vec<(StreamId, Reference)>> {
    let mut by_object: BTreeMap<ObjectId, Vec<(StreamId, Reference)>> = BTreeMap::new();
    for (stream, record) in &image.streams {
        for reference in record.references.values() {
            by_object.entry(reference.object).or_default().push((*stream, *reference));
        }
        for reference in &record.producers {
            by_object.entry(reference.object).or_default();
        }
    }
    by_object
}

/// The object's sections are what the ledger says, and can be read.
async fn check_states(
    store: &Arc<dyn ObjectStore>,
    report: &mut FsckReport,
    image: &Image,
    object: ObjectId,
    states: &[StateEntry],
) -> Result<(), StoreError> {
    for (stream, record) in &image.streams {
        for reference in record.producers.iter().filter(|reference| reference.object == object) {
            let same = |it: &&StateEntry| {
                (it.stream, it.range, it.position, it.len, it.crc)
                    == (*stream, reference.range, reference.position, reference.len, reference.crc)
            };
            if !states.iter().any(|state| same(&state)) {
                report.problems.push(format!("object {object} lacks the producer state of stream {stream}"));
            }
        }
    }
    for state in states {
        let range = GetRange::Span { start: state.position, end: state.position + u64::from(state.len) };
        let (bytes, _) = store.get(&data_key(object), range).await?;
        let read = state.verify(&bytes).map_err(|error| error.to_string());
        if let Err(why) = read.and_then(|()| decode_section(&bytes).map_err(|error| error.to_string())) {
            report.problems.push(format!("object {object}, state of stream {}: {why}", state.stream));
        }
    }
    Ok(())
}

/// *Not found* where the object is gone, be it in the middle.
async fn check_object(
    store: &Arc<dyn ObjectStore>,
    report: &mut FsckReport,
    image: &Image,
    object: ObjectId,
    references: &[(StreamId, Reference)],
) -> Result<(), StoreError> {
    let (index, states) = match read_index(store, object).await? {
        Ok((index, size)) => {
            let expected = image.objects.get(&object).map(|record| record.size);
            if expected != Some(size) {
                report.problems.push(format!("object {object} has {size} bytes, the ledger says {expected:?}"));
            }
            (index.blocks, index.states)
        }
        Err(why) => {
            report.problems.push(format!("object {object}: {why}"));
            return Ok(());
        }
    };
    // One without bytes says that there are no batches, so that the object has none.
    for (stream, reference) in references.iter().filter(|(_, reference)| reference.bytes > 0) {
        let blocks = blocks_of(&index, *stream);
        if let Some(hole) = hole_in(&blocks, reference.range) {
            report
                .problems
                .push(format!("object {object} lacks {hole} of stream {stream}, which it is referenced for"));
        }
    }
    check_states(store, report, image, object, &states).await?;
    for block in &index {
        let range = GetRange::Span { start: block.position, end: block.position + u64::from(block.len) };
        let (bytes, _) = store.get(&data_key(object), range).await?;
        report.blocks += 1;
        report.bytes += bytes.len() as u64;
        if let Some(why) = problem_of(block, &bytes) {
            report.problems.push(format!("object {object}, block at byte {}: {why}", block.position));
        }
    }
    Ok(())
}

fn problem_of(block: &BlockEntry, bytes: &Bytes) -> Option<String> {
    if let Err(error) = block.verify(bytes) {
        return Some(error.to_string());
    }
    let mut next = block.range.base;
    for batch in walk::walk(bytes) {
        match batch {
            Ok(batch) if batch.range.base >= next => next = batch.range.next,
            Ok(batch) => return Some(format!("batch {} comes after offset {next}", batch.range)),
            Err(error) => return Some(error.to_string()),
        }
    }
    (next > block.range.next).then(|| format!("it ends at {next}, its index says {}", block.range))
}

/// The first part of `range` that no block covers.
fn hole_in(blocks: &[BlockEntry], range: OffsetRange) -> Option<OffsetRange> {
    let mut next = range.base;
    for block in blocks.iter().filter(|block| block.range.next > range.base) {
        if block.range.base > next {
            break;
        }
        next = next.max(block.range.next);
    }
    (next < range.next).then(|| OffsetRange::new(next.max(Offset(range.base.0)), range.next))
}

/// Objects that the image does not reference.
async fn list_data(
    store: &Arc<dyn ObjectStore>,
    report: &mut FsckReport,
    image: &Image,
) -> Result<Vec<ObjectId>, StoreError> {
    let mut unknown = Vec::new();
    let mut pages = Pages::new(store.as_ref(), DATA_PREFIX, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        for meta in &page {
            match object_of_key(&meta.key) {
                None => report.strangers.push(meta.key.clone()),
                Some(object) if image.objects.contains_key(&object) => {}
                Some(object) => unknown.push(object),
            }
        }
    }
    Ok(unknown)
}

/// By an image that is newer than all that was looked at: what is missing is lost where it is referenced even now, since what is dead is
/// never referenced again (rule R-2); what was not known may have been committed, or have died, since.
fn judge(report: &mut FsckReport, newest: &Image, missing: &[ObjectId], unknown: Vec<ObjectId>) {
    for object in missing {
        if newest.objects.contains_key(object) {
            report.problems.push(format!("object {object} is referenced and not in the bucket"));
        } else {
            report.replaced += 1;
        }
    }
    for object in unknown.into_iter().filter(|object| !newest.objects.contains_key(object)) {
        if newest.dead_objects.contains_key(&object) { report.dead.push(object) } else { report.orphans.push(object) }
    }
}

async fn list_wals(store: &Arc<dyn ObjectStore>, report: &mut FsckReport, image: &Image) -> Result<(), StoreError> {
    let mut pages = Pages::new(store.as_ref(), WAL_PREFIX, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        for meta in &page {
            match wal_of_key(&meta.key) {
                Some(wal) => {
                    *report.wal_objects.entry(wal).or_default() += 1;
                    report.forgotten_wal_objects += usize::from(!image.wals.contains_key(&wal));
                    report.wal_leftovers += usize::from(is_wal_leftover(image, meta));
                }
                None => report.strangers.push(meta.key.clone()),
            }
        }
    }
    Ok(())
}
