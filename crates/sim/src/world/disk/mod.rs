//! The seam Disk of a simulated host: slow, failing, and forgetful exactly where the contract allows it.
//!
//! [`state`] holds what is written and what is durable; this file is the asynchronous face with its latencies and errors.
//! An operation runs as a task of the calling process, so that it goes on where its caller gave up waiting (as a system
//! call in a thread does) and ends with the process. A write that a death interrupts is torn.

mod state;

use crate::world::{HostId, Process, Trace, wait};
use async_trait::async_trait;
use base::{Seed, crc32c};
use bytes::Bytes;
use state::{Inode, State};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use world::{AlignedBuf, Disk, DiskError, File, OpenMode};

/// How a disk behaves now. All chances are per mille of the calls.
#[derive(Debug, Clone, Copy)]
pub struct DiskWeather {
    /// A call takes up to so many milliseconds.
    pub latency_ms_max: u64,
    /// A call takes up to [`DiskWeather::slow_ms_max`] instead.
    pub slow: u64,
    /// See [`DiskWeather::slow`].
    pub slow_ms_max: u64,
    /// A write or a sync fails.
    pub fail: u64,
    /// A write that needs room finds none.
    pub full: u64,
}

impl DiskWeather {
    /// A healthy disk.
    pub const FAIR: DiskWeather = DiskWeather { latency_ms_max: 2, slow: 5, slow_ms_max: 40, fail: 0, full: 0 };
}

/// A host's disk, which outlives processes.
#[derive(Clone)]
pub struct HostDisk {
    host: HostId,
    shared: Arc<Mutex<Shared>>,
    trace: Trace,
}

struct Shared {
    state: State,
    weather: DiskWeather,
    seed: Seed,
}

impl HostDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(host: HostId, seed: Seed, trace: Trace) -> HostDisk {
        let shared = Shared { state: State::default(), weather: DiskWeather::FAIR, seed };
        HostDisk { host, shared: Arc::new(Mutex::new(shared)), trace }
    }

    /// Changes how it behaves.
    pub fn set_weather(&self, weather: DiskWeather) {
        self.lock().weather = weather;
    }

    /// Loses what is not durable: each unsynced sector and each unsynced name for itself.
    pub fn power_loss(&self) {
        let mut shared = self.lock();
        let Shared { state, seed, .. } = &mut *shared;
        let losses = state.power_loss(seed);
        drop(shared);
        self.trace.event("disk", format_args!("host {} loses power: {losses:?}", self.host.0));
        self.trace.count_by("fault.sector_lost", losses.sectors);
        self.trace.count_by("fault.sector_torn_in", losses.survivors);
        self.trace.count_by("fault.name_lost", losses.names);
    }

    /// A raw device of so many bytes, all zero, under that name; the one that is there where one is.
    pub fn add_device(&self, path: &Path, bytes: u64) {
        self.lock().state.add_device(path, bytes);
    }

    /// Loses everything: the host got a new, empty disk.
    pub fn destroy(&self) {
        self.lock().state = State::default();
        self.trace.event("disk", format_args!("host {} loses its disk", self.host.0));
    }

    /// The files below a folder with their present contents; for checkers.
    #[must_use]
    pub fn contents(&self, below: &Path) -> Vec<(PathBuf, Bytes)> {
        self.lock().state.contents(below)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a host has mounted the filer.
pub const SHARED_FOLDER: &str = "/shared";

/// One process' way to its host's disk, and to the filer's.
pub struct SimDisk {
    disk: HostDisk,
    filer: HostDisk,
    process: Arc<Process>,
}

impl SimDisk {
    /// The disk of `process`' host. Locks and writes in flight end with the process.
    #[must_use]
    pub fn new(disk: HostDisk, filer: HostDisk, process: Arc<Process>) -> SimDisk {
        filer.lock().state.add_mount_point(Path::new(SHARED_FOLDER));
        for at_death in [disk.clone(), filer.clone()] {
            let id = process.id;
            process.on_death(move || {
                let mut shared = at_death.lock();
                let Shared { state, seed, .. } = &mut *shared;
                let torn = state.process_died(id, seed);
                drop(shared);
                at_death.trace.count_by("fault.write_torn", torn);
            });
        }
        SimDisk { disk, filer, process }
    }

    /// The way to the disk that holds `path`.
    fn at(&self, path: &Path) -> SimDisk {
        let disk = if path.starts_with(SHARED_FOLDER) { &self.filer } else { &self.disk };
        SimDisk { disk: disk.clone(), filer: self.filer.clone(), process: Arc::clone(&self.process) }
    }

    /// Runs one call: latency, the effect on the state, its trace line.
    async fn call<T: Send + 'static>(
        &self,
        what: String,
        effect: impl FnOnce(&mut State, &Process) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        self.process.seam().await;
        let latency = self.disk.latency();
        let (disk, process) = (self.disk.clone(), Arc::clone(&self.process));
        in_background(&self.process, async move {
            wait(latency).await;
            let result = effect(&mut disk.lock().state, &process);
            disk.trace.event(&process.name, format_args!("{what} -> {}", answer(&result)));
            result
        })
        .await
    }
}

impl HostDisk {
    fn latency(&self) -> Duration {
        let mut shared = self.lock();
        let weather = shared.weather;
        let slow = shared.seed.chance(weather.slow);
        let millis = shared.seed.below(if slow { weather.slow_ms_max } else { weather.latency_ms_max } + 1);
        drop(shared);
        if slow {
            self.trace.count("fault.disk_slow");
        }
        Duration::from_millis(millis)
    }

    /// Whether bad weather makes a write or sync fail now.
    fn strikes(&self, path: &Path, needs_room: bool) -> Option<DiskError> {
        let mut shared = self.lock();
        let weather = shared.weather;
        if shared.seed.chance(weather.fail) {
            self.trace.count("fault.disk_error");
            return Some(DiskError::Failed { path: path.to_owned(), message: "input/output error".to_owned() });
        }
        if needs_room && shared.seed.chance(weather.full) {
            self.trace.count("fault.disk_full");
            return Some(DiskError::Full(path.to_owned()));
        }
        None
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        if mode.create_new
            && let Some(error) = self.at(path).disk.strikes(path, true)
        {
            self.process.seam().await;
            return Err(error);
        }
        let owned = path.to_owned();
        let (inode, handle) = self
            .at(path)
            .call(format!("open {} {mode:?}", path.display()), move |state, _| state.open(&owned, mode.create_new))
            .await?;
        Ok(Arc::new(SimFile {
            path: path.to_owned(),
            inode,
            handle,
            mode,
            failed: Arc::default(),
            disk: self.at(path),
        }))
    }

    async fn create_dir_all(&self, path: &Path) -> Result<(), DiskError> {
        let owned = path.to_owned();
        self.at(path).call(format!("mkdir {}", path.display()), move |state, _| state.create_dir_all(&owned)).await
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), DiskError> {
        let owned = path.to_owned();
        let error = self.at(path).disk.strikes(path, false);
        self.at(path)
            .call(format!("sync_dir {}", path.display()), move |state, _| match error {
                Some(error) => Err(error),
                None => state.sync_dir(&owned),
            })
            .await
    }

    async fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let (source, target) = (from.to_owned(), to.to_owned());
        let what = format!("link {} {}", from.display(), to.display());
        self.at(to).call(what, move |state, _| state.link(&source, &target)).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let (source, target) = (from.to_owned(), to.to_owned());
        let what = format!("rename {} {}", from.display(), to.display());
        self.at(to).call(what, move |state, _| state.rename(&source, &target)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let owned = path.to_owned();
        self.at(path).call(format!("remove {}", path.display()), move |state, _| state.remove(&owned)).await
    }

    async fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, DiskError> {
        let owned = path.to_owned();
        self.at(path).call(format!("list {}", path.display()), move |state, _| state.list(&owned)).await
    }

    async fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.at(path).call(format!("free {}", path.display()), |state, _| Ok(state.free_bytes())).await
    }
}

struct SimFile {
    path: PathBuf,
    inode: Inode,
    handle: u64,
    mode: OpenMode,
    /// A sync failed.
    failed: Arc<AtomicBool>,
    disk: SimDisk,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // A killed process' locks went at its death; its destructors do nothing.
        if !self.disk.process.is_dead() {
            self.disk.disk.lock().state.unlock(self.inode, self.handle);
        }
    }
}

#[async_trait]
impl File for SimFile {
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        self.check_direct(position, len)?;
        let inode = self.inode;
        let result = self
            .disk
            .call(format!("read {} {position}+{len}", self.path.display()), move |state, _| {
                Ok(state.read(inode, position, len))
            })
            .await?;
        self.disk.disk.trace.event(&self.disk.process.name, format_args!("  {:08x}", crc32c(&result)));
        Ok(result)
    }

    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.check_direct(position, data.len())?;
        if !self.mode.write {
            return Err(DiskError::Denied { path: self.path.clone(), message: "not opened for writing".to_owned() });
        }
        self.disk.process.seam().await;
        let (inode, disk, process) = (self.inode, self.disk.disk.clone(), Arc::clone(&self.disk.process));
        let needs_room = disk.lock().state.grows(inode, position, data.len());
        let error = disk.strikes(&self.path, needs_room);
        let latency = disk.latency();
        let line = format!("write {} {position}+{} {:08x}", self.path.display(), data.len(), crc32c(data.as_slice()));
        let bytes = Bytes::copy_from_slice(data.as_slice());
        in_background(&self.disk.process, async move {
            let write = disk.lock().state.begin_write(process.id, inode, position, bytes);
            wait(latency).await;
            let mut shared = disk.lock();
            let Shared { state, seed, .. } = &mut *shared;
            let result = match error {
                Some(error) => {
                    // What a failed write left behind is anybody's guess.
                    state.tear(write, seed, false);
                    Err(error)
                }
                None => {
                    state.end_write(write);
                    Ok(())
                }
            };
            drop(shared);
            disk.trace.event(&process.name, format_args!("{line} -> {}", answer(&result)));
            result
        })
        .await
    }

    async fn sync(&self) -> Result<(), DiskError> {
        let (inode, disk) = (self.inode, self.disk.disk.clone());
        let error = disk.strikes(&self.path, false);
        let mut seed = disk.lock().seed.fork("sync");
        let (failed, path) = (Arc::clone(&self.failed), self.path.clone());
        self.disk
            .call(format!("sync {}", self.path.display()), move |state, _| {
                // The device tells of a loss only once: who asks after that must not hear that all is well.
                if failed.load(Ordering::Relaxed) {
                    return Err(DiskError::Failed { path, message: "an earlier sync failed".to_owned() });
                }
                if let Some(error) = error {
                    state.failed_sync(inode, &mut seed);
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                state.sync(inode);
                Ok(())
            })
            .await
    }

    async fn size(&self) -> Result<u64, DiskError> {
        let inode = self.inode;
        self.disk.call(format!("size {}", self.path.display()), move |state, _| Ok(state.size(inode))).await
    }

    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let (inode, path) = (self.inode, self.path.clone());
        let error = self.disk.disk.strikes(&self.path, true);
        self.disk
            .call(format!("allocate {} {len}", self.path.display()), move |state, _| match error {
                Some(error) => Err(error),
                None => state.allocate(inode, len, &path),
            })
            .await
    }

    async fn lock(&self) -> Result<(), DiskError> {
        let (inode, handle, path) = (self.inode, self.handle, self.path.clone());
        self.disk
            .call(format!("lock {}", self.path.display()), move |state, process| {
                state.take_lock(inode, process.id, handle, &path)
            })
            .await
    }

    fn is_direct(&self) -> bool {
        self.mode.direct
    }

    fn is_device(&self) -> bool {
        self.disk.disk.lock().state.is_device(self.inode)
    }
}

impl SimFile {
    fn check_direct(&self, position: u64, len: usize) -> Result<(), DiskError> {
        let block = world::disk::BLOCK_BYTES;
        if self.mode.direct && (!position.is_multiple_of(block as u64) || !len.is_multiple_of(block)) {
            let message = format!("direct I/O of {len} bytes at {position} is not aligned");
            return Err(DiskError::Failed { path: self.path.clone(), message });
        }
        Ok(())
    }
}

fn answer<T>(result: &Result<T, DiskError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Runs a call as a task of the process: dropping the caller's future does not take it back.
async fn in_background<T: Send + 'static>(
    process: &Arc<Process>,
    work: impl Future<Output = Result<T, DiskError>> + Send + 'static,
) -> Result<T, DiskError> {
    let (send, receive) = oneshot::channel();
    process.spawn(
        "disk call",
        Box::pin(async move {
            let result = work.await;
            // Nobody waits any more: the caller gave up.
            drop(send.send(result));
        }),
    );
    match receive.await {
        Ok(result) => result,
        // The process died; its caller is never polled again either.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
