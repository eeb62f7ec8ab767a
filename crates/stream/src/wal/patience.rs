//! Files of dead starts' rings, asked by a start that can do without them: a device or a server of files that does not answer must not
//! keep a broker from serving everything else.
//!
//! Every call ends within a limit while the start walks dead logs. A call that was given up still holds its thread, so nothing more is
//! asked of a folder that has not answered once. Once the start serves, calls wait as long as they take: whoever reads then has nothing
//! else to do.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{AlignedBuf, Clock, ClockExt, DiskError, File, OpenMode, World, lock};

/// A limit goes by in so many parts.
const PARTS: u32 = 6;

/// The first word about what a start waits for, and how often another at the least.
const TOLD_AFTER: Duration = Duration::from_secs(10);
const TOLD_EVERY_MAX: Duration = Duration::from_secs(120);

/// `work`'s output; `None` where it had `limit` for it. Of a pause of this process or its machine, in which timers run on and nothing
/// else does, no more than a part of the limit counts: the device may have answered long ago.
pub(crate) async fn within<F>(clock: &dyn Clock, limit: Duration, work: F) -> Option<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let mut work = pin!(work);
    for _ in 0..PARTS {
        let output = clock.timeout(limit / PARTS, work.as_mut()).await;
        if output.is_some() {
            return output;
        }
    }
    None
}

/// `work`'s output, however long it takes; while it does, the operator is told what is waited for: a disk, or a mount, that hangs would keep
/// a start without a word.
pub async fn told_while_waiting<F>(clock: &dyn Clock, what: &str, work: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let tell = || tracing::warn!("{what} takes long: its disk is slow, or does not answer; waiting for it");
    telling_while_waiting(clock, tell, work).await
}

/// The same, told in whatever way.
pub(super) async fn telling_while_waiting<F>(clock: &dyn Clock, mut tell: impl FnMut() + Send, work: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let mut work = pin!(work);
    let mut wait = TOLD_AFTER;
    loop {
        if let Some(output) = clock.timeout(wait, work.as_mut()).await {
            return output;
        }
        tell();
        wait = (wait * 2).min(TOLD_EVERY_MAX);
    }
}

/// How long a start waits for files of dead rings, and which have kept it waiting.
pub(crate) struct Patience {
    clock: Arc<dyn Clock>,
    limit: Duration,
    /// Folders, and devices.
    hung: Mutex<BTreeSet<PathBuf>>,
    is_over: AtomicBool,
}

impl Patience {
    /// Each call has `limit`.
    pub(crate) fn new(world: &World, limit: Duration) -> Arc<Patience> {
        let clock = world.clock.clone();
        Arc::new(Patience { clock, limit, hung: Mutex::default(), is_over: AtomicBool::new(false) })
    }

    /// Opens a file whose calls are limited.
    pub(super) async fn open(
        self: &Arc<Patience>,
        world: &World,
        path: &Path,
        mode: OpenMode,
    ) -> Result<Arc<dyn File>, DiskError> {
        if self.has_hung(path) {
            return Err(self.hangs(path));
        }
        let file = self.ask(path, world.disk.open(path, mode)).await?;
        Ok(Arc::new(Limited { file, path: path.to_owned(), patience: self.clone() }))
    }

    /// Whether what holds that file has not answered: it is not to be asked again.
    pub(crate) fn has_hung(&self, path: &Path) -> bool {
        lock(&self.hung).contains(holder(path))
    }

    /// From now on calls wait.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    async fn ask<T: Send>(
        &self,
        path: &Path,
        call: impl Future<Output = Result<T, DiskError>> + Send,
    ) -> Result<T, DiskError> {
        if self.is_over.load(Ordering::Acquire) {
            return call.await;
        }
        within(self.clock.as_ref(), self.limit, call).await.unwrap_or_else(|| {
            lock(&self.hung).insert(holder(path).to_owned());
            Err(self.hangs(path))
        })
    }

    fn hangs(&self, path: &Path) -> DiskError {
        let message = format!("{} has not answered for {} s", holder(path).display(), self.limit.as_secs());
        DiskError::Failed { path: path.to_owned(), message }
    }
}

/// The folder that a file is in; a device's is that of all devices, so it stands for itself.
fn holder(path: &Path) -> &Path {
    if path.starts_with("/dev") { path } else { path.parent().unwrap_or(path) }
}

/// A file whose calls are limited.
struct Limited {
    file: Arc<dyn File>,
    path: PathBuf,
    patience: Arc<Patience>,
}

#[async_trait]
impl File for Limited {
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        self.patience.ask(&self.path, self.file.read_at(position, len)).await
    }
    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.patience.ask(&self.path, self.file.write_at(position, data)).await
    }
    async fn sync(&self) -> Result<(), DiskError> {
        self.patience.ask(&self.path, self.file.sync()).await
    }
    async fn size(&self) -> Result<u64, DiskError> {
        self.patience.ask(&self.path, self.file.size()).await
    }
    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        self.patience.ask(&self.path, self.file.allocate(len)).await
    }
    async fn lock(&self) -> Result<(), DiskError> {
        self.patience.ask(&self.path, self.file.lock()).await
    }
    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }
    fn is_device(&self) -> bool {
        self.file.is_device()
    }
}
