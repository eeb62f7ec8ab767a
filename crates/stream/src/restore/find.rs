//! What lies in the bucket, and in rings that are named: every data object's own index, every group of a write-ahead log.
//!
//! Reads only. Of objects only the ends are read; of logs in the bucket all, as their tails are in nothing else.

use super::cover::{Part, parts_of};
use crate::keys::{DATA_PREFIX, WAL_PREFIX, data_key, object_of_key, wal_of_key};
use crate::object_index::read_tail_by;
use crate::wal::{self, FoundRing, GroupDescription, WalOpenError, WalSpan, inspect_object_wal, inspect_ring};
use base::{NodeEpoch, ObjectId, OffsetRange, StreamId, WalId, WalPosition};
use futures::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stream_core::DirectoryEntry;
use stream_core::abandoned::Abandoned;
use stream_core::object::{BlockEntry, MERGED, StateEntry};
use stream_core::wal_group::GroupKind;
use world::{Disk, ObjectStore, Pages, StoreError};

/// Keys asked for by one list.
const PAGE_KEYS: usize = 1000;
/// Indexes read at once.
const READS_MAX: usize = 16;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) objects: BTreeMap<ObjectId, FoundObject>,
    /// Data objects that can't be read, and why.
    pub(super) unreadable: Vec<(ObjectId, String)>,
    /// Below `data/` and `wal/`, by no release of ours.
    pub(super) strangers: usize,
    /// Logs that hold anything.
    pub(super) logs: Vec<FoundLog>,
    /// Starts that left anything, be it a fence.
    pub(super) starts: BTreeSet<NodeEpoch>,
    /// Rings that were given up.
    pub(super) given_up: Vec<Abandoned>,
}

impl Found {
    /// The marker of that ring, if it was given up.
    pub(super) fn marker_of(&self, ring_id: u128) -> Option<&Abandoned> {
        self.given_up.iter().find(|marker| marker.ring_id == ring_id)
    }

    /// Offsets by stream that only rings had which were given up, or may have had.
    pub(super) fn given_up_by_stream(&self) -> BTreeMap<StreamId, Vec<OffsetRange>> {
        let mut by_stream: BTreeMap<StreamId, Vec<OffsetRange>> = BTreeMap::new();
        for part in self.given_up.iter().flat_map(|ring| &ring.lost) {
            by_stream.entry(part.stream).or_default().push(part.range);
        }
        by_stream
    }
}

#[derive(Debug)]
pub(super) struct FoundObject {
    pub(super) size: u64,
    pub(super) data_bytes: u64,
    pub(super) parts: Vec<(StreamId, Part)>,
    pub(super) states: Vec<StateEntry>,
}

/// A log's groups that its writer may have acknowledged.
#[derive(Debug, Clone)]
pub(super) struct FoundLog {
    pub(super) wal: WalId,
    pub(super) place: LogPlace,
    pub(super) entries: Vec<(DirectoryEntry, WalSpan)>,
    /// What is wrong with groups of it.
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum LogPlace {
    /// In the bucket; whether it has a fence.
    Bucket {
        fenced: bool,
        first: WalPosition,
    },
    Ring(Box<FoundRing>),
}

impl FoundObject {
    pub(super) fn new(id: ObjectId, size: u64, merged: bool, blocks: &[BlockEntry], states: Vec<StateEntry>) -> Self {
        let data_bytes = blocks.iter().map(|block| u64::from(block.len)).sum();
        FoundObject { size, data_bytes, parts: parts_of(id, merged, blocks), states }
    }
}

pub(super) async fn find_objects(store: &Arc<dyn ObjectStore>, found: &mut Found) -> Result<(), StoreError> {
    let mut pages = Pages::new(store.as_ref(), DATA_PREFIX, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        let ids: Vec<ObjectId> = page.iter().filter_map(|meta| object_of_key(&meta.key)).collect();
        found.strangers += page.len() - ids.len();
        found.starts.extend(ids.iter().map(|id| id.node_epoch));
        let mut reads = stream::iter(ids).map(|id| async move { (id, read(store, id).await) }).buffered(READS_MAX);
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(Ok(object)) => drop(found.objects.insert(id, object)),
                Ok(Err(why)) => found.unreadable.push((id, why)),
                // Deleted since it was listed.
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn read(store: &Arc<dyn ObjectStore>, id: ObjectId) -> Result<Result<FoundObject, String>, StoreError> {
    let key = data_key(id);
    let read = read_tail_by(id, |range| store.get(&key, range)).await?;
    Ok(read.map(|(footer, index, size)| FoundObject::new(id, size, footer.wal == MERGED, &index.blocks, index.states)))
}

/// The starts that logs in the bucket are of, by their keys.
pub(super) async fn starts_of_logs(store: &Arc<dyn ObjectStore>) -> Result<BTreeSet<NodeEpoch>, StoreError> {
    let mut starts = BTreeSet::new();
    let mut pages = Pages::new(store.as_ref(), WAL_PREFIX, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        starts.extend(page.iter().filter_map(|meta| wal_of_key(&meta.key)).map(|wal| wal.node_epoch));
    }
    Ok(starts)
}

/// The logs in the bucket.
pub(super) async fn find_logs(store: &Arc<dyn ObjectStore>, found: &mut Found) -> Result<(), StoreError> {
    let mut wals: BTreeMap<WalId, bool> = BTreeMap::new();
    let mut pages = Pages::new(store.as_ref(), WAL_PREFIX, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        for meta in &page {
            match wal_of_key(&meta.key) {
                Some(wal) => *wals.entry(wal).or_default() |= !wal::is_fence(meta),
                None => found.strangers += 1,
            }
        }
    }
    found.starts.extend(wals.keys().map(|wal| wal.node_epoch));
    for (wal, _) in wals.into_iter().filter(|(_, holds)| *holds) {
        let groups = inspect_object_wal(store, wal).await?;
        found.logs.push(log_in_bucket(wal, groups));
    }
    Ok(())
}

/// A number that is missing, or a fence, ends the log, unless a later group says that it was durable: then it was trimmed, or the bucket
/// has lost it.
fn log_in_bucket(wal: WalId, groups: Vec<(u64, Result<GroupDescription, String>)>) -> FoundLog {
    let mut problems = Vec::new();
    let mut fences = BTreeSet::new();
    let mut whole: Vec<(u64, GroupDescription)> = Vec::new();
    for (number, group) in groups {
        match group {
            Ok(group) if group.kind == GroupKind::Fence => {
                fences.insert(number);
            }
            Ok(group) if group.payload_whole => whole.push((number, group)),
            Ok(_) => problems.push(format!("group {number}: its records are damaged")),
            Err(why) => problems.push(format!("group {number}: {why}")),
        }
    }
    let durable = whole.iter().map(|(_, group)| group.place.durable).max().unwrap_or_default();
    let mut next = whole.first().map_or(0, |(number, _)| *number);
    let mut first = next;
    let mut entries = Vec::new();
    for (number, group) in &whole {
        if *number != next {
            if durable <= wal::object_position(next) {
                break;
            }
            first = *number;
        }
        next = number + 1;
        entries.extend(spans(group));
    }
    let place = LogPlace::Bucket { fenced: fences.contains(&next), first: wal::object_position(first) };
    FoundLog { wal, place, entries, problems }
}

/// The logs in a ring, of all starts that wrote to it: what of them counts is told by what the objects hold.
pub(super) async fn find_ring(disk: &dyn Disk, ring: &FoundRing, found: &mut Found) -> Result<(), WalOpenError> {
    let described = inspect_ring(disk, &ring.path).await?;
    found.starts.insert(ring.header.wal.node_epoch);
    let mut logs: BTreeMap<WalId, FoundLog> = BTreeMap::new();
    for group in described.groups.iter().filter(|group| group.kind == GroupKind::Data) {
        let wal = group.place.wal;
        found.starts.insert(wal.node_epoch);
        let place = LogPlace::Ring(Box::new(ring.clone()));
        let log = logs.entry(wal).or_insert_with(|| FoundLog { wal, place, entries: Vec::new(), problems: Vec::new() });
        if group.payload_whole {
            log.entries.extend(spans(group));
        }
    }
    found.logs.extend(logs.into_values());
    Ok(())
}

fn spans(group: &GroupDescription) -> impl Iterator<Item = (DirectoryEntry, WalSpan)> + '_ {
    let position = group.place.position.0;
    group.entries.iter().map(move |entry| {
        let at = WalPosition(position + u64::from(entry.payload_position));
        (*entry, WalSpan { position: at, len: entry.payload_len, crc: entry.payload_crc })
    })
}
