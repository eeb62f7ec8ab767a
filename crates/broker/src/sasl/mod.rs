//! How a connection shows whose it is: SASL by PLAIN (RFC 4616) and SCRAM (RFC 5802), the latter by delegation tokens too (KIP-48), in Kafka's requests (KIP-43, KIP-152) or, from
//! clients before 1.0, as bare tokens behind a SaslHandshake of version 0.
//!
//! A [`Login`] belongs to one connection and takes its frames until the caller is known; then requests are served, and a login may begin
//! anew (KIP-368). Guarantees: before that nothing is answered but ApiVersions, SaslHandshake and SaslAuthenticate; who fails is told so
//! late, once, and is cut off; secrets are compared in constant time, and are in no log and no `Debug` output.

mod exchange;
mod options;
mod plain;

pub use options::{Mechanism, OwnLogin, SaslOptions, Text};

use crate::caller::{Principal, Proof};
use crate::tokens::Tokens;
use base::{Micros, UnixMillis};
use bytes::{BufMut, Bytes, BytesMut};
use control_core::Image;
use exchange::{Exchange, User};
use protocol::api;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::frame::{self, RequestFrame};
use protocol::messages::sasl_authenticate_request::SaslAuthenticateRequest;
use protocol::messages::sasl_authenticate_response::SaslAuthenticateResponse;
use protocol::messages::sasl_handshake_request::SaslHandshakeRequest;
use protocol::messages::sasl_handshake_response::SaslHandshakeResponse;
use std::sync::Arc;
use std::time::Duration;

/// From this version of SaslHandshake on tokens travel in SaslAuthenticate requests.
const REQUESTS_VERSION: i16 = 1;

/// Why a login comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    /// Told as it is.
    #[error("{0}")]
    Told(String),
    /// Told without the reason, which may say whether there is such a user.
    #[error("{0}")]
    Hidden(&'static str),
}

/// What comes of a frame.
pub(crate) enum Step {
    /// It is a request to be served as others are.
    Serve(Bytes),
    /// This is its answer. `known`: whose the connection is from now on, and how that was shown.
    Answer { bytes: Bytes, known: Option<Known> },
    /// This is its answer, where there is one, and the last one.
    Refuse { bytes: Option<Bytes>, why: String },
}

/// Whose a connection is, and how that was shown.
pub(crate) type Known = (Principal, Proof);

/// How far a connection is.
#[derive(Debug)]
enum State {
    /// Nobody has said how it is to be done.
    Unnamed,
    /// Tokens are exchanged, in requests or bare.
    Exchanging { mechanism: Mechanism, exchange: Exchange, in_requests: bool },
    /// The caller is known, until that moment.
    Known { until: Option<Micros> },
}

/// One connection's.
#[derive(Debug)]
pub(crate) struct Login {
    options: Arc<SaslOptions>,
    state: State,
    /// Whose it is, by which mechanism: neither changes any more.
    known: Option<(Mechanism, Principal)>,
}

/// What a login may look at.
pub(crate) struct Around<'a> {
    pub(crate) image: &'a Image,
    pub(crate) tokens: &'a Tokens,
    pub(crate) now: Micros,
    /// By which tokens end.
    pub(crate) wall: &'a (dyn Fn() -> UnixMillis + Sync),
    /// Never the same twice.
    pub(crate) nonce: &'a (dyn Fn() -> String + Sync),
}

impl Login {
    pub(crate) fn new(options: Arc<SaslOptions>) -> Login {
        Login { options, state: State::Unnamed, known: None }
    }

    /// Bytes of a frame at the most while the caller is not known.
    pub(crate) fn frame_bytes_max(&self) -> Option<usize> {
        self.known.is_none().then_some(self.options.receive_bytes_max)
    }

    /// Takes the next frame.
    pub(crate) fn take(&mut self, frame: Bytes, around: &Around<'_>) -> Step {
        if let State::Exchanging { in_requests: false, .. } = self.state {
            return self.take_bare_token(&frame, around);
        }
        if self.serves_at_once(&frame, around.now) {
            return Step::Serve(frame);
        }
        let request = match RequestFrame::decode(frame.clone()) {
            Ok(request) => request,
            // Whoever is known is told what is wrong with it as everybody is.
            Err(_) if self.is_known() => return Step::Serve(frame),
            Err(error) => return refuse(format!("no request of Kafka's: {error}")),
        };
        let (key, version) = (request.header.key, request.header.version);
        if key != ApiKey::ApiVersions && !api::served(key).is_some_and(|api| api.serves(version)) {
            return refuse(format!("{} version {version} is not served", key.name()));
        }
        match (key, &self.state) {
            // It is told so as everybody is who has no login to make.
            (ApiKey::SaslHandshake, State::Known { until: None }) | (ApiKey::SaslAuthenticate, State::Known { .. }) => {
                Step::Serve(frame)
            }
            (ApiKey::SaslHandshake, State::Unnamed | State::Known { until: Some(_) }) => self.begin(request),
            (ApiKey::SaslAuthenticate, State::Exchanging { .. }) => self.take_token(request, around),
            (_, State::Known { until }) if until.is_some_and(|until| until <= around.now) => {
                refuse("its login has expired (connections.max.reauth.ms), and it has not logged in anew".to_owned())
            }
            (_, State::Known { .. }) | (ApiKey::ApiVersions, State::Unnamed) => Step::Serve(frame),
            (key, State::Unnamed) => {
                refuse(format!("Unexpected Kafka request of type {} during SASL handshake.", key.name()))
            }
            (key, State::Exchanging { .. }) => {
                refuse(format!("Unexpected Kafka request of type {} during SASL authentication.", key.name()))
            }
        }
    }

    /// What almost every frame is: a request of a known caller that is about something else.
    fn serves_at_once(&self, frame: &[u8], now: Micros) -> bool {
        let State::Known { until } = &self.state else { return false };
        let is_login =
            |number: i16| number == ApiKey::SaslHandshake.number() || number == ApiKey::SaslAuthenticate.number();
        until.is_none_or(|until| now < until)
            && frame.first_chunk::<2>().is_some_and(|key| !is_login(i16::from_be_bytes(*key)))
    }

    fn is_known(&self) -> bool {
        matches!(self.state, State::Known { .. })
    }

    fn begin(&mut self, request: RequestFrame) -> Step {
        let (version, id) = (request.header.version, request.header.correlation_id);
        let Ok(SaslHandshakeRequest { mechanism: name }) = request.body::<SaslHandshakeRequest>() else {
            return refuse("a SaslHandshake that can't be read".to_owned());
        };
        let mechanisms: Vec<String> = self.options.mechanisms.iter().map(|it| it.name().to_owned()).collect();
        let answer =
            |code: ErrorCode| SaslHandshakeResponse { error_code: code.number(), mechanisms: mechanisms.clone() };
        let Some(mechanism) = self.options.mechanisms.iter().copied().find(|it| it.name() == name) else {
            let bytes = encoded(ApiKey::SaslHandshake, (version, id), &answer(ErrorCode::UnsupportedSaslMechanism));
            return Step::Refuse { bytes, why: format!("Unsupported SASL mechanism {}", shortened(&name)) };
        };
        if let Some((before, _)) = &self.known
            && *before != mechanism
        {
            return refuse(format!(
                "SASL mechanism '{}' requested by client is not supported for re-authentication of mechanism '{}'",
                mechanism.name(),
                before.name()
            ));
        }
        self.state = State::Exchanging {
            mechanism,
            exchange: Exchange::new(mechanism),
            in_requests: version >= REQUESTS_VERSION,
        };
        match encoded(ApiKey::SaslHandshake, (version, id), &answer(ErrorCode::None)) {
            Some(bytes) => Step::Answer { bytes, known: None },
            None => refuse("a SaslHandshake of a version that is not served".to_owned()),
        }
    }

    fn take_token(&mut self, request: RequestFrame, around: &Around<'_>) -> Step {
        let header = (request.header.version, request.header.correlation_id);
        let Ok(SaslAuthenticateRequest { auth_bytes }) = request.body::<SaslAuthenticateRequest>() else {
            return refuse("a SaslAuthenticate that can't be read".to_owned());
        };
        match self.evaluate(&auth_bytes, around) {
            Ok((token, known)) => {
                let session_lifetime_ms = match self.state {
                    State::Known { until: Some(until) } => {
                        i64::try_from(until.since(around.now).as_millis()).unwrap_or(i64::MAX)
                    }
                    _ => 0,
                };
                let response = SaslAuthenticateResponse {
                    auth_bytes: token.into(),
                    session_lifetime_ms,
                    ..SaslAuthenticateResponse::default()
                };
                match encoded(ApiKey::SaslAuthenticate, header, &response) {
                    Some(bytes) => Step::Answer { bytes, known },
                    None => refuse("a SaslAuthenticate of a version that is not served".to_owned()),
                }
            }
            Err((mechanism, failed)) => {
                let doing = if self.known.is_some() { "re-authentication" } else { "authentication" };
                let said = match &failed {
                    Failed::Told(why) => why.clone(),
                    Failed::Hidden(_) => format!(
                        "Authentication failed during {doing} due to invalid credentials with SASL mechanism {}",
                        mechanism.name()
                    ),
                };
                let response = SaslAuthenticateResponse {
                    error_code: ErrorCode::SaslAuthenticationFailed.number(),
                    error_message: Some(said),
                    ..SaslAuthenticateResponse::default()
                };
                let bytes = encoded(ApiKey::SaslAuthenticate, header, &response);
                Step::Refuse { bytes, why: format!("{doing} by {} failed: {failed}", mechanism.name()) }
            }
        }
    }

    /// One without a header, as is its answer; a failure is told by closing.
    fn take_bare_token(&mut self, token: &[u8], around: &Around<'_>) -> Step {
        match self.evaluate(token, around) {
            Ok((token, known)) => Step::Answer { bytes: prefixed(&token), known },
            Err((mechanism, failed)) => refuse(format!("authentication by {} failed: {failed}", mechanism.name())),
        }
    }

    fn evaluate(&mut self, token: &[u8], around: &Around<'_>) -> Result<(Vec<u8>, Option<Known>), (Mechanism, Failed)> {
        let State::Exchanging { mechanism, exchange, .. } = &mut self.state else {
            return Err((Mechanism::Plain, Failed::Hidden("no exchange is under way")));
        };
        let mechanism = *mechanism;
        let (answer, user) = exchange.evaluate(token, &self.options, around).map_err(|failed| (mechanism, failed))?;
        let Some(user) = user else { return Ok((answer, None)) };
        let User { name, token_expiry } = user;
        let principal = Principal::user(&name);
        if let Some((_, before)) = &self.known
            && *before != principal
        {
            let dotted = |it: &Principal| it.text().replacen(':', ".", 1);
            let (before, now) = (dotted(before), dotted(&principal));
            let why = format!("Cannot change principals during re-authentication from {before}: {now}");
            return Err((mechanism, Failed::Told(why)));
        }
        self.known = Some((mechanism, principal.clone()));
        // A token's login ends with the token.
        let left = token_expiry.map(|expiry| {
            Duration::from_millis(u64::try_from(expiry.0.saturating_sub((around.wall)().0)).unwrap_or_default())
        });
        let lifetime = self.options.reauth_max.into_iter().chain(left).min();
        self.state = State::Known { until: lifetime.map(|lifetime| around.now.plus(lifetime)) };
        let proof = if token_expiry.is_some() { Proof::Token } else { Proof::Secret };
        Ok((answer, Some((principal, proof))))
    }
}

/// The answer to a SaslHandshake where no login is to be made: there is none on this listener, or it is made. Whatever it says: but what can't
/// be read is not answered, as in Kafka.
pub(crate) fn illegal_handshake(_: &SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.number(), mechanisms: Vec::new() }
}

/// The same for SaslAuthenticate.
pub(crate) fn illegal_authenticate(_: &SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.number(),
        error_message: Some("SaslAuthenticate request received after successful authentication".to_owned()),
        ..SaslAuthenticateResponse::default()
    }
}

fn refuse(why: String) -> Step {
    Step::Refuse { bytes: None, why }
}

/// A whole answer; none in a version that there is not.
fn encoded<M: protocol::wire::Message>(key: ApiKey, (version, id): (i16, i32), response: &M) -> Option<Bytes> {
    let rope = frame::encode_response(key, version, id, response).ok()?;
    Some(rope.into_bytes())
}

/// A token behind its length.
fn prefixed(token: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + token.len());
    bytes.put_u32(u32::try_from(token.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(token);
    bytes.freeze()
}

/// What a client said, as a log line may have it.
fn shortened(text: &str) -> String {
    text.chars().take(64).map(|it| if it.is_control() { '?' } else { it }).collect()
}

#[cfg(test)]
mod tests;
