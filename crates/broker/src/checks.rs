//! Walks over records, compressing them otherwise, and converting them from and to the older formats, on the workers that serve everybody: in slices, and those that are a lot of work
//! few at a time.
//!
//! A batch of a hundred KiB may decompress to a hundred MiB. So that it stops nobody else, a walk gets a small part of the worker at
//! once; what is not done by then is *heavy*: it waits for one of few places, begins anew, and lets others run after each slice.
//! Guarantees: a worker does little more than [`SLICE_COST`] and [`AT_ONCE_COST`] in one go; no decompressor is kept while it waits for a
//! place; no thread of its own, so the simulator decides the order here too (docs/adr/0160-records-are-checked-in-slices.md). What is
//! converted for old consumers has places of its own, so that it holds no producer up.
//! What is looked for in the records, and how a topic wants them compressed, is left to `batch_check` and `time_index`.

use crate::check_jobs::{Down, Job, Recompress, Up, Walk};
use crate::error::Failure;
use base::Micros;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{self, Stream};
use protocol::record_batch::{
    BatchError, Downconvert, Downconverted, Level, OldFormat, Pace, RecompressBounds, RecordBatch, RecordHead,
    Upconvert,
};
use std::future::pending;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use world::{Clock, ClockExt};

/// What a walk may cost without a place: about 1 ms of a worker, and what producers send in practice.
const AT_ONCE_COST: usize = 1024 * 1024;

/// After so much others get their turn.
const SLICE_COST: usize = 256 * 1024;

/// What the walks of one request may cost without a place: so much,
const REQUEST_AT_ONCE_COST: usize = 4 * 1024 * 1024;
/// and so much for each of its bytes.
const REQUEST_AT_ONCE_FACTOR: usize = 8;

/// Records of one request may decompress to what one batch may, and to so much for each of its bytes.
const REQUEST_RATIO_MAX: usize = 16;

/// A byte of a batch costs its checksum, which is fast: so many of them are one.
const CHECKSUM_BYTES: usize = 16;

/// The places for heavy walks, shared by all requests.
pub(crate) struct Checks {
    places: Arc<Semaphore>,
    /// The same for what old consumers are sent.
    conversions: Arc<Semaphore>,
}

/// What one request has used of what it may.
pub(crate) struct Work {
    /// Cost that it may still cause without a place.
    at_once: usize,
    /// Bytes that its batches may still decompress to.
    decompressed: usize,
    /// Cost since others had their turn.
    slice: usize,
    /// A place is waited for until then.
    deadline: Micros,
    /// A place that it has: what is done meanwhile is done there.
    place: Option<OwnedSemaphorePermit>,
    /// Whether it keeps a place that it got until it leaves it.
    keeps_place: bool,
    /// What it has cost in places.
    spent: usize,
}

impl Work {
    pub(crate) fn of(request_bytes: usize, decompressed_max: usize, deadline: Micros) -> Work {
        Work {
            at_once: request_bytes.saturating_mul(REQUEST_AT_ONCE_FACTOR).saturating_add(REQUEST_AT_ONCE_COST),
            decompressed: request_bytes.saturating_mul(REQUEST_RATIO_MAX).saturating_add(decompressed_max),
            slice: 0,
            deadline,
            place: None,
            keeps_place: false,
            spent: 0,
        }
    }

    /// Keeps each place until [`Work::leave_place`], as what belongs together is to wait for one only once.
    pub(crate) fn keeping_places(self) -> Work {
        Work { keeps_place: true, ..self }
    }

    /// Gives its place to the next: before it waits for anything else.
    pub(crate) fn leave_place(&mut self) {
        self.place = None;
    }

    /// What it has cost in places, as walks count it: a MiB is about a millisecond.
    pub(crate) fn spent(&self) -> usize {
        self.spent
    }

    /// Until when it waits for its turn.
    pub(crate) fn deadline(&self) -> Micros {
        self.deadline
    }

    /// What is left until a place is no longer waited for.
    pub(crate) fn left(&self, clock: &dyn Clock) -> Duration {
        self.deadline.since(clock.now())
    }

    fn count_decompressed(&mut self, bytes: usize) {
        self.decompressed = self.decompressed.saturating_sub(bytes);
    }

    /// Lets others run if it is time.
    pub(crate) async fn give_way(&mut self) {
        if self.slice >= SLICE_COST {
            self.slice = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Names of a request that are looked at in one go: about 1 ms of a worker.
const STEPS_TOGETHER: usize = 2048;

/// A walk over all that a request names, which may be millions: others get their turn now and then.
#[derive(Default)]
pub(crate) struct Steps(usize);

impl Steps {
    /// One name more; lets others run if it is time.
    pub(crate) async fn next(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(STEPS_TOGETHER) {
            tokio::task::yield_now().await;
        }
    }
}

/// These one after the other, in such steps.
pub(crate) fn in_steps<I>(items: I) -> impl Stream<Item = I::Item> + Send
where
    I: IntoIterator<Item: Send, IntoIter: Send>,
{
    stream::unfold((items.into_iter(), Steps::default()), |(mut items, mut steps)| async move {
        let item = items.next()?;
        steps.next().await;
        Some((item, (items, steps)))
    })
}

/// Gives up where the work turns out to be heavy.
struct AtOnce(usize);

impl Pace for AtOnce {
    async fn spent(&mut self, cost: usize) {
        match self.0.checked_sub(cost) {
            Some(left) => self.0 = left,
            None => pending().await,
        }
    }
}

/// Goes on to the end, in slices.
#[derive(Default)]
pub(crate) struct Sliced {
    slice: usize,
    all: usize,
}

impl Pace for Sliced {
    async fn spent(&mut self, cost: usize) {
        self.slice += cost;
        self.all += cost;
        if self.slice >= SLICE_COST {
            self.slice = 0;
            tokio::task::yield_now().await;
        }
    }
}

impl Checks {
    pub(crate) fn new(heavy_checks_max: usize) -> Checks {
        let places = || Arc::new(Semaphore::new(heavy_checks_max.clamp(1, Semaphore::MAX_PERMITS)));
        Checks { places: places(), conversions: places() }
    }

    /// Shows each record of the batch to `visit`, with a state that begins as the default; that state at the end, or where `visit`
    /// breaks off. A heavy batch's first records may be shown twice, to two states.
    pub(crate) async fn walk<S: Default + Send>(
        &self,
        clock: &dyn Clock,
        work: &mut Work,
        (batch, decompressed_max): (&RecordBatch, usize),
        visit: impl Fn(&mut S, &RecordHead) -> Result<ControlFlow<()>, Failure> + Sync,
    ) -> Result<S, Failure> {
        let job = Walk { batch, decompressed_max: decompressed_max.min(work.decompressed), visit, state: PhantomData };
        let (walked, decompressed) = self.run(clock, work, batch.bytes().len(), &job).await?;
        work.count_decompressed(decompressed);
        walked.map_err(|failure| of_request(failure, decompressed_max))
    }

    /// The batch that a produced message set becomes. It is yet to be walked over.
    pub(crate) async fn upconvert(
        &self,
        clock: &dyn Clock,
        work: &mut Work,
        (set, format): (&Bytes, OldFormat),
        mut how: Upconvert,
    ) -> Result<RecordBatch, Failure> {
        let decompressed_max = how.bounds.decompressed_max;
        how.bounds.decompressed_max = decompressed_max.min(work.decompressed);
        let (batch, decompressed) = self.run(clock, work, set.len(), &Up { set, format, how }).await?;
        work.count_decompressed(decompressed);
        batch.map_err(|error| of_request(error.into(), decompressed_max))
    }

    /// The messages that a stored batch becomes. None where that is a lot of work and all places are taken: see
    /// [`Checks::wait_to_convert`]. A place that it gets stays with the work.
    pub(crate) async fn downconvert(
        &self,
        work: &mut Work,
        batch: &RecordBatch,
        how: Downconvert,
    ) -> Result<Option<Downconverted>, Failure> {
        let stored = batch.bytes();
        let job = Down { stored, how };
        if work.place.is_none() {
            if let Some(converted) = at_once(work, stored.len(), &job).await {
                return Ok(Some(converted?));
            }
            let Ok(place) = self.conversions.clone().try_acquire_owned() else { return Ok(None) };
            work.place = Some(place);
        }
        Ok(Some(in_slices(work, &job).await?))
    }

    /// Waits for a place to convert what is stored. Whoever does holds no memory that others wait for.
    pub(crate) async fn wait_to_convert(&self, clock: &dyn Clock, work: &mut Work) -> Result<(), Failure> {
        let place = clock.timeout(work.left(clock), self.conversions.clone().acquire_owned()).await;
        work.place = Some(place.ok_or(Failure::TooMuchToCheck)?.expect(NEVER_CLOSED));
        Ok(())
    }

    /// The batch with its records compressed like this. They have been walked over already, which has counted what they decompress to.
    pub(crate) async fn recompress(
        &self,
        clock: &dyn Clock,
        work: &mut Work,
        batch: &RecordBatch,
        level: Level,
        bounds: RecompressBounds,
    ) -> Result<RecordBatch, Failure> {
        Ok(self.run(clock, work, batch.bytes().len(), &Recompress { batch, level, bounds }).await??)
    }

    /// Runs a job at once where it is little work, or else from its beginning in one of the places, in slices.
    async fn run<J: Job>(
        &self,
        clock: &dyn Clock,
        work: &mut Work,
        stored_bytes: usize,
        job: &J,
    ) -> Result<J::Output, Failure> {
        if work.place.is_none() {
            if let Some(output) = at_once(work, stored_bytes, job).await {
                return Ok(output);
            }
            let place = clock.timeout(work.left(clock), self.places.clone().acquire_owned()).await;
            work.place = Some(place.ok_or(Failure::TooMuchToCheck)?.expect(NEVER_CLOSED));
        }
        let output = in_slices(work, job).await;
        if !work.keeps_place {
            work.leave_place();
        }
        Ok(output)
    }
}

const NEVER_CLOSED: &str = "these semaphores are never closed";

/// Runs a job where it is little work; else none, and others have had their turn.
async fn at_once<J: Job>(work: &mut Work, stored_bytes: usize, job: &J) -> Option<J::Output> {
    work.give_way().await;
    let at_once = work.at_once.min(AT_ONCE_COST);
    let mut pace = AtOnce(at_once);
    let quick = job.run(&mut pace).now_or_never();
    let cost = at_once - pace.0 + stored_bytes / CHECKSUM_BYTES;
    work.slice += cost;
    work.at_once = work.at_once.saturating_sub(cost);
    if quick.is_none() {
        work.slice = SLICE_COST;
        work.give_way().await;
    }
    quick
}

/// Runs a job in the place that the work has.
async fn in_slices<J: Job>(work: &mut Work, job: &J) -> J::Output {
    work.give_way().await;
    let mut pace = Sliced { slice: work.slice, all: 0 };
    let output = job.run(&mut pace).await;
    work.slice = pace.slice;
    work.spent = work.spent.saturating_add(pace.all);
    output
}

/// What is wrong, to its producer: where the bound was less than a batch's own, it is not the batch that is too large, but what came before
/// it.
fn of_request(failure: Failure, decompressed_max: usize) -> Failure {
    match failure {
        Failure::Batch(BatchError::DecompressedSize(max)) if max < decompressed_max => Failure::TooMuchToCheck,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_clock::TestClock;
    use protocol::error_code::ErrorCode;
    use protocol::record_batch::{BatchBuilder, Compression, NewRecord};

    const MIB: usize = 1024 * 1024;

    fn bomb(bytes: usize) -> RecordBatch {
        let value = vec![0; bytes];
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        BatchBuilder::new().compression(Compression::Zstd).record(&record).build(0).unwrap()
    }

    async fn count(checks: &Checks, work: &mut Work, batch: &RecordBatch) -> Result<usize, ErrorCode> {
        let clock = TestClock::shared();
        let visit = |seen: &mut usize, _: &RecordHead| {
            *seen += 1;
            Ok(ControlFlow::Continue(()))
        };
        checks.walk(clock.as_ref(), work, (batch, 16 * MIB), visit).await.map_err(|failure| failure.code())
    }

    fn work(request_bytes: usize) -> Work {
        Work::of(request_bytes, 16 * MIB, Micros(0).plus(Duration::from_millis(200)))
    }

    /// Runs `one`; how often others had their turn meanwhile.
    async fn turns<T>(one: impl Future<Output = T>) -> (T, usize) {
        let mut others = 0;
        let other = async {
            loop {
                others += 1;
                tokio::task::yield_now().await;
            }
        };
        let done = tokio::select! { biased; done = one => done, () = other => unreachable!() };
        (done, others)
    }

    #[tokio::test]
    async fn a_heavy_batch_lets_others_run_after_each_slice_and_a_light_one_is_done_at_once() {
        let checks = Checks::new(1);
        let (light, turns_light) = turns(count(&checks, &mut work(1000), &bomb(MIB / 2))).await;
        let (heavy, turns_heavy) = turns(count(&checks, &mut work(1000), &bomb(8 * MIB))).await;
        assert_eq!((light, heavy), (Ok(1), Ok(1)));
        assert_eq!(turns_light, 0);
        assert!(turns_heavy >= 30, "{turns_heavy} turns in 32 slices");
    }

    #[tokio::test]
    async fn heavy_batches_wait_for_a_place_until_their_deadline_and_light_ones_do_not() {
        let checks = Checks::new(1);
        let held = checks.places.acquire().await.unwrap();
        assert_eq!(count(&checks, &mut work(1000), &bomb(MIB / 2)).await, Ok(1));
        assert_eq!(count(&checks, &mut work(1000), &bomb(2 * MIB)).await, Err(ErrorCode::RequestTimedOut));
        let mut many = work(0);
        for _ in 0..7 {
            assert_eq!(count(&checks, &mut many, &bomb(MIB / 2)).await, Ok(1));
        }
        assert_eq!(count(&checks, &mut many, &bomb(MIB / 2)).await, Err(ErrorCode::RequestTimedOut), "many light ones");
        drop(held);
        assert_eq!(count(&checks, &mut many, &bomb(MIB / 2)).await, Ok(1));
    }

    #[tokio::test]
    async fn what_belongs_together_keeps_its_place_until_it_leaves_it() {
        let checks = Checks::new(1);
        let mut one = work(1000).keeping_places();
        assert_eq!(count(&checks, &mut one, &bomb(2 * MIB)).await, Ok(1));
        assert_eq!(count(&checks, &mut work(1000), &bomb(2 * MIB)).await, Err(ErrorCode::RequestTimedOut));
        assert_eq!(count(&checks, &mut one, &bomb(2 * MIB)).await, Ok(1));
        one.leave_place();
        let mut other = work(1000);
        assert_eq!(count(&checks, &mut other, &bomb(2 * MIB)).await, Ok(1));
        assert!(other.place.is_none());
    }

    #[tokio::test]
    async fn old_consumers_have_places_of_their_own() {
        let checks = Checks::new(1);
        let value = vec![0; 2 * MIB];
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        let stored = BatchBuilder::new().compression(Compression::Gzip).record(&record).build(0).unwrap();
        let how = Downconvert { format: OldFormat::V1, from: 0, bytes_max: MIB, decompressed_max: 16 * MIB };
        let (mut first, mut second) = (work(0), work(0));
        assert_eq!(checks.downconvert(&mut first, &stored, how).await.unwrap().unwrap().next, 1);
        assert!(first.spent() > 2 * MIB);
        assert_eq!(checks.downconvert(&mut second, &stored, how).await.unwrap(), None, "its place is taken");
        assert_eq!(count(&checks, &mut work(1000), &bomb(2 * MIB)).await, Ok(1), "but no producer's");
        let clock = TestClock::shared();
        assert!(checks.wait_to_convert(clock.as_ref(), &mut second).now_or_never().is_none());
        drop(first);
        checks.wait_to_convert(clock.as_ref(), &mut second).await.unwrap();
        assert_eq!(checks.downconvert(&mut second, &stored, how).await.unwrap().unwrap().next, 1);
    }

    #[tokio::test]
    async fn what_a_request_decompresses_to_in_all_is_bounded_and_the_rest_may_be_sent_again() {
        let checks = Checks::new(1);
        let mut work = work(MIB / 16);
        let mut outcomes = Vec::new();
        for _ in 0..4 {
            outcomes.push(count(&checks, &mut work, &bomb(8 * MIB)).await);
        }
        let refused = Err(ErrorCode::RequestTimedOut);
        assert_eq!(outcomes, [Ok(1), Ok(1), refused, refused], "17 MiB in all");
        assert_eq!(work.decompressed, 0, "what is refused has been work as well");
        let mut fresh = super::tests::work(0);
        assert_eq!(count(&checks, &mut fresh, &bomb(17 * MIB)).await, Err(ErrorCode::MessageTooLarge), "one batch");
    }
}
