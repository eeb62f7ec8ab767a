//! What a leader makes of what was kept.

use super::bench::{ACCEPT, Bench, fetched, range, state};
use crate::share_partition::{
    DeadLetterCause, DeliveryState, PersistedShare, ShareEffects, ShareOffsetReset, ShareOptions, SharePartition,
    StartLookup,
};
use base::{Offset, UnixMillis};
use std::time::Duration;

#[test]
fn records_of_which_nothing_was_kept_are_delivered() {
    let kept = [
        state(10, 20, DeliveryState::Acknowledged, 1),
        state(20, 25, DeliveryState::Available, 3),
        state(30, 40, DeliveryState::Acknowledged, 2),
    ];
    let mut bench = Bench::with(ShareOptions::default(), 5, &kept);
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(5), 5));
    assert_eq!(bench.share.delivery_complete_count(), 20);
    assert_eq!(bench.acquire("a", 100, &[fetched(5, 50)]), [(5, 10, 1)]);
    assert_eq!(bench.next_fetch(), 20);
    assert_eq!(bench.acquire("a", 100, &[fetched(5, 50)]), [(20, 22, 4)]);
    bench.acknowledged("a", 5, 10, &[ACCEPT]);
    assert_eq!(bench.share.start(), Offset(20));
    assert_eq!(bench.acquire("a", 100, &[fetched(5, 50)]), [(22, 24, 4)]);
    assert_eq!(bench.acquire("a", 100, &[fetched(5, 50)]), [(24, 25, 4)]);
    assert_eq!(bench.next_fetch(), 25);
    assert_eq!(bench.acquire("a", 100, &[fetched(5, 50)]), [(25, 30, 1), (40, 50, 1)]);
    assert_eq!(bench.next_fetch(), 50);
}

#[test]
fn a_gap_in_which_there_is_nothing_is_passed() {
    let kept = [state(10, 20, DeliveryState::Acknowledged, 1), state(30, 40, DeliveryState::Archived, 5)];
    let mut bench = Bench::with(ShareOptions::default(), 10, &kept);
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(20), 20));
    assert_eq!(bench.acquire("a", 100, &[fetched(30, 40)]), []);
    assert_eq!((bench.share.start(), bench.next_fetch()), (Offset(40), 40));
}

#[test]
fn what_is_done_with_is_passed_at_once() {
    let kept = [state(0, 5, DeliveryState::Acknowledged, 1), state(5, 8, DeliveryState::Archived, 5)];
    let mut bench = Bench::with(ShareOptions::default(), 0, &kept);
    assert_eq!((bench.share.start(), bench.next_fetch(), bench.share.in_flight()), (Offset(8), 8, 0));
}

#[test]
fn what_was_on_its_way_to_another_topic_is_sent_again() {
    let kept = [state(0, 2, DeliveryState::Archiving, 5), state(2, 3, DeliveryState::Archiving, 1)];
    let mut bench = Bench::with(ShareOptions::default(), 0, &kept);
    let causes: Vec<_> = bench.fx.dead_letters.iter().map(|it| (it.range, it.cause)).collect();
    assert_eq!(causes, [(range(0, 2), DeadLetterCause::DeliveredTooOften), (range(2, 3), DeadLetterCause::Rejected)]);
    bench.share.dead_lettered(range(0, 3), &mut bench.fx);
    bench.settle();
    assert_eq!(bench.share.start(), Offset(3));
}

#[test]
fn damaged_state_is_refused() {
    for kept in [
        vec![state(3, 6, DeliveryState::Available, 1)],
        vec![state(5, 5, DeliveryState::Available, 1)],
        vec![state(5, 9, DeliveryState::Available, 1), state(8, 10, DeliveryState::Available, 1)],
    ] {
        let persisted = PersistedShare { state_epoch: 0, batches: kept };
        let options = ShareOptions::default();
        assert!(SharePartition::load(options, 0, Offset(5), &persisted, &mut ShareEffects::default()).is_err());
    }
}

#[test]
fn a_group_without_state_begins_where_it_is_told_to() {
    let now = UnixMillis(1_000_000);
    assert_eq!(ShareOffsetReset::default().lookup(now), StartLookup::Latest);
    assert_eq!(ShareOffsetReset::Earliest.lookup(now), StartLookup::Earliest);
    let reset = ShareOffsetReset::ByDuration(Duration::from_secs(1));
    assert_eq!(reset.lookup(now), StartLookup::At(UnixMillis(999_000)));
}
