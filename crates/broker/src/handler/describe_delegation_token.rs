//! DescribeDelegationToken (KIP-48): the tokens that concern the caller or that it may describe, with what they are shown by.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::tokens::{check_caller, kind_and_name, told_requester};
use control_core::Token;
use protocol::api::{Operation, Resource};
use protocol::messages::describe_delegation_token_request::DescribeDelegationTokenRequest;
use protocol::messages::describe_delegation_token_response::{
    DescribeDelegationTokenResponse, DescribedDelegationToken, DescribedDelegationTokenRenewer,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What a token takes here beyond what it takes in the ledger, roughly: its HMAC, and what it has fields for.
const MORE_BYTES: usize = 256;

/// Answers with the memory that was got for it.
pub(crate) async fn handle(
    broker: &Shared,
    request: DescribeDelegationTokenRequest,
    version: i16,
    rights: &Rights,
) -> (DescribeDelegationTokenResponse, Option<OwnedSemaphorePermit>) {
    let refused = |failure: Failure| DescribeDelegationTokenResponse {
        error_code: failure.code().number(),
        ..Default::default()
    };
    let found = match find(broker, &request, rights) {
        Ok(found) => found,
        Err(failure) => return (refused(failure), None),
    };
    let bytes: usize = found.iter().map(|(_, token, _)| MORE_BYTES + token.bytes()).sum();
    let memory = match broker.answer_memory.take_to_tell(bytes).await {
        Ok(memory) => memory,
        Err(failure) => return (refused(failure), None),
    };
    let tokens = found.into_iter().map(|(id, token, hmac)| tell(version, id, &token, hmac)).collect();
    (DescribeDelegationTokenResponse { tokens, ..Default::default() }, memory)
}

/// Each with its id and its HMAC, by rising ids.
type Found = Vec<(String, Arc<Token>, Vec<u8>)>;

fn find(broker: &Shared, request: &DescribeDelegationTokenRequest, rights: &Rights) -> Result<Found, Failure> {
    check_caller(rights)?;
    broker.tokens.check_enabled()?;
    // There may be many of them, and many tokens.
    let owners: Option<BTreeSet<String>> = request
        .owners
        .as_ref()
        .map(|owners| owners.iter().map(|it| format!("{}:{}", it.principal_type, it.principal_name)).collect());
    let caller = rights.caller.principal.text();
    let is_told = |id: &str, token: &Token| {
        owners.as_ref().is_none_or(|owners| token.principals().any(|it| owners.contains(it)))
            && (token.principals().any(|it| it == caller)
                || rights.allow(Operation::Describe, Resource::DelegationToken, id)
                || rights.allow(Operation::DescribeTokens, Resource::User, &token.owner))
    };
    let image = broker.store.ledger().image();
    let told = image.tokens.iter().filter(|(id, token)| is_told(id, token));
    told.map(|(id, token)| Ok((id.clone(), token.clone(), broker.tokens.hmac(id)?))).collect()
}

fn tell(version: i16, token_id: String, token: &Token, hmac: Vec<u8>) -> DescribedDelegationToken {
    let owner = kind_and_name(&token.owner);
    let requester = told_requester(version, kind_and_name(&token.requester));
    let renewer = |renewer: &String| {
        let (kind, name) = kind_and_name(renewer);
        DescribedDelegationTokenRenewer { principal_type: kind.to_owned(), principal_name: name.to_owned() }
    };
    DescribedDelegationToken {
        principal_type: owner.0.to_owned(),
        principal_name: owner.1.to_owned(),
        token_requester_principal_type: requester.0.to_owned(),
        token_requester_principal_name: requester.1.to_owned(),
        issue_timestamp: token.issued.0,
        expiry_timestamp: token.expiry.0,
        max_timestamp: token.last.0,
        token_id,
        hmac: hmac.into(),
        renewers: token.renewers.iter().map(renewer).collect(),
    }
}
