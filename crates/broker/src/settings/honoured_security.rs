//! The honoured settings that say who may do what, and who is who.

use super::honoured_line::{Honoured, INT_MAX, duration, line, millis, number};
use super::listener;
use crate::rights::Authorizing;
use crate::sasl::Text;
use std::collections::BTreeSet;

/// The one authorizer that there is, by the name of Kafka's.
const STANDARD: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

/// Values that `authorizer.class.name` may have: none is nobody.
pub(crate) static AUTHORIZERS: [&str; 2] = ["", STANDARD];

pub(super) static HONOURED: [Honoured; 17] = [
    line(
        "advertised.listeners",
        |text, to| listener::read_listener(text).map(|it| to.listener.advertised = Some(it)),
        |of| format!("{}://{}", of.listener.name(), of.advertised),
    ),
    line(
        "allow.everyone.if.no.acl.found",
        |text, to| {
            to.authorizing.allow_everyone = Some(text.eq_ignore_ascii_case("true"));
            Ok(())
        },
        |of| of.authorizing.allows_everyone().to_string(),
    ),
    line(
        "authorizer.class.name",
        |text, to| {
            to.authorizing = Authorizing { is_on: text == STANDARD, is_chosen: true, ..to.authorizing.clone() };
            Ok(())
        },
        |of| {
            let is_standard = of.authorizing.is_on && of.authorizing.is_chosen;
            if is_standard { STANDARD.to_owned() } else { String::new() }
        },
    ),
    line(
        "connection.failed.authentication.delay.ms",
        |text, to| duration(text, 0).map(|it| to.listener.failure_delay = it),
        |of| millis(of.listener.failure_delay),
    ),
    line(
        "connections.max.reauth.ms",
        |text, to| number(text, i64::MIN, i64::MAX).map(|it| to.listener.reauth_ms = it),
        |of| of.listener.reauth_ms.to_string(),
    ),
    line(
        "delegation.token.expiry.check.interval.ms",
        |text, to| duration(text, 1).map(|it| to.tokens.check_period = it),
        |of| millis(of.tokens.check_period),
    ),
    line(
        "delegation.token.expiry.time.ms",
        |text, to| duration(text, 1).map(|it| to.tokens.renewal_max = it),
        |of| millis(of.tokens.renewal_max),
    ),
    line(
        "delegation.token.max.lifetime.ms",
        |text, to| duration(text, 1).map(|it| to.tokens.lifetime_max = it),
        |of| millis(of.tokens.lifetime_max),
    ),
    line(
        "delegation.token.secret.key",
        |text, to| {
            // What is kept to be shown is not what was given.
            if text != listener::HIDDEN {
                to.tokens.secret = Some(Text(text.to_owned())).filter(|it| !it.0.is_empty());
            }
            Ok(())
        },
        |_| listener::HIDDEN.to_owned(),
    ),
    line(
        "listener.security.protocol.map",
        |text, to| listener::read_protocols(text).map(|it| to.listener.protocols = it),
        |of| match of.listener.protocols.iter().map(|(name, it)| format!("{name}:{it}")).collect::<Vec<_>>() {
            none if none.is_empty() => PROTOCOLS.to_owned(),
            pairs => pairs.join(","),
        },
    ),
    line(
        "listeners",
        |text, to| listener::read_listener(text).map(|it| to.listener.listening = Some(it)),
        |of| format!("{}://{}", of.listener.name(), of.listening),
    ),
    line(
        "sasl.enabled.mechanisms",
        |text, to| {
            to.listener.mechanisms = listener::names(text);
            Ok(())
        },
        |of| of.listener.mechanisms.join(","),
    ),
    line(
        listener::JAAS,
        |text, to| {
            // What is kept to be shown is not what was given.
            if text != listener::HIDDEN {
                to.listener.logins.insert(String::new(), Text(text.to_owned()));
            }
            Ok(())
        },
        |_| listener::HIDDEN.to_owned(),
    ),
    line(
        "sasl.mechanism.inter.broker.protocol",
        |text, to| {
            to.listener.inter_mechanism = Some(text.to_owned());
            Ok(())
        },
        |of| of.listener.inter_mechanism.clone().unwrap_or_else(|| "GSSAPI".to_owned()),
    ),
    line(
        "sasl.server.max.receive.size",
        |text, to| number(text, 1024, INT_MAX).map(|it| to.listener.receive_bytes_max = it),
        |of| of.listener.receive_bytes_max.to_string(),
    ),
    line(
        "security.inter.broker.protocol",
        |text, to| {
            to.listener.inter_protocol = Some(text.to_owned());
            Ok(())
        },
        |of| of.listener.inter_protocol.clone().unwrap_or_else(|| "PLAINTEXT".to_owned()),
    ),
    line(
        "super.users",
        |text, to| users(text).map(|users| to.authorizing.super_users = users),
        |of| of.authorizing.super_users.iter().map(String::as_str).collect::<Vec<_>>().join(";"),
    ),
];

/// Kafka's default of the map of protocols.
const PROTOCOLS: &str = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

/// `User:name` between semicolons.
fn users(text: &str) -> Result<BTreeSet<String>, String> {
    let named = text.split(';').map(str::trim).filter(|user| !user.is_empty());
    let user = |user: &str| match user.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(user.to_owned()),
        _ => Err(format!("'{user}' is no principal; write User:NAME, several with ; between them")),
    };
    named.map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn super_users_are_principals() {
        let two = ["User:CN=a,O=b".to_owned(), "User:admin".to_owned()];
        assert_eq!(users(" User:admin; User:CN=a,O=b ;").unwrap(), two.into());
        assert_eq!(users("").unwrap(), BTreeSet::new());
        assert!(users("admin").unwrap_err().contains("User:NAME"));
    }
}
