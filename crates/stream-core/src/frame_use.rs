//! How much of a request's frame is in use: what the log cache keeps of it would keep all of it in memory.
//!
//! Which batches of a request are accepted shows one by one, and the first may be durable before the last is looked at. So they count here
//! as they are accepted, and who is to keep one asks then. One that comes too early is copied, which costs time and no memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The use of one frame, which its batches share.
#[derive(Debug)]
pub struct FrameUse {
    frame_bytes: usize,
    accepted: AtomicUsize,
}

impl FrameUse {
    /// Of a frame of so many bytes, none of them in use.
    #[must_use]
    pub fn new(frame_bytes: usize) -> Arc<FrameUse> {
        Arc::new(FrameUse { frame_bytes, accepted: AtomicUsize::new(0) })
    }

    /// A batch of so many bytes is stored, and shares them with the frame unless it is copied.
    pub fn accept(&self, bytes: usize) {
        self.accepted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether so much is stored that what is kept is half of the frame at least: then the frame, and copies of its small
    /// batches beside it, are no more than three times what is counted.
    #[must_use]
    pub fn is_worth_keeping(&self) -> bool {
        self.accepted.load(Ordering::Relaxed) >= self.frame_bytes / 2
    }
}

impl PartialEq for FrameUse {
    /// As they stand.
    fn eq(&self, other: &FrameUse) -> bool {
        let accepted = |it: &FrameUse| it.accepted.load(Ordering::Relaxed);
        self.frame_bytes == other.frame_bytes && accepted(self) == accepted(other)
    }
}

impl Eq for FrameUse {}
