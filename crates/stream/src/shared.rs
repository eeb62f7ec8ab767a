//! What the tasks and handles of one start share.
//!
//! | part | changed by | read by |
//! |---|---|---|
//! | [`Log`], one for each write-ahead log: what is accepted, in flight, and in it | `Stream::append`, its driver, its upload | the same |
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
use crate::log::Log;
use crate::objects::Objects;
use crate::open_stream::OpenStream;
use crate::producers::ProducerMemory;
use crate::read::ColdReads;
use crate::store::WalChoice;
use crate::take_over::DeadWals;
use crate::wal::WalReader;
use base::{NodeEpoch, NodeId, Offset, StreamEpoch, StreamId, WalId};
use control::Ledger;
use control_core::Image;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream_core::cache::LogCache;
use tokio::sync::{Notify, Semaphore, watch};
use world::{World, lock};

/// Reads of one log that clients wait for, at a time.
const CLIENTS_READS_MAX: usize = 2;

/// Where spilled runs of a log are read.
#[derive(Clone)]
pub(crate) struct LogReader {
    pub(crate) reader: WalReader,
    /// Bounds what is read for clients: a device that hangs holds a thread of those that all files share for each read which it was given.
    pub(crate) places: Arc<Semaphore>,
}

impl LogReader {
    pub(crate) fn of(reader: WalReader) -> LogReader {
        LogReader { reader, places: Arc::new(Semaphore::new(CLIENTS_READS_MAX)) }
    }
}

/// One start of one broker.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) objects: Objects,
    pub(crate) ledger: Ledger,
    pub(crate) options: Options,
    pub(crate) node_id: NodeId,
    pub(crate) node_epoch: NodeEpoch,
    /// Its write-ahead logs, by index; at least one.
    pub(crate) logs: Vec<Arc<Log>>,
    pub(crate) choice: WalChoice,
    /// Counts streams whose next tenure has begun in another log.
    pub(crate) moved: watch::Sender<u64>,
    /// Wakes those who wait in [`crate::Stream::room`], of any log.
    pub(crate) room: Notify,
    pub(crate) cache: Mutex<LogCache>,
    pub(crate) streams: Mutex<BTreeMap<StreamId, Arc<OpenStream>>>,
    /// By WAL, this start's own and those that it recovers: where spilled runs are read.
    pub(crate) readers: Mutex<BTreeMap<WalId, LogReader>>,
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
        for log in &self.logs {
            lock(&log.front).closed = true;
        }
        let first = self.stopped.send_if_modified(|held| {
            let first = held.is_none();
            held.get_or_insert(reason);
            first
        });
        for log in &self.logs {
            log.driver_wakes.notify_one();
            log.source.changed.notify_one();
        }
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

    /// Whether no log takes anything more: this start is about to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.logs.iter().all(|log| lock(&log.front).closed)
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// The stream, if this start owns it in its newest image. Opens it when it is met for the first time.
    pub(crate) fn open_stream(&self, id: StreamId) -> Option<Arc<OpenStream>> {
        let mut streams = lock(&self.streams);
        // Looked at under the lock: by an older image a stream could come back that the follower has just closed as deleted.
        let image = self.ledger.image();
        let tenure = image.streams.get(&id)?.owner().filter(|tenure| tenure.node_epoch() == self.node_epoch)?;
        let log = self.log_of(tenure.wal)?;
        let stream = streams
            .entry(id)
            .or_insert_with(|| Arc::new(OpenStream::new(id, tenure.stream_epoch, tenure.start, log.clone())));
        Some(stream.clone())
    }

    /// The log of that name, if it is this start's own.
    pub(crate) fn log_of(&self, wal: WalId) -> Option<&Arc<Log>> {
        self.logs.get(usize::from(wal.index.0)).filter(|log| log.id == wal)
    }

    /// The index of the log that a stream wants; the first one that takes appends where that one is not there or has failed.
    pub(crate) fn wanted_log(&self, image: &Image, stream: StreamId) -> usize {
        let name = (self.choice)(image, stream);
        let named = self.logs.iter().position(|log| name == Some(&log.name) && !log.has_failed());
        named.or_else(|| self.logs.iter().position(|log| !log.has_failed())).unwrap_or(0)
    }

    /// Whether an append to one of the logs would be refused for want of room.
    pub(crate) fn is_busy(&self) -> bool {
        self.logs.iter().any(|log| !log.has_failed() && log.is_busy())
    }

    /// Whether one of the logs fills faster than blocks are uploaded by size and age.
    pub(crate) fn is_filling(&self) -> bool {
        self.logs.iter().any(|log| !log.has_failed() && log.is_filling())
    }

    /// Brings the logs up to an image: what it shows committed needs no place there any more. A dead start's log may lie in the ring of
    /// any of them.
    pub(crate) fn release_committed(&self, image: &Image) {
        for log in &self.logs {
            log.release_committed(image);
        }
        // Also those of streams that were far ahead of what is committed.
        self.room.notify_waiters();
    }

    pub(crate) fn reader(&self, wal: WalId) -> Option<WalReader> {
        self.log_reader(wal).map(|it| it.reader)
    }

    pub(crate) fn log_reader(&self, wal: WalId) -> Option<LogReader> {
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
