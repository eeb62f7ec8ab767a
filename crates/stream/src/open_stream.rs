//! One tenure of one stream that this start owns: the numbers that change, who waits for them, and what its producers wrote.

use crate::log::Log;
use crate::producers::OpenProducers;
use base::{Offset, StreamEpoch, StreamId, WalId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// An open tenure. It is made once and kept until its stream is deleted, or moved to another log: nobody else numbers it.
pub(crate) struct OpenStream {
    pub(crate) id: StreamId,
    pub(crate) epoch: StreamEpoch,
    /// Where it is written to.
    pub(crate) log: Arc<Log>,
    /// Other logs that earlier tenures of this start were written to: their uploads save what producers wrote there.
    left: BTreeSet<WalId>,
    /// Accepts nothing for now, since it is being moved. Changed under the lock of the log's front only.
    pub(crate) is_moving: AtomicBool,
    /// End of what was accepted. Changed under the lock of the log's front only.
    next: AtomicU64,
    /// Offsets below it may be given out, by an image that was once the newest here; a newer one may raise it.
    ceiling: AtomicU64,
    confirmed: watch::Sender<Offset>,
    deleted: AtomicBool,
    /// The next tenure has begun, in another log.
    moved: AtomicBool,
    /// What idempotent producers have written.
    pub(crate) producers: OpenProducers,
}

impl OpenStream {
    pub(crate) fn new(id: StreamId, epoch: StreamEpoch, start: Offset, log: Arc<Log>) -> OpenStream {
        OpenStream {
            id,
            epoch,
            log,
            left: BTreeSet::new(),
            is_moving: AtomicBool::new(false),
            next: AtomicU64::new(start.0),
            ceiling: AtomicU64::new(start.0),
            confirmed: watch::Sender::new(start),
            deleted: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            producers: OpenProducers::new(),
        }
    }

    /// The tenure that follows this one in another log, without what producers wrote.
    pub(crate) fn following(&self, epoch: StreamEpoch, start: Offset, log: Arc<Log>) -> OpenStream {
        let mut left = self.left.clone();
        left.insert(self.log.id);
        OpenStream { left, ..OpenStream::new(self.id, epoch, start, log) }
    }

    /// Whether a block of that log may hold records of this stream: then it saves what its producers wrote.
    pub(crate) fn was_written_to(&self, wal: WalId) -> bool {
        self.log.id == wal || self.left.contains(&wal)
    }

    pub(crate) fn next(&self) -> Offset {
        Offset(self.next.load(Ordering::Acquire))
    }

    pub(crate) fn set_next(&self, next: Offset) {
        self.next.store(next.0, Ordering::Release);
    }

    pub(crate) fn ceiling(&self) -> Offset {
        Offset(self.ceiling.load(Ordering::Acquire))
    }

    /// Offsets below that one may be given out.
    pub(crate) fn raise_ceiling(&self, ceiling: Offset) {
        self.ceiling.fetch_max(ceiling.0, Ordering::AcqRel);
    }

    pub(crate) fn confirmed(&self) -> Offset {
        *self.confirmed.borrow()
    }

    pub(crate) fn watch_confirmed(&self) -> watch::Receiver<Offset> {
        self.confirmed.subscribe()
    }

    /// Everything below is durable.
    pub(crate) fn confirm(&self, confirmed: Offset) {
        self.confirmed.send_if_modified(|held| {
            let risen = *held < confirmed;
            *held = confirmed.max(*held);
            risen
        });
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Whether this tenure is over: the stream is deleted, or goes on in the next one.
    pub(crate) fn is_over(&self) -> bool {
        self.is_deleted() || self.moved.load(Ordering::Acquire)
    }

    /// The next tenure is open: wakes whoever waits, so that it asks for that one.
    pub(crate) fn mark_moved(&self) {
        self.moved.store(true, Ordering::Release);
        self.confirmed.send_modify(|_| {});
    }

    /// The ledger shows the stream deleted: wakes whoever waits, so that it looks again.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.confirmed.send_modify(|_| {});
    }
}
