//! One open file or device of the real disk.

use super::errno::explain;
use super::pool::Pool;
use super::{again, run_on};
use crate::disk::{AlignedBuf, BLOCK_BYTES, DiskError, File, OpenMode};
use crate::sync::lock;
use async_trait::async_trait;
use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Writes of one direct file that are with the device at once: one group is written while the one before it completes.
const WRITER_THREADS_MAX: usize = 2;

/// An open file. Reads go through the shared pool; so do writes, unless the file is opened for direct writing and not `bulk`.
pub(super) struct OsFile {
    handle: Arc<Handle>,
    readers: Arc<Pool>,
    writers: Arc<Pool>,
}

/// What a call needs on its thread.
struct Handle {
    path: PathBuf,
    fd: OwnedFd,
    /// Direct I/O was asked for: callers keep to its alignment, also where the file system refused it.
    aligned: bool,
    direct: bool,
    device: bool,
    /// Writes that have returned, counted.
    written: AtomicU64,
    /// How many of them the last sync covers. Held over a sync, so that syncs follow one another and no failed one goes unseen: the
    /// kernel tells of a loss only once.
    synced: Mutex<u64>,
    /// A sync failed, or a write that was to be durable.
    failed: AtomicBool,
}

impl OsFile {
    /// Opens or creates; blocks.
    pub(super) fn open(path: &Path, mode: OpenMode, shared: Arc<Pool>) -> Result<OsFile, DiskError> {
        let mut flags = OFlags::CLOEXEC | if mode.write { OFlags::RDWR } else { OFlags::RDONLY };
        flags.set(OFlags::CREATE, mode.create_new);
        // Without O_CREAT it acts on devices alone.
        flags.set(OFlags::EXCL, mode.create_new || mode.exclusive);
        let failed = |errno| explain(path, "open the file", errno);
        let fd = again(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))).map_err(failed)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd).map_err(failed)?.st_mode);
        if kind == FileType::Directory {
            return Err(DiskError::NotFound(path.to_owned()));
        }
        let handle = Handle {
            direct: mode.direct && go_direct(&fd).map_err(failed)?,
            path: path.to_owned(),
            fd,
            aligned: mode.direct,
            device: kind == FileType::BlockDevice,
            written: AtomicU64::new(0),
            synced: Mutex::new(0),
            failed: AtomicBool::new(false),
        };
        let own_writers = mode.direct && mode.write && !mode.bulk;
        let writers =
            if own_writers { Arc::new(Pool::new("wal-disk", WRITER_THREADS_MAX)) } else { Arc::clone(&shared) };
        Ok(OsFile { handle: Arc::new(handle), readers: shared, writers })
    }

    async fn run<T: Send + 'static>(
        &self,
        pool: &Pool,
        call: impl FnOnce(&Handle) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let handle = Arc::clone(&self.handle);
        run_on(pool, &self.handle.path, move |_| call(&handle)).await
    }
}

/// Turns direct I/O on and tells whether the file system takes it.
///
/// The flag is set on the open file, not given to `open`: there some kernels create the file before they refuse the flag.
/// A file system may take the flag and refuse our alignment; one read shows it.
fn go_direct(fd: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    match rustix::fs::fcntl_setfl(fd, flags | OFlags::DIRECT) {
        Ok(()) => {}
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    block.extend(&[0; BLOCK_BYTES]);
    match again(|| rustix::io::pread(fd, block.as_mut_slice(), 0)) {
        Ok(_) => Ok(true),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            rustix::fs::fcntl_setfl(fd, flags)?;
            Ok(false)
        }
        Err(errno) => Err(errno),
    }
}

#[async_trait]
impl File for OsFile {
    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        self.handle.assert_aligned(position, len);
        self.run(&self.readers, move |handle| handle.read_at(position, len)).await
    }

    async fn write_at(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.handle.assert_aligned(position, data.len());
        self.run(&self.writers, move |handle| handle.write_at(position, data.as_slice())).await
    }

    async fn sync(&self) -> Result<(), DiskError> {
        self.run(&self.writers, Handle::sync).await
    }

    // One job for both: to hand a job to a thread, and to be woken by it, takes longer than the call does.
    async fn write_durably(&self, position: u64, data: AlignedBuf) -> Result<(), DiskError> {
        self.handle.assert_aligned(position, data.len());
        self.run(&self.writers, move |handle| handle.write_durably(position, data.as_slice())).await
    }

    async fn size(&self) -> Result<u64, DiskError> {
        self.run(&self.readers, Handle::size).await
    }

    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        self.run(&self.writers, move |handle| handle.allocate(len)).await
    }

    async fn lock(&self) -> Result<(), DiskError> {
        self.run(&self.readers, |handle| {
            match again(|| rustix::fs::flock(&handle.fd, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => Ok(()),
                Err(Errno::WOULDBLOCK) => Err(DiskError::Locked(handle.path.clone())),
                Err(errno) => Err(explain(&handle.path, "lock the file", errno)),
            }
        })
        .await
    }

    fn is_direct(&self) -> bool {
        self.handle.direct
    }

    fn is_device(&self) -> bool {
        self.handle.device
    }
}

impl Handle {
    fn assert_aligned(&self, position: u64, len: usize) {
        let block = u64::try_from(BLOCK_BYTES).expect("a block is small");
        let aligned = position.is_multiple_of(block) && len.is_multiple_of(BLOCK_BYTES);
        assert!(aligned || !self.aligned, "direct I/O of {len} bytes at {position} is not aligned to blocks");
    }

    fn read_at(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        // Memory is taken for what is there, not for what was asked.
        let left = usize::try_from(self.size()?.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = len.min(left);
        let mut memory = Aligned::zeroed(wanted.next_multiple_of(if self.aligned { BLOCK_BYTES } else { 1 }));
        let mut filled = 0;
        while filled < wanted {
            let at = position + u64::try_from(filled).expect("usize fits u64");
            let read = again(|| rustix::io::pread(&self.fd, &mut memory.slice_mut()[filled..], at))
                .map_err(|errno| explain(&self.path, "read", errno))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(memory.into_bytes(filled.min(wanted)))
    }

    fn write_at(&self, position: u64, data: &[u8]) -> Result<(), DiskError> {
        self.check_not_failed()?;
        let failed = |errno| explain(&self.path, "write", errno);
        let mut written = 0;
        while written < data.len() {
            let at = position + u64::try_from(written).expect("usize fits u64");
            match again(|| rustix::io::pwrite(&self.fd, &data[written..], at)) {
                Ok(0) => return Err(failed(Errno::IO)),
                Ok(bytes) => written += bytes,
                Err(errno) => return Err(failed(errno)),
            }
        }
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.sync_all(&mut lock(&self.synced))
    }

    fn write_durably(&self, position: u64, data: &[u8]) -> Result<(), DiskError> {
        // A write that failed half way is of a kind with a sync that did.
        self.write_at(position, data).inspect_err(|_| self.failed.store(true, Ordering::SeqCst))?;
        let ticket = self.written.load(Ordering::SeqCst);
        let mut synced = lock(&self.synced);
        self.check_not_failed()?;
        // Another's sync that began after this write had returned covers it.
        if *synced < ticket { self.sync_all(&mut synced) } else { Ok(()) }
    }

    fn sync_all(&self, synced: &mut u64) -> Result<(), DiskError> {
        self.check_not_failed()?;
        let covered = self.written.load(Ordering::SeqCst);
        again(|| rustix::fs::fdatasync(&self.fd)).map_err(|errno| {
            self.failed.store(true, Ordering::SeqCst);
            explain(&self.path, "make the file durable", errno)
        })?;
        *synced = covered;
        Ok(())
    }

    fn check_not_failed(&self) -> Result<(), DiskError> {
        if self.failed.load(Ordering::SeqCst) {
            let message =
                "an earlier write or sync failed, so that its contents are unknown; restart the broker".to_owned();
            return Err(DiskError::Failed { path: self.path.clone(), message });
        }
        Ok(())
    }

    fn size(&self) -> Result<u64, DiskError> {
        // A device has no length of its own; its end can be sought. Nothing else uses the file's cursor.
        let size = if self.device {
            rustix::fs::seek(&self.fd, SeekFrom::End(0))
        } else {
            rustix::fs::fstat(&self.fd).map(|stat| u64::try_from(stat.st_size).unwrap_or(0))
        };
        size.map_err(|errno| explain(&self.path, "read the file's size", errno))
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        if self.device {
            return if self.size()? >= len { Ok(()) } else { Err(DiskError::Full(self.path.clone())) };
        }
        let failed = |errno| explain(&self.path, "reserve space for the file", errno);
        if self.size()? > len {
            // To shorten a file reserves nothing, and `fallocate` never shortens.
            return again(|| rustix::fs::ftruncate(&self.fd, len)).map_err(failed);
        }
        match again(|| rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), 0, len.max(1))) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                tracing::warn!("{}: this file system cannot reserve space; keep {len} bytes free", self.path.display());
            }
            Err(errno) => return Err(failed(errno)),
        }
        // Where `fallocate` is not to be had the file has its length all the same.
        again(|| rustix::fs::ftruncate(&self.fd, len)).map_err(failed)
    }
}

/// Zeroed memory that begins at a block, to read into and to give away.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn zeroed(len: usize) -> Aligned {
        let memory = vec![0; len + BLOCK_BYTES];
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Aligned { memory, start, len }
    }

    fn slice_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    fn into_bytes(mut self, len: usize) -> Bytes {
        self.memory.truncate(self.start + len);
        Bytes::from(self.memory).slice(self.start..)
    }
}
