//! The public face of the storage library.

use base::{NodeEpoch, NodeId, Offset, StreamEpoch, StreamId, UnixMillis};
use bytes::Bytes;
use control::Ledger;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stream_core::NumberedBatch;
use tokio::sync::{oneshot, watch};
use world::{ObjectStore, World};

/// Bounds and periods, all in one place. The simulator makes them tiny.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes appended and not yet durable, at the most; beyond that `append` answers [`AppendError::Busy`].
    pub append_bytes_max: u64,
    /// Bytes of the log cache at the most; un-uploaded bytes beyond it are spilled to the WAL.
    pub log_cache_bytes_max: u64,
    /// The open block is uploaded when it holds so many bytes,
    pub upload_block_bytes: u64,
    /// or when its oldest batch is so old.
    pub upload_age: Duration,
    /// A stream whose contiguous run is at least so long gets an object of its own.
    pub stream_object_bytes: u64,
    /// Bytes of one WAL group at the most.
    pub group_bytes_max: usize,
    /// How long the object WAL collects while a PUT is in flight.
    pub group_window: Duration,
    /// Target size of a data block.
    pub data_block_bytes: usize,
    /// Bytes of the block cache at the most.
    pub block_cache_bytes_max: u64,
    /// Read-ahead at the most, per reader.
    pub read_ahead_bytes_max: u64,
    /// Dead objects are deleted so long after they died.
    pub dead_object_grace: Duration,
    /// How often retention, the orphan sweep and deletion look.
    pub housekeeping_period: Duration,
}

/// Where a start's WAL lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalTarget {
    /// A ring in a local file of that folder, of so many bytes.
    File { dir: PathBuf, bytes: u64 },
    /// Numbered objects in the cluster's own bucket.
    Storage,
}

/// What a start asks for.
#[derive(Clone)]
pub struct StartRequest {
    /// `--node-id`.
    pub node_id: Option<NodeId>,
    /// `host:port` that clients use.
    pub advertised: String,
    /// `--wal`.
    pub wal: WalTarget,
    /// Whether a broker at that advertised address answers; one that does is not declared dead.
    pub answers: Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>,
    /// Bounds and periods.
    pub options: Options,
    /// Bounds and periods of the ledger.
    pub ledger_options: control::LedgerOptions,
}

/// Why a start failed: one line that says what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Why an append was not accepted. Nothing was enqueued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting (slow or failing WAL or bucket): ask again later, slow the producer.
    #[error("the write-ahead log is behind; try again")]
    Busy,
    /// This start does not own the stream (any more).
    #[error("not the owner")]
    NotOwner,
    /// The batch's base offset is not the stream's next. A programmer's error above, never written.
    #[error("batch begins at {base}, the stream's next offset is {next}")]
    Gap { base: Offset, next: Offset },
}

/// Why a read could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Below the start or above the confirmed offset.
    #[error("offset out of range")]
    OutOfRange,
    /// This start does not own the stream (any more).
    #[error("not the owner")]
    NotOwner,
    /// The store is in trouble: retriable.
    #[error("{0}")]
    Trouble(String),
    /// A live object is missing or its bytes are damaged.
    #[error("{0}")]
    Corrupt(String),
}

/// Resolves when an append is durable: `Ok` with nothing, or `Err` when its fate will never be known here (this start was
/// fenced or the WAL failed): the client must ask again elsewhere.
pub type Confirmation = oneshot::Receiver<()>;

/// Whole batches, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ReadBatches {
    /// Their bytes; each piece is a whole batch, a run of whole batches, or a head followed by its body.
    pub pieces: Vec<Bytes>,
    /// Their total length.
    pub bytes: usize,
    /// The offset to read next.
    pub next: Offset,
}

/// The storage library of one start of one broker; clones share it.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Leads the ledger, registers, declares its own previous start and every start that does not answer dead, recovers what it
    /// can, seals, opens, serves. Streams whose WAL can't be read stay offline: [`Store::offline_reason`].
    pub async fn start(
        _world: &World,
        _objects: Arc<dyn ObjectStore>,
        _request: StartRequest,
    ) -> Result<Store, StartError> {
        todo!()
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        todo!()
    }

    /// This broker's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    /// This start.
    #[must_use]
    pub fn node_epoch(&self) -> NodeEpoch {
        todo!()
    }

    /// The stream, if this start owns it now.
    #[must_use]
    pub fn stream(&self, _id: StreamId) -> Option<Stream> {
        todo!()
    }

    /// Why a stream can't be served by anybody now, for people.
    #[must_use]
    pub fn offline_reason(&self, _id: StreamId) -> Option<String> {
        todo!()
    }

    /// Waits until appends have room again after [`AppendError::Busy`].
    pub async fn room(&self) {
        todo!()
    }

    /// Resolves with the reason when this start must stop: declared dead, fenced, or its WAL failed.
    pub async fn stopped(&self) -> String {
        todo!()
    }

    /// Clean stop: no more appends; uploads and commits what is there until `limit` has passed; leaves the rest in the WAL.
    pub async fn drain(&self, _limit: Duration) {
        todo!()
    }
}

/// One stream that this start owns; clones share it.
#[derive(Clone)]
pub struct Stream {}

impl Stream {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        todo!()
    }

    /// Kafka's leader epoch.
    #[must_use]
    pub fn epoch(&self) -> StreamEpoch {
        todo!()
    }

    /// Kafka's log start offset.
    #[must_use]
    pub fn start(&self) -> Offset {
        todo!()
    }

    /// Where the next batch must begin.
    #[must_use]
    pub fn next(&self) -> Offset {
        todo!()
    }

    /// Kafka's high watermark.
    #[must_use]
    pub fn confirmed(&self) -> Offset {
        todo!()
    }

    /// Follows the confirmed offset: what parked fetches wait on.
    #[must_use]
    pub fn watch_confirmed(&self) -> watch::Receiver<Offset> {
        todo!()
    }

    /// Enqueues a batch; never waits. The caller numbers and enqueues under one lock per stream, so that order is offset order.
    pub fn append(&self, _batch: NumberedBatch) -> Result<Confirmation, AppendError> {
        todo!()
    }

    /// Whole batches from the one that holds `from` on, confirmed ones only: at least one where there is any, then up to `bytes_max`.
    pub async fn read(&self, _from: Offset, _bytes_max: usize) -> Result<ReadBatches, ReadError> {
        todo!()
    }

    /// An offset from which reading on meets the first batch whose greatest timestamp is at least `target`; `None`: there is none.
    pub async fn seek_time(&self, _target: UnixMillis) -> Result<Option<Offset>, ReadError> {
        todo!()
    }

    /// Moves the start offset; at most the confirmed offset.
    pub async fn trim(&self, _start: Offset) -> Result<(), ReadError> {
        todo!()
    }
}
