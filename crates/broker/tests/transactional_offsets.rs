//! Offsets that are committed in transactions: not seen before the marker, seen or gone behind it, whoever owns the partition by then.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::transactional::{READ_COMMITTED, end, fetch, grant, marker, stream_of};
use crate::support::{Client, Running, start};
use broker::BrokerOptions;
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use protocol::record_batch::batches;
use std::time::Duration;
use stream::NO_SEQUENCE;

const NONE: i16 = 0;
const UNKNOWN_PARTITION: i16 = 3;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const INVALID_GROUP_ID: i16 = 24;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const UNSTABLE: i16 = 88;

const OFFSETS: &str = "__consumer_offsets";
const LAST_VERSION: i16 = 5;

fn options() -> BrokerOptions {
    BrokerOptions { offsets_topic_partitions: 1, ..BrokerOptions::default() }
}

/// A topic `t`, and the coordinator of `g` found.
async fn started(options: BrokerOptions) -> (Running, Client) {
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    find(&mut client).await;
    (running, client)
}

async fn find(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    for _ in 0..100 {
        if client.call(4, &request).await.coordinators[0].error_code == NONE {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no coordinator");
}

fn request(producer: (i64, i16), offset: i64) -> TxnOffsetCommitRequest {
    let partition = |partition_index| TxnOffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some("m".to_owned()),
    };
    let topic = |name: &str| TxnOffsetCommitRequestTopic {
        name: name.to_owned(),
        partitions: vec![partition(0)],
        ..TxnOffsetCommitRequestTopic::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: "t-id".to_owned(),
        group_id: "g".to_owned(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        generation_id_or_member_epoch: -1,
        member_id: String::new(),
        group_instance_id: None,
        topics: vec![topic("t"), topic("none")],
    }
}

/// The code of `t`.
async fn send(client: &mut Client, version: i16, request: &TxnOffsetCommitRequest) -> i16 {
    let answer = client.call(version, request).await;
    assert_eq!(answer.topics[1].partitions[0].error_code, UNKNOWN_PARTITION, "of a topic that is not there");
    answer.topics[0].partitions[0].error_code
}

/// Commits an offset in a transaction that begins here.
async fn commit(running: &Running, client: &mut Client, producer: (i64, i16), offset: i64) {
    grant(&stream_of(running, OFFSETS, 0), producer, NO_SEQUENCE).await;
    assert_eq!(send(client, LAST_VERSION, &request(producer, offset)).await, NONE);
}

async fn commit_plain(client: &mut Client, offset: i64) {
    let partition =
        OffsetCommitRequestPartition { committed_offset: offset, ..OffsetCommitRequestPartition::default() };
    let topic = OffsetCommitRequestTopic {
        name: "t".to_owned(),
        partitions: vec![partition],
        ..OffsetCommitRequestTopic::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    };
    assert_eq!(client.call(8, &request).await.topics[0].partitions[0].error_code, NONE);
}

/// The group's offset of `t`, or the error; of those that no transaction is about to change.
async fn committed(client: &mut Client, require_stable: bool) -> (i64, i16) {
    let topics = vec![OffsetFetchRequestTopics {
        name: "t".to_owned(),
        partition_indexes: vec![0],
        ..OffsetFetchRequestTopics::default()
    }];
    let group = |topics| OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_epoch: -1,
        topics,
        ..OffsetFetchRequestGroup::default()
    };
    let ask =
        |topics| OffsetFetchRequest { groups: vec![group(topics)], require_stable, ..OffsetFetchRequest::default() };
    let named = client.call(8, &ask(Some(topics))).await.groups[0].clone();
    assert_eq!(named.error_code, NONE);
    let told = (named.topics[0].partitions[0].committed_offset, named.topics[0].partitions[0].error_code);
    let all = client.call(8, &ask(None)).await.groups[0].clone();
    if let Some(topic) = all.topics.first() {
        assert_eq!((topic.partitions[0].committed_offset, topic.partitions[0].error_code), told);
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_counts_when_its_transaction_is_committed_and_never_when_it_is_aborted() {
    let (mut running, mut client) = started(options()).await;
    commit_plain(&mut client, 3).await;
    commit(&running, &mut client, (7, 0), 5).await;
    assert_eq!(committed(&mut client, false).await, (3, NONE));
    assert_eq!(committed(&mut client, true).await, (-1, UNSTABLE));
    drop(client);
    running = running.restart().await;
    client = running.client().await;
    find(&mut client).await;
    assert_eq!(committed(&mut client, true).await, (-1, UNSTABLE), "after a restart as well");
    assert_eq!(send(&mut client, LAST_VERSION, &request((7, 0), 6)).await, NONE, "the transaction goes on");
    assert_eq!(end(&mut client, 2, vec![marker((7, 1), true, OFFSETS, 0)]).await, [NONE]);
    assert_eq!(committed(&mut client, true).await, (6, NONE));
    assert_eq!(end(&mut client, 2, vec![marker((7, 1), true, OFFSETS, 0)]).await, [NONE], "a repeat");

    commit(&running, &mut client, (7, 1), 9).await;
    assert_eq!(end(&mut client, 2, vec![marker((7, 2), false, OFFSETS, 0)]).await, [NONE]);
    assert_eq!(committed(&mut client, true).await, (6, NONE));
    assert_eq!(send(&mut client, LAST_VERSION, &request((7, 1), 9)).await, INVALID_PRODUCER_EPOCH, "too late");
    drop(client);
    running = running.restart().await;
    client = running.client().await;
    find(&mut client).await;
    assert_eq!(committed(&mut client, true).await, (6, NONE));

    commit(&running, &mut client, (7, 2), 10).await;
    commit_plain(&mut client, 20).await;
    assert_eq!(end(&mut client, 2, vec![marker((7, 3), true, OFFSETS, 0)]).await, [NONE]);
    assert_eq!(committed(&mut client, true).await, (20, NONE), "what was stored last counts");

    // What is in the log has Kafka's form.
    let data = fetch(&mut client, OFFSETS, 0, READ_COMMITTED).await;
    let all: Vec<_> = batches(data.records.unwrap().to_bytes()).map(|batch| batch.unwrap()).collect();
    let first = all.iter().find(|it| it.is_transactional() && !it.is_control()).unwrap();
    assert_eq!((first.producer_id(), first.producer_epoch(), first.base_sequence()), (7, 0, -1));
    assert_eq!(all.iter().filter(|it| it.is_control()).count(), 3);
    assert_eq!(data.aborted_transactions.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_nobody_vouches_for_or_of_no_member_are_refused() {
    let (running, mut client) = started(options()).await;
    for version in 0..=LAST_VERSION {
        let refused = send(&mut client, version, &request((7, 0), 5)).await;
        assert_eq!(refused, COORDINATOR_NOT_AVAILABLE, "version {version}");
    }
    // As in Kafka, of a member that nobody knows either: of the transaction first.
    let nobody = TxnOffsetCommitRequest { generation_id_or_member_epoch: 4, ..request((7, 0), 5) };
    assert_eq!(send(&mut client, LAST_VERSION, &nobody).await, COORDINATOR_NOT_AVAILABLE);
    let negative = request((7, -1), 5);
    assert_eq!(send(&mut client, LAST_VERSION, &negative).await, COORDINATOR_NOT_AVAILABLE);
    let nameless = TxnOffsetCommitRequest { group_id: String::new(), ..request((7, 0), 5) };
    assert_eq!(send(&mut client, LAST_VERSION, &nameless).await, INVALID_GROUP_ID);
    assert_eq!(committed(&mut client, true).await, (-1, NONE));

    commit(&running, &mut client, (7, 0), 5).await;
    let delete = DeleteGroupsRequest { groups_names: vec!["g".to_owned()] };
    assert_eq!(client.call(2, &delete).await.results[0].error_code, NONE);
    assert_eq!(end(&mut client, 2, vec![marker((7, 1), true, OFFSETS, 0)]).await, [NONE]);
    assert_eq!(committed(&mut client, true).await, (-1, NONE), "deleted with its group");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_copied_still_has_what_waits() {
    let options = BrokerOptions { groups_log_bytes_max: 4096, groups_copy_slice_bytes: 64, ..options() };
    let (mut running, mut client) = started(options).await;
    commit_plain(&mut client, 1).await;
    commit(&running, &mut client, (7, 0), 5).await;
    let stream = stream_of(&running, OFFSETS, 0);
    let began = stream.next();
    // Of another partition, so that nothing here replaces the other.
    for offset in 0..12 {
        let other = OffsetCommitRequestPartition {
            partition_index: 1,
            committed_offset: offset,
            committed_metadata: Some("x".repeat(1000)),
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![other], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: "g".to_owned(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        assert_eq!(client.call(8, &request).await.topics[0].partitions[0].error_code, NONE);
    }
    for _ in 0..200 {
        if stream.start() > began {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stream.start() > began, "the beginning is gone");
    drop(client);
    running = running.restart().await;
    client = running.client().await;
    find(&mut client).await;
    assert_eq!(committed(&mut client, false).await, (1, NONE));
    assert_eq!(committed(&mut client, true).await, (-1, UNSTABLE));
    assert_eq!(end(&mut client, 2, vec![marker((7, 1), true, OFFSETS, 0)]).await, [NONE]);
    assert_eq!(committed(&mut client, true).await, (5, NONE));
}
