//! What names a share-partition, and where it is kept.

use crate::partition::partition_of;
use crate::record::TEXT_BYTES_MAX;
use crate::share::state::effects::ShareStateError;
use base::TopicId;
use protocol::wire::Uuid;
use std::sync::Arc;

/// A group's view of a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShareStateKey {
    /// Shared by all the share-partitions of a request: its name may be long, and there may be very many.
    pub group: Arc<str>,
    pub topic: TopicId,
    pub partition: i32,
}

impl ShareStateKey {
    /// Which partition of `__share_group_state` it belongs to: part of Kafka's contract, which takes a group's place in
    /// `__consumer_offsets` for the text `group:topic id:partition`. FindCoordinator of type 2 has such a text for its key.
    #[must_use]
    pub fn state_partition(&self, partitions: u32) -> u32 {
        partition_of(&self.to_string(), partitions)
    }

    pub(super) fn check(&self) -> Result<(), ShareStateError> {
        if self.partition < 0 {
            return Err(ShareStateError::Invalid("The partition id cannot be a negative number."));
        }
        if self.group.is_empty() || self.group.len() > TEXT_BYTES_MAX {
            return Err(ShareStateError::Invalid("The group id is empty or too long."));
        }
        Ok(())
    }
}

impl std::fmt::Display for ShareStateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.group, Uuid::from(self.topic), self.partition)
    }
}
