//! Kafka's rules, each by what it allows.

use super::*;
use crate::peer::Peer;
use Operation::{Alter, AlterConfigs, Describe, DescribeConfigs, Read, Write};
use Resource::{Cluster, Group, Topic};

/// Kafka's numbers.
const LITERAL: AclPattern = AclPattern::Literal;
const PREFIXED: AclPattern = AclPattern::Prefixed;

struct Lists(Image);

impl Lists {
    fn new() -> Lists {
        Lists(Image::default())
    }

    fn with(
        mut self,
        is_deny: bool,
        who: &str,
        operation: i16,
        (kind, pattern, name): (Resource, AclPattern, &str),
    ) -> Lists {
        let (principal, host) = who.split_once('@').unwrap_or((who, "*"));
        let about = AclResource { kind: super::kind(kind), pattern, name: name.to_owned() };
        let entry = AclEntry { principal: principal.to_owned(), host: host.to_owned(), operation, is_deny };
        Arc::make_mut(self.0.acls.entry(about).or_default()).insert(entry);
        self
    }

    fn allow(self, who: &str, operation: Operation, about: (Resource, AclPattern, &str)) -> Lists {
        self.with(false, who, number(operation), about)
    }

    fn deny(self, who: &str, operation: Operation, about: (Resource, AclPattern, &str)) -> Lists {
        self.with(true, who, number(operation), about)
    }

    fn rights(&self, principal: &str, authorizing: &Authorizing) -> Rights {
        let principal = crate::caller::Principal::user(principal);
        let peer = Arc::new(Peer::new("10.0.0.7:1".parse().unwrap()));
        let caller = Arc::new(Caller { peer, principal, proof: crate::caller::Proof::Secret });
        let limits = Limits::of(authorizing, &caller, || Arc::new(self.0.clone()));
        Rights { caller, limits }
    }

    /// Those of alice where what nothing speaks of is denied.
    fn alice(&self) -> Rights {
        self.rights("alice", &Authorizing { allow_everyone: Some(false), ..Authorizing::default() })
    }
}

#[test]
fn nobody_is_limited_where_there_is_nothing_to_limit_by() {
    let (lists, on) = (Lists::new(), Authorizing::default());
    assert!(!lists.rights("alice", &on).are_limited(), "no list, and nobody has said that then nothing is allowed");
    assert!(lists.rights("alice", &Authorizing { is_chosen: true, ..on.clone() }).are_limited(), "as in Kafka");
    let lists = lists.allow("User:bob", Read, (Topic, LITERAL, "t"));
    assert!(lists.rights("alice", &on).are_limited());
    assert!(!lists.rights("alice", &Authorizing { is_on: false, ..on.clone() }).are_limited());
    let with_super = Authorizing { super_users: ["User:alice".to_owned()].into(), ..on };
    assert!(!lists.rights("alice", &with_super).are_limited());
    assert!(lists.rights("bob", &with_super).are_limited());
}

#[test]
fn what_no_list_speaks_of_is_allowed_or_not_as_is_set() {
    let lists = Lists::new().allow("User:bob", Read, (Topic, LITERAL, "t"));
    for everyone in [false, true] {
        let rights = lists.rights("alice", &Authorizing { allow_everyone: Some(everyone), ..Authorizing::default() });
        assert_eq!(rights.allow(Read, Topic, "other"), everyone);
        assert_eq!(rights.allow_cluster(Alter), everyone);
        assert!(!rights.allow(Read, Topic, "t"), "there is a list, and it does not name her");
    }
}

#[test]
fn an_entry_is_for_a_principal_from_a_host() {
    for who in ["User:alice", "User:*", "User:alice@10.0.0.7"] {
        assert!(Lists::new().allow(who, Read, (Topic, LITERAL, "t")).alice().allow(Read, Topic, "t"), "{who}");
    }
    for who in ["User:bob", "User:al", "alice", "Group:alice", "User:alice@10.0.0.8"] {
        assert!(!Lists::new().allow(who, Read, (Topic, LITERAL, "t")).alice().allow(Read, Topic, "t"), "{who}");
    }
}

#[test]
fn a_denial_counts_before_all_that_allows() {
    let rights = Lists::new()
        .allow("User:*", Read, (Topic, LITERAL, "*"))
        .allow("User:alice", Read, (Topic, LITERAL, "tom"))
        .deny("User:alice", Read, (Topic, PREFIXED, "to"))
        .alice();
    assert!(!rights.allow(Read, Topic, "tom"));
    assert!(rights.allow(Read, Topic, "tim"));
    let rights = Lists::new().with(true, "User:*", ALL_OPERATIONS, (Group, LITERAL, "*")).alice();
    assert!(!rights.allow(Read, Group, "g"));
}

#[test]
fn some_operations_allow_to_describe_and_none_deny_it() {
    for operation in [Read, Write, Operation::Delete, Alter, Describe] {
        let lists = Lists::new().allow("User:alice", operation, (Topic, LITERAL, "t"));
        assert!(lists.alice().allow(Describe, Topic, "t"), "{operation:?}");
        assert!(!lists.alice().allow(DescribeConfigs, Topic, "t"), "{operation:?}");
    }
    let rights = Lists::new().allow("User:alice", AlterConfigs, (Topic, LITERAL, "t")).alice();
    assert!(rights.allow(DescribeConfigs, Topic, "t") && !rights.allow(Describe, Topic, "t"));
    let rights = Lists::new()
        .deny("User:alice", Read, (Topic, LITERAL, "t"))
        .allow("User:alice", Describe, (Topic, LITERAL, "t"))
        .alice();
    assert!(rights.allow(Describe, Topic, "t") && !rights.allow(Read, Topic, "t"));
    let rights = Lists::new().with(false, "User:alice", ALL_OPERATIONS, (Cluster, LITERAL, CLUSTER_NAME)).alice();
    assert!(rights.allow_cluster(Operation::ClusterAction) && rights.allow_cluster(Describe));
}

#[test]
fn some_topic_of_a_kind_is_enough_where_nothing_stands_over_it() {
    let topic = |pattern, name| (Topic, pattern, name);
    let allowed = || Lists::new().allow("User:alice", Write, topic(LITERAL, "orders"));
    assert!(allowed().alice().allow_any(Write, Topic));
    assert!(!allowed().alice().allow_any(Read, Topic) && !allowed().alice().allow_any(Write, Group));
    assert!(!Lists::new().alice().allow_any(Write, Topic));
    assert!(Lists::new().allow("User:*", Write, topic(LITERAL, "*")).alice().allow_any(Write, Topic));
    let denied = [topic(LITERAL, "orders"), topic(PREFIXED, "ord"), topic(LITERAL, "*")];
    for about in denied {
        assert!(!allowed().deny("User:alice", Write, about).alice().allow_any(Write, Topic), "{about:?}");
    }
    assert!(allowed().deny("User:alice", Write, topic(LITERAL, "other")).alice().allow_any(Write, Topic));
    let prefixed = || Lists::new().allow("User:alice", Write, topic(PREFIXED, "ord"));
    assert!(prefixed().deny("User:alice", Write, topic(LITERAL, "ord")).alice().allow_any(Write, Topic));
    assert!(!prefixed().deny("User:alice", Write, topic(PREFIXED, "o")).alice().allow_any(Write, Topic));
    // The beginning that counts is not the nearest one.
    let nearer = ["a", "ord", "ordainer", "orb", "orde", "z"].into_iter();
    let deny = |lists: Lists, name| lists.deny("User:alice", Write, topic(PREFIXED, name));
    assert!(!nearer.clone().fold(allowed(), deny).alice().allow_any(Write, Topic));
    assert!(nearer.filter(|name| !name.starts_with("ord")).fold(allowed(), deny).alice().allow_any(Write, Topic));
}
