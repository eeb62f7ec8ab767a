//! The real [`Disk`]: Linux files and devices, called from threads of their own.
//!
//! System calls that wait for a device never run on the threads of the async runtime. Most go through one shared pool; a
//! file that is opened for direct writing, and for whose writes somebody waits (the ring WAL, not `bulk`), gets threads of its own
//! for its writes and syncs, so that a large upload into a folder on the same machine does not stand in line before an acknowledgement.
//!
//! Fail-stop: after a failed sync nobody knows what the device holds, and a second sync would lie. So every later write or
//! sync of that file, or sync of that folder, fails as well until the process is restarted.

mod errno;
mod file;
mod pool;
#[cfg(test)]
mod tests;

use crate::disk::{Disk, DiskError, File, OpenMode};
use crate::sync::lock;
use async_trait::async_trait;
use errno::{explain, explain_io};
use file::OsFile;
use pool::Pool;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Threads for everything but the writes of direct files that are not `bulk`.
const SHARED_THREADS_MAX: usize = 8;

/// The operating system's files.
pub struct OsDisk {
    pool: Arc<Pool>,
    /// Folders whose sync has failed once.
    failed_dirs: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Whether the log says already that direct I/O is not to be had.
    said_not_direct: AtomicBool,
}

impl OsDisk {
    /// No thread runs before the first call.
    #[must_use]
    pub fn new() -> OsDisk {
        OsDisk {
            pool: Arc::new(Pool::new("disk", SHARED_THREADS_MAX)),
            failed_dirs: Arc::default(),
            said_not_direct: AtomicBool::new(false),
        }
    }

    /// Runs a call that blocks and fails with [`DiskError`] about `path`.
    async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&Path) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        run_on(&self.pool, path, call).await
    }
}

impl Default for OsDisk {
    fn default() -> OsDisk {
        OsDisk::new()
    }
}

async fn run_on<T: Send + 'static>(
    pool: &Pool,
    path: &Path,
    call: impl FnOnce(&Path) -> Result<T, DiskError> + Send + 'static,
) -> Result<T, DiskError> {
    let owned = path.to_owned();
    match pool.run(move || call(&owned)).await {
        Ok(result) => result,
        Err(error) => Err(DiskError::Failed { path: path.to_owned(), message: error.to_string() }),
    }
}

#[async_trait]
impl Disk for OsDisk {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        let pool = Arc::clone(&self.pool);
        let file = self.run(path, move |path| OsFile::open(path, mode, pool)).await?;
        if mode.direct && !file.is_direct() && !self.said_not_direct.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{}: this file system has no direct I/O; writes go through the page cache, which is slower but as durable",
                path.display()
            );
        }
        Ok(Arc::new(file))
    }

    async fn create_dir_all(&self, path: &Path) -> Result<(), DiskError> {
        let create = |path: &Path| std::fs::create_dir_all(path).map_err(|e| explain_io(path, "create the folder", &e));
        self.run(path, create).await
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let failed = Arc::clone(&self.failed_dirs);
        self.run(path, move |path| {
            if lock(&failed).contains(path) {
                let message = "an earlier sync of this folder failed; restart the broker".to_owned();
                return Err(DiskError::Failed { path: path.to_owned(), message });
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = again(|| rustix::fs::open(path, flags, Mode::empty()))
                .map_err(|errno| explain(path, "open the folder", errno))?;
            again(|| rustix::fs::fsync(&folder)).map_err(|errno| {
                lock(&failed).insert(path.to_owned());
                explain(path, "make the folder's names durable", errno)
            })
        })
        .await
    }

    async fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let from = from.to_owned();
        self.run(to, move |to| {
            again(|| rustix::fs::linkat(CWD, &from, CWD, to, AtFlags::empty()))
                .map_err(|errno| explain(to, "create the hard link", errno))
        })
        .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let from = from.to_owned();
        self.run(to, move |to| {
            again(|| rustix::fs::rename(&from, to)).map_err(|errno| explain(to, "rename the file", errno))
        })
        .await
    }

    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.run(path, |path| match again(|| rustix::fs::unlink(path)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(explain(path, "remove the file", errno)),
        })
        .await
    }

    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        self.run(path, list_names).await
    }

    async fn sizes(&self, folder: &Path, names: &[String]) -> Result<Vec<Option<u64>>, DiskError> {
        let names = names.to_vec();
        self.run(folder, move |folder| {
            let size = |name: &String| {
                let path = folder.join(name);
                match std::fs::metadata(&path) {
                    Ok(metadata) => Ok(Some(metadata.len())),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(explain_io(&path, "read the file's size", &error)),
                }
            };
            names.iter().map(size).collect()
        })
        .await
    }

    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.run(path, |path| {
            let found = again(|| rustix::fs::statvfs(path))
                .map_err(|errno| explain(path, "read the file system's free space", errno))?;
            Ok(found.f_bavail.saturating_mul(found.f_frsize))
        })
        .await
    }
}

/// The names in a folder, sorted. What is not UTF-8 was not written by us and is left out.
fn list_names(path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
    let failed = |error: std::io::Error| explain_io(path, "list the folder", &error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let mut kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            match std::fs::metadata(entry.path()) {
                Ok(target) => kind = target.file_type(),
                // It points nowhere, or was removed since.
                Err(_) => continue,
            }
        }
        names.push((name, kind.is_dir()));
    }
    names.sort_unstable();
    Ok(names)
}

/// Calls again where a signal interrupted.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(&mut call)
}
