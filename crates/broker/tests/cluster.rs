//! What administrators ask of the cluster as a whole: what has settings, who leads, features, where partitions are to go.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use crate::support::{Client, start, start_beside};
use broker::BrokerOptions;
use protocol::error_code::ErrorCode;
use protocol::messages::add_raft_voter_request::AddRaftVoterRequest;
use protocol::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::describe_cluster_request::DescribeClusterRequest;
use protocol::messages::describe_quorum_request::{self as quorum, DescribeQuorumRequest};
use protocol::messages::elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use protocol::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use protocol::messages::unregister_broker_request::UnregisterBrokerRequest;
use protocol::messages::unregister_controller_request::UnregisterControllerRequest;
use protocol::messages::update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
use protocol::wire::Uuid;
use std::time::Duration;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

async fn set(client: &mut Client, resource_type: i8, resource_name: &str, name: &str, value: &str) {
    let config = AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.to_owned()) };
    let resource =
        AlterConfigsResource { resource_type, resource_name: resource_name.to_owned(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_settings_is_listed_by_type() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    for name in ["b", "a"] {
        assert_eq!(client.create(name, 1, &[]).await, 0);
    }
    set(&mut client, CLIENT_METRICS, "m", "interval.ms", "1000").await;
    set(&mut client, GROUP, "g", "consumer.session.timeout.ms", "50000").await;
    let own = running.broker.node_id().0.to_string();
    let ask = async |client: &mut Client, version, types: &[i8]| {
        let answer = client.call(version, &ListConfigResourcesRequest { resource_types: types.to_vec() }).await;
        let told = answer.config_resources.into_iter().map(|it| (it.resource_type, it.resource_name));
        (answer.error_code, told.collect::<Vec<_>>())
    };
    let of = |kind: i8, name: &str| (kind, name.to_owned());
    assert_eq!(ask(&mut client, 0, &[]).await, (0, vec![of(CLIENT_METRICS, "m")]), "all that version 0 has");
    let all = [of(GROUP, "g"), of(CLIENT_METRICS, "m"), of(BROKER_LOGGER, &own), of(BROKER, &own)];
    let all = [&all[..], &[of(TOPIC, "a"), of(TOPIC, "b")]].concat();
    assert_eq!(ask(&mut client, 1, &[]).await, (0, all));
    let some = vec![of(GROUP, "g"), of(TOPIC, "a"), of(TOPIC, "b")];
    assert_eq!(ask(&mut client, 1, &[TOPIC, GROUP, TOPIC]).await, (0, some));
    assert_eq!(ask(&mut client, 1, &[TOPIC, 3]).await, (ErrorCode::UnsupportedVersion.number(), vec![]));
    running.broker.stop().await;
}

fn of_topic(topic: &str, partitions: &[i32]) -> TopicPartitions {
    TopicPartitions { topic: topic.to_owned(), partitions: partitions.to_vec() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_led_needs_no_election() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    for name in ["a", "b"] {
        assert_eq!(client.create(name, 2, &[]).await, 0);
    }
    for (version, election_type) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)] {
        let ask = |topic_partitions| ElectLeadersRequest { election_type, topic_partitions, timeout_ms: 1000 };
        let asked = vec![of_topic("b", &[1, 2]), of_topic("nope", &[0])];
        let answer = client.call(version, &ask(Some(asked))).await;
        let told: Vec<_> = answer
            .replica_election_results
            .iter()
            .flat_map(|topic| topic.partition_result.iter().map(|it| (topic.topic.as_str(), it)))
            .map(|(topic, it)| (topic, it.partition_id, it.error_code, it.error_message.as_deref().unwrap()))
            .collect();
        let expected = [
            ("b", 1, 84, "Leader election not needed for topic partition."),
            ("b", 2, 3, "No such partition as b-2"),
            ("nope", 0, 3, "No such topic as nope"),
        ];
        assert_eq!((answer.error_code, told), (0, expected.to_vec()));
        let all = client.call(version, &ask(None)).await;
        let told = all.replica_election_results.iter().map(|it| (it.topic.as_str(), it.partition_result.len()));
        assert_eq!(told.collect::<Vec<_>>(), [("a", 0), ("b", 0)], "only those that it is needed for");
    }
    let odd = |topic_partitions| ElectLeadersRequest { election_type: 5, topic_partitions, timeout_ms: 1000 };
    let answer = client.call(2, &odd(Some(vec![of_topic("a", &[0])]))).await;
    let invalid = ErrorCode::InvalidRequest.number();
    let one = &answer.replica_election_results[0].partition_result[0];
    assert_eq!((answer.error_code, one.error_code), (invalid, invalid));
    assert_eq!(one.error_message.as_deref(), Some("Unknown election type 5"));
    let answer = client.call(2, &odd(None)).await;
    assert_eq!((answer.error_code, answer.replica_election_results.len()), (invalid, 0));
    running.broker.stop().await;
}

fn about(topic: &str, partitions: &[i32]) -> DescribeQuorumRequest {
    let partitions = partitions.iter().map(|it| quorum::PartitionData { partition_index: *it }).collect();
    DescribeQuorumRequest { topics: vec![quorum::TopicData { topic_name: topic.to_owned(), partitions }] }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_told_as_kafkas_log_of_metadata() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let own = running.broker.node_id().0;
    let controller = client.call(2, &DescribeClusterRequest { endpoint_type: 1, ..Default::default() }).await;
    for version in 0..=2 {
        let answer = client.call(version, &about("__cluster_metadata", &[0])).await;
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (0, Some("")));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.error_message.as_deref()), (0, Some("")));
        assert_eq!((partition.leader_id, controller.controller_id), (own, own));
        let image = running.store.ledger().image();
        assert_eq!(partition.leader_epoch, i32::try_from(image.leader.epoch.0).unwrap());
        assert_eq!(partition.high_watermark, i64::try_from(image.seq.0).unwrap() + 1);
        assert_eq!((partition.current_voters.len(), partition.observers.len()), (1, 0));
        let voter = &partition.current_voters[0];
        assert_eq!((voter.replica_id, voter.log_end_offset), (own, partition.high_watermark));
        let is_timed = voter.last_fetch_timestamp > 0 && voter.last_caught_up_timestamp > 0;
        assert_eq!(is_timed, version >= 1);
        let port: u16 = running.address.rsplit(':').next().unwrap().parse().unwrap();
        let nodes: Vec<_> = answer.nodes.iter().map(|node| (node.node_id, node.listeners[0].port)).collect();
        assert_eq!(nodes, if version >= 2 { vec![(own, port)] } else { vec![] });
    }
    let before = running.store.ledger().image().seq;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let answer = client.call(2, &about("__cluster_metadata", &[0])).await;
    assert!(answer.topics[0].partitions[0].high_watermark > i64::try_from(before.0).unwrap() + 1, "it has grown");
    for other in [about("t", &[0]), about("__cluster_metadata", &[1]), about("__cluster_metadata", &[0, 1])] {
        let answer = client.call(2, &other).await;
        assert_eq!(answer.topics[0].partitions.len(), other.topics[0].partitions.len());
        let told = &answer.topics[0].partitions[0];
        assert_eq!(
            (told.error_code, told.error_message.as_deref()),
            (3, Some("This server does not host this topic-partition."))
        );
    }
    running.broker.stop().await;
}

fn feature(feature: &str, max_version_level: i16, upgrade_type: i8) -> FeatureUpdateKey {
    FeatureUpdateKey { feature: feature.to_owned(), max_version_level, allow_downgrade: false, upgrade_type }
}

#[tokio::test(flavor = "multi_thread")]
async fn features_stay_as_they_are() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let software = || "test".to_owned();
    let versions = ApiVersionsRequest {
        client_software_name: software(),
        client_software_version: software(),
        ..ApiVersionsRequest::default()
    };
    let level = client.call(3, &versions).await.finalized_features[0].max_version_level;
    let ask = |updates: &[FeatureUpdateKey], validate_only| UpdateFeaturesRequest {
        timeout_ms: 1000,
        feature_updates: updates.to_vec(),
        validate_only,
    };
    let same = [feature("metadata.version", level, 1), feature("eligible.leader.replicas.version", 0, 1)];
    for version in 0..=2 {
        let answer = client.call(version, &ask(&same, version > 0)).await;
        assert_eq!((answer.error_code, answer.error_message), (0, None));
        assert_eq!(answer.results.len(), if version <= 1 { 2 } else { 0 });
    }
    let own = running.broker.node_id().0;
    let cases = [
        (feature("metadata.version", level + 1, 1), format!("Local controller {own} only supports versions 7-{level}")),
        (feature("metadata.version", 6, 3), format!("Local controller {own} only supports versions 7-{level}")),
        (feature("metadata.version", -1, 1), "A feature version cannot be less than 0.".to_owned()),
        (feature("metadata.version", level, 9), "The controller does not support the given upgrade type.".to_owned()),
        (
            feature("metadata.version", level - 1, 1),
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
                .to_owned(),
        ),
        (
            feature("metadata.version", level - 1, 2),
            "It is fixed: all brokers of a cluster have the same.".to_owned(),
        ),
        (feature("eligible.leader.replicas.version", 1, 1), format!("Local controller {own} does not support this feature.")),
        (feature("nope", 0, 1), "Feature nope not found.".to_owned()),
    ];
    for (update, why) in cases {
        let answer = client.call(2, &ask(&[same[0].clone(), update.clone()], true)).await;
        let text = format!(
            "The update failed for all features since the following feature had an error: Invalid update version {} for feature {}. {why}",
            update.max_version_level, update.feature
        );
        assert_eq!((answer.error_code, answer.error_message), (ErrorCode::InvalidUpdateVersion.number(), Some(text)));
    }
    running.broker.stop().await;
}

fn moved(topic: &str, partition_index: i32, replicas: Option<&[i32]>) -> ReassignableTopic {
    let replicas = replicas.map(<[i32]>::to_vec);
    ReassignableTopic { name: topic.to_owned(), partitions: vec![ReassignablePartition { partition_index, replicas }] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_may_be_assigned_to_whom_it_belongs_to_already() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    assert_eq!(client.create("t", 1, &[]).await, 0);
    let own = running.broker.node_id().0;
    let ask = async |client: &mut Client, version, topics: Vec<ReassignableTopic>, allow| {
        let allow_replication_factor_change = allow;
        let request = AlterPartitionReassignmentsRequest { timeout_ms: 1000, allow_replication_factor_change, topics };
        let answer = client.call(version, &request).await;
        assert_eq!((answer.error_code, answer.error_message), (0, None));
        let partition = answer.responses[0].partitions[0].clone();
        (partition.error_code, partition.error_message)
    };
    for version in 0..=1 {
        assert_eq!(ask(&mut client, version, vec![moved("t", 0, Some(&[own]))], true).await, (0, None));
        let none = ErrorCode::NoReassignmentInProgress.number();
        assert_eq!(ask(&mut client, version, vec![moved("t", 0, None)], true).await, (none, None));
        let refused: [(ReassignableTopic, ErrorCode, &str); 5] = [
            (moved("nope", 0, None), ErrorCode::UnknownTopicOrPartition, "Unable to find a topic named nope."),
            (moved("t", 1, None), ErrorCode::UnknownTopicOrPartition, "Unable to find partition t:1."),
            (
                moved("t", 0, Some(&[])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes an empty replica list.",
            ),
            (
                moved("t", 0, Some(&[own, 999])),
                ErrorCode::InvalidReplicaAssignment,
                "The manual partition assignment includes broker 999, but no such broker is registered.",
            ),
            (
                moved("t", 0, Some(&[own, own])),
                ErrorCode::InvalidReplicaAssignment,
                &format!("The manual partition assignment includes the broker {own} more than once."),
            ),
        ];
        for (asked, code, why) in refused {
            let told = ask(&mut client, version, vec![asked], true).await;
            assert_eq!(told, (code.number(), Some(why.to_owned())));
        }
    }
    let listed = client.call(0, &ListPartitionReassignmentsRequest { timeout_ms: 1000, topics: None }).await;
    assert_eq!((listed.error_code, listed.error_message, listed.topics.len()), (0, None, 0));
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_dead_is_forgotten_and_no_other() {
    let running = start(BrokerOptions::default()).await;
    let beside = start_beside(&running).await;
    let mut client = running.client().await;
    let (own, other) = (running.broker.node_id().0, beside.broker.node_id().0);
    let unregister = async |client: &mut Client, broker_id: i32| {
        let answer = client.call(0, &UnregisterBrokerRequest { broker_id }).await;
        (answer.error_code, answer.error_message.unwrap_or_default())
    };
    let known = async |client: &mut Client| {
        let request = DescribeClusterRequest { include_fenced_brokers: true, ..DescribeClusterRequest::default() };
        let answer = client.call(2, &request).await;
        answer.brokers.iter().map(|it| (it.broker_id, it.is_fenced)).collect::<Vec<_>>()
    };
    let unknown = (ErrorCode::BrokerIdNotRegistered.number(), "Broker ID 77 is not currently registered".to_owned());
    assert_eq!(unregister(&mut client, 77).await, unknown);
    for living in [own, other] {
        let (code, why) = unregister(&mut client, living).await;
        assert_eq!((code, why.as_str()), (42, format!("broker {living} is there: stop it first").as_str()));
    }
    beside.broker.stop().await;
    beside.store.drain(Duration::from_secs(10)).await;
    while unregister(&mut client, other).await.0 == 42 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(known(&mut client).await, [(own, false)]);
    assert_eq!(unregister(&mut client, other).await.0, ErrorCode::BrokerIdNotRegistered.number());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_voters_and_controllers_to_be_chosen() {
    let running = start(BrokerOptions::default()).await;
    let mut client = running.client().await;
    let own = client.call(2, &DescribeClusterRequest::default()).await.cluster_id;
    let directory = Uuid(7);
    let wrong = ErrorCode::InconsistentClusterId.number();
    let cases = [
        (
            Some("other".to_owned()),
            1,
            directory,
            wrong,
            format!("The given id \"other\" doesn't match the cluster id \"{own}\""),
        ),
        (Some("other".to_owned()), -1, directory, wrong, "doesn't match the cluster id".to_owned()),
        (Some(own.clone()), -1, directory, 42, "voter request didn't include a valid voter".to_owned()),
        (None, 1, Uuid::ZERO, 42, "voter request didn't include a valid voter".to_owned()),
        (Some(own), 1, directory, 35, "voter because the kraft.version feature is 0".to_owned()),
        (None, 1, directory, 35, "each broker that is started may lead".to_owned()),
    ];
    for (cluster_id, voter_id, voter_directory_id, code, words) in cases {
        let add = AddRaftVoterRequest {
            cluster_id: cluster_id.clone(),
            voter_id,
            voter_directory_id,
            ..AddRaftVoterRequest::default()
        };
        let remove = RemoveRaftVoterRequest { cluster_id, voter_id, voter_directory_id };
        let mut told = Vec::new();
        for version in 0..=1 {
            let answer = client.call(version, &add).await;
            told.push((answer.error_code, answer.error_message.unwrap()));
        }
        let answer = client.call(0, &remove).await;
        told.push((answer.error_code, answer.error_message.unwrap()));
        for (told, said) in told {
            assert_eq!(told, code, "{said}");
            assert!(said.contains(&words), "{said}");
        }
    }
    let active = UnregisterControllerRequest { controller_id: running.broker.node_id().0 };
    assert_eq!(client.call(0, &active).await.error_code, 42);
    for controller_id in [-1, 77] {
        let answer = client.call(0, &UnregisterControllerRequest { controller_id }).await;
        assert_eq!(answer.error_code, ErrorCode::ControllerIdNotRegistered.number());
        let words = format!("Controller ID {controller_id} is not currently registered");
        assert!(answer.error_message.unwrap().starts_with(&words));
    }
    running.broker.stop().await;
}
