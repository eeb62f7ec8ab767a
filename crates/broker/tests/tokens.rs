//! Delegation tokens (KIP-48): who gets one, who logs in by it, and when it ends.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::logins::{guarded, handshake, is_closed, logged_in, scram, scram_with, token};
use crate::support::{Client, Running, metadata_request, start};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker::BrokerOptions;
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use protocol::messages::create_delegation_token_request::{CreatableRenewers, CreateDelegationTokenRequest};
use protocol::messages::create_delegation_token_response::CreateDelegationTokenResponse;
use protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::describe_delegation_token_request::{
    DescribeDelegationTokenOwner, DescribeDelegationTokenRequest,
};
use protocol::messages::describe_delegation_token_response::DescribeDelegationTokenResponse;
use protocol::messages::expire_delegation_token_request::ExpireDelegationTokenRequest;
use protocol::messages::expire_delegation_token_response::ExpireDelegationTokenResponse;
use protocol::messages::renew_delegation_token_request::RenewDelegationTokenRequest;
use protocol::messages::renew_delegation_token_response::RenewDelegationTokenResponse;
use protocol::messages::sasl_authenticate_response::SaslAuthenticateResponse;
use std::time::Duration;

const DAY_MS: i64 = 24 * 3600 * 1000;

async fn with_tokens(more: &[(&str, &str)]) -> Running {
    let secret = [("delegation.token.secret.key", "the-secret-of-all")];
    guarded(&secret.iter().chain(more).copied().collect::<Vec<_>>()).await
}

/// What is asked for: a token of that owner (empty: the caller's own), that these may renew.
fn wanted(owner: &str, renewers: &[&str]) -> CreateDelegationTokenRequest {
    let renewer =
        |name: &&str| CreatableRenewers { principal_type: "User".to_owned(), principal_name: (*name).to_owned() };
    CreateDelegationTokenRequest {
        owner_principal_type: Some("User".to_owned()),
        owner_principal_name: Some(owner.to_owned()),
        renewers: renewers.iter().map(renewer).collect(),
        max_lifetime_ms: -1,
    }
}

async fn made(client: &mut Client, request: &CreateDelegationTokenRequest) -> CreateDelegationTokenResponse {
    let answer = client.call(3, request).await;
    assert_eq!(answer.error_code, 0);
    answer
}

async fn renew(client: &mut Client, hmac: &Bytes, renew_period_ms: i64) -> RenewDelegationTokenResponse {
    client.call(2, &RenewDelegationTokenRequest { hmac: hmac.clone(), renew_period_ms }).await
}

async fn expire(client: &mut Client, hmac: &Bytes, expiry_time_period_ms: i64) -> ExpireDelegationTokenResponse {
    client.call(2, &ExpireDelegationTokenRequest { hmac: hmac.clone(), expiry_time_period_ms }).await
}

async fn described(client: &mut Client, owners: Option<&[&str]>) -> DescribeDelegationTokenResponse {
    let owner = |name: &&str| DescribeDelegationTokenOwner {
        principal_type: "User".to_owned(),
        principal_name: (*name).to_owned(),
    };
    let owners = owners.map(|owners| owners.iter().map(owner).collect());
    client.call(3, &DescribeDelegationTokenRequest { owners }).await
}

/// Whose tokens it is told of.
async fn owners_told(client: &mut Client, owners: Option<&[&str]>) -> Vec<String> {
    let answer = described(client, owners).await;
    assert_eq!(answer.error_code, 0);
    let mut names: Vec<String> = answer.tokens.into_iter().map(|it| it.principal_name).collect();
    names.sort();
    names
}

/// Logs in by a token.
async fn by_token(client: &mut Client, token: &CreateDelegationTokenResponse) -> SaslAuthenticateResponse {
    scram_with(client, (&token.token_id, &STANDARD.encode(&token.hmac)), ",tokenauth=true").await
}

async fn allow(admin: &mut Client, user: &str, operation: i8, (resource_type, resource_name): (i8, &str)) {
    let creation = AclCreation {
        resource_type,
        resource_name: resource_name.to_owned(),
        principal: format!("User:{user}"),
        host: "*".to_owned(),
        operation,
        permission_type: 3,
        ..AclCreation::default()
    };
    assert_eq!(admin.call(3, &CreateAclsRequest { creations: vec![creation] }).await.results[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_token_is_its_owner() {
    let running = with_tokens(&[]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    allow(&mut admin, "alice", 8, (2, "t")).await;
    assert_eq!(admin.create("t", 1, &[]).await, 0);
    let mut alice = logged_in(&running, "alice", "wonder").await;
    let before = running.world.clock.wall().0;
    let token = made(&mut alice, &wanted("", &["bob"])).await;
    let after = running.world.clock.wall().0;
    assert!((before..=after).contains(&token.issue_timestamp_ms));
    let lasts =
        (token.expiry_timestamp_ms - token.issue_timestamp_ms, token.max_timestamp_ms - token.issue_timestamp_ms);
    assert_eq!((lasts, token.hmac.len(), token.token_id.len()), ((DAY_MS, 7 * DAY_MS), 64, 22));
    let whose = [&token.principal_type, &token.principal_name];
    let asked = [&token.token_requester_principal_type, &token.token_requester_principal_name];
    assert_eq!(
        (whose, asked),
        (["User", "alice"].map(str::to_owned).each_ref(), ["User", "alice"].map(str::to_owned).each_ref())
    );

    let mut shown = running.client().await;
    let answer = by_token(&mut shown, &token).await;
    assert_eq!((answer.error_code, answer.auth_bytes.starts_with(b"v=")), (0, true));
    let left = token.expiry_timestamp_ms - running.world.clock.wall().0;
    assert!((left..=left + 60_000).contains(&answer.session_lifetime_ms), "its login ends with it");
    assert_eq!(shown.call(12, &metadata_request("t")).await.topics[0].error_code, 0, "alice may describe it");

    // Nobody gets further by a token than to what its owner may do.
    let denied = ErrorCode::DelegationTokenRequestNotAllowed.number();
    let refused = shown.call(3, &wanted("", &[])).await;
    assert_eq!((refused.error_code, refused.issue_timestamp_ms, refused.max_timestamp_ms), (denied, -1, -1));
    let renewed = renew(&mut shown, &token.hmac, -1).await;
    assert_eq!((renewed.error_code, renewed.expiry_timestamp_ms), (denied, -1));
    let expired = expire(&mut shown, &token.hmac, -1).await;
    assert_eq!((expired.error_code, expired.expiry_timestamp_ms), (denied, -1));
    assert_eq!(described(&mut shown, None).await.error_code, denied);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_hmac_logs_in() {
    let running = with_tokens(&[]).await;
    let mut alice = logged_in(&running, "alice", "wonder").await;
    let token = made(&mut alice, &wanted("", &[])).await;
    let password = STANDARD.encode(&token.hmac);
    let failed = ErrorCode::SaslAuthenticationFailed.number();
    let id = token.token_id.as_str();
    let wrong = [
        (id, "wrong", ",tokenauth=true"),
        ("alice", password.as_str(), ",tokenauth=true"),
        (id, password.as_str(), ""),
        (id, password.as_str(), ",tokenauth=false"),
        (id, password.as_str(), ",tokenauth=true,tokenauth=false"),
    ];
    for (user, password, extensions) in wrong {
        let mut stranger = running.client().await;
        let answer = scram_with(&mut stranger, (user, password), extensions).await;
        assert_eq!(answer.error_code, failed, "{extensions}");
        let why = answer.error_message.unwrap();
        assert!(why.contains("invalid credentials with SASL mechanism SCRAM-SHA-256"), "{why}");
    }
    for extensions in [",tokenauth=TRUE", ",other=1,tokenauth=true"] {
        let answer = scram_with(&mut running.client().await, (id, &password), extensions).await;
        assert_eq!(answer.error_code, 0, "{extensions}");
    }
    assert_eq!(expire(&mut alice, &token.hmac, -1).await.error_code, 0);
    assert_eq!(by_token(&mut running.client().await, &token).await.error_code, failed, "it has gone");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_for_others_where_that_is_allowed() {
    let running = with_tokens(&[]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    let mut alice = logged_in(&running, "alice", "wonder").await;
    let refused = alice.call(3, &wanted("bob", &[])).await;
    let denied = ErrorCode::DelegationTokenAuthorizationFailed.number();
    assert_eq!((refused.error_code, refused.expiry_timestamp_ms, refused.hmac.len()), (denied, -1, 0));
    assert_eq!((refused.principal_name.as_str(), refused.token_requester_principal_name.as_str()), ("bob", "alice"));
    // Kafka's CREATE_TOKENS on a user.
    allow(&mut admin, "alice", 13, (7, "User:bob")).await;
    let token = made(&mut alice, &wanted("bob", &[])).await;
    assert_eq!((token.principal_name.as_str(), token.token_requester_principal_name.as_str()), ("bob", "alice"));
    let whole = described(&mut alice, None).await.tokens.remove(0);
    assert_eq!((whole.token_id, whole.hmac), (token.token_id.clone(), token.hmac.clone()));
    assert_eq!((whole.principal_name.as_str(), whole.token_requester_principal_name.as_str()), ("bob", "alice"));
    // Who has asked for it sees it, and may not change it.
    let mismatch = ErrorCode::DelegationTokenOwnerMismatch.number();
    assert_eq!(renew(&mut alice, &token.hmac, -1).await.error_code, mismatch);
    let mut bob = logged_in(&running, "bob", "build").await;
    assert_eq!(renew(&mut bob, &token.hmac, -1).await.error_code, 0);
    // Before version 3 a token is for the caller, and nothing is said of who asked for it.
    let own = CreateDelegationTokenRequest { renewers: Vec::new(), max_lifetime_ms: 1000, ..Default::default() };
    let old = alice.call(0, &own).await;
    assert_eq!(
        (old.error_code, old.principal_name.as_str(), old.token_requester_principal_name.as_str()),
        (0, "alice", "")
    );
    assert_eq!((old.max_timestamp_ms, old.expiry_timestamp_ms), (old.issue_timestamp_ms + 1000, old.max_timestamp_ms));
    let mut group = wanted("", &["x"]);
    group.renewers[0].principal_type = "Group".to_owned();
    assert_eq!(alice.call(3, &group).await.error_code, ErrorCode::InvalidPrincipalType.number());
    let nobody = CreateDelegationTokenRequest { owner_principal_type: None, ..wanted("bob", &[]) };
    let answer = alice.call(3, &nobody).await;
    assert_eq!((answer.error_code, answer.principal_name.as_str()), (-1, "ANONYMOUS"));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_and_renewers_say_how_long_a_token_lasts() {
    let running = with_tokens(&[("delegation.token.max.lifetime.ms", "90000000")]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    let (mut alice, mut bob) =
        (logged_in(&running, "alice", "wonder").await, logged_in(&running, "bob", "build").await);
    let token = made(&mut alice, &wanted("", &["bob"])).await;
    let lasts = [token.expiry_timestamp_ms, token.max_timestamp_ms].map(|it| it - token.issue_timestamp_ms);
    assert_eq!(lasts, [DAY_MS, 90_000_000]);
    let now = || running.world.clock.wall().0;
    let near = |told: i64, expected: i64| (expected - 30_000..=expected).contains(&told);
    let renewed = renew(&mut bob, &token.hmac, 60_000).await;
    assert!(renewed.error_code == 0 && near(renewed.expiry_timestamp_ms, now() + 60_000), "{renewed:?}");
    let renewed = renew(&mut alice, &token.hmac, -1).await;
    assert!(renewed.error_code == 0 && near(renewed.expiry_timestamp_ms, now() + DAY_MS), "{renewed:?}");
    let expired = expire(&mut bob, &token.hmac, 120_000).await;
    assert!(expired.error_code == 0 && near(expired.expiry_timestamp_ms, now() + 120_000), "{expired:?}");
    let most = expire(&mut bob, &token.hmac, i64::MAX).await;
    assert_eq!((most.error_code, most.expiry_timestamp_ms), (0, token.max_timestamp_ms));
    // A super user may do everything else.
    let mismatch = ErrorCode::DelegationTokenOwnerMismatch.number();
    let renewed = renew(&mut admin, &token.hmac, -1).await;
    assert_eq!((renewed.error_code, renewed.expiry_timestamp_ms), (mismatch, 0));
    assert_eq!(expire(&mut admin, &token.hmac, -1).await.error_code, mismatch);
    let missing = ErrorCode::DelegationTokenNotFound.number();
    let renewed = renew(&mut alice, &Bytes::from_static(b"x"), -1).await;
    assert_eq!((renewed.error_code, renewed.expiry_timestamp_ms), (missing, 0));
    assert_eq!(expire(&mut alice, &Bytes::new(), -1).await.error_code, missing);
    // One that has ended is there until it is looked for: it can be removed, and nothing else.
    assert_eq!(expire(&mut alice, &token.hmac, 0).await.error_code, 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let over = ErrorCode::DelegationTokenExpired.number();
    assert_eq!(renew(&mut alice, &token.hmac, -1).await.error_code, over);
    assert_eq!(renew(&mut admin, &token.hmac, -1).await.error_code, over, "that is looked at first, as in Kafka");
    assert_eq!(expire(&mut alice, &token.hmac, 5000).await.error_code, over);
    assert_eq!(owners_told(&mut alice, None).await, ["alice"]);
    let removed = expire(&mut bob, &token.hmac, -1).await;
    assert!(removed.error_code == 0 && near(removed.expiry_timestamp_ms, now()), "{removed:?}");
    assert_eq!(owners_told(&mut alice, None).await, [""; 0]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_know_of_a_token_is_not_told() {
    let running = with_tokens(&[]).await;
    let mut admin = logged_in(&running, "admin", "pw").await;
    let (mut alice, mut bob) =
        (logged_in(&running, "alice", "wonder").await, logged_in(&running, "bob", "build").await);
    let of_alice = made(&mut alice, &wanted("", &["carol"])).await;
    made(&mut bob, &wanted("", &[])).await;
    assert_eq!(owners_told(&mut admin, None).await, ["alice", "bob"]);
    assert_eq!(owners_told(&mut admin, Some(&[])).await, [""; 0], "an empty list is of nobody");
    assert_eq!(owners_told(&mut admin, Some(&["bob", "dave"])).await, ["bob"]);
    assert_eq!(owners_told(&mut admin, Some(&["carol"])).await, ["alice"], "whom a token concerns");
    assert_eq!(owners_told(&mut bob, None).await, ["bob"]);
    // DESCRIBE on the token, or DESCRIBE_TOKENS on its owner.
    allow(&mut admin, "bob", 8, (6, &of_alice.token_id)).await;
    assert_eq!(owners_told(&mut bob, None).await, ["alice", "bob"]);
    assert_eq!(owners_told(&mut alice, None).await, ["alice"]);
    allow(&mut admin, "alice", 14, (7, "User:bob")).await;
    assert_eq!(owners_told(&mut alice, None).await, ["alice", "bob"]);
    let request = DescribeDelegationTokenRequest { owners: None };
    let old = alice.call(0, &request).await.tokens;
    assert!(old.iter().all(|token| token.token_requester_principal_name.is_empty()), "version 0 has no place for it");
    let renewers: Vec<_> = old.iter().flat_map(|token| &token.renewers).map(|it| it.principal_name.as_str()).collect();
    assert_eq!(renewers, ["carol"]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_are_forgotten_and_their_logins_with_them() {
    let more = [
        ("delegation.token.expiry.time.ms", "1500"),
        ("delegation.token.expiry.check.interval.ms", "100"),
        ("connections.max.reauth.ms", "3600000"),
    ];
    let running = with_tokens(&more).await;
    let mut alice = running.client().await;
    assert_eq!(crate::support::logins::plain(&mut alice, "alice", "wonder").await.session_lifetime_ms, 3_600_000);
    let token_of = made(&mut alice, &wanted("", &[])).await;
    let mut shown = running.client().await;
    let answer = by_token(&mut shown, &token_of).await;
    assert_eq!(answer.error_code, 0);
    assert!((1..=1500).contains(&answer.session_lifetime_ms), "{}", answer.session_lifetime_ms);
    assert_eq!(shown.call(12, &metadata_request("t")).await.topics.len(), 1);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    shown.send(12, &metadata_request("t")).await;
    assert!(is_closed(&mut shown).await);
    for _ in 0..100 {
        if running.store.ledger().image().tokens.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(described(&mut alice, None).await.tokens, []);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_takes_the_tokens_of_all() {
    let running = with_tokens(&[]).await;
    let (mut alice, mut bob) =
        (logged_in(&running, "alice", "wonder").await, logged_in(&running, "bob", "build").await);
    let long = "x".repeat(700);
    let great = wanted("", &[long.as_str(); 1000]);
    let token = made(&mut alice, &great).await;
    let refused = alice.call(3, &great).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.number(), "that is beyond a tenth of all");
    made(&mut bob, &great).await;
    made(&mut alice, &wanted("", &["bob"])).await;
    assert_eq!(described(&mut bob, None).await.tokens.len(), 2, "his own, and the one that he may renew");
    assert_eq!(expire(&mut alice, &token.hmac, -1).await.error_code, 0);
    made(&mut alice, &great).await;
    running.broker.stop().await;
}

/// Logging in anew may change the proof, and not the user.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_made_anew_by_another_token_of_the_same_owner() {
    let running = with_tokens(&[]).await;
    let (mut alice, mut bob) =
        (logged_in(&running, "alice", "wonder").await, logged_in(&running, "bob", "build").await);
    let (first, second) = (made(&mut alice, &wanted("", &[])).await, made(&mut alice, &wanted("", &[])).await);
    let others = made(&mut bob, &wanted("", &[])).await;
    let mut shown = running.client().await;
    assert_eq!(by_token(&mut shown, &first).await.error_code, 0);
    assert_eq!(by_token(&mut shown, &second).await.error_code, 0);
    let refused = by_token(&mut shown, &others).await;
    assert!(refused.error_message.unwrap().contains("from User.alice: User.bob"));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_restart() {
    let running = with_tokens(&[]).await;
    let mut alice = logged_in(&running, "alice", "wonder").await;
    let token = made(&mut alice, &wanted("", &["bob"])).await;
    let before = described(&mut alice, None).await;
    drop(alice);
    let running = running.restart().await;
    let mut alice = logged_in(&running, "alice", "wonder").await;
    assert_eq!(described(&mut alice, None).await, before);
    assert_eq!(by_token(&mut running.client().await, &token).await.error_code, 0);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_there_are_none() {
    let running = guarded(&[]).await;
    let mut alice = logged_in(&running, "alice", "wonder").await;
    let disabled = ErrorCode::DelegationTokenAuthDisabled.number();
    let refused = alice.call(3, &wanted("", &[])).await;
    assert_eq!(
        (refused.error_code, refused.issue_timestamp_ms, refused.principal_name.as_str()),
        (disabled, 0, "alice")
    );
    // What a caller may not do is told before that.
    let denied = alice.call(3, &wanted("bob", &[])).await;
    assert_eq!(denied.error_code, ErrorCode::DelegationTokenAuthorizationFailed.number());
    let renewed = renew(&mut alice, &Bytes::from_static(b"x"), -1).await;
    assert_eq!((renewed.error_code, renewed.expiry_timestamp_ms), (disabled, 0));
    assert_eq!(expire(&mut alice, &Bytes::from_static(b"x"), -1).await.error_code, disabled);
    assert_eq!(described(&mut alice, None).await.error_code, disabled);
    assert_eq!(described(&mut alice, Some(&[])).await.error_code, disabled);
    handshake(&mut running.client().await, "SCRAM-SHA-256").await;
    let answer = scram(&mut running.client().await, "alice", "x").await;
    assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.number());
    let mut stranger = running.client().await;
    handshake(&mut stranger, "SCRAM-SHA-256").await;
    let answer = token(&mut stranger, b"n,,n=alice,r=abc,tokenauth=true").await;
    assert_eq!(answer.error_code, ErrorCode::SaslAuthenticationFailed.number());
    running.broker.stop().await;
}

/// Who has not logged in may not even know whether there are tokens.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_logged_in_gets_none() {
    let mut options = BrokerOptions::default();
    let given = [("delegation.token.secret.key".to_owned(), "the-secret-of-all".to_owned())].into();
    broker::settings::apply(&given, &mut options).unwrap();
    assert!(!format!("{options:?}").contains("the-secret"), "it is not shown");
    let running = start(options).await;
    let mut client = running.client().await;
    let denied = ErrorCode::DelegationTokenRequestNotAllowed.number();
    let refused = client.call(3, &wanted("alice", &[])).await;
    let told = (refused.error_code, refused.principal_name.as_str(), refused.token_requester_principal_name.as_str());
    assert_eq!((told, refused.expiry_timestamp_ms), ((denied, "alice", "ANONYMOUS"), -1));
    assert_eq!(renew(&mut client, &Bytes::new(), -1).await.error_code, denied);
    assert_eq!(expire(&mut client, &Bytes::new(), -1).await.error_code, denied);
    assert_eq!(described(&mut client, None).await.error_code, denied);
    let resource_name = running.broker.node_id().to_string();
    let resource = DescribeConfigsResource { resource_type: 4, resource_name, configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let configs = client.call(4, &request).await.results.remove(0).configs;
    let secret = configs.iter().find(|it| it.name == "delegation.token.secret.key").unwrap();
    assert_eq!((secret.value.as_deref(), secret.is_sensitive), (None, true));
    running.broker.stop().await;
}
