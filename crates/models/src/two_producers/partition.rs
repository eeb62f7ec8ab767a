//! The partition: who may write into it, which markers it takes, and what a reader makes of it.

use super::{Ask, Entry, Identity, Kind, Reply, Request, State, TwoProducers, bit};
use crate::explore::Step;

pub(super) const MIXED: &str = "a transaction is committed whose producer did not ask for it";
pub(super) const CHANGED: &str = "a transaction that was told committed is not";
pub(super) const LOST: &str = "a transaction was told committed, and its data is gone";
pub(super) const REFUSED: &str = "the present producer is taken for a fenced one";
pub(super) const HANGING: &str = "data is open for ever";

impl TwoProducers {
    /// Batches with a grant are numbered, and markers arrive.
    pub(super) fn partition_goes_on(&self, state: &State, all: &mut Vec<(Step, State)>) {
        for (place, (after, request)) in state.grants.iter().enumerate() {
            let Ask::Write(txn, identity) = request.ask else { continue };
            if *after > 0 {
                continue;
            }
            let mut next = state.clone();
            next.grants.remove(place);
            let passed = identity.1 < epoch_of(state, identity.0);
            if !passed && !has(state, txn) {
                next.partition.push(Entry::Data { txn, identity });
            }
            let known = state.known();
            if passed && (known.id, known.epoch) == identity {
                next.violate(REFUSED);
            }
            next.reply(*request, if passed { Reply::Refused } else { Reply::Written }, 0);
            all.push((Step("numbered", [txn, identity.0, identity.1]), next));
        }
        for &(identity, commit) in &state.markers {
            let epoch = epoch_of(state, identity.0);
            let is_new = if self.rules.markers_are_higher { identity.1 > epoch } else { identity.1 >= epoch };
            if is_new && state.partition.len() < 8 {
                let mut next = state.clone();
                next.partition.push(Entry::Marker { identity, commit });
                all.push((Step("marker", [identity.0, identity.1, i8::from(commit)]), next));
            }
        }
    }

    /// Whether the marker of that epoch, or a later one, is there.
    pub(super) fn is_marked(state: &State, (id, epoch): Identity) -> bool {
        let is_it =
            |entry: &Entry| matches!(entry, Entry::Marker { identity, .. } if identity.0 == id && identity.1 >= epoch);
        state.partition.iter().any(is_it)
    }

    /// A write asks the coordinator first (F-4). Gives what the transaction becomes by it, where that is something new.
    pub(super) fn ask_for_grant(&self, state: &State, request: Request, identity: Identity, next: &mut State) -> bool {
        let known = state.known();
        let is_current = (known.id, known.epoch) == identity;
        match known.kind {
            Kind::PrepareCommit | Kind::PrepareAbort => false,
            _ if !is_current => {
                next.network.retain(|it| *it != request);
                next.reply(request, Reply::Refused, state.unconfirmed.len());
                true
            }
            Kind::Ongoing if known.has_partition => {
                next.network.retain(|it| *it != request);
                next.grants.push((state.unconfirmed.len(), request));
                true
            }
            _ => {
                next.network.retain(|it| *it != request);
                next.record(super::Known { kind: Kind::Ongoing, has_partition: true, ..known });
                next.grants.push((next.unconfirmed.len(), request));
                true
            }
        }
    }
}

/// The highest epoch that the partition has seen of a producer id.
pub(super) fn epoch_of(state: &State, id: i8) -> i8 {
    let of = |entry: &Entry| match *entry {
        Entry::Data { identity, .. } | Entry::Marker { identity, .. } => (identity.0 == id).then_some(identity.1),
    };
    state.partition.iter().filter_map(of).max().unwrap_or(-1)
}

fn has(state: &State, txn: i8) -> bool {
    state.partition.iter().any(|entry| matches!(entry, Entry::Data { txn: it, .. } if *it == txn))
}

/// What became of a transaction: the first marker of its producer id behind its data says it.
fn outcome(state: &State, txn: i8) -> Option<bool> {
    let is_data = |entry: &Entry| matches!(entry, Entry::Data { txn: it, .. } if *it == txn);
    let begin = state.partition.iter().position(is_data)?;
    let Entry::Data { identity: (id, _), .. } = state.partition[begin] else { return None };
    state.partition[begin..].iter().find_map(|entry| match entry {
        Entry::Marker { identity, commit } if identity.0 == id => Some(*commit),
        Entry::Data { .. } | Entry::Marker { .. } => None,
    })
}

pub(super) fn bad(state: &State) -> Option<&'static str> {
    (0..state.next_txn).find_map(|txn| {
        let (is_told, is_asked) = (state.told_commit & bit(txn) != 0, state.asked_commit & bit(txn) != 0);
        match outcome(state, txn) {
            Some(true) if !is_asked => Some(MIXED),
            Some(false) if is_told => Some(CHANGED),
            None if is_told && !has(state, txn) => Some(LOST),
            _ => None,
        }
    })
}

/// Whether a reader of committed data waits for a transaction.
pub(super) fn is_open(state: &State) -> bool {
    (0..state.next_txn).any(|txn| has(state, txn) && outcome(state, txn).is_none())
}
