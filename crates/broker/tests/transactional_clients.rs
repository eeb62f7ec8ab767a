//! Transactions from end to end, as clients of each age run them: read, write and commit offsets in one, with the coordinator's word for all.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use crate::support::transactional::{READ_COMMITTED, aborted, bases, fetch, produce, transactional};
use crate::support::{Client, start};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use std::time::Duration;

const ID: &str = "t-id";
const UNSTABLE: i16 = 88;

/// By which versions a client does what.
#[derive(Debug, Clone, Copy)]
struct Versions {
    init: i16,
    produce: i16,
    offset_commit: i16,
    end: i16,
    /// It names partitions before it writes to them.
    names: bool,
}

const OLD: Versions = Versions { init: 2, produce: 7, offset_commit: 2, end: 2, names: true };
const NAMING: Versions = Versions { init: 4, produce: 11, offset_commit: 4, end: 4, names: true };
const ADDING: Versions = Versions { init: 5, produce: 12, offset_commit: 5, end: 5, names: false };

async fn find(client: &mut Client, key: &str, key_type: i8) {
    let request = FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec![key.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..200 {
        if client.call(4, &request).await.coordinators[0].error_code == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no coordinator");
}

async fn init(client: &mut Client, version: i16) -> (i64, i16) {
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    loop {
        let answer = client.call(version, &request).await;
        if answer.error_code == 0 {
            return (answer.producer_id, answer.producer_epoch);
        }
        assert!(ErrorCode::from_number(answer.error_code).unwrap().retriable(), "{}", answer.error_code);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Names the partition that is written to, and the group.
async fn name(client: &mut Client, producer: (i64, i16)) {
    let topic = AddPartitionsToTxnTopic { name: "t".to_owned(), partitions: vec![0] };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.to_owned(),
        v3_and_below_producer_id: producer.0,
        v3_and_below_producer_epoch: producer.1,
        // A topic of which nothing is named does not keep the transaction from its end.
        v3_and_below_topics: vec![topic, AddPartitionsToTxnTopic { name: "u".to_owned(), partitions: Vec::new() }],
        ..AddPartitionsToTxnRequest::default()
    };
    loop {
        let answer = client.call(3, &request).await;
        let code = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
        if code == 0 {
            break;
        }
        assert_eq!(code, ErrorCode::ConcurrentTransactions.number());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = AddOffsetsToTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        group_id: "g".to_owned(),
    };
    assert_eq!(client.call(3, &request).await.error_code, 0);
}

async fn commit_offset(client: &mut Client, version: i16, producer: (i64, i16), offset: i64) -> i16 {
    let partition = TxnOffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: None,
    };
    let topic = TxnOffsetCommitRequestTopic {
        name: "t".to_owned(),
        partitions: vec![partition],
        ..TxnOffsetCommitRequestTopic::default()
    };
    let request = TxnOffsetCommitRequest {
        transactional_id: ID.to_owned(),
        group_id: "g".to_owned(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        generation_id_or_member_epoch: -1,
        member_id: String::new(),
        group_instance_id: None,
        topics: vec![topic],
    };
    client.call(version, &request).await.topics[0].partitions[0].error_code
}

async fn end(client: &mut Client, version: i16, producer: (i64, i16), committed: bool) -> (i64, i16) {
    let request = EndTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        committed,
    };
    let answer = client.call(version, &request).await;
    assert_eq!(answer.error_code, 0);
    if version >= 5 { (answer.producer_id, answer.producer_epoch) } else { producer }
}

/// The group's stable offset, once it is.
async fn stable_offset(client: &mut Client) -> i64 {
    let topics = vec![OffsetFetchRequestTopics {
        name: "t".to_owned(),
        partition_indexes: vec![0],
        ..OffsetFetchRequestTopics::default()
    }];
    let group = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_epoch: -1,
        topics: Some(topics),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..OffsetFetchRequest::default() };
    loop {
        let answer = client.call(8, &request).await.groups[0].topics[0].partitions[0].clone();
        if answer.error_code == 0 {
            return answer.committed_offset;
        }
        assert_eq!(answer.error_code, UNSTABLE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a reader of decided records gets, once everything is decided.
async fn read(client: &mut Client) -> (Vec<i64>, Vec<(i64, i64)>) {
    loop {
        let data = fetch(client, "t", 0, READ_COMMITTED).await;
        assert_eq!(data.error_code, 0);
        if data.last_stable_offset == data.high_watermark {
            return (bases(&data), aborted(&data).unwrap());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_each_age_write_and_commit_offsets_in_transactions() {
    for versions in [OLD, NAMING, ADDING] {
        let options =
            BrokerOptions { offsets_topic_partitions: 3, transactions_topic_partitions: 3, ..BrokerOptions::default() };
        let running = start(options).await;
        let mut client = running.client().await;
        assert_eq!(client.create("t", 1, &[]).await, 0);
        find(&mut client, ID, 1).await;
        find(&mut client, "g", 0).await;
        let mut producer = init(&mut client, versions.init).await;
        let mut sequence = 0;
        for (round, commits) in (0..).zip([true, false, true]) {
            if versions.names {
                name(&mut client, producer).await;
            }
            let epoch = producer.1;
            for _ in 0..2 {
                let batch = transactional(producer, sequence, &["a"]);
                let mut answer = produce(&mut client, versions.produce, "t", batch.clone()).await;
                while ErrorCode::from_number(answer.error_code).unwrap().retriable() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    answer = produce(&mut client, versions.produce, "t", batch.clone()).await;
                }
                assert_eq!(answer.error_code, 0, "{versions:?}: {:?}", answer.error_message);
                sequence += 1;
            }
            let code = commit_offset(&mut client, versions.offset_commit, producer, 10 * (round + 1)).await;
            assert_eq!(code, 0, "{versions:?}");
            producer = end(&mut client, versions.end, producer, commits).await;
            if producer.1 != epoch {
                sequence = 0;
            }
            let (found, void) = read(&mut client).await;
            assert_eq!(found.len(), 3 * (usize::try_from(round).unwrap() + 1), "{versions:?}");
            assert_eq!(void, if round > 0 { vec![(producer.0, 3)] } else { Vec::new() });
            assert_eq!(stable_offset(&mut client).await, [10, 10, 30][usize::try_from(round).unwrap()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_named_is_refused_in_words_that_the_client_knows() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    find(&mut client, ID, 1).await;
    find(&mut client, "g", 0).await;
    let producer = init(&mut client, 4).await;
    let batch = transactional(producer, 0, &["a"]);
    for (version, code) in [(9, ErrorCode::InvalidTxnState), (11, ErrorCode::TransactionAbortable)] {
        let answer = produce(&mut client, version, "t", batch.clone()).await;
        assert_eq!(answer.error_code, code.number(), "version {version}");
    }
    for (version, code) in [(3, ErrorCode::InvalidTxnState), (4, ErrorCode::TransactionAbortable)] {
        assert_eq!(commit_offset(&mut client, version, producer, 1).await, code.number(), "version {version}");
    }
    let stranger = transactional((producer.0, producer.1 + 1), 0, &["a"]);
    let answer = produce(&mut client, 9, "t", stranger).await;
    assert_eq!(answer.error_code, ErrorCode::InvalidProducerEpoch.number());
}
