//! One tenure of one stream that this start owns: the three numbers that change, who waits for them, and what its producers wrote.

use crate::producers::OpenProducers;
use base::{Offset, StreamEpoch, StreamId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// An open tenure. It is made once and kept until its stream is deleted: nobody else numbers it.
pub(crate) struct OpenStream {
    pub(crate) id: StreamId,
    pub(crate) epoch: StreamEpoch,
    /// End of what was accepted. Changed under the lock of the front only.
    next: AtomicU64,
    confirmed: watch::Sender<Offset>,
    deleted: AtomicBool,
    /// What idempotent producers have written.
    pub(crate) producers: OpenProducers,
}

impl OpenStream {
    pub(crate) fn new(id: StreamId, epoch: StreamEpoch, start: Offset) -> OpenStream {
        OpenStream {
            id,
            epoch,
            next: AtomicU64::new(start.0),
            confirmed: watch::Sender::new(start),
            deleted: AtomicBool::new(false),
            producers: OpenProducers::new(),
        }
    }

    pub(crate) fn next(&self) -> Offset {
        Offset(self.next.load(Ordering::Acquire))
    }

    pub(crate) fn set_next(&self, next: Offset) {
        self.next.store(next.0, Ordering::Release);
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

    /// The ledger shows the stream deleted: wakes whoever waits, so that it looks again.
    pub(crate) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.confirmed.send_modify(|_| {});
    }
}
