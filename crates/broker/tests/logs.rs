//! Topics choose one of their broker's write-ahead logs, and change it while they are written to and read.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Client, Running, batch, fetch_request, produce_request, start, start_with_bulk};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::produce_request::ProduceRequest;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SETTING: &str = "millstream.wal";

async fn create(client: &mut Client, name: &str, log: &str) -> (i16, String) {
    let config = CreatableTopicConfig { name: SETTING.to_owned(), value: Some(log.to_owned()) };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..CreateTopicsRequest::default() };
    let answer = client.call(7, &request).await.topics.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default())
}

async fn choose(client: &mut Client, name: &str, log: &str) -> (i16, String) {
    let set = AlterableConfig { name: SETTING.to_owned(), config_operation: 0, value: Some(log.to_owned()) };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: name.to_owned(), configs: vec![set] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call(1, &request).await.responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default())
}

/// The setting, where the topic's are told.
async fn told(client: &mut Client, name: &str) -> Option<String> {
    let resource =
        DescribeConfigsResource { resource_type: 2, resource_name: name.to_owned(), configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let configs = client.call(4, &request).await.results.remove(0).configs;
    configs.into_iter().find(|config| config.name == SETTING)?.value
}

/// The log and the leader epoch of a topic's only partition.
fn place(running: &Running, topic: &str) -> (u16, i32) {
    let image = running.store.ledger().image();
    let stream = image.topic(topic).unwrap().partitions[0];
    let owner = *image.streams[&stream].owner().unwrap();
    (owner.wal.index.0, owner.stream_epoch.0)
}

async fn until_in(running: &Running, topic: &str, log: u16) {
    for _ in 0..5000 {
        if place(running, topic).0 == log {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{topic} never came to log {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_log_has_is_refused_with_those_that_there_are() {
    let running = start_with_bulk(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let (code, why) = create(&mut client, "t", "bluk").await;
    assert_eq!(code, ErrorCode::InvalidConfig.number());
    assert!(why.contains("millstream.wal=bluk") && why.contains("default (storage), bulk (file://"), "{why}");
    assert_eq!(create(&mut client, "t", "bulk").await.0, 0);
    assert_eq!(place(&running, "t"), (1, 0), "made in its log at once");
    assert_eq!(told(&mut client, "t").await.as_deref(), Some("bulk"));
    assert_eq!(client.create("plain", 1, &[]).await, 0);
    assert_eq!(told(&mut client, "plain").await, None, "it is no setting of Kafka's: told where it is made");
    assert_eq!(choose(&mut client, "t", "fast").await.0, ErrorCode::InvalidConfig.number());
    assert_eq!(create(&mut client, "d", "default").await.0, 0);
    assert_eq!(place(&running, "d"), (0, 0));

    let single = start(BrokerOptions::default()).await;
    let mut client = single.client().await;
    assert_eq!(create(&mut client, "t", "bulk").await.0, ErrorCode::InvalidConfig.number());
    assert_eq!(create(&mut client, "t", "default").await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_acknowledges_nothing_holds_up_only_its_own() {
    let running = start_with_bulk(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("slow", 1, &[]).await, 0);
    assert_eq!(client.create("quick", 1, &[(SETTING, "bulk")]).await, 0);
    running.close_gate();
    let mut waits = running.client().await;
    waits.send(9, &produce_request("slow", batch(&[(1, "held up")]), -1)).await;
    for _ in 0..5 {
        assert_eq!(client.produce("quick", batch(&[(1, "not held up")])).await.error_code, 0);
    }
    // It can't leave a log that does not acknowledge; it goes on there, and moves later.
    assert_eq!(choose(&mut client, "slow", "bulk").await.0, 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(place(&running, "slow"), (0, 0));
    running.open_gate();
    let (_, held) = waits.receive::<ProduceRequest>(9).await;
    let held = &held.responses[0].partition_responses[0];
    assert_eq!((held.error_code, held.base_offset), (0, 0));
    until_in(&running, "slow", 1).await;
    assert_eq!(client.produce("slow", batch(&[(1, "goes on")])).await.base_offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_leaves_the_producers_of_another_their_memory() {
    const MIB: usize = 1 << 20;
    let options =
        BrokerOptions { requests_bytes_max: 12 * MIB, request_bytes_max: 2 * MIB, ..BrokerOptions::default() };
    let running = start_with_bulk(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("quick", 1, &[]).await, 0);
    assert_eq!(client.create("full", 1, &[(SETTING, "bulk")]).await, 0);
    running.gate.data_closed.store(true, Ordering::Relaxed);
    let large = "x".repeat(900_000);
    let flood = (0..12).map(async |_| {
        let mut client = running.client().await;
        loop {
            let mut request = produce_request("full", batch(&[(1, &large)]), -1);
            request.timeout_ms = 60_000;
            let answer = client.call(9, &request).await;
            let code = answer.responses[0].partition_responses[0].error_code;
            if code != 0 {
                assert_eq!(code, ErrorCode::RequestTimedOut.number(), "which clients try again after");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let quick = async {
        while running.store.gauges().wals[1].used_bytes < 14 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..5 {
            assert_eq!(client.produce("quick", batch(&[(1, &large)])).await.error_code, 0);
        }
    };
    let limited = tokio::time::timeout(Duration::from_secs(20), quick);
    tokio::select! {
        done = limited => done.expect("the other log's producers are served"),
        _ = futures::future::join_all(flood) => unreachable!("they never end"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_changes_its_log_under_producers_and_consumers() {
    let running = start_with_bulk(BrokerOptions::default()).await;
    let mut admin = running.client().await;
    assert_eq!(admin.create("t", 1, &[]).await, 0);
    let stop = AtomicBool::new(false);
    let mut producer = running.client().await;
    let produces = async {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = producer.produce("t", batch(&[(1, "a record")])).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, sent), "{:?}", answer.error_message);
            sent += 1;
        }
        sent
    };
    let changes = async {
        for round in 0..6_u16 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let to = (round + 1) % 2;
            assert_eq!(choose(&mut admin, "t", ["default", "bulk"][usize::from(to)]).await.0, 0);
            until_in(&running, "t", to).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(produces, changes);
    assert!(sent > 20, "{sent} records");
    assert_eq!(place(&running, "t"), (0, 6));
    let mut next = 0;
    while next < sent {
        let fetched = admin.call(12, &fetch_request("t", next, 0)).await;
        let partition = &fetched.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, sent));
        let bytes = partition.records.as_ref().unwrap().to_bytes();
        let mut batches = &bytes[..];
        while let Some((base, rest)) = batches.split_first_chunk::<8>() {
            assert_eq!(i64::from_be_bytes(*base), next, "one record after the other");
            let len = u32::from_be_bytes(rest[..4].try_into().unwrap());
            batches = &rest[4 + usize::try_from(len).unwrap()..];
            next += 1;
        }
    }
}
