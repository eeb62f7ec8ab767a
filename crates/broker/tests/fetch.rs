//! Fetch: sessions, epochs, bounds, isolation, reads from the bucket, and memory that a peer keeps by not reading.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, Running, batch, fetch_request, metadata_request, produce_request, start};
use base::Micros;
use broker::BrokerOptions;
use protocol::api::served;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use protocol::messages::fetch_response::{FetchResponse, PartitionData};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::produce_request::ProduceRequest;
use protocol::record_batch::batches;
use protocol::wire::Uuid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A fetch of partitions at offsets, at once, in a session.
fn fetch(topic: &str, session: (i32, i32), partitions: &[(i32, i64)]) -> FetchRequest {
    let mut request = fetch_request(topic, 0, 0);
    (request.session_id, request.session_epoch) = session;
    let partition = |(partition, offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    request.topics[0].partitions = partitions.iter().map(partition).collect();
    if partitions.is_empty() {
        request.topics.clear();
    }
    request
}

async fn produce(client: &mut Client, topic: &str, partition: i32, value: &str) {
    let mut request = produce_request(topic, batch(&[(1, value)]), -1);
    request.topic_data[0].partition_data[0].index = partition;
    let answer = client.call(9, &request).await.responses[0].partition_responses[0].clone();
    assert_eq!(answer.error_code, 0);
}

fn data(response: &FetchResponse) -> Vec<PartitionData> {
    response.responses.iter().flat_map(|topic| topic.partitions.clone()).collect()
}

/// Partitions of an answer, their errors and bases of their batches.
fn found(response: &FetchResponse) -> Vec<(i32, i16, Vec<i64>)> {
    let bases = |partition: &PartitionData| {
        let records = partition.records.clone().unwrap_or_default();
        batches(records.to_bytes()).map(|batch| batch.unwrap().base_offset()).collect()
    };
    data(response).iter().map(|it| (it.partition_index, it.error_code, bases(it))).collect()
}

async fn topic_id(client: &mut Client, topic: &str) -> Uuid {
    client.call(12, &metadata_request(topic)).await.topics[0].topic_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_answers_what_has_changed_in_every_version_that_has_them() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    for version in 7..=served(ApiKey::Fetch).unwrap().last() {
        let name = format!("t{version}");
        assert_eq!(client.create(&name, 3, &[]).await, 0);
        let id = topic_id(&mut client, &name).await;
        let ask = |session: (i32, i32), partitions: &[(i32, i64)]| {
            let mut request = fetch(&name, session, partitions);
            if version >= 13 {
                request.topics.iter_mut().for_each(|topic| topic.topic_id = id);
            }
            request
        };
        let first = client.call(version, &ask((0, 0), &[(0, 0), (1, 0), (2, 0)])).await;
        assert_eq!((first.error_code, found(&first).len()), (0, 3), "version {version}");
        let session = first.session_id;
        assert_ne!(session, 0);
        let nothing = client.call(version, &ask((session, 1), &[])).await;
        assert_eq!((nothing.session_id, nothing.responses.len()), (session, 0));
        produce(&mut client, &name, 1, "x").await;
        let one = client.call(version, &ask((session, 2), &[])).await;
        assert_eq!(found(&one), [(1, 0, vec![0])]);
        assert_eq!(one.responses[0].topic_id == id, version >= 13);
        // Only what the client says anew changes; a forgotten partition is heard of no more.
        let mut request = ask((session, 3), &[(1, 1)]);
        let topic = if version >= 13 { String::new() } else { name.clone() };
        request.forgotten_topics_data = vec![ForgottenTopic { topic, topic_id: id, partitions: vec![2] }];
        assert_eq!(found(&client.call(version, &request).await), []);
        produce(&mut client, &name, 2, "x").await;
        produce(&mut client, &name, 0, "x").await;
        let other = client.call(version, &ask((session, 4), &[(0, 0)])).await;
        assert_eq!(found(&other), [(0, 0, vec![0])]);
        let error = |response: FetchResponse| (response.error_code, response.session_id, response.responses.len());
        let stale = client.call(version, &ask((session, 4), &[])).await;
        assert_eq!(error(stale), (ErrorCode::InvalidFetchSessionEpoch.number(), 0, 0));
        let unknown = client.call(version, &ask((session ^ 1, 1), &[])).await;
        assert_eq!(error(unknown), (ErrorCode::FetchSessionIdNotFound.number(), 0, 0));
        let ended = client.call(version, &ask((session, -1), &[(0, 0)])).await;
        assert_eq!((ended.session_id, found(&ended).len()), (0, 1));
        let gone = client.call(version, &ask((session, 5), &[])).await;
        assert_eq!(error(gone), (ErrorCode::FetchSessionIdNotFound.number(), 0, 0));
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_get_nothing_waits_for_what_is_on_its_way_into_the_log() {
    let options = BrokerOptions { fetch_arriving_wait_max: Duration::from_secs(60), ..BrokerOptions::default() };
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let mut asked = fetch("t", (0, -1), &[(0, 0)]);
    (asked.min_bytes, asked.max_wait_ms) = (1, 100);
    assert_eq!(found(&client.call(12, &asked).await), [(0, 0, vec![])], "nothing is on its way");
    running.close_gate();
    let mut producer = running.client().await;
    producer.send(9, &produce_request("t", batch(&[(1, "late")]), -1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send(12, &asked).await;
    let answer = tokio::time::timeout(Duration::from_millis(500), client.receive::<FetchRequest>(12));
    assert!(answer.await.is_err(), "answered before the record was durable");
    let mut at_once = running.client().await;
    asked.max_wait_ms = 0;
    assert_eq!(found(&at_once.call(12, &asked).await), [(0, 0, vec![])], "who does not wait, waits for nothing");
    running.open_gate();
    assert_eq!(found(&client.receive::<FetchRequest>(12).await.1), [(0, 0, vec![0])]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_id_tells_a_topic_that_never_was_from_one_that_was_deleted_or_made_anew() {
    let running = start(BrokerOptions { auto_create_topics: false, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(client.create("quiet", 1, &[]).await, 0);
    let (id, quiet) = (topic_id(&mut client, "t").await, topic_id(&mut client, "quiet").await);
    let mut request = fetch("", (0, 0), &[(0, 0)]);
    request.topics = [id, Uuid(9), quiet].map(|topic_id| FetchTopic { topic_id, ..request.topics[0].clone() }).into();
    let codes = |response: FetchResponse| -> Vec<(Uuid, i16)> {
        let topics = response.responses.into_iter();
        topics.map(|topic| (topic.topic_id, topic.partitions[0].error_code)).collect()
    };
    let first = client.call(17, &request).await;
    let session = first.session_id;
    let never = (Uuid(9), ErrorCode::UnknownTopicId.number());
    assert_eq!(codes(first), [(id, 0), never, (quiet, 0)]);
    let mut parked = fetch("", (session, 1), &[]);
    parked.max_wait_ms = 10_000;
    client.send(17, &parked).await;
    let mut other = running.client().await;
    let delete = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 5000, ..Default::default() };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(other.call(5, &delete).await.responses[0].error_code, 0);
    // The unknown one keeps nobody from waiting; the deletion is told at once.
    let began = running.world.clock.now();
    let deleted = client.receive::<FetchRequest>(17).await.1;
    assert!(running.world.clock.now().since(began) < Duration::from_secs(5));
    let gone = ErrorCode::UnknownTopicOrPartition.number();
    assert_eq!(codes(deleted), [(id, gone), never]);
    assert_eq!(codes(client.call(17, &fetch("", (session, 2), &[])).await), [(id, gone), never]);
    assert_eq!(other.create("t", 1, &[]).await, 0);
    let inconsistent = ErrorCode::InconsistentTopicId.number();
    assert_eq!(codes(client.call(17, &fetch("", (session, 3), &[])).await), [(id, inconsistent), never]);
    // Without a session nobody knows that the id ever was; and a session by id is none by name.
    request.session_epoch = -1;
    let unknown = ErrorCode::UnknownTopicId.number();
    assert_eq!(codes(client.call(17, &request).await), [(id, unknown), never, (quiet, 0)]);
    let by_name = client.call(12, &fetch("", (session, 4), &[])).await;
    assert_eq!(by_name.error_code, ErrorCode::FetchSessionTopicIdError.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_small_bounds_every_partition_of_a_session_has_its_turn() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 3, &[]).await, 0);
    let large = "x".repeat(1000);
    for partition in [0, 0, 1, 2] {
        produce(&mut client, "t", partition, &large).await;
    }
    let mut first = fetch("t", (0, 0), &[(0, 0), (1, 0), (2, 0), (0, 0)]);
    first.max_bytes = 1500;
    let answer = client.call(12, &first).await;
    assert_eq!(found(&answer), [(0, 0, vec![0]), (1, 0, vec![]), (2, 0, vec![])], "each once");
    let session = answer.session_id;
    // The first took all; from now on who got records goes to the end. The client asks on where it is.
    let turns = [((0, 1), (0, 1)), ((0, 2), (1, 0)), ((1, 1), (2, 0))];
    for (epoch, (says, (partition, base))) in (1..).zip(turns) {
        let mut request = fetch("t", (session, epoch), &[says]);
        request.max_bytes = 1500;
        assert_eq!(found(&client.call(12, &request).await), [(partition, 0, vec![base])], "epoch {epoch}");
    }
    // Bounds that nothing fits still let one batch through, and only one.
    let mut tiny = fetch("t", (0, -1), &[(0, 2), (1, 0), (2, 0)]);
    tiny.max_bytes = 1;
    assert_eq!(found(&client.call(12, &tiny).await), [(0, 0, vec![]), (1, 0, vec![0]), (2, 0, vec![])]);
    tiny.max_bytes = 1 << 20;
    tiny.topics[0].partitions.iter_mut().for_each(|partition| partition.partition_max_bytes = 0);
    assert_eq!(found(&client.call(12, &tiny).await), [(0, 0, vec![]), (1, 0, vec![0]), (2, 0, vec![])]);
    // More than the answer may have can't be waited for.
    let mut greedy = fetch("t", (0, -1), &[(0, 0)]);
    (greedy.max_bytes, greedy.min_bytes, greedy.max_wait_ms) = (500, 1 << 20, 20_000);
    assert_eq!(found(&client.call(12, &greedy).await), [(0, 0, vec![0])]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn min_bytes_are_waited_for_and_an_offset_without_records_is_told_at_once() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    produce(&mut client, "t", 0, "x").await;
    let mut request = fetch("t", (0, -1), &[(0, 0), (1, 0)]);
    (request.min_bytes, request.max_wait_ms) = (150, 20_000);
    client.send(12, &request).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), client.receive_frame()).await.is_err());
    let mut client = running.client().await;
    let mut producer = running.client().await;
    client.send(12, &request).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    produce(&mut producer, "t", 1, &"y".repeat(100)).await;
    let answer = client.receive::<FetchRequest>(12).await.1;
    assert_eq!(found(&answer), [(0, 0, vec![0]), (1, 0, vec![0])]);
    // What the bounds cut off counts: there is enough, though only whole batches are sent.
    assert_eq!(producer.create("cut", 1, &[]).await, 0);
    produce(&mut producer, "cut", 0, &"z".repeat(700)).await;
    produce(&mut producer, "cut", 0, &"z".repeat(700)).await;
    let mut cut = fetch("cut", (0, -1), &[(0, 0)]);
    (cut.min_bytes, cut.max_wait_ms, cut.topics[0].partitions[0].partition_max_bytes) = (1000, 20_000, 1000);
    let began = running.world.clock.now();
    assert_eq!(found(&client.call(12, &cut).await), [(0, 0, vec![0])]);
    assert!(running.world.clock.now().since(began) < Duration::from_secs(10));
    let range = ErrorCode::OffsetOutOfRange.number();
    for offset in [-1, 2, i64::MAX] {
        // Also where others have used up the bounds.
        let mut wrong = fetch("t", (0, -1), &[(0, 0), (1, offset)]);
        (wrong.max_bytes, wrong.max_wait_ms) = (10, 20_000);
        let answer = client.call(12, &wrong).await;
        assert_eq!(found(&answer), [(0, 0, vec![0]), (1, range, vec![])], "offset {offset}");
        let told = &data(&answer)[1];
        assert_eq!((told.high_watermark, told.last_stable_offset, told.log_start_offset), (-1, -1, -1));
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_that_part_from_the_clients_are_told_and_committed_reads_see_no_aborted_transactions() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    produce(&mut client, "t", 0, "x").await;
    for version in 4..=12 {
        for (isolation_level, aborted) in [(0, None), (1, Some(0))] {
            let request = FetchRequest { isolation_level, ..fetch("t", (0, -1), &[(0, 0)]) };
            let told = data(&client.call(version, &request).await).remove(0);
            assert_eq!(told.aborted_transactions.as_ref().map(Vec::len), aborted, "version {version}");
            assert_eq!((told.high_watermark, told.last_stable_offset), (1, 1));
        }
    }
    for (leader_epoch, code) in [(-1, ErrorCode::None), (-2, ErrorCode::None), (1, ErrorCode::UnknownLeaderEpoch)] {
        let mut request = fetch("t", (0, -1), &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = leader_epoch;
        let told = data(&client.call(12, &request).await).remove(0);
        assert_eq!(told.error_code, code.number(), "leader epoch {leader_epoch}");
    }
    // Epoch 0 is the only one: the client's records end where ours do, or it has some that we don't.
    let none = (-1, -1);
    for (last, offset, code, diverging, has_records) in [
        (0, 0, ErrorCode::None, none, true),
        (0, 1, ErrorCode::None, none, false),
        (0, 2, ErrorCode::None, (0, 1), false),
        (1, 0, ErrorCode::OffsetOutOfRange, none, false),
        (-1, 2, ErrorCode::OffsetOutOfRange, none, false),
    ] {
        let mut request = fetch("t", (0, -1), &[(0, offset)]);
        request.topics[0].partitions[0].last_fetched_epoch = last;
        let told = data(&client.call(12, &request).await).remove(0);
        let found = (told.error_code, (told.diverging_epoch.epoch, told.diverging_epoch.end_offset));
        assert_eq!(found, (code.number(), diverging), "epoch {last} at {offset}");
        assert_eq!(!told.records.unwrap().is_empty(), has_records);
    }
    running.broker.stop().await;
}

/// Waits until all of these partitions are in objects, so that the first reads of them come from the bucket.
async fn uploaded(client: &mut Client, topic: &str, partitions: i32, end: i64) {
    let asked = |partition_index| ListOffsetsPartition { partition_index, timestamp: -5, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: (0..partitions).map(asked).collect() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    for _ in 0..500 {
        if client.call(9, &request).await.topics[0].partitions.iter().all(|it| it.offset == end - 1) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not uploaded in time");
}

/// Fills the log cache with another topic, so that it forgets what was before.
async fn forget(running: &Running, client: &mut Client) {
    assert_eq!(client.create("other", 1, &[]).await, 0);
    let large = "x".repeat(900_000);
    let before = running.store.gauges().log_cache_bytes;
    for _ in 0..100 {
        let request = produce_request("other", batch(&[(1, &large)]), -1);
        let answer = client.call(9, &request).await.responses[0].partition_responses[0].clone();
        assert_eq!(answer.error_code, 0);
        if running.store.gauges().log_cache_bytes < before + 900_000 && before > 900_000 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_come_from_the_bucket_are_read_side_by_side() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 12, &[]).await, 0);
    for partition in 0..12 {
        produce(&mut client, "t", partition, "x").await;
        // Objects of their own.
        tokio::time::sleep(Duration::from_millis(if partition < 4 { 250 } else { 0 })).await;
    }
    uploaded(&mut client, "t", 12, 1).await;
    forget(&running, &mut client).await;
    let before = running.gate.gets.load(Ordering::Relaxed);
    running.gate.get_delay_ms.store(300, Ordering::Relaxed);
    let partitions: Vec<(i32, i64)> = (0..12).map(|partition| (partition, 0)).collect();
    let mut request = fetch("t", (0, -1), &partitions);
    request.max_wait_ms = 20_000;
    let began = running.world.clock.now();
    let answer = client.call(12, &request).await;
    let took = running.world.clock.now().since(began);
    let gets = running.gate.gets.load(Ordering::Relaxed) - before;
    assert!(gets >= 8, "{gets} reads of objects: the cache has forgotten");
    assert!(took < Duration::from_millis(300) * u32::try_from(gets).unwrap() / 2, "{took:?} for {gets} reads");
    let all: Vec<_> = (0..12).map(|partition| (partition, 0, vec![0])).collect();
    assert_eq!(found(&answer), all);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_do_not_take_their_answers_do_not_keep_others_from_theirs() {
    const MIB: usize = 1 << 20;
    let options = BrokerOptions { answers_bytes_max: 16 * MIB, fetch_bytes_max: 16 * MIB, ..BrokerOptions::default() };
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let large = "x".repeat(1_000_000);
    for _ in 0..12 {
        produce(&mut client, "t", 0, &large).await;
    }
    let mut greedy = fetch_request("t", 0, 1000);
    greedy.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    let mut silent = Vec::new();
    for _ in 0..16 {
        let mut peer = running.client().await;
        // Several in a row: the socket's buffers take the first of them.
        for _ in 0..8 {
            peer.send(12, &greedy).await;
        }
        silent.push(peer);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..5 {
        let began = running.world.clock.now();
        let answer = client.call(12, &fetch_request("t", 0, 1000)).await;
        assert_eq!(found(&answer)[0].1, 0);
        assert!(!found(&answer)[0].2.is_empty());
        assert!(
            running.world.clock.now().since(began) < Duration::from_secs(15),
            "{:?}",
            running.world.clock.now().since(began)
        );
    }
    assert_eq!(client.call(12, &metadata_request("t")).await.topics[0].error_code, 0);
    let answer = client.call::<ProduceRequest>(9, &produce_request("t", batch(&[(1, "x")]), -1)).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    running.broker.stop().await;
}

/// So many consumers of "t", which has that record, wait for more than it has, on a broker with little memory for answers; another one,
/// of "other", is served meanwhile. The broker, a client, the consumers that wait, and when the other one asked.
async fn served_beside_patient_consumers(
    record: &str,
    count: usize,
    wait_ms: i32,
) -> (Running, Client, Vec<Client>, Micros) {
    let options = BrokerOptions { answers_bytes_max: 4 << 20, ..BrokerOptions::default() };
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(client.create("other", 1, &[]).await, 0);
    produce(&mut client, "t", 0, record).await;
    produce(&mut client, "other", 0, "x").await;
    let mut patient = fetch_request("t", 0, wait_ms);
    patient.min_bytes = 1_000_000;
    let mut parked = Vec::new();
    for _ in 0..count {
        let mut consumer = running.client().await;
        consumer.send(12, &patient).await;
        parked.push(consumer);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = running.world.clock.now();
    let answer = client.call(12, &fetch_request("other", 0, 500)).await;
    assert_eq!(found(&answer), [(0, 0, vec![0])]);
    assert_eq!(client.call(12, &metadata_request("other")).await.topics[0].error_code, 0);
    let took = running.world.clock.now().since(began);
    assert!(took < Duration::from_secs(3), "{took:?}");
    (running, client, parked, began)
}

/// They hold no more than what they have read, and answer with that where there is no memory to read on.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_wait_for_more_leave_others_the_memory_of_answers() {
    let (running, mut client, parked, began) = served_beside_patient_consumers("first", 10, 20_000).await;
    // All of them are woken together, and not all find the memory to read anew.
    produce(&mut client, "t", 0, &"x".repeat(1_000_000)).await;
    for mut consumer in parked {
        let answer = found(&consumer.receive::<FetchRequest>(12).await.1);
        assert!(answer == [(0, 0, vec![0, 1])] || answer == [(0, 0, vec![0])], "{answer:?}");
    }
    let took = running.world.clock.now().since(began);
    assert!(took < Duration::from_secs(15), "{took:?}");
    running.broker.stop().await;
}

/// What they have read may be nearly all that they want, and all the memory that there is; they answer with it where another needs some.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_have_read_much_give_way_while_they_wait_for_more() {
    let (running, _client, mut parked, _) = served_beside_patient_consumers(&"x".repeat(200_000), 20, 60_000).await;
    assert_eq!(found(&parked[0].receive::<FetchRequest>(12).await.1), [(0, 0, vec![0])]);
    running.broker.stop().await;
}

/// Of a partition with few bytes no more are put aside: with less free than the greatest batch may have, nobody needs to give way.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_takes_no_more_memory_than_there_is_to_read() {
    let (running, _client, parked, _) = served_beside_patient_consumers(&"x".repeat(500_000), 6, 60_000).await;
    for mut consumer in parked {
        let answered = tokio::time::timeout(Duration::from_millis(50), consumer.receive::<FetchRequest>(12)).await;
        assert!(answered.is_err(), "{answered:?}");
    }
    running.broker.stop().await;
}

/// Whoever reads at the end, as records come, is at the end or below it: never beyond.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_at_the_end_is_not_beyond_it_when_records_come() {
    let running = start(BrokerOptions::default()).await;
    let mut writer = running.client().await;
    assert_eq!(writer.create("t", 1, &[]).await, 0);
    let is_over = AtomicBool::new(false);
    let write = async {
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(writer.produce("t", batch(&[(1, "x")])).await.error_code, 0);
        }
    };
    let read = async || {
        let (mut reader, mut next) = (running.client().await, 0);
        for _ in 0..20_000 {
            let answer = data(&reader.call(12, &fetch_request("t", next, 0)).await).remove(0);
            assert_eq!(answer.error_code, 0, "at offset {next}");
            next = answer.high_watermark.max(next);
        }
    };
    let readers = async {
        tokio::join!(read(), read(), read());
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, readers);
}
