//! Clients' metrics over the wire (KIP-714): asked for by subscriptions, sent, and shown.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, start};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::get_telemetry_subscriptions_request::GetTelemetrySubscriptionsRequest;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::push_telemetry_request::PushTelemetryRequest;
use protocol::record_batch::Compression;
use protocol::wire::Uuid;

const CLIENT_METRICS: i8 = 16;

/// OpenTelemetry's bytes of one gauge, `records` of topic `t`, that is 2.5.
const GAUGE: &[u8] = b"\x0a\x2a\x12\x28\x12\x26\x0a\x07records\x2a\x1b\x0a\x19\x19\x01\x00\x00\x00\x00\x00\x00\x00\
    \x21\x00\x00\x00\x00\x00\x00\x04\x40\x3a\x05\x0a\x01a\x12\x00";

async fn subscribe(client: &mut Client, name: &str, settings: &[(&str, &str)]) -> (i16, Option<String>) {
    let config = |(name, value): &(&str, &str)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: 0,
        value: Some((*value).to_owned()),
    };
    let resource = AlterConfigsResource {
        resource_type: CLIENT_METRICS,
        resource_name: name.to_owned(),
        configs: settings.iter().map(config).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call(1, &request).await.responses.remove(0);
    (answer.error_code, answer.error_message)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscription_asks_for_is_sent_and_shown() {
    let running = start(BrokerOptions { telemetry_bytes_max: 100, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let versions = ApiVersionsRequest {
        client_software_name: "librdkafka".to_owned(),
        client_software_version: "2.1.0".to_owned(),
        ..ApiVersionsRequest::default()
    };
    assert_eq!(client.call(3, &versions).await.error_code, 0);
    let set = [("metrics", "rec"), ("interval.ms", "100"), ("match", "client_software_name=lib.*,client_id=test")];
    assert_eq!(subscribe(&mut client, "mine", &set).await.0, 0);
    let others = [("metrics", "*"), ("match", "client_software_version=3.*")];
    assert_eq!(subscribe(&mut client, "others", &others).await.0, 0);
    let nobody = GetTelemetrySubscriptionsRequest { client_instance_id: Uuid::default() };
    let told = client.call(0, &nobody).await;
    assert_eq!((told.error_code, told.push_interval_ms, told.telemetry_max_bytes), (0, 100, 100));
    assert_eq!((told.requested_metrics, told.delta_temporality), (vec!["rec".to_owned()], false));
    assert_eq!(told.accepted_compression_types, [4, 3, 1, 2]);
    let id = told.client_instance_id;
    assert_ne!(id, Uuid::default());
    let again = client.call(0, &GetTelemetrySubscriptionsRequest { client_instance_id: id }).await;
    assert_eq!(again.error_code, ErrorCode::ThrottlingQuotaExceeded.number());

    let push = |compression: Compression, metrics: Vec<u8>| PushTelemetryRequest {
        client_instance_id: id,
        subscription_id: told.subscription_id,
        terminating: true,
        compression_type: i8::try_from(compression.number()).unwrap(),
        metrics: metrics.into(),
    };
    let zstd = Compression::Zstd.compress(GAUGE).unwrap();
    assert_eq!(client.call(0, &push(Compression::Zstd, zstd)).await.error_code, 0);
    let used = running.broker.telemetry();
    assert_eq!((used.clients, used.taken, used.throttled), (1, 1, 1));
    assert_eq!(used.series, [(id.to_string(), "records{a=}".to_owned(), 2.5)]);
    let other = PushTelemetryRequest { client_instance_id: Uuid(9), ..push(Compression::None, GAUGE.to_vec()) };
    assert_eq!(client.call(0, &other).await.error_code, ErrorCode::UnknownSubscriptionId.number());
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_bounded_and_can_be_matched() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let (code, why) = subscribe(&mut client, "odd", &[("match", "client_id=(?=x)y")]).await;
    assert_eq!(code, ErrorCode::InvalidConfig.number());
    assert_eq!(why.as_deref(), Some("Illegal client matching pattern: client_id=(?=x)y"));
    for number in 0..64 {
        assert_eq!(subscribe(&mut client, &format!("s{number}"), &[("metrics", "x")]).await.0, 0);
    }
    let (code, why) = subscribe(&mut client, "one more", &[("metrics", "x")]).await;
    assert_eq!((code, why.as_deref()), (42, Some("there are 64 subscriptions already: delete one first")));
    assert_eq!(subscribe(&mut client, "s7", &[("metrics", "y")]).await.0, 0, "what is there may change");
    running.broker.stop().await;
}
