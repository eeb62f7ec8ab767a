//! How a share group comes back from its records.

use super::record::{Key, ShareChange, Value};
use super::state::{Current, Share, StateTopics};
use crate::groups::Groups;
use base::UnixMillis;

impl Groups {
    /// Applies a record of a share group. What was there of another kind gives way.
    pub(crate) fn replay_share(&mut self, change: ShareChange) {
        let ShareChange { group: id, key, value } = change;
        let Some(value) = value else {
            // What is taken back makes no group.
            let share = self.groups.get_mut(&id).and_then(|group| group.share.as_mut());
            if share.is_some_and(|share| !share.take_back(&key)) {
                self.groups.remove(&id);
            }
            return;
        };
        let group = self.groups.entry(id).or_default();
        if group.share.is_none() {
            group.consumer = None;
            group.forget_classic();
        }
        group.share.get_or_insert_default().apply(&key, value);
    }
}

impl Share {
    /// Applies a record that says something.
    fn apply(&mut self, key: &Key, value: Value) {
        match (key, value) {
            (_, Value::Epoch { epoch, metadata_hash }) => (self.epoch, self.metadata_hash) = (epoch, metadata_hash),
            (_, Value::TargetEpoch { epoch, at }) => (self.target_epoch, self.target_at) = (epoch, at),
            (_, Value::Topics(topics)) => self.put_topics(topics),
            (Key::Metadata(member), Value::Metadata(metadata)) => self.put_metadata(member, metadata),
            (Key::Target(member), Value::Target(target)) => self.put_target(member, target),
            (Key::Current(member), Value::Current(current)) => self.put_current(member, current),
            // A value is read by its key.
            (_, Value::Metadata(_) | Value::Target(_) | Value::Current(_)) => {}
        }
    }

    /// Applies a record that takes something back; whether the group is still there.
    fn take_back(&mut self, key: &Key) -> bool {
        match key {
            Key::Epoch => return false,
            Key::TargetEpoch => (self.target_epoch, self.target_at) = (-1, UnixMillis(0)),
            Key::Topics => self.put_topics(StateTopics::default()),
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
