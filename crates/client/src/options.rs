//! How a client behaves, whatever it is used for.

use std::fmt;
use std::time::Duration;

/// Addresses and limits.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where to begin: `HOST:PORT`, several with commas between them.
    pub bootstrap: String,
    /// The name that brokers see.
    pub client_id: String,
    /// One attempt to connect takes no longer.
    pub connect_within: Duration,
    /// As whom it logs in, by SASL's PLAIN. `None`: not at all.
    pub login: Option<Login>,
    /// A call, with everything that is tried again, takes no longer.
    pub call_within: Duration,
}

impl ClientOptions {
    /// For the cluster at `bootstrap`, with the usual limits.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> ClientOptions {
        ClientOptions {
            bootstrap: bootstrap.into(),
            client_id: "millstream".to_owned(),
            login: None,
            connect_within: Duration::from_secs(3),
            call_within: Duration::from_secs(15),
        }
    }

    /// The addresses in `bootstrap`.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty())
    }
}

/// A user with its password, which is never shown.
#[derive(Clone)]
pub struct Login {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
