//! Delegation tokens (KIP-48): by what one is shown, and when it ends.
//!
//! The ledger knows whose a token is and when it ends (`control_core::Token`). What it is shown by, its HMAC, is made of its id and a
//! secret that all brokers have, and is kept in memory only. Whoever shows it logs in by SCRAM as its owner (`sasl`), with the token's id
//! as the name and the HMAC in base64 as the password. Guarantees: what is secret has no `Debug` and reaches no log; a token that is
//! named by its HMAC is looked for in a time that says nothing of others.

use crate::Shared;
use crate::caller::Proof;
use crate::error::Failure;
use crate::rights::Rights;
use crate::sasl::Text;
use crate::scram::{ITERATIONS_MIN, Mechanism};
use crate::topics;
use base::UnixMillis;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_core::{Command, Image, Refusal, ScramCredential, Token};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;
use subtle::ConstantTimeEq;
use world::lock;

/// A change of tokens waits so long; the requests name no timeout of their own.
pub(crate) const CHANGE_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the ledger keeps of a principal; there may be many.
pub(crate) const PRINCIPAL_BYTES_MAX: usize = 1024;

/// Who may renew one token at the most.
pub(crate) const RENEWERS_MAX: usize = 1000;

/// Bytes of a salt. It need not be secret, and is the same on all brokers.
const SALT_BYTES: usize = 16;

/// From this version on it is told who has asked for a token.
const REQUESTER_VERSION: i16 = 3;

/// What the settings say of delegation tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOptions {
    /// What they are made with, the same on all brokers (`delegation.token.secret.key`). `None`: there are none.
    pub secret: Option<Text>,
    /// How long one can be renewed (`delegation.token.max.lifetime.ms`).
    pub lifetime_max: Duration,
    /// How long one holds before it must be renewed (`delegation.token.expiry.time.ms`).
    pub renewal_max: Duration,
    /// How often it is looked for such as have ended (`delegation.token.expiry.check.interval.ms`).
    pub check_period: Duration,
}

impl Default for TokenOptions {
    /// Kafka's.
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        TokenOptions { secret: None, lifetime_max: 7 * 24 * HOUR, renewal_max: 24 * HOUR, check_period: HOUR }
    }
}

/// Why there is no token for somebody. In Kafka's words, although the answers have no field for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(
        "Delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels."
    )]
    NotAllowed,
    #[error("Delegation Token feature is not enabled.")]
    Disabled,
    #[error("Supplied principalType is not supported.")]
    PrincipalType,
    #[error("Delegation Token is not found on server.")]
    NotFound,
    #[error("Delegation Token is expired.")]
    Expired,
    #[error("Specified Principal is not valid Owner/Renewer.")]
    NotOwner,
}

/// By what tokens are shown.
pub(crate) struct Tokens {
    secret: Option<Text>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The ledger's, as they were when they were last looked at.
    of: control_core::Tokens,
    by_id: BTreeMap<String, Arc<Shown>>,
}

/// By what one is shown.
struct Shown {
    hmac: Vec<u8>,
    /// What SCRAM checks it by; made when somebody first logs in so, as that takes thousands of hashes.
    sha256: OnceLock<Arc<ScramCredential>>,
    sha512: OnceLock<Arc<ScramCredential>>,
}

impl Tokens {
    pub(crate) fn new(options: &TokenOptions) -> Tokens {
        Tokens { secret: options.secret.clone(), known: Mutex::default() }
    }

    /// Whether there are such.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn check_enabled(&self) -> Result<(), TokenError> {
        if self.secret.is_some() { Ok(()) } else { Err(TokenError::Disabled) }
    }

    /// What the token of that id is shown by.
    ///
    /// # Errors
    /// There are no tokens.
    pub(crate) fn hmac(&self, id: &str) -> Result<Vec<u8>, TokenError> {
        let secret = self.secret.as_ref().ok_or(TokenError::Disabled)?;
        Ok(Mechanism::Sha512.hmac(secret.0.as_bytes(), id.as_bytes()))
    }

    /// The token that is shown by this.
    ///
    /// # Errors
    /// There is none, or are none at all.
    pub(crate) fn find(&self, image: &Image, hmac: &[u8]) -> Result<(String, Arc<Token>), TokenError> {
        let known = self.known(image)?;
        let mut found = None;
        // All are looked at, and each as a whole.
        for (id, shown) in &known.by_id {
            if shown.hmac.ct_eq(hmac).into() {
                found = Some(id);
            }
        }
        let token = found.and_then(|id| Some((id.clone(), image.tokens.get(id)?.clone())));
        token.ok_or(TokenError::NotFound)
    }

    /// The token of that id, and what SCRAM checks by whether somebody knows its HMAC.
    pub(crate) fn credential(
        &self,
        image: &Image,
        id: &str,
        mechanism: Mechanism,
    ) -> Option<(Arc<Token>, Arc<ScramCredential>)> {
        let token = image.tokens.get(id)?.clone();
        let shown = self.known(image).ok()?.by_id.get(id)?.clone();
        let made = match mechanism {
            Mechanism::Sha256 => &shown.sha256,
            Mechanism::Sha512 => &shown.sha512,
        };
        let made = made.get_or_init(|| {
            let mut salt = mechanism.hmac(&shown.hmac, b"Salt");
            salt.truncate(SALT_BYTES);
            let password = STANDARD.encode(&shown.hmac);
            let salted = mechanism.salted(password.as_bytes(), &salt, ITERATIONS_MIN);
            Arc::new(mechanism.credential(&salt, &salted, ITERATIONS_MIN))
        });
        Some((token, made.clone()))
    }

    /// By what the tokens of an image are shown.
    fn known(&self, image: &Image) -> Result<MutexGuard<'_, Known>, TokenError> {
        self.check_enabled()?;
        let mut known = lock(&self.known);
        if !known.of.ptr_eq(&image.tokens) {
            known.by_id.retain(|id, _| image.tokens.contains_key(id));
            for id in image.tokens.keys() {
                if !known.by_id.contains_key(id) {
                    let (sha256, sha512) = (OnceLock::new(), OnceLock::new());
                    known.by_id.insert(id.clone(), Arc::new(Shown { hmac: self.hmac(id)?, sha256, sha512 }));
                }
            }
            known.of = image.tokens.clone();
        }
        Ok(known)
    }
}

/// Whether a caller may ask about tokens at all: only who has shown who it is, and not by a token, which nobody shall get more of by itself.
///
/// # Errors
/// It may not.
pub(crate) fn check_caller(rights: &Rights) -> Result<(), Failure> {
    if rights.caller.proof == Proof::Secret { Ok(()) } else { Err(TokenError::NotAllowed.into()) }
}

/// The token that a caller wants to last for longer or shorter, where it is the caller's to say.
///
/// # Errors
/// There is none, or it is others'.
pub(crate) fn find_own(
    broker: &Shared,
    rights: &Rights,
    hmac: &[u8],
    look: impl FnOnce(&Token) -> Result<(), TokenError>,
) -> Result<(String, Arc<Token>), Failure> {
    check_caller(rights)?;
    let (id, token) = broker.tokens.find(&broker.store.ledger().image(), hmac)?;
    look(&token)?;
    let caller = rights.caller.principal.text();
    if token.owner != caller && !token.renewers.iter().any(|renewer| renewer == caller) {
        return Err(TokenError::NotOwner.into());
    }
    Ok((id, token))
}

/// Moves the end of a token.
///
/// # Errors
/// It has gone, or the ledger does not answer.
pub(crate) async fn expire(broker: &Shared, id: String, expiry: Option<UnixMillis>) -> Result<(), Failure> {
    match topics::submit(broker, Command::ExpireToken { id, expiry }, CHANGE_WAIT_MAX).await {
        Err(Failure::Refused(Refusal::Unknown(_))) => Err(TokenError::NotFound.into()),
        other => other,
    }
}

/// That time from now, or the end of all.
pub(crate) fn later(now: UnixMillis, by_ms: i64) -> UnixMillis {
    UnixMillis(now.0.saturating_add(by_ms))
}

/// A period of the settings, or a shorter one that was asked for: none and less is not.
pub(crate) fn period_ms(most: Duration, asked_ms: i64) -> i64 {
    let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX);
    if asked_ms > 0 { most.min(asked_ms) } else { most }
}

/// What a refusal has for a time: Kafka's controller leaves it empty, its brokers write that there is none.
pub(crate) fn no_time(failure: &Failure) -> i64 {
    match failure {
        Failure::Token(TokenError::Disabled | TokenError::NotFound | TokenError::Expired | TokenError::NotOwner) => 0,
        _ => -1,
    }
}

/// The kind of a principal, and its name.
pub(crate) fn kind_and_name(principal: &str) -> (&str, &str) {
    principal.split_once(':').unwrap_or_default()
}

/// What is told of who has asked for a token: nothing in early versions of the requests that make tokens and describe them (KIP-373).
pub(crate) fn told_requester<'a>(version: i16, requester: (&'a str, &'a str)) -> (&'a str, &'a str) {
    if version >= REQUESTER_VERSION { requester } else { ("", "") }
}

/// Forgets in every period the tokens that have ended, until the broker stops.
pub(crate) async fn run(broker: Arc<Shared>) {
    while !broker.stops_before(broker.clock.sleep(broker.options.tokens.check_period)).await {
        let now = broker.clock.wall();
        let image = broker.store.ledger().image();
        for (id, token) in image.tokens.iter().filter(|(_, token)| token.is_over(now)) {
            tracing::info!(id, owner = token.owner, "a delegation token has ended");
        }
        if image.tokens.values().any(|token| token.is_over(now))
            && let Err(failure) = topics::submit(&broker, Command::SweepTokens { now }, CHANGE_WAIT_MAX).await
        {
            tracing::warn!("delegation tokens that have ended stay until the next look: {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_with(id: &str) -> Image {
        let owner = || "User:alice".to_owned();
        let (issued, expiry, last) = (UnixMillis(1), UnixMillis(2), UnixMillis(3));
        let token = Token { owner: owner(), requester: owner(), renewers: Vec::new(), issued, expiry, last };
        let mut image = Image::default();
        image.tokens.insert(id.to_owned(), Arc::new(token));
        image
    }

    fn tokens(secret: Option<&str>) -> Tokens {
        Tokens::new(&TokenOptions { secret: secret.map(|it| Text(it.to_owned())), ..TokenOptions::default() })
    }

    /// HMAC-SHA-512, whose key and text are these.
    #[test]
    fn an_hmac_is_kafkas() {
        let hmac = tokens(Some("key")).hmac("The quick brown fox jumps over the lazy dog").unwrap();
        assert!(STANDARD.encode(&hmac).starts_with("tCrwkFe6weLUFwjkipAuCbX/"), "{}", STANDARD.encode(hmac));
    }

    #[test]
    fn a_token_is_found_by_its_hmac_while_it_is_there() {
        let (tokens, image) = (tokens(Some("key")), image_with("a"));
        let hmac = tokens.hmac("a").unwrap();
        assert_eq!(tokens.find(&image, &hmac).unwrap().0, "a");
        for wrong in [&hmac[..63], b"", &tokens.hmac("b").unwrap()] {
            assert_eq!(tokens.find(&image, wrong).unwrap_err(), TokenError::NotFound);
        }
        assert_eq!(tokens.find(&Image::default(), &hmac).unwrap_err(), TokenError::NotFound, "it has gone");
        assert_eq!(tokens.find(&image, &hmac).unwrap().0, "a", "an older image has it");
        let other = Tokens::new(&TokenOptions { secret: Some(Text("other".to_owned())), ..TokenOptions::default() });
        assert_eq!(other.find(&image, &hmac).unwrap_err(), TokenError::NotFound);
        let none = Tokens::new(&TokenOptions::default());
        assert_eq!(none.find(&image, &hmac).unwrap_err(), TokenError::Disabled);
        assert!(none.credential(&image, "a", Mechanism::Sha256).is_none());
    }

    /// Whichever broker a client comes to, in one login or another.
    #[test]
    fn credentials_are_the_same_on_all_brokers() {
        let image = image_with("a");
        for mechanism in [Mechanism::Sha256, Mechanism::Sha512] {
            let [one, other] = ["key", "key"].map(|it| tokens(Some(it)).credential(&image, "a", mechanism).unwrap().1);
            assert_eq!((&one, one.iterations), (&other, 4096));
        }
        assert!(tokens(Some("key")).credential(&image, "b", Mechanism::Sha256).is_none());
    }
}
