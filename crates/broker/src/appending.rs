//! Appending to a partition with patience: what can be waited for is, until a deadline.
//!
//! Between `partition`, which never waits, and those who append: `handler::produce`, `handler::write_txn_markers`. Waited for: room in the
//! write-ahead log, the state of the partition's producers, the partition's move from one log to another.

use crate::Shared;
use crate::error::Failure;
use crate::partition::{Appended, Partition};
use base::Micros;
use stream::{AppendError, SequenceError};
use world::ClockExt;

/// How patient one append may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) deadline: Micros,
    /// What the request holds in memory while it waits.
    pub(crate) frame_bytes: usize,
}

/// Enqueues by `enqueue`, waiting until the deadline for room in the WAL, and for the state of the partition's producers, which an idempotent
/// producer's first batch brings into memory.
pub(crate) async fn append(
    broker: &Shared,
    partition: &mut Partition,
    patience: Patience,
    enqueue: impl Fn(&Partition) -> Result<Appended, AppendError> + Send,
) -> Result<Appended, Failure> {
    let deadline = patience.deadline;
    loop {
        // Moved to another log meanwhile, and led by this broker still.
        if partition.is_over()
            && let Some(next) = broker.partitions.owned(partition.id())
        {
            *partition = next;
        }
        match enqueue(partition) {
            Ok(appended) => return Ok(appended),
            Err(error @ (AppendError::Busy | AppendError::TooFarAhead)) => {
                let Some(_wait) = broker.frames.memory.wait_for_log(partition.log_index(), patience.frame_bytes) else {
                    return Err(error.into());
                };
                let left = deadline.since(broker.clock.now());
                if left.is_zero() || broker.clock.timeout(left, partition.room()).await.is_none() {
                    return Err(error.into());
                }
                // There may be room for less than this batch: whoever makes more must have a turn.
                tokio::task::yield_now().await;
            }
            Err(AppendError::ProducersAway) => {
                let left = deadline.since(broker.clock.now());
                match broker.clock.timeout(left, partition.load_producers()).await {
                    Some(loaded) => loaded?,
                    None => return Err(AppendError::ProducersAway.into()),
                }
            }
            // That a batch is missing here says something only if nobody else leads the partition: a deposed leader that has not
            // noticed would tell a client off for what its successor has.
            Err(error @ AppendError::Sequence(SequenceError::OutOfOrder { .. })) => {
                let left = deadline.since(broker.clock.now());
                return match broker.clock.timeout(left, partition.is_still_owned()).await {
                    None => Err(Failure::TimedOut),
                    Some(Err(trouble)) => Err(trouble.into()),
                    Some(Ok(false)) => Err(Failure::NotLeader),
                    Some(Ok(true)) => Err(error.into()),
                };
            }
            Err(AppendError::NotOwner) if partition.is_over() && broker.partitions.owned(partition.id()).is_some() => {}
            Err(AppendError::TooManyProducers) if partition.has_room_for_a_producer() => {}
            Err(error @ AppendError::Gap { .. }) => {
                tracing::error!("append batch: {error}; this is a bug");
                return Err(error.into());
            }
            Err(
                error @ (AppendError::NotOwner
                | AppendError::TooLarge { .. }
                | AppendError::TooManyProducers
                | AppendError::Sequence(_)),
            ) => return Err(error.into()),
        }
    }
}

/// Waits until what was appended is durable.
pub(crate) async fn confirm(broker: &Shared, appended: Appended, deadline: Micros) -> Result<(), Failure> {
    let left = deadline.since(broker.clock.now());
    match broker.clock.timeout(left, appended.confirmed()).await {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::Unconfirmed),
        None => Err(Failure::TimedOut),
    }
}
