//! CreateDelegationToken (KIP-48, KIP-373): a token for the caller itself, or for another user as whom it may make some.
//!
//! Refusals are Kafka's, in its order.

use crate::Shared;
use crate::caller::Principal;
use crate::error::Failure;
use crate::rights::Rights;
use crate::tokens::{
    CHANGE_WAIT_MAX, PRINCIPAL_BYTES_MAX, RENEWERS_MAX, TokenError, check_caller, kind_and_name, later, no_time,
    period_ms, told_requester,
};
use crate::{topics, uuid};
use control_core::{Command, Token};
use protocol::api::{Operation, Resource};
use protocol::messages::create_delegation_token_request::CreateDelegationTokenRequest;
use protocol::messages::create_delegation_token_response::CreateDelegationTokenResponse;

/// The only kind of principal that may renew a token.
const USER: &str = "User";

pub(crate) async fn handle(
    broker: &Shared,
    request: CreateDelegationTokenRequest,
    version: i16,
    rights: &Rights,
) -> CreateDelegationTokenResponse {
    let requester = kind_and_name(rights.caller.principal.text());
    let (owner, requester) = match (request.owner_principal_type.as_deref(), request.owner_principal_name.as_deref()) {
        (_, None | Some("")) => (requester, requester),
        (Some(kind), Some(name)) => ((kind, name), requester),
        (None, Some(_)) => {
            // Kafka stumbles there, and answers as nobody.
            let nobody = Principal::anonymous();
            let nobody = kind_and_name(nobody.text());
            let failure = Failure::Unexpected("the owner has a name and no kind".to_owned());
            return refusal(version, (nobody, nobody), &failure);
        }
    };
    match make(broker, &request, format!("{}:{}", owner.0, owner.1), rights).await {
        Ok((token_id, token, hmac)) => CreateDelegationTokenResponse {
            issue_timestamp_ms: token.issued.0,
            expiry_timestamp_ms: token.expiry.0,
            max_timestamp_ms: token.last.0,
            token_id,
            hmac: hmac.into(),
            ..between(version, owner, requester)
        },
        Err(failure) => refusal(version, (owner, requester), &failure),
    }
}

async fn make(
    broker: &Shared,
    request: &CreateDelegationTokenRequest,
    owner: String,
    rights: &Rights,
) -> Result<(String, Token, Vec<u8>), Failure> {
    check_caller(rights)?;
    let requester = rights.caller.principal.text();
    if owner != requester {
        rights.check(Operation::CreateTokens, Resource::User, &owner)?;
    }
    if request.renewers.iter().any(|renewer| renewer.principal_type != USER) {
        return Err(TokenError::PrincipalType.into());
    }
    let renewers: Vec<String> =
        request.renewers.iter().map(|it| format!("{}:{}", it.principal_type, it.principal_name)).collect();
    let clock = &broker.clock;
    let id = uuid::random(|| clock.random()).to_string();
    let hmac = broker.tokens.hmac(&id)?;
    if renewers.len() > RENEWERS_MAX || renewers.iter().any(|it| it.len() > PRINCIPAL_BYTES_MAX) {
        return Err(Failure::InvalidRequest(format!(
            "a token has {RENEWERS_MAX} renewers at the most, of {PRINCIPAL_BYTES_MAX} bytes each"
        )));
    }
    if owner.len() > PRINCIPAL_BYTES_MAX {
        return Err(Failure::InvalidRequest(format!("an owner has {PRINCIPAL_BYTES_MAX} bytes at the most")));
    }
    let options = &broker.options.tokens;
    let issued = clock.wall();
    let last = later(issued, period_ms(options.lifetime_max, request.max_lifetime_ms));
    let expiry = last.min(later(issued, period_ms(options.renewal_max, 0)));
    let token = Token { owner, requester: requester.to_owned(), renewers, issued, expiry, last };
    topics::submit(broker, Command::IssueToken { id: id.clone(), token: token.clone() }, CHANGE_WAIT_MAX).await?;
    Ok((id, token, hmac))
}

/// The kind of a principal, and its name.
type Named<'a> = (&'a str, &'a str);

fn refusal(
    version: i16,
    (owner, requester): (Named<'_>, Named<'_>),
    failure: &Failure,
) -> CreateDelegationTokenResponse {
    let no_time = no_time(failure);
    CreateDelegationTokenResponse {
        error_code: failure.code().number(),
        issue_timestamp_ms: no_time,
        expiry_timestamp_ms: no_time,
        max_timestamp_ms: no_time,
        ..between(version, owner, requester)
    }
}

/// Whose it is, and who has asked for it.
fn between(version: i16, owner: Named<'_>, requester: Named<'_>) -> CreateDelegationTokenResponse {
    let requester = told_requester(version, requester);
    CreateDelegationTokenResponse {
        principal_type: owner.0.to_owned(),
        principal_name: owner.1.to_owned(),
        token_requester_principal_type: requester.0.to_owned(),
        token_requester_principal_name: requester.1.to_owned(),
        ..CreateDelegationTokenResponse::default()
    }
}
