//! Reads for consumers from before Kafka 0.11: what is stored becomes messages of the format that they know.
//!
//! What is read is copied once on the way, so such a read reserves its memory twice. Where all that was read is left out in these formats, it
//! reads on: an answer without anything would be asked for again and again.

use crate::Shared;
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset};
use protocol::error_code::ErrorCode;
use protocol::record_batch::{BatchError, Downconvert, OldFormat};
use protocol::wire::Records;
use stream::{ReadBatches, ReadError};

/// From these versions on consumers know times (KIP-32), and batches (KIP-98).
const TIMES_VERSION: i16 = 2;
const BATCH_VERSION: i16 = 4;
/// From this version on consumers know of storage in trouble.
const STORAGE_ERROR_VERSION: i16 = 6;

/// What a converting read reserves: what is read, and what it becomes.
pub(super) const COPIES: usize = 2;

/// The format that the records of an answer must have; none where they are sent as they are stored.
pub(super) fn format(version: i16) -> Option<OldFormat> {
    match version {
        ..TIMES_VERSION => Some(OldFormat::V0),
        TIMES_VERSION..BATCH_VERSION => Some(OldFormat::V1),
        _ => None,
    }
}

/// A code that the client understands: it would give up on one that it does not know, and so asks for the leader instead.
pub(super) fn known_code(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::KafkaStorageError if version < STORAGE_ERROR_VERSION => ErrorCode::NotLeaderOrFollower,
        code => code,
    }
}

/// The messages from an offset on. Where there are too many others to be converted until the deadline, there are none: the client asks again.
pub(super) async fn read(
    broker: &Shared,
    partition: &Partition,
    (mut from, bytes_max): (Offset, usize),
    format: OldFormat,
    deadline: Micros,
) -> Result<ReadBatches, Failure> {
    loop {
        let read = partition.read(from, bytes_max).await?;
        if read.bytes == 0 {
            return Ok(read);
        }
        let stored = read.pieces.into_iter().collect::<Records>().to_bytes();
        let how = Downconvert { format, from: from.to_kafka(), bytes_max, decompressed_max: DECOMPRESSED_BYTES_MAX };
        let converted = match broker.checks.downconvert(broker.clock.as_ref(), deadline, &stored, how).await {
            Ok(converted) => converted,
            Err(Failure::TooMuchToCheck) => return Ok(ReadBatches { next: from, ..ReadBatches::default() }),
            Err(failure) => return Err(told(from, failure)),
        };
        let next = Offset::from_kafka(converted.next).unwrap_or(from);
        if converted.bytes > 0 || next <= from {
            return Ok(ReadBatches { pieces: converted.pieces, bytes: converted.bytes, next });
        }
        from = next;
    }
}

/// What went wrong with stored batches: nearly always that they are of a codec that these clients don't have.
fn told(from: Offset, failure: Failure) -> Failure {
    match failure {
        Failure::Batch(BatchError::Compression(_)) => failure,
        Failure::Batch(error) => ReadError::Corrupt(format!("records from offset {from} on: {error}")).into(),
        other => other,
    }
}
