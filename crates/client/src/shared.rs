//! What a producer's records have in common: the memory they may take, how many are not acknowledged, and why it has ended.
//!
//! Callers reserve memory here before they put a record into a [lane](crate::lane); the [sender](crate::sender) gives it back with the
//! acknowledgement. Lanes that have something new to send are listed here, so that the sender need not look at the others.

use crate::cluster::Cluster;
use crate::error::ClientError;
use crate::producer::{Delivery, OnDelivery, ProducerOptions};
use base::Micros;
use bytes::Bytes;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Notify, Semaphore};
use world::lock;

/// A batch that has its final bytes.
pub(crate) struct Ready {
    pub(crate) batch: Bytes,
    /// What is to be given back of the memory.
    pub(crate) bytes: usize,
    /// When each of its records was meant to be sent.
    pub(crate) due: Vec<Micros>,
    pub(crate) first_sent: Micros,
    /// Counts the batches of its lane.
    pub(crate) ordinal: u64,
}

/// What callers, lanes and the sender share.
pub(crate) struct Shared {
    pub(crate) topic: String,
    pub(crate) cluster: Cluster,
    pub(crate) options: ProducerOptions,
    /// Producer id and epoch, where the producer is idempotent.
    pub(crate) id: Option<(i64, i16)>,
    on_delivery: OnDelivery,
    /// One permit a byte.
    memory: Semaphore,
    /// Records taken and not acknowledged.
    outstanding: AtomicU64,
    progress: Notify,
    flushing: AtomicBool,
    closed: AtomicBool,
    failure: Mutex<Option<ClientError>>,
    /// Lanes that the sender has to look at, each once.
    listed: Mutex<Vec<usize>>,
    has_listed: Notify,
}

impl Shared {
    pub(crate) fn new(
        cluster: Cluster,
        topic: &str,
        options: ProducerOptions,
        id: Option<(i64, i16)>,
        on_delivery: OnDelivery,
    ) -> Shared {
        let memory = Semaphore::new(options.buffer_bytes_max.min(Semaphore::MAX_PERMITS));
        Shared {
            topic: topic.to_owned(),
            cluster,
            options,
            id,
            on_delivery,
            memory,
            outstanding: AtomicU64::new(0),
            progress: Notify::new(),
            flushing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failure: Mutex::new(None),
            listed: Mutex::default(),
            has_listed: Notify::new(),
        }
    }

    /// Waits until `bytes` fit the memory. A record larger than all of it goes alone. Answers what to give back later.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<usize, ClientError> {
        let bytes = bytes.min(self.options.buffer_bytes_max);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.memory.acquire_many(permits).await {
            Ok(taken) => taken.forget(),
            Err(_) => return Err(self.failure().unwrap_or_else(ended)),
        }
        self.outstanding.fetch_add(1, Ordering::AcqRel);
        Ok(bytes)
    }

    pub(crate) fn failure(&self) -> Option<ClientError> {
        lock(&self.failure).clone()
    }

    /// From here on nothing waits for more records.
    pub(crate) fn begin_flush(&self) {
        self.flushing.store(true, Ordering::Release);
    }

    pub(crate) fn end_flush(&self) {
        self.flushing.store(false, Ordering::Release);
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing.load(Ordering::Acquire)
    }

    pub(crate) async fn all_delivered(&self) -> Result<(), ClientError> {
        loop {
            // Registered before looking, so that nothing is missed between the look and the wait.
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if self.outstanding.load(Ordering::Acquire) == 0 {
                return Ok(());
            }
            progress.await;
        }
    }

    /// The sender ends.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.memory.close();
        self.has_listed.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn fail(&self, error: ClientError) {
        lock(&self.failure).get_or_insert(error);
        self.close();
        self.progress.notify_waiters();
    }

    pub(crate) fn delivered(&self, partition: i32, ready: &Ready) {
        (self.on_delivery)(&Delivery { partition, at: self.now(), due: &ready.due });
        self.memory.add_permits(ready.bytes);
        let records = u64::try_from(ready.due.len()).unwrap_or(u64::MAX);
        if self.outstanding.fetch_sub(records, Ordering::AcqRel) == records {
            self.progress.notify_waiters();
        }
    }

    /// The sender looks at this lane next.
    pub(crate) fn list(&self, lane: usize) {
        lock(&self.listed).push(lane);
        self.has_listed.notify_one();
    }

    /// Lanes listed since the last call.
    pub(crate) fn take_listed(&self) -> Vec<usize> {
        std::mem::take(&mut *lock(&self.listed))
    }

    /// Waits for a lane to be listed, or for the end.
    pub(crate) async fn listed(&self) {
        self.has_listed.notified().await;
    }

    pub(crate) fn now(&self) -> Micros {
        self.cluster.world().clock.now()
    }
}

fn ended() -> ClientError {
    ClientError::Impossible("the producer was closed".to_owned())
}
