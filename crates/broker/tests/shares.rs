//! Do the members of share groups (KIP-932) get what Kafka promises? Hand-made members over loopback, who join nothing: a partition's leader
//! asks nobody who is in a group. Groups' share-partitions are initialised as their coordinator does it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by panicking, and wait by a real clock")]

use crate::support::{Client, Running, batch, metadata_request, start};
use broker::{BrokerOptions, settings::ShareLimits};
use protocol::error_code::ErrorCode;
use protocol::messages::alter_client_quotas_request::{AlterClientQuotasRequest, EntityData, EntryData, OpData};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::initialize_share_group_state_request::{
    InitializeShareGroupStateRequest, InitializeStateData, PartitionData as Initialized,
};
use protocol::messages::read_share_group_state_summary_request::{
    PartitionData as Summarized, ReadShareGroupStateSummaryRequest, ReadStateSummaryData,
};
use protocol::messages::share_acknowledge_request as acknowledging;
use protocol::messages::share_acknowledge_request::ShareAcknowledgeRequest;
use protocol::messages::share_fetch_request::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest,
};
use protocol::messages::share_fetch_response::{PartitionData, ShareFetchResponse};
use protocol::record_batch::batches;
use protocol::wire::Uuid;
use std::time::{Duration, Instant};

/// Its number is that of the resource type of groups in requests about settings.
const GROUP_RESOURCE: i8 = 32;

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;

const VERSION: i16 = 2;

/// A member, with a connection and a session.
struct Member {
    client: Client,
    id: &'static str,
    topic: Uuid,
    epoch: i32,
}

fn options() -> BrokerOptions {
    BrokerOptions { share_topic_partitions: 3, ..BrokerOptions::default() }
}

/// A broker with a topic `t` of one partition, which a group shares from its beginning on.
async fn started(options: BrokerOptions) -> (Running, Client, Uuid) {
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let topic = client.call(12, &metadata_request("t")).await.topics[0].topic_id;
    // Is made when it is first asked for.
    client.call(12, &metadata_request("__share_group_state")).await;
    set(&mut client, "share.auto.offset.reset", "earliest").await;
    initialize(&mut client, topic, 1).await;
    (running, client, topic)
}

async fn set(client: &mut Client, name: &str, value: &str) {
    let config = AlterableConfig { name: name.to_owned(), value: Some(value.to_owned()), ..AlterableConfig::default() };
    let resource =
        AlterConfigsResource { resource_type: GROUP_RESOURCE, resource_name: "g".to_owned(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0);
}

async fn initialize(client: &mut Client, topic: Uuid, state_epoch: i32) {
    let partitions = vec![Initialized { partition: 0, state_epoch, start_offset: -1 }];
    let topics = vec![InitializeStateData { topic_id: topic, partitions }];
    let request = InitializeShareGroupStateRequest { group_id: "g".to_owned(), topics };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let code = client.call(0, &request).await.results[0].partitions[0].error_code;
        if code == 0 {
            return;
        }
        // The topic of states is being made, and loaded.
        assert!(Instant::now() < deadline, "{code}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Where the group is in the partition, as it is kept.
async fn kept_start(client: &mut Client, topic: Uuid) -> i64 {
    let partitions = vec![Summarized { partition: 0, leader_epoch: -1 }];
    let topics = vec![ReadStateSummaryData { topic_id: topic, partitions }];
    let request = ReadShareGroupStateSummaryRequest { group_id: "g".to_owned(), topics };
    client.call(0, &request).await.results[0].partitions[0].start_offset
}

fn acknowledge_batch(first: i64, last: i64, types: &[i8]) -> AcknowledgementBatch {
    AcknowledgementBatch { first_offset: first, last_offset: last, acknowledge_types: types.to_vec() }
}

impl Member {
    async fn new(running: &Running, id: &'static str, topic: Uuid) -> Member {
        Member { client: running.client().await, id, topic, epoch: 0 }
    }

    fn request(&self, wait_ms: i32, batches: Vec<AcknowledgementBatch>) -> ShareFetchRequest {
        let partition = FetchPartition { partition_index: 0, acknowledgement_batches: batches };
        let named = self.epoch == 0 || !partition.acknowledgement_batches.is_empty();
        let topic = FetchTopic { topic_id: self.topic, partitions: vec![partition] };
        ShareFetchRequest {
            group_id: Some("g".to_owned()),
            member_id: Some(self.id.to_owned()),
            share_session_epoch: self.epoch,
            max_wait_ms: wait_ms,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 500,
            batch_size: 500,
            topics: if named { vec![topic] } else { Vec::new() },
            ..ShareFetchRequest::default()
        }
    }

    async fn call(&mut self, request: &ShareFetchRequest) -> ShareFetchResponse {
        let response = self.client.call(VERSION, request).await;
        if response.error_code == 0 && self.epoch >= 0 {
            self.epoch += 1;
        }
        response
    }

    /// What it is given: first and last offset, and how often that was delivered.
    async fn fetch(&mut self, wait_ms: i32) -> Vec<(i64, i64, i16)> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let request = self.request(wait_ms, Vec::new());
            let response = self.call(&request).await;
            assert_eq!(response.error_code, 0);
            match response.responses.into_iter().flat_map(|topic| topic.partitions).next() {
                None => return Vec::new(),
                Some(data) if data.error_code == ErrorCode::CoordinatorNotAvailable.number() => {
                    assert!(Instant::now() < deadline, "{data:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Some(data) => {
                    assert_eq!(data.error_code, 0, "{data:?}");
                    return given(&data);
                }
            }
        }
    }

    /// Says what became of records; the partition's code.
    async fn acknowledge(&mut self, first: i64, last: i64, types: &[i8]) -> i16 {
        self.say(first, last, types, false).await
    }

    async fn say(&mut self, first: i64, last: i64, types: &[i8], is_renew_ack: bool) -> i16 {
        let batches = vec![acknowledging::AcknowledgementBatch {
            first_offset: first,
            last_offset: last,
            acknowledge_types: types.to_vec(),
        }];
        let partition = acknowledging::AcknowledgePartition { partition_index: 0, acknowledgement_batches: batches };
        let topic = acknowledging::AcknowledgeTopic { topic_id: self.topic, partitions: vec![partition] };
        let request = ShareAcknowledgeRequest {
            group_id: Some("g".to_owned()),
            member_id: Some(self.id.to_owned()),
            share_session_epoch: self.epoch,
            is_renew_ack,
            topics: vec![topic],
        };
        let response = self.client.call(VERSION, &request).await;
        if response.error_code != 0 {
            return response.error_code;
        }
        self.epoch += 1;
        response.responses[0].partitions[0].error_code
    }
}

fn given(data: &PartitionData) -> Vec<(i64, i64, i16)> {
    data.acquired_records.iter().map(|it| (it.first_offset, it.last_offset, it.delivery_count)).collect()
}

async fn produce(client: &mut Client, values: &[&str]) -> i64 {
    let records: Vec<(i64, &str)> = values.iter().map(|value| (1000, *value)).collect();
    let told = client.produce("t", batch(&records)).await;
    assert_eq!(told.error_code, 0);
    told.base_offset
}

#[tokio::test]
async fn records_are_given_to_one_member_and_released_ones_to_another() {
    let (running, mut client, topic) = started(options()).await;
    produce(&mut client, &["a", "b", "c"]).await;
    let (mut one, mut other) = (Member::new(&running, "one", topic).await, Member::new(&running, "other", topic).await);
    let request = one.request(5000, Vec::new());
    let response = one.call(&request).await;
    assert_eq!((response.error_code, response.acquisition_lock_timeout_ms), (0, 30_000));
    let data = &response.responses[0].partitions[0];
    assert_eq!(given(data), [(0, 2, 1)]);
    let values: Vec<_> = batches(data.records.to_bytes())
        .flat_map(|batch| batch.unwrap().records(1 << 20).unwrap())
        .map(|record| record.unwrap().value.unwrap())
        .collect();
    assert_eq!(values, ["a", "b", "c"]);
    assert_eq!(other.fetch(50).await, []);
    assert_eq!(other.acknowledge(0, 0, &[ACCEPT]).await, ErrorCode::InvalidRecordState.number());
    assert_eq!(one.acknowledge(0, 2, &[ACCEPT, RELEASE, REJECT]).await, 0);
    assert_eq!(other.fetch(5000).await, [(1, 1, 2)]);
    // With the next fetch; and the session ends.
    let request = other.request(50, vec![acknowledge_batch(1, 1, &[ACCEPT])]);
    let data = other.call(&request).await.responses.remove(0).partitions.remove(0);
    assert_eq!((data.acknowledge_error_code, data.acquired_records.len()), (0, 0));
    other.epoch = -1;
    let request = other.request(50, Vec::new());
    assert_eq!(other.call(&request).await.error_code, 0);
    assert_eq!(other.call(&request).await.error_code, ErrorCode::ShareSessionNotFound.number());
}

#[tokio::test]
async fn who_waits_is_woken_by_records_and_by_what_others_release() {
    let (running, mut client, topic) = started(options()).await;
    let (mut one, mut other) = (Member::new(&running, "one", topic).await, Member::new(&running, "other", topic).await);
    assert_eq!(one.fetch(0).await, []);
    let (woken, _) = tokio::join!(one.fetch(20_000), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        produce(&mut client, &["a"]).await
    });
    assert_eq!(woken, [(0, 0, 1)]);
    let begun = Instant::now();
    let (woken, code) = tokio::join!(other.fetch(20_000), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        one.acknowledge(0, 0, &[RELEASE]).await
    });
    assert_eq!((woken, code), (vec![(0, 0, 2)], 0));
    // A connection that ends gives back what its member has.
    drop(other);
    assert_eq!(one.fetch(20_000).await, [(0, 0, 3)]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn time_runs_out_unless_it_is_renewed() {
    let shares = ShareLimits {
        lock: Duration::from_millis(1000),
        lock_bounds: Duration::from_millis(1000)..=Duration::from_secs(60),
        ..ShareLimits::default()
    };
    let (running, mut client, topic) = started(BrokerOptions { shares, ..options() }).await;
    produce(&mut client, &["a"]).await;
    produce(&mut client, &["b"]).await;
    let (mut one, mut other) = (Member::new(&running, "one", topic).await, Member::new(&running, "other", topic).await);
    assert_eq!(one.fetch(5000).await, [(0, 1, 1)]);
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(one.say(0, 0, &[RENEW], true).await, 0);
    assert_eq!(one.say(0, 0, &[RENEW], false).await, ErrorCode::InvalidRequest.number());
    assert_eq!(other.fetch(10_000).await, [(1, 1, 2)]);
    assert!(begun.elapsed() >= Duration::from_millis(1000));
    assert_eq!(other.fetch(10_000).await, [(0, 0, 2)]);
    assert!(begun.elapsed() >= Duration::from_millis(1600));
    assert_eq!(one.acknowledge(0, 0, &[ACCEPT]).await, ErrorCode::InvalidRecordState.number());
}

#[tokio::test]
async fn behind_a_crash_nothing_is_lost_and_nothing_accepted_comes_again() {
    let (running, mut client, topic) = started(options()).await;
    for value in ["a", "b", "c", "d"] {
        produce(&mut client, &[value]).await;
    }
    let mut one = Member::new(&running, "one", topic).await;
    assert_eq!(one.fetch(5000).await, [(0, 3, 1)]);
    assert_eq!(one.acknowledge(0, 0, &[ACCEPT]).await, 0);
    assert_eq!(one.acknowledge(2, 2, &[ACCEPT]).await, 0);
    assert_eq!(one.acknowledge(3, 3, &[RELEASE]).await, 0);
    // One record is with the member still, and one was delivered once.
    let running = running.start_anew().await;
    let mut other = Member::new(&running, "other", topic).await;
    let given = other.fetch(20_000).await;
    let mut all: Vec<(i64, i16)> = given.iter().flat_map(|it| (it.0..=it.1).map(|offset| (offset, it.2))).collect();
    if all.len() == 1 {
        all.extend(other.fetch(20_000).await.iter().flat_map(|it| (it.0..=it.1).map(|offset| (offset, it.2))));
    }
    assert_eq!(all, [(1, 1), (3, 2)]);
    assert_eq!(other.acknowledge(1, 1, &[ACCEPT]).await, 0);
    assert_eq!(other.acknowledge(3, 3, &[ACCEPT]).await, 0);
    let running = running.start_anew().await;
    let mut client = running.client().await;
    produce(&mut client, &["e"]).await;
    let mut third = Member::new(&running, "third", topic).await;
    assert_eq!(third.fetch(20_000).await, [(4, 4, 1)]);
}

#[tokio::test]
async fn an_acknowledgement_that_is_not_answered_may_come_to_nothing_but_holds_once_it_is() {
    let (running, mut client, topic) = started(options()).await;
    produce(&mut client, &["a"]).await;
    let mut one = Member::new(&running, "one", topic).await;
    assert_eq!(one.fetch(5000).await, [(0, 0, 1)]);
    running.close_gate();
    let asked = one.acknowledge(0, 0, &[ACCEPT]);
    assert!(tokio::time::timeout(Duration::from_millis(300), asked).await.is_err(), "not before it is durable");
    let running = running.start_anew().await;
    let mut other = Member::new(&running, "other", topic).await;
    assert_eq!(other.fetch(20_000).await, [(0, 0, 1)]);
}

#[tokio::test]
async fn a_group_begins_at_the_end_and_stays_there_for_the_next_leader() {
    let (running, mut client, topic) = started(options()).await;
    set(&mut client, "share.auto.offset.reset", "latest").await;
    produce(&mut client, &["a"]).await;
    let mut one = Member::new(&running, "one", topic).await;
    assert_eq!(one.fetch(100).await, []);
    let deadline = Instant::now() + Duration::from_secs(10);
    while kept_start(&mut client, topic).await < 0 {
        assert!(Instant::now() < deadline, "nothing is kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    produce(&mut client, &["b"]).await;
    let running = running.start_anew().await;
    let mut one = Member::new(&running, "one", topic).await;
    assert_eq!(one.fetch(20_000).await, [(1, 1, 1)]);
}

#[tokio::test]
async fn a_leader_hears_that_its_group_was_set_back() {
    let (running, mut client, topic) = started(options()).await;
    produce(&mut client, &["a"]).await;
    let mut one = Member::new(&running, "one", topic).await;
    assert_eq!(one.fetch(5000).await, [(0, 0, 1)]);
    initialize(&mut client, topic, 2).await;
    assert_eq!(one.acknowledge(0, 0, &[ACCEPT]).await, ErrorCode::NotLeaderOrFollower.number());
    assert_eq!(one.fetch(5000).await, [(0, 0, 1)]);
    assert_eq!(one.acknowledge(0, 0, &[ACCEPT]).await, 0);
}

#[tokio::test]
async fn sessions_are_numbered_and_limited() {
    let shares = ShareLimits { sessions_max: 1, ..ShareLimits::default() };
    let (running, _, topic) = started(BrokerOptions { shares, ..options() }).await;
    let mut one = Member::new(&running, "one", topic).await;
    assert_eq!(one.fetch(0).await, []);
    let begun = Instant::now();
    let mut other = Member::new(&running, "other", topic).await;
    let request = other.request(300, Vec::new());
    assert_eq!(other.call(&request).await.error_code, ErrorCode::ShareSessionLimitReached.number());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    one.epoch = 7;
    let request = one.request(0, Vec::new());
    assert_eq!(one.call(&request).await.error_code, ErrorCode::InvalidShareSessionEpoch.number());
    one.epoch = 0;
    let request = one.request(0, vec![acknowledge_batch(0, 0, &[ACCEPT])]);
    assert_eq!(one.call(&request).await.error_code, ErrorCode::InvalidRequest.number());
    let nobody = ShareFetchRequest { member_id: Some(String::new()), ..one.request(0, Vec::new()) };
    assert_eq!(one.call(&nobody).await.error_code, ErrorCode::InvalidRequest.number());
    // Without its partition there is nothing to fetch.
    one.epoch = 1;
    let forgotten = ForgottenTopic { topic_id: topic, partitions: vec![0] };
    let request = ShareFetchRequest { forgotten_topics_data: vec![forgotten], ..one.request(60_000, Vec::new()) };
    assert!(one.call(&request).await.responses.is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let (running, mut client, topic) = started(options()).await;
    let mut one = Member::new(&running, "one", Uuid(7)).await;
    let request = one.request(60_000, Vec::new());
    let response = one.call(&request).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicId.number());
    produce(&mut client, &["a"]).await;
    let mut other = Member::new(&running, "other", topic).await;
    assert_eq!(other.fetch(5000).await, [(0, 0, 1)]);
    let named = DeleteTopicState { topic_id: topic, ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest { topics: vec![named], timeout_ms: 10_000, ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
    let code = other.acknowledge(0, 0, &[ACCEPT]).await;
    assert_eq!(code, ErrorCode::UnknownTopicId.number());
}

#[tokio::test]
async fn a_log_that_begins_later_takes_along_what_nobody_has() {
    let (running, mut client, topic) = started(options()).await;
    for value in ["a", "b", "c"] {
        produce(&mut client, &[value]).await;
    }
    let mut one = Member::new(&running, "one", topic).await;
    let limited = ShareFetchRequest { max_records: 1, batch_size: 1, ..one.request(5000, Vec::new()) };
    let data = one.call(&limited).await.responses.remove(0).partitions.remove(0);
    assert_eq!(given(&data), [(0, 0, 1)]);
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 2 };
    let named = DeleteRecordsTopic { name: "t".to_owned(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![named], timeout_ms: 10_000 };
    assert_eq!(client.call(2, &request).await.topics[0].partitions[0].error_code, 0);
    assert_eq!(one.fetch(5000).await, [(2, 2, 1)]);
    assert_eq!(one.acknowledge(0, 0, &[ACCEPT]).await, 0);
    assert_eq!(one.acknowledge(2, 2, &[ACCEPT]).await, 0);
}

#[tokio::test]
async fn what_a_member_is_given_counts_for_its_quota_and_none_of_it_is_kept_back() {
    let (running, mut client, topic) = started(options()).await;
    let entity = vec![EntityData { entity_type: "user".to_owned(), entity_name: None }];
    let rate = OpData { key: "consumer_byte_rate".to_owned(), value: 1000.0, remove: false };
    let entries = vec![EntryData { entity, ops: vec![rate] }];
    let altered = client.call(1, &AlterClientQuotasRequest { entries, validate_only: false }).await;
    assert_eq!(altered.entries[0].error_code, 0);
    let much = "x".repeat(30_000);
    client.produce("t", batch(&[(1, much.as_str())])).await;
    let mut member = Member::new(&running, "one", topic).await;
    let request = member.request(5000, Vec::new());
    let given = member.call(&request).await;
    let bytes: usize = given.responses.iter().flat_map(|it| &it.partitions).map(|it| it.records.len()).sum();
    assert!(bytes > 30_000, "{bytes}");
    assert!(given.throttle_time_ms > 0, "30 kB at 1 kB/s");
}
