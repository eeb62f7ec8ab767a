//! Why a call did not do what it was asked.

use protocol::error_code::ErrorCode;
use std::time::Duration;
use thiserror::Error;

/// Few kinds, each of which tells the caller what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// No address that we know answers. A broker there may be about to start.
    #[error("no broker answers at {bootstrap}: {reason}")]
    Unreachable {
        /// The addresses asked.
        bootstrap: String,
        /// What the last of them said.
        reason: String,
    },
    /// A connection ended. Whether the request was carried out is unknown.
    #[error("the connection to {address} was lost: {reason}")]
    Lost {
        /// The broker.
        address: String,
        /// Why.
        reason: String,
    },
    /// A connection was closed by its broker, which had answered none of its requests but those that every connection begins with. So do
    /// brokers that want a login, or another security protocol.
    #[error("{address} closes the connection before it answers")]
    TurnedAway {
        /// The broker.
        address: String,
    },
    /// An answer did not come in time. Whether the request was carried out is unknown.
    #[error("{address} did not answer {api} within {} s", in_seconds(*within))]
    TimedOut {
        /// The broker.
        address: String,
        /// Kafka's name of the request.
        api: &'static str,
        /// The time it had.
        within: Duration,
    },
    /// The broker said no.
    #[error("{what}: {}", explain(*code, message.as_deref()))]
    Refused {
        /// What it was about.
        what: String,
        /// Kafka's code.
        code: ErrorCode,
        /// What the broker says in words.
        message: Option<String>,
    },
    /// The broker has no version of this request that we could speak.
    #[error("the broker at {address} does not serve {api}")]
    Unserved {
        /// The broker.
        address: String,
        /// Kafka's name of the request.
        api: &'static str,
    },
    /// The broker's bytes make no sense.
    #[error("{address} sent what cannot be read as {what}: {reason}")]
    Malformed {
        /// The broker.
        address: String,
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What is asked for can't be, whoever is asked.
    #[error("{0}")]
    Impossible(String),
}

impl ClientError {
    /// Kafka's code where it is not success.
    pub(crate) fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<(), ClientError> {
        if code == 0 {
            return Ok(());
        }
        let code = ErrorCode::from_number(code).unwrap_or(ErrorCode::UnknownServerError);
        Err(ClientError::Refused { what: what(), code, message: message.map(str::to_owned) })
    }

    /// Whether the same may go well a little later, perhaps with another broker.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. }
            | ClientError::Lost { .. }
            | ClientError::TurnedAway { .. }
            | ClientError::TimedOut { .. } => true,
            ClientError::Refused { code, .. } => code.retriable(),
            ClientError::Unserved { .. } | ClientError::Malformed { .. } | ClientError::Impossible(_) => false,
        }
    }

    /// Kafka's code, where a broker gave one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// To a tenth, as people say it.
pub(crate) fn in_seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// The broker's words, with Kafka's name for the error unless they contain it.
fn explain(code: ErrorCode, message: Option<&str>) -> String {
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{message} ({code:?})"),
        None => format!("{code:?}"),
    }
}
