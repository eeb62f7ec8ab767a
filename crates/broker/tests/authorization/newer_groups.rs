//! The same of share groups and streams groups.

use super::{Asker, CLUSTER, GROUP, TOPIC, allow, create, find_coordinator, guarded, t};
use crate::support::Client;
use protocol::api::{Operation, Resource};
use protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use protocol::messages::delete_share_group_offsets_request::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use protocol::messages::delete_share_group_state_request::{self, DeleteShareGroupStateRequest, DeleteStateData};
use protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::initialize_share_group_state_request::{
    self, InitializeShareGroupStateRequest, InitializeStateData,
};
use protocol::messages::read_share_group_state_request::{self, ReadShareGroupStateRequest, ReadStateData};
use protocol::messages::read_share_group_state_summary_request::{
    self, ReadShareGroupStateSummaryRequest, ReadStateSummaryData,
};
use protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
};
use protocol::messages::share_fetch_request::{FetchPartition, FetchTopic, ShareFetchRequest};
use protocol::messages::share_group_describe_request::ShareGroupDescribeRequest;
use protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use protocol::messages::streams_group_describe_request::StreamsGroupDescribeRequest;
use protocol::messages::streams_group_heartbeat_request::{
    StreamsGroupHeartbeatRequest, Subtopology, TopicInfo, Topology,
};
use protocol::messages::streams_group_topology_description_update_request::StreamsGroupTopologyDescriptionUpdateRequest;
use protocol::messages::write_share_group_state_request::{self, WriteShareGroupStateRequest, WriteStateData};
use protocol::wire::Uuid;
use std::time::Duration;

fn share_heartbeat(topics: &[&str]) -> ShareGroupHeartbeatRequest {
    let names = topics.iter().map(|name| (*name).to_owned()).collect();
    ShareGroupHeartbeatRequest {
        group_id: t(),
        member_id: "m".to_owned(),
        subscribed_topic_names: Some(names),
        ..ShareGroupHeartbeatRequest::default()
    }
}

fn share_fetch(topic_id: Uuid, epoch: i32) -> ShareFetchRequest {
    let partitions = vec![FetchPartition::default()];
    ShareFetchRequest {
        group_id: Some(t()),
        member_id: Some("m".to_owned()),
        share_session_epoch: epoch,
        max_bytes: 1000,
        max_records: 10,
        batch_size: 10,
        topics: vec![FetchTopic { topic_id, partitions }],
        ..ShareFetchRequest::default()
    }
}

fn share_acknowledge(topic_id: Uuid, epoch: i32) -> ShareAcknowledgeRequest {
    let batch = AcknowledgementBatch { first_offset: 0, last_offset: 0, acknowledge_types: vec![1] };
    let partitions = vec![AcknowledgePartition { partition_index: 0, acknowledgement_batches: vec![batch] }];
    ShareAcknowledgeRequest {
        group_id: Some(t()),
        member_id: Some("m".to_owned()),
        share_session_epoch: epoch,
        topics: vec![AcknowledgeTopic { topic_id, partitions }],
        ..ShareAcknowledgeRequest::default()
    }
}

fn describe_offsets() -> DescribeShareGroupOffsetsRequest {
    let topic = DescribeShareGroupOffsetsRequestTopic { topic_name: t(), partitions: vec![0] };
    let group = DescribeShareGroupOffsetsRequestGroup { group_id: t(), topics: Some(vec![topic]) };
    DescribeShareGroupOffsetsRequest { groups: vec![group] }
}

fn alter_offsets() -> AlterShareGroupOffsetsRequest {
    let partitions = vec![AlterShareGroupOffsetsRequestPartition::default()];
    let topics = vec![AlterShareGroupOffsetsRequestTopic { topic_name: t(), partitions }];
    AlterShareGroupOffsetsRequest { group_id: t(), topics }
}

fn delete_offsets() -> DeleteShareGroupOffsetsRequest {
    let topics = vec![DeleteShareGroupOffsetsRequestTopic { topic_name: t() }];
    DeleteShareGroupOffsetsRequest { group_id: t(), topics }
}

/// Of an application that reads `t` and keeps a table, for which it needs another topic.
fn streams_heartbeat() -> StreamsGroupHeartbeatRequest {
    let changelog = TopicInfo { name: "app-changelog".to_owned(), ..TopicInfo::default() };
    let subtopology = Subtopology {
        subtopology_id: "0".to_owned(),
        source_topics: vec![t()],
        state_changelog_topics: vec![changelog],
        ..Subtopology::default()
    };
    StreamsGroupHeartbeatRequest {
        group_id: t(),
        member_id: "m".to_owned(),
        rebalance_timeout_ms: 1000,
        topology: Some(Topology { epoch: 0, subtopologies: vec![subtopology] }),
        active_tasks: Some(Vec::new()),
        standby_tasks: Some(Vec::new()),
        warmup_tasks: Some(Vec::new()),
        process_id: Some("p".to_owned()),
        ..StreamsGroupHeartbeatRequest::default()
    }
}

pub(super) async fn ask(asker: &mut Asker) {
    asker.denied(1, share_heartbeat(&[]), GROUP).await;
    asker.denied(1, ShareGroupDescribeRequest { group_ids: vec![t()], ..Default::default() }, GROUP).await;
    asker.denied(1, share_fetch(Uuid::ZERO, 0), GROUP).await;
    asker.denied(1, share_acknowledge(Uuid::ZERO, 1), GROUP).await;
    asker.denied(0, describe_offsets(), GROUP).await;
    asker.denied(0, alter_offsets(), GROUP).await;
    asker.denied(0, delete_offsets(), GROUP).await;
    asker.denied(0, streams_heartbeat(), GROUP).await;
    asker.denied(1, StreamsGroupDescribeRequest { group_ids: vec![t()], ..Default::default() }, GROUP).await;
    asker.denied(0, StreamsGroupTopologyDescriptionUpdateRequest { group_id: t(), ..Default::default() }, GROUP).await;
    ask_about_states(asker).await;
}

/// What brokers ask of one another.
async fn ask_about_states(asker: &mut Asker) {
    let coordinator_keys = vec!["t:AAAAAAAAAAAAAAAAAAAAAQ:0".to_owned()];
    asker.denied(6, FindCoordinatorRequest { key_type: 2, coordinator_keys, ..Default::default() }, CLUSTER).await;
    let partitions = vec![initialize_share_group_state_request::PartitionData::default()];
    let topics = vec![InitializeStateData { topic_id: Uuid::ZERO, partitions }];
    asker.denied(0, InitializeShareGroupStateRequest { group_id: t(), topics }, CLUSTER).await;
    let partitions = vec![read_share_group_state_request::PartitionData::default()];
    let topics = vec![ReadStateData { topic_id: Uuid::ZERO, partitions }];
    asker.denied(0, ReadShareGroupStateRequest { group_id: t(), topics }, CLUSTER).await;
    let partitions = vec![write_share_group_state_request::PartitionData::default()];
    let topics = vec![WriteStateData { topic_id: Uuid::ZERO, partitions }];
    asker.denied(0, WriteShareGroupStateRequest { group_id: t(), topics }, CLUSTER).await;
    let partitions = vec![delete_share_group_state_request::PartitionData::default()];
    let topics = vec![DeleteStateData { topic_id: Uuid::ZERO, partitions }];
    asker.denied(0, DeleteShareGroupStateRequest { group_id: t(), topics }, CLUSTER).await;
    let partitions = vec![read_share_group_state_summary_request::PartitionData::default()];
    let topics = vec![ReadStateSummaryData { topic_id: Uuid::ZERO, partitions }];
    asker.denied(0, ReadShareGroupStateSummaryRequest { group_id: t(), topics }, CLUSTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_share_groups_need_their_topics() {
    let running = guarded().await;
    let mut client = running.client().await;
    allow(&running, Operation::Create, (Resource::Topic, "t")).await;
    assert_eq!(client.call(5, &create("t")).await.topics[0].error_code, 0);
    for operation in [Operation::Read, Operation::Delete] {
        allow(&running, operation, (Resource::Group, "t")).await;
    }
    find_coordinator(&mut client).await;
    let refused = client.call(1, &share_heartbeat(&["t"])).await;
    assert_eq!((refused.error_code, refused.assignment), (TOPIC, None));
    let id: Uuid = running.store.ledger().image().topic("t").unwrap().id.into();
    let fetched = client.call(1, &share_fetch(id, 0)).await;
    assert_eq!(fetched.error_code, 0, "{fetched:?}");
    assert_eq!(fetched.responses[0].partitions[0].error_code, TOPIC);
    let told = client.call(1, &share_acknowledge(id, 1)).await;
    assert_eq!(told.error_code, 0, "{told:?}");
    assert_eq!(told.responses[0].partitions[0].error_code, TOPIC);

    let described = client.call(0, &describe_offsets()).await.groups.remove(0);
    let of_partition = &described.topics[0].partitions[0];
    assert_eq!((described.error_code, of_partition.error_code, of_partition.start_offset), (0, TOPIC, -1));
    // The group becomes a share group by its first member, which goes again.
    assert_eq!(client.call(1, &share_heartbeat(&[])).await.error_code, 42, "it subscribes to nothing");
    allow(&running, Operation::Describe, (Resource::Topic, "t")).await;
    joins(&mut client).await;
    let leaves = ShareGroupHeartbeatRequest { member_epoch: -1, ..share_heartbeat(&[]) };
    assert_eq!(client.call(1, &leaves).await.error_code, 0);
    let altered = client.call(0, &alter_offsets()).await;
    assert_eq!((altered.error_code, altered.responses[0].partitions[0].error_code), (0, TOPIC));
    let deleted = client.call(0, &delete_offsets()).await;
    assert_eq!((deleted.error_code, deleted.responses[0].error_code), (0, TOPIC));
    running.broker.stop().await;
}

/// The coordinator may load yet.
async fn joins(client: &mut Client) {
    for _ in 0..200 {
        if client.call(1, &share_heartbeat(&["t"])).await.error_code == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not join");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_needs_the_topics_of_its_topology() {
    let running = guarded().await;
    let mut client = running.client().await;
    allow(&running, Operation::Create, (Resource::Topic, "t")).await;
    assert_eq!(client.call(5, &create("t")).await.topics[0].error_code, 0);
    allow(&running, Operation::Read, (Resource::Group, "t")).await;
    find_coordinator(&mut client).await;
    assert_eq!(client.call(0, &streams_heartbeat()).await.error_code, TOPIC);
    allow(&running, Operation::Read, (Resource::Topic, "t")).await;
    assert_eq!(client.call(0, &streams_heartbeat()).await.error_code, TOPIC, "nor the topic that it needs");
    allow(&running, Operation::Describe, (Resource::Topic, "app-changelog")).await;
    let mut answer = client.call(0, &streams_heartbeat()).await;
    for _ in 0..200 {
        if answer.error_code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = client.call(0, &streams_heartbeat()).await;
    }
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let details: Vec<String> = answer.status.into_iter().flatten().map(|status| status.status_detail).collect();
    let words = "; Unauthorized to CREATE on topics app-changelog.";
    assert!(details.iter().any(|it| it.ends_with(words)), "{details:?}");
    assert!(running.store.ledger().image().topic("app-changelog").is_none());

    let describe = StreamsGroupDescribeRequest { group_ids: vec![t()], ..StreamsGroupDescribeRequest::default() };
    assert_eq!(client.call(0, &describe).await.groups[0].error_code, 0);
    running.broker.stop().await;
}
