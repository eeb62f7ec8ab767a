//! Do consumer groups of the newer protocol (KIP-848) get what Kafka promises? Hand-made members over loopback.

#![allow(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "tests fail by panicking")]

use crate::support::{Client, Running, metadata_request, start};
use broker::{BrokerOptions, ConsumerOptions, ConsumerTimes, GroupOptions, Migration};
use protocol::error_code::ErrorCode;
use protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use protocol::messages::consumer_group_describe_response::{DescribedGroup, Member};
use protocol::messages::consumer_group_heartbeat_request::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::wire::Uuid;
use std::time::Duration;

/// Its number is that of the resource type of groups in requests about settings.
const GROUP_RESOURCE: i8 = 32;

/// Assigned to at once: nobody waits for others who might come.
fn options() -> BrokerOptions {
    BrokerOptions {
        consumer_assignment_interval: Duration::ZERO,
        offsets_topic_partitions: 3,
        ..BrokerOptions::default()
    }
}

fn with_session(session_timeout: Duration) -> BrokerOptions {
    let times = ConsumerTimes { session_timeout, ..ConsumerTimes::default() };
    let consumer = ConsumerOptions { times, ..ConsumerOptions::default() };
    BrokerOptions { groups: GroupOptions { consumer, ..GroupOptions::default() }, ..options() }
}

/// A broker with a topic `t` of four partitions and its coordinator found.
async fn started(options: BrokerOptions) -> (Running, Client, Uuid) {
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 4, &[]).await, 0);
    let id = topic_id(&mut client, "t").await;
    find(&mut client).await;
    (running, client, id)
}

async fn topic_id(client: &mut Client, name: &str) -> Uuid {
    client.call(12, &metadata_request(name)).await.topics[0].topic_id
}

async fn find(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(client.call(4, &request).await.coordinators[0].error_code, 0);
}

/// A member's first heartbeat.
fn joins(member_id: &str, names: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..beats(member_id, 0)
    }
}

/// A member's later heartbeat.
fn beats(member_id: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        rebalance_timeout_ms: -1,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// The same with what it holds.
fn owns(member_id: &str, member_epoch: i32, topic_id: Uuid, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let owned = TopicPartitions { topic_id, partitions: partitions.to_vec() };
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..beats(member_id, member_epoch) }
}

/// Epoch and partitions that a heartbeat is answered.
async fn beat(client: &mut Client, request: &ConsumerGroupHeartbeatRequest) -> (i32, Option<Vec<i32>>) {
    let answer = client.call(1, request).await;
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, None));
    (answer.member_epoch, assigned(&answer))
}

fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let topics = &answer.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect())
}

async fn refused(client: &mut Client, request: &ConsumerGroupHeartbeatRequest) -> ErrorCode {
    let answer = client.call(1, request).await;
    let has_words = answer.error_code != 0 && answer.error_code != ErrorCode::UnsupportedVersion.number();
    assert_eq!(answer.error_message.is_some(), has_words);
    ErrorCode::from_number(answer.error_code).unwrap()
}

async fn describe(client: &mut Client, group: &str) -> DescribedGroup {
    let request =
        ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], include_authorized_operations: true };
    client.call(1, &request).await.groups.remove(0)
}

/// Ids and epochs of the members.
fn members(described: &DescribedGroup) -> Vec<(&str, i32)> {
    described.members.iter().map(|member| (member.member_id.as_str(), member.member_epoch)).collect()
}

fn partitions(member: &Member) -> [Vec<i32>; 2] {
    [&member.assignment, &member.target_assignment]
        .map(|it| it.topic_partitions.iter().flat_map(|topic| topic.partitions.iter().copied()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_gets_what_the_first_gives_up() {
    let (running, mut client, t) = started(options()).await;
    let answer = client.call(1, &joins("a", &["t"])).await;
    assert_eq!((answer.error_code, answer.member_id.as_deref(), answer.member_epoch), (0, Some("a"), 2));
    assert_eq!((answer.heartbeat_interval_ms, assigned(&answer)), (5_000, Some(vec![0, 1, 2, 3])));
    assert_eq!(answer.assignment.unwrap().topic_partitions[0].topic_id, t);
    assert_eq!(beat(&mut client, &owns("a", 2, t, &[0, 1, 2, 3])).await, (2, None), "it knows");

    assert_eq!(beat(&mut client, &joins("b", &["t"])).await, (3, Some(vec![])), "nothing is free yet");
    let (epoch, kept) = beat(&mut client, &owns("a", 2, t, &[0, 1, 2, 3])).await;
    let kept = kept.unwrap();
    assert_eq!((epoch, kept.len()), (2, 2), "it gives up the others first");
    assert_eq!(beat(&mut client, &beats("b", 3)).await, (3, None));
    let group = describe(&mut client, "g").await;
    assert_eq!((group.group_state.as_str(), group.group_epoch, group.assignment_epoch), ("Reconciling", 3, 3));
    let first = group.members.iter().find(|member| member.member_id == "a").unwrap();
    assert_eq!(partitions(first)[0].len(), 4, "what is to be given up is held still");
    assert_eq!(beat(&mut client, &owns("a", 2, t, &kept)).await, (3, None));
    let (epoch, got) = beat(&mut client, &beats("b", 3)).await;
    let mut all = [kept, got.unwrap()].concat();
    all.sort_unstable();
    assert_eq!((epoch, all), (3, vec![0, 1, 2, 3]));
    assert_eq!(describe(&mut client, "g").await.group_state, "Stable");

    // One leaves, and the other has all of it again.
    assert_eq!(beat(&mut client, &beats("b", -1)).await, (-1, None));
    assert_eq!(beat(&mut client, &beats("a", 3)).await, (4, Some(vec![0, 1, 2, 3])));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_and_new_topics_come_with_the_next_heartbeat() {
    let (running, mut client, t) = started(options()).await;
    assert_eq!(beat(&mut client, &joins("a", &["t", "later"])).await.1.unwrap().len(), 4);
    let more = CreatePartitionsTopic { name: "t".to_owned(), count: 6, assignments: None };
    let grow = CreatePartitionsRequest { topics: vec![more], timeout_ms: 10_000, validate_only: false };
    assert_eq!(client.call(3, &grow).await.results[0].error_code, 0);
    assert_eq!(beat(&mut client, &beats("a", 2)).await, (3, Some((0..6).collect())));
    assert_eq!(client.create("other", 1, &[]).await, 0);
    assert_eq!(beat(&mut client, &owns("a", 3, t, &[0, 1, 2, 3, 4, 5])).await, (3, None), "not its topic");
    assert_eq!(client.create("later", 1, &[]).await, 0);
    assert_eq!(beat(&mut client, &beats("a", 3)).await.1.unwrap().len(), 7);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regular_expression_is_matched_with_the_first_heartbeat() {
    let (running, mut client, _) = started(options()).await;
    for name in ["orders.eu", "orders.us", "orders"] {
        assert_eq!(client.create(name, 1, &[]).await, 0);
    }
    let regex = |regex: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.to_owned()),
        ..joins("a", &[])
    };
    assert_eq!(refused(&mut client, &regex("orders.(")).await, ErrorCode::InvalidRegularExpression);
    assert_eq!(beat(&mut client, &regex("orders\\..*")).await, (1, Some(vec![0, 0])));
    let group = describe(&mut client, "g").await;
    assert_eq!(group.members[0].subscribed_topic_regex.as_deref(), Some("orders\\..*"));
    let mut names: Vec<_> =
        group.members[0].assignment.topic_partitions.iter().map(|topic| topic.topic_name.clone()).collect();
    names.sort();
    assert_eq!(names, ["orders.eu", "orders.us"]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_comes_back_to_what_it_had() {
    let (running, mut client, _) = started(options()).await;
    let named = |request| ConsumerGroupHeartbeatRequest { instance_id: Some("i".to_owned()), ..request };
    assert_eq!(beat(&mut client, &named(joins("a", &["t"]))).await.0, 2);
    assert_eq!(refused(&mut client, &named(joins("b", &["t"]))).await, ErrorCode::UnreleasedInstanceId);
    assert_eq!(refused(&mut client, &named(beats("b", 1))).await, ErrorCode::FencedInstanceId);
    assert_eq!(beat(&mut client, &named(beats("a", -2))).await, (-2, None));
    assert_eq!(beat(&mut client, &named(joins("b", &["t"]))).await, (2, Some(vec![0, 1, 2, 3])));
    let group = describe(&mut client, "g").await;
    assert_eq!((members(&group), group.group_epoch), (vec![("b", 2)], 2));
    // An administrator removes static members by the older API.
    let leaving = MemberIdentity { group_instance_id: Some("i".to_owned()), ..MemberIdentity::default() };
    let request = LeaveGroupRequest { group_id: "g".to_owned(), members: vec![leaving], ..Default::default() };
    assert_eq!(client.call(5, &request).await.members[0].error_code, 0);
    assert_eq!(describe(&mut client, "g").await.group_state, "Empty");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_outlive_the_broker_and_go_when_they_are_silent() {
    let (running, mut client, t) = started(with_session(Duration::from_secs(2))).await;
    assert_eq!(beat(&mut client, &joins("a", &["t"])).await.0, 2);
    assert_eq!(beat(&mut client, &joins("b", &["t"])).await.0, 3);
    let before = describe(&mut client, "g").await;
    let running = running.restart().await;
    let mut client = running.client().await;
    find(&mut client).await;
    assert_eq!(describe(&mut client, "g").await, before);
    let kept = beat(&mut client, &owns("a", 2, t, &[0, 1, 2, 3])).await.1;
    assert_eq!(kept.map(|kept| kept.len()), Some(2));
    // Only one of them goes on reporting.
    let mut epoch = 2;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        epoch = beat(&mut client, &owns("a", epoch, t, &[])).await.0;
        if epoch == 4 {
            break;
        }
    }
    assert_eq!(members(&describe(&mut client, "g").await), [("a", 4)]);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(refused(&mut client, &beats("a", 4)).await, ErrorCode::UnknownMemberId);
    assert_eq!(describe(&mut client, "g").await.group_state, "Empty");
    running.broker.stop().await;
}

fn commit_request(member_id: &str, epoch: i32, version: i16, t: Uuid) -> OffsetCommitRequest {
    let partition =
        OffsetCommitRequestPartition { committed_offset: 7, committed_leader_epoch: -1, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { "t".to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { t },
        partitions: vec![partition],
    };
    OffsetCommitRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        generation_id_or_member_epoch: epoch,
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_commit_and_fetch_offsets_at_their_epochs() {
    let (running, mut client, t) = started(options()).await;
    assert_eq!(beat(&mut client, &joins("a", &["t"])).await.0, 2);
    let cases = [
        ("a", 2, 9, ErrorCode::None),
        ("a", 2, 10, ErrorCode::None),
        ("a", 2, 8, ErrorCode::UnsupportedVersion),
        ("a", 3, 9, ErrorCode::StaleMemberEpoch),
        ("a", 1, 10, ErrorCode::StaleMemberEpoch),
        ("b", 1, 9, ErrorCode::UnknownMemberId),
        ("", -1, 9, ErrorCode::UnknownMemberId),
    ];
    for (member, epoch, version, code) in cases {
        let answer = client.call(version, &commit_request(member, epoch, version, t)).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code.number(), "{member} {epoch} {version}");
    }
    let asks = |member_id: Option<&str>, member_epoch| OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_id: member_id.map(str::to_owned),
        member_epoch,
        topics: Some(vec![OffsetFetchRequestTopics {
            name: "t".to_owned(),
            partition_indexes: vec![0],
            ..OffsetFetchRequestTopics::default()
        }]),
    };
    // All in one request: each member's question is one of its own.
    let groups = vec![asks(None, -1), asks(Some("a"), 2), asks(Some("a"), 3), asks(Some("b"), 1)];
    let answer = client.call(9, &OffsetFetchRequest { groups, ..OffsetFetchRequest::default() }).await;
    let told: Vec<_> = answer.groups.iter().map(|it| (it.error_code, it.topics.len())).collect();
    let codes = [ErrorCode::StaleMemberEpoch, ErrorCode::UnknownMemberId].map(ErrorCode::number);
    assert_eq!(told, [(0, 1), (0, 1), (codes[0], 0), (codes[1], 0)]);
    assert_eq!(answer.groups[1].topics[0].partitions[0].committed_offset, 7);

    let topic = OffsetDeleteRequestTopic {
        name: "t".to_owned(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let delete = OffsetDeleteRequest { group_id: "g".to_owned(), topics: vec![topic] };
    let code = client.call(0, &delete).await.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::GroupSubscribedToTopic.number());
    let delete_group = DeleteGroupsRequest { groups_names: vec!["g".to_owned()] };
    assert_eq!(client.call(2, &delete_group).await.results[0].error_code, ErrorCode::NonEmptyGroup.number());
    assert_eq!(beat(&mut client, &beats("a", -1)).await.0, -1);
    assert_eq!(client.call(0, &delete).await.topics[0].partitions[0].error_code, 0);
    assert_eq!(client.call(2, &delete_group).await.results[0].error_code, 0);
    assert_eq!(describe(&mut client, "g").await.error_code, ErrorCode::GroupIdNotFound.number());
    running.broker.stop().await;
}

/// Ids, types and states of the groups that are listed.
async fn listed(client: &mut Client, states: &[&str], types: &[&str]) -> Vec<(String, String, String)> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types) };
    let answer = client.call(5, &request).await;
    answer.groups.into_iter().map(|it| (it.group_id, it.group_type, it.group_state)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_both_protocols_are_listed_and_described_apart() {
    let consumer = ConsumerOptions { migration: Migration::Disabled, ..ConsumerOptions::default() };
    let groups = GroupOptions { consumer, ..GroupOptions::default() };
    let (running, mut client, _) = started(BrokerOptions { groups, ..options() }).await;
    assert_eq!(beat(&mut client, &joins("a", &["t"])).await.0, 2);
    let classic = JoinGroupRequest {
        group_id: "classic".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), ..Default::default() }],
        ..JoinGroupRequest::default()
    };
    client.call(3, &classic).await;
    let consumer = ("g".to_owned(), "consumer".to_owned(), "Stable".to_owned());
    assert_eq!(listed(&mut client, &[], &["consumer"]).await, std::slice::from_ref(&consumer));
    assert_eq!(listed(&mut client, &["reconciling"], &["consumer"]).await, []);
    assert_eq!(listed(&mut client, &["stable"], &[]).await, [consumer]);
    assert_eq!(listed(&mut client, &[], &[]).await.len(), 2);

    let described = describe(&mut client, "classic").await;
    assert_eq!(described.error_message.as_deref(), Some("Group classic is not a consumer group."));
    assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.number());
    let nobody = describe(&mut client, "nobody").await;
    assert_eq!(nobody.error_message.as_deref(), Some("Group nobody not found."));
    assert_eq!(describe(&mut client, "").await.error_code, ErrorCode::InvalidGroupId.number());
    let group = describe(&mut client, "g").await;
    assert_eq!((group.error_code, group.assignor_name.as_str(), group.authorized_operations), (0, "uniform", 3400));
    let member = &group.members[0];
    assert_eq!((member.client_id.as_str(), member.member_type), ("test", 1));
    assert_eq!((member.client_host.as_str(), &member.subscribed_topic_names), ("/127.0.0.1", &vec!["t".to_owned()]));
    assert_eq!(partitions(member), [vec![0, 1, 2, 3], vec![0, 1, 2, 3]]);
    for version in [5, 6] {
        let request = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..DescribeGroupsRequest::default() };
        let described = client.call(version, &request).await.groups.remove(0);
        assert_eq!(described.group_state, "Dead", "version {version}");
        let words = (version == 6).then_some("Group g is not a classic group.");
        assert_eq!(described.error_message.as_deref(), words);
    }

    // Members of the one are refused by the other, where groups may not change their protocol.
    let refusal = client.call(3, &JoinGroupRequest { group_id: "g".to_owned(), ..classic.clone() }).await;
    assert_eq!(refusal.error_code, ErrorCode::InconsistentGroupProtocol.number());
    let heartbeat = HeartbeatRequest { group_id: "g".to_owned(), member_id: "a".to_owned(), ..Default::default() };
    assert_eq!(client.call(4, &heartbeat).await.error_code, ErrorCode::UnknownMemberId.number());
    let other = ConsumerGroupHeartbeatRequest { group_id: "classic".to_owned(), ..joins("b", &["t"]) };
    assert_eq!(refused(&mut client, &other).await, ErrorCode::GroupIdNotFound);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_changes_its_protocol_with_its_members_and_over_restarts() {
    let initial_rebalance_delay = Duration::ZERO;
    let groups = GroupOptions { initial_rebalance_delay, ..GroupOptions::default() };
    let (running, mut client, _) = started(BrokerOptions { groups, ..options() }).await;
    // Version 0: one topic, nothing else.
    let metadata: &'static [u8] = &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), metadata: metadata.into() };
    let join = |member_id: &str| JoinGroupRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol.clone()],
        ..JoinGroupRequest::default()
    };
    let joined = client.call(3, &join("")).await;
    let id = joined.member_id.as_str();
    let sync = |generation_id: i32| SyncGroupRequest {
        group_id: "g".to_owned(),
        member_id: id.to_owned(),
        generation_id,
        assignments: vec![SyncGroupRequestAssignment { member_id: id.to_owned(), ..Default::default() }],
        ..SyncGroupRequest::default()
    };
    assert_eq!(client.call(2, &sync(1)).await.error_code, 0);
    assert_eq!(beat(&mut client, &joins("n", &["t"])).await.0, 2);
    let running = running.restart().await;
    let mut client = running.client().await;
    find(&mut client).await;
    let group = describe(&mut client, "g").await;
    let kinds: Vec<i8> = group.members.iter().map(|member| member.member_type).collect();
    assert_eq!((kinds, group.group_epoch), (vec![0, 1], 2));
    let heartbeat = |generation_id: i32| HeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: id.to_owned(),
        generation_id,
        ..HeartbeatRequest::default()
    };
    let again = ErrorCode::RebalanceInProgress.number();
    assert_eq!(client.call(2, &heartbeat(1)).await.error_code, again);
    assert_eq!(client.call(3, &join(id)).await.generation_id, 2);
    let synced = client.call(2, &sync(2)).await;
    assert_eq!((synced.error_code, synced.assignment.len()), (0, 2 + 4 + 3 + 4 + 2 * 4 + 4), "two partitions of t");
    assert_eq!(beat(&mut client, &beats("n", -1)).await.0, -1);
    let running = running.restart().await;
    let mut client = running.client().await;
    find(&mut client).await;
    assert_eq!(listed(&mut client, &[], &["classic"]).await[0].2, "PreparingRebalance");
    assert_eq!(client.call(2, &heartbeat(2)).await.error_code, again);
    let joined = client.call(3, &join(id)).await;
    assert_eq!((joined.generation_id, joined.leader.as_str()), (3, id));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_heartbeat_is_told_in_kafkas_words() {
    let (running, mut client, t) = started(options()).await;
    let answer = client.call(1, &joins("", &["t"])).await;
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (42, Some("MemberId can't be empty.")));
    let given = client.call(0, &joins("", &["t"])).await;
    assert_eq!(given.error_code, 0, "an older client is given an id");
    assert_eq!(client.call(0, &beats(&given.member_id.unwrap(), -1)).await.error_code, 0);

    assert_eq!(beat(&mut client, &joins("a", &["t"])).await.0, 4, "the third change of the group");
    let unknown = ConsumerGroupHeartbeatRequest { group_id: "other".to_owned(), ..beats("a", 1) };
    let assignor = ConsumerGroupHeartbeatRequest { server_assignor: Some("x".to_owned()), ..joins("b", &["t"]) };
    let cases = [
        (beats("a", 5), ErrorCode::FencedMemberEpoch),
        (beats("b", 1), ErrorCode::UnknownMemberId),
        (beats("b", -1), ErrorCode::UnknownMemberId),
        (beats("a", -3), ErrorCode::InvalidRequest),
        (beats("a", 0), ErrorCode::InvalidRequest),
        (owns("a", 0, t, &[1]), ErrorCode::InvalidRequest),
        (unknown, ErrorCode::GroupIdNotFound),
        (assignor.clone(), ErrorCode::UnsupportedAssignor),
    ];
    let words = client.call(1, &assignor).await.error_message;
    assert_eq!(words.as_deref(), Some("ServerAssignor x is not supported. Supported assignors: uniform, range."));
    for (request, code) in cases {
        assert_eq!(refused(&mut client, &request).await, code, "{request:?}");
    }
    assert_eq!(beat(&mut client, &joins("a", &["t"])).await, (4, Some(vec![0, 1, 2, 3])), "it may begin anew");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_own_settings_act_with_its_next_heartbeat() {
    let (running, mut client, _) = started(options()).await;
    let set = async |name: &str, value: Option<&str>| {
        let operation = if value.is_some() { 0 } else { 1 };
        let config =
            AlterableConfig { name: name.to_owned(), config_operation: operation, value: value.map(str::to_owned) };
        let resource = AlterConfigsResource {
            resource_type: GROUP_RESOURCE,
            resource_name: "g".to_owned(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let mut admin = running.client().await;
        admin.call(1, &request).await.responses[0].error_code
    };
    let mut interval =
        async |request: &ConsumerGroupHeartbeatRequest| client.call(1, request).await.heartbeat_interval_ms;
    assert_eq!(interval(&joins("a", &["t"])).await, 5_000);
    assert_eq!(set("consumer.heartbeat.interval.ms", Some("10000")).await, 0);
    assert_eq!(interval(&beats("a", 2)).await, 10_000);
    let too_often = set("consumer.heartbeat.interval.ms", Some("4000")).await;
    assert_eq!(too_often, ErrorCode::InvalidConfig.number(), "less than brokers allow");
    assert_eq!(set("consumer.heartbeat.interval.ms", None).await, 0);
    assert_eq!(interval(&beats("a", 2)).await, 5_000);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_can_be_switched_off() {
    let options = BrokerOptions { group_protocols: vec!["classic".to_owned()], ..options() };
    let (running, mut client, _) = started(options).await;
    assert_eq!(refused(&mut client, &joins("a", &["t"])).await, ErrorCode::UnsupportedVersion);
    assert_eq!(describe(&mut client, "g").await.error_code, ErrorCode::UnsupportedVersion.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_room_in_the_log_is_not_taken_for_gone() {
    let session = Duration::from_secs(2);
    let (running, mut client, _) = started(with_session(session)).await;
    assert_eq!(beat(&mut client, &joins("a", &["t"])).await.0, 2);
    running.close_gate();
    // Twice as long as its session.
    for _ in 0..8 {
        // Nobody hears the answer before the log goes on.
        let mut other = running.client().await;
        other.send(1, &beats("a", 2)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    running.open_gate();
    assert_eq!(beat(&mut client, &beats("a", 2)).await.0, 2);
    running.broker.stop().await;
}
