//! How one group of an object WAL gets into the bucket.
//!
//! ```text
//! put ─▶ created ─▶ durable
//!     ─▶ exists ──▶ read back: our nonce ─▶ durable · a fence, or another's ─▶ this start is over · nothing ─▶ put again
//!     ─▶ trouble ─▶ says nothing: another copy may still tell, else put again, later
//!     ─▶ nothing, for longer than usual ─▶ a second copy beside the first
//! ```
//! All copies have one number, the same bytes and the same nonce, so they are one group however many land: the bucket creates the
//! number once, and what stands there says whose it is. Only that makes a group durable, never an answer that failed, and never a
//! count of them. A copy that comes after a fence of its number finds it taken. One that comes above a fence counts for nothing, as
//! groups are acknowledged in order (B6) and the fence's number never will be. One that comes after its group was trimmed and
//! deleted is never read, and swept.
//!
//! Trouble of the store is waited out, for ever. When and how often it is asked is decided by [`stream_core::pace`].

use crate::keys::wal_object_key;
use base::{WalId, planted};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::FusedFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use stream_core::pace::{Pace, PaceLimits};
use stream_core::wal_group::{GroupKind, HEADER_BYTES, decode_header};
use world::{Backoff, Clock, GetRange, ObjectStore, PutOutcome, StoreError, World, lock};

/// A placed group: the same bytes under the same number at every try.
pub(super) struct ObjectGroup {
    pub(super) number: u64,
    pub(super) nonce: u128,
    pub(super) bytes: usize,
    pub(super) parts: Vec<Bytes>,
}

/// Puts of one object WAL, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutCounts {
    /// First copies: one for each group.
    pub first: u64,
    /// Second copies of slow ones.
    pub copied: u64,
    /// Further tries after trouble.
    pub repeated: u64,
}

/// What the puts of one object WAL share.
pub(super) struct Putter {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) wal: WalId,
    pub(super) pace: Mutex<Pace>,
    /// Why nothing more can be confirmed.
    fenced: OnceLock<String>,
    first: AtomicU64,
    copied: AtomicU64,
    repeated: AtomicU64,
}

/// What stands under a number after a put of it was answered.
enum Found {
    Own,
    /// It was there, and is not now: trimmed since, or an answer that was wrong.
    Nothing,
    Other(String),
}

impl Putter {
    pub(super) fn new(world: &World, store: Arc<dyn ObjectStore>, wal: WalId, limits: PaceLimits) -> Putter {
        Putter {
            clock: world.clock.clone(),
            store,
            wal,
            pace: Mutex::new(Pace::new(limits)),
            fenced: OnceLock::new(),
            first: AtomicU64::new(0),
            copied: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
        }
    }

    pub(super) fn counts(&self) -> PutCounts {
        PutCounts {
            first: self.first.load(Ordering::Relaxed),
            copied: self.copied.load(Ordering::Relaxed),
            repeated: self.repeated.load(Ordering::Relaxed),
        }
    }

    /// Puts until the group is there, durably. `Err`: why it, and what comes after it, never will be.
    pub(super) async fn put(&self, group: &ObjectGroup) -> Result<(), String> {
        let put = self.put_copies(group).await;
        put.map_err(|reason| self.fenced.get_or_init(|| reason).clone())
    }

    async fn put_copies(&self, group: &ObjectGroup) -> Result<(), String> {
        let (began, mut has_failed, mut backoff) = (self.clock.now(), false, Backoff::new());
        let mut slow = pin!(self.until_slow(group.bytes).fuse());
        let mut copies = FuturesUnordered::from_iter([self.put_copy(group, 0)]);
        self.first.fetch_add(1, Ordering::Relaxed);
        loop {
            if let Some(reason) = self.fenced.get() {
                return Err(reason.clone());
            }
            let answer = tokio::select! {
                biased;
                Some(answer) = copies.next() => answer,
                () = &mut slow, if !slow.is_terminated() => {
                    if lock(&self.pace).may_copy(self.clock.now(), group.bytes) {
                        self.copied.fetch_add(1, Ordering::Relaxed);
                        copies.push(self.put_copy(group, planted!("hedge counted as a second group", 0, 1)));
                    }
                    continue;
                }
            };
            match answer {
                Ok(Found::Own) => {
                    let now = self.clock.now();
                    // The other copy may still be under way. It is given up: wherever it lands, it changes nothing.
                    lock(&self.pace).done(group.bytes, (!has_failed).then(|| now.since(began)));
                    return Ok(());
                }
                Ok(Found::Other(reason)) => return Err(reason),
                Ok(Found::Nothing) => {}
                Err(error) => self.note_trouble(group.number, &error, &backoff),
            }
            has_failed = true;
            if copies.is_empty() {
                backoff.wait(self.clock.as_ref()).await;
                let wait = lock(&self.pace).repeat_after(self.clock.now());
                self.clock.sleep(wait).await;
                self.repeated.fetch_add(1, Ordering::Relaxed);
                copies.push(self.put_copy(group, 0));
            } else if planted!("acknowledged on the first of two ambiguous answers", false, true) {
                return Ok(());
            }
        }
    }

    /// Resolves when a put of that size is slower than most were; never, as long as that is not known.
    async fn until_slow(&self, bytes: usize) {
        let after = lock(&self.pace).slow_after(bytes);
        match after {
            Some(after) => self.clock.sleep(after).await,
            None => std::future::pending().await,
        }
    }

    /// One copy, under the group's number; `beyond` is not 0 where a bug is planted.
    async fn put_copy(&self, group: &ObjectGroup, beyond: u64) -> Result<Found, StoreError> {
        let key = wal_object_key(self.wal, group.number + beyond);
        match self.store.put_if_absent(&key, group.parts.clone()).await? {
            PutOutcome::Created => Ok(Found::Own),
            PutOutcome::Exists => planted!("taken for one's own", self.found(&key, group).await, Ok(Found::Own)),
        }
    }

    /// Whose group stands under a number that was found taken. What the store shows is durable there.
    async fn found(&self, key: &str, group: &ObjectGroup) -> Result<Found, StoreError> {
        let header = GetRange::Span { start: 0, end: HEADER_BYTES as u64 };
        let bytes = match self.store.get(key, header).await {
            Ok((bytes, _)) => bytes,
            Err(StoreError::NotFound(_)) => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        // The header's checksum covers the directory too, which is not needed to recognise a nonce.
        Ok(match decode_header(&bytes) {
            Ok(header) if header.kind == GroupKind::Data && header.place.tag == group.nonce => Found::Own,
            Ok(header) if header.kind == GroupKind::Fence => {
                Found::Other(format!("{key} is a fence: this start was declared dead"))
            }
            Ok(_) => Found::Other(format!("{key} was written by somebody else")),
            // A short or wrong answer; a whole one never fails to decode.
            Err(error) => return Err(StoreError::Trouble(format!("{key}: {error}"))),
        })
    }

    fn note_trouble(&self, number: u64, error: &StoreError, backoff: &Backoff) {
        lock(&self.pace).trouble(self.clock.now());
        if backoff.is_worth_a_line() {
            let (key, tries) = (wal_object_key(self.wal, number), backoff.tries());
            tracing::warn!(%key, %error, tries, "the write-ahead log's object can't be put; tries again");
        }
    }
}
