//! The object WAL's writer: numbered objects, created put-if-absent, several in flight.
//!
//! `wal/<node epoch>/<index>/<n>`, from 0 on without gaps; a position is `n << 32 | byte in the object`. That a number can be
//! created once is what fences a writer: a recoverer creates the first missing number itself, and the writer's own put of that
//! number then finds it taken. So an *exists* is never success by itself: the object is read back, and its nonce tells.
//!
//! Trouble of the store is waited out, for ever: the same bytes are put again under the same number, which is harmless however
//! often an earlier try has landed.

use super::{Placed, WalError, WalFull, WalOptions, WalReadError, WalSpan, span};
use crate::keys::wal_object_key;
use base::{WalId, WalPosition};
use bytes::Bytes;
use control_core::image::Image;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use stream_core::WalEntry;
use stream_core::wal_group::{GroupKind, GroupPlace, HEADER_BYTES, decode_header, encode_group, measure};
use world::{Backoff, Clock, ClockExt, GetRange, ObjectStore, PutOutcome, StoreError, World, lock};

/// Names deleted by one call at the most.
pub(super) const DELETE_KEYS_MAX: usize = 1000;

/// The object WAL of one start.
pub struct ObjectWal {
    wal: WalId,
    options: WalOptions,
    next: u64,
    floor: u64,
    /// Bytes of each number that is not trimmed.
    sizes: BTreeMap<u64, u64>,
    used_bytes: u64,
    shared: Arc<Shared>,
}

/// A placed group: the same bytes under the same number at every try.
pub(super) struct ObjectGroup {
    number: u64,
    nonce: u128,
    parts: Vec<Bytes>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    store: Arc<dyn ObjectStore>,
    wal: WalId,
    /// Numbers that were placed and are not durable yet.
    unconfirmed: Mutex<BTreeSet<u64>>,
    /// Why nothing more can be confirmed.
    fenced: OnceLock<String>,
    trimming: Mutex<Trimming>,
}

/// What the background deletion has done and has to do.
#[derive(Default)]
struct Trimming {
    deleted_below: u64,
    delete_below: u64,
    running: bool,
}

impl ObjectWal {
    /// Begins to write as `wal`, from number 0 on.
    #[must_use]
    pub fn begin(world: &World, store: Arc<dyn ObjectStore>, wal: WalId, options: &WalOptions) -> ObjectWal {
        let shared = Shared {
            clock: world.clock.clone(),
            store,
            wal,
            unconfirmed: Mutex::default(),
            fenced: OnceLock::new(),
            trimming: Mutex::default(),
        };
        let options = options.clone();
        ObjectWal { wal, options, next: 0, floor: 0, sizes: BTreeMap::new(), used_bytes: 0, shared: Arc::new(shared) }
    }

    pub(super) fn id(&self) -> WalId {
        self.wal
    }

    pub(super) fn place(&mut self, entries: &[WalEntry]) -> Result<(Placed, ObjectGroup), WalFull> {
        let size = measure(entries, 1);
        let total = size.total as u64;
        let free = self.capacity_bytes().saturating_sub(self.used_bytes);
        if total > free {
            return Err(WalFull { needed: total, free });
        }
        let nonce = self.shared.clock.nonce().0;
        let position = position_of(self.next);
        let durable = position_of(self.shared.begin_group(self.next));
        let encoded = encode_group(GroupPlace { wal: self.wal, position, durable, tag: nonce }, entries, 1);
        let mut parts = Vec::with_capacity(1 + 2 * entries.len());
        parts.push(encoded.head);
        for entry in entries {
            let bytes = &entry.batch.bytes;
            parts.extend([&bytes.head, &bytes.body].into_iter().filter(|piece| !piece.is_empty()).cloned());
        }
        let spans = encoded.directory.iter().map(|entry| span(position, entry)).collect();
        let group = ObjectGroup { number: self.next, nonce, parts };
        self.sizes.insert(self.next, total);
        self.used_bytes += total;
        self.next += 1;
        Ok((Placed { position, end: position_of(self.next), spans }, group))
    }

    pub(super) fn write(&self, group: ObjectGroup) -> BoxFuture<'static, Result<(), WalError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared
                .put(&group)
                .await
                .map_err(|reason| WalError::Fenced(shared.fenced.get_or_init(|| reason).clone()))?;
            shared.confirm(group.number);
            Ok(())
        })
    }

    pub(super) fn floor_in(&self, image: &Image) -> WalPosition {
        image.wals.get(&self.wal).map_or(position_of(self.floor), |record| record.trim)
    }

    pub(super) fn trim(&mut self, floor: WalPosition) {
        let floor = number_of(floor);
        assert!(floor <= self.next, "only what was placed is trimmed");
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        let kept = self.sizes.split_off(&floor);
        self.used_bytes -= std::mem::replace(&mut self.sizes, kept).values().sum::<u64>();
        self.shared.delete_below(floor);
    }

    pub(super) fn next_position(&self) -> WalPosition {
        position_of(self.next)
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.options.object_capacity_bytes
    }

    pub(super) fn group_bytes_max(&self) -> usize {
        usize::try_from(self.options.object_bytes_max).unwrap_or(usize::MAX)
    }

    pub(super) fn in_flight_max(&self) -> usize {
        self.options.object_in_flight_max
    }

    pub(super) fn reader(&self) -> ObjectWalReader {
        ObjectWalReader::new(self.shared.store.clone(), self.wal)
    }
}

/// Whose object stands under a number that was found taken.
enum Taken {
    Own,
    /// Own, trimmed since, or an answer that was wrong: put again.
    Missing,
    Other(String),
}

impl Shared {
    /// Puts until the object is there, durably. `Err`: why it never will be.
    async fn put(&self, group: &ObjectGroup) -> Result<(), String> {
        let key = wal_object_key(self.wal, group.number);
        let mut backoff = Backoff::new();
        loop {
            if let Some(reason) = self.fenced.get() {
                return Err(reason.clone());
            }
            let trouble = match self.store.put_if_absent(&key, group.parts.clone()).await {
                Ok(PutOutcome::Created) => return Ok(()),
                Ok(PutOutcome::Exists) => match self.taken(&key, group).await {
                    Ok(Taken::Own) => return Ok(()),
                    Ok(Taken::Other(reason)) => return Err(reason),
                    Ok(Taken::Missing) => None,
                    Err(error) => Some(error),
                },
                Err(error) => Some(error),
            };
            if let Some(error) = trouble.filter(|_| backoff.is_worth_a_line()) {
                tracing::warn!(%key, %error, tries = backoff.tries(), "the write-ahead log's object can't be put; tries again");
            }
            backoff.wait(self.clock.as_ref()).await;
        }
    }

    async fn taken(&self, key: &str, group: &ObjectGroup) -> Result<Taken, StoreError> {
        let header = GetRange::Span { start: 0, end: HEADER_BYTES as u64 };
        let bytes = match self.store.get(key, header).await {
            Ok((bytes, _)) => bytes,
            Err(StoreError::NotFound(_)) => return Ok(Taken::Missing),
            Err(error) => return Err(error),
        };
        // The header's checksum covers the directory too, which is not needed to recognise a nonce.
        Ok(match decode_header(&bytes) {
            Ok(header) if header.kind == GroupKind::Data && header.place.tag == group.nonce => Taken::Own,
            Ok(header) if header.kind == GroupKind::Fence => {
                Taken::Other(format!("{key} is a fence: this start was declared dead"))
            }
            Ok(_) => Taken::Other(format!("{key} was written by somebody else")),
            // A short or wrong answer; a whole one never fails to decode.
            Err(error) => return Err(StoreError::Trouble(format!("{key}: {error}"))),
        })
    }

    /// Notes that a number is in flight; yields the lowest one that is.
    fn begin_group(&self, number: u64) -> u64 {
        let mut unconfirmed = lock(&self.unconfirmed);
        unconfirmed.insert(number);
        *unconfirmed.first().expect("one was inserted")
    }

    fn confirm(&self, number: u64) {
        lock(&self.unconfirmed).remove(&number);
    }

    /// Deletes the numbers below `floor` in the background. What a kill leaves over is swept after this start's death.
    fn delete_below(self: &Arc<Shared>, floor: u64) {
        let mut trimming = lock(&self.trimming);
        trimming.delete_below = floor;
        if !std::mem::replace(&mut trimming.running, true) {
            let shared = self.clone();
            // Detached: it ends by itself when nothing is left to delete.
            drop(self.clock.spawn("trim object WAL", Box::pin(async move { shared.delete_trimmed().await })));
        }
    }

    async fn delete_trimmed(&self) {
        let mut backoff = Backoff::new();
        while let Some((from, to)) = self.next_deletion() {
            let keys: Vec<String> = (from..to).map(|number| wal_object_key(self.wal, number)).collect();
            match self.store.delete(&keys).await {
                Ok(()) => {
                    lock(&self.trimming).deleted_below = to;
                    backoff.reset();
                }
                Err(error) => {
                    tracing::debug!(%error, "trimmed objects of the write-ahead log can't be deleted yet");
                    backoff.wait(self.clock.as_ref()).await;
                }
            }
        }
    }

    /// The numbers to delete next; `None` ends the task, under the same lock under which the next one is begun.
    fn next_deletion(&self) -> Option<(u64, u64)> {
        let mut trimming = lock(&self.trimming);
        let (from, to) = (trimming.deleted_below, trimming.delete_below);
        trimming.running = from < to;
        trimming.running.then(|| (from, to.min(from + DELETE_KEYS_MAX as u64)))
    }
}

/// Reads one object WAL's entries.
#[derive(Clone)]
pub struct ObjectWalReader {
    store: Arc<dyn ObjectStore>,
    wal: WalId,
}

impl ObjectWalReader {
    /// Of a WAL in that store: a living one, or a dead start's.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, wal: WalId) -> ObjectWalReader {
        ObjectWalReader { store, wal }
    }

    pub(super) async fn read_span(&self, span: WalSpan) -> Result<Bytes, WalReadError> {
        let key = wal_object_key(self.wal, number_of(span.position));
        let start = span.position.0 & u64::from(u32::MAX);
        let end = start + u64::from(span.len);
        match self.store.get(&key, GetRange::Span { start, end }).await {
            Ok((bytes, _)) if bytes.len() as u64 == u64::from(span.len) => Ok(bytes),
            Ok((_, size)) if size >= end => Err(WalReadError::Trouble(format!("{key}: a short answer"))),
            Ok(_) => Err(WalReadError::Gone(format!("{key} is too short"))),
            Err(StoreError::NotFound(key)) => Err(WalReadError::Gone(key)),
            Err(error) => Err(WalReadError::Trouble(error.to_string())),
        }
    }
}

/// Where object `number` begins.
pub(super) fn position_of(number: u64) -> WalPosition {
    WalPosition(number << 32)
}

/// Which object a position lies in.
pub(super) fn number_of(position: WalPosition) -> u64 {
    position.0 >> 32
}
