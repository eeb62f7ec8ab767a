//! Deletes from the bucket what nothing refers to any more.
//!
//! - *Dead objects*, whose last reference went: after a grace that spares readers a new plan (safety never rests on it, rule R-3).
//! - *Orphans*, which were uploaded and never committed: found by listing; deleted only where the image shows for ever that they never
//!   will be (rule O-1): their writer is dead, or has promised by its `min_counter`.
//! - *Leftovers of dead WALs* that the ledger has forgotten: late copies of puts. Fences stay for ever.
//!
//! Any living broker may do all of this, several at once as well: deletion is idempotent.

use crate::keys::{DATA_PREFIX, data_key, object_of_key};
use crate::shared::Shared;
use base::{Micros, NodeEpoch, ObjectId, WalId, WalIndex};
use control_core::{Command, Image};
use std::collections::BTreeMap;
use std::sync::Arc;
use stream_core::wal_group::HEADER_BYTES;
use world::{ObjectMeta, StoreError};

/// Keys asked for by one list, and deleted by one call.
const PAGE_KEYS: usize = 500;

/// Objects of WALs are below it, by node epoch.
const WAL_PREFIX: &str = "wal/";

/// Runs until this start ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut first_seen: BTreeMap<ObjectId, Micros> = BTreeMap::new();
    let mut swept = shared.world.clock.now();
    loop {
        tokio::select! {
            biased;
            _ = shared.until_stopped() => return,
            () = shared.world.clock.sleep(shared.options.housekeeping_period) => {}
        }
        let now = shared.world.clock.now();
        let mut done = delete_dead(&shared, &mut first_seen).await;
        if done.is_ok() && now.since(swept) >= shared.options.sweep_period {
            swept = now;
            done = match sweep_orphans(&shared).await {
                Ok(()) => sweep_wals(&shared).await,
                failed => failed,
            };
        }
        if let Err(error) = done {
            tracing::warn!(error, "housekeeping will try again");
        }
    }
}

/// Deletes the objects that have been dead for the grace, by this process's own clock.
async fn delete_dead(shared: &Shared, first_seen: &mut BTreeMap<ObjectId, Micros>) -> Result<(), String> {
    let image = shared.ledger.image();
    let now = shared.world.clock.now();
    first_seen.retain(|object, _| image.dead_objects.contains_key(object));
    for object in image.dead_objects.keys() {
        first_seen.entry(*object).or_insert(now);
    }
    let grace = shared.options.dead_object_grace;
    // An undecided one stays in the ledger's list, where it keeps its own late commit out.
    let due = |(object, seen): (&ObjectId, &Micros)| {
        (now.since(*seen) >= grace && image.is_decided(*object)).then_some(*object)
    };
    let due: Vec<ObjectId> = first_seen.iter().filter_map(due).collect();
    for objects in due.chunks(PAGE_KEYS) {
        let keys: Vec<String> = objects.iter().map(|object| data_key(*object)).collect();
        shared.objects.delete(&keys).await.map_err(|error| error.to_string())?;
        let deleted = Command::ObjectsDeleted { objects: objects.to_vec() };
        shared.ledger.submit(deleted).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Deletes what is listed and, by an image that is at least as new as the listing's begin, will never be referenced.
async fn sweep_orphans(shared: &Shared) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let page = list(shared, DATA_PREFIX, &after).await?;
        let image = shared.ledger.image();
        let orphans: Vec<String> = page
            .iter()
            .filter(|meta| object_of_key(&meta.key).is_some_and(|object| image.is_orphan(object)))
            .map(|meta| meta.key.clone())
            .collect();
        if !orphans.is_empty() {
            tracing::info!(objects = orphans.len(), "deletes objects that were never committed");
            shared.objects.delete(&orphans).await.map_err(|error| error.to_string())?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE_KEYS => after.clone_from(&last.key),
            _ => return Ok(()),
        }
    }
}

/// Deletes what turns up again of object WALs that the ledger has forgotten. Fences, which are shorter than any group, stay.
async fn sweep_wals(shared: &Shared) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let page = list(shared, WAL_PREFIX, &after).await?;
        let image = shared.ledger.image();
        let left_over = |meta: &&ObjectMeta| {
            meta.size != HEADER_BYTES as u64 && wal_of_key(&meta.key).is_some_and(|wal| is_forgotten(&image, wal))
        };
        let keys: Vec<String> = page.iter().filter(left_over).map(|meta| meta.key.clone()).collect();
        if !keys.is_empty() {
            tracing::info!(objects = keys.len(), "deletes leftovers of dead write-ahead logs");
            shared.objects.delete(&keys).await.map_err(|error| error.to_string())?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE_KEYS => after.clone_from(&last.key),
            _ => return Ok(()),
        }
    }
}

/// Deletes a WAL's objects but for fences.
pub(crate) async fn delete_wal_objects(shared: &Shared, wal: WalId) -> Result<(), String> {
    let prefix = format!("{WAL_PREFIX}{:020}/{}/", wal.node_epoch.0, wal.index.0);
    let mut after = String::new();
    loop {
        let page = list(shared, &prefix, &after).await?;
        let is_group = |meta: &&ObjectMeta| meta.size != HEADER_BYTES as u64;
        let keys: Vec<String> = page.iter().filter(is_group).map(|meta| meta.key.clone()).collect();
        if !keys.is_empty() {
            shared.objects.delete(&keys).await.map_err(|error| error.to_string())?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE_KEYS => after.clone_from(&last.key),
            _ => return Ok(()),
        }
    }
}

fn is_forgotten(image: &Image, wal: WalId) -> bool {
    image.is_dead(wal.node_epoch) && !image.wals.contains_key(&wal)
}

async fn list(shared: &Shared, prefix: &str, after: &str) -> Result<Vec<ObjectMeta>, String> {
    shared.objects.list(prefix, after, PAGE_KEYS).await.map_err(|error: StoreError| error.to_string())
}

pub(crate) fn wal_of_key(key: &str) -> Option<WalId> {
    let mut parts = key.strip_prefix(WAL_PREFIX)?.split('/');
    let node_epoch = NodeEpoch(parts.next()?.parse().ok()?);
    let index = WalIndex(parts.next()?.parse().ok()?);
    Some(WalId { node_epoch, index })
}
