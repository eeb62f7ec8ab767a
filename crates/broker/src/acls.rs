//! Access control lists as requests name them: Kafka's numbers and their names, what a new entry must be, and filters (KIP-290).
//!
//! What a list allows is decided in `rights`.

use crate::error::Failure;
use crate::rights::CLUSTER_NAME;
use control_core::security::ANY_NAME;
use control_core::{Acl, AclEntry, AclPattern, AclResource, Acls};

/// Kafka's words for its numbers, which begin so everywhere.
const UNKNOWN: i8 = 0;
const ANY: i8 = 1;

/// Kinds of resources by number, from `UNKNOWN` on.
static KINDS: [&str; 8] =
    ["UNKNOWN", "ANY", "TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER"];
const CLUSTER: i8 = 4;

static PATTERNS: [&str; 5] = ["UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"];
const MATCH: i8 = 2;
pub(crate) const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;

static OPERATIONS: [&str; 16] = [
    "UNKNOWN",
    "ANY",
    "ALL",
    "READ",
    "WRITE",
    "CREATE",
    "DELETE",
    "ALTER",
    "DESCRIBE",
    "CLUSTER_ACTION",
    "DESCRIBE_CONFIGS",
    "ALTER_CONFIGS",
    "IDEMPOTENT_WRITE",
    "CREATE_TOKENS",
    "DESCRIBE_TOKENS",
    "TWO_PHASE_COMMIT",
];

static PERMISSIONS: [&str; 4] = ["UNKNOWN", "ANY", "DENY", "ALLOW"];
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// What the ledger keeps of a name, a principal or a host: there may be many.
const TEXT_BYTES_MAX: usize = 1024;

/// What was asked for where nobody decides what callers may do.
pub(crate) const DISABLED: &str = "No Authorizer is configured.";

/// The name of a number; what is none is unknown.
fn word(words: &[&'static str], number: i8) -> &'static str {
    usize::try_from(number).ok().and_then(|at| words.get(at)).unwrap_or(&words[0])
}

/// Whether a number means something in particular.
fn is_one(words: &[&'static str], number: i8) -> bool {
    number != ANY && word(words, number) != words[0]
}

/// An entry as a request names it.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) kind: i8,
    pub(crate) name: String,
    pub(crate) pattern: i8,
    pub(crate) principal: String,
    pub(crate) host: String,
    pub(crate) operation: i8,
    pub(crate) permission: i8,
}

impl Named {
    /// What the ledger keeps of it.
    ///
    /// # Errors
    /// It is none that there may be: Kafka's words, in its order.
    pub(crate) fn check(self) -> Result<Acl, Failure> {
        let Named { kind, name, pattern, principal, host, operation, permission } = self;
        let refused = |why: String| Err(Failure::InvalidRequest(why));
        if kind == CLUSTER && name != CLUSTER_NAME {
            return refused(format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}"));
        }
        if name.is_empty() {
            return refused("Invalid empty resource name".to_owned());
        }
        if !is_one(&KINDS, kind) {
            return refused(format!("Invalid resourceType {}", word(&KINDS, kind)));
        }
        let pattern = match pattern {
            LITERAL => AclPattern::Literal,
            PREFIXED => AclPattern::Prefixed,
            other => return refused(format!("Invalid patternType {}", word(&PATTERNS, other))),
        };
        if !is_one(&OPERATIONS, operation) {
            return refused(format!("Invalid operation {}", word(&OPERATIONS, operation)));
        }
        let is_deny = match permission {
            DENY => true,
            ALLOW => false,
            other => return refused(format!("Invalid permissionType {}", word(&PERMISSIONS, other))),
        };
        if !principal.contains(':') {
            return refused(format!(
                "Could not parse principal from `{principal}` (no colon is present separating the principal type from the \
                 principal name)"
            ));
        }
        if [&name, &principal, &host].into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return refused(format!("a name, a principal and a host have {TEXT_BYTES_MAX} bytes at the most"));
        }
        let resource = AclResource { kind: i16::from(kind), pattern, name };
        Ok((resource, AclEntry { principal, host, operation: i16::from(operation), is_deny }))
    }

    /// A stored entry with Kafka's numbers.
    pub(crate) fn of(resource: &AclResource, entry: &AclEntry) -> Named {
        Named {
            kind: small(resource.kind),
            name: resource.name.clone(),
            pattern: pattern_number(resource.pattern),
            principal: entry.principal.clone(),
            host: entry.host.clone(),
            operation: small(entry.operation),
            permission: if entry.is_deny { DENY } else { ALLOW },
        }
    }
}

/// Which entries a request means.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) kind: i8,
    /// `None`: whatever it is; so below.
    pub(crate) name: Option<String>,
    pub(crate) pattern: i8,
    pub(crate) principal: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) operation: i8,
    pub(crate) permission: i8,
}

impl Filter {
    /// Refuses one with a number that means nothing, in Kafka's words.
    ///
    /// # Errors
    /// There is such a number in it.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let is_unknown = |words: &[&'static str], number| word(words, number) == words[0];
        if is_unknown(&KINDS, self.kind) || is_unknown(&PATTERNS, self.pattern) {
            return Err(Failure::InvalidRequest("Unknown patternFilter.".to_owned()));
        }
        if is_unknown(&OPERATIONS, self.operation) || is_unknown(&PERMISSIONS, self.permission) {
            return Err(Failure::InvalidRequest("Unknown entryFilter.".to_owned()));
        }
        Ok(())
    }

    /// Those that it means, by what they are about.
    pub(crate) fn matching<'a>(&'a self, acls: &'a Acls) -> impl Iterator<Item = (&'a AclResource, &'a AclEntry)> {
        let about = acls.iter().filter(|(resource, _)| self.means_resource(resource));
        about.flat_map(|(resource, entries)| {
            entries.iter().filter(|entry| self.means_entry(entry)).map(move |entry| (resource, entry))
        })
    }

    fn means_resource(&self, resource: &AclResource) -> bool {
        let pattern = pattern_number(resource.pattern);
        if self.kind != ANY && i16::from(self.kind) != resource.kind {
            return false;
        }
        if ![ANY, MATCH, pattern].contains(&self.pattern) {
            return false;
        }
        let Some(name) = &self.name else { return true };
        match resource.pattern {
            _ if self.pattern != MATCH => *name == resource.name,
            AclPattern::Literal => *name == resource.name || resource.name == ANY_NAME,
            AclPattern::Prefixed => name.starts_with(&resource.name),
        }
    }

    fn means_entry(&self, entry: &AclEntry) -> bool {
        let permission = if entry.is_deny { DENY } else { ALLOW };
        self.principal.as_ref().is_none_or(|it| *it == entry.principal)
            && self.host.as_ref().is_none_or(|it| *it == entry.host)
            && (self.operation == ANY || i16::from(self.operation) == entry.operation)
            && [ANY, permission].contains(&self.permission)
    }
}

pub(crate) fn pattern_number(pattern: AclPattern) -> i8 {
    match pattern {
        AclPattern::Literal => LITERAL,
        AclPattern::Prefixed => PREFIXED,
    }
}

/// What came as a byte fits one.
pub(crate) fn small(number: i16) -> i8 {
    i8::try_from(number).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn named() -> Named {
        let (name, principal, host) = ("t".to_owned(), "User:alice".to_owned(), "*".to_owned());
        Named { kind: 2, name, pattern: LITERAL, principal, host, operation: 3, permission: ALLOW }
    }

    #[test]
    fn a_new_entry_is_refused_in_kafkas_words() {
        assert!(named().check().is_ok());
        let cases = [
            (Named { kind: 4, ..named() }, "The only valid name for the CLUSTER resource is kafka-cluster"),
            (Named { name: String::new(), ..named() }, "Invalid empty resource name"),
            (Named { kind: 1, ..named() }, "Invalid resourceType ANY"),
            (Named { kind: 99, ..named() }, "Invalid resourceType UNKNOWN"),
            (Named { pattern: 2, ..named() }, "Invalid patternType MATCH"),
            (Named { operation: 1, ..named() }, "Invalid operation ANY"),
            (Named { operation: -1, ..named() }, "Invalid operation UNKNOWN"),
            (Named { permission: 0, ..named() }, "Invalid permissionType UNKNOWN"),
            (
                Named { principal: "alice".to_owned(), ..named() },
                "Could not parse principal from `alice` (no colon is present separating the principal type from the principal name)",
            ),
        ];
        for (named, why) in cases {
            assert_eq!(named.check().unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn a_filter_means_what_kafkas_does() {
        let mut acls = Acls::new();
        for (pattern, name) in [(LITERAL, "foo"), (LITERAL, "*"), (PREFIXED, "fo"), (PREFIXED, "foo"), (LITERAL, "bar")]
        {
            let (resource, entry) = Named { pattern, name: name.to_owned(), ..named() }.check().unwrap();
            Arc::make_mut(acls.entry(resource).or_default()).insert(entry);
        }
        let any = || Filter {
            kind: ANY,
            name: None,
            pattern: ANY,
            principal: None,
            host: None,
            operation: ANY,
            permission: ANY,
        };
        let found = |filter: Filter| filter.matching(&acls).count();
        let name = |pattern| Filter { name: Some("foo".to_owned()), pattern, ..any() };
        assert_eq!(found(any()), 5);
        assert_eq!([ANY, MATCH, LITERAL, PREFIXED].map(|pattern| found(name(pattern))), [2, 4, 1, 1]);
        assert_eq!(found(Filter { kind: 3, ..any() }), 0);
        assert_eq!(found(Filter { pattern: PREFIXED, ..any() }), 2);
        for (filter, count) in [
            (Filter { principal: Some("User:alice".to_owned()), ..any() }, 5),
            (Filter { principal: Some("User:*".to_owned()), ..any() }, 0),
            (Filter { host: Some("*".to_owned()), ..any() }, 5),
            (Filter { host: Some("10.0.0.7".to_owned()), ..any() }, 0),
            (Filter { operation: 3, ..any() }, 5),
            (Filter { operation: 2, ..any() }, 0),
            (Filter { permission: DENY, ..any() }, 0),
        ] {
            assert_eq!(found(filter.clone()), count, "{filter:?}");
        }
        assert!(any().check().is_ok() && Filter { operation: 0, ..any() }.check().is_err());
    }
}
