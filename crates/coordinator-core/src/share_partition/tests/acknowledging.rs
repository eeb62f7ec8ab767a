//! What members may say of their records, and what comes of it.

use super::bench::{ACCEPT, Bench, REJECT, RELEASE, RENEW, fetched, range, state};
use crate::Ticket;
use crate::share_partition::{AcknowledgeBatch, DeliveryState, ShareError, ShareOptions, acknowledgements_are_valid};
use base::Offset;

fn is_state(answer: Option<Result<(), ShareError>>) -> bool {
    matches!(answer, Some(Err(ShareError::InvalidRecordState(_))))
}

fn is_request(answer: Option<Result<(), ShareError>>) -> bool {
    matches!(answer, Some(Err(ShareError::InvalidRequest(_))))
}

fn begun() -> Bench {
    let mut bench = Bench::new();
    assert_eq!(bench.acquire("a", 5, &[fetched(0, 5)]), [(0, 5, 1)]);
    assert_eq!(bench.acquire("b", 5, &[fetched(5, 10)]), [(5, 10, 1)]);
    bench
}

#[test]
fn it_is_answered_when_it_is_written_and_told_to_the_persister_as_kafka_does() {
    let mut bench = begun();
    let ticket = bench.acknowledge("a", 0, 5, &[ACCEPT, RELEASE, RELEASE, REJECT, 0]);
    assert_eq!(bench.answer(ticket), None);
    let write = bench.write();
    assert_eq!((write.state_epoch, write.leader_epoch, write.start), (1, 7, Offset(0)));
    assert_eq!(write.delivery_complete_count, 3);
    let states = [
        state(0, 1, DeliveryState::Acknowledged, 1),
        state(1, 3, DeliveryState::Available, 1),
        state(3, 5, DeliveryState::Archived, 1),
    ];
    assert_eq!(write.batches, states);
    // Nobody gets what is released before that is written.
    assert_eq!(bench.acquire("b", 100, &[fetched(0, 5)]), []);
    bench.wrote(&write, Ok(()));
    assert_eq!(bench.answer(ticket), Some(Ok(())));
    assert_eq!(bench.acquire("b", 100, &[fetched(0, 5)]), [(1, 3, 2)]);
    assert_eq!(bench.share.start(), Offset(1));
}

#[test]
fn only_who_has_a_record_acknowledges_it_and_only_once() {
    let mut bench = begun();
    let ticket = bench.acknowledge("b", 0, 5, &[ACCEPT]);
    assert!(is_state(bench.answer(ticket)));
    // All or nothing: the second part is not its own.
    let ticket = bench.acknowledge("a", 0, 10, &[ACCEPT]);
    assert!(is_state(bench.answer(ticket)));
    assert!(bench.fx.writes.is_empty());
    bench.acknowledge("a", 0, 5, &[ACCEPT]);
    let ticket = bench.acknowledge("a", 0, 5, &[RELEASE]);
    assert!(is_state(bench.answer(ticket)));
    bench.settle();
    // What lies below the start is passed over.
    let ticket = bench.acknowledge("a", 0, 5, &[RELEASE]);
    assert_eq!(bench.answer(ticket), Some(Ok(())));
}

#[test]
fn records_that_were_never_given_are_not_acknowledged() {
    let mut bench = begun();
    let ticket = bench.acknowledge("a", 10, 12, &[ACCEPT]);
    assert!(is_request(bench.answer(ticket)));
    let ticket = bench.acknowledge("b", 5, 12, &[ACCEPT]);
    assert!(is_request(bench.answer(ticket)));
    let ticket = bench.acknowledge("b", 5, 10, &[9]);
    assert!(is_request(bench.answer(ticket)));
    let mut bench = Bench::new();
    let ticket = bench.acknowledge("a", 0, 1, &[ACCEPT]);
    assert!(is_state(bench.answer(ticket)));
}

#[test]
fn a_renewal_is_written_nowhere_and_may_be_forbidden() {
    let mut bench = begun();
    let ticket = bench.acknowledge("a", 0, 5, &[RENEW]);
    assert_eq!(bench.answer(ticket), Some(Ok(())));
    assert!(bench.fx.writes.is_empty());
    bench.share.set_options(ShareOptions { renews: false, ..ShareOptions::default() });
    let ticket = bench.acknowledge("a", 0, 5, &[RENEW]);
    assert!(is_state(bench.answer(ticket)));
}

#[test]
fn the_end_of_a_session_releases_what_its_member_has() {
    let mut bench = begun();
    let ticket = bench.ticket();
    bench.share.release("a", Some(ticket), &mut bench.fx);
    let write = bench.write();
    assert_eq!(write.batches, [state(0, 5, DeliveryState::Available, 1)]);
    bench.wrote(&write, Ok(()));
    assert_eq!(bench.answer(ticket), Some(Ok(())));
    assert_eq!(bench.acquire("c", 100, &[fetched(0, 10)]), [(0, 5, 2)]);
}

#[test]
fn what_is_rejected_goes_to_another_topic_before_it_is_archived() {
    let options = ShareOptions { dead_letters: true, deliveries_max: 2, ..ShareOptions::default() };
    let mut bench = Bench::with(options, 0, &[]);
    bench.acquire("a", 5, &[fetched(0, 5)]);
    bench.acknowledge("a", 0, 5, &[REJECT]);
    assert_eq!(bench.fx.dead_letters, []);
    let write = bench.write();
    assert_eq!(write.batches, [state(0, 5, DeliveryState::Archiving, 1)]);
    bench.wrote(&write, Ok(()));
    let letter = bench.fx.dead_letters.pop().unwrap();
    assert_eq!((letter.range, letter.cause.words()), (range(0, 5), "Offset rejected by client."));
    assert_eq!(bench.share.start(), Offset(0));
    bench.share.dead_lettered(letter.range, &mut bench.fx);
    assert_eq!(bench.write().batches, [state(0, 5, DeliveryState::Archived, 1)]);
    assert_eq!(bench.share.start(), Offset(5));
    assert_eq!(bench.answer(Ticket(1)), Some(Ok(())));
}

#[test]
fn requests_that_make_no_sense_are_told_from_others() {
    let batch = |base, next, types: &[i8]| Some(AcknowledgeBatch { range: range(base, next), types: types.to_vec() });
    assert!(acknowledgements_are_valid(&[batch(0, 3, &[1]), batch(3, 5, &[1, 2])], false, false));
    assert!(!acknowledgements_are_valid(&[None], true, true));
    assert!(!acknowledgements_are_valid(&[batch(3, 5, &[1]), batch(0, 3, &[1])], true, true));
    assert!(!acknowledgements_are_valid(&[batch(0, 3, &[])], true, true));
    assert!(!acknowledgements_are_valid(&[batch(0, 3, &[1, 1])], true, true));
    assert!(!acknowledgements_are_valid(&[batch(0, 3, &[5])], true, true));
    assert!(!acknowledgements_are_valid(&[batch(0, 3, &[4])], true, false));
    assert!(!acknowledgements_are_valid(&[batch(0, 3, &[4])], false, true));
    assert!(acknowledgements_are_valid(&[batch(0, 3, &[4])], true, true));
}

#[test]
fn a_very_wide_batch_takes_as_much_as_it_has_runs() {
    let wide = 1 << 30;
    let mut bench = Bench::new();
    assert_eq!(bench.acquire("m", 500, &[fetched(0, wide)]), [(0, wide, 1)]);
    let ticket = bench.ticket();
    let odd = (0..20_000).map(|place| AcknowledgeBatch { range: range(2 * place + 1, 2 * place + 2), types: vec![1] });
    bench.share.acknowledge(bench.now, "m", &odd.collect::<Vec<_>>(), ticket, &mut bench.fx);
    bench.settle();
    assert_eq!(bench.answer(ticket), Some(Ok(())));
    assert_eq!((bench.share.start().0, bench.share.delivery_complete_count()), (0, 20_000));
    // One after the other, each is told alone.
    for place in 0..2_000 {
        bench.acknowledged("m", 2 * place, 2 * place + 1, &[ACCEPT]);
    }
    assert_eq!(bench.share.start().0, 4_000);
    let most = bench.share.kept_bytes();
    bench.acknowledged("m", 40_000, wide, &[RELEASE]);
    bench.pass(std::time::Duration::from_secs(31));
    bench.settle();
    assert!(bench.share.kept_bytes() <= most);
    assert_eq!(bench.acquire("n", 500, &[fetched(0, wide)]).last(), Some(&(40_000, wide, 2)));
    bench.share.release("n", None, &mut bench.fx);
    bench.settle();
}

#[test]
fn what_goes_the_same_way_again_is_one_run_again() {
    let mut bench = Bench::new();
    bench.acquire("m", 500, &[fetched(0, 1000)]);
    let least = bench.share.kept_bytes();
    for place in 1..999 {
        bench.acknowledged("m", place, place + 1, &[ACCEPT]);
    }
    assert!(bench.share.kept_bytes() < least + 500, "three runs");
    let types: Vec<i8> = (0..1000).map(|place| if place % 999 == 0 { RELEASE } else { 0 }).collect();
    let parts = AcknowledgeBatch { range: range(0, 1000), types }.parts();
    assert_eq!(parts, 3);
}
