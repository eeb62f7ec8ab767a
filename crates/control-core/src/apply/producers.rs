//! Producer ids, and where the producer state of streams is saved.
//!
//! A state reference is independent of the records: it comes with a commit of the log that the state was in, stays when they are
//! trimmed, and goes when another speaks for all that it speaks for, or with its stream (rule P-1). A log is trimmed by the same
//! commits, so no producer state is ever in neither.

use super::Applied;
use super::stream::dereference;
use crate::{CommitState, Image, ObjectRecord, Outcome, Refusal, StateReference, StreamRecord, UploadedObject};
use base::{LedgerSeq, Offset, WalId, planted};
use std::sync::Arc;

/// Ids only rise: also what a start that died has taken and not given out is never given out again.
pub(super) fn take_ids(image: &mut Image, count: u32) -> Applied {
    let first = image.next_producer_id;
    let next =
        first.checked_add(i64::from(count)).ok_or_else(|| Refusal::Invalid("no producer id is left".to_owned()))?;
    image.next_producer_id = planted!("producer id twice", next, first);
    Ok(Outcome::ProducerIds { first })
}

/// Makes a state section part of its stream, unless what is referenced speaks for all of it. False: refused, to be uploaded again.
/// The object may be known already by its ranges or its other states.
pub(super) fn commit_state(
    image: &mut Image,
    seq: LedgerSeq,
    object: &UploadedObject,
    state: &CommitState,
    may_refer: bool,
) -> bool {
    let Some(stream) = image.streams.get(&state.stream) else {
        return image.is_deleted(state.stream);
    };
    if state.stream_epoch > stream.epoch || state.range.next > stream.known_end(state) {
        return false;
    }
    let stands = |reference: &StateReference| reference.range.covers(state.range);
    if planted!("producer state goes back", stream.producers.iter().any(stands), false) {
        return true;
    }
    if !may_refer {
        return false;
    }
    let mut stream = StreamRecord::clone(stream);
    let (replaced, kept): (Vec<_>, Vec<_>) = stream
        .producers
        .into_iter()
        .partition(|reference| planted!("producer state goes back", state.range.covers(reference.range), true));
    stream.producers = kept;
    let CommitState { range, position, len, crc, .. } = *state;
    let at = stream.producers.partition_point(|reference| reference.range.next < range.next);
    stream.producers.insert(at, StateReference { object: object.id, range, position, len, crc });
    image.streams.insert(state.stream, Arc::new(stream));
    match image.objects.get_mut(&object.id) {
        Some(record) => record.references += 1,
        None => {
            image.objects.insert(object.id, ObjectRecord { size: object.size, references: 1, data_bytes: 0 });
        }
    }
    for reference in replaced {
        dereference(image, seq, reference.object);
    }
    true
}

/// A sealed WAL that is trimmed to its end holds no state any more that is not referenced.
pub(super) fn note_saved(image: &mut Image, wal: WalId) {
    if image.wals.get(&wal).is_none_or(|record| record.is_spent()) {
        forget_unsaved(image, wal);
    }
}

/// That WAL holds no state that is not referenced.
pub(super) fn forget_unsaved(image: &mut Image, wal: WalId) {
    let waiting: Vec<_> =
        image.streams.iter().filter(|(_, stream)| stream.unsaved.contains(&wal)).map(|(id, _)| *id).collect();
    for id in waiting {
        if let Some(stream) = image.streams.get_mut(&id) {
            let stream: &mut StreamRecord = Arc::make_mut(stream);
            stream.unsaved.retain(|it| *it != wal);
        }
    }
}

impl StreamRecord {
    /// What a holder of that tenure can have confirmed: nothing beyond where the tenure ended.
    fn known_end(&self, state: &CommitState) -> Offset {
        let own = self.tenures.iter().find(|tenure| tenure.stream_epoch == state.stream_epoch);
        let later = self.tenures.iter().find(|tenure| tenure.stream_epoch > state.stream_epoch);
        let end = own.and_then(|tenure| tenure.end).or(later.map(|tenure| tenure.start));
        end.unwrap_or(Offset::MAX)
    }
}
