//! Idempotent producers over the wire: ids, repeats, refusals, and that a repeat waits for what it repeats.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::{Client, batch, produce_request, start};
use broker::BrokerOptions;
use bytes::{Bytes, BytesMut};
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::produce_request::ProduceRequest;
use std::time::Duration;

const NONE: i16 = 0;
const OUT_OF_ORDER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_REQUEST: i16 = 42;
const NOT_COORDINATOR: i16 = 16;
const INVALID_RECORD: i16 = 87;

/// A batch of so many records as that producer sends it.
fn stamped(id: i64, epoch: i16, sequence: i32, timestamps: &[i64]) -> Bytes {
    let records: Vec<(i64, &str)> = timestamps.iter().map(|timestamp| (*timestamp, "value")).collect();
    let mut bytes = BytesMut::from(&batch(&records)[..]);
    bytes[43..51].copy_from_slice(&id.to_be_bytes());
    bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = base::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

async fn init(client: &mut Client, version: i16) -> i64 {
    let request = InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() };
    let response = client.call(version, &request).await;
    assert_eq!((response.error_code, response.producer_epoch), (NONE, 0), "version {version}");
    response.producer_id
}

fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn ids_are_handed_out_once_in_every_version_and_over_restarts() {
    let mut running = start(BrokerOptions::default()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut client = running.client().await;
        for version in 0..=5 {
            ids.push(init(&mut client, version).await);
        }
        running = running.restart().await;
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");

    let mut client = running.client().await;
    let ask = |transactional_id: Option<&str>, producer_id, producer_epoch| InitProducerIdRequest {
        transactional_id: transactional_id.map(str::to_owned),
        transaction_timeout_ms: 1000,
        producer_id,
        producer_epoch,
    };
    let cases = [
        (ask(Some("t"), -1, -1), NOT_COORDINATOR, "a transactional id, of which nobody has looked for the coordinator"),
        (ask(Some(""), -1, -1), INVALID_REQUEST, "an empty transactional id"),
        (ask(None, 5, -1), INVALID_REQUEST, "an id without an epoch"),
        (ask(None, -1, 5), INVALID_REQUEST, "an epoch without an id"),
        (ask(None, ids[0], 3), NONE, "a producer that has an id gets another one"),
    ];
    for (request, code, what) in cases {
        let response = client.call(5, &request).await;
        assert_eq!(response.error_code, code, "{what}");
        assert_eq!(response.producer_id == -1, code != NONE, "{what}");
        assert!(!ids.contains(&response.producer_id), "{what}");
    }
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_originals_place_and_anything_else_by_its_error() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let id = init(&mut client, 5).await;
    let time = now();
    let first = stamped(id, 0, 0, &[time, time - 5]);
    let second = stamped(id, 0, 2, &[time + 1]);
    for (batch, base) in [(&first, 0), (&second, 2)] {
        let answer = client.produce("t", batch.clone()).await;
        assert_eq!((answer.error_code, answer.base_offset, answer.log_append_time_ms), (NONE, base, -1));
    }
    for (batch, base, time) in [(&first, 0, time), (&second, 2, time + 1), (&first, 0, time)] {
        let answer = client.produce("t", batch.clone()).await;
        // The original's greatest timestamp: as Kafka answers.
        assert_eq!((answer.error_code, answer.base_offset, answer.log_append_time_ms), (NONE, base, time));
    }
    let cases = [
        (stamped(id, 0, 4, &[time]), OUT_OF_ORDER, "a gap"),
        (stamped(id, 0, 1, &[time]), OUT_OF_ORDER, "what is stored, cut another way"),
        (stamped(id, 1, 3, &[time]), OUT_OF_ORDER, "a new epoch begins at 0"),
        (stamped(id + 1, 0, 7, &[time]), OUT_OF_ORDER, "so does a stranger"),
        (stamped(id, 0, -1, &[time]), INVALID_RECORD, "no sequence"),
    ];
    for (batch, code, what) in cases {
        let answer = client.produce("t", batch).await;
        assert_eq!((answer.error_code, answer.base_offset), (code, -1), "{what}: {:?}", answer.error_message);
    }
    let bumped = client.produce("t", stamped(id, 1, 0, &[time])).await;
    assert_eq!((bumped.error_code, bumped.base_offset), (NONE, 3));
    let stale = client.produce("t", stamped(id, 0, 3, &[time])).await;
    assert_eq!(stale.error_code, INVALID_PRODUCER_EPOCH);

    let running = running.restart().await;
    let mut client = running.client().await;
    let again = client.produce("t", stamped(id, 1, 0, &[time])).await;
    assert_eq!((again.error_code, again.base_offset), (NONE, 3), "after a restart");
}

#[tokio::test]
async fn a_repeat_waits_until_its_original_is_durable() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let id = init(&mut client, 4).await;
    assert_eq!(client.produce("t", stamped(id, 0, 0, &[now()])).await.error_code, NONE);
    running.close_gate();
    let request = produce_request("t", stamped(id, 0, 1, &[now()]), -1);
    client.send(9, &request).await;
    let mut other = running.client().await;
    other.send(9, &request).await;
    let waited = tokio::time::timeout(Duration::from_millis(300), other.receive::<ProduceRequest>(9)).await;
    assert!(waited.is_err(), "answered before it was durable");
    running.open_gate();
    let mut other = running.client().await;
    let (_, answer) = client.receive::<ProduceRequest>(9).await;
    assert_eq!(answer.responses[0].partition_responses[0].base_offset, 1);
    let again = other.produce("t", stamped(id, 0, 1, &[now()])).await;
    assert_eq!((again.error_code, again.base_offset), (NONE, 1));
}

/// librdkafka goes on with the sequences that it has when its topic is deleted and made anew, and gives up for good where it is refused.
#[tokio::test]
async fn producers_go_on_upon_a_topic_made_anew_under_the_name_of_a_deleted_one() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let id = init(&mut client, 5).await;
    assert_eq!(client.produce("t", stamped(id, 0, 0, &[now(), now()])).await.error_code, NONE);
    let delete = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 30_000, topics: Vec::new() };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, NONE);
    client.create("t", 1, &[]).await;
    let mut running = running;
    for (sequence, base) in [(2, 0), (3, 1)] {
        let answer = client.produce("t", stamped(id, 0, sequence, &[now()])).await;
        assert_eq!((answer.error_code, answer.base_offset), (NONE, base));
        running = running.restart().await;
        client = running.client().await;
    }
    let gap = client.produce("t", stamped(id, 0, 5, &[now()])).await;
    assert_eq!(gap.error_code, OUT_OF_ORDER, "it is no stranger any more");
}
