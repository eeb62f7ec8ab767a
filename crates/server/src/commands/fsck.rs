//! `millstream fsck`: whether the bucket holds every byte that the ledger speaks of. Ends with code 1 where anything is wrong.
//!
//! Brokers may go on meanwhile: what is checked is the bucket as of the ledger entry that is told. What only a local log holds is not seen:
//! such logs are named.

use super::{CommandError, counted, outside, say_all, say_json};
use crate::args::StorageArgs;
use base::WalId;
use control_core::{Image, NodeState, WalState};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use stream::{Abandoned, FsckReport, LostPart, fsck};
use world::{ObjectStore, World};

/// Prints what is there, then what is wrong. Whether anything is wrong is the command's outcome, whoever reads what is told of it.
///
/// # Errors
/// The bucket can't be read, or something is wrong in it.
pub fn run(storage: &StorageArgs) -> Result<(), CommandError> {
    let target = storage.target()?;
    let findings = outside::runtime()?.block_on(async {
        let objects = outside::existing_object_store(&World::system(), &target).await?;
        check(&objects).await.map_err(|line| CommandError::failed(format!("--storage {target}: {line}")))
    })?;
    let verdict = match findings.problems.len() {
        0 => Ok(()),
        count => Err(CommandError::failed(format!("--storage {target}: {}", counted(count, "problem")))),
    };
    let told = if storage.json { say_json(&findings.json()) } else { say_all(findings.lines()) };
    verdict.and(told)
}

struct Findings {
    image: Image,
    report: FsckReport,
    /// Logs that may hold what no object does.
    left: Vec<LogLeft>,
    problems: Vec<String>,
    /// Whether the ledger was read to its end.
    is_ledger_whole: bool,
}

async fn check(store: &Arc<dyn ObjectStore>) -> Result<Findings, String> {
    let dump = control::read_all(store.as_ref()).await.map_err(|error| error.to_string())?;
    if dump.format.is_none() {
        return Err("there is no cluster here".to_owned());
    }
    let newest =
        || Box::pin(async { Ok(Arc::new(control::read_all(store.as_ref()).await?.image)) }) as BoxFuture<'_, _>;
    let report = fsck(store, &dump.image, &newest).await.map_err(|error| error.to_string())?;
    // As a start sees it: whoever has put data there was in the ledger, which may have begun meanwhile.
    let is_new = |image: &Image| image.next_node_epoch == Image::default().next_node_epoch;
    let has_data = !report.orphans.is_empty() || !report.wal_objects.is_empty();
    let is_ledger_lost = dump.problems.is_empty()
        && has_data
        && is_new(&dump.image)
        && is_new(&*newest().await.map_err(|error: control::LedgerError| error.to_string())?);
    let lost = is_ledger_lost.then(|| {
        "the ledger is lost: nothing is below ledger/, but there is data; put it back from a copy or an earlier version, or have \
         `millstream restore` make it anew from the data"
            .to_owned()
    });
    let is_ledger_whole = dump.problems.is_empty() && lost.is_none();
    let problems = dump.problems.into_iter().chain(lost).chain(report.problems.iter().cloned()).collect();
    let left = logs_left(&dump.image);
    Ok(Findings { image: dump.image, report, left, problems, is_ledger_whole })
}

/// A log that may hold records, or producers' state, that are in no object: what this check can't see.
struct LogLeft {
    wal: WalId,
    url: String,
    why: WhyLeft,
}

#[derive(Clone, Copy)]
enum WhyLeft {
    /// Its broker was not stopped, or still runs: the ledger says that it lives.
    Open,
    /// Its broker is dead, and nobody has recovered the log.
    Dead,
    /// Somebody has recovered it, and not uploaded all of it.
    Recovered,
}

impl WhyLeft {
    fn text(self) -> &'static str {
        match self {
            WhyLeft::Open => "of a broker that was not stopped, or still runs",
            WhyLeft::Dead => "of a dead broker, not recovered yet",
            WhyLeft::Recovered => "recovered and not uploaded yet",
        }
    }
}

fn logs_left(image: &Image) -> Vec<LogLeft> {
    let mut left = Vec::new();
    for (id, wal) in image.wals.iter().filter(|(_, wal)| !wal.is_spent()) {
        let alive = image.nodes.get(&id.node_epoch).is_some_and(|node| node.state == NodeState::Alive);
        let why = match wal.state {
            WalState::Open if alive => WhyLeft::Open,
            WalState::Open => WhyLeft::Dead,
            WalState::Sealed { .. } => WhyLeft::Recovered,
        };
        left.push(LogLeft { wal: *id, url: wal.url.clone(), why });
    }
    left
}

impl Findings {
    fn lines(&self) -> Vec<String> {
        let Findings { image, report, left, problems, is_ledger_whole } = self;
        let (topics, partitions) = (counted(image.topics.len(), "topic"), counted(image.streams.len(), "partition"));
        let (objects, blocks) = (counted(report.objects, "data object"), counted(report.blocks, "block"));
        let mut lines = vec![
            format!("ledger entry {}: {topics}, {partitions}", image.seq),
            format!("{objects}, {blocks} and {} read and verified", counted(report.bytes, "byte")),
        ];
        let mut note = |count: usize, one: &str, more: &str| match count {
            0 => {}
            1 => lines.push(format!("1 {one}")),
            count => lines.push(format!("{count} {more}")),
        };
        let replaced =
            ("data object was replaced and deleted meanwhile", "data objects were replaced and deleted meanwhile");
        note(report.replaced, replaced.0, replaced.1);
        let dead = ("dead data object awaits its deletion", "dead data objects await their deletion");
        note(report.dead.len(), dead.0, dead.1);
        // They may be what the rest of the ledger speaks of: what brings records back is no rubbish.
        let orphans = match is_ledger_whole {
            true => (
                "data object was never committed, as far as the ledger was read, and awaits the sweep",
                "data objects were never committed, as far as the ledger was read, and await the sweep",
            ),
            false => (
                "data object is in no part of the ledger that could be read: `millstream restore` says what it holds",
                "data objects are in no part of the ledger that could be read: `millstream restore` says what they hold",
            ),
        };
        note(report.orphans.len(), orphans.0, orphans.1);
        let strangers = ("object has a name that no broker gives", "objects have names that no broker gives");
        note(report.strangers.len(), strangers.0, strangers.1);
        let wals = report.wal_objects.values().sum();
        note(wals, "object of a write-ahead log", "objects of write-ahead logs");
        let done = (
            "of these belongs to a log that is done with: a fence, or what the sweep will delete",
            "of these belong to logs that are done with: fences, and what the sweep will delete",
        );
        note(report.forgotten_wal_objects, done.0, done.1);
        lines.extend(left.iter().map(LogLeft::line));
        lines.extend(report.abandoned.iter().flat_map(abandoned_lines));
        lines.extend(problems.iter().map(|problem| format!("PROBLEM: {problem}")));
        if problems.is_empty() {
            lines.push("sound".to_owned());
        }
        lines
    }

    fn json(&self) -> Value {
        let Findings { image, report, left, problems, is_ledger_whole } = self;
        let log = |log: &LogLeft| json!({ "wal": log.wal.to_string(), "url": log.url, "why": log.why.text() });
        json!({
            "sound": problems.is_empty(),
            "ledger_whole": is_ledger_whole,
            "problems": problems,
            "ledger_entry": image.seq.0,
            "topics": image.topics.len(),
            "partitions": image.streams.len(),
            "objects": report.objects,
            "replaced_objects": report.replaced,
            "blocks": report.blocks,
            "bytes": report.bytes,
            "dead_objects": report.dead.len(),
            "orphans": report.orphans.len(),
            "strangers": report.strangers,
            "wal_objects": report.wal_objects.values().sum::<usize>(),
            "forgotten_wal_objects": report.forgotten_wal_objects,
            "logs_left": left.iter().map(log).collect::<Vec<_>>(),
            "abandoned": report.abandoned.iter().map(abandoned_json).collect::<Vec<_>>(),
        })
    }
}

/// A line for each log of a ring that was given up.
fn abandoned_lines(ring: &Abandoned) -> Vec<String> {
    let Abandoned { when, command, lost, .. } = ring;
    let line = |(wal, url): &(WalId, String)| {
        let parts = lost.iter().filter(|part| part.wal == *wal).count();
        format!(
            "the write-ahead log {wal} at {url} was given up at {when} by `{command}`, with what {} had only there",
            counted(parts, "partition")
        )
    };
    ring.logs.iter().map(line).collect()
}

fn abandoned_json(ring: &Abandoned) -> Value {
    let part = |part: &LostPart| {
        json!({
            "wal": part.wal.to_string(),
            "stream": part.stream.0,
            "offsets": [part.range.base.0, part.range.next.0],
            "open": part.is_open,
        })
    };
    json!({
        "ring": format!("{:032x}", ring.ring_id),
        "broker": ring.broker.map(|id| id.0),
        "when": ring.when,
        "by": ring.command,
        "logs": ring.logs.iter().map(|(wal, url)| json!({ "wal": wal.to_string(), "url": url })).collect::<Vec<_>>(),
        "lost": ring.lost.iter().map(part).collect::<Vec<_>>(),
    })
}

impl LogLeft {
    fn line(&self) -> String {
        let LogLeft { wal, url, why } = self;
        format!("the write-ahead log {wal} at {url}, {}, may hold what is in no object", why.text())
    }
}
