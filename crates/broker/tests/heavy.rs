//! Requests that are much more work than they look like or wait for long, and what other clients notice of them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::quotas::set;
use crate::support::{Client, Running, batch, fetch_request, metadata_request, produce_request, start};
use broker::BrokerOptions;
use bytes::Bytes;
use coordinator_core::GroupOptions;
use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_client_quotas_request::{ComponentData, DescribeClientQuotasRequest};
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, IncrementalAlterConfigsRequest};
use protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord};
use std::time::Duration;
use tokio::io::AsyncReadExt;

const MIB: usize = 1024 * 1024;

/// Small on the wire, and 48 MiB when decompressed.
fn bomb() -> Bytes {
    let value = vec![0; 48 * MIB];
    let record = NewRecord { timestamp: 1_700_000_000_000, value: Some(&value), ..NewRecord::default() };
    BatchBuilder::new().compression(Compression::Gzip).record(&record).build(0).unwrap().bytes().clone()
}

fn produce_to_all(topic: &str, partitions: i32, batch: &Bytes) -> ProduceRequest {
    let data = |index| PartitionProduceData { index, records: Some(batch.clone().into()) };
    let partition_data = (0..partitions).map(data).collect();
    let topic = TopicProduceData { name: topic.to_owned(), partition_data, ..TopicProduceData::default() };
    ProduceRequest { acks: -1, timeout_ms: 60_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// The same, but its header promises a record more: refused, once all of it was decompressed.
fn lying_bomb() -> Bytes {
    let mut bytes = bomb().to_vec();
    bytes[26] = 1;
    bytes[60] = 2;
    let crc = base::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// The broker and its clients share one thread here, so whoever keeps it keeps it from all. What is refused is answered when it has
/// been checked: how fast the write-ahead log is does not matter.
#[tokio::test]
async fn others_are_served_while_a_request_decompresses_and_while_a_search_does() {
    let running = start(BrokerOptions::default()).await;
    let mut heavy = running.client().await;
    assert_eq!(heavy.create("heavy", 2, &[]).await, 0);
    let mut other = running.client().await;
    heavy.send(9, &produce_to_all("heavy", 2, &lying_bomb())).await;
    for _ in 0..3 {
        assert_eq!(other.call(9, &metadata_request("heavy")).await.topics[0].error_code, 0);
    }
    let early = futures::FutureExt::now_or_never(heavy.socket.read_u8());
    assert!(early.is_none(), "96 MiB were decompressed before three small requests were answered");
    let (_, answer) = heavy.receive::<ProduceRequest>(9).await;
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [87, 87], "INVALID_RECORD");

    heavy.send(9, &produce_to_all("heavy", 2, &bomb())).await;
    let (_, answer) = heavy.receive::<ProduceRequest>(9).await;
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [0, 0]);

    let partition = ListOffsetsPartition { timestamp: 1, current_leader_epoch: -1, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: "heavy".to_owned(), partitions: vec![partition] };
    let search = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    assert_eq!(heavy.call(5, &search).await.topics[0].partitions[0].offset, 0);
    running.broker.stop().await;
}

/// The same for what names very many partitions.
#[tokio::test]
async fn others_are_served_while_partitions_by_the_hundred_thousand_are_looked_for() {
    const MANY: i32 = 300_000;
    let running = start(BrokerOptions::default()).await;
    let mut heavy = running.client().await;
    assert_eq!(heavy.create("heavy", 1, &[]).await, 0);
    let mut other = running.client().await;

    let data = |index| PartitionProduceData { index, records: None };
    let partition_data = (1..=MANY).map(data).collect();
    let topic = TopicProduceData { name: "heavy".to_owned(), partition_data, ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 60_000, topic_data: vec![topic], ..ProduceRequest::default() };
    heavy.send(8, &request).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<ProduceRequest>(8).await;
    let partitions = &answer.responses[0].partition_responses;
    assert!(partitions.iter().map(|it| (it.index, it.error_code)).eq((1..=MANY).map(|index| (index, 3))));
    let told = partitions.iter().take_while(|it| it.error_message.is_some()).count();
    assert_eq!((told, partitions[told..].iter().any(|it| it.error_message.is_some())), (1000, false));

    let data = |partition| OffsetForLeaderPartition { partition, current_leader_epoch: -1, leader_epoch: 7 };
    let topic = OffsetForLeaderTopic { topic: "heavy".to_owned(), partitions: (0..MANY).map(data).collect() };
    heavy.send(3, &OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() }).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<OffsetForLeaderEpochRequest>(3).await;
    assert_eq!(answer.topics[0].partitions.len(), usize::try_from(MANY).unwrap());
    running.broker.stop().await;
}

/// The same for administrators: what Kafka's controller would not do in one go is not begun, and costs little for each name.
#[tokio::test]
async fn others_are_served_while_administrators_name_a_hundred_thousand_things() {
    const MANY: usize = 100_000;
    const VIOLATION: i16 = 44;
    let running = start(BrokerOptions::default()).await;
    let mut heavy = running.client().await;
    assert_eq!(heavy.create("heavy", 1, &[]).await, 0);
    let mut other = running.client().await;
    let name = |number: usize| format!("t.{number}");

    let topic = |number| CreatableTopic { name: name(number), num_partitions: 0, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: (0..MANY).map(topic).collect(), ..CreateTopicsRequest::default() };
    heavy.send(7, &request).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<CreateTopicsRequest>(7).await;
    refused(answer.topics.iter().map(|it| (it.error_code, it.error_message.as_ref())), &[(VIOLATION, MANY)]);

    let topic = |number| CreatePartitionsTopic { name: name(number), count: 2, assignments: None };
    let topics = (0..MANY).map(topic).collect();
    heavy.send(3, &CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() }).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<CreatePartitionsRequest>(3).await;
    refused(answer.results.iter().map(|it| (it.error_code, it.error_message.as_ref())), &[(VIOLATION, MANY)]);

    let topic = |number| DeleteTopicState { name: Some(name(number)), ..DeleteTopicState::default() };
    let topics = (0..MANY).map(topic).collect();
    heavy.send(6, &DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() }).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<DeleteTopicsRequest>(6).await;
    refused(answer.responses.iter().map(|it| (it.error_code, it.error_message.as_ref())), &[(VIOLATION, MANY)]);

    let resource =
        |number| AlterConfigsResource { resource_type: 32, resource_name: name(number), ..Default::default() };
    let resources = (0..MANY).map(resource).collect();
    heavy.send(1, &IncrementalAlterConfigsRequest { resources, validate_only: false }).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<IncrementalAlterConfigsRequest>(1).await;
    refused(answer.responses.iter().map(|it| (it.error_code, it.error_message.as_ref())), &[(VIOLATION, MANY)]);
    running.broker.stop().await;
}

#[tokio::test]
async fn others_are_served_while_groups_by_the_hundred_thousand_are_looked_for() {
    const MANY: usize = 110_000;
    const ABSENT: i16 = 69;
    const INVALID: i16 = 42;
    let running = start(BrokerOptions { offsets_topic_partitions: 3, ..BrokerOptions::default() }).await;
    let mut heavy = running.client().await;
    assert_eq!(heavy.create("heavy", 1, &[]).await, 0);
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(heavy.call(4, &find).await.coordinators[0].error_code, 0);
    let mut other = running.client().await;
    let groups: Vec<String> = (0..MANY).map(|number| format!("g{number}")).collect();
    heavy.send(6, &DescribeGroupsRequest { groups: groups.clone(), ..DescribeGroupsRequest::default() }).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<DescribeGroupsRequest>(6).await;
    let expected = [(ABSENT, 100_000), (INVALID, MANY - 100_000)];
    refused(answer.groups.iter().map(|it| (it.error_code, it.error_message.as_ref())), &expected);

    heavy.send(2, &DeleteGroupsRequest { groups_names: groups }).await;
    serves(&mut other, &mut heavy).await;
    let (_, answer) = heavy.receive::<DeleteGroupsRequest>(2).await;
    assert!(answer.results.iter().map(|it| it.error_code).eq(codes(&expected)));
    running.broker.stop().await;
}

/// Each of which has a place for a code.
#[tokio::test]
async fn lists_that_are_greater_than_the_memory_for_answers_are_refused() {
    const INVALID: i16 = 42;
    let options = BrokerOptions { answers_bytes_max: 24_000, offsets_topic_partitions: 3, ..BrokerOptions::default() };
    let running = start(options).await;
    let mut client = running.client().await;
    let long = |number: usize| format!("{number:0200}");
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(client.call(4, &find).await.coordinators[0].error_code, 0);
    let mut told = Vec::new();
    for number in 0..100 {
        assert_eq!(client.create(&long(number), 1, &[]).await, 0);
        set(&mut client, ("client-id", Some(&long(number))), "request_percentage", 1.0).await;
        let topic = OffsetCommitRequestTopic {
            name: long(number),
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..OffsetCommitRequestTopic::default()
        };
        let commit = OffsetCommitRequest {
            group_id: long(number),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        assert_eq!(client.call(9, &commit).await.topics[0].partitions[0].error_code, 0);
        if number != 39 && number != 99 {
            continue;
        }
        let topics = client.call(1, &ListConfigResourcesRequest { resource_types: vec![2] }).await;
        let groups = client.call(5, &ListGroupsRequest::default()).await;
        let quotas = client.call(1, &DescribeClientQuotasRequest { components: Vec::new(), strict: false }).await;
        let counts = [topics.config_resources.len(), groups.groups.len(), quotas.entries.map_or(0, |it| it.len())];
        told.push(([topics.error_code, groups.error_code, quotas.error_code], counts));
        assert!(quotas.error_message.is_none_or(|why| why.contains("ask for less")));
    }
    // Beside the topic of groups.
    assert_eq!(told, [([0; 3], [41, 40, 40]), ([INVALID; 3], [0; 3])]);
    let mine = ComponentData { entity_type: "client-id".to_owned(), match_type: 0, r#match: Some(long(7)) };
    let quotas = client.call(1, &DescribeClientQuotasRequest { components: vec![mine], strict: false }).await;
    assert_eq!((quotas.error_code, quotas.entries.unwrap().len()), (0, 1), "what fits is told");
    let none = ListGroupsRequest { types_filter: vec!["share".to_owned()], ..ListGroupsRequest::default() };
    assert_eq!(client.call(5, &none).await.error_code, 0);
    running.broker.stop().await;
}

/// So many times each code, one after the other.
fn codes(expected: &[(i16, usize)]) -> impl Iterator<Item = i16> {
    expected.iter().flat_map(|(code, count)| std::iter::repeat_n(*code, *count))
}

/// All are refused, and the first thousand in words.
fn refused<'a>(told: impl Iterator<Item = (i16, Option<&'a String>)> + Clone, expected: &[(i16, usize)]) {
    assert!(told.clone().map(|(code, _)| code).eq(codes(expected)));
    let worded = told.clone().take_while(|(_, why)| why.is_some()).count();
    assert_eq!((worded, told.skip(worded).any(|(_, why)| why.is_some())), (1000, false));
}

async fn serves(other: &mut Client, heavy: &mut Client) {
    for _ in 0..3 {
        assert_eq!(other.call(9, &metadata_request("heavy")).await.topics[0].error_code, 0);
    }
    let early = futures::FutureExt::now_or_never(heavy.socket.read_u8());
    assert!(early.is_none(), "it was answered before three small requests were");
}

/// Room for a dozen frames of 60 KB.
fn narrow(groups: GroupOptions) -> BrokerOptions {
    BrokerOptions { request_bytes_max: MIB / 4, requests_bytes_max: MIB, groups, ..BrokerOptions::default() }
}

async fn produces_at_once(running: &Running) {
    let mut producer = running.client().await;
    let began = running.world.clock.now();
    let answer = producer.produce("t", batch(&[(1, &"x".repeat(20_000))])).await;
    let took = running.world.clock.now().since(began);
    assert!(answer.error_code == 0 && took < Duration::from_secs(5), "{} after {took:?}", answer.error_code);
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_fetches_do_not_keep_the_memory_of_their_frames() {
    let running = start(narrow(GroupOptions::default())).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(client.create("quiet", 1, &[]).await, 0);
    let mut request = fetch_request("quiet", 0, 20_000);
    request.rack_id = "r".repeat(60_000);
    let mut parked = Vec::new();
    for _ in 0..20 {
        let mut consumer = running.client().await;
        consumer.send(12, &request).await;
        // And one behind it.
        consumer.send(12, &request).await;
        parked.push(consumer);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    produces_at_once(&running).await;
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_wait_for_others_do_not_keep_the_memory_of_their_frames() {
    let groups = GroupOptions { initial_rebalance_delay: Duration::from_secs(20), ..GroupOptions::default() };
    let running = start(narrow(groups)).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(client.call(4, &find).await.coordinators[0].error_code, 0);
    let mut parked = Vec::new();
    for number in 0..20 {
        let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), metadata: vec![0; 60_000].into() };
        let request = JoinGroupRequest {
            group_id: format!("g{number}"),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "other".to_owned(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        let mut member = running.client().await;
        member.send(3, &request).await;
        parked.push(member);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    produces_at_once(&running).await;
    running.broker.stop().await;
}

/// Kafka's timeout is for other replicas, of which there are none.
#[tokio::test]
async fn a_producer_that_gives_no_time_is_told_that_its_batch_is_there() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    for timeout_ms in [0, -1, i32::MIN] {
        let request = ProduceRequest { timeout_ms, ..produce_request("t", batch(&[(1, "x")]), -1) };
        let answer = client.call(9, &request).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    running.broker.stop().await;
}
