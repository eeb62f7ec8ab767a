//! What the settings say of the one listener: where it is, whether callers log in there, and how.
//!
//! Kafka gives settings to a listener by a prefix, `listener.name.NAME.`, and those of SASL to a mechanism by another one behind it.

use super::jaas::{self, Jaas};
use crate::BrokerOptions;
use crate::sasl::{Mechanism, OwnLogin, SaslOptions, Text};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How settings of one listener begin.
const PREFIX: &str = "listener.name.";

/// The setting that has secrets.
pub(super) const JAAS: &str = "sasl.jaas.config";

/// What stands for a secret where settings are kept to be shown.
pub(super) const HIDDEN: &str = "[hidden]";

/// Names of security protocols, by which a listener may be called without another word.
const PLAINTEXT: &str = "PLAINTEXT";
const SASL_PLAINTEXT: &str = "SASL_PLAINTEXT";
const WITH_TLS: [&str; 2] = ["SSL", "SASL_SSL"];

/// As given; what comes of it is [`BrokerOptions::sasl`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Its name, and where it is as `host:port` (`listeners`). `None`: `--listen` says where.
    pub listening: Option<(String, String)>,
    /// The same as clients are told (`advertised.listeners`).
    pub advertised: Option<(String, String)>,
    /// Security protocols by names of listeners (`listener.security.protocol.map`).
    pub(super) protocols: BTreeMap<String, String>,
    pub(super) mechanisms: Vec<String>,
    /// Login configurations by mechanism in small letters; of all mechanisms by the empty name.
    pub(super) logins: BTreeMap<String, Text>,
    /// Zero: a login is good for ever.
    pub(super) reauth_ms: i64,
    pub(super) receive_bytes_max: usize,
    pub(super) failure_delay: Duration,
    /// What brokers are said to use among themselves.
    pub(super) inter_protocol: Option<String>,
    pub(super) inter_mechanism: Option<String>,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        ListenerSettings {
            listening: None,
            advertised: None,
            protocols: BTreeMap::new(),
            mechanisms: vec!["GSSAPI".to_owned()],
            logins: BTreeMap::new(),
            reauth_ms: 0,
            receive_bytes_max: 524_288,
            failure_delay: Duration::from_millis(100),
            inter_protocol: None,
            inter_mechanism: None,
        }
    }
}

impl ListenerSettings {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.listening.as_ref().map_or(PLAINTEXT, |(name, _)| name.as_str())
    }

    /// Its security protocol, in Kafka's word.
    fn protocol(&self) -> Result<&str, String> {
        let name = self.name();
        match self.protocols.get(name).map_or(name, String::as_str) {
            known @ (PLAINTEXT | SASL_PLAINTEXT) => Ok(known),
            tls if WITH_TLS.contains(&tls) => Err(format!(
                "listeners: {name} is a listener with TLS, which is not served yet; there are {PLAINTEXT} and {SASL_PLAINTEXT}"
            )),
            _ => Err(format!("listener.security.protocol.map says of no security protocol for listener {name}")),
        }
    }
}

/// `NAME://host:port`, of which there may be one. Without a host all of this host's addresses are meant.
pub(super) fn read_listener(text: &str) -> Result<(String, String), String> {
    let wrong = || "write one listener, NAME://HOST:PORT; there is one".to_owned();
    let (name, address) = text.trim().split_once("://").filter(|_| !text.contains(',')).ok_or_else(wrong)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    if name.is_empty() || port.parse::<u16>().is_err() {
        Err(wrong())
    } else {
        Ok((name.to_ascii_uppercase(), format!("{host}:{port}")))
    }
}

/// `NAME:PROTOCOL` pairs.
pub(super) fn read_protocols(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, protocol) = pair.split_once(':').ok_or_else(|| format!("'{pair}' is no NAME:PROTOCOL"))?;
        Ok((name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase()))
    };
    pairs.map(pair).collect()
}

/// Takes the settings of a single listener out of what is given; what is left is for the table.
///
/// # Errors
/// There is no such setting of a listener.
pub(super) fn take_prefixed(
    given: &BTreeMap<String, String>,
    options: &mut BrokerOptions,
) -> Result<BTreeMap<String, String>, String> {
    let (prefixed, plain): (Vec<_>, Vec<_>) = given.iter().partition(|(name, _)| name.starts_with(PREFIX));
    let plain: BTreeMap<String, String> = plain.into_iter().map(|(name, text)| (name.clone(), text.clone())).collect();
    let listener = plain.get("listeners").and_then(|text| read_listener(text).ok()).map(|(name, _)| name);
    let listener = listener.unwrap_or_else(|| PLAINTEXT.to_owned()).to_ascii_lowercase();
    for (full, text) in prefixed {
        let rest = full.strip_prefix(PREFIX).unwrap_or_default();
        let Some(setting) = rest.strip_prefix(listener.as_str()).and_then(|rest| rest.strip_prefix('.')) else {
            return Err(format!("{full}: there is no such listener; the one that there is is {listener}"));
        };
        let mechanism = Mechanism::ALL
            .map(|it| it.name().to_ascii_lowercase())
            .into_iter()
            .find(|name| setting.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.')));
        let mechanism = mechanism.unwrap_or_default();
        let setting = setting.strip_prefix(mechanism.as_str()).unwrap_or(setting).trim_start_matches('.');
        match setting {
            JAAS => drop(options.listener.logins.insert(mechanism, Text(text.clone()))),
            "sasl.enabled.mechanisms" if mechanism.is_empty() => options.listener.mechanisms = names(text),
            "connections.max.reauth.ms" => {
                options.listener.reauth_ms = text.trim().parse().map_err(|_| format!("{full}: write milliseconds"))?;
            }
            _ => return Err(format!("Unknown broker config name: {full}")),
        }
    }
    Ok(plain)
}

/// What is between commas.
pub(super) fn names(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// What comes of all of it.
///
/// # Errors
/// One line that says which part of it can't be, and what to write.
pub(super) fn resolve(options: &mut BrokerOptions) -> Result<(), String> {
    let settings = &options.listener;
    let protocol = settings.protocol()?;
    if let Some(inter) = settings.inter_protocol.as_deref().filter(|inter| *inter != protocol) {
        return Err(format!(
            "security.inter.broker.protocol={inter}: brokers reach each other at the listener that clients use, whose protocol is \
             {protocol}"
        ));
    }
    if protocol == PLAINTEXT {
        if !settings.logins.is_empty() {
            return Err(format!(
                "{JAAS}: nobody logs in at a listener of {PLAINTEXT}; write listeners={SASL_PLAINTEXT}://HOST:PORT"
            ));
        }
        options.sasl = None;
        return Ok(());
    }
    let (mechanisms, users, own) = (mechanisms(settings)?, users(settings)?, own_login(settings)?);
    if mechanisms.contains(&Mechanism::Plain) && users.is_empty() {
        return Err(format!(
            "PLAIN has no users: write listener.name.{}.plain.{JAAS} with user_NAME=\"PASSWORD\"",
            settings.name().to_ascii_lowercase()
        ));
    }
    let reauth = u64::try_from(settings.reauth_ms).ok().filter(|millis| *millis > 0);
    options.sasl = Some(Arc::new(SaslOptions {
        mechanisms,
        users,
        own,
        receive_bytes_max: settings.receive_bytes_max,
        reauth_max: reauth.map(Duration::from_millis),
        failure_delay: settings.failure_delay,
    }));
    Ok(())
}

fn mechanisms(settings: &ListenerSettings) -> Result<Vec<Mechanism>, String> {
    let known = |name: &String| {
        Mechanism::ALL.into_iter().find(|it| it.name() == name.as_str()).ok_or_else(|| {
            let all = Mechanism::ALL.map(Mechanism::name).join(", ");
            format!("sasl.enabled.mechanisms: {name} is not served; there are {all}")
        })
    };
    let mechanisms: Vec<Mechanism> = settings.mechanisms.iter().map(known).collect::<Result<_, _>>()?;
    if mechanisms.is_empty() { Err("sasl.enabled.mechanisms names none".to_owned()) } else { Ok(mechanisms) }
}

/// The login configuration of a mechanism.
fn login(settings: &ListenerSettings, mechanism: Mechanism) -> Result<Option<Jaas>, String> {
    let of_mechanism = settings.logins.get(&mechanism.name().to_ascii_lowercase());
    let Some(text) = of_mechanism.or_else(|| settings.logins.get("")) else { return Ok(None) };
    jaas::parse(&text.0).map(Some).map_err(|wrong| format!("{JAAS} of {}: {wrong}", mechanism.name()))
}

/// Those of PLAIN. The configurations of others must be such all the same.
fn users(settings: &ListenerSettings) -> Result<BTreeMap<String, Text>, String> {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
        login(settings, mechanism)?;
    }
    let Some(Jaas { class, options }) = login(settings, Mechanism::Plain)? else { return Ok(BTreeMap::new()) };
    if !class.ends_with(".PlainLoginModule") {
        return Ok(BTreeMap::new());
    }
    let user = |(name, password): (String, Text)| Some((name.strip_prefix("user_")?.to_owned(), password));
    Ok(options
        .into_iter()
        .filter_map(user)
        .filter(|(name, password)| !name.is_empty() && !password.0.is_empty())
        .collect())
}

/// As what this broker logs in at others: what PLAIN's configuration names beside its users, as Kafka's does.
fn own_login(settings: &ListenerSettings) -> Result<Option<OwnLogin>, String> {
    match settings.inter_mechanism.as_deref() {
        None | Some("PLAIN" | "GSSAPI") => {}
        Some(other) => {
            return Err(format!("sasl.mechanism.inter.broker.protocol={other}: brokers log in at each other by PLAIN"));
        }
    }
    let Some(Jaas { mut options, .. }) = login(settings, Mechanism::Plain)? else { return Ok(None) };
    let user = options.remove("username").map(|user| user.0);
    Ok(user.zip(options.remove("password")).map(|(user, password)| OwnLogin { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::apply;

    fn applied(pairs: &[(&str, &str)]) -> Result<BrokerOptions, String> {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut options = BrokerOptions::default();
        apply(&given, &mut options).map(|()| options)
    }

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"broker\" \
        password=\"b-secret\" user_broker=\"b-secret\" user_alice=\"a-secret\";";
    const LISTENER: (&str, &str) = ("listeners", "SASL_PLAINTEXT://127.0.0.1:9092");
    const MECHANISMS: (&str, &str) = ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512");
    const LOGIN: (&str, &str) = ("listener.name.sasl_plaintext.plain.sasl.jaas.config", PLAIN);

    #[test]
    fn a_listener_with_sasl_has_mechanisms_users_and_an_own_login() {
        let options = applied(&[LISTENER, MECHANISMS, LOGIN, ("connections.max.reauth.ms", "5000")]).unwrap();
        let sasl = options.sasl.clone().unwrap();
        assert_eq!(sasl.mechanisms, [Mechanism::Plain, Mechanism::ScramSha512]);
        assert_eq!((sasl.users.len(), sasl.users["alice"].0.as_str()), (2, "a-secret"));
        assert_eq!(sasl.own.as_ref().map(|own| own.user.as_str()), Some("broker"));
        assert_eq!(sasl.reauth_max, Some(Duration::from_secs(5)));
        assert_eq!(options.listener.listening, Some(("SASL_PLAINTEXT".to_owned(), "127.0.0.1:9092".to_owned())));
        let shown = format!("{options:?}");
        assert!(!shown.contains("-secret"), "{shown}");

        let named = [
            ("listeners", "CLIENTS://:9092"),
            ("listener.security.protocol.map", "CLIENTS:SASL_PLAINTEXT"),
            ("listener.name.clients.sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        ];
        let options = applied(&named).unwrap();
        assert_eq!(options.sasl.unwrap().mechanisms, [Mechanism::ScramSha256]);
        assert_eq!(options.listener.listening.unwrap().1, "0.0.0.0:9092");
        let options = applied(&[LISTENER, ("sasl.enabled.mechanisms", "PLAIN"), ("sasl.jaas.config", PLAIN)]).unwrap();
        assert_eq!(options.sasl.unwrap().users.len(), 2);
        assert!(applied(&[]).unwrap().sasl.is_none());
        assert!(applied(&[("listeners", "PLAINTEXT://localhost:9092")]).unwrap().sasl.is_none());
    }

    /// The page tells people to write this.
    #[test]
    fn the_page_s_example_is_taken() {
        let page = include_str!("../../../../docs/operating/security.md");
        let block = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let pair = |line: &'static str| {
            let (name, value) = line.split_once(" = ")?;
            let quotes = ['"', '\''];
            name.starts_with('"').then(|| (name.trim_matches('"'), value.trim_matches(quotes)))
        };
        let pairs: Vec<(&str, &str)> = block.lines().filter_map(pair).collect();
        let options = applied(&pairs).unwrap();
        let sasl = options.sasl.unwrap();
        assert_eq!((sasl.mechanisms.len(), sasl.users.len(), sasl.own.is_some()), (3, 1, true));
        assert!(options.authorizing.is_on && options.authorizing.super_users.contains("User:admin"));
    }

    #[test]
    fn what_would_not_protect_is_refused() {
        let wrong = |pairs: &[(&str, &str)]| applied(pairs).unwrap_err();
        assert!(wrong(&[LISTENER]).contains("GSSAPI is not served"));
        assert!(wrong(&[LISTENER, ("sasl.enabled.mechanisms", "PLAIN")]).contains("PLAIN has no users"));
        assert!(wrong(&[("listeners", "SASL_SSL://:9093")]).contains("TLS"));
        assert!(wrong(&[("listeners", "A://:1,B://:2")]).contains("there is one"));
        assert!(wrong(&[("listeners", "CLIENTS://:1")]).contains("listener.security.protocol.map"));
        assert!(wrong(&[MECHANISMS, LOGIN]).contains("there is no such listener"));
        assert!(wrong(&[("sasl.jaas.config", PLAIN)]).contains("nobody logs in"));
        assert!(
            wrong(&[LISTENER, MECHANISMS, ("security.inter.broker.protocol", "PLAINTEXT")]).contains("SASL_PLAINTEXT")
        );
        let unknown = ("listener.name.sasl_plaintext.ssl.keystore.location", "/k");
        assert!(wrong(&[LISTENER, MECHANISMS, LOGIN, unknown]).contains("Unknown broker config name"));
        let broken = ("listener.name.sasl_plaintext.plain.sasl.jaas.config", "M required user_a=\"secret");
        let told = wrong(&[LISTENER, MECHANISMS, broken]);
        assert!(told.contains("not closed") && !told.contains("secret"), "{told}");
    }
}
