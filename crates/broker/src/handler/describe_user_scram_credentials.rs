//! DescribeUserScramCredentials (KIP-554): which mechanisms users have credentials for. Nothing that is secret is told.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use control_core::{Image, ScramUser};
use protocol::api::Operation;
use protocol::messages::describe_user_scram_credentials_request::DescribeUserScramCredentialsRequest;
use protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResponse, DescribeUserScramCredentialsResult,
};
use std::collections::BTreeMap;

pub(crate) fn handle(
    broker: &Shared,
    request: DescribeUserScramCredentialsRequest,
    rights: &Rights,
) -> DescribeUserScramCredentialsResponse {
    if let Err(failure) = rights.check_cluster(Operation::Describe) {
        let error_code = failure.code().number();
        let error_message = Some(failure.to_string());
        return DescribeUserScramCredentialsResponse { error_code, error_message, ..Default::default() };
    }
    let image = broker.store.ledger().image();
    // Whether a user is named more than once.
    let mut users: BTreeMap<String, bool> = BTreeMap::new();
    for user in request.users.unwrap_or_default() {
        users.entry(user.name).and_modify(|twice| *twice = true).or_default();
    }
    if users.is_empty() {
        users = image.scram.keys().map(|user| (user.name.clone(), false)).collect();
    }
    let result = |(user, twice): (String, bool)| {
        let told = if twice { Err(named_twice(&user)) } else { credentials(&image, &user) };
        let (error_code, error_message, credential_infos) = match told {
            Ok(told) => (0, None, told),
            Err(failure) => (failure.code().number(), Some(failure.to_string()), Vec::new()),
        };
        DescribeUserScramCredentialsResult { user, error_code, error_message, credential_infos }
    };
    let results = users.into_iter().map(result).collect();
    DescribeUserScramCredentialsResponse { error_message: None, results, ..Default::default() }
}

fn credentials(image: &Image, name: &str) -> Result<Vec<CredentialInfo>, Failure> {
    let first = ScramUser { name: name.to_owned(), mechanism: i16::MIN };
    let own = image.scram.range(first..).take_while(|(user, _)| user.name == name);
    let told: Vec<CredentialInfo> = own
        .filter_map(|(user, credential)| {
            let mechanism = i8::try_from(user.mechanism).ok()?;
            Some(CredentialInfo { mechanism, iterations: credential.iterations })
        })
        .collect();
    if told.is_empty() {
        return Err(Failure::ResourceNotFound(format!(
            "Attempt to describe a user credential that does not exist: {name}"
        )));
    }
    Ok(told)
}

fn named_twice(name: &str) -> Failure {
    Failure::DuplicateResource(format!(
        "Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
    ))
}
