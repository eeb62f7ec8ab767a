//! What only object WALs do; what every kind does is in `conformance`.

use super::fakes::{FakeDisk, FakeStore, world};
use super::*;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::{GetRange, ObjectStore, World};

fn setting(seed: u64) -> (World, Arc<FakeStore>, Arc<dyn ObjectStore>) {
    let store = FakeStore::new(seed);
    (world(seed, &FakeDisk::new()), store.clone(), store)
}

fn begin(world: &World, store: &Arc<dyn ObjectStore>) -> Wal {
    begin_with(world, store, PaceLimits::default())
}

fn begin_with(world: &World, store: &Arc<dyn ObjectStore>, object_pace: PaceLimits) -> Wal {
    let options = WalOptions { object_pace, ..WalOptions::default() };
    Wal::Object(ObjectWal::begin(world, store.clone(), wal_id(1), &options))
}

/// Whatever is not answered at once is sent a second time.
fn hasty() -> PaceLimits {
    PaceLimits { puts_per_second: 1_000_000, copy_samples_min: Some(1), calm: Duration::ZERO, ..PaceLimits::default() }
}

async fn write_groups(wal: &mut Wal, random: &mut Seed, count: usize) -> Vec<Known> {
    let mut known = Vec::new();
    for _ in 0..count {
        let entries = entries(random, 4, 300);
        let (placed, group) = wal.place(&entries).unwrap();
        wal.write(group).await.unwrap();
        known.push(Known::new(placed, &entries));
    }
    known
}

#[tokio::test]
async fn trimmed_objects_are_deleted_and_only_those() {
    let (world, fake, store) = setting(3);
    let mut wal = begin(&world, &store);
    let mut random = Seed::new(3);
    let known = write_groups(&mut wal, &mut random, 10).await;
    let mut image = Image::default();
    image.wals.insert(wal_id(1), Arc::new(record(0, WalPosition(0))));
    let used = wal.used_bytes();
    wal.trim(wal.floor_in(&image));
    assert_eq!((wal.used_bytes(), fake.keys().len()), (used, 10));
    change(&mut image, wal_id(1), |record| record.trim = known[6].placed.end);
    fake.trouble_per_mille.store(300, Ordering::Relaxed);
    wal.trim(wal.floor_in(&image));
    while fake.keys().len() > 3 {
        tokio::task::yield_now().await;
    }
    assert!(wal.used_bytes() < used);
    assert!(fake.keys()[0].ends_with("/00000000000000000007"), "{:?}", fake.keys());
    fake.trouble_per_mille.store(0, Ordering::Relaxed);
    let gone = wal.reader().read(known[0].placed.spans[0]).await;
    assert!(matches!(gone, Err(WalReadError::Gone(_))), "{gone:?}");
    assert_eq!(wal.reader().read(known[7].placed.spans[0]).await.unwrap()[..], known[7].contents[0][..]);
}

#[tokio::test]
async fn a_dead_wal_is_deleted_but_for_its_fences() {
    let (world, fake, store) = setting(5);
    let mut wal = begin(&world, &store);
    let mut random = Seed::new(5);
    write_groups(&mut wal, &mut random, 5).await;
    recover_objects(&world, &store, wal_id(1), WalPosition(0)).await.unwrap();
    // A late copy of a put, above the fence, and another start's object.
    fake.replace("wal/00000000000000000001/0/00000000000000000009", b"late");
    fake.replace("wal/00000000000000000011/0/00000000000000000000", b"other");
    delete_dead_objects(&store, wal_id(1)).await.unwrap();
    let left = ["wal/00000000000000000001/0/00000000000000000005", "wal/00000000000000000011/0/00000000000000000000"];
    assert_eq!(fake.keys(), left);
    // A recoverer that was slow finds nothing where it begins, and whoever deletes meets its fence.
    recover_objects(&world, &store, wal_id(1), WalPosition(0)).await.unwrap();
    delete_dead_objects(&store, wal_id(1)).await.unwrap();
    assert_eq!(fake.keys()[0], "wal/00000000000000000001/0/00000000000000000000");
    assert_eq!(fake.keys()[1..], left);
}

#[tokio::test]
async fn damage_is_told_and_not_cut_off() {
    let (world, fake, store) = setting(6);
    let mut wal = begin(&world, &store);
    write_groups(&mut wal, &mut Seed::new(6), 5).await;
    let key = fake.keys()[2].clone();
    let (bytes, _) = store.get(&key, GetRange::All).await.unwrap();
    let mut bytes = bytes.to_vec();
    bytes[100] ^= 1;
    fake.replace(&key, &bytes);
    let damaged = recover_objects(&world, &store, wal_id(1), WalPosition(0)).await.unwrap_err();
    assert!(matches!(damaged, RecoverError::Damaged { position: WalPosition(at), .. } if at == 2 << 32), "{damaged}");
    let described = inspect_object_wal(&store, wal_id(1)).await.unwrap();
    assert_eq!(
        described.iter().map(|(number, it)| (*number, it.is_ok())).collect::<Vec<_>>(),
        [(0, true), (1, true), (2, false), (3, true), (4, true)]
    );
}

#[tokio::test]
async fn a_log_that_lost_an_object_does_not_end_there() {
    for lost in [0, 2] {
        let (world, fake, store) = setting(7);
        let mut wal = begin(&world, &store);
        write_groups(&mut wal, &mut Seed::new(7), 5).await;
        let keys = fake.keys();
        store.delete(&keys[lost..=lost]).await.unwrap();
        let from = WalPosition(0);
        let damaged = recover_objects(&world, &store, wal_id(1), from).await.unwrap_err();
        let at_hole = |position: WalPosition| position.0 == (lost as u64) << 32;
        assert!(matches!(damaged, RecoverError::Damaged { position, .. } if at_hole(position)), "{damaged}");
        assert_eq!(fake.keys().len(), 4, "there is no fence, and nothing more is gone");
    }
    // The last one: no group says that it had been durable. A writer that goes on never says so of what it was not told.
    let (world, fake, store) = setting(8);
    let mut wal = begin(&world, &store);
    write_groups(&mut wal, &mut Seed::new(8), 5).await;
    store.delete(&fake.keys()[4..]).await.unwrap();
    let walked = recover_objects(&world, &store, wal_id(1), WalPosition(0)).await.unwrap();
    assert_eq!((walked.groups.len(), walked.end), (4, WalPosition(4 << 32)));
}

#[tokio::test]
async fn a_slow_put_is_sent_again_under_its_own_number_and_counts_once() {
    let (world, fake, store) = setting(9);
    fake.turns_max.store(40, Ordering::Relaxed);
    let mut wal = begin_with(&world, &store, hasty());
    let known = write_groups(&mut wal, &mut Seed::new(9), 50).await;
    let counts = wal.put_counts();
    assert!(counts.first == 50 && counts.copied > 30 && counts.repeated == 0, "{counts:?}");
    assert_eq!(fake.keys().len(), 50, "one object each, wherever the other copy landed");
    let recovered = recover_objects(&world, &store, wal_id(1), WalPosition(0)).await.unwrap();
    let reader = WalReader::Object(ObjectWalReader::new(store.clone(), wal_id(1)));
    assert_eq!(expect_prefix(&known, WalPosition(0), &recovered, &reader).await, 50);
    // Nothing is, where it is not wanted.
    let (world, fake, store) = setting(9);
    fake.turns_max.store(40, Ordering::Relaxed);
    let mut wal = begin_with(&world, &store, PaceLimits { copy_samples_min: None, ..hasty() });
    write_groups(&mut wal, &mut Seed::new(9), 50).await;
    assert_eq!(wal.put_counts().copied, 0);
}

/// A writer that never learns of its death, two recoverers, and a store in trouble, all interleaved. Both recoveries must agree on
/// the end and hold all that was ever acknowledged, before or after. In every other story slow puts are sent twice, and copies land
/// after they were said to have failed.
#[tokio::test]
async fn whatever_the_store_does_no_acknowledgement_lies_behind_the_fence() {
    let (mut cut_off, mut copied) = (0, 0);
    for seed in 0..300 {
        let (world, fake, store) = setting(seed);
        let mut random = Seed::new(seed);
        fake.trouble_per_mille.store(random.below(300), Ordering::Relaxed);
        let pace = if seed % 2 == 0 { PaceLimits::default() } else { hasty() };
        fake.late_per_mille.store(random.below(300) * (seed % 2), Ordering::Relaxed);
        let (groups, wait) = (random.between(10, 60), random.below(20));
        let write = async {
            let mut wal = begin_with(&world, &store, pace);
            let (mut known, mut acknowledged, mut writing) = (Vec::new(), 0, FuturesOrdered::new());
            for _ in 0..groups {
                let entries = entries(&mut random, 3, 100);
                let (placed, group) = wal.place(&entries).unwrap();
                known.push(Known::new(placed, &entries));
                writing.push_back(wal.write(group));
                if writing.len() >= in_flight_max(&wal) {
                    match writing.next().await.unwrap() {
                        Ok(()) => acknowledged += 1,
                        Err(_) => return (known, acknowledged, wal.put_counts()),
                    }
                }
            }
            while let Some(Ok(())) = writing.next().await {
                acknowledged += 1;
            }
            (known, acknowledged, wal.put_counts())
        };
        let recover = async |wait: u64| {
            for _ in 0..wait {
                tokio::task::yield_now().await;
            }
            recover_objects(&world, &store, wal_id(1), WalPosition(0)).await.unwrap()
        };
        let ((known, acknowledged, counts), first, second) = tokio::join!(write, recover(wait), recover(wait * 2));
        fake.trouble_per_mille.store(0, Ordering::Relaxed);
        assert_eq!(first, second, "seed {seed}");
        let reader = WalReader::Object(ObjectWalReader::new(store.clone(), wal_id(1)));
        let count = expect_prefix(&known, WalPosition(0), &first, &reader).await;
        assert!(count >= acknowledged, "seed {seed}: {acknowledged} were acknowledged, {count} recovered");
        cut_off += usize::from(count < usize::try_from(groups).unwrap());
        copied += counts.copied;
    }
    assert!(cut_off > 10, "the fence came in the middle {cut_off} times only");
    assert!(copied > 300, "{copied} puts were sent twice only");
}
