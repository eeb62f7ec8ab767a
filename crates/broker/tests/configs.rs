//! Settings over the wire: told, changed, and acting while the broker runs.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Client, batch, fetch_request, start};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::alter_configs_request::{self, AlterConfigsRequest};
use protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::record_batch::{BatchBuilder, Compression, NewRecord, only_batch};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

async fn describe(client: &mut Client, version: i16, resource_type: i8, name: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource { resource_type, resource_name: name.to_owned(), configuration_keys: None };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: version > 0,
        include_documentation: version > 2,
    };
    client.call(version, &request).await.results.remove(0)
}

async fn told(client: &mut Client, resource_type: i8, name: &str, setting: &str) -> DescribeConfigsResourceResult {
    let result = describe(client, 4, resource_type, name).await;
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    result.configs.into_iter().find(|config| config.name == setting).unwrap()
}

/// The error code and message.
async fn change(
    client: &mut Client,
    (resource_type, name): (i8, &str),
    changes: &[(i8, &str, Option<&str>)],
    validate_only: bool,
) -> (i16, String) {
    let change = |(operation, name, value): &(i8, &str, Option<&str>)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *operation,
        value: value.map(str::to_owned),
    };
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configs: changes.iter().map(change).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let answer = client.call(1, &request).await.responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_s_settings_change_at_once_all_or_none() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[("segment.bytes", "2000000")]).await, 0);
    let sent = batch(&[(1, "a record that is a little longer")]);
    let topic = (TOPIC, "t");

    let smaller = [(SET, "max.message.bytes", Some("70")), (APPEND, "cleanup.policy", Some("compact"))];
    assert_eq!(change(&mut client, topic, &smaller, true).await.0, 0, "only looked at");
    assert_eq!(client.produce("t", sent.clone()).await.error_code, 0);
    assert_eq!(change(&mut client, topic, &smaller[..1], false).await.0, 0);
    assert_eq!(client.produce("t", sent.clone()).await.error_code, ErrorCode::MessageTooLarge.number());
    let size = told(&mut client, TOPIC, "t", "max.message.bytes").await;
    assert_eq!((size.value.as_deref(), size.config_source, size.config_type), (Some("70"), 1, 3));
    assert_eq!(size.synonyms.len(), 2);

    let mixed = [(DELETE, "max.message.bytes", None), (SET, "retention.ms", Some("soon"))];
    let (code, why) = change(&mut client, topic, &mixed, false).await;
    assert_eq!(code, ErrorCode::InvalidConfig.number());
    assert!(why.contains("Not a number of type LONG"), "{why}");
    assert_eq!(
        client.produce("t", sent.clone()).await.error_code,
        ErrorCode::MessageTooLarge.number(),
        "nothing changed"
    );

    assert_eq!(change(&mut client, topic, &[smaller[1], mixed[0]], false).await.0, 0);
    assert_eq!(told(&mut client, TOPIC, "t", "cleanup.policy").await.value.as_deref(), Some("delete,compact"));
    let keyless = client.produce("t", sent.clone()).await;
    assert_eq!(keyless.error_code, ErrorCode::InvalidRecord.number(), "a compacted topic needs keys");
    assert_eq!(keyless.record_errors[0].batch_index, 0);

    // AlterConfigs says all: what it does not name is gone.
    let all = alter_configs_request::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".to_owned(),
        configs: vec![alter_configs_request::AlterableConfig {
            name: "retention.ms".to_owned(),
            value: Some("777".to_owned()),
        }],
    };
    let request = AlterConfigsRequest { resources: vec![all], validate_only: false };
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    assert_eq!(client.produce("t", sent).await.error_code, 0);
    let own = describe(&mut client, 1, TOPIC, "t").await.configs.into_iter().filter(|it| it.config_source == 1);
    assert_eq!(own.map(|it| it.name).collect::<Vec<_>>(), ["retention.ms"]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lags_of_compaction_that_contradict_each_other_are_refused_wherever_they_come_from() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let refused = ErrorCode::InvalidConfig.number();
    let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    assert_eq!(client.create("t", 1, &[(min, "11"), (max, "10")]).await, refused);
    assert_eq!(client.create("t", 1, &[(min, "10"), (max, "10")]).await, 0);
    let conflict = "conflict topic config setting min.compaction.lag.ms (11) > max.compaction.lag.ms (10)";
    let told = change(&mut client, (TOPIC, "t"), &[(SET, min, Some("11"))], false).await;
    assert_eq!(told, (refused, conflict.to_owned()));
    let pair = [(min, "11"), (max, "10")].map(|(name, value)| alter_configs_request::AlterableConfig {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    });
    let all = alter_configs_request::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".to_owned(),
        configs: pair.to_vec(),
    };
    let request = AlterConfigsRequest { resources: vec![all], validate_only: false };
    assert_eq!(client.call(2, &request).await.responses[0].error_code, refused);

    // The brokers' defaults count where a topic does not say.
    let (all_min, all_max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
    assert_eq!(change(&mut client, (BROKER, ""), &[(SET, all_min, Some("20"))], false).await.0, 0);
    let (code, why) = change(&mut client, (BROKER, ""), &[(SET, all_max, Some("19"))], false).await;
    assert_eq!(code, refused, "{why}");
    let own = running.broker.node_id().0.to_string();
    let (code, why) = change(&mut client, (BROKER, &own), &[(SET, all_max, Some("19"))], false).await;
    assert_eq!(code, refused, "{why}");
    assert_eq!(client.create("u", 1, &[(max, "19")]).await, refused);
    assert_eq!(change(&mut client, (TOPIC, "t"), &[(DELETE, min, None)], false).await.0, refused);
    assert_eq!(change(&mut client, (TOPIC, "t"), &[(DELETE, min, None), (DELETE, max, None)], false).await.0, 0);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_s_settings_change_while_it_runs() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let id = running.broker.node_id().0.to_string();
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let sent = batch(&[(1, "a record that is a little longer")]);

    assert_eq!(change(&mut client, (BROKER, ""), &[(SET, "message.max.bytes", Some("70"))], false).await.0, 0);
    assert_eq!(client.produce("t", sent.clone()).await.error_code, ErrorCode::MessageTooLarge.number());
    assert_eq!(change(&mut client, (BROKER, &id), &[(SET, "message.max.bytes", Some("5000"))], false).await.0, 0);
    assert_eq!(client.produce("t", sent).await.error_code, 0, "the broker's own goes over that of all");
    let size = told(&mut client, BROKER, &id, "message.max.bytes").await;
    let sources: Vec<i8> = size.synonyms.iter().map(|synonym| synonym.source).collect();
    assert_eq!((size.value.as_deref(), size.config_source, sources), (Some("5000"), 2, vec![2, 3, 5]));
    let size = told(&mut client, TOPIC, "t", "max.message.bytes").await;
    assert_eq!((size.value.as_deref(), size.config_source), (Some("5000"), 2));
    assert_eq!(describe(&mut client, 4, BROKER, "").await.configs.len(), 1, "only what was set for all");

    let threads = told(&mut client, BROKER, &id, "log.cleaner.threads").await;
    assert!(threads.documentation.unwrap().contains("Without object here"), "{:?}", threads.value);
    let cases = [
        (
            &id[..],
            "num.partitions",
            "3",
            ErrorCode::InvalidRequest,
            "Cannot update these configs dynamically: [num.partitions]",
        ),
        ("", "message.max.bytes", "-1", ErrorCode::InvalidRequest, "Value must be at least 0"),
        ("", "max.connections", "0", ErrorCode::InvalidRequest, "whole number from 1"),
        ("", "message.max.bytes", "2000000000", ErrorCode::InvalidRequest, "does not fit"),
        ("", "message.max.byte", "3", ErrorCode::InvalidConfig, "did you mean message.max.bytes?"),
        ("", "ssl.client.auth", "required", ErrorCode::InvalidRequest, "only for a broker"),
        ("77", "message.max.bytes", "3", ErrorCode::InvalidRequest, "Unexpected broker id"),
        ("x", "message.max.bytes", "3", ErrorCode::InvalidRequest, "must be an integer"),
    ];
    for (name, setting, value, code, words) in cases {
        let (told, why) = change(&mut client, (BROKER, name), &[(SET, setting, Some(value))], false).await;
        assert_eq!(told, code.number(), "{setting}={value}: {why}");
        assert!(why.contains(words), "{why}");
    }
    let level = describe(&mut client, 4, BROKER_LOGGER, &id).await;
    assert_eq!((level.configs.len(), level.configs[0].read_only), (1, true));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_keep_settings_and_what_is_unknown_is_told() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let session = [(SET, "consumer.session.timeout.ms", Some("50000"))];
    assert_eq!(change(&mut client, (GROUP, "g"), &session, false).await.0, 0);
    let kept = told(&mut client, GROUP, "g", "consumer.session.timeout.ms").await;
    assert_eq!((kept.value.as_deref(), kept.config_source), (Some("50000"), 8));
    let short = [(SET, "consumer.session.timeout.ms", Some("5"))];
    let (code, why) = change(&mut client, (GROUP, "g"), &short, false).await;
    assert_eq!(code, ErrorCode::InvalidConfig.number());
    assert!(why.contains("greater than or equal to group.consumer.min.session.timeout.ms"), "{why}");

    let unknown = [(SET, "retention.ms", Some("1"))];
    let cases = [
        ((TOPIC, "nope"), ErrorCode::UnknownTopicOrPartition),
        ((TOPIC, "a/b"), ErrorCode::InvalidTopicException),
        ((TOPIC, ""), ErrorCode::InvalidRequest),
        ((GROUP, ""), ErrorCode::InvalidRequest),
        ((CLIENT_METRICS, ""), ErrorCode::InvalidRequest),
        ((99, "m"), ErrorCode::InvalidRequest),
    ];
    for (resource, code) in cases {
        let (told, why) = change(&mut client, resource, &unknown, false).await;
        assert_eq!(told, code.number(), "{resource:?}: {why}");
        assert_ne!(describe(&mut client, 2, resource.0, resource.1).await.error_code, 0, "{resource:?}");
    }
    // One that has no settings refuses them all, as in Kafka.
    let named = |(resource_type, name): (i8, &str)| DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: None,
    };
    let both = DescribeConfigsRequest { resources: [(GROUP, "g"), (3, "m")].map(named).into(), ..Default::default() };
    let codes: Vec<i16> = client.call(2, &both).await.results.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest.number(); 2]);
    // What is wrong with a change is told before that there is nothing to change, as in Kafka.
    let wrong = [(SET, "retention.ms", Some("soon"))];
    assert_eq!(change(&mut client, (TOPIC, "nope"), &wrong, false).await.0, ErrorCode::InvalidConfig.number());
    for version in 0..=4 {
        assert_eq!(describe(&mut client, version, TOPIC, "nope").await.error_code, 3, "version {version}");
        let group = describe(&mut client, version, GROUP, "g").await;
        let told: Vec<_> = group.configs.iter().filter(|config| config.value.as_deref() == Some("50000")).collect();
        assert_eq!((group.configs.len(), told.len()), (21, 1), "version {version}");
        assert!(!told[0].is_default, "version {version}");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_s_greatest_batch_must_fit_what_a_broker_can_take() {
    let running = start(BrokerOptions { request_bytes_max: 1 << 20, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let greatest = ["1048576", "1048577", "2147483647"];
    let made = ["fits", "over", "far"].into_iter().zip(greatest);
    let mut codes = Vec::new();
    for (name, bytes) in made {
        codes.push(client.create(name, 1, &[("max.message.bytes", bytes)]).await);
    }
    let refused = ErrorCode::InvalidConfig.number();
    assert_eq!(codes, [0, refused, refused]);
    let (code, why) =
        change(&mut client, (TOPIC, "fits"), &[(SET, "max.message.bytes", Some(greatest[1]))], false).await;
    assert_eq!(code, refused);
    assert!(why.contains("does not fit"), "{why}");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_to_clients_metrics_are_kept_over_a_restart_and_checked_as_in_kafka() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let subscribe = [
        (SET, "interval.ms", Some("1000")),
        (APPEND, "match", Some("client_id=a.*")),
        (SET, "metrics", Some("org.apache.kafka.")),
    ];
    assert_eq!(change(&mut client, (CLIENT_METRICS, "m"), &subscribe, false).await, (0, String::new()));
    let running = running.restart().await;
    let mut client = running.client().await;
    let kept = told(&mut client, CLIENT_METRICS, "m", "match").await;
    assert_eq!((kept.value.as_deref(), kept.config_source, kept.synonyms.len()), (Some("client_id=a.*"), 7, 1));
    let never_set = told(&mut client, CLIENT_METRICS, "other", "interval.ms").await;
    assert_eq!((never_set.value.as_deref(), never_set.config_source), (Some("300000"), 5));
    let cases = [
        ("interval.ms", "99", ErrorCode::InvalidRequest),
        ("interval.ms", "soon", ErrorCode::InvalidConfig),
        ("match", "client_id", ErrorCode::InvalidConfig),
        ("no.such", "1", ErrorCode::InvalidRequest),
    ];
    for (name, value, code) in cases {
        let (told, why) = change(&mut client, (CLIENT_METRICS, "m"), &[(SET, name, Some(value))], false).await;
        assert_eq!(told, code.number(), "{name}={value}: {why}");
    }
    let deletes = ["interval.ms", "match", "metrics"].map(|name| (DELETE, name, None));
    assert_eq!(change(&mut client, (CLIENT_METRICS, "m"), &deletes, false).await.0, 0);
    assert_eq!(told(&mut client, CLIENT_METRICS, "m", "metrics").await.value.as_deref(), Some(""));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_compressed_as_the_topic_wants() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let codecs = [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
    let now = 1_700_000_000_000;
    for (name, number) in codecs {
        assert_eq!(client.create(name, 1, &[("compression.type", name)]).await, 0);
        let sent = [(now, "first"), (now + 1, "second")];
        assert_eq!(client.produce(name, batch(&sent)).await.error_code, 0, "{name}");
        let answer = client.call(12, &fetch_request(name, 0, 0)).await;
        let kept = only_batch(answer.responses[0].partitions[0].records.as_ref().unwrap()).unwrap();
        kept.check_records(1 << 20).unwrap();
        assert_eq!(kept.compression().unwrap().number(), number, "{name}");
        assert_eq!(
            kept.records(1 << 20).unwrap().map(|record| record.unwrap().timestamp).collect::<Vec<_>>(),
            [now, now + 1]
        );
    }
    // What was small as it was sent, and is too large as the topic wants it.
    let tiny = [("compression.type", "uncompressed"), ("max.message.bytes", "1000")];
    assert_eq!(client.create("tiny", 1, &tiny).await, 0);
    let value = "0".repeat(5000);
    let record = NewRecord { timestamp: now, value: Some(value.as_bytes()), ..NewRecord::default() };
    let packed = BatchBuilder::new().compression(Compression::Gzip).record(&record).build(0).unwrap();
    let refused = client.produce("tiny", packed.bytes().clone()).await.error_code;
    assert_eq!(refused, ErrorCode::MessageTooLarge.number());
    running.broker.stop().await;
}
