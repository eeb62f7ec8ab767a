//! What was read for consumers from before Kafka 0.11 becomes messages of the format that they know.
//!
//! Once for each answer, when it has waited for all that it waits for: `min_bytes` is compared with what is stored. What is read is copied
//! once on the way, which takes as much memory again: what is free, or all of it is read anew with so much reserved. Where all that was read is left out in these formats, it reads on: an answer
//! without anything would be asked for again and again.
//!
//! What is a lot of work needs a place (`checks`). If none is free, all that was read is given up, with its memory, and is read anew in a
//! place: whoever waits for one holds nothing that other consumers wait for. In a place a fetch goes on until it has cost so much
//! ([`COST_MAX`]), if it has anything by then, and answers with that: its consumer makes progress whatever records decompress to.

use super::Slot;
use super::read::{OTHERS_WAIT_MAX, Progress, read_all};
use crate::Shared;
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::checks::Work;
use crate::error::Failure;
use crate::memory;
use crate::partition::Partition;
use base::Offset;
use protocol::error_code::ErrorCode;
use protocol::record_batch::{BatchError, Downconvert, Downconverted, OldFormat, RecordBatch, batches};
use protocol::wire::Records;
use stream::ReadError;
use tokio::sync::OwnedSemaphorePermit;
use world::ClockExt;

/// From these versions on consumers know times (KIP-32), and batches (KIP-98).
const TIMES_VERSION: i16 = 2;
const BATCH_VERSION: i16 = 4;
/// From this version on consumers know of storage in trouble.
const STORAGE_ERROR_VERSION: i16 = 6;

/// What is read, and what it becomes.
pub(super) const COPIES: usize = 2;

/// What a fetch costs in places before it answers with what it has, as `checks` counts it: half a second of a worker. One batch may exceed it.
const COST_MAX: usize = 512 * 1024 * 1024;

/// At once, with memory that it had to wait for, in a place.
const ATTEMPTS_MAX: usize = 3;

/// Whether an answer of this version is converted.
pub(crate) fn is_needed(version: i16) -> bool {
    format(version).is_some()
}

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

/// Converts what has been read. Where there is no place or no memory for it in time, there are no records: the client asks again.
pub(super) async fn all(broker: &Shared, slots: &mut [Slot], progress: &mut Progress) {
    let Some(format) = progress.format else { return };
    let indexes: Vec<usize> = (0..slots.len()).filter(|index| !slots[*index].records.is_empty()).collect();
    if indexes.is_empty() {
        return;
    }
    // The wait for records may have used up all that reads may take.
    let clock = broker.clock.as_ref();
    progress.read_deadline = progress.read_deadline.max(clock.now().plus(OTHERS_WAIT_MAX));
    let work = Work::of(progress.bytes, usize::MAX, progress.read_deadline);
    let mut converting = Converting { broker, format, work, bytes: 0 };
    for _ in 0..ATTEMPTS_MAX {
        let ended = converting.convert(slots, &indexes, progress).await;
        if matches!(ended, Ended::Done) {
            return;
        }
        indexes.iter().for_each(|index| progress.forget(&mut slots[*index]));
        (progress.memory, progress.copies) = (None, COPIES);
        if matches!(ended, Ended::NoPlace) && broker.checks.wait_to_convert(clock, &mut converting.work).await.is_err()
        {
            return;
        }
        // It waits for memory, as it has none.
        read_all(broker, slots, &indexes, progress).await;
    }
    indexes.iter().for_each(|index| progress.forget(&mut slots[*index]));
}

/// How an attempt to convert what was read ended.
enum Ended {
    Done,
    /// There is more work than without a place, and none is free.
    NoPlace,
    /// There is not enough memory for anything.
    NoMemory,
}

struct Converting<'a> {
    broker: &'a Shared,
    format: OldFormat,
    work: Work,
    /// Of messages so far.
    bytes: usize,
}

/// Messages of one partition.
#[derive(Default)]
struct Messages {
    records: Records,
    bytes: usize,
}

impl Converting<'_> {
    /// Puts messages in the place of what was read, until the bounds are reached; what is behind them is left out.
    async fn convert(&mut self, slots: &mut [Slot], indexes: &[usize], progress: &mut Progress) -> Ended {
        self.bytes = 0;
        if let Some(memory) = &mut progress.memory {
            memory::keep_only(memory, progress.bytes.saturating_mul(progress.copies));
        }
        for index in indexes {
            let slot = &mut slots[*index];
            let stored = std::mem::take(&mut slot.records);
            if stored.is_empty() {
                continue;
            }
            let left = progress.bytes_max.saturating_sub(self.bytes);
            let has_enough = self.bytes > 0 && (left == 0 || self.is_over());
            let has_room = !has_enough && self.has_room(progress, progress.bytes + stored.len());
            progress.bytes -= stored.len();
            if has_enough || (!has_room && self.bytes > 0) {
                continue;
            }
            if !has_room {
                return Ended::NoMemory;
            }
            let Ok(partition) = slot.found.clone() else { continue };
            let bytes_max = usize::try_from(slot.asked.bytes_max).unwrap_or(0).min(left);
            match self.partition(&partition, slot.asked.offset, bytes_max, stored).await {
                Ok(Some(messages)) => {
                    self.bytes += messages.bytes;
                    progress.bytes += messages.bytes;
                    slot.records = messages.records;
                    // What is greater than what was stored is counted where there is room, as with a batch that is too great.
                    self.has_room(progress, progress.bytes);
                }
                Ok(None) => return Ended::NoPlace,
                Err(failure) => progress.refuse(slot, failure),
            }
        }
        Ended::Done
    }

    /// Makes sure that the answer has so much memory. Never waits.
    fn has_room(&self, progress: &mut Progress, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(progress.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let Some(more) = self.broker.answer_memory.try_take(missing) else { return false };
        match &mut progress.memory {
            Some(held) => held.merge(more),
            empty => *empty = Some(more),
        }
        true
    }

    /// Whether it answers with what there is, should there be any.
    fn is_over(&self) -> bool {
        self.work.spent() > COST_MAX || self.work.left(self.broker.clock.as_ref()).is_zero()
    }

    /// The messages of a batch, and its last offset.
    async fn batch(
        &mut self,
        batch: Result<RecordBatch, BatchError>,
        from: i64,
        bytes_max: usize,
    ) -> Result<Option<(i64, Downconverted)>, Failure> {
        let batch = batch?;
        let how = Downconvert { format: self.format, from, bytes_max, decompressed_max: DECOMPRESSED_BYTES_MAX };
        let converted = self.broker.checks.downconvert(&mut self.work, &batch, how).await?;
        Ok(converted.map(|converted| (batch.last_offset(), converted)))
    }

    /// The messages of one partition from an offset on, of which so much has been read. None: there is no place to go on in.
    async fn partition(
        &mut self,
        partition: &Partition,
        mut from: i64,
        bytes_max: usize,
        mut stored: Records,
    ) -> Result<Option<Messages>, Failure> {
        let mut messages = Messages::default();
        loop {
            let begun = from;
            let whole = std::mem::take(&mut stored).to_bytes();
            for batch in batches(whole) {
                let left = bytes_max.saturating_sub(messages.bytes);
                let (last, converted) = match self.batch(batch, from, left).await {
                    Ok(Some(converted)) => converted,
                    Ok(None) => return Ok(None),
                    // It comes first in another answer.
                    Err(_) if messages.bytes > 0 => return Ok(Some(messages)),
                    Err(failure) => return Err(told(from, failure)),
                };
                let is_first = self.bytes + messages.bytes == 0;
                if converted.bytes > left && !is_first {
                    return Ok(Some(messages));
                }
                from = from.max(converted.next);
                messages.bytes += converted.bytes;
                converted.pieces.into_iter().for_each(|piece| messages.records.push(piece));
                let is_whole = from > last;
                if !is_whole || (self.bytes + messages.bytes > 0 && (messages.bytes >= bytes_max || self.is_over())) {
                    return Ok(Some(messages));
                }
            }
            if messages.bytes > 0 || from == begun {
                return Ok(Some(messages));
            }
            // Nothing of it is left.
            let clock = self.broker.clock.as_ref();
            let next = Offset::from_kafka(from).unwrap_or_default();
            let Some(read) = clock.timeout(self.work.left(clock), partition.read(next, bytes_max)).await else {
                return Ok(Some(messages));
            };
            stored = read?.pieces.into_iter().collect();
            if stored.is_empty() {
                return Ok(Some(messages));
            }
        }
    }
}

/// What went wrong with stored batches: nearly always that they are of a codec that these clients don't have.
fn told(from: i64, failure: Failure) -> Failure {
    match failure {
        Failure::Batch(BatchError::Compression(_)) => failure,
        Failure::Batch(error) => ReadError::Corrupt(format!("records from offset {from} on: {error}")).into(),
        other => other,
    }
}
