//! What a day may take.
//!
//! Objects: by levels of eight there are at most seven of each size below the largest, and as many dead ones as die within their grace;
//! above that, one for each `LARGE` of live bytes. Requests: each minute an upload with its ledger entry, and merges, which by eight are
//! a seventh of the uploads. The ledger: architecture, section 4, "about 150 bytes a stream plus recent references".

use super::{DayPlan, Sample};

/// Levels of merged objects, and room for those that wait to be merged or to be deleted.
const OBJECTS_MIN: usize = 150;
/// The live bytes that may cost one object more.
const LARGE: u64 = 64 << 20;
/// Of an hour, with sixty uploads: uploads, merges, their reads, ledger entries and listings.
const PUTS_PER_HOUR: f64 = 600.0;
/// Of a ledger snapshot, for each stream,
const STREAM_BYTES: u64 = 150;
/// and each reference.
const REFERENCE_BYTES: u64 = 60;
/// A stream's references: at most seven for each level, of which a day has four.
const REFERENCES_MAX: usize = 28;
/// Of what is stored while it waits to be deleted or rewritten, in hundredths of what may live.
const STORED_PERCENT: u64 = 200;
/// Objects of an empty cluster: its format, its ledger since the last but one snapshot, fences.
const EMPTY_OBJECTS_MAX: usize = 600;

/// The budgets that a sample breaks.
pub(super) fn broken(plan: &DayPlan, sample: &Sample) -> Vec<String> {
    let hour = sample.hour;
    let bounds = [
        ("data objects", sample.stored_objects as u64, (OBJECTS_MIN as u64) + plan.live_bytes_max() / LARGE),
        ("bytes stored", sample.stored_bytes, plan.live_bytes_max() * STORED_PERCENT / 100),
        ("references of a stream", sample.references_max as u64, REFERENCES_MAX as u64),
        (
            "bytes of the ledger's snapshot",
            sample.snapshot_bytes,
            STREAM_BYTES * sample.streams as u64 + REFERENCE_BYTES * sample.references as u64,
        ),
        ("requests, in PUTs", sample.put_equivalents_sum() as u64, PUTS_PER_HOUR as u64),
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
