//! Deletes from the bucket what nothing refers to any more.
//!
//! - *Dead objects*, whose last reference went: after a grace that spares readers a new plan (safety never rests on it, rule R-3).
//! - *Orphans*, which were uploaded and never committed: found by listing; deleted only where the image shows for ever that they never
//!   will be (rule O-1): their writer is dead, or has promised by its `min_counter`.
//! - *Leftovers of WALs* that the ledger has forgotten, or below what it shows as trimmed: late copies of puts. Fences stay for ever.
//!
//! And lets the state of idle streams' producers leave this broker's memory.
//!
//! Any living broker may do all of this, several at once as well: deletion is idempotent.

use crate::keys::{DATA_PREFIX, WAL_PREFIX, data_key, object_of_key, wal_of_key};
use crate::producers;
use crate::shared::Shared;
use crate::wal;
use base::{Micros, ObjectId, WalId};
use control::LedgerError;
use control_core::{Command, Image, Outcome};
use std::collections::BTreeMap;
use std::sync::Arc;
use world::{ObjectMeta, Pages};

/// Keys asked for by one list, and deleted by one call.
const PAGE_KEYS: usize = 500;

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
        let period = u64::try_from(shared.options.housekeeping_period.as_micros()).unwrap_or(u64::MAX);
        producers::tidy(&shared, Micros(now.0.saturating_sub(period)));
        let mut done = delete_dead(&shared, &mut first_seen).await;
        if done.is_ok() && now.since(swept) >= shared.options.sweep_period {
            swept = now;
            done = match sweep_orphans(&shared).await {
                Ok(()) => sweep_wals(&shared).await,
                failed => failed,
            };
        }
        if let Err(error) = done {
            tracing::warn!(%error, "housekeeping will try again");
        }
    }
}

/// Deletes the objects that have been dead for the grace, by this process's own clock.
async fn delete_dead(shared: &Shared, first_seen: &mut BTreeMap<ObjectId, Micros>) -> Result<(), LedgerError> {
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
        shared.objects.sweep.delete(&keys).await?;
        let deleted = Command::ObjectsDeleted { objects: objects.to_vec() };
        if let Outcome::Refused(refusal) = shared.ledger.submit(deleted).await? {
            tracing::error!(%refusal, ?objects, "the ledger refuses the deletion of dead objects, which has happened; this is a bug");
        }
    }
    Ok(())
}

async fn sweep_orphans(shared: &Shared) -> Result<(), LedgerError> {
    let is_orphan =
        |image: &Image, meta: &ObjectMeta| object_of_key(&meta.key).is_some_and(|object| image.is_orphan(object));
    sweep(shared, DATA_PREFIX, "objects that were never committed", is_orphan).await
}

async fn sweep_wals(shared: &Shared) -> Result<(), LedgerError> {
    sweep(shared, WAL_PREFIX, "leftovers of write-ahead logs", is_wal_leftover).await
}

/// Whether this object is of a WAL that the ledger has forgotten, or below the trim point of a living start's (B-3), and no fence: those
/// stay (B5).
pub(crate) fn is_wal_leftover(image: &Image, meta: &ObjectMeta) -> bool {
    let is_needless = |wal: WalId| match image.wals.get(&wal) {
        Some(record) => image.is_alive(wal.node_epoch) && wal::object_ends_by(&meta.key, record.trim),
        None => image.is_dead(wal.node_epoch),
    };
    !wal::is_fence(meta) && wal_of_key(&meta.key).is_some_and(is_needless)
}

/// Deletes what a listing shows and nobody will ever need. That is a fact for ever, so the image may be of any age.
async fn sweep(
    shared: &Shared,
    prefix: &str,
    what: &str,
    is_needless: impl Fn(&Image, &ObjectMeta) -> bool,
) -> Result<(), LedgerError> {
    let mut pages = Pages::new(shared.objects.sweep.as_ref(), prefix, PAGE_KEYS);
    while let Some(page) = pages.next().await? {
        let image = shared.ledger.image();
        let needless = page.into_iter().filter(|meta| is_needless(&image, meta));
        let keys: Vec<String> = needless.map(|meta| meta.key).collect();
        if !keys.is_empty() {
            tracing::info!(objects = keys.len(), "deletes {what}");
            shared.objects.sweep.delete(&keys).await?;
        }
    }
    Ok(())
}
