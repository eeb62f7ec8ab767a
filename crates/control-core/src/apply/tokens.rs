//! Delegation tokens. Who may ask for one is checked by whoever asks; here they are bounded.

use super::Applied;
use crate::{Image, Outcome, Refusal, Token};
use base::UnixMillis;
use std::sync::Arc;

/// Principals that all tokens name at the most, so that nobody fills the image with them; each names two at least.
pub const TOKEN_PRINCIPALS_MAX: usize = 50_000;

pub(super) fn issue(image: &mut Image, id: &str, token: &Token) -> Applied {
    let principals = |token: &Token| 2 + token.renewers.len();
    let named: usize = image.tokens.values().map(|token| principals(token)).sum();
    if named + principals(token) > TOKEN_PRINCIPALS_MAX {
        return Err(Refusal::Invalid(format!(
            "delegation tokens may name {TOKEN_PRINCIPALS_MAX} principals at the most; expire some of those first"
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
