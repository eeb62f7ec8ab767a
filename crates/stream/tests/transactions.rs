//! What a stream knows of its producers' transactions, whatever becomes of the broker, its logs, the records.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::logs::{both, choose, moved, start_logs};
use crate::support::{BOTH, check_bucket, create, life, options, start, until};
use base::{Offset, OffsetRange, StreamId};
use std::time::Duration;
use stream::{
    AppendError, Appended, BatchKind, Ending, Marker, MarkerRule, NumberedBatch, Options, ProducerDelta, SequenceError,
    Store, Stream,
};
use stream_core::testing::batch;

fn part_of(producer_id: i64, producer_epoch: i16, sequence: i32) -> ProducerDelta {
    ProducerDelta {
        producer_id,
        producer_epoch,
        first_sequence: sequence,
        last_sequence: sequence,
        kind: BatchKind::Transactional,
    }
}

fn ends(producer_id: i64, producer_epoch: i16, ending: Ending) -> ProducerDelta {
    ProducerDelta::marker(producer_id, producer_epoch, Marker { ending, coordinator_epoch: 1 })
}

fn numbered(stream: &Stream, delta: ProducerDelta) -> NumberedBatch {
    let control = matches!(delta.kind, BatchKind::Marker(_));
    NumberedBatch { producer: Some(delta), control, ..batch(stream.next().0, 1, 300) }
}

/// Sends it once, as what need not be loaded.
fn try_send(stream: &Stream, delta: ProducerDelta) -> Result<Appended, AppendError> {
    stream.append_marker(numbered(stream, delta), MarkerRule::V2)
}

/// Sends it as a broker does, whose coordinators grant everything. Where it stands, and whether it was there.
async fn send(stream: &Stream, delta: ProducerDelta) -> (Offset, bool) {
    loop {
        let base = stream.next();
        match try_send(stream, delta) {
            Ok(Appended::Enqueued(confirmation)) => {
                confirmation.await.unwrap();
                return (base, false);
            }
            Ok(Appended::Repeat(original)) => {
                assert!(stream.until_confirmed(original.next()).await);
                return (original.base, true);
            }
            Err(AppendError::ProducersAway) => stream.load_producers().await.unwrap(),
            Err(AppendError::Sequence(SequenceError::NeedsGrant { .. })) => {
                // What is idle may leave memory between any two calls.
                let _is_asked_again = stream.ask_grant(&delta).map(|ticket| stream.answer_grant(ticket, true));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn send_new(stream: &Stream, deltas: &[ProducerDelta]) {
    for delta in deltas {
        assert!(!send(stream, *delta).await.1, "{delta:?} is new");
    }
}

/// The last stable offset, and the aborted transactions: whose, from where to where.
async fn known(stream: &Stream) -> (u64, Vec<(i64, u64, u64)>) {
    loop {
        stream.load_producers().await.unwrap();
        let range = OffsetRange::new(stream.start(), stream.confirmed());
        let (Some(aborted), Some(stable)) = (stream.aborted(range), stream.last_stable()) else { continue };
        let aborted = aborted.unwrap();
        return (stable.0, aborted.iter().map(|it| (it.producer_id, it.first.0, it.last.0)).collect());
    }
}

fn is_saved(store: &Store, id: StreamId) -> bool {
    let image = store.ledger().image();
    image.streams.get(&id).is_some_and(|record| !record.producers.is_empty() && record.unsaved.is_empty())
}

#[test]
fn transactions_are_known_after_crashes_uploads_trims_and_a_clean_stop() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let id = life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let id = create(&store, "a", 1).await[0];
            let stream = store.stream(id).unwrap();
            assert_eq!(stream.last_stable(), Some(Offset(0)), "no producer has written to it");
            let ended = [part_of(7, 0, 0), part_of(8, 0, 0), ends(7, 1, Ending::Abort), part_of(7, 1, 0)];
            send_new(&stream, &ended).await;
            assert_eq!(known(&stream).await, (1, vec![(7, 0, 2)]));
            id
        });
        // The first owner's log alone tells it; then two logs, of which the second begins within transactions; then what is saved of both.
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let stream = store.stream(id).unwrap();
            assert_eq!(known(&stream).await, (1, vec![(7, 0, 2)]));
            send_new(&stream, &[part_of(7, 1, 1), ends(8, 1, Ending::Abort), ends(9, 5, Ending::Abort)]).await;
            assert_eq!(known(&stream).await, (3, vec![(7, 0, 2), (8, 1, 5)]));
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let stream = store.stream(id).unwrap();
            assert_eq!(known(&stream).await, (3, vec![(7, 0, 2), (8, 1, 5)]));
            until("the tails are saved", || is_saved(&store, id)).await;
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let stream = store.stream(id).unwrap();
            assert_eq!(known(&stream).await, (3, vec![(7, 0, 2), (8, 1, 5)]));
            assert_eq!(send(&stream, ends(8, 1, Ending::Abort)).await, (Offset(5), true), "a late copy is a repeat");
            let late = try_send(&stream, part_of(9, 4, 0)).unwrap_err();
            assert!(matches!(late, AppendError::Sequence(SequenceError::StaleEpoch { .. })), "{late}");
            send_new(&stream, &[ends(7, 2, Ending::Abort)]).await;
            store.drain(Duration::from_secs(10)).await;
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let stream = store.stream(id).unwrap();
            assert_eq!(known(&stream).await, (8, vec![(7, 0, 2), (8, 1, 5), (7, 3, 7)]));
            stream.trim(Offset(4)).await.unwrap();
            assert_eq!(known(&stream).await, (8, vec![(8, 1, 5), (7, 3, 7)]));
            send_new(&stream, &[part_of(7, 2, 0), ends(7, 3, Ending::Commit)]).await;
            assert_eq!(known(&stream).await, (10, vec![(8, 1, 5), (7, 3, 7)]));
            check_bucket(&world, root, &store).await;
        });
    }
}

#[test]
fn a_move_takes_transactions_along_and_leaves_grants_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        let id = create(&store, "a", 1).await[0];
        let before = store.stream(id).unwrap();
        send_new(&before, &[part_of(7, 0, 0), ends(7, 1, Ending::Abort), part_of(8, 0, 0)]).await;
        let waits = part_of(9, 0, 0);
        let granted = before.ask_grant(&waits).unwrap();
        assert!(before.answer_grant(granted, true));
        let asked = before.ask_grant(&part_of(10, 0, 0)).unwrap();
        choose(&store, "a", Some("bulk")).await;
        moved(&store, "a", 1).await;
        let after = store.stream(id).unwrap();
        let refused = try_send(&after, waits).unwrap_err();
        assert!(matches!(refused, AppendError::Sequence(SequenceError::NeedsGrant { .. })), "{refused}");
        assert!(!before.answer_grant(asked, true) && !after.answer_grant(asked, true));
        assert_eq!(known(&after).await, (2, vec![(7, 0, 1)]));
        send_new(&after, &[part_of(8, 0, 1), ends(8, 1, Ending::Abort), waits]).await;
        assert_eq!(known(&after).await, (5, vec![(7, 0, 1), (8, 2, 4)]));
        id
    });
    // What ends in one log has begun in another.
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        let stream = store.stream(id).unwrap();
        assert_eq!(known(&stream).await, (5, vec![(7, 0, 1), (8, 2, 4)]));
        until("the tails are saved", || is_saved(&store, id)).await;
    });
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        assert_eq!(known(&store.stream(id).unwrap()).await, (5, vec![(7, 0, 1), (8, 2, 4)]));
    });
}

/// State that is saved and idle leaves memory, open transactions or not, and comes back when it is asked for.
#[test]
fn a_transaction_stays_open_while_its_state_is_out_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let idle =
        Options { upload_age: Duration::from_millis(20), housekeeping_period: Duration::from_millis(20), ..options() };
    life(|world| async move {
        let store = start(&world, root, BOTH[0], idle).await;
        let id = create(&store, "a", 1).await[0];
        let stream = store.stream(id).unwrap();
        send_new(&stream, &[part_of(7, 0, 0), ends(7, 1, Ending::Abort), part_of(7, 1, 0)]).await;
        let mut left = false;
        for _ in 0..500 {
            // Longer than a state stays that was asked for.
            tokio::time::sleep(Duration::from_millis(150)).await;
            left = stream.last_stable().is_none();
            if left {
                break;
            }
        }
        assert!(left, "it leaves memory");
        assert_eq!(known(&stream).await, (2, vec![(7, 0, 1)]));
        assert!(matches!(try_send(&stream, part_of(7, 1, 1)).unwrap(), Appended::Enqueued(_)), "and goes on");
    });
}
