//! How much of a request's frame is in use: what the log cache keeps of it keeps all of it in memory.
//!
//! Which batches of a request are accepted shows one by one, and the first may be durable before the last is looked at. So they count here
//! as they are accepted, and who is to keep one asks then. One that comes too early is copied, which costs time and no memory.
//!
//! Batches of one frame leave the cache one by one as well, in any order (records are deleted, topics are), and the frame stays for the last of
//! them. So it counts in the cache as a whole, from the first batch that is kept until the last has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A batch that is alone in its run and at least so long keeps its own bytes, shorter ones are copied: what its copy would save of the
/// index is too little for memory that is touched for the first time (`docs/adr/0193-a-lone-batch-of-4-kib-keeps-its-bytes.md`).
pub(crate) const SHARED_BATCH_BYTES_MIN: usize = 4 << 10;

/// The use of one frame, which its batches share.
#[derive(Debug)]
pub struct FrameUse {
    frame_bytes: usize,
    accepted: AtomicUsize,
    /// Of batches that the log cache keeps. Changed by the cache alone, of which there is one, under its lock.
    kept: AtomicUsize,
}

impl FrameUse {
    /// Of a frame of so many bytes, none of them in use.
    #[must_use]
    pub fn new(frame_bytes: usize) -> Arc<FrameUse> {
        Arc::new(FrameUse { frame_bytes, accepted: AtomicUsize::new(0), kept: AtomicUsize::new(0) })
    }

    /// A batch of so many bytes is stored, and shares them with the frame unless it is copied, as a tiny one always is.
    pub fn accept(&self, bytes: usize) {
        if bytes >= SHARED_BATCH_BYTES_MIN {
            self.accepted.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Whether so much is stored that what is kept is half of the frame at least.
    #[must_use]
    pub fn is_worth_keeping(&self) -> bool {
        self.accepted.load(Ordering::Relaxed) >= self.frame_bytes / 2
    }

    /// A batch of so many bytes is kept and not copied. Answers the bytes that are in memory for it: all of the frame, for the first one.
    pub(crate) fn keep(&self, bytes: usize) -> usize {
        if self.kept.fetch_add(bytes, Ordering::Relaxed) == 0 { self.frame_bytes } else { 0 }
    }

    /// It is kept no longer. Answers the bytes that are not in memory any more: all of the frame, for the last one.
    pub(crate) fn let_go(&self, bytes: usize) -> usize {
        if self.kept.fetch_sub(bytes, Ordering::Relaxed) == bytes { self.frame_bytes } else { 0 }
    }

    /// Whether copies of what is kept would take less than half of the frame.
    pub(crate) fn is_hardly_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) < self.frame_bytes / 2
    }
}

impl PartialEq for FrameUse {
    /// As they stand.
    fn eq(&self, other: &FrameUse) -> bool {
        let state = |it: &FrameUse| (it.accepted.load(Ordering::Relaxed), it.kept.load(Ordering::Relaxed));
        self.frame_bytes == other.frame_bytes && state(self) == state(other)
    }
}

impl Eq for FrameUse {}
