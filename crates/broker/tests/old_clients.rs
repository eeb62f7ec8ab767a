//! Clients from before Kafka 0.11: message sets in, message sets out, and what they ask in versions that Kafka 4 has dropped.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, batch, fetch_request, produce_request, start};
use base::Crc32;
use broker::BrokerOptions;
use bytes::{Buf, BufMut, Bytes};
use futures::FutureExt;
use protocol::error_code::ErrorCode;
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::record_batch::{BatchBuilder, Compression, NewRecord, batches};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Kafka's own sets: see `MakeMessages.java` beside it.
const KAFKAS: &str = include_str!("../../protocol/testdata/messages_of_old.txt");
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];

fn kafkas(magic: u8, codec: &str) -> Bytes {
    let name = format!("produced {magic} {codec} ");
    let line: Vec<char> = KAFKAS.lines().find_map(|line| line.strip_prefix(&name)).unwrap().chars().collect();
    line.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// A message of format 1, uncompressed.
fn message(timestamp: i64, key: Option<&[u8]>, value: &[u8]) -> Bytes {
    let mut counted = vec![1, 0];
    counted.put_i64(timestamp);
    counted.put_i32(key.map_or(-1, |key| i32::try_from(key.len()).unwrap()));
    counted.put_slice(key.unwrap_or_default());
    counted.put_i32(i32::try_from(value.len()).unwrap());
    counted.put_slice(value);
    let mut crc = Crc32::default();
    crc.update(&counted);
    let mut message = Vec::new();
    message.put_i64(0);
    message.put_i32(i32::try_from(counted.len() + 4).unwrap());
    message.put_u32(crc.value());
    message.put_slice(&counted);
    message.into()
}

/// Magic, offset, time and value of the messages of a set; wrappers are opened, unless they are LZ4 with the wrong checksum of format 0.
fn listed(mut set: Bytes) -> Vec<(u8, i64, i64, Bytes)> {
    let mut found = Vec::new();
    while !set.is_empty() {
        let offset = set.get_i64();
        let size = usize::try_from(set.get_i32()).unwrap();
        let mut body = set.split_to(size);
        body.advance(4);
        let (magic, attributes) = (body.get_u8(), body.get_u8());
        let timestamp = if magic == 1 { body.get_i64() } else { -1 };
        let mut field = || usize::try_from(body.get_i32()).map_or(Bytes::new(), |length| body.split_to(length));
        let (_key, value) = (field(), field());
        let codec = Compression::from_number(attributes & 7).unwrap();
        match codec {
            Compression::None => found.push((magic, offset, timestamp, value)),
            Compression::Lz4 if magic == 0 => found.push((magic, offset, timestamp, Bytes::new())),
            codec => {
                let within = listed(codec.decompress(value, 1 << 20).unwrap());
                let first = if magic == 1 { offset - within.last().unwrap().1 } else { 0 };
                found.extend(within.into_iter().map(|it| (it.0, first + it.1, it.2, it.3)));
            }
        }
    }
    found
}

async fn produce(client: &mut Client, version: i16, topic: &str, set: Bytes) -> PartitionProduceResponse {
    let response = client.call(version, &produce_request(topic, set, -1)).await;
    response.responses[0].partition_responses[0].clone()
}

/// The error and the records of a fetch of one partition.
async fn fetched(client: &mut Client, version: i16, request: &FetchRequest) -> (i16, Bytes) {
    let partition = client.call(version, request).await.responses[0].partitions[0].clone();
    (partition.error_code, partition.records.unwrap_or_default().to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_old_producers_send_is_there_for_new_consumers_and_for_old_ones_of_each_format() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    for codec in CODECS {
        assert_eq!(client.create(codec, 1, &[]).await, 0);
        for (version, magic) in [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1)] {
            let answer = produce(&mut client, version, codec, kafkas(magic, codec)).await;
            assert_eq!((answer.error_code, answer.log_append_time_ms), (0, -1), "{codec} of format {magic}");
            assert_eq!(answer.base_offset % 4, 0);
        }
        let (code, stored) = fetched(&mut client, 12, &fetch_request(codec, 0, 1000)).await;
        let stored: Vec<_> = batches(stored).map(|batch| batch.unwrap()).collect();
        assert_eq!((code, stored.len()), (0, 5));
        for (at, batch) in stored.iter().enumerate() {
            batch.check_records(1 << 20).unwrap();
            assert_eq!(
                batch.compression().unwrap().number(),
                u8::try_from(CODECS.iter().position(|it| *it == codec).unwrap()).unwrap()
            );
            assert_eq!(batch.max_timestamp(), if at < 3 { -1 } else { 1_700_000_000_007 });
        }
        let expected: Vec<_> =
            stored.iter().flat_map(|batch| batch.records(1 << 20).unwrap()).map(Result::unwrap).collect();
        for version in 0..4 {
            let (code, set) = fetched(&mut client, version, &fetch_request(codec, 0, 1000)).await;
            let found = listed(set);
            let magic = u8::from(version >= 2);
            assert_eq!((code, found.last().unwrap().1), (0, 19), "{codec} in version {version}");
            assert!(found.iter().all(|message| message.0 == magic));
            if codec == "lz4" && magic == 0 {
                continue;
            }
            let expected = expected.iter().map(|record| {
                let timestamp = if magic == 1 { record.timestamp } else { -1 };
                (magic, record.offset, timestamp, record.value.clone().unwrap_or_default())
            });
            assert_eq!(found, expected.collect::<Vec<_>>(), "{codec} in version {version}");
        }
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_may_not_be_kept_is_refused_with_kafkas_code_and_none_of_it_is_there() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(
        client.create("t", 1, &[("max.message.bytes", "2000"), ("message.timestamp.after.max.ms", "1000")]).await,
        0
    );
    assert_eq!(client.create("compacted", 1, &[("cleanup.policy", "compact")]).await, 0);
    let mut damaged = message(7, None, b"v").to_vec();
    damaged[30] ^= 1;
    let gzip = kafkas(1, "gzip");
    let both: Bytes = [&gzip[..], &gzip].concat().into();
    let many: Bytes = message(7, None, &[7; 700]).repeat(3).into();
    let invalid = ErrorCode::InvalidRecord;
    for (version, topic, set, code) in [
        (2, "t", damaged.into(), ErrorCode::CorruptMessage),
        (2, "t", both, invalid),
        (2, "t", gzip.slice(..gzip.len() - 1), invalid),
        (2, "t", Bytes::new(), invalid),
        (2, "t", message(7, None, &[0; 2000]), ErrorCode::MessageTooLarge),
        (2, "t", many, ErrorCode::MessageTooLarge),
        (2, "t", message(i64::MAX / 2, None, b"v"), ErrorCode::InvalidTimestamp),
        (3, "t", message(7, None, b"v"), invalid),
        (2, "compacted", [&message(7, Some(b"k"), b"v")[..], &message(7, None, b"v")].concat().into(), invalid),
    ] {
        assert_eq!(produce(&mut client, version, topic, set).await.error_code, code.number(), "{code:?}");
    }
    for topic in ["t", "compacted"] {
        let good = produce(&mut client, 2, topic, message(7, Some(b"k"), b"v")).await;
        assert_eq!((good.error_code, good.base_offset), (0, 0));
    }
    // Nobody is answered who wants no answer: an error ends the connection.
    client.send(0, &produce_request("t", message(7, None, b"v"), 0)).await;
    client.send(0, &produce_request("t", gzip.slice(..40), 0)).await;
    assert_eq!(client.receive_frame().await, None);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topics_own_time_and_codec_are_those_of_what_old_clients_send_and_get() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let settings = [("message.timestamp.type", "LogAppendTime"), ("compression.type", "gzip")];
    assert_eq!(client.create("t", 1, &settings).await, 0);
    for (version, magic) in [(1, 0), (2, 1)] {
        let answer = produce(&mut client, version, "t", kafkas(magic, "none")).await;
        assert!(answer.error_code == 0 && (version < 2 || answer.log_append_time_ms > 1_700_000_000_007));
    }
    let (_, stored) = fetched(&mut client, 12, &fetch_request("t", 0, 1000)).await;
    let stored: Vec<_> = batches(stored).map(|batch| batch.unwrap()).collect();
    assert!(stored.iter().all(|batch| batch.is_log_append_time() && batch.compression() == Ok(Compression::Gzip)));
    let (_, set) = fetched(&mut client, 3, &fetch_request("t", 0, 1000)).await;
    assert_eq!(set[17], 9, "gzip, with the broker's time");
    assert_eq!(listed(set).len(), 8);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_consumers_get_what_fits_and_pass_great_batches_and_what_they_never_knew() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    let values: Vec<String> = (0..1000).map(|n| format!("{n:0100}")).collect();
    let records: Vec<(i64, &str)> = values.iter().map(|value| (7, value.as_str())).collect();
    assert_eq!(client.produce("t", batch(&records)).await.error_code, 0);
    for version in 0..4 {
        let mut found = Vec::new();
        let mut request = fetch_request("t", 0, 1000);
        request.topics[0].partitions[0].partition_max_bytes = 40_000;
        while found.len() < 1000 {
            request.topics[0].partitions[0].fetch_offset = i64::try_from(found.len()).unwrap();
            let (code, set) = fetched(&mut client, version, &request).await;
            assert!(code == 0 && set.len() <= 40_000 && !set.is_empty(), "{code}, {} bytes", set.len());
            found.extend(listed(set));
        }
        assert_eq!(found.iter().map(|it| it.1).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
        assert!(found.iter().zip(&values).all(|(found, value)| found.3 == value.as_bytes()));
        request.topics[0].partitions[0].partition_max_bytes = 1;
        request.topics[0].partitions[0].fetch_offset = 500;
        let (_, first) = fetched(&mut client, version, &request).await;
        assert_eq!(listed(first).iter().map(|it| it.1).collect::<Vec<_>>(), [500], "the first one whole");
    }
    let record = NewRecord { value: Some(b"v"), headers: &[("a", None)], ..NewRecord::default() };
    let zstd = BatchBuilder::new().compression(Compression::Zstd).record(&record).build(0).unwrap();
    assert_eq!(client.produce("t", zstd.bytes().clone()).await.error_code, 0);
    let (code, _) = fetched(&mut client, 3, &fetch_request("t", 1000, 1000)).await;
    assert_eq!(code, ErrorCode::UnsupportedCompressionType.number());
    let (code, set) = fetched(&mut client, 3, &fetch_request("t", 990, 1000)).await;
    assert_eq!((code, listed(set).len()), (0, 10), "what is before it");
    let (code, _) = fetched(&mut client, 1, &fetch_request("t", 1002, 0)).await;
    assert_eq!(code, ErrorCode::OffsetOutOfRange.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_fetch_waits_for_what_comes() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let mut other = running.client().await;
    client.send(2, &fetch_request("t", 0, 20_000)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = running.world.clock.now();
    assert_eq!(produce(&mut other, 2, "t", kafkas(1, "snappy")).await.error_code, 0);
    let (_, response) = client.receive::<FetchRequest>(2).await;
    assert!(running.world.clock.now().since(began) < Duration::from_secs(10));
    let partition = response.responses[0].partitions[0].clone();
    assert_eq!((partition.high_watermark, listed(partition.records.unwrap().to_bytes()).len()), (4, 4));
    running.broker.stop().await;
}

/// Little as it is stored, and so many zeros.
fn bomb(bytes: usize) -> Bytes {
    let value = vec![0; bytes];
    let record = NewRecord { value: Some(&value), ..NewRecord::default() };
    BatchBuilder::new().compression(Compression::Gzip).record(&record).build(0).unwrap().bytes().clone()
}

/// The last offset of a set, by its wrappers.
fn last_offset(mut set: Bytes) -> i64 {
    let mut last = -1;
    while !set.is_empty() {
        last = set.get_i64();
        let size = usize::try_from(set.get_i32()).unwrap();
        set.advance(size);
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_fetch_waits_for_bytes_as_they_are_stored() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let name = "n".repeat(5000);
    let record = NewRecord { value: Some(b"v"), headers: &[(&name, None)], ..NewRecord::default() };
    let stored = BatchBuilder::new().record(&record).build(0).unwrap().bytes().clone();
    assert_eq!(client.produce("t", stored).await.error_code, 0);
    let began = running.world.clock.now();
    let request = FetchRequest { min_bytes: 4000, ..fetch_request("t", 0, 30_000) };
    let (code, set) = fetched(&mut client, 2, &request).await;
    assert_eq!((code, listed(set).len()), (0, 1));
    let took = running.world.clock.now().since(began);
    assert!(took < Duration::from_secs(15), "{took:?}: it has waited for what headers are no part of");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_consumer_passes_records_that_decompress_to_very_much_a_part_at_a_time() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let stored = bomb(8 << 20);
    for _ in 0..6 {
        assert_eq!(client.produce("t", stored.clone()).await.error_code, 0);
    }
    let (mut next, mut answers) = (0, 0);
    while next < 6 {
        let (code, set) = fetched(&mut client, 2, &fetch_request("t", next, 1000)).await;
        assert!(code == 0 && last_offset(set.clone()) >= next, "{code}, {} bytes from {next} on", set.len());
        next = last_offset(set) + 1;
        answers += 1;
    }
    assert!(answers > 1, "all that there was came at once");
    running.broker.stop().await;
}

/// Old consumers that wait for their turn hold nothing that others need.
#[tokio::test(flavor = "multi_thread")]
async fn new_consumers_are_served_beside_many_old_ones() {
    let running = start(BrokerOptions { answers_bytes_max: 4 << 20, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(client.create("other", 1, &[]).await, 0);
    assert_eq!(client.produce("t", bomb(48 << 20)).await.error_code, 0);
    assert_eq!(client.produce("other", batch(&[(7, "v")])).await.error_code, 0);
    let mut consumers = Vec::new();
    for _ in 0..10 {
        let mut consumer = running.client().await;
        consumer.send(2, &fetch_request("t", 0, 1000)).await;
        consumers.push(consumer);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (code, records) = fetched(&mut client, 12, &fetch_request("other", 0, 1000)).await;
    assert!(code == 0 && !records.is_empty());
    let mut sockets = consumers.iter_mut().map(|it| &mut it.socket);
    let early = sockets.by_ref().filter_map(|socket| socket.read_u8().now_or_never()).count();
    assert!(early < 7, "{early} old consumers were served first");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_consumer_asked_for_is_dropped_when_it_has_gone() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let mut gone = running.client().await;
    gone.send(2, &fetch_request("t", 0, 100_000)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.broker.connections(), 2);
    drop(gone);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if running.broker.connections() == 1 {
            break;
        }
    }
    assert_eq!(running.broker.connections(), 1);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_of_list_offsets_tells_where_to_begin_before_a_time() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let mut ask = async |timestamp, max_num_offsets| {
        let partition = ListOffsetsPartition { timestamp, max_num_offsets, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        let answer = client.call(0, &request).await.topics[0].partitions[0].clone();
        (answer.error_code, answer.old_style_offsets)
    };
    assert_eq!(ask(-1, 10).await, (0, vec![0]), "empty");
    let mut producer = running.client().await;
    for times in [[10, 20], [30, 40]] {
        let records: Vec<_> = times.iter().map(|at| (1_700_000_000_000 + at, "v")).collect();
        assert_eq!(producer.produce("t", batch(&records)).await.error_code, 0);
    }
    for (timestamp, max, offsets) in [
        (-1, 10, vec![4, 0]),
        (-1, 1, vec![4]),
        (-1, 0, vec![]),
        (-2, 10, vec![0]),
        (1_700_000_000_005, 10, vec![]),
        (1_700_000_000_025, 10, vec![2, 0]),
        (1_700_000_000_040, 1, vec![3]),
        (1_700_000_000_041, 10, vec![4, 0]),
    ] {
        assert_eq!(ask(timestamp, max).await, (0, offsets), "{max} at {timestamp}");
    }
    assert_eq!(ask(-3, 1).await, (ErrorCode::UnsupportedVersion.number(), vec![]));
    running.broker.stop().await;
}
