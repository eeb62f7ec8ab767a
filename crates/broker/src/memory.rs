//! The memory that requests and answers may take, shared by all connections.
//!
//! A frame takes memory as its bytes arrive, never for what its length field claims. That alone could lock up: many frames, each
//! half read, could hold all of it and wait for one another. So beside the shared part there is a reserve of one greatest frame
//! for one *finisher* at a time: a frame that needs more while the shared part is exhausted becomes the finisher, ends, is
//! answered, and hands the reserve to the next. Hence every frame ends some time and both parts together bound the memory
//! (docs/adr/0050-request-memory.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An answer may have this part of the memory of all even while it is short.
const LEAST_SHARE_PART: usize = 16;

/// Memory for request frames.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    shared: Arc<Semaphore>,
    finisher: Arc<Semaphore>,
    /// Frames that wait for memory.
    waiting: AtomicUsize,
}

/// Counts somebody as waiting for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one frame holds; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct FrameMemory {
    shared: Option<OwnedSemaphorePermit>,
    finisher: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    /// Bounds all frames to about `requests_bytes_max`, of which one frame's greatest length is the reserve.
    pub(crate) fn new(requests_bytes_max: usize, request_bytes_max: usize) -> RequestMemory {
        let shared = requests_bytes_max.saturating_sub(request_bytes_max).clamp(1, Semaphore::MAX_PERMITS);
        RequestMemory {
            shared: Arc::new(Semaphore::new(shared)),
            finisher: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Whether some frame waits for memory, so that whoever holds it without need harms another.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Adds `bytes` to what `held` covers; waits until there is room. Cancel-safe: either all or nothing is added.
    pub(crate) async fn grow(&self, held: &mut FrameMemory, bytes: usize) {
        if held.finisher.is_some() {
            return;
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = self.shared.clone().try_acquire_many_owned(bytes) {
            return held.add(permit);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let shared = self.shared.clone().acquire_many_owned(bytes);
        let finisher = self.finisher.clone().acquire_owned();
        tokio::select! {
            biased;
            permit = shared => held.add(open(permit)),
            permit = finisher => held.finisher = Some(open(permit)),
        }
    }
}

impl FrameMemory {
    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.shared {
            Some(held) => held.merge(permit),
            empty => *empty = Some(permit),
        }
    }
}

/// Memory for answers until they are written: the record data of fetches, and whatever else is greater than its request.
///
/// Whoever waits for it holds none of it, and who holds some writes, or reads with a deadline; a peer that keeps it by not taking its
/// answer gives way while somebody waits (`connection`). Hence everybody gets some in time.
#[derive(Debug)]
pub(crate) struct AnswerMemory {
    shared: Arc<Semaphore>,
    total: usize,
    waiting: AtomicUsize,
}

impl AnswerMemory {
    pub(crate) fn new(answers_bytes_max: usize) -> AnswerMemory {
        let total = answers_bytes_max.clamp(1, Semaphore::MAX_PERMITS);
        AnswerMemory { shared: Arc::new(Semaphore::new(total)), total, waiting: AtomicUsize::new(0) }
    }

    /// Whether an answer waits for memory, so that whoever holds it without need harms another.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits until `bytes` (at most all there is) may be used; they are given back when the permit is dropped.
    pub(crate) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        if let Some(permit) = self.try_take(bytes) {
            return permit;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let bytes = u32::try_from(bytes.min(self.total)).unwrap_or(u32::MAX);
        open(self.shared.clone().acquire_many_owned(bytes).await)
    }

    /// What a fetch may put into its answer now: less while others have much, so that a few who take their answers slowly do not
    /// have everything.
    pub(crate) fn share(&self) -> usize {
        (self.shared.available_permits() / 2).max(self.total / LEAST_SHARE_PART)
    }

    /// The same without waiting, for those who hold some already and must not wait for one another.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(self.total)).unwrap_or(u32::MAX);
        self.shared.clone().try_acquire_many_owned(bytes).ok()
    }
}

/// Gives back what `permit` holds beyond `bytes`.
pub(crate) fn keep_only(permit: &mut OwnedSemaphorePermit, bytes: usize) {
    give_back(permit, permit.num_permits().saturating_sub(bytes));
}

/// Gives back up to `bytes` of what `permit` holds; how many it were.
pub(crate) fn give_back(permit: &mut OwnedSemaphorePermit, bytes: usize) -> usize {
    let bytes = bytes.min(permit.num_permits());
    drop(permit.split(bytes));
    bytes
}

fn open(permit: Result<OwnedSemaphorePermit, tokio::sync::AcquireError>) -> OwnedSemaphorePermit {
    permit.expect("these semaphores are never closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn half_read_frames_that_hold_everything_still_end_one_after_another() {
        let memory = RequestMemory::new(100 + 50, 50);
        let mut frames: Vec<FrameMemory> = Vec::new();
        for _ in 0..10 {
            let mut frame = FrameMemory::default();
            memory.grow(&mut frame, 10).await;
            frames.push(frame);
        }
        // All of the shared part is held by frames of which each needs 10 more.
        let mut first = frames.remove(0);
        memory.grow(&mut first, 10).await;
        assert!(first.finisher.is_some() && !memory.is_short(), "it has what it needs");
        let mut second = frames.remove(0);
        let mut grown = Box::pin(memory.grow(&mut second, 10));
        assert!(grown.as_mut().now_or_never().is_none() && memory.is_short(), "one finisher at a time");
        drop(grown);
        assert!(!memory.is_short());
        drop(first);
        memory.grow(&mut second, 10).await;
        assert!(second.finisher.is_none(), "the first one's shared memory is free again and preferred");
    }

    #[tokio::test]
    async fn an_answer_larger_than_everything_is_served_alone() {
        let memory = AnswerMemory::new(100);
        let mut large = memory.take(1_000_000).await;
        let mut other = Box::pin(memory.take(1));
        assert!(!memory.is_short() && other.as_mut().now_or_never().is_none() && memory.is_short());
        assert_eq!((give_back(&mut large, 30), give_back(&mut large, 100)), (30, 70));
        assert!(other.now_or_never().is_some() && !memory.is_short());
    }

    #[tokio::test]
    async fn an_answers_share_shrinks_with_what_others_have_but_not_to_nothing() {
        let memory = AnswerMemory::new(1600);
        let mut held = Vec::new();
        let mut shares = Vec::new();
        for _ in 0..5 {
            shares.push(memory.share());
            held.push(memory.take(memory.share()).await);
        }
        assert_eq!(shares, [800, 400, 200, 100, 100]);
    }
}
