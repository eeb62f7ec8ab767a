//! Whether what stands at a place can be the newest state of a dead start's ring. An older copy, such as a snapshot of its disk, has the same
//! id and looks whole: to seal the log where the copy ends would lose what the newest has beyond it.
//!
//! The ledger knows some of what a log must hold while it has no end. All of it was durable in the ring before the ledger heard of it, and
//! nothing of it has been written over, so that a ring which its broker left by `kill -9` or a power loss lacks none of it:
//!
//! - The trim point is where a group ended that had been acknowledged. The head of that group, or of one behind it, stands in the ring.
//! - What is committed of a tenure, or what the saved state of its producers speaks for, was in the log: what a walk from the trim point
//!   finds of a stream ends no earlier, since a stream's records lie in order. Where nothing was trimmed, the walk finds all of it.
//! - Where its start's groups begin is beyond where those of every earlier start do, and stands in the ring's header since before that start
//!   registered.
//!
//! A start that has begun this ring later had found this log's end, so that a copy made after that holds all of it.
//!
//! That a ring lacks nothing of this proves nothing: what was acknowledged since the last upload is known to the newest alone. Nor do producer
//! ids tell anything, as a client may write under any.

use crate::wal::{Recovered, RecoveredGroup, RingDescription};
use base::{Offset, StreamId, WalId, WalPosition};
use control_core::{Image, StreamRecord, Tenure, WalRecord, WalState};
use std::collections::BTreeMap;
use std::path::Path;
use stream_core::DirectoryEntry;
use stream_core::ring_header::RingHeader;

/// What a ring says of one log in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RingHolds {
    /// How far it got: a head of its groups says so, or of a later start's, which had found all of it. 0: none does.
    pub reached: WalPosition,
    /// From the trim point on: where the last batch ends of each stream's tenure that has no end.
    pub ends: BTreeMap<StreamId, Offset>,
}

impl RingHolds {
    /// By a look at the whole ring.
    #[must_use]
    pub fn of_ring(image: &Image, wal: WalId, ring: &RingDescription) -> RingHolds {
        let reached = reached(ring, wal);
        let Some(record) = image.wals.get(&wal) else { return RingHolds { reached, ..RingHolds::default() } };
        let groups: BTreeMap<WalPosition, _> = ring
            .groups
            .iter()
            .filter(|group| group.place.wal == wal)
            .map(|group| (group.place.position, group))
            .collect();
        let mut ends = BTreeMap::new();
        let mut position = needed_from(record);
        while let Some(group) = groups.get(&position) {
            note_ends(image, wal, &group.entries, &mut ends);
            position = WalPosition(position.0 + group.total_len);
        }
        RingHolds { reached, ends }
    }

    /// By a walk from the trim point on; by a look at the whole ring where the walk found nothing.
    pub(crate) fn of_walk(image: &Image, walked: &Recovered, ring: Option<&RingDescription>) -> RingHolds {
        let reached = ring.map_or(walked.end, |ring| reached(ring, walked.wal));
        let mut ends = BTreeMap::new();
        for RecoveredGroup { entries, .. } in &walked.groups {
            note_ends(image, walked.wal, entries, &mut ends);
        }
        RingHolds { reached, ends }
    }
}

fn reached(ring: &RingDescription, wal: WalId) -> WalPosition {
    let is_later = |other: &WalId| other.node_epoch > wal.node_epoch;
    match ring.reached.get(&wal) {
        _ if ring.reached.keys().any(is_later) => WalPosition(u64::MAX),
        reached => reached.copied().unwrap_or_default(),
    }
}

/// From where on a log's groups are needed.
fn needed_from(record: &WalRecord) -> WalPosition {
    record.trim.max(record.start)
}

/// The stream's tenure in that log that has no end.
fn open_in(stream: &StreamRecord, wal: WalId) -> Option<&Tenure> {
    stream.owner().filter(|tenure| tenure.wal == wal)
}

fn note_ends(image: &Image, wal: WalId, entries: &[DirectoryEntry], ends: &mut BTreeMap<StreamId, Offset>) {
    for entry in entries {
        let open = image.streams.get(&entry.stream).and_then(|stream| open_in(stream, wal));
        if open.is_some_and(|tenure| tenure.stream_epoch == entry.stream_epoch) {
            let end = ends.entry(entry.stream).or_default();
            *end = entry.range.next.max(*end);
        }
    }
}

/// Why this can't be the newest state of the ring that has this log, by what the ledger knows. `None`: nothing says so.
#[must_use]
pub fn why_older(image: &Image, wal: WalId, header: &RingHeader, holds: &RingHolds) -> Option<String> {
    let record = image.wals.get(&wal).filter(|record| !record.in_storage)?;
    // An end that is fixed is not fixed anew, and a ring that does not reach it is refused by that.
    if record.state != WalState::Open || header.wal.node_epoch > wal.node_epoch {
        return None;
    }
    if holds.reached == WalPosition(0) && header.wal.node_epoch < wal.node_epoch && header.start < record.start {
        return Some(format!("its header has not heard of start {}", wal.node_epoch));
    }
    let is_trimmed = record.trim > record.start;
    if is_trimmed && holds.reached < record.trim {
        let ends = match holds.reached {
            WalPosition(0) => format!("it holds nothing that start {} has written", wal.node_epoch),
            reached => format!("it ends at position {reached}"),
        };
        return Some(format!("the ledger knows that the log had reached position {}, and {ends}", record.trim));
    }
    image.streams.iter().find_map(|(id, stream)| {
        let tenure = open_in(stream, wal)?;
        let saved = stream.producers.iter().map(|state| state.range.next).max().unwrap_or_default();
        let known = tenure.committed.max(saved);
        let held = match holds.ends.get(id) {
            Some(held) => *held,
            // Below the trim point there may have been all of it.
            None if is_trimmed => return None,
            None => tenure.start,
        };
        (held < known).then(|| {
            format!(
                "the ledger knows that the log had offsets up to {known} of stream {id}, and it ends at offset {held}"
            )
        })
    })
}

/// The same, with what to do.
#[must_use]
pub fn older_told(place: &Path, why: &str) -> String {
    format!(
        "{} is an older copy of this log's ring: {why}; what the newest has beyond it would be lost: find that one and give its place by --at, \
         or, where it is gone for good, say --older-too",
        place.display()
    )
}

/// Whether the start whose log this is has not begun the ring, by its header: that start was cut short before it wrote anything, or this is a
/// copy from between its registration and that. The ledger does not know which.
#[must_use]
pub fn is_unbegun(header: &RingHeader, wal: WalId) -> bool {
    header.wal.node_epoch < wal.node_epoch
}

/// Whether the bucket is an older copy: the ledger hears of a start before the ring does, and never goes back.
#[must_use]
pub fn is_ahead_of(header: &RingHeader, image: &Image) -> bool {
    header.cluster_id != 0 && header.wal.node_epoch >= image.next_node_epoch
}
