//! How a streams group comes back from its records.

use super::record::{Epoch, Key, StreamsChange, Value};
use super::state::{Current, Streams};
use crate::groups::Groups;
use base::UnixMillis;

impl Groups {
    /// Applies a record of a streams group. What was there of another kind gives way, but for offsets.
    pub(crate) fn replay_streams(&mut self, change: StreamsChange) {
        let StreamsChange { group: id, key, value } = change;
        let Some(value) = value else {
            // What is taken back makes no group.
            let Some(group) = self.groups.get_mut(&id) else { return };
            if group.streams.as_mut().is_some_and(|streams| !streams.take_back(&key)) {
                group.streams = None;
                if group.offsets.is_empty() && group.stored.is_none() {
                    self.groups.remove(&id);
                }
            }
            return;
        };
        let group = self.groups.entry(id).or_default();
        if group.streams.is_none() {
            (group.consumer, group.share) = (None, None);
            group.forget_classic();
        }
        group.streams.get_or_insert_default().apply(&key, value);
    }
}

impl Streams {
    /// Applies a record that says something.
    fn apply(&mut self, key: &Key, value: Value) {
        match (key, value) {
            (_, Value::Epoch(epoch)) => self.put_epoch(epoch),
            (_, Value::Topology(topology)) => self.put_topology(topology),
            (_, Value::TargetEpoch { epoch, at }) => (self.target_epoch, self.target_at) = (epoch, at),
            (Key::Metadata(member), Value::Metadata(metadata)) => self.put_metadata(member, metadata),
            (Key::Target(member), Value::Target(target)) => self.put_target(member, target),
            (Key::Current(member), Value::Current(current)) => self.put_current(member, current),
            // A value is read by its key.
            (_, Value::Metadata(_) | Value::Target(_) | Value::Current(_)) => {}
        }
    }

    pub(super) fn put_epoch(&mut self, epoch: Epoch) {
        let Epoch { epoch, metadata_hash, validated_topology_epoch, assignment_configs } = epoch;
        (self.epoch, self.metadata_hash) = (epoch, metadata_hash);
        (self.validated_topology_epoch, self.assignment_configs) = (validated_topology_epoch, assignment_configs);
    }

    pub(super) fn epoch_record(&self) -> Epoch {
        Epoch {
            epoch: self.epoch,
            metadata_hash: self.metadata_hash,
            validated_topology_epoch: self.validated_topology_epoch,
            assignment_configs: self.assignment_configs.clone(),
        }
    }

    /// Applies a record that takes something back; whether the group is still there.
    fn take_back(&mut self, key: &Key) -> bool {
        match key {
            Key::Epoch => return false,
            Key::Topology => self.remove_topology(),
            Key::TargetEpoch => {
                let Streams { target_epoch, target_at, .. } = Streams::default();
                (self.target_epoch, self.target_at) = (target_epoch, target_at);
                debug_assert_eq!(self.target_at, UnixMillis(0), "never made");
            }
            Key::Metadata(member) => self.remove_member(member),
            Key::Target(member) => self.remove_target(member),
            Key::Current(member) => {
                if self.members().contains_key(member) {
                    self.put_current(member, Current::default());
                }
            }
        }
        true
    }
}
