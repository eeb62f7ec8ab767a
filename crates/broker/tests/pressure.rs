//! A bucket that takes no data objects: producers are slowed, then held up, then go on; nothing is lost, and memory answers reads.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::{Client, batch, fetch_request, produce_request, start_with_log};
use broker::BrokerOptions;
use protocol::messages::produce_response::ProduceResponse;
use std::sync::atomic::Ordering;
use std::time::Duration;

const NONE: i16 = 0;
const REQUEST_TIMED_OUT: i16 = 7;
const RECORD_BYTES: usize = 60_000;

/// One record; the whole answer.
async fn produce(client: &mut Client) -> ProduceResponse {
    let mut request = produce_request("slow", batch(&[(1, &"x".repeat(RECORD_BYTES))]), -1);
    request.timeout_ms = 2000;
    client.call(9, &request).await
}

fn code(answer: &ProduceResponse) -> i16 {
    answer.responses[0].partition_responses[0].error_code
}

#[tokio::test]
async fn a_filling_log_slows_producers_before_it_holds_them_up_and_all_goes_on_when_the_bucket_is_back() {
    let running = start_with_log(BrokerOptions::default(), 2 << 20).await;
    let mut client = running.client().await;
    assert_eq!(client.create("slow", 1, &[]).await, NONE);
    running.gate.data_closed.store(true, Ordering::Relaxed);

    let mut throttles = Vec::new();
    let refused = loop {
        let answer = produce(&mut client).await;
        if code(&answer) != NONE {
            break answer;
        }
        throttles.push(answer.throttle_time_ms);
        assert!(throttles.len() < 100, "a log of 2 MiB took 6 MB");
    };
    assert_eq!(code(&refused), REQUEST_TIMED_OUT, "which clients try again after");
    assert_eq!(refused.throttle_time_ms, 200);
    let free = throttles.iter().take_while(|throttle| **throttle == 0).count();
    assert!((20..30).contains(&free), "three quarters of the log are free to use: {throttles:?}");
    assert!(throttles.len() - free >= 4 && throttles.is_sorted(), "{throttles:?}");

    let fetched = client.call(11, &fetch_request("slow", 0, 100)).await;
    let partition = &fetched.responses[0].partitions[0];
    assert_eq!(partition.error_code, NONE);
    assert!(partition.records.as_ref().unwrap().len() > RECORD_BYTES, "what is in memory is read on");

    running.gate.data_closed.store(false, Ordering::Relaxed);
    let mut again = 0;
    let answer = loop {
        let answer = produce(&mut client).await;
        if code(&answer) == NONE && answer.throttle_time_ms == 0 {
            break answer;
        }
        again += 1;
        assert!(again < 100, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let offset = answer.responses[0].partition_responses[0].base_offset;
    assert!(offset >= i64::try_from(throttles.len()).unwrap(), "what was acknowledged stays");
}
