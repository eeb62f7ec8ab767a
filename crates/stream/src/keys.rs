//! The names of data objects and of object WALs' objects, and what a name says. The ledger's are in `control::keys`.

use base::{NodeEpoch, ObjectId, WalId, WalIndex, crc32c};

/// All data objects are below it.
pub(crate) const DATA_PREFIX: &str = "data/";

/// All object WALs are below it.
pub(crate) const WAL_PREFIX: &str = "wal/";

/// What says that rings were given up is below it.
pub(crate) const ABANDONED_PREFIX: &str = "abandoned/";

/// A data object's key. The hash spreads neighbours over the store's partitions.
#[must_use]
pub fn data_key(object: ObjectId) -> String {
    let name = object.to_string();
    format!("{DATA_PREFIX}{:02x}/{name}", crc32c(name.as_bytes()) & 0xff)
}

/// The object of a key; `None` for what no release of ours put there.
#[must_use]
pub fn object_of_key(key: &str) -> Option<ObjectId> {
    let (_, name) = key.strip_prefix(DATA_PREFIX)?.split_once('/')?;
    let (node_epoch, counter) = name.split_once('-')?;
    let object = ObjectId { node_epoch: NodeEpoch(node_epoch.parse().ok()?), counter: counter.parse().ok()? };
    (data_key(object) == key).then_some(object)
}

/// Everything of one object WAL is below it.
pub(crate) fn wal_prefix(wal: WalId) -> String {
    format!("{WAL_PREFIX}{:020}/{}/", wal.node_epoch.0, wal.index.0)
}

/// The key of an object WAL's object `number`. Padded, so that the order of names is the order of numbers.
pub(crate) fn wal_object_key(wal: WalId, number: u64) -> String {
    format!("{}{number:020}", wal_prefix(wal))
}

/// The WAL of a key below [`WAL_PREFIX`]; `None` for what no release of ours put there.
pub(crate) fn wal_of_key(key: &str) -> Option<WalId> {
    let mut parts = key.strip_prefix(WAL_PREFIX)?.split('/');
    let node_epoch = NodeEpoch(parts.next()?.parse().ok()?);
    let index = WalIndex(parts.next()?.parse().ok()?);
    Some(WalId { node_epoch, index })
}

/// What says that this ring was given up.
pub(crate) fn abandoned_key(ring_id: u128) -> String {
    format!("{ABANDONED_PREFIX}{ring_id:032x}")
}

/// The ring of such a key; `None` for what no release of ours put there.
pub(crate) fn ring_of_key(key: &str) -> Option<u128> {
    let ring_id = u128::from_str_radix(key.strip_prefix(ABANDONED_PREFIX)?, 16).ok()?;
    (abandoned_key(ring_id) == key).then_some(ring_id)
}

/// The number of a key below [`wal_prefix`].
pub(crate) fn wal_object_number(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_object_and_nothing_else_does() {
        let object = ObjectId { node_epoch: NodeEpoch(17), counter: 4 };
        let key = data_key(object);
        assert_eq!(object_of_key(&key), Some(object));
        for other in ["data/00/17-4x", "data/17-4", "ledger/entry/1", "data/zz/17-4", "data/00/017-4"] {
            assert_eq!(object_of_key(other), None, "{other}");
        }
    }

    #[test]
    fn a_wal_objects_key_tells_its_wal_and_its_number() {
        let wal = WalId { node_epoch: NodeEpoch(17), index: WalIndex(2) };
        let key = wal_object_key(wal, 9);
        assert_eq!(key, "wal/00000000000000000017/2/00000000000000000009");
        assert_eq!((wal_of_key(&key), wal_object_number(&key)), (Some(wal), Some(9)));
        assert_eq!(wal_of_key("wal/x/2/3"), None);
    }

    #[test]
    fn the_key_of_a_ring_that_was_given_up_tells_its_id() {
        let key = abandoned_key(0x1f);
        assert_eq!(key, "abandoned/0000000000000000000000000000001f");
        assert_eq!(ring_of_key(&key), Some(0x1f));
        for other in ["abandoned/1f", "abandoned/0000000000000000000000000000001F", "wal/1f"] {
            assert_eq!(ring_of_key(other), None, "{other}");
        }
    }
}
