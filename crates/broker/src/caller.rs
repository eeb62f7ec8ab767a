//! Who sends a request: a user, or nobody in particular, from some address.

use crate::peer::Peer;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The kind of all principals, as Kafka writes it. Others come from plug-ins.
const USER: &str = "User:";

/// Kafka's name for the user of a connection on which nobody has said who they are.
const ANONYMOUS: &str = "ANONYMOUS";

/// Who a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal(Arc<str>);

impl Principal {
    /// A user who has shown who it is.
    pub(crate) fn user(name: &str) -> Principal {
        Principal(format!("{USER}{name}").into())
    }

    /// The user that is written so; `None`: it is none.
    pub(crate) fn of(text: &str) -> Option<Principal> {
        text.starts_with(USER).then(|| Principal(text.into()))
    }

    /// Whoever has not.
    pub(crate) fn anonymous() -> Principal {
        Principal::user(ANONYMOUS)
    }

    /// `User:name`.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Without its kind.
    pub(crate) fn name(&self) -> &str {
        self.0.strip_prefix(USER).unwrap_or(&self.0)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// How a caller has shown who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Not at all.
    None,
    /// By a secret of its own.
    Secret,
    /// By a delegation token, which may be another one's who was given it.
    Token,
}

/// Who sends a request, and from where. One for each connection, made anew when it authenticates.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The other end of its connection.
    pub(crate) peer: Arc<Peer>,
    /// Who that is.
    pub(crate) principal: Principal,
    /// How it has shown that.
    pub(crate) proof: Proof,
}

impl Caller {
    /// One who has not shown who it is.
    pub(crate) fn anonymous(peer: Arc<Peer>) -> Caller {
        Caller { peer, principal: Principal::anonymous(), proof: Proof::None }
    }

    /// Its name without its kind: whose quotas count for it, as in Kafka.
    pub(crate) fn user(&self) -> &str {
        self.principal.name()
    }

    /// Where it comes from, as access control lists name it.
    pub(crate) fn host(&self) -> IpAddr {
        self.peer.address.ip().to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_written_as_in_access_control_lists() {
        assert_eq!(Principal::user("User:alice").text(), "User:User:alice");
        assert_eq!(Principal::user("User:alice").name(), "User:alice", "a name may look like a principal");
        let caller = Caller::anonymous(Arc::new(Peer::new("[::ffff:127.0.0.1]:5".parse().unwrap())));
        assert_eq!((caller.principal.text(), caller.host().to_string().as_str()), ("User:ANONYMOUS", "127.0.0.1"));
    }
}
