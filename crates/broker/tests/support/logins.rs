//! Brokers where callers log in, and their logins.

use super::{Client, Running, start};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker::BrokerOptions;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use protocol::messages::sasl_authenticate_request::SaslAuthenticateRequest;
use protocol::messages::sasl_authenticate_response::SaslAuthenticateResponse;
use protocol::messages::sasl_handshake_request::SaslHandshakeRequest;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const LOGINS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" password=\"pw\" \
    user_admin=\"pw\" user_alice=\"wonder\" user_bob=\"build\";";

pub async fn guarded(more: &[(&str, &str)]) -> Running {
    let given = [
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:9092"),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", LOGINS),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:admin"),
    ];
    let given: BTreeMap<String, String> =
        given.iter().chain(more).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut options = BrokerOptions::default();
    broker::settings::apply(&given, &mut options).unwrap();
    start(options).await
}

pub async fn handshake(client: &mut Client, mechanism: &str) {
    let request = SaslHandshakeRequest { mechanism: mechanism.to_owned() };
    assert_eq!(client.call(1, &request).await.error_code, 0);
}

pub async fn token(client: &mut Client, token: &[u8]) -> SaslAuthenticateResponse {
    client.call(2, &SaslAuthenticateRequest { auth_bytes: Bytes::copy_from_slice(token) }).await
}

pub async fn plain(client: &mut Client, user: &str, password: &str) -> SaslAuthenticateResponse {
    handshake(client, "PLAIN").await;
    token(client, format!("\0{user}\0{password}").as_bytes()).await
}

pub async fn logged_in(running: &Running, user: &str, password: &str) -> Client {
    let mut client = running.client().await;
    let answer = plain(&mut client, user, password).await;
    assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, 0));
    client
}

/// Whether the broker has closed the connection.
pub async fn is_closed(client: &mut Client) -> bool {
    client.receive_frame().await.is_none()
}

fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// RFC 5802's `Hi`.
pub fn salted(password: &str, salt: &[u8], rounds: u32) -> Vec<u8> {
    let mut last = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut all = last.clone();
    for _ in 1..rounds {
        last = hmac(password.as_bytes(), &last);
        all = xor(&all, &last);
    }
    all
}

pub async fn scram(client: &mut Client, user: &str, password: &str) -> SaslAuthenticateResponse {
    scram_with(client, (user, password), "").await
}

/// The same with what a client says behind its nonce.
pub async fn scram_with(
    client: &mut Client,
    (user, password): (&str, &str),
    extensions: &str,
) -> SaslAuthenticateResponse {
    handshake(client, "SCRAM-SHA-256").await;
    let first = format!("n={user},r=abc{extensions}");
    let challenge = token(client, format!("n,,{first}").as_bytes()).await;
    if challenge.error_code != 0 {
        return challenge;
    }
    let server = String::from_utf8(challenge.auth_bytes.to_vec()).unwrap();
    let fields: Vec<&str> = server.split(',').map(|field| &field[2..]).collect();
    let key = salted(password, &STANDARD.decode(fields[1]).unwrap(), fields[2].parse().unwrap());
    let last = format!("c=biws,r={}", fields[0]);
    let client_key = hmac(&key, b"Client Key");
    let signature = hmac(&Sha256::digest(&client_key), format!("{first},{server},{last}").as_bytes());
    token(client, format!("{last},p={}", STANDARD.encode(xor(&client_key, &signature))).as_bytes()).await
}
