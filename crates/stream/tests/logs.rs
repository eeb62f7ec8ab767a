//! Several write-ahead logs of one start: streams in each, recovered each, moved between them. On a real disk. Those that fail are
//! `failed_logs.rs`'s.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::logs::*;
use crate::support::*;

use base::{Offset, WalIndex};
use control_core::{Command, Outcome};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::{AppendError, NamedWal, Options, Stream, WalTarget};
use stream_core::testing::batch;

#[test]
fn each_log_is_recovered_and_its_streams_go_on_in_the_log_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        create(&store, "hot", 2).await;
        create(&store, "cold", 2).await;
        choose(&store, "cold", Some("bulk")).await;
        moved(&store, "cold", 1).await;
        for topic in ["hot", "cold"] {
            for id in streams_of(&store, topic) {
                append(&store.stream(id).unwrap(), 40, 700).await;
            }
        }
        assert_eq!((indexes(&store, "hot"), indexes(&store, "cold")), (vec![0, 0], vec![1, 1]));
        let appended: Vec<u64> = store.gauges().wals.iter().map(|wal| wal.appended_bytes).collect();
        assert!(appended.iter().all(|bytes| *bytes > 40 * 700), "{appended:?}");
    });
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        assert_eq!((indexes(&store, "hot"), indexes(&store, "cold")), (vec![0, 0], vec![1, 1]));
        for topic in ["hot", "cold"] {
            for id in streams_of(&store, topic) {
                let stream = store.stream(id).unwrap();
                assert_eq!(stream.confirmed(), Offset(40));
                append(&stream, 10, 700).await;
                check_all(&stream, 700).await;
            }
        }
        until("the dead logs are committed", || store.gauges().recovering_wals == 0).await;
        assert_eq!(store.ledger().image().wals.len(), 2, "and forgotten");
        check_bucket(&world, root, &store).await;
        store.drain(Duration::from_secs(10)).await;
        assert!(store.ledger().image().wals.is_empty(), "a clean stop gives up both");
    });
    // A start with the second one alone, under another name: everything is written there.
    life(|world| async move {
        let store = start_logs(&world, root, vec![NamedWal::default_of(WalTarget::Storage)], options()).await;
        for topic in ["hot", "cold"] {
            assert_eq!(indexes(&store, topic), [0, 0]);
            for id in streams_of(&store, topic) {
                let stream = store.stream(id).unwrap();
                append(&stream, 1, 700).await;
                check_all(&stream, 700).await;
                assert_eq!(stream.confirmed(), Offset(51));
            }
        }
    });
    // And one with both again recovers it, and opens each where it belongs.
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        moved(&store, "cold", 1).await;
        assert_eq!(indexes(&store, "hot"), [0, 0]);
        for id in [streams_of(&store, "hot"), streams_of(&store, "cold")].concat() {
            check_all(&store.stream(id).unwrap(), 700).await;
        }
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn a_start_without_a_log_of_before_recovers_it_and_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        let wals = vec![NamedWal::default_of(ring(root, "fast")), named("bulk", ring(root, "slow"))];
        let store = start_logs(&world, root, wals, options()).await;
        let id = create(&store, "cold", 1).await[0];
        choose(&store, "cold", Some("bulk")).await;
        moved(&store, "cold", 1).await;
        append(&store.stream(id).unwrap(), 30, 900).await;
        id
    });
    life(|world| async move {
        let store = start_logs(&world, root, vec![NamedWal::default_of(ring(root, "fast"))], options()).await;
        let stream = store.stream(id).unwrap();
        assert_eq!((stream.confirmed(), indexes(&store, "cold")), (Offset(30), vec![0]));
        check_all(&stream, 900).await;
        until("the old logs are committed", || store.gauges().recovering_wals == 0).await;
        assert_eq!(store.ledger().image().wals.len(), 1);
    });
}

#[test]
fn a_topic_moves_between_logs_under_load_and_loses_and_doubles_nothing() {
    for upload_age in [Duration::from_millis(15), Duration::from_hours(1)] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let tiny = Options { upload_age, log_cache_bytes_max: 60_000, ..options() };
        let (first, again) = (tiny.clone(), tiny);
        let id = life(|world| async move {
            let store = start_logs(&world, root, both(root), first).await;
            let id = create(&store, "a", 1).await[0];
            let moves = async {
                for round in 0..6 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let to = round % 2 == 0;
                    choose(&store, "a", to.then_some("bulk")).await;
                    moved(&store, "a", u16::from(to)).await;
                }
            };
            let (slowest, ()) = tokio::join!(write(&world, &store, id, 0..600), moves);
            assert!(slowest < Duration::from_secs(1), "the slowest record took {slowest:?}");
            let stream = store.stream(id).unwrap();
            assert_eq!((stream.confirmed(), stream.epoch().0), (Offset(600), 6));
            check_all(&stream, 500).await;
            check_known(&store, id, 600).await;
            id
        });
        life(|world| async move {
            let store = start_logs(&world, root, both(root), again).await;
            assert_eq!(store.stream(id).unwrap().confirmed(), Offset(600), "{upload_age:?}");
            check_known(&store, id, 600).await;
            check_all(&store.stream(id).unwrap(), 500).await;
            until("the dead logs are committed", || store.gauges().recovering_wals == 0).await;
            assert_eq!(store.ledger().image().wals.len(), 2);
            check_all(&store.stream(id).unwrap(), 500).await;
            check_known(&store, id, 600).await;
            check_bucket(&world, root, &store).await;
        });
    }
}

#[test]
fn a_handle_of_before_the_move_ends_where_its_tenure_ends() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        let id = create(&store, "a", 1).await[0];
        let before: Stream = store.stream(id).unwrap();
        append(&before, 5, 100).await;
        let mut parked = before.watch_confirmed();
        parked.mark_unchanged();
        choose(&store, "a", Some("bulk")).await;
        moved(&store, "a", 1).await;
        assert!(parked.has_changed().unwrap(), "whoever waits looks again");
        let after = store.stream(id).unwrap();
        append(&after, 5, 100).await;
        assert!(before.is_over() && !before.is_deleted());
        assert_eq!((before.confirmed(), after.confirmed()), (Offset(5), Offset(10)));
        assert_eq!(before.append(batch(5, 1, 100)).unwrap_err(), AppendError::NotOwner);
        assert!(!before.until_confirmed(Offset(6)).await, "what another tenure has there is not what was asked for");
        assert!(!before.is_still_owned().await.unwrap());
        check_all(&after, 100).await;
    });
}

#[test]
fn a_topic_made_in_a_log_is_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start_logs(&world, root, both(root), options()).await;
        let id = base::TopicId(77);
        let command = Command::CreateTopic {
            id,
            name: "cold".to_owned(),
            partitions: vec![(store.node_epoch(), WalIndex(1))],
            replication_factor: 1,
            configs: BTreeMap::from([(CHOICE.to_owned(), "bulk".to_owned())]),
            internal: false,
        };
        assert_eq!(store.ledger().submit(command).await.unwrap(), Outcome::Done);
        let stream = store.stream(streams_of(&store, "cold")[0]).unwrap();
        append(&stream, 3, 100).await;
        assert_eq!((indexes(&store, "cold"), stream.epoch().0), (vec![1], 0));
    });
}
