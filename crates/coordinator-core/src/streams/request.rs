//! A heartbeat as it comes and what it is answered, and what is wrong with one whatever the group is like.

use super::configure::{NewInternalTopic, StreamsStatus};
use super::options::StreamsTimes;
use super::state::{Metadata, TaskSets, Tasks};
use super::task_offsets::ReportedOffsets;
use crate::consumer::{LEAVES, LEAVES_FOR_NOW};
use crate::effects::GroupError;
use crate::record::TEXT_BYTES_MAX;
use protocol::messages::streams_group_heartbeat_request::{Endpoint, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// A StreamsGroupHeartbeat request. What a member does not say again stays as it was.
#[derive(Debug, Clone, Default)]
pub struct StreamsHeartbeatRequest {
    pub group: String,
    /// Of the member's own choice.
    pub member_id: String,
    /// 0: it joins. [`LEAVES`].
    pub member_epoch: i32,
    /// What it was told last of who runs what; see [`StreamsHeartbeatAnswer::endpoint_epoch`].
    pub endpoint_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    /// In milliseconds; -1: as before.
    pub rebalance_timeout_ms: i32,
    pub client_id: String,
    pub client_host: String,
    pub topology: Option<Topology>,
    /// What the member runs by its own account, where it says so.
    pub active: Option<Tasks>,
    pub standby: Option<Tasks>,
    pub warmup: Option<Tasks>,
    pub process_id: Option<String>,
    pub endpoint: Option<Endpoint>,
    pub tags: Option<BTreeMap<String, String>>,
    /// How far its tasks' state is.
    pub task_offsets: ReportedOffsets,
    /// All members of the group are to shut down.
    pub shuts_down: bool,
    /// The group's own, where it has such.
    pub times: Option<StreamsTimes>,
}

/// Kafka's word for what is not said.
pub(super) const NO_RECOVERY_LAG: i64 = -1;

/// What a member is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamsHeartbeatAnswer {
    pub member_id: String,
    pub member_epoch: i32,
    /// In milliseconds; 0 for who leaves.
    pub heartbeat_interval_ms: i32,
    /// In milliseconds: how often the member is to say how far its tasks' state is. 0 for who leaves.
    pub task_offset_interval_ms: i32,
    /// Offsets that a task's state may be behind and be taken as warm; -1 for who leaves.
    pub acceptable_recovery_lag: i64,
    /// Empty where all is well; none is told then but to who leaves.
    pub status: Vec<StreamsStatus>,
    /// What the member is to run, and nothing else, where it does not know.
    pub tasks: Option<TaskSets>,
    /// Rises with every change of who runs what; not kept over a takeover.
    pub endpoint_epoch: i32,
    /// The member does not know who runs what, for interactive queries: [`crate::Groups::streams_endpoints`] is to be told.
    pub tells_endpoints: bool,
    /// Not for the member: topics that are to be made.
    pub create: Vec<NewInternalTopic>,
}

impl StreamsHeartbeatRequest {
    pub(super) fn joins(&self) -> bool {
        self.member_epoch == 0
    }

    pub(super) fn leaves(&self) -> bool {
        self.member_epoch == LEAVES || self.member_epoch == LEAVES_FOR_NOW
    }

    /// What the member runs by its own account.
    pub(super) fn owned(&self) -> Option<TaskSets> {
        let (active, standby, warmup) = (self.active.clone()?, self.standby.clone()?, self.warmup.clone()?);
        Some(TaskSets { active, standby, warmup })
    }

    /// What is known of the member when it has said this.
    pub(super) fn said(&self, before: &Metadata) -> Metadata {
        let timeout_ms = self.rebalance_timeout_ms;
        Metadata {
            instance_id: before.instance_id.clone(),
            rack_id: self.rack_id.clone().or_else(|| before.rack_id.clone()),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: if timeout_ms == -1 { before.rebalance_timeout_ms } else { timeout_ms },
            topology_epoch: self.topology.as_ref().map_or(before.topology_epoch, |topology| topology.epoch),
            process_id: self.process_id.clone().unwrap_or_else(|| before.process_id.clone()),
            endpoint: self.endpoint.clone().or_else(|| before.endpoint.clone()),
            tags: self.tags.clone().unwrap_or_else(|| before.tags.clone()),
        }
    }

    /// Kafka's `throwIfStreamsGroupHeartbeatRequestIsInvalid`, what it does not support, and the lengths that records can hold.
    pub(super) fn check(&self) -> Result<(), GroupError> {
        let invalid = |text| Err(GroupError::Invalid(text));
        let is_blank = |text: &str| text.trim().is_empty();
        self.check_supported()?;
        if is_blank(&self.member_id) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(&self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.rack_id.as_deref().is_some_and(is_blank) {
            return invalid("RackId can't be empty.");
        }
        if self.joins() {
            self.check_joining()?;
        } else if self.member_epoch == LEAVES_FOR_NOW {
            return invalid("InstanceId can't be null.");
        } else if self.member_epoch < LEAVES_FOR_NOW {
            return invalid("MemberEpoch must be greater than or equal to -2.");
        }
        let said = [&self.active, &self.standby, &self.warmup].map(Option::is_some);
        if said.contains(&true) && said.contains(&false) {
            return invalid("If one task-type is non-null, all must be non-null.");
        }
        if !self.joins() && self.topology.is_some() {
            return invalid("Topology can only be provided when (re-)joining.");
        }
        if [&self.group, &self.member_id].iter().any(|key| key.len() > TEXT_BYTES_MAX) {
            return Err(GroupError::InvalidRequest);
        }
        Ok(())
    }

    fn check_supported(&self) -> Result<(), GroupError> {
        let invalid = |text| Err(GroupError::Invalid(text));
        if self.instance_id.is_some() {
            return invalid("Static membership is not yet supported.");
        }
        let subtopologies = self.topology.iter().flat_map(|topology| &topology.subtopologies);
        if subtopologies.into_iter().any(|subtopology| !subtopology.source_topic_regex.is_empty()) {
            return invalid("Regular expressions for source topics are not supported yet.");
        }
        Ok(())
    }

    fn check_joining(&self) -> Result<(), GroupError> {
        let invalid = |text| Err(GroupError::Invalid(text));
        let some = |tasks: &Option<Tasks>| tasks.as_ref().is_none_or(|tasks| !tasks.is_empty());
        if self.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if some(&self.active) {
            return invalid("ActiveTasks must be empty when (re-)joining.");
        }
        if some(&self.standby) {
            return invalid("StandbyTasks must be empty when (re-)joining.");
        }
        if some(&self.warmup) {
            return invalid("WarmupTasks must be empty when (re-)joining.");
        }
        match &self.topology {
            None => invalid("Topology must be non-null when (re-)joining."),
            Some(topology) => check_topology(topology),
        }
    }
}

/// What is wrong with a topology whatever the topics are like.
fn check_topology(topology: &Topology) -> Result<(), GroupError> {
    let invalid = |text| Err(GroupError::InvalidTopology(text));
    let mut ids = BTreeSet::new();
    for subtopology in &topology.subtopologies {
        if subtopology.state_changelog_topics.iter().any(|topic| topic.partitions != 0) {
            return invalid("A changelog topic must have an undefined partition count.");
        }
        if !ids.insert(&subtopology.subtopology_id) {
            return invalid("Two subtopologies have the same id.");
        }
        let internal = subtopology.state_changelog_topics.iter().chain(&subtopology.repartition_source_topics);
        if internal.into_iter().any(|topic| topic.partitions < 0) {
            return invalid("A topic can't have a negative number of partitions.");
        }
        let is_in = |indexes: &[i16], count: usize| {
            indexes.iter().all(|index| usize::try_from(*index).is_ok_and(|index| index < count))
        };
        let is_right = subtopology.copartition_groups.iter().all(|group| {
            is_in(&group.source_topics, subtopology.source_topics.len())
                && is_in(&group.repartition_source_topics, subtopology.repartition_source_topics.len())
        });
        if !is_right {
            return invalid("A copartition group names a topic that is not in its subtopology.");
        }
    }
    Ok(())
}
