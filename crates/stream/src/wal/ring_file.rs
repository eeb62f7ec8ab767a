//! The ring's file: creation, lock, header slots, and where positions lie.
//!
//! `[slot 0][slot 1][data]`, each slot a block, the data a multiple of blocks; a ring that hosts share has its control block between
//! slots and data (`ring_shared`). A position is absolute and grows for ever; its
//! byte is at `data start + position % data length`. Which starts' groups are still needed, and from where, is told by the
//! image, never by the file.
//!
//! [`RingFile::open`] syncs the file once it holds the lock: what is read from then on, a recovered tail above all, is durable
//! even where its writer died between a write and its sync. Otherwise a sealed end could outlive the bytes below it.

use super::{RecoverError, Recovered, RingWal, WalOpenError, WalOptions, WalReadError, WalSpan, ring_scan};
use base::{WalId, WalPosition, planted};
use bytes::Bytes;
use control_core::image::{Image, WalState};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use stream_core::ring_header::{self, RingHeader, Slot};
use world::disk::BLOCK_BYTES;
use world::{AlignedBuf, Clock, ClockExt, Disk, DiskError, File, OpenMode, World, lock};

/// [`BLOCK_BYTES`], as positions count.
pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;

/// The smallest ring. Real ones are far larger; the simulator's are small so that they wrap and fill.
pub const RING_BYTES_MIN: u64 = 16 * BLOCK;

/// The largest ring that is made without being asked for.
const RING_BYTES_DEFAULT_MAX: u64 = 2 << 30;

/// Where the header slots end.
pub(super) const SLOTS_END: u64 = 2 * BLOCK;

/// The ring's name in its folder.
pub(super) const FILE_NAME: &str = "ring";

/// The size of a ring that nobody chose: 2 GiB, or a tenth of what is free where that is less.
#[must_use]
pub fn default_ring_bytes(free_bytes: u64) -> u64 {
    (free_bytes / 10).clamp(RING_BYTES_MIN, RING_BYTES_DEFAULT_MAX) / BLOCK * BLOCK
}

/// An open ring; clones share it. One that a host has for itself is locked, until the last clone is dropped or the process ends.
#[derive(Clone)]
pub struct RingFile {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    file: Arc<dyn File>,
    path: PathBuf,
    header: Mutex<RingHeader>,
    /// The token of what a device's operator gives up.
    give_up: Option<String>,
    /// Made by this process: nobody can have known of it before.
    is_new: AtomicBool,
    /// Scans that [`RingFile::next_start`] had to make, kept for the recovery that follows: (from where, what).
    scanned: Mutex<BTreeMap<WalId, (WalPosition, Recovered)>>,
}

impl RingFile {
    /// Opens and locks the ring in `dir`, or makes one of `bytes`. One that is there keeps its size.
    ///
    /// # Errors
    /// One line that says what to do: locked, full, denied, damaged, or written by a newer release.
    pub async fn open(world: &World, dir: &Path, bytes: u64) -> Result<RingFile, WalOpenError> {
        let disk = world.disk.as_ref();
        let path = dir.join(FILE_NAME);
        let bytes = bytes.max(RING_BYTES_MIN) / BLOCK * BLOCK;
        disk.create_dir_all(dir).await.map_err(|error| match error {
            DiskError::Exists(path) => WalOpenError(format!(
                "{} is no folder: give another --wal; a whole device is block:///dev/NAME",
                path.display()
            )),
            error => cannot("make the folder of", &error),
        })?;
        let file = open_or_create(disk, &path).await?;
        file.lock().await.map_err(|error| match error {
            DiskError::Locked(path) => WalOpenError(format!(
                "the write-ahead log {} is in use by another process: stop that one, or give this one its own --data or --wal",
                path.display()
            )),
            error => cannot("lock", &error),
        })?;
        let found = read_slots(file.as_ref(), &path).await?.header(&path)?;
        let header = match found {
            Some(header) => header,
            None => make(world, file.as_ref(), &path, bytes).await?,
        };
        // The name must last as long as what will be written under it; also where an earlier process made it and was killed.
        if planted!("directory not synced", true, false) {
            sync_names(disk, dir).await?;
        }
        file.sync().await.map_err(|error| cannot("sync", &error))?;
        if header.data_bytes != bytes {
            let (path, kept) = (path.display(), header.data_bytes);
            tracing::info!(%path, kept_bytes = kept, asked_bytes = bytes, "the write-ahead log keeps the size it was made with");
        }
        if !file.is_direct() {
            tracing::warn!(path = %path.display(), "this file system refuses O_DIRECT: the write-ahead log goes through the page cache, slower");
        }
        let ring = RingFile::new(world, file, path, header, None);
        Ok(if found.is_none() { ring.made() } else { ring })
    }

    pub(super) fn new(
        world: &World,
        file: Arc<dyn File>,
        path: PathBuf,
        header: RingHeader,
        give_up: Option<String>,
    ) -> RingFile {
        let clock = world.clock.clone();
        let (header, scanned, is_new) = (Mutex::new(header), Mutex::default(), AtomicBool::new(false));
        let inner = Inner { clock, file, path, header, give_up, is_new, scanned };
        RingFile { inner: Arc::new(inner) }
    }

    /// The same, of one that was just made.
    pub(super) fn made(self) -> RingFile {
        self.inner.is_new.store(true, Ordering::Release);
        self
    }

    /// Whether this process has made it, so that nobody can have given it up.
    pub(crate) fn is_new(&self) -> bool {
        self.inner.is_new.load(Ordering::Acquire)
    }

    /// Where it is, as `--wal` says it.
    #[must_use]
    pub fn url(&self) -> String {
        if self.is_shared() {
            return super::ring_shared::shared_url(self.path());
        }
        let scheme = if self.inner.file.is_device() { "block" } else { "file" };
        format!("{scheme}://{}", self.path().display())
    }

    /// The number drawn when the ring was made, by which the ledger knows it.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.header().ring_id
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Bytes of the data area.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.header().data_bytes
    }

    /// Where a new start's groups may begin: at or beyond the end of every older start's in this ring. To be registered in the
    /// ledger before [`RingFile::begin`].
    ///
    /// # Errors
    /// The ring belongs to another cluster, or to a later state of this one than the bucket shows, or an older start's groups can't
    /// be read: then nothing may be written over.
    pub async fn next_start(&self, world: &World, image: &Image) -> Result<WalPosition, WalOpenError> {
        let header = self.header();
        if header.cluster_id != 0 && header.cluster_id != image.cluster_id {
            let belongs = "belongs to another cluster and may hold records that are nowhere else";
            return self.start_anew(world, belongs, "remove it if that cluster is gone").await;
        }
        // The ledger holds a start before the ring does, and never goes back: this bucket is an old copy.
        if header.cluster_id != 0 && header.wal.node_epoch >= image.next_node_epoch {
            return Err(WalOpenError(format!(
                "the write-ahead log {} was written by start {}, which the bucket does not know yet, and may hold records that are \
                 nowhere else: bring back the bucket as it was then, or give another --wal to go on without them",
                self.path().display(),
                header.wal
            )));
        }
        let mut start = header.start;
        for (wal, record) in image.wals_of_ring(header.ring_id) {
            start = start.max(match record.state {
                WalState::Sealed { end, .. } => end,
                WalState::Open => self.scan_and_keep(wal, record.start.max(record.trim)).await?,
            });
        }
        Ok(start)
    }

    /// Where a new start's groups will begin: [`RingFile::next_start`], or beyond, as it is always beyond where every earlier start's did. Noted
    /// in the header before the ledger hears of it, so that a copy of the ring from before is known for what it is.
    ///
    /// # Errors
    /// As there, or the header could not be written.
    pub async fn prepare_start(&self, world: &World, image: &Image) -> Result<WalPosition, WalOpenError> {
        let start = self.next_start(world, image).await?;
        let old = self.header();
        // Nobody has begun it, so a copy from before lacks nothing.
        if old.cluster_id == 0 {
            return Ok(start);
        }
        let start = start.max(WalPosition(old.start.0 + BLOCK));
        let header = RingHeader { generation: old.generation + 1, start, ..old };
        write_header(self.inner.file.as_ref(), &header).await.map_err(|error| cannot("write the header of", &error))?;
        *lock(&self.inner.header) = header;
        Ok(start)
    }

    /// The ring is not this cluster's to use, as `why` says: made anew where it is on a device whose operator gives up what it holds.
    /// `or_else`: what else can be done where it is a file.
    ///
    /// # Errors
    /// Its operator has not said so, in one line that says how.
    pub(crate) async fn start_anew(
        &self,
        world: &World,
        why: &str,
        or_else: &str,
    ) -> Result<WalPosition, WalOpenError> {
        let old = self.header();
        let path = self.path().display();
        if !self.inner.file.is_device() {
            return Err(WalOpenError(format!("the write-ahead log {path} {why}: give another --wal, or {or_else}")));
        }
        let token = format!("ring-{:08x}", old.ring_id >> 96);
        if self.inner.give_up.as_ref() != Some(&token) {
            return Err(WalOpenError(format!(
                "the write-ahead log {path} {why}: give another --wal, or, to lose what it holds, say --wal 'block://{path}?overwrite={token}'"
            )));
        }
        tracing::warn!(%path, "writes over a write-ahead log that {why}, as it was told to");
        let header = RingHeader { generation: old.generation + 1, ..new_header(world, old.data_bytes) };
        write_header(self.inner.file.as_ref(), &header).await.map_err(|error| cannot("write the header of", &error))?;
        *lock(&self.inner.header) = header;
        self.inner.is_new.store(true, Ordering::Release);
        Ok(WalPosition(0))
    }

    /// Begins to write as `wal`, which `image` must show registered at the position that [`RingFile::next_start`] gave.
    ///
    /// # Errors
    /// The image does not show it, somebody has fenced it, or the header could not be written.
    pub async fn begin(&self, image: &Image, wal: WalId, options: &WalOptions) -> Result<RingWal, WalOpenError> {
        let old = self.header();
        let registered = image.wals.get(&wal).filter(|record| record.ring_id == old.ring_id);
        let Some(registered) = registered else {
            return Err(WalOpenError(format!("start {wal} is not registered with the ring {}", self.path().display())));
        };
        // A start that was paused before it registered may have been taken for one that was cut short.
        self.check_not_fenced().await.map_err(|error| WalOpenError(format!("{error}; start again")))?;
        let header = RingHeader {
            cluster_id: image.cluster_id,
            generation: old.generation + 1,
            wal,
            start: registered.start,
            ..old
        };
        write_header(self.inner.file.as_ref(), &header).await.map_err(|error| cannot("write the header of", &error))?;
        *lock(&self.inner.header) = header;
        Ok(RingWal::new(self.clone(), wal, header.start, self.floor_in(image), options))
    }

    /// What the dead start `wal` left in this ring from `from` on: the greater of its start and its trim point, in an image that
    /// contains its death. Makes durable what it found, and yields the same whenever it is asked.
    ///
    /// # Errors
    /// [`RecoverError`]; nothing is shortened then.
    pub async fn recover(&self, wal: WalId, from: WalPosition) -> Result<Recovered, RecoverError> {
        let kept = self.scanned().remove(&wal);
        match kept {
            Some((scanned_from, mut recovered)) if scanned_from <= from => {
                recovered.groups.retain(|group| group.end > from);
                recovered.end = recovered.end.max(from);
                Ok(recovered)
            }
            _ => ring_scan::scan(self, wal, from).await,
        }
    }

    /// The lowest position that `image` shows to be needed in this ring. `None`: nothing is.
    pub(super) fn floor_in(&self, image: &Image) -> Option<WalPosition> {
        image
            .wals_of_ring(self.id())
            .filter(|(_, record)| match record.state {
                WalState::Open => true,
                WalState::Sealed { end, .. } => record.trim < end,
            })
            .map(|(_, record)| record.start.max(record.trim))
            .min()
    }

    /// The bytes of `span`, not verified yet.
    pub(super) async fn read_span(&self, span: WalSpan) -> Result<Bytes, WalReadError> {
        let len = u64::from(span.len);
        let lead = span.position.0 % BLOCK;
        let read = self.read(WalPosition(span.position.0 - lead), (lead + len).next_multiple_of(BLOCK)).await;
        let bytes = read.map_err(|error| WalReadError::Trouble(error.to_string()))?;
        let lead = usize::try_from(lead).expect("less than a block");
        let end = lead.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        if end > bytes.len() {
            return Err(WalReadError::Gone(format!("nothing at {}", span.position)));
        }
        Ok(bytes.slice(lead..end))
    }

    /// Bytes from `position`, a multiple of a block, cut at the end of the lap.
    pub(super) async fn read(&self, position: WalPosition, len: u64) -> Result<Bytes, DiskError> {
        let to_lap_end = self.capacity_bytes() - position.0 % self.capacity_bytes();
        let len = usize::try_from(len.min(to_lap_end)).expect("a ring is smaller than the address space");
        self.inner.file.read_at(self.offset(position), len).await
    }

    /// Writes at `position`, a multiple of a block.
    pub(super) async fn write(&self, position: WalPosition, data: AlignedBuf) -> Result<(), DiskError> {
        self.inner.file.write_at(self.offset(position), data).await
    }

    /// Makes everything durable whose write had returned.
    pub(super) async fn sync(&self) -> Result<(), DiskError> {
        self.inner.file.sync().await
    }

    /// As [`RingFile::write`], and returns when it is durable, with everything whose write had returned before.
    pub(super) async fn write_durably(&self, position: WalPosition, data: AlignedBuf) -> Result<(), DiskError> {
        self.inner.file.write_durably(self.offset(position), data).await
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.inner.clock.as_ref()
    }

    pub(crate) fn header(&self) -> RingHeader {
        *lock(&self.inner.header)
    }

    pub(super) fn file(&self) -> &dyn File {
        self.inner.file.as_ref()
    }

    /// Whether hosts share the file, and its writer asks the control block.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.header().has_control
    }

    fn offset(&self, position: WalPosition) -> u64 {
        let header = self.header();
        header.data_start() + position.0 % header.data_bytes
    }

    fn scanned(&self) -> std::sync::MutexGuard<'_, BTreeMap<WalId, (WalPosition, Recovered)>> {
        lock(&self.inner.scanned)
    }

    async fn scan_and_keep(&self, wal: WalId, from: WalPosition) -> Result<WalPosition, WalOpenError> {
        let recovered = ring_scan::scan(self, wal, from).await.map_err(|error| {
            let path = self.path().display();
            WalOpenError(format!(
                "{error}; to start without it, move {path} to a safe place: its streams stay offline meanwhile"
            ))
        })?;
        let end = recovered.end;
        self.scanned().insert(wal, (from, recovered));
        Ok(end)
    }
}

async fn open_or_create(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn File>, WalOpenError> {
    let existing = OpenMode { write: true, direct: true, ..OpenMode::default() };
    match disk.open(path, existing).await {
        Err(DiskError::NotFound(_)) => {}
        opened => return opened.map_err(|error| cannot("open", &error)),
    }
    match disk.open(path, OpenMode { create_new: true, ..existing }).await {
        // Another process was faster; the lock decides whose it is.
        Err(DiskError::Exists(_)) => disk.open(path, existing).await.map_err(|error| cannot("open", &error)),
        created => created.map_err(|error| cannot("create", &error)),
    }
}

/// The size of the ring that is in `dir` already, which it keeps. `None` where there is none, or none that can be read: what is
/// wrong then is told by [`RingFile::open`].
pub async fn existing_ring_bytes(disk: &dyn Disk, dir: &Path) -> Option<u64> {
    let path = dir.join(FILE_NAME);
    let file = disk.open(&path, OpenMode::default()).await.ok()?;
    let header = read_slots(file.as_ref(), &path).await.ok()?.newest;
    header.map(|header| header.data_bytes)
}

/// What the two header slots say.
pub(super) struct Slots {
    /// The one that counts, where any is whole.
    pub(super) newest: Option<RingHeader>,
    /// Something stands there that is no header of any release, or a header written in part.
    broken: bool,
}

impl Slots {
    /// The ring's header; `None` where the file was made and its first header never became durable, so that nothing is in it; on a
    /// device also where something else stands.
    pub(super) fn header(self, path: &Path) -> Result<Option<RingHeader>, WalOpenError> {
        if self.is_unreadable() {
            return Err(WalOpenError(format!(
                "the write-ahead log {} has no readable header: bring back the one that was there, or move it to a safe place; its streams stay \
                 offline meanwhile",
                path.display()
            )));
        }
        Ok(self.newest)
    }

    /// Whether something stands there, and no header that is whole.
    pub(super) fn is_unreadable(&self) -> bool {
        self.newest.is_none() && self.broken
    }
}

/// Why a ring's headers could not be had.
#[derive(Debug)]
pub(super) enum SlotsError {
    /// The file or device did not do it.
    Disk {
        /// What it was asked for.
        verb: &'static str,
        /// What came of it.
        error: DiskError,
    },
    /// What is there is no ring that this release can use.
    Content(WalOpenError),
}

impl From<SlotsError> for WalOpenError {
    fn from(error: SlotsError) -> WalOpenError {
        match error {
            SlotsError::Disk { verb, error } => cannot(verb, &error),
            SlotsError::Content(why) => why,
        }
    }
}

/// Reads the header slots. What is foreign to a device is for its opener to name.
pub(super) async fn read_slots(file: &dyn File, path: &Path) -> Result<Slots, SlotsError> {
    let blocks = file.read_at(0, 2 * BLOCK_BYTES).await.map_err(|error| SlotsError::Disk { verb: "read", error })?;
    let slot =
        |at: usize| blocks.get(at..).filter(|block| !block.is_empty()).map_or(Slot::Empty, ring_header::decode_slot);
    let (mut newest, mut broken) = (None::<RingHeader>, false);
    for slot in [slot(0), slot(BLOCK_BYTES)] {
        match slot {
            Slot::Newer(version) => {
                return Err(SlotsError::Content(WalOpenError(format!(
                    "the write-ahead log {} was made by a newer release (layout version {version}): start that release",
                    path.display()
                ))));
            }
            Slot::Whole(header) if newest.is_none_or(|newest| newest.generation < header.generation) => {
                newest = Some(header);
            }
            Slot::Broken => broken = true,
            Slot::Foreign => broken |= !file.is_device(),
            Slot::Whole(_) | Slot::Empty => {}
        }
    }
    let size = file.size().await.map_err(|error| SlotsError::Disk { verb: "measure", error })?;
    if newest.is_some_and(|header| !is_sound(&header, size)) {
        return Err(SlotsError::Content(WalOpenError(format!(
            "the write-ahead log {} has {size} bytes, fewer than its header says: if it was cut short or copied in part, bring back all of \
             it; else move it to a safe place, and its streams stay offline meanwhile",
            path.display()
        ))));
    }
    Ok(Slots { newest, broken })
}

fn is_sound(header: &RingHeader, file_bytes: u64) -> bool {
    let data = header.data_bytes;
    data >= RING_BYTES_MIN
        && data.is_multiple_of(BLOCK)
        && data.checked_add(header.data_start()).is_some_and(|end| end <= file_bytes)
}

/// Makes the ring: space, then a durable header. Until that is durable the file counts as unmade.
async fn make(world: &World, file: &dyn File, path: &Path, bytes: u64) -> Result<RingHeader, WalOpenError> {
    let header = new_header(world, bytes);
    let made = match file.allocate(header.data_start() + bytes).await {
        Ok(()) => write_header(file, &header).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(()) => Ok(header),
        Err(DiskError::Full(_)) => {
            // Gives the space back; the next try makes the ring anew.
            world.disk.remove(path).await.map_err(|error| cannot("remove the unfinished", &error))?;
            Err(no_space(path, bytes))
        }
        Err(error) => Err(cannot("make", &error)),
    }
}

pub(super) fn no_space(path: &Path, bytes: u64) -> WalOpenError {
    WalOpenError(format!(
        "no space for a write-ahead log of {} MiB at {}: free some, or give another --wal",
        bytes >> 20,
        path.display()
    ))
}

/// The header of a ring that nobody has written yet.
pub(super) fn new_header(world: &World, bytes: u64) -> RingHeader {
    RingHeader {
        ring_id: world.clock.nonce().0.max(1),
        cluster_id: 0,
        data_bytes: bytes,
        generation: 0,
        wal: WalId::default(),
        start: WalPosition(0),
        has_control: false,
    }
}

pub(super) async fn write_header(file: &dyn File, header: &RingHeader) -> Result<(), DiskError> {
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    block.extend(&header.encode());
    block.pad_to_block();
    file.write_at(header.generation % 2 * BLOCK, block).await?;
    file.sync().await
}

/// Makes durable the names of the ring and of the folders above it, which may be new too.
pub(super) async fn sync_names(disk: &dyn Disk, dir: &Path) -> Result<(), WalOpenError> {
    disk.sync_dir(dir).await.map_err(|error| cannot("sync the folder of", &error))?;
    for folder in dir.ancestors().skip(1) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match disk.sync_dir(folder).await {
            Ok(()) => {}
            // A folder that this process may not even open is none that it made.
            Err(DiskError::Denied { .. } | DiskError::NotFound(_)) => break,
            Err(error) => return Err(cannot("sync", &error)),
        }
    }
    Ok(())
}

pub(super) fn cannot(verb: &str, error: &DiskError) -> WalOpenError {
    let what_to_do = match error {
        DiskError::Denied { .. } => "; give the broker's user the right to read and write it, or give another --wal",
        _ => "",
    };
    WalOpenError(format!("can't {verb} the write-ahead log: {error}{what_to_do}"))
}
