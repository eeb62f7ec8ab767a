//! A partition's side of transactions over the wire: what readers of decided records see, what is told of producers, which batches and
//! markers are taken. Markers are sent by the tests themselves; what a coordinator would grant is granted by hand.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::transactional::{
    READ_COMMITTED, aborted, bases, end, fetch, fetch_at, grant, marker, offset_for, produce, stream_of, transactional,
};
use crate::support::{Client, Running, batch, offset_at, start};
use broker::BrokerOptions;
use protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest};
use protocol::messages::describe_producers_response::ProducerState;
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use protocol::record_batch::RecordBatch;
use std::time::Duration;
use stream::{BatchBytes, BatchKind, Ending, Marker, MarkerRule, NumberedBatch, ProducerDelta};

const NONE: i16 = 0;
const UNKNOWN_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const INVALID_REQUEST: i16 = 42;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const COORDINATOR_FENCED: i16 = 52;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

/// Begins a transaction with two records at the end of partition 0.
async fn begin(running: &Running, client: &mut Client, topic: &str, producer: (i64, i16)) -> i64 {
    grant(&stream_of(running, topic, 0), producer, 0).await;
    let answer = produce(client, 9, topic, transactional(producer, 0, &["a", "b"])).await;
    assert_eq!(answer.error_code, NONE, "{:?}", answer.error_message);
    answer.base_offset
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undecided_is_seen_by_those_only_who_read_everything() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    client.produce("t", batch(&[(1, "plain")])).await;
    assert_eq!(begin(&running, &mut client, "t", (7, 0)).await, 1);
    let late = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 60_000;
    client.produce("t", batch(&[(late, "late")])).await;

    let committed = fetch(&mut client, "t", 0, READ_COMMITTED).await;
    assert_eq!((bases(&committed), aborted(&committed)), (vec![0], Some(Vec::new())));
    assert_eq!((committed.high_watermark, committed.last_stable_offset), (4, 1));
    let everything = fetch(&mut client, "t", 0, 0).await;
    assert_eq!((bases(&everything), aborted(&everything)), (vec![0, 1, 3], None));
    assert_eq!((everything.high_watermark, everything.last_stable_offset), (4, 1));
    let beyond = fetch(&mut client, "t", 3, READ_COMMITTED).await;
    assert_eq!((beyond.error_code, bases(&beyond)), (NONE, Vec::new()), "not yet to be seen, and no error");
    for (isolation, latest, by_time) in [(READ_COMMITTED, 1, -1), (0, 4, 3)] {
        assert_eq!(offset_for(&mut client, "t", isolation, -1).await, latest);
        assert_eq!(offset_for(&mut client, "t", isolation, late).await, by_time);
        assert_eq!(offset_for(&mut client, "t", isolation, -3).await, by_time, "the greatest time");
    }

    let commit = marker((7, 1), true, "t", 0);
    assert_eq!(end(&mut client, 2, vec![commit.clone()]).await, [NONE]);
    let all = fetch(&mut client, "t", 0, READ_COMMITTED).await;
    assert_eq!((bases(&all), aborted(&all)), (vec![0, 1, 3, 4], Some(Vec::new())));
    assert_eq!((all.high_watermark, all.last_stable_offset), (5, 5));
    assert_eq!(end(&mut client, 2, vec![commit]).await, [NONE], "a repeat");
    assert_eq!(fetch(&mut client, "t", 0, 0).await.high_watermark, 5, "is not stored again");
    assert_eq!(offset_for(&mut client, "t", READ_COMMITTED, -1).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_is_told_with_what_it_wrote_also_after_a_restart() {
    let mut running = start(BrokerOptions::default()).await;
    {
        let mut client = running.client().await;
        client.create("t", 1, &[]).await;
        begin(&running, &mut client, "t", (7, 0)).await;
        begin(&running, &mut client, "t", (8, 0)).await;
        assert_eq!(end(&mut client, 2, vec![marker((8, 1), false, "t", 0)]).await, [NONE]);
        assert_eq!(fetch(&mut client, "t", 0, READ_COMMITTED).await.last_stable_offset, 0, "7 began before");
        assert_eq!(end(&mut client, 2, vec![marker((7, 1), true, "t", 0)]).await, [NONE]);
        begin(&running, &mut client, "t", (7, 1)).await;
    }
    for _ in 0..2 {
        let mut client = running.client().await;
        let all = fetch(&mut client, "t", 0, READ_COMMITTED).await;
        assert_eq!(all.error_code, NONE);
        assert_eq!((bases(&all), aborted(&all)), (vec![0, 2, 4, 5], Some(vec![(8, 2)])));
        assert_eq!((all.high_watermark, all.last_stable_offset), (8, 6));
        let rest = fetch(&mut client, "t", 5, READ_COMMITTED).await;
        assert_eq!((bases(&rest), aborted(&rest)), (vec![5], Some(Vec::new())), "its marker lies before");
        running = running.restart().await;
    }
    let mut client = running.client().await;
    assert_eq!(end(&mut client, 2, vec![marker((7, 2), false, "t", 0)]).await, [NONE]);
    let all = fetch(&mut client, "t", 0, READ_COMMITTED).await;
    assert_eq!((all.last_stable_offset, aborted(&all)), (9, Some(vec![(8, 2), (7, 6)])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_fetch_hears_of_decisions_and_not_of_what_it_may_not_see() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    begin(&running, &mut client, "t", (7, 0)).await;
    let mut reader = running.client().await;
    let sent = reader.send(12, &fetch_at("t", 0, READ_COMMITTED, 20_000)).await;
    client.produce("t", batch(&[(1, "plain")])).await;
    let early = tokio::time::timeout(Duration::from_millis(300), reader.receive_frame()).await;
    assert!(early.is_err(), "min_bytes is of what may be seen");
    assert_eq!(end(&mut client, 2, vec![marker((7, 1), true, "t", 0)]).await, [NONE]);
    let waited = tokio::time::timeout(Duration::from_secs(10), reader.receive::<FetchRequest>(12));
    let (answered, answer) = waited.await.expect("woken by the marker");
    assert_eq!(answered, sent);
    let data = answer.responses[0].partitions[0].clone();
    assert_eq!((bases(&data), data.last_stable_offset), (vec![0, 2, 3], 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_consumers_read_everything() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    begin(&running, &mut client, "t", (7, 0)).await;
    for version in [0, 3] {
        let answer = client.call(version, &fetch_at("t", 0, 0, 0)).await;
        let records = answer.responses[0].partitions[0].records.clone().unwrap_or_default();
        assert!(!records.is_empty(), "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_described_with_their_transactions() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    begin(&running, &mut client, "t", (7, 3)).await;
    begin(&running, &mut client, "t", (8, 0)).await;
    assert_eq!(end(&mut client, 2, vec![marker((8, 1), false, "t", 0)]).await, [NONE]);
    let ask = |name: &str| TopicRequest { name: name.to_owned(), partition_indexes: vec![0, 1, 2] };
    let request = DescribeProducersRequest { topics: vec![ask("t"), ask("none"), ask("bad name")] };
    let answer = client.call(0, &request).await;
    let told: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let codes: Vec<i16> = told.iter().map(|it| it.error_code).collect();
    let (unknown, invalid) = (UNKNOWN_PARTITION, INVALID_TOPIC);
    assert_eq!(codes, [NONE, NONE, unknown, unknown, unknown, unknown, invalid, invalid, invalid]);
    let of = |it: &ProducerState| {
        (it.producer_id, it.producer_epoch, it.last_sequence, it.coordinator_epoch, it.current_txn_start_offset)
    };
    let found: Vec<_> = told[0].active_producers.iter().map(of).collect();
    assert_eq!(found, [(7, 3, 1, -1, 0), (8, 1, -1, 1, -1)]);
    assert!(told[0].active_producers.iter().all(|it| it.last_timestamp > 1_600_000_000_000));
    assert!(told[1].active_producers.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_transactions_that_nobody_vouches_for_are_refused() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    let own = transactional((7, 0), 0, &["a"]);
    let anonymous = client.produce("t", own.clone()).await;
    assert_eq!(anonymous.error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "no transactional id");
    for version in [9, 11, 12] {
        let answer = produce(&mut client, version, "t", own.clone()).await;
        assert_eq!((answer.error_code, answer.base_offset), (NOT_ENOUGH_REPLICAS, -1), "no coordinator vouches");
    }
    let mut two = crate::support::produce_request("t", own, -1);
    two.transactional_id = Some("t-id".to_owned());
    let other = PartitionProduceData { index: 1, records: Some(transactional((8, 0), 0, &["a"]).into()) };
    two.topic_data[0].partition_data.push(other);
    let answer = client.call(9, &two).await;
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [INVALID_PRODUCER_ID_MAPPING; 2]);
    let anonymous = client.call(9, &ProduceRequest { transactional_id: None, ..two.clone() }).await;
    let codes: Vec<i16> = anonymous.responses[0].partition_responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [TRANSACTIONAL_ID_AUTHORIZATION_FAILED; 2], "whose it is comes first");
    // What goes nowhere is nobody's.
    two.topic_data[0].partition_data[1].index = 7;
    let answer = client.call(9, &two).await;
    let codes: Vec<i16> = answer.responses[0].partition_responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [NOT_ENOUGH_REPLICAS, UNKNOWN_PARTITION]);
    let mut named = crate::support::produce_request("t", batch(&[(1, "plain")]), -1);
    named.transactional_id = Some("t-id".to_owned());
    let answer = client.call(9, &named).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, NONE, "an id alone makes no transaction");
    assert_eq!(fetch(&mut client, "t", 0, 0).await.high_watermark, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_are_told_from_late_ones_by_their_version() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    begin(&running, &mut client, "t", (7, 4)).await;
    let of = |epoch: i16, coordinator_epoch: i32, topic: &str| {
        let mut marker = marker((7, epoch), true, topic, 0);
        (marker.transaction_version, marker.coordinator_epoch) = (0, coordinator_epoch);
        marker
    };
    for version in 0..=2 {
        assert_eq!(end(&mut client, version, vec![of(3, 5, "t")]).await, [INVALID_PRODUCER_EPOCH]);
        assert_eq!(end(&mut client, version, vec![of(4, 5, "none")]).await, [UNKNOWN_PARTITION]);
        assert_eq!(end(&mut client, version, vec![of(4, 5, "t")]).await, [NONE], "version {version}");
        assert_eq!(end(&mut client, version, vec![of(4, 4, "t")]).await, [COORDINATOR_FENCED], "deposed");
    }
    let mut nobody = marker((-1, 0), true, "t", 0);
    nobody.topics[0].partition_indexes = vec![0, 1];
    assert_eq!(end(&mut client, 2, vec![nobody]).await, [INVALID_REQUEST, UNKNOWN_PARTITION]);
    assert!(end(&mut client, 2, Vec::new()).await.is_empty());
    let mut several = vec![marker((7, 5), true, "t", 0), marker((7, 6), false, "t", 0), marker((9, 1), true, "t", 0)];
    several.iter_mut().for_each(|marker| marker.coordinator_epoch = 5);
    assert_eq!(end(&mut client, 2, several).await, [NONE; 3]);
}

/// As in Kafka, which keeps a map of a marker's partitions.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_a_marker_names_again_has_it_once_and_is_told_once() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    begin(&running, &mut client, "t", (7, 0)).await;
    let mut commit = marker((7, 1), true, "t", 0);
    commit.topics[0].partition_indexes = vec![0; 100_000];
    commit.topics.push(commit.topics[0].clone());
    assert_eq!(end(&mut client, 2, vec![commit]).await, [NONE]);
    assert_eq!(fetch(&mut client, "t", 0, 0).await.high_watermark, 3, "two records and a marker");

    let mut many = marker((9, 1), true, "t", 0);
    many.topics[0].partition_indexes = (0..20_000).collect();
    let codes = end(&mut client, 2, vec![many]).await;
    assert!(codes.len() == 20_000 && codes[0] == NONE, "more than are written together");
    assert!(codes[1..].iter().all(|code| *code == UNKNOWN_PARTITION));
}

/// As Apache Kafka 4.3.1 answers.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_partition_that_holds_a_marker_alone_the_marker_has_the_greatest_timestamp() {
    const GREATEST: i64 = -3;
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    assert_eq!(offset_at(&mut client, "t", GREATEST).await, (-1, -1));
    assert_eq!(end(&mut client, 2, vec![marker((7, 0), true, "t", 0)]).await, [NONE]);
    let (offset, timestamp) = offset_at(&mut client, "t", GREATEST).await;
    assert!(offset == 0 && timestamp > 0, "{offset} at {timestamp}");
}

/// Appends a batch past the broker, without waiting for it.
fn append(stream: &stream::Stream, batch: &RecordBatch, delta: ProducerDelta) {
    let base = stream.next();
    let mut bytes = bytes::BytesMut::from(&batch.bytes()[..]);
    bytes[..8].copy_from_slice(&base.to_kafka().to_be_bytes());
    let numbered = NumberedBatch {
        range: base::OffsetRange::new(base, base.plus(1)),
        bytes: BatchBytes::whole(bytes.freeze()),
        records: 1,
        max_timestamp: base::UnixMillis(batch.max_timestamp()),
        producer: Some(delta),
        control: batch.is_control(),
        frame: None,
    };
    stream.append_marker(numbered, MarkerRule::V2).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_aborted_transactions_than_are_remembered_are_found_in_the_log() {
    const COUNT: i16 = 4200;
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let stream = stream_of(&running, "t", 0);
    // 8 begins first and is decided last, behind all that is forgotten; 9 is decided in the midst of it.
    for producer in [8, 9] {
        grant(&stream, (producer, 0), 0).await;
        produce(&mut client, 9, "t", transactional((producer, 0), 0, &["x"])).await;
    }
    let abort = Marker { ending: Ending::Abort, coordinator_epoch: 1 };
    let end_batch = |producer_id: i64, epoch: i16| {
        let record = protocol::record_batch::NewRecord {
            timestamp: 5,
            key: Some(&[0, 0, 0, 0]),
            value: Some(&[0; 6]),
            headers: &[],
        };
        let builder = protocol::record_batch::BatchBuilder::new().producer(producer_id, epoch, -1);
        builder.transactional().control().record(&record).build(0).unwrap()
    };
    for epoch in 0..COUNT {
        grant(&stream, (7, epoch), 0).await;
        let bytes = transactional((7, epoch), 0, &["x"]);
        let batch = RecordBatch::split_first(&mut bytes.clone()).unwrap();
        let kind = BatchKind::Transactional;
        let delta = ProducerDelta { producer_id: 7, producer_epoch: epoch, first_sequence: 0, last_sequence: 0, kind };
        append(&stream, &batch, delta);
        append(&stream, &end_batch(7, epoch + 1), ProducerDelta::marker(7, epoch + 1, abort));
        if epoch == 10 {
            append(&stream, &end_batch(9, 1), ProducerDelta::marker(9, 1, abort));
        }
        // The log refuses appends while too much of it is not durable yet.
        if epoch % 256 == 0 {
            assert!(stream.until_confirmed(stream.next()).await);
        }
    }
    // Only what is confirmed is forgotten, with the next batch.
    assert!(stream.until_confirmed(stream.next()).await);
    assert_eq!(end(&mut client, 2, vec![marker((8, 1), false, "t", 0)]).await, [NONE]);
    let range = base::OffsetRange::new(base::Offset(0), stream.next());
    assert!(stream.aborted(range).unwrap().is_err(), "the oldest are forgotten");
    let mut request = fetch_at("t", 0, READ_COMMITTED, 0);
    request.topics[0].partitions[0].partition_max_bytes = 2000;
    let answer = client.call(12, &request).await;
    let data = answer.responses[0].partitions[0].clone();
    let last = *bases(&data).last().unwrap();
    assert!((10..40).contains(&last), "{last}");
    let told = aborted(&data).unwrap();
    let mut expected: Vec<(i64, i64)> = (0..).map(|n| (7, 2 + 2 * n)).take_while(|it| it.1 <= last).collect();
    expected.extend([(8, 0), (9, 1)]);
    // Behind the marker of 9, at offset 24, the others lie one further.
    let expected: Vec<_> = expected.into_iter().map(|it| if it.1 >= 24 { (it.0, it.1 + 1) } else { it }).collect();
    let sorted = |mut all: Vec<(i64, i64)>| {
        all.sort_unstable();
        all.retain(|it| it.1 <= last);
        all
    };
    assert_eq!(sorted(told), sorted(expected));
}
