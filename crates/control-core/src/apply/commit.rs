//! Uploaded objects become part of streams, range by range.

use super::stream::portion;
use super::{Applied, producers};
use crate::{CommitRange, Image, ObjectRecord, Outcome, Reference, Refusal, StreamRecord, UploadedObject, WalState};
use base::{LedgerSeq, NodeEpoch, ObjectId, Offset, OffsetRange, WalId, WalPosition, planted};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The command's arguments.
pub(super) struct Commit<'a> {
    pub(super) speaker: NodeEpoch,
    pub(super) wal: WalId,
    pub(super) trim: WalPosition,
    pub(super) min_counter: u64,
    pub(super) objects: &'a [UploadedObject],
}

/// What becomes of one range (rule D-5).
enum Verdict {
    /// From this offset on it becomes part of its stream.
    Accept(Offset),
    /// Needs no commit: committed, trimmed or its stream deleted.
    Drop,
    /// The holder cuts it anew from the image.
    Refuse,
}

pub(super) fn commit_objects(image: &mut Image, seq: LedgerSeq, commit: &Commit<'_>) -> Applied {
    check(image, commit)?;
    let mut ranges = Vec::new();
    for object in commit.objects {
        commit_object(image, seq, commit, object, &mut ranges);
    }
    // The trim point was chosen as if all were accepted: a refused range still needs its records.
    let complete = planted!("trim before commit", ranges.iter().all(|accepted| *accepted), true);
    let trimmed = planted!("trim of another log", commit.wal, WalId { index: Default::default(), ..commit.wal });
    if let Some(wal) = image.wals.get_mut(&trimmed)
        && complete
        && commit.trim > wal.trim
    {
        Arc::make_mut(wal).trim = commit.trim;
        producers::note_saved(image, commit.wal);
    }
    if let Some(speaker) = image.nodes.get_mut(&commit.speaker)
        && commit.min_counter > speaker.min_counter
    {
        Arc::make_mut(speaker).min_counter = commit.min_counter;
    }
    Ok(Outcome::Committed { ranges })
}

/// What refuses the whole command: a speaker without a say, and arguments that contradict themselves.
fn check(image: &Image, commit: &Commit<'_>) -> Result<(), Refusal> {
    let wal = image.wals.get(&commit.wal).ok_or_else(|| Refusal::Unknown(format!("write-ahead log {}", commit.wal)))?;
    if !image.speaks_for(commit.speaker, commit.wal) && planted!("R2", true, commit.speaker != commit.wal.node_epoch) {
        let dead = image.is_dead(commit.speaker);
        return Err(if dead { Refusal::Dead(commit.speaker) } else { Refusal::StaleEpoch });
    }
    if let WalState::Sealed { end, .. } = wal.state
        && commit.trim > end
    {
        return Err(Refusal::Invalid(format!(
            "trim {} lies beyond the end {end} of write-ahead log {}",
            commit.trim, commit.wal
        )));
    }
    let mut ids = BTreeSet::new();
    for object in commit.objects {
        if object.id.node_epoch != commit.speaker {
            return Err(Refusal::Invalid(format!("object {} was not made by start {}", object.id, commit.speaker)));
        }
        if !ids.insert(object.id) {
            return Err(Refusal::Invalid(format!("object {} is named twice", object.id)));
        }
    }
    Ok(())
}

fn commit_object(
    image: &mut Image,
    seq: LedgerSeq,
    commit: &Commit<'_>,
    object: &UploadedObject,
    answers: &mut Vec<bool>,
) {
    // O-1: nothing below the promised counter is ever referenced. And an object is committed once: what a second command names
    // is either committed already or must be cut anew, so that no dead object comes back.
    let may_refer = image.nodes.get(&commit.speaker).is_some_and(|speaker| object.id.counter >= speaker.min_counter)
        && !image.objects.contains_key(&object.id)
        && !image.dead_objects.contains_key(&object.id);
    let mut references = 0;
    for range in &object.ranges {
        let accepted = match verdict(image, commit.wal, range) {
            Verdict::Drop => true,
            Verdict::Accept(from) if may_refer => {
                refer(image, commit.wal, object.id, range, from);
                references += 1;
                true
            }
            Verdict::Accept(_) | Verdict::Refuse => false,
        };
        answers.push(accepted);
    }
    if references > 0 {
        let data_bytes = object.ranges.iter().fold(0, |sum: u64, range| sum.saturating_add(range.bytes));
        image.objects.insert(object.id, ObjectRecord { size: object.size, references, data_bytes });
    }
    for state in &object.states {
        answers.push(producers::commit_state(image, seq, object, state, may_refer));
    }
}

fn verdict(image: &Image, wal: WalId, range: &CommitRange) -> Verdict {
    let Some(stream) = image.streams.get(&range.stream) else {
        return if image.is_deleted(range.stream) { Verdict::Drop } else { Verdict::Refuse };
    };
    let OffsetRange { base, next } = range.range;
    let Some(tenure) = stream.tenure(wal, range.stream_epoch) else {
        // A settled tenure has left the list. One that is listed under another WAL was never this holder's.
        let listed = stream.tenures.iter().any(|tenure| tenure.stream_epoch == range.stream_epoch);
        return if range.stream_epoch <= stream.epoch && !listed { Verdict::Drop } else { Verdict::Refuse };
    };
    let committed = tenure.committed;
    if next <= committed {
        return Verdict::Drop;
    }
    let within = tenure.start <= base && base < next && next <= tenure.end.unwrap_or(Offset::MAX);
    let contiguous = planted!("commit of a gap", base <= committed, true);
    let overlap_allowed = planted!("T4", true, base >= committed);
    if within && contiguous && overlap_allowed { Verdict::Accept(committed.max(base)) } else { Verdict::Refuse }
}

/// Makes `[from, next)` of the range part of its stream.
fn refer(image: &mut Image, wal: WalId, object: ObjectId, range: &CommitRange, from: Offset) {
    let Some(stream) = image.streams.get_mut(&range.stream) else {
        unreachable!("the verdict looked at this stream");
    };
    let stream: &mut StreamRecord = Arc::make_mut(stream);
    let counted = OffsetRange::new(from, range.range.next);
    let share = |total: u64| portion(total, counted.len(), range.range.len());
    let reference = Reference {
        object,
        range: counted,
        // Never 0 for what has batches: that would say that it has none.
        bytes: share(range.bytes).max(1).min(range.bytes),
        records: share(range.records),
        max_timestamp: range.max_timestamp,
        max_timestamp_offset: range.max_timestamp_offset,
    };
    stream.live_bytes = stream.live_bytes.saturating_add(reference.live_bytes(stream.start));
    stream.references.insert(from, reference);
    let Some(tenure) =
        stream.tenures.iter_mut().find(|tenure| tenure.stream_epoch == range.stream_epoch && tenure.wal == wal)
    else {
        unreachable!("the verdict looked at this tenure");
    };
    tenure.committed = counted.next;
    let first = tenure.start;
    stream.note_epoch(range.stream_epoch, first);
    stream.settle();
}

/// Only the dead list shrinks; naming an object that is alive is a mistake that must not pass unseen. One that its writer might
/// still name stays listed, so that a late commit can't bring it back.
pub(super) fn objects_deleted(image: &mut Image, objects: &[ObjectId]) -> Applied {
    if let Some(live) = objects.iter().find(|object| image.objects.contains_key(*object)) {
        return Err(Refusal::Invalid(format!("object {live} is referenced")));
    }
    for object in objects {
        if image.is_decided(*object) {
            image.dead_objects.remove(object);
        }
    }
    Ok(Outcome::Done)
}
