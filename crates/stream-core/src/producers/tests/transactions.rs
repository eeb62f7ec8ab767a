//! Transactions: each rule by a short story.

use super::super::aborted::Aborted;
use super::*;
use crate::{Ending, Marker, NO_SEQUENCE};
use base::OffsetRange;

fn part_of(id: i64, epoch: i16, first: i32) -> ProducerDelta {
    ProducerDelta { kind: BatchKind::Transactional, ..delta(id, epoch, first, 1) }
}

fn ends(id: i64, epoch: i16, ending: Ending) -> ProducerDelta {
    ProducerDelta::marker(id, epoch, Marker { ending, coordinator_epoch: 3 })
}

fn by_rule(producers: &Producers, delta: &ProducerDelta, rule: MarkerRule) -> Result<Verdict, SequenceError> {
    let BatchKind::Marker(marker) = delta.kind else { panic!("a marker") };
    producers.check_marker(delta, marker, rule)
}

/// Appends them one behind the other, nothing confirmed.
fn stream(deltas: &[ProducerDelta]) -> Producers {
    let mut producers = Producers::default();
    for (base, delta) in (0..).zip(deltas) {
        producers.accepted(&written(delta, base), NOW, DAY, Offset(0));
    }
    producers
}

fn folded(deltas: &[ProducerDelta], range: std::ops::Range<u64>) -> (OffsetRange, Producers) {
    let mut part = Producers::default();
    for (base, delta) in (0..).zip(deltas).filter(|(base, _)| range.contains(base)) {
        part.fold(&written(delta, base), NOW);
    }
    (OffsetRange::new(Offset(range.start), Offset(range.end)), part)
}

fn aborted(producers: &Producers, from: u64, to: u64) -> Vec<(i64, u64, u64, u64)> {
    let found = producers.aborted(OffsetRange::new(Offset(from), Offset(to)), Offset(0)).unwrap();
    found.iter().map(|it| (it.producer_id, it.first.0, it.last.0, it.last_stable.0)).collect()
}

#[test]
fn what_is_undecided_bounds_what_readers_of_decided_records_see() {
    let deltas = [
        delta(1, 0, 0, 1),
        part_of(7, 0, 0),
        part_of(8, 0, 0),
        ends(7, 1, Ending::Commit),
        part_of(7, 1, 0),
        ends(8, 1, Ending::Abort),
        ends(7, 2, Ending::Commit),
    ];
    let producers = stream(&deltas);
    let stable = |confirmed| producers.last_stable(Offset(confirmed)).0;
    assert_eq!([0, 1, 2, 3].map(stable), [0, 1, 1, 1], "at most the confirmed offset");
    assert_eq!(stable(4), 2, "with its marker confirmed the first is decided");
    assert_eq!(stable(6), 4);
    assert_eq!(stable(7), 7, "nothing is open");
    let open = stream(&deltas[..3]);
    assert_eq!(open.last_stable(Offset(3)), Offset(1));
}

#[test]
fn a_producers_sequence_begins_anew_behind_a_marker_that_raises_its_epoch() {
    let producers = stream(&[part_of(7, 0, 0), part_of(7, 0, 1), ends(7, 1, Ending::Commit)]);
    let stale = producers.check(&part_of(7, 0, 2), NOW, DAY);
    assert_eq!(stale, Err(SequenceError::StaleEpoch { producer_id: 7, found: 0, newest: 1 }));
    assert!(producers.check(&part_of(7, 0, 1), NOW, DAY).is_err(), "not even a repeat is of the old epoch");
    assert_eq!(expected(&producers, &part_of(7, 1, 2)), 0);
    assert_eq!(producers.check(&part_of(7, 1, 0), NOW, DAY), Ok(Verdict::New));
}

#[test]
fn behind_a_marker_of_the_same_epoch_it_goes_on() {
    let mut producers = stream(&[part_of(7, 0, 0), part_of(7, 0, 1)]);
    let marker = ends(7, 0, Ending::Commit);
    assert_eq!(by_rule(&producers, &marker, MarkerRule::V1), Ok(Verdict::New));
    producers.accepted(&written(&marker, 2), NOW, DAY, Offset(0));
    assert_eq!(expected(&producers, &part_of(7, 0, 3)), 2);
    assert!(matches!(producers.check(&part_of(7, 0, 0), NOW, DAY), Ok(Verdict::Repeat(_))));
    assert_eq!(producers.check(&part_of(7, 0, 2), NOW, DAY), Ok(Verdict::New));
}

#[test]
fn a_marker_is_new_if_it_raises_the_epoch_and_else_a_repeat() {
    let mut producers = stream(&[part_of(7, 0, 0), ends(7, 1, Ending::Abort), part_of(7, 1, 0)]);
    let again = |epoch| by_rule(&producers, &ends(7, epoch, Ending::Commit), MarkerRule::V2);
    for epoch in [0, 1] {
        let Ok(Verdict::Repeat(original)) = again(epoch) else { panic!("{:?}", again(epoch)) };
        assert_eq!(original.next(), Offset(2), "answered when the original is confirmed");
    }
    assert_eq!(again(2), Ok(Verdict::New));
    // By Kafka's rule a late copy ends the wrong transaction (F-2): that is why there is the other one.
    let late = by_rule(&producers, &ends(7, 1, Ending::Abort), MarkerRule::V1);
    assert_eq!(late, Ok(Verdict::New));
    let older = by_rule(&producers, &ends(7, 0, Ending::Abort), MarkerRule::V1);
    assert_eq!(older, Err(SequenceError::StaleEpoch { producer_id: 7, found: 0, newest: 1 }));
    assert_eq!(producers.check(&ends(7, 1, Ending::Abort), NOW, DAY).map(|it| it == Verdict::New), Ok(false));

    let deposed = ProducerDelta::marker(7, 2, Marker { ending: Ending::Abort, coordinator_epoch: 2 });
    let refused = SequenceError::StaleCoordinator { producer_id: 7, found: 2, newest: 3 };
    for rule in [MarkerRule::V1, MarkerRule::V2] {
        assert_eq!(by_rule(&producers, &deposed, rule), Err(refused));
    }
    producers.accepted(&written(&ends(7, 2, Ending::Commit), 3), NOW, DAY, Offset(4));
    assert_eq!(aborted(&producers, 0, 9), [(7, 0, 1, 2)]);
}

#[test]
fn a_marker_counts_also_where_nothing_is_open() {
    let marker = ends(7, 4, Ending::Abort);
    let mut producers = Producers::default();
    assert_eq!(by_rule(&producers, &marker, MarkerRule::V2), Ok(Verdict::New));
    producers.accepted(&written(&marker, 0), NOW, DAY, Offset(0));
    assert_eq!(aborted(&producers, 0, 9), [], "nothing was aborted");
    assert_eq!(producers.last_stable(Offset(1)), Offset(1));
    let late = producers.check(&part_of(7, 3, 0), NOW, DAY);
    assert_eq!(late, Err(SequenceError::StaleEpoch { producer_id: 7, found: 3, newest: 4 }));
    assert_eq!(expected(&producers, &part_of(7, 4, 1)), 0);
    let Ok(Verdict::Repeat(original)) = by_rule(&producers, &marker, MarkerRule::V2) else { panic!("a repeat") };
    assert_eq!(original.next(), Offset(1));
    let saved = decode_section(&encode_section(&producers.as_of(Offset(1)))).unwrap();
    assert!(saved.check(&part_of(7, 3, 0), NOW, DAY).is_err(), "that outlives its owner");
}

#[test]
fn a_marker_that_is_not_confirmed_may_be_lost_with_its_owner() {
    let producers = stream(&[part_of(7, 0, 0), ends(7, 1, Ending::Abort), part_of(7, 1, 0)]);
    for (confirmed, stable, found) in [(1, 0, vec![]), (2, 2, vec![(7, 0, 1, 2)]), (3, 2, vec![(7, 0, 1, 2)])] {
        let left = producers.as_of(Offset(confirmed));
        assert_eq!(left.last_stable(Offset(confirmed)), Offset(stable), "of {confirmed}");
        assert_eq!(producers.last_stable(Offset(confirmed)), Offset(stable), "of {confirmed}, before");
        assert_eq!(aborted(&left, 0, 9), found);
        assert_eq!(decode_section(&encode_section(&left)), Ok(left.clone()));
        let again = by_rule(&left, &ends(7, 1, Ending::Abort), MarkerRule::V2);
        assert_eq!(again == Ok(Verdict::New), confirmed == 1, "it is sent again: {again:?}");
    }
}

#[test]
fn no_other_batch_of_a_producer_gets_into_its_transaction() {
    let producers = stream(&[part_of(7, 0, 0)]);
    let refused = producers.check(&delta(7, 0, 1, 1), NOW, DAY);
    assert_eq!(refused, Err(SequenceError::InTransaction { producer_id: 7 }));
    assert_eq!(producers.check(&delta(8, 0, 0, 1), NOW, DAY), Ok(Verdict::New));
    let producers = stream(&[part_of(7, 0, 0), ends(7, 0, Ending::Commit)]);
    assert_eq!(producers.check(&delta(7, 0, 1, 1), NOW, DAY), Ok(Verdict::New));
}

/// What a coordinator of groups writes for a transaction has no sequence.
#[test]
fn a_batch_without_sequence_is_checked_by_its_epoch_alone() {
    let offsets =
        |epoch| ProducerDelta { first_sequence: NO_SEQUENCE, last_sequence: NO_SEQUENCE, ..part_of(7, epoch, 0) };
    let mut producers = Producers::default();
    for base in 0..2 {
        assert_eq!(producers.check(&offsets(4), NOW, DAY), Ok(Verdict::New));
        producers.accepted(&written(&offsets(4), base), NOW, DAY, Offset(base));
    }
    assert_eq!(producers.last_stable(Offset(2)), Offset(0));
    assert!(matches!(producers.check(&offsets(3), NOW, DAY), Err(SequenceError::StaleEpoch { .. })));
    assert_eq!(producers.check(&part_of(7, 4, 0), NOW, DAY), Ok(Verdict::New), "its sequence has not begun");
    assert_eq!(by_rule(&producers, &ends(7, 5, Ending::Abort), MarkerRule::V2), Ok(Verdict::New));
    producers.accepted(&written(&ends(7, 5, Ending::Abort), 2), NOW, DAY, Offset(2));
    producers.accepted(&written(&offsets(5), 3), NOW, DAY, Offset(3));
    assert_eq!(aborted(&producers, 0, 9), [(7, 0, 2, 3)]);
    let left = producers.as_of(Offset(4));
    assert_eq!(decode_section(&encode_section(&left)), Ok(left.clone()));
    let deposed = ProducerDelta::marker(7, 6, Marker { ending: Ending::Abort, coordinator_epoch: 2 });
    assert!(matches!(by_rule(&left, &deposed, MarkerRule::V2), Err(SequenceError::StaleCoordinator { .. })));
}

#[test]
fn the_aborted_ones_are_found_that_a_range_needs() {
    let deltas = [
        part_of(7, 0, 0),
        part_of(8, 0, 0),
        ends(7, 1, Ending::Abort),
        part_of(7, 1, 0),
        ends(7, 2, Ending::Abort),
        ends(8, 1, Ending::Abort),
        part_of(8, 1, 0),
        ends(8, 2, Ending::Commit),
    ];
    let producers = stream(&deltas);
    let (first, second, third) = ((7, 0, 2, 1), (7, 3, 4, 1), (8, 1, 5, 6));
    assert_eq!(aborted(&producers, 0, 8), [first, second, third]);
    assert_eq!(aborted(&producers, 0, 1), [first], "behind its end nothing begins below");
    assert_eq!(aborted(&producers, 2, 3), [first, third]);
    assert_eq!(aborted(&producers, 3, 4), [second, third]);
    assert_eq!(aborted(&producers, 5, 8), [third]);
    assert_eq!(aborted(&producers, 6, 8), []);
    let range = OffsetRange::new(Offset(0), Offset(8));
    let left = producers.aborted(range, Offset(5)).unwrap();
    assert_eq!(left.len(), 1, "of what ends below, nothing is left");
    let mut trimmed = producers.clone();
    trimmed.forget_aborted(Offset(5));
    assert_eq!(aborted(&trimmed, 0, 8), [third]);
}

#[test]
fn of_many_aborted_ones_the_newest_are_remembered_and_what_is_missing_is_told() {
    let mut producers = Producers::default();
    let count = u64::try_from(ABORTED_MAX).unwrap() + 10;
    let mut epoch = 0;
    for n in 0..count {
        producers.accepted(&written(&part_of(7, epoch, 0), 2 * n), NOW, DAY, Offset(2 * n));
        epoch = (epoch + 1) % i16::MAX;
        producers.accepted(&written(&ends(7, epoch, Ending::Abort), 2 * n + 1), NOW, DAY, Offset(2 * n));
    }
    let saved = producers.as_of(Offset(2 * count));
    assert_eq!(producers.weight(), 1 + ABORTED_MAX.div_ceil(8));
    assert_eq!(decode_section(&encode_section(&saved)), Ok(saved.clone()));
    let range = |from, to| OffsetRange::new(Offset(from), Offset(to));
    assert_eq!(saved.aborted(range(3, 30), Offset(0)), Err(Forgotten(range(3, 20))));
    assert_eq!(aborted(&saved, 20, 22), [(7, 20, 21, 22)]);
    assert_eq!(saved.aborted(range(3, 22), Offset(20)).unwrap().len(), 1, "what is settled is not missed");
    let mut trimmed = saved;
    trimmed.forget_aborted(Offset(2 * count));
    assert_eq!(trimmed.transactions.aborted, Aborted::default());
}

#[test]
fn parts_are_put_together_across_what_began_in_one_and_ended_in_another() {
    let deltas = [
        part_of(7, 0, 0),
        part_of(8, 0, 0),
        part_of(9, 0, 0),
        ends(7, 1, Ending::Abort),
        part_of(7, 1, 0),
        ends(8, 1, Ending::Commit),
        ends(7, 2, Ending::Abort),
        ends(9, 1, Ending::Abort),
        part_of(8, 1, 0),
    ];
    let whole = folded(&deltas, 0..9).1;
    let expected = [(7, 0, 3, 1), (7, 4, 6, 2), (9, 2, 7, 8)];
    assert_eq!(aborted(&whole, 0, 9), expected);
    for cut in 0..9_u64 {
        for overlap in 0..=cut {
            let parts = [folded(&deltas, overlap..9), folded(&deltas, 0..cut)];
            let saved = parts.map(|(range, part)| (range, decode_section(&encode_section(&part)).unwrap()));
            let state = Producers::of_parts(saved.to_vec());
            assert_eq!(aborted(&state, 0, 9), expected, "cut at {cut}, from {overlap} on");
            assert_eq!(state.last_stable(Offset(9)), Offset(8));
            assert_eq!(state, Producers::of_parts(vec![(OffsetRange::new(Offset(0), Offset(9)), whole.clone())]));
        }
    }
}

#[test]
fn an_earlier_state_does_not_bring_back_who_a_later_one_has_forgotten() {
    let deltas = [part_of(7, 0, 0), ends(7, 1, Ending::Commit)];
    let (early, open) = folded(&deltas, 0..1);
    let (range, mut later) = folded(&deltas, 0..2);
    later.expire(UnixMillis(i64::MAX), DAY, Offset(2));
    let state = Producers::of_parts(vec![(early, open), (range, later)]);
    assert_eq!((state.len(), state.last_stable(Offset(2))), (0, Offset(2)));
}

#[test]
fn who_has_a_transaction_open_is_not_forgotten() {
    let late = UnixMillis(NOW.0 + 10 * 86_400_000);
    let mut producers = stream(&[part_of(7, 0, 0), delta(8, 0, 0, 1)]);
    producers.expire(late, DAY, Offset(9));
    assert_eq!((producers.knows(7), producers.knows(8)), (true, false));
    producers.forget(9, late, Duration::ZERO, Offset(9));
    assert!(producers.knows(7));
    assert!(producers.check(&part_of(7, 0, 5), late, DAY).is_err(), "nor taken for a stranger");
    producers.accepted(&written(&ends(7, 1, Ending::Abort), 2), late, DAY, Offset(2));
    let later = UnixMillis(late.0 + 86_400_000);
    producers.expire(later, DAY, Offset(2));
    assert!(producers.knows(7), "its marker is not confirmed");
    producers.expire(later, DAY, Offset(3));
    assert!(!producers.knows(7));
    assert!(!producers.is_empty(), "what it has aborted is still there");
    assert_eq!(aborted(&producers, 0, 9), [(7, 0, 2, 3)]);
}

#[test]
fn a_transaction_begins_only_when_it_is_granted() {
    let mut producers = Producers::default();
    let mut grants = Grants::default();
    let needs = Err(SequenceError::NeedsGrant { producer_id: 7, producer_epoch: 0 });
    let first = part_of(7, 0, 0);
    assert_eq!(producers.check_granted(&grants, &first), needs);
    assert_eq!(producers.check_granted(&grants, &delta(7, 0, 0, 1)), Ok(()), "what is in no transaction needs none");
    let ticket = grants.ask(&first, 1);
    assert_eq!(grants.ask(&part_of(7, 0, 1), 2), ticket, "one question for all that wait");
    assert_eq!(producers.check_granted(&grants, &first), needs, "asked is not granted");
    assert!(grants.answered(ticket, true));
    let second = producers.check_granted(&grants, &part_of(7, 0, 1));
    assert_eq!(second, Err(SequenceError::OutOfOrder { producer_id: 7, found: 1, expected: 0 }));
    let other_epoch = producers.check_granted(&grants, &part_of(7, 1, 0));
    assert_eq!(other_epoch, Err(SequenceError::NeedsGrant { producer_id: 7, producer_epoch: 1 }));
    assert_eq!(producers.check_granted(&grants, &first), Ok(()));
    producers.accepted(&written(&first, 0), NOW, DAY, Offset(0));
    grants.accepted(&first);
    assert!(grants.is_empty());
    assert_eq!(producers.check_granted(&grants, &part_of(7, 0, 1)), Ok(()), "the rest of it needs none");
    assert_eq!(producers.check_granted(&grants, &part_of(7, 1, 0)), other_epoch, "but for another epoch's");
}

#[test]
fn a_grant_is_worth_nothing_behind_a_marker_nor_to_another_owner() {
    let mut grants = Grants::default();
    let first = part_of(7, 0, 0);
    let ticket = grants.ask(&first, 1);
    grants.accepted(&ends(7, 0, Ending::Abort));
    assert!(!grants.answered(ticket, true), "the answer was about the transaction before");
    let again = grants.ask(&first, 2);
    assert!(!grants.answered(ticket, false), "and does not answer the next question");
    assert!(grants.answered(again, false));
    assert!(grants.is_empty());
    // The next owner begins without grants, and with numbers of its own.
    let mut next = Grants::default();
    let there = next.ask(&first, 3);
    assert!(!next.answered(again, true));
    assert!(next.answered(there, true));
    for id in 0..2 * i64::try_from(GRANTS_MAX).unwrap() {
        next.ask(&part_of(id, 0, 0), 10 + id.unsigned_abs());
    }
    assert_eq!(next.len(), GRANTS_MAX);
}

#[test]
fn sections_with_transactions_round_trip_and_nothing_else_is_one() {
    let deltas = [
        part_of(7, 0, 0),
        ends(9, 4, Ending::Commit),
        part_of(8, 0, 0),
        ends(7, 1, Ending::Abort),
        part_of(7, 1, 0),
        delta(3, 0, 0, 1),
    ];
    let part = folded(&deltas, 0..6).1;
    let bytes = encode_section(&part);
    assert_eq!(decode_section(&bytes), Ok(part));
    for len in 0..bytes.len() {
        assert!(decode_section(&bytes[..len]).is_err(), "cut to {len}");
    }
    assert!(decode_section(&[&bytes[..], &[0]].concat()).is_err());
    for seed in 0..20_000 {
        let mut seed = Seed::new(seed);
        let mut changed = bytes.to_vec();
        for _ in 0..=seed.below(3) {
            let at = usize::try_from(seed.below(bytes.len() as u64)).unwrap();
            changed[at] = seed.next_u64().to_le_bytes()[0];
        }
        if let Ok(decoded) = decode_section(&changed) {
            assert_eq!(decode_section(&encode_section(&decoded)).as_ref(), Ok(&decoded), "it means one thing");
        }
    }
}
