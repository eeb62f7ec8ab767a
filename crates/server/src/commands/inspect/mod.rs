//! `millstream inspect`: what a data object, a write-ahead log or the ledger holds, for people and, with `--json`, for scripts.
//! One thing a line.

mod ledger;
mod line;

use super::{CommandError, outside};
use crate::args::{Inspect, StorageArgs};
use base::{NodeEpoch, ObjectId, WalId, WalIndex};
use line::{Line, Teller};
use std::path::Path;
use std::sync::Arc;
use stream::wal::{GroupDescription, inspect_object_wal, inspect_ring};
use stream::{data_key, object_of_key, read_index};
use world::{ObjectStore, StoreError, World};

/// Prints it.
///
/// # Errors
/// It is not there, can't be read, or (for the ledger) contradicts itself.
pub fn run(what: Inspect) -> Result<(), CommandError> {
    outside::runtime()?.block_on(async {
        match what {
            Inspect::Object { key, storage } => object(storage.teller(), &key, &storage).await,
            Inspect::Wal { wal, storage } => match wal_id(&wal) {
                Some(id) => object_wal(storage.teller(), id, &storage).await,
                None => ring(storage.teller(), Path::new(&wal)).await,
            },
            Inspect::Ledger { storage } => ledger::ledger(storage.teller(), &storage).await,
        }
    })
}

impl StorageArgs {
    fn teller(&self) -> Teller {
        Teller { as_json: self.json }
    }
}

async fn open(storage: &StorageArgs) -> Result<Arc<dyn ObjectStore>, CommandError> {
    outside::existing_object_store(&World::system(), &storage.target()?).await
}

async fn object(teller: Teller, name: &str, storage: &StorageArgs) -> Result<(), CommandError> {
    let id = object_of_key(name).or_else(|| object_id(name));
    let id = id.ok_or_else(|| CommandError::wrong(format!("{name}: write EPOCH-COUNTER or the key, data/…")))?;
    let key = data_key(id);
    let index = read_index(&open(storage).await?, id).await;
    let index = index.map_err(|error| match error {
        StoreError::NotFound(_) => CommandError::failed(format!(
            "{key}: no such object; `millstream inspect ledger | grep ^object` shows what there is"
        )),
        error => CommandError::failed(error.to_string()),
    })?;
    let (index, size) = index.map_err(|problem| CommandError::failed(format!("{key}: {problem}")))?;
    let line = Line::of("object").bare("object", id.to_string()).with("key", key).with("bytes", size);
    teller.tell(&line.with("blocks", index.blocks.len()).with("states", index.states.len()))?;
    let of = [("object", id.to_string().into())];
    for state in index.states {
        let line = Line::within(0, "state", &of).with("stream", state.stream.0).with("epoch", state.stream_epoch.0);
        teller.tell(&line.offsets(state.range).with("position", state.position).with("bytes", state.len))?;
    }
    for block in index.blocks {
        let line = Line::within(0, "block", &of).with("stream", block.stream.0).with("epoch", block.stream_epoch.0);
        let line = line.offsets(block.range).with("records", block.records).with("position", block.position);
        let line = line.with("bytes", block.len).with("max_timestamp", block.max_timestamp.0);
        teller.tell(&line.flag("control", block.control))?;
    }
    Ok(())
}

async fn ring(teller: Teller, dir: &Path) -> Result<(), CommandError> {
    let world = World::system();
    let ring = inspect_ring(world.disk.as_ref(), dir).await.map_err(|error| CommandError::failed(error.to_string()))?;
    let line = Line::of("ring");
    teller.tell(&match ring.header {
        Some(header) => line
            .with("id", format!("{:032x}", header.ring_id))
            .with("cluster", format!("{:032x}", header.cluster_id))
            .with("bytes", header.data_bytes)
            .with("start", header.wal.to_string())
            .with("from", header.start.0),
        None => line.bare("state", "not finished"),
    })?;
    ring.groups.iter().try_for_each(|described| group(teller, described))
}

async fn object_wal(teller: Teller, id: WalId, storage: &StorageArgs) -> Result<(), CommandError> {
    let store = open(storage).await?;
    let groups = inspect_object_wal(&store, id).await.map_err(|error| CommandError::failed(error.to_string()))?;
    if groups.is_empty() {
        return Err(CommandError::failed(format!(
            "the bucket holds no write-ahead log {id}; `millstream inspect ledger | grep ^wal` shows where each is"
        )));
    }
    for (number, described) in groups {
        match described {
            Ok(described) => group(teller, &described)?,
            Err(problem) => teller.tell(&Line::of("object").bare("number", number).bare("problem", problem))?,
        }
    }
    Ok(())
}

fn group(teller: Teller, group: &GroupDescription) -> Result<(), CommandError> {
    let place = group.place;
    let line = Line::of("group").with("wal", place.wal.to_string()).with("position", place.position.0);
    let line = line.with("kind", format!("{:?}", group.kind)).with("bytes", group.total_len);
    let line = line.with("entries", group.entries.len()).with("durable", place.durable.0);
    teller.tell(&line.flag("damaged", !group.payload_whole))?;
    let of = [("wal", place.wal.to_string().into()), ("group_position", place.position.0.into())];
    for entry in &group.entries {
        let line = Line::within(1, "entry", &of).with("stream", entry.stream.0).with("epoch", entry.stream_epoch.0);
        let line = line.offsets(entry.range).with("records", entry.records);
        teller.tell(&line.with("bytes", entry.payload_len))?;
    }
    Ok(())
}

/// `3-17`
fn object_id(text: &str) -> Option<ObjectId> {
    let (epoch, counter) = text.split_once('-')?;
    Some(ObjectId { node_epoch: NodeEpoch(epoch.parse().ok()?), counter: counter.parse().ok()? })
}

/// `3/0`
pub(super) fn wal_id(text: &str) -> Option<WalId> {
    let (epoch, index) = text.split_once('/')?;
    Some(WalId { node_epoch: NodeEpoch(epoch.parse().ok()?), index: WalIndex(index.parse().ok()?) })
}
