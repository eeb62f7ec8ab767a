//! What is asked of which client: the subscriptions in the ledger's settings, ready to be matched.
//!
//! Patterns are looked for by an engine whose time is linear in the text and whose memory is bounded, whoever wrote them. As in Java they
//! match whole values, and their classes are those of ASCII.

use crate::settings;
use base::checksum::crc32c;
use control_core::{Image, Settings, SettingsScope};
use protocol::wire::Uuid;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::{BTreeMap, BTreeSet};

/// Subscriptions at the most: each client is held against all.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 64;

/// What a compiled pattern takes, and what it takes more while it is looked for.
const PATTERN_BYTES_MAX: usize = 32 * 1024;

/// How often a client sends its metrics where no subscription says, and asks for subscriptions where there is none.
const INTERVAL_MS: i32 = 300_000;

/// A name that stands for all metrics.
const ALL: &str = "*";

/// What is known of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientInfo<'a> {
    pub(crate) id: Uuid,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) software_name: &'a str,
    pub(crate) software_version: &'a str,
    pub(crate) peer: std::net::SocketAddr,
}

impl ClientInfo<'_> {
    /// By Kafka's names (KIP-714).
    fn value(&self, of: &str) -> Option<String> {
        Some(match of {
            "client_instance_id" => self.id.to_string(),
            "client_id" => self.client_id?.to_owned(),
            "client_software_name" => self.software_name.to_owned(),
            "client_software_version" => self.software_version.to_owned(),
            "client_source_address" => self.peer.ip().to_string(),
            "client_source_port" => self.peer.port().to_string(),
            _ => return None,
        })
    }
}

/// What is asked of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Tells one set of metrics, interval and client from others.
    pub(crate) id: i32,
    /// How their names begin, sorted.
    pub(crate) metrics: Vec<String>,
    pub(crate) interval_ms: i32,
}

/// One subscription.
#[derive(Debug)]
struct Subscription {
    metrics: Vec<String>,
    interval_ms: i32,
    /// All must match.
    patterns: BTreeMap<String, Regex>,
}

/// All of them, as of some image.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    settings: Settings,
    list: Vec<Subscription>,
    /// Raised when they change.
    pub(super) version: u64,
}

impl Subscriptions {
    /// Makes them those of this image.
    pub(super) fn follow(&mut self, image: &Image) {
        if self.settings.ptr_eq(&image.settings) {
            return;
        }
        if !subscribed(&self.settings).eq(subscribed(&image.settings)) {
            self.list = subscribed(&image.settings).take(SUBSCRIPTIONS_MAX).map(|(_, set)| compiled(set)).collect();
            self.version += 1;
        }
        self.settings = image.settings.clone();
    }

    pub(super) fn asked_of(&self, client: &ClientInfo<'_>) -> Asked {
        let (mut metrics, mut interval_ms) = (BTreeSet::new(), INTERVAL_MS);
        for subscription in self.list.iter().filter(|subscription| subscription.matches(client)) {
            metrics.extend(subscription.metrics.iter().cloned());
            interval_ms = interval_ms.min(subscription.interval_ms);
        }
        let metrics: Vec<String> =
            if metrics.contains(ALL) { vec![ALL.to_owned()] } else { metrics.into_iter().collect() };
        let sum = crc32c(format!("{metrics:?}{interval_ms}").as_bytes());
        let [.., a, b, c, d] = client.id.0.to_be_bytes();
        Asked { id: (sum ^ u32::from_be_bytes([a, b, c, d])).cast_signed(), metrics, interval_ms }
    }
}

impl Subscription {
    fn matches(&self, client: &ClientInfo<'_>) -> bool {
        let matches =
            |(of, pattern): (&String, &Regex)| client.value(of).is_some_and(|value| pattern.is_match(value.as_bytes()));
        self.patterns.iter().all(matches)
    }
}

/// The settings of subscriptions, by their names.
fn subscribed(settings: &Settings) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
    let from = SettingsScope::ClientMetrics(String::new());
    settings.range(from..).filter_map(|(scope, set)| match scope {
        SettingsScope::ClientMetrics(name) => Some((name.as_str(), set.as_ref())),
        _ => None,
    })
}

/// How many subscriptions there are.
pub(crate) fn count(image: &Image) -> usize {
    subscribed(&image.settings).count()
}

fn compiled(set: &BTreeMap<String, String>) -> Subscription {
    let text = |name: &str| set.get(name).map_or("", String::as_str);
    // What was checked when it was set is there; what an earlier version took and this one can't read matches nobody.
    let pattern = |text: &str| {
        let (of, pattern) = text.split_once('=').unwrap_or((text, ""));
        (of.trim().to_owned(), compile(pattern.trim()).unwrap_or_else(|_| nothing()))
    };
    Subscription {
        metrics: settings::list(text("metrics")).map(str::to_owned).collect(),
        interval_ms: text("interval.ms").trim().parse().unwrap_or(INTERVAL_MS),
        patterns: settings::list(text("match")).map(pattern).collect(),
    }
}

/// A pattern that matches whole values.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(&format!("^(?:{pattern})$"));
    builder.unicode(false).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build()
}

fn nothing() -> Regex {
    Regex::new("[^\\s\\S]").expect("a pattern that is right, and matches nothing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn image(subscriptions: &[(&str, &[(&str, &str)])]) -> Image {
        let mut image = Image::default();
        for (name, set) in subscriptions {
            let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            image.settings.insert(SettingsScope::ClientMetrics((*name).to_owned()), Arc::new(set));
        }
        image
    }

    fn client(software_name: &str) -> ClientInfo<'_> {
        ClientInfo {
            id: Uuid(7),
            client_id: Some("c"),
            software_name,
            software_version: "11.1.2",
            peer: "127.0.0.1:4000".parse().unwrap(),
        }
    }

    #[test]
    fn a_client_is_asked_for_what_all_that_match_it_want_as_often_as_one_of_them() {
        let mut subscriptions = Subscriptions::default();
        let java = "client_software_name=java.*, client_software_version=11\\.1\\.\\d";
        let all = [
            ("a", &[("metrics", "x.,y."), ("interval.ms", "60000"), ("match", java)][..]),
            ("b", &[("metrics", "y.,z.")]),
        ];
        subscriptions.follow(&image(&all));
        let asked = subscriptions.asked_of(&client("javac"));
        assert_eq!(
            (asked.metrics, asked.interval_ms),
            (vec!["x.".to_owned(), "y.".to_owned(), "z.".to_owned()], 60_000)
        );
        let other = subscriptions.asked_of(&client("a java"));
        assert_eq!((other.metrics.len(), other.interval_ms), (2, INTERVAL_MS), "the whole name must match");
        assert_ne!(asked.id, other.id);
        let version = subscriptions.version;
        subscriptions.follow(&image(&all));
        assert_eq!(subscriptions.version, version, "nothing has changed");
        subscriptions.follow(&image(&[("b", &[("metrics", "*,z.")])]));
        assert_eq!(subscriptions.asked_of(&client("java")).metrics, ["*"]);
        assert_eq!(subscriptions.version, version + 1);
    }

    #[test]
    fn patterns_that_take_very_much_or_are_none_are_refused() {
        assert!(compile("a{1000}{1000}").is_err());
        assert!(compile("(").is_err());
        assert!(!nothing().is_match(b"anything") && !nothing().is_match(b""));
    }
}
