//! What is said where this broker gets no answer from another because of who it is: which broker, why, what waits for it, and what to write.
//!
//! Brokers log in at one another by PLAIN, as what the login configuration of that mechanism names beside its users. Whoever waits hears of
//! nothing but a time that has run out, and the broker that refuses can't tell this one from a stranger: so it is this one that must say it.

use crate::BrokerOptions;
use crate::sasl::Mechanism;
use client::ClientError;
use control::Ledger;
use protocol::error_code::ErrorCode;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use world::{Backoff, lock};

/// Brokers of which it is known how often they have refused; then it begins anew.
const REFUSING_MAX: usize = 64;

/// Why another broker does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has closed the connection to this broker, which has no login, before it answered.
    Silent,
    /// It has refused the login of this user.
    Login { user: String, code: ErrorCode, why: String },
    /// This user (or whoever does not log in) may not ask what brokers ask.
    Rights { user: Option<String> },
}

impl Refusal {
    /// What an error says about who this broker is there. `None`: nothing.
    pub(crate) fn of(error: &ClientError, user: Option<&str>) -> Option<Refusal> {
        match (error, user) {
            (ClientError::TurnedAway { .. }, None) => Some(Refusal::Silent),
            (ClientError::Refused { code, .. }, Some(user)) if is_of_login(*code) => {
                Some(Refusal::Login { user: user.to_owned(), code: *code, why: error.to_string() })
            }
            _ => None,
        }
    }
}

fn is_of_login(code: ErrorCode) -> bool {
    use ErrorCode::{IllegalSaslState, SaslAuthenticationFailed, UnsupportedSaslMechanism};
    matches!(code, IllegalSaslState | SaslAuthenticationFailed | UnsupportedSaslMechanism)
}

/// The setting that has this broker's login.
fn setting(options: &BrokerOptions) -> String {
    format!("listener.name.{}.plain.sasl.jaas.config", options.listener.name().to_ascii_lowercase())
}

/// What is to be known at the start: that this broker can't log in at others, if all have its settings; and what to write. `None`: it can.
pub(crate) fn warning(options: &BrokerOptions) -> Option<String> {
    let sasl = options.sasl.as_ref()?;
    let setting = setting(options);
    let (what, write) = match &sasl.own {
        _ if !sasl.mechanisms.contains(&Mechanism::Plain) => (
            "brokers log in by PLAIN, which is not among sasl.enabled.mechanisms".to_owned(),
            format!("put it there, and username=\"NAME\" password=\"PASSWORD\" of one of its users into {setting}"),
        ),
        None => (
            format!("{setting} has no username and password"),
            "write username=\"NAME\" password=\"PASSWORD\" of one of its users into it, before the semicolon"
                .to_owned(),
        ),
        Some(own) if sasl.users.get(&own.user) != Some(&own.password) => (
            format!("the username {} of {setting} is none of its users, or has another password there", own.user),
            format!("write user_{}=\"PASSWORD\" into it, with that password", own.user),
        ),
        Some(_) => return None,
    };
    Some(format!(
        "this broker can't log in at others: {what}; where there are several, transactions and share groups with partitions of more than \
         one never end: {write}, on all of them (one broker alone needs no login)"
    ))
}

/// How often each broker has refused in a row.
pub(crate) struct Refusals {
    /// Where it stands who is at an address.
    ledger: Ledger,
    setting: String,
    by_address: Mutex<BTreeMap<String, Backoff>>,
}

impl Refusals {
    pub(crate) fn new(ledger: Ledger, options: &BrokerOptions) -> Refusals {
        Refusals { ledger, setting: setting(options), by_address: Mutex::default() }
    }

    /// Says what waits for the broker at that address, which refuses: the first time, and at each doubling of the times.
    pub(crate) fn tell(&self, address: &str, refusal: &Refusal, waits: &str) {
        if is_told(&mut lock(&self.by_address), address, refusal) {
            let image = self.ledger.image();
            let is_there = |node: &&std::sync::Arc<control_core::Node>| node.advertised == address;
            let broker = image.nodes.values().rfind(is_there).map(|node| node.node_id.0);
            let refused = Refused { broker, address, refusal, setting: &self.setting };
            tracing::warn!("{refused}; until then {waits} wait");
        }
    }

    /// The broker at that address has answered.
    pub(crate) fn forget(&self, address: &str) {
        lock(&self.by_address).remove(address);
    }
}

/// Whether this one is worth a line. A broker that is about to end closes connections too, once.
fn is_told(by_address: &mut BTreeMap<String, Backoff>, address: &str, refusal: &Refusal) -> bool {
    if by_address.len() >= REFUSING_MAX && !by_address.contains_key(address) {
        by_address.clear();
    }
    let times = by_address.entry(address.to_owned()).or_default();
    let is_sure = *refusal != Refusal::Silent || times.tries() > 0;
    let is_told = is_sure && times.is_worth_a_line();
    // Nothing is waited for here; it counts.
    times.next_wait(0);
    is_told
}

/// Which broker refuses, why, and what to write.
struct Refused<'a> {
    broker: Option<i32>,
    address: &'a str,
    refusal: &'a Refusal,
    setting: &'a str,
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { broker, address, refusal, setting } = self;
        let broker = broker.map_or_else(|| "the broker".to_owned(), |id| format!("broker {id}"));
        match refusal {
            Refusal::Silent => write!(
                out,
                "{broker} at {address} closes the connection before it answers, as brokers do that start, or stop, or want a login, and this \
                 one has none: where they log in, write username=\"NAME\" password=\"PASSWORD\" of a user of that broker's into {setting}, \
                 and start this one again"
            ),
            Refusal::Login { user, code: ErrorCode::UnsupportedSaslMechanism, .. } => write!(
                out,
                "{broker} at {address} does not let this one in as {user}: brokers log in by PLAIN, which is not among that broker's \
                 sasl.enabled.mechanisms: put it there"
            ),
            Refusal::Login { user, code: ErrorCode::IllegalSaslState, .. } => write!(
                out,
                "{broker} at {address} does not let this one in as {user}, as nobody logs in there: give all brokers the same listeners"
            ),
            Refusal::Login { user, why, .. } => write!(
                out,
                "{broker} at {address} does not let this one in ({why}): write a username and password into {setting} which that broker \
                 has as user_NAME=\"PASSWORD\" (all brokers have the same there), and start this one again; it says {user} now"
            ),
            Refusal::Rights { user } => {
                let user = user.as_deref().unwrap_or("ANONYMOUS");
                write!(
                    out,
                    "{broker} at {address} does not do for User:{user} what brokers ask: name it among that broker's super.users"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::apply;

    fn warned(mechanisms: &str, options: &str) -> Option<String> {
        let jaas = format!("org.apache.kafka.common.security.plain.PlainLoginModule required {options};");
        let given = [
            ("listeners", "CLIENTS://127.0.0.1:9092"),
            ("listener.security.protocol.map", "CLIENTS:SASL_PLAINTEXT"),
            ("sasl.enabled.mechanisms", mechanisms),
            ("listener.name.clients.plain.sasl.jaas.config", &jaas),
        ];
        let given = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut options = BrokerOptions::default();
        apply(&given, &mut options).unwrap();
        warning(&options)
    }

    #[test]
    fn a_start_says_that_it_can_t_log_in_at_others() {
        assert_eq!(warning(&BrokerOptions::default()), None, "nobody logs in");
        assert_eq!(warned("PLAIN", "username=a password=secret user_a=secret"), None);
        let setting = "listener.name.clients.plain.sasl.jaas.config";
        let cases = [
            ("PLAIN", "user_a=secret", "has no username and password"),
            ("PLAIN", "username=a user_a=secret", "has no username and password"),
            ("PLAIN", "username=b password=secret user_a=secret", "the username b"),
            ("PLAIN", "username=a password=misfit user_a=secret", "has another password there"),
            ("SCRAM-SHA-256", "username=a password=secret user_a=secret", "not among sasl.enabled.mechanisms"),
        ];
        for (mechanisms, options, says) in cases {
            let told = warned(mechanisms, options).unwrap();
            assert!(told.contains(says) && told.contains(setting), "{told}");
            assert!(!told.contains("secret") && !told.contains("misfit"), "{told}");
        }
    }

    #[test]
    fn a_broker_that_ends_is_no_news_and_one_that_refuses_is_told_ever_more_rarely() {
        let login = Refusal::Login { user: "a".into(), code: ErrorCode::SaslAuthenticationFailed, why: "no".into() };
        let mut times = BTreeMap::new();
        let mut told = |refusal: &Refusal, count: usize| -> Vec<usize> {
            times.clear();
            (0..count).filter(|_| is_told(&mut times, "host:1", refusal)).collect()
        };
        assert_eq!(told(&login, 20), [0, 1, 2, 4, 8, 16]);
        assert_eq!(told(&Refusal::Silent, 20), [1, 2, 4, 8, 16]);
        let mut many = BTreeMap::new();
        for host in 0..200 {
            assert!(is_told(&mut many, &format!("host:{host}"), &login));
            assert!(many.len() <= REFUSING_MAX);
        }
    }

    #[test]
    fn only_what_is_about_who_asks_is_a_refusal() {
        let away = ClientError::TurnedAway { address: "host:1".to_owned() };
        assert_eq!(Refusal::of(&away, None), Some(Refusal::Silent));
        assert_eq!(Refusal::of(&away, Some("a")), None, "it has no room for connections");
        let refused = |code| ClientError::Refused { what: "log in".to_owned(), code, message: None };
        assert!(Refusal::of(&refused(ErrorCode::SaslAuthenticationFailed), Some("a")).is_some());
        assert_eq!(Refusal::of(&refused(ErrorCode::UnknownServerError), Some("a")), None);
    }
}
