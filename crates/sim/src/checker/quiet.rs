//! When everything is healed and nobody writes: everything gets uploaded, trimmed, swept and deleted, and what is left in the
//! bucket is exactly what the image says (invariants 17, 18, 21, and the deadlocks that show as a WAL that never shrinks).

use crate::checker::{History, ImageWatch};
use crate::cluster::Cluster;
use crate::launch::{BUCKET_FOLDER, open_bucket};
use crate::plan::Storage;
use crate::world::{HostId, now, wait};
use control::{Ledger, LedgerOptions};
use control_core::{Image, NodeState};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A host on which only checkers run.
const CHECKER_HOST: HostId = HostId(101);

/// Waits until nothing is left to do, and complains where that does not come, or is not what it should be.
pub async fn settle(cluster: &Cluster, watch: &ImageWatch, history: &History, limit: Duration) {
    let deadline = now().plus(limit);
    loop {
        wait(Duration::from_millis(500)).await;
        let (image, problems) = match rebuild(cluster).await {
            Ok(image) => {
                watch.believed("rebuild", Arc::clone(&image));
                cluster.universe().trace.count("check.rebuilt");
                let problems = unfinished(cluster, &image);
                (Some(image), problems)
            }
            Err(error) => (None, vec![error]),
        };
        if problems.is_empty() {
            if let Some(image) = image {
                let found = damaged(cluster, &image);
                cluster.universe().trace.count("check.objects");
                for problem in found {
                    history.violation(problem);
                }
            }
            return;
        }
        if now() >= deadline {
            for problem in problems.into_iter().take(5) {
                history.violation(format!("not settled {limit:?} after the last write: {problem}"));
            }
            return;
        }
    }
}

/// The image as a broker that starts now would fold it from the bucket.
async fn rebuild(cluster: &Cluster) -> Result<Arc<Image>, String> {
    // A folder is read where it lies.
    let host = if cluster.plan().storage == Storage::Folder { cluster.host(0) } else { CHECKER_HOST };
    let (process, world) = cluster.universe().process(host, "checker");
    let store = open_bucket(cluster.universe(), cluster.plan(), &process, &world).await?;
    let ledger = Ledger::open(&world, store, LedgerOptions::default()).await.map_err(|error| error.to_string())?;
    let image = ledger.image();
    process.kill("has looked");
    Ok(image)
}

/// The keys below a prefix of the bucket, wherever it is, without asking through any code under test.
fn keys(cluster: &Cluster, prefix: &str) -> BTreeSet<String> {
    if cluster.plan().storage == Storage::Folder {
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
