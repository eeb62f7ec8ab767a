//! What a caller may do: access control lists as Kafka's StandardAuthorizer reads them.
//!
//! A list of the ledger's image denies or allows a principal an operation on resources of a kind, by name, by a beginning of names, or on
//! all. Who is denied is denied, whatever allows it; of what no list speaks, `allow.everyone.if.no.acl.found` decides. Super users may do
//! everything. Guarantees: where there is nothing to limit a caller by, a check is one branch; else it looks at the lists that speak of
//! the resource, and at no others.

use crate::Shared;
use crate::caller::Caller;
use crate::error::Failure;
use control_core::security::{ANY_NAME, acls_about};
use control_core::{AclEntry, AclPattern, AclResource, Image};
use protocol::api::{Operation, Resource};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use world::lock;

/// The one resource of its kind.
pub(crate) const CLUSTER_NAME: &str = "kafka-cluster";

/// Every operation, in lists.
pub(crate) const ALL_OPERATIONS: i16 = 2;

/// All principals, in lists.
const EVERYBODY: &str = "User:*";

/// A name that nobody is expected to use: of it only speaks what speaks of all.
const NO_NAME: &str = "hardcode";

/// Who decides what callers may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorizing {
    /// Whether anybody does (`authorizer.class.name`); else everybody may do everything, and there are no access control lists.
    pub is_on: bool,
    /// Who may do everything, as `User:name` (`super.users`).
    pub super_users: BTreeSet<String>,
    /// Whether what no list speaks of is allowed (`allow.everyone.if.no.acl.found`). `None`: only where nothing says who decides.
    pub allow_everyone: Option<bool>,
    /// Whether `authorizer.class.name` was given.
    pub is_chosen: bool,
}

impl Default for Authorizing {
    /// Lists count where there are some.
    fn default() -> Self {
        Authorizing { is_on: true, super_users: BTreeSet::new(), allow_everyone: None, is_chosen: false }
    }
}

impl Authorizing {
    /// Whether what no list speaks of is allowed.
    pub(crate) fn allows_everyone(&self) -> bool {
        self.allow_everyone.unwrap_or(!self.is_chosen)
    }
}

/// What one caller may do at the moment of its request.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    /// Whose they are.
    pub(crate) caller: Arc<Caller>,
    /// `None`: everything.
    limits: Option<Limits>,
}

#[derive(Debug, Clone)]
struct Limits {
    image: Arc<Image>,
    host: IpAddr,
    host_text: String,
    allows_everyone: bool,
    /// What was decided last: the partitions of a topic are asked about one behind the other.
    last: Arc<Mutex<Option<Decision>>>,
}

/// What was asked, and whether it is allowed.
type Decision = (Operation, Resource, String, bool);

impl Rights {
    /// Those of a caller now.
    pub(crate) fn of(broker: &Shared, caller: &Arc<Caller>) -> Rights {
        let authorizing = &broker.options.authorizing;
        Rights { caller: caller.clone(), limits: Limits::of(authorizing, caller, || broker.store.ledger().image()) }
    }

    /// Those of somebody who may do everything, as this broker itself.
    pub(crate) fn unlimited() -> Rights {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        Rights { caller: Arc::new(Caller::anonymous(Arc::new(crate::peer::Peer::new(address)))), limits: None }
    }

    /// Whether an operation on a resource is allowed.
    pub(crate) fn allow(&self, operation: Operation, resource: Resource, name: &str) -> bool {
        match &self.limits {
            None => true,
            Some(limits) => {
                let mut last = lock(&limits.last);
                if let Some((of, kind, about, is_allowed)) = last.as_ref()
                    && (*of, *kind, about.as_str()) == (operation, resource, name)
                {
                    return *is_allowed;
                }
                let is_allowed = limits.allow(&self.caller, operation, resource, name);
                *last = Some((operation, resource, name.to_owned(), is_allowed));
                if !is_allowed {
                    tracing::debug!(principal = %self.caller.principal, ?operation, ?resource, name, "denied");
                }
                is_allowed
            }
        }
    }

    /// The same of the cluster as a whole.
    pub(crate) fn allow_cluster(&self, operation: Operation) -> bool {
        self.allow(operation, Resource::Cluster, CLUSTER_NAME)
    }

    /// The same as a refusal.
    ///
    /// # Errors
    /// It is not allowed.
    pub(crate) fn check(&self, operation: Operation, resource: Resource, name: &str) -> Result<(), Failure> {
        if self.allow(operation, resource, name) { Ok(()) } else { Err(Failure::NotAuthorized(resource)) }
    }

    /// The same of the cluster as a whole.
    ///
    /// # Errors
    /// It is not allowed.
    pub(crate) fn check_cluster(&self, operation: Operation) -> Result<(), Failure> {
        self.check(operation, Resource::Cluster, CLUSTER_NAME)
    }

    /// Whether it is allowed on some resource of the kind at least (KIP-679).
    pub(crate) fn allow_any(&self, operation: Operation, resource: Resource) -> bool {
        self.limits.as_ref().is_none_or(|limits| limits.allow_any(&self.caller, operation, resource))
    }

    /// Whether there is anything that it is not allowed.
    #[cfg(test)]
    pub(crate) fn are_limited(&self) -> bool {
        self.limits.is_some()
    }
}

impl Limits {
    fn of(authorizing: &Authorizing, caller: &Caller, image: impl FnOnce() -> Arc<Image>) -> Option<Limits> {
        if !authorizing.is_on || authorizing.super_users.contains(caller.principal.text()) {
            return None;
        }
        let (image, allows_everyone) = (image(), authorizing.allows_everyone());
        if allows_everyone && image.acls.is_empty() {
            return None;
        }
        let host = caller.host();
        Some(Limits { image, host, host_text: host.to_string(), allows_everyone, last: Arc::default() })
    }

    fn allow(&self, caller: &Caller, operation: Operation, resource: Resource, name: &str) -> bool {
        let (mut is_spoken_of, mut is_allowed) = (false, false);
        for entry in acls_about(&self.image.acls, kind(resource), name).flatten() {
            is_spoken_of = true;
            if !self.concern(caller, entry) {
                continue;
            }
            match entry.is_deny {
                true if means(entry, operation) => return false,
                true => {}
                false => is_allowed |= means(entry, operation) || implies(entry, operation),
            }
        }
        is_allowed || (!is_spoken_of && self.allows_everyone)
    }

    /// Kafka looks at what allows, and whether something that denies stands over it.
    fn allow_any(&self, caller: &Caller, operation: Operation, resource: Resource) -> bool {
        if self.allow(caller, operation, resource, NO_NAME) {
            return true;
        }
        let kind = kind(resource);
        let first = AclResource { kind, pattern: AclPattern::Literal, name: String::new() };
        let lists = || self.image.acls.range((Bound::Included(first.clone()), Bound::Unbounded));
        let of_kind = || lists().take_while(|(about, _)| about.kind == kind);
        let says = |entry: &AclEntry| self.concern(caller, entry) && means(entry, operation);
        // Lists come by rising names, so that both are sorted; no beginning that stands here begins with another one.
        let (mut denied, mut denied_beginnings) = (Vec::<&str>::new(), Vec::<&str>::new());
        for (about, entries) in of_kind() {
            if !entries.iter().any(|entry| entry.is_deny && says(entry)) {
                continue;
            }
            match about.pattern {
                AclPattern::Literal if about.name == ANY_NAME => return false,
                AclPattern::Literal => denied.push(&about.name),
                AclPattern::Prefixed if denied_beginnings.last().is_some_and(|last| about.name.starts_with(last)) => {}
                AclPattern::Prefixed => denied_beginnings.push(&about.name),
            }
        }
        // There may be very many lists: of what a name may begin with only the last that is not behind it can be a beginning of it.
        let is_beginning_denied = |name: &str| {
            let behind = denied_beginnings.partition_point(|beginning| *beginning <= name);
            behind.checked_sub(1).is_some_and(|last| name.starts_with(denied_beginnings[last]))
        };
        of_kind().any(|(about, entries)| {
            let is_denied = match about.pattern {
                AclPattern::Literal if about.name == ANY_NAME => false,
                AclPattern::Literal => {
                    denied.binary_search(&about.name.as_str()).is_ok() || is_beginning_denied(&about.name)
                }
                AclPattern::Prefixed => is_beginning_denied(&about.name),
            };
            !is_denied && entries.iter().any(|entry| !entry.is_deny && says(entry))
        })
    }

    /// Whether an entry is about this caller.
    fn concern(&self, caller: &Caller, entry: &AclEntry) -> bool {
        let is_whom = entry.principal == caller.principal.text() || entry.principal == EVERYBODY;
        // The address of a newer protocol has several forms.
        let is_here =
            |text: &str| text == self.host_text || (self.host.is_ipv6() && text.parse() == Ok::<IpAddr, _>(self.host));
        is_whom && (entry.host == ANY_NAME || is_here(&entry.host))
    }
}

/// Whether an entry speaks of an operation by its name.
fn means(entry: &AclEntry, operation: Operation) -> bool {
    entry.operation == ALL_OPERATIONS || entry.operation == number(operation)
}

/// Whether one that allows another operation allows this one with it.
fn implies(entry: &AclEntry, operation: Operation) -> bool {
    let by: &[Operation] = match operation {
        Operation::Describe => &[Operation::Read, Operation::Write, Operation::Delete, Operation::Alter],
        Operation::DescribeConfigs => &[Operation::AlterConfigs],
        _ => &[],
    };
    by.iter().any(|by| entry.operation == number(*by))
}

/// Kafka's number, as lists have it.
fn kind(resource: Resource) -> i16 {
    i16::from(resource as i8)
}

fn number(operation: Operation) -> i16 {
    i16::from(operation as i8)
}

#[cfg(test)]
mod tests;
