//! One cleaning of one partition.
//!
//! ```text
//! markers of transactions ─▶ each key's last offset ─▶ the log anew, from its start on, part by part ─▶ the cleaned end
//! ```
//! The map is made of what was never cleaned, as much as fits into memory; the rest is for the next time. Then all of the log up to there is
//! rewritten, since older records of these keys lie anywhere in it. The cleaned end moves when all of it is done; what is cut off
//! before is done again, which changes nothing that was done right.
//!
//! Guarantees: a record is removed only because a later one of its key is in objects, by a promise of a delete horizon, or because its
//! transaction was aborted; memory is bounded by the options; others get their turn after each slice of work.

use super::choose::Dirty;
use super::filter::{Fate, Filter, Rules};
use super::keys::Keys;
use super::offset_map::OffsetMap;
use super::transactions::{MARKER_BYTES, Markers};
use crate::checks::Sliced;
use crate::options::{CleanerOptions, Cleaning};
use crate::partition::Partition;
use base::{Offset, OffsetRange, UnixMillis};
use bytes::{Bytes, BytesMut};
use protocol::record_batch::{self, KeyHasher, RecordBatch};
use stream::{Blocks, ReadError};

/// What is cleaned, and how.
pub(super) struct Pass<'a> {
    pub(super) partition: &'a Partition,
    pub(super) options: &'a CleanerOptions,
    pub(super) cleaning: Cleaning,
    /// Whether the topic is compacted still: where it is not any more, what was not handed in yet stays as it is.
    pub(super) is_wanted: &'a (dyn Fn() -> bool + Sync),
    pub(super) dirty: Dirty,
    pub(super) now: UnixMillis,
    pub(super) secret: u128,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Up to where the log is clean now; none: nothing could be done yet.
    pub(super) cleaned: Option<Offset>,
    /// Keys of what was never cleaned before.
    pub(super) keys: usize,
    /// Bytes of batches before.
    pub(super) bytes_read: u64,
    /// And after.
    pub(super) bytes_kept: u64,
    pub(super) removed_records: u64,
    /// Whether the keys of the first batch do not fit into the memory for them.
    pub(super) is_too_much: bool,
}

impl Pass<'_> {
    pub(super) async fn run(&self) -> Result<Done, ReadError> {
        let markers = self.markers().await?;
        let Keys { map, below, is_too_much, .. } = self.keys(&markers).await?;
        if below <= self.dirty.range.base {
            return Ok(Done { is_too_much, ..Done::default() });
        }
        let Some(done) = self.rewrite(&markers, &map, below).await? else { return Ok(Done::default()) };
        self.partition.set_cleaned(below).await?;
        Ok(Done { cleaned: Some(below), keys: map.len(), ..done })
    }

    /// How the transactions ended that have records in what was never cleaned.
    async fn markers(&self) -> Result<Markers, ReadError> {
        let mut markers = Markers::default();
        let mut scan = self.partition.scan(self.dirty.range, Blocks::Control, self.options.bytes_per_second);
        while let Some(bytes) = scan.next().await? {
            for batch in batches(bytes) {
                let batch = batch?;
                if batch.is_control() {
                    markers.add(&batch).map_err(|error| damaged(&batch, &error))?;
                }
            }
            // What lies behind the last one that is known is for the next time.
            if markers.len() >= self.options.marker_bytes_max() / MARKER_BYTES {
                break;
            }
        }
        Ok(markers)
    }

    async fn keys<'a>(&self, markers: &'a Markers) -> Result<Keys<'a>, ReadError> {
        let map = OffsetMap::new(KeyHasher::new(self.secret), self.options.key_bytes_max(), self.dirty.range.len());
        let mut keys = Keys::new(map, markers, self.dirty.range.base, (self.cleaning, self.now));
        let mut scan = self.partition.scan(self.dirty.range, Blocks::All, self.options.bytes_per_second);
        let mut pace = Sliced::default();
        while let Some(bytes) = scan.next().await? {
            for batch in batches(bytes) {
                let batch = batch?;
                if !keys.learn(&batch, &mut pace).await.map_err(|error| damaged(&batch, &error))? {
                    return Ok(keys);
                }
            }
        }
        Ok(keys)
    }

    /// None: the topic is compacted no more, so that this has ended half done.
    async fn rewrite(&self, markers: &Markers, map: &OffsetMap, below: Offset) -> Result<Option<Done>, ReadError> {
        let rules = Rules {
            map,
            markers,
            cleaned: self.partition.cleaned(),
            below,
            now: self.now,
            delete_retention_ms: self.cleaning.delete_retention_ms,
            may_be_newest: &|producer_id, base| self.partition.may_be_newest_of(producer_id, base),
        };
        let mut filter = Filter::new(rules);
        let mut pace = Sliced::default();
        let mut rewrite = self.partition.rewrite(below, self.options.bytes_per_second);
        let mut done = Done::default();
        while let Some(given) = rewrite.next().await? {
            if !(self.is_wanted)() {
                rewrite.give_up().await;
                return Ok(None);
            }
            done.bytes_read += given.len() as u64;
            let (kept, control) = match filtered(&mut filter, given, &mut pace).await {
                Ok(kept) => kept,
                Err(error) => {
                    rewrite.give_up().await;
                    return Err(error);
                }
            };
            done.bytes_kept += kept.len() as u64;
            rewrite.keep(kept, control).await?;
        }
        Ok(Some(Done { removed_records: filter.removed_records, ..done }))
    }
}

/// What stays of batches that lie back to back, and whether there are control batches among them.
async fn filtered(filter: &mut Filter<'_>, given: Bytes, pace: &mut Sliced) -> Result<(Bytes, bool), ReadError> {
    let mut control = false;
    // As long as everything stays, that is the bytes as they are.
    let mut kept: Option<BytesMut> = None;
    let mut at = 0;
    for batch in batches(given.clone()) {
        let batch = batch?;
        let fate = filter.next(&batch, pace).await.map_err(|error| damaged(&batch, &error))?;
        if fate != Fate::Stays {
            kept.get_or_insert_with(|| BytesMut::from(&given[..at]));
        }
        if let (Some(kept), Some(bytes)) = (&mut kept, fate.of(&batch)) {
            kept.extend_from_slice(bytes);
        }
        control |= batch.is_control() && fate != Fate::Goes;
        at += batch.bytes().len();
    }
    Ok((kept.map_or(given, BytesMut::freeze), control))
}

impl Fate {
    /// The bytes that are there instead of the batch.
    fn of<'a>(&'a self, batch: &'a RecordBatch) -> Option<&'a Bytes> {
        match self {
            Fate::Stays => Some(batch.bytes()),
            Fate::Becomes(other) => Some(other.bytes()),
            Fate::Goes => None,
        }
    }
}

fn batches(bytes: Bytes) -> impl Iterator<Item = Result<RecordBatch, ReadError>> {
    record_batch::batches(bytes)
        .map(|batch| batch.map_err(|error| ReadError::Corrupt(format!("a stored batch: {error}"))))
}

fn damaged(batch: &RecordBatch, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt(format!("the batch at offset {}: {what}", batch.base_offset()))
}

/// The time of the first record of these offsets; none where no batch is left of them.
pub(super) async fn time_of_first(partition: &Partition, range: OffsetRange) -> Result<Option<UnixMillis>, ReadError> {
    let read = partition.read(range.base, 1).await?;
    let bytes = read.pieces.into_iter().collect::<protocol::wire::Records>().to_bytes();
    let Some(batch) = batches(bytes).next() else { return Ok(None) };
    let batch = batch?;
    // Where a cleaning has been cut off, what stands in place of the first record's time may be a delete horizon.
    let has_first_time = !batch.is_log_append_time() && batch.delete_horizon().is_none();
    let time = if has_first_time { batch.base_timestamp() } else { batch.max_timestamp() };
    Ok((batch.base_offset() < range.next.to_kafka()).then_some(UnixMillis(time)))
}
