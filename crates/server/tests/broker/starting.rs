//! Starts that take long.

use base::NodeEpoch;
use broker::BrokerOptions;
use control::LedgerOptions;
use server::node::{Node, NodeConfig};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::{NamedWal, Options, WalTarget};
use world::folder::FolderStore;
use world::{ClockExt, World};

async fn start(world: &World, root: &Path, wal: WalTarget) -> Node {
    let bucket = FolderStore::open(world.disk.clone(), world.clock.clone(), root.join("bucket")).await.unwrap();
    let config = NodeConfig {
        listen: "127.0.0.1:0".to_owned(),
        advertise: None,
        node_id: None,
        wals: vec![NamedWal::default_of(wal)],
        broker: BrokerOptions::default(),
        stream: Options::for_memory(64 << 20),
        watch: None,
        ledger: LedgerOptions::default(),
    };
    Node::start(world.clone(), Arc::new(bucket), config).await.unwrap()
}

/// Runs one life to its end, then drops all of it.
fn life<F: Future>(work: impl FnOnce(World) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let output = runtime.block_on(async { work(World::system()).await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    output
}

/// Both wait for a shared log whose folder is gone: neither may take the other for dead meanwhile.
#[test]
fn two_starts_that_wait_for_a_lost_log_leave_each_other_alive() {
    // Shared logs want direct I/O, which a folder in memory may lack.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = folder.path();
    let shared = WalTarget::Shared { dir: root.join("shared"), bytes: 1 << 20 };
    life(|world| async move { drop(start(&world, root, shared).await) });
    std::fs::rename(root.join("shared"), root.join("away")).unwrap();
    life(|world| async move {
        let later = async {
            world.clock.sleep(Duration::from_secs(2)).await;
            start(&world, root, WalTarget::Storage).await
        };
        let both = Box::pin(futures::future::join(start(&world, root, WalTarget::Storage), later));
        let (first, second) = world.clock.timeout(Duration::from_secs(90), both).await.expect("both start");
        let image = second.store().ledger().refresh().await.unwrap();
        let living: Vec<NodeEpoch> = image.living().map(|(epoch, _)| epoch).collect();
        assert_eq!(living, [first.store().node_epoch(), second.store().node_epoch()]);
    });
}
