//! Compaction: keeps objects few and a stream's parts of them long, in the background.
//!
//! ```text
//! an image ─▶ plan: what is worth it ─▶ job: read, lay out anew, put ─▶ Replace, a compare-and-swap in the ledger ─▶ the old ones die
//! ```
//! What is worth it is [`stream_core::compact`]'s decision. Any living start may compact anything: the ledger applies a swap only where
//! exactly what was read still stands (rule R-1). So that brokers don't do the same work, each takes the objects that it has written
//! itself, and the oldest living start those of the dead as well; where two images disagree about that, work is wasted and nothing else.
//!
//! Safe to be cut off at any step: an object that was put and is in no Replace, or in a refused one, is an orphan for the sweep. No object
//! is deleted here (R-1), and `min_counter` does not pass a job whose Replace is not answered (O-1).
//!
//! Kafka's log compaction, which takes records away, is decided by the layer above: it reads through `scan`, and hands what stays to
//! `rewrite`, which is a job as any other.
//!
//! One job at a time, one request at a time, at most so many bytes a second, and none while the write-ahead log is filling.

mod budget;
mod input;
mod job;
mod plan;
mod rewrite;
mod scan;

pub use rewrite::Rewrite;
pub use scan::{Blocks, Scan, StoredPart};

pub(crate) use scan::parts;

use crate::shared::Shared;
use base::{Micros, ObjectId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What compaction has done since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactionUse {
    /// Jobs that were carried out to their end.
    pub jobs: u64,
    /// Jobs that were given up: what they read was gone, or the store in trouble.
    pub jobs_given_up: u64,
    /// Bytes read from objects.
    pub read_bytes: u64,
    /// Bytes of objects written.
    pub written_bytes: u64,
    /// Objects that jobs have read.
    pub objects_in: u64,
    /// Objects written.
    pub objects_out: u64,
    /// Swaps that the ledger has applied.
    pub swaps: u64,
    /// Swaps that it has refused: something else came first.
    pub swaps_refused: u64,
    /// Bytes of objects put by uploads: what the bytes written are to be seen against.
    pub uploaded_bytes: u64,
}

/// The counts behind [`CompactionUse`].
#[derive(Default)]
pub(crate) struct Counts {
    jobs: AtomicU64,
    jobs_given_up: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    objects_in: AtomicU64,
    objects_out: AtomicU64,
    swaps: AtomicU64,
    swaps_refused: AtomicU64,
    uploaded_bytes: AtomicU64,
}

/// Runs until this start ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut dead_since = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            _ = shared.until_stopped() => return,
            () = shared.world.clock.sleep(shared.options.compaction.period) => {}
        }
        tokio::select! {
            biased;
            _ = shared.until_stopped() => return,
            () = round(&shared, &mut dead_since) => {}
        }
    }
}

/// Carries out what one image makes worth it. A failed job ends the round: the next one begins from a newer image.
async fn round(shared: &Arc<Shared>, dead_since: &mut BTreeMap<ObjectId, Micros>) {
    let jobs = plan::jobs(shared, &shared.ledger.image(), dead_since);
    for job in jobs {
        let counts = &shared.compaction;
        let _turn = shared.compaction_turn.lock().await;
        tracing::debug!(objects = ?job.objects, why = ?job.why, "compacts");
        match job::run(shared, &job).await {
            Ok(()) => add(&counts.jobs, 1),
            Err(fault) => {
                add(&counts.jobs_given_up, 1);
                if matches!(fault, job::Fault::Damaged(_)) {
                    tracing::error!(%fault, "an object can't be compacted; look at it with fsck");
                } else {
                    tracing::info!(%fault, objects = job.objects.len(), "a compaction was given up; plans anew");
                }
                return;
            }
        }
    }
}

impl Counts {
    /// An upload has put an object.
    pub(crate) fn uploaded(&self, bytes: u64) {
        add(&self.uploaded_bytes, bytes);
    }

    pub(crate) fn used(&self) -> CompactionUse {
        let Counts {
            jobs,
            jobs_given_up,
            read_bytes,
            written_bytes,
            objects_in,
            objects_out,
            swaps,
            swaps_refused,
            uploaded_bytes,
        } = self;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CompactionUse {
            jobs: read(jobs),
            jobs_given_up: read(jobs_given_up),
            read_bytes: read(read_bytes),
            written_bytes: read(written_bytes),
            objects_in: read(objects_in),
            objects_out: read(objects_out),
            swaps: read(swaps),
            swaps_refused: read(swaps_refused),
            uploaded_bytes: read(uploaded_bytes),
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
