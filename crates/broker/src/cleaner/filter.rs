//! What of a batch stays when a log is cleaned: Kafka's rules. Pure, but for the caller's pace.
//!
//! - A record stays while no later one of its key is known; a deletion mark stays until its batch's delete horizon, which the first
//!   cleaning that meets the mark sets (KIP-534).
//! - What was written in a transaction that was aborted goes. A transaction's marker stays while a batch of it is there, and then until
//!   a delete horizon of its own; never before the cleaned end has passed it.
//! - A batch without records goes, unless it is its producer's newest, or the last one of what is cleaned: then an empty one
//!   stays, so that the sequence and the end of the log are told.
//! - What lies beyond what the map of keys knows stays as it is.

use super::offset_map::OffsetMap;
use super::transactions::{Ending, Marker, Markers, marker};
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use base::{Offset, UnixMillis, planted};
use protocol::record_batch::{self, BatchError, Keep, Pace, RecordBatch, RecordHead, RecordWalk, Rewrite};
use std::collections::BTreeSet;

/// What one cleaning knows.
pub(super) struct Rules<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) markers: &'a Markers,
    /// Below this an earlier cleaning has removed what aborted transactions wrote.
    pub(super) cleaned: Offset,
    /// Below this the map knows every key's last offset.
    pub(super) below: Offset,
    pub(super) now: UnixMillis,
    /// How long a deletion mark stays.
    pub(super) delete_retention_ms: i64,
    /// Whether the batch at this offset may be a producer's newest.
    pub(super) may_be_newest: &'a (dyn Fn(i64, Offset) -> bool + Sync),
}

/// A cleaning on its way through the log, batch by batch.
pub(super) struct Filter<'a> {
    rules: Rules<'a>,
    /// Producers of whose present transaction something was met.
    seen: BTreeSet<i64>,
    pub(super) removed_records: u64,
}

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Stays,
    /// This one takes its place.
    Becomes(RecordBatch),
    Goes,
}

/// Which of a batch's records stay.
#[derive(Default)]
struct Kept {
    keep: Keep,
    /// Whether there are deletion marks among them.
    has_marks: bool,
}

impl<'a> Filter<'a> {
    pub(super) fn new(rules: Rules<'a>) -> Filter<'a> {
        Filter { rules, seen: BTreeSet::new(), removed_records: 0 }
    }

    /// Decides about the next batch; they come in order, from the log's start on.
    pub(super) async fn next(&mut self, batch: &RecordBatch, pace: &mut impl Pace) -> Result<Fate, BatchError> {
        let base = Offset::from_kafka(batch.base_offset()).unwrap_or_default();
        if base >= self.rules.below {
            return Ok(Fate::Stays);
        }
        let is_void = self.is_void(batch, base)?;
        let horizon = batch.delete_horizon();
        let is_due = horizon.is_some_and(|horizon| horizon <= self.rules.now.0);
        let goes = if batch.is_control() {
            // As long as the partition tells readers of an aborted transaction, which it does until the cleaned end has passed the marker,
            // the marker must be there: else they would pass over the producer's next one too.
            planted!("compaction drops a control batch", is_void && is_due && base < self.rules.cleaned, true)
        } else {
            is_void
        };
        let Kept { keep, has_marks } = self.kept(batch, goes, is_due, pace).await?;
        let is_waiting = is_void && batch.is_control();
        let delete_horizon = (horizon.is_none() && (has_marks || is_waiting))
            .then(|| self.rules.now.0.saturating_add(self.rules.delete_retention_ms));
        let removed = if goes { u64::try_from(batch.record_count()).unwrap_or(0) } else { keep.dropped() as u64 };
        self.removed_records += removed;
        if keep.kept() == 0 {
            return self.without_records(batch, base);
        }
        if removed == 0 && delete_horizon.is_none() {
            return Ok(Fate::Stays);
        }
        let how = Rewrite { keep: &keep, delete_horizon, decompressed_max: DECOMPRESSED_BYTES_MAX };
        Ok(Fate::Becomes(record_batch::rewrite(batch, &how, pace).await?))
    }

    /// Whether nothing of the batch's transaction counts: it was aborted, or, for a marker, all of it is gone.
    fn is_void(&mut self, batch: &RecordBatch, base: Offset) -> Result<bool, BatchError> {
        let producer = batch.producer_id();
        if batch.is_control() {
            return Ok(match marker(batch)? {
                Some(Marker::Other) => false,
                Some(_) => !self.seen.remove(&producer),
                None => true,
            });
        }
        if !batch.is_transactional() {
            return Ok(false);
        }
        if batch.record_count() > 0 {
            self.seen.insert(producer);
        }
        let is_aborted = base >= self.rules.cleaned && self.rules.markers.ending(producer, base) == Ending::Aborted;
        Ok(planted!("compaction drops an abort range", is_aborted, false))
    }

    async fn kept(
        &self,
        batch: &RecordBatch,
        goes: bool,
        is_due: bool,
        pace: &mut impl Pace,
    ) -> Result<Kept, BatchError> {
        let mut kept = Kept::default();
        if goes {
            return Ok(kept);
        }
        let mut walk = RecordWalk::new(batch, DECOMPRESSED_BYTES_MAX)?.with_keys(self.rules.map.hasher());
        while let Some(record) = walk.next(pace).await? {
            let stays = batch.is_control() || self.stays(&record, is_due);
            kept.keep.push(stays);
            kept.has_marks |= stays && !record.has_value && !batch.is_control();
        }
        Ok(kept)
    }

    fn stays(&self, record: &RecordHead, is_due: bool) -> bool {
        // What has no key can't be asked for by it: it goes, as in Kafka. Produce takes none.
        let Some(key) = &record.key else { return false };
        let offset = Offset::from_kafka(record.offset).unwrap_or_default();
        let is_last =
            self.rules.map.get(key).is_none_or(|last| {
                planted!("compaction drops the last record of a key", offset >= last, offset > last)
            });
        is_last && (record.has_value || planted!("tombstone gone too early", !is_due, false))
    }

    fn without_records(&self, batch: &RecordBatch, base: Offset) -> Result<Fate, BatchError> {
        let is_last = batch.last_offset().saturating_add(1) == self.rules.below.to_kafka();
        let is_newest = || batch.has_producer_id() && (self.rules.may_be_newest)(batch.producer_id(), base);
        Ok(match () {
            () if !is_last && !is_newest() => Fate::Goes,
            () if batch.record_count() == 0 => Fate::Stays,
            () => Fate::Becomes(record_batch::emptied(batch)?),
        })
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
