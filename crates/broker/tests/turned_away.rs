//! Brokers that ask whether this one lives, while it takes no more connections: they are answered, and nobody else is.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::quotas::{EVERY_IP, set, short_windows};
use crate::support::{Client, Running, metadata_request, start};
use broker::{BrokerOptions, START_CLIENT_ID, WATCH_CLIENT_ID};
use protocol::frame::{decode_response, encode_request};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Whether a new connection whose first request is that client's ApiVersions is answered before the broker closes it.
async fn is_answered(running: &Running, client_id: &str) -> bool {
    let mut client = running.client().await;
    let asked = encode_request(7, Some(client_id), 0, &ApiVersionsRequest::default()).unwrap();
    client.socket.write_all(&asked.into_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), client.receive_frame()).await;
    let Some(frame) = answer.expect("it is answered or closed") else { return false };
    let (correlation_id, _) = decode_response::<ApiVersionsRequest>(frame, 0).unwrap();
    assert_eq!(correlation_id, 7);
    true
}

/// Brokers are answered, again and again, and others not.
async fn only_brokers_are_answered(running: &Running, last: &mut Client) {
    assert!(!is_answered(running, "somebody").await);
    for _ in 0..3 {
        assert!(is_answered(running, START_CLIENT_ID).await);
        assert!(is_answered(running, WATCH_CLIENT_ID).await);
    }
    last.call(9, &metadata_request("t")).await;
}

#[tokio::test]
async fn brokers_are_answered_where_connections_are_all_taken() {
    let running = start(BrokerOptions { connections_max: 1, ..BrokerOptions::default() }).await;
    let mut only = running.client().await;
    only.call(9, &metadata_request("t")).await;
    only_brokers_are_answered(&running, &mut only).await;
}

#[tokio::test]
async fn brokers_are_answered_where_those_of_their_address_are_taken() {
    let running = start(BrokerOptions { connections_per_ip_max: 1, ..BrokerOptions::default() }).await;
    let mut only = running.client().await;
    only.call(9, &metadata_request("t")).await;
    // Some that say nothing leave room.
    let silent = [running.client().await, running.client().await];
    only_brokers_are_answered(&running, &mut only).await;
    drop(silent);
}

#[tokio::test]
async fn brokers_are_answered_where_their_address_connects_too_often() {
    let running = start(short_windows()).await;
    let mut client = running.client().await;
    set(&mut client, EVERY_IP, "connection_creation_rate", 1.0).await;
    let mut last = running.client().await;
    only_brokers_are_answered(&running, &mut last).await;
}
