//! Brokers that don't take whoever comes: what a client is told of it, and that it is told soon.

use crate::options::{ClientOptions, Login};
use crate::test_broker::{self, answer};
use crate::{ClientError, Cluster, SPEAKS_TLS};
use bytes::Bytes;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::frame::RequestFrame;
use protocol::messages::sasl_authenticate_response::SaslAuthenticateResponse;
use protocol::messages::sasl_handshake_response::SaslHandshakeResponse;
use std::sync::Arc;
use world::World;

/// What is told of a broker that answers so.
async fn told(login: Option<Login>, answers: fn(RequestFrame) -> Option<Bytes>) -> ClientError {
    let port = test_broker::start(|_| Arc::new(answers));
    let options = ClientOptions { login, ..ClientOptions::new(format!("127.0.0.1:{port}")) };
    Cluster::connect(World::system(), options).await.err().unwrap()
}

fn login() -> Option<Login> {
    Some(Login { user: "admin".to_owned(), password: "wrong".to_owned() })
}

/// As a broker that wants a login.
fn wants_a_login(request: RequestFrame) -> Option<Bytes> {
    let header = &request.header;
    match header.key {
        ApiKey::ApiVersions => {
            let served = [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
            answer(header, &test_broker::serves(&served))
        }
        ApiKey::SaslHandshake => answer(header, &SaslHandshakeResponse::default()),
        ApiKey::SaslAuthenticate => {
            let answered = SaslAuthenticateResponse {
                error_code: ErrorCode::SaslAuthenticationFailed.number(),
                error_message: Some("Authentication failed: Invalid username or password".to_owned()),
                ..SaslAuthenticateResponse::default()
            };
            answer(header, &answered)
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_not_taken_is_no_missing_broker() {
    let error = told(login(), wants_a_login).await;
    assert_eq!(error.code(), Some(ErrorCode::SaslAuthenticationFailed), "{error}");
    assert!(error.to_string().contains("log in at 127.0.0.1:") && !error.to_string().contains("wrong"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_log_in_is_told_that_connections_are_closed() {
    let error = told(None, wants_a_login).await;
    assert!(matches!(error, ClientError::TurnedAway { .. }), "{error}");
    // So does one that closes at once.
    let error = told(None, |_| None).await;
    assert!(matches!(error, ClientError::TurnedAway { .. }), "{error}");
}

/// As a broker that takes the login, and ends then.
fn ends_after_the_login(request: RequestFrame) -> Option<Bytes> {
    match request.header.key {
        ApiKey::SaslAuthenticate => answer(&request.header, &SaslAuthenticateResponse::default()),
        _ => wants_a_login(request),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_login_is_taken_is_not_told_to_log_in() {
    let error = told(login(), ends_after_the_login).await;
    assert!(!matches!(error, ClientError::TurnedAway { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_tls_is_told_apart() {
    let error = told(None, |_| Some(Bytes::from_static(&[21, 3, 3, 0, 2, 2, 80]))).await;
    assert!(matches!(&error, ClientError::Unreachable { reason, .. } if reason == SPEAKS_TLS), "{error}");
}
