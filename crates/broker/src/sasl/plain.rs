//! PLAIN (RFC 4616): one token with the user's name and password.

use super::{Failed, SaslOptions};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The user that the token names, where its password is right.
pub(super) fn evaluate(token: &[u8], options: &SaslOptions) -> Result<String, Failed> {
    let token = std::str::from_utf8(token).map_err(|_| Failed::Hidden("its token is no text"))?;
    let parts: Vec<&str> = token.split('\0').take(4).collect();
    let [acts_as, user, password] = parts[..] else {
        return Err(Failed::Hidden("Invalid SASL/PLAIN response: expected 3 tokens"));
    };
    if user.is_empty() {
        return Err(Failed::Hidden("Authentication failed: username not specified"));
    }
    if password.is_empty() {
        return Err(Failed::Hidden("Authentication failed: password not specified"));
    }
    // An unknown user takes as long as a wrong password, and a password's length says nothing: digests are compared.
    let known = options.users.get(user);
    let expected = Sha256::digest(known.map_or("", |it| it.0.as_str()));
    let is_right: bool = expected[..].ct_eq(&Sha256::digest(password)[..]).into();
    if !is_right || known.is_none() {
        return Err(Failed::Told("Authentication failed: Invalid username or password".to_owned()));
    }
    check_acts_as(acts_as, user)?;
    Ok(user.to_owned())
}

/// Nobody acts for another one.
pub(super) fn check_acts_as(acts_as: &str, user: &str) -> Result<(), Failed> {
    if acts_as.is_empty() || acts_as == user {
        return Ok(());
    }
    Err(Failed::Told(
        "Authentication failed: Client requested an authorization id that is different from username".to_owned(),
    ))
}
