//! The memory that requests and answers may take, shared by all connections.
//!
//! A frame takes memory as its bytes arrive, never for what its length field claims. It is divided by the size of frames: large ones
//! may have half of it, medium ones three quarters, and small ones all, so that many half-sent large frames leave the others theirs.
//! Within a size that alone could lock up: many frames, each half read, could hold all of it and wait for one another. So beside the
//! shared parts there is a reserve of one greatest frame for *finishers*, as many at a time as have room there with their whole lengths: a
//! frame that needs more while there is none becomes a finisher, ends, is answered, and hands its part of the reserve to the next. Hence
//! every frame ends some time and all parts together bound the memory (docs/adr/0050-request-memory.md).
//!
//! That holds for requests that end by themselves. One that waits for others, as a parked fetch does, gives its frame's memory back
//! before: see [`FrameMemory::park`].

use crate::error::Failure;
use futures::future::{Either, select, select_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// An answer may have this part of the memory of all even while it is short.
const LEAST_SHARE_PART: usize = 16;

/// An answer of so few bytes beyond its request is counted where there is room, and does not wait where there is none: a broker that
/// starts must learn in time that this one lives.
pub(crate) const SMALL_ANSWER_BYTES_MAX: usize = 4096;

/// An answer is made of values and of bytes: what it tells is there so often.
pub(crate) const COPIES: usize = 2;

/// Frames of at most so many bytes are medium; what clients send in practice mostly is.
const MEDIUM_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// And small.
const SMALL_FRAME_BYTES_MAX: usize = 64 * 1024;

/// The shared parts: the first is for all frames, the second for medium and small ones, the third for small ones.
const PARTS: usize = 3;

/// This part of the shared memory is for what parked requests keep.
const PARKED_PART: usize = 8;
/// A request whose frame holds nothing keeps up to so many bytes uncounted.
const FREE_KEEPS_MAX: usize = 4096;
/// One that would keep more than this part of what there is for all does not wait where there is no room for it.
const GREAT_PART: usize = 16;

/// So many that wait halve the time for which others are borne that hold what these wait for.
const CROWD: usize = 8;

/// Memory for request frames.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    parts: [Arc<Semaphore>; PARTS],
    parked: Arc<Semaphore>,
    /// What parked requests may keep in all.
    parked_bytes: usize,
    /// The reserve: a finisher takes of it what its frame may have in all.
    finishers: Arc<Semaphore>,
    reserve_bytes: usize,
    /// By write-ahead log: the turn of a request whose batch grows, and what it may take then (`growth`).
    turns: Vec<Arc<Semaphore>>,
    turn_bytes: usize,
    /// Frames that wait for memory.
    waiting: AtomicUsize,
    /// What a frame of each size may have in all.
    open_bytes: [usize; PARTS],
    /// By write-ahead log: what is held by produces that wait for room in it.
    log_waits: Vec<AtomicUsize>,
}

/// A produce that waits for room in a write-ahead log, counted for as long as it lives.
pub(crate) struct LogWait<'a> {
    held: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for LogWait<'_> {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
    parts: [Option<OwnedSemaphorePermit>; PARTS],
    #[expect(dead_code, reason = "held for what its drop gives back")]
    parked: Option<OwnedSemaphorePermit>,
    finisher: Option<OwnedSemaphorePermit>,
}

/// How long a request may wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parking {
    /// As long as it likes: it holds nothing that frames wait for.
    Free,
    /// Not for long: it has a frame's memory still, or keeps what is not counted.
    Brief,
    /// Not at all: it is a finisher, or keeps too much that is not counted.
    Never,
}

impl RequestMemory {
    /// Bounds all frames to about `requests_bytes_max`, of which one frame's greatest length is the reserve. They are written to so many `logs`.
    pub(crate) fn new(requests_bytes_max: usize, request_bytes_max: usize, logs: usize) -> RequestMemory {
        let all = requests_bytes_max.saturating_sub(request_bytes_max).min(Semaphore::MAX_PERMITS);
        let parked = all / PARKED_PART;
        let shared = all - parked;
        let part = |bytes: usize| Arc::new(Semaphore::new(bytes.max(1)));
        let reserve_bytes = request_bytes_max.clamp(1, Semaphore::MAX_PERMITS);
        RequestMemory {
            parts: [part(shared / 2), part(shared / 4), part(shared / 4)],
            parked: part(parked),
            parked_bytes: parked,
            finishers: part(reserve_bytes),
            reserve_bytes,
            turns: (0..logs).map(|_| Arc::new(Semaphore::new(1))).collect(),
            turn_bytes: request_bytes_max,
            waiting: AtomicUsize::new(0),
            open_bytes: [shared / 2, shared / 4 * 3, shared],
            log_waits: (0..logs).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Lets a produce of one of several logs wait for room there, while its frame holds memory: no more of what is open to its size than the
    /// log's even part, so that a log which is full leaves the producers of the others theirs. `None`: it is to be refused instead. The bytes
    /// count twice, as its connection has the next frame read meanwhile. One log has everything.
    pub(crate) fn wait_for_log(&self, log: usize, frame_bytes: usize) -> Option<LogWait<'_>> {
        let held = self.log_waits.get(log)?;
        let bytes = frame_bytes.saturating_mul(2);
        let before = held.fetch_add(bytes, Ordering::Relaxed);
        let wait = LogWait { held, bytes };
        let logs = self.log_waits.len();
        let has_room = logs == 1 || before.saturating_add(bytes) <= self.open_bytes[part_of(frame_bytes)] / logs;
        has_room.then_some(wait)
    }

    /// How many frames wait for memory.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether some frame waits for memory, so that whoever holds it without need harms another.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting() > 0
    }

    /// Adds `bytes` to what is held for a frame of `length`; waits until there is room. Cancel-safe: either all or nothing is added.
    pub(crate) async fn grow(&self, held: &mut FrameMemory, length: usize, bytes: usize) {
        if held.finisher.is_some() {
            return;
        }
        if let Some((part, permit)) = self.try_part(length, bytes) {
            return held.add(part, permit);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let open_to_it = 0..=part_of(length);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let shared = open_to_it.rev().map(|part| Box::pin(self.parts[part].clone().acquire_many_owned(bytes)));
        let whole = u32::try_from(length.min(self.reserve_bytes)).unwrap_or(u32::MAX);
        match select(select_all(shared), Box::pin(self.finishers.clone().acquire_many_owned(whole))).await {
            Either::Left(((permit, behind_own, _), _)) => held.add(part_of(length) - behind_own, open(permit)),
            Either::Right((permit, _)) => held.finisher = Some(open(permit)),
        }
    }

    /// Of what a frame of this length may have, its own part first, so that what is open to others stays theirs. Never waits.
    fn try_part(&self, length: usize, bytes: usize) -> Option<(usize, OwnedSemaphorePermit)> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let try_one = |part: usize| self.parts[part].clone().try_acquire_many_owned(bytes).ok().map(|it| (part, it));
        (0..=part_of(length)).rev().find_map(try_one)
    }

    /// The same for bytes that are in no frame.
    pub(crate) fn try_share(&self, length: usize, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.try_part(length, bytes).map(|(_, permit)| permit)
    }

    /// Waits for the turn of a request whose batch for this log grows: one at a time, each up to [`RequestMemory::turn_bytes`]. None: there
    /// is no such log.
    pub(crate) async fn turn(&self, log: usize) -> Option<OwnedSemaphorePermit> {
        Some(open(self.turns.get(log)?.clone().acquire_owned().await))
    }

    /// As great as a frame.
    pub(crate) fn turn_bytes(&self) -> usize {
        self.turn_bytes
    }
}

/// The last of the parts that are open to a frame.
fn part_of(length: usize) -> usize {
    usize::from(length <= MEDIUM_FRAME_BYTES_MAX) + usize::from(length <= SMALL_FRAME_BYTES_MAX)
}

impl FrameMemory {
    /// For a request that is about to wait for others, and `keeps` so many bytes while it does but nothing of its frame: gives the frame's
    /// memory back, where there is room for what is kept. Never waits.
    ///
    /// A frame that holds nothing may still keep much: a few bytes name a fetch session of very many partitions.
    pub(crate) fn park(&mut self, memory: &RequestMemory, keeps: usize) -> Parking {
        let holds_nothing = self.finisher.is_none() && self.parts.iter().all(Option::is_none);
        if holds_nothing && keeps <= FREE_KEEPS_MAX {
            return Parking::Free;
        }
        let permits = u32::try_from(keeps).unwrap_or(u32::MAX);
        match memory.parked.clone().try_acquire_many_owned(permits) {
            Ok(parked) => {
                *self = FrameMemory { parked: Some(parked), ..FrameMemory::default() };
                Parking::Free
            }
            Err(_) if self.finisher.is_some() || (holds_nothing && keeps > memory.parked_bytes / GREAT_PART) => {
                Parking::Never
            }
            Err(_) => Parking::Brief,
        }
    }

    fn add(&mut self, part: usize, permit: OwnedSemaphorePermit) {
        match &mut self.parts[part] {
            Some(held) => held.merge(permit),
            empty => *empty = Some(permit),
        }
    }
}

/// Memory for answers until they are written: the record data of fetches, and whatever else is greater than its request.
///
/// Whoever waits for it holds none of it, and who holds some writes, or reads with a deadline; a peer that keeps it by not taking its
/// answer gives way while somebody waits (`connection`), and so does a fetch that waits for more ([`AnswerMemory::becomes_short`]).
/// Hence everybody gets some in time.
#[derive(Debug)]
pub(crate) struct AnswerMemory {
    shared: Arc<Semaphore>,
    total: usize,
    waiting: AtomicUsize,
    shortage: Notify,
}

impl AnswerMemory {
    pub(crate) fn new(answers_bytes_max: usize) -> AnswerMemory {
        let total = answers_bytes_max.clamp(1, Semaphore::MAX_PERMITS);
        AnswerMemory {
            shared: Arc::new(Semaphore::new(total)),
            total,
            waiting: AtomicUsize::new(0),
            shortage: Notify::new(),
        }
    }

    /// Whether an answer waits for memory, so that whoever holds it without need harms another.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting() > 0
    }

    /// How many wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until an answer waits for memory.
    pub(crate) async fn becomes_short(&self) {
        loop {
            // Who begins to wait counts itself before it notifies, and this listens before it looks.
            let mut notified = std::pin::pin!(self.shortage.notified());
            notified.as_mut().enable();
            if self.is_short() {
                return;
            }
            notified.await;
        }
    }

    /// Waits until `bytes` (at most all there is) may be used; they are given back when the permit is dropped.
    pub(crate) async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        if let Some(permit) = self.try_take(bytes) {
            return permit;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.shortage.notify_waiters();
        let bytes = u32::try_from(bytes.min(self.total)).unwrap_or(u32::MAX);
        open(self.shared.clone().acquire_many_owned(bytes).await)
    }

    /// Waits for what an answer is expected to take; where that is little, it is counted when it is there.
    pub(crate) async fn take_ahead(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes > SMALL_ANSWER_BYTES_MAX { Some(self.take(bytes).await) } else { None }
    }

    /// The same for an answer of so many bytes that tells what there is, while its values are there as well. One that is greater than all of
    /// the memory is not made: what would be counted of it is not what it takes.
    ///
    /// # Errors
    /// It is too great.
    pub(crate) async fn take_to_tell(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        if bytes > self.total {
            return Err(Failure::answer_too_great());
        }
        Ok(self.take_ahead(COPIES * bytes).await)
    }

    /// What there is of it.
    pub(crate) fn total(&self) -> usize {
        self.total
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

/// How long who holds memory without need is borne by so many that wait: the less the more they are, so that the last of them waits for about as
/// long as one did. Else hundreds that come again whenever they are cut off would keep everybody waiting for all of them, a few at a time.
pub(crate) fn patience(waiting: usize, most: Duration, least: Duration) -> Duration {
    let crowds = u32::try_from(waiting / CROWD).unwrap_or(u32::MAX);
    (most / crowds.saturating_add(1)).max(least.min(most))
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
        const LARGE: usize = MEDIUM_FRAME_BYTES_MAX + 1;
        let memory = RequestMemory::new(228 + 50, 50, 1);
        let mut frames: Vec<FrameMemory> = Vec::new();
        for _ in 0..10 {
            let mut frame = FrameMemory::default();
            memory.grow(&mut frame, LARGE, 10).await;
            frames.push(frame);
        }
        // All that large frames may have is held by some of which each needs 10 more.
        let mut first = frames.remove(0);
        memory.grow(&mut first, LARGE, 10).await;
        assert!(first.finisher.is_some() && !memory.is_short(), "it has what it needs");
        let mut second = frames.remove(0);
        let mut grown = Box::pin(memory.grow(&mut second, LARGE, 10));
        assert!(grown.as_mut().now_or_never().is_none() && memory.is_short(), "one finisher at a time");
        drop(grown);
        assert!(!memory.is_short());
        drop(first);
        memory.grow(&mut second, LARGE, 10).await;
        assert!(second.finisher.is_none(), "the first one's shared memory is free again and preferred");
    }

    #[tokio::test]
    async fn as_many_finish_at_a_time_as_have_room_in_the_reserve_with_their_whole_lengths() {
        let memory = RequestMemory::new(8 + 50, 50, 1);
        let mut frames: [FrameMemory; 3] = Default::default();
        let [first, second, third] = &mut frames;
        for (frame, length) in [(&mut *first, 30), (second, 20)] {
            // They need no more than their first piece yet.
            memory.grow(frame, length, 10).now_or_never().expect("both have room in all");
            assert!(frame.finisher.is_some());
        }
        let mut waits = Box::pin(memory.grow(third, 20, 10));
        assert!(waits.as_mut().now_or_never().is_none() && memory.is_short());
        *first = FrameMemory::default();
        assert!(waits.now_or_never().is_some() && !memory.is_short());
    }

    #[test]
    fn the_more_wait_the_less_others_are_borne() {
        let (second, tenth) = (Duration::from_secs(1), Duration::from_millis(100));
        let borne = |waiting| patience(waiting, second, tenth);
        assert_eq!([1, 7, 8, 40].map(borne), [second, second, second / 2, second / 6]);
        assert_eq!([80, usize::MAX].map(borne), [tenth, tenth]);
        assert_eq!(patience(1000, tenth, second), tenth);
    }

    #[tokio::test]
    async fn larger_frames_leave_smaller_ones_their_part_which_may_have_all() {
        let memory = RequestMemory::new(457 + 1, 1, 1);
        let lengths = [MEDIUM_FRAME_BYTES_MAX + 1, SMALL_FRAME_BYTES_MAX + 1, SMALL_FRAME_BYTES_MAX];
        let mut held = Vec::new();
        let mut counts = Vec::new();
        for length in lengths {
            let before = held.len();
            loop {
                let mut frame = FrameMemory::default();
                let grown = memory.grow(&mut frame, length, 10).now_or_never();
                if grown.is_none() || frame.finisher.is_some() {
                    break;
                }
                held.push(frame);
            }
            counts.push(held.len() - before);
        }
        assert_eq!(counts, [20, 10, 10]);
        held.clear();
        for _ in 0..40 {
            let mut frame = FrameMemory::default();
            memory.grow(&mut frame, 10, 10).now_or_never().expect("all parts are open to small frames");
            assert!(frame.finisher.is_none());
            held.push(frame);
        }
        let (mut next, mut large) = (FrameMemory::default(), FrameMemory::default());
        large.finisher = Some(memory.finishers.clone().try_acquire_owned().unwrap());
        let mut waits = Box::pin(memory.grow(&mut next, 10, 10));
        assert!(waits.as_mut().now_or_never().is_none());
        // The last one has memory of the part that is open to large ones as well.
        held.pop();
        assert!(waits.now_or_never().is_some());
        assert!(next.parts[0].is_some());
    }

    #[tokio::test]
    async fn a_request_that_waits_for_others_gives_its_frames_memory_back_or_does_not_wait_long() {
        let memory = RequestMemory::new(80 + 10, 10, 1);
        assert_eq!(FrameMemory::default().park(&memory, FREE_KEEPS_MAX), Parking::Free, "it holds nothing");
        assert_eq!(FrameMemory::default().park(&memory, FREE_KEEPS_MAX + 1), Parking::Never, "but keeps too much");
        let mut frames = Vec::new();
        for _ in 0..5 {
            let mut frame = FrameMemory::default();
            memory.grow(&mut frame, 70, 17).await;
            frames.push(frame);
        }
        assert!(frames[4].finisher.is_some());
        assert_eq!(frames[4].park(&memory, 11), Parking::Never);
        assert_eq!(frames[4].park(&memory, 4), Parking::Free);
        assert!(frames[4].finisher.is_none());
        assert_eq!((frames[0].park(&memory, 7), frames[0].park(&memory, 6)), (Parking::Brief, Parking::Free));
        let mut next = FrameMemory::default();
        memory.grow(&mut next, 70, 17).now_or_never().expect("there is room again");
        assert!(next.finisher.is_none());
        assert_eq!(next.park(&memory, 1), Parking::Brief);
        frames.clear();
        assert_eq!(next.park(&memory, 10), Parking::Free);
    }

    #[test]
    fn produces_that_wait_for_one_log_leave_the_others_theirs() {
        let memory = RequestMemory::new(457 + 1, 1, 2);
        let mut waits: Vec<LogWait<'_>> = std::iter::from_fn(|| memory.wait_for_log(0, 20)).take(100).collect();
        assert_eq!(waits.len(), 5, "of 400 bytes, half, with the frame behind each");
        assert!(memory.wait_for_log(1, 20).is_some());
        waits.pop();
        assert!(memory.wait_for_log(0, 20).is_some());
        let alone = RequestMemory::new(457 + 1, 1, 1);
        assert_eq!(std::iter::from_fn(|| alone.wait_for_log(0, 20)).take(100).count(), 100);
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
    async fn what_there_is_to_tell_is_told_where_it_fits_into_all_and_else_refused() {
        const TOTAL: usize = SMALL_ANSWER_BYTES_MAX + 1;
        let memory = AnswerMemory::new(TOTAL);
        assert!(memory.take_to_tell(1).await.unwrap().is_none(), "it is counted when it is there");
        let held = memory.take_to_tell(TOTAL).await.unwrap().unwrap();
        assert_eq!(held.num_permits(), TOTAL);
        assert!(memory.take_to_tell(TOTAL + 1).now_or_never().unwrap().is_err(), "nobody waits for that");
    }

    #[tokio::test]
    async fn who_keeps_memory_without_need_hears_when_it_is_short() {
        let memory = AnswerMemory::new(100);
        let held = memory.take(80).await;
        let mut hears = Box::pin(memory.becomes_short());
        assert!(hears.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(memory.take(30));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(hears.now_or_never().is_some() && memory.becomes_short().now_or_never().is_some());
        drop(held);
        assert!(waits.now_or_never().is_some() && memory.becomes_short().now_or_never().is_none());
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
