//! Each key's last offset, in memory that is bounded beforehand. Pure.
//!
//! Keys stand here by their digests (`KeyHasher`), so that a long key takes no more than a short one. A table that probes in line: the
//! digests are as good as random already.

use base::Offset;
use protocol::record_batch::{KEY_DIGEST_BYTES, KeyDigest, KeyHasher};

/// What a key takes: its digest and an offset.
const SLOT_BYTES: usize = KEY_DIGEST_BYTES + 8;

/// At the least so many slots there are.
const SLOTS_MIN: usize = 16;

/// No offset.
const FREE: u64 = u64::MAX;

/// See the head of this file.
pub(super) struct OffsetMap {
    hasher: KeyHasher,
    digests: Vec<KeyDigest>,
    offsets: Vec<u64>,
    keys: usize,
}

impl OffsetMap {
    /// With room for the keys of so many records, or for as many as fit into `bytes_max`.
    pub(super) fn new(hasher: KeyHasher, bytes_max: usize, records: u64) -> OffsetMap {
        let wanted = usize::try_from(records).unwrap_or(usize::MAX).saturating_mul(4) / 3;
        let slots = wanted.saturating_add(1).min(bytes_max / SLOT_BYTES).max(SLOTS_MIN);
        OffsetMap { hasher, digests: vec![[0; KEY_DIGEST_BYTES]; slots], offsets: vec![FREE; slots], keys: 0 }
    }

    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// How many keys it knows.
    pub(super) fn len(&self) -> usize {
        self.keys
    }

    /// Notes that the key stands at this offset; false where there is no room for one more.
    pub(super) fn put(&mut self, key: &KeyDigest, offset: Offset) -> bool {
        let at = self.slot_of(key);
        if self.offsets[at] == FREE {
            // A quarter stays free, or the way to a free slot gets long.
            if self.keys >= self.offsets.len() * 3 / 4 {
                return false;
            }
            self.keys += 1;
            self.digests[at] = *key;
            self.offsets[at] = offset.0;
        } else {
            self.offsets[at] = self.offsets[at].max(offset.0);
        }
        true
    }

    /// The key's last offset, where it was met.
    pub(super) fn get(&self, key: &KeyDigest) -> Option<Offset> {
        let offset = self.offsets[self.slot_of(key)];
        (offset != FREE).then_some(Offset(offset))
    }

    /// Where the key stands, or would.
    fn slot_of(&self, key: &KeyDigest) -> usize {
        let slots = self.offsets.len();
        let number = key[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let mut at = usize::try_from(number % slots as u64).unwrap_or(0);
        while self.offsets[at] != FREE && self.digests[at] != *key {
            at = (at + 1) % slots;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn tells_the_last_offset_of_every_key_that_it_had_room_for() {
        for bytes_max in [0, 1000, 100_000] {
            let mut map = OffsetMap::new(KeyHasher::new(5), bytes_max, 3000);
            let mut expected = BTreeMap::new();
            let mut refused = 0;
            for offset in 0..3000_u64 {
                let key = map.hasher().digest(&(offset * 7919 % 1000).to_be_bytes());
                if map.put(&key, Offset(offset)) {
                    expected.insert(key, Offset(offset));
                } else {
                    refused += 1;
                    assert_eq!(map.get(&key), None);
                }
            }
            assert_eq!((map.len(), refused > 0), (expected.len(), bytes_max < 100_000), "{bytes_max}");
            assert!(map.offsets.len() * SLOT_BYTES <= bytes_max.max(SLOTS_MIN * SLOT_BYTES));
            for (key, offset) in expected {
                assert_eq!(map.get(&key), Some(offset));
            }
        }
    }

    #[test]
    fn as_many_keys_as_records_have_room_where_there_is_memory() {
        for records in 1..500_u64 {
            let mut map = OffsetMap::new(KeyHasher::new(5), 1_000_000, records);
            let fits = (0..records).all(|offset| {
                let key = map.hasher().digest(&offset.to_be_bytes());
                map.put(&key, Offset(offset))
            });
            assert!(fits, "{records}");
        }
    }

    #[test]
    fn an_older_offset_changes_nothing() {
        let mut map = OffsetMap::new(KeyHasher::new(5), 1000, 10);
        let key = map.hasher().digest(b"a");
        assert!(map.put(&key, Offset(9)) && map.put(&key, Offset(3)));
        assert_eq!(map.get(&key), Some(Offset(9)));
    }
}
