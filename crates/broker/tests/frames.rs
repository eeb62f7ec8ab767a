//! What is left of a request keeps its frame in memory, and is counted as that: also where the rest was deleted long before memory is short.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, batch, produce_request, start};
use broker::BrokerOptions;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::produce_request::PartitionProduceData;
use std::time::Duration;

const RECORD_BYTES: usize = 100_000;

/// Deletes all records of that partition.
async fn empty(client: &mut Client, topic: &str, partition_index: i32) {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset: -1 }];
    let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
    let answer = client.call(2, &DeleteRecordsRequest { topics, timeout_ms: 5000 }).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_of_a_request_counts_for_as_long_as_the_rest_keeps_it_in_memory() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("kept", 2, &[]).await, 0);
    assert_eq!(client.create("gone", 1, &[]).await, 0);
    let cached = || usize::try_from(running.store.gauges().log_cache_bytes).unwrap();
    let before = cached();
    let (large, small) = (batch(&[(1, &"x".repeat(RECORD_BYTES))]), batch(&[(1, &"x".repeat(RECORD_BYTES / 20))]));
    let mut request = produce_request("kept", small, -1);
    request.topic_data[0].partition_data.push(PartitionProduceData { index: 1, records: Some(large.clone().into()) });
    request.topic_data.extend(produce_request("gone", large, -1).topic_data);
    for answer in client.call(9, &request).await.responses {
        assert!(answer.partition_responses.iter().all(|partition| partition.error_code == 0));
    }
    assert!(cached() > before + 2 * RECORD_BYTES);

    empty(&mut client, "kept", 1).await;
    let topic_names = vec!["gone".to_owned()];
    let request = DeleteTopicsRequest { topic_names, timeout_ms: 5000, ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(cached() > before + 2 * RECORD_BYTES, "{} bytes, and the small batch keeps all of the frame", cached());

    empty(&mut client, "kept", 0).await;
    let is_free = async {
        while cached() > before + RECORD_BYTES {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), is_free).await.expect("the last batch frees the frame");
    running.broker.stop().await;
}
