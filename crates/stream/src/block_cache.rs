//! Blocks and indexes read back from objects, and spilled runs read back from a WAL: bounded memory, joined reads.
//!
//! Who misses claims the key, reads, and inserts; whoever misses meanwhile waits for that one. A claim that is dropped (an error, a
//! cancelled read) wakes the waiters, and one of them claims it next.
//!
//! What leaves first: entries that several readers have begun are *shared* and have half of the memory, the others have what is left,
//! each by the time of the last read (a segmented LRU, as of Karedla et al. 1994). So a reader who walks through old data does not push
//! out what several readers share; and what was shared once does not stay for ever: where it is more than its half, the oldest of it
//! is as new as what came in last, and no more than that. Else the memory would fill with what all readers have passed, and what is read
//! ahead would be gone before its reader comes (docs/adr/0171-what-the-block-cache-keeps.md).

use base::{ObjectId, WalId, WalPosition};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use stream_core::object::BlockEntry;
use tokio::sync::watch;
use world::lock;

/// What an entry costs besides its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: u64 = 200;

/// So many readers that have begun an entry make it a shared one.
const SHARED_BY: u32 = 2;

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
    entries: BTreeMap<Key, Entry>,
    segments: Segments,
    clock: u64,
    claimed: BTreeMap<Key, watch::Receiver<()>>,
}

/// By the time of the last read: what several readers have begun, and the rest.
#[derive(Default)]
struct Segments {
    shared: Segment,
    rest: Segment,
}

/// Entries of one kind; the first leaves first.
#[derive(Default)]
struct Segment {
    bytes: u64,
    by_age: BTreeMap<u64, Key>,
}

struct Entry {
    value: Value,
    bytes: u64,
    /// Readers that have begun it.
    readers: u32,
    age: u64,
}

/// How a key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// By a reader that comes to it: a second one makes it shared.
    Begin,
    /// By the reader that was there before: a block is often read in several pieces.
    GoOn,
}

impl BlockCache {
    pub(crate) fn new(bytes_max: u64) -> BlockCache {
        BlockCache(Arc::new(Mutex::new(State {
            bytes_max,
            entries: BTreeMap::new(),
            segments: Segments::default(),
            clock: 0,
            claimed: BTreeMap::new(),
        })))
    }

    /// The value of the first key, or the right to read it and those of the others that follow it and are neither here nor being
    /// read: neighbours that one request brings.
    pub(crate) fn find(&self, keys: &[Key], visit: Visit) -> Found {
        let mut state = lock(&self.0);
        let first = keys[0];
        if let Some(value) = state.touch(first, visit) {
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
        lock(&self.0).touch(key, Visit::Begin)
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
    fn touch(&mut self, key: Key, visit: Visit) -> Option<Value> {
        self.clock += 1;
        let entry = self.entries.get_mut(&key)?;
        self.segments.of(entry).remove(entry);
        let begun = match entry.value {
            // Whoever reads an object reads its index.
            Value::Index(_) => SHARED_BY,
            Value::Bytes(_) => u32::from(visit == Visit::Begin),
        };
        entry.readers = entry.readers.saturating_add(begun);
        entry.age = self.clock;
        self.segments.of(entry).add(entry, key);
        let value = entry.value.clone();
        self.make_room();
        Some(value)
    }

    fn insert(&mut self, key: Key, value: Value) {
        let bytes = ENTRY_OVERHEAD_BYTES
            + match &value {
                Value::Index(blocks) => size_of_val::<[BlockEntry]>(blocks) as u64,
                Value::Bytes(bytes) => bytes.len() as u64,
            };
        self.clock += 1;
        let entry = Entry { value, bytes, readers: 0, age: self.clock };
        self.segments.of(&entry).add(&entry, key);
        if let Some(old) = self.entries.insert(key, entry) {
            self.segments.of(&old).remove(&old);
        }
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.segments.shared.bytes > self.bytes_max / 2 {
            let Some((_, key)) = self.segments.shared.by_age.first_key_value() else { break };
            let key = *key;
            let Some(entry) = self.entries.get_mut(&key) else { break };
            self.segments.shared.remove(entry);
            self.clock += 1;
            // It has to be begun twice again.
            (entry.readers, entry.age) = (0, self.clock);
            self.segments.rest.add(entry, key);
        }
        while self.segments.shared.bytes + self.segments.rest.bytes > self.bytes_max {
            let Some((_, oldest)) = self.segments.rest.by_age.first_key_value() else { break };
            let Some(gone) = self.entries.remove(oldest) else { break };
            self.segments.rest.remove(&gone);
        }
    }
}

impl Segments {
    fn of(&mut self, entry: &Entry) -> &mut Segment {
        if entry.readers >= SHARED_BY { &mut self.shared } else { &mut self.rest }
    }
}

impl Segment {
    fn add(&mut self, entry: &Entry, key: Key) {
        self.bytes += entry.bytes;
        self.by_age.insert(entry.age, key);
    }

    fn remove(&mut self, entry: &Entry) {
        self.bytes -= entry.bytes;
        self.by_age.remove(&entry.age);
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
        match cache.find(&[key(position)], Visit::Begin) {
            Found::Claimed(claim) => claim.insert(key(position), Value::Bytes(Bytes::from(vec![0; len]))),
            _ => panic!("it is not here yet"),
        }
    }

    fn held(cache: &BlockCache) -> u64 {
        let state = lock(&cache.0);
        let sum: u64 = state.entries.values().map(|entry| entry.bytes).sum();
        let Segments { shared, rest } = &state.segments;
        assert_eq!(sum, shared.bytes + rest.bytes);
        assert_eq!(state.entries.len(), shared.by_age.len() + rest.by_age.len());
        sum
    }

    #[test]
    fn who_misses_second_waits_for_the_first_and_a_dropped_claim_is_free_again() {
        let cache = BlockCache::new(10_000);
        let Found::Claimed(claim) = cache.find(&[key(0), key(1)], Visit::Begin) else { panic!("nobody reads it") };
        assert!(matches!(cache.find(&[key(1)], Visit::Begin), Found::Awaited(_)), "a neighbour of the same request");
        drop(claim);
        let Found::Claimed(claim) = cache.find(&[key(1)], Visit::Begin) else { panic!("the claim was dropped") };
        claim.insert(key(1), Value::Bytes(Bytes::from_static(b"x")));
        drop(claim);
        assert!(matches!(cache.find(&[key(1)], Visit::Begin), Found::Here(_)));
        let Found::Claimed(claim) = cache.find(&[key(0), key(1)], Visit::Begin) else { panic!("not here") };
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
            assert!(held(&cache) <= 4 * (1000 + ENTRY_OVERHEAD_BYTES));
        }
        assert!(cache.get(key(0)).is_some());
        assert!(cache.get(key(10)).is_none());
    }

    #[test]
    fn what_all_readers_have_passed_makes_room_for_what_is_read_ahead() {
        let cache = BlockCache::new(16 * (1000 + ENTRY_OVERHEAD_BYTES));
        for position in 0..100 {
            put(&cache, position, 1000);
            for _reader in 0..3 {
                assert!(cache.get(key(position)).is_some());
            }
            held(&cache);
        }
        for position in 100..104 {
            put(&cache, position, 1000);
        }
        let here: Vec<u64> = (0..104).filter(|position| cache.has(key(*position))).collect();
        assert_eq!(here, (88..104).collect::<Vec<_>>(), "the newest, whoever has read them");
    }

    #[test]
    fn a_block_that_one_reader_takes_in_pieces_is_not_shared() {
        let cache = BlockCache::new(4 * (1000 + ENTRY_OVERHEAD_BYTES));
        put(&cache, 0, 1000);
        assert!(cache.get(key(0)).is_some() && cache.get(key(0)).is_some());
        for position in 1..50 {
            put(&cache, position, 1000);
            for visit in [Visit::Begin, Visit::GoOn, Visit::GoOn] {
                assert!(matches!(cache.find(&[key(position)], visit), Found::Here(_)));
            }
        }
        assert!(cache.has(key(0)), "two have begun it");
    }
}
