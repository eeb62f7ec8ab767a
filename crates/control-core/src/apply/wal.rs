//! The sealing entry, and forgetting what is wholly committed.

use super::{Applied, node, producers};
use crate::{Image, Outcome, Refusal, StreamRecord, WalState};
use base::{NodeEpoch, Offset, StreamId, WalId, WalIndex, WalPosition, planted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a recoverer found.
pub(super) struct Recovered<'a> {
    pub(super) end: WalPosition,
    pub(super) ends: &'a [(StreamId, Offset)],
    pub(super) recoverer: NodeEpoch,
    pub(super) open_on: Option<WalIndex>,
}

/// The first one fixes the end (B-2) and is decided stream by stream (D-8). A later one changes nothing but who speaks for the
/// WAL, and that only where the recoverer so far is dead.
pub(super) fn recovered(image: &mut Image, id: WalId, found: &Recovered<'_>) -> Applied {
    let wal = image.wals.get(&id).ok_or_else(|| Refusal::Unknown(format!("write-ahead log {id}")))?;
    // A living start may seal its own: a clean stop, after which it acknowledges nothing more.
    if image.is_alive(id.node_epoch) && found.recoverer != id.node_epoch {
        return Err(Refusal::Invalid(format!("start {} is alive", id.node_epoch)));
    }
    if planted!("S1", !image.is_alive(found.recoverer), false) {
        return Err(Refusal::Dead(found.recoverer));
    }
    // Who walked from a stale trim point found nothing there, and would end it where all of it is deleted.
    if found.end < wal.trim && planted!("B2", planted!("B3", planted!("B7", true, false), false), false) {
        return Err(Refusal::Invalid(format!(
            "write-ahead log {id} can't end at {}, it was trimmed to {}",
            found.end, wal.trim
        )));
    }
    let next = found.open_on.map(|index| WalId { node_epoch: found.recoverer, index });
    if let Some(next) = next
        && !image.wals.contains_key(&next)
    {
        return Err(Refusal::Unknown(format!("write-ahead log {next}")));
    }
    // A recoverer that stops meanwhile has sealed its own: the streams stay ownerless (D-8).
    let is_open = |next: &WalId| *next != id && image.wals.get(next).is_some_and(|wal| wal.state == WalState::Open);
    let open_on = next.filter(|next| planted!("S1", is_open(next), true));
    let mut wal = (**wal).clone();
    if let WalState::Sealed { end, recoverer } = wal.state
        && planted!("B7", true, reopen_tenures(image, id))
    {
        let recoverer = if image.is_alive(recoverer) { recoverer } else { found.recoverer };
        wal.state = WalState::Sealed { end, recoverer };
        image.wals.insert(id, Arc::new(wal));
        return Ok(Outcome::Done);
    }
    let wal_trim = wal.trim;
    wal.state = WalState::Sealed { end: found.end, recoverer: found.recoverer };
    image.wals.insert(id, Arc::new(wal));
    // What lies between trim point and end may hold producer state, also of records that need no commit. A start that seals its own as it
    // stops has committed all of it.
    let stops = found.recoverer == id.node_epoch && found.open_on.is_none();
    let holds_state = found.end > wal_trim && !stops;
    close_tenures(image, id, found.ends, open_on, holds_state);
    if !holds_state {
        producers::forget_unsaved(image, id);
    }
    Ok(Outcome::Done)
}

/// Only the mutant B7 decides a second time: takes back what the first entry closed and opened. Never keeps the first end.
#[cfg(mutants)]
fn reopen_tenures(image: &mut Image, id: WalId) -> bool {
    let streams: Vec<StreamId> = image.streams.keys().copied().collect();
    for stream in streams {
        let Some(stream) = image.streams.get_mut(&stream) else { continue };
        let Some(at) = stream.tenures.iter().position(|tenure| tenure.wal == id) else { continue };
        let stream: &mut StreamRecord = Arc::make_mut(stream);
        stream.tenures.truncate(at + 1);
        stream.tenures[at].end = None;
    }
    false
}

/// Closes the tenures that are still open in that WAL, each at what is known of its end, and opens the next ones.
fn close_tenures(image: &mut Image, id: WalId, ends: &[(StreamId, Offset)], open_on: Option<WalId>, holds_state: bool) {
    let mut held: BTreeMap<StreamId, Offset> = BTreeMap::new();
    for (stream, end) in ends {
        let known = held.entry(*stream).or_default();
        *known = (*known).max(*end);
    }
    let open: Vec<StreamId> = image
        .streams
        .iter()
        .filter(|(_, stream)| stream.owner().is_some_and(|owner| is_of(owner.wal, id)))
        .map(|(stream, _)| *stream)
        .collect();
    for stream_id in open {
        let Some(stream) = image.streams.get_mut(&stream_id) else { continue };
        let stream: &mut StreamRecord = Arc::make_mut(stream);
        stream.close(held.get(&stream_id).copied().unwrap_or_default());
        if planted!("producer state lost with deleted records", holds_state, false) && !stream.unsaved.contains(&id) {
            stream.unsaved.push(id);
        }
        if let Some(wal) = open_on {
            stream.open_next(wal);
        }
    }
}

/// The sealing of one index says nothing about another (rule D-9).
fn is_of(owner: WalId, sealed: WalId) -> bool {
    planted!("W1", owner == sealed, owner.node_epoch == sealed.node_epoch)
}

/// Only what is wholly committed may be forgotten: the record is what keeps its bytes from being deleted.
pub(super) fn forget(image: &mut Image, id: WalId) -> Applied {
    if !image.wals.contains_key(&id) {
        return Ok(Outcome::Done);
    }
    if !image.can_delete_wal(id) {
        return Err(Refusal::Invalid(format!("write-ahead log {id} still holds records that are not committed")));
    }
    image.wals.remove(&id);
    node::forget_nodes(image);
    Ok(Outcome::Done)
}

impl StreamRecord {
    /// Closes the open tenure at the greatest of its start, its committed end, the stream's start and what its WAL holds (D-6).
    pub(super) fn close(&mut self, held: Offset) {
        let start = self.start;
        let Some(open) = self.tenures.last_mut() else { unreachable!("a stream has at least one tenure") };
        let floor = planted!("T2", start, Offset(0));
        let end = open.start.max(open.committed).max(floor).max(held).min(Offset::MAX);
        open.end = Some(end);
        let (epoch, first) = (open.stream_epoch, open.start);
        if end > first {
            self.note_epoch(epoch, first);
        }
        self.lift_committed();
        self.settle();
    }
}
