//! How a consumer group comes back from its records.

use super::record::{ConsumerChange, Key, Value};
use super::state::{Consumer, Current};
use crate::group::Group;
use base::UnixMillis;

impl Consumer {
    /// Applies a record that says something.
    pub(crate) fn apply(&mut self, key: &Key, value: Value) {
        match (key, value) {
            (_, Value::Epoch { epoch, metadata_hash }) => (self.epoch, self.metadata_hash) = (epoch, metadata_hash),
            (_, Value::Partitions) => self.has_partition_metadata = true,
            (_, Value::TargetEpoch { epoch, at }) => (self.target_epoch, self.target_at) = (epoch, at),
            (Key::Metadata(member), Value::Metadata(metadata)) => self.put_metadata(member, metadata),
            (Key::Target(member), Value::Target(target)) => self.put_target(member, target),
            (Key::Current(member), Value::Current(current)) => self.put_current(member, current),
            (Key::Regex(regex), Value::Regex(resolved)) => self.put_regex(regex, resolved),
            // A value is read by its key.
            (_, Value::Metadata(_) | Value::Target(_) | Value::Current(_) | Value::Regex(_)) => {}
        }
    }

    /// Applies a record that takes something back; whether the group is still there.
    fn take_back(&mut self, key: &Key) -> bool {
        match key {
            Key::Epoch => return false,
            Key::Partitions => self.has_partition_metadata = false,
            Key::TargetEpoch => (self.target_epoch, self.target_at) = (-1, UnixMillis(0)),
            Key::Metadata(member) => drop(self.remove_member(member)),
            Key::Target(member) => drop(self.remove_target(member)),
            Key::Current(member) => {
                if self.members().contains_key(member) {
                    self.put_current(member, Current::default());
                }
            }
            Key::Regex(regex) => {
                self.remove_regex(regex);
            }
        }
        true
    }
}

impl Group {
    /// Applies a record; whether anything is left of the group. What was there of another kind gives way, but for offsets.
    pub(crate) fn replay_consumer(&mut self, change: ConsumerChange) -> bool {
        let ConsumerChange { key, value, .. } = change;
        match (value, &mut self.consumer) {
            (Some(value), Some(consumer)) => consumer.apply(&key, value),
            (Some(value), none) => {
                let mut consumer = Consumer::default();
                consumer.apply(&key, value);
                *none = Some(Box::new(consumer));
                self.forget_classic();
            }
            (None, Some(consumer)) => {
                if !consumer.take_back(&key) {
                    self.consumer = None;
                }
            }
            (None, None) => {}
        }
        self.consumer.is_some() || !self.offsets.is_empty() || self.stored.is_some()
    }
}
