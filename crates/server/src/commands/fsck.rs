//! `millstream fsck`: whether the bucket holds every byte that the ledger speaks of. Ends with code 1 where anything is wrong.
//!
//! For a bucket that no broker writes meanwhile. What only a local log holds is not seen: such logs are named.

use super::{CommandError, counted, outside, say};
use crate::args::StorageArgs;
use control_core::{Image, NodeState, WalState};
use std::sync::Arc;
use stream::{FsckReport, fsck};
use world::{ObjectStore, World};

/// How often a bucket is checked that changes meanwhile.
const TRIES_MAX: u32 = 3;

/// Prints what is there, then what is wrong.
///
/// # Errors
/// The bucket can't be read, or something is wrong in it.
pub fn run(storage: &StorageArgs) -> Result<(), CommandError> {
    let target = storage.target()?;
    let findings = outside::runtime()?.block_on(async {
        let objects = outside::existing_object_store(&World::system(), &target).await?;
        check(&objects).await.map_err(|line| CommandError::failed(format!("--storage {target}: {line}")))
    })?;
    findings.notes.iter().for_each(say);
    findings.problems.iter().for_each(|problem| say(format!("PROBLEM: {problem}")));
    match findings.problems.len() {
        0 => {
            say("sound");
            Ok(())
        }
        count => Err(CommandError::failed(format!("--storage {target}: {}", counted(count, "problem")))),
    }
}

struct Findings {
    notes: Vec<String>,
    problems: Vec<String>,
}

async fn check(store: &Arc<dyn ObjectStore>) -> Result<Findings, String> {
    let mut tries = 0;
    let (dump, report) = loop {
        let dump = control::read_all(store.as_ref()).await.map_err(|error| error.to_string())?;
        if dump.format.is_none() {
            return Err("there is no cluster here".to_owned());
        }
        let report = fsck(store, &dump.image).await.map_err(|error| error.to_string())?;
        tries += 1;
        if report.problems.is_empty() || tries == TRIES_MAX || !has_moved(store, &dump.image).await? {
            break (dump, report);
        }
    };
    let mut problems = dump.problems;
    let mut notes = summary(&dump.image, &report);
    problems.extend(report.problems);
    notes.extend(unrecovered_logs(&dump.image));
    Ok(Findings { notes, problems })
}

/// Whether a broker has changed the ledger meanwhile: then what was missed may have been compacted or deleted under this check's eyes.
async fn has_moved(store: &Arc<dyn ObjectStore>, image: &Image) -> Result<bool, String> {
    let now = control::read_all(store.as_ref()).await.map_err(|error| error.to_string())?;
    Ok(now.image.seq != image.seq)
}

fn summary(image: &Image, report: &FsckReport) -> Vec<String> {
    let mut lines = vec![
        format!(
            "ledger entry {}: {}, {}",
            image.seq,
            counted(image.topics.len(), "topic"),
            counted(image.streams.len(), "partition")
        ),
        format!(
            "{}, {} and {} read and verified",
            counted(report.objects, "data object"),
            counted(report.blocks, "block"),
            counted(report.bytes, "byte")
        ),
    ];
    let mut note = |count: usize, what: &str| {
        if count > 0 {
            lines.push(format!("{count} {what}"));
        }
    };
    note(report.dead.len(), "dead data objects await their deletion");
    note(report.orphans.len(), "data objects were never committed and await the sweep");
    note(report.strangers.len(), "objects have names that no broker gives");
    note(report.wal_objects.values().sum(), "objects of write-ahead logs");
    note(
        report.forgotten_wal_objects,
        "of these belong to logs that are done with: fences, and what the sweep will delete",
    );
    lines
}

/// Logs of dead starts, or sealed ones, with records that are in no object.
fn unrecovered_logs(image: &Image) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, wal) in &image.wals {
        let dead = image.nodes.get(&id.node_epoch).is_none_or(|node| node.state == NodeState::Dead);
        let left = match wal.state {
            WalState::Open => dead,
            WalState::Sealed { end, .. } => wal.trim < end,
        };
        if left {
            lines.push(format!("the write-ahead log {id} at {} may hold what is in no object yet", wal.url));
        }
    }
    lines
}
