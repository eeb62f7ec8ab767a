//! Delegation tokens. Who may ask for one is checked by whoever asks; here they are bounded.

use super::Applied;
use crate::{Image, Outcome, Refusal, Token};
use base::UnixMillis;
use std::sync::Arc;

/// Bytes that all tokens take at the most ([`Token::bytes`]), so that nobody fills the image with them.
pub const TOKENS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Those of one owner: a tenth, so that no user takes all of them.
pub const TOKENS_OF_OWNER_BYTES_MAX: usize = TOKENS_BYTES_MAX / 10;

pub(super) fn issue(image: &mut Image, id: &str, token: &Token) -> Applied {
    let (mut all, mut of_owner) = (token.bytes(), token.bytes());
    for other in image.tokens.values() {
        all += other.bytes();
        of_owner += if other.owner == token.owner { other.bytes() } else { 0 };
    }
    if of_owner > TOKENS_OF_OWNER_BYTES_MAX {
        return Err(Refusal::Invalid(format!(
            "the delegation tokens of {} may take {TOKENS_OF_OWNER_BYTES_MAX} bytes at the most: expire some of them, or name fewer renewers",
            token.owner
        )));
    }
    if all > TOKENS_BYTES_MAX {
        return Err(Refusal::Invalid(format!(
            "all delegation tokens may take {TOKENS_BYTES_MAX} bytes at the most: expire some of them, or wait until some end"
        )));
    }
    if image.tokens.contains_key(id) {
        return Err(Refusal::Invalid("there is a delegation token of that id".to_owned()));
    }
    image.tokens.insert(id.to_owned(), Arc::new(token.clone()));
    Ok(Outcome::Done)
}

/// One that has gone meanwhile does not come back.
pub(super) fn expire(image: &mut Image, id: &str, expiry: Option<UnixMillis>) -> Applied {
    let Some(token) = image.tokens.get_mut(id) else {
        return Err(Refusal::Unknown("delegation token".to_owned()));
    };
    match expiry {
        Some(expiry) => Arc::make_mut(token).expiry = expiry,
        None => drop(image.tokens.remove(id)),
    }
    Ok(Outcome::Done)
}

/// Decided here and not by whoever asks: one that is renewed meanwhile stays.
pub(super) fn sweep(image: &mut Image, now: UnixMillis) -> Applied {
    let over: Vec<String> =
        image.tokens.iter().filter(|(_, token)| token.is_over(now)).map(|(id, _)| id.clone()).collect();
    for id in over {
        image.tokens.remove(&id);
    }
    Ok(Outcome::Done)
}
