//! The tables hold together, and values are judged as Kafka 4.4 does.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::BrokerOptions;
use std::collections::BTreeSet;

const SCOPES: [Scope; 4] = [Scope::Broker, Scope::Topic, Scope::Group, Scope::ClientMetrics];

#[test]
fn tables_are_sorted_complete_and_have_no_name_twice() {
    for (_, settings) in table::BROKER.iter().chain(&TOPIC).chain(&GROUP).chain(&CLIENT_METRICS) {
        assert!(settings.is_sorted_by(|a, b| a.name < b.name));
    }
    let names: BTreeSet<_> = Scope::Broker.settings().map(|setting| setting.name).collect();
    assert_eq!(names.len(), Scope::Broker.settings().count());
    // So many has Kafka 4.4.0; three of brokers are rates that only running brokers have, two are its authorizer's. One of topics is
    // Millstream's own.
    assert_eq!(SCOPES.map(|scope| scope.settings().count()), [379 + 3 + 2, 38 + 1, 27, 3]);
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
    for setting in Scope::Broker.settings().filter(|setting| !setting.name.starts_with("log.retention.")) {
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
