//! Do consumer groups get what Kafka promises? Hand-made members over loopback, in every version served.

#![allow(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "tests fail by panicking")]

use crate::support::{Client, Running, batch, metadata_request, produce_request, start, start_with_bulk};
use broker::{BrokerOptions, GroupOptions};
use bytes::Bytes;
use protocol::api::served;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::join_group_response::JoinGroupResponse;
use protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::wire::Uuid;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const UNKNOWN_MEMBER: i16 = 25;

fn options() -> BrokerOptions {
    let groups = GroupOptions {
        initial_rebalance_delay: Duration::from_millis(400),
        session_timeout_min: Duration::from_millis(100),
        ..GroupOptions::default()
    };
    BrokerOptions { groups, offsets_topic_partitions: 3, ..BrokerOptions::default() }
}

/// All versions of an API that are served.
fn versions(key: ApiKey) -> RangeInclusive<i16> {
    let api = served(key).unwrap();
    api.first..=api.last()
}

/// A broker with a topic `t` of two partitions and its coordinator found.
async fn started() -> (Running, Client, Uuid) {
    let running = start(options()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    let id = client.call(12, &metadata_request("t")).await.topics[0].topic_id;
    find(&mut client, "g").await;
    (running, client, id)
}

async fn find(client: &mut Client, group: &str) -> (i16, i32) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
    let found = &client.call(4, &request).await.coordinators[0];
    (found.error_code, found.port)
}

fn join_request(group: &str, member_id: &str) -> JoinGroupRequest {
    let metadata = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff]);
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }],
        ..JoinGroupRequest::default()
    }
}

/// Joins, in two steps where the version has them.
async fn join(client: &mut Client, version: i16, group: &str) -> JoinGroupResponse {
    let mut answer = client.call(version, &join_request(group, "")).await;
    if answer.error_code == ErrorCode::MemberIdRequired.number() {
        assert!(version >= 4);
        answer = client.call(version, &join_request(group, &answer.member_id)).await;
    }
    assert_eq!(answer.error_code, 0, "version {version}");
    answer
}

fn sync_request(group: &str, joined: &JoinGroupResponse, version: i16) -> SyncGroupRequest {
    let assign = |member_id: &String| SyncGroupRequestAssignment {
        member_id: member_id.clone(),
        assignment: Bytes::from(format!("for {member_id}")),
    };
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: (version >= 5).then(|| "consumer".to_owned()),
        protocol_name: (version >= 5).then(|| "range".to_owned()),
        assignments: joined.members.iter().map(|member| assign(&member.member_id)).collect(),
        ..SyncGroupRequest::default()
    }
}

/// A group with one member, which has synced.
async fn stable(client: &mut Client, group: &str) -> JoinGroupResponse {
    let joined = join(client, 9, group).await;
    assert_eq!(client.call(5, &sync_request(group, &joined, 5)).await.error_code, 0);
    joined
}

fn heartbeat_request(group: &str, joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    }
}

fn commit_request(group: &str, version: i16, id: Uuid, offset: i64) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: if version >= 6 { 5 } else { -1 },
        committed_metadata: Some("m".to_owned()),
        ..OffsetCommitRequestPartition::default()
    };
    let named = version < 10;
    let topic = |name: &str, id| OffsetCommitRequestTopic {
        name: if named { name.to_owned() } else { String::new() },
        topic_id: if named { Uuid::ZERO } else { id },
        partitions: vec![partition(0), partition(7)],
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![topic("t", id), topic("unknown", Uuid(9))],
        ..OffsetCommitRequest::default()
    }
}

/// Codes of partition 0 of the known topic, its missing partition, and the unknown topic.
async fn commit(client: &mut Client, version: i16, request: &OffsetCommitRequest) -> [i16; 3] {
    let topics = client.call(version, request).await.topics;
    let code = |topic: usize, partition: usize| topics[topic].partitions[partition].error_code;
    [code(0, 0), code(0, 1), code(1, 0)]
}

/// Offset, leader epoch, metadata and code of partition 0 of `t`.
async fn fetched(client: &mut Client, version: i16, group: &str, id: Uuid) -> (i64, i32, String, i16) {
    if version < 8 {
        let topic = OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0] };
        let topics = Some(vec![topic]);
        let request = OffsetFetchRequest { group_id: group.to_owned(), topics, ..OffsetFetchRequest::default() };
        let answer = client.call(version, &request).await;
        assert_eq!(answer.error_code, 0);
        let it = &answer.topics[0].partitions[0];
        return (it.committed_offset, it.committed_leader_epoch, it.metadata.clone().unwrap(), it.error_code);
    }
    let named = version < 10;
    let topic = OffsetFetchRequestTopics {
        name: if named { "t".to_owned() } else { String::new() },
        topic_id: if named { Uuid::ZERO } else { id },
        partition_indexes: vec![0],
    };
    let asked = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest { groups: vec![asked], require_stable: true, ..OffsetFetchRequest::default() };
    let answer = client.call(version, &request).await;
    assert_eq!(answer.groups[0].error_code, 0);
    let it = &answer.groups[0].topics[0].partitions[0];
    (it.committed_offset, it.committed_leader_epoch, it.metadata.clone().unwrap(), it.error_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_is_the_owner_of_the_groups_partition() {
    let running = start(options()).await;
    let mut client = running.client().await;
    let own = running.address.rsplit_once(':').unwrap().1.parse().unwrap();
    for version in versions(ApiKey::FindCoordinator) {
        for (key_type, code) in [(0, 0), (1, 0), (2, 42), (9, 42)] {
            if version == 0 && key_type > 0 {
                continue;
            }
            let (key, coordinator_keys) =
                if version < 4 { ("g".to_owned(), vec![]) } else { (String::new(), vec!["g".to_owned(); 2]) };
            let request = FindCoordinatorRequest { key, key_type, coordinator_keys };
            let answer = client.call(version, &request).await;
            let (found, port) = match answer.coordinators.last() {
                Some(last) => (last.error_code, last.port),
                None => (answer.error_code, answer.port),
            };
            assert_eq!((found, port), (code, if code == 0 { own } else { -1 }), "version {version}, type {key_type}");
        }
    }
    let topic = &client.call(12, &metadata_request("__consumer_offsets")).await.topics[0];
    assert_eq!((topic.is_internal, topic.partitions.len()), (true, 3));
    let written = client.call(9, &produce_request("__consumer_offsets", batch(&[(0, "x")]), -1)).await;
    let code = written.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::InvalidTopicException.number(), "clients don't write there");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_may_make_the_groups_topic_before_its_first_use() {
    let running = start(options()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("__consumer_offsets", 5, &[("cleanup.policy", "compact")]).await, 0);
    let topic = &client.call(12, &metadata_request("__consumer_offsets")).await.topics[0];
    assert_eq!((topic.is_internal, topic.partitions.len()), (true, 5));
    assert_eq!(find(&mut client, "g").await.0, 0);
    let joined = join(&mut client, 5, "g").await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_sync_and_leave_in_every_version() {
    let (running, mut leader, _) = started().await;
    let mut follower = running.client().await;
    for version in versions(ApiKey::JoinGroup) {
        let group = format!("g{version}");
        let (first, second) = tokio::join!(join(&mut leader, version, &group), join(&mut follower, version, &group));
        let (first, second) = if first.leader == first.member_id { (first, second) } else { (second, first) };
        assert_eq!((first.generation_id, first.members.len(), second.members.len()), (1, 2, 0), "version {version}");
        assert_eq!(second.leader, first.member_id);
        let sync = version.min(*versions(ApiKey::SyncGroup).end());
        let (led, followed) = (sync_request(&group, &first, sync), sync_request(&group, &second, sync));
        let (led, followed) = tokio::join!(leader.call(sync, &led), follower.call(sync, &followed));
        assert_eq!((led.error_code, followed.error_code), (0, 0), "version {version}");
        assert_eq!(followed.assignment, format!("for {}", second.member_id).as_bytes());
        let beat = version.min(*versions(ApiKey::Heartbeat).end());
        assert_eq!(leader.call(beat, &heartbeat_request(&group, &first)).await.error_code, 0);
        let stale = HeartbeatRequest { generation_id: 0, ..heartbeat_request(&group, &first) };
        assert_eq!(leader.call(beat, &stale).await.error_code, ErrorCode::IllegalGeneration.number());

        let leave = version.min(*versions(ApiKey::LeaveGroup).end());
        let identity = MemberIdentity { member_id: first.member_id.clone(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: group.clone(),
            member_id: if leave < 3 { first.member_id.clone() } else { String::new() },
            members: if leave < 3 { vec![] } else { vec![identity] },
        };
        let left = leader.call(leave, &request).await;
        assert_eq!((left.error_code, left.members.first().map_or(0, |it| it.error_code)), (0, 0), "version {leave}");
        let again = leader.call(leave, &request).await;
        let code = again.members.first().map_or(again.error_code, |it| it.error_code);
        assert_eq!(code, UNKNOWN_MEMBER);
        assert_eq!(leader.call(beat, &heartbeat_request(&group, &first)).await.error_code, UNKNOWN_MEMBER);
        let code = follower.call(beat, &heartbeat_request(&group, &second)).await.error_code;
        assert_eq!(code, ErrorCode::RebalanceInProgress.number(), "the one that is left is to join anew");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_fetched_and_deleted_in_every_version() {
    let (running, mut client, id) = started().await;
    for version in versions(ApiKey::OffsetCommit) {
        let offset = i64::from(version) + 10;
        let codes = commit(&mut client, version, &commit_request("g", version, id, offset)).await;
        let unknown = if version < 10 { 3 } else { ErrorCode::UnknownTopicId.number() };
        assert_eq!(codes, [0, 3, unknown], "version {version}");
        for fetch in versions(ApiKey::OffsetFetch) {
            let (found, epoch, metadata, code) = fetched(&mut client, fetch, "g", id).await;
            assert_eq!((found, metadata.as_str(), code), (offset, "m", 0), "versions {version} and {fetch}");
            assert_eq!(epoch, if version >= 6 && fetch >= 5 { 5 } else { -1 });
            assert_eq!(fetched(&mut client, fetch, "nobody", id).await, (-1, -1, String::new(), 0));
        }
    }
    for version in 2..=7 {
        let request = OffsetFetchRequest { group_id: "g".to_owned(), topics: None, ..OffsetFetchRequest::default() };
        assert_eq!(client.call(version, &request).await.topics.len(), 1, "all there are");
    }
    assert_eq!(fetched(&mut client, 10, "g", Uuid(9)).await.3, ErrorCode::UnknownTopicId.number());

    let member = OffsetCommitRequest {
        generation_id_or_member_epoch: 3,
        member_id: "m".to_owned(),
        ..commit_request("other", 9, id, 1)
    };
    assert_eq!(commit(&mut client, 9, &member).await[0], ErrorCode::GroupIdNotFound.number());
    assert_eq!(commit(&mut client, 8, &member).await[0], ErrorCode::IllegalGeneration.number());
    let mut large = commit_request("g", 8, id, 1);
    large.topics[0].partitions[0].committed_metadata = Some("x".repeat(4097));
    assert_eq!(commit(&mut client, 8, &large).await[0], ErrorCode::OffsetMetadataTooLarge.number());

    let partitions = [0, 1, 9].map(|partition_index| OffsetDeleteRequestPartition { partition_index }).to_vec();
    let topics = vec![OffsetDeleteRequestTopic { name: "t".to_owned(), partitions }];
    let request = |group: &str| OffsetDeleteRequest { group_id: group.to_owned(), topics: topics.clone() };
    let deleted = client.call(0, &request("g")).await;
    let codes: Vec<i16> = deleted.topics[0].partitions.iter().map(|it| it.error_code).collect();
    assert_eq!((deleted.error_code, codes), (0, vec![0, 0, 3]));
    assert_eq!(fetched(&mut client, 9, "g", id).await.0, -1);
    assert_eq!(client.call(0, &request("nobody")).await.error_code, ErrorCode::GroupIdNotFound.number());
    assert_eq!(client.call(0, &request("")).await.error_code, ErrorCode::InvalidGroupId.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_described_and_deleted_in_every_version() {
    let (running, mut client, id) = started().await;
    assert_eq!(commit(&mut client, 8, &commit_request("simple", 8, id, 1)).await[0], 0);
    let joined = stable(&mut client, "g").await;
    for version in versions(ApiKey::ListGroups) {
        let mut groups = client.call(version, &ListGroupsRequest::default()).await.groups;
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        let found: Vec<_> = groups.iter().map(|it| (it.group_id.as_str(), it.protocol_type.as_str())).collect();
        assert_eq!(found, [("g", "consumer"), ("simple", "")], "version {version}");
        if version >= 4 {
            assert_eq!((groups[0].group_state.as_str(), groups[1].group_state.as_str()), ("Stable", "Empty"));
            let request = ListGroupsRequest { states_filter: vec!["stable".to_owned()], ..Default::default() };
            assert_eq!(client.call(version, &request).await.groups.len(), 1);
        }
        if version >= 5 {
            let request = ListGroupsRequest { types_filter: vec!["consumer".to_owned()], ..Default::default() };
            assert_eq!(client.call(version, &request).await.groups.len(), 0, "those of the newer protocol");
        }
    }
    for version in versions(ApiKey::DescribeGroups) {
        let groups = vec!["g".to_owned(), "simple".to_owned(), "nobody".to_owned()];
        let request = DescribeGroupsRequest { groups, include_authorized_operations: version >= 3 };
        let described = client.call(version, &request).await.groups;
        let states: Vec<&str> = described.iter().map(|it| it.group_state.as_str()).collect();
        assert_eq!(states, ["Stable", "Empty", "Dead"], "version {version}");
        let member = &described[0].members[0];
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("test", "/127.0.0.1"));
        assert_eq!((described[0].protocol_data.as_str(), &member.member_id), ("range", &joined.member_id));
        assert_eq!(member.member_assignment, format!("for {}", joined.member_id).as_bytes());
        let code = if version >= 6 { ErrorCode::GroupIdNotFound.number() } else { 0 };
        assert_eq!((described[1].error_code, described[2].error_code), (0, code));
    }
    for version in versions(ApiKey::DeleteGroups) {
        assert_eq!(commit(&mut client, 8, &commit_request("simple", 8, id, 1)).await[0], 0);
        let groups_names = ["g", "simple", "nobody", "simple"].map(str::to_owned).to_vec();
        let results = client.call(version, &DeleteGroupsRequest { groups_names }).await.results;
        let codes: Vec<i16> = results.iter().map(|it| it.error_code).collect();
        assert_eq!(codes, [68, 0, 69], "version {version}");
        assert_eq!(fetched(&mut client, 9, "simple", id).await.0, -1);
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_often_is_told_once() {
    let (running, mut client, id) = started().await;
    assert_eq!(commit(&mut client, 8, &commit_request("g", 8, id, 3)).await[0], 0);
    let topic = |indexes: &[i32]| OffsetFetchRequestTopics {
        name: "t".to_owned(),
        partition_indexes: indexes.to_vec(),
        ..OffsetFetchRequestTopics::default()
    };
    let group = |group: &str, topics: Option<Vec<OffsetFetchRequestTopics>>| OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics,
        ..OffsetFetchRequestGroup::default()
    };
    let several = vec![
        group("h", None),
        group("g", Some(vec![topic(&[1, 0, 0])])),
        group("g", Some(vec![topic(&[0, 5]), topic(&[1])])),
        group("h", Some(vec![topic(&[0])])),
        group("all", Some(vec![topic(&[0])])),
        group("all", None),
    ];
    let request = OffsetFetchRequest { groups: several, ..OffsetFetchRequest::default() };
    let groups = client.call(8, &request).await.groups;
    assert_eq!(groups.iter().map(|it| it.group_id.as_str()).collect::<Vec<_>>(), ["h", "g", "all"]);
    let told: Vec<(i32, i64)> = groups[1]
        .topics
        .iter()
        .flat_map(|it| &it.partitions)
        .map(|it| (it.partition_index, it.committed_offset))
        .collect();
    assert_eq!((groups[1].topics.len(), told), (1, vec![(1, -1), (0, 3), (5, -1)]));
    let topic = OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0; 1000] };
    let topics = Some(vec![topic; 10]);
    let request = OffsetFetchRequest { group_id: "g".to_owned(), topics, ..OffsetFetchRequest::default() };
    let topics = client.call(7, &request).await.topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));

    let groups = ["g", "nobody", "g", "nobody"].map(str::to_owned).to_vec();
    let request = DescribeGroupsRequest { groups, ..DescribeGroupsRequest::default() };
    let described = client.call(5, &request).await.groups;
    assert_eq!(described.iter().map(|it| it.group_id.as_str()).collect::<Vec<_>>(), ["g", "nobody"]);

    let mut request = metadata_request("");
    let by_id = |name: &str| MetadataRequestTopic { topic_id: id, name: Some(name.to_owned()) };
    request.topics = Some(vec![by_id("a"), by_id("b"), by_id("c")]);
    assert_eq!(client.call(12, &request).await.topics.len(), 1, "a name beside an id makes no other topic of it");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_apart() {
    let (running, mut client, _) = started().await;
    let nameless = client.call(9, &join_request("", "")).await;
    assert_eq!(nameless.error_code, ErrorCode::InvalidGroupId.number());
    let hasty = JoinGroupRequest { session_timeout_ms: 1, ..join_request("g", "") };
    assert_eq!(client.call(9, &hasty).await.error_code, ErrorCode::InvalidSessionTimeout.number());
    assert_eq!(client.call(9, &join_request("g", "stranger")).await.error_code, UNKNOWN_MEMBER);
    let bare = JoinGroupRequest { protocols: vec![], ..join_request("g", "") };
    assert_eq!(client.call(9, &bare).await.error_code, ErrorCode::InconsistentGroupProtocol.number());
    let joined = stable(&mut client, "g").await;
    let untold = SyncGroupRequest { protocol_name: None, ..sync_request("g", &joined, 5) };
    assert_eq!(client.call(5, &untold).await.error_code, ErrorCode::InconsistentGroupProtocol.number());
    let other = SyncGroupRequest { protocol_name: Some("sticky".to_owned()), ..sync_request("g", &joined, 5) };
    assert_eq!(client.call(5, &other).await.error_code, ErrorCode::InconsistentGroupProtocol.number());
    let lost = sync_request("nobody", &joined, 5);
    assert_eq!(client.call(5, &lost).await.error_code, UNKNOWN_MEMBER);
    assert_eq!(client.call(4, &heartbeat_request("", &joined)).await.error_code, ErrorCode::InvalidGroupId.number());
    assert_eq!(client.call(4, &heartbeat_request("nobody", &joined)).await.error_code, UNKNOWN_MEMBER);
    let leave = LeaveGroupRequest { members: vec![MemberIdentity::default()], ..LeaveGroupRequest::default() };
    assert_eq!(client.call(5, &leave).await.error_code, ErrorCode::InvalidGroupId.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_member_is_taken_for_gone() {
    let (running, mut client, _) = started().await;
    // Long enough for two requests on a busy machine.
    let asked = JoinGroupRequest { session_timeout_ms: 1500, ..join_request("g", "") };
    let joined = client.call(3, &asked).await;
    assert_eq!(client.call(2, &sync_request("g", &joined, 2)).await.error_code, 0);
    assert_eq!(client.call(3, &heartbeat_request("g", &joined)).await.error_code, 0);
    tokio::time::sleep(Duration::from_millis(3000)).await;
    assert_eq!(client.call(3, &heartbeat_request("g", &joined)).await.error_code, UNKNOWN_MEMBER);
    running.broker.stop().await;
}

/// While the log takes nothing, members that beat are not taken for gone, though nothing is promised to them.
#[tokio::test(flavor = "multi_thread")]
async fn members_outlive_a_log_that_has_no_room() {
    let running = start(BrokerOptions { group_wait_max: Duration::from_millis(400), ..options() }).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    let id = client.call(12, &metadata_request("t")).await.topics[0].topic_id;
    find(&mut client, "g").await;
    let asked = JoinGroupRequest { session_timeout_ms: 3_000, ..join_request("g", "") };
    let joined = client.call(3, &asked).await;
    assert_eq!(client.call(2, &sync_request("g", &joined, 2)).await.error_code, 0);
    assert_eq!(client.call(3, &heartbeat_request("g", &joined)).await.error_code, 0);

    running.close_gate();
    let mut producer = running.client().await;
    let large = batch(&[(1, &"x".repeat(900_000))]);
    let has_filled = Arc::new(AtomicBool::new(false));
    let filled = has_filled.clone();
    let fill = async move {
        for _ in 0..150 {
            producer.send(8, &produce_request("t", large.clone(), -1)).await;
        }
        filled.store(true, Ordering::Relaxed);
    };
    running.world.clock.spawn("fill", Box::pin(fill));
    let not_available = ErrorCode::CoordinatorNotAvailable.number();
    let mut other = running.client().await;
    let offset = OffsetCommitRequest {
        member_id: joined.member_id.clone(),
        generation_id_or_member_epoch: joined.generation_id,
        ..commit_request("g", 8, id, 7)
    };
    let mut beat = 0;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        // A commit is what waits for room, before the beats do.
        assert!([0, not_available].contains(&commit(&mut other, 8, &offset).await[0]));
        beat = client.call(3, &heartbeat_request("g", &joined)).await.error_code;
        assert!([0, not_available].contains(&beat), "error {beat}");
    }
    assert!(!has_filled.load(Ordering::Relaxed), "the log has taken 135 MB");
    assert_eq!(beat, not_available);
    running.open_gate();
    let is_well = async {
        while client.call(3, &heartbeat_request("g", &joined)).await.error_code == not_available {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client.call(3, &heartbeat_request("g", &joined)).await.error_code
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), is_well).await, Ok(0));
    running.broker.stop().await;
}

/// Nothing is told of what a crash would take back, and a read waits for the proof that this broker still owns its log.
#[tokio::test(flavor = "multi_thread")]
async fn answers_leave_only_when_the_log_has_confirmed() {
    let (running, mut client, id) = started().await;
    let mut reader = running.client().await;
    assert_eq!(commit(&mut client, 8, &commit_request("g", 8, id, 1)).await[0], 0);
    running.close_gate();
    client.send(8, &commit_request("g", 8, id, 2)).await;
    let topic = OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0] };
    let fetch = OffsetFetchRequest { group_id: "g".to_owned(), topics: Some(vec![topic]), ..Default::default() };
    reader.send(7, &fetch).await;
    let answer = tokio::time::timeout(Duration::from_millis(300), reader.receive::<OffsetFetchRequest>(7)).await;
    assert!(answer.is_err(), "neither the old offset nor the new one may be told");
    running.open_gate();
    let (_, answer) = client.receive::<OffsetCommitRequest>(8).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    assert_eq!(fetched(&mut client, 7, "g", id).await.0, 2);
    running.broker.stop().await;
}

/// Many groups of one request wait for the log together, whatever is asked of them, and are told in their order.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_about_many_groups_writes_to_the_log_once_for_each_partition() {
    const GROUPS: usize = 60;
    let (running, mut client, id) = started().await;
    let names: Vec<String> = (0..GROUPS).map(|number| format!("g{number}")).collect();
    for name in names.iter().step_by(2) {
        assert_eq!(commit(&mut client, 8, &commit_request(name, 8, id, 7)).await[0], 0);
    }
    let puts = || running.gate.wal_puts.load(Ordering::Relaxed);
    let is_there = |place: usize| place.is_multiple_of(2);

    let before = puts();
    let request = DescribeGroupsRequest { groups: names.clone(), ..DescribeGroupsRequest::default() };
    let described = client.call(6, &request).await.groups;
    assert!(described.iter().map(|it| &it.group_id).eq(&names));
    let expected = (0..GROUPS).map(|place| if is_there(place) { (0, "Empty") } else { (69, "Dead") });
    assert!(described.iter().map(|it| (it.error_code, it.group_state.as_str())).eq(expected));
    assert_eq!(described[1].error_message.as_deref(), Some("Group g1 not found."));
    let all_described = puts();
    assert!((1..20).contains(&(all_described - before)), "{} writes", all_described - before);

    let group = |name: &String| OffsetFetchRequestGroup { group_id: name.clone(), ..Default::default() };
    let groups = names.iter().map(|name| OffsetFetchRequestGroup { topics: None, ..group(name) }).collect();
    let fetched = client.call(8, &OffsetFetchRequest { groups, ..OffsetFetchRequest::default() }).await.groups;
    assert!(fetched.iter().map(|it| &it.group_id).eq(&names));
    let expected = (0..GROUPS).map(|place| (0, usize::from(is_there(place))));
    assert!(fetched.iter().map(|it| (it.error_code, it.topics.len())).eq(expected));
    let all_fetched = puts();
    assert!((1..20).contains(&(all_fetched - all_described)), "{} writes", all_fetched - all_described);

    let request = DeleteGroupsRequest { groups_names: names.clone() };
    let results = client.call(2, &request).await.results;
    assert!(results.iter().map(|it| &it.group_id).eq(&names));
    let expected = (0..GROUPS).map(|place| if is_there(place) { 0 } else { 69 });
    assert!(results.iter().map(|it| it.error_code).eq(expected));
    let all_deleted = puts();
    assert!((1..20).contains(&(all_deleted - all_fetched)), "{} writes", all_deleted - all_fetched);
    assert!(client.call(2, &request).await.results.iter().all(|it| it.error_code == 69));
    running.broker.stop().await;
}

/// While the partitions of groups move from one log to another, one that has moved proves nothing of one that has not.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_groups_waits_for_every_log_that_they_lie_in() {
    const GROUPS: &str = "__consumer_offsets";
    let running = start_with_bulk(options()).await;
    let mut client = running.client().await;
    assert_eq!(client.create(GROUPS, 2, &[]).await, 0);
    assert_eq!(client.create("t", 2, &[]).await, 0);
    let id = client.call(12, &metadata_request("t")).await.topics[0].topic_id;
    // Of partition 1.
    find(&mut client, "a").await;
    assert_eq!(commit(&mut client, 8, &commit_request("a", 8, id, 1)).await[0], 0);
    let logs = || {
        let image = running.store.ledger().image();
        let owner = |stream| image.streams[stream].owner().unwrap().wal.index.0;
        image.topic(GROUPS).unwrap().partitions.iter().map(owner).collect::<Vec<_>>()
    };
    // It can't leave a log that does not acknowledge; the other one can.
    running.close_gate();
    client.send(8, &commit_request("a", 8, id, 2)).await;
    while running.store.gauges().wals[0].append_bytes == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let set =
        AlterableConfig { name: "millstream.wal".to_owned(), config_operation: 0, value: Some("bulk".to_owned()) };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: GROUPS.to_owned(), configs: vec![set] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let mut admin = running.client().await;
    assert_eq!(admin.call(1, &request).await.responses[0].error_code, 0);
    while logs() != [1, 0] {
        assert_eq!(logs(), [0, 0]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.open_gate();
    client.receive::<OffsetCommitRequest>(8).await;
    running.close_gate();
    admin.send(4, &ListGroupsRequest::default()).await;
    let answer = tokio::time::timeout(Duration::from_millis(300), admin.receive::<ListGroupsRequest>(4)).await;
    if let Ok((_, answer)) = answer {
        // It is asked to move again some seconds later, which this may have taken here.
        assert!(answer.error_code != 0 || logs() == [1, 1], "told what the log of partition 1 has not proved");
        return running.open_gate();
    }
    running.open_gate();
    let (_, answer) = admin.receive::<ListGroupsRequest>(4).await;
    assert_eq!((answer.error_code, answer.groups.len()), (0, 1));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_deleted_topic_go_with_it() {
    let (running, mut client, id) = started().await;
    assert_eq!(commit(&mut client, 8, &commit_request("g", 8, id, 1)).await[0], 0);
    let topic = DeleteTopicState { name: Some("t".to_owned()), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
    assert_eq!(client.create("t", 2, &[]).await, 0);
    for _ in 0..100 {
        if fetched(&mut client, 7, "g", id).await.0 == -1 {
            return running.broker.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the offset outlives its topic");
}

#[tokio::test]
async fn clients_do_not_touch_the_topic_that_groups_live_in() {
    let running = start(options()).await;
    let mut client = running.client().await;
    find(&mut client, "g").await;
    let invalid = ErrorCode::InvalidTopicException.number();
    let produced = client.call(9, &produce_request("__consumer_offsets", batch(&[(1, "rubbish")]), -1)).await;
    assert_eq!(produced.responses[0].partition_responses[0].error_code, invalid);
    let partition = DeleteRecordsPartition { partition_index: 0, offset: -1 };
    let topic = DeleteRecordsTopic { name: "__consumer_offsets".to_owned(), partitions: vec![partition] };
    let deleted = client.call(2, &DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000 }).await;
    assert_eq!(deleted.topics[0].partitions[0].error_code, invalid);
    assert_eq!(join(&mut client, 2, "g").await.error_code, 0);
}
