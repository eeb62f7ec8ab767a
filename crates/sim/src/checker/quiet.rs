//! When everything is healed and nobody writes: everything gets uploaded, trimmed, swept and deleted, and what is left in the
//! bucket is exactly what the image says (invariants 17, 18, 21, and the deadlocks that show as a WAL that never shrinks).

use crate::checker::{History, ImageWatch};
use crate::cluster::Cluster;
use crate::launch::{BUCKET_FOLDER, open_bucket};
use crate::world::{HostId, now, wait};
use control::{Ledger, LedgerOptions};
use control_core::{Image, NodeState};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::FsckReport;

/// A host on which only checkers run.
const CHECKER_HOST: HostId = HostId(101);

/// Waits until nothing is left to do, and complains where that does not come, or is not what it should be.
pub async fn settle(cluster: &Cluster, watch: &ImageWatch, history: &History, limit: Duration) {
    let deadline = now().plus(limit);
    loop {
        wait(Duration::from_millis(500)).await;
        let problems = match look(cluster, watch).await {
            Ok(Found::Unfinished(problems)) => problems,
            Ok(Found::Quiet(damage)) => {
                for problem in damage {
                    history.violation(problem);
                }
                return;
            }
            Err(error) => vec![error],
        };
        if now() >= deadline {
            for problem in problems.into_iter().take(5) {
                history.violation(format!("not settled {limit:?} after the last write: {problem}"));
            }
            return;
        }
    }
}

enum Found {
    /// What is still to be done.
    Unfinished(Vec<String>),
    /// Nothing is; what must not be.
    Quiet(Vec<String>),
}

/// Looks at the bucket as a broker that starts now would fold it, and, once nothing is left to do, at every byte of it.
async fn look(cluster: &Cluster, watch: &ImageWatch) -> Result<Found, String> {
    let trace = &cluster.universe().trace;
    // A folder is read where it lies.
    let host = if cluster.plan().storage.is_folder() { cluster.host(0) } else { CHECKER_HOST };
    let (process, world) = cluster.universe().process(host, "checker");
    let store = open_bucket(cluster.universe(), cluster.plan(), &process, &world).await?;
    let ledger = Ledger::open(&world, Arc::clone(&store), LedgerOptions::default()).await;
    let ledger = ledger.map_err(|error| error.to_string())?;
    let image = ledger.image();
    watch.believed("rebuild", Arc::clone(&image));
    trace.count("check.rebuilt");
    let unfinished = unfinished(cluster, &image);
    let found = if unfinished.is_empty() {
        let report = stream::fsck_of(&store, &ledger).await.map_err(|error| error.to_string())?;
        trace.count("check.fsck");
        let left_over = left_over(&report);
        let moved = ledger.refresh().await.map_err(|error| error.to_string())?.seq != image.seq;
        if moved {
            // What it looked at may have been replaced and deleted under its eyes.
            Found::Unfinished(vec!["the ledger still moves".to_owned()])
        } else if left_over.is_empty() {
            trace.count("check.objects");
            Found::Quiet(report.problems.into_iter().chain(damaged(cluster, &image)).collect())
        } else {
            Found::Unfinished(left_over)
        }
    } else {
        Found::Unfinished(unfinished)
    };
    process.kill("has looked");
    Ok(found)
}

/// What the sweeps should have taken.
fn left_over(report: &FsckReport) -> Vec<String> {
    let wals = (report.wal_leftovers > 0)
        .then(|| format!("{} objects of forgotten or trimmed WALs are left", report.wal_leftovers));
    wals.into_iter()
        .chain(report.strangers.iter().map(|key| format!("{key} is in the bucket and none of ours")))
        .collect()
}

/// The keys below a prefix of the bucket, wherever it is, without asking through any code under test.
fn keys(cluster: &Cluster, prefix: &str) -> BTreeSet<String> {
    if cluster.plan().storage.is_folder() {
        let files = cluster.universe().disk(cluster.host(0)).contents(Path::new(BUCKET_FOLDER));
        let keys =
            files.into_iter().filter_map(|(path, _)| Some(path.strip_prefix(BUCKET_FOLDER).ok()?.to_str()?.to_owned()));
        return keys.filter(|key| key.starts_with(prefix)).collect();
    }
    cluster.universe().bucket.contents(prefix).into_iter().map(|(key, _)| key).collect()
}

/// What is still to be done.
fn unfinished(cluster: &Cluster, image: &Image) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, stream) in &image.streams {
        match stream.owner() {
            None => problems.push(format!("stream {id} has no owner")),
            Some(owner) if !image.is_alive(owner.node_epoch()) => {
                problems.push(format!("stream {id} is owned by the dead start {}", owner.node_epoch()));
            }
            Some(_) => {}
        }
        for tenure in stream.tenures.iter().filter(|tenure| tenure.end.is_some_and(|end| tenure.committed < end)) {
            problems.push(format!("stream {id} has an uncommitted closed tenure {tenure:?}"));
        }
    }
    for wal in image.wals.keys().filter(|wal| !image.is_alive(wal.node_epoch)) {
        problems.push(format!("the WAL {wal} of a dead start is still there"));
    }
    if !image.dead_objects.is_empty() {
        problems.push(format!("{} dead objects are not deleted", image.dead_objects.len()));
    }
    let data = keys(cluster, "data/");
    if data.len() != image.objects.len() {
        problems.push(format!("{} data objects in the bucket, {} in the image", data.len(), image.objects.len()));
    }
    let living = image.nodes.values().filter(|node| node.state == NodeState::Alive).count();
    if living != usize::from(cluster.plan().brokers) {
        problems.push(format!("{living} starts are alive in the image"));
    }
    problems
}

/// Whether what the image references is in the bucket.
fn damaged(cluster: &Cluster, image: &Image) -> Vec<String> {
    let there = keys(cluster, "data/");
    let mut problems = Vec::new();
    for id in image.objects.keys() {
        let suffix = format!("/{id}");
        if !there.iter().any(|key| key.ends_with(&suffix)) {
            problems.push(format!("live object {id} is not in the bucket"));
        }
    }
    problems
}
