//! An idempotent producer's batches are stored once (invariant 7), whatever becomes of the broker, the records, the bucket's objects.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::{BOTH, append, bucket, check_bucket, create, life, options, start, streams_of, until};
use base::{Offset, StreamId};
use control_core::{Command, Outcome};
use std::time::Duration;
use stream::{AppendError, Appended, BatchKind, NumberedBatch, Options, ProducerDelta, SequenceError, Store, Stream};
use stream_core::testing::batch;

pub(crate) fn from_producer(id: i64, base: Offset, sequence: i32) -> NumberedBatch {
    let delta = ProducerDelta {
        producer_id: id,
        producer_epoch: 0,
        first_sequence: sequence,
        last_sequence: sequence,
        kind: BatchKind::Plain,
    };
    NumberedBatch { producer: Some(delta), ..batch(base.0, 1, 300) }
}

/// Sends one record as a client does: loads what must be loaded, and waits. The offset where it stands, and whether it was there.
async fn send(stream: &Stream, id: i64, sequence: i32) -> Result<(Offset, bool), AppendError> {
    loop {
        let base = stream.next();
        match stream.append(from_producer(id, base, sequence)) {
            Ok(Appended::Enqueued(confirmation)) => {
                confirmation.await.unwrap();
                return Ok((base, false));
            }
            Ok(Appended::Repeat(original)) => {
                assert!(stream.until_confirmed(original.next()).await);
                return Ok((original.base, true));
            }
            Err(AppendError::ProducersAway) => stream.load_producers().await.unwrap(),
            Err(error) => return Err(error),
        }
    }
}

pub(crate) async fn send_all(stream: &Stream, id: i64, sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        assert!(!send(stream, id, sequence).await.unwrap().1, "{sequence} is new");
    }
}

/// The last five are repeats, what is before or beyond is refused, the next one is taken.
pub(crate) async fn check_memory(stream: &Stream, id: i64, next: i32) {
    let end = stream.next();
    for sequence in next - 5..next {
        assert!(send(stream, id, sequence).await.unwrap().1, "{sequence} of {next} is a repeat");
    }
    // One more may be known: what is confirmed is forgotten with the next batch.
    for wrong in [next - 7, next + 1] {
        let refused = send(stream, id, wrong).await;
        assert!(matches!(refused, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))), "{refused:?}");
    }
    assert_eq!(stream.next(), end, "nothing of that was appended");
}

fn uploaded(store: &Store, id: StreamId) -> bool {
    let image = store.ledger().image();
    image.streams.get(&id).is_some_and(|record| !record.producers.is_empty())
}

#[test]
fn repeats_are_known_after_a_crash_and_after_a_clean_stop() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let id = life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let id = create(&store, "a", 1).await[0];
            let stream = store.stream(id).unwrap();
            send_all(&stream, 7, 0..8).await;
            check_memory(&stream, 7, 8).await;
            id
        });
        // A crash: everything is in the WAL. Then another before the tail is uploaded, then one after it.
        for round in 0..3 {
            life(|world| async move {
                let store = start(&world, root, kind, options()).await;
                let stream = store.stream(id).unwrap();
                let next = 8 + 2 * round;
                check_memory(&stream, 7, next).await;
                send_all(&stream, 7, next..next + 2).await;
                if round == 1 {
                    until("the tail is uploaded", || uploaded(&store, id)).await;
                }
            });
        }
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            check_memory(&store.stream(id).unwrap(), 7, 14).await;
            append(&store.stream(id).unwrap(), 1, 300).await;
            store.drain(Duration::from_secs(10)).await;
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let stream = store.stream(id).unwrap();
            check_memory(&stream, 7, 14).await;
            send_all(&stream, 7, 14..20).await;
            check_memory(&stream, 7, 20).await;
            check_bucket(&world, root, &store).await;
        });
    }
}

/// The state is independent of the records: it stays when all of them are deleted, in whatever place they were.
#[test]
fn repeats_are_known_when_all_records_are_deleted() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let id = life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let id = create(&store, "a", 1).await[0];
            let stream = store.stream(id).unwrap();
            send_all(&stream, 7, 0..6).await;
            // While they are in the WAL only, and it is the WAL's state that must be saved.
            stream.trim(stream.confirmed()).await.unwrap();
            id
        });
        for round in 0..2 {
            life(|world| async move {
                let store = start(&world, root, kind, options()).await;
                let stream = store.stream(id).unwrap();
                until("the dead log is gone", || store.ledger().image().wals.len() == 1).await;
                assert!(uploaded(&store, id));
                let next = 6 + round;
                check_memory(&stream, 7, next).await;
                send_all(&stream, 7, next..next + 1).await;
                stream.trim(stream.confirmed()).await.unwrap();
            });
        }
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            check_memory(&store.stream(id).unwrap(), 7, 8).await;
            store.drain(Duration::from_secs(10)).await;
        });
        life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let stream = store.stream(id).unwrap();
            check_memory(&stream, 7, 8).await;
            assert_eq!(stream.start(), stream.confirmed());
            check_bucket(&world, root, &store).await;
        });
    }
}

/// Its objects go with the stream, and with newer ones that say the same.
#[test]
fn what_is_saved_again_frees_the_older_object() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let quick = Options { upload_age: Duration::from_millis(20), ..options() };
        let store = start(&world, root, BOTH[0], quick).await;
        let id = create(&store, "a", 1).await[0];
        let stream = store.stream(id).unwrap();
        for sequence in 0..30 {
            send_all(&stream, 7, sequence..sequence + 1).await;
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        let saved = || {
            let image = store.ledger().image();
            image.streams.get(&id).unwrap().producers.iter().map(|it| it.range.next).collect::<Vec<_>>()
        };
        until("all of it is saved, once", || saved() == [Offset(30)]).await;
        let fresh = bucket(&world, root).await;
        let dead = async || fsck_dead(&store, &fresh).await;
        for _ in 0..500 {
            if dead().await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("older states are still there");
    });
}

async fn fsck_dead(store: &Store, bucket: &std::sync::Arc<dyn world::ObjectStore>) -> usize {
    let report = stream::fsck_of(bucket, store.ledger()).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    report.dead.len() + report.orphans.len()
}

/// A stream with as many producers as memory is for keeps those that it has, however many strangers come, and takes these when others
/// have been silent for long.
#[test]
fn a_streams_own_strangers_do_not_drive_it_out_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let few = Options { producers_max: 10, housekeeping_period: Duration::from_hours(1), ..options() };
    let quick = Options { upload_age: Duration::from_millis(20), ..few.clone() };
    let id = life(|world| async move {
        let store = start(&world, root, BOTH[1], quick).await;
        let id = create(&store, "a", 1).await[0];
        let stream = store.stream(id).unwrap();
        for producer in 0..10 {
            send_all(&stream, producer, 0..1).await;
        }
        let saved = || store.ledger().image().streams.get(&id).unwrap().producers.iter().map(|it| it.range.next).max();
        until("all of it is saved", || saved() == Some(Offset(10))).await;
        // It has not been used for longer than a state stays in any case.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for stranger in 90..95 {
            assert!(!stream.make_room_for_producers(), "it could leave, and would be asked for at once");
            let refused = stream.append(from_producer(stranger, stream.next(), 0));
            assert_eq!(refused.unwrap_err(), AppendError::TooManyProducers, "not away");
        }
        assert!(matches!(stream.append(from_producer(4, stream.next(), 0)), Ok(Appended::Repeat(_))));
        id
    });
    let impatient = Options { producer_silence_min: Duration::ZERO, ..few };
    life(|world| async move {
        let store = start(&world, root, BOTH[1], impatient).await;
        let stream = store.stream(id).unwrap();
        send_all(&stream, 0, 1..2).await;
        assert!(stream.make_room_for_producers());
        assert!(!send(&stream, 90, 0).await.unwrap().1);
        assert!(send(&stream, 0, 0).await.unwrap().1, "who was not silent is known");
        let who_was = stream.append(from_producer(1, stream.next(), 1));
        assert_eq!(who_was.unwrap_err(), AppendError::TooManyProducers, "the longest silent one is a stranger");
    });
}

/// Who comes back finds its state without a request to the bucket, as long as there is memory for it; then the longest idle leave first.
#[test]
fn idle_states_stay_while_there_is_memory_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let roomy = Options {
        producers_idle_max: 4,
        upload_age: Duration::from_millis(20),
        housekeeping_period: Duration::from_millis(20),
        ..options()
    };
    life(|world| async move {
        let store = start(&world, root, BOTH[1], roomy).await;
        let ids = create(&store, "a", 3).await;
        let streams: Vec<_> = ids.iter().map(|id| store.stream(*id).unwrap()).collect();
        for (number, stream) in streams.iter().enumerate() {
            for producer in 0..2 {
                send_all(stream, producer, 0..1).await;
            }
            let saved = || !store.ledger().image().streams.get(&ids[number]).unwrap().producers.is_empty();
            until("it is saved", saved).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let is_away = |number: usize| {
            let repeat = streams[number].append(from_producer(0, streams[number].next(), 0));
            matches!(repeat, Err(AppendError::ProducersAway))
        };
        until("the longest idle has left", || is_away(0)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!([is_away(1), is_away(2)], [false, false], "four producers may stay");
    });
}

/// Memory for producers is bounded: strangers wait, known ones go on, and what is saved makes room.
#[test]
fn too_many_producers_wait_until_others_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let few = Options {
            producers_max: 10,
            upload_age: Duration::from_hours(1),
            housekeeping_period: Duration::from_hours(1),
            ..options()
        };
        let store = start(&world, root, BOTH[1], few).await;
        let ids = create(&store, "a", 2).await;
        let (full, other) = (store.stream(ids[0]).unwrap(), store.stream(ids[1]).unwrap());
        for id in 0..10 {
            send_all(&full, id, 0..1).await;
        }
        assert_eq!(send(&other, 99, 0).await.unwrap_err(), AppendError::TooManyProducers);
        send_all(&full, 3, 1..3).await;
        assert!(!other.make_room_for_producers(), "nothing is saved yet");
        until("saved, it may leave memory", || other.make_room_for_producers()).await;
        assert!(!send(&other, 99, 0).await.unwrap().1);
        assert!(full.load_producers().await.is_err(), "nothing else can leave for it yet");
        until("the other is saved", || other.make_room_for_producers()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _room = other.make_room_for_producers();
        full.load_producers().await.unwrap();
        assert!(send(&full, 3, 2).await.unwrap().1, "what has left memory comes back");
    });
}

#[test]
fn a_stream_that_was_moved_by_name_finds_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, BOTH[1], options()).await;
        create(&store, "a", 1).await;
        send_all(&store.stream(streams_of(&store, "a")[0]).unwrap(), 5, 0..6).await;
    });
    // Two crashes in a row before anything is uploaded: the tails of two dead logs.
    for next in [6, 7] {
        life(|world| async move {
            let slow = Options { request_timeout: Duration::from_secs(5), ..options() };
            let store = start(&world, root, BOTH[1], slow).await;
            let stream = store.stream(streams_of(&store, "a")[0]).unwrap();
            check_memory(&stream, 5, next).await;
            send_all(&stream, 5, next..next + 1).await;
        });
    }
}

#[test]
fn producers_of_deleted_topics_leave_memory() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let few = Options { producers_max: 10, ..options() };
        let store = start(&world, root, BOTH[0], few).await;
        let stream = store.stream(create(&store, "a", 1).await[0]).unwrap();
        for producer in 0..10 {
            send_all(&stream, producer, 0..1).await;
        }
        let id = store.ledger().image().topic("a").unwrap().id;
        assert_eq!(store.ledger().submit(Command::DeleteTopic { id }).await.unwrap(), Outcome::Done);
        until("it is gone", || stream.is_deleted()).await;
        let other = store.stream(create(&store, "other", 1).await[0]).unwrap();
        let mut sent = send(&other, 77, 0).await;
        // The memory is given back a moment after that.
        for _ in 0..200 {
            if sent.is_ok() {
                break;
            }
            assert_eq!(sent, Err(AppendError::TooManyProducers));
            tokio::time::sleep(Duration::from_millis(5)).await;
            sent = send(&other, 77, 0).await;
        }
        assert_eq!(sent, Ok((Offset(0), false)));
    });
}
