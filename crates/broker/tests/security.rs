//! Credentials and access control lists, as administrators see them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, start};
use broker::{Authorizing, BrokerOptions};
use bytes::Bytes;
use protocol::error_code::ErrorCode;
use protocol::messages::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use protocol::messages::describe_acls_request::DescribeAclsRequest;
use protocol::messages::describe_user_scram_credentials_request::{DescribeUserScramCredentialsRequest, UserName};

fn delete(name: &str, mechanism: i8) -> ScramCredentialDeletion {
    ScramCredentialDeletion { name: name.to_owned(), mechanism }
}

fn set(name: &str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
    let (salt, salted_password) = (Bytes::from_static(b"salt"), Bytes::from_static(b"salted"));
    ScramCredentialUpsertion { name: name.to_owned(), mechanism, iterations, salt, salted_password }
}

async fn alter(
    client: &mut Client,
    deletions: Vec<ScramCredentialDeletion>,
    upsertions: Vec<ScramCredentialUpsertion>,
) -> Vec<(String, i16, Option<String>)> {
    let answer = client.call(0, &AlterUserScramCredentialsRequest { deletions, upsertions }).await;
    answer.results.into_iter().map(|it| (it.user, it.error_code, it.error_message)).collect()
}

/// Users with their mechanisms and rounds, and what is said of the others.
async fn describe(client: &mut Client, users: Option<&[&str]>) -> Vec<(String, i16, Vec<(i8, i32)>)> {
    let user = |name: &&str| UserName { name: (*name).to_owned() };
    let users = users.map(|users| users.iter().map(user).collect());
    let answer = client.call(0, &DescribeUserScramCredentialsRequest { users }).await;
    assert_eq!((answer.error_code, answer.error_message), (0, None));
    let told =
        |it: protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult| {
            (it.user, it.error_code, it.credential_infos.iter().map(|it| (it.mechanism, it.iterations)).collect())
        };
    answer.results.into_iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_kept_and_told_without_what_is_secret() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(describe(&mut client, None).await, []);
    let done = alter(&mut client, Vec::new(), vec![set("alice", 1, 4096), set("bob", 2, 16384)]).await;
    assert_eq!(done, [("alice".to_owned(), 0, None), ("bob".to_owned(), 0, None)]);
    assert_eq!(alter(&mut client, Vec::new(), vec![set("alice", 2, 8192)]).await.len(), 1);
    let alice = ("alice".to_owned(), 0, vec![(1, 4096), (2, 8192)]);
    let bob = ("bob".to_owned(), 0, vec![(2, 16384)]);
    assert_eq!(describe(&mut client, None).await, [alice.clone(), bob.clone()]);
    assert_eq!(describe(&mut client, Some(&[])).await, [alice.clone(), bob.clone()]);
    let told = describe(&mut client, Some(&["bob", "carol", "alice", "alice"])).await;
    let (twice, missing) = (ErrorCode::DuplicateResource.number(), ErrorCode::ResourceNotFound.number());
    assert_eq!(told, [("alice".to_owned(), twice, Vec::new()), bob, ("carol".to_owned(), missing, Vec::new())]);
    let done = alter(&mut client, vec![delete("alice", 1), delete("bob", 2)], Vec::new()).await;
    assert!(done.iter().all(|(_, code, _)| *code == 0));
    assert_eq!(describe(&mut client, None).await, [("alice".to_owned(), 0, vec![(2, 8192)])]);
    let shown = format!("{:?}", running.store.ledger().image().scram);
    assert!(shown.contains("[hidden]") && !shown.contains("115, 97"), "{shown}");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_in_kafkas_words() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let unacceptable = ErrorCode::UnacceptableCredential;
    let cases = [
        (set("", 1, 4096), unacceptable, "Username must not be empty"),
        (set("a", 0, 4096), ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"),
        (set("a", 10, 4096), ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"),
        (set("a", 1, 4095), unacceptable, "Too few iterations"),
        (set("a", 2, 16385), unacceptable, "Too many iterations"),
    ];
    for (upsertion, code, why) in cases {
        let user = upsertion.name.clone();
        let done = alter(&mut client, Vec::new(), vec![upsertion]).await;
        assert_eq!(done, [(user, code.number(), Some(why.to_owned()))]);
    }
    let twice = "A user credential cannot be altered twice in the same request";
    let done = alter(&mut client, Vec::new(), vec![set("a", 1, 4096), set("b", 1, 4096), set("a", 2, 4096)]).await;
    let refused = ("a".to_owned(), ErrorCode::DuplicateResource.number(), Some(twice.to_owned()));
    assert_eq!(done, [refused, ("b".to_owned(), 0, None)], "what is right of it is done");
    let done = alter(&mut client, vec![delete("a", 1)], Vec::new()).await;
    let missing = "Attempt to delete a user credential that does not exist";
    assert_eq!(done, [("a".to_owned(), ErrorCode::ResourceNotFound.number(), Some(missing.to_owned()))]);
    running.broker.stop().await;
}

fn entry(name: &str, pattern: i8, principal: &str) -> AclCreation {
    AclCreation {
        resource_type: 2,
        resource_name: name.to_owned(),
        resource_pattern_type: pattern,
        principal: principal.to_owned(),
        host: "*".to_owned(),
        operation: 3,
        permission_type: 3,
    }
}

/// All entries of topics with this name that are of this kind of pattern.
fn about(name: Option<&str>, pattern: i8) -> DescribeAclsRequest {
    DescribeAclsRequest {
        resource_type_filter: 2,
        resource_name_filter: name.map(str::to_owned),
        pattern_type_filter: pattern,
        principal_filter: None,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    }
}

async fn described(client: &mut Client, request: &DescribeAclsRequest, version: i16) -> Vec<(String, i8, usize)> {
    let answer = client.call(version, request).await;
    assert_eq!(answer.error_code, 0);
    answer.resources.into_iter().map(|it| (it.resource_name, it.pattern_type, it.acls.len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn access_control_lists_are_kept_told_and_taken_away() {
    let running = start(BrokerOptions { auto_create_topics: false, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let creations = vec![
        entry("orders", 3, "User:alice"),
        entry("orders", 3, "User:bob"),
        entry("ord", 4, "User:alice"),
        entry("orders", 3, "User:alice"),
        entry("", 3, "User:alice"),
    ];
    let answer = client.call(3, &CreateAclsRequest { creations }).await;
    let codes: Vec<i16> = answer.results.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [0, 0, 0, 0, ErrorCode::InvalidRequest.number()]);
    let (literal, prefixed) = (("orders".to_owned(), 3, 2), ("ord".to_owned(), 4, 1));
    for version in 1..=3 {
        let told = described(&mut client, &about(Some("orders"), 2), version).await;
        assert_eq!(told, [literal.clone(), prefixed.clone()]);
    }
    assert_eq!(described(&mut client, &about(None, 4), 3).await, std::slice::from_ref(&prefixed));
    let told = described(&mut client, &about(None, 3), 0).await;
    assert_eq!(told, [literal], "version 0 knows no other pattern");
    for (operation, code) in [(99, 0), (0, ErrorCode::InvalidRequest.number())] {
        let answer = client.call(3, &DescribeAclsRequest { operation, ..about(None, 1) }).await;
        assert_eq!((answer.error_code, answer.resources.len()), (code, 0), "{operation}");
    }

    let filter = |name: Option<&str>, principal: Option<&str>| DeleteAclsFilter {
        resource_type_filter: 2,
        resource_name_filter: name.map(str::to_owned),
        pattern_type_filter: 1,
        principal_filter: principal.map(str::to_owned),
        host_filter: None,
        operation: 1,
        permission_type: 1,
    };
    let wrong = DeleteAclsFilter { operation: 99, ..filter(None, None) };
    let filters = vec![filter(Some("orders"), Some("User:bob")), filter(None, Some("User:nobody")), wrong];
    let answer = client.call(3, &DeleteAclsRequest { filters }).await;
    let told: Vec<_> = answer.filter_results.iter().map(|it| (it.error_code, it.matching_acls.len())).collect();
    assert_eq!(told, [(0, 1), (0, 0), (ErrorCode::InvalidRequest.number(), 0)]);
    assert_eq!(answer.filter_results[0].matching_acls[0].principal, "User:bob");
    let answer = client.call(2, &DeleteAclsRequest { filters: vec![filter(None, None)] }).await;
    assert_eq!(answer.filter_results[0].matching_acls.len(), 2);
    assert!(running.store.ledger().image().acls.is_empty());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_authorizer_there_are_no_lists() {
    let authorizing = Authorizing { is_on: false, ..Authorizing::default() };
    let running = start(BrokerOptions { authorizing, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let disabled = ErrorCode::SecurityDisabled.number();
    let answer = client.call(3, &about(None, 1)).await;
    let why = answer.error_message.as_deref();
    assert_eq!((answer.error_code, why), (disabled, Some("No Authorizer is configured on the broker")));
    let answer = client.call(3, &CreateAclsRequest { creations: vec![entry("t", 3, "User:a")] }).await;
    let why = answer.results[0].error_message.as_deref();
    assert_eq!((answer.results[0].error_code, why), (disabled, Some("No Authorizer is configured.")));
    let answer = client.call(3, &DeleteAclsRequest { filters: vec![DeleteAclsFilter::default()] }).await;
    assert_eq!(answer.filter_results[0].error_code, disabled);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_their_keepers_to_change() {
    let authorizing = Authorizing { is_chosen: true, ..Authorizing::default() };
    let running = start(BrokerOptions { authorizing, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let denied = ErrorCode::ClusterAuthorizationFailed.number();
    assert_eq!(client.call(3, &about(None, 1)).await.error_code, denied);
    let answer = client.call(3, &CreateAclsRequest { creations: vec![entry("t", 3, "User:a")] }).await;
    assert_eq!(answer.results[0].error_code, denied);
    let answer = client.call(3, &DeleteAclsRequest { filters: vec![DeleteAclsFilter::default()] }).await;
    assert_eq!(answer.filter_results[0].error_code, denied);
    assert_eq!(alter(&mut client, Vec::new(), vec![set("a", 1, 4096)]).await[0].1, denied);
    let answer = client.call(0, &DescribeUserScramCredentialsRequest { users: None }).await;
    assert_eq!((answer.error_code, answer.results.len()), (denied, 0));
    running.broker.stop().await;
}
