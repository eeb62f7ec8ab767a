//! Finds records by their timestamps: the last steps of ListOffsets by time.
//!
//! The stream knows the greatest timestamp of each batch; which record of a batch has it, or is the first at or after a time, is
//! in the batch. Timestamps need not rise, neither from batch to batch nor within one. A batch whose header promises a timestamp
//! that none of its records has is passed over.

use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Offset, UnixMillis};
use protocol::record_batch::{self, RecordBatch};
use protocol::wire::Records;
use stream::ReadError;

/// Bytes read at a time; the wanted batch is mostly the first.
const READ_BYTES: usize = 64 * 1024;

/// A record's offset and timestamp.
pub(crate) type Found = (Offset, UnixMillis);

/// The first record at or after the stream's place for `target` that has a timestamp of at least `target`.
pub(crate) async fn first_from(partition: &Partition, target: UnixMillis) -> Result<Option<Found>, Failure> {
    let Some(mut from) = partition.seek_time(target).await? else { return Ok(None) };
    let log_start = partition.log_start();
    while from < partition.high_watermark() {
        let batches = partition.read(from, READ_BYTES).await?;
        let bytes = batches.pieces.into_iter().collect::<Records>().to_bytes();
        for batch in record_batch::batches(bytes) {
            let found = batch.and_then(|batch| first_in(&batch, log_start, target));
            if let Some(found) = found.map_err(|error| damaged(from, &error))? {
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

fn first_in(
    batch: &RecordBatch,
    log_start: Offset,
    target: UnixMillis,
) -> Result<Option<Found>, record_batch::BatchError> {
    if batch.max_timestamp() < target.0 {
        return Ok(None);
    }
    if batch.is_log_append_time() {
        let base = Offset::from_kafka(batch.base_offset()).unwrap_or_default();
        return Ok(Some((base.max(log_start), UnixMillis(batch.max_timestamp()))));
    }
    for record in batch.records(DECOMPRESSED_BYTES_MAX)? {
        let record = record?;
        match Offset::from_kafka(record.offset) {
            Some(offset) if offset >= log_start && record.timestamp >= target.0 => {
                return Ok(Some((offset, UnixMillis(record.timestamp))));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn damaged(from: Offset, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt(format!("records from offset {from} on: {what}"))
}

/// The first record that has the greatest timestamp of all; none where no record has one.
pub(crate) async fn greatest(partition: &Partition) -> Result<Option<Found>, Failure> {
    // The stream answers "is there one of at least t" from its index, so the greatest is found by halving.
    let (mut there, mut beyond) = (0, i64::MAX);
    if partition.seek_time(UnixMillis(there)).await?.is_none() {
        return Ok(None);
    }
    while beyond - there > 1 {
        let middle = there + (beyond - there) / 2;
        match partition.seek_time(UnixMillis(middle)).await? {
            Some(_) => there = middle,
            None => beyond = middle,
        }
    }
    first_from(partition, UnixMillis(there)).await
}
