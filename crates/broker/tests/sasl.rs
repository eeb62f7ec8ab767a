//! A listener where callers log in: who does is served as itself, and who does not is not served at all.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::logins::{guarded, handshake, is_closed, logged_in, plain, salted, scram, token};
use crate::support::{batch, fetch_request, metadata_request, produce_request, start, start_beside};
use broker::BrokerOptions;
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::alter_client_quotas_request::{AlterClientQuotasRequest, EntityData, EntryData, OpData};
use protocol::messages::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequest, ScramCredentialUpsertion,
};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use protocol::messages::sasl_handshake_request::SaslHandshakeRequest;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_is_served_as_itself() {
    let running = guarded(&[]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    assert_eq!(admin.create("t", 1, &[]).await, 0);
    let mut alice = logged_in(&running, "alice", "wonder").await;
    let denied = ErrorCode::TopicAuthorizationFailed.number();
    assert_eq!(alice.produce("t", batch(&[(1, "a")])).await.error_code, denied);
    let entry = |operation| AclCreation {
        resource_type: 2,
        resource_name: "t".to_owned(),
        principal: "User:alice".to_owned(),
        host: "127.0.0.1".to_owned(),
        operation,
        permission_type: 3,
        ..AclCreation::default()
    };
    let created = admin.call(3, &CreateAclsRequest { creations: vec![entry(3), entry(4)] }).await;
    assert!(created.results.iter().all(|it| it.error_code == 0));
    assert_eq!(alice.produce("t", batch(&[(1, "a")])).await.error_code, 0);
    let fetched = alice.call(12, &fetch_request("t", 0, 0)).await;
    assert_eq!(fetched.responses[0].partitions[0].error_code, 0);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_those_of_the_user_that_has_logged_in() {
    let running = guarded(&[("super.users", "User:admin;User:alice")]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    let mut alice = logged_in(&running, "alice", "wonder").await;
    assert_eq!(admin.create("t", 1, &[]).await, 0);
    let entity = vec![EntityData { entity_type: "user".to_owned(), entity_name: Some("alice".to_owned()) }];
    let ops = vec![OpData { key: "producer_byte_rate".to_owned(), value: 1.0, remove: false }];
    let request = AlterClientQuotasRequest { entries: vec![EntryData { entity, ops }], validate_only: false };
    assert_eq!(admin.call(1, &request).await.entries[0].error_code, 0);
    let record = || produce_request("t", batch(&[(1, "a")]), -1);
    assert_eq!(admin.call(9, &record()).await.throttle_time_ms, 0);
    assert!(alice.call(9, &record()).await.throttle_time_ms > 0);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_is_cut_off() {
    let running = guarded(&[("connection.failed.authentication.delay.ms", "200")]).await;
    let mut client = running.client().await;
    let (client_software_name, client_software_version) = ("test".to_owned(), "1".to_owned());
    let versions = ApiVersionsRequest { client_software_name, client_software_version, ..Default::default() };
    assert_eq!(client.call(3, &versions).await.error_code, 0);
    client.send(9, &metadata_request("t")).await;
    assert!(is_closed(&mut client).await);

    let mut client = running.client().await;
    let began = running.world.clock.now();
    let answer = plain(&mut client, "alice", "wrong").await;
    assert!(running.world.clock.now().since(began) >= Duration::from_millis(200), "it is told late");
    assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.number());
    assert_eq!(answer.error_message.as_deref(), Some("Authentication failed: Invalid username or password"));
    assert!(is_closed(&mut client).await);

    // A token that is announced to be long is not waited for.
    let mut client = running.client().await;
    handshake(&mut client, "PLAIN").await;
    client.socket.write_all(&600_000_u32.to_be_bytes()).await.unwrap();
    assert!(is_closed(&mut client).await);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_ledger_are_for_logging_in() {
    let running = guarded(&[]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    let upsertion = ScramCredentialUpsertion {
        name: "carol".to_owned(),
        mechanism: 1,
        iterations: 4096,
        salt: Bytes::from_static(b"pepper"),
        salted_password: salted("pencil", b"pepper", 4096).into(),
    };
    let request = AlterUserScramCredentialsRequest { deletions: Vec::new(), upsertions: vec![upsertion] };
    assert_eq!(admin.call(0, &request).await.results[0].error_code, 0);
    let mut carol = running.client().await;
    let answer = scram(&mut carol, "carol", "pencil").await;
    assert_eq!((answer.error_code, answer.auth_bytes.starts_with(b"v=")), (0, true));
    let topic = carol.call(12, &metadata_request("t")).await.topics.remove(0);
    assert_eq!(topic.error_code, ErrorCode::TopicAuthorizationFailed.number(), "she is known, and may do nothing");
    for (user, password) in [("carol", "pen"), ("nobody", "pencil")] {
        let mut stranger = running.client().await;
        let answer = scram(&mut stranger, user, password).await;
        assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.number());
        let why = answer.error_message.unwrap();
        assert!(why.contains("invalid credentials with SASL mechanism SCRAM-SHA-256"), "{why}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_expires_and_is_made_anew() {
    let running = guarded(&[("connections.max.reauth.ms", "700")]).await;
    let mut client = running.client().await;
    assert_eq!(plain(&mut client, "admin", "pw").await.session_lifetime_ms, 700);
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(plain(&mut client, "admin", "pw").await.error_code, 0);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(plain(&mut client, "admin", "pw").await.error_code, 0, "also when it is late");
    assert_eq!(client.call(12, &metadata_request("t")).await.topics[0].error_code, 0);
    assert_eq!(token(&mut client, b"\0a\0b").await.error_code, ErrorCode::IllegalSaslState.number());
    tokio::time::sleep(Duration::from_millis(800)).await;
    client.send(12, &metadata_request("t")).await;
    assert!(is_closed(&mut client).await);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_logs_in_it_is_told_so() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let illegal = ErrorCode::IllegalSaslState.number();
    let request = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
    assert_eq!(client.call(1, &request).await.error_code, illegal);
    assert_eq!(token(&mut client, b"\0a\0b").await.error_code, illegal);
    assert_eq!(client.create("t", 1, &[]).await, 0, "and goes on");
    // A handshake whose text has 5 bytes, of which one is there.
    client.socket.write_all(&[0, 0, 0, 13, 0, 17, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0, 5, b'P']).await.unwrap();
    assert!(is_closed(&mut client).await, "what can't be read has no answer");
    running.broker.stop().await;
}

/// What brokers ask one another they ask as their own user.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_log_in_at_one_another() {
    let running = guarded(&[]).await;
    let other = start_beside(&running).await;
    let login = client::Login { user: "admin".to_owned(), password: "pw".to_owned() };
    for (login, is_served) in [(Some(login), true), (None, false)] {
        let options = client::ClientOptions { login, ..client::ClientOptions::new("") };
        let connection = client::Connection::open(&other.world, &options, &other.address).await.unwrap();
        let asked = connection.call(&metadata_request("t"), Duration::from_secs(5)).await;
        assert_eq!(asked.is_ok(), is_served);
    }
    other.broker.stop().await;
    running.broker.stop().await;
}
