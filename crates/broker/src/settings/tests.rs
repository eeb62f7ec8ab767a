//! The tables hold together, and values are judged as Kafka 4.4 does.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::BrokerOptions;
use std::collections::BTreeSet;

/// What Kafka's tables of definitions do not name: rates that only running brokers have, its authorizer's, and Millstream's own.
const BESIDE: [(&str, &str); 6] = [
    ("broker", "allow.everyone.if.no.acl.found"),
    ("broker", "follower.replication.throttled.rate"),
    ("broker", "leader.replication.throttled.rate"),
    ("broker", "replica.alter.log.dirs.io.max.bytes.per.second"),
    ("broker", "super.users"),
    ("topic", "millstream.wal"),
];

const SCOPES: [Scope; 4] = [Scope::Broker, Scope::Topic, Scope::Group, Scope::ClientMetrics];

#[test]
fn tables_are_sorted_complete_and_have_no_name_twice() {
    for (_, settings) in table::BROKER.iter().chain(&TOPIC).chain(&GROUP).chain(&CLIENT_METRICS) {
        assert!(settings.is_sorted_by(|a, b| a.name < b.name));
    }
    let names: BTreeSet<_> = Scope::Broker.settings().map(|setting| setting.name).collect();
    assert_eq!(names.len(), Scope::Broker.settings().count());
    let listed = |scope: &str| {
        let lines = include_str!("../../testdata/kafka_names.txt").lines().filter(|line| !line.starts_with('#'));
        let words = lines.map(|line| line.split(' ').collect::<Vec<_>>());
        words.filter(|words| words[0] == scope).map(|words| words[1]).collect::<BTreeSet<_>>()
    };
    for (scope, word) in SCOPES.into_iter().zip(["broker", "topic", "group", "client-metrics"]) {
        let mut expected = listed(word);
        assert!(expected.len() >= 3, "{word}");
        expected.extend(BESIDE.iter().filter(|(of, _)| *of == word).map(|(_, name)| *name));
        let names: BTreeSet<_> = scope.settings().map(|setting| setting.name).collect();
        let (missing, more): (Vec<_>, Vec<_>) =
            (expected.difference(&names).collect(), names.difference(&expected).collect());
        assert!(missing.is_empty() && more.is_empty(), "{word}: missing {missing:?}, of nobody's {more:?}");
    }
}

#[test]
fn every_default_is_a_value() {
    for setting in SCOPES.iter().flat_map(|scope| scope.settings()) {
        if let Some(default) = setting.default {
            assert!(setting.check(default).is_ok(), "{}: {:?}", setting.name, setting.check(default));
        }
        assert!(setting.about.ends_with(['.', ';']) && !setting.about.contains('|'), "{}", setting.name);
    }
}

#[test]
fn what_is_honoured_acts_and_nothing_else_does() {
    let shown = honoured::shown(&BrokerOptions::default());
    // Several speak for one thing, and what counts is told where the topic's is.
    let is_one_of_several = |name: &str| name.starts_with("log.retention.") || name.starts_with("log.roll.");
    for setting in Scope::Broker.settings().filter(|setting| !is_one_of_several(setting.name)) {
        assert_eq!(shown.contains_key(setting.name), setting.fate == Fate::Honoured, "{}", setting.name);
    }
}

#[test]
fn every_synonym_is_a_setting() {
    for setting in Scope::Topic.settings() {
        assert!(describe::topic_synonyms(setting.name).iter().all(|name| Scope::Broker.find(name).is_some()));
    }
    let named = Scope::Topic.settings().filter(|setting| !describe::topic_synonyms(setting.name).is_empty()).count();
    assert_eq!(named, 31, "Kafka 4.4.0 has so many");
}

#[test]
fn values_are_refused_in_kafka_s_words() {
    let wrong = |name: &str, text: &str| Scope::Topic.find(name).unwrap().check(text).unwrap_err();
    let cases = [
        ("retention.ms", "soon", "Not a number of type LONG"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("cleanup.policy", "zap", "String must be one of: compact, delete"),
        ("message.timestamp.type", "createtime", "String must be one of: CreateTime, LogAppendTime"),
        ("preallocate", "yes", "Expected value to be either true or false"),
        ("min.cleanable.dirty.ratio", "2", "Value must be no more than 1"),
        ("min.cleanable.dirty.ratio", "NaN", "Not a number of type DOUBLE"),
        ("segment.bytes", "99999999999", "Not a number of type INT"),
        ("compression.gzip.level", "12", "Value must be between 1 and 9 or equal to -1"),
        ("leader.replication.throttled.replicas", "x", "leader.replication.throttled.replicas must be the literal '*'"),
    ];
    for (name, text, words) in cases {
        let told = wrong(name, text);
        assert!(told.starts_with(&format!("Invalid value {text} for configuration {name}: {words}")), "{told}");
    }
    let group = |name: &str, text: &str| Scope::Group.find(name).unwrap().check(text).is_ok();
    assert!(group("share.auto.offset.reset", "by_duration:P3DT12H30M5.5S"));
    for bad in ["by_duration:", "by_duration:P", "by_duration:PT", "by_duration:P1X", "by_duration:PT1H2", "none"] {
        assert!(!group("share.auto.offset.reset", bad), "{bad}");
    }
}

#[test]
fn a_setting_is_honoured_without_object_or_refused_with_its_reason() {
    let check = |name: &str, text: &str| Scope::Topic.find(name).unwrap().check(text);
    assert_eq!(check("retention.ms", "1000"), Ok(Fate::Honoured));
    assert!(matches!(check("segment.jitter.ms", "1000"), Ok(Fate::WithoutObject(_))));
    let dirs = Scope::Broker.find("log.dir").unwrap();
    assert!(dirs.check("/data").unwrap_err().contains("use --data DIR"));
    let default = dirs.default.unwrap_or_default();
    assert!(dirs.check(default).is_ok(), "files made for Kafka have it");
    let told = dirs.caveat().unwrap();
    assert_eq!(told, "is Kafka's default and changes nothing here: use --data DIR, or --storage and --wal");
    let caveat = |name: &str| Scope::Topic.find(name).unwrap().caveat().is_some();
    assert_eq!(["cleanup.policy", "segment.ms", "segment.bytes"].map(caveat), [false, false, true]);
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest() {
    assert_eq!(
        Scope::Topic.unknown("retention.m"),
        "Unknown topic config name: retention.m; did you mean retention.ms?"
    );
    let told = |scope: Scope, name: &str, meant: &str| {
        let told = scope.unknown(name);
        assert!(told.ends_with(&format!(" {name}; did you mean {meant}?")), "{told}");
    };
    // Not the nearest one, local.retention.ms.
    told(Scope::Topic, "log.retention.ms", "retention.ms");
    told(Scope::Topic, "log.retention.hours", "retention.ms");
    told(Scope::Topic, "log.roll.hours", "segment.ms");
    told(Scope::Topic, "message.max.bytes", "max.message.bytes");
    told(Scope::Broker, "retention.ms", "log.retention.ms");
    told(Scope::Broker, "max.message.bytes", "message.max.bytes");
    told(Scope::Broker, "consumer.session.timeout.ms", "group.consumer.session.timeout.ms");
    told(Scope::Group, "group.consumer.session.timeout.ms", "consumer.session.timeout.ms");
    for topic in Scope::Topic.settings() {
        for broker in describe::topic_synonyms(topic.name) {
            if Scope::Topic.find(broker).is_none() {
                told(Scope::Topic, broker, topic.name);
            }
        }
    }
    assert!(Scope::Broker.unknown("xyzzy").starts_with("Unknown broker config name: xyzzy; docs/"));
}

#[test]
fn what_acts_on_tls_listeners_is_without_object_and_passwords_are_never_printed() {
    let password = Scope::Broker.find("ssl.truststore.password").unwrap();
    assert!(password.check("secret").is_ok() && password.caveat().unwrap().contains("TLS listener"));
    assert_eq!(password.printable("secret"), "[hidden]");
    let refused = Scope::Broker.find("ssl.client.auth").unwrap().check("required").unwrap_err();
    assert!(refused.contains("promise a protection"), "{refused}");
}
