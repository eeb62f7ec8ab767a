//! Do share groups (KIP-932) get what Kafka promises of their two coordinators? Hand-made members and leaders over loopback.

#![allow(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "tests fail by panicking")]

use crate::support::{Client, Running, metadata_request, start, start_beside};
use broker::{BrokerOptions, GroupOptions, ShareGroupOptions};
use protocol::error_code::ErrorCode;
use protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::read_share_group_state_request::{
    PartitionData as ReadPart, ReadShareGroupStateRequest, ReadStateData,
};
use protocol::messages::read_share_group_state_response::PartitionResult as ReadResult;
use protocol::messages::read_share_group_state_summary_request::{
    PartitionData as SummaryPart, ReadShareGroupStateSummaryRequest, ReadStateSummaryData,
};
use protocol::messages::share_group_describe_request::ShareGroupDescribeRequest;
use protocol::messages::share_group_describe_response::DescribedGroup;
use protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use protocol::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use protocol::messages::write_share_group_state_request::{
    PartitionData as WritePart, StateBatch, WriteShareGroupStateRequest, WriteStateData,
};
use protocol::wire::Uuid;
use std::time::Duration;

const GROUP_RESOURCE: i8 = 32;
const SHARE: i8 = 2;

/// Assigned to at once: nobody waits for others who might come.
fn options() -> BrokerOptions {
    BrokerOptions {
        share_assignment_interval: Duration::ZERO,
        offsets_topic_partitions: 3,
        share_topic_partitions: 3,
        ..BrokerOptions::default()
    }
}

/// A broker with a topic `t` of four partitions and the group's coordinator found.
async fn started(options: BrokerOptions) -> (Running, Client, Uuid) {
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 4, &[]).await, 0);
    let id = topic_id(&mut client, "t").await;
    assert_eq!(find(&mut client, 0, "g").await.error_code, 0);
    (running, client, id)
}

async fn topic_id(client: &mut Client, name: &str) -> Uuid {
    client.call(12, &metadata_request(name)).await.topics[0].topic_id
}

async fn find(client: &mut Client, key_type: i8, key: &str) -> Coordinator {
    let request = FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
    client.call(6, &request).await.coordinators.remove(0)
}

/// A member's first heartbeat.
fn joins(member_id: &str, names: &[&str]) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        subscribed_topic_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..beats(member_id, 0)
    }
}

/// A member's later heartbeat.
fn beats(member_id: &str, member_epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        ..ShareGroupHeartbeatRequest::default()
    }
}

fn assigned(answer: &ShareGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let topics = &answer.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect())
}

/// Heartbeats until the member has these partitions; its epoch.
async fn until_assigned(client: &mut Client, member_id: &str, mut epoch: i32, wanted: &[i32]) -> i32 {
    for _ in 0..200 {
        let answer = client.call(1, &beats(member_id, epoch)).await;
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, None));
        epoch = answer.member_epoch;
        if assigned(&answer).is_some_and(|now| now == wanted) {
            return epoch;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{member_id} was not given {wanted:?}");
}

async fn describe(client: &mut Client, group: &str) -> DescribedGroup {
    let request = ShareGroupDescribeRequest { group_ids: vec![group.to_owned()], include_authorized_operations: true };
    client.call(1, &request).await.groups.remove(0)
}

async fn read(client: &mut Client, t: Uuid, partition: i32, leader_epoch: i32) -> ReadResult {
    let topic = ReadStateData { topic_id: t, partitions: vec![ReadPart { partition, leader_epoch }] };
    let request = ReadShareGroupStateRequest { group_id: "g".to_owned(), topics: vec![topic] };
    client.call(0, &request).await.results.remove(0).partitions.remove(0)
}

/// Start offset, leader epoch and how many are complete.
async fn summary(client: &mut Client, t: Uuid, partition: i32) -> (i64, i32, i32) {
    let topic = ReadStateSummaryData { topic_id: t, partitions: vec![SummaryPart { partition, leader_epoch: -1 }] };
    let request = ReadShareGroupStateSummaryRequest { group_id: "g".to_owned(), topics: vec![topic] };
    let result = client.call(1, &request).await.results.remove(0).partitions.remove(0);
    assert_eq!((result.error_code, result.error_message), (0, None));
    (result.start_offset, result.leader_epoch, result.delivery_complete_count)
}

async fn write(client: &mut Client, t: Uuid, partition: i32, epochs: (i32, i32), start_offset: i64) -> i16 {
    let batch = StateBatch {
        first_offset: start_offset + 2,
        last_offset: start_offset + 4,
        delivery_state: 2,
        delivery_count: 1,
    };
    let (state_epoch, leader_epoch) = epochs;
    let part = WritePart {
        partition,
        state_epoch,
        leader_epoch,
        start_offset,
        delivery_complete_count: 3,
        state_batches: vec![batch],
    };
    let topic = WriteStateData { topic_id: t, partitions: vec![part] };
    let request = WriteShareGroupStateRequest { group_id: "g".to_owned(), topics: vec![topic] };
    client.call(1, &request).await.results.remove(0).partitions.remove(0).error_code
}

async fn delete(client: &mut Client) -> i16 {
    client.call(2, &DeleteGroupsRequest { groups_names: vec!["g".to_owned()] }).await.results[0].error_code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_names_too_much_is_refused_by_codes_and_few_words() {
    let (_running, mut client, t) = started(options()).await;
    let partitions = vec![ReadPart { partition: 0, leader_epoch: 0 }; 100_001];
    let topics = vec![ReadStateData { topic_id: t, partitions }];
    let answer = client.call(0, &ReadShareGroupStateRequest { group_id: "g".to_owned(), topics }).await;
    let refused = &answer.results[0].partitions;
    assert_eq!((answer.results.len(), refused.len()), (1, 100_001));
    assert!(refused.iter().all(|it| it.error_code == ErrorCode::InvalidRequest.number()));
    assert_eq!(refused.iter().filter(|it| it.error_message.is_some()).count(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_shared_once_their_state_is_there() {
    let (running, mut client, t) = started(options()).await;
    let answer = client.call(1, &joins("a", &["t"])).await;
    assert_eq!((answer.error_code, answer.member_id.as_deref()), (0, Some("a")));
    assert_eq!((answer.heartbeat_interval_ms, assigned(&answer)), (5_000, Some(vec![])), "nothing is there yet");
    let epoch = until_assigned(&mut client, "a", answer.member_epoch, &[0, 1, 2, 3]).await;
    let group = describe(&mut client, "g").await;
    assert_eq!((group.error_code, group.group_state.as_str(), group.assignor_name.as_str()), (0, "Stable", "simple"));
    assert_eq!((group.group_epoch, group.assignment_epoch, group.authorized_operations), (epoch, epoch, 3400));
    let member = &group.members[0];
    assert_eq!((member.member_id.as_str(), member.member_epoch, member.client_id.as_str()), ("a", epoch, "test"));
    assert_eq!((member.client_host.as_str(), &member.subscribed_topic_names), ("/127.0.0.1", &vec!["t".to_owned()]));
    let assignment = &member.assignment.topic_partitions[0];
    assert_eq!((assignment.topic_id, assignment.topic_name.as_str()), (t, "t"));

    // Two members for four partitions: two each.
    let answer = client.call(1, &joins("b", &["t"])).await;
    assert_eq!((answer.error_code, assigned(&answer).map(|it| it.len())), (0, Some(2)));
    let answer = client.call(1, &beats("a", epoch)).await;
    assert_eq!((answer.error_code, assigned(&answer).map(|it| it.len())), (0, Some(2)));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_outlives_a_crash_and_late_leaders_are_fenced() {
    let (running, mut client, t) = started(options()).await;
    let joined = client.call(1, &joins("a", &["t"])).await;
    let epoch = until_assigned(&mut client, "a", joined.member_epoch, &[0, 1, 2, 3]).await;
    let key = format!("g:{t}:1");
    let found = find(&mut client, SHARE, &key).await;
    assert_eq!((found.error_code, found.key, found.node_id), (0, key, running.broker.node_id().0));

    let began = read(&mut client, t, 1, 5).await;
    assert_eq!((began.error_code, began.start_offset, began.state_batches.len()), (0, -1, 0));
    let state_epoch = began.state_epoch;
    assert!(state_epoch > 0);
    assert_eq!(write(&mut client, t, 1, (state_epoch, 5), 10).await, 0);
    assert_eq!(write(&mut client, t, 1, (state_epoch, 4), 20).await, ErrorCode::FencedLeaderEpoch.number());
    assert_eq!(write(&mut client, t, 1, (state_epoch - 1, 5), 20).await, ErrorCode::FencedStateEpoch.number());
    assert_eq!(write(&mut client, t, 9, (state_epoch, 5), 20).await, ErrorCode::InvalidRequest.number());
    let before = describe(&mut client, "g").await;

    let running = running.start_anew().await;
    let mut client = running.client().await;
    for _ in 0..200 {
        if find(&mut client, 0, "g").await.error_code == 0 && describe(&mut client, "g").await.error_code == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(describe(&mut client, "g").await, before);
    assert_eq!(summary(&mut client, t, 1).await, (10, 5, 3));
    assert_eq!(write(&mut client, t, 1, (state_epoch, 4), 20).await, ErrorCode::FencedLeaderEpoch.number());
    let next = read(&mut client, t, 1, 6).await;
    assert_eq!((next.error_code, next.state_epoch, next.start_offset), (0, state_epoch, 10));
    let batch = &next.state_batches[0];
    assert_eq!((batch.first_offset, batch.last_offset, batch.delivery_state, batch.delivery_count), (12, 14, 2, 1));
    assert_eq!(write(&mut client, t, 1, (state_epoch, 5), 20).await, ErrorCode::FencedLeaderEpoch.number());
    assert_eq!(client.call(1, &beats("a", epoch)).await.error_code, 0, "members go on");

    // The group's end is that of its state.
    assert_eq!(delete(&mut client).await, ErrorCode::NonEmptyGroup.number());
    assert_eq!(client.call(1, &beats("a", -1)).await.member_epoch, -1);
    assert_eq!(describe(&mut client, "g").await.group_state, "Empty");
    assert_eq!(delete(&mut client).await, 0);
    assert_eq!(describe(&mut client, "g").await.error_code, ErrorCode::GroupIdNotFound.number());
    assert_eq!(summary(&mut client, t, 1).await, (-1, 0, -1));
    assert_eq!(read(&mut client, t, 1, 7).await.error_code, ErrorCode::InvalidRequest.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_on_two_brokers_ask_each_other() {
    let running = start(options()).await;
    let other = start_beside(&running).await;
    let mut client = running.client().await;
    // So many that their state lies in all partitions of its topic.
    assert_eq!(client.create("t", 16, &[]).await, 0);
    let t = topic_id(&mut client, "t").await;
    // Each of the coordinators' topics is made where it is asked for first.
    let mut state = other.client().await;
    assert_eq!(find(&mut state, SHARE, &format!("g:{t}:0")).await.node_id, other.broker.node_id().0);
    let mut group = running.client().await;
    assert_eq!(find(&mut group, 0, "g").await.node_id, running.broker.node_id().0);
    let all: Vec<i32> = (0..16).collect();
    let joined = group.call(1, &joins("a", &["t"])).await;
    until_assigned(&mut group, "a", joined.member_epoch, &all).await;
    for partition in all {
        assert_eq!(read(&mut state, t, partition, 1).await.error_code, 0, "{partition}");
        let elsewhere = read(&mut group, t, partition, 1).await.error_code;
        assert_eq!(elsewhere, ErrorCode::NotCoordinator.number());
    }
    assert_eq!(group.call(1, &beats("a", -1)).await.error_code, 0);
    assert_eq!(delete(&mut group).await, 0);
    other.broker.stop().await;
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_heartbeat_is_told_in_kafkas_words() {
    let (running, mut client, _) = started(options()).await;
    assert_eq!(client.call(1, &joins("a", &["t"])).await.error_code, 0);
    let refused = async |client: &mut Client, request: &ShareGroupHeartbeatRequest| {
        let answer = client.call(1, request).await;
        (ErrorCode::from_number(answer.error_code).unwrap(), answer.error_message.unwrap())
    };
    let group = |group: &str, request| ShareGroupHeartbeatRequest { group_id: group.to_owned(), ..request };
    let cases = [
        (joins("", &["t"]), ErrorCode::InvalidRequest, "MemberId can't be empty."),
        (group("", joins("a", &["t"])), ErrorCode::InvalidRequest, "GroupId can't be empty."),
        (beats("b", 0), ErrorCode::InvalidRequest, "SubscribedTopicNames must be set in first request."),
        (beats("a", -2), ErrorCode::InvalidRequest, "MemberEpoch is invalid."),
        (group("other", beats("a", 1)), ErrorCode::GroupIdNotFound, "Group other not found."),
    ];
    for (request, code, words) in cases {
        assert_eq!(refused(&mut client, &request).await, (code, words.to_owned()), "{request:?}");
    }
    assert_eq!(refused(&mut client, &beats("a", 9)).await.0, ErrorCode::FencedMemberEpoch);
    assert_eq!(refused(&mut client, &beats("b", 1)).await.0, ErrorCode::UnknownMemberId);
    assert_eq!(refused(&mut client, &beats("b", -1)).await.0, ErrorCode::UnknownMemberId);
    for key in ["g", "g:0", "g:nothing:0"] {
        assert_eq!(find(&mut client, SHARE, key).await.error_code, ErrorCode::InvalidRequest.number(), "{key}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn share_groups_are_a_kind_of_their_own() {
    let (running, mut client, _) = started(options()).await;
    assert_eq!(client.call(1, &joins("a", &["t"])).await.error_code, 0);
    let consumer = ConsumerGroupHeartbeatRequest {
        group_id: "c".to_owned(),
        member_id: "m".to_owned(),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    assert_eq!(client.call(1, &consumer).await.error_code, 0);
    let wrong = ConsumerGroupHeartbeatRequest { group_id: "g".to_owned(), ..consumer };
    assert_eq!(client.call(1, &wrong).await.error_code, ErrorCode::GroupIdNotFound.number());
    let wrong = ShareGroupHeartbeatRequest { group_id: "c".to_owned(), ..joins("a", &["t"]) };
    let answer = client.call(1, &wrong).await;
    assert_eq!(answer.error_code, ErrorCode::GroupIdNotFound.number());
    assert_eq!(answer.error_message.as_deref(), Some("Group c is not a share group."));
    let described = describe(&mut client, "c").await;
    assert_eq!(described.error_message.as_deref(), Some("Group c is not a share group."));
    assert_eq!(describe(&mut client, "nobody").await.error_message.as_deref(), Some("Group nobody not found."));
    assert_eq!(describe(&mut client, "").await.error_code, ErrorCode::InvalidGroupId.number());

    let types = |types: &[&str]| ListGroupsRequest {
        types_filter: types.iter().map(|it| (*it).to_owned()).collect(),
        ..ListGroupsRequest::default()
    };
    let listed = client.call(5, &types(&["share"])).await.groups;
    let told: Vec<_> = listed.iter().map(|it| (&it.group_id[..], &it.group_type[..], &it.protocol_type[..])).collect();
    assert_eq!(told, [("g", "share", "share")]);
    assert_eq!(client.call(5, &types(&[])).await.groups.len(), 2);
    let request = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..DescribeGroupsRequest::default() };
    let described = client.call(6, &request).await.groups.remove(0);
    assert_eq!(described.error_message.as_deref(), Some("Group g is not a classic group."));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_and_periods_are_those_that_are_set() {
    let share = ShareGroupOptions { members_max: 1, session_timeout: Duration::from_secs(2), ..Default::default() };
    let options = BrokerOptions { groups: GroupOptions { share, ..GroupOptions::default() }, ..options() };
    let (running, mut client, _) = started(options).await;
    let set = async |name: &str, value: &str| {
        let config = AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.to_owned()) };
        let resource = AlterConfigsResource {
            resource_type: GROUP_RESOURCE,
            resource_name: "g".to_owned(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        running.client().await.call(1, &request).await.responses[0].error_code
    };
    let answer = client.call(1, &joins("a", &["t"])).await;
    assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (0, 5_000));
    let full = client.call(1, &joins("b", &["t"])).await.error_code;
    assert_eq!(full, ErrorCode::GroupMaxSizeReached.number());
    assert_eq!(set("share.heartbeat.interval.ms", "4000").await, ErrorCode::InvalidConfig.number(), "too often");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(client.call(1, &beats("a", answer.member_epoch)).await.error_code, ErrorCode::UnknownMemberId.number());
    assert_eq!(describe(&mut client, "g").await.group_state, "Empty", "it was silent");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_takes_its_state_with_it() {
    let (running, mut client, t) = started(options()).await;
    let joined = client.call(1, &joins("a", &["t"])).await;
    let epoch = until_assigned(&mut client, "a", joined.member_epoch, &[0, 1, 2, 3]).await;
    let request =
        DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 10_000, ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    let epoch = until_assigned(&mut client, "a", epoch, &[]).await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_ne!(topic_id(&mut client, "t").await, t);
    until_assigned(&mut client, "a", epoch, &[0]).await;
    running.broker.stop().await;
}
