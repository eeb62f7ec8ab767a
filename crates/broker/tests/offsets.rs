//! ListOffsets by timestamps, and names of topics that collide: where the answer must come from what is known already.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, batch, metadata_request, offset_at, start};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use std::sync::atomic::Ordering;
use std::time::Duration;

const MAX_TIMESTAMP: i64 = -3;
const LATEST_TIERED: i64 = -5;

async fn delete_before(client: &mut Client, topic: &str, offset: i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
    let answer = client.call(2, &DeleteRecordsRequest { topics, timeout_ms: 5000 }).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, offset);
}

/// Waits until everything below `end` is in objects.
async fn uploaded(client: &mut Client, topic: &str, end: i64) {
    for _ in 0..500 {
        if offset_at(client, topic, LATEST_TIERED).await.0 == end - 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not uploaded in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_greatest_timestamp_is_found_without_searching_also_where_the_start_cuts_what_held_it() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let t = 1_700_000_000_000;
    let mut next = 0;
    // Offsets 0 to 7 are one object, 8 to 10 another.
    let objects: [&[&[i64]]; 2] = [&[&[10, 90, 20], &[30, 80], &[70, 80, 5]], &[&[60, 75], &[60]]];
    for batches in objects {
        for records in batches {
            let records: Vec<_> = records.iter().map(|at| (t + at, "x")).collect();
            assert_eq!(client.produce("t", batch(&records)).await.error_code, 0);
            next += i64::try_from(records.len()).unwrap();
        }
        uploaded(&mut client, "t", next).await;
    }
    for (start, offset, timestamp) in [(0, 1, 90), (1, 1, 90), (2, 4, 80), (5, 6, 80), (7, 9, 75), (10, 10, 60)] {
        if start > 0 {
            delete_before(&mut client, "t", start).await;
        }
        let before = running.gate.gets.load(Ordering::Relaxed);
        assert_eq!(offset_at(&mut client, "t", MAX_TIMESTAMP).await, (offset, t + timestamp), "start {start}");
        let gets = running.gate.gets.load(Ordering::Relaxed) - before;
        assert!(gets <= 2, "an index and a block at the most, not {gets}");
    }
    delete_before(&mut client, "t", 11).await;
    assert_eq!(offset_at(&mut client, "t", MAX_TIMESTAMP).await, (-1, -1));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_names_that_collide_only_one_is_created_also_within_one_request_and_by_first_use() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let topic = |name: &str| CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    for version in 0..=7 {
        let names = [format!("a.b{version}"), format!("a_b{version}"), format!("c{version}")];
        let topics = names.iter().map(|name| topic(name)).collect();
        let request = CreateTopicsRequest { topics, timeout_ms: 5000, ..CreateTopicsRequest::default() };
        let answers = client.call(version, &request).await.topics;
        let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
        assert_eq!(codes, [0, ErrorCode::InvalidTopicException.number(), 0], "version {version}");
    }
    let mut together = metadata_request("m.n");
    together.topics.as_mut().unwrap().extend(metadata_request("m_n").topics.unwrap());
    let codes: Vec<i16> = client.call(12, &together).await.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition.number(), ErrorCode::InvalidTopicException.number()]);
    let image = running.store.ledger().image();
    assert!(image.topic("m.n").is_some() && image.topic("m_n").is_none() && image.topic("a_b7").is_none());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_topics_are_told_their_settings_and_the_others_that_they_are_not() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let topic = |number: i32| CreatableTopic {
        name: format!("t{number}"),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let topics = (0..10_000).map(topic).collect();
    let request = CreateTopicsRequest { topics, timeout_ms: 60_000, validate_only: true };
    let answers = client.call(7, &request).await.topics;
    assert!(answers.len() == 10_000 && answers.iter().all(|it| it.error_code == 0 && it.num_partitions == 1));
    let told = answers.iter().take_while(|it| it.configs.is_some() && it.topic_config_error_code == 0).count();
    assert!((1_000..10_000).contains(&told), "{told}");
    let refused = ErrorCode::InvalidRequest.number();
    assert!(answers[told..].iter().all(|it| it.configs.is_none() && it.topic_config_error_code == refused));
    running.broker.stop().await;
}
