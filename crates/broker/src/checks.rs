//! Walks over records, compressing them otherwise, and converting them from and to the older formats, on the workers that serve everybody: in slices, and those that are a lot of work
//! few at a time.
//!
//! A batch of a hundred KiB may decompress to a hundred MiB. So that it stops nobody else, a walk gets a small part of the worker at
//! once; what is not done by then is *heavy*: it waits for one of few places, begins anew, and lets others run after each slice.
//! Guarantees: a worker does little more than [`SLICE_COST`] and [`AT_ONCE_COST`] in one go; no decompressor is kept while it waits for a
//! place; no thread of its own, so the simulator decides the order here too (docs/adr/0160-records-are-checked-in-slices.md).
//! What is looked for in the records, and how a topic wants them compressed, is left to `batch_check` and `time_index`.

use crate::error::Failure;
use base::Micros;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::{self, Stream};
use protocol::record_batch::{
    BatchError, Downconvert, Downconverted, Level, OldFormat, Pace, RecompressBounds, RecordBatch, RecordHead,
    RecordWalk, Upconvert, downconverted, recompressed, upconverted,
};
use std::future::{Future, pending};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use tokio::sync::Semaphore;
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
    places: Semaphore,
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
}

impl Work {
    pub(crate) fn of(request_bytes: usize, decompressed_max: usize, deadline: Micros) -> Work {
        Work {
            at_once: request_bytes.saturating_mul(REQUEST_AT_ONCE_FACTOR).saturating_add(REQUEST_AT_ONCE_COST),
            decompressed: request_bytes.saturating_mul(REQUEST_RATIO_MAX).saturating_add(decompressed_max),
            slice: 0,
            deadline,
        }
    }

    /// Until when it waits for its turn.
    pub(crate) fn deadline(&self) -> Micros {
        self.deadline
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
pub(crate) struct Sliced(usize);

impl Pace for Sliced {
    async fn spent(&mut self, cost: usize) {
        self.0 += cost;
        if self.0 >= SLICE_COST {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

impl Checks {
    pub(crate) fn new(heavy_checks_max: usize) -> Checks {
        Checks { places: Semaphore::new(heavy_checks_max.clamp(1, Semaphore::MAX_PERMITS)) }
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

    /// The messages that these stored batches become; a place is waited for until the deadline. Of several in a row each lets others run.
    pub(crate) async fn downconvert(
        &self,
        clock: &dyn Clock,
        deadline: Micros,
        stored: &Bytes,
        how: Downconvert,
    ) -> Result<Downconverted, Failure> {
        tokio::task::yield_now().await;
        let mut work = Work::of(0, usize::MAX, deadline);
        Ok(self.run(clock, &mut work, stored.len(), &Down { stored, how }).await??)
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
        work.give_way().await;
        let at_once = work.at_once.min(AT_ONCE_COST);
        let mut pace = AtOnce(at_once);
        let quick = job.run(&mut pace).now_or_never();
        let cost = at_once - pace.0 + stored_bytes / CHECKSUM_BYTES;
        work.slice += cost;
        work.at_once = work.at_once.saturating_sub(cost);
        if let Some(output) = quick {
            return Ok(output);
        }
        work.slice = SLICE_COST;
        work.give_way().await;
        let left = work.deadline.since(clock.now());
        let _place = clock.timeout(left, self.places.acquire()).await.ok_or(Failure::TooMuchToCheck)?;
        Ok(job.run(&mut Sliced(0)).await)
    }
}

/// What is wrong, to its producer: where the bound was less than a batch's own, it is not the batch that is too large, but what came before
/// it.
fn of_request(failure: Failure, decompressed_max: usize) -> Failure {
    match failure {
        Failure::Batch(BatchError::DecompressedSize(max)) if max < decompressed_max => Failure::TooMuchToCheck,
        other => other,
    }
}

/// Work on one batch's records, which can be begun anew.
trait Job: Sync {
    type Output: Send;

    fn run(&self, pace: &mut impl Pace) -> impl Future<Output = Self::Output> + Send;
}

/// Shows each record to `visit`: the state at the end, and how many bytes were decompressed for it.
struct Walk<'a, S, V> {
    batch: &'a RecordBatch,
    decompressed_max: usize,
    visit: V,
    state: PhantomData<fn() -> S>,
}

impl<S, V> Job for Walk<'_, S, V>
where
    S: Default + Send,
    V: Fn(&mut S, &RecordHead) -> Result<ControlFlow<()>, Failure> + Sync,
{
    type Output = (Result<S, Failure>, usize);

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        let mut walk = match RecordWalk::new(self.batch, self.decompressed_max) {
            Ok(walk) => walk,
            Err(error) => return (Err(error.into()), 0),
        };
        let seen = async {
            let mut state = S::default();
            while let Some(head) = walk.next(pace).await? {
                if (self.visit)(&mut state, &head)?.is_break() {
                    break;
                }
            }
            Ok(state)
        };
        let seen = seen.await;
        (seen, walk.decompressed())
    }
}

/// Compresses the records otherwise.
struct Recompress<'a> {
    batch: &'a RecordBatch,
    level: Level,
    bounds: RecompressBounds,
}

impl Job for Recompress<'_> {
    type Output = Result<RecordBatch, BatchError>;

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        recompressed(self.batch, self.level, self.bounds, pace).await
    }
}

/// Makes a batch of messages; and how many bytes were decompressed for it.
struct Up<'a> {
    set: &'a Bytes,
    format: OldFormat,
    how: Upconvert,
}

impl Job for Up<'_> {
    type Output = (Result<RecordBatch, BatchError>, usize);

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        upconverted(self.set, self.format, self.how, pace).await
    }
}

/// Makes messages of batches.
struct Down<'a> {
    stored: &'a Bytes,
    how: Downconvert,
}

impl Job for Down<'_> {
    type Output = Result<Downconverted, BatchError>;

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        downconverted(self.stored, self.how, pace).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_clock::TestClock;
    use protocol::error_code::ErrorCode;
    use protocol::record_batch::{BatchBuilder, Compression, NewRecord};
    use std::time::Duration;

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
