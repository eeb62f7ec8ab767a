//! Compacted topics over the wire: what consumers see after cleaning, over restarts, with deletion marks and transactions; under load in
//! [`load`].

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "compacted/load.rs"]
mod load;
use crate::support::{Client, Running, fetch_request, offset_at, start};
use base::{Offset, OffsetRange, UnixMillis};
use broker::{BrokerOptions, CleanerOptions};
use bytes::Bytes;
use protocol::record_batch::{BatchBuilder, Compression, NewRecord, RecordBatch, batches};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::{Appended, BatchBytes, NumberedBatch, Store};

const EAGER: [(&str, &str); 2] = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];

fn options() -> BrokerOptions {
    let cleaner = CleanerOptions {
        little_bytes: 0,
        period: Duration::from_millis(20),
        retry_max: Duration::from_millis(50),
        ..CleanerOptions::for_memory(4 << 20)
    };
    BrokerOptions { cleaner, ..BrokerOptions::default() }
}

type Pair<'a> = (&'a str, Option<&'a str>);

fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

fn keyed(builder: BatchBuilder, records: &[Pair<'_>]) -> RecordBatch {
    keyed_at(now(), builder, records)
}

fn keyed_at(timestamp: i64, builder: BatchBuilder, records: &[Pair<'_>]) -> RecordBatch {
    let add = |builder: BatchBuilder, (key, value): &Pair<'_>| {
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        builder.record(&NewRecord { timestamp, key, value, ..NewRecord::default() })
    };
    records.iter().fold(builder, add).build(0).unwrap()
}

async fn produce(client: &mut Client, topic: &str, codec: Compression, records: &[Pair<'_>]) -> i64 {
    let batch = keyed(BatchBuilder::new().compression(codec), records);
    let answer = client.produce(topic, batch.bytes().clone()).await;
    assert_eq!(answer.error_code, 0);
    answer.base_offset
}

/// All batches from the start on, as a consumer gets them; and the high watermark.
async fn consumed(client: &mut Client, topic: &str) -> (Vec<RecordBatch>, i64) {
    let mut from = 0;
    let mut found = Vec::new();
    loop {
        let answer = client.call(11, &fetch_request(topic, from, 0)).await;
        let partition = answer.responses[0].partitions[0].clone();
        assert_eq!(partition.error_code, 0);
        let bytes: Bytes = partition.records.unwrap_or_default().to_bytes();
        let new: Vec<RecordBatch> = batches(bytes).map(Result::unwrap).collect();
        let Some(last) = new.last() else {
            assert_eq!(from, partition.high_watermark, "the log ends with a batch, so that consumers come to its end");
            return (found, partition.high_watermark);
        };
        from = last.last_offset() + 1;
        found.extend(new);
    }
}

/// Offset, key, value of every record that is no control record.
fn records(batches: &[RecordBatch]) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let data = batches.iter().filter(|batch| !batch.is_control());
    let records = data.flat_map(|batch| batch.records(1 << 20).unwrap().map(Result::unwrap));
    records.map(|record| (record.offset, text(record.key.unwrap()), record.value.map(text))).collect()
}

async fn cleaned_to(running: &Running, topic: &str, end: i64) {
    let reached = || {
        let image = running.store.ledger().image();
        image.streams[&image.topic(topic).unwrap().partitions[0]].cleaned
    };
    for _ in 0..2000 {
        if reached() >= Offset::from_kafka(end).unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never cleaned to {end}, but to {}", reached());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_consumer_sees_the_latest_value_of_each_key_and_the_same_offsets() {
    let mut running = start(options()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &EAGER).await, 0);
    let mut latest: BTreeMap<String, (i64, String)> = BTreeMap::new();
    let mut end = 0;
    for round in 0..60 {
        let codec = Compression::ALL[round % 5];
        let texts: Vec<(String, String)> =
            (0..7).map(|n| (format!("k{}", (round * 7 + n * 5) % 23), format!("v{round}-{n}"))).collect();
        let pairs: Vec<Pair<'_>> = texts.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
        let base = produce(&mut client, "t", codec, &pairs).await;
        for (offset, (key, value)) in (base..).zip(texts) {
            latest.insert(key, (offset, value));
        }
        end = base + 7;
    }
    let expected: BTreeMap<i64, (String, String)> =
        latest.into_iter().map(|(key, (offset, value))| (offset, (key, value))).collect();
    for life in 0..2 {
        cleaned_to(&running, "t", end).await;
        let (batches, watermark) = consumed(&mut client, "t").await;
        assert_eq!(watermark, end);
        let seen: BTreeMap<i64, (String, String)> =
            records(&batches).into_iter().map(|(offset, key, value)| (offset, (key, value.unwrap()))).collect();
        assert_eq!(seen, expected, "life {life}");
        for batch in &batches {
            batch.check().unwrap();
        }
        if life == 0 {
            let mut used = running.broker.cleaner();
            while used.removed_records < 60 * 7 - 23 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                used = running.broker.cleaner();
            }
            assert!(used.passes > 0 && used.removed_records == 60 * 7 - 23, "{used:?}");
            assert!(used.bytes_kept < used.bytes_read);
            running = running.restart().await;
            client = running.client().await;
        }
    }
    assert_eq!(running.broker.cleaner().passes, 0, "how far it has come outlives a start");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_mark_is_seen_until_its_time_and_then_gone_with_what_it_hid() {
    let running = start(options()).await;
    let mut client = running.client().await;
    let retention = ("delete.retention.ms", "1500");
    assert_eq!(client.create("t", 1, &[EAGER[0], EAGER[1], retention]).await, 0);
    produce(&mut client, "t", Compression::None, &[("a", Some("1")), ("b", Some("1"))]).await;
    produce(&mut client, "t", Compression::Lz4, &[("a", None)]).await;
    let end = produce(&mut client, "t", Compression::None, &[("c", Some("1"))]).await + 1;
    cleaned_to(&running, "t", end).await;
    let seen = records(&consumed(&mut client, "t").await.0);
    let of_a: Vec<_> = seen.iter().filter(|(_, key, _)| key == "a").collect();
    assert_eq!(of_a, [&(2, "a".to_owned(), None)], "consumers that come now hear of the deletion");
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let end = produce(&mut client, "t", Compression::None, &[("c", Some("2"))]).await + 1;
    cleaned_to(&running, "t", end).await;
    let seen = records(&consumed(&mut client, "t").await.0);
    assert_eq!(seen.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [1, 4]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn young_records_stay_old_ones_do_not_wait_for_ever_and_other_topics_are_left_alone() {
    let running = start(options()).await;
    let mut client = running.client().await;
    let young = ("min.compaction.lag.ms", "3600000");
    assert_eq!(client.create("young", 1, &[EAGER[0], EAGER[1], young]).await, 0);
    let (lazy, overdue) = (("min.cleanable.dirty.ratio", "1"), ("max.compaction.lag.ms", "500"));
    assert_eq!(client.create("lazy", 1, &[EAGER[0], lazy]).await, 0);
    assert_eq!(client.create("overdue", 1, &[EAGER[0], lazy, overdue]).await, 0);
    assert_eq!(client.create("deleted", 1, &[]).await, 0);
    for topic in ["young", "lazy", "overdue", "deleted"] {
        for value in ["1", "2"] {
            produce(&mut client, topic, Compression::None, &[("a", Some(value))]).await;
        }
    }
    cleaned_to(&running, "overdue", 2).await;
    assert_eq!(records(&consumed(&mut client, "overdue").await.0).len(), 1);
    for topic in ["young", "lazy", "deleted"] {
        assert_eq!(records(&consumed(&mut client, topic).await.0).len(), 2, "{topic}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_time_wait_from_their_arrival_on_and_deletion_marks_among_them_have_their_time() {
    let running = start(options()).await;
    let mut client = running.client().await;
    let (young, lazy) = (("min.compaction.lag.ms", "3600000"), ("min.cleanable.dirty.ratio", "1"));
    assert_eq!(client.create("young", 1, &[EAGER[0], EAGER[1], young]).await, 0);
    assert_eq!(client.create("overdue", 1, &[EAGER[0], lazy, ("max.compaction.lag.ms", "500")]).await, 0);
    assert_eq!(client.create("marks", 1, &[EAGER[0], EAGER[1], ("delete.retention.ms", "1500")]).await, 0);
    let began = now();
    for (topic, value) in [("young", "1"), ("young", "2"), ("overdue", "1"), ("overdue", "2"), ("marks", "1")] {
        let batch = keyed_at(-1, BatchBuilder::new(), &[("a", Some(value))]);
        assert_eq!(client.produce(topic, batch.bytes().clone()).await.error_code, 0);
    }
    let mark = keyed_at(-1, BatchBuilder::new().compression(Compression::Gzip), &[("a", None)]);
    assert_eq!(client.produce("marks", mark.bytes().clone()).await.error_code, 0);
    cleaned_to(&running, "overdue", 2).await;
    assert!(now() - began >= 500, "not before its time");
    assert_eq!(records(&consumed(&mut client, "overdue").await.0).len(), 1);
    assert_eq!(records(&consumed(&mut client, "young").await.0).len(), 2);

    cleaned_to(&running, "marks", 2).await;
    let (seen, _) = consumed(&mut client, "marks").await;
    assert_eq!(records(&seen), [(1, "a".to_owned(), None)]);
    let times: Vec<i64> =
        seen.iter().flat_map(|batch| batch.records(1 << 20).unwrap()).map(|it| it.unwrap().timestamp).collect();
    assert_eq!(times, [-1], "it has none yet");
    let horizon = seen.last().unwrap().delete_horizon().unwrap();
    assert!((began + 1500..=now() + 1500).contains(&horizon));
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let end = produce(&mut client, "marks", Compression::None, &[("c", Some("2"))]).await + 1;
    cleaned_to(&running, "marks", end).await;
    assert_eq!(records(&consumed(&mut client, "marks").await.0), [(2, "c".to_owned(), Some("2".to_owned()))]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_by_time_find_only_records_that_are_there() {
    const GREATEST: i64 = -3;
    let running = start(options()).await;
    let mut client = running.client().await;
    let began = now();
    assert_eq!(client.create("sent", 1, &EAGER).await, 0);
    let newest = keyed_at(began + 1000, BatchBuilder::new().producer(7, 0, 0), &[("a", Some("1"))]);
    let last = keyed_at(began, BatchBuilder::new(), &[("a", Some("2"))]);
    for batch in [newest, last] {
        assert_eq!(client.produce("sent", batch.bytes().clone()).await.error_code, 0);
    }
    cleaned_to(&running, "sent", 2).await;
    let (seen, _) = consumed(&mut client, "sent").await;
    let told: Vec<_> = seen.iter().map(|batch| (batch.record_count(), batch.max_timestamp())).collect();
    assert_eq!(told, [(0, began + 1000), (1, began)], "the producer's newest batch stays, without its record");
    assert_eq!(offset_at(&mut client, "sent", GREATEST).await, (1, began));
    assert_eq!(offset_at(&mut client, "sent", began).await, (1, began));
    assert_eq!(offset_at(&mut client, "sent", began + 500).await, (-1, -1));

    let stamped = ("message.timestamp.type", "LogAppendTime");
    assert_eq!(client.create("stamped", 1, &[EAGER[0], EAGER[1], stamped]).await, 0);
    produce(&mut client, "stamped", Compression::Zstd, &[("a", Some("1")), ("b", Some("1"))]).await;
    produce(&mut client, "stamped", Compression::None, &[("a", Some("2"))]).await;
    cleaned_to(&running, "stamped", 3).await;
    assert_eq!(offset_at(&mut client, "stamped", began).await.0, 1, "the first record of its batch is gone");
    running.broker.stop().await;
}

/// Appends a batch that clients may not send yet.
async fn append(store: &Store, topic: &str, batch: &RecordBatch) -> i64 {
    let image = store.ledger().image();
    let stream = store.stream(image.topic(topic).unwrap().partitions[0]).unwrap();
    let base = stream.next();
    let mut bytes = bytes::BytesMut::from(&batch.bytes()[..]);
    bytes[..8].copy_from_slice(&base.to_kafka().to_be_bytes());
    let records = u32::try_from(batch.record_count()).unwrap();
    let numbered = NumberedBatch {
        range: OffsetRange::new(base, base.plus(u64::from(records))),
        bytes: BatchBytes::whole(bytes.freeze()),
        records,
        max_timestamp: UnixMillis(batch.max_timestamp()),
        producer: None,
        control: batch.is_control(),
        frame: None,
    };
    match stream.append(numbered).unwrap() {
        Appended::Enqueued(confirmation) => confirmation.await.unwrap(),
        Appended::Repeat(_) => panic!("no repeat"),
    }
    base.to_kafka()
}

fn marker(producer_id: i64, commits: bool) -> RecordBatch {
    let key = [0, 0, 0, u8::from(commits)];
    let record = NewRecord { timestamp: 5, key: Some(&key), value: Some(&[0; 6]), ..NewRecord::default() };
    BatchBuilder::new().producer(producer_id, 0, -1).transactional().control().record(&record).build(0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_go_and_markers_stay_as_long_as_something_of_their_transaction_does() {
    let running = start(options()).await;
    let mut client = running.client().await;
    let retention = ("delete.retention.ms", "100");
    assert_eq!(client.create("t", 1, &[EAGER[0], EAGER[1], retention]).await, 0);
    let of = |producer_id: i64, records: &[Pair<'_>]| {
        keyed(BatchBuilder::new().producer(producer_id, 0, 0).transactional(), records)
    };
    produce(&mut client, "t", Compression::None, &[("a", Some("1")), ("b", Some("1"))]).await;
    let store = &running.store;
    append(store, "t", &of(7, &[("a", Some("void"))])).await;
    append(store, "t", &of(8, &[("b", Some("2"))])).await;
    let aborted = append(store, "t", &marker(7, false)).await;
    let committed = append(store, "t", &marker(8, true)).await;
    let open = append(store, "t", &of(9, &[("b", Some("3"))])).await;
    cleaned_to(&running, "t", open).await;
    let expect = |want: &[(i64, &str, &str)], found: &[RecordBatch]| {
        let want: Vec<_> =
            want.iter().map(|(at, key, value)| (*at, (*key).to_owned(), Some((*value).to_owned()))).collect();
        assert_eq!(records(found), want);
    };
    let (found, _) = consumed(&mut client, "t").await;
    expect(&[(0, "a", "1"), (3, "b", "2"), (open, "b", "3")], &found);
    let bases = |found: &[RecordBatch]| found.iter().map(RecordBatch::base_offset).collect::<Vec<_>>();
    assert!(bases(&found).contains(&aborted) && bases(&found).contains(&committed));

    let end = append(store, "t", &marker(9, true)).await;
    cleaned_to(&running, "t", end).await;
    // Of the first two transactions nothing is left now: their markers go when their time has come.
    for n in 0..40 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let last = produce(&mut client, "t", Compression::None, &[("z", Some("z"))]).await;
        cleaned_to(&running, "t", last + 1).await;
        let (found, _) = consumed(&mut client, "t").await;
        expect(&[(0, "a", "1"), (open, "b", "3"), (last, "z", "z")], &found);
        let left = bases(&found);
        assert!(left.contains(&end), "the marker of a record that is there");
        if !left.contains(&aborted) && !left.contains(&committed) {
            running.broker.stop().await;
            return;
        }
        assert!(n < 39, "the markers never go: {left:?}");
    }
}

/// A batch whose records have no keys.
fn keyless(values: &[&str]) -> RecordBatch {
    let add = |builder: BatchBuilder, value: &&str| {
        builder.record(&NewRecord { timestamp: now(), value: Some(value.as_bytes()), ..NewRecord::default() })
    };
    values.iter().fold(BatchBuilder::new(), add).build(0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_compacted_no_more_keeps_what_it_is_sent_though_its_turn_was_coming() {
    let mut options = options();
    // A cleaning of the first topic takes some seconds.
    options.cleaner.bytes_per_second = 100_000;
    options.cleaner.period = Duration::from_secs(1);
    let running = start(options).await;
    let mut client = running.client().await;
    for topic in ["first", "second", "third"] {
        assert_eq!(client.create(topic, 1, &EAGER).await, 0);
    }
    let long = "x".repeat(100_000);
    let pairs: [Pair<'_>; 2] = [("a", Some(&long)), ("a", Some("1"))];
    for _ in 0..2 {
        produce(&mut client, "first", Compression::None, &pairs).await;
        for topic in ["second", "third"] {
            produce(&mut client, topic, Compression::None, &[("a", Some("1"))]).await;
        }
    }
    let end_of = |topic: &str| {
        let image = running.store.ledger().image();
        image.streams[&image.topic(topic).unwrap().partitions[0]].committed().to_kafka()
    };
    // The first topic is being cleaned; the second one is next.
    let read = || running.store.compaction().read_bytes;
    while read() < 100_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load::set(&mut client, "second", "cleanup.policy", "delete").await;
    assert_eq!(client.produce("second", keyless(&["no key", "nor here"]).bytes().clone()).await.error_code, 0);
    while end_of("second") < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(running.broker.cleaner().passes, 0, "the first one is at it still, or this shows nothing");
    cleaned_to(&running, "third", 2).await;
    let (found, _) = consumed(&mut client, "second").await;
    assert_eq!(found.iter().map(RecordBatch::record_count).sum::<i32>(), 4, "everything is there");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleaning_ends_where_its_topic_is_compacted_no_more() {
    let mut options = options();
    // What is read takes a second or two.
    options.cleaner.bytes_per_second = 100_000;
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &EAGER).await, 0);
    let long = "x".repeat(100_000);
    for _ in 0..2 {
        produce(&mut client, "t", Compression::None, &[("a", Some(&long))]).await;
    }
    while running.store.compaction().read_bytes == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    load::set(&mut client, "t", "cleanup.policy", "delete").await;
    while running.broker.cleaner().passes_given_up == 0 {
        assert_eq!(running.broker.cleaner().passes, 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(records(&consumed(&mut client, "t").await.0).len(), 2);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_batch_of_keys_that_are_all_new_is_cleaned() {
    let running = start(options()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &EAGER).await, 0);
    let names: Vec<String> = (0..500).map(|n| format!("k{n}")).collect();
    let pairs: Vec<Pair<'_>> = names.iter().map(|name| (name.as_str(), Some("v"))).collect();
    produce(&mut client, "t", Compression::None, &pairs).await;
    cleaned_to(&running, "t", 500).await;
    assert_eq!(running.broker.cleaner().passes_given_up, 0);
    running.broker.stop().await;
}
