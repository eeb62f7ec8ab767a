//! What administrators ask: more partitions, who is there, where partitions are, how large they are, where leader epochs end.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, batch, metadata_request, start, start_beside};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_cluster_request::DescribeClusterRequest;
use protocol::messages::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use protocol::messages::describe_topic_partitions_request::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};
use protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponse;
use protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use protocol::wire::Uuid;

fn more(name: &str, count: i32, assigned: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.to_vec() };
    CreatePartitionsTopic {
        name: name.to_owned(),
        count,
        assignments: assigned.map(|assigned| assigned.iter().map(assignment).collect()),
    }
}

fn request(topics: Vec<CreatePartitionsTopic>) -> CreatePartitionsRequest {
    CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: false }
}

async fn partitions(client: &mut Client, topic: &str) -> usize {
    client.call(12, &metadata_request(topic)).await.topics[0].partitions.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_more_partitions_and_they_can_be_written_at_once() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    for version in 0..=3 {
        let count = i32::from(version) + 2;
        let validate = CreatePartitionsRequest { validate_only: true, ..request(vec![more("t", count, None)]) };
        assert_eq!(client.call(version, &validate).await.results[0].error_code, 0);
        assert_eq!(partitions(&mut client, "t").await, usize::try_from(count - 1).unwrap(), "only validated");
        let answer = client.call(version, &request(vec![more("t", count, None)])).await;
        assert_eq!((answer.results[0].error_code, &answer.results[0].error_message), (0, &None));
        assert_eq!(partitions(&mut client, "t").await, usize::try_from(count).unwrap());
    }
    let own = running.broker.node_id().0;
    let answer = client.call(3, &request(vec![more("t", 6, Some(&[&[own]]))])).await;
    assert_eq!(answer.results[0].error_code, 0);
    let image = running.store.ledger().image();
    for id in &image.topic("t").unwrap().partitions {
        assert!(running.store.stream(*id).is_some(), "served by the broker that made it");
    }
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_grow_is_refused_in_kafkas_words() {
    let running = start(BrokerOptions { topic_partitions_max: 10, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 3, &[]).await, 0);
    let own = running.broker.node_id().0;
    let (own, both, twice): (&[i32], &[i32], &[i32]) = (&[own], &[own, 999], &[own, own]);
    let cases: [(CreatePartitionsTopic, ErrorCode, &str); 9] = [
        (more("t", 3, None), ErrorCode::InvalidPartitions, "Topic already has 3 partition(s)."),
        (
            more("t", 1, None),
            ErrorCode::InvalidPartitions,
            "The topic t currently has 3 partition(s); 1 would not be an increase.",
        ),
        (
            more("t", -1, None),
            ErrorCode::InvalidPartitions,
            "The topic t currently has 3 partition(s); -1 would not be an increase.",
        ),
        (
            more("t", 5, Some(&[own])),
            ErrorCode::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            more("t", 4, Some(&[&[]])),
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            more("t", 4, Some(&[both])),
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 999, but no such broker is registered.",
        ),
        (
            more("t", 4, Some(&[twice])),
            ErrorCode::InvalidReplicaAssignment,
            &format!("The manual partition assignment includes the broker {} more than once.", own[0]),
        ),
        (more("nope", 4, None), ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition."),
        (more("t", 14, None), ErrorCode::PolicyViolation, "one request may create at most 10 partitions"),
    ];
    for (asked, code, message) in cases {
        let result = client.call(3, &request(vec![asked])).await.results.remove(0);
        assert_eq!((result.error_code, result.error_message.as_deref()), (code.number(), Some(message)));
    }
    let doubled = client.call(3, &request(vec![more("t", 4, None), more("t", 5, None)])).await.results;
    assert_eq!((doubled.len(), doubled[0].error_code), (1, ErrorCode::InvalidRequest.number()));
    assert_eq!(partitions(&mut client, "t").await, 3, "nothing of all that was done");
    running.broker.stop().await;
}

/// Each of them is told whether it was the one that made the topic grow.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cross_each_other_do_not_add_up() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let ask = async || {
        let mut client = running.client().await;
        client.call(3, &request(vec![more("t", 4, None)])).await.results[0].error_code
    };
    let answers = futures::future::join_all((0..8).map(|_| ask())).await;
    assert_eq!(answers.iter().filter(|code| **code == 0).count(), 1, "{answers:?}");
    assert_eq!(partitions(&mut client, "t").await, 4);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_described_in_every_version_to_who_asks_for_brokers() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let port: i32 = running.address.rsplit(':').next().unwrap().parse().unwrap();
    for version in 0..=2 {
        let ask = |endpoint_type, operations| DescribeClusterRequest {
            include_cluster_authorized_operations: operations,
            endpoint_type,
            include_fenced_brokers: version >= 2,
        };
        let answer = client.call(version, &ask(1, true)).await;
        assert_eq!((answer.error_code, answer.cluster_authorized_operations), (0, 8096));
        assert_eq!(answer.brokers.len(), 1);
        let it = &answer.brokers[0];
        assert_eq!((it.broker_id, it.port, it.is_fenced), (running.broker.node_id().0, port, false));
        assert_eq!((answer.controller_id, it.host.as_str()), (it.broker_id, "127.0.0.1"));
        let metadata = client.call(12, &metadata_request("t")).await;
        assert_eq!(Some(answer.cluster_id), metadata.cluster_id);
        assert_eq!(client.call(version, &ask(1, false)).await.cluster_authorized_operations, i32::MIN);
        if version >= 1 {
            let controllers = client.call(version, &ask(2, false)).await;
            assert_eq!(controllers.error_code, ErrorCode::MismatchedEndpointType.number());
            assert!(controllers.error_message.unwrap().contains("BROKER"));
            let odd = client.call(version, &ask(7, false)).await;
            assert_eq!(odd.error_code, ErrorCode::UnsupportedEndpointType.number());
        }
    }
    running.broker.stop().await;
}

/// Names, partition numbers, and where the next page begins.
type Page = (Vec<(String, Vec<i32>)>, Option<(String, i32)>);

fn page(answer: DescribeTopicPartitionsResponse) -> Page {
    let topics = answer.topics.into_iter().map(|topic| {
        assert_eq!((topic.error_code, topic.topic_authorized_operations), (0, 3576));
        (topic.name.unwrap(), topic.partitions.iter().map(|it| it.partition_index).collect())
    });
    (topics.collect(), answer.next_cursor.map(|it| (it.topic_name, it.partition_index)))
}

fn topics_from(names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name: (*name).to_owned() }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, partition_index)| Cursor { topic_name: name.to_owned(), partition_index }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_described_page_by_page() {
    let running = start(BrokerOptions { described_partitions_max: 4, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    for (name, count) in [("b", 3), ("a", 2), ("c", 1)] {
        assert_eq!(client.create(name, count, &[]).await, 0);
    }
    let row = |name: &str, numbers: &[i32]| (name.to_owned(), numbers.to_vec());
    let next = |name: &str, number| Some((name.to_owned(), number));
    /// Topics that are asked for, the limit, the cursor, and what is told.
    type Case<'a> = (&'a [&'a str], i32, Option<(&'a str, i32)>, Page);
    let expected: [Case<'_>; 8] = [
        (&[], 100, None, (vec![row("a", &[0, 1]), row("b", &[0, 1])], next("b", 2))),
        (&[], 100, Some(("b", 2)), (vec![row("b", &[2]), row("c", &[0])], None)),
        (&[], 2, None, (vec![row("a", &[0, 1])], next("b", 0))),
        (&[], 0, None, (vec![row("a", &[0])], next("a", 1))),
        (&["c", "a"], 100, None, (vec![row("a", &[0, 1]), row("c", &[0])], None)),
        (&["c", "b"], 100, Some(("b", 9)), (vec![row("b", &[]), row("c", &[0])], None)),
        (&["c", "b", "a"], 1, Some(("b", i32::MAX)), (vec![row("b", &[]), row("c", &[0])], None)),
        (&[], 100, Some(("bb", 1)), (vec![row("c", &[0])], None)),
    ];
    for (names, limit, cursor, expected) in expected {
        let answer = client.call(0, &topics_from(names, limit, cursor)).await;
        assert_eq!(page(answer), expected, "{names:?} {limit} {cursor:?}");
    }
    let codes = async |client: &mut Client, names: &[&str], cursor| {
        let answer = client.call(0, &topics_from(names, 100, cursor)).await;
        answer.topics.iter().map(|it| (it.error_code, it.topic_authorized_operations)).collect::<Vec<_>>()
    };
    let (unknown, invalid) = (ErrorCode::UnknownTopicOrPartition.number(), ErrorCode::InvalidRequest.number());
    let odd_name = ErrorCode::InvalidTopicException.number();
    let told = [(odd_name, 3576), (0, 3576), (unknown, 3576), (odd_name, 3576)];
    assert_eq!(codes(&mut client, &["a", "", "nope", "z/z"], None).await, told);
    assert_eq!(codes(&mut client, &["a", "b"], Some(("c", 0))).await, [(invalid, i32::MIN), (invalid, i32::MIN)]);
    assert_eq!(codes(&mut client, &["a"], Some(("a", -1))).await, [(invalid, i32::MIN)]);
    running.broker.stop().await;
}

/// What all partitions have, of the topics that are told.
async fn sizes(client: &mut Client, version: i16, asked: Option<&[(&str, &[i32])]>) -> Vec<(String, Vec<(i32, i64)>)> {
    let topic = |(topic, partitions): &(&str, &[i32])| DescribableLogDirTopic {
        topic: (*topic).to_owned(),
        partitions: partitions.to_vec(),
    };
    let topics = asked.map(|asked| asked.iter().map(topic).collect());
    let answer = client.call(version, &DescribeLogDirsRequest { topics }).await;
    assert_eq!((answer.error_code, answer.results.len(), answer.results[0].error_code), (0, 1, 0));
    let dir = answer.results.into_iter().next().unwrap();
    assert!(dir.log_dir.contains("bucket"), "{}", dir.log_dir);
    assert_eq!((dir.total_bytes, dir.usable_bytes, dir.is_cordoned), (-1, -1, false));
    let of = |topic: protocol::messages::describe_log_dirs_response::DescribeLogDirsTopic| {
        let sizes = topic.partitions.iter().map(|it| (it.partition_index, it.partition_size));
        (topic.name, sizes.collect())
    };
    dir.topics.into_iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_one_log_dir_and_partitions_are_as_large_as_what_was_written() {
    let mut running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    assert_eq!(client.create("u", 1, &[]).await, 0);
    let mut written = 0;
    for _ in 0..3 {
        let batch = batch(&[(1_700_000_000_000, &"x".repeat(40_000))]);
        written += i64::try_from(batch.len()).unwrap();
        assert_eq!(client.produce("t", batch).await.error_code, 0);
        let all = [("t".to_owned(), vec![(0, written), (1, 0)]), ("u".to_owned(), vec![(0, 0)])];
        for version in 0..=5 {
            let mut sizes = sizes(&mut client, version, None).await;
            sizes.sort();
            assert_eq!(sizes, all);
        }
        let some: &[(&str, &[i32])] = &[("t", &[1, 7]), ("u", &[]), ("nope", &[0])];
        assert_eq!(sizes(&mut client, 4, Some(some)).await, [("t".to_owned(), vec![(1, 0)])]);
        // Once in the log and once in objects.
        running = running.restart().await;
        client = running.client().await;
    }
    assert_eq!(sizes(&mut client, 4, Some(&[("t", &[0])])).await, [("t".to_owned(), vec![(0, written)])]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_in_the_one_log_dir_already_and_no_other_is_known() {
    let running = start(BrokerOptions::default()).await;
    let beside = start_beside(&running).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 2, &[]).await, 0);
    let there = client.call(4, &DescribeLogDirsRequest { topics: None }).await.results[0].log_dir.clone();
    let moved = |path: &str, topic: &str, partitions: &[i32]| AlterReplicaLogDir {
        path: path.to_owned(),
        topics: vec![AlterReplicaLogDirTopic { name: topic.to_owned(), partitions: partitions.to_vec() }],
    };
    let elsewhere = format!("{there}/");
    let dirs = vec![
        moved(&elsewhere, "t", &[0, 1, 7]),
        moved(&there, "t", &[1, 0, 2, -1]),
        moved(&there, "u", &[0, 0]),
        moved("/d", "u", &[1]),
        moved("", "t", &[1]),
    ];
    let unknown = ErrorCode::UnknownTopicOrPartition.number();
    let no_dir = ErrorCode::LogDirNotFound.number();
    // A dir is looked at before the partition; of several dirs the last one counts.
    let of_t = vec![(-1, unknown), (0, 0), (1, no_dir), (2, unknown), (7, no_dir)];
    let expected = vec![("t".to_owned(), of_t), ("u".to_owned(), vec![(0, unknown), (1, no_dir)])];
    let asked = AlterReplicaLogDirsRequest { dirs };
    for version in 0..=2 {
        let answer = client.call(version, &asked).await;
        let told = answer.results.into_iter().map(|topic| {
            let codes = topic.partitions.iter().map(|it| (it.partition_index, it.error_code)).collect();
            (topic.topic_name, codes)
        });
        let told: Vec<(String, Vec<(i32, i16)>)> = told.collect();
        assert_eq!(told, expected, "version {version}");
    }
    // The broker beside has the same dir, and not these partitions.
    let mut other = beside.client().await;
    let asked = AlterReplicaLogDirsRequest { dirs: vec![moved(&there, "t", &[0])] };
    let no_replica = ErrorCode::ReplicaNotAvailable.number();
    for _ in 0..500 {
        let code = other.call(2, &asked).await.results[0].partitions[0].error_code;
        // It may not know of the topic yet.
        if code != unknown {
            assert_eq!(code, no_replica);
            beside.broker.stop().await;
            running.broker.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the broker beside never heard of the topic");
}

/// Code, epoch and end for each partition and epoch that is asked for.
async fn epoch_ends(client: &mut Client, version: i16, asked: &[(i32, i32, i32)]) -> Vec<(i16, i32, i64)> {
    let partition = |(partition, current_leader_epoch, leader_epoch): &(i32, i32, i32)| OffsetForLeaderPartition {
        partition: *partition,
        current_leader_epoch: if version < 2 { -1 } else { *current_leader_epoch },
        leader_epoch: *leader_epoch,
    };
    let topics =
        vec![OffsetForLeaderTopic { topic: "t".to_owned(), partitions: asked.iter().map(partition).collect() }];
    let request = OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
    let answer = client.call(version, &request).await;
    answer.topics[0].partitions.iter().map(|it| (it.error_code, it.leader_epoch, it.end_offset)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_epoch_ends_where_the_next_one_with_records_begins() {
    let mut running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let mut epochs = Vec::new();
    for records in [2, 0, 3] {
        epochs.push(client.call(12, &metadata_request("t")).await.topics[0].partitions[0].leader_epoch);
        for _ in 0..records {
            assert_eq!(client.produce("t", batch(&[(1_700_000_000_000, "x")])).await.error_code, 0);
        }
        running = running.restart().await;
        client = running.client().await;
    }
    let now = client.call(12, &metadata_request("t")).await.topics[0].partitions[0].leader_epoch;
    let [first, empty, third] = epochs[..] else { unreachable!("three starts") };
    let before = first - 1;
    for version in 1..=4 {
        let asked = [before, first, empty, third, now, now + 1, -1].map(|epoch| (0, now, epoch));
        let of_before = if before == -1 { (0, -1, -1) } else { (0, before, 0) };
        let expected = [of_before, (0, first, 2), (0, first, 2), (0, third, 5), (0, now, 5), (0, -1, -1), (0, -1, -1)];
        assert_eq!(epoch_ends(&mut client, version, &asked).await, expected, "version {version}");
    }
    let (fenced, ahead) = (ErrorCode::FencedLeaderEpoch.number(), ErrorCode::UnknownLeaderEpoch.number());
    let unknown = ErrorCode::UnknownTopicOrPartition.number();
    let refused = epoch_ends(&mut client, 4, &[(0, third, third), (0, now + 1, third), (9, -1, third)]).await;
    assert_eq!(refused, [(fenced, -1, -1), (ahead, -1, -1), (unknown, -1, -1)]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tells_what_may_be_done_and_takes_ids_in_the_versions_that_have_them() {
    let running = start(BrokerOptions { offsets_topic_partitions: 2, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    for version in 8..=13 {
        let operations = MetadataRequest {
            include_topic_authorized_operations: true,
            include_cluster_authorized_operations: version <= 10,
            ..metadata_request("t")
        };
        let answer = client.call(version, &operations).await;
        assert_eq!(answer.topics[0].topic_authorized_operations, 3576);
        assert_eq!(answer.cluster_authorized_operations, if version <= 10 { 8096 } else { i32::MIN });
        let plain = client.call(version, &metadata_request("t")).await;
        assert_eq!(
            (plain.topics[0].topic_authorized_operations, plain.cluster_authorized_operations),
            (i32::MIN, i32::MIN)
        );
    }
    let id = client.call(12, &metadata_request("t")).await.topics[0].topic_id;
    let by_id = |ids: &[Uuid]| {
        let topic = |id: &Uuid| MetadataRequestTopic { topic_id: *id, name: None };
        MetadataRequest { topics: Some(ids.iter().map(topic).collect()), ..MetadataRequest::default() }
    };
    let answer = client.call(12, &by_id(&[id, Uuid(7)])).await.topics;
    assert_eq!((answer[0].error_code, answer[0].name.as_deref()), (0, Some("t")));
    let unknown = ErrorCode::UnknownTopicId.number();
    assert_eq!((answer[1].error_code, answer[1].topic_id), (unknown, Uuid(7)));
    let mut mixed = MetadataRequest { include_topic_authorized_operations: true, ..metadata_request("t") };
    mixed.topics.as_mut().unwrap().extend(by_id(&[Uuid(7)]).topics.unwrap());
    let answer = client.call(13, &mixed).await.topics;
    let told: Vec<_> = answer.iter().map(|it| (it.topic_id, it.error_code, it.topic_authorized_operations)).collect();
    assert_eq!(told, [(Uuid(7), unknown, i32::MIN)], "who asks for ids is told of them alone");
    let mut too_early = MetadataRequest { include_topic_authorized_operations: true, ..metadata_request("t") };
    too_early.topics.as_mut().unwrap().push(MetadataRequestTopic { topic_id: id, name: Some("t".to_owned()) });
    let answer = client.call(11, &too_early).await.topics;
    let told: Vec<_> = answer.iter().map(|it| (it.error_code, it.topic_authorized_operations)).collect();
    assert_eq!(told, [(ErrorCode::InvalidRequest.number(), i32::MIN); 2]);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_brokers_own_topics_first_use_makes_those_of_coordinators_and_no_other() {
    let running = start(BrokerOptions { offsets_topic_partitions: 2, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let absent = &client.call(12, &metadata_request("__share_group_state")).await.topics[0];
    assert_eq!((absent.error_code, absent.is_internal), (ErrorCode::UnknownTopicOrPartition.number(), true));
    let making = &client.call(12, &metadata_request("__consumer_offsets")).await.topics[0];
    assert_eq!((making.error_code, making.is_internal), (ErrorCode::UnknownTopicOrPartition.number(), true));
    assert_eq!(client.create("__cluster_metadata", 1, &[]).await, ErrorCode::InvalidRequest.number());
    let absent = &client.call(12, &metadata_request("__cluster_metadata")).await.topics[0];
    assert_eq!(absent.error_code, ErrorCode::UnknownTopicOrPartition.number());
    let made = &client.call(12, &metadata_request("__consumer_offsets")).await.topics[0];
    assert_eq!((made.error_code, made.is_internal, made.partitions.len()), (0, true, 2));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_deleted_by_id_and_what_is_named_twice_stays() {
    let running = start(BrokerOptions { auto_create_topics: false, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        assert_eq!(client.create(name, 1, &[]).await, 0);
        ids.push(client.call(12, &metadata_request(name)).await.topics[0].topic_id);
    }
    let by_name = |name: &str| DeleteTopicState { name: Some(name.to_owned()), topic_id: Uuid::ZERO };
    let by_id = |topic_id: Uuid| DeleteTopicState { name: None, topic_id };
    let both = DeleteTopicState { name: Some("c".to_owned()), topic_id: ids[2] };
    let asked = [by_name("a"), by_id(ids[0]), by_id(ids[1]), by_id(Uuid(7)), both, by_id(Uuid::ZERO)];
    let request = DeleteTopicsRequest { topics: asked.to_vec(), timeout_ms: 10_000, ..DeleteTopicsRequest::default() };
    let answer = client.call(6, &request).await.responses;
    let codes: Vec<i16> = answer.iter().map(|it| it.error_code).collect();
    let (invalid, unknown) = (ErrorCode::InvalidRequest.number(), ErrorCode::UnknownTopicId.number());
    assert_eq!(codes, [invalid, invalid, 0, unknown, invalid, invalid]);
    assert_eq!((answer[2].name.as_deref(), answer[2].topic_id), (Some("b"), ids[1]));
    let image = running.store.ledger().image();
    assert!(image.topic("a").is_some() && image.topic("b").is_none() && image.topic("c").is_some());
    running.broker.stop().await;
}

#[tokio::test]
async fn the_clusters_partitions_are_bounded_however_they_are_asked_for() {
    let running = start(BrokerOptions { cluster_partitions_max: 10, ..BrokerOptions::default() }).await;
    let mut client = running.client().await;
    let policy = ErrorCode::PolicyViolation.number();
    assert_eq!(client.create("a", 8, &[]).await, 0);
    assert_eq!(client.create("b", 3, &[]).await, policy);
    let more = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: "a".to_owned(), count, assignments: None }],
        timeout_ms: 10_000,
        ..CreatePartitionsRequest::default()
    };
    let refused = client.call(3, &more(11)).await.results.remove(0);
    assert_eq!(refused.error_code, policy);
    assert!(refused.error_message.unwrap().contains("--memory"));
    assert_eq!(client.call(3, &more(9)).await.results[0].error_code, 0);
    let making = client.call(9, &metadata_request("first")).await.topics[0].error_code;
    assert_eq!(making, ErrorCode::UnknownTopicOrPartition.number());
    assert_eq!(client.call(9, &metadata_request("first")).await.topics[0].error_code, 0);
    assert_eq!(client.call(9, &metadata_request("second")).await.topics[0].error_code, policy);
    running.broker.stop().await;
}
