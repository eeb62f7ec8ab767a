//! Transactions as clients and their coordinators see them in partitions. A coordinator's word is put in by hand: the question is asked and
//! answered at the stream, as the broker does it.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "shared by tests, which fail by panicking")]

use crate::support::{Client, Running, fetch_request, produce_request};
use bytes::Bytes;
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use protocol::record_batch::{BatchBuilder, NewRecord, batches};
use stream::{BatchKind, NO_SEQUENCE, ProducerDelta, Stream};

pub const READ_COMMITTED: i8 = 1;

/// A partition's stream.
pub fn stream_of(running: &Running, topic: &str, partition: usize) -> Stream {
    let image = running.store.ledger().image();
    running.store.stream(image.topic(topic).unwrap().partitions[partition]).unwrap()
}

/// The coordinator says that the producer's transaction includes the partition, from this sequence on.
pub async fn grant(stream: &Stream, (producer_id, producer_epoch): (i64, i16), first_sequence: i32) {
    stream.load_producers().await.unwrap();
    let delta = ProducerDelta {
        producer_id,
        producer_epoch,
        first_sequence,
        last_sequence: first_sequence.max(NO_SEQUENCE),
        kind: BatchKind::Transactional,
    };
    let ticket = stream.ask_grant(&delta).unwrap();
    assert!(stream.answer_grant(ticket, true));
}

/// A batch of a transaction.
pub fn transactional(producer: (i64, i16), first_sequence: i32, values: &[&str]) -> Bytes {
    let timestamp = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let builder = BatchBuilder::new().producer(producer.0, producer.1, first_sequence).transactional();
    let add = |builder: BatchBuilder, value: &&str| {
        builder.record(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() })
    };
    values.iter().fold(builder, add).build(0).unwrap().bytes().clone()
}

/// Produces it under a transactional id.
pub async fn produce(client: &mut Client, version: i16, topic: &str, batch: Bytes) -> PartitionProduceResponse {
    let mut request = produce_request(topic, batch, -1);
    request.transactional_id = Some("t-id".to_owned());
    let response = client.call(version, &request).await;
    response.responses.into_iter().next().unwrap().partition_responses.into_iter().next().unwrap()
}

/// A marker of transactions v2 for one partition, at the epoch that it raises the producer to.
pub fn marker(producer: (i64, i16), commits: bool, topic: &str, partition: i32) -> WritableTxnMarker {
    WritableTxnMarker {
        producer_id: producer.0,
        producer_epoch: producer.1,
        transaction_result: commits,
        topics: vec![WritableTxnMarkerTopic { name: topic.to_owned(), partition_indexes: vec![partition] }],
        coordinator_epoch: 1,
        transaction_version: 2,
    }
}

/// Sends markers; the codes of all their partitions, by producer.
pub async fn end(client: &mut Client, version: i16, markers: Vec<WritableTxnMarker>) -> Vec<i16> {
    let answer = client.call(version, &WriteTxnMarkersRequest { markers }).await;
    let topics = answer.markers.into_iter().flat_map(|marker| marker.topics);
    topics.flat_map(|topic| topic.partitions).map(|partition| partition.error_code).collect()
}

/// A fetch of partition 0.
pub fn fetch_at(topic: &str, from: i64, isolation_level: i8, wait_ms: i32) -> FetchRequest {
    FetchRequest { isolation_level, session_epoch: -1, ..fetch_request(topic, from, wait_ms) }
}

/// What it answers.
pub async fn fetch(client: &mut Client, topic: &str, from: i64, isolation_level: i8) -> PartitionData {
    let answer = client.call(12, &fetch_at(topic, from, isolation_level, 0)).await;
    answer.responses.into_iter().next().unwrap().partitions.into_iter().next().unwrap()
}

/// Where its batches begin.
pub fn bases(data: &PartitionData) -> Vec<i64> {
    let records = data.records.clone().unwrap_or_default();
    batches(records.to_bytes()).map(|batch| batch.unwrap().base_offset()).collect()
}

/// Producers and first offsets of what it says was aborted.
pub fn aborted(data: &PartitionData) -> Option<Vec<(i64, i64)>> {
    let all = data.aborted_transactions.as_ref()?;
    Some(all.iter().map(|it| (it.producer_id, it.first_offset)).collect())
}

/// The offset that ListOffsets tells of partition 0.
pub async fn offset_for(client: &mut Client, topic: &str, isolation_level: i8, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    let request =
        ListOffsetsRequest { replica_id: -1, isolation_level, topics: vec![topic], ..ListOffsetsRequest::default() };
    let answer = client.call(9, &request).await.topics[0].partitions[0].clone();
    assert_eq!(answer.error_code, 0);
    answer.offset
}
