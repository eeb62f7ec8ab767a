//! What a listener with SASL is told at the start.

use crate::scram;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a user shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as they are")]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    pub(super) fn scram(self) -> Option<scram::Mechanism> {
        match self {
            Mechanism::Plain => None,
            Mechanism::ScramSha256 => Some(scram::Mechanism::Sha256),
            Mechanism::ScramSha512 => Some(scram::Mechanism::Sha512),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[hidden]")
    }
}

/// As what a broker logs in at others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLogin {
    /// Its user.
    pub user: String,
    /// Its password.
    pub password: Text,
}

/// Who may log in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslOptions {
    /// By what (`sasl.enabled.mechanisms`). Not empty.
    pub mechanisms: Vec<Mechanism>,
    /// Users of PLAIN with their passwords (`user_NAME` of its `sasl.jaas.config`). Those of SCRAM stand in the ledger.
    pub users: BTreeMap<String, Text>,
    /// As what this broker logs in at others, by PLAIN. `None`: it can't.
    pub own: Option<OwnLogin>,
    /// Bytes of a frame at the most before the login (`sasl.server.max.receive.size`).
    pub receive_bytes_max: usize,
    /// A login is good for so long (`connections.max.reauth.ms`). `None`: for ever.
    pub reauth_max: Option<Duration>,
    /// A failure is told so late (`connection.failed.authentication.delay.ms`).
    pub failure_delay: Duration,
}

impl SaslOptions {
    /// As what this broker logs in at others.
    pub(crate) fn own_login(&self) -> Option<client::Login> {
        let OwnLogin { user, password } = self.own.clone()?;
        Some(client::Login { user, password: password.0 })
    }
}
