//! A folder as a bucket, over any [`Disk`]: the simulator runs this very code on its own disk.
//!
//! ```text
//! ROOT/KEY                  one file per object, whole from the moment that it has this name
//! ROOT/.tmp/START.lock      locked by the process that opened the folder as START, as long as it lives
//! ROOT/.tmp/START-N         an object while it is being written
//! ```
//! A put writes and syncs a file under `.tmp`, gives it its final name with a hard link (atomic, and refused where the name
//! is taken: that is the put-if-absent), and makes the name durable by syncing the folder. Names of new folders are made
//! durable in their parents first.
//!
//! Guarantees, beyond those of [`ObjectStore`]:
//! - `Created`, and `Exists`, are answered only when the name is durable: the caller of an ambiguous put will take its own
//!   object for the proof that the put succeeded. For the same reason `get` and `list` make a name durable that an
//!   unfinished put of this process has just linked. What another process has linked is durable after `make_durable`.
//! - A put runs to its end even where its caller stops waiting.
//! - A folder that vanishes (unmounted, removed) is refused; it never looks like an empty bucket.
//!
//! A delete is not synced. After a power loss a deleted object may be back; all who delete live with that: ledger entries
//! below a snapshot are not believed, WAL objects below the trim are not read, data objects outside the image are swept.
//!
//! Empty folders stay. Left to others: retries, and what an object means.

mod key;
#[cfg(test)]
mod tests;
mod walk;

use crate::clock::Clock;
use crate::disk::{AlignedBuf, BLOCK_BYTES, Disk, DiskError, File, OpenMode};
use crate::object_store::{GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError};
use crate::sync::lock;
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use key::{check_key, folder_of};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Where objects are written before they have a name. No key begins so.
const TEMPORARY: &str = ".tmp";

/// An object is copied to the disk in pieces of this size.
const WRITE_PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Objects of so many bytes go past the page cache: copying them into it costs more than everything else that is done to a record,
/// and its sync at the end would hold up the log on the same device for as long as it takes to write all of it.
const DIRECT_BYTES_MIN: usize = WRITE_PIECE_BYTES_MAX;

/// A folder as a bucket, over any [`Disk`].
pub struct FolderStore {
    clock: Arc<dyn Clock>,
    folder: Arc<Folder>,
}

struct Folder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Objects of so many bytes are written past the page cache.
    direct_bytes_min: usize,
    /// What this process writes as; `None` where it only reads.
    writer: Option<Writer>,
    temporaries: AtomicU64,
    /// Folders (as key prefixes) whose own name is durable.
    durable_folders: Mutex<BTreeSet<String>>,
    /// Keys that were linked, or may have been, and whose name is not known to be durable: those of puts under way, and of
    /// puts that failed until they are tried again.
    undurable_keys: Mutex<BTreeSet<String>>,
}

/// A process that writes to the folder.
struct Writer {
    /// The name under which it writes in the temporary folder.
    start: String,
    /// Held, so that others know that this process lives. Also the sign that the folder is still the one that was opened.
    _lock: Arc<dyn File>,
}

impl FolderStore {
    /// Creates the folder where it is missing, and removes what crashed processes left half written in it.
    ///
    /// # Errors
    /// The folder cannot be made or used; the message says what to do.
    pub async fn open(disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, root: PathBuf) -> Result<FolderStore, StoreError> {
        FolderStore::open_with(disk, clock, root, DIRECT_BYTES_MIN).await
    }

    /// The same, where objects of `direct_bytes_min` bytes and more go past the page cache: the simulator's are small.
    ///
    /// # Errors
    /// As [`FolderStore::open`].
    pub async fn open_with(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        root: PathBuf,
        direct_bytes_min: usize,
    ) -> Result<FolderStore, StoreError> {
        let refused = |error: DiskError| explain(&root, &error);
        create_durably(disk.as_ref(), &root).await.map_err(refused)?;
        let temporary = root.join(TEMPORARY);
        disk.create_dir_all(&temporary).await.map_err(refused)?;
        let (start, lock) = register(disk.as_ref(), clock.as_ref(), &temporary).await.map_err(refused)?;
        sweep(disk.as_ref(), &temporary, &start).await.map_err(refused)?;
        let writer = Some(Writer { start, _lock: lock });
        Ok(FolderStore::of(disk, clock, root, direct_bytes_min, writer))
    }

    /// A folder that is there, to look at: nothing in it changes, and no right to write is needed. Puts and deletes are refused.
    ///
    /// # Errors
    /// It is not there, or can't be read; the message says what to do.
    pub async fn open_to_read(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        root: PathBuf,
    ) -> Result<FolderStore, StoreError> {
        disk.list(&root).await.map_err(|error| explain(&root, &error))?;
        Ok(FolderStore::of(disk, clock, root, DIRECT_BYTES_MIN, None))
    }

    fn of(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        root: PathBuf,
        direct_bytes_min: usize,
        writer: Option<Writer>,
    ) -> FolderStore {
        let folder = Folder {
            disk,
            root,
            direct_bytes_min,
            writer,
            temporaries: AtomicU64::new(0),
            durable_folders: Mutex::default(),
            undurable_keys: Mutex::default(),
        };
        FolderStore { clock, folder: Arc::new(folder) }
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        check_key(key)?;
        let (folder, key) = (Arc::clone(&self.folder), key.to_owned());
        let (sender, receiver) = oneshot::channel();
        let put = async move {
            // The caller may have stopped waiting; the put is whole all the same.
            drop(sender.send(folder.put(&key, parts).await));
        };
        self.clock.spawn("folder put", Box::pin(put));
        receiver.await.unwrap_or_else(|_| Err(StoreError::Trouble("the put was cut short".to_owned())))
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        check_key(key)?;
        self.folder.get(key, range).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.folder.list(prefix, after, limit).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.folder.writer()?;
        for key in keys {
            check_key(key)?;
            let path = self.folder.root.join(key);
            match self.folder.disk.remove(&path).await {
                Ok(()) | Err(DiskError::NotFound(_)) => {}
                Err(error) => return Err(self.folder.explain(&error)),
            }
        }
        Ok(())
    }

    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        match self.folder.sync_folder(&self.folder.root.join(prefix)).await {
            Ok(()) | Err(DiskError::NotFound(_)) => Ok(()),
            Err(error) => Err(self.folder.explain(&error)),
        }
    }

    fn describe(&self) -> String {
        format!("folder {}", self.folder.root.display())
    }
}

impl Folder {
    async fn put(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(TEMPORARY).join(format!("{}-{number}", self.writer()?.start));
        let result = match self.write(&temporary, parts).await {
            Ok(()) => self.publish(&temporary, key).await,
            // Every folder above it was there when the store was opened.
            Err(DiskError::NotFound(_)) => return Err(self.vanished()),
            Err(error) => Err(self.explain(&error)),
        };
        if let Err(error) = self.disk.remove(&temporary).await {
            // The next start sweeps it.
            tracing::warn!("cannot remove a temporary file: {error}");
        }
        result
    }

    async fn write(&self, path: &Path, parts: Vec<Bytes>) -> Result<(), DiskError> {
        let len: usize = parts.iter().map(Bytes::len).sum();
        let direct = len >= self.direct_bytes_min;
        let mode = OpenMode { create_new: true, write: true, direct, bulk: true, ..OpenMode::default() };
        let file = self.disk.open(path, mode).await?;
        let mut position = 0;
        let mut parts = parts.into_iter();
        let mut part = Bytes::new();
        while position < len {
            let piece_len = (len - position).min(WRITE_PIECE_BYTES_MAX);
            let mut piece = AlignedBuf::with_capacity(piece_len.next_multiple_of(BLOCK_BYTES));
            while piece.len() < piece_len {
                if part.is_empty() {
                    part = parts.next().expect("the parts are as long as their sum");
                    continue;
                }
                let copied = part.len().min(piece_len - piece.len());
                piece.extend(&part[..copied]);
                part.advance(copied);
            }
            if direct {
                piece.pad_to_block();
            }
            file.write_at(bytes_of(position), piece).await?;
            position += piece_len;
        }
        if direct && !len.is_multiple_of(BLOCK_BYTES) {
            // What the last block was filled up with goes.
            file.allocate(bytes_of(len)).await?;
        }
        file.sync().await
    }

    /// Gives the file its name, durably.
    async fn publish(&self, temporary: &Path, key: &str) -> Result<PutOutcome, StoreError> {
        self.ensure_folder(folder_of(key)).await.map_err(|error| self.explain(&error))?;
        lock(&self.undurable_keys).insert(key.to_owned());
        let outcome = match self.disk.link(temporary, &self.root.join(key)).await {
            Ok(()) => PutOutcome::Created,
            Err(DiskError::Exists(_)) => PutOutcome::Exists,
            Err(error) => {
                if matches!(error, DiskError::NotFound(_)) {
                    // Somebody removed the folder: it is made again at the next try.
                    lock(&self.durable_folders).clear();
                }
                return Err(self.explain_link(&error));
            }
        };
        // Whatever fails from here on, the object may be there for ever.
        self.make_durable(key).await.map_err(|error| StoreError::Trouble(error.to_string()))?;
        Ok(outcome)
    }

    /// Creates the folder of a key prefix, each new name durable in its parent before anything is put below it.
    async fn ensure_folder(&self, folder: &str) -> Result<(), DiskError> {
        if folder.is_empty() || lock(&self.durable_folders).contains(folder) {
            return Ok(());
        }
        for (slash, _) in folder.match_indices('/') {
            let prefix = &folder[..=slash];
            if lock(&self.durable_folders).contains(prefix) {
                continue;
            }
            // The parent is there, or the root has vanished and must not come back empty.
            let parent = self.root.join(folder_of(&folder[..slash]));
            self.disk.create_dir_all(&self.root.join(prefix)).await?;
            self.sync_folder(&parent).await?;
            lock(&self.durable_folders).insert(prefix.to_owned());
        }
        Ok(())
    }

    /// Makes the name of a key durable that is linked.
    async fn make_durable(&self, key: &str) -> Result<(), DiskError> {
        self.sync_folder(&self.root.join(folder_of(key))).await?;
        lock(&self.undurable_keys).remove(key);
        Ok(())
    }

    async fn sync_folder(&self, folder: &Path) -> Result<(), DiskError> {
        base::planted!("directory not synced", self.disk.sync_dir(folder).await, Ok(()))
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        let failed = |error: DiskError| self.explain(&error);
        let file = match self.disk.open(&self.root.join(key), OpenMode::default()).await {
            Ok(file) => file,
            Err(DiskError::NotFound(_)) => {
                self.check_root().await?;
                return Err(StoreError::NotFound(key.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
        // Asked after the object was found: who linked it had noted the key before.
        if lock(&self.undurable_keys).contains(key) {
            self.make_durable(key).await.map_err(failed)?;
        }
        let size = file.size().await.map_err(failed)?;
        let (start, end) = match range {
            GetRange::All => (0, size),
            GetRange::Span { start, end } => (start.min(size), end.min(size)),
            GetRange::Suffix(len) => (size.saturating_sub(len), size),
        };
        let len = usize::try_from(end.saturating_sub(start)).expect("an object fits the address space");
        if len == 0 {
            return Ok((Bytes::new(), size));
        }
        let bytes = file.read_at(start, len).await.map_err(failed)?;
        if bytes.len() == len {
            Ok((bytes, size))
        } else {
            Err(StoreError::Trouble(format!("{key}: read {} bytes at {start} where {len} should be", bytes.len())))
        }
    }

    /// Whether the root is still the folder that was opened.
    async fn check_root(&self) -> Result<(), StoreError> {
        let is_there = match &self.writer {
            Some(writer) => {
                let sizes = self.disk.sizes(&self.root.join(TEMPORARY), &[lock_name(&writer.start)]).await;
                sizes.map(|sizes| sizes.iter().all(Option::is_some))
            }
            None => self.disk.list(&self.root).await.map(|_| true),
        };
        match is_there {
            Ok(true) => Ok(()),
            Ok(false) | Err(DiskError::NotFound(_)) => Err(self.vanished()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        let to_read = || StoreError::Refused(format!("the folder {} was opened to read only", self.root.display()));
        self.writer.as_ref().ok_or_else(to_read)
    }

    fn vanished(&self) -> StoreError {
        let root = self.root.display();
        StoreError::Refused(format!(
            "the folder {root} is no longer the one that was opened (unmounted, emptied or replaced); bring it back"
        ))
    }

    fn explain(&self, error: &DiskError) -> StoreError {
        explain(&self.root, error)
    }

    fn explain_link(&self, error: &DiskError) -> StoreError {
        match error {
            DiskError::Denied { .. } => StoreError::Refused(format!(
                "{error}; the file system must allow hard links and the broker's user must be allowed to write"
            )),
            other => self.explain(other),
        }
    }
}

/// What a failing disk means to the user of a bucket.
fn explain(root: &Path, error: &DiskError) -> StoreError {
    match error {
        DiskError::Full(path) => StoreError::Trouble(format!(
            "no space left for {}: free some on the file system of {}",
            path.display(),
            root.display()
        )),
        DiskError::Denied { .. } => StoreError::Refused(format!(
            "{error}; give the broker's user the right to read and write {}",
            root.display()
        )),
        DiskError::NotFound(_) | DiskError::Exists(_) | DiskError::Locked(_) | DiskError::Failed { .. } => {
            StoreError::Trouble(error.to_string())
        }
    }
}

fn bytes_of(len: usize) -> u64 {
    u64::try_from(len).expect("usize fits u64")
}

/// Creates a folder and its parents, each name durable.
async fn create_durably(disk: &dyn Disk, folder: &Path) -> Result<(), DiskError> {
    let mut missing = Vec::new();
    for ancestor in folder.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        match disk.sync_dir(ancestor).await {
            Err(DiskError::NotFound(_)) => missing.push(ancestor),
            // A folder above that we may not open is there; whether it is of use will be seen.
            Err(DiskError::Denied { .. }) if !missing.is_empty() => break,
            other => {
                other?;
                break;
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    disk.create_dir_all(folder).await.map_err(|error| match error {
        DiskError::Exists(path) | DiskError::NotFound(path) => {
            let message = "a file stands where a folder should be; remove it or name another folder".to_owned();
            DiskError::Denied { path, message }
        }
        other => other,
    })?;
    for created in missing.into_iter().rev() {
        let parent = created.parent().filter(|path| !path.as_os_str().is_empty());
        disk.sync_dir(parent.unwrap_or(Path::new("."))).await?;
    }
    Ok(())
}

/// Takes a fresh name in the temporary folder, and its lock.
async fn register(disk: &dyn Disk, clock: &dyn Clock, temporary: &Path) -> Result<(String, Arc<dyn File>), DiskError> {
    loop {
        let start = format!("{:016x}", clock.random());
        let name = lock_name(&start);
        let mode = OpenMode { create_new: true, write: true, ..OpenMode::default() };
        let file = match disk.open(&temporary.join(&name), mode).await {
            Err(DiskError::Exists(_)) => continue,
            other => other?,
        };
        // Another process may sweep between the creation and the lock: then the lock is taken, or the name is gone.
        match file.lock().await {
            Err(DiskError::Locked(_)) => continue,
            other => other?,
        }
        if disk.sizes(temporary, &[name]).await?.iter().all(Option::is_some) {
            return Ok((start, file));
        }
    }
}

/// Removes the temporary files of processes that live no more: those whose lock can be had, or is gone.
async fn sweep(disk: &dyn Disk, temporary: &Path, own: &str) -> Result<(), DiskError> {
    let mut files_by_start: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, _) in disk.list(temporary).await? {
        let start = name.split(['-', '.']).next().unwrap_or_default().to_owned();
        files_by_start.entry(start).or_default().push(name);
    }
    files_by_start.remove(own);
    for (start, files) in files_by_start {
        let mode = OpenMode { write: true, ..OpenMode::default() };
        let lock = match disk.open(&temporary.join(lock_name(&start)), mode).await {
            Ok(file) => file.lock().await.map(|()| Some(file)),
            // A living process has its lock before it writes anything else.
            Err(DiskError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        };
        // Where there is no lock to be had, the process lives; or is another user's, and not ours to judge.
        let Ok(lock) = lock else { continue };
        // The name of the lock goes last in the order of names ('-' sorts before '.'), while we still hold it.
        for name in files {
            disk.remove(&temporary.join(name)).await?;
        }
        drop(lock);
    }
    Ok(())
}

fn lock_name(start: &str) -> String {
    format!("{start}.lock")
}
