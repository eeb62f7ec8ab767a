//! StreamsGroupDescribe (KIP-1071): a streams group's epochs and topology, and its members with the tasks that they run and are to run. A group
//! is described once, however often it is named.

use super::consumer_group_heartbeat::not_served;
use super::described::{Described, check_named, described, told};
use super::streams_group_heartbeat::topics_of;
use crate::error::Failure;
use crate::rights::Rights;
use crate::{Shared, authorized, settings};
use coordinator_core::{GroupError, Groups, StreamsDescription, StreamsMemberDescription, TaskSets, Tasks};
use protocol::error_code::ErrorCode;
use protocol::messages::streams_group_describe_request::StreamsGroupDescribeRequest;
use protocol::messages::streams_group_describe_response::{
    Assignment, DescribedGroup, Endpoint, KeyValue, Member, StreamsGroupDescribeResponse, Subtopology, TaskIds,
    TaskOffset, TopicInfo, Topology,
};
use protocol::messages::streams_group_heartbeat_request as said;
use tokio::sync::OwnedSemaphorePermit;

/// Kafka's name of how tasks are assigned.
const ASSIGNOR: &str = "sticky";

/// There is nothing that keeps descriptions of topologies, as in a Kafka without a plug-in for them (KIP-1331).
const NOT_STORED: i8 = 1;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: StreamsGroupDescribeRequest,
    rights: &Rights,
) -> (StreamsGroupDescribeResponse, Option<OwnedSemaphorePermit>) {
    let describe = |groups: &Groups, id: &str| {
        check_named(id)?;
        Ok((groups.describe_streams(id)?, groups.described_streams_bytes(id)))
    };
    let refusal = (!settings::serves_streams_groups(&broker.options)).then(not_served);
    let named = (request.group_ids, size_of::<DescribedGroup>());
    let (described, memory) =
        described((broker, rights), named, Groups::described_streams_bytes, refusal, describe).await;
    let mut groups = told((broker, rights), described, request.include_authorized_operations).await;
    if request.include_topology_description {
        for group in groups.iter_mut().filter(|group| group.error_code == ErrorCode::None.number()) {
            group.topology_description_status = NOT_STORED;
        }
    }
    (StreamsGroupDescribeResponse { groups, ..Default::default() }, memory)
}

impl Described for StreamsDescription {
    type Group = DescribedGroup;

    const HIDDEN_TOPICS: &'static str =
        "The described group uses topics that the client is not authorized to describe.";

    fn topics(&self) -> impl Iterator<Item = &String> {
        self.topology.iter().flat_map(topics_of)
    }

    fn tell(self, group_id: String, operations: i32) -> DescribedGroup {
        DescribedGroup {
            group_id,
            group_state: self.state.name().to_owned(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            topology: self.topology.map(topology),
            members: self.members.into_iter().map(describe_member).collect(),
            authorized_operations: operations,
            assignor_name: Some(ASSIGNOR.to_owned()),
            ..DescribedGroup::default()
        }
    }

    fn words(_broker: &Shared, group_id: &str, failure: &Failure, reason: String) -> Option<String> {
        match failure {
            Failure::Group(GroupError::NotFound) => Some(format!("Group {group_id} not found.")),
            Failure::Group(GroupError::NotStreams) => Some(format!("Group {group_id} is not a streams group.")),
            Failure::UnsupportedVersion(_) => None,
            _ => Some(reason),
        }
    }

    fn refuse(group_id: String, error_code: i16, error_message: Option<String>) -> DescribedGroup {
        let authorized_operations = authorized::NOT_ASKED_FOR;
        DescribedGroup { error_code, error_message, group_id, authorized_operations, ..DescribedGroup::default() }
    }
}

fn topology(said::Topology { epoch, subtopologies }: said::Topology) -> Topology {
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let infos = |topics: Vec<said::TopicInfo>| {
        let mut topics: Vec<TopicInfo> = topics.into_iter().map(topic_info).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        topics
    };
    let subtopology = |it: said::Subtopology| Subtopology {
        subtopology_id: it.subtopology_id,
        source_topics: sorted(it.source_topics),
        repartition_sink_topics: sorted(it.repartition_sink_topics),
        state_changelog_topics: infos(it.state_changelog_topics),
        repartition_source_topics: infos(it.repartition_source_topics),
    };
    Topology { epoch, subtopologies: Some(subtopologies.into_iter().map(subtopology).collect()) }
}

fn topic_info(topic: said::TopicInfo) -> TopicInfo {
    let configs = topic.topic_configs.into_iter();
    TopicInfo {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        topic_configs: configs.map(|it| KeyValue { key: it.key, value: it.value }).collect(),
    }
}

fn describe_member(member: StreamsMemberDescription) -> Member {
    Member {
        member_id: member.member_id,
        member_epoch: member.epoch,
        instance_id: member.instance_id,
        rack_id: member.rack_id,
        client_id: member.client_id,
        client_host: member.client_host,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id,
        user_endpoint: member.endpoint.map(|it| Endpoint { host: it.host, port: it.port }),
        client_tags: member.tags.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        task_offsets: offsets(member.task_offsets),
        task_end_offsets: offsets(member.task_end_offsets),
        assignment: assignment(member.assignment),
        target_assignment: assignment(member.target),
        is_classic: false,
    }
}

fn offsets(offsets: Vec<coordinator_core::TaskOffset>) -> Vec<TaskOffset> {
    let of_task = |task: coordinator_core::TaskOffset| TaskOffset {
        subtopology_id: task.subtopology_id,
        partition: task.partition,
        offset: task.offset,
    };
    offsets.into_iter().map(of_task).collect()
}

fn assignment(sets: TaskSets) -> Assignment {
    let ids = |tasks: Tasks| {
        let of = |(subtopology_id, tasks): (String, std::collections::BTreeSet<i32>)| TaskIds {
            subtopology_id,
            partitions: tasks.into_iter().collect(),
        };
        tasks.into_iter().map(of).collect()
    };
    Assignment { active_tasks: ids(sets.active), standby_tasks: ids(sets.standby), warmup_tasks: ids(sets.warmup) }
}
