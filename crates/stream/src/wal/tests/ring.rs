//! What only rings do; what every kind does is in `conformance`.

use super::fakes::{FakeDisk, LIMIT_TURNS, world};
use super::*;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use std::path::Path;
use std::sync::atomic::Ordering;
use stream_core::{BatchKind, ProducerDelta};

const DIR: &str = "/data/wal";
const RING: &str = "/data/wal/ring";

fn image() -> Image {
    Image { cluster_id: CLUSTER, ..Image::default() }
}

/// Opens the ring and begins to write it as the next start.
async fn begin(disk: &Arc<FakeDisk>, seed: u64, bytes: u64, image: &mut Image, epoch: u64) -> (RingFile, Wal) {
    let ring = RingFile::open(&world(seed, disk), Path::new(DIR), bytes).await.unwrap();
    let start = ring.next_start(&world(seed, disk), image).await.unwrap();
    image.wals.insert(wal_id(epoch), Arc::new(record(ring.id(), start)));
    image.next_node_epoch = NodeEpoch(epoch + 1);
    let wal = Wal::Ring(ring.begin(image, wal_id(epoch), &WalOptions::default()).await.unwrap());
    (ring, wal)
}

/// Writes groups one by one. Each is durable.
async fn write_groups(wal: &mut Wal, random: &mut Seed, count: usize) -> Vec<Known> {
    let mut known = Vec::new();
    for _ in 0..count {
        let entries = entries(random, 4, 3000);
        let (placed, group) = wal.place(&entries).unwrap();
        wal.write(group).await.unwrap();
        known.push(Known::new(placed, &entries));
    }
    known
}

#[tokio::test]
async fn a_log_at_rest_is_written_at_once_and_the_next_group_keeps_its_distance() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(5), image());
    let (ring, mut wal) = begin(&disk, 1, RING_BYTES_MIN, &mut image, 1).await;
    let before = ring.clock().now();
    assert!(wal.terms(before).spaced <= before);
    let (_, group) = wal.place(&entries(&mut random, 1, 100)).unwrap();
    let (spaced, after) = (wal.terms(before).spaced, ring.clock().now());
    let spacing = WalOptions::default().ring_spacing;
    assert!(before.plus(spacing) <= spaced && spaced <= after.plus(spacing), "{before:?} {spaced:?} {after:?}");
    wal.write(group).await.unwrap();
}

#[tokio::test]
async fn the_largest_group_of_small_batches_fits_the_smallest_ring_wherever_it_begins() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(5), image());
    let (_ring, mut wal) = begin(&disk, 1, RING_BYTES_MIN, &mut image, 1).await;
    let producer = ProducerDelta {
        producer_id: 1,
        producer_epoch: 0,
        first_sequence: 0,
        last_sequence: 0,
        kind: BatchKind::Plain,
    };
    for _ in 0..50 {
        let mut group = entries(&mut random, 1, 1);
        group[0].batch.producer = Some(producer);
        group = std::iter::repeat_n(group[0].clone(), wal.group_entries_max()).collect();
        // The rest of the payload that the group may have.
        group[0].batch.bytes.body = vec![7; wal.group_bytes_max() - group.len()].into();
        let (placed, unwritten) = wal.place(&group).unwrap();
        wal.write(unwritten).await.unwrap();
        wal.trim(placed.end);
        let (placed, unwritten) = wal.place(&entries(&mut random, 1, 3000)).unwrap();
        wal.write(unwritten).await.unwrap();
        wal.trim(placed.end);
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_while_the_first_lives() {
    let disk = FakeDisk::new();
    let first = RingFile::open(&world(1, &disk), Path::new(DIR), 1 << 20).await.unwrap();
    let refused = RingFile::open(&world(2, &disk), Path::new(DIR), 1 << 20).await.err().unwrap();
    assert!(refused.0.contains("in use by another process"), "{refused}");
    drop(first);
    RingFile::open(&world(2, &disk), Path::new(DIR), 1 << 20).await.unwrap();
}

#[tokio::test]
async fn a_ring_keeps_its_size_and_its_id_and_its_cluster() {
    let (disk, mut image) = (FakeDisk::new(), image());
    let (ring, wal) = begin(&disk, 1, 1 << 20, &mut image, 1).await;
    let id = ring.id();
    drop((ring, wal));
    let ring = RingFile::open(&world(2, &disk), Path::new(DIR), 1 << 21).await.unwrap();
    assert_eq!((ring.id(), ring.capacity_bytes()), (id, 1 << 20));
    let other = Image { cluster_id: CLUSTER + 1, ..Image::default() };
    let refused = ring.next_start(&world(9, &disk), &other).await.unwrap_err();
    assert!(refused.0.contains("another cluster"), "{refused}");
}

#[tokio::test]
async fn a_bucket_that_is_older_than_the_ring_is_refused() {
    let (disk, mut image) = (FakeDisk::new(), image());
    drop(begin(&disk, 1, 1 << 20, &mut image, 1).await);
    let old = image.clone();
    drop(begin(&disk, 2, 1 << 20, &mut image, 2).await);
    let ring = RingFile::open(&world(3, &disk), Path::new(DIR), 1 << 20).await.unwrap();
    let refused = ring.next_start(&world(9, &disk), &old).await.unwrap_err();
    assert!(refused.0.contains("which the bucket does not know yet"), "{refused}");
    assert_eq!(ring.next_start(&world(9, &disk), &image).await.unwrap(), WalPosition(0));
}

#[tokio::test]
async fn each_start_begins_beyond_the_one_before_it_and_the_ring_knows_before_the_ledger() {
    let (disk, mut image) = (FakeDisk::new(), image());
    let (_, mut wal) = begin(&disk, 1, RING_BYTES_MIN, &mut image, 1).await;
    let mut random = Seed::new(5);
    while let Ok((_, group)) = wal.place(&entries(&mut random, 1, 3000)) {
        wal.write(group).await.unwrap();
    }
    let full = wal.next_position();
    drop(wal);
    // Starts that are cut short before they register, and one that is not: the log before them has the whole ring still.
    for began in 0..4 {
        let ring = RingFile::open(&world(2 + began, &disk), Path::new(DIR), RING_BYTES_MIN).await.unwrap();
        let start = ring.prepare_start(&world(9, &disk), &image).await.unwrap();
        assert_eq!(start, WalPosition(full.0 + began * 4096), "a block beyond, where nothing was written since");
        drop(ring);
        let ring = RingFile::open(&world(2 + began, &disk), Path::new(DIR), RING_BYTES_MIN).await.unwrap();
        assert_eq!((ring.header().start, ring.header().wal), (start, wal_id(1)));
        if began == 3 {
            image.wals.insert(wal_id(2), Arc::new(record(ring.id(), start)));
            image.next_node_epoch = NodeEpoch(3);
            let mut wal = Wal::Ring(ring.begin(&image, wal_id(2), &WalOptions::default()).await.unwrap());
            let refused = wal.place(&entries(&mut random, 1, 3000)).err().unwrap();
            assert_eq!(refused.free, 0, "there is no room for it");
            wal.trim(start);
            wal.place(&entries(&mut random, 1, 3000)).unwrap();
        }
    }
}

#[tokio::test]
async fn no_space_is_one_clear_line_and_leaves_nothing_behind() {
    let disk = FakeDisk::new();
    disk.capacity.store(1 << 20, Ordering::Relaxed);
    let refused = RingFile::open(&world(1, &disk), Path::new(DIR), 1 << 30).await.err().unwrap();
    assert!(refused.0.contains("no space for a write-ahead log of 1024 MiB"), "{refused}");
    RingFile::open(&world(1, &disk), Path::new(DIR), 1 << 19).await.unwrap();
}

#[tokio::test]
async fn a_newer_layout_and_a_broken_header_are_refused() {
    let disk = FakeDisk::new();
    drop(RingFile::open(&world(1, &disk), Path::new(DIR), 1 << 20).await.unwrap());
    disk.damage(Path::new(RING), 8, &[9, 0]);
    let refused = RingFile::open(&world(1, &disk), Path::new(DIR), 1 << 20).await.err().unwrap();
    assert!(refused.0.contains("newer release (layout version 9)"), "{refused}");
    disk.damage(Path::new(RING), 8, &[1, 0, 1]);
    let refused = RingFile::open(&world(1, &disk), Path::new(DIR), 1 << 20).await.err().unwrap();
    assert!(refused.0.contains("no readable header"), "{refused}");
}

#[tokio::test]
async fn making_a_ring_may_be_cut_short_anywhere() {
    for seed in 0..200 {
        let (disk, mut random) = (FakeDisk::new(), Seed::new(seed));
        let polls = random.below(12);
        let fake = world(seed, &disk);
        let mut opening = Box::pin(RingFile::open(&fake, Path::new(DIR), 1 << 20));
        for _ in 0..polls {
            if futures::poll!(&mut opening).is_ready() {
                break;
            }
        }
        drop(opening);
        disk.lose_power(&mut random);
        RingFile::open(&world(seed, &disk), Path::new(DIR), 1 << 20).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_ring_for_good() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(4), image());
    let (_ring, mut wal) = begin(&disk, 4, 1 << 20, &mut image, 1).await;
    write_groups(&mut wal, &mut random, 1).await;
    disk.fail_syncs(Path::new(RING));
    for _ in 0..3 {
        let (_, group) = wal.place(&entries(&mut random, 1, 100)).unwrap();
        let error = wal.write(group).await.unwrap_err();
        assert!(matches!(error, WalError::Failed(ref reason) if reason.contains("input/output error")), "{error}");
    }
}

#[tokio::test]
async fn a_device_that_hangs_ends_the_ring_for_good_and_a_slow_one_does_not() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(8), image());
    let (ring, mut wal) = begin(&disk, 8, 1 << 20, &mut image, 1).await;
    let mut known = write_groups(&mut wal, &mut random, 3).await;
    disk.weather.slow_turns.store(LIMIT_TURNS / 10, Ordering::Relaxed);
    known.extend(write_groups(&mut wal, &mut random, 1).await);
    disk.weather.slow_turns.store(LIMIT_TURNS * 2, Ordering::Relaxed);
    let mut place = || wal.place(&entries(&mut random, 1, 100)).unwrap().1;
    let (first, second, third) = (place(), place(), place());
    let (first, second) = futures::join!(wal.write(first), wal.write(second));
    disk.weather.slow_turns.store(0, Ordering::Relaxed);
    for error in [first, second, wal.write(third).await].map(Result::unwrap_err) {
        assert!(matches!(error, WalError::Failed(ref reason) if reason.contains("hangs")), "{error}");
    }
    drop((ring, wal));
    let ring = RingFile::open(&world(9, &disk), Path::new(DIR), 1 << 20).await.unwrap();
    let recovered = ring.recover(wal_id(1), WalPosition(0)).await.unwrap();
    assert!(recovered.groups.len() >= known.len(), "what was acknowledged is there");
}

#[tokio::test]
async fn a_pause_of_the_process_is_not_taken_for_a_device_that_hangs() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(8), image());
    let (_ring, mut wal) = begin(&disk, 8, 1 << 20, &mut image, 1).await;
    disk.weather.slow_turns.store(LIMIT_TURNS / 10, Ordering::Relaxed);
    disk.weather.paused.store(true, Ordering::Relaxed);
    write_groups(&mut wal, &mut random, 2).await;
    assert!(!disk.weather.paused.load(Ordering::Relaxed), "it was paused");
}

#[tokio::test]
async fn damage_below_a_durable_mark_is_told_and_not_cut_off() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(5), image());
    let (ring, mut wal) = begin(&disk, 5, 1 << 20, &mut image, 1).await;
    let known = write_groups(&mut wal, &mut random, 10).await;
    drop((ring, wal));
    let at = 8192 + usize::try_from(known[4].placed.position.0).unwrap();
    disk.damage(Path::new(RING), at + 20, &[0xff]);
    let ring = RingFile::open(&world(5, &disk), Path::new(DIR), 1 << 20).await.unwrap();
    let damaged = ring.recover(wal_id(1), WalPosition(0)).await.unwrap_err();
    assert!(
        matches!(damaged, RecoverError::Damaged { position, .. } if position == known[4].placed.position),
        "{damaged}"
    );
    // Nor is the damaged region given to a new start.
    assert!(ring.next_start(&world(9, &disk), &image).await.is_err());
}

#[tokio::test]
async fn a_damaged_payload_below_a_durable_mark_is_told_when_it_is_read() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(6), image());
    let (ring, mut wal) = begin(&disk, 6, 1 << 20, &mut image, 1).await;
    let known = write_groups(&mut wal, &mut random, 10).await;
    let span = known[4].placed.spans[0];
    disk.damage(Path::new(RING), 8192 + usize::try_from(span.position.0).unwrap(), &[!known[4].contents[0][0]]);
    let recovered = ring.recover(wal_id(1), WalPosition(0)).await.unwrap();
    assert_eq!(recovered.groups.len(), 10);
    assert!(matches!(wal.reader().read(span).await, Err(WalReadError::Gone(_))));
}

#[tokio::test]
async fn a_group_that_a_client_made_up_is_not_taken() {
    // A payload that, once its own group's head is gone, is a perfect group at the right position, but for the ring's id.
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(7), image());
    let (ring, mut wal) = begin(&disk, 7, 1 << 20, &mut image, 1).await;
    let known = write_groups(&mut wal, &mut random, 1).await;
    let end = known[0].placed.end;
    let made_up = |tag| stream_core::wal_group::GroupPlace { wal: wal_id(1), position: end, durable: end, tag };
    let victim = entries(&mut random, 1, 100);
    let bytes = |tag| {
        let encoded = stream_core::wal_group::encode_group(made_up(tag), &victim, 4096);
        let batch = &victim[0].batch.bytes;
        [&encoded.head[..], &batch.head[..], &batch.body[..]].concat()
    };
    let at = 8192 + usize::try_from(end.0).unwrap();
    disk.damage(Path::new(RING), at, &bytes(ring.id() ^ 1));
    assert_eq!(ring.recover(wal_id(1), WalPosition(0)).await.unwrap().groups.len(), 1);
    disk.damage(Path::new(RING), at, &bytes(ring.id()));
    assert_eq!(ring.recover(wal_id(1), WalPosition(0)).await.unwrap().groups.len(), 2, "the test's group is well made");
}

#[tokio::test]
async fn inspect_shows_every_whole_group() {
    let (disk, mut random, mut image) = (FakeDisk::new(), Seed::new(8), image());
    let (ring, mut wal) = begin(&disk, 8, 1 << 20, &mut image, 1).await;
    let known = write_groups(&mut wal, &mut random, 7).await;
    let described = inspect_ring(disk.as_ref(), Path::new(DIR)).await.unwrap();
    assert_eq!(described.header.unwrap().ring_id, ring.id());
    let positions: Vec<_> = described.groups.iter().map(|group| group.place.position).collect();
    assert_eq!(positions, known.iter().map(|known| known.placed.position).collect::<Vec<_>>());
    assert!(described.groups.iter().all(|group| group.payload_whole));
}

/// Not a test: how long the recovery of a full 2 GiB ring takes on this machine's disk.
/// `MEASURE_DIR=DIR cargo test --release -p stream -- --ignored --nocapture measure_recovery`
#[tokio::test]
#[ignore = "writes 2 GiB twice; measures"]
#[expect(clippy::print_stdout, reason = "the measurement is its output")]
async fn measure_recovery_of_a_full_ring() {
    let dir = tempfile::tempdir_in(std::env::var("MEASURE_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    for group_bytes in [3000, 7 << 20] {
        let dir = dir.path().join(group_bytes.to_string());
        let world = world::World::system();
        let mut image = image();
        let ring = RingFile::open(&world, &dir, 2 << 30).await.unwrap();
        let empty = world.clock.now();
        let start = ring.next_start(&world, &image).await.unwrap();
        image.wals.insert(wal_id(1), Arc::new(record(ring.id(), start)));
        ring.recover(wal_id(1), start).await.unwrap();
        let empty = world.clock.now().since(empty);
        let mut wal = Wal::Ring(ring.begin(&image, wal_id(1), &WalOptions::default()).await.unwrap());
        let mut random = Seed::new(1);
        let entry = entries(&mut random, 1, 8).remove(0);
        let body = Bytes::from(vec![0x5a; group_bytes]);
        let batch = NumberedBatch { bytes: BatchBytes::whole(body), ..entry.batch };
        let entries = [WalEntry { batch, ..entry }];
        let (mut groups, filling) = (0u64, world.clock.now());
        // More in flight than a broker has: they share syncs, so that filling takes seconds.
        let mut writing = FuturesOrdered::new();
        while let Ok((_, group)) = wal.place(&entries) {
            writing.push_back(wal.write(group));
            groups += 1;
            if writing.len() * group_bytes > 32 << 20 || writing.len() > 256 {
                while let Some(written) = writing.next().await {
                    written.unwrap();
                }
            }
        }
        while let Some(written) = writing.next().await {
            written.unwrap();
        }
        let (filling, used) = (world.clock.now().since(filling), wal.used_bytes());
        drop((ring, wal));
        let recovering = world.clock.now();
        let ring = RingFile::open(&world, &dir, 2 << 30).await.unwrap();
        let recovered = ring.recover(wal_id(1), start).await.unwrap();
        let recovering = world.clock.now().since(recovering);
        assert_eq!((recovered.groups.len() as u64, recovered.end.0), (groups, used));
        println!(
            "{groups} groups of {group_bytes}, {used} bytes: empty {empty:?}, filled in {filling:?}, recovered in {recovering:?}"
        );
    }
}
