//! What can't be timed from outside: a log that fails in the midst of a move to it.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use super::*;
use crate::store::{NamedWal, StartRequest, WalTarget};
use base::{TopicId, WalIndex};
use control::LedgerOptions;
use std::path::Path;
use world::World;
use world::folder::FolderStore;

async fn start_two_logs(root: &Path) -> Arc<Shared> {
    let world = World::system();
    let bucket = FolderStore::open(world.disk.clone(), world.clock.clone(), root.join("bucket")).await.unwrap();
    let fast = NamedWal {
        name: "fast".to_owned(),
        target: WalTarget::File { dir: root.join("fast"), bytes: 16 << 20 },
        pace: None,
    };
    let request = StartRequest {
        node_id: None,
        advertised: "a:1".to_owned(),
        wals: vec![NamedWal::default_of(WalTarget::Storage), fast],
        choice: |_, _| None,
        answers: Arc::new(|_| Box::pin(async { false })),
        watch: None,
        registered: Arc::default(),
        options: crate::Options::for_memory(64 << 20),
        ledger_options: LedgerOptions::default(),
    };
    crate::start::start(&world, Arc::new(bucket), request).await.unwrap()
}

async fn create(shared: &Shared) -> StreamId {
    let create = Command::CreateTopic {
        id: TopicId(7),
        name: "a".to_owned(),
        partitions: vec![(shared.node_epoch, WalIndex(0))],
        replication_factor: 1,
        configs: BTreeMap::new(),
        internal: false,
    };
    shared.ledger.submit(create).await.unwrap();
    shared.ledger.image().topic("a").unwrap().partitions[0]
}

#[test]
fn a_stream_does_not_arrive_in_a_log_that_has_failed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let shared = start_two_logs(folder.path()).await;
        let id = create(&shared).await;
        let over = shared.open_stream(id).unwrap();
        over.is_moving.store(true, Ordering::Release);
        let streams = vec![(id, over.epoch, over.confirmed())];
        let command = Command::MoveStreams { node_epoch: shared.node_epoch, to: WalIndex(1), streams };
        assert_eq!(shared.ledger.submit(command).await.unwrap(), Outcome::Done);
        // The ledger has decided the move, and before it is done here the other log fails.
        leave_failed(&shared, &shared.logs[1].clone(), "the device is gone".to_owned()).await;
        assert!(go_on(&shared, &over));
        let image = shared.ledger.image();
        let owner = image.streams[&id].owner().unwrap();
        let held = shared.open_stream(id).unwrap();
        assert_eq!((held.epoch, held.log.id), (owner.stream_epoch, owner.wal), "else every append waits for ever");
        assert_eq!(held.log.id, shared.logs[0].id);
    });
}
