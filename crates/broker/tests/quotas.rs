//! Quotas of clients, from outside: set, kept, shown; and producers, consumers, administrators and addresses held to them.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::{Client, Running, batch, fetch_request, metadata_request, produce_request, start};
use broker::{BrokerOptions, QuotaWindows};
use protocol::messages::alter_client_quotas_request::{AlterClientQuotasRequest, EntityData, EntryData, OpData};
use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_client_quotas_request::{ComponentData, DescribeClientQuotasRequest};
use protocol::messages::metadata_request::MetadataRequest;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const NONE: i16 = 0;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REQUEST: i16 = 42;
const THROTTLING_QUOTA_EXCEEDED: i16 = 89;

/// What clients of `support` call themselves.
const OWN: (&str, Option<&str>) = ("client-id", Some("test"));
pub(crate) const EVERY_IP: (&str, Option<&str>) = ("ip", None);

/// One whole window beside the present one: a second's quota may be used at once.
pub(crate) fn short_windows() -> BrokerOptions {
    let windows = QuotaWindows { count: 2, seconds: 1 };
    BrokerOptions { quota_windows: windows, controller_quota_windows: windows, ..BrokerOptions::default() }
}

/// Code and words for an entity whose quota was to be set, or removed.
async fn alter(
    client: &mut Client,
    whose: &[(&str, Option<&str>)],
    ops: &[(&str, Option<f64>)],
) -> (i16, Option<String>) {
    let part = |(kind, name): &(&str, Option<&str>)| EntityData {
        entity_type: (*kind).to_owned(),
        entity_name: name.map(str::to_owned),
    };
    let op = |(key, value): &(&str, Option<f64>)| OpData {
        key: (*key).to_owned(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
    };
    let entry = EntryData { entity: whose.iter().map(part).collect(), ops: ops.iter().map(op).collect() };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    let answer = client.call(1, &request).await;
    (answer.entries[0].error_code, answer.entries[0].error_message.clone())
}

pub(crate) async fn set(client: &mut Client, whose: (&str, Option<&str>), key: &str, value: f64) {
    assert_eq!(alter(client, &[whose], &[(key, Some(value))]).await, (NONE, None));
}

/// All quotas, in one line each.
async fn described(client: &mut Client, components: Vec<ComponentData>, strict: bool) -> Vec<String> {
    let answer = client.call(1, &DescribeClientQuotasRequest { components, strict }).await;
    assert_eq!(answer.error_code, NONE, "{answer:?}");
    let entry = |it: &protocol::messages::describe_client_quotas_response::EntryData| {
        let whose = it.entity.iter().map(|it| format!("{}={:?}", it.entity_type, it.entity_name));
        let quotas = it.values.iter().map(|it| format!("{}={}", it.key, it.value));
        whose.chain(quotas).collect::<Vec<_>>().join(" ")
    };
    answer.entries.unwrap().iter().map(entry).collect()
}

fn now(running: &Running) -> Duration {
    Duration::from_micros(running.world.clock.now().0)
}

fn records(bytes: usize) -> bytes::Bytes {
    batch(&[(1, &"x".repeat(bytes))])
}

#[tokio::test]
async fn quotas_are_set_shown_kept_and_removed() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let both = [("user", Some("u")), ("client-id", None)];
    let ops = [("producer_byte_rate", Some(1024.0)), ("request_percentage", Some(12.5))];
    assert_eq!(alter(&mut client, &both, &ops).await, (NONE, None));
    set(&mut client, ("ip", Some("10.1.2.3")), "connection_creation_rate", 7.0).await;
    let (code, why) = alter(&mut client, &both, &[("consumer_byte_rate", Some(1.0)), ("nonsense", Some(1.0))]).await;
    assert_eq!((code, why.as_deref()), (INVALID_REQUEST, Some("Invalid configuration key nonsense")));
    let both_shown = "client-id=None user=Some(\"u\") producer_byte_rate=1024 request_percentage=12.5";
    let ip_shown = "ip=Some(\"10.1.2.3\") connection_creation_rate=7";
    let shown = described(&mut client, Vec::new(), false).await;
    assert_eq!(shown, [ip_shown, both_shown], "nothing is done of what is refused");

    let running = running.restart().await;
    let mut client = running.client().await;
    let of_user = ComponentData { entity_type: "user".to_owned(), match_type: 0, r#match: Some("u".to_owned()) };
    assert_eq!(described(&mut client, vec![of_user.clone()], false).await, [both_shown]);
    assert!(described(&mut client, vec![of_user], true).await.is_empty());
    let gone = [("producer_byte_rate", None), ("request_percentage", None), ("consumer_byte_rate", None)];
    assert_eq!(alter(&mut client, &both, &gone).await, (NONE, None));
    assert_eq!(described(&mut client, Vec::new(), false).await, [ip_shown]);

    let group = ComponentData { entity_type: "group".to_owned(), match_type: 2, r#match: None };
    let refused = client.call(0, &DescribeClientQuotasRequest { components: vec![group], strict: false }).await;
    let words = (refused.error_code, refused.error_message.as_deref(), refused.entries);
    assert_eq!(words, (35, Some("Unsupported entity type group"), None));
}

#[tokio::test]
async fn an_entity_that_is_named_twice_is_told_so_once_and_what_is_only_validated_is_not_set() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let entry = |value: f64| EntryData {
        entity: vec![EntityData { entity_type: "user".to_owned(), entity_name: Some("u".to_owned()) }],
        ops: vec![OpData { key: "producer_byte_rate".to_owned(), value, remove: false }],
    };
    let twice = AlterClientQuotasRequest { entries: vec![entry(5.0), entry(6.0)], validate_only: true };
    let answer = client.call(1, &twice).await;
    assert_eq!((answer.entries.len(), answer.entries[0].error_code), (1, INVALID_REQUEST));
    let why = answer.entries[0].error_message.as_deref();
    assert_eq!(why, Some("Ignoring duplicate entity ClientQuotaEntity(entries={user=u})"));
    assert!(described(&mut client, Vec::new(), false).await.is_empty());
    client.call(1, &AlterClientQuotasRequest { validate_only: false, ..twice }).await;
    assert_eq!(described(&mut client, Vec::new(), false).await, ["user=Some(\"u\") producer_byte_rate=5"]);
}

#[tokio::test]
async fn a_producer_is_answered_at_once_and_then_not_read_for_as_long_as_it_is_told() {
    let running = start(short_windows()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, NONE);
    set(&mut client, OWN, "producer_byte_rate", 20_000.0).await;
    let began = now(&running);
    let answer = client.call(9, &produce_request("t", records(30_000), -1)).await;
    assert!(now(&running) - began < Duration::from_millis(300), "the answer itself is not delayed");
    assert!((450..600).contains(&answer.throttle_time_ms), "{}", answer.throttle_time_ms);
    assert_eq!(client.call(9, &metadata_request("t")).await.throttle_time_ms, 0, "another quota");
    let waited = now(&running) - began;
    assert!(waited >= Duration::from_millis(450), "it was answered after {waited:?}");

    let began = now(&running);
    for _ in 0..15 {
        client.call(9, &produce_request("t", records(5000), -1)).await;
    }
    let took = now(&running) - began;
    assert!((2.0..6.0).contains(&took.as_secs_f64()), "75 kB at 20 kB/s took {took:?}");

    // Without an answer there is nothing to tell, but the connection waits all the same.
    client.send(9, &produce_request("t", records(40_000), 0)).await;
    let began = now(&running);
    client.call(9, &metadata_request("t")).await;
    assert!(now(&running) - began >= Duration::from_millis(450));
}

#[tokio::test]
async fn a_consumer_gets_what_its_quota_allows_and_then_nothing_for_a_while() {
    let running = start(short_windows()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, NONE);
    for _ in 0..15 {
        client.produce("t", records(5000)).await;
    }
    set(&mut client, OWN, "consumer_byte_rate", 20_000.0).await;
    let (mut offset, mut throttled, began) = (0, 0, now(&running));
    while offset < 15 {
        let answer = client.call(11, &fetch_request("t", offset, 100)).await;
        let got = answer.responses.first().map(|topic| &topic.partitions[0]);
        let bytes = got.and_then(|it| it.records.as_ref()).map_or(0, protocol::wire::Records::len);
        assert!(bytes <= 20_000, "{bytes} at once");
        assert!(bytes == 0 || answer.throttle_time_ms == 0, "who is throttled gets nothing");
        throttled += u32::from(answer.throttle_time_ms > 0);
        offset += i64::try_from(bytes / 5000).unwrap();
    }
    let took = now(&running) - began;
    assert!((2.0..6.0).contains(&took.as_secs_f64()), "75 kB at 20 kB/s took {took:?}");
    assert!(throttled >= 2, "{throttled}");
}

#[tokio::test]
async fn changes_of_topics_beyond_the_quota_are_refused_where_clients_understand_it() {
    let running = start(short_windows()).await;
    let mut client = running.client().await;
    set(&mut client, OWN, "controller_mutation_rate", 5.0).await;
    let create = |name: &str, partitions: i32| {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() }
    };
    let delete = |name: &str| {
        let state = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
        DeleteTopicsRequest { topics: vec![state], timeout_ms: 10_000, ..DeleteTopicsRequest::default() }
    };
    let created = client.call(7, &create("a", 15)).await;
    assert_eq!((created.topics[0].error_code, created.throttle_time_ms), (NONE, 0), "there was something left");
    let refused = client.call(7, &create("b", 1)).await;
    let why = refused.topics[0].error_message.as_deref();
    assert_eq!(why, Some("The throttling quota has been exceeded."));
    assert_eq!(refused.topics[0].error_code, THROTTLING_QUOTA_EXCEEDED);
    assert!((500..=1000).contains(&refused.throttle_time_ms), "{}", refused.throttle_time_ms);

    let created = client.call(5, &create("b", 4)).await;
    assert_eq!(created.topics[0].error_code, NONE, "an older client is only throttled");
    assert!((1..=800).contains(&created.throttle_time_ms), "{}", created.throttle_time_ms);
    let topic = CreatePartitionsTopic { name: "a".to_owned(), count: 17, assignments: None };
    let more = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
    let grown = client.call(1, &more).await;
    assert_eq!(grown.results[0].error_code, NONE);
    assert!((1..=400).contains(&grown.throttle_time_ms), "{}", grown.throttle_time_ms);
    let again = client.call(3, &more).await;
    assert_eq!((again.results[0].error_code, again.throttle_time_ms), (INVALID_PARTITIONS, 0));

    assert_eq!(client.call(6, &delete("a")).await.responses[0].error_code, NONE);
    client.call(9, &metadata_request("first-use")).await;
    let refused = client.call(6, &delete("b")).await;
    assert_eq!(refused.responses[0].error_code, THROTTLING_QUOTA_EXCEEDED);
    let mut another = running.client().await;
    let unknown = another.call(9, &MetadataRequest { topics: None, ..MetadataRequest::default() }).await;
    let names: Vec<_> = unknown.topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
    assert_eq!(names, ["b"], "nothing is made on first use either");
}

#[tokio::test]
async fn a_request_s_time_has_a_quota_as_well() {
    let running = start(short_windows()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, NONE);
    set(&mut client, OWN, "request_percentage", 0.000_01).await;
    let answer = client.call(9, &metadata_request("t")).await;
    assert!((1..=1000).contains(&answer.throttle_time_ms), "{}", answer.throttle_time_ms);
    let fetched = client.call(11, &fetch_request("t", 0, 0)).await;
    assert!((1..=1000).contains(&fetched.throttle_time_ms) && fetched.responses.is_empty(), "{fetched:?}");
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_kept_waiting_and_not_served() {
    let warnings = Warnings::default();
    let _listening = tracing::subscriber::set_default(warnings.clone());
    let running = start(short_windows()).await;
    let mut client = running.client().await;
    set(&mut client, EVERY_IP, "connection_creation_rate", 1.0).await;
    let mut first = running.client().await;
    first.call(9, &metadata_request("t")).await;
    let mut second = running.client().await;
    let began = now(&running);
    second.send(9, &metadata_request("t")).await;
    assert_eq!(second.receive_frame().await, None, "it is closed");
    let waited = now(&running) - began;
    assert!((Duration::from_millis(200)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    let told = warnings.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("not served") && told[0].contains("quota connection_creation_rate"), "{told:?}");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    running.client().await.call(9, &metadata_request("t")).await;
    client.call(9, &metadata_request("t")).await;
}

/// What this thread warns of in its log.
#[derive(Debug, Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |field: &Field, value: &dyn Debug| {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        });
    }
}
