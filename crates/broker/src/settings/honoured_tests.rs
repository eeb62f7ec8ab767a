//! What is given acts where it should, or is refused with what to write.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn applied(pairs: &[(&str, &str)]) -> Result<BrokerOptions, String> {
    let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut options = BrokerOptions::default();
    apply(&given, &mut options).map(|()| options)
}

#[test]
fn puts_values_where_they_act() {
    let given = [("num.partitions", "7"), ("auto.create.topics.enable", "false"), ("message.max.bytes", " 99")];
    let options = applied(&given).unwrap();
    assert_eq!((options.num_partitions, options.auto_create_topics, options.batch_bytes_max), (7, false, 99));
    assert_eq!(options.given["num.partitions"], "7");
    assert_eq!(options.defaults["num.partitions"], "1");
    let options = applied(&[("group.min.session.timeout.ms", "1000"), ("offsets.retention.minutes", "2")]).unwrap();
    assert_eq!(options.groups.session_timeout_min, Duration::from_secs(1));
    assert_eq!(options.groups.offsets_retention, Duration::from_secs(120));
}

#[test]
fn the_finer_retention_wins_and_minus_one_is_for_ever() {
    let options = applied(&[("log.retention.hours", "1"), ("log.retention.minutes", "5")]).unwrap();
    assert_eq!(options.retention, Some(Duration::from_secs(300)));
    let options = applied(&[("log.retention.ms", "-1"), ("log.retention.minutes", "5")]).unwrap();
    assert_eq!(options.retention, None);
}

#[test]
fn every_honoured_value_is_shown_as_it_was_read() {
    let texts = [
        ("connections.max.idle.ms", "-1"),
        ("log.cleanup.policy", "delete,compact"),
        ("log.cleaner.dedupe.buffer.size", "1048576"),
        ("log.cleaner.delete.retention.ms", "5"),
        ("log.cleaner.enable", "false"),
        ("log.cleaner.io.max.bytes.per.second", "1000000"),
        ("log.cleaner.min.cleanable.ratio", "0.25"),
        ("log.message.timestamp.type", "LogAppendTime"),
        ("max.connections.per.ip.overrides", "10.0.0.1:5,::1:6"),
        ("log.retention.bytes", "12"),
        ("delete.topic.enable", "false"),
        ("producer.id.expiration.ms", "5000"),
    ];
    let options = applied(&texts).unwrap();
    for (name, text) in texts {
        assert_eq!(show(name, &options).as_deref(), Some(text), "{name}");
    }
    for honoured in all() {
        assert!(Scope::Broker.find(honoured.name).is_some(), "{}", honoured.name);
    }
}

#[test]
fn consumer_groups_have_what_brokers_say_within_its_bounds() {
    let given = [
        ("group.consumer.assignors", "org.apache.kafka.coordinator.group.assignor.RangeAssignor, range,uniform"),
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "2000"),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
        ("group.consumer.heartbeat.interval.ms", "500"),
        ("group.consumer.assignment.interval.ms", "0"),
        ("group.coordinator.rebalance.protocols", "classic"),
    ];
    let options = applied(&given).unwrap();
    assert_eq!(show("group.consumer.assignors", &options).as_deref(), Some("range,uniform"));
    assert_eq!(options.groups.consumer.times.session_timeout, Duration::from_secs(2));
    assert_eq!(options.consumer_assignment_interval, Duration::ZERO);
    assert!(!honoured_groups::serves_consumer_groups(&options));
    let wrong = |name: &str, text: &str| applied(&[(name, text)]).unwrap_err();
    assert_eq!(
        wrong("group.consumer.session.timeout.ms", "2000"),
        "group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"
    );
    assert!(wrong("group.consumer.max.heartbeat.interval.ms", "4000").contains("must be greater than or equal to"));
    assert!(wrong("group.consumer.assignors", "uniform,mine").ends_with("there are uniform and range"));
    assert!(wrong("group.coordinator.rebalance.protocols", "consumer").contains("'classic'"));
}

#[test]
fn share_groups_have_what_brokers_say_within_its_bounds() {
    let given = [
        ("group.share.min.session.timeout.ms", "1000"),
        ("group.share.session.timeout.ms", "2000"),
        ("group.share.min.heartbeat.interval.ms", "500"),
        ("group.share.heartbeat.interval.ms", "500"),
        ("group.share.assignment.interval.ms", "0"),
        ("group.share.max.size", "3"),
        ("group.share.assignors", "simple"),
        ("share.coordinator.snapshot.update.records.per.snapshot", "0"),
        ("share.coordinator.state.topic.num.partitions", "2"),
    ];
    let options = applied(&given).unwrap();
    assert_eq!(options.groups.share.session_timeout, Duration::from_secs(2));
    assert_eq!((options.share_assignment_interval, options.groups.share.members_max), (Duration::ZERO, 3));
    assert_eq!((options.share_states.updates_per_snapshot, options.share_topic_partitions), (0, 2));
    let wrong = |name: &str, text: &str| applied(&[(name, text)]).unwrap_err();
    assert_eq!(
        wrong("group.share.session.timeout.ms", "2000"),
        "group.share.session.timeout.ms must be greater than or equal to group.share.min.session.timeout.ms"
    );
    assert!(wrong("group.share.max.size", "1001").contains("1000"));
    assert!(wrong("group.share.assignors", "mine").contains("there is one assignor of share groups"));
}

#[test]
fn says_what_is_wrong() {
    let wrong = |name: &str, text: &str| applied(&[(name, text)]).unwrap_err();
    assert_eq!(wrong("num.partition", "7"), "Unknown broker config name: num.partition; did you mean num.partitions?");
    assert_eq!(
        wrong("num.partitions", "many"),
        "Invalid value many for configuration num.partitions: Not a number of type INT"
    );
    assert!(
        wrong("num.partitions", "10001").ends_with("say a whole number from 1 to 10000"),
        "no topic may have as many"
    );
    assert!(wrong("message.max.bytes", "-5").ends_with("Value must be at least 0"));
    assert!(wrong("log.retention.ms", "-2").ends_with("or -1 for no limit"));
    assert!(wrong("listeners", "SASL_SSL://:9093").contains("TLS"));
    assert!(wrong("authorizer.class.name", "a.b.C").contains("StandardAuthorizer"));
    assert!(wrong("super.users", "alice").contains("write User:NAME"));
    assert!(wrong("max.connections.per.ip.overrides", "somewhere:5").contains("ADDRESS:NUMBER"));
    assert!(wrong("log.cleaner.io.max.bytes.per.second", "0").contains("1 or more"));
    assert!(wrong("log.cleaner.min.cleanable.ratio", "1.5").contains("no more than 1"));
    assert!(wrong("log.cleaner.max.compaction.lag.ms", "0").contains("at least 1"));
    let lags = [("log.cleaner.min.compaction.lag.ms", "8"), ("log.cleaner.max.compaction.lag.ms", "7")];
    assert!(applied(&lags).unwrap_err().ends_with("log.cleaner.max.compaction.lag.ms (7)"));
    assert!(wrong("group.max.session.timeout.ms", "10").contains("group.min.session.timeout.ms"));
}

#[test]
fn what_kafka_s_own_tests_set_is_taken() {
    let given = [
        ("group.consumer.migration.policy", "bidirectional"),
        ("group.coordinator.rebalance.protocols", "classic,consumer,share,streams"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "100"),
        ("group.share.min.heartbeat.interval.ms", "500"),
        ("group.streams.initial.rebalance.delay.ms", "0"),
        ("log.initial.task.delay.ms", "100"),
        ("log.segment.delete.delay.ms", "1000"),
        ("offsets.topic.num.partitions", "1"),
        ("share.coordinator.state.topic.num.partitions", "1"),
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200"),
        ("transaction.state.log.num.partitions", "1"),
        ("unstable.api.versions.enable", "true"),
    ];
    let options = applied(&given).unwrap();
    assert_eq!((options.offsets_topic_partitions, options.groups.initial_rebalance_delay), (1, Duration::ZERO));
}

#[test]
fn what_has_no_object_is_taken() {
    let given = [("log.segment.bytes", "1048576"), ("transaction.max.timeout.ms", "1000"), ("process.roles", "broker")];
    assert_eq!(applied(&given).unwrap().given.len(), 3);
}
