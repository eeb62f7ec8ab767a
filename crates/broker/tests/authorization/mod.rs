//! What callers may not do is refused by every API, with Kafka's code at Kafka's place, and what they may not know of is not told.
//!
//! Callers are anonymous here; what they may do is said by access control lists, and what none speaks of is denied.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod newer_groups;

use crate::support::{Client, Running, batch, fetch_request, metadata_request, produce_request, start};
use broker::{Authorizing, BrokerOptions};
use control_core::{Acl, AclEntry, AclPattern, AclResource, Command, Outcome};
use protocol::api::{self, Operation, Resource};
use protocol::api_key::ApiKey;
use protocol::messages::add_offsets_to_txn_request::AddOffsetsToTxnRequest;
use protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnRequest, AddPartitionsToTxnTopic};
use protocol::messages::add_raft_voter_request::AddRaftVoterRequest;
use protocol::messages::alter_client_quotas_request::{AlterClientQuotasRequest, EntityData, EntryData};
use protocol::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use protocol::messages::alter_partition_reassignments_request::AlterPartitionReassignmentsRequest;
use protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use protocol::messages::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion,
};
use protocol::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use protocol::messages::create_delegation_token_request::CreateDelegationTokenRequest;
use protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::delete_acls_request::{DeleteAclsFilter, DeleteAclsRequest};
use protocol::messages::delete_groups_request::DeleteGroupsRequest;
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::describe_acls_request::DescribeAclsRequest;
use protocol::messages::describe_client_quotas_request::DescribeClientQuotasRequest;
use protocol::messages::describe_cluster_request::DescribeClusterRequest;
use protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use protocol::messages::describe_delegation_token_request::DescribeDelegationTokenRequest;
use protocol::messages::describe_groups_request::DescribeGroupsRequest;
use protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use protocol::messages::describe_producers_request::{DescribeProducersRequest, TopicRequest as ProducersOf};
use protocol::messages::describe_quorum_request::DescribeQuorumRequest;
use protocol::messages::describe_topic_partitions_request::{DescribeTopicPartitionsRequest, TopicRequest};
use protocol::messages::describe_transactions_request::DescribeTransactionsRequest;
use protocol::messages::describe_user_scram_credentials_request::DescribeUserScramCredentialsRequest;
use protocol::messages::elect_leaders_request::ElectLeadersRequest;
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::expire_delegation_token_request::ExpireDelegationTokenRequest;
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::heartbeat_request::HeartbeatRequest;
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as ChangedResource, IncrementalAlterConfigsRequest,
};
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::join_group_request::JoinGroupRequest;
use protocol::messages::leave_group_request::LeaveGroupRequest;
use protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use protocol::messages::list_groups_request::ListGroupsRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use protocol::messages::list_transactions_request::ListTransactionsRequest;
use protocol::messages::metadata_request::MetadataRequest;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use protocol::messages::produce_request::ProduceRequest;
use protocol::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use protocol::messages::renew_delegation_token_request::RenewDelegationTokenRequest;
use protocol::messages::sync_group_request::SyncGroupRequest;
use protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use protocol::messages::unregister_broker_request::UnregisterBrokerRequest;
use protocol::messages::unregister_controller_request::UnregisterControllerRequest;
use protocol::messages::update_features_request::UpdateFeaturesRequest;
use protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use protocol::wire::Request;
use std::collections::BTreeSet;
use std::fmt::Debug;

const TOPIC: i16 = 29;
const GROUP: i16 = 30;
const CLUSTER: i16 = 31;
const TRANSACTIONAL_ID: i16 = 53;
const TOKENS: i16 = 64;

async fn guarded() -> Running {
    let authorizing = Authorizing { is_chosen: true, ..Authorizing::default() };
    start(BrokerOptions { authorizing, ..BrokerOptions::default() }).await
}

/// Allows everybody an operation, or denies it.
async fn say(running: &Running, is_deny: bool, operation: Operation, (kind, name): (Resource, &str)) {
    let resource = AclResource { kind: i16::from(kind as i8), pattern: AclPattern::Literal, name: name.to_owned() };
    let (principal, host) = ("User:ANONYMOUS".to_owned(), "*".to_owned());
    let entry = AclEntry { principal, host, operation: i16::from(operation as i8), is_deny };
    let added: Vec<Acl> = vec![(resource, entry)];
    let command = Command::AlterAcls { removed: Vec::new(), added };
    assert_eq!(running.store.ledger().submit(command).await.unwrap(), Outcome::Done);
}

async fn allow(running: &Running, operation: Operation, about: (Resource, &str)) {
    say(running, false, operation, about).await;
}

/// Asks everything, and looks for the code in the answer.
struct Asker {
    client: Client,
    asked: BTreeSet<i16>,
}

impl Asker {
    async fn denied<R: Request>(&mut self, version: i16, request: R, code: i16)
    where
        R::Response: Debug,
    {
        let answer = format!("{:?}", self.client.call(version, &request).await);
        assert!(answer.contains(&format!("error_code: {code}")), "{} {version}: {answer}", R::KEY.name());
        // Nothing else is said beside it.
        let others = answer.matches("error_code: ").count() - answer.matches("error_code: 0").count();
        assert_eq!(others, answer.matches(&format!("error_code: {code}")).count(), "{}: {answer}", R::KEY.name());
        self.asked.insert(R::KEY.number());
    }
}

/// Makes the topic of groups where there is none, and waits until `t` has a coordinator.
async fn find_coordinator(client: &mut Client) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![t()], ..FindCoordinatorRequest::default() };
    for _ in 0..500 {
        if client.call(4, &request).await.coordinators[0].error_code == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("there is no coordinator");
}

fn t() -> String {
    "t".to_owned()
}

fn offset_commit() -> OffsetCommitRequest {
    let topic = OffsetCommitRequestTopic {
        name: t(),
        partitions: vec![OffsetCommitRequestPartition::default()],
        ..Default::default()
    };
    OffsetCommitRequest { group_id: t(), topics: vec![topic], ..OffsetCommitRequest::default() }
}

fn offset_fetch(topics: Option<Vec<OffsetFetchRequestTopics>>) -> OffsetFetchRequest {
    let group = OffsetFetchRequestGroup { group_id: t(), topics, ..OffsetFetchRequestGroup::default() };
    OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
}

fn txn_offset_commit() -> TxnOffsetCommitRequest {
    let topic = TxnOffsetCommitRequestTopic {
        name: t(),
        partitions: vec![TxnOffsetCommitRequestPartition::default()],
        ..Default::default()
    };
    TxnOffsetCommitRequest { transactional_id: t(), group_id: t(), topics: vec![topic], ..Default::default() }
}

fn add_partitions(names: &[&str]) -> AddPartitionsToTxnRequest {
    let topic = |name: &&str| AddPartitionsToTxnTopic { name: (*name).to_owned(), partitions: vec![0] };
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: t(),
        v3_and_below_topics: names.iter().map(topic).collect(),
        ..AddPartitionsToTxnRequest::default()
    }
}

fn create(name: &str) -> CreateTopicsRequest {
    let topic =
        CreatableTopic { name: name.to_owned(), num_partitions: 1, replication_factor: 1, ..Default::default() };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() }
}

fn delete(name: &str) -> DeleteTopicsRequest {
    let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
    DeleteTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..DeleteTopicsRequest::default() }
}

/// What is about topics and their records.
async fn ask_about_topics(asker: &mut Asker) {
    asker.denied::<ProduceRequest>(9, produce_request("t", batch(&[(1, "a")]), -1), TOPIC).await;
    asker.denied::<FetchRequest>(12, fetch_request("t", 0, 0), TOPIC).await;
    let topic = ListOffsetsTopic { name: t(), partitions: vec![ListOffsetsPartition::default()] };
    asker.denied(9, ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() }, TOPIC).await;
    asker.denied::<MetadataRequest>(12, metadata_request("t"), TOPIC).await;
    asker.denied(5, create("new"), TOPIC).await;
    asker.denied(6, delete("t"), TOPIC).await;
    asker.denied(6, delete("absent"), TOPIC).await;
    let topic = DeleteRecordsTopic { name: t(), partitions: vec![DeleteRecordsPartition::default()] };
    asker.denied(2, DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1000 }, TOPIC).await;
    let topic = OffsetForLeaderTopic { topic: t(), partitions: vec![OffsetForLeaderPartition::default()] };
    asker.denied(4, OffsetForLeaderEpochRequest { replica_id: -2, topics: vec![topic] }, TOPIC).await;
    let topic = CreatePartitionsTopic { name: t(), count: 3, assignments: None };
    asker.denied(3, CreatePartitionsRequest { topics: vec![topic], ..Default::default() }, TOPIC).await;
    let topic = ProducersOf { name: t(), partition_indexes: vec![0] };
    asker.denied(0, DescribeProducersRequest { topics: vec![topic] }, TOPIC).await;
    let topics = vec![TopicRequest { name: t() }];
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: 9, ..Default::default() };
    asker.denied(0, request, TOPIC).await;
    for (resource_type, code) in [(2, TOPIC), (4, CLUSTER), (8, CLUSTER), (16, CLUSTER), (32, GROUP)] {
        let resource = DescribeConfigsResource { resource_type, resource_name: t(), configuration_keys: None };
        asker.denied(4, DescribeConfigsRequest { resources: vec![resource], ..Default::default() }, code).await;
        let resource = AlterConfigsResource { resource_type, resource_name: t(), configs: Vec::new() };
        asker.denied(2, AlterConfigsRequest { resources: vec![resource], validate_only: false }, code).await;
        let resource = ChangedResource { resource_type, resource_name: t(), configs: Vec::new() };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        asker.denied(1, request, code).await;
    }
}

async fn ask_about_groups(asker: &mut Asker) {
    asker.denied(9, offset_commit(), GROUP).await;
    asker.denied(9, offset_fetch(None), GROUP).await;
    for (key_type, code) in [(0, GROUP), (1, TRANSACTIONAL_ID)] {
        let coordinator_keys = vec![t()];
        let request = FindCoordinatorRequest { key_type, coordinator_keys, ..FindCoordinatorRequest::default() };
        asker.denied(4, request, code).await;
    }
    asker.denied(9, JoinGroupRequest { group_id: t(), ..JoinGroupRequest::default() }, GROUP).await;
    asker.denied(4, HeartbeatRequest { group_id: t(), ..HeartbeatRequest::default() }, GROUP).await;
    asker.denied(5, LeaveGroupRequest { group_id: t(), ..LeaveGroupRequest::default() }, GROUP).await;
    asker.denied(5, SyncGroupRequest { group_id: t(), ..SyncGroupRequest::default() }, GROUP).await;
    asker.denied(5, DescribeGroupsRequest { groups: vec![t()], ..Default::default() }, GROUP).await;
    asker.denied(2, DeleteGroupsRequest { groups_names: vec![t()] }, GROUP).await;
    let partitions = vec![OffsetDeleteRequestPartition::default()];
    let topics = vec![OffsetDeleteRequestTopic { name: t(), partitions }];
    asker.denied(0, OffsetDeleteRequest { group_id: t(), topics }, GROUP).await;
    let request = ConsumerGroupHeartbeatRequest { group_id: t(), member_id: t(), ..Default::default() };
    asker.denied(1, request, GROUP).await;
    asker.denied(1, ConsumerGroupDescribeRequest { group_ids: vec![t()], ..Default::default() }, GROUP).await;
}

async fn ask_about_transactions(asker: &mut Asker) {
    asker.denied(4, InitProducerIdRequest { transactional_id: None, ..Default::default() }, CLUSTER).await;
    let request = InitProducerIdRequest { transactional_id: Some(t()), ..InitProducerIdRequest::default() };
    asker.denied(4, request, TRANSACTIONAL_ID).await;
    asker.denied(3, add_partitions(&["t"]), TRANSACTIONAL_ID).await;
    asker.denied(4, AddPartitionsToTxnRequest::default(), CLUSTER).await;
    let request = AddOffsetsToTxnRequest { transactional_id: t(), group_id: t(), ..Default::default() };
    asker.denied(3, request, TRANSACTIONAL_ID).await;
    asker.denied(3, EndTxnRequest { transactional_id: t(), ..EndTxnRequest::default() }, TRANSACTIONAL_ID).await;
    asker.denied(3, txn_offset_commit(), TRANSACTIONAL_ID).await;
    let topics = vec![WritableTxnMarkerTopic { name: t(), partition_indexes: vec![0] }];
    let markers = vec![WritableTxnMarker { topics, ..WritableTxnMarker::default() }];
    asker.denied(1, WriteTxnMarkersRequest { markers }, CLUSTER).await;
    asker.denied(0, DescribeTransactionsRequest { transactional_ids: vec![t()] }, TRANSACTIONAL_ID).await;
}

async fn ask_about_the_cluster(asker: &mut Asker) {
    asker.denied(4, DescribeLogDirsRequest { topics: None }, CLUSTER).await;
    asker.denied(2, ElectLeadersRequest { topic_partitions: None, ..Default::default() }, CLUSTER).await;
    asker.denied(0, AlterPartitionReassignmentsRequest::default(), CLUSTER).await;
    asker.denied(0, ListPartitionReassignmentsRequest::default(), CLUSTER).await;
    asker.denied(2, DescribeQuorumRequest::default(), CLUSTER).await;
    asker.denied(1, UpdateFeaturesRequest::default(), CLUSTER).await;
    asker.denied(1, ListConfigResourcesRequest::default(), CLUSTER).await;
    asker.denied(1, DescribeClientQuotasRequest::default(), CLUSTER).await;
    let entity = vec![EntityData { entity_type: "user".to_owned(), entity_name: Some(t()) }];
    let entries = vec![EntryData { entity, ops: Vec::new() }];
    asker.denied(1, AlterClientQuotasRequest { entries, validate_only: false }, CLUSTER).await;
    asker.denied(0, UnregisterBrokerRequest { broker_id: 1 }, CLUSTER).await;
    asker.denied(0, UnregisterControllerRequest { controller_id: 1 }, CLUSTER).await;
    asker.denied(1, AddRaftVoterRequest::default(), CLUSTER).await;
    asker.denied(0, RemoveRaftVoterRequest::default(), CLUSTER).await;
    let topics = vec![AlterReplicaLogDirTopic { name: t(), partitions: vec![0] }];
    let dirs = vec![AlterReplicaLogDir { path: "/d".to_owned(), topics }];
    asker.denied(2, AlterReplicaLogDirsRequest { dirs }, CLUSTER).await;
    asker.denied(3, DescribeAclsRequest::default(), CLUSTER).await;
    asker.denied(3, CreateAclsRequest { creations: vec![AclCreation::default()] }, CLUSTER).await;
    asker.denied(3, DeleteAclsRequest { filters: vec![DeleteAclsFilter::default()] }, CLUSTER).await;
    asker.denied(0, DescribeUserScramCredentialsRequest { users: None }, CLUSTER).await;
    let deletions = vec![ScramCredentialDeletion { name: t(), mechanism: 1 }];
    asker.denied(0, AlterUserScramCredentialsRequest { deletions, upsertions: Vec::new() }, CLUSTER).await;
}

/// Nobody has logged in here; what those may do who have is in `tokens`.
async fn ask_about_tokens(asker: &mut Asker) {
    asker.denied(3, CreateDelegationTokenRequest::default(), TOKENS).await;
    asker.denied(2, RenewDelegationTokenRequest::default(), TOKENS).await;
    asker.denied(2, ExpireDelegationTokenRequest::default(), TOKENS).await;
    asker.denied(3, DescribeDelegationTokenRequest::default(), TOKENS).await;
}

/// An API without a line here, or without a check behind it, fails this.
#[tokio::test(flavor = "multi_thread")]
async fn every_api_refuses_what_its_caller_may_not_do() {
    let running = guarded().await;
    let mut asker = Asker { client: running.client().await, asked: BTreeSet::new() };
    ask_about_topics(&mut asker).await;
    ask_about_groups(&mut asker).await;
    ask_about_transactions(&mut asker).await;
    ask_about_the_cluster(&mut asker).await;
    ask_about_tokens(&mut asker).await;
    newer_groups::ask(&mut asker).await;
    // These answer everybody, with what the caller may know.
    let filtered = [ApiKey::ListGroups, ApiKey::ListTransactions, ApiKey::DescribeCluster].map(ApiKey::number);
    // And these are for everybody, as in Kafka.
    let free = [
        ApiKey::SaslHandshake,
        ApiKey::ApiVersions,
        ApiKey::SaslAuthenticate,
        ApiKey::GetTelemetrySubscriptions,
        ApiKey::PushTelemetry,
        // Whose a token is says who may do these.
        ApiKey::RenewDelegationToken,
        ApiKey::ExpireDelegationToken,
    ];
    for row in &api::SERVED {
        let (number, name) = (row.key.number(), row.key.name());
        assert_eq!(row.rules.is_empty(), free.contains(&row.key), "{name} has no rules");
        let is_asked = asker.asked.contains(&number) || filtered.contains(&number) || free.contains(&row.key);
        assert!(is_asked, "{name} has rules, and no test");
    }
    assert!(running.store.ledger().image().topics.values().all(|topic| topic.internal), "nothing was made");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_may_not_be_known_are_not_told() {
    let running = guarded().await;
    let mut client = running.client().await;
    allow(&running, Operation::Create, (Resource::Cluster, "kafka-cluster")).await;
    for name in ["seen", "hidden"] {
        let created = client.call(5, &create(name)).await.topics.remove(0);
        let told = (created.error_code, created.topic_config_error_code, created.num_partitions);
        assert_eq!(told, (0, TOPIC, -1), "it is made, and its settings are not told");
    }
    allow(&running, Operation::Read, (Resource::Topic, "seen")).await;
    let all = MetadataRequest {
        topics: None,
        include_topic_authorized_operations: true,
        include_cluster_authorized_operations: true,
        ..MetadataRequest::default()
    };
    let answer = client.call(10, &all).await;
    let names: Vec<_> =
        answer.topics.iter().map(|it| (it.name.clone().unwrap(), it.topic_authorized_operations)).collect();
    let read_and_describe = 1 << 3 | 1 << 8;
    assert_eq!(names, [("seen".to_owned(), read_and_describe)]);
    assert_eq!(answer.cluster_authorized_operations, 0, "it may not describe the cluster");
    let request = DescribeTopicPartitionsRequest { response_partition_limit: 9, ..Default::default() };
    assert_eq!(client.call(0, &request).await.topics.len(), 1);
    let named = client.call(12, &metadata_request("hidden")).await.topics.remove(0);
    assert_eq!((named.error_code, named.topic_id.0, named.topic_authorized_operations), (TOPIC, 0, i32::MIN));
    let seen = client.call(12, &metadata_request("seen")).await.topics.remove(0);
    assert_eq!(seen.error_code, 0);

    let id = running.store.ledger().image().topic("hidden").unwrap().id;
    let by_id = DeleteTopicState { name: None, topic_id: id.into() };
    let request = DeleteTopicsRequest { topics: vec![by_id], timeout_ms: 10_000, ..Default::default() };
    let refused = client.call(6, &request).await.responses.remove(0);
    assert_eq!((refused.error_code, refused.name), (TOPIC, None));
    allow(&running, Operation::Delete, (Resource::Cluster, "kafka-cluster")).await;
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 0);
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_done_with_the_cluster_is_told_to_whom_may_describe_it() {
    let running = guarded().await;
    let mut client = running.client().await;
    allow(&running, Operation::Create, (Resource::Cluster, "kafka-cluster")).await;
    let request = DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
        ..DescribeClusterRequest::default()
    };
    assert_eq!(client.call(1, &request).await.cluster_authorized_operations, 0);
    allow(&running, Operation::Describe, (Resource::Cluster, "kafka-cluster")).await;
    let bits = client.call(1, &request).await.cluster_authorized_operations;
    assert_eq!(bits, 1 << 5 | 1 << 8, "to create and to describe");
    running.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_groups_are_for_whom_lists_allow() {
    let running = guarded().await;
    let mut client = running.client().await;
    for operation in [Operation::Create, Operation::Write] {
        allow(&running, operation, (Resource::Topic, "t")).await;
    }
    assert_eq!(client.create("t", 1, &[]).await, 0);
    assert_eq!(client.create("u", 1, &[]).await, TOPIC);
    assert_eq!(client.produce("t", batch(&[(1, "a")])).await.error_code, 0);
    assert_eq!(client.call(12, &fetch_request("t", 0, 0)).await.responses[0].partitions[0].error_code, TOPIC);
    // Who may write to some topic may do so idempotently.
    let request = InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() };
    assert_eq!(client.call(4, &request).await.error_code, 0);

    allow(&running, Operation::Read, (Resource::Group, "t")).await;
    let code = |topics: &[protocol::messages::offset_commit_response::OffsetCommitResponseTopic]| {
        topics[0].partitions[0].error_code
    };
    assert_eq!(code(&client.call(8, &offset_commit()).await.topics), TOPIC, "the group is, the topic is not");
    let topic = OffsetFetchRequestTopics { name: t(), partition_indexes: vec![0], ..Default::default() };
    find_coordinator(&mut client).await;
    allow(&running, Operation::Read, (Resource::Topic, "t")).await;
    let commit = OffsetCommitRequest { generation_id_or_member_epoch: -1, ..offset_commit() };
    for _ in 0..100 {
        if code(&client.call(8, &commit).await.topics) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let fetched = client.call(8, &offset_fetch(Some(vec![topic.clone()]))).await;
    assert_eq!(fetched.groups[0].topics[0].partitions[0].error_code, 0);
    assert_eq!(client.call(8, &offset_fetch(None)).await.groups[0].topics.len(), 1);
    assert_eq!(client.call(4, &ListGroupsRequest::default()).await.groups.len(), 1);
    let request = DescribeGroupsRequest { groups: vec![t()], include_authorized_operations: true };
    let described = client.call(5, &request).await.groups.remove(0);
    assert_eq!((described.error_code, described.authorized_operations), (0, 1 << 3 | 1 << 8));
    say(&running, true, Operation::Describe, (Resource::Topic, "t")).await;
    let fetched = client.call(8, &offset_fetch(Some(vec![topic]))).await;
    assert_eq!(fetched.groups[0].topics[0].partitions[0].error_code, TOPIC);
    assert_eq!(client.call(8, &offset_fetch(None)).await.groups[0].topics.len(), 0);
    say(&running, true, Operation::Describe, (Resource::Group, "t")).await;
    assert_eq!(client.call(4, &ListGroupsRequest::default()).await.groups.len(), 0);
    assert_eq!(client.call(0, &ListTransactionsRequest::default()).await.error_code, 0);

    allow(&running, Operation::Write, (Resource::TransactionalId, "t")).await;
    let answer = client.call(3, &add_partitions(&["t", "u"])).await;
    let codes: Vec<i16> = answer
        .results_by_topic_v3_and_below
        .iter()
        .map(|topic| topic.results_by_partition[0].partition_error_code)
        .collect();
    assert_eq!(codes, [55, TOPIC], "of what may be added nothing is attempted");
    running.broker.stop().await;
}
