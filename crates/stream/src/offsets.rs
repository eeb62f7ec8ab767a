//! Offsets that are found by time or by size: ListOffsets and retention.

use crate::open_stream::OpenStream;
use crate::read::{StoreFault, blocks_of, index};
use crate::shared::Shared;
use crate::store::ReadError;
use base::{Offset, StreamId, UnixMillis};
use control_core::{Reference, StreamRecord};
use world::{StoreError, lock};

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
    let unseen = unseen_from(shared, record, stream.id, end);
    if unseen < end {
        return Err(ReadError::Trouble(format!("the records from offset {unseen} on are not here yet; ask again")));
    }
    let Some(reference) = in_objects else { return Ok(in_tail) };
    if in_tail.is_some_and(|offset| offset <= reference.range.base) {
        return Ok(in_tail);
    }
    let from = reference.range.base.max(record.start);
    match index(shared, reference.object).await {
        Ok(blocks) => {
            let blocks = blocks_of(&blocks, stream.id);
            let found = blocks.iter().find(|block| block.range.next > from && block.max_timestamp >= target);
            Ok(Some(found.map_or(from, |block| block.range.base.max(from))))
        }
        Err(StoreFault::Store(StoreError::NotFound(_))) => {
            Err(ReadError::Trouble(format!("object {} was replaced; ask again", reference.object)))
        }
        Err(StoreFault::Store(error)) => Err(ReadError::Trouble(error.to_string())),
        Err(StoreFault::Damaged(why)) => Err(ReadError::Corrupt(format!("object {}: {why}", reference.object))),
    }
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

/// See [`crate::Stream::retention_start`]. As Kafka deletes whole segments, so whole references go; by size only while what is left
/// is at least the limit.
pub(crate) fn retention_start(record: &StreamRecord, bytes: Option<u64>, before: Option<UnixMillis>) -> Offset {
    let mut start = record.start;
    let mut live = record.live_bytes;
    for reference in record.references.values() {
        if reference.range.base > start {
            break;
        }
        let held = reference.live_bytes(record.start);
        let too_old = before.is_some_and(|before| reference.max_timestamp < before);
        let too_much = bytes.is_some_and(|limit| live.saturating_sub(held) >= limit && held > 0);
        if !(too_old || too_much) {
            break;
        }
        live -= held.min(live);
        start = start.max(reference.range.next);
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
        let begun = record(&[(0, 10, 100, 50), (10, 20, 100, 40)], 5);
        assert_eq!(retention_start(&begun, Some(100), None), Offset(10), "half of the first is gone already");
    }
}
