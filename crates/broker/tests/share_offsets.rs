//! What administrators see and say of how far share groups have come (KIP-932). Hand-made members and leaders over loopback.

#![allow(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "tests fail by panicking")]

use crate::support::{Client, Running, batch, metadata_request, start, start_beside};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use protocol::messages::delete_share_group_offsets_request::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::read_share_group_state_request::{PartitionData, ReadShareGroupStateRequest, ReadStateData};
use protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use protocol::messages::write_share_group_state_request::{
    PartitionData as WritePart, WriteShareGroupStateRequest, WriteStateData,
};
use protocol::wire::Uuid;
use std::time::Duration;

fn options() -> BrokerOptions {
    BrokerOptions {
        share_assignment_interval: Duration::ZERO,
        offsets_topic_partitions: 3,
        share_topic_partitions: 3,
        ..BrokerOptions::default()
    }
}

async fn topic_id(client: &mut Client, name: &str) -> Uuid {
    client.call(12, &metadata_request(name)).await.topics[0].topic_id
}

async fn find(client: &mut Client, key_type: i8, key: &str) -> i32 {
    let request = FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
    client.call(6, &request).await.coordinators[0].node_id
}

/// A broker with topics `t` of two partitions and `u` of one, ten records in `t`-0, and the group's coordinator found.
async fn started() -> (Running, Client, Uuid) {
    let running = start(options()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    assert_eq!(client.create("u", 1, &[]).await, 0);
    let t = topic_id(&mut client, "t").await;
    let records = [(1, "x"); 10];
    assert_eq!(client.produce("t", batch(&records)).await.error_code, 0);
    find(&mut client, 0, "g").await;
    (running, client, t)
}

/// Start offset and lag of each partition by topic and number.
async fn offsets(client: &mut Client, topics: Option<&[(&str, &[i32])]>) -> Vec<(String, i32, i64, i64)> {
    let topic = |(name, partitions): &(&str, &[i32])| DescribeShareGroupOffsetsRequestTopic {
        topic_name: (*name).to_owned(),
        partitions: partitions.to_vec(),
    };
    let group = DescribeShareGroupOffsetsRequestGroup {
        group_id: "g".to_owned(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
    };
    let answer = client.call(1, &DescribeShareGroupOffsetsRequest { groups: vec![group] }).await.groups.remove(0);
    assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, None));
    let mut told = Vec::new();
    for topic in answer.topics {
        for it in topic.partitions {
            assert_eq!((it.error_code, it.error_message.as_deref()), (0, None));
            told.push((topic.topic_name.clone(), it.partition_index, it.start_offset, it.lag));
        }
    }
    told.sort();
    told
}

/// The code for all of it, and of each partition.
async fn alter(client: &mut Client, offsets: &[(&str, i32, i64)]) -> (i16, Vec<i16>) {
    let topic = |(name, partition_index, start_offset): &(&str, i32, i64)| AlterShareGroupOffsetsRequestTopic {
        topic_name: (*name).to_owned(),
        partitions: vec![AlterShareGroupOffsetsRequestPartition {
            partition_index: *partition_index,
            start_offset: *start_offset,
        }],
    };
    let topics = offsets.iter().map(topic).collect();
    let answer = client.call(0, &AlterShareGroupOffsetsRequest { group_id: "g".to_owned(), topics }).await;
    let codes = answer.responses.iter().flat_map(|topic| topic.partitions.iter().map(|it| it.error_code));
    (answer.error_code, codes.collect())
}

/// The code for all of it, and those of the topics by name.
async fn delete(client: &mut Client, names: &[&str]) -> (i16, Vec<(String, i16)>) {
    let topic = |name: &&str| DeleteShareGroupOffsetsRequestTopic { topic_name: (*name).to_owned() };
    let request =
        DeleteShareGroupOffsetsRequest { group_id: "g".to_owned(), topics: names.iter().map(topic).collect() };
    let answer = client.call(0, &request).await;
    let mut told: Vec<_> = answer.responses.into_iter().map(|it| (it.topic_name, it.error_code)).collect();
    told.sort();
    (answer.error_code, told)
}

fn beats(member_epoch: i32, names: Option<&[&str]>) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: "a".to_owned(),
        member_epoch,
        subscribed_topic_names: names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        ..ShareGroupHeartbeatRequest::default()
    }
}

/// The leader of `t`-0 has had all records before that offset acknowledged.
async fn lead(client: &mut Client, t: Uuid, start_offset: i64) -> i16 {
    let topic = ReadStateData { topic_id: t, partitions: vec![PartitionData { partition: 0, leader_epoch: 3 }] };
    let request = ReadShareGroupStateRequest { group_id: "g".to_owned(), topics: vec![topic] };
    let state = client.call(0, &request).await.results.remove(0).partitions.remove(0);
    assert_eq!(state.error_code, 0);
    let part = WritePart {
        partition: 0,
        state_epoch: state.state_epoch,
        leader_epoch: 3,
        start_offset,
        delivery_complete_count: 0,
        ..WritePart::default()
    };
    let topic = WriteStateData { topic_id: t, partitions: vec![part] };
    let request = WriteShareGroupStateRequest { group_id: "g".to_owned(), topics: vec![topic] };
    client.call(1, &request).await.results.remove(0).partitions.remove(0).error_code
}

fn of(topic: &str, partition: i32, start_offset: i64, lag: i64) -> (String, i32, i64, i64) {
    (topic.to_owned(), partition, start_offset, lag)
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_described_altered_and_deleted() {
    let (running, mut client, t) = started().await;
    assert_eq!(offsets(&mut client, None).await, [], "there is no such group");
    assert_eq!(offsets(&mut client, Some(&[])).await, []);
    let none = offsets(&mut client, Some(&[("t", &[0]), ("nope", &[3])])).await;
    assert_eq!(none, [of("nope", 3, -1, -1), of("t", 0, -1, -1)]);

    // An administrator makes the group by saying where it begins.
    let unknown = ErrorCode::UnknownTopicOrPartition.number();
    let invalid = ErrorCode::InvalidRequest.number();
    let asked = [("t", 0, 4), ("t", 7, 1), ("nope", 0, 1), ("u", 0, -5)];
    assert_eq!(alter(&mut client, &asked).await, (0, vec![0, unknown, unknown, invalid]));
    assert_eq!(offsets(&mut client, None).await, [of("t", 0, 4, 6)]);

    // A member comes, and the rest is initialised; what was altered stays.
    let joined = client.call(1, &beats(0, Some(&["t", "u"]))).await;
    assert_eq!(joined.error_code, 0);
    let mut epoch = joined.member_epoch;
    for _ in 0..200 {
        epoch = client.call(1, &beats(epoch, None)).await.member_epoch;
        if offsets(&mut client, None).await.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let all = [of("t", 0, 4, 6), of("t", 1, -1, -1), of("u", 0, -1, -1)];
    assert_eq!(offsets(&mut client, None).await, all);
    assert_eq!(lead(&mut client, t, 7).await, 0);
    assert_eq!(offsets(&mut client, Some(&[("t", &[0])])).await, [of("t", 0, 7, 3)]);

    let in_use = ErrorCode::NonEmptyGroup.number();
    assert_eq!(alter(&mut client, &[("t", 0, 1)]).await, (in_use, vec![]));
    assert_eq!(delete(&mut client, &["t"]).await, (in_use, vec![]));
    assert_eq!(client.call(1, &beats(-1, None)).await.error_code, 0);
    assert_eq!(alter(&mut client, &[("t", 0, 1)]).await, (0, vec![0]));
    assert_eq!(offsets(&mut client, Some(&[("t", &[0])])).await, [of("t", 0, 1, 9)]);

    let running = running.start_anew().await;
    let mut client = running.client().await;
    find(&mut client, 0, "g").await;
    let after = [of("t", 0, 1, 9), of("t", 1, -1, -1), of("u", 0, -1, -1)];
    assert_eq!(offsets(&mut client, None).await, after, "what was told outlasts a crash");
    let codes = [("nope".to_owned(), unknown), ("t".to_owned(), 0)];
    assert_eq!(delete(&mut client, &["t", "nope"]).await, (0, codes.to_vec()));
    assert_eq!(delete(&mut client, &["t"]).await, (0, vec![("t".to_owned(), unknown)]), "nothing is there");
    assert_eq!(offsets(&mut client, None).await, [of("u", 0, -1, -1)]);
    assert_eq!(offsets(&mut client, Some(&[("t", &[0])])).await, [of("t", 0, -1, -1)]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_not_there_or_not_named_are_refused() {
    let (running, mut client, _) = started().await;
    let not_found = ErrorCode::GroupIdNotFound.number();
    assert_eq!(delete(&mut client, &["t"]).await, (not_found, vec![]));
    let request = AlterShareGroupOffsetsRequest::default();
    assert_eq!(client.call(0, &request).await.error_code, ErrorCode::InvalidGroupId.number());
    let request = DeleteShareGroupOffsetsRequest::default();
    assert_eq!(client.call(0, &request).await.error_code, ErrorCode::InvalidGroupId.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_tell_of_each_others_partitions() {
    let running = start(options()).await;
    let other = start_beside(&running).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 8, &[]).await, 0);
    let t = topic_id(&mut client, "t").await;
    // Each of the coordinators' topics is made where it is asked for first.
    assert_eq!(find(&mut client, 2, &format!("g:{t}:0")).await, running.broker.node_id().0);
    let mut group = other.client().await;
    assert_eq!(find(&mut group, 0, "g").await, other.broker.node_id().0);
    let asked: Vec<_> = (0..8).map(|partition| ("t", partition, 0)).collect();
    assert_eq!(alter(&mut group, &asked).await, (0, vec![0; 8]));
    let expected: Vec<_> = (0..8).map(|partition| of("t", partition, 0, 0)).collect();
    assert_eq!(offsets(&mut group, None).await, expected);
    assert_eq!(delete(&mut group, &["t"]).await, (0, vec![("t".to_owned(), 0)]));
    assert_eq!(offsets(&mut group, None).await, []);
    other.broker.stop().await;
    running.broker.stop().await;
}
