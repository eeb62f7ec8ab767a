//! Offsets that are found by time or by size: ListOffsets and retention.

use crate::open_stream::OpenStream;
use crate::read::{StoreFault, blocks_of, index};
use crate::shared::{Shared, committed_in};
use crate::store::ReadError;
use base::{ObjectId, Offset, OffsetRange, StreamId, UnixMillis};
use control_core::{Reference, StreamRecord};
use std::sync::Arc;
use stream_core::object::BlockEntry;
use world::{StoreError, lock};

/// What is counted from an offset on is in so many runs at the most.
const RUNS_LOOKED_AT_MAX: usize = 64;

/// Where a stream's greatest timestamp is, as far as that is known without reading records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greatest {
    /// Base offset of the first batch that holds the greatest one that is known for sure.
    pub batch: Option<Offset>,
    /// Offsets that may hold a greater one, or the same earlier: what was known of them is of records below their beginning. Few: those around the
    /// stream's start.
    pub unsure: Vec<OffsetRange>,
}

/// What is known of the timestamps of some offsets.
#[derive(Debug, Clone, Copy)]
struct Mark {
    range: OffsetRange,
    greatest: UnixMillis,
    /// Base offset of the first batch that has it; it may lie below the range.
    at: Offset,
}

/// The marks that matter so far.
#[derive(Debug, Default)]
struct Marks {
    sure: Option<Mark>,
    unsure: Vec<(Mark, Option<ObjectId>)>,
}

impl Marks {
    /// Takes in a mark of offsets at or above the stream's start `start`, of that object.
    fn add(&mut self, mark: Mark, start: Offset, object: Option<ObjectId>) {
        let cut = mark.range.base.max(start);
        if mark.greatest.0 < 0 || mark.range.next <= cut {
            return;
        }
        let mark = Mark { range: OffsetRange::new(cut, mark.range.next), ..mark };
        if mark.at < cut {
            self.unsure.push((mark, object));
        } else if self.sure.is_none_or(|it| (mark.greatest, it.at) > (it.greatest, mark.at)) {
            self.sure = Some(mark);
        }
    }

    /// Drops the unsure ones that can't be better than the sure one.
    fn drop_worse(&mut self) {
        if let Some(sure) = self.sure {
            self.unsure.retain(|(mark, _)| (mark.greatest, sure.at) > (sure.greatest, mark.range.base));
        }
    }
}

/// See [`crate::Stream::greatest_time`]. One object's index is read for each reference that is not sure, which is mostly the first.
pub(crate) async fn greatest_time(shared: &Shared, stream: &OpenStream) -> Result<Greatest, ReadError> {
    let image = shared.ledger.image();
    let record = image.streams.get(&stream.id).ok_or(ReadError::NotOwner)?;
    let confirmed = stream.confirmed();
    let mut marks = Marks::default();
    for run in lock(&shared.cache).runs_between(stream.id, record.start, confirmed) {
        let mark = Mark { range: run.range, greatest: run.max_timestamp, at: run.max_timestamp_offset };
        marks.add(mark, record.start, None);
    }
    for reference in record.references.values() {
        let (greatest, at) = (reference.max_timestamp, reference.max_timestamp_offset);
        marks.add(Mark { range: reference.range, greatest, at }, record.start, Some(reference.object));
    }
    check_seen(shared, record, stream.id, confirmed)?;
    marks.drop_worse();
    for (mark, object) in std::mem::take(&mut marks.unsure) {
        let Some(object) = object else {
            marks.unsure.push((mark, None));
            continue;
        };
        for block in blocks_of(&read_index(shared, object).await?, stream.id) {
            let range = OffsetRange::new(block.range.base, block.range.next.min(mark.range.next));
            let of_block = Mark { range, greatest: block.max_timestamp, at: block.max_timestamp_offset };
            if range.base < range.next {
                marks.add(of_block, mark.range.base, None);
            }
        }
    }
    marks.drop_worse();
    let unsure = marks.unsure.iter().map(|(mark, _)| mark.range).collect();
    Ok(Greatest { batch: marks.sure.map(|mark| mark.at), unsure })
}

/// See [`crate::Stream::seek_time`]. Timestamps may be out of order, so maxima are looked at from left to right.
pub(crate) async fn seek_time(
    shared: &Shared,
    stream: &OpenStream,
    target: UnixMillis,
) -> Result<Option<Offset>, ReadError> {
    let image = shared.ledger.image();
    let record = image.streams.get(&stream.id).ok_or(ReadError::NotOwner)?;
    let in_tail = lock(&shared.cache).seek_time(stream.id, record.start, stream.confirmed(), target);
    let holds = |reference: &&Reference| reference.max_timestamp >= target && reference.range.next > record.start;
    let in_objects = record.references.values().find(holds);
    let first = in_objects.map(|reference| reference.range.base).into_iter().chain(in_tail).min();
    let end = first.unwrap_or(stream.confirmed());
    check_seen(shared, record, stream.id, end)?;
    let Some(reference) = in_objects else { return Ok(in_tail) };
    if in_tail.is_some_and(|offset| offset <= reference.range.base) {
        return Ok(in_tail);
    }
    let from = reference.range.base.max(record.start);
    let blocks = blocks_of(&read_index(shared, reference.object).await?, stream.id);
    let found = blocks.iter().find(|block| block.range.next > from && block.max_timestamp >= target);
    Ok(Some(found.map_or(from, |block| block.range.base.max(from))))
}

async fn read_index(shared: &Shared, object: ObjectId) -> Result<Arc<[BlockEntry]>, ReadError> {
    match index(shared, object).await {
        Ok(index) => Ok(index),
        Err(StoreFault::Store(StoreError::NotFound(_))) => Err(resolve_missing(shared, object).await),
        Err(StoreFault::Store(error)) => Err(ReadError::Trouble(error.to_string())),
        Err(StoreFault::Damaged(why)) => Err(ReadError::Corrupt(format!("object {object}: {why}"))),
    }
}

/// Whoever asks again plans from the image that is read here (rule R-3).
async fn resolve_missing(shared: &Shared, object: ObjectId) -> ReadError {
    match shared.ledger.refresh().await {
        Err(error) => ReadError::Trouble(error.to_string()),
        Ok(image) if image.objects.contains_key(&object) => {
            ReadError::Corrupt(format!("object {object} is referenced and not in the bucket"))
        }
        Ok(_) => ReadError::Trouble(format!("object {object} is gone; ask again")),
    }
}

/// What lies below `end` must not be passed over where it can't be seen yet.
fn check_seen(shared: &Shared, record: &StreamRecord, id: StreamId, end: Offset) -> Result<(), ReadError> {
    let unseen = unseen_from(shared, record, id, end);
    if unseen < end {
        return Err(ReadError::Trouble(format!("the records from offset {unseen} on are not here yet; ask again")));
    }
    Ok(())
}

/// Up to where, `end` at the most, the records are in objects or in the log cache: the tail of an earlier owner may lie in a log that only another
/// broker can read, until that one has uploaded it. What is there must not be passed over.
fn unseen_from(shared: &Shared, record: &StreamRecord, id: StreamId, end: Offset) -> Offset {
    let cache = lock(&shared.cache);
    let mut at = record.start;
    while at < end {
        let reference = record.references.range(..=at).next_back().map(|(_, reference)| reference.range.next);
        match reference.filter(|next| *next > at).or_else(|| cache.run_end(id, at)) {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// See [`crate::Stream::bytes`].
pub(crate) fn bytes(shared: &Shared, stream: &OpenStream) -> u64 {
    let image = shared.ledger.image();
    let Some(record) = image.streams.get(&stream.id) else { return 0 };
    let cache = lock(&shared.cache);
    // Below the committed end everything is in objects, and so is what a later tenure has committed above a recovered tail.
    let tail = cache.runs_between(stream.id, record.committed(), Offset::MAX);
    let uncommitted = tail.filter(|run| run.range.next > committed_in(&image, stream.id, run.place.wal));
    record.live_bytes + uncommitted.map(|run| u64::from(run.place.len)).sum::<u64>()
}

/// See [`crate::Stream::bytes_from`].
pub(crate) fn bytes_from(shared: &Shared, stream: &OpenStream, from: Offset, bytes_max: usize) -> Option<usize> {
    let end = stream.confirmed();
    let cache = lock(&shared.cache);
    let (mut bytes, mut next) = (0, from);
    for run in cache.runs_between(stream.id, from, end).take(RUNS_LOOKED_AT_MAX) {
        if run.range.base > next {
            return None;
        }
        bytes += usize::try_from(run.place.len).unwrap_or(usize::MAX);
        if bytes >= bytes_max {
            return None;
        }
        next = run.range.next;
    }
    (next >= end).then_some(bytes)
}

/// See [`crate::Stream::retention_start`]. As Kafka deletes whole segments, so whole references go; by size only while what is left
/// is at least the limit. Records without a time age from their arrival, and where that is not known they stay. Where there is nothing,
/// that goes with what follows.
pub(crate) fn retention_start(record: &StreamRecord, bytes: Option<u64>, before: Option<UnixMillis>) -> Offset {
    let mut start = record.start;
    let mut live = record.live_bytes;
    let mut passed = start;
    for reference in record.references.values() {
        if reference.range.base > passed {
            break;
        }
        passed = passed.max(reference.range.next);
        if reference.bytes == 0 {
            continue;
        }
        let held = reference.live_bytes(record.start);
        let ages_from = reference.max_timestamp.ages_from();
        let is_old = |before| reference.records == 0 || ages_from.is_some_and(|from| from < before);
        let too_old = before.is_some_and(is_old);
        let too_much = bytes.is_some_and(|limit| live.saturating_sub(held) >= limit && held > 0);
        if !(too_old || too_much) {
            break;
        }
        live -= held.min(live);
        start = passed;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ObjectId, OffsetRange, StreamEpoch, TopicId};

    fn record(references: &[(u64, u64, u64, i64)], start: u64) -> StreamRecord {
        let references: Vec<Reference> = references
            .iter()
            .map(|(base, next, bytes, max_timestamp)| Reference {
                object: ObjectId::default(),
                range: OffsetRange::new(Offset(*base), Offset(*next)),
                bytes: *bytes,
                records: next - base,
                max_timestamp: UnixMillis(*max_timestamp),
                max_timestamp_offset: Offset(*base),
            })
            .collect();
        StreamRecord {
            topic: TopicId(1),
            partition: 0,
            epoch: StreamEpoch(0),
            start: Offset(start),
            tenures: Vec::new(),
            epochs: Vec::new(),
            live_bytes: references.iter().map(|reference| reference.live_bytes(Offset(start))).sum(),
            references: references.into_iter().map(|reference| (reference.range.base, reference)).collect(),
            producers: Vec::new(),
            unsaved: Vec::new(),
            reborn: false,
            cleaned: Offset(0),
        }
    }

    #[test]
    fn whole_references_go_oldest_first_and_no_younger_one_behind_an_older() {
        let three = record(&[(0, 10, 100, 50), (10, 20, 100, 40), (20, 30, 100, 90)], 0);
        assert_eq!(retention_start(&three, None, None), Offset(0));
        assert_eq!(
            retention_start(&three, None, Some(UnixMillis(50))),
            Offset(0),
            "its greatest timestamp is not older"
        );
        assert_eq!(retention_start(&three, None, Some(UnixMillis(60))), Offset(20));
        assert_eq!(retention_start(&three, Some(200), None), Offset(10));
        assert_eq!(retention_start(&three, Some(201), None), Offset(0), "less than the limit would be left");
        assert_eq!(retention_start(&three, Some(0), None), Offset(30));
        let gap = 1 << 36;
        let lost = record(&[(0, gap, 0, i64::MIN), (gap, gap + 10, 100, 50), (gap + 10, gap + 20, 100, 60)], 0);
        assert_eq!(retention_start(&lost, None, None), Offset(0));
        assert_eq!(retention_start(&lost, Some(200), None), Offset(0));
        assert_eq!(
            retention_start(&lost, Some(100), None),
            Offset(gap + 10),
            "what has no bytes keeps nothing that has"
        );
        assert_eq!(retention_start(&lost, Some(150), None), Offset(0));
        assert_eq!(
            retention_start(&lost, None, Some(UnixMillis(40))),
            Offset(0),
            "who is in there must not be told to begin anew"
        );
        assert_eq!(retention_start(&lost, None, Some(UnixMillis(55))), Offset(gap + 10));
        let begun = record(&[(0, 10, 100, 50), (10, 20, 100, 40)], 5);
        assert_eq!(retention_start(&begun, Some(100), None), Offset(10), "half of the first is gone already");
    }
}
