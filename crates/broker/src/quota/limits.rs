//! Which quota counts for a client. Of several the one that says most of it, in Kafka's order:
//!
//! 1. the user with the client id,
//! 2. the user with the default of client ids,
//! 3. the user,
//! 4. the default of users with the client id,
//! 5. the default of users with the default of client ids,
//! 6. the default of users,
//! 7. the client id,
//! 8. the default of client ids.
//!
//! Who has the same quota by a default does not share it: each user, client id, or both, has it on its own.

use super::entity;
use control_core::{QuotaEntity, QuotaName};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of produce requests in a second.
    Produced,
    /// Bytes of answers to fetches in a second.
    Fetched,
    /// Time of requests, in hundredths of a second in a second.
    Requests,
    /// Partitions created and deleted in a second.
    Mutations,
}

/// All quotas.
#[derive(Debug, Default)]
pub(super) struct Limits {
    produced: Levels,
    fetched: Levels,
    requests: Levels,
    mutations: Levels,
    addresses: BTreeMap<IpAddr, f64>,
    other_addresses: Option<f64>,
}

/// Quotas of one kind.
#[derive(Debug, Default)]
struct Levels {
    pairs: Names<Names<f64>>,
    users: Names<f64>,
    client_ids: Names<f64>,
}

/// What there is for some names, and for all others.
#[derive(Debug, Default)]
struct Names<T> {
    named: BTreeMap<String, T>,
    default: Option<T>,
}

/// By what a client is told from others of its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) user: bool,
    pub(super) client_id: bool,
}

const BOTH: Shared = Shared { user: true, client_id: true };
const USER: Shared = Shared { user: true, client_id: false };
const CLIENT_ID: Shared = Shared { user: false, client_id: true };

impl<T: Default> Names<T> {
    fn place(&mut self, name: &QuotaName) -> &mut T {
        match name {
            QuotaName::Default => self.default.get_or_insert_default(),
            QuotaName::Of(name) => self.named.entry(name.clone()).or_default(),
        }
    }

    fn of(&self, name: &str) -> Option<&T> {
        self.named.get(name).or(self.default.as_ref())
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.default.is_none()
    }
}

impl Limits {
    pub(super) fn of(quotas: &control_core::Quotas) -> Limits {
        let mut limits = Limits::default();
        for (whose, quotas) in quotas {
            for (name, value) in quotas.iter() {
                limits.put(whose, name, value.get());
            }
        }
        limits
    }

    fn put(&mut self, whose: &QuotaEntity, name: &str, value: f64) {
        let levels = match name {
            entity::PRODUCER_BYTE_RATE => &mut self.produced,
            entity::CONSUMER_BYTE_RATE => &mut self.fetched,
            entity::REQUEST_PERCENTAGE => &mut self.requests,
            entity::CONTROLLER_MUTATION_RATE => &mut self.mutations,
            // An address has this one alone.
            _ => {
                match &whose.ip {
                    Some(QuotaName::Default) => self.other_addresses = Some(value),
                    Some(QuotaName::Of(text)) => {
                        self.addresses.extend(entity::address(text).map(|address| (address, value)));
                    }
                    None => {}
                }
                return;
            }
        };
        let place = match (&whose.user, &whose.client_id) {
            (Some(user), Some(client_id)) => levels.pairs.place(user).place(client_id),
            (Some(user), None) => levels.users.place(user),
            (None, Some(client_id)) => levels.client_ids.place(client_id),
            (None, None) => return,
        };
        *place = value;
    }

    /// The quota of a client, and by what it is its own. A client without a name for itself has none by its client id.
    pub(super) fn of_client(&self, kind: Kind, user: &str, client_id: &str) -> Option<(f64, Shared)> {
        let levels = match kind {
            Kind::Produced => &self.produced,
            Kind::Fetched => &self.fetched,
            Kind::Requests => &self.requests,
            Kind::Mutations => &self.mutations,
        };
        let shared = levels.shared(user, client_id);
        let limit = match (shared.user && !user.is_empty(), shared.client_id && !client_id.is_empty()) {
            (true, true) => levels.of_pair(user, client_id),
            (true, false) => levels.users.of(user),
            (false, true) => levels.client_ids.of(client_id),
            (false, false) => None,
        };
        limit.map(|limit| (*limit, shared))
    }

    /// Connections in a second, of an address in its canonical form.
    pub(super) fn of_address(&self, address: IpAddr) -> Option<f64> {
        self.addresses.get(&address).copied().or(self.other_addresses)
    }
}

impl Levels {
    /// Where there are quotas of one sort alone, that says it, as in Kafka: also of a client that has none.
    fn shared(&self, user: &str, client_id: &str) -> Shared {
        match (self.pairs.is_empty(), self.users.is_empty(), self.client_ids.is_empty()) {
            (true, true, _) => CLIENT_ID,
            (true, false, true) => USER,
            (false, true, true) => BOTH,
            _ if self.pairs.named.get(user).is_some_and(|of| of.of(client_id).is_some()) => BOTH,
            _ if self.users.named.contains_key(user) => USER,
            _ if self.pairs.default.as_ref().is_some_and(|of| of.of(client_id).is_some()) => BOTH,
            _ if self.users.default.is_some() => USER,
            _ => CLIENT_ID,
        }
    }

    fn of_pair(&self, user: &str, client_id: &str) -> Option<&f64> {
        let of_user = self.pairs.named.get(user).and_then(|it| it.of(client_id));
        of_user.or_else(|| self.pairs.default.as_ref().and_then(|it| it.of(client_id)))
    }
}
