//! A cluster's image from its bucket: whole, with its newest snapshot damaged, with entries missing, and without any ledger.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::*;

use base::{Offset, OffsetRange, StreamId};
use control::LedgerOptions;
use control_core::Image;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stream::wal::rings_at;
use stream::{LedgerLoss, Options, RestorePlan, RestoreRequest, Store, Verdict, WalTarget, plan_restore};
use world::{ObjectStore, World};

/// Uploads at once; nothing is merged.
fn uploading() -> Options {
    eager(NEVER)
}

async fn plan(world: &World, root: &Path, request: &RestoreRequest) -> RestorePlan {
    plan_restore(world, &bucket(world, root).await, request).await.unwrap()
}

async fn committed(store: &Store, id: StreamId, offset: u64) {
    until("all is committed", || store.ledger().image().streams[&id].committed() == Offset(offset)).await;
}

/// Topic `t` with 2 partitions: 40 batches of 700 bytes, 9 of 300; a third one, `u`, without any. Stopped as it should be.
fn stopped(root: &Path) -> Vec<StreamId> {
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, uploading()).await;
        let mut ids = create(&store, "t", 2).await;
        for round in 1..=4 {
            append(&store.stream(ids[0]).unwrap(), 10, 700).await;
            committed(&store, ids[0], round * 10).await;
        }
        append(&store.stream(ids[1]).unwrap(), 9, 300).await;
        ids.extend(create(&store, "uu", 1).await);
        store.drain(std::time::Duration::from_secs(5)).await;
        ids
    })
}

fn ledger_files(root: &Path, what: &str) -> Vec<PathBuf> {
    let folder = root.join("bucket/ledger").join(what);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).map_or_else(|_| Vec::new(), |all| all.map(|it| it.unwrap().path()).collect());
    files.sort();
    files
}

fn image_of(root: &Path) -> Image {
    life(|world| async move { control::read_all(bucket(&world, root).await.as_ref()).await.unwrap().image })
}

/// What a broker serves that starts on the bucket. `ids`: the streams of 40 and of 9 batches.
fn serves(root: &Path, ids: &[StreamId]) {
    life(|world| async move {
        let bucket: Arc<dyn ObjectStore> = bucket(&world, root).await;
        let store = start_at(&world, bucket, "b:9092", false, options()).await;
        for (id, count, len) in [(ids[0], 40, 700), (ids[1], 9, 300)] {
            let stream = store.stream(id).unwrap();
            assert_eq!((stream.start(), stream.confirmed()), (Offset(0), Offset(count)), "{id}");
            check_all(&stream, len).await;
            append(&stream, 2, len).await;
            check_all(&stream, len).await;
        }
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn a_whole_ledger_gives_the_live_image_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    stopped(root);
    let live = &image_of(root);
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert_eq!((plan.verdict, &plan.image), (Verdict::Whole, live));
        assert!(plan.streams.is_empty() && plan.unreadable.is_empty() && plan.unreferenced == 0);

        // Asked of the objects alone, it comes to the same streams.
        let request = RestoreRequest { ask_objects: true, ..RestoreRequest::default() };
        let asked = plan_restore(&world, &bucket(&world, root).await, &request).await.unwrap();
        assert_eq!((asked.verdict, asked.loss), (Verdict::Rebuilt, LedgerLoss::Nothing));
        assert_eq!(asked.topics_anew, Vec::<String>::new());
        assert_eq!(control_core::check(&asked.image), Vec::<String>::new());
        assert_eq!((&asked.image.topics, &asked.image.objects), (&live.topics, &live.objects));
        for (id, stream) in &live.streams {
            let rebuilt = &asked.image.streams[id];
            assert_eq!((rebuilt.start, rebuilt.committed()), (stream.start, stream.committed()));
            assert_eq!(
                (&rebuilt.references, &rebuilt.epochs, rebuilt.live_bytes),
                (&stream.references, &stream.epochs, stream.live_bytes)
            );
            assert!(rebuilt.epoch > stream.epoch && asked.streams[id].missing.is_empty());
        }
    });
}

#[test]
fn a_damaged_snapshot_costs_nothing_where_an_older_one_and_the_entries_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = &stopped(root)[..];
    let live = &image_of(root);
    let newest = root.join(format!("bucket/ledger/snapshot/{:020}", live.seq.0));
    std::fs::create_dir_all(newest.parent().unwrap()).unwrap();
    std::fs::write(&newest, "MsLs, but nothing that anybody wrote").unwrap();
    life(|world| async move {
        let refused = control::Ledger::open(&world, bucket(&world, root).await, LedgerOptions::default()).await;
        assert!(refused.err().unwrap().to_string().contains("damaged"), "brokers can't read it");
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert_eq!(plan.verdict, Verdict::Folds);
        let expected = Image { seq: live.seq.next(), ..live.clone() };
        assert_eq!(plan.image, expected, "the same under a number that is free");
        let written = plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
        assert_eq!(written, expected);
    });
    assert!(std::fs::read(&newest).unwrap().starts_with(b"MsLs, but"), "nothing is overwritten");
    serves(root, ids);
}

#[test]
fn no_new_cluster_is_made_where_only_the_ledger_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    stopped(root);
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let bucket: Arc<dyn ObjectStore> = bucket(&world, root).await;
        let starting =
            Starting { wal: WalTarget::Storage, advertised: "b:9092", others_live: false, options: options() };
        let refused = starting.try_start(&world, bucket).await;
        let why = refused.err().expect("its objects would have the names of those that are there").to_string();
        assert!(why.contains("millstream restore"), "{why}");
    });
    assert!(ledger_files(root, "entry").is_empty(), "nothing was written");
}

#[test]
fn entries_that_are_missing_in_the_middle_are_made_up_for_by_objects() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = &stopped(root)[..];
    let live = &image_of(root);
    let entries = ledger_files(root, "entry");
    assert!(entries.len() > 8 && ledger_files(root, "snapshot").is_empty());
    // Both topics' names are in entries: `t` before the gap, `uu` beyond.
    std::fs::remove_file(&entries[4]).unwrap();
    std::fs::write(&entries[5], "rubbish").unwrap();
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert_eq!((plan.verdict, plan.survey.image.seq.0), (Verdict::Rebuilt, 4));
        assert_eq!(plan.survey.gaps(), [(base::LedgerSeq(5), base::LedgerSeq(6))]);
        assert!(plan.survey.beyond.len() == entries.len() - 6 && plan.newer_than_ledger == 0);
        // The broker's log was given up, but this ledger does not know that.
        assert_eq!(plan.logs_missing.len(), 1);
        assert_eq!(plan.streams[&ids[0]].topic, "t");
        assert!(plan.streams.values().all(|stream| stream.missing.is_empty() && stream.named_by_ledger));
        let written = plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
        assert!(written.seq > live.seq && written.next_node_epoch > live.next_node_epoch);
        assert!(written.next_producer_id >= live.next_producer_id && written.topic("uu").is_none());
        assert_eq!(written.streams[&ids[0]].committed(), Offset(40));
    });
    serves(root, ids);
}

#[test]
fn without_any_ledger_the_records_are_read_again_under_other_names_or_their_own() {
    for named in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let ids = &stopped(root)[..];
        let live = &image_of(root);
        std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
        if named {
            std::fs::remove_file(root.join("bucket/format")).unwrap();
        }
        let given = ids;
        life(|world| async move {
            let mut request = RestoreRequest::default();
            if named {
                request.topics = BTreeMap::from([("orders".to_owned(), (given.to_vec(), false))]);
            }
            let plan = plan(&world, root, &request).await;
            assert_eq!((plan.verdict, plan.survey.highest().0), (Verdict::Rebuilt, 0));
            let written = plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
            if named {
                assert_eq!(written.topic("orders").unwrap().partitions, given.to_vec(), "the empty one too");
                assert_ne!(written.cluster_id, 0);
            } else {
                assert_eq!(written.topic(&format!("recovered-stream-{}", given[1])).unwrap().partitions, [given[1]]);
                assert!(!written.streams.contains_key(&given[2]), "nothing speaks of the empty one");
                assert_eq!(written.cluster_id, live.cluster_id, "the format object says it");
            }
            assert!(written.next_stream_id > given[1] && written.next_node_epoch >= live.next_node_epoch);
            assert!(written.next_producer_id > live.next_producer_id);
            // Numbers that somebody may have seen are not given out again; and retention takes nothing until it is told how much.
            assert!(written.next_stream_id.0 > live.next_stream_id.0 + 1000 && written.seq.0 > live.seq.0 + 1000);
            assert!(written.next_node_epoch.0 > live.next_node_epoch.0 + 1000);
            let settings = &written.topics.values().next().unwrap().configs;
            assert_eq!(settings.get("retention.ms").map(String::as_str), Some("-1"));
            assert_eq!(settings.get("retention.bytes").map(String::as_str), Some("-1"));
        });
        serves(root, ids);
    }
}

#[test]
fn tails_that_only_logs_hold_are_put_into_objects() {
    for kind in [Kind::Objects, Kind::Ring] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let ids = life(|world| async move {
            let store = start(&world, root, kind, uploading()).await;
            let ids = create(&store, "t", 2).await;
            append(&store.stream(ids[0]).unwrap(), 25, 700).await;
            committed(&store, ids[0], 25).await;
            ids
        });
        // The second start never uploads, and is killed.
        let late = life(|world| async move {
            let store = start(&world, root, kind, options()).await;
            let ids = streams_of(&store, "t");
            append(&store.stream(ids[0]).unwrap(), 15, 700).await;
            append(&store.stream(ids[1]).unwrap(), 9, 300).await;
            ids
        });
        assert_eq!(ids, late);
        std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
        life(|world| async move {
            let mut request = RestoreRequest::default();
            if kind == Kind::Ring {
                let without = plan(&world, root, &request).await;
                assert_eq!((without.tail_records, without.streams.len()), (0, 1), "a ring is not looked for");
                request.rings = rings_at(world.disk.as_ref(), &root.join("wal")).await.unwrap();
            }
            let plan = plan(&world, root, &request).await;
            assert_eq!(plan.tail_records, 24, "{kind:?}");
            let told = &plan.streams[&ids[0]];
            assert_eq!((told.start, told.end, told.records), (Offset(0), Offset(40), 40), "{kind:?}");
            let written = plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
            assert!(written.wals.is_empty());
        });
        serves(root, &late);
    }
}

#[test]
fn what_is_in_no_object_is_told_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = &stopped(root)[..];
    let live = &image_of(root);
    let lost = live.streams[&ids[0]].references.values().nth(1).copied().unwrap();
    std::fs::remove_file(root.join("bucket").join(stream::data_key(lost.object))).unwrap();
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert_eq!(plan.streams[&ids[0]].missing, [lost.range]);
        assert_eq!(plan.streams[&ids[0]].end, Offset(40));
        plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
    });
    life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "b:9092", false, options()).await;
        let stream = store.stream(ids[0]).unwrap();
        let read = stream.read(lost.range.base, 100).await.unwrap();
        assert!(read.next > lost.range.next, "a reader goes on behind what is gone: {}", read.next);
        append(&stream, 2, 700).await;
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn a_copy_elsewhere_leaves_the_original_as_it_is() {
    for damaged in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (root, copy) = (folder.path().join("a"), folder.path().join("b"));
        let ids = &stopped(&root)[..];
        if damaged {
            std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
        }
        let before = names(&root.join("bucket"));
        let (from, to) = (root.clone(), copy.clone());
        life(|world| async move {
            let target: Arc<dyn ObjectStore> = bucket(&world, &to).await;
            let source: Arc<dyn ObjectStore> = bucket(&world, &from).await;
            let written =
                plan(&world, &from, &RestoreRequest::default()).await.execute(&world, &source, Some(&target)).await;
            assert!(written.unwrap().living().next().is_none());
            let again =
                plan(&world, &from, &RestoreRequest::default()).await.execute(&world, &source, Some(&target)).await;
            assert!(again.unwrap_err().to_string().contains("holds a cluster already"));
        });
        assert_eq!(names(&root.join("bucket")), before, "damaged: {damaged}");
        serves(&copy, ids);
    }
}

/// All files but those by which a folder's writers keep apart.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with(".tmp") {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn starts_that_the_ledger_does_not_know_betray_that_its_end_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ids = &stopped(root)[..];
    let known = ledger_files(root, "entry").len();
    life(|world| async move {
        let store = start(&world, root, Kind::Ring, uploading()).await;
        append(&store.stream(streams_of(&store, "t")[0]).unwrap(), 5, 700).await;
        committed(&store, ids[0], 45).await;
        store.drain(std::time::Duration::from_secs(5)).await;
    });
    for entry in &ledger_files(root, "entry")[known..] {
        std::fs::remove_file(entry).unwrap();
    }
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert!(plan.verdict == Verdict::Rebuilt && plan.newer_than_ledger > 0);
        let all = OffsetRange::new(Offset(0), Offset(45));
        assert_eq!(OffsetRange::new(plan.streams[&ids[0]].start, plan.streams[&ids[0]].end), all);
    });
}

#[test]
fn a_copy_without_an_object_that_is_needed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (root, copy) = (folder.path().join("a"), folder.path().join("b"));
    let ids = stopped(&root);
    let lost = image_of(&root).streams[&ids[0]].references.values().next().unwrap().object;
    std::fs::remove_file(root.join("bucket").join(stream::data_key(lost))).unwrap();
    life(|world| async move {
        let (target, source) = (bucket(&world, &copy).await, bucket(&world, &root).await);
        let plan = plan(&world, &root, &RestoreRequest::default()).await;
        assert_eq!((plan.verdict, plan.lost.as_slice()), (Verdict::Whole, [lost].as_slice()));
        let refused = plan.execute(&world, &source, Some(&target)).await.unwrap_err().to_string();
        assert!(refused.contains("is referred to and not in the bucket"), "{refused}");
    });
}
