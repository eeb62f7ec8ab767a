//! ExpireDelegationToken (KIP-48): a token ends at once, or at another time than it would.

use crate::Shared;
use crate::error::Failure;
use crate::rights::Rights;
use crate::tokens::{TokenError, expire, find_own, later, no_time};
use base::UnixMillis;
use protocol::messages::expire_delegation_token_request::ExpireDelegationTokenRequest;
use protocol::messages::expire_delegation_token_response::ExpireDelegationTokenResponse;

pub(crate) async fn handle(
    broker: &Shared,
    request: ExpireDelegationTokenRequest,
    rights: &Rights,
) -> ExpireDelegationTokenResponse {
    let (error_code, expiry_timestamp_ms) = match end(broker, &request, rights).await {
        Ok(expiry) => (0, expiry.0),
        Err(failure) => (failure.code().number(), no_time(&failure)),
    };
    ExpireDelegationTokenResponse { error_code, expiry_timestamp_ms, ..Default::default() }
}

async fn end(broker: &Shared, request: &ExpireDelegationTokenRequest, rights: &Rights) -> Result<UnixMillis, Failure> {
    let now = broker.clock.wall();
    let (id, token) = find_own(broker, rights, &request.hmac, |_| Ok(()))?;
    // One that has ended can be removed, and not be made to last.
    if request.expiry_time_period_ms < 0 {
        expire(broker, id, None).await?;
        return Ok(now);
    }
    if token.is_over(now) {
        return Err(TokenError::Expired.into());
    }
    let expiry = token.last.min(later(now, request.expiry_time_period_ms));
    expire(broker, id, Some(expiry)).await?;
    Ok(expiry)
}
