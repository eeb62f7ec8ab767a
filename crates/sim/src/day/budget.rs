//! What a day may take.
//!
//! Merged objects are at least two fifths of the largest that compaction writes, which is a 64th of the memory for streams, so that live bytes
//! bound their number; beside them are those that wait to be merged, eight of a level, or to be deleted. An hour has sixty uploads, each
//! with its ledger entries and their listings, and merges. The ledger: architecture, section 4, "about 150 bytes a stream plus recent
//! references".

use super::{DayPlan, Sample};

/// Objects that wait to be merged or to be deleted.
const WAITING_OBJECTS: u64 = 60;
/// Requests of an hour beside compaction, in PUTs: sixty uploads, each with at most two entries of the ledger and a listing for each.
const UPLOADS_PER_HOUR: u64 = 400;
/// What is uploaded is written once more for each level of object size, and of part size, that it passes.
const LEVELS: u64 = 5;
/// Of a ledger snapshot, for each stream,
const STREAM_BYTES: u64 = 150;
/// and each reference.
const REFERENCE_BYTES: u64 = 60;
/// A stream's references: at most seven for each level, of which a day has four.
const REFERENCES_MAX: u64 = 28;
/// Of what is stored while it waits to be deleted or rewritten, in hundredths of what may live.
const STORED_PERCENT: u64 = 200;
/// Objects of an empty cluster: its format, its ledger since the last but one snapshot, fences.
const EMPTY_OBJECTS_MAX: usize = 600;

/// The budgets that the last of these samples breaks. What is put and asked for is judged by the hours so far: the merge of a high level
/// writes in one of them what came in many.
pub(super) fn broken(plan: &DayPlan, samples: &[Sample]) -> Vec<String> {
    let Some(sample) = samples.last() else { return Vec::new() };
    let hour = sample.hour;
    let merged = DayPlan::merged_object_bytes();
    let mean = |of: fn(&Sample) -> u64| samples.iter().map(of).sum::<u64>() / hour.max(1);
    let bounds = [
        ("data objects", sample.stored_objects as u64, WAITING_OBJECTS + plan.live_bytes_max() / merged),
        ("bytes stored", sample.stored_bytes, plan.live_bytes_max() * STORED_PERCENT / 100),
        ("bytes put as data, an hour", mean(|it| it.put_bytes), plan.bytes_per_hour() * (1 + LEVELS)),
        ("references of a stream", sample.references_max as u64, REFERENCES_MAX),
        (
            "bytes of the ledger's snapshot",
            sample.snapshot_bytes,
            STREAM_BYTES * sample.streams as u64 + REFERENCE_BYTES * sample.references as u64,
        ),
        (
            "requests, in PUTs, an hour",
            mean(Sample::put_equivalents),
            UPLOADS_PER_HOUR + plan.bytes_per_hour() * LEVELS / merged,
        ),
    ];
    let over = bounds.into_iter().filter(|(_, found, allowed)| found > allowed);
    over.map(|(what, found, allowed)| format!("hour {hour}: {found} {what}, budget {allowed}")).collect()
}

/// What an empty cluster's bucket does not have.
pub(super) fn not_empty(sample: &Sample) -> Vec<String> {
    let bounds = [
        ("streams", sample.streams, 0),
        ("data objects", sample.stored_objects, 0),
        ("other objects", sample.other_objects, EMPTY_OBJECTS_MAX),
    ];
    let over = bounds.into_iter().filter(|(_, found, allowed)| found > allowed);
    over.map(|(what, found, allowed)| {
        format!("hour {}: all topics are gone, but {found} {what} are there, {allowed} allowed", sample.hour)
    })
    .collect()
}
