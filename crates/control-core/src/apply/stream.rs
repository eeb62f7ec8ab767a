//! Tenures, start offsets, references: what several families of commands do to a stream.

use super::Applied;
use crate::{Image, Outcome, Reference, Refusal, StreamRecord, Tenure, WalState};
use base::{LedgerSeq, NodeEpoch, ObjectId, Offset, StreamEpoch, StreamId, WalId, WalIndex, planted};
use std::sync::Arc;

/// Trim may exceed the committed end, and checks both epochs as hygiene: even a dead owner's trim would only name what readers
/// had seen.
pub(super) fn trim(
    image: &mut Image,
    seq: LedgerSeq,
    id: StreamId,
    node_epoch: NodeEpoch,
    stream_epoch: StreamEpoch,
    start: Offset,
) -> Applied {
    let stream = owned(image, id, node_epoch, stream_epoch)?;
    if start > Offset::MAX {
        return Err(Refusal::Invalid("beyond the greatest offset".to_owned()));
    }
    if start <= stream.start {
        return Ok(Outcome::Done);
    }
    let mut stream = StreamRecord::clone(stream);
    stream.start = start;
    if planted!("T1", planted!("T2", true, false), false) {
        stream.lift_committed();
    }
    let dropped = stream.drop_below_start();
    stream.settle();
    image.streams.insert(id, Arc::new(stream));
    for object in dropped {
        dereference(image, seq, object);
    }
    Ok(Outcome::Done)
}

/// Only its owner cleans a stream, and only what is committed; so whoever owns it next goes on from there.
pub(super) fn cleaned(
    image: &mut Image,
    id: StreamId,
    node_epoch: NodeEpoch,
    stream_epoch: StreamEpoch,
    cleaned: Offset,
) -> Applied {
    let stream = owned(image, id, node_epoch, stream_epoch)?;
    if cleaned > stream.committed() {
        return Err(Refusal::Invalid(format!("{cleaned} lies beyond the committed end {}", stream.committed())));
    }
    if cleaned > stream.cleaned {
        let stream = StreamRecord { cleaned, ..StreamRecord::clone(stream) };
        image.streams.insert(id, Arc::new(stream));
    }
    Ok(Outcome::Done)
}

/// The stream, where it is the asker's.
fn owned(
    image: &Image,
    id: StreamId,
    node_epoch: NodeEpoch,
    stream_epoch: StreamEpoch,
) -> Result<&Arc<StreamRecord>, Refusal> {
    let stream = image.streams.get(&id).ok_or_else(|| Refusal::Unknown(format!("stream {id}")))?;
    if image.is_dead(node_epoch) {
        return Err(Refusal::Dead(node_epoch));
    }
    if !stream.owner().is_some_and(|owner| owner.node_epoch() == node_epoch && owner.stream_epoch == stream_epoch) {
        return Err(Refusal::StaleEpoch);
    }
    Ok(stream)
}

/// Streams that are not ownerless are skipped: somebody else was first, or their dead owner's WAL has no end yet (D-6).
pub(super) fn open_streams(image: &mut Image, streams: &[StreamId], node_epoch: NodeEpoch, index: WalIndex) -> Applied {
    let wal = open_wal(image, node_epoch, index)?;
    for id in streams {
        let Some(stream) = image.streams.get(id) else { continue };
        if !image.may_open(stream) {
            continue;
        }
        let mut stream = StreamRecord::clone(stream);
        // Only the mutant D6 gets here with an open tenure.
        if let Some(open) = stream.tenures.last_mut().filter(|tenure| tenure.end.is_none()) {
            open.end = Some(open.committed);
        }
        stream.open_next(wal);
        image.streams.insert(*id, Arc::new(stream));
    }
    Ok(Outcome::Done)
}

/// A move to oneself (rule D-9): the log that is left keeps what is not committed, and its holder commits that. An end that the ledger knows to
/// be too low would shorten what is acknowledged, so that stream stays where it is.
pub(super) fn move_streams(
    image: &mut Image,
    node_epoch: NodeEpoch,
    to: WalIndex,
    streams: &[(StreamId, StreamEpoch, Offset)],
) -> Applied {
    let wal = open_wal(image, node_epoch, to)?;
    for (id, epoch, end) in streams {
        let Ok(stream) = owned(image, *id, node_epoch, *epoch) else { continue };
        let Some(open) = stream.owner().filter(|open| open.wal != wal) else { continue };
        if *end < open.start.max(open.committed).max(stream.start) || *end > Offset::MAX {
            continue;
        }
        let left = open.wal;
        let mut stream = StreamRecord::clone(stream);
        stream.close(*end);
        if planted!("producer state left behind by a move", !stream.unsaved.contains(&left), false) {
            stream.unsaved.push(left);
        }
        stream.open_next(wal);
        image.streams.insert(*id, Arc::new(stream));
    }
    Ok(Outcome::Done)
}

/// The WAL of a living start that a tenure may be opened in.
pub(super) fn open_wal(image: &Image, node_epoch: NodeEpoch, index: WalIndex) -> Result<WalId, Refusal> {
    let wal = WalId { node_epoch, index };
    if planted!("S1", false, true) {
        return Ok(wal);
    }
    if !image.is_alive(node_epoch) {
        return Err(Refusal::Dead(node_epoch));
    }
    match image.wals.get(&wal).map(|record| record.state) {
        Some(WalState::Open) => Ok(wal),
        // Nobody would ever recover a tenure that is opened in a sealed one.
        Some(WalState::Sealed { .. }) => Err(Refusal::Invalid(format!("write-ahead log {wal} is sealed"))),
        None => Err(Refusal::Unknown(format!("write-ahead log {wal}"))),
    }
}

/// Takes one reference off an object; the last one makes it dead in the same entry.
pub(super) fn dereference(image: &mut Image, seq: LedgerSeq, object: ObjectId) {
    let Some(record) = image.objects.get_mut(&object) else {
        unreachable!("a reference's object {object} is live");
    };
    record.references -= 1;
    if planted!("R4", record.references == 0, true) {
        image.objects.remove(&object);
        image.dead_objects.insert(object, seq);
    }
}

impl StreamRecord {
    /// Opens the next tenure where the last one ended: an offset is never given out twice.
    pub(super) fn open_next(&mut self, wal: WalId) {
        let Some(last) = self.tenures.last() else { unreachable!("a stream has at least one tenure") };
        let Some(end) = last.end else { unreachable!("the last tenure is closed before the next one opens") };
        let start = planted!("offset reused", end, last.committed);
        let stream_epoch = StreamEpoch(self.epoch.0.saturating_add(1));
        self.epoch = stream_epoch;
        self.tenures.push(Tenure { stream_epoch, wal, start, committed: start, end: None });
        self.lift_committed();
        self.settle();
    }

    /// A tenure's committed end is never below min(start offset, its end), so that what a trim dropped needs no commit (D-5).
    pub(super) fn lift_committed(&mut self) {
        for tenure in &mut self.tenures {
            let lifted = tenure.end.map_or(self.start, |end| self.start.min(end));
            let lifted = planted!("T3", lifted, tenure.committed);
            tenure.committed = tenure.committed.max(lifted);
        }
    }

    /// A closed tenure leaves the list when all of it is committed; the last one stays, for its end.
    pub(super) fn settle(&mut self) {
        let last = self.tenures.len().saturating_sub(1);
        let mut index = 0;
        self.tenures.retain(|tenure| {
            let keep = index == last || !tenure.is_settled();
            index += 1;
            keep
        });
    }

    /// Notes that a tenure has records (an epoch without any is not in Kafka's history).
    pub(super) fn note_epoch(&mut self, epoch: StreamEpoch, first: Offset) {
        if let Err(index) = self.epochs.binary_search_by_key(&epoch, |(it, _)| *it) {
            self.epochs.insert(index, (epoch, first));
            self.cut_epochs();
        }
    }

    /// Drops references that lie below the start, and answers their objects; cuts the epoch history.
    fn drop_below_start(&mut self) -> Vec<ObjectId> {
        let mut dropped = Vec::new();
        while let Some((base, reference)) = self.references.get_min().copied() {
            if reference.range.next > self.start {
                break;
            }
            self.references.remove(&base);
            dropped.push(reference.object);
        }
        let live = self.references.values().map(|reference| reference.live_bytes(self.start));
        self.live_bytes = live.fold(0, u64::saturating_add);
        self.cut_epochs();
        dropped
    }

    /// The epoch that reaches over the start begins there; those before it are gone.
    fn cut_epochs(&mut self) {
        let below = self.epochs.iter().take_while(|(_, first)| *first <= self.start).count();
        self.epochs.drain(..below.saturating_sub(1));
        if let Some((_, first)) = self.epochs.first_mut() {
            *first = (*first).max(self.start);
        }
    }
}

impl Reference {
    /// Bytes of the part at or above `start`, in proportion to its offsets.
    #[must_use]
    pub fn live_bytes(&self, start: Offset) -> u64 {
        let live = self.range.next.0 - self.range.base.max(start).min(self.range.next).0;
        portion(self.bytes, live, self.range.len())
    }
}

/// `total × part ÷ whole`, rounded down.
pub(super) fn portion(total: u64, part: u64, whole: u64) -> u64 {
    if part >= whole {
        return total;
    }
    let share = u128::from(total) * u128::from(part) / u128::from(whole);
    u64::try_from(share).unwrap_or(total)
}
