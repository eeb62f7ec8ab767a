//! Requests that are much more work than they look like, and what other clients notice of them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use broker::BrokerOptions;
use bytes::Bytes;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord};
use support::{metadata_request, start};
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
