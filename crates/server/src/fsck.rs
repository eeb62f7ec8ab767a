//! Whether a bucket holds everything that the ledger speaks of: the check behind `millstream fsck`, and an oracle of the simulator.
//!
//! It reads only, and knows nothing but the bucket: ledger, data objects, and the logs that lie there. What a local log holds is
//! not seen; the report names the logs that a start must still recover. While brokers run, objects come and go under its hands, so
//! an object that has vanished is looked for in a second reading of the ledger before it counts as lost.

use base::{ObjectId, StreamId};
use bytes::Bytes;
use control::Dump;
use control_core::{Image, NodeState, Reference, WalState};
use std::collections::BTreeMap;
use stream::{data_key, object_of_key};
use stream_core::object::{BlockEntry, FOOTER_BYTES, ObjectTail, TAIL_BYTES, decode_index, decode_tail};
use world::{GetRange, ObjectStore, StoreError};

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// What must not be, one sentence each. Empty: the bucket is sound.
    pub problems: Vec<String>,
    /// What is worth knowing, one sentence each.
    pub notes: Vec<String>,
}

/// Names listed by one call.
const LIST_KEYS_MAX: usize = 1000;

/// Checks the bucket; `deep` also reads every block and verifies its checksum.
///
/// # Errors
/// The bucket can't be read, or needs a newer program.
pub async fn check(store: &dyn ObjectStore, deep: bool) -> Result<Report, String> {
    let dump = read_ledger(store).await?;
    let mut report = Report { problems: dump.problems, notes: Vec::new() };
    if dump.format.is_none() && dump.image.seq.0 == 0 {
        report.notes.push("there is no cluster here yet".to_owned());
        return Ok(report);
    }
    let there = data_objects(store, &mut report).await.map_err(|error| error.to_string())?;
    check_references(store, &dump.image, deep, &mut report).await?;
    note_unreferenced(&dump.image, &there, &mut report);
    note_logs(&dump.image, &mut report);
    report.notes.push(format!(
        "{} topics, {} partitions, {} data objects, ledger entry {}",
        dump.image.topics.len(),
        dump.image.streams.len(),
        dump.image.objects.len(),
        dump.image.seq
    ));
    Ok(report)
}

async fn read_ledger(store: &dyn ObjectStore) -> Result<Dump, String> {
    control::read_all(store).await.map_err(|error| error.to_string())
}

/// Every data object in the bucket, with its size.
async fn data_objects(store: &dyn ObjectStore, report: &mut Report) -> Result<BTreeMap<ObjectId, u64>, StoreError> {
    let mut found = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = store.list("data/", &after, LIST_KEYS_MAX).await?;
        let full = page.len() == LIST_KEYS_MAX;
        for object in page {
            match object_of_key(&object.key) {
                Some(id) => drop(found.insert(id, object.size)),
                None => report.notes.push(format!("{} is not a name that a broker writes", object.key)),
            }
            after = object.key;
        }
        if !full {
            return Ok(found);
        }
    }
}

/// Every reference's object must be there, whole, and cover what the reference says.
async fn check_references(
    store: &dyn ObjectStore,
    image: &Image,
    deep: bool,
    report: &mut Report,
) -> Result<(), String> {
    let mut by_object: BTreeMap<ObjectId, Vec<(StreamId, Reference)>> = BTreeMap::new();
    for (stream, record) in &image.streams {
        for reference in record.references.values() {
            by_object.entry(reference.object).or_default().push((*stream, *reference));
        }
    }
    for (object, references) in by_object {
        let size = image.objects.get(&object).map_or(0, |record| record.size);
        match check_object(store, object, size, &references, deep).await {
            Ok(problems) => report.problems.extend(problems),
            Err(StoreError::NotFound(key)) => {
                // It may have died since the ledger was read.
                if read_ledger(store).await?.image.objects.contains_key(&object) {
                    report.problems.push(format!("{key} is lost: {} ranges of streams refer to it", references.len()));
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

async fn check_object(
    store: &dyn ObjectStore,
    object: ObjectId,
    size: u64,
    references: &[(StreamId, Reference)],
    deep: bool,
) -> Result<Vec<String>, StoreError> {
    let key = data_key(object);
    let (blocks, real_size) = match read_index(store, &key).await? {
        Ok(index) => index,
        Err(problem) => return Ok(vec![format!("{key}: {problem}")]),
    };
    let mut problems = Vec::new();
    if real_size != size {
        problems.push(format!("{key} has {real_size} bytes, the ledger says {size}"));
    }
    for (stream, reference) in references {
        let mut next = reference.range.base;
        for block in blocks.iter().filter(|block| block.stream == *stream) {
            if block.range.base <= next && next < block.range.next {
                next = block.range.next;
            }
        }
        if next < reference.range.next {
            problems.push(format!("{key} lacks offset {next} of stream {stream}, which the ledger says it holds"));
        }
    }
    if deep {
        for block in &blocks {
            let span = GetRange::Span { start: block.position, end: block.position + u64::from(block.len) };
            let (bytes, _) = store.get(&key, span).await?;
            if let Err(error) = block.verify(&bytes) {
                problems.push(format!("{key}, block at byte {} of stream {}: {error}", block.position, block.stream));
            }
        }
    }
    Ok(problems)
}

/// An object's index and size; the inner error says what is wrong with its bytes.
pub(crate) async fn read_index(
    store: &dyn ObjectStore,
    key: &str,
) -> Result<Result<(Vec<BlockEntry>, u64), String>, StoreError> {
    let (tail, size): (Bytes, u64) = store.get(key, GetRange::Suffix(TAIL_BYTES)).await?;
    let footer = match decode_tail(&tail, size) {
        Ok(ObjectTail::Whole(_, blocks)) => return Ok(Ok((blocks, size))),
        Ok(ObjectTail::IndexAt(footer)) => footer,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let end = size.saturating_sub(u64::try_from(FOOTER_BYTES).unwrap_or(u64::MAX));
    let (index, _) = store.get(key, GetRange::Span { start: footer.index_position, end }).await?;
    Ok(decode_index(&index, &footer).map(|blocks| (blocks, size)).map_err(|error| error.to_string()))
}

fn note_unreferenced(image: &Image, there: &BTreeMap<ObjectId, u64>, report: &mut Report) {
    let unknown = |object: &&ObjectId| !image.objects.contains_key(object) && !image.dead_objects.contains_key(object);
    let (young, orphans): (Vec<_>, Vec<_>) =
        there.keys().filter(unknown).partition(|object| image.is_alive(object.node_epoch));
    if !young.is_empty() {
        report.notes.push(format!("{} data objects of living brokers are not committed yet", young.len()));
    }
    if !orphans.is_empty() {
        report.notes.push(format!("{} data objects of dead brokers belong to nothing and await the sweep", orphans.len()));
    }
    if !image.dead_objects.is_empty() {
        report.notes.push(format!("{} dead data objects await their deletion", image.dead_objects.len()));
    }
}

fn note_logs(image: &Image, report: &mut Report) {
    for (id, wal) in &image.wals {
        let dead = image.nodes.get(&id.node_epoch).is_none_or(|node| node.state == NodeState::Dead);
        let left = match wal.state {
            WalState::Open => dead,
            WalState::Sealed { end, .. } => wal.trim < end,
        };
        if left {
            report.notes.push(format!("write-ahead log {id} at {} holds what is in no object yet", wal.url));
        }
    }
}
