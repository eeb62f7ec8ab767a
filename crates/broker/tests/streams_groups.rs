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
    KeyValue, StreamsGroupHeartbeatRequest, Subtopology, TaskIds, TaskOffset, TopicInfo, Topology,
};
use protocol::messages::streams_group_heartbeat_response::StreamsGroupHeartbeatResponse;
use protocol::messages::streams_group_topology_description_update_request::StreamsGroupTopologyDescriptionUpdateRequest;
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

fn offset(subtopology: &str, partition: i32, offset: i64) -> TaskOffset {
    TaskOffset { subtopology_id: subtopology.to_owned(), partition, offset }
}

type Said = Option<Vec<TaskOffset>>;

/// A heartbeat of member `a` at its epoch, which may rise by it; its error.
async fn say(client: &mut Client, epoch: &mut i32, task_offsets: Said, task_end_offsets: Said) -> i16 {
    let request = StreamsGroupHeartbeatRequest { task_offsets, task_end_offsets, ..beats("a", *epoch) };
    let answer = client.call(1, &request).await;
    if answer.error_code == 0 {
        *epoch = answer.member_epoch;
    }
    answer.error_code
}

/// What the group's only member has said of its tasks.
async fn offsets(client: &mut Client) -> [Vec<(String, i32, i64)>; 2] {
    let member = describe(client).await.members.remove(0);
    [member.task_offsets, member.task_end_offsets]
        .map(|all| all.into_iter().map(|it| (it.subtopology_id, it.partition, it.offset)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_say_how_far_their_tasks_are_and_administrators_see_it() {
    let (_running, mut client) = started(options()).await;
    let own = |subtopology: &str, partition: i32, offset: i64| (subtopology.to_owned(), partition, offset);
    let joining = StreamsGroupHeartbeatRequest { task_offsets: Some(Vec::new()), ..joins("a", word_count()) };
    let first = client.call(1, &joining).await;
    assert_eq!((first.error_code, first.task_offset_interval_ms, first.acceptable_recovery_lag), (0, 60_000, 10_000));
    assert!(!first.topology_description_required, "nothing keeps descriptions");
    let mut epoch = first.member_epoch;
    let some = vec![offset("1", 1, 7), offset("1", 0, 5), offset("0", 0, 2)];
    assert_eq!(say(&mut client, &mut epoch, Some(some), Some(vec![offset("1", 0, 9)])).await, 0);
    let told = [vec![own("0", 0, 2), own("1", 0, 5), own("1", 1, 7)], vec![own("1", 0, 9)]];
    assert_eq!(offsets(&mut client).await, told);
    // What is not said again stays; what is said replaces all of its kind; a task that is named twice is refused.
    assert_eq!(say(&mut client, &mut epoch, None, None).await, 0);
    assert_eq!(offsets(&mut client).await, told);
    assert_eq!(say(&mut client, &mut epoch, Some(vec![offset("1", 1, 8)]), None).await, 0);
    let twice = vec![offset("1", 0, 1), offset("1", 0, 2)];
    let invalid = ErrorCode::InvalidRequest.number();
    assert_eq!(say(&mut client, &mut epoch, None, Some(twice)).await, invalid);
    assert_eq!(offsets(&mut client).await, [vec![own("1", 1, 8)], vec![own("1", 0, 9)]]);
    // Version 0 does not speak of it; who leaves is told nothing, and what it has said goes with it.
    let older = client.call(0, &beats("a", epoch)).await;
    assert_eq!(older.error_code, 0);
    assert_eq!((older.task_offset_interval_ms, older.acceptable_recovery_lag), (0, -1));
    let left = client.call(1, &beats("a", -1)).await;
    assert_eq!((left.error_code, left.task_offset_interval_ms, left.acceptable_recovery_lag), (0, 0, -1));
    assert_eq!(client.call(1, &joins("a", word_count())).await.error_code, 0);
    assert_eq!(offsets(&mut client).await, [Vec::new(), Vec::new()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_members_say_of_their_tasks_is_bounded() {
    let mut options = options();
    options.groups.group_bytes_max = 20_000;
    let (_running, mut client) = started(options).await;
    let mut epoch = client.call(1, &joins("a", word_count())).await.member_epoch;
    let of = |count: i32| Some((0..count).map(|task| offset("1", task, 1)).collect());
    let full = ErrorCode::GroupMaxSizeReached.number();
    assert_eq!(say(&mut client, &mut epoch, of(100), None).await, 0);
    assert_eq!(say(&mut client, &mut epoch, of(1000), None).await, full);
    assert_eq!(offsets(&mut client).await[0].len(), 100);
    // Each is told with its subtopology's name, which need not be in the topology.
    let long = "x".repeat(3_000);
    let named = (0..10).map(|task| offset(&long, task, 1)).collect();
    assert_eq!(say(&mut client, &mut epoch, Some(named), None).await, full);
    // The same again takes no more.
    for _ in 0..10 {
        assert_eq!(say(&mut client, &mut epoch, of(100), None).await, 0);
    }
}

/// As by a Kafka without a plug-in that keeps them.
#[tokio::test(flavor = "multi_thread")]
async fn descriptions_of_topologies_are_not_kept() {
    let (_running, mut client) = started(options()).await;
    client.call(1, &joins("a", word_count())).await;
    let pushed = StreamsGroupTopologyDescriptionUpdateRequest {
        group_id: "g".to_owned(),
        member_id: "a".to_owned(),
        ..StreamsGroupTopologyDescriptionUpdateRequest::default()
    };
    let answer = client.call(0, &pushed).await;
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.number());
    let words = "The broker has no streams group topology description plugin configured.";
    assert_eq!(answer.error_message.as_deref(), Some(words));
    for (asks, status) in [(false, 0), (true, 1)] {
        let group_ids = vec!["g".to_owned(), "nobody".to_owned()];
        let request =
            StreamsGroupDescribeRequest { group_ids, include_topology_description: asks, ..Default::default() };
        let groups = client.call(1, &request).await.groups;
        let told = groups.iter().map(|it| (it.error_code, it.topology_description_status, it.assignor_name.clone()));
        let told: Vec<_> = told.collect();
        let unknown = ErrorCode::GroupIdNotFound.number();
        assert_eq!(told, [(0, status, Some("sticky".to_owned())), (unknown, 0, None)]);
        assert!(groups.iter().all(|it| it.topology_description.is_none()));
    }
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
    let wrong = client.call(1, &set("streams.task.offset.interval.ms", "14999")).await.responses.remove(0);
    assert_eq!(wrong.error_code, ErrorCode::InvalidConfig.number());
    let own = [
        ("streams.heartbeat.interval.ms", "6000"),
        ("streams.num.standby.replicas", "1"),
        ("streams.task.offset.interval.ms", "15000"),
        ("streams.acceptable.recovery.lag", "3"),
    ];
    for (name, value) in own {
        assert_eq!(client.call(1, &set(name, value)).await.responses.remove(0).error_code, 0);
    }
    let first = client.call(1, &joins("a", word_count())).await;
    assert_eq!(first.heartbeat_interval_ms, 6_000);
    assert_eq!((first.task_offset_interval_ms, first.acceptable_recovery_lag), (15_000, 3));
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
    assert_eq!((key.min_version, key.max_version), (0, 1));
    let group_protocols = vec!["classic".to_owned(), "consumer".to_owned()];
    let (_running, mut client) = started(BrokerOptions { group_protocols, ..options() }).await;
    let answer = client.call(0, &joins("a", word_count())).await;
    assert_eq!((answer.error_code, answer.error_message), (ErrorCode::UnsupportedVersion.number(), None));
}
