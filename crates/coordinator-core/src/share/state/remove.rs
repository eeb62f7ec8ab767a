//! A group has done with a share-partition, or its topic is gone.

use crate::consumer::Topics;
use crate::share::state::effects::{ShareStateEffects, ShareStateError};
use crate::share::state::key::ShareStateKey;
use crate::share::state::record::tombstone;
use crate::share::state::registry::{ShareStates, check_topic};
use base::TopicId;

impl ShareStates {
    /// DeleteShareGroupState. One that is not there is deleted.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub fn delete(
        &mut self,
        topics: &Topics<'_>,
        key: &ShareStateKey,
        fx: &mut ShareStateEffects,
    ) -> Result<(), ShareStateError> {
        key.check()?;
        check_topic(topics, key)?;
        if self.entries.contains_key(key) {
            self.remove(key, fx);
        }
        Ok(())
    }

    /// Drops the share-partitions of topics that are gone.
    pub fn forget_topics(&mut self, is_gone: impl Fn(TopicId) -> bool, fx: &mut ShareStateEffects) {
        let gone: Vec<ShareStateKey> = self.entries.keys().filter(|key| is_gone(key.topic)).cloned().collect();
        for key in gone {
            self.remove(&key, fx);
        }
    }

    fn remove(&mut self, key: &ShareStateKey, fx: &mut ShareStateEffects) {
        fx.records.push(tombstone(key));
        self.take(key);
    }
}
