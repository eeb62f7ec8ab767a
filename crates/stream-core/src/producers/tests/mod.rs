//! Examples, then random histories against a list of what was stored. Of transactions: [`transactions`], [`histories`].

use super::*;
use base::Seed;

mod histories;
mod transactions;

const DAY: Duration = Duration::from_hours(24);
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn delta(id: i64, epoch: i16, first: i32, records: u32) -> ProducerDelta {
    ProducerDelta {
        producer_id: id,
        producer_epoch: epoch,
        first_sequence: first,
        last_sequence: last_sequence(first, records),
        kind: BatchKind::Plain,
    }
}

/// A batch of as many records as its sequences say; one without has one.
fn written(delta: &ProducerDelta, base: u64) -> Written {
    let batch = ProducerBatch {
        epoch: delta.producer_epoch,
        first_sequence: delta.first_sequence,
        last_sequence: delta.last_sequence,
        base: Offset(base),
        timestamp: NOW,
    };
    Written { delta: *delta, range: batch.range(), timestamp: NOW }
}

fn take(producers: &mut Producers, delta: &ProducerDelta, base: u64, confirmed: u64) -> ProducerBatch {
    assert_eq!(producers.check(delta, NOW, DAY), Ok(Verdict::New));
    let written = written(delta, base);
    producers.accepted(&written, NOW, DAY, Offset(confirmed));
    written.batch()
}

fn expected(producers: &Producers, delta: &ProducerDelta) -> i32 {
    match producers.check(delta, NOW, DAY) {
        Err(SequenceError::OutOfOrder { expected, .. }) => expected,
        other => panic!("{delta:?}: {other:?}"),
    }
}

#[test]
fn a_producer_continues_and_a_repeat_is_told_where_the_original_stands() {
    let mut producers = Producers::default();
    let first = take(&mut producers, &delta(7, 0, 0, 3), 100, 0);
    assert_eq!(first.range(), OffsetRange::new(Offset(100), Offset(103)));
    take(&mut producers, &delta(7, 0, 3, 2), 103, 0);
    assert_eq!(producers.check(&delta(7, 0, 0, 3), NOW, DAY), Ok(Verdict::Repeat(first)));
    assert_eq!(expected(&producers, &delta(7, 0, 6, 1)), 5, "a gap");
    assert_eq!(expected(&producers, &delta(7, 0, 4, 1)), 5, "half of a batch is no repeat");
    assert_eq!(expected(&producers, &delta(7, 0, 0, 2)), 5, "nor is a batch of another length");
    assert_eq!(expected(&producers, &delta(8, 0, 5, 1)), 0, "a stranger begins at 0");
}

#[test]
fn an_epoch_begins_at_0_and_ends_the_one_before() {
    let mut producers = Producers::default();
    take(&mut producers, &delta(7, 1, 0, 3), 0, 0);
    let stale = producers.check(&delta(7, 0, 3, 1), NOW, DAY);
    assert_eq!(stale, Err(SequenceError::StaleEpoch { producer_id: 7, found: 0, newest: 1 }));
    assert_eq!(expected(&producers, &delta(7, 2, 3, 1)), 0);
    take(&mut producers, &delta(7, 2, 0, 1), 3, 0);
    assert!(producers.check(&delta(7, 1, 0, 3), NOW, DAY).is_err(), "no repeat of an older epoch");
}

#[test]
fn sequences_wrap_behind_the_greatest() {
    let mut producers = Producers { expired: true, ..Producers::default() };
    let wrapping = delta(7, 0, i32::MAX - 1, 3);
    assert_eq!(wrapping.last_sequence, 0);
    let batch = take(&mut producers, &wrapping, 10, 0);
    assert_eq!(batch.next(), Offset(13));
    take(&mut producers, &delta(7, 0, 1, 1), 13, 0);
    let mut producers = Producers { expired: true, ..Producers::default() };
    take(&mut producers, &delta(7, 0, i32::MAX, 1), 0, 0);
    take(&mut producers, &delta(7, 0, 0, 1), 1, 0);
}

#[test]
fn five_confirmed_batches_are_known_and_all_that_are_not() {
    let mut producers = Producers::default();
    for n in 0..20_u8 {
        take(&mut producers, &delta(7, 0, n.into(), 1), n.into(), 0);
    }
    assert!(matches!(producers.check(&delta(7, 0, 0, 1), NOW, DAY), Ok(Verdict::Repeat(_))));
    take(&mut producers, &delta(7, 0, 20, 1), 20, 18);
    assert!(producers.check(&delta(7, 0, 12, 1), NOW, DAY).is_err());
    assert!(matches!(producers.check(&delta(7, 0, 13, 1), NOW, DAY), Ok(Verdict::Repeat(_))));
}

#[test]
fn what_is_saved_is_what_is_confirmed() {
    let mut producers = Producers::default();
    take(&mut producers, &delta(7, 0, 0, 5), 0, 0);
    take(&mut producers, &delta(7, 1, 0, 5), 5, 0);
    take(&mut producers, &delta(8, 0, 0, 5), 10, 0);
    let saved = producers.as_of(Offset(7));
    assert_eq!(saved.len(), 1);
    assert_eq!(expected(&saved, &delta(7, 0, 9, 1)), 5, "of producer 7 the epoch before, whose last is confirmed");
    assert_eq!(producers.as_of(Offset(15)), producers);
    assert!(producers.as_of(Offset(4)).is_empty());
}

#[test]
fn who_was_silent_is_forgotten_and_then_any_stranger_may_be_who_it_was() {
    let later = |duration: Duration| UnixMillis(NOW.0 + i64::try_from(duration.as_millis()).unwrap());
    let mut producers = Producers::default();
    take(&mut producers, &delta(7, 0, 0, 5), 0, 0);
    let (soon, late) = (later(DAY - Duration::from_millis(1)), later(DAY));
    assert!(producers.check(&delta(7, 0, 9, 1), soon, DAY).is_err());
    assert_eq!(producers.check(&delta(7, 0, 9, 1), late, DAY), Ok(Verdict::New));
    producers.expire(late, DAY, Offset(4));
    assert_eq!(producers.len(), 1, "not while it is unconfirmed");
    producers.expire(late, DAY, Offset(5));
    assert_eq!((producers.len(), producers.is_empty()), (0, false));
    assert_eq!(producers.check(&delta(99, 3, 77, 1), late, DAY), Ok(Verdict::New));
    let clock_went_back = UnixMillis(0);
    take(&mut producers, &delta(7, 0, 0, 5), 5, 0);
    assert!(producers.check(&delta(7, 0, 9, 1), clock_went_back, DAY).is_err());
}

#[test]
fn the_longest_silent_are_forgotten_first_and_nobody_who_wrote_lately() {
    let at = |second: i64| UnixMillis(NOW.0 + 1000 * second);
    let mut producers = Producers::default();
    for (id, second) in [(1, 30), (2, 10), (3, 20), (4, 50), (5, 0)] {
        producers.accepted(&written(&delta(id, 0, 0, 1), id.unsigned_abs()), at(second), DAY, Offset(0));
    }
    // The last one is not confirmed, the fourth wrote 10 s ago.
    let known = |producers: &Producers| (1..=5).filter(|id| producers.knows(*id)).collect::<Vec<_>>();
    let mut none = producers.clone();
    none.forget(0, at(60), Duration::from_secs(30), Offset(5));
    assert_eq!(none, producers, "and nobody is taken for one who was forgotten");
    producers.forget(2, at(60), Duration::from_secs(30), Offset(5));
    assert_eq!(known(&producers), [1, 4, 5]);
    assert_eq!(producers.check(&delta(2, 0, 7, 1), at(60), DAY), Ok(Verdict::New), "who was forgotten may go on");
    producers.forget(9, at(60), Duration::from_secs(30), Offset(5));
    assert_eq!(known(&producers), [4, 5]);
}

#[test]
fn parts_may_be_folded_in_any_order_and_twice() {
    let mut whole = Producers::default();
    for n in 0..9_u8 {
        whole.fold(&written(&delta(7, 0, n.into(), 1), n.into()), NOW);
    }
    let part = |range: std::ops::Range<u8>| {
        let mut part = Producers::default();
        for n in range {
            part.fold(&written(&delta(7, 0, n.into(), 1), n.into()), NOW);
        }
        part
    };
    let mut merged = part(4..9);
    merged.merge(&part(2..6));
    merged.merge(&part(0..5));
    assert_eq!(merged, whole);
}

#[test]
fn sections_round_trip_and_nothing_else_is_one() {
    let mut producers = Producers { expired: true, ..Producers::default() };
    for n in 0..7_u8 {
        take(&mut producers, &delta(n.into(), 3, 0, 2), 2 * u64::from(n), 99);
        take(&mut producers, &delta(n.into(), 3, 2, 1), 50 + u64::from(n), 99);
    }
    let bytes = encode_section(&producers);
    assert_eq!(decode_section(&bytes), Ok(producers));
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
            assert!(decoded.by_id.values().all(|it| (1..=BATCHES_KEPT).contains(&it.batches.len())));
        }
    }
}

/// Producers that send, repeat, lose answers and are restored from what is saved at a random confirmed offset plus the deltas
/// behind it: every batch is stored once, in its order, and no honest producer is ever refused.
#[test]
fn any_history_stores_each_batch_once() {
    for seed in 0..400 {
        let mut random = Seed::new(seed);
        let mut producers = Producers::default();
        // What the log holds: producer, sequence, records.
        let mut log: Vec<(i64, i32, u32, u64)> = Vec::new();
        let (mut next, mut confirmed) = (0_u64, 0_u64);
        // By producer: the next sequence, and the batches of unknown fate, oldest first.
        let mut clients: BTreeMap<i64, (i32, Vec<(i32, u32)>)> = BTreeMap::new();
        for _ in 0..300 {
            let id = i64::try_from(random.below(3)).unwrap();
            let client = clients.entry(id).or_default();
            if client.1.len() < BATCHES_KEPT && random.chance(600) {
                let records = u32::try_from(random.between(1, 4)).unwrap();
                client.1.push((client.0, records));
                client.0 = last_sequence(client.0, records + 1);
            }
            // All that are in flight go again, in order, and the first few answers come back.
            let mut answered = 0;
            for (first, records) in &client.1 {
                let delta = delta(id, 0, *first, *records);
                match producers.check(&delta, NOW, DAY) {
                    Ok(Verdict::New) => {
                        producers.accepted(&written(&delta, next), NOW, DAY, Offset(confirmed));
                        log.push((id, *first, *records, next));
                        next += u64::from(*records);
                    }
                    Ok(Verdict::Repeat(original)) => {
                        let stored = log.iter().find(|it| (it.0, it.1, it.2) == (id, *first, *records));
                        assert_eq!(stored.map(|it| it.3), Some(original.base.0), "seed {seed}");
                        answered += usize::from(original.next().0 <= confirmed && answered < 2);
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            client.1.drain(..answered);
            if random.chance(300) {
                let steps = log.iter().map(|it| it.3 + u64::from(it.2)).filter(|end| *end > confirmed);
                confirmed = steps.take(usize::try_from(random.between(1, 3)).unwrap()).last().unwrap_or(confirmed);
            }
            if random.chance(50) {
                // A crash: what is saved, and the durable deltas behind it.
                let durable = log.iter().map(|it| it.3 + u64::from(it.2)).filter(|end| *end >= confirmed);
                let end = durable.take(2).last().unwrap_or(confirmed);
                let from = random.below(confirmed + 1);
                let saved = producers.as_of(Offset(from));
                producers = decode_section(&encode_section(&saved)).unwrap();
                log.retain(|it| it.3 + u64::from(it.2) <= end);
                for (id, first, records, base) in log.iter().filter(|it| it.3 + u64::from(it.2) > from) {
                    producers.fold(&written(&delta(*id, 0, *first, *records), *base), NOW);
                }
                (next, confirmed) = (end, end);
            }
        }
        for id in 0..3 {
            let mut sequence = 0;
            for (_, first, records, _) in log.iter().filter(|it| it.0 == id) {
                assert_eq!(*first, sequence, "seed {seed}");
                sequence += i32::try_from(*records).unwrap();
            }
        }
    }
}
