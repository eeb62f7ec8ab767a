//! New references take the place of old ones: compaction, as a compare-and-swap (rule R-1).
//!
//! Whoever compacts plans by an image that has aged by the time its objects are in the bucket. So it names what it read, by object and
//! coverage, and a swap is applied only where exactly that stands now; a trim, a deletion or another's swap in between refuses it as a
//! whole. What the bytes hold is the compactor's to get right: here only coverage is compared, which is what readers rely on.
//!
//! A refused swap tells nothing about the objects: it may be the repeat of a success. Their writer deletes none.

use super::Applied;
use super::stream::dereference;
use crate::{Image, NewObject, ObjectRecord, Outcome, Reference, Refusal, StreamRecord, Swap};
use base::{LedgerSeq, NodeEpoch, ObjectId, Offset, OffsetRange, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The command's arguments.
pub(super) struct Replace<'a> {
    pub(super) writer: NodeEpoch,
    pub(super) min_counter: u64,
    pub(super) objects: &'a [NewObject],
    pub(super) swaps: &'a [Swap],
}

/// The objects that this command may make referenced.
struct Fresh<'a> {
    named: BTreeMap<ObjectId, &'a NewObject>,
    /// Those of them that it has made so already.
    referenced: BTreeSet<ObjectId>,
    min_counter: u64,
}

pub(super) fn replace(image: &mut Image, seq: LedgerSeq, command: &Replace<'_>) -> Applied {
    let mut fresh = check(image, command)?;
    let swaps = command.swaps.iter().map(|swap| apply_swap(image, seq, &mut fresh, swap)).collect();
    if let Some(writer) = image.nodes.get_mut(&command.writer)
        && command.min_counter > writer.min_counter
    {
        Arc::make_mut(writer).min_counter = command.min_counter;
    }
    Ok(Outcome::Replaced { swaps })
}

/// What refuses the whole command: a writer without a say (O-1), and arguments that contradict themselves.
fn check<'a>(image: &Image, command: &Replace<'a>) -> Result<Fresh<'a>, Refusal> {
    let invalid = |why: String| Err(Refusal::Invalid(why));
    if !image.is_alive(command.writer) && planted!("Replace by a dead start", true, false) {
        return Err(Refusal::Dead(command.writer));
    }
    let mut named = BTreeMap::new();
    for object in command.objects {
        if object.id.node_epoch != command.writer {
            return invalid(format!("object {} was not made by start {}", object.id, command.writer));
        }
        if named.insert(object.id, object).is_some() {
            return invalid(format!("object {} is named twice", object.id));
        }
    }
    for swap in command.swaps {
        let old = joined(swap.old.iter().map(|(_, range)| *range));
        let new = joined(swap.new.iter().map(|reference| reference.range));
        let (Some(old), Some(new)) = (old, new) else {
            return invalid(format!("the references of stream {} do not join", swap.stream));
        };
        if new.base < old.base || new.next != old.next {
            return invalid(format!("{new} of stream {} can't take the place of {old}", swap.stream));
        }
        if let Some(unknown) = swap.new.iter().find(|reference| !named.contains_key(&reference.object)) {
            return invalid(format!("object {} is not among the new ones", unknown.object));
        }
    }
    let min_counter = image.nodes.get(&command.writer).map_or(0, |writer| writer.min_counter);
    Ok(Fresh { named, referenced: BTreeSet::new(), min_counter })
}

/// The range that these cover together; `None` where there are none, or one is empty, or two don't join.
fn joined(mut ranges: impl Iterator<Item = OffsetRange>) -> Option<OffsetRange> {
    let first = ranges.next()?;
    let whole = ranges.try_fold(first, |sum, range| {
        (range.base == sum.next && !range.is_empty()).then(|| OffsetRange::new(sum.base, range.next))
    })?;
    (!first.is_empty()).then_some(whole)
}

/// Answers whether the new references stand there in the end.
fn apply_swap(image: &mut Image, seq: LedgerSeq, fresh: &mut Fresh<'_>, swap: &Swap) -> bool {
    let Some(stream) = image.streams.get(&swap.stream) else { return false };
    let shown: Vec<&Reference> = swap.new.iter().filter(|reference| reference.range.next > stream.start).collect();
    if !shown.is_empty() && shown.iter().all(|new| stream.references.get(&new.range.base) == Some(*new)) {
        return true;
    }
    let begins = |range: OffsetRange| range.base <= swap.old[0].1.base.max(stream.start);
    let may_refer = swap.new.iter().all(|reference| fresh.may_be_referenced(image, reference.object));
    if !(stands(stream, swap) && begins(swap.new[0].range) && may_refer) {
        return false;
    }
    let mut stream = StreamRecord::clone(stream);
    let start = stream.start;
    let gone = stream.swap_references(swap);
    image.streams.insert(swap.stream, Arc::new(stream));
    for reference in swap.new.iter().filter(|reference| reference.range.next > start) {
        fresh.refer(image, reference.object);
    }
    for object in gone {
        dereference(image, seq, object);
    }
    true
}

/// Whether exactly the old references stand there.
fn stands(stream: &StreamRecord, swap: &Swap) -> bool {
    let exact = |(object, range): &(ObjectId, OffsetRange)| {
        let found = stream.references.get(&range.base);
        found.is_some_and(|reference| reference.object == *object && reference.range == *range)
    };
    planted!("R1", swap.old.iter().all(exact), stream.covers_exactly(swap))
}

impl Fresh<'_> {
    /// O-1: nothing below the promised counter is ever referenced. R-2: nor anything that was referenced before this command.
    fn may_be_referenced(&self, image: &Image, object: ObjectId) -> bool {
        let is_new = !image.dead_objects.contains_key(&object)
            && (self.referenced.contains(&object) || !image.objects.contains_key(&object));
        planted!("R5", object.counter >= self.min_counter, true) && planted!("R1", is_new, true)
    }

    fn refer(&mut self, image: &mut Image, object: ObjectId) {
        self.referenced.insert(object);
        let Some(NewObject { size, data_bytes, .. }) = self.named.get(&object).copied().copied() else {
            unreachable!("the check has seen that object {object} is named");
        };
        match image.objects.get_mut(&object) {
            Some(record) => record.references += 1,
            None => {
                image.objects.insert(object, ObjectRecord { size, references: 1, data_bytes });
            }
        }
    }
}

impl StreamRecord {
    /// Takes the old references out and the new ones in; answers the objects of the old ones, one for each reference.
    fn swap_references(&mut self, swap: &Swap) -> Vec<ObjectId> {
        let whole = OffsetRange::new(swap.old[0].1.base, swap.old[swap.old.len() - 1].1.next);
        let gone: Vec<Offset> = self.references.range(whole.base..whole.next).map(|(base, _)| *base).collect();
        let gone: Vec<Reference> = gone.iter().filter_map(|base| self.references.remove(base)).collect();
        for reference in &gone {
            self.live_bytes = self.live_bytes.saturating_sub(reference.live_bytes(self.start));
        }
        // What a trim has passed meanwhile is not shown by anybody any more.
        let lost = planted!("Replace loses a reference", 0, 1);
        for reference in swap.new.iter().skip(lost).filter(|reference| reference.range.next > self.start) {
            self.live_bytes = self.live_bytes.saturating_add(reference.live_bytes(self.start));
            self.references.insert(reference.range.base, *reference);
        }
        gone.iter().map(|reference| reference.object).collect()
    }

    /// What the mutant compares instead of the references themselves.
    #[cfg(mutants)]
    fn covers_exactly(&self, swap: &Swap) -> bool {
        let whole = OffsetRange::new(swap.old[0].1.base, swap.old[swap.old.len() - 1].1.next);
        let standing = self.references.range(whole.base..whole.next).map(|(_, reference)| reference.range);
        joined(standing) == Some(whole)
    }
}
