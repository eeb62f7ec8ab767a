//! What only rings on devices do: over a fake one, and on a loop device where this machine lets the test make one.

use super::fakes::{FakeDisk, world};
use super::*;
use std::path::{Path, PathBuf};
use std::process::Command;
use world::World;

const DEVICE: &str = "/dev/wal";
const BYTES: usize = 2 << 20;

fn image(cluster: u128) -> Image {
    Image { cluster_id: cluster, ..Image::default() }
}

async fn begin(world: &World, path: &Path, give_up: Option<&str>, image: &mut Image) -> Result<Wal, WalOpenError> {
    let ring = RingFile::open_device(world, path, give_up).await?;
    let start = ring.next_start(world, image).await?;
    let id = wal_id(image.next_node_epoch.0.max(1));
    image.wals.insert(id, Arc::new(record(ring.id(), start)));
    image.next_node_epoch = NodeEpoch(id.node_epoch.0 + 1);
    ring.begin(image, id, &WalOptions::default()).await.map(Wal::Ring)
}

/// What a refusal tells to say in order to give up what is there.
fn token_of(refused: &WalOpenError) -> String {
    let (_, rest) = refused.0.split_once("?overwrite=").unwrap_or_else(|| panic!("no token in: {refused}"));
    rest.trim_end_matches('\'').to_owned()
}

#[tokio::test]
async fn a_device_that_holds_something_else_is_refused_unless_exactly_that_is_given_up() {
    let disk = FakeDisk::new();
    let mut content = vec![0; BYTES];
    content[1080..1082].copy_from_slice(&[0x53, 0xef]);
    disk.add_device(Path::new(DEVICE), content.clone());
    let world = world(1, &disk);
    let refused = begin(&world, Path::new(DEVICE), None, &mut image(1)).await.err().unwrap();
    assert!(refused.0.contains("holds an ext2, ext3 or ext4 file system"), "{refused}");
    let token = token_of(&refused);
    for other in ["yes", "ext4", "ext4-00000000", ""] {
        let refused = begin(&world, Path::new(DEVICE), Some(other), &mut image(1)).await.err().unwrap();
        assert_eq!(token_of(&refused), token);
    }
    // The file system was changed since.
    content[5000] = 1;
    disk.add_device(Path::new(DEVICE), content);
    let refused = begin(&world, Path::new(DEVICE), Some(&token), &mut image(1)).await.err().unwrap();
    let token = token_of(&refused);
    let wal = begin(&world, Path::new(DEVICE), Some(&token), &mut image(1)).await.unwrap();
    assert_eq!(wal.capacity_bytes(), BYTES as u64 - 8192);
}

#[tokio::test]
async fn another_clusters_ring_is_refused_unless_it_is_given_up_and_ones_own_is_kept_whatever_is_said() {
    let disk = FakeDisk::new();
    disk.add_device(Path::new(DEVICE), vec![0; BYTES]);
    let world = world(2, &disk);
    let (mut first, mut second) = (image(1), image(2));
    drop(begin(&world, Path::new(DEVICE), None, &mut first).await.unwrap());
    let refused = begin(&world, Path::new(DEVICE), None, &mut second).await.err().unwrap();
    assert!(refused.0.contains("belongs to another cluster"), "{refused}");
    let token = token_of(&refused);
    let mut wal = begin(&world, Path::new(DEVICE), Some(&token), &mut second).await.unwrap();
    let entries = entries(&mut Seed::new(1), 3, 100);
    let (placed, group) = wal.place(&entries).unwrap();
    wal.write(group).await.unwrap();
    let (id, known) = (wal.id(), [Known::new(placed, &entries)]);
    drop(wal);
    // The old word is still said at the next start: it gives up nothing that came later.
    drop(begin(&world, Path::new(DEVICE), Some(&token), &mut second).await.unwrap());
    let ring = RingFile::open_device(&world, Path::new(DEVICE), Some(&token)).await.unwrap();
    let recovered = ring.recover(id, WalPosition(0)).await.unwrap();
    assert_eq!(expect_prefix(&known, WalPosition(0), &recovered, &WalReader::Ring(ring)).await, 1);
}

#[tokio::test]
async fn no_device_a_file_and_too_small_a_device_are_told_apart() {
    let disk = FakeDisk::new();
    let world = world(3, &disk);
    let refused = RingFile::open_device(&world, Path::new(DEVICE), None).await.err().unwrap();
    assert!(refused.0.contains("there is no device /dev/wal"), "{refused}");
    disk.add_device(Path::new(DEVICE), vec![0; 16 * 4096]);
    let refused = RingFile::open_device(&world, Path::new(DEVICE), None).await.err().unwrap();
    assert!(refused.0.contains("too few for a write-ahead log"), "{refused}");
    drop(RingFile::open(&world, Path::new("/data"), 1 << 20).await.unwrap());
    let refused = RingFile::open_device(&world, Path::new("/data/ring"), None).await.err().unwrap();
    assert!(refused.0.contains("is not a block device: say --wal file:///dir"), "{refused}");
}

#[tokio::test]
async fn making_a_ring_on_a_device_may_be_cut_short_anywhere() {
    for seed in 0..100 {
        let (disk, mut random) = (FakeDisk::new(), Seed::new(seed));
        disk.add_device(Path::new(DEVICE), vec![0; BYTES]);
        let fake = world(seed, &disk);
        let mut opening = Box::pin(RingFile::open_device(&fake, Path::new(DEVICE), None));
        for _ in 0..random.below(8) {
            if futures::poll!(&mut opening).is_ready() {
                break;
            }
        }
        drop(opening);
        disk.lose_power(&mut random);
        RingFile::open_device(&world(seed, &disk), Path::new(DEVICE), None).await.unwrap();
    }
}

/// A loop device over a file, taken down at the end.
struct LoopDevice {
    path: PathBuf,
    _backing: tempfile::NamedTempFile,
}

impl LoopDevice {
    /// Why there is none, where this machine refuses.
    fn new(bytes: u64) -> Result<LoopDevice, String> {
        let backing = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        backing.as_file().set_len(bytes).map_err(|error| error.to_string())?;
        let path = run(Command::new("losetup").args(["--find", "--show"]).arg(backing.path()))?;
        Ok(LoopDevice { path: PathBuf::from(path.trim()), _backing: backing })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("losetup").arg("--detach").arg(&self.path)) {
            eprintln!("{} stays: {error}", self.path.display());
        }
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a test that is passed over says why")]
async fn a_real_device_is_a_ring() {
    let device = match LoopDevice::new(64 << 20) {
        Ok(device) => device,
        Err(error) => {
            println!("skipped: no loop device can be made here: {error}");
            return;
        }
    };
    let world = World::system();
    let mut give_up = None;
    match run(Command::new("mkfs.ext4").arg("-q").arg(&device.path)) {
        Ok(_) => {
            let refused = RingFile::open_device(&world, &device.path, None).await.err().unwrap();
            assert!(refused.0.contains("ext4 file system"), "{refused}");
            give_up = Some(token_of(&refused));
            expect_refused_while_mounted(&world, &device.path).await;
            // Mounting wrote to it: what was seen before is not what is there now.
            let refused = RingFile::open_device(&world, &device.path, None).await.err().unwrap();
            give_up = give_up.map(|_| token_of(&refused));
        }
        Err(error) => println!("without the part on file systems: {error}"),
    }
    let mut image = image(5);
    let mut wal = begin(&world, &device.path, give_up.as_deref(), &mut image).await.unwrap();
    assert_eq!(wal.capacity_bytes(), (64 << 20) - 8192);
    let refused = RingFile::open_device(&world, &device.path, None).await.err().unwrap();
    assert!(refused.0.contains("is in use"), "{refused}");
    let (id, mut known, mut random) = (wal.id(), Vec::new(), Seed::new(1));
    for _ in 0..30 {
        let entries = entries(&mut random, 4, 100_000);
        let (placed, group) = wal.place(&entries).unwrap();
        wal.write(group).await.unwrap();
        known.push(Known::new(placed, &entries));
    }
    drop(wal);
    let ring = RingFile::open_device(&world, &device.path, None).await.unwrap();
    let recovered = ring.recover(id, WalPosition(0)).await.unwrap();
    assert_eq!(expect_prefix(&known, WalPosition(0), &recovered, &WalReader::Ring(ring.clone())).await, 30);
    let described = inspect_ring(world.disk.as_ref(), &device.path).await.unwrap();
    assert_eq!((described.header.unwrap().ring_id, described.groups.len()), (ring.id(), 30));
}

#[expect(clippy::print_stdout, reason = "a test that is passed over says why")]
async fn expect_refused_while_mounted(world: &World, device: &Path) {
    let folder = tempfile::tempdir().unwrap();
    if let Err(error) = run(Command::new("mount").arg(device).arg(folder.path())) {
        println!("without the part on mounted devices: {error}");
        return;
    }
    let refused = RingFile::open_device(world, device, None).await.err();
    run(Command::new("umount").arg(folder.path())).unwrap();
    assert!(refused.is_some_and(|refused| refused.0.contains("is in use: unmount it")));
}
