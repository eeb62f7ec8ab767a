//! What is told of settings: each with its value, where that comes from, and the settings of brokers that it would come from else.
//!
//! Follows Kafka in which names are told, in what counts as a source, and in the order of the synonyms; a value is what acts here.

use super::{Fate, Kind, Scope, Setting, Update, honoured};
use crate::BrokerOptions;
use base::NodeId;
use control_core::{Image, SettingsScope};
use std::collections::BTreeMap;

/// Where a value comes from, by Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Topic = 1,
    Broker = 2,
    Brokers = 3,
    Static = 4,
    Default = 5,
    ClientMetrics = 7,
    Group = 8,
}

/// One setting as it is told.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) setting: &'static Setting,
    /// `None`: there is none, or it is secret.
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
    pub(crate) is_read_only: bool,
    /// The value's own source first.
    pub(crate) synonyms: Vec<Synonym>,
}

/// A value that counts, or would count if those before it were not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub(crate) name: &'static str,
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) options: &'a BrokerOptions,
    pub(crate) image: &'a Image,
    pub(crate) node_id: NodeId,
}

/// Settings of brokers that speak for one thing, the finest first, and the milliseconds of their units.
static CHAINS: [&[(&str, i64)]; 4] = [
    &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
    &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
    &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
    &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
];

/// Topic settings, and the setting of brokers that holds where a topic does not say.
static TOPIC_SYNONYMS: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.decompressed.message.bytes", "max.decompressed.message.bytes"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("preallocate", "log.preallocate"),
    ("remote.copy.lag.bytes", "log.remote.copy.lag.bytes"),
    ("remote.copy.lag.ms", "log.remote.copy.lag.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// Names of settings of a broker that hold for topics which do not say: what this topic setting falls back on, the finest first.
pub(super) fn topic_synonyms(name: &str) -> Vec<&'static str> {
    let first = TOPIC_SYNONYMS.iter().find(|(topic, _)| *topic == name).map(|(_, broker)| *broker);
    first.map(|first| chain(first).iter().map(|(name, _)| *name).collect()).unwrap_or_default()
}

/// Of the broker that is asked.
pub(crate) fn broker(view: &View<'_>) -> Vec<Described> {
    let told = |setting: &Setting| {
        setting.is_listed || raw(view, setting.name).is_some_and(|(_, from)| from != Source::Default)
    };
    Scope::Broker.settings().filter(|setting| told(setting)).map(|setting| of_broker(view, setting)).collect()
}

fn of_broker(view: &View<'_>, setting: &'static Setting) -> Described {
    let synonyms = broker_synonyms(view, setting.name);
    let first = synonyms.first();
    Described {
        setting,
        value: honoured::show(setting.name, view.options)
            .or_else(|| first.and_then(|synonym| synonym.value.clone()))
            .filter(|_| setting.kind != Kind::Password),
        source: first.map_or(Source::Default, |synonym| synonym.source),
        is_read_only: setting.update == Update::ReadOnly,
        synonyms,
    }
}

/// Of all brokers: only what has been set for them.
pub(crate) fn cluster(view: &View<'_>) -> Vec<Described> {
    let set = view.image.settings.get(&SettingsScope::Brokers);
    let described = |(name, text): (&String, &String)| {
        let setting = Scope::Broker.find(name)?;
        let value = Some(text.clone()).filter(|_| setting.kind != Kind::Password);
        let synonym = Synonym { name: setting.name, value: value.clone(), source: Source::Brokers };
        let is_read_only = setting.update == Update::ReadOnly;
        Some(Described { setting, value, source: Source::Brokers, is_read_only, synonyms: vec![synonym] })
    };
    set.into_iter().flat_map(|set| set.iter()).filter_map(described).collect()
}

/// Of a topic that has set these.
pub(crate) fn topic(view: &View<'_>, set: &BTreeMap<String, String>) -> Vec<Described> {
    let told = Scope::Topic.settings().filter(|setting| setting.is_listed || set.contains_key(setting.name));
    told.map(|setting| {
        let broker = TOPIC_SYNONYMS.iter().find(|(topic, _)| *topic == setting.name).map(|(_, broker)| *broker);
        let mut synonyms = broker.map(|name| broker_synonyms(view, name)).unwrap_or_default();
        if let Some(text) = set.get(setting.name) {
            synonyms.insert(0, Synonym { name: setting.name, value: Some(text.clone()), source: Source::Topic });
        }
        Described {
            setting,
            value: set.get(setting.name).cloned().or_else(|| topic_default(view, setting, broker)),
            source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
            is_read_only: false,
            synonyms,
        }
    })
    .collect()
}

/// What holds for a topic that does not say.
fn topic_default(view: &View<'_>, setting: &Setting, broker: Option<&'static str>) -> Option<String> {
    let of_brokers = broker.and_then(|name| {
        honoured::show(name, view.options).or_else(|| {
            chain(name).iter().find_map(|(name, unit_ms)| raw(view, name).and_then(|(text, _)| scaled(&text, *unit_ms)))
        })
    });
    of_brokers.or_else(|| setting.default.map(str::to_owned))
}

/// Of a group that has set these.
pub(crate) fn group(view: &View<'_>, set: &BTreeMap<String, String>) -> Vec<Described> {
    let told = Scope::Group.settings().filter(|setting| setting.is_listed || set.contains_key(setting.name));
    told.map(|setting| {
        let broker = Scope::Broker.find(&format!("group.{}", setting.name));
        let mut synonyms = broker.map(|broker| broker_synonyms(view, broker.name)).unwrap_or_default();
        let default = synonyms.first().and_then(|synonym| synonym.value.clone());
        if synonyms.is_empty()
            && let Some(default) = setting.default
        {
            // Kafka names the setting of brokers that there would be.
            synonyms.push(Synonym { name: setting.name, value: Some(default.to_owned()), source: Source::Default });
        }
        if let Some(text) = set.get(setting.name) {
            synonyms.insert(0, Synonym { name: setting.name, value: Some(text.clone()), source: Source::Group });
        }
        Described {
            setting,
            value: set.get(setting.name).cloned().or(default).or_else(|| setting.default.map(str::to_owned)),
            source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
            is_read_only: false,
            synonyms,
        }
    })
    .collect()
}

/// Of a subscription to clients' metrics that has set these. No setting of brokers stands behind them.
pub(crate) fn client_metrics(set: &BTreeMap<String, String>) -> Vec<Described> {
    let told = Scope::ClientMetrics.settings().map(|setting| {
        let own = set.get(setting.name).cloned();
        let synonym =
            |value: &String| Synonym { name: setting.name, value: Some(value.clone()), source: Source::ClientMetrics };
        Described {
            setting,
            source: if own.is_some() { Source::ClientMetrics } else { Source::Default },
            is_read_only: false,
            synonyms: own.iter().map(synonym).collect(),
            value: own.or_else(|| setting.default.map(str::to_owned)),
        }
    });
    told.collect()
}

/// What a setting of the broker is, or would be, by source; begins with its own name, or is empty.
fn broker_synonyms(view: &View<'_>, name: &'static str) -> Vec<Synonym> {
    let mut synonyms = Vec::new();
    for source in [Source::Broker, Source::Brokers, Source::Static, Source::Default] {
        for (name, _) in chain(name) {
            if let Some(value) = from(view, name, source) {
                let secret = Scope::Broker.find(name).is_some_and(|setting| setting.kind == Kind::Password);
                synonyms.push(Synonym { name, value: Some(value).filter(|_| !secret), source });
            }
        }
    }
    synonyms.into_iter().skip_while(|synonym| synonym.name != name).collect()
}

/// The value of a setting of the broker that counts.
pub(super) fn broker_value(view: &View<'_>, name: &str) -> Option<String> {
    raw(view, name).map(|(text, _)| text)
}

/// The text that counts, and where it comes from.
fn raw(view: &View<'_>, name: &str) -> Option<(String, Source)> {
    let sources = [Source::Broker, Source::Brokers, Source::Static, Source::Default];
    sources.into_iter().find_map(|source| from(view, name, source).map(|text| (text, source)))
}

fn from(view: &View<'_>, name: &str, source: Source) -> Option<String> {
    let of = |scope: SettingsScope| view.image.settings.get(&scope).and_then(|set| set.get(name)).cloned();
    match source {
        // A setting of that name can only be Kafka's default, which changes nothing.
        Source::Broker | Source::Brokers if by_option(view, name).is_some() => None,
        Source::Broker => of(SettingsScope::Broker(view.node_id)),
        Source::Brokers => of(SettingsScope::Brokers),
        Source::Static => by_option(view, name).or_else(|| view.options.given.get(name).cloned()),
        Source::Default => {
            let ours = view.options.defaults.get(name).cloned();
            ours.or_else(|| Scope::Broker.find(name).and_then(|setting| setting.default).map(str::to_owned))
        }
        Source::Topic | Source::Group | Source::ClientMetrics => None,
    }
}

/// What the command line's own options say in Kafka's words.
fn by_option(view: &View<'_>, name: &str) -> Option<String> {
    match name {
        "node.id" | "broker.id" => Some(view.node_id.0.to_string()),
        "listeners" => Some(format!("{}://{}", view.options.listener.name(), view.options.listening)),
        "advertised.listeners" => Some(format!("{}://{}", view.options.listener.name(), view.options.advertised)),
        _ => None,
    }
}

fn chain(name: &'static str) -> Vec<(&'static str, i64)> {
    let found = CHAINS.iter().find(|chain| chain.iter().any(|(link, _)| *link == name));
    found.map_or_else(|| vec![(name, 1)], |chain| chain.to_vec())
}

/// A number in milliseconds; what is below zero is no number of units. Other texts stay.
fn scaled(text: &str, unit_ms: i64) -> Option<String> {
    if unit_ms == 1 {
        return Some(text.to_owned());
    }
    let units: i64 = text.trim().parse().ok()?;
    Some(if units < 0 { units } else { units.saturating_mul(unit_ms) }.to_string())
}

impl Described {
    /// What people are told: what it says, and what becomes of it here.
    pub(crate) fn documentation(&self) -> String {
        let about = self.setting.about;
        match self.setting.fate {
            Fate::Honoured => about.to_owned(),
            Fate::WithoutObject(reason) => format!("{about} Without object here: {reason}."),
            Fate::Refused(reason) => format!("{about} Refused here: {reason}."),
        }
    }
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
