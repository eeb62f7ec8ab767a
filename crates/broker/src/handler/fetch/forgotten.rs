//! Aborted transactions that a partition has forgotten: what lies in the log behind what was read tells of them.
//!
//! A producer's transactions follow each other, so a batch belongs to the one that its producer's next marker ends. The log is read on from
//! what is to be answered, a piece at a time, until each producer that has something undecided there has met its marker, or nothing is
//! forgotten any more. Memory: the producers of what was read, and one piece. Where time is up first, the answer ends before the first
//! batch that is undecided.

use crate::Shared;
use crate::end_marker::{ControlRecord, control_record};
use crate::error::Failure;
use crate::partition::Partition;
use base::{Micros, Offset, OffsetRange};
use bytes::Bytes;
use protocol::record_batch::{self, BatchError, RecordBatch};
use protocol::wire::Records;
use std::collections::BTreeMap;
use stream::{AbortedTransaction, ReadBatches, ReadError};

/// Bytes read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// The transactions of what was read.
#[derive(Debug, Default)]
struct Walk {
    /// Producers with a transaction that no marker has met yet, by where it begins.
    open: BTreeMap<i64, Offset>,
    aborted: Vec<AbortedTransaction>,
    /// Begun are those only that have a batch below.
    until: Offset,
}

impl Walk {
    fn add(&mut self, bytes: Bytes, below: Offset) -> Result<(), BatchError> {
        for batch in record_batch::batches(bytes) {
            let batch = batch?;
            let at = Offset::from_kafka(batch.base_offset()).unwrap_or_default();
            if at >= below {
                return Ok(());
            }
            self.add_batch(&batch, at)?;
        }
        Ok(())
    }

    fn add_batch(&mut self, batch: &RecordBatch, at: Offset) -> Result<(), BatchError> {
        let producer_id = batch.producer_id();
        if batch.is_control() {
            let control = control_record(batch)?;
            if matches!(control, Some(ControlRecord::Abort | ControlRecord::Commit))
                && let Some(first) = self.open.remove(&producer_id)
                && control == Some(ControlRecord::Abort)
            {
                self.aborted.push(AbortedTransaction { producer_id, first, last: at, last_stable: at });
            }
        } else if batch.is_transactional() && at < self.until {
            self.open.entry(producer_id).or_insert(at);
        }
        Ok(())
    }
}

/// The aborted transactions of what was read from `from` on that are ended by markers in `forgotten`. What is read may become less.
pub(super) async fn find(
    broker: &Shared,
    partition: &Partition,
    (read, from): (&mut ReadBatches, Offset),
    forgotten: OffsetRange,
    deadline: Micros,
) -> Result<Vec<AbortedTransaction>, Failure> {
    let mut walk = Walk { until: read.next, ..Walk::default() };
    let mut at = read.next;
    let bytes = read.pieces.iter().cloned().collect::<Records>().to_bytes();
    walk.add(bytes, forgotten.next).map_err(|error| damaged(from, &error))?;
    while at < forgotten.next && !walk.open.is_empty() {
        if broker.clock.now() >= deadline {
            let first = walk.open.values().min().copied().unwrap_or(at);
            cut(read, first).map_err(|error| damaged(from, &error))?;
            walk.aborted.retain(|it| it.first < first);
            break;
        }
        let piece = partition.read(at, PIECE_BYTES).await?;
        if piece.next <= at {
            break;
        }
        let bytes = piece.pieces.into_iter().collect::<Records>().to_bytes();
        walk.add(bytes, forgotten.next).map_err(|error| damaged(at, &error))?;
        at = piece.next;
        tokio::task::yield_now().await;
    }
    Ok(walk.aborted)
}

/// Leaves out what begins at or behind that offset.
fn cut(read: &mut ReadBatches, at: Offset) -> Result<(), BatchError> {
    let bytes = read.pieces.drain(..).collect::<Records>().to_bytes();
    let mut kept = 0;
    for batch in record_batch::batches(bytes.clone()) {
        let batch = batch?;
        if batch.base_offset() >= at.to_kafka() {
            break;
        }
        kept += batch.bytes().len();
    }
    *read = ReadBatches { bytes: kept, next: at, pieces: Vec::new() };
    if kept > 0 {
        read.pieces.push(bytes.slice(..kept));
    }
    Ok(())
}

fn damaged(from: Offset, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt(format!("records from offset {from} on: {what}"))
}
