//! What only rings in shared files do; what every kind does is in `conformance`.

use super::fakes::{FakeDisk, world};
use super::*;
use std::path::Path;
use world::{Disk, OpenMode};

const DIR: &str = "/mnt/wal";

fn registered(ring: &RingFile, epoch: u64) -> Image {
    let mut image = Image { cluster_id: CLUSTER, next_node_epoch: NodeEpoch(epoch + 1), ..Image::default() };
    image.wals.insert(wal_id(epoch), Arc::new(WalRecord { url: ring.url(), ..record(ring.id(), WalPosition(0)) }));
    image
}

async fn file_bytes(disk: &Arc<FakeDisk>, ring: &RingFile) -> u64 {
    disk.open(ring.path(), OpenMode::default()).await.unwrap().size().await.unwrap()
}

#[tokio::test]
async fn every_start_has_a_ring_of_its_own_and_the_ledgers_url_leads_to_it() {
    let disk = FakeDisk::new();
    let world = world(1, &disk);
    let first = RingFile::create_shared(&world, Path::new(DIR), 1 << 20).await.unwrap();
    let second = RingFile::create_shared(&world, Path::new(DIR), 1 << 20).await.unwrap();
    assert_ne!(first.path(), second.path());
    let path = shared_path(&second.url()).unwrap();
    assert_eq!(RingFile::open_dead(&world, &patient(&world), &path, second.id()).await.unwrap().id(), second.id());
    assert!(
        RingFile::open_dead(&world, &patient(&world), &path, first.id()).await.is_err(),
        "another ring than was asked for"
    );
    for other in ["file:///mnt/wal/ring", "s3://bucket/x?shared", "block:///dev/sdb"] {
        assert_eq!(shared_path(other), None);
    }
}

#[tokio::test]
async fn a_write_that_lands_after_the_fence_is_not_acknowledged_and_a_later_recovery_finds_the_sealed_end() {
    let disk = FakeDisk::new();
    let world = world(2, &disk);
    let ring = RingFile::create_shared(&world, Path::new(DIR), 1 << 20).await.unwrap();
    let image = registered(&ring, 1);
    let mut wal = Wal::Ring(ring.begin(&image, wal_id(1), &WalOptions::default()).await.unwrap());
    let mut random = Seed::new(2);
    let (_, group) = wal.place(&entries(&mut random, 2, 100)).unwrap();
    wal.write(group).await.unwrap();
    // Issued before the fence, and still on its way when the recoverer reads.
    let (_, group) = wal.place(&entries(&mut random, 2, 100)).unwrap();
    let mut late = wal.write(group);
    assert!(futures::poll!(&mut late).is_pending());
    let recover = async || {
        let ring = RingFile::open_dead(&world, &patient(&world), ring.path(), ring.id()).await.unwrap();
        ring.fence(NodeEpoch(9)).await.unwrap();
        ring.recover(wal_id(1), WalPosition(0)).await.unwrap()
    };
    let sealed = recover().await;
    assert_eq!(sealed.groups.len(), 1);
    assert!(matches!(late.await, Err(WalError::Fenced(_))));
    // It is there now, beyond the end that the ledger holds.
    let again = recover().await;
    assert_eq!((again.groups.len(), &again.groups[0]), (2, &sealed.groups[0]));
    assert!(again.groups[1].position >= sealed.end);
}

#[tokio::test]
async fn a_ring_whose_start_never_registered_gives_its_space_back_and_stays_fenced() {
    let disk = FakeDisk::new();
    let fake = world(3, &disk);
    let begun = RingFile::create_shared(&fake, Path::new(DIR), 1 << 20).await.unwrap();
    let image = registered(&begun, 1);
    drop(begun.begin(&image, wal_id(1), &WalOptions::default()).await.unwrap());
    let starting = RingFile::create_shared(&fake, Path::new(DIR), 1 << 20).await.unwrap();
    sweep_unbegun(&fake, Path::new(DIR), &Image { cluster_id: CLUSTER, ..Image::default() }).await;
    for ring in [&begun, &starting] {
        assert_eq!(file_bytes(&disk, ring).await, 12_288 + (1 << 20), "begun, or locked");
        ring.check_not_fenced().await.unwrap();
    }
    let (path, id) = (starting.path().to_owned(), starting.id());
    drop(starting);
    for _ in 0..2 {
        sweep_unbegun(&fake, Path::new(DIR), &image).await;
        let left = RingFile::open_dead(&fake, &patient(&fake), &path, id).await.unwrap();
        assert_eq!(file_bytes(&disk, &left).await, 12_288 + RING_BYTES_MIN);
        // Should it have registered after all, it learns that it may not begin, and who recovers it finds nothing.
        let late = registered(&left, 2);
        let refused = left.begin(&late, wal_id(2), &WalOptions::default()).await.err().unwrap();
        assert!(refused.0.contains("was fenced"), "{refused}");
        assert!(left.recover(wal_id(2), WalPosition(0)).await.unwrap().groups.is_empty());
    }
}

#[tokio::test]
async fn a_damaged_control_block_ends_the_log_and_opens_nothing() {
    let disk = FakeDisk::new();
    let fake = world(4, &disk);
    let ring = RingFile::create_shared(&fake, Path::new(DIR), 1 << 20).await.unwrap();
    let image = registered(&ring, 1);
    let mut wal = Wal::Ring(ring.begin(&image, wal_id(1), &WalOptions::default()).await.unwrap());
    disk.damage(ring.path(), 8192 + 20, &[0xff]);
    let (_, group) = wal.place(&entries(&mut Seed::new(4), 2, 100)).unwrap();
    assert!(matches!(wal.write(group).await, Err(WalError::Failed(reason)) if reason.contains("control block")));
}
