//! What is done to the records of a batch, for `checks`, which says when.

use crate::error::Failure;
use bytes::Bytes;
use protocol::record_batch::{
    BatchError, Downconvert, Downconverted, Level, OldFormat, Pace, RecompressBounds, RecordBatch, RecordHead,
    RecordWalk, Upconvert, downconverted, recompressed, upconverted,
};
use std::future::Future;
use std::marker::PhantomData;
use std::ops::ControlFlow;

/// Work on one batch's records, which can be begun anew.
pub(crate) trait Job: Sync {
    type Output: Send;

    fn run(&self, pace: &mut impl Pace) -> impl Future<Output = Self::Output> + Send;
}

/// Shows each record to `visit`: the state at the end, and how many bytes were decompressed for it.
pub(crate) struct Walk<'a, S, V> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) decompressed_max: usize,
    pub(crate) visit: V,
    pub(crate) state: PhantomData<fn() -> S>,
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
pub(crate) struct Recompress<'a> {
    pub(crate) batch: &'a RecordBatch,
    pub(crate) level: Level,
    pub(crate) bounds: RecompressBounds,
}

impl Job for Recompress<'_> {
    type Output = Result<RecordBatch, BatchError>;

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        recompressed(self.batch, self.level, self.bounds, pace).await
    }
}

/// Makes a batch of messages; and how many bytes were decompressed for it.
pub(crate) struct Up<'a> {
    pub(crate) set: &'a Bytes,
    pub(crate) format: OldFormat,
    pub(crate) how: Upconvert,
}

impl Job for Up<'_> {
    type Output = (Result<RecordBatch, BatchError>, usize);

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        upconverted(self.set, self.format, self.how, pace).await
    }
}

/// Makes messages of batches.
pub(crate) struct Down<'a> {
    pub(crate) stored: &'a Bytes,
    pub(crate) how: Downconvert,
}

impl Job for Down<'_> {
    type Output = Result<Downconverted, BatchError>;

    async fn run(&self, pace: &mut impl Pace) -> Self::Output {
        downconverted(self.stored, self.how, pace).await
    }
}
