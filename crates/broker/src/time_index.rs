//! Finds records by their timestamps: the last steps of ListOffsets by time.
//!
//! The stream knows the greatest timestamp of each batch; which record of a batch has it, or is the first at or after a time, is
//! in the batch. Timestamps need not rise, neither from batch to batch nor within one. A batch whose header promises a timestamp
//! that none of its records has is passed over. How much of the worker the search takes is left to `checks`.

use crate::Shared;
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::checks::Work;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Offset, OffsetRange, UnixMillis};
use protocol::record_batch::{self, RecordBatch, RecordHead};
use protocol::wire::Records;
use std::ops::ControlFlow;
use stream::ReadError;

/// Bytes read at a time; the wanted batch is mostly the first.
const READ_BYTES: usize = 64 * 1024;

/// A record's offset and timestamp.
pub(crate) type Found = (Offset, UnixMillis);

/// The first record at or after the stream's place for `target` that has a timestamp of at least `target`.
pub(crate) async fn first_from(
    broker: &Shared,
    work: &mut Work,
    partition: &Partition,
    target: UnixMillis,
) -> Result<Option<Found>, Failure> {
    let Some(mut from) = partition.seek_time(target).await? else { return Ok(None) };
    let log_start = partition.log_start();
    while from < partition.high_watermark() {
        let batches = partition.read(from, READ_BYTES).await?;
        let bytes = batches.pieces.into_iter().collect::<Records>().to_bytes();
        for batch in record_batch::batches(bytes) {
            let batch = batch.map_err(|error| damaged(from, &error))?;
            let found = first_in(broker, work, &batch, (log_start, target)).await;
            if let Some(found) = found.map_err(|failure| told(from, failure))? {
                return Ok(Some(found));
            }
        }
        if batches.next <= from {
            return Err(damaged(from, &"a read that does not advance").into());
        }
        from = batches.next;
    }
    Ok(None)
}

async fn first_in(
    broker: &Shared,
    work: &mut Work,
    batch: &RecordBatch,
    (log_start, target): (Offset, UnixMillis),
) -> Result<Option<Found>, Failure> {
    if batch.max_timestamp() < target.0 {
        return Ok(None);
    }
    if has_one_time(batch) {
        let base = Offset::from_kafka(batch.base_offset()).unwrap_or_default();
        return Ok(Some((base.max(log_start), UnixMillis(batch.max_timestamp()))));
    }
    let visit = |found: &mut Option<Found>, record: &RecordHead| {
        let offset = Offset::from_kafka(record.offset).filter(|offset| *offset >= log_start);
        *found = offset.filter(|_| record.timestamp >= target.0).map(|offset| (offset, UnixMillis(record.timestamp)));
        Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    broker.checks.walk(broker.clock.as_ref(), work, (batch, DECOMPRESSED_BYTES_MAX), visit).await
}

/// Whether all its records have the broker's time, and its first one is still there: log compaction may have taken any.
fn has_one_time(batch: &RecordBatch) -> bool {
    batch.is_log_append_time() && i64::from(batch.record_count()) == i64::from(batch.last_offset_delta()) + 1
}

/// What went wrong with a stored batch, as a reader is told.
fn told(from: Offset, failure: Failure) -> Failure {
    match failure {
        Failure::Batch(error) => damaged(from, &error).into(),
        other => other,
    }
}

fn damaged(from: Offset, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt(format!("records from offset {from} on: {what}"))
}

/// The first record that has the greatest timestamp of all; none where no record has one.
pub(crate) async fn greatest(
    broker: &Shared,
    work: &mut Work,
    partition: &Partition,
) -> Result<Option<Found>, Failure> {
    let known = partition.greatest_time().await?;
    let batch = known.batch.map(|at| OffsetRange::new(at, at.plus(1)));
    let mut best = None;
    for range in batch.into_iter().chain(known.unsure) {
        best = better(best, greatest_of(broker, work, partition, range).await?);
    }
    Ok(best)
}

/// The same of the batches that hold offsets of `range`.
async fn greatest_of(
    broker: &Shared,
    work: &mut Work,
    partition: &Partition,
    range: OffsetRange,
) -> Result<Option<Found>, Failure> {
    let mut best = None;
    let mut from = range.base;
    while from < range.next {
        let batches = partition.read(from, READ_BYTES).await?;
        let bytes = batches.pieces.into_iter().collect::<Records>().to_bytes();
        for batch in record_batch::batches(bytes) {
            let batch = batch.map_err(|error| damaged(from, &error))?;
            if batch.base_offset() >= range.next.to_kafka() {
                return Ok(best);
            }
            let found = greatest_in(broker, work, &batch, partition.log_start()).await;
            let found = found.map_err(|failure| told(from, failure))?;
            best = better(best, found);
        }
        if batches.next <= from {
            return Err(damaged(from, &"a read that does not advance").into());
        }
        from = batches.next;
    }
    Ok(best)
}

async fn greatest_in(
    broker: &Shared,
    work: &mut Work,
    batch: &RecordBatch,
    log_start: Offset,
) -> Result<Option<Found>, Failure> {
    if has_one_time(batch) {
        let base = Offset::from_kafka(batch.base_offset()).unwrap_or_default();
        return Ok(Some((base.max(log_start), UnixMillis(batch.max_timestamp()))));
    }
    let visit = |best: &mut Option<Found>, record: &RecordHead| {
        let offset = Offset::from_kafka(record.offset).filter(|offset| *offset >= log_start && record.timestamp >= 0);
        *best = better(*best, offset.map(|offset| (offset, UnixMillis(record.timestamp))));
        Ok(ControlFlow::Continue(()))
    };
    broker.checks.walk(broker.clock.as_ref(), work, (batch, DECOMPRESSED_BYTES_MAX), visit).await
}

/// The one with the greater timestamp; of equals the first.
fn better(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    match (one, other) {
        (Some((at, greatest)), Some((offset, timestamp))) if (timestamp, at) <= (greatest, offset) => {
            Some((at, greatest))
        }
        (one, other) => other.or(one),
    }
}
