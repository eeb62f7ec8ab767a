//! Learns each key's last offset from a part of the log, batch by batch. Pure, but for the caller's pace.
//!
//! What transactions that were aborted wrote counts for nothing. The part ends before the first batch that must not be cleaned yet (its
//! transaction may be open, or it is young), or whose keys do not fit any more: keys of it that the map has taken by then do no harm, as
//! their records stay.

use super::choose::is_young;
use super::offset_map::OffsetMap;
use super::transactions::{Ending, Markers};
use crate::batch_check::DECOMPRESSED_BYTES_MAX;
use crate::options::Cleaning;
use base::{Offset, UnixMillis};
use protocol::record_batch::{BatchError, Pace, RecordBatch, RecordWalk};

/// What is known so far.
pub(super) struct Keys<'a> {
    pub(super) map: OffsetMap,
    /// Below this the map knows every key's last offset.
    pub(super) below: Offset,
    /// The keys of the very first batch do not fit.
    pub(super) is_too_much: bool,
    from: Offset,
    markers: &'a Markers,
    cleaning: Cleaning,
    now: UnixMillis,
}

impl<'a> Keys<'a> {
    /// Nothing yet, of what lies from `from` on.
    pub(super) fn new(
        map: OffsetMap,
        markers: &'a Markers,
        from: Offset,
        (cleaning, now): (Cleaning, UnixMillis),
    ) -> Keys<'a> {
        Keys { map, below: from, is_too_much: false, from, markers, cleaning, now }
    }

    /// Takes in the next batch; false where the part ends before it.
    pub(super) async fn learn(&mut self, batch: &RecordBatch, pace: &mut impl Pace) -> Result<bool, BatchError> {
        if is_young(UnixMillis(batch.max_timestamp()), &self.cleaning, self.now) {
            return Ok(false);
        }
        let counts = match self.ending(batch) {
            Ending::Open => return Ok(false),
            Ending::Aborted => false,
            Ending::Committed => !batch.is_control(),
        };
        if counts && !self.learn_keys(batch, pace).await? {
            self.is_too_much = self.below == self.from;
            return Ok(false);
        }
        self.below = Offset::from_kafka(batch.last_offset().saturating_add(1)).unwrap_or(self.below);
        Ok(true)
    }

    fn ending(&self, batch: &RecordBatch) -> Ending {
        if batch.is_control() || !batch.is_transactional() {
            return Ending::Committed;
        }
        self.markers.ending(batch.producer_id(), Offset::from_kafka(batch.base_offset()).unwrap_or_default())
    }

    /// Whether there was room for all of them.
    async fn learn_keys(&mut self, batch: &RecordBatch, pace: &mut impl Pace) -> Result<bool, BatchError> {
        let mut walk = RecordWalk::new(batch, DECOMPRESSED_BYTES_MAX)?.with_keys(self.map.hasher());
        while let Some(record) = walk.next(pace).await? {
            let offset = Offset::from_kafka(record.offset).unwrap_or_default();
            if let Some(key) = record.key
                && !self.map.put(&key, offset)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
