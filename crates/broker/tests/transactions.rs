//! Does the transaction coordinator keep Kafka's promises? Hand-made producers over loopback, markers read back from the partitions.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, Running, fetch_request, metadata_request, start, start_beside, start_with_bulk};
use broker::{BrokerOptions, TransactionOptions};
use protocol::error_code::ErrorCode;
use protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use protocol::messages::describe_transactions_response::TransactionState;
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::fetch_request::FetchPartition;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::list_transactions_request::ListTransactionsRequest;
use protocol::record_batch;
use std::time::Duration;

/// An id and an epoch.
type Producer = (i64, i16);

/// A marker in a partition: whose, and whether it commits.
type Found = (i64, i16, bool);

const PATIENCE: Duration = Duration::from_secs(30);

/// What a client that begins is told as long as it is to come again.
const EARLY: [ErrorCode; 3] =
    [ErrorCode::ConcurrentTransactions, ErrorCode::CoordinatorLoadInProgress, ErrorCode::NotCoordinator];

fn code(code: ErrorCode) -> i16 {
    code.number()
}

fn options() -> BrokerOptions {
    BrokerOptions { transactions_topic_partitions: 3, offsets_topic_partitions: 3, ..BrokerOptions::default() }
}

/// A broker with a topic `t` of three partitions, and the coordinators of transactions.
async fn started(options: BrokerOptions) -> (Running, Client) {
    let running = start(options).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 3, &[]).await, 0);
    until_served(&mut client).await;
    (running, client)
}

/// Finds the coordinators of all ids that tests use, and waits until they are loaded.
async fn until_served(client: &mut Client) {
    assert_eq!(find(client, "x").await.0, 0);
    for id in ["x", "y", "a.open", "b", "c", "old", "nobody", ""] {
        while EARLY.map(code).contains(&describe(client, id).await.error_code) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn find(client: &mut Client, id: &str) -> (i16, i32) {
    let keys = vec![id.to_owned()];
    let request = FindCoordinatorRequest { key_type: 1, coordinator_keys: keys, ..FindCoordinatorRequest::default() };
    let found = &client.call(4, &request).await.coordinators[0];
    (found.error_code, found.port)
}

fn init_request(id: &str, timeout_ms: i32, (producer_id, producer_epoch): Producer) -> InitProducerIdRequest {
    let transactional_id = Some(id.to_owned());
    InitProducerIdRequest { transactional_id, transaction_timeout_ms: timeout_ms, producer_id, producer_epoch }
}

async fn try_init(client: &mut Client, version: i16, request: &InitProducerIdRequest) -> Result<Producer, i16> {
    let answer = client.call(version, request).await;
    if answer.error_code == 0 { Ok((answer.producer_id, answer.producer_epoch)) } else { Err(answer.error_code) }
}

/// Begins, and waits until what was before is complete.
async fn init(client: &mut Client, id: &str) -> Producer {
    loop {
        match try_init(client, 5, &init_request(id, 60_000, (-1, -1))).await {
            Ok(producer) => return producer,
            Err(refused) => assert!(EARLY.map(code).contains(&refused), "{refused}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn topic(name: &str, partitions: &[i32]) -> AddPartitionsToTxnTopic {
    AddPartitionsToTxnTopic { name: name.to_owned(), partitions: partitions.to_vec() }
}

/// What each partition is told, when a client adds these of `t`.
async fn add(client: &mut Client, version: i16, id: &str, producer: Producer, partitions: &[i32]) -> Vec<i16> {
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.to_owned(),
        v3_and_below_producer_id: producer.0,
        v3_and_below_producer_epoch: producer.1,
        v3_and_below_topics: vec![topic("t", partitions)],
        ..AddPartitionsToTxnRequest::default()
    };
    let answer = client.call(version, &request).await;
    let results = answer.results_by_topic_v3_and_below;
    results.iter().flat_map(|it| &it.results_by_partition).map(|it| it.partition_error_code).collect()
}

fn asked(
    id: &str,
    producer: Producer,
    verify_only: bool,
    topics: &[AddPartitionsToTxnTopic],
) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction {
        transactional_id: id.to_owned(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        verify_only,
        topics: topics.to_vec(),
    }
}

/// The same when a partition's leader does, or only asks: of several transactions.
async fn ask(client: &mut Client, transactions: &[AddPartitionsToTxnTransaction]) -> Vec<Vec<i16>> {
    let transactions = transactions.to_vec();
    let request = AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() };
    let answer = client.call(5, &request).await;
    assert_eq!(answer.error_code, 0);
    let codes = |topics: &[protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnTopicResult]| {
        topics.iter().flat_map(|it| &it.results_by_partition).map(|it| it.partition_error_code).collect()
    };
    answer.results_by_transaction.iter().map(|result| codes(&result.topic_results)).collect()
}

async fn end(
    client: &mut Client,
    version: i16,
    id: &str,
    producer: Producer,
    committed: bool,
) -> Result<Producer, i16> {
    let (producer_id, producer_epoch) = producer;
    let request = EndTxnRequest { transactional_id: id.to_owned(), producer_id, producer_epoch, committed };
    let answer = client.call(version, &request).await;
    if answer.error_code == 0 { Ok((answer.producer_id, answer.producer_epoch)) } else { Err(answer.error_code) }
}

async fn describe(client: &mut Client, id: &str) -> TransactionState {
    let request = DescribeTransactionsRequest { transactional_ids: vec![id.to_owned()] };
    client.call(0, &request).await.transaction_states.remove(0)
}

async fn until_state(client: &mut Client, id: &str, state: &str) -> TransactionState {
    let waits = async {
        loop {
            let described = describe(client, id).await;
            if described.transaction_state == state {
                return described;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.expect("the state comes")
}

/// The markers in a partition of a topic.
async fn markers(client: &mut Client, topic: &str, partition: i32) -> Vec<Found> {
    let mut request = fetch_request(topic, 0, 0);
    request.topics[0].partitions =
        vec![FetchPartition { partition, partition_max_bytes: 1 << 20, ..FetchPartition::default() }];
    let answer = client.call(12, &request).await;
    let data = &answer.responses[0].partitions[0];
    assert_eq!(data.error_code, 0);
    let mut found = Vec::new();
    for batch in record_batch::batches(data.records.clone().unwrap().to_bytes()) {
        let batch = batch.unwrap();
        assert!(batch.is_control() && batch.is_transactional());
        let key = batch.records(1 << 20).unwrap().next().unwrap().unwrap().key.unwrap();
        found.push((batch.producer_id(), batch.producer_epoch(), key[3] == 1));
    }
    found
}

async fn all_markers(client: &mut Client) -> [Vec<Found>; 3] {
    [markers(client, "t", 0).await, markers(client, "t", 1).await, markers(client, "t", 2).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_begins_anew_fences_all_before_in_every_version() {
    let (running, mut client) = started(options()).await;
    let topic = &client.call(12, &metadata_request("__transaction_state")).await.topics[0];
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 3));
    let (id, _) = init(&mut client, "x").await;
    for version in 0..=5_i16 {
        let begun = try_init(&mut client, version, &init_request("x", 1000, (-1, -1))).await;
        assert_eq!(begun, Ok((id, version + 1)), "version {version}");
    }
    for (version, fenced) in [(1, ErrorCode::InvalidProducerEpoch), (3, ErrorCode::ProducerFenced)] {
        assert_eq!(add(&mut client, version, "x", (id, 5), &[0]).await, [code(fenced)], "version {version}");
        assert_eq!(end(&mut client, version, "x", (id, 5), true).await, Err(code(fenced)), "version {version}");
    }
    // A producer that says which epoch it had is continued once, and its repeat is told the same (KIP-360).
    for _ in 0..2 {
        assert_eq!(try_init(&mut client, 4, &init_request("x", 1000, (id, 6))).await, Ok((id, 7)));
    }
    let fenced = try_init(&mut client, 4, &init_request("x", 1000, (id, 5))).await;
    assert_eq!(fenced, Err(code(ErrorCode::ProducerFenced)));
    let fenced = try_init(&mut client, 3, &init_request("x", 1000, (id, 5))).await;
    assert_eq!(fenced, Err(code(ErrorCode::InvalidProducerEpoch)));
    // Others have others, and all of it outlives a restart.
    assert_ne!(init(&mut client, "y").await.0, id);
    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(init(&mut client, "x").await, (id, 8));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_commits_or_aborts_in_all_its_partitions_and_in_no_other() {
    let (running, mut client) = started(options()).await;
    let (id, epoch) = init(&mut client, "x").await;
    assert_eq!(add(&mut client, 3, "x", (id, epoch), &[0, 2]).await, [0, 0]);
    let open = describe(&mut client, "x").await;
    assert_eq!((open.transaction_state.as_str(), open.topics[0].partitions.clone()), ("Ongoing", vec![0, 2]));
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Ok((id, epoch + 1)));
    until_state(&mut client, "x", "CompleteCommit").await;
    let first = (id, epoch + 1, true);
    assert_eq!(all_markers(&mut client).await, [vec![first], vec![], vec![first]]);
    // A repeat is told the same, its contrary that it is too late, the old epoch that it is over.
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Ok((id, epoch + 1)));
    assert_eq!(end(&mut client, 5, "x", (id, epoch), false).await, Err(code(ErrorCode::InvalidTxnState)));
    assert_eq!(add(&mut client, 3, "x", (id, epoch), &[0]).await, [code(ErrorCode::ProducerFenced)]);

    let producer = (id, epoch + 1);
    let told = ask(&mut client, &[asked("x", producer, false, &[topic("t", &[1])])]).await;
    assert_eq!(told, [[0]], "a leader's question begins the next one");
    assert_eq!(end(&mut client, 5, "x", producer, false).await, Ok((id, epoch + 2)));
    until_state(&mut client, "x", "CompleteAbort").await;
    assert_eq!(all_markers(&mut client).await, [vec![first], vec![(id, epoch + 2, false)], vec![first]]);

    // Older clients keep their epoch.
    let producer = (id, epoch + 2);
    for committed in [true, false] {
        assert_eq!(add(&mut client, 0, "x", producer, &[1]).await, [0]);
        assert_eq!(end(&mut client, 3, "x", producer, committed).await, Ok((-1, -1)));
        until_state(&mut client, "x", if committed { "CompleteCommit" } else { "CompleteAbort" }).await;
    }
    let of_one = markers(&mut client, "t", 1).await;
    assert_eq!(of_one[1..], [(id, epoch + 2, true), (id, epoch + 2, false)]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_aborted_by_age_and_by_the_next_producer() {
    let (running, mut client) = started(options()).await;
    let old = try_init(&mut client, 5, &init_request("old", 200, (-1, -1))).await.unwrap();
    assert_eq!(add(&mut client, 3, "old", old, &[0]).await, [0]);
    let aborted = until_state(&mut client, "old", "CompleteAbort").await;
    assert_eq!((aborted.producer_id, aborted.producer_epoch), (old.0, old.1 + 1));
    assert_eq!(end(&mut client, 5, "old", old, true).await, Err(code(ErrorCode::InvalidTxnState)), "too late");

    let first = init(&mut client, "x").await;
    assert_eq!(add(&mut client, 3, "x", first, &[1]).await, [0]);
    let refused = try_init(&mut client, 5, &init_request("x", 1000, (-1, -1))).await;
    assert_eq!(refused, Err(code(ErrorCode::ConcurrentTransactions)));
    assert_eq!(init(&mut client, "x").await, (first.0, first.1 + 2));
    let expected = [vec![(old.0, old.1 + 1, false)], vec![(first.0, first.1 + 1, false)], vec![]];
    assert_eq!(all_markers(&mut client).await, expected);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_marker_is_written_before_its_decision_is_durable() {
    let running = start_with_bulk(options()).await;
    let mut client = running.client().await;
    // Its log is a ring, which the gate does not hold up; that of transactions lies in the bucket.
    assert_eq!(client.create("t", 3, &[("millstream.wal", "bulk")]).await, 0);
    until_served(&mut client).await;
    let producer = init(&mut client, "x").await;
    assert_eq!(add(&mut client, 3, "x", producer, &[0, 1, 2]).await, [0; 3]);
    running.close_gate();
    let request = EndTxnRequest {
        transactional_id: "x".to_owned(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        committed: true,
    };
    client.send(5, &request).await;
    let mut other = running.client().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(all_markers(&mut other).await, [vec![], vec![], vec![]]);
    running.open_gate();
    let (_, answer) = client.receive::<EndTxnRequest>(5).await;
    assert_eq!((answer.error_code, answer.producer_epoch), (0, producer.1 + 1));
    until_state(&mut client, "x", "CompleteCommit").await;
    let marker = vec![(producer.0, producer.1 + 1, true)];
    assert_eq!(all_markers(&mut client).await, [marker.clone(), marker.clone(), marker]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_before_a_crash_is_brought_to_its_end_after_it() {
    let running = start_with_bulk(options()).await;
    let mut client = running.client().await;
    // The other way round: decisions are durable at once, and markers held up.
    assert_eq!(client.create("__transaction_state", 3, &[("millstream.wal", "bulk")]).await, 0);
    assert_eq!(client.create("t", 3, &[]).await, 0);
    until_served(&mut client).await;
    let (id, epoch) = init(&mut client, "x").await;
    assert_eq!(add(&mut client, 3, "x", (id, epoch), &[0, 1]).await, [0, 0]);
    running.close_gate();
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Ok((id, epoch + 1)));
    let prepared = describe(&mut client, "x").await;
    assert_eq!((prepared.transaction_state.as_str(), prepared.producer_epoch), ("PrepareCommit", epoch + 1));
    let early = code(ErrorCode::ConcurrentTransactions);
    assert_eq!(add(&mut client, 3, "x", (id, epoch + 1), &[2]).await, [early]);
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Err(early));
    drop(client);
    running.broker.stop().await;
    let running = running.start_anew().await;
    let mut client = running.client().await;
    until_state(&mut client, "x", "CompleteCommit").await;
    let marker = vec![(id, epoch + 1, true)];
    assert_eq!(all_markers(&mut client).await, [marker.clone(), marker, vec![]]);
    assert_eq!(init(&mut client, "x").await, (id, epoch + 2));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_broker_that_is_gone_ends_when_its_partitions_are_taken_over() {
    let (running, mut client) = started(options()).await;
    let other = start_beside(&running).await;
    let mut beside = other.client().await;
    assert_eq!(beside.create("far", 2, &[]).await, 0);
    let (id, epoch) = init(&mut client, "x").await;
    let both = [topic("far", &[0, 1]), topic("t", &[2])];
    assert_eq!(ask(&mut client, &[asked("x", (id, epoch), false, &both)]).await, [[0; 3]]);
    // Who leads the one topic is gone before the end, and nobody has taken it over.
    other.broker.stop().await;
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Ok((id, epoch + 1)));
    let marker = vec![(id, epoch + 1, true)];
    while markers(&mut client, "t", 2).await != marker {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let prepared = describe(&mut client, "x").await;
    assert_eq!((prepared.transaction_state.as_str(), prepared.producer_epoch), ("PrepareCommit", epoch + 1));
    let early = code(ErrorCode::ConcurrentTransactions);
    assert_eq!(add(&mut client, 3, "x", (id, epoch + 1), &[1]).await, [early]);
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Err(early));
    drop(client);
    let running = running.restart().await;
    let mut client = running.client().await;
    until_state(&mut client, "x", "CompleteCommit").await;
    assert_eq!(markers(&mut client, "far", 0).await, marker);
    assert_eq!(markers(&mut client, "far", 1).await, marker);
    assert_eq!(markers(&mut client, "t", 2).await, marker, "sent again, written once");
    assert_eq!(init(&mut client, "x").await, (id, epoch + 2));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_brokers_partitions_have_their_markers_too() {
    let (running, mut client) = started(options()).await;
    let other = start_beside(&running).await;
    let mut beside = other.client().await;
    // Who makes a topic leads it. The coordinator asks the ledger where it has not heard of a topic yet.
    assert_eq!(beside.create("far", 2, &[]).await, 0);
    let producer = init(&mut client, "x").await;
    let both = [topic("far", &[0, 1]), topic("t", &[2])];
    assert_eq!(ask(&mut client, &[asked("x", producer, false, &both)]).await, [[0; 3]]);
    assert_eq!(end(&mut client, 5, "x", producer, true).await, Ok((producer.0, producer.1 + 1)));
    until_state(&mut client, "x", "CompleteCommit").await;
    let marker = [(producer.0, producer.1 + 1, true)];
    assert_eq!(markers(&mut beside, "far", 0).await, marker);
    assert_eq!(markers(&mut beside, "far", 1).await, marker);
    assert_eq!(markers(&mut client, "t", 2).await, marker);
    other.broker.stop().await;
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_told_which_partitions_are_in_a_transaction_and_add_them_all_or_none() {
    let (running, mut client) = started(options()).await;
    let producer = init(&mut client, "x").await;
    let other = init(&mut client, "y").await;
    assert_eq!(add(&mut client, 3, "x", producer, &[0]).await, [0]);
    let told = ask(
        &mut client,
        &[
            asked("x", producer, true, &[topic("t", &[0, 1])]),
            asked("x", other, true, &[topic("t", &[0])]),
            asked("x", (producer.0, producer.1 + 1), true, &[topic("t", &[0])]),
            asked("y", other, true, &[topic("t", &[0])]),
            asked("", other, true, &[topic("t", &[0])]),
            asked("y", other, false, &[topic("t", &[1, 7]), topic("none", &[0])]),
        ],
    )
    .await;
    let gone = code(ErrorCode::UnknownTopicOrPartition);
    let expected = [
        vec![0, code(ErrorCode::TransactionAbortable)],
        vec![code(ErrorCode::InvalidProducerIdMapping)],
        vec![code(ErrorCode::ProducerFenced)],
        vec![code(ErrorCode::TransactionAbortable)],
        vec![code(ErrorCode::InvalidRequest)],
        vec![gone, code(ErrorCode::OperationNotAttempted), gone],
    ];
    assert_eq!(told, expected);
    assert_eq!(describe(&mut client, "y").await.transaction_state, "Empty");

    let request = AddOffsetsToTxnRequest {
        transactional_id: "y".to_owned(),
        producer_id: other.0,
        producer_epoch: other.1,
        group_id: "g".to_owned(),
    };
    for version in 0..=4 {
        assert_eq!(client.call(version, &request).await.error_code, 0, "version {version}");
    }
    let described = describe(&mut client, "y").await;
    let (topic, partitions) = (&described.topics[0].topic, &described.topics[0].partitions);
    assert_eq!((topic.as_str(), partitions.len()), ("__consumer_offsets", 1));
    let fenced = AddOffsetsToTxnRequest { producer_epoch: other.1 + 1, ..request };
    assert_eq!(client.call(1, &fenced).await.error_code, code(ErrorCode::InvalidProducerEpoch));
    assert_eq!(client.call(2, &fenced).await.error_code, code(ErrorCode::ProducerFenced));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_gone_keeps_no_transaction_from_its_end() {
    let (running, mut client) = started(options()).await;
    let producer = init(&mut client, "x").await;
    assert_eq!(add(&mut client, 3, "x", producer, &[0, 1, 2]).await, [0; 3]);
    let request =
        DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 10_000, ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    assert_eq!(end(&mut client, 5, "x", producer, true).await, Ok((producer.0, producer.1 + 1)));
    until_state(&mut client, "x", "CompleteCommit").await;
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_what_there_is() {
    let (running, mut client) = started(options()).await;
    let open = init(&mut client, "a.open").await;
    assert_eq!(add(&mut client, 3, "a.open", open, &[0]).await, [0]);
    let idle = init(&mut client, "b").await;
    let described = describe(&mut client, "a.open").await;
    assert_eq!((described.producer_id, described.transaction_timeout_ms), (open.0, 60_000));
    assert!(described.transaction_start_time_ms > 0);
    let described = describe(&mut client, "b").await;
    assert_eq!((described.transaction_state.as_str(), described.transaction_start_time_ms), ("Empty", -1));
    assert_eq!(describe(&mut client, "c").await.error_code, code(ErrorCode::TransactionalIdNotFound));
    assert_eq!(describe(&mut client, "").await.error_code, code(ErrorCode::InvalidRequest));

    let all = ListTransactionsRequest { duration_filter: -1, ..ListTransactionsRequest::default() };
    let texts = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<String>>();
    let cases = [
        (all.clone(), vec!["a.open", "b"]),
        (ListTransactionsRequest { state_filters: texts(&["Ongoing", "Nothing"]), ..all.clone() }, vec!["a.open"]),
        (ListTransactionsRequest { producer_id_filters: vec![idle.0], ..all.clone() }, vec!["b"]),
        (
            ListTransactionsRequest { transactional_id_pattern: Some("a\\..*".to_owned()), ..all.clone() },
            vec!["a.open"],
        ),
        // Those that never began are the oldest, as in Kafka.
        (ListTransactionsRequest { duration_filter: 3_600_000, ..all.clone() }, vec!["b"]),
    ];
    for (request, ids) in cases {
        let answer = client.call(2, &request).await;
        let mut listed: Vec<&str> = answer.transaction_states.iter().map(|it| it.transactional_id.as_str()).collect();
        listed.sort_unstable();
        assert_eq!((answer.error_code, listed), (0, ids), "{request:?}");
        let unknown = if request.state_filters.is_empty() { vec![] } else { texts(&["Nothing"]) };
        assert_eq!(answer.unknown_state_filters, unknown);
    }
    let wrong = ListTransactionsRequest { transactional_id_pattern: Some("(".to_owned()), ..all };
    assert_eq!(client.call(2, &wrong).await.error_code, code(ErrorCode::InvalidRegularExpression));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_as_by_kafka() {
    let transactions = TransactionOptions { timeout_max: Duration::from_secs(60), ..TransactionOptions::default() };
    let (running, mut client) = started(BrokerOptions { transactions, ..options() }).await;
    let (id, epoch) = init(&mut client, "x").await;
    let cases = [
        (init_request("", 1000, (-1, -1)), ErrorCode::InvalidRequest, "an empty id"),
        (init_request("x", 1000, (id, -1)), ErrorCode::InvalidRequest, "half a producer"),
        (init_request("x", 0, (-1, -1)), ErrorCode::InvalidTransactionTimeout, "no time"),
        (init_request("x", 60_001, (-1, -1)), ErrorCode::InvalidTransactionTimeout, "too much time"),
        (init_request("x", 1000, (id + 1, epoch)), ErrorCode::ProducerFenced, "somebody else"),
    ];
    for (request, refused, what) in cases {
        assert_eq!(try_init(&mut client, 5, &request).await, Err(code(refused)), "{what}");
    }
    let unknown = code(ErrorCode::InvalidProducerIdMapping);
    assert_eq!(add(&mut client, 3, "nobody", (id, epoch), &[0]).await, [unknown]);
    assert_eq!(add(&mut client, 3, "x", (id + 1, epoch), &[0]).await, [unknown]);
    assert_eq!(add(&mut client, 3, "", (id, epoch), &[0]).await, [code(ErrorCode::InvalidRequest)]);
    let gone = [code(ErrorCode::OperationNotAttempted), code(ErrorCode::UnknownTopicOrPartition)];
    assert_eq!(add(&mut client, 3, "x", (id, epoch), &[0, 3]).await, gone);
    assert_eq!(end(&mut client, 5, "nobody", (id, epoch), true).await, Err(unknown));
    assert_eq!(end(&mut client, 5, "", (id, epoch), true).await, Err(code(ErrorCode::InvalidRequest)));
    let state = code(ErrorCode::InvalidTxnState);
    assert_eq!(end(&mut client, 5, "x", (id, epoch), true).await, Err(state), "nothing to commit");
    assert_eq!(end(&mut client, 4, "x", (id, epoch), false).await, Err(state), "nor to abort, for older clients");
    assert_eq!(end(&mut client, 5, "x", (id, epoch), false).await, Ok((id, epoch + 1)), "newer ones get an epoch");
    running.broker.stop().await;
}
