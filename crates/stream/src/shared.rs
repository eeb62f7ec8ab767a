//! What the tasks and handles of one start share.
//!
//! | part | changed by | read by |
//! |---|---|---|
//! | [`Front`]: accepted, not acknowledged | `Stream::append`, the driver | the driver |
//! | the WAL | the driver (places), the upload (trims) | |
//! | the log cache | the driver (appends), the upload (committed), the follower (trimmed, deleted) | reads, the upload |
//! | open streams | the driver (numbers), the follower (deleted), `Store::stream` (opens) | everybody |
//! | readers: by WAL | recovery | reads, the upload |
//! | [`DeadWals`] | recovery | the upload, the clean stop, `Store::offline_reason` |
//! | counters of objects | the uploads, compaction | the uploads, compaction |
//! | producers: how many, and those of dead WALs | `Stream::append`, loads, recovery | loads, the upload |
//! | stopped | whoever finds that this start must end | everybody |
//!
//! Every lock is held for a few lines without an await, and no two at a time but where a line says so.

use crate::Options;
use crate::block_cache::BlockCache;
use crate::compaction;
use crate::counters::Counters;
use crate::front::Front;
use crate::objects::Objects;
use crate::open_stream::OpenStream;
use crate::producers::ProducerMemory;
use crate::read::ColdReads;
use crate::take_over::DeadWals;
use crate::upload::Source;
use crate::wal::{Wal, WalReader};
use base::{Micros, NodeEpoch, NodeId, Offset, StreamEpoch, StreamId, WalId};
use control::Ledger;
use control_core::Image;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream_core::cache::LogCache;
use stream_core::pressure::{Pressure, SLOW_APPEND, WAL_FULL_PERMILLE};
use tokio::sync::{Notify, Semaphore, watch};
use world::{World, lock};

/// One start of one broker.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) objects: Objects,
    pub(crate) ledger: Ledger,
    pub(crate) options: Options,
    pub(crate) node_id: NodeId,
    pub(crate) node_epoch: NodeEpoch,
    pub(crate) wal_id: WalId,
    pub(crate) wal: Mutex<Wal>,
    /// The greatest batch that a group of this WAL can hold.
    pub(crate) batch_bytes_max: usize,
    pub(crate) front: Mutex<Front>,
    /// Bytes of batches acknowledged by this start.
    pub(crate) appended_bytes: AtomicU64,
    /// Wakes the driver: something was accepted, or the WAL has room again.
    pub(crate) driver_wakes: Notify,
    /// Wakes those who wait in [`crate::Store::room`].
    pub(crate) room: Notify,
    /// The WAL has next to no room: accept nothing more.
    pub(crate) wal_is_full: AtomicBool,
    /// Thousandths of the WAL in use, and when the oldest append was accepted that is not acknowledged (0: there is none): what every
    /// answer to a producer looks at, without a lock.
    pub(crate) wal_permille: AtomicU64,
    pub(crate) oldest_append: AtomicU64,
    pub(crate) cache: Mutex<LogCache>,
    pub(crate) streams: Mutex<BTreeMap<StreamId, Arc<OpenStream>>>,
    /// By WAL, this start's own and those that it recovers: where spilled runs are read.
    pub(crate) readers: Mutex<BTreeMap<WalId, WalReader>>,
    /// This start's own WAL as a source of uploads.
    pub(crate) own: Arc<Source>,
    pub(crate) dead: DeadWals,
    pub(crate) counters: Mutex<Counters>,
    pub(crate) blocks: BlockCache,
    pub(crate) cold: ColdReads,
    /// Bounds PUTs of data objects.
    pub(crate) puts: Semaphore,
    pub(crate) producers: ProducerMemory,
    pub(crate) compaction: compaction::Counts,
    /// Whoever holds it may use compaction's memory and make its requests.
    pub(crate) compaction_turn: tokio::sync::Mutex<()>,
    pub(crate) stopped: watch::Sender<Option<String>>,
}

/// A store as slow as this still takes an object within one try.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;
/// No try takes longer.
const TRY_MAX: Duration = Duration::from_secs(3600);

impl Shared {
    /// How long one try to put so many bytes may take, after so many that took too long: a limit that a slow store never meets would
    /// send it the same bytes for ever.
    pub(crate) fn put_limit(&self, bytes: u64, timeouts: u32) -> Duration {
        let by_size = self.options.request_timeout + Duration::from_millis(bytes * 1000 / SLOWEST_BYTES_PER_SECOND);
        by_size.saturating_mul(2_u32.saturating_pow(timeouts)).min(TRY_MAX)
    }

    /// Ends this start because it must: a person has to look.
    pub(crate) fn stop(&self, reason: String) {
        if self.end(reason) {
            tracing::error!(start = %self.node_epoch, reason = ?self.stopped.borrow().as_deref(), "stops serving");
        }
    }

    /// Ends this start, for the first reason given; answers whether this is it.
    pub(crate) fn end(&self, reason: String) -> bool {
        lock(&self.front).closed = true;
        let first = self.stopped.send_if_modified(|held| {
            let first = held.is_none();
            held.get_or_insert(reason);
            first
        });
        self.driver_wakes.notify_one();
        self.own.changed.notify_one();
        self.room.notify_waiters();
        first
    }

    /// Resolves with the reason when this start has ended.
    pub(crate) async fn until_stopped(&self) -> String {
        let mut stopped = self.stopped.subscribe();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the store was dropped".to_owned(),
        }
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// The stream, if this start owns it in its newest image. Opens it when it is met for the first time.
    pub(crate) fn open_stream(&self, id: StreamId) -> Option<Arc<OpenStream>> {
        let mut streams = lock(&self.streams);
        // Looked at under the lock: by an older image a stream could come back that the follower has just closed as deleted.
        let image = self.ledger.image();
        let tenure = image.streams.get(&id)?.owner().filter(|tenure| tenure.wal == self.wal_id)?;
        let stream =
            streams.entry(id).or_insert_with(|| Arc::new(OpenStream::new(id, tenure.stream_epoch, tenure.start)));
        Some(stream.clone())
    }

    /// Whether an append would be refused for want of room.
    pub(crate) fn is_busy(&self) -> bool {
        self.wal_is_full.load(Ordering::Acquire) || lock(&self.front).is_busy()
    }

    /// Brings the WAL up to an image: what it shows committed needs no place there any more.
    pub(crate) fn release_committed(&self, image: &Image) {
        {
            let mut wal = lock(&self.wal);
            let floor = wal.floor_in(image);
            wal.trim(floor);
            self.note_wal_room(&wal);
        }
        self.driver_wakes.notify_one();
    }

    /// Notes whether the WAL has room for what may be accepted.
    pub(crate) fn note_wal_room(&self, wal: &Wal) {
        let permille = u128::from(wal.used_bytes()) * 1000 / u128::from(wal.capacity_bytes().max(1));
        let permille = u64::try_from(permille).unwrap_or(u64::MAX);
        self.wal_permille.store(permille, Ordering::Release);
        let full = permille >= WAL_FULL_PERMILLE;
        if self.wal_is_full.swap(full, Ordering::AcqRel) && !full {
            self.room.notify_waiters();
        }
    }

    /// Notes since when something accepted is not acknowledged.
    pub(crate) fn note_oldest_append(&self, front: &Front) {
        let oldest = front.appender.oldest().map_or(0, |since| since.0.max(1));
        self.oldest_append.store(oldest, Ordering::Release);
    }

    /// How long the oldest append that is not acknowledged has waited.
    pub(crate) fn oldest_append_waits(&self) -> Duration {
        match self.oldest_append.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self.world.clock.now().since(Micros(since)),
        }
    }

    /// How long whoever is answered now should send nothing.
    pub(crate) fn throttle(&self) -> Duration {
        let oldest_append = self.oldest_append_waits();
        // Only while appends are slow is their memory looked at, and then nothing is in a hurry.
        let slow = oldest_append >= SLOW_APPEND;
        let appends_permille = if slow { lock(&self.front).appender.held_permille() } else { 0 };
        let wal_permille = self.wal_permille.load(Ordering::Acquire);
        Pressure { wal_permille, appends_permille, oldest_append }.throttle()
    }

    /// Whether the WAL fills faster than blocks are uploaded by size and age.
    pub(crate) fn wal_is_filling(&self) -> bool {
        let wal = lock(&self.wal);
        wal.used_bytes() >= wal.capacity_bytes() / 2 || self.wal_is_full.load(Ordering::Acquire)
    }

    pub(crate) fn reader(&self, wal: WalId) -> Option<WalReader> {
        lock(&self.readers).get(&wal).cloned()
    }
}

/// The offset below which this WAL's records of a stream need no upload (rule D-7).
pub(crate) fn committed_in(image: &Image, stream: StreamId, wal: WalId) -> Offset {
    let Some(record) = image.streams.get(&stream) else {
        return if image.is_deleted(stream) { Offset::MAX } else { Offset(0) };
    };
    match record.tenures.iter().find(|tenure| tenure.wal == wal) {
        Some(tenure) if tenure.end.is_some_and(|end| end <= tenure.committed) => Offset::MAX,
        Some(tenure) => tenure.committed,
        // A settled tenure has left the list.
        None => Offset::MAX,
    }
}

/// The committed end and end of one tenure; `None` where nothing of it is left to commit.
pub(crate) fn tenure_bounds(
    image: &Image,
    stream: StreamId,
    wal: WalId,
    epoch: StreamEpoch,
) -> Option<(Offset, Option<Offset>)> {
    let tenure = image.streams.get(&stream)?.tenure(wal, epoch)?;
    Some((tenure.committed, tenure.end))
}
