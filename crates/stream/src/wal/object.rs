//! The object WAL's writer: numbered objects, created put-if-absent, several in flight.
//!
//! `wal/<node epoch>/<index>/<n>`, from 0 on without gaps; a position is `n << 32 | byte in the object`. That a number can be
//! created once is what fences a writer: a recoverer creates the first missing number itself, and the writer's own put of that
//! number then finds it taken. How a number is put is in `object_put`; when, and how much is put under it, in [`stream_core::pace`].

use super::object_put::{ObjectGroup, PutCounts, Putter};
use super::{Placed, WalError, WalFull, WalOptions, WalReadError, WalSpan, span};
use crate::keys::wal_object_key;
use base::{Micros, WalId, WalPosition};
use bytes::Bytes;
use control_core::image::Image;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use stream_core::WalEntry;
use stream_core::append::Terms;
use stream_core::wal_group::{GroupPlace, encode_group, measure};
use world::{Backoff, ClockExt, GetRange, ObjectStore, StoreError, World, lock};

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

struct Shared {
    puts: Putter,
    /// Numbers that were placed and are not durable yet.
    unconfirmed: Mutex<BTreeSet<u64>>,
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
        let puts = Putter::new(world, store, wal, options.object_pace.clone());
        let shared = Shared { puts, unconfirmed: Mutex::default(), trimming: Mutex::default() };
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
        let clock = &self.shared.puts.clock;
        let (now, nonce) = (clock.now(), clock.nonce().0);
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
        let bytes = parts.iter().map(Bytes::len).sum();
        lock(&self.shared.puts.pace).sent(now, bytes);
        let group = ObjectGroup { number: self.next, nonce, bytes, parts };
        self.sizes.insert(self.next, total);
        self.used_bytes += total;
        self.next += 1;
        Ok((Placed { position, end: position_of(self.next), spans }, group))
    }

    pub(super) fn write(&self, group: ObjectGroup) -> BoxFuture<'static, Result<(), WalError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared.puts.put(&group).await.map_err(WalError::Fenced)?;
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

    pub(super) fn terms(&self, now: Micros) -> Terms {
        let terms = lock(&self.shared.puts.pace).terms(now);
        Terms { group_bytes_max: terms.group_bytes_max.min(self.group_bytes_max()), ..terms }
    }

    pub(super) fn put_counts(&self) -> PutCounts {
        self.shared.puts.counts()
    }

    pub(super) fn reader(&self) -> ObjectWalReader {
        ObjectWalReader::new(self.shared.puts.store.clone(), self.wal)
    }
}

impl Shared {
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
            drop(self.puts.clock.spawn("trim object WAL", Box::pin(async move { shared.delete_trimmed().await })));
        }
    }

    async fn delete_trimmed(&self) {
        let mut backoff = Backoff::new();
        while let Some((from, to)) = self.next_deletion() {
            let keys: Vec<String> = (from..to).map(|number| wal_object_key(self.puts.wal, number)).collect();
            match self.puts.store.delete(&keys).await {
                Ok(()) => {
                    lock(&self.trimming).deleted_below = to;
                    backoff.reset();
                }
                Err(error) => {
                    tracing::debug!(%error, "trimmed objects of the write-ahead log can't be deleted yet");
                    backoff.wait(self.puts.clock.as_ref()).await;
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
pub(crate) fn position_of(number: u64) -> WalPosition {
    WalPosition(number << 32)
}

/// Which object a position lies in.
pub(super) fn number_of(position: WalPosition) -> u64 {
    position.0 >> 32
}
