//! The folder store on the real disk, and on one that fails where it is told to.

use super::*;
use crate::clock::SystemClock;
use crate::os_disk::OsDisk;
use std::sync::atomic::AtomicBool;

async fn open(root: &Path) -> Result<FolderStore, StoreError> {
    FolderStore::open(Arc::new(OsDisk::new()), Arc::new(SystemClock::new()), root.to_owned()).await
}

fn start_of(store: &FolderStore) -> &str {
    &store.folder.writer.as_ref().unwrap().start
}

fn bytes(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

fn temporaries(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root.join(TEMPORARY)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn keeps_the_contract_of_an_object_store() {
    let root = tempfile::tempdir().unwrap();
    let store = open(&root.path().join("made/on/the/way")).await.unwrap();
    crate::conformance::check(&store, &SystemClock::new()).await;
    assert_eq!(temporaries(&root.path().join("made/on/the/way")), [""; 0]);
}

#[tokio::test]
async fn several_processes_share_a_folder_and_one_name_has_one_winner() {
    let root = tempfile::tempdir().unwrap();
    let stores = [open(root.path()).await.unwrap(), open(root.path()).await.unwrap()];
    for round in 0..20 {
        let key = format!("shared/{round}");
        let (one, two) =
            tokio::join!(stores[0].put_if_absent(&key, bytes("one")), stores[1].put_if_absent(&key, bytes("two")));
        let winner = match (one.unwrap(), two.unwrap()) {
            (PutOutcome::Created, PutOutcome::Exists) => "one",
            (PutOutcome::Exists, PutOutcome::Created) => "two",
            other => panic!("{other:?}"),
        };
        assert_eq!(stores[0].get(&key, GetRange::All).await.unwrap().0, winner);
    }
}

#[tokio::test]
async fn a_start_sweeps_what_the_dead_left_and_nothing_of_the_living() {
    let root = tempfile::tempdir().unwrap();
    let living = open(root.path()).await.unwrap();
    let of_the_living = root.path().join(TEMPORARY).join(format!("{}-7", start_of(&living)));
    let dead = open(root.path()).await.unwrap();
    let of_the_dead = root.path().join(TEMPORARY).join(format!("{}-3", start_of(&dead)));
    let without_lock = root.path().join(TEMPORARY).join("0123456789abcdef-3");
    for path in [&of_the_living, &of_the_dead, &without_lock] {
        std::fs::write(path, "half").unwrap();
    }
    let lock_of_the_dead = root.path().join(TEMPORARY).join(lock_name(start_of(&dead)));
    drop(dead);
    let next = open(root.path()).await.unwrap();
    assert!(of_the_living.exists());
    assert!(!of_the_dead.exists() && !without_lock.exists() && !lock_of_the_dead.exists());
    next.put_if_absent("still/works", bytes("x")).await.unwrap();
    living.put_if_absent("works/too", bytes("x")).await.unwrap();
}

#[tokio::test]
async fn a_look_needs_no_right_to_write_and_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let (disk, clock) = (Arc::new(OsDisk::new()), Arc::new(SystemClock::new()));
    let look = |root: PathBuf| FolderStore::open_to_read(disk.clone(), clock.clone(), root);
    assert!(look(root.path().join("nowhere")).await.is_err());
    assert!(!root.path().join("nowhere").exists());
    open(root.path()).await.unwrap().put_if_absent("a/b", bytes("x")).await.unwrap();
    let left = root.path().join(TEMPORARY).join("0123456789abcdef-3");
    std::fs::write(&left, "half").unwrap();
    let files = || std::fs::read_dir(root.path().join(TEMPORARY)).unwrap().count();
    let before = files();
    let store = look(root.path().to_owned()).await.unwrap();
    assert_eq!(store.get("a/b", GetRange::All).await.unwrap().0, "x");
    assert_eq!(store.list("", "", 10).await.unwrap().len(), 1);
    assert!(matches!(store.get("a/c", GetRange::All).await, Err(StoreError::NotFound(_))));
    assert!(matches!(store.put_if_absent("a/c", bytes("y")).await, Err(StoreError::Refused(_))));
    assert!(matches!(store.delete(&["a/b".to_owned()]).await, Err(StoreError::Refused(_))));
    assert_eq!((files(), left.exists()), (before, true));
    std::fs::remove_dir_all(root.path()).unwrap();
    assert!(matches!(store.get("a/b", GetRange::All).await, Err(StoreError::Refused(_))), "it has vanished");
}

#[tokio::test]
async fn a_folder_that_vanishes_never_looks_like_an_empty_bucket() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("bucket");
    let store = open(&root).await.unwrap();
    store.put_if_absent("a/b", bytes("x")).await.unwrap();
    std::fs::rename(&root, outside.path().join("elsewhere")).unwrap();
    for remounted_empty in [false, true] {
        if remounted_empty {
            std::fs::create_dir(&root).unwrap();
        }
        let refused = |what: &str, error: StoreError| {
            let StoreError::Refused(message) = error else { panic!("{what}: {error}") };
            assert!(message.contains("no longer the one"), "{what}: {message}");
        };
        refused("get", store.get("a/b", GetRange::All).await.unwrap_err());
        refused("list", store.list("", "", 10).await.unwrap_err());
        refused("list a/", store.list("a/", "", 10).await.unwrap_err());
        refused("put", store.put_if_absent("a/c", bytes("x")).await.unwrap_err());
        assert_eq!(std::fs::read_dir(&root).map(Iterator::count).unwrap_or(0), 0, "nothing may be made there");
    }
}

#[tokio::test]
async fn a_root_that_is_a_file_is_refused_with_what_to_do() {
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("file");
    std::fs::write(&file, "").unwrap();
    for root in [file.clone(), file.join("below")] {
        let Err(StoreError::Refused(message)) = open(&root).await else { panic!("must be refused") };
        assert!(message.contains("a file stands where a folder should be"), "{message}");
    }
}

#[tokio::test]
async fn keys_that_lead_out_of_the_folder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path()).await.unwrap();
    let long = "x".repeat(256);
    for key in ["", "/", "a/", "/a", "a//b", "../a", "a/..", "./a", ".tmp/a", ".tmp", "a b", "ä", "a\0", &long] {
        let put = store.put_if_absent(key, bytes("x")).await;
        assert!(matches!(put, Err(StoreError::Refused(_))), "{key:?}: {put:?}");
        assert!(matches!(store.get(key, GetRange::All).await, Err(StoreError::Refused(_))), "{key:?}");
        assert!(matches!(store.delete(&[key.to_owned()]).await, Err(StoreError::Refused(_))), "{key:?}");
    }
}

/// The real disk, whose `sync_dir` fails while told to, and which notes the calls that matter.
struct Faulty {
    disk: OsDisk,
    fail_sync_dir: AtomicBool,
    calls: Mutex<Vec<String>>,
    /// Removed by somebody else right after the next listing.
    doomed: Mutex<Option<PathBuf>>,
}

impl Faulty {
    async fn store(root: &Path) -> (Arc<Faulty>, FolderStore) {
        let disk = Faulty {
            disk: OsDisk::new(),
            fail_sync_dir: AtomicBool::new(false),
            calls: Mutex::default(),
            doomed: Mutex::default(),
        };
        let disk = Arc::new(disk);
        let clock = Arc::new(SystemClock::new());
        let store = FolderStore::open(Arc::clone(&disk) as Arc<dyn Disk>, clock, root.to_owned()).await.unwrap();
        disk.calls.lock().unwrap().clear();
        (disk, store)
    }

    fn note(&self, root: &Path, call: &str, path: &Path) {
        let path = path.strip_prefix(root).unwrap_or(path);
        self.calls.lock().unwrap().push(format!("{call} {}", path.display()).trim_end_matches(['/', ' ']).to_owned());
    }

    fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl Disk for Faulty {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        self.disk.open(path, mode).await
    }
    async fn create_dir_all(&self, path: &Path) -> Result<(), DiskError> {
        self.note(Path::new("/"), "mkdir", Path::new(path.file_name().unwrap()));
        self.disk.create_dir_all(path).await
    }
    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.note(Path::new("/"), "sync_dir", Path::new(path.file_name().unwrap()));
        if self.fail_sync_dir.load(Ordering::SeqCst) {
            return Err(DiskError::Failed { path: path.to_owned(), message: "input/output error".to_owned() });
        }
        self.disk.sync_dir(path).await
    }
    async fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.note(Path::new("/"), "link", Path::new(to.file_name().unwrap()));
        self.disk.link(from, to).await
    }
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.disk.rename(from, to).await
    }
    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.disk.remove(path).await
    }
    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        let names = self.disk.list(path).await;
        let doomed = self.doomed.lock().unwrap().take();
        if let Some(doomed) = doomed {
            self.disk.remove(&doomed).await?;
        }
        names
    }
    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.disk.free_bytes(path).await
    }
}

#[tokio::test]
async fn a_put_makes_every_new_name_durable_from_the_root_downwards() {
    let outside = tempfile::tempdir().unwrap();
    let (disk, store) = Faulty::store(&outside.path().join("root")).await;
    store.put_if_absent("a/b/c", bytes("x")).await.unwrap();
    let whole = ["mkdir a", "sync_dir root", "mkdir b", "sync_dir a", "link c", "sync_dir b"];
    assert_eq!(disk.take_calls(), whole);
    store.put_if_absent("a/b/d", bytes("x")).await.unwrap();
    assert_eq!(disk.take_calls(), ["link d", "sync_dir b"]);
    store.put_if_absent("a/b/d", bytes("y")).await.unwrap();
    assert_eq!(disk.take_calls(), ["link d", "sync_dir b"], "Exists says durable as well");
}

#[tokio::test]
async fn a_name_that_may_not_be_durable_is_trouble_and_cannot_be_read_as_a_proof() {
    let outside = tempfile::tempdir().unwrap();
    let (disk, store) = Faulty::store(&outside.path().join("root")).await;
    store.put_if_absent("a/first", bytes("x")).await.unwrap();
    disk.fail_sync_dir.store(true, Ordering::SeqCst);
    assert!(matches!(store.put_if_absent("a/b", bytes("x")).await, Err(StoreError::Trouble(_))));
    assert!(matches!(store.put_if_absent("a/b", bytes("x")).await, Err(StoreError::Trouble(_))));
    assert!(matches!(store.get("a/b", GetRange::All).await, Err(StoreError::Trouble(_))));
    assert!(matches!(store.list("a/", "", 10).await, Err(StoreError::Trouble(_))));
    assert_eq!(store.get("a/first", GetRange::All).await.unwrap().0, "x");

    disk.fail_sync_dir.store(false, Ordering::SeqCst);
    disk.take_calls();
    assert_eq!(store.get("a/b", GetRange::All).await.unwrap().0, "x");
    assert_eq!(disk.take_calls(), ["sync_dir a"]);
    assert_eq!(store.get("a/b", GetRange::All).await.unwrap().0, "x");
    assert_eq!(disk.take_calls(), [""; 0]);
    assert_eq!(store.put_if_absent("a/b", bytes("y")).await.unwrap(), PutOutcome::Exists);
}

#[tokio::test]
async fn a_listing_shows_what_was_there_at_one_moment() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    let (disk, store) = Faulty::store(&root).await;
    store.put_if_absent("snapshot/27", bytes("older")).await.unwrap();
    // Replaced by a newer one between the names and the sizes: to show neither would say that there is none.
    *disk.doomed.lock().unwrap() = Some(root.join("snapshot/27"));
    let listed = store.list("snapshot/", "", 10).await.unwrap();
    assert_eq!(listed, [ObjectMeta { key: "snapshot/27".to_owned(), size: 0 }]);
    assert_eq!(store.list("snapshot/", "", 10).await.unwrap(), []);
}

#[tokio::test]
async fn what_another_process_has_linked_is_durable_when_that_is_asked_for() {
    let outside = tempfile::tempdir().unwrap();
    let (disk, store) = Faulty::store(&outside.path().join("root")).await;
    let other = open(&outside.path().join("root")).await.unwrap();
    other.put_if_absent("a/b/c", bytes("x")).await.unwrap();
    assert_eq!(store.get("a/b/c", GetRange::All).await.unwrap().0, "x");
    assert_eq!(disk.take_calls(), [""; 0]);
    store.make_durable("a/b/").await.unwrap();
    assert_eq!(disk.take_calls(), ["sync_dir b"]);
    store.make_durable("never/").await.unwrap();
    disk.fail_sync_dir.store(true, Ordering::SeqCst);
    assert!(matches!(store.make_durable("a/b/").await, Err(StoreError::Trouble(_))));
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_is_whole_or_not_there() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path()).await.unwrap();
    for n in 0..20 {
        let put = store.put_if_absent(&format!("a/{n}"), bytes("whole")).await;
        drop(put);
        let key = format!("dropped/{n}");
        assert!(futures::FutureExt::now_or_never(store.put_if_absent(&key, bytes("whole"))).is_none());
    }
    while !temporaries(root.path()).is_empty() || store.list("dropped/", "", 100).await.unwrap().len() < 20 {
        tokio::task::yield_now().await;
    }
    for object in store.list("dropped/", "", 100).await.unwrap() {
        assert_eq!(store.get(&object.key, GetRange::All).await.unwrap().0, "whole");
    }
}
