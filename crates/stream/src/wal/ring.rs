//! The ring's writer: gives groups their places, writes them, syncs.
//!
//! A group is a multiple of a block and never wraps: where the lap's rest is too short, a pad fills it. The writer stays below
//! `floor + capacity`, where the floor is the lowest position that a committed image shows to be needed, so it never writes over
//! anything that a recovery might read. Groups keep a distance unless they are full, since each costs the machine more than the device
//! (`docs/adr/0156-groups-of-a-ring-keep-a-distance.md`); when one goes is decided by the appender, on the ring's terms.
//!
//! The first error of the device ends the ring (fail-stop): after a failed write or sync nothing is known about what the device
//! holds, so nothing more is confirmed, not even a write that seems to succeed. A device that does not answer has failed too: this start
//! gives its place to another, instead of holding on to streams that nobody can write.

use super::ring_file::{BLOCK, RingFile};
use super::{Placed, WalError, WalFull, WalOptions, patience, span};
use base::{Micros, WalId, WalPosition, planted};
use control_core::image::Image;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use stream_core::WalEntry;
use stream_core::append::Terms;
use stream_core::wal_group::{ENTRIES_MAX, ENTRY_BYTES_MAX, GroupPlace, encode_group, encode_pad, measure};
use world::disk::BLOCK_BYTES;
use world::{AlignedBuf, DiskError, lock};

/// The ring WAL of one start.
pub struct RingWal {
    file: RingFile,
    wal: WalId,
    next: WalPosition,
    floor: WalPosition,
    terms: Terms,
    spacing: Duration,
    stalled_max: Duration,
    shared: Arc<Shared>,
}

/// A placed group: its bytes, and the pad before it where there is one.
pub(super) struct RingGroup {
    /// Where the pad, or else the group, begins.
    position: WalPosition,
    pad: Option<AlignedBuf>,
    group_position: WalPosition,
    group: AlignedBuf,
}

/// What concurrent writes of one ring share.
struct Shared {
    /// Positions of groups that were placed and are not durable yet: the durable mark stands before the first.
    unconfirmed: Mutex<BTreeSet<WalPosition>>,
    /// Groups that are durable, counted.
    durable: AtomicU64,
    /// How many of them are known to have been so before the ring was fenced, if it is (rule C-1). Held over a look.
    unfenced: tokio::sync::Mutex<u64>,
    /// Why nothing more can be confirmed.
    failed: OnceLock<WalError>,
}

impl RingWal {
    pub(super) fn new(
        file: RingFile,
        wal: WalId,
        start: WalPosition,
        floor: Option<WalPosition>,
        options: &WalOptions,
    ) -> RingWal {
        let shared = Shared {
            unconfirmed: Mutex::default(),
            durable: AtomicU64::new(0),
            unfenced: tokio::sync::Mutex::new(0),
            failed: OnceLock::new(),
        };
        let floor = floor.unwrap_or(start);
        assert!(
            floor <= start && start.0.is_multiple_of(BLOCK),
            "a start begins at a block, beyond all that is needed"
        );
        let group_bytes_max = options.ring_group_bytes_max.min(group_bytes_max(&file));
        // Whatever waits while a group is synced goes as the next one.
        let terms = Terms {
            linger: options.ring_linger,
            spaced: Micros(0),
            allowed: Micros(0),
            full_bytes: group_bytes_max,
            group_bytes_max,
            in_flight_max: options.ring_in_flight_max,
        };
        let stalled_max = options.ring_stalled_max;
        let spacing = options.ring_spacing;
        RingWal { file, wal, next: start, floor, terms, spacing, stalled_max, shared: Arc::new(shared) }
    }

    pub(super) fn id(&self) -> WalId {
        self.wal
    }

    pub(super) fn place(&mut self, entries: &[WalEntry]) -> Result<(Placed, RingGroup), WalFull> {
        let size = measure(entries, BLOCK_BYTES);
        let total = size.total as u64;
        assert!(total <= self.capacity_bytes() / 2, "the caller keeps groups below group_bytes_max");
        let to_lap_end = self.capacity_bytes() - self.next.0 % self.capacity_bytes();
        let pad_bytes = if total > to_lap_end { to_lap_end } else { 0 };
        // A start begins a block beyond the one before it, also where that one left no room at all.
        let free = self.capacity_bytes().saturating_sub(self.used_bytes());
        if pad_bytes + total > free {
            return Err(WalFull { needed: pad_bytes + total, free });
        }
        let durable = self.begin_group();
        let place = |position| GroupPlace { wal: self.wal, position, durable, tag: self.file.id() };
        let pad = (pad_bytes > 0).then(|| pad_block(place(self.next), pad_bytes));
        let position = WalPosition(self.next.0 + pad_bytes);
        let encoded = encode_group(place(position), entries, BLOCK_BYTES);
        let mut group = AlignedBuf::with_capacity(encoded.size.total);
        group.extend(&encoded.head);
        for entry in entries {
            group.extend(&entry.batch.bytes.head);
            group.extend(&entry.batch.bytes.body);
        }
        group.pad_to_block();
        let end = WalPosition(position.0 + total);
        let spans = encoded.directory.iter().map(|entry| span(position, entry)).collect();
        let group = RingGroup { position: self.next, pad, group_position: position, group };
        self.next = end;
        self.terms.spaced = self.file.clock().now().plus(self.spacing);
        Ok((Placed { position, end, spans }, group))
    }

    pub(super) fn write(&self, group: RingGroup) -> BoxFuture<'static, Result<(), WalError>> {
        let (file, shared, stalled_max) = (self.file.clone(), self.shared.clone(), self.stalled_max);
        Box::pin(async move {
            let position = group.position;
            let written = write_through(&file, &shared, group);
            let written = patience::within(file.clock(), stalled_max, written).await;
            written.unwrap_or_else(|| Err(stalled(&file, stalled_max))).map_err(|error| shared.fail(error))?;
            shared.confirm(position);
            Ok(())
        })
    }

    pub(super) fn floor_in(&self, image: &Image) -> WalPosition {
        self.file.floor_in(image).unwrap_or(self.floor)
    }

    pub(super) fn trim(&mut self, floor: WalPosition) {
        assert!(floor <= self.next, "only what was placed is trimmed");
        self.floor = self.floor.max(floor);
    }

    pub(super) fn next_position(&self) -> WalPosition {
        self.next
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.next.0 - self.floor.0
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.file.capacity_bytes()
    }

    pub(super) fn group_bytes_max(&self) -> usize {
        group_bytes_max(&self.file)
    }

    /// As many as have their directory in an eighth of the ring: small batches have more directory than payload.
    pub(super) fn group_entries_max(&self) -> usize {
        let directory_bytes = usize::try_from(self.capacity_bytes() / 8).unwrap_or(usize::MAX);
        (directory_bytes / ENTRY_BYTES_MAX).min(ENTRIES_MAX)
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    pub(super) fn file(&self) -> &RingFile {
        &self.file
    }

    /// Notes that a group begins at `next`; yields the durable mark for its header.
    fn begin_group(&self) -> WalPosition {
        let mut unconfirmed = lock(&self.shared.unconfirmed);
        unconfirmed.insert(self.next);
        *unconfirmed.first().expect("one was inserted")
    }
}

/// A quarter of the ring: with the directory less than half, so that an empty ring has room for one, the pad included.
fn group_bytes_max(file: &RingFile) -> usize {
    let quarter = usize::try_from(file.capacity_bytes() / 4).unwrap_or(usize::MAX);
    quarter.min(usize::try_from(u32::MAX / 2).unwrap_or(usize::MAX))
}

fn pad_block(place: GroupPlace, bytes: u64) -> AlignedBuf {
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    block.extend(&encode_pad(place, usize::try_from(bytes).expect("a ring's lap fits memory's addresses")));
    block.pad_to_block();
    block
}

/// Until the group is durable, and known to have been so before any fence.
async fn write_through(file: &RingFile, shared: &Shared, group: RingGroup) -> Result<(), WalError> {
    let early = planted!("C11", None, Some(file.check_not_fenced().await));
    let ticket = write_durably(file, shared, group).await?;
    match early {
        Some(looked) => looked,
        None => check_not_fenced(file, shared, ticket).await,
    }
}

fn stalled(file: &RingFile, after: Duration) -> WalError {
    let (path, seconds) = (file.path().display(), after.as_secs());
    WalError::Failed(format!(
        "{path} has not made a write durable for {seconds} s: its device hangs, or is far too slow"
    ))
}

/// Yields the group's ticket: how many were durable when it was.
async fn write_durably(file: &RingFile, shared: &Shared, group: RingGroup) -> Result<u64, WalError> {
    let failed = |error: DiskError| shared.fail(WalError::Failed(error.to_string()));
    shared.check()?;
    if let Some(pad) = group.pad {
        file.write(group.position, pad).await.map_err(failed)?;
    }
    file.write_durably(group.group_position, group.group).await.map_err(failed)?;
    shared.check()?;
    Ok(shared.durable.fetch_add(1, Ordering::SeqCst) + 1)
}

/// Whether the group of that ticket, which is durable, was so before any fence.
async fn check_not_fenced(file: &RingFile, shared: &Shared, ticket: u64) -> Result<(), WalError> {
    if !file.is_shared() {
        return Ok(());
    }
    let mut unfenced = shared.unfenced.lock().await;
    shared.check()?;
    if *unfenced < ticket {
        // Only what was durable before the look is issued is covered by it.
        let covered = shared.durable.load(Ordering::SeqCst);
        if let Err(error) = file.check_not_fenced().await {
            return Err(shared.fail(error));
        }
        *unfenced = covered;
    }
    Ok(())
}

impl Shared {
    fn check(&self) -> Result<(), WalError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Keeps the first reason, and yields it.
    fn fail(&self, error: WalError) -> WalError {
        self.failed.get_or_init(|| error).clone()
    }

    fn confirm(&self, position: WalPosition) {
        lock(&self.unconfirmed).remove(&position);
    }
}
