//! Blocks and indexes read back from objects, and spilled runs read back from a WAL: bounded memory, joined reads.
//!
//! Who misses claims the key, reads, and inserts; whoever misses meanwhile waits for that one. A claim that is dropped (an error, a
//! cancelled read) wakes the waiters, and one of them claims it next. What was read at most once since it came in leaves first, so
//! that a reader who walks through old data does not push out what several readers share.

use base::{ObjectId, WalId, WalPosition};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stream_core::object::BlockEntry;
use tokio::sync::watch;
use world::lock;

/// What an entry costs besides its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: u64 = 200;

/// What is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// An object's index.
    Index(ObjectId),
    /// The block at that position of an object.
    Block(ObjectId, u64),
    /// The run at that position of a WAL.
    Spilled(WalId, WalPosition),
}

/// Its value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Index(Arc<[BlockEntry]>),
    Bytes(Bytes),
}

/// An answer.
pub(crate) enum Found {
    Here(Value),
    /// Somebody reads it: wait, then ask again.
    Awaited(watch::Receiver<()>),
    /// Read these (the first is the one asked for), then insert them.
    Claimed(Claim),
}

/// The right and the duty to read some keys.
pub(crate) struct Claim {
    cache: Arc<Mutex<State>>,
    pub(crate) keys: Vec<Key>,
    /// Dropped with the claim, which wakes the waiters.
    _done: watch::Sender<()>,
}

/// The cache; clones share it.
#[derive(Clone)]
pub(crate) struct BlockCache(Arc<Mutex<State>>);

struct State {
    bytes_max: u64,
    bytes: u64,
    entries: BTreeMap<Key, Entry>,
    /// The first leaves first: those read at most once, then by the time of the last read.
    leaving: BTreeMap<(bool, u64), Key>,
    clock: u64,
    claimed: BTreeMap<Key, watch::Receiver<()>>,
}

struct Entry {
    value: Value,
    bytes: u64,
    reads: u32,
    place: (bool, u64),
}

impl BlockCache {
    pub(crate) fn new(bytes_max: u64) -> BlockCache {
        BlockCache(Arc::new(Mutex::new(State {
            bytes_max,
            bytes: 0,
            entries: BTreeMap::new(),
            leaving: BTreeMap::new(),
            clock: 0,
            claimed: BTreeMap::new(),
        })))
    }

    /// The value of the first key, or the right to read it and those of the others that follow it and are neither here nor being
    /// read: neighbours that one request brings.
    pub(crate) fn find(&self, keys: &[Key]) -> Found {
        let mut state = lock(&self.0);
        let first = keys[0];
        if let Some(value) = state.touch(first) {
            return Found::Here(value);
        }
        if let Some(done) = state.claimed.get(&first) {
            return Found::Awaited(done.clone());
        }
        let free = |key: &&Key| !state.entries.contains_key(key) && !state.claimed.contains_key(key);
        let keys: Vec<Key> = keys.iter().take_while(free).copied().collect();
        let (done, waits) = watch::channel(());
        for key in &keys {
            state.claimed.insert(*key, waits.clone());
        }
        Found::Claimed(Claim { cache: self.0.clone(), keys, _done: done })
    }

    /// Whether it is here or on its way, without counting as a read.
    pub(crate) fn has(&self, key: Key) -> bool {
        let state = lock(&self.0);
        state.entries.contains_key(&key) || state.claimed.contains_key(&key)
    }

    /// The value, if it is here.
    #[cfg(test)]
    fn get(&self, key: Key) -> Option<Value> {
        lock(&self.0).touch(key)
    }
}

impl Claim {
    /// Hands in what was read.
    pub(crate) fn insert(&self, key: Key, value: Value) {
        lock(&self.cache).insert(key, value);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = lock(&self.cache);
        for key in &self.keys {
            state.claimed.remove(key);
        }
    }
}

impl State {
    fn touch(&mut self, key: Key) -> Option<Value> {
        self.clock += 1;
        let entry = self.entries.get_mut(&key)?;
        self.leaving.remove(&entry.place);
        entry.reads = entry.reads.saturating_add(1);
        let shared = entry.reads > 1 || matches!(entry.value, Value::Index(_));
        entry.place = (shared, self.clock);
        self.leaving.insert(entry.place, key);
        Some(entry.value.clone())
    }

    fn insert(&mut self, key: Key, value: Value) {
        let bytes = ENTRY_OVERHEAD_BYTES
            + match &value {
                Value::Index(blocks) => size_of_val::<[BlockEntry]>(blocks) as u64,
                Value::Bytes(bytes) => bytes.len() as u64,
            };
        self.clock += 1;
        let place = (false, self.clock);
        if let Some(old) = self.entries.insert(key, Entry { value, bytes, reads: 0, place }) {
            self.bytes -= old.bytes;
            self.leaving.remove(&old.place);
        }
        self.bytes += bytes;
        self.leaving.insert(place, key);
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.leaving.pop_first() else { return };
            if let Some(gone) = self.entries.remove(&oldest) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::NodeEpoch;

    fn key(position: u64) -> Key {
        Key::Block(ObjectId { node_epoch: NodeEpoch(1), counter: 1 }, position)
    }

    fn put(cache: &BlockCache, position: u64, len: usize) {
        match cache.find(&[key(position)]) {
            Found::Claimed(claim) => claim.insert(key(position), Value::Bytes(Bytes::from(vec![0; len]))),
            _ => panic!("it is not here yet"),
        }
    }

    #[test]
    fn who_misses_second_waits_for_the_first_and_a_dropped_claim_is_free_again() {
        let cache = BlockCache::new(10_000);
        let Found::Claimed(claim) = cache.find(&[key(0), key(1)]) else { panic!("nobody reads it") };
        assert!(matches!(cache.find(&[key(1)]), Found::Awaited(_)), "a neighbour of the same request");
        drop(claim);
        let Found::Claimed(claim) = cache.find(&[key(1)]) else { panic!("the claim was dropped") };
        claim.insert(key(1), Value::Bytes(Bytes::from_static(b"x")));
        drop(claim);
        assert!(matches!(cache.find(&[key(1)]), Found::Here(_)));
        let Found::Claimed(claim) = cache.find(&[key(0), key(1)]) else { panic!("not here") };
        assert_eq!(claim.keys, [key(0)], "what is here is not read again");
    }

    #[test]
    fn what_was_read_once_leaves_before_what_is_shared_and_the_bound_holds() {
        let cache = BlockCache::new(4 * (1000 + ENTRY_OVERHEAD_BYTES));
        put(&cache, 0, 1000);
        assert!(cache.get(key(0)).is_some() && cache.get(key(0)).is_some());
        for position in 1..50 {
            put(&cache, position, 1000);
            assert!(cache.get(key(position)).is_some());
            assert!(lock(&cache.0).bytes <= 4 * (1000 + ENTRY_OVERHEAD_BYTES));
        }
        assert!(cache.get(key(0)).is_some());
        assert!(cache.get(key(10)).is_none());
    }
}
