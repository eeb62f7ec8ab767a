//! What logs add to a restore without any ledger: batches that no object has, wherever they lie among those that objects have, and what
//! is acknowledged, or cut short, while it goes on.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::layer::{Layer, Over};
use crate::support::*;

use async_trait::async_trait;
use base::{Offset, StreamId};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use stream::wal::rings_at;
use stream::{
    Appended, BatchKind, NumberedBatch, Options, ProducerDelta, RestorePlan, RestoreRequest, Store, Stream,
    plan_restore,
};
use stream_core::testing::batch;
use world::{ObjectStore, PutOutcome, StoreError, World};

fn uploading() -> Options {
    eager(NEVER)
}

async fn plan(world: &World, root: &Path, request: &RestoreRequest) -> RestorePlan {
    plan_restore(world, &bucket(world, root).await, request).await.unwrap()
}

async fn committed(store: &Store, id: StreamId, offset: u64) {
    until("all is committed", || store.ledger().image().streams[&id].committed() == Offset(offset)).await;
}

/// The n-th put of a data object never answers (or fails).
struct Picky {
    inner: Arc<dyn ObjectStore>,
    at: usize,
    fails: bool,
    begun: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}
impl Picky {
    fn new(inner: Arc<dyn ObjectStore>, at: usize, fails: bool) -> Over<Picky> {
        Over(Picky { inner, at, fails, begun: Arc::default(), done: Arc::default() })
    }
}
#[async_trait]
impl Layer for Picky {
    fn bucket(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        if key.starts_with("data/") {
            let n = self.begun.fetch_add(1, Ordering::SeqCst);
            if n == self.at {
                if self.fails {
                    return Err(StoreError::Trouble("cut off".to_owned()));
                }
                return std::future::pending().await;
            }
            let out = self.inner.put_if_absent(key, parts).await;
            self.done.fetch_add(1, Ordering::SeqCst);
            return out;
        }
        self.inner.put_if_absent(key, parts).await
    }
}

/// Two blocks are put at a time, and the first of them never gets there. The log has both.
fn the_first_of_two_blocks_is_only_in_the_log(before: u64, kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        let first = usize::from(before > 0);
        let picky = Picky::new(bucket(&world, root).await, first, false);
        let (begun, done) = (picky.begun.clone(), picky.done.clone());
        let store = start_on(&world, Arc::new(picky), root, kind, uploading()).await;
        let id = create(&store, "t", 1).await[0];
        let stream = store.stream(id).unwrap();
        if before > 0 {
            append(&stream, before, 700).await;
            committed(&store, id, before).await;
        }
        append(&stream, 10, 700).await;
        until("the put that hangs", || begun.load(Ordering::SeqCst) == first + 1).await;
        append(&stream, 10, 700).await;
        until("the put behind it", || done.load(Ordering::SeqCst) == first + 1).await;
        id
    });
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let mut request = RestoreRequest::default();
        if kind == Kind::Ring {
            request.rings = rings_at(world.disk.as_ref(), &root.join("wal")).await.unwrap();
        }
        let plan = plan(&world, root, &request).await;
        let told = &plan.streams[&id];
        assert_eq!((told.start, told.end, told.records), (Offset(0), Offset(before + 20), before + 20), "{kind:?}");
        plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
    });
    life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "b:9092", false, options()).await;
        let stream = store.stream(id).unwrap();
        assert_eq!((stream.start(), stream.confirmed()), (Offset(0), Offset(before + 20)), "{kind:?}");
        check_all(&stream, 700).await;
        append(&stream, 2, 700).await;
        check_bucket(&world, root, &store).await;
    });
}

#[test]
fn a_hole_between_objects_is_filled_from_the_log() {
    the_first_of_two_blocks_is_only_in_the_log(10, Kind::Ring);
    the_first_of_two_blocks_is_only_in_the_log(10, Kind::Objects);
}

#[test]
fn what_lies_before_the_first_object_is_filled_from_the_log() {
    the_first_of_two_blocks_is_only_in_the_log(0, Kind::Ring);
    the_first_of_two_blocks_is_only_in_the_log(0, Kind::Objects);
}

#[test]
fn a_damaged_group_costs_no_more_than_itself() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = create(&store, "t", 1).await[0];
        let stream = store.stream(id).unwrap();
        for _ in 0..20 {
            append(&stream, 1, 700).await;
        }
        id
    });
    let wal = root.join("bucket/wal/00000000000000000001/0");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&wal).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort();
    let damaged = &names[names.len() - 4];
    let mut bytes = std::fs::read(damaged).unwrap();
    let last = bytes.len() - 300;
    bytes[last] ^= 1;
    std::fs::write(damaged, bytes).unwrap();
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert_eq!((plan.tail_records, plan.streams[&id].start), (19, Offset(0)));
        assert_eq!(plan.streams[&id].missing.len(), 1);
    });
}

#[test]
fn what_is_acknowledged_between_the_plan_and_the_fence_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = create(&store, "t", 1).await[0];
        let stream = store.stream(id).unwrap();
        append(&stream, 5, 700).await;
        std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
        let old = plan(&world, root, &RestoreRequest::default()).await;
        append(&stream, 5, 700).await;
        let refused = old.execute(&world, &bucket(&world, root).await, None).await.unwrap_err().to_string();
        assert!(refused.contains("has changed since it was looked into"), "{refused}");
        let again = plan(&world, root, &RestoreRequest::default()).await;
        let image = again.execute(&world, &bucket(&world, root).await, None).await.unwrap();
        assert_eq!(image.streams[&id].committed(), Offset(10));
    });
}

fn idempotent(base: Offset, sequence: i32) -> NumberedBatch {
    let delta = ProducerDelta {
        producer_id: 77,
        producer_epoch: 0,
        first_sequence: sequence,
        last_sequence: sequence,
        kind: BatchKind::Plain,
    };
    NumberedBatch { producer: Some(delta), ..batch(base.0, 1, 300) }
}
async fn send(stream: &Stream, sequence: i32) -> bool {
    loop {
        match stream.append(idempotent(stream.next(), sequence)) {
            Ok(Appended::Enqueued(c)) => {
                c.await.unwrap();
                return false;
            }
            Ok(Appended::Repeat(_)) => return true,
            Err(stream::AppendError::ProducersAway) => stream.load_producers().await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_restore_that_is_cut_short_and_done_again_still_knows_the_producers() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = create(&store, "t", 1).await[0];
        let stream = store.stream(id).unwrap();
        for sequence in 0..8 {
            assert!(!send(&stream, sequence).await);
        }
        id
    });
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let picky: Arc<dyn ObjectStore> = Arc::new(Picky::new(bucket(&world, root).await, 1, true));
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert!(plan.execute(&world, &picky, None).await.is_err());
    });
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        plan.execute(&world, &bucket(&world, root).await, None).await.unwrap();
    });
    life(|world| async move {
        let store = start_at(&world, bucket(&world, root).await, "b:9092", false, options()).await;
        let stream = store.stream(id).unwrap();
        assert_eq!(stream.confirmed(), Offset(8));
        assert!(send(&stream, 7).await, "the last batch sent again is a repeat");
    });
}

/// State of producers is in the bucket, and the records that it rests on never got there.
#[test]
fn offsets_that_saved_state_speaks_for_are_not_given_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let id = life(|world| async move {
        // The state's put comes first, the records' hangs.
        let picky = Picky::new(bucket(&world, root).await, 2 + 1, false);
        let (begun, done) = (picky.begun.clone(), picky.done.clone());
        let store = start_on(&world, Arc::new(picky), root, Kind::Ring, uploading()).await;
        let id = create(&store, "t", 1).await[0];
        let stream = store.stream(id).unwrap();
        send(&stream, 0).await;
        committed(&store, id, 1).await;
        for sequence in 1..9 {
            send(&stream, sequence).await;
        }
        until("the put that hangs", || begun.load(Ordering::SeqCst) >= 4).await;
        until("the state's put", || done.load(Ordering::SeqCst) >= 3).await;
        id
    });
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    life(|world| async move {
        let plan = plan(&world, root, &RestoreRequest::default()).await;
        assert!(plan.streams[&id].end > Offset(1), "the bucket says that more was confirmed");
    });
}

#[test]
fn a_copy_that_was_cut_short_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    life(|world| async move {
        let store = start(&world, root, Kind::Objects, options()).await;
        let id = create(&store, "t", 1).await[0];
        append(&store.stream(id).unwrap(), 5, 700).await;
    });
    std::fs::remove_dir_all(root.join("bucket/ledger")).unwrap();
    let to = root.join("other");
    std::fs::create_dir_all(&to).unwrap();
    let to = &to;
    life(|world| async move {
        let source = bucket(&world, root).await;
        let target = bucket(&world, to).await;
        let first = plan(&world, root, &RestoreRequest::default()).await.execute(&world, &source, Some(&target)).await;
        first.unwrap();
    });
    std::fs::remove_dir_all(to.join("bucket/ledger")).unwrap();
    std::fs::remove_file(to.join("bucket/format")).unwrap();
    life(|world| async move {
        let source = bucket(&world, root).await;
        let target = bucket(&world, to).await;
        let again = plan(&world, root, &RestoreRequest::default()).await.execute(&world, &source, Some(&target)).await;
        again.unwrap();
    });
}
