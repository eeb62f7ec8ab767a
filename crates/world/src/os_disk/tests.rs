//! The real disk on the temporary folder's file system, and on one without direct I/O where the machine has it.

use super::*;
use crate::disk::{AlignedBuf, BLOCK_BYTES};
use bytes::Bytes;

const WAL: OpenMode = OpenMode { create_new: true, write: true, direct: true, exclusive: false, bulk: false };
const PLAIN: OpenMode = OpenMode { create_new: true, write: true, direct: false, exclusive: false, bulk: false };

fn block(byte: u8) -> AlignedBuf {
    AlignedBuf::copy_of(&[byte; BLOCK_BYTES])
}

#[tokio::test]
async fn direct_and_plain_files_hold_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    for (name, mode) in [("wal", WAL), ("plain", PLAIN)] {
        let path = folder.path().join(name);
        let file = disk.open(&path, mode).await.unwrap();
        file.allocate(16 * 4096).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 16 * 4096);
        assert_eq!(file.read_at(0, 2 * BLOCK_BYTES).await.unwrap(), vec![0; 2 * BLOCK_BYTES], "{name}");
        let writes = (0..8u8).map(|n| file.write_at(u64::from(n) * 4096, block(n + 1)));
        for result in futures::future::join_all(writes).await {
            result.unwrap();
        }
        file.sync().await.unwrap();
        let durable = [8u8, 9].map(|n| file.write_durably(u64::from(n) * 4096, block(n + 1)));
        futures::future::try_join_all(durable).await.unwrap();
        drop(file);

        let file = disk.open(&path, OpenMode { create_new: false, ..mode }).await.unwrap();
        for n in 0..10u8 {
            let expected = Bytes::from(vec![n + 1; BLOCK_BYTES]);
            assert_eq!(file.read_at(u64::from(n) * 4096, BLOCK_BYTES).await.unwrap(), expected, "{name} {n}");
        }
        assert_eq!(
            file.read_at(15 * 4096, 4 * BLOCK_BYTES).await.unwrap().len(),
            BLOCK_BYTES,
            "{name}: cut at the end"
        );
        assert_eq!(file.read_at(99 * 4096, BLOCK_BYTES).await.unwrap().len(), 0, "{name}: beyond the end");
        // Memory is taken for what is there.
        assert_eq!(file.read_at(0, 1 << 50).await.unwrap().len(), 16 * BLOCK_BYTES);
        file.allocate(4096).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 4096, "{name}: shortened");
    }
}

#[tokio::test]
async fn plain_files_are_read_and_written_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = OsDisk::new().open(&folder.path().join("plain"), PLAIN).await.unwrap();
    file.write_at(3, AlignedBuf::copy_of(b"abc")).await.unwrap();
    assert_eq!(file.read_at(0, 100).await.unwrap(), &b"\0\0\0abc"[..]);
    assert_eq!(file.read_at(4, 1).await.unwrap(), &b"b"[..]);
    assert!(!file.is_direct());
}

#[tokio::test]
#[should_panic(expected = "is not aligned to blocks")]
async fn unaligned_direct_io_is_a_programmers_error_on_every_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let file = OsDisk::new().open(&folder.path().join("wal"), WAL).await.unwrap();
    drop(file.write_at(1, block(1)).await);
}

#[tokio::test]
async fn a_file_system_without_direct_io_serves_all_the_same() {
    // Kernels differ in whether tmpfs takes O_DIRECT; both ways must work. Machines without it have nothing to show.
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let disk = OsDisk::new();
    let file = disk.open(&folder.path().join("wal"), WAL).await.unwrap();
    file.allocate(8192).await.unwrap();
    file.write_at(4096, block(7)).await.unwrap();
    assert_eq!(file.read_at(4096, BLOCK_BYTES).await.unwrap(), vec![7; BLOCK_BYTES]);
    let again = disk.open(&folder.path().join("wal"), WAL).await;
    assert!(matches!(again, Err(DiskError::Exists(_))), "created once, also where direct I/O was refused");
}

#[tokio::test]
async fn a_lock_has_one_holder_until_its_file_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let (one, two) = (OsDisk::new(), OsDisk::new());
    let held = one.open(&path, WAL).await.unwrap();
    held.lock().await.unwrap();
    held.lock().await.unwrap();
    let other = two.open(&path, OpenMode { create_new: false, ..WAL }).await.unwrap();
    assert!(matches!(other.lock().await, Err(DiskError::Locked(locked)) if locked == path));
    drop(held);
    other.lock().await.unwrap();
}

#[tokio::test]
async fn names_are_linked_once_renamed_removed_and_listed_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let at = |name: &str| folder.path().join(name);
    disk.create_dir_all(&at("z/deep")).await.unwrap();
    disk.create_dir_all(&at("z/deep")).await.unwrap();
    disk.open(&at("b"), PLAIN).await.unwrap().write_at(0, AlignedBuf::copy_of(b"12345")).await.unwrap();
    disk.link(&at("b"), &at("a")).await.unwrap();
    assert!(matches!(disk.link(&at("b"), &at("a")).await, Err(DiskError::Exists(_))));
    assert!(matches!(disk.link(&at("missing"), &at("c")).await, Err(DiskError::NotFound(_))));
    disk.rename(&at("b"), &at("c")).await.unwrap();
    std::os::unix::fs::symlink(at("z"), at("y")).unwrap();
    std::os::unix::fs::symlink(at("nowhere"), at("x")).unwrap();
    let names = disk.list(folder.path()).await.unwrap();
    let expected = [("a", false), ("c", false), ("y", true), ("z", true)].map(|(name, kind)| (name.to_owned(), kind));
    assert_eq!(names, expected);
    let names = ["c", "missing", "a"].map(str::to_owned);
    assert_eq!(disk.sizes(folder.path(), &names).await.unwrap(), [Some(5), None, Some(5)]);
    disk.sync_dir(folder.path()).await.unwrap();
    disk.remove(&at("a")).await.unwrap();
    disk.remove(&at("a")).await.unwrap();
    for missing in [at("missing"), at("c/below")] {
        assert!(matches!(disk.open(&missing, OpenMode::default()).await, Err(DiskError::NotFound(_))));
        assert!(matches!(disk.list(&missing).await, Err(DiskError::NotFound(_))));
        assert!(matches!(disk.sync_dir(&missing).await, Err(DiskError::NotFound(_))));
    }
    assert!(
        matches!(disk.open(&at("z"), OpenMode::default()).await, Err(DiskError::NotFound(_))),
        "a folder is no file"
    );
    assert!(disk.free_bytes(folder.path()).await.unwrap() > 0);
}

#[tokio::test]
async fn a_full_device_is_told_as_full() {
    // The kernel's own full device; a write to it fails as on a full file system.
    let full = Path::new("/dev/full");
    let Ok(file) = OsDisk::new().open(full, OpenMode { write: true, ..OpenMode::default() }).await else { return };
    assert!(matches!(file.write_at(0, AlignedBuf::copy_of(b"x")).await, Err(DiskError::Full(path)) if path == full));
}

#[tokio::test]
async fn after_a_failed_durable_write_the_file_is_not_trusted_again() {
    let full = Path::new("/dev/full");
    let mode = OpenMode { write: true, ..OpenMode::default() };
    let Ok(file) = OsDisk::new().open(full, mode).await else { return };
    assert!(file.write_durably(0, AlignedBuf::copy_of(b"x")).await.is_err());
    let nothing = || AlignedBuf::copy_of(b"");
    for later in [file.write_at(0, nothing()).await, file.write_durably(0, nothing()).await, file.sync().await] {
        let Err(DiskError::Failed { message, .. }) = later else { panic!("must fail: {later:?}") };
        assert!(message.contains("an earlier write or sync failed"), "{message}");
    }
}

#[test]
fn error_numbers_become_kinds_that_say_what_was_tried() {
    let path = Path::new("/a");
    let kind = |errno| explain(path, "write", errno).to_string();
    assert_eq!(kind(Errno::DQUOT), "/a: no space left");
    assert_eq!(kind(Errno::NOSPC), "/a: no space left");
    assert!(matches!(explain(path, "write", Errno::ROFS), DiskError::Denied { .. }));
    assert!(matches!(explain(path, "write", Errno::ACCESS), DiskError::Denied { .. }));
    assert!(kind(Errno::IO).starts_with("/a: cannot write: "));
}
