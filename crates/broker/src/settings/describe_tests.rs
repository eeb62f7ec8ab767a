//! What is told, as Apache Kafka 4.3.1 tells it when it is set up the same.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::settings::apply;
use std::sync::Arc;

fn options(given: &[(&str, &str)]) -> BrokerOptions {
    let given = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut options = BrokerOptions::default();
    apply(&given, &mut options).unwrap();
    options
}

fn image(scope: SettingsScope, name: &str, text: &str) -> Image {
    let mut image = Image::default();
    image.settings.insert(scope, Arc::new(BTreeMap::from([(name.to_owned(), text.to_owned())])));
    image
}

fn find<'a>(told: &'a [Described], name: &str) -> &'a Described {
    told.iter().find(|described| described.setting.name == name).unwrap()
}

fn words(described: &Described) -> Vec<String> {
    let word = |it: &Synonym| format!("{}={}@{:?}", it.name, it.value.as_deref().unwrap_or("?"), it.source);
    described.synonyms.iter().map(word).collect()
}

#[test]
fn a_broker_tells_all_that_kafka_lists() {
    let (options, image) = (options(&[("group.min.session.timeout.ms", "1000")]), Image::default());
    let told = broker(&View { options: &options, image: &image, node_id: NodeId(3) });
    assert!(told.len() > 330, "{}", told.len());
    let given = find(&told, "group.min.session.timeout.ms");
    assert_eq!((given.source, given.is_read_only), (Source::Static, true));
    assert_eq!(words(given), ["group.min.session.timeout.ms=1000@Static", "group.min.session.timeout.ms=6000@Default"]);
    assert_eq!(find(&told, "node.id").value.as_deref(), Some("3"));
    let unset = find(&told, "log.retention.ms");
    assert_eq!((unset.value.as_deref(), unset.source, unset.synonyms.len()), (None, Source::Default, 0));
    assert!(!find(&told, "message.max.bytes").is_read_only);
    assert!(told.iter().all(|described| described.setting.name != "unstable.api.versions.enable"));
}

#[test]
fn what_an_option_says_is_told_whatever_setting_was_given() {
    let given = [("listeners", "PLAINTEXT://:9092"), ("broker.id", "-1")];
    let options =
        BrokerOptions { listening: "10.0.0.1:9200".to_owned(), advertised: "host:9300".to_owned(), ..options(&given) };
    let image = image(SettingsScope::Broker(NodeId(3)), "listeners", "PLAINTEXT://:9092");
    let told = broker(&View { options: &options, image: &image, node_id: NodeId(3) });
    for (name, value) in [
        ("listeners", "PLAINTEXT://10.0.0.1:9200"),
        ("advertised.listeners", "PLAINTEXT://host:9300"),
        ("node.id", "3"),
        ("broker.id", "3"),
    ] {
        let found = find(&told, name);
        assert_eq!((found.value.as_deref(), found.source), (Some(value), Source::Static), "{name}");
    }
}

#[test]
fn a_topic_falls_back_on_the_brokers_setting() {
    let image = image(SettingsScope::Brokers, "log.retention.ms", "300000");
    let options = options(&[("log.segment.bytes", "2000000"), ("log.roll.hours", "2")]);
    let view = View { options: &options, image: &image, node_id: NodeId(1) };
    let set = BTreeMap::from([("segment.bytes".to_owned(), "3000000".to_owned())]);
    let told = topic(&view, &set);
    let bytes = find(&told, "segment.bytes");
    assert_eq!((bytes.value.as_deref(), bytes.source), (Some("3000000"), Source::Topic));
    assert_eq!(
        words(bytes),
        ["segment.bytes=3000000@Topic", "log.segment.bytes=2000000@Static", "log.segment.bytes=1073741824@Default"]
    );
    let retention = find(&told, "retention.ms");
    assert_eq!((retention.value.as_deref(), retention.source), (Some("300000"), Source::Brokers));
    assert_eq!(words(retention), ["log.retention.ms=300000@Brokers", "log.retention.hours=168@Default"]);
    // By a setting of other units: the value is right, and no source is told, as in Kafka.
    let roll = find(&told, "segment.ms");
    assert_eq!((roll.value.as_deref(), roll.source, roll.synonyms.len()), (Some("7200000"), Source::Default, 0));
    assert_eq!(find(&told, "flush.ms").value.as_deref(), Some("9223372036854775807"));
    assert_eq!(find(&told, "leader.replication.throttled.replicas").value.as_deref(), Some(""));
}

#[test]
fn all_brokers_have_only_what_was_set_for_them() {
    let (options, image) = (options(&[]), image(SettingsScope::Brokers, "log.cleaner.threads", "2"));
    let view = View { options: &options, image: &image, node_id: NodeId(1) };
    let told = cluster(&view);
    assert_eq!(told.len(), 1);
    assert_eq!(words(&told[0]), ["log.cleaner.threads=2@Brokers"]);
    assert!(told[0].documentation().contains("Without object here: there is one cleaner"));
    let one = find(&broker(&view), "log.cleaner.threads").clone();
    assert_eq!(words(&one), ["log.cleaner.threads=2@Brokers", "log.cleaner.threads=1@Default"]);
}

#[test]
fn a_group_falls_back_on_the_brokers_setting() {
    let (options, image) = (options(&[("group.consumer.heartbeat.interval.ms", "6000")]), Image::default());
    let view = View { options: &options, image: &image, node_id: NodeId(1) };
    let set = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "50000".to_owned())]);
    let told = group(&view, &set);
    let session = find(&told, "consumer.session.timeout.ms");
    assert_eq!((session.value.as_deref(), session.source), (Some("50000"), Source::Group));
    let beat = find(&told, "consumer.heartbeat.interval.ms");
    assert_eq!((beat.value.as_deref(), beat.source), (Some("6000"), Source::Static));
    assert_eq!(find(&told, "share.auto.offset.reset").value.as_deref(), Some("latest"));
}
