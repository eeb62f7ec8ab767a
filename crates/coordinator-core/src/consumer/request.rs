//! A heartbeat as it comes and what it is answered, and what is wrong with one whatever the group is like.

use super::options::{ConsumerOptions, ConsumerTimes};
use super::state::{Metadata, Partitions};
use crate::effects::GroupError;
use crate::record::TEXT_BYTES_MAX;

/// The epoch of a member that leaves.
pub const LEAVES: i32 = -1;
/// The epoch of a static member that leaves and will be back within its session.
pub const LEAVES_FOR_NOW: i32 = -2;

/// A ConsumerGroupHeartbeat request. What a member does not say again stays as it was.
#[derive(Debug, Clone, Default)]
pub struct HeartbeatRequest {
    pub group: String,
    /// Of the member's own choice; empty where an older client leaves it to the coordinator.
    pub member_id: String,
    /// Whether this version of the request lets the coordinator choose (version 0).
    pub may_lack_member_id: bool,
    /// The periods of its group; none: those of all.
    pub times: Option<ConsumerTimes>,
    /// Unique text, drawn anew for each request: the id of a member that has none.
    pub unique: String,
    /// 0: it joins. [`LEAVES`], [`LEAVES_FOR_NOW`].
    pub member_epoch: i32,
    /// A static member's name.
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// In milliseconds; -1 where not said.
    pub rebalance_timeout_ms: i32,
    pub names: Option<Vec<String>>,
    /// Empty: none any more.
    pub regex: Option<String>,
    pub assignor: Option<String>,
    /// What the member holds by its own account; topics without partitions may be left out.
    pub owned: Option<Partitions>,
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    pub member_id: String,
    pub member_epoch: i32,
    /// In milliseconds; 0 for who leaves.
    pub heartbeat_interval_ms: i32,
    /// What the member is to hold, and nothing else, where it does not know.
    pub assignment: Option<Partitions>,
}

impl HeartbeatRequest {
    pub(crate) fn joins(&self) -> bool {
        self.member_epoch == 0
    }

    pub(crate) fn leaves(&self) -> bool {
        self.member_epoch == LEAVES || self.member_epoch == LEAVES_FOR_NOW
    }

    /// Whether it says all that a member can say, as members do that have lost an answer.
    pub(crate) fn is_full(&self) -> bool {
        self.rebalance_timeout_ms != -1 && (self.names.is_some() || self.regex.is_some()) && self.owned.is_some()
    }

    /// The id that the member has from now on.
    pub(crate) fn id(&self) -> &str {
        if self.member_id.is_empty() { &self.unique } else { &self.member_id }
    }

    /// What is known of the member when it has said this.
    pub(crate) fn said(&self, before: &Metadata) -> Metadata {
        let names = self.names.as_ref().map(|names| names.iter().cloned().collect());
        let timeout_ms = self.rebalance_timeout_ms;
        Metadata {
            instance_id: self.instance_id.clone().or_else(|| before.instance_id.clone()),
            rack_id: self.rack_id.clone().or_else(|| before.rack_id.clone()),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            names: names.unwrap_or_else(|| before.names.clone()),
            regex: self.regex.clone().unwrap_or_else(|| before.regex.clone()),
            rebalance_timeout_ms: if timeout_ms == -1 { before.rebalance_timeout_ms } else { timeout_ms },
            assignor: self.assignor.clone().or_else(|| before.assignor.clone()),
            classic: None,
        }
    }

    /// Kafka's `throwIfConsumerGroupHeartbeatRequestIsInvalid`, and the lengths that records can hold.
    pub(crate) fn check(&self, options: &ConsumerOptions) -> Result<(), GroupError> {
        let invalid = |text| Err(GroupError::Invalid(text));
        let is_blank = |text: &str| text.trim().is_empty();
        let needs_member_id = !self.may_lack_member_id || self.member_epoch > 0 || self.member_epoch == LEAVES;
        if needs_member_id && is_blank(&self.member_id) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(&self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.instance_id.as_deref().is_some_and(is_blank) {
            return invalid("InstanceId can't be empty.");
        }
        if self.rack_id.as_deref().is_some_and(is_blank) {
            return invalid("RackId can't be empty.");
        }
        if self.joins() {
            self.check_joining()?;
        } else if self.member_epoch == LEAVES_FOR_NOW && self.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        } else if self.member_epoch < LEAVES_FOR_NOW {
            return invalid("MemberEpoch is invalid.");
        }
        if self.assignor.as_deref().is_some_and(|name| !options.knows(name)) {
            return Err(GroupError::UnsupportedAssignor);
        }
        if self.regex.as_ref().is_some_and(|regex| regex.len() > options.regex_bytes_max.min(TEXT_BYTES_MAX)) {
            return Err(GroupError::InvalidRegex);
        }
        let keys = [&self.group, &self.member_id, &self.unique];
        if keys.iter().any(|key| key.len() > TEXT_BYTES_MAX) {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }

    fn check_joining(&self) -> Result<(), GroupError> {
        if self.rebalance_timeout_ms == -1 {
            return Err(GroupError::Invalid("RebalanceTimeoutMs must be provided in first request."));
        }
        if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return Err(GroupError::Invalid("TopicPartitions must be empty when (re-)joining."));
        }
        if self.names.is_none() && self.regex.is_none() {
            return Err(GroupError::Invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            ));
        }
        Ok(())
    }
}
