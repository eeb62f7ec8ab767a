//! RenewDelegationToken (KIP-48): a token lasts longer, for its owner and for those who may renew it.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::tokens::{TokenError, expire, find_own, later, no_time, period_ms};
use base::UnixMillis;
use protocol::messages::renew_delegation_token_request::RenewDelegationTokenRequest;
use protocol::messages::renew_delegation_token_response::RenewDelegationTokenResponse;

pub(crate) async fn handle(
    broker: &Shared,
    request: RenewDelegationTokenRequest,
    rights: &Rights,
) -> RenewDelegationTokenResponse {
    let (error_code, expiry_timestamp_ms) = match renew(broker, &request, rights).await {
        Ok(expiry) => (0, expiry.0),
        Err(failure) => (failure.code().number(), no_time(&failure)),
    };
    RenewDelegationTokenResponse { error_code, expiry_timestamp_ms, ..Default::default() }
}

async fn renew(broker: &Shared, request: &RenewDelegationTokenRequest, rights: &Rights) -> Result<UnixMillis, Failure> {
    let now = broker.clock.wall();
    let check = |token: &control_core::Token| if token.is_over(now) { Err(TokenError::Expired) } else { Ok(()) };
    let (id, token) = find_own(broker, rights, &request.hmac, check)?;
    let period_ms = period_ms(broker.options.tokens.renewal_max, request.renew_period_ms);
    let expiry = token.last.min(later(now, period_ms));
    expire(broker, id, Some(expiry)).await?;
    Ok(expiry)
}
