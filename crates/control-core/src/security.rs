//! Who may do what, and how users prove who they are: access control lists, credentials for SCRAM (RFC 5802), delegation tokens (KIP-48).
//!
//! Kinds of resources, operations and permissions stand here by Kafka's numbers; which of them there are is checked by whoever asks.
//! What is secret has no `Debug`: it reaches no log.

use base::UnixMillis;
use imbl::OrdMap;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// Credentials by user and mechanism.
pub type Scram = OrdMap<ScramUser, Arc<ScramCredential>>;

/// Access control lists by what they are about. One without entries is absent.
pub type Acls = OrdMap<AclResource, Arc<BTreeSet<AclEntry>>>;

/// Delegation tokens by their ids.
pub type Tokens = OrdMap<String, Arc<Token>>;

/// Whose credential, and for which mechanism by Kafka's number: 1 is SCRAM-SHA-256, 2 is SCRAM-SHA-512.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScramUser {
    /// The user's name.
    pub name: String,
    /// The mechanism.
    pub mechanism: i16,
}

/// What a server keeps of a password: enough to check it, not to log in with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// Told to whoever wants to log in.
    pub salt: Secret,
    /// By which the client's proof is checked.
    pub stored_key: Secret,
    /// By which the server proves that it knows the credential.
    pub server_key: Secret,
    /// Rounds of hashing, told like the salt.
    pub iterations: i32,
}

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[hidden]")
    }
}

/// A delegation token. What it is shown by is not here: brokers compute it from its id and a secret of theirs.
///
/// Principals are written as `User:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As whom one logs in with it.
    pub owner: String,
    /// Who has asked for it.
    pub requester: String,
    /// Who may renew it beside its owner, in the order that they were named in.
    pub renewers: Vec<String>,
    /// When it was made.
    pub issued: UnixMillis,
    /// When it ends unless it is renewed; at most `last`.
    pub expiry: UnixMillis,
    /// When it ends however often it is renewed.
    pub last: UnixMillis,
}

/// What a token takes beyond its principals, about; its id has a fixed length.
const TOKEN_BYTES: usize = 256;

/// And a principal beyond its text.
const PRINCIPAL_BYTES: usize = 64;

impl Token {
    /// Who has it, has asked for it, or may renew it.
    pub fn principals(&self) -> impl Iterator<Item = &String> {
        [&self.owner, &self.requester].into_iter().chain(&self.renewers)
    }

    /// Bytes that it takes, about. What is refused depends on them, so they are part of the ledger's format (`docs/formats/ledger.md`).
    #[must_use]
    pub fn bytes(&self) -> usize {
        TOKEN_BYTES + self.principals().map(|it| PRINCIPAL_BYTES + it.len()).sum::<usize>()
    }

    /// Whether it has ended before that time.
    #[must_use]
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.expiry < now || self.last < now
    }
}

/// Which resources an access control list is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclResource {
    /// Kafka's number of their kind.
    pub kind: i16,
    /// How `name` names them.
    pub pattern: AclPattern,
    /// Their name, or its beginning.
    pub name: String,
}

/// How a name names resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclPattern {
    /// The one with that name; all of its kind where the name is `*`.
    Literal,
    /// All whose names begin so (KIP-290).
    Prefixed,
}

/// What a list says of somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// Whom, as `User:name`; `User:*` is everybody.
    pub principal: String,
    /// From which address; `*` is any.
    pub host: String,
    /// Kafka's number of what is done.
    pub operation: i16,
    /// Whether it is denied rather than allowed.
    pub is_deny: bool,
}

/// An entry with what it is about.
pub type Acl = (AclResource, AclEntry);

/// The name that stands for all resources of a kind.
pub const ANY_NAME: &str = "*";

/// The lists that speak of a resource: that of its name, that of all of its kind, and those of what its name begins with, found
/// without a look at the others.
pub fn acls_about<'a>(acls: &'a Acls, kind: i16, name: &'a str) -> impl Iterator<Item = &'a BTreeSet<AclEntry>> {
    let literal = |name: &str| acls.get(&AclResource { kind, pattern: AclPattern::Literal, name: name.to_owned() });
    let all = if name == ANY_NAME { None } else { literal(ANY_NAME) };
    literal(name).into_iter().chain(all).map(Arc::as_ref).chain(Prefixes { acls, kind, name, left: Some(name.len()) })
}

/// Walks over the lists of what a name begins with, the longest first.
struct Prefixes<'a> {
    acls: &'a Acls,
    kind: i16,
    name: &'a str,
    /// Bytes of the longest beginning that may have one yet.
    left: Option<usize>,
}

impl<'a> Iterator for Prefixes<'a> {
    type Item = &'a BTreeSet<AclEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let longest = self.name.get(..self.left.take()?)?;
            let bound = AclResource { kind: self.kind, pattern: AclPattern::Prefixed, name: longest.to_owned() };
            let (found, entries) = self.acls.range((Bound::Unbounded, Bound::Included(bound))).next_back()?;
            if found.kind != self.kind || found.pattern != AclPattern::Prefixed {
                return None;
            }
            let common = common_bytes(longest, &found.name);
            // Whatever lies between the two begins otherwise; a beginning of both may be there yet.
            let is_beginning = common == found.name.len();
            let shorter = if is_beginning { common.checked_sub(1) } else { Some(common) };
            self.left = shorter.map(|bytes| self.name.floor_char_boundary(bytes));
            if is_beginning {
                return Some(entries);
            }
        }
    }
}

/// How many bytes two names begin with alike.
fn common_bytes(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Seed;

    const TOPIC: i16 = 2;

    fn entry(principal: &str) -> AclEntry {
        AclEntry { principal: principal.to_owned(), host: ANY_NAME.to_owned(), operation: 3, is_deny: false }
    }

    fn found(acls: &Acls, name: &str) -> Vec<String> {
        let mut found: Vec<String> =
            acls_about(acls, TOPIC, name).flatten().map(|entry| entry.principal.clone()).collect();
        found.sort();
        found
    }

    #[test]
    fn a_resource_is_spoken_of_by_its_name_its_beginnings_and_by_all() {
        let mut acls = Acls::new();
        let mut add = |kind, pattern, name: &str| {
            let resource = AclResource { kind, pattern, name: name.to_owned() };
            acls.insert(resource, Arc::new([entry(&format!("{kind} {pattern:?} {name}"))].into()));
        };
        for name in ["*", "foo", "foobar", "zoo"] {
            add(TOPIC, AclPattern::Literal, name);
        }
        for name in ["f", "fa", "fb", "foo", "foob", "foobb", "é", "zoo"] {
            add(TOPIC, AclPattern::Prefixed, name);
        }
        add(3, AclPattern::Prefixed, "foo");
        add(1, AclPattern::Prefixed, "foo");
        let literal = |name: &str| format!("2 Literal {name}");
        let prefixed = |name: &str| format!("2 Prefixed {name}");
        assert_eq!(
            found(&acls, "foobar"),
            [literal("*"), literal("foobar"), prefixed("f"), prefixed("foo"), prefixed("foob")]
        );
        assert_eq!(found(&acls, "a"), [literal("*")]);
        assert_eq!(found(&acls, "è"), [literal("*")], "which shares its first byte with é");
        assert_eq!(found(&acls, "été"), [literal("*"), prefixed("é")]);
        assert_eq!(found(&acls, "*"), [literal("*")]);
    }

    /// The walk finds what a look at all lists finds.
    #[test]
    fn no_beginning_is_missed() {
        for seed in 0..300 {
            let mut seed = Seed::new(seed);
            let mut name = || {
                let length = seed.below(5) + 1;
                (0..length).map(|_| ["a", "b", "é", "è"][usize::try_from(seed.below(4)).unwrap()]).collect::<String>()
            };
            let prefixes: BTreeSet<String> = (0..12).map(|_| name()).collect();
            let asked = name();
            let mut acls = Acls::new();
            for name in &prefixes {
                let resource = AclResource { kind: TOPIC, pattern: AclPattern::Prefixed, name: name.clone() };
                acls.insert(resource, Arc::new([entry(name)].into()));
            }
            let expected: Vec<String> = prefixes.into_iter().filter(|prefix| asked.starts_with(prefix)).collect();
            assert_eq!(found(&acls, &asked), expected, "{asked}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = || Secret(b"hunter2".to_vec());
        let credential =
            ScramCredential { salt: secret(), stored_key: secret(), server_key: secret(), iterations: 4096 };
        let shown = format!("{credential:?}");
        assert!(shown.contains("[hidden]") && shown.contains("4096") && !shown.contains("104"), "{shown}");
    }
}
