//! A heartbeat as it comes and what it is answered, and what is wrong with one whatever the group is like.

use super::state::Metadata;
use super::topics::StateInitialization;
use crate::consumer::{LEAVES, Partitions};
use crate::effects::GroupError;
use crate::record::TEXT_BYTES_MAX;

/// A ShareGroupHeartbeat request. What a member does not say again stays as it was.
#[derive(Debug, Clone, Default)]
pub struct ShareHeartbeatRequest {
    pub group: String,
    /// Of the member's own choice.
    pub member_id: String,
    /// 0: it joins. [`LEAVES`].
    pub member_epoch: i32,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub names: Option<Vec<String>>,
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareHeartbeatAnswer {
    pub member_id: String,
    pub member_epoch: i32,
    /// In milliseconds; 0 for who leaves.
    pub heartbeat_interval_ms: i32,
    /// What the member is to fetch from, and nothing else, where it does not know.
    pub assignment: Option<Partitions>,
    /// Not for the member: what the share coordinator is to be asked once the records are confirmed.
    pub initialize: Option<StateInitialization>,
}

impl ShareHeartbeatRequest {
    pub(super) fn joins(&self) -> bool {
        self.member_epoch == 0
    }

    pub(super) fn leaves(&self) -> bool {
        self.member_epoch == LEAVES
    }

    /// What is known of the member when it has said this.
    pub(super) fn said(&self, before: &Metadata) -> Metadata {
        let names = self.names.as_ref().map(|names| names.iter().cloned().collect());
        Metadata {
            rack_id: self.rack_id.clone().or_else(|| before.rack_id.clone()),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            names: names.unwrap_or_else(|| before.names.clone()),
        }
    }

    /// Kafka's `throwIfShareGroupHeartbeatRequestIsInvalid`, and the lengths that records can hold.
    pub(super) fn check(&self) -> Result<(), GroupError> {
        let invalid = |text| Err(GroupError::Invalid(text));
        let is_blank = |text: &str| text.trim().is_empty();
        if is_blank(&self.member_id) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(&self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.rack_id.as_deref().is_some_and(is_blank) {
            return invalid("RackId can't be empty.");
        }
        if self.joins() && self.names.as_ref().is_none_or(Vec::is_empty) {
            return invalid("SubscribedTopicNames must be set in first request.");
        }
        if self.member_epoch < LEAVES {
            return invalid("MemberEpoch is invalid.");
        }
        if [&self.group, &self.member_id].iter().any(|key| key.len() > TEXT_BYTES_MAX) {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }
}
