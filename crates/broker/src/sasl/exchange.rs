//! The tokens of one login. Those of SCRAM are two each way: names and nonces, then proofs (RFC 5802); without channel binding, as Kafka's.

use super::options::{Mechanism, SaslOptions};
use super::{Around, Failed, plain};
use crate::caller::Principal;
use crate::scram;
use base::UnixMillis;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_core::{ScramCredential, ScramUser};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What a client says behind its nonce where it shows a delegation token.
const TOKEN_AUTH: &str = "tokenauth=";

/// Greatest token of SCRAM: names and nonces are short.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far the tokens of a login are.
#[derive(Debug)]
pub(super) enum Exchange {
    Plain,
    ScramFirst(scram::Mechanism),
    ScramFinal(Box<Challenged>),
    Over,
}

/// Who has logged in.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    /// When the token ends that it has shown, where it has shown one.
    pub(super) token_expiry: Option<UnixMillis>,
}

impl User {
    fn by_secret(name: String) -> User {
        User { name, token_expiry: None }
    }
}

/// A client that was given its challenge.
#[derive(Debug)]
pub(super) struct Challenged {
    mechanism: scram::Mechanism,
    user: User,
    credential: Arc<ScramCredential>,
    /// Of both sides.
    nonce: String,
    /// What the client's first token began with.
    header: String,
    /// The rest of it.
    client_first: String,
    server_first: String,
}

impl Exchange {
    pub(super) fn new(mechanism: Mechanism) -> Exchange {
        mechanism.scram().map_or(Exchange::Plain, Exchange::ScramFirst)
    }

    /// The answer to a token; and the user, once it is known.
    pub(super) fn evaluate(
        &mut self,
        token: &[u8],
        options: &SaslOptions,
        around: &Around<'_>,
    ) -> Result<(Vec<u8>, Option<User>), Failed> {
        match std::mem::replace(self, Exchange::Over) {
            Exchange::Plain => plain::evaluate(token, options).map(|user| (Vec::new(), Some(User::by_secret(user)))),
            Exchange::ScramFirst(mechanism) => {
                let challenged = challenge(mechanism, text(token)?, around)?;
                let answer = challenged.server_first.clone().into_bytes();
                *self = Exchange::ScramFinal(Box::new(challenged));
                Ok((answer, None))
            }
            Exchange::ScramFinal(challenged) => {
                let answer = challenged.prove(text(token)?)?;
                Ok((answer, Some(challenged.user)))
            }
            Exchange::Over => Err(Failed::Hidden("a token behind the last one")),
        }
    }
}

fn text(token: &[u8]) -> Result<&str, Failed> {
    let is_short = token.len() <= TOKEN_BYTES_MAX;
    std::str::from_utf8(token).ok().filter(|_| is_short).ok_or(Failed::Hidden("its token is no text, or too long"))
}

/// `n,[a=who it acts as],n=user,r=nonce[,extensions]`
fn challenge(mechanism: scram::Mechanism, first: &str, around: &Around<'_>) -> Result<Challenged, Failed> {
    let malformed = || Failed::Hidden("Invalid SCRAM client first message format");
    let mut parts = first.splitn(3, ',');
    let (Some("n" | "y"), Some(acts_as), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    let header = first[..first.len() - bare.len()].to_owned();
    let acts_as = match acts_as {
        "" => String::new(),
        named => unescaped(named.strip_prefix("a=").ok_or_else(malformed)?)?,
    };
    let mut fields = bare.split(',');
    let name = unescaped(fields.next().and_then(|it| it.strip_prefix("n=")).ok_or_else(malformed)?)?;
    let client_nonce = fields.next().and_then(|it| it.strip_prefix("r=")).ok_or_else(malformed)?;
    let is_printable = |nonce: &str| !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_printable(client_nonce) {
        return Err(malformed());
    }
    plain::check_acts_as(&acts_as, &name)?;
    let is_token = fields.filter_map(|extension| extension.strip_prefix(TOKEN_AUTH)).next_back();
    let (user, credential) = match is_token.is_some_and(|it| it.eq_ignore_ascii_case("true")) {
        true => of_token(mechanism, &name, around)?,
        false => of_user(mechanism, name, around)?,
    };
    let nonce = format!("{client_nonce}{}", (around.nonce)());
    let salt = STANDARD.encode(&credential.salt.0);
    let server_first = format!("r={nonce},s={salt},i={}", credential.iterations);
    Ok(Challenged { mechanism, user, credential, nonce, header, client_first: bare.to_owned(), server_first })
}

/// What is kept of a user's password.
fn of_user(
    mechanism: scram::Mechanism,
    name: String,
    around: &Around<'_>,
) -> Result<(User, Arc<ScramCredential>), Failed> {
    let key = ScramUser { name, mechanism: mechanism.number() };
    let credential = around.image.scram.get(&key).cloned();
    let credential = credential.ok_or(Failed::Hidden("Authentication failed: Invalid user credentials"))?;
    Ok((User::by_secret(key.name), credential))
}

/// By what a delegation token is shown; who does is its owner. One that has ended and is there yet makes a login that has ended.
fn of_token(
    mechanism: scram::Mechanism,
    id: &str,
    around: &Around<'_>,
) -> Result<(User, Arc<ScramCredential>), Failed> {
    let known = around.tokens.credential(around.image, id, mechanism);
    let (token, credential) = known.ok_or(Failed::Hidden("Token Authentication failed: Invalid tokenId"))?;
    // Callers are users, whatever else somebody may have made a token for.
    let owner = Principal::of(&token.owner).ok_or(Failed::Hidden("the token's owner is no user"))?;
    Ok((User { name: owner.name().to_owned(), token_expiry: Some(token.expiry) }, credential))
}

impl Challenged {
    /// `c=header,r=nonce[,extensions],p=proof`; answers with the server's own proof.
    fn prove(&self, last: &str) -> Result<Vec<u8>, Failed> {
        let malformed = || Failed::Hidden("Invalid SCRAM client final message format");
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut fields = without_proof.split(',');
        let header = fields.next().and_then(|it| it.strip_prefix("c=")).ok_or_else(malformed)?;
        let nonce = fields.next().and_then(|it| it.strip_prefix("r=")).ok_or_else(malformed)?;
        if header != STANDARD.encode(&self.header) {
            return Err(Failed::Hidden("the client's messages contradict each other"));
        }
        // Clients on librdkafka before 2.6.1 put their own nonce before it once more, and Kafka takes it.
        if !nonce.ends_with(&self.nonce) {
            return Err(Failed::Hidden("Invalid client nonce in the final client message."));
        }
        let proof = STANDARD.decode(proof).map_err(|_| malformed())?;
        let said = format!("{},{},{without_proof}", self.client_first, self.server_first);
        let signature = self.mechanism.hmac(&self.credential.stored_key.0, said.as_bytes());
        if proof.len() != signature.len() {
            return Err(malformed());
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let is_right: bool = self.mechanism.hash(&client_key).ct_eq(&self.credential.stored_key.0).into();
        if !is_right {
            return Err(Failed::Hidden("Invalid client credentials"));
        }
        let own = self.mechanism.hmac(&self.credential.server_key.0, said.as_bytes());
        Ok(format!("v={}", STANDARD.encode(own)).into_bytes())
    }
}

/// A name as it is: `=2C` is a comma, `=3D` an equals sign.
fn unescaped(name: &str) -> Result<String, Failed> {
    let plain = name.replace("=2C", ",").replace("=3D", "=");
    let escapes = name.matches('=').count();
    let known = name.matches("=2C").count() + name.matches("=3D").count();
    if escapes == known && !plain.is_empty() { Ok(plain) } else { Err(Failed::Hidden("Invalid username")) }
}
