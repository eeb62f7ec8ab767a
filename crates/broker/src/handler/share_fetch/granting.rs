//! Gives a member what it can of what was read for it.

use super::fetching::{Place, Reading, Wanted};
use crate::Shared;
use crate::end_marker::{ControlRecord, control_record};
use crate::error::Failure;
use crate::handler::fetch::Slot;
use crate::shared_partitions::Led;
use base::{Offset, OffsetRange};
use coordinator_core::{AcquireRequest, AcquiredRange, Fetched, FetchedAbort, FetchedBatch};
use protocol::record_batch::{BatchError, Outline, cut, outlines};
use protocol::wire::Records;
use std::sync::Arc;

/// What came of it beside what stands in the places.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// Reading has met an error, which the client must hear of.
    pub(super) has_error: bool,
    /// What was read is passed.
    pub(super) is_further: bool,
}

/// Partition by partition, in the request's order, until it has as many records as it wants.
pub(super) fn grant(
    broker: &Shared,
    wanted: &Wanted<'_>,
    places: &mut [Place],
    (readings, slots): (Vec<Reading>, Vec<Slot>),
) -> Granted {
    let mut granted = Granted::default();
    let mut left = wanted.records_max;
    for ((index, _turn, from), slot) in readings.into_iter().zip(slots) {
        let place = &mut places[index];
        let Ok(led) = &place.led else { continue };
        let outcome = match &slot.found {
            Ok(_) => give(broker, wanted, (led, from), &slot, left),
            // The log begins later by now, which the share-partition sees when it is asked again.
            Err(Failure::OffsetOutOfRange) => {
                granted.is_further = true;
                continue;
            }
            Err(failure) => Err(failure.clone()),
        };
        match outcome {
            Ok(Given { ranges, count, records, next }) => {
                place.is_read = true;
                granted.is_further |= next != from;
                left = left.saturating_sub(count);
                (place.acquired, place.records) = (ranges, records);
            }
            Err(failure) => {
                granted.has_error = true;
                place.led = Err(failure);
            }
        }
    }
    granted
}

/// What a member is given of a partition.
#[derive(Debug, Default)]
struct Given {
    ranges: Vec<AcquiredRange>,
    count: u32,
    records: Records,
    /// Where the next one reads.
    next: Offset,
}

fn give(
    broker: &Shared,
    wanted: &Wanted<'_>,
    (led, from): (&Arc<Led>, Offset),
    slot: &Slot,
    records_max: u32,
) -> Result<Given, Failure> {
    let found = outlines(&slot.records)?;
    let batches = found.iter().map(|it| fetched(it, &slot.records)).collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() || records_max == 0 {
        return Ok(Given { next: from, ..Given::default() });
    }
    let aborted: Vec<FetchedAbort> =
        slot.aborted.iter().map(|it| FetchedAbort { producer_id: it.producer_id, first: it.first }).collect();
    let Wanted { key, mode, batch_size, .. } = *wanted;
    let request = AcquireRequest { member: &key.member, mode, batch_size, records_max };
    let fetched = Fetched { from, batches: &batches, aborted: &aborted };
    let (acquired, next) = led.acquire(broker, request, &fetched)?;
    let records = part(&slot.records, &found, &acquired.ranges);
    Ok(Given { ranges: acquired.ranges, count: acquired.count, records, next })
}

fn fetched(outline: &Outline, records: &Records) -> Result<FetchedBatch, BatchError> {
    let base = Offset::from_kafka(outline.base_offset).unwrap_or_default();
    let next = Offset::from_kafka(outline.last_offset).unwrap_or_default().plus(1);
    let is_abort_marker = outline.is_control && control_record(&outline.batch(records)?)? == Some(ControlRecord::Abort);
    Ok(FetchedBatch {
        range: OffsetRange { base, next: next.max(base) },
        producer_id: outline.producer_id,
        is_transactional: outline.is_transactional,
        is_abort_marker,
    })
}

/// The batches from the first record that was given to the last.
fn part(records: &Records, found: &[Outline], given: &[AcquiredRange]) -> Records {
    let (Some(first), Some(last)) = (given.first(), given.last()) else { return Records::default() };
    let (first, next) = (first.range.base.to_kafka(), last.range.next.to_kafka());
    let mut within = found.iter().filter(|it| it.last_offset >= first && it.base_offset < next);
    let Some(begins) = within.next() else { return Records::default() };
    let ends = within.next_back().unwrap_or(begins);
    cut(records, begins.bytes.start..ends.bytes.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn batches_are_sent_from_the_first_record_given_to_the_last() {
        let outline = |at: usize, base, last| Outline {
            bytes: at..at + 10,
            base_offset: base,
            last_offset: last,
            producer_id: None,
            is_transactional: false,
            is_control: false,
        };
        let found = [outline(0, 0, 4), outline(10, 5, 9), outline(20, 10, 14)];
        let bytes: Vec<u8> = (0..30).collect();
        let records = Records::from(Bytes::from(bytes.clone()));
        let given = |base, next| {
            let range = OffsetRange::new(Offset(base), Offset(next));
            part(&records, &found, &[AcquiredRange { range, delivery_count: 1 }]).to_bytes().to_vec()
        };
        assert_eq!(given(0, 15), bytes);
        assert_eq!(given(6, 7), bytes[10..20]);
        assert_eq!(given(4, 11), bytes);
        assert!(part(&records, &found, &[]).is_empty());
    }
}
