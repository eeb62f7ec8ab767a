//! The names of data objects.

use base::{NodeEpoch, ObjectId, crc32c};

/// All data objects are below it.
pub(crate) const DATA_PREFIX: &str = "data/";

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
}
