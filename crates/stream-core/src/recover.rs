//! What the groups of a dead start's WAL mean, stream by stream.
//!
//! Asked twice of the same groups. Before the seal, with the tenures of the image that holds the death: the ends to offer. After it,
//! with the tenures as the seal closed them: the tails that are not committed yet, which readers are served from and the upload takes.
//!
//! - Records of deleted streams, and at or beyond a closed tenure's end, are ignored: nobody may see them again.
//! - A tail is contiguous from its tenure's committed end. A hole, or a closed tenure whose end the WAL does not reach, is data loss
//!   (rule D-4): the WAL is left as it is and a person is told; an end is never shortened.
//! - What idempotent producers wrote is folded apart ([`fold_producers`]): of all streams that exist, whatever became of the records.
//! - The recovered end itself (rule D-6: the greatest of tenure start, committed end, stream start and what the WAL holds) is the
//!   ledger's decision; what the WAL holds is told here.

use crate::cache::{Run, join};
use crate::producers::{Producers, Written};
use base::{Offset, OffsetRange, StreamEpoch, StreamId, UnixMillis, WalPosition};
use std::collections::BTreeMap;

/// What a group's directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundGroup {
    /// Everything of this group lies below.
    pub end: WalPosition,
    /// Its batches, by stream back to back, spilled.
    pub runs: Vec<(StreamId, Run)>,
    /// Those of idempotent producers.
    pub producers: Vec<FoundBatch>,
}

/// A batch of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundBatch {
    /// Whose.
    pub stream: StreamId,
    /// Of the tenure that it was written in.
    pub stream_epoch: StreamEpoch,
    /// The batch.
    pub written: Written,
}

/// What a WAL's tail holds of a stream's producer state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailPart {
    /// Of the tenure that it was written in.
    pub stream_epoch: StreamEpoch,
    /// From the first to the last batch of an idempotent producer.
    pub range: OffsetRange,
    /// Their producers.
    pub producers: Producers,
}

/// A tenure that has the WAL in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenureView {
    /// Its epoch.
    pub stream_epoch: StreamEpoch,
    /// First offset.
    pub start: Offset,
    /// Everything below needs no upload.
    pub committed: Offset,
    /// `None` while open.
    pub end: Option<Offset>,
}

/// What the WAL holds that is not committed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// For each stream that has an open tenure and records here: the end of what the WAL holds.
    pub ends: Vec<(StreamId, Offset)>,
    /// Uncommitted runs in WAL order, by group.
    pub tails: Vec<TailGroup>,
}

/// A group's uncommitted runs.
#[derive(Debug, PartialEq, Eq)]
pub struct TailGroup {
    /// Everything of this group lies below.
    pub end: WalPosition,
    /// With their tenures' epochs.
    pub runs: Vec<(StreamId, StreamEpoch, Run)>,
}

/// Acknowledged records are missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Between two groups.
    #[error(
        "acknowledged records are missing: stream {stream}: the WAL holds nothing of [{from}, {to}), which is neither committed nor trimmed"
    )]
    Hole { stream: StreamId, from: Offset, to: Offset },
    /// At the end.
    #[error(
        "acknowledged records are missing: stream {stream}: its tenure was closed at {end}, the WAL ends at {held}"
    )]
    Short { stream: StreamId, held: Offset, end: Offset },
}

/// Folds a WAL's groups, from its trim point on, in order.
///
/// # Errors
/// Acknowledged records are missing: nothing may be concluded from this WAL.
pub fn fold(groups: &[FoundGroup], tenures: &BTreeMap<StreamId, Vec<TenureView>>) -> Result<Recovered, Loss> {
    let mut reached: BTreeMap<(StreamId, StreamEpoch), Offset> = BTreeMap::new();
    let mut recovered = Recovered::default();
    for group in groups {
        let mut runs: Vec<(StreamId, StreamEpoch, Run)> = Vec::new();
        for (stream, run) in &group.runs {
            let Some(tenure) = tenure_of(tenures, *stream, run.range.base) else { continue };
            let reached = reached.entry((*stream, tenure.stream_epoch)).or_insert(tenure.committed);
            if run.range.next <= *reached {
                continue;
            }
            if run.range.base > *reached {
                return Err(Loss::Hole { stream: *stream, from: *reached, to: run.range.base });
            }
            *reached = run.range.next;
            let joined = runs.last().filter(|last| last.0 == *stream).and_then(|last| join(&last.2, run));
            match (joined, runs.last_mut()) {
                (Some(joined), Some(last)) => last.2 = joined,
                _ => runs.push((*stream, tenure.stream_epoch, run.clone())),
            }
        }
        recovered.tails.push(TailGroup { end: group.end, runs });
    }
    for (stream, tenures) in tenures {
        for tenure in tenures {
            let held = reached.get(&(*stream, tenure.stream_epoch)).copied();
            match (tenure.end, held) {
                (Some(end), held) if held.unwrap_or(tenure.committed) < end => {
                    let held = held.unwrap_or(tenure.committed);
                    return Err(Loss::Short { stream: *stream, held, end });
                }
                (None, Some(held)) => recovered.ends.push((*stream, held)),
                _ => {}
            }
        }
    }
    Ok(recovered)
}

/// Folds what idempotent producers wrote to the streams that exist. `bound` tells where offsets of a stream and an epoch end,
/// because a later tenure begins there; `None` where the stream is gone.
///
/// By stream and tenure: between two tenures of a stream in one WAL there may be one in another, of which this WAL holds nothing.
///
/// Every producer counts as having written at `now`: when it really did is not in the WAL, and to know it for too long does no harm.
#[must_use]
pub fn fold_producers<'a>(
    groups: impl Iterator<Item = &'a FoundGroup>,
    bound: impl Fn(StreamId, StreamEpoch) -> Option<Offset>,
    now: UnixMillis,
) -> BTreeMap<(StreamId, StreamEpoch), TailPart> {
    let mut parts: BTreeMap<(StreamId, StreamEpoch), TailPart> = BTreeMap::new();
    for found in groups.flat_map(|group| &group.producers) {
        let FoundBatch { stream, stream_epoch, written } = *found;
        if bound(stream, stream_epoch).is_none_or(|bound| written.range.base >= bound) {
            continue;
        }
        let part = parts.entry((stream, stream_epoch)).or_insert_with(|| TailPart {
            stream_epoch,
            range: written.range,
            producers: Producers::default(),
        });
        part.range.next = written.range.next.max(part.range.next);
        part.producers.fold(&written, now);
    }
    parts
}

fn tenure_of(tenures: &BTreeMap<StreamId, Vec<TenureView>>, stream: StreamId, base: Offset) -> Option<TenureView> {
    let tenures = tenures.get(&stream)?;
    tenures.iter().copied().find(|tenure| tenure.start <= base && tenure.end.is_none_or(|end| base < end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Body, Place};
    use crate::{BatchKind, ProducerDelta};
    use base::{OffsetRange, UnixMillis, WalId};

    fn run(base: u64, next: u64, position: u64) -> Run {
        Run {
            range: OffsetRange::new(Offset(base), Offset(next)),
            records: next - base,
            max_timestamp: UnixMillis(0),
            max_timestamp_offset: Offset(base),
            control: false,
            place: Place { wal: WalId::default(), position: WalPosition(position), len: 100, crc: 0 },
            body: Body::Spilled,
            frame: None,
        }
    }

    fn group(end: u64, runs: &[(u64, Run)]) -> FoundGroup {
        let runs = runs.iter().map(|(stream, run)| (StreamId(*stream), run.clone())).collect();
        FoundGroup { end: WalPosition(end), runs, producers: Vec::new() }
    }

    fn tenure(start: u64, committed: u64, end: Option<u64>) -> Vec<TenureView> {
        let (start, committed, end) = (Offset(start), Offset(committed), end.map(Offset));
        vec![TenureView { stream_epoch: StreamEpoch(3), start, committed, end }]
    }

    #[test]
    fn offers_what_the_wal_holds_and_keeps_only_what_is_not_committed() {
        let groups = [
            group(1000, &[(1, run(0, 5, 0)), (2, run(0, 9, 100))]),
            group(2000, &[(1, run(5, 8, 1000)), (1, run(8, 9, 1100)), (3, run(0, 1, 1200))]),
        ];
        let tenures = BTreeMap::from([
            (StreamId(1), tenure(0, 5, None)),
            (StreamId(2), tenure(0, 9, None)),
            (StreamId(4), tenure(7, 7, None)),
        ]);
        let recovered = fold(&groups, &tenures).unwrap();
        assert_eq!(
            recovered.ends,
            [(StreamId(1), Offset(9)), (StreamId(2), Offset(9))],
            "stream 3 is deleted, 4 has no record"
        );
        assert!(recovered.tails[0].runs.is_empty());
        let runs = &recovered.tails[1].runs;
        assert_eq!(runs.len(), 1, "adjacent runs are one");
        assert_eq!((runs[0].2.range, runs[0].2.place.len), (OffsetRange::new(Offset(5), Offset(9)), 200));
    }

    #[test]
    fn what_lies_beyond_a_closed_end_is_ignored() {
        let groups = [group(1000, &[(1, run(0, 5, 0))]), group(2000, &[(1, run(5, 6, 1000))])];
        let closed = BTreeMap::from([(StreamId(1), tenure(0, 2, Some(5)))]);
        let recovered = fold(&groups, &closed).unwrap();
        assert!(recovered.ends.is_empty());
        assert_eq!(recovered.tails[0].runs[0].2.range.next, Offset(5));
        assert!(recovered.tails[1].runs.is_empty());
    }

    #[test]
    fn a_hole_or_a_short_closed_tenure_is_a_loss_and_not_an_end() {
        let open = BTreeMap::from([(StreamId(1), tenure(0, 2, None))]);
        let hole = fold(&[group(1000, &[(1, run(5, 6, 0))])], &open);
        assert_eq!(hole, Err(Loss::Hole { stream: StreamId(1), from: Offset(2), to: Offset(5) }));
        let closed = BTreeMap::from([(StreamId(1), tenure(0, 2, Some(8)))]);
        let short = fold(&[group(1000, &[(1, run(0, 5, 0))])], &closed);
        assert_eq!(short, Err(Loss::Short { stream: StreamId(1), held: Offset(5), end: Offset(8) }));
        assert!(matches!(fold(&[], &closed), Err(Loss::Short { .. })));
    }

    #[test]
    fn producers_are_folded_whatever_became_of_the_records() {
        let found = |stream: u64, epoch, base: u64, first| FoundBatch {
            stream: StreamId(stream),
            stream_epoch: StreamEpoch(epoch),
            written: Written {
                range: OffsetRange::new(Offset(base), Offset(base + 1)),
                timestamp: UnixMillis(5),
                delta: ProducerDelta {
                    producer_id: 9,
                    producer_epoch: 0,
                    first_sequence: first,
                    last_sequence: first,
                    kind: BatchKind::Plain,
                },
            },
        };
        let of = |batches: &[FoundBatch]| FoundGroup { producers: batches.to_vec(), ..group(0, &[]) };
        let groups = [of(&[found(1, 3, 7, 0), found(2, 0, 0, 0)]), of(&[found(1, 3, 9, 1), found(1, 3, 12, 2)])];
        let bound = |stream, _| (stream == StreamId(1)).then_some(Offset(12));
        let parts = fold_producers(groups.iter(), bound, UnixMillis(77));
        assert_eq!(parts.len(), 1, "stream 2 is deleted");
        let part = &parts[&(StreamId(1), StreamEpoch(3))];
        assert_eq!((part.stream_epoch, part.range), (StreamEpoch(3), OffsetRange::new(Offset(7), Offset(10))));
        let mut expected = Producers::default();
        for (base, first) in [(7, 0), (9, 1)] {
            expected.fold(&found(1, 3, base, first).written, UnixMillis(77));
        }
        assert_eq!(part.producers, expected, "what lies beyond the tenure's end is nobody's");
        // Of [8, 20) this log holds nothing: a part that spanned both would speak for it.
        let groups = [of(&[found(1, 3, 7, 0)]), of(&[found(1, 5, 20, 9)])];
        let bound = |_, epoch| Some(if epoch == StreamEpoch(3) { Offset(8) } else { Offset::MAX });
        let parts = fold_producers(groups.iter(), bound, UnixMillis(77));
        let ranges: Vec<(u64, u64)> = parts.values().map(|part| (part.range.base.0, part.range.next.0)).collect();
        assert_eq!(ranges, [(7, 8), (20, 21)]);
    }

    #[test]
    fn closed_at_the_end_that_was_offered_a_tenure_has_the_same_tail() {
        let groups = [group(1000, &[(1, run(0, 5, 0))]), group(2000, &[(1, run(5, 6, 1000))])];
        let offered = fold(&groups, &BTreeMap::from([(StreamId(1), tenure(0, 0, None))])).unwrap();
        assert_eq!(offered.ends, [(StreamId(1), Offset(6))]);
        let sealed = fold(&groups, &BTreeMap::from([(StreamId(1), tenure(0, 0, Some(6)))])).unwrap();
        assert_eq!((sealed.ends, sealed.tails), (vec![], offered.tails));
    }
}
