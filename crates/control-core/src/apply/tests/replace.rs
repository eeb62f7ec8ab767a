//! Replace: what a swap compares, what it changes, and that nothing is lost or comes back by it.

use super::*;
use crate::{NewObject, Reference, Swap};

fn object(start: u64, counter: u64) -> ObjectId {
    ObjectId { node_epoch: NodeEpoch(start), counter }
}

fn range(base: u64, next: u64) -> OffsetRange {
    OffsetRange::new(Offset(base), Offset(next))
}

/// As `commit` makes them: 100 bytes and one record an offset.
fn reference(object: ObjectId, base: u64, next: u64) -> Reference {
    Reference {
        object,
        range: range(base, next),
        bytes: (next - base) * 100,
        records: next - base,
        max_timestamp: UnixMillis(7),
        max_timestamp_offset: Offset(base),
    }
}

fn swap(stream: StreamId, old: &[(ObjectId, u64, u64)], new: &[(ObjectId, u64, u64)]) -> Swap {
    Swap {
        stream,
        old: old.iter().map(|(object, base, next)| (*object, range(*base, *next))).collect(),
        new: new.iter().map(|(object, base, next)| reference(*object, *base, *next)).collect(),
    }
}

fn replace(writer: u64, counters: &[u64], swaps: Vec<Swap>) -> Command {
    let objects =
        counters.iter().map(|counter| NewObject { id: object(writer, *counter), size: 5000, data_bytes: 4000 });
    Command::Replace { writer: NodeEpoch(writer), min_counter: 0, objects: objects.collect(), swaps }
}

fn replaced(flags: &[bool]) -> Outcome {
    Outcome::Replaced { swaps: flags.to_vec() }
}

fn standing(story: &Story, stream: StreamId) -> Vec<(ObjectId, u64, u64)> {
    let references = story.record(stream).references.values();
    references.map(|reference| (reference.object, reference.range.base.0, reference.range.next.0)).collect()
}

/// Two streams of start 1; each has [0, 10) in object 1 and [10, 20) in object 2.
fn two_streams() -> (Story, StreamId, StreamId) {
    let mut story = Story::new(2);
    let (a, b) = (story.stream("a", 1), story.stream("b", 1));
    assert_eq!(story.commit(1, 1, 1, &[(a, 0, 0, 10), (b, 0, 0, 10)]), committed(&[true, true]));
    assert_eq!(story.commit(1, 1, 2, &[(a, 0, 10, 20), (b, 0, 10, 20)]), committed(&[true, true]));
    (story, a, b)
}

#[test]
fn a_merge_takes_the_place_of_what_it_read_and_the_old_objects_die_with_their_last_reference() {
    let (mut story, a, b) = two_streams();
    let (one, two, merged) = (object(1, 1), object(1, 2), object(2, 1));
    let both = [(one, 0, 10), (two, 10, 20)];
    let of_a = replace(2, &[1], vec![swap(a, &both, &[(merged, 0, 20)])]);
    assert_eq!(story.asks(2, of_a.clone()), replaced(&[true]), "any living start may");
    assert_eq!(standing(&story, a), [(merged, 0, 20)]);
    assert_eq!(standing(&story, b), both);
    assert!(story.image.dead_objects.is_empty(), "stream b still has both (R4)");
    assert_eq!(story.image.objects[&merged].data_bytes, 4000);

    let of_b = replace(2, &[2], vec![swap(b, &both, &[(object(2, 2), 0, 20)])]);
    assert_eq!(story.asks(2, of_b), replaced(&[true]));
    assert_eq!(story.image.dead_objects.keys().copied().collect::<Vec<_>>(), [one, two]);
    assert_eq!(story.asks(2, of_a), replaced(&[true]), "a repeat finds its own success");
    assert_eq!(standing(&story, a), [(merged, 0, 20)]);
}

#[test]
fn a_swap_of_what_does_not_stand_there_is_refused_and_its_neighbour_is_not() {
    let (mut story, a, b) = two_streams();
    let (one, two) = (object(1, 1), object(1, 2));
    assert_eq!(story.trim(1, a, 0, 10), Outcome::Done);
    let both = [(one, 0, 10), (two, 10, 20)];
    let swaps = vec![swap(a, &both, &[(object(2, 1), 0, 20)]), swap(b, &both, &[(object(2, 1), 0, 20)])];
    assert_eq!(story.asks(2, replace(2, &[1], swaps)), replaced(&[false, true]), "the trim took a reference of a");
    assert_eq!(standing(&story, a), [(two, 10, 20)]);

    let other_object = swap(a, &[(one, 10, 20)], &[(object(2, 2), 10, 20)]);
    let other_coverage = swap(a, &[(two, 10, 19)], &[(object(2, 2), 10, 19)]);
    assert_eq!(story.asks(2, replace(2, &[2], vec![other_object, other_coverage])), replaced(&[false, false]));
    let orphan = object(2, 2);
    assert!(!story.image.objects.contains_key(&orphan) && !story.image.is_orphan(orphan), "it may still be committed");
    story.die(2);
    assert!(story.image.is_orphan(orphan));
}

#[test]
fn an_older_merge_never_comes_back_over_a_newer_one() {
    let (mut story, a, _) = two_streams();
    let (one, two, older, newer) = (object(1, 1), object(1, 2), object(2, 1), object(2, 2));
    let first = replace(2, &[1], vec![swap(a, &[(one, 0, 10), (two, 10, 20)], &[(older, 0, 20)])]);
    assert_eq!(story.asks(2, first.clone()), replaced(&[true]));
    let second = replace(2, &[2], vec![swap(a, &[(older, 0, 20)], &[(newer, 0, 20)])]);
    assert_eq!(story.asks(2, second), replaced(&[true]));
    assert_eq!(story.asks(2, first), replaced(&[false]), "R1, R-2");
    let back = replace(2, &[1], vec![swap(a, &[(newer, 0, 20)], &[(older, 0, 20)])]);
    assert_eq!(story.asks(2, back), replaced(&[false]), "what is dead stays dead");
    assert_eq!(standing(&story, a), [(newer, 0, 20)]);
}

#[test]
fn the_dead_and_the_promised_counters_replace_nothing() {
    let (mut story, a, _) = two_streams();
    let old = [(object(1, 1), 0, 10)];
    let Command::Replace { writer, objects, swaps, .. } =
        replace(2, &[4], vec![swap(a, &old, &[(object(2, 4), 0, 10)])])
    else {
        unreachable!()
    };
    let nothing = Command::Replace { writer, min_counter: 5, objects: Vec::new(), swaps: Vec::new() };
    assert_eq!(story.asks(2, nothing), replaced(&[]));
    let late = Command::Replace { writer, min_counter: 5, objects, swaps };
    assert_eq!(story.asks(2, late), replaced(&[false]), "R5");
    story.die(2);
    let of_the_dead = replace(2, &[9], vec![swap(a, &old, &[(object(2, 9), 0, 10)])]);
    assert_eq!(story.asks(1, of_the_dead.clone()), Outcome::Refused(Refusal::Dead(NodeEpoch(2))), "R2");
    assert_eq!(story.asks(2, of_the_dead), Outcome::Refused(Refusal::Dead(NodeEpoch(2))));
}

#[test]
fn what_the_start_has_passed_may_be_left_out_and_fewer_records_may_cover_the_same() {
    let (mut story, a, _) = two_streams();
    assert_eq!(story.trim(1, a, 0, 7), Outcome::Done);
    let cleaned = Reference { bytes: 90, records: 1, ..reference(object(2, 1), 5, 20) };
    let old = vec![(object(1, 1), range(0, 10)), (object(1, 2), range(10, 20))];
    let shorter = Swap { stream: a, old, new: vec![cleaned] };
    assert_eq!(story.asks(2, replace(2, &[1], vec![shorter])), replaced(&[true]));
    assert_eq!(standing(&story, a), [(object(2, 1), 5, 20)]);
    assert_eq!(story.record(a).live_bytes, 78, "of 15 offsets 13 are live");

    let too_late = swap(a, &[(object(2, 1), 5, 20)], &[(object(2, 2), 8, 20)]);
    assert_eq!(story.asks(2, replace(2, &[2], vec![too_late])), replaced(&[false]), "offset 7 is still shown");
    let split = swap(a, &[(object(2, 1), 5, 20)], &[(object(2, 2), 5, 7), (object(2, 3), 7, 20)]);
    assert_eq!(story.asks(2, replace(2, &[2, 3], vec![split])), replaced(&[true]));
    assert_eq!(standing(&story, a), [(object(2, 3), 7, 20)], "the start is 7");
}

#[test]
fn what_contradicts_itself_is_refused_as_a_whole() {
    let (mut story, a, _) = two_streams();
    let (one, two, new) = (object(1, 1), object(1, 2), object(2, 1));
    let good = swap(a, &[(one, 0, 10)], &[(new, 0, 10)]);
    for bad in [
        swap(a, &[], &[(new, 0, 10)]),
        swap(a, &[(one, 0, 10)], &[]),
        swap(a, &[(one, 0, 10)], &[(new, 0, 11)]),
        swap(a, &[(one, 0, 10), (two, 12, 20)], &[(new, 0, 20)]),
        swap(a, &[(one, 0, 10)], &[(new, 0, 0), (new, 0, 10)]),
        swap(a, &[(two, 10, 20)], &[(new, 9, 20)]),
        swap(a, &[(one, 0, 10)], &[(object(2, 2), 0, 10)]),
    ] {
        let outcome = story.asks(2, replace(2, &[1], vec![good.clone(), bad]));
        assert!(matches!(outcome, Outcome::Refused(Refusal::Invalid(_))), "{outcome:?}");
    }
    let of_another = Command::Replace {
        writer: NodeEpoch(2),
        min_counter: 0,
        objects: vec![NewObject { id: object(1, 9), size: 1, data_bytes: 1 }],
        swaps: Vec::new(),
    };
    assert!(matches!(story.asks(2, of_another), Outcome::Refused(Refusal::Invalid(_))));
    assert!(matches!(story.asks(2, replace(2, &[1, 1], Vec::new())), Outcome::Refused(Refusal::Invalid(_))));
    assert_eq!(standing(&story, a), [(one, 0, 10), (two, 10, 20)]);
}

#[test]
fn an_object_that_one_command_makes_and_replaces_is_dead_at_its_end() {
    let (mut story, a, b) = two_streams();
    let (one, first, second) = (object(1, 1), object(2, 1), object(2, 2));
    let swaps = vec![
        swap(a, &[(one, 0, 10)], &[(first, 0, 10)]),
        swap(a, &[(first, 0, 10)], &[(second, 0, 10)]),
        swap(b, &[(one, 0, 10)], &[(first, 0, 10)]),
    ];
    assert_eq!(story.asks(2, replace(2, &[1, 2], swaps)), replaced(&[true, true, false]), "it does not come back");
}

/// A swap of some adjacent references of the stream, right or slightly wrong.
pub(super) fn random(
    seed: &mut Seed,
    image: &Image,
    counters: &mut BTreeMap<u64, u64>,
    start: u64,
    stream: StreamId,
) -> (u64, Command) {
    let counter = counters.entry(start).or_default();
    *counter += seed.below(3);
    let new = object(start, *counter);
    let held: Vec<Reference> =
        image.streams.get(&stream).map(|record| record.references.values().copied().collect()).unwrap_or_default();
    let from = seed.below(held.len() as u64 + 1) as usize;
    let some: Vec<Reference> = held[from..].iter().take(seed.between(1, 4) as usize).copied().collect();
    let mut old: Vec<_> = some.iter().map(|reference| (reference.object, reference.range)).collect();
    if seed.chance(100) {
        old.pop();
    }
    let (Some(first), Some(last)) = (some.first(), some.last()) else {
        return (start, replace(start, &[new.counter], Vec::new()));
    };
    let (base, next) = (first.range.base.0 + u64::from(seed.chance(150)), last.range.next.0);
    let middle = seed.between(base.min(next), next);
    let new = if seed.chance(300) && base < middle && middle < next {
        vec![reference(new, base, middle), reference(new, middle, next)]
    } else {
        vec![reference(new, base, next.max(base))]
    };
    (start, replace(start, &[new[0].object.counter], vec![Swap { stream, old, new }]))
}
