//! `docs/configuration.md`, made from the tables. `cargo run -p broker --example configuration` prints it.

use super::{Fate, Setting, Update, Values, describe, honoured, table};
use crate::BrokerOptions;
use std::fmt::Write;

/// Defaults that are not Kafka's, and why.
static OURS: [(&str, &str); 16] = [
    ("advertised.listeners", "where it listens, unless `--advertise` says otherwise"),
    ("allow.everyone.if.no.acl.found", "as long as `authorizer.class.name` is not given; with it Kafka's default"),
    ("listeners", "as `--listen` says, which counts before it"),
    ("delegation.token.secret.key", "never shown"),
    ("sasl.jaas.config", "never shown"),
    ("super.users", "nobody"),
    ("fetch.max.bytes", "less where the memory for answers, a part of `--memory`, bounds them first"),
    ("log.cleaner.dedupe.buffer.size", "within the memory for log compaction, a part of `--memory`"),
    ("max.connections", "each takes memory and a file descriptor; `ulimit -n` bounds it too"),
    ("max.decompressed.message.bytes", "the most that the broker decompresses; greater values act as this one"),
    ("group.consumer.max.size", "each member takes memory"),
    ("group.max.size", "each member takes memory"),
    ("group.streams.max.size", "each member takes memory"),
    ("queued.max.request.bytes", "the memory for requests, a part of `--memory`"),
    ("message.max.bytes", "less where a request, or a write-ahead log's part of the memory, is smaller"),
    ("socket.request.max.bytes", "within half of `queued.max.request.bytes`"),
];

/// Honoured numbers that are taken in a narrower range than Kafka's tables say.
static NARROWER: [(&str, Values); 22] = [
    ("connections.max.idle.ms", Values::From(-1)),
    ("controller.quota.window.num", Values::Within(1, 100)),
    ("controller.quota.window.size.seconds", Values::Within(1, 86_400)),
    ("group.initial.rebalance.delay.ms", Values::From(0)),
    ("group.max.session.timeout.ms", Values::From(1)),
    ("group.min.session.timeout.ms", Values::From(1)),
    ("log.cleaner.dedupe.buffer.size", Values::From(1)),
    ("log.cleaner.io.max.bytes.per.second", Values::From(1)),
    ("log.retention.hours", Values::From(-1)),
    ("log.retention.minutes", Values::From(-1)),
    ("log.retention.ms", Values::From(-1)),
    ("log.roll.ms", Values::From(1)),
    ("max.connections", Values::From(1)),
    ("num.partitions", Values::Within(1, 10_000)),
    ("offset.metadata.max.bytes", Values::From(0)),
    ("offsets.topic.num.partitions", Values::Within(1, 10_000)),
    ("transaction.state.log.num.partitions", Values::Within(1, 10_000)),
    ("queued.max.request.bytes", Values::From(-1)),
    ("quota.window.num", Values::Within(1, 100)),
    ("quota.window.size.seconds", Values::Within(1, 86_400)),
    ("sasl.server.max.receive.size", Values::From(1024)),
    ("share.coordinator.state.topic.num.partitions", Values::Within(1, 10_000)),
];

/// The range that is taken here, where it is another one.
fn narrower(name: &str) -> Option<Values> {
    NARROWER.iter().find(|(of, _)| *of == name).map(|(_, values)| *values)
}

const HEAD: &str = "# Settings

This page is made from the tables in `crates/broker/src/settings/table`: `cargo run -p broker --example configuration`.

Every setting of brokers, topics, groups and subscriptions to clients' metrics that Apache Kafka 4.4 knows stands here, with what becomes of it; one is Millstream's own, `millstream.wal`.

- **Honoured**: the broker acts on it.
- **Without object**: what it tunes does not exist here, or not yet; it is taken, kept and shown, one log line says so, and DescribeConfigs tells it in the setting's documentation.
- **Refused**: taking it would break a promise; the reason says what to do. Kafka's own default may be given, as files made for Kafka do: it changes nothing, and one log line says so.

A name that is none is refused with the nearest one that is.
Settings of brokers are given to `millstream start` by `--set NAME=VALUE` or in the table `[settings]` of the file of `--config`.
Those that change *at once* can be changed while brokers run, for one of them or for all (`kafka-configs.sh --entity-type brokers`); they are kept in the cluster's ledger, and go over what a broker was started with.
Settings of topics, groups and subscriptions always change at once.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    let sections = |title: &str, out: &mut String, settings: &[Setting], kind: fn(&Setting) -> String| {
        out.push_str(&format!(
            "\n## {title}\n\n| setting | what it says | default | values | {} | here |\n|---|---|---|---|---|---|\n",
            if title.starts_with("Topic") {
                "where a topic does not say"
            } else if title.starts_with("Group") {
                "where a group does not say"
            } else {
                "change"
            }
        ));
        for setting in settings {
            let cells = [
                format!("`{}`", setting.name),
                setting.about.to_owned(),
                default_of(setting),
                values_of(setting),
                kind(setting),
                fate_of(setting),
            ];
            let _written = writeln!(out, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
    };
    sections("Topic settings", &mut out, table::TOPIC, |setting| {
        let names = describe::topic_synonyms(setting.name);
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    });
    for (title, settings) in table::BROKER {
        sections(&format!("Broker settings: {}", lower(title)), &mut out, settings, |setting| {
            match setting.update {
                Update::ReadOnly => "with a start",
                Update::PerBroker => "at once, for one broker",
                Update::ClusterWide | Update::Always => "at once",
            }
            .to_owned()
        });
    }
    sections("Group settings", &mut out, table::GROUP, |setting| format!("`group.{}`", setting.name));
    sections("Settings of subscriptions to clients' metrics", &mut out, table::CLIENT_METRICS, |_| {
        "at once".to_owned()
    });
    out
}

fn lower(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn default_of(setting: &Setting) -> String {
    let kafkas = setting.default.map_or_else(
        || "none".to_owned(),
        |text| if text.is_empty() { "empty".to_owned() } else { format!("`{text}`") },
    );
    let ours = honoured::show(setting.name, &BrokerOptions::default()).filter(|_| setting.fate == Fate::Honoured);
    let reason = OURS.iter().find(|(name, _)| *name == setting.name).map(|(_, reason)| *reason);
    match (ours, reason) {
        (Some(ours), Some(reason)) if Some(ours.as_str()) != setting.default => {
            format!("`{ours}`: {reason} (Kafka: {kafkas})")
        }
        (_, Some(reason)) => format!("{kafkas}, {reason}"),
        _ => kafkas,
    }
}

fn values_of(setting: &Setting) -> String {
    let kind = format!("{:?}", setting.kind).to_lowercase();
    let names = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let theirs = match setting.values {
        Values::Any | Values::NotEmpty => kind,
        Values::From(low) => format!("{kind}, from {low}"),
        Values::Within(low, high) => format!("{kind}, {low} to {high}"),
        Values::Fraction(low, high) => format!("{kind}, {low} to {high}"),
        Values::OneOf(of) | Values::OneOfAnyCase(of) => format!("{kind} of {}", names(of)),
        Values::GzipLevel => format!("{kind}, 1 to 9 or -1"),
        Values::ThrottledReplicas => format!("{kind} of `partition:broker`, or `*`"),
        Values::OffsetReset => format!("{kind}: `latest`, `earliest`, `by_duration:DURATION`"),
    };
    match narrower(setting.name).filter(|_| setting.fate == Fate::Honoured) {
        Some(Values::From(low)) => format!("{theirs} (here from {low})"),
        Some(Values::Within(low, high)) => format!("{theirs} (here {low} to {high})"),
        _ => theirs,
    }
}

fn fate_of(setting: &Setting) -> String {
    match setting.fate {
        Fate::Honoured => "honoured".to_owned(),
        Fate::WithoutObject(reason) => format!("without object: {reason}"),
        Fate::Refused(reason) => format!("refused: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Kind;

    #[test]
    fn the_page_in_docs_is_what_the_tables_say() {
        let there = include_str!("../../../../docs/configuration.md");
        assert!(there == page(), "run: cargo run -p broker --example configuration > docs/configuration.md");
    }

    #[test]
    fn the_ends_of_every_honoured_number_that_the_page_tells_are_taken() {
        for setting in table::BROKER.iter().flat_map(|(_, settings)| *settings) {
            let (least, most) = match setting.kind {
                Kind::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
                Kind::Short => (i64::from(i16::MIN), i64::from(i16::MAX)),
                Kind::Long | Kind::Double => (i64::MIN, i64::MAX),
                _ => continue,
            };
            let (low, high) = match narrower(setting.name).unwrap_or(setting.values) {
                Values::Any => (least, most),
                Values::From(low) => (low, most),
                Values::Within(low, high) => (low, high),
                Values::Fraction(..) => (0, 1),
                Values::GzipLevel => (-1, 9),
                other => panic!("{}: {other:?} is no number's", setting.name),
            };
            for end in [low, high].map(|end| end.to_string()).iter().filter(|_| setting.fate == Fate::Honoured) {
                assert_eq!(setting.check(end), Ok(Fate::Honoured));
                assert_eq!(honoured::read(setting.name, end), Ok(()), "{}", setting.name);
                // Those bound each other all over.
                if ["group.consumer.", "group.share.", "group.streams."].iter().any(|of| setting.name.starts_with(of)) {
                    continue;
                }
                // These two bound each other.
                let of = if setting.name.ends_with("session.timeout.ms") {
                    &["group.min.session.timeout.ms", "group.max.session.timeout.ms"][..]
                } else {
                    &[setting.name]
                };
                let given = of.iter().map(|name| ((*name).to_owned(), end.clone())).collect();
                assert_eq!(honoured::put(&given, &mut BrokerOptions::default()), Ok(()), "{}", setting.name);
            }
        }
    }

    #[test]
    fn every_default_that_is_not_kafkas_has_its_reason() {
        let options = BrokerOptions::default();
        for (_, settings) in table::BROKER {
            for setting in settings {
                let ours = honoured::show(setting.name, &options);
                let differs = ours.is_some_and(|ours| Some(ours.as_str()) != setting.default);
                assert!(!differs || OURS.iter().any(|(name, _)| *name == setting.name), "{}", setting.name);
            }
        }
    }
}
