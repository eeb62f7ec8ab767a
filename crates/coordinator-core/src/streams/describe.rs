//! What administrators see of streams groups.

use super::state::{Member, Streams, StreamsState, TaskSets};
use super::task_offsets::TaskOffset;
use crate::effects::GroupError;
use crate::group::ENTRY_BYTES;
use crate::groups::Groups;
use protocol::messages::streams_group_heartbeat_request::{Endpoint, TopicInfo, Topology};
use std::collections::BTreeMap;

/// A line of a list of streams groups. Their protocol type is `streams`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamsSummary {
    pub id: String,
    pub state: StreamsState,
}

/// A streams group with its members.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamsDescription {
    pub state: StreamsState,
    pub epoch: i32,
    /// Which epoch the target is of.
    pub assignment_epoch: i32,
    /// With the numbers of partitions that internal topics have, where its topics are all there.
    pub topology: Option<Topology>,
    pub members: Vec<StreamsMemberDescription>,
}

/// A member of a described group.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamsMemberDescription {
    pub member_id: String,
    pub epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topology_epoch: i32,
    pub process_id: String,
    pub endpoint: Option<Endpoint>,
    pub tags: BTreeMap<String, String>,
    pub assignment: TaskSets,
    pub target: TaskSets,
    /// How far its tasks' state is, and where their changelogs end.
    pub task_offsets: Vec<TaskOffset>,
    pub task_end_offsets: Vec<TaskOffset>,
}

impl Groups {
    /// All streams groups, by id.
    pub fn list_streams(&self) -> impl Iterator<Item = StreamsSummary> {
        self.groups.iter().filter_map(|(id, group)| {
            let state = group.streams.as_ref()?.state();
            Some(StreamsSummary { id: id.clone(), state })
        })
    }

    /// Whether the group is one of streams.
    #[must_use]
    pub fn is_streams(&self, id: &str) -> bool {
        self.groups.get(id).is_some_and(|group| group.streams.is_some())
    }

    /// Bytes that a streams group's description takes, about.
    #[must_use]
    pub fn described_streams_bytes(&self, id: &str) -> usize {
        let streams = self.groups.get(id).and_then(|group| group.streams.as_ref());
        streams.map_or(0, |streams| streams.bytes() + streams.members().len() * ENTRY_BYTES)
    }

    /// One streams group.
    ///
    /// # Errors
    /// There is none of that id; one of another kind is none.
    pub fn describe_streams(&self, id: &str) -> Result<StreamsDescription, GroupError> {
        let streams = self.find(id)?.streams.as_ref().ok_or(GroupError::NotStreams)?;
        Ok(StreamsDescription {
            state: streams.state(),
            epoch: streams.epoch,
            assignment_epoch: streams.target_epoch,
            topology: streams.described_topology(),
            members: streams.members().iter().map(|(id, member)| describe_member(streams, id, member)).collect(),
        })
    }
}

impl Streams {
    fn described_topology(&self) -> Option<Topology> {
        let mut topology = self.topology()?.clone();
        if let Some(configured) = self.configured.as_ref().filter(|configured| configured.is_ready()) {
            let decide = |topics: &mut Vec<TopicInfo>| {
                for topic in topics {
                    topic.partitions = configured.partitions.get(&topic.name).copied().unwrap_or(topic.partitions);
                }
            };
            for subtopology in &mut topology.subtopologies {
                decide(&mut subtopology.repartition_source_topics);
                decide(&mut subtopology.state_changelog_topics);
            }
        }
        topology.subtopologies.sort_by(|one, other| one.subtopology_id.cmp(&other.subtopology_id));
        Some(topology)
    }
}

fn describe_member(streams: &Streams, id: &str, Member { metadata, current }: &Member) -> StreamsMemberDescription {
    let offsets = streams.task_offsets.get(id).cloned().unwrap_or_default();
    StreamsMemberDescription {
        member_id: id.to_owned(),
        epoch: current.epoch,
        instance_id: metadata.instance_id.clone(),
        rack_id: metadata.rack_id.clone(),
        client_id: metadata.client_id.clone(),
        client_host: metadata.client_host.clone(),
        topology_epoch: metadata.topology_epoch,
        process_id: metadata.process_id.clone(),
        endpoint: metadata.endpoint.clone(),
        tags: metadata.tags.clone(),
        assignment: current.assigned.sets(),
        target: streams.targets().get(id).cloned().unwrap_or_default(),
        task_offsets: offsets.offsets,
        task_end_offsets: offsets.ends,
    }
}
