//! Whose quotas there can be, which values they may have, and what of them is asked for: Kafka's rules, in its words.

use crate::error::Failure;
use control_core::{QuotaEntity, QuotaName, QuotaValue, Quotas};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) const PRODUCER_BYTE_RATE: &str = "producer_byte_rate";
pub(super) const CONSUMER_BYTE_RATE: &str = "consumer_byte_rate";
pub(super) const REQUEST_PERCENTAGE: &str = "request_percentage";
pub(super) const CONTROLLER_MUTATION_RATE: &str = "controller_mutation_rate";
const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// What the ledger keeps of a name; very many may have quotas.
const NAME_BYTES_MAX: usize = 1024;

/// What of a number is taken for whole, as in Kafka.
const FRACTION_MAX: f64 = 1e-6;

/// An entity as requests name it: names by their types, none for the default. Of a type that is there twice the last one counts.
pub(crate) type Named = BTreeMap<String, Option<String>>;

/// The entity that is meant.
///
/// # Errors
/// There can't be such a one.
pub(crate) fn check(named: &Named) -> Result<QuotaEntity, Failure> {
    let mut entity = QuotaEntity::default();
    for (kind, name) in named {
        let place = match kind.as_str() {
            USER => &mut entity.user,
            CLIENT_ID => &mut entity.client_id,
            IP => &mut entity.ip,
            other => return refuse(format!("Unhandled client quota entity type: {other}")),
        };
        *place = Some(match name {
            None => QuotaName::Default,
            Some(name) if name.is_empty() => return refuse(format!("Empty {kind} not supported")),
            Some(name) if name.len() > NAME_BYTES_MAX => {
                return refuse(format!(
                    "a {kind} that has quotas of its own has a name of at most {NAME_BYTES_MAX} bytes"
                ));
            }
            Some(name) => QuotaName::Of(name.clone()),
        });
    }
    match &entity {
        QuotaEntity { user: None, client_id: None, ip: None } => refuse("Invalid empty client quota entity".to_owned()),
        QuotaEntity { user: None, client_id: None, ip: Some(QuotaName::Of(text)) } if address(text).is_none() => {
            refuse(format!("{text} is not a valid IP or resolvable host."))
        }
        QuotaEntity { user: None, client_id: None, .. } | QuotaEntity { ip: None, .. } => Ok(entity),
        QuotaEntity { .. } => {
            refuse("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId".to_owned())
        }
    }
}

/// What such an entity's quota of that name comes to.
///
/// # Errors
/// It has none of that name, or not such a one.
pub(crate) fn check_value(entity: &QuotaEntity, name: &str, value: f64) -> Result<QuotaValue, Failure> {
    /// Kafka's types, by their greatest numbers.
    const INT: Option<(f64, &str)> = Some((2_147_483_647.0, "an INT"));
    const LONG: Option<(f64, &str)> = Some((9_223_372_036_854_775_808.0, "a LONG"));
    let whole = match (entity.ip.is_some(), name) {
        (false, PRODUCER_BYTE_RATE | CONSUMER_BYTE_RATE) => LONG,
        (false, REQUEST_PERCENTAGE | CONTROLLER_MUTATION_RATE) => None,
        (true, CONNECTION_CREATION_RATE) => INT,
        _ => return refuse(format!("Invalid configuration key {name}")),
    };
    if value <= 0.0 {
        return refuse(format!("Quota {name} must be greater than 0"));
    }
    match whole {
        Some((most, kind)) if value > most => refuse(format!("Proposed value for {name} is too large for {kind}.")),
        Some(_) if (value % 1.0).abs() > FRACTION_MAX => refuse(format!("{name} cannot be a fractional value.")),
        _ => Ok(QuotaValue::new(value)),
    }
}

/// The address that is written so. Names of hosts are not looked up: an address is what a connection has.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn refuse<T>(why: String) -> Result<T, Failure> {
    Err(Failure::InvalidRequest(why))
}

/// An entity as Kafka prints it.
pub(crate) fn printed(named: &Named) -> String {
    let part = |(kind, name): (&String, &Option<String>)| format!("{kind}={}", name.as_deref().unwrap_or("null"));
    let parts: Vec<String> = named.iter().map(part).collect();
    format!("ClientQuotaEntity(entries={{{}}})", parts.join(", "))
}

/// An entity's parts as answers name them.
pub(crate) fn parts(entity: &QuotaEntity) -> impl Iterator<Item = (&'static str, Option<&str>)> {
    let parts = [(CLIENT_ID, &entity.client_id), (IP, &entity.ip), (USER, &entity.user)];
    parts.into_iter().filter_map(|(kind, name)| match name.as_ref()? {
        QuotaName::Default => Some((kind, None)),
        QuotaName::Of(name) => Some((kind, Some(name.as_str()))),
    })
}

/// Which entities are asked for.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Those with these names, or with the default.
    exact: BTreeMap<&'static str, QuotaName>,
    /// Those that have something of these types.
    any: BTreeSet<&'static str>,
    /// And nothing else.
    is_strict: bool,
}

/// How a part of an entity is asked for, by Kafka's numbers.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

impl Filter {
    /// Of what a request says: types, numbers of kinds of match, and names.
    ///
    /// # Errors
    /// It contradicts itself.
    pub(crate) fn of<'a>(
        components: impl Iterator<Item = (&'a str, i8, Option<&'a str>)>,
        is_strict: bool,
    ) -> Result<Filter, Failure> {
        let mut filter = Filter { is_strict, ..Filter::default() };
        for (kind, matched, name) in components {
            filter.add(kind, matched, name)?;
        }
        let has = |kind| filter.exact.contains_key(kind) || filter.any.contains(kind);
        if has(IP) && (has(USER) || has(CLIENT_ID)) {
            return refuse(
                "Invalid entity filter component combination. IP filter component should not be used with user or clientId \
                 filter component."
                    .to_owned(),
            );
        }
        Ok(filter)
    }

    fn add(&mut self, kind: &str, matched: i8, name: Option<&str>) -> Result<(), Failure> {
        if kind.is_empty() {
            return refuse("Invalid empty entity type.".to_owned());
        }
        let known = match kind {
            USER => USER,
            CLIENT_ID => CLIENT_ID,
            IP => IP,
            _ => return Err(Failure::UnsupportedVersion(format!("Unsupported entity type {kind}"))),
        };
        if self.exact.contains_key(known) || self.any.contains(known) {
            return refuse(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        match (matched, name) {
            (EXACT, Some(name)) => {
                self.exact.insert(known, QuotaName::Of(name.to_owned()));
            }
            (EXACT, None) => {
                return refuse("Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned());
            }
            (DEFAULT, None) => {
                self.exact.insert(known, QuotaName::Default);
            }
            (SPECIFIED, None) => {
                self.any.insert(known);
            }
            (DEFAULT, Some(_)) => {
                return refuse("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.".to_owned());
            }
            (SPECIFIED, Some(_)) => {
                return refuse("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.".to_owned());
            }
            (other, _) => return refuse(format!("Unknown match type {other}")),
        }
        Ok(())
    }

    /// Those of these quotas that are asked for. A strict filter that names nothing asks for nothing.
    pub(crate) fn matches<'a>(&self, quotas: &'a Quotas) -> impl Iterator<Item = &'a QuotaEntity> {
        quotas.keys().filter(|entity| self.matches_one(entity))
    }

    fn matches_one(&self, entity: &QuotaEntity) -> bool {
        let parts = [(CLIENT_ID, &entity.client_id), (IP, &entity.ip), (USER, &entity.user)];
        let wanted = self.exact.len() + self.any.len();
        let is_as_wanted = |(kind, name): &(&'static str, &Option<QuotaName>)| match self.exact.get(kind) {
            Some(exact) => name.as_ref() == Some(exact),
            None => name.is_some() || !self.any.contains(kind),
        };
        let present = parts.iter().filter(|(_, name)| name.is_some()).count();
        parts.iter().all(is_as_wanted) && (!self.is_strict || (wanted > 0 && present == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn named(parts: &[(&str, Option<&str>)]) -> Named {
        parts.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect()
    }

    fn refused<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> String {
        outcome.expect_err("it is refused").to_string()
    }

    #[test]
    fn an_entity_is_a_user_a_client_id_both_or_an_address() {
        let of = |name: &str| Some(QuotaName::Of(name.to_owned()));
        let both = named(&[("user", Some("u")), ("client-id", None)]);
        let entity = check(&both).expect("there is such a one");
        assert_eq!(entity, QuotaEntity { user: of("u"), client_id: Some(QuotaName::Default), ip: None });
        assert_eq!(parts(&entity).collect::<Vec<_>>(), [("client-id", None), ("user", Some("u"))]);
        assert_eq!(printed(&both), "ClientQuotaEntity(entries={client-id=null, user=u})");
        assert!(check(&named(&[("ip", None)])).is_ok());
        assert!(check(&named(&[("ip", Some("::1"))])).is_ok());
        assert_eq!(refused(check(&named(&[]))), "Invalid empty client quota entity");
        let other = refused(check(&named(&[("group", Some("g"))])));
        assert_eq!(other, "Unhandled client quota entity type: group");
        assert_eq!(refused(check(&named(&[("user", Some(""))]))), "Empty user not supported");
        let host = refused(check(&named(&[("ip", Some("nowhere"))])));
        assert_eq!(host, "nowhere is not a valid IP or resolvable host.");
        let mixed = refused(check(&named(&[("ip", Some("1.2.3.4")), ("user", None)])));
        assert!(mixed.starts_with("Invalid quota entity combination"), "{mixed}");
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(check(&named(&[("user", Some(long.as_str()))])).is_err());
    }

    #[test]
    fn values_are_as_great_as_their_types_allow() {
        let (client, ip) = (QuotaEntity::default(), QuotaEntity { ip: Some(QuotaName::Default), ..Default::default() });
        let wrong = |entity: &QuotaEntity, name: &str, value: f64| refused(check_value(entity, name, value));
        assert_eq!(check_value(&client, "producer_byte_rate", 1024.0).expect("it is right").get(), 1024.0);
        assert!(check_value(&client, "request_percentage", 0.5).is_ok());
        assert!(check_value(&ip, "connection_creation_rate", 10.0).is_ok());
        assert_eq!(wrong(&ip, "producer_byte_rate", 1.0), "Invalid configuration key producer_byte_rate");
        let name = "connection_creation_rate";
        assert_eq!(wrong(&client, name, 1.0), "Invalid configuration key connection_creation_rate");
        assert_eq!(wrong(&client, "request_percentage", 0.0), "Quota request_percentage must be greater than 0");
        assert_eq!(wrong(&ip, name, 3e9), "Proposed value for connection_creation_rate is too large for an INT.");
        let fraction = wrong(&client, "consumer_byte_rate", 1.5);
        assert_eq!(fraction, "consumer_byte_rate cannot be a fractional value.");
    }

    fn asked(components: &[(&str, i8, Option<&str>)], is_strict: bool) -> Vec<String> {
        let all = [
            named(&[("user", Some("a"))]),
            named(&[("user", None)]),
            named(&[("user", Some("a")), ("client-id", Some("c"))]),
            named(&[("user", Some("a")), ("client-id", None)]),
            named(&[("client-id", Some("c"))]),
            named(&[("ip", Some("1.2.3.4"))]),
        ];
        let quotas: Quotas = all.iter().map(|it| (check(it).expect("there is such a one"), Arc::default())).collect();
        let filter = Filter::of(components.iter().copied(), is_strict).expect("it is right");
        let short =
            |entity: &QuotaEntity| parts(entity).map(|(_, name)| name.unwrap_or("*")).collect::<Vec<_>>().join("+");
        let mut found: Vec<String> = filter.matches(&quotas).map(short).collect();
        found.sort();
        found
    }

    #[test]
    fn a_filter_asks_by_names_defaults_and_types() {
        assert_eq!(asked(&[], false), ["*", "*+a", "1.2.3.4", "a", "c", "c+a"]);
        assert!(asked(&[], true).is_empty());
        assert_eq!(asked(&[("user", EXACT, Some("a"))], false), ["*+a", "a", "c+a"]);
        assert_eq!(asked(&[("user", EXACT, Some("a"))], true), ["a"]);
        assert_eq!(asked(&[("user", DEFAULT, None)], true), ["*"]);
        assert_eq!(asked(&[("user", SPECIFIED, None)], false), ["*", "*+a", "a", "c+a"]);
        let both = [("user", SPECIFIED, None), ("client-id", EXACT, Some("c"))];
        assert_eq!(asked(&both, true), ["c+a"]);
        assert_eq!(asked(&[("ip", SPECIFIED, None)], true), ["1.2.3.4"]);
    }

    #[test]
    fn a_filter_that_contradicts_itself_is_refused() {
        let wrong = |components: &[(&str, i8, Option<&str>)]| refused(Filter::of(components.iter().copied(), false));
        assert_eq!(wrong(&[("", EXACT, Some("a"))]), "Invalid empty entity type.");
        let twice = wrong(&[("user", EXACT, Some("a")), ("user", DEFAULT, None)]);
        assert_eq!(twice, "Entity type user cannot appear more than once in the filter.");
        let null = wrong(&[("user", EXACT, None)]);
        assert_eq!(null, "Request specified MATCH_TYPE_EXACT, but set match string to null.");
        let named = wrong(&[("user", SPECIFIED, Some("a"))]);
        assert_eq!(named, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.");
        assert_eq!(wrong(&[("user", 3, None)]), "Unknown match type 3");
        assert!(wrong(&[("ip", SPECIFIED, None), ("user", DEFAULT, None)]).starts_with("Invalid entity filter"));
        let other = Filter::of([("group", EXACT, Some("g"))].into_iter(), false).expect_err("there is none");
        assert_eq!(other.code(), protocol::error_code::ErrorCode::UnsupportedVersion);
    }
}
