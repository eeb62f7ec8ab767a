//! `millstream inspect`: what a data object, a write-ahead log or the ledger holds, for people and scripts. One thing a line.

use super::{CommandError, outside, say};
use crate::args::{Inspect, StorageArgs};
use base::{NodeEpoch, ObjectId, WalId, WalIndex};
use control_core::{Image, StreamRecord};
use std::path::Path;
use std::sync::Arc;
use stream::wal::{GroupDescription, inspect_object_wal, inspect_ring};
use stream::{data_key, object_of_key, read_index};
use world::{ObjectStore, World};

/// Prints it.
///
/// # Errors
/// It is not there, can't be read, or (for the ledger) contradicts itself.
pub fn run(what: Inspect) -> Result<(), CommandError> {
    outside::runtime()?.block_on(async {
        match what {
            Inspect::Object { key, storage } => object(&key, &storage).await,
            Inspect::Wal { wal, storage } => match wal_id(&wal) {
                Some(id) => object_wal(id, &storage).await,
                None => ring(Path::new(&wal)).await,
            },
            Inspect::Ledger { storage } => ledger(&storage).await,
        }
    })
}

async fn open(storage: &StorageArgs) -> Result<Arc<dyn ObjectStore>, CommandError> {
    outside::existing_object_store(&World::system(), &storage.target()?).await
}

async fn object(name: &str, storage: &StorageArgs) -> Result<(), CommandError> {
    let id = object_of_key(name).or_else(|| object_id(name));
    let id =
        id.ok_or_else(|| CommandError { code: 2, line: format!("{name}: write EPOCH-COUNTER or the key, data/…") })?;
    let key = data_key(id);
    let index = read_index(&open(storage).await?, id).await;
    let index = index.map_err(|error| CommandError::failed(error.to_string()))?;
    let (index, size) = index.map_err(|problem| CommandError::failed(format!("{key}: {problem}")))?;
    let (blocks, states) = (index.blocks.len(), index.states.len());
    say(format!("object {id} key={key} bytes={size} blocks={blocks} states={states}"));
    for state in index.states {
        say(format!(
            "state stream={} epoch={} offsets={}..{} position={} bytes={}",
            state.stream, state.stream_epoch, state.range.base, state.range.next, state.position, state.len
        ));
    }
    for block in index.blocks {
        say(format!(
            "block stream={} epoch={} offsets={}..{} records={} position={} bytes={} max_timestamp={}{}",
            block.stream,
            block.stream_epoch,
            block.range.base,
            block.range.next,
            block.records,
            block.position,
            block.len,
            block.max_timestamp.0,
            if block.control { " control" } else { "" }
        ));
    }
    Ok(())
}

async fn ring(dir: &Path) -> Result<(), CommandError> {
    let world = World::system();
    let ring = inspect_ring(world.disk.as_ref(), dir).await.map_err(|error| CommandError::failed(error.to_string()))?;
    match ring.header {
        Some(header) => say(format!(
            "ring id={:032x} cluster={:032x} bytes={} start={} from={}",
            header.ring_id, header.cluster_id, header.data_bytes, header.wal, header.start
        )),
        None => say("ring not finished"),
    }
    ring.groups.iter().for_each(group);
    Ok(())
}

async fn object_wal(id: WalId, storage: &StorageArgs) -> Result<(), CommandError> {
    let store = open(storage).await?;
    let groups = inspect_object_wal(&store, id).await.map_err(|error| CommandError::failed(error.to_string()))?;
    if groups.is_empty() {
        return Err(CommandError::failed(format!("the bucket holds no write-ahead log {id}")));
    }
    for (number, described) in groups {
        match described {
            Ok(described) => group(&described),
            Err(problem) => say(format!("object {number} {problem}")),
        }
    }
    Ok(())
}

fn group(group: &GroupDescription) {
    let whole = if group.payload_whole { "" } else { " DAMAGED" };
    say(format!(
        "group wal={} position={} kind={:?} bytes={} entries={} durable={}{whole}",
        group.place.wal,
        group.place.position,
        group.kind,
        group.total_len,
        group.entries.len(),
        group.place.durable
    ));
    for entry in &group.entries {
        say(format!(
            "  entry stream={} epoch={} offsets={}..{} records={} bytes={}",
            entry.stream, entry.stream_epoch, entry.range.base, entry.range.next, entry.records, entry.payload_len
        ));
    }
}

async fn ledger(storage: &StorageArgs) -> Result<(), CommandError> {
    let store = open(storage).await?;
    let dump = control::read_all(store.as_ref()).await.map_err(|error| CommandError::failed(error.to_string()))?;
    if let Some(format) = dump.format {
        say(format!("format layout={} reader={} cluster={:032x}", format.layout, format.reader, format.cluster_id));
    }
    for snapshot in &dump.snapshots {
        say(format!("snapshot {snapshot}"));
    }
    for entry in &dump.entries {
        say(format!("entry {} epoch={} commands={}", entry.seq, entry.epoch, entry.commands.len()));
        for (id, command) in &entry.commands {
            say(format!("  command {}/{} {command:?}", id.requester, id.counter));
        }
    }
    image(&dump.image);
    for problem in &dump.problems {
        say(format!("PROBLEM: {problem}"));
    }
    match dump.problems.len() {
        0 => Ok(()),
        count => Err(CommandError::failed(format!("{count} problems"))),
    }
}

fn image(image: &Image) {
    say(format!("image entry={} leader={} term={}", image.seq, image.leader.node_id, image.leader.epoch));
    for (epoch, node) in &image.nodes {
        say(format!("broker {} start={epoch} {:?} advertised={}", node.node_id, node.state, node.advertised));
    }
    for (id, wal) in &image.wals {
        say(format!("wal {id} start={} trim={} {:?} url={}", wal.start, wal.trim, wal.state, wal.url));
    }
    for topic in image.topics.values() {
        say(format!("topic {} id={:032x} configs={:?}", topic.name, topic.id.0, topic.configs));
        for (partition, id) in topic.partitions.iter().enumerate() {
            if let Some(record) = image.streams.get(id) {
                stream(partition, id.0, record);
            }
        }
    }
    for (id, record) in &image.objects {
        say(format!(
            "object {id} bytes={} data_bytes={} references={}",
            record.size, record.data_bytes, record.references
        ));
    }
    for (id, seq) in &image.dead_objects {
        say(format!("dead object {id} since entry {seq}"));
    }
}

fn stream(partition: usize, id: u64, record: &StreamRecord) {
    let committed = record.committed();
    say(format!(
        "  partition {partition} stream={id} epoch={} start={} committed={committed}",
        record.epoch, record.start
    ));
    for tenure in &record.tenures {
        let end = tenure.end.map_or("open".to_owned(), |end| end.to_string());
        say(format!("    tenure epoch={} wal={} start={} end={end}", tenure.stream_epoch, tenure.wal, tenure.start));
    }
    for reference in record.references.values() {
        let (range, object) = (reference.range, reference.object);
        say(format!(
            "    reference object={object} offsets={}..{} records={} bytes={}",
            range.base, range.next, reference.records, reference.bytes
        ));
    }
}

/// `3-17`
fn object_id(text: &str) -> Option<ObjectId> {
    let (epoch, counter) = text.split_once('-')?;
    Some(ObjectId { node_epoch: NodeEpoch(epoch.parse().ok()?), counter: counter.parse().ok()? })
}

/// `3/0`
fn wal_id(text: &str) -> Option<WalId> {
    let (epoch, index) = text.split_once('/')?;
    Some(WalId { node_epoch: NodeEpoch(epoch.parse().ok()?), index: WalIndex(index.parse().ok()?) })
}
