//! Does a client get what Kafka promises? A real store in a folder, real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "tests fail by panicking")]

use crate::support::{Client, batch, fetch_request, metadata_request, produce_request, start};
use broker::BrokerOptions;
use bytes::Bytes;
use protocol::api::served;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::api_versions_response::ApiVersionsResponse;
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use protocol::messages::metadata_request::MetadataRequest;
use protocol::messages::produce_request::ProduceRequest;
use protocol::record_batch::batches;
use protocol::wire::{Message, Uuid};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;

#[expect(clippy::disallowed_methods, reason = "a producer has its own clock")]
fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Offsets and values that a fetch from `from` brings.
async fn values(client: &mut Client, topic: &str, from: i64, wait_ms: i32) -> Vec<(i64, String)> {
    let response = client.call(12, &fetch_request(topic, from, wait_ms)).await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    let mut found = Vec::new();
    for batch in batches(partition.records.clone().unwrap().to_bytes()) {
        let batch = batch.unwrap();
        batch.check().unwrap();
        for record in batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            found.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_is_fetched_at_its_offsets_in_every_version() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let now = now_ms();
    for version in 3..=12 {
        let request = produce_request("t", batch(&[(now, "a"), (now, "b")]), if version % 2 == 0 { 1 } else { -1 });
        let response = client.call(version, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(version - 3) * 2), "version {version}");
    }
    for version in 4..=12 {
        let response = client.call(version, &fetch_request("t", 0, 1000)).await;
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, 20), "version {version}");
        assert!(!partition.records.as_ref().unwrap().is_empty());
    }
    let found = values(&mut client, "t", 3, 1000).await;
    assert_eq!(found.last().unwrap(), &(19, "b".to_owned()));
    assert!(found.contains(&(3, "b".to_owned())));
    running.broker.stop().await;
}

/// All versions of an API that are served.
fn versions(key: ApiKey) -> std::ops::RangeInclusive<i16> {
    let api = served(key).unwrap();
    api.first..=api.last()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_in_the_table_is_answered_for_what_exists_and_what_does_not() {
    let running = start(BrokerOptions { auto_create_topics: false, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    for version in versions(ApiKey::CreateTopics) {
        let name = format!("t{version}");
        let wanted = CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
        let request = CreateTopicsRequest { topics: vec![wanted], timeout_ms: 5000, ..CreateTopicsRequest::default() };
        assert_eq!(client.call(version, &request).await.topics[0].error_code, 0, "version {version}");
        let again = client.call(version, &request).await.topics[0].error_code;
        assert_eq!(again, ErrorCode::TopicAlreadyExists.number(), "version {version}");
    }
    let id = client.call(12, &metadata_request("t0")).await.topics[0].topic_id;
    let unknown = [ErrorCode::UnknownTopicOrPartition.number(), ErrorCode::UnknownTopicId.number()];
    for version in versions(ApiKey::Metadata) {
        assert_eq!(client.call(version, &metadata_request("t0")).await.topics[0].error_code, 0, "version {version}");
        assert!(unknown.contains(&client.call(version, &metadata_request("u")).await.topics[0].error_code));
    }
    for version in versions(ApiKey::Produce) {
        for (name, id) in [("t0", id), ("u", Uuid(9))] {
            let mut request = produce_request(name, batch(&[(now_ms(), "x")]), -1);
            request.topic_data[0].topic_id = if version >= 13 { id } else { Uuid::ZERO };
            let code = client.call(version, &request).await.responses[0].partition_responses[0].error_code;
            assert!(if name == "u" { unknown.contains(&code) } else { code == 0 }, "version {version}: {code}");
        }
    }
    for version in versions(ApiKey::Fetch) {
        for (name, id) in [("t0", id), ("u", Uuid(9))] {
            let mut request = fetch_request(name, 0, 10);
            request.topics[0].topic_id = if version >= 13 { id } else { Uuid::ZERO };
            let code = client.call(version, &request).await.responses[0].partitions[0].error_code;
            assert!(if name == "u" { unknown.contains(&code) } else { code == 0 }, "version {version}: {code}");
        }
    }
    for version in versions(ApiKey::ListOffsets) {
        for timestamp in [-1, -2, 1] {
            let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
            let topic = |name: &str| ListOffsetsTopic { name: name.to_owned(), partitions: vec![partition.clone()] };
            let request =
                ListOffsetsRequest { replica_id: -1, topics: vec![topic("t0"), topic("u")], ..Default::default() };
            let response = client.call(version, &request).await;
            assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}, timestamp {timestamp}");
            assert!(unknown.contains(&response.topics[1].partitions[0].error_code));
        }
    }
    for version in versions(ApiKey::DeleteTopics) {
        for (name, good) in [(format!("t{version}"), true), ("u".to_owned(), false)] {
            let state = DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() };
            let (topics, topic_names) = if version >= 6 { (vec![state], vec![]) } else { (vec![], vec![name]) };
            let request = DeleteTopicsRequest { topics, topic_names, timeout_ms: 5000 };
            let code = client.call(version, &request).await.responses[0].error_code;
            assert!(if good { code == 0 } else { unknown.contains(&code) }, "version {version}: {code}");
        }
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_creates_topics_on_first_use_and_names_them_by_id() {
    let running = start(BrokerOptions { num_partitions: 3, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let unknown = ErrorCode::UnknownTopicOrPartition.number();
    let first = client.call(12, &metadata_request("auto")).await;
    assert_eq!(first.topics[0].error_code, unknown, "as Kafka's: the client asks again");
    for version in 0..=12 {
        let response = client.call(version, &metadata_request("auto")).await;
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3), "version {version}");
        assert!(topic.partitions.iter().all(|partition| partition.leader_id == response.brokers[0].node_id));
        assert_eq!(format!("{}:{}", response.brokers[0].host, response.brokers[0].port), running.address);
    }
    let mut known = client.call(12, &metadata_request("auto")).await;
    let id = known.topics.remove(0).topic_id;
    let mut by_id = metadata_request("");
    by_id.topics.as_mut().unwrap()[0].name = None;
    by_id.topics.as_mut().unwrap()[0].topic_id = id;
    assert_eq!(client.call(12, &by_id).await.topics[0].name.as_deref(), Some("auto"));
    let mut produce = produce_request("", batch(&[(now_ms(), "by id")]), -1);
    produce.topic_data[0].topic_id = id;
    assert_eq!(client.call(13, &produce).await.responses[0].partition_responses[0].error_code, 0);
    let mut fetch = fetch_request("", 0, 100);
    fetch.topics[0].topic_id = id;
    assert!(!client.call(13, &fetch).await.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    fetch.topics[0].topic_id = protocol::wire::Uuid(7);
    let answer = client.call(13, &fetch).await.responses[0].partitions[0].error_code;
    assert_eq!(answer, ErrorCode::UnknownTopicId.number());
    let mut asked = metadata_request("a/b");
    assert_eq!(client.call(12, &asked).await.topics[0].error_code, ErrorCode::InvalidTopicException.number());
    asked = metadata_request("other");
    asked.allow_auto_topic_creation = false;
    assert_eq!(client.call(12, &asked).await.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.number());
    let all = client.call(12, &MetadataRequest { topics: None, ..MetadataRequest::default() }).await;
    assert_eq!(all.topics.len(), 1);
    let names: Vec<String> = (0..1000).map(|i| format!("many{i:04}")).collect();
    let mut many = metadata_request("many0007");
    many.topics.as_mut().unwrap().extend(names.iter().flat_map(|name| metadata_request(name).topics.unwrap()));
    assert!(client.call(12, &many).await.topics.iter().all(|topic| topic.error_code == unknown));
    let answers = client.call(12, &many).await.topics;
    assert!(answers.iter().all(|topic| topic.error_code == 0 && topic.partitions.len() == 3));
    let mut answered: Vec<String> = answers.into_iter().filter_map(|topic| topic.name).collect();
    answered.sort();
    assert_eq!(answered, names, "each once, also the one that was named twice");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_checked_one_by_one_created_and_deleted() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let codes = [
        (client.create("ok", 2, &[("retention.ms", "1000"), ("segment.ms", "5")]).await, ErrorCode::None),
        (client.create("ok", 2, &[]).await, ErrorCode::TopicAlreadyExists),
        (client.create("o.k", 0, &[]).await, ErrorCode::InvalidPartitions),
        (client.create("a b", 1, &[]).await, ErrorCode::InvalidTopicException),
        (client.create("c", 1, &[("compression.type", "brotli")]).await, ErrorCode::InvalidConfig),
        (client.create("c", 1, &[("retention.msec", "1")]).await, ErrorCode::InvalidConfig),
        // Of several things that are wrong, the one that Kafka tells.
        (client.create("ok", 0, &[("retention.msec", "1")]).await, ErrorCode::TopicAlreadyExists),
        (client.create("c", 0, &[("retention.msec", "1")]).await, ErrorCode::InvalidConfig),
    ];
    for (code, expected) in codes {
        assert_eq!(code, expected.number(), "{expected:?}");
    }
    let doubled =
        CreatableTopic { name: "d".to_owned(), num_partitions: 1, replication_factor: 1, ..Default::default() };
    let request =
        CreateTopicsRequest { topics: vec![doubled.clone(), doubled], timeout_ms: 1000, ..Default::default() };
    let response = client.call(7, &request).await;
    assert_eq!((response.topics.len(), response.topics[0].error_code), (1, ErrorCode::InvalidRequest.number()));
    let wrong =
        CreatableTopic { name: "w".to_owned(), num_partitions: -2, replication_factor: -2, ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![wrong], timeout_ms: 1000, ..Default::default() };
    let told = client.call(7, &request).await.topics[0].error_code;
    assert_eq!(told, ErrorCode::InvalidReplicationFactor.number(), "of two that are wrong, as in Kafka");
    let valid =
        CreatableTopic { name: "v".to_owned(), num_partitions: -1, replication_factor: -1, ..Default::default() };
    let only = CreateTopicsRequest { topics: vec![valid], timeout_ms: 1000, validate_only: true };
    let answer = &client.call(7, &only).await.topics[0];
    assert_eq!((answer.error_code, answer.num_partitions), (0, 1));
    let delete = |name: &str| DeleteTopicsRequest {
        topic_names: vec![name.to_owned()],
        timeout_ms: 1000,
        ..DeleteTopicsRequest::default()
    };
    assert_eq!(client.call(5, &delete("ok")).await.responses[0].error_code, 0);
    let gone = client.call(5, &delete("v")).await.responses[0].error_code;
    assert_eq!(gone, ErrorCode::UnknownTopicOrPartition.number(), "validated only, never created");
    let produced = client.produce("ok", batch(&[(now_ms(), "x")])).await;
    assert_eq!(produced.error_code, ErrorCode::UnknownTopicOrPartition.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn produces_of_one_connection_run_together_and_answer_in_order_and_others_wait() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    running.close_gate();
    let request = produce_request("t", batch(&[(now_ms(), "x")]), -1);
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(client.send(9, &request).await);
    }
    let metadata = client.send(12, &metadata_request("t")).await;
    let stream = running.store.ledger().image().topic("t").unwrap().partitions[0];
    let stream = running.store.stream(stream).unwrap();
    // All five are numbered while none is durable.
    for _ in 0..1000 {
        if stream.next().0 == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((stream.next().0, stream.confirmed().0), (5, 0));
    let early = tokio::time::timeout(Duration::from_millis(50), client.receive_frame()).await;
    assert!(early.is_err(), "nothing is answered before it is durable");
    running.open_gate();
    for (offset, expected) in (0..).zip(sent) {
        let (answered, response) = client.receive::<ProduceRequest>(9).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((answered, partition.error_code, partition.base_offset), (expected, 0, offset));
    }
    assert_eq!(client.receive::<MetadataRequest>(12).await.0, metadata);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_unconfirmed_at_its_timeout_says_so_while_the_append_stays() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    running.close_gate();
    let mut request = produce_request("t", batch(&[(now_ms(), "kept")]), -1);
    request.timeout_ms = 30;
    let late = client.call(9, &request).await.responses[0].partition_responses[0].clone();
    assert_eq!((late.error_code, late.base_offset), (ErrorCode::RequestTimedOut.number(), -1));
    running.open_gate();
    assert_eq!(values(&mut client, "t", 0, 5000).await, [(0, "kept".to_owned())]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_waits_for_what_is_produced_meanwhile_and_not_longer_than_asked() {
    let running = start(BrokerOptions::default()).await;
    let mut consumer = running.client().await;
    let mut producer = running.client().await;
    assert_eq!(producer.create("t", 1, &[]).await, 0);
    let empty = values(&mut consumer, "t", 0, 50).await;
    assert!(empty.is_empty());
    let parked = consumer.send(12, &fetch_request("t", 0, 20_000)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(producer.produce("t", batch(&[(now_ms(), "x")])).await.error_code, 0);
    let woken = tokio::time::timeout(Duration::from_secs(10), consumer.receive::<FetchRequest>(12)).await;
    let (answered, response) = woken.expect("woken by the append");
    assert_eq!((answered, response.responses[0].partitions[0].high_watermark), (parked, 1));
    let beyond = consumer.call(12, &fetch_request("t", 9, 10)).await.responses[0].partitions[0].error_code;
    assert_eq!(beyond, ErrorCode::OffsetOutOfRange.number());
    for (known, expected) in [(5, ErrorCode::UnknownLeaderEpoch), (-1, ErrorCode::None)] {
        let mut request = fetch_request("t", 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = known;
        let code = consumer.call(12, &request).await.responses[0].partitions[0].error_code;
        assert_eq!(code, expected.number(), "epoch {known}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_all_bounds_still_comes_whole_when_it_is_first() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let large = "x".repeat(100_000);
    for _ in 0..3 {
        assert_eq!(client.produce("t", batch(&[(now_ms(), &large)])).await.error_code, 0);
    }
    let mut request = fetch_request("t", 1, 100);
    request.max_bytes = 10;
    request.topics[0].partitions[0].partition_max_bytes = 10;
    let records = client.call(12, &request).await.responses[0].partitions[0].records.clone().unwrap();
    let found: Vec<_> = batches(records.to_bytes()).map(|batch| batch.unwrap().base_offset()).collect();
    assert_eq!(found, [1], "one batch, whole");
    running.broker.stop().await;
}

async fn offset_at(client: &mut Client, topic: &str, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    client.call(9, &request).await.topics[0].partitions[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_time_also_where_timestamps_are_out_of_order() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(offset_at(&mut client, "t", -3).await.offset, -1, "empty");
    let t = now_ms() - 10_000;
    for records in [&[(t, "0"), (t + 5, "1")][..], &[(t + 20, "2"), (t + 10, "3")], &[(t + 15, "4")]] {
        assert_eq!(client.produce("t", batch(records)).await.error_code, 0);
    }
    // Once from the log cache, once more when everything is in the bucket.
    for round in 0..2 {
        for (target, expected) in [(t - 1, 0), (t, 0), (t + 1, 1), (t + 6, 2), (t + 20, 2), (t + 21, -1)] {
            let found = offset_at(&mut client, "t", target).await;
            assert_eq!((found.error_code, found.offset), (0, expected), "round {round}, target t+{}", target - t);
        }
        let greatest = offset_at(&mut client, "t", -3).await;
        assert_eq!((greatest.offset, greatest.timestamp), (2, t + 20));
        assert_eq!(offset_at(&mut client, "t", -2).await.offset, 0);
        assert_eq!(offset_at(&mut client, "t", -4).await.offset, 0);
        assert_eq!(offset_at(&mut client, "t", -1).await.offset, 5);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(offset_at(&mut client, "t", -5).await.offset, 4, "all of it is in the bucket by now");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_too_many_partitions_creates_none_and_a_success_has_no_message() {
    let running = start(BrokerOptions { topic_partitions_max: 10, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let topic = |name: &str| CreatableTopic {
        name: name.to_owned(),
        num_partitions: 4,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let mut request = CreateTopicsRequest {
        topics: ["a", "b", "c"].map(topic).into(),
        timeout_ms: 5000,
        ..CreateTopicsRequest::default()
    };
    for answer in client.call(7, &request).await.topics {
        assert_eq!(answer.error_code, ErrorCode::PolicyViolation.number(), "{}", answer.name);
    }
    // A single one, too.
    assert_eq!(client.create("alone", 11, &[]).await, ErrorCode::PolicyViolation.number());
    request.topics.pop();
    for answer in client.call(7, &request).await.topics {
        assert_eq!((answer.error_code, answer.error_message), (0, None));
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_named_twice_is_not_deleted_and_answered_once() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("kept", 1, &[]).await, 0);
    assert_eq!(client.create("gone", 1, &[]).await, 0);
    let names = ["kept", "gone", "kept"].map(str::to_owned).into();
    let request = DeleteTopicsRequest { topic_names: names, timeout_ms: 5000, ..DeleteTopicsRequest::default() };
    let answers = client.call(5, &request).await.responses;
    let codes: Vec<_> = answers.iter().map(|it| (it.name.as_deref().unwrap(), it.error_code)).collect();
    assert_eq!(codes, [("kept", ErrorCode::InvalidRequest.number()), ("gone", 0)]);
    assert_eq!(client.create("kept", 1, &[]).await, ErrorCode::TopicAlreadyExists.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_gone_at_once_for_good_and_no_further_than_asked() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let now = now_ms();
    for _ in 0..4 {
        let request = produce_request("t", batch(&[(now, "a"), (now, "b"), (now, "c")]), -1);
        assert_eq!(client.call(9, &request).await.responses[0].partition_responses[0].error_code, 0);
    }
    let delete = |topic: &str, partitions: &[(i32, i64)]| {
        let partition = |(partition_index, offset): &(i32, i64)| DeleteRecordsPartition {
            partition_index: *partition_index,
            offset: *offset,
        };
        let topic =
            DeleteRecordsTopic { name: topic.to_owned(), partitions: partitions.iter().map(partition).collect() };
        DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000 }
    };
    // Beyond the high watermark, no offset at all, and not there: nothing happens.
    let (range, unknown) = (ErrorCode::OffsetOutOfRange.number(), ErrorCode::UnknownTopicOrPartition.number());
    for (topic, partition, offset, code) in
        [("t", 0, 13, range), ("t", 0, -2, range), ("t", 1, 0, unknown), ("u", 0, 0, unknown), ("t", -1, 0, unknown)]
    {
        for version in versions(ApiKey::DeleteRecords) {
            let answer = &client.call(version, &delete(topic, &[(partition, offset)])).await.topics[0].partitions[0];
            assert_eq!((answer.error_code, answer.low_watermark), (code, -1), "{topic}-{partition} to {offset}");
        }
    }
    // More at once than are worked on together: each answer is its own partition's.
    let many: Vec<(i32, i64)> = (0..1000).map(|partition| (partition, 1)).collect();
    let answer = client.call(2, &delete("t", &many)).await;
    let answers = answer.topics[0].partitions.iter().map(|it| (it.partition_index, it.low_watermark, it.error_code));
    let expected = (0..1000).map(|partition| if partition == 0 { (0, 1, 0) } else { (partition, -1, unknown) });
    assert_eq!(answers.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // In the middle of a batch, then less than that, then twice in one request.
    for (asked, low_watermark) in [(&[(0, 4)][..], 4), (&[(0, 2)], 4), (&[(0, 11), (0, 7)], 7)] {
        let answer = client.call(2, &delete("t", asked)).await;
        assert_eq!(answer.topics[0].partitions.len(), 1);
        let answer = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.low_watermark), (0, low_watermark));
    }
    // None of it has left the WAL, and a deletion does not wait until it has.
    let earliest = ListOffsetsPartition { timestamp: -2, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: vec![earliest] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    assert_eq!(client.call(5, &request).await.topics[0].partitions[0].offset, 7);
    let below = client.call(12, &fetch_request("t", 6, 10)).await;
    assert_eq!(below.responses[0].partitions[0].error_code, range);
    assert!(values(&mut client, "t", 7, 10).await.contains(&(7, "b".to_owned())));
    let all = &client.call(2, &delete("t", &[(0, -1)])).await.topics[0].partitions[0];
    assert_eq!((all.error_code, all.low_watermark), (0, 12));
    let request = produce_request("t", batch(&[(now, "next")]), -1);
    assert_eq!(client.call(9, &request).await.responses[0].partition_responses[0].base_offset, 12);
    assert_eq!(values(&mut client, "t", 12, 1000).await, [(12, "next".to_owned())]);
    // What is compacted and no more keeps the last record of each key.
    let policy = ErrorCode::PolicyViolation.number();
    for (name, cleanup, code) in [("c", "compact", policy), ("d", "compact,delete", 0), ("n", "", 0)] {
        assert_eq!(client.create(name, 1, &[("cleanup.policy", cleanup)]).await, 0);
        let answer = &client.call(2, &delete(name, &[(0, -1)])).await.topics[0].partitions[0];
        assert_eq!(answer.error_code, code, "cleanup.policy={cleanup}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_asked_for_once_and_by_timestamps_that_the_version_knows() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let asking = |timestamps: &[i64]| {
        let partition = |timestamp: &i64| ListOffsetsPartition { timestamp: *timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: timestamps.iter().map(partition).collect() };
        ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() }
    };
    for (timestamp, first) in
        [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11), (-7, i16::MAX), (i64::MIN, i16::MAX)]
    {
        for version in 1..=11 {
            let code = client.call(version, &asking(&[timestamp])).await.topics[0].partitions[0].error_code;
            let expected = if version >= first { ErrorCode::None } else { ErrorCode::UnsupportedVersion };
            assert_eq!(code, expected.number(), "timestamp {timestamp} in version {version}");
        }
    }
    for answer in &client.call(9, &asking(&[-1, -2])).await.topics[0].partitions {
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest.number());
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_closes_its_connection_and_harms_no_other() {
    let running = start(BrokerOptions { connections_max: 3, ..BrokerOptions::default() }).await;
    let mut good = running.client().await;
    assert_eq!(good.create("t", 1, &[]).await, 0);
    let hostile: [&[u8]; 5] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff; 4],
        // InitProducerId: an API that exists and is not served.
        &[0, 0, 0, 10, 0, 22, 0, 4, 0, 0, 0, 1, 0xff, 0xff],
        // A metadata request with an array of 2³¹-1 topics.
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for bytes in hostile {
        let mut bad = running.client().await;
        bad.socket.write_all(bytes).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(5), bad.receive_frame()).await;
        assert_eq!(closed.expect("closed at once"), None, "{bytes:?}");
        assert_eq!(good.call(12, &metadata_request("t")).await.topics[0].error_code, 0);
    }
    // Of five, two fit beside the good one.
    let mut open = 0;
    let mut more = Vec::new();
    for _ in 0..5 {
        let mut client = running.client().await;
        let _ = client.socket.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).await;
        open += usize::from(client.receive_frame().await.is_some());
        more.push(client);
    }
    assert_eq!(open, 2);
    assert_eq!(good.call(12, &metadata_request("t")).await.topics[0].error_code, 0);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_of_api_versions_is_answered_in_version_zero() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.socket.write_all(&[0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0]).await.unwrap();
    let mut frame = client.receive_frame().await.unwrap();
    assert_eq!(frame.split_to(4)[..], [0, 0, 0, 7]);
    let response = ApiVersionsResponse::decode(frame, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.number());
    assert_eq!(response.api_keys.len(), protocol::api::SERVED.len());
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
        ..ApiVersionsRequest::default()
    };
    for version in 0..=4 {
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, 0, "version {version}");
        let levels = response.finalized_features.iter().map(|it| (it.name.as_str(), it.max_version_level));
        let told: &[_] = match version {
            ..3 => &[],
            _ => &[
                ("metadata.version", 30),
                ("group.version", 1),
                ("streams.version", 1),
                ("transaction.version", 2),
                ("share.version", 1),
            ],
        };
        assert_eq!(levels.collect::<Vec<_>>(), told, "version {version}");
        let least: Vec<i16> = response.supported_features.iter().map(|it| it.min_version).collect();
        let may_be: [&[i16]; 5] = [&[], &[], &[], &[7], &[7, 0, 0, 0, 0]];
        assert_eq!(least, may_be[usize::try_from(version).unwrap()], "version {version}: level 0 breaks older clients");
        assert_eq!(response.finalized_features_epoch >= 0, version >= 3, "version {version}");
        let odd = ApiVersionsRequest { client_software_name: "no name".to_owned(), ..request.clone() };
        let refused = if version < 3 { 0 } else { ErrorCode::InvalidRequest.number() };
        assert_eq!(client.call(version, &odd).await.error_code, refused, "version {version}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_produces_are_stored_and_a_refused_one_closes_the_connection() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    client.send(9, &produce_request("t", batch(&[(now_ms(), "x")]), 0)).await;
    assert_eq!(client.call(12, &metadata_request("t")).await.topics[0].error_code, 0, "the next answer is not its own");
    assert_eq!(values(&mut client, "t", 0, 5000).await, [(0, "x".to_owned())]);
    client.send(9, &produce_request("t", Bytes::from_static(b"no batch"), 0)).await;
    assert_eq!(client.receive_frame().await, None);
    let mut other = running.client().await;
    let mut request = produce_request("t", batch(&[(now_ms(), "x")]), 2);
    let code = other.call(9, &request).await.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::InvalidRequiredAcks.number());
    request.acks = -1;
    request.topic_data[0].partition_data[0].index = 9;
    let code = other.call(9, &request).await.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_moves_the_log_start_and_idle_connections_are_closed() {
    let running = start(BrokerOptions {
        retention_check_period: Duration::from_millis(100),
        connection_idle_max: Duration::from_secs(2),
        ..BrokerOptions::default()
    })
    .await;
    let mut idle = running.client().await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[("retention.ms", "1000")]).await, 0);
    assert_eq!(client.produce("t", batch(&[(now_ms() - 60_000, "old")])).await.error_code, 0);
    for _ in 0..100 {
        if offset_at(&mut client, "t", -2).await.offset == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(offset_at(&mut client, "t", -2).await.offset, 1);
    let below = client.call(12, &fetch_request("t", 0, 0)).await.responses[0].partitions[0].error_code;
    assert_eq!(below, ErrorCode::OffsetOutOfRange.number());
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), idle.receive_frame()).await.unwrap(), None);
    running.broker.stop().await;
}
