//! Snapshots, and the deletion of what they cover.
//!
//! A snapshot is durable before anything that it covers is deleted; the newest one is never deleted; entries are deleted by
//! listing, so that a late copy of a put that landed at a freed number goes too. Any broker may write any snapshot of a confirmed
//! image: its bytes depend on nothing else.

use crate::LedgerError;
use crate::keys;
use crate::log::Log;
use base::{LedgerSeq, planted};
use control_core::{Image, codec};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{error, warn};
use world::{GetRange, PutOutcome};

/// Names in one deletion.
const DELETE_MAX: usize = 1000;

/// Writes a snapshot now and then, one at a time, beside the ledger's task.
pub(crate) struct Keeper {
    log: Log,
    entries: u64,
    last: LedgerSeq,
    busy: Arc<AtomicBool>,
}

impl Keeper {
    /// `last` is the newest snapshot that is known; one is written every `entries` entries.
    pub(crate) fn new(log: Log, entries: u64, last: LedgerSeq) -> Keeper {
        Keeper { log, entries, last, busy: Arc::new(AtomicBool::new(false)) }
    }

    /// Tells that the log goes on with `image`, which was `before` an entry ago.
    pub(crate) fn appended(&mut self, before: &Image, image: &Arc<Image>) {
        assert_eq!(before.seq.next(), image.seq, "an append is one entry");
        if image.seq.0 - self.last.0.min(image.seq.0) < self.entries || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        self.last = image.seq;
        let covered = planted!("snapshot without its last entry", image.clone(), {
            Arc::new(Image { seq: image.seq, nonce: image.nonce, ..before.clone() })
        });
        let (log, busy) = (self.log.clone(), self.busy.clone());
        let work = async move {
            if let Err(error) = keep(&log, &covered).await {
                // The entries stay, so nothing is lost; the next snapshot tries again.
                warn!(seq = covered.seq.0, %error, "writing a ledger snapshot failed");
            }
            busy.store(false, Ordering::Release);
        };
        drop(self.log.patient.clock.spawn("ledger snapshot", Box::pin(work)));
    }
}

/// Puts the snapshot, then deletes what it covers.
async fn keep(log: &Log, image: &Image) -> Result<(), LedgerError> {
    let key = keys::snapshot(image.seq);
    let bytes = codec::encode_snapshot(image);
    if log.patient.put_if_absent(&key, bytes.clone()).await? == PutOutcome::Exists
        && log.patient.get(&key, GetRange::All).await? != bytes
    {
        // The same entries must give the same image on every broker. Nothing may be deleted then.
        error!(
            seq = image.seq.0,
            "another broker's ledger snapshot differs from this one's: stop both and run `millstream fsck`"
        );
        return Ok(());
    }
    collect(log, image.seq).await
}

/// Deletes entries up to `seq`, of which a snapshot is durable, and all snapshots but the newest.
async fn collect(log: &Log, seq: LedgerSeq) -> Result<(), LedgerError> {
    let entries = log.numbers(keys::ENTRIES, LedgerSeq(0), Some(seq)).await?;
    let mut snapshots = log.numbers(keys::SNAPSHOTS, LedgerSeq(0), None).await?;
    if snapshots.pop() < Some(seq) {
        error!(seq = seq.0, "the object store does not list what it has stored; nothing of the ledger is deleted");
        return Ok(());
    }
    // The newest may be another broker's, which in a folder shows before it is durable.
    log.patient.make_durable(keys::SNAPSHOTS).await?;
    let names: Vec<String> =
        snapshots.into_iter().map(keys::snapshot).chain(entries.into_iter().map(keys::entry)).collect();
    for chunk in names.chunks(DELETE_MAX) {
        log.patient.delete(chunk).await?;
    }
    Ok(())
}
