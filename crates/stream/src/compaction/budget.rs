//! What compaction may take: one request at a time, so many bytes a second, nothing while appends need the store or the log.

use super::add;
use crate::keys::data_key;
use crate::shared::Shared;
use base::{Micros, ObjectId};
use bytes::Bytes;
use std::time::Duration;
use world::retry::Backoff;
use world::{ClockExt, GetRange, StoreError};

/// How often a request is made before the job is given up.
const TRIES_MAX: u32 = 6;

/// How often to look whether appends still need everything.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// The allowance of one job.
pub(super) struct Budget<'a> {
    shared: &'a Shared,
    bytes_per_second: u64,
    /// Nothing is requested before then.
    free_at: Micros,
}

impl<'a> Budget<'a> {
    /// At most so many bytes a second, and at most what the options allow.
    pub(super) fn new(shared: &'a Shared, bytes_per_second: u64) -> Budget<'a> {
        let bytes_per_second = bytes_per_second.min(shared.options.compaction.bytes_per_second).max(1);
        Budget { shared, bytes_per_second, free_at: shared.world.clock.now() }
    }

    /// A range of an object's bytes, and its size.
    pub(super) async fn get(&mut self, object: ObjectId, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        let shared = self.shared;
        let key = data_key(object);
        let mut backoff = Backoff::new();
        loop {
            self.wait().await;
            let get = shared.objects.compaction.get(&key, range);
            let got = shared.world.clock.timeout(shared.options.request_timeout, get).await;
            match got {
                Some(Ok((bytes, size))) => {
                    self.spend(bytes.len() as u64);
                    add(&shared.compaction.read_bytes, bytes.len() as u64);
                    return Ok((bytes, size));
                }
                Some(Err(error @ StoreError::NotFound(_))) => return Err(error),
                Some(Err(error)) if backoff.tries() >= TRIES_MAX => return Err(error),
                None if backoff.tries() >= TRIES_MAX => {
                    return Err(StoreError::Trouble(format!("no answer about {key} in time")));
                }
                Some(Err(_)) | None => backoff.wait(&*shared.world.clock).await,
            }
        }
    }

    /// The object exists when this ends well: *exists* says that an earlier try had succeeded, since ids are unique to this start.
    pub(super) async fn put(&mut self, object: ObjectId, parts: Vec<Bytes>, size: u64) -> Result<(), StoreError> {
        let shared = self.shared;
        let key = data_key(object);
        let mut backoff = Backoff::new();
        loop {
            self.wait().await;
            let put = shared.objects.compaction.put_if_absent(&key, parts.clone());
            let error = match shared.world.clock.timeout(shared.put_limit(size, backoff.tries()), put).await {
                Some(Ok(_)) => {
                    self.spend(size);
                    add(&shared.compaction.written_bytes, size);
                    return Ok(());
                }
                Some(Err(error)) => error,
                None => StoreError::Trouble(format!("no answer about {key} in time")),
            };
            if backoff.tries() >= TRIES_MAX {
                return Err(error);
            }
            backoff.wait(&*shared.world.clock).await;
        }
    }

    /// Waits for the pace, and while the write-ahead log is filling; not for ever, since compaction is what keeps the bucket small.
    async fn wait(&self) {
        let clock = &self.shared.world.clock;
        let now = clock.now();
        if now < self.free_at {
            clock.sleep(self.free_at.since(now)).await;
        }
        let until = clock.now().plus(self.shared.options.compaction.yield_max);
        while (self.shared.is_busy() || self.shared.is_filling()) && clock.now() < until {
            clock.sleep(LOOK_PERIOD).await;
        }
    }

    fn spend(&mut self, bytes: u64) {
        let cost = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_second);
        self.free_at = self.free_at.max(self.shared.world.clock.now()).plus(cost);
    }
}
