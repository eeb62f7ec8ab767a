//! Do streams groups (KIP-1071) get what Kafka promises? Hand-made members over loopback.

#![allow(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "tests fail by panicking")]

use crate::support::{Client, Running, metadata_request, start};
use broker::{BrokerOptions, GroupOptions, StreamsOptions, StreamsTimes};
use protocol::error_code::ErrorCode;
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::streams_group_describe_request::StreamsGroupDescribeRequest;
use protocol::messages::streams_group_describe_response::DescribedGroup;
use protocol::messages::streams_group_heartbeat_request::{
    KeyValue, StreamsGroupHeartbeatRequest, Subtopology, TaskIds, TopicInfo, Topology,
};
use protocol::messages::streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;
use std::time::Duration;

/// Its number is that of the resource type of groups in requests about settings.
const GROUP_RESOURCE: i8 = 32;

/// Assigned to at once: nobody waits for others who might come.
fn options() -> BrokerOptions {
    let times = StreamsTimes { initial_rebalance_delay: Duration::ZERO, ..StreamsTimes::default() };
    let streams = StreamsOptions { times, ..StreamsOptions::default() };
    BrokerOptions {
        groups: GroupOptions { streams, ..GroupOptions::default() },
        streams_assignment_interval: Duration::ZERO,
        offsets_topic_partitions: 3,
        ..BrokerOptions::default()
    }
}

/// A broker with a topic `t` of two partitions and its coordinator found.
async fn started(options: BrokerOptions) -> (Running, Client) {
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    find(&mut client).await;
    (running, client)
}

async fn find(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(client.call(4, &request).await.coordinators[0].error_code, 0);
}

/// Counts words: `t` is read, keyed anew through `g-r`, and counted in a store.
fn word_count() -> Topology {
    let configs = vec![KeyValue { key: "cleanup.policy".to_owned(), value: "compact".to_owned() }];
    let first = Subtopology {
        subtopology_id: "0".to_owned(),
        source_topics: vec!["t".to_owned()],
        repartition_sink_topics: vec!["g-r".to_owned()],
        ..Subtopology::default()
    };
    let second = Subtopology {
        subtopology_id: "1".to_owned(),
        repartition_source_topics: vec![TopicInfo { name: "g-r".to_owned(), ..TopicInfo::default() }],
        state_changelog_topics: vec![TopicInfo {
            name: "g-log".to_owned(),
            topic_configs: configs,
            ..TopicInfo::default()
        }],
        ..Subtopology::default()
    };
    Topology { epoch: 0, subtopologies: vec![first, second] }
}

fn joins(member_id: &str, topology: Topology) -> StreamsGroupHeartbeatRequest {
    StreamsGroupHeartbeatRequest {
        rebalance_timeout_ms: 10_000,
        topology: Some(topology),
        active_tasks: Some(Vec::new()),
        standby_tasks: Some(Vec::new()),
        warmup_tasks: Some(Vec::new()),
        process_id: Some(format!("p-{member_id}")),
        ..beats(member_id, 0)
    }
}

fn beats(member_id: &str, member_epoch: i32) -> StreamsGroupHeartbeatRequest {
    StreamsGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        ..StreamsGroupHeartbeatRequest::default()
    }
}

/// The same with what it runs.
fn runs(member_id: &str, member_epoch: i32, active: &[(&str, &[i32])]) -> StreamsGroupHeartbeatRequest {
    let ids = active.iter().map(|(id, tasks)| TaskIds { subtopology_id: (*id).to_owned(), partitions: tasks.to_vec() });
    StreamsGroupHeartbeatRequest {
        active_tasks: Some(ids.collect()),
        standby_tasks: Some(Vec::new()),
        warmup_tasks: Some(Vec::new()),
        ..beats(member_id, member_epoch)
    }
}

/// Partitions by subtopology.
type ActiveTasks = Vec<(String, Vec<i32>)>;

/// Epoch and active tasks that a heartbeat is answered.
fn told(answer: &StreamsGroupHeartbeatResponse) -> (i32, Option<ActiveTasks>) {
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, None));
    let ids = answer.active_tasks.as_ref();
    let ids = ids.map(|ids| ids.iter().map(|it| (it.subtopology_id.clone(), it.partitions.clone())).collect());
    (answer.member_epoch, ids)
}

async fn describe(client: &mut Client) -> DescribedGroup {
    let request = StreamsGroupDescribeRequest {
        group_ids: vec!["g".to_owned()],
        include_authorized_operations: true,
        ..StreamsGroupDescribeRequest::default()
    };
    client.call(0, &request).await.groups.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_gets_its_topics_and_its_tasks() {
    let (running, mut client) = started(options()).await;
    let first = client.call(0, &joins("a", word_count())).await;
    assert_eq!(told(&first), (2, Some(vec![])));
    let status = &first.status.as_ref().unwrap()[0];
    assert_eq!((status.status_code, status.status_detail.as_str()), (3, "Internal topics are missing: g-log, g-r"));
    assert_eq!(client.call(12, &metadata_request("g-r")).await.topics[0].partitions.len(), 2);
    let second = client.call(0, &beats("a", 2)).await;
    let all = vec![("0".to_owned(), vec![0, 1]), ("1".to_owned(), vec![0, 1])];
    assert_eq!((told(&second), second.status.as_ref()), ((3, Some(all.clone())), Some(&vec![])));
    assert_eq!((second.heartbeat_interval_ms, second.partitions_by_user_endpoint.as_ref()), (5_000, None));

    // A second member gets what the first one gives up, over a takeover as well.
    let join = client.call(0, &joins("b", word_count())).await;
    assert_eq!(told(&join), (4, Some(vec![])));
    let give_up = client.call(0, &runs("a", 3, &[("0", &[0, 1]), ("1", &[0, 1])])).await;
    let (epoch, kept) = told(&give_up);
    let kept = kept.unwrap();
    assert_eq!((epoch, kept.iter().map(|(_, tasks)| tasks.len()).sum::<usize>()), (3, 2));
    let running = running.restart().await;
    let mut client = running.client().await;
    find(&mut client).await;
    assert_eq!(told(&client.call(0, &beats("b", 4)).await), (4, None));
    let kept: Vec<(&str, &[i32])> = kept.iter().map(|(id, tasks)| (id.as_str(), &tasks[..])).collect();
    assert_eq!(told(&client.call(0, &runs("a", 3, &kept)).await).0, 4);
    let rest = told(&client.call(0, &beats("b", 4)).await).1.unwrap();
    assert_eq!(rest.iter().map(|(_, tasks)| tasks.len()).sum::<usize>(), 2);

    let group = describe(&mut client).await;
    assert_eq!((group.error_code, group.group_state.as_str(), group.group_epoch), (0, "Stable", 4));
    let subtopologies = group.topology.unwrap().subtopologies.unwrap();
    assert_eq!(subtopologies[1].state_changelog_topics[0].partitions, 2);
    let [a, b] = &group.members[..] else { panic!() };
    assert_eq!((a.member_id.as_str(), b.process_id.as_str()), ("a", "p-b"));
    assert_eq!(a.assignment, a.target_assignment);
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_a_group_of_its_own_kind_and_delete_it_when_it_is_empty() {
    let (_running, mut client) = started(options()).await;
    let app = Topology { epoch: 0, subtopologies: vec![word_count().subtopologies.remove(0)] };
    let mut app_alone = app.clone();
    app_alone.subtopologies[0].repartition_sink_topics.clear();
    assert_eq!(told(&client.call(0, &joins("a", app_alone)).await).0, 2);
    for (types, count) in [(&["Streams"][..], 1), (&["classic", "consumer"], 0), (&[], 1)] {
        let types_filter = types.iter().map(|it| (*it).to_owned()).collect();
        let listed = client.call(5, &ListGroupsRequest { types_filter, ..Default::default() }).await.groups;
        assert_eq!(listed.len(), count);
        assert!(listed.iter().all(|it| (&*it.group_type, &*it.protocol_type) == ("streams", "streams")));
    }
    let request = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..Default::default() };
    let described = client.call(6, &request).await.groups.remove(0);
    assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.number());
    let delete = DeleteGroupsRequest { groups_names: vec!["g".to_owned()] };
    let refused = client.call(2, &delete).await.results.remove(0);
    assert_eq!(refused.error_code, ErrorCode::NonEmptyGroup.number());
    let left = client.call(0, &beats("a", -1)).await;
    assert_eq!((left.error_code, left.member_epoch, left.status), (0, -1, Some(vec![])));
    assert_eq!(client.call(2, &delete).await.results.remove(0).error_code, 0);
    let group = describe(&mut client).await;
    assert_eq!(
        (group.error_code, group.error_message.as_deref()),
        (ErrorCode::GroupIdNotFound.number(), Some("Group g not found."))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_is_refused() {
    let (_running, mut client) = started(options()).await;
    let mut refused = async |request: StreamsGroupHeartbeatRequest| {
        let answer = client.call(0, &request).await;
        assert!(answer.error_message.is_some());
        ErrorCode::from_number(answer.error_code).unwrap()
    };
    assert_eq!(refused(beats("a", 1)).await, ErrorCode::GroupIdNotFound);
    assert_eq!(refused(beats("", 1)).await, ErrorCode::InvalidRequest);
    assert_eq!(refused(beats("a", 0)).await, ErrorCode::InvalidRequest);
    let named = StreamsGroupHeartbeatRequest { instance_id: Some("i".to_owned()), ..joins("a", word_count()) };
    assert_eq!(refused(named).await, ErrorCode::InvalidRequest);
    let mut wrong = word_count();
    wrong.subtopologies.remove(0);
    assert_eq!(refused(joins("a", wrong)).await, ErrorCode::StreamsInvalidTopology);
    client.call(0, &joins("a", word_count())).await;
    let commit = |member_epoch: i32| OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: member_epoch,
        member_id: "a".to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() }],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    };
    let code = client.call(9, &commit(2)).await.topics[0].partitions[0].error_code;
    assert_eq!(code, 0);
    let code = client.call(9, &commit(7)).await.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::StaleMemberEpoch.number());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_settings_of_its_own() {
    let (_running, mut client) = started(options()).await;
    let set = |name: &str, value: &str| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: GROUP_RESOURCE,
            resource_name: "g".to_owned(),
            configs: vec![AlterableConfig {
                name: name.to_owned(),
                value: Some(value.to_owned()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let wrong = client.call(1, &set("streams.num.standby.replicas", "3")).await.responses.remove(0);
    assert_eq!(wrong.error_code, ErrorCode::InvalidConfig.number());
    for (name, value) in [("streams.heartbeat.interval.ms", "6000"), ("streams.num.standby.replicas", "1")] {
        assert_eq!(client.call(1, &set(name, value)).await.responses.remove(0).error_code, 0);
    }
    let first = client.call(0, &joins("a", word_count())).await;
    assert_eq!(first.heartbeat_interval_ms, 6_000);
    client.call(0, &joins("b", word_count())).await;
    let targets = describe(&mut client).await.members;
    assert_eq!(targets.iter().map(|member| member.target_assignment.standby_tasks.len()).sum::<usize>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_a_feature_and_may_be_switched_off() {
    let (_running, mut client) = started(options()).await;
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
        ..ApiVersionsRequest::default()
    };
    let told = client.call(4, &request).await;
    let level = told.finalized_features.iter().find(|it| it.name == "streams.version").unwrap();
    assert_eq!((level.min_version_level, level.max_version_level), (1, 1));
    let key = told.api_keys.iter().find(|it| it.api_key == 88).unwrap();
    assert_eq!((key.min_version, key.max_version), (0, 0));
    let group_protocols = vec!["classic".to_owned(), "consumer".to_owned()];
    let (_running, mut client) = started(BrokerOptions { group_protocols, ..options() }).await;
    let answer = client.call(0, &joins("a", word_count())).await;
    assert_eq!((answer.error_code, answer.error_message), (ErrorCode::UnsupportedVersion.number(), None));
}
