//! Changes whose first answer is lost.

use crate::admin::NewTopic;
use crate::options::ClientOptions;
use crate::test_broker::{self, answer};
use crate::{ClientError, Cluster};
use bytes::Bytes;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::frame::RequestFrame;
use protocol::messages::create_partitions_request::CreatePartitionsRequest;
use protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use protocol::messages::create_topics_request::CreateTopicsRequest;
use protocol::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use protocol::messages::metadata_request::MetadataRequest;
use protocol::messages::metadata_response::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use world::{World, lock};

/// Topics and how many partitions each has; the next change is made, and not answered, where it is so told.
#[derive(Default)]
struct Broker {
    topics: BTreeMap<String, i32>,
    dies: bool,
}

impl Broker {
    fn answer(&mut self, port: u16, request: RequestFrame) -> Option<Bytes> {
        let header = request.header.clone();
        let served = [
            ApiKey::ApiVersions,
            ApiKey::Metadata,
            ApiKey::CreateTopics,
            ApiKey::DeleteTopics,
            ApiKey::CreatePartitions,
        ];
        let answered = match header.key {
            ApiKey::ApiVersions => return answer(&header, &test_broker::serves(&served)),
            ApiKey::Metadata => return answer(&header, &self.metadata(port, &request.body().unwrap())),
            ApiKey::CreateTopics => answer(&header, &self.create(&request.body().unwrap())),
            ApiKey::DeleteTopics => answer(&header, &self.delete(&request.body().unwrap())),
            ApiKey::CreatePartitions => answer(&header, &self.grow(&request.body().unwrap())),
            other => panic!("nobody asks for {other:?} here"),
        };
        answered.filter(|_| !std::mem::take(&mut self.dies))
    }

    fn metadata(&self, port: u16, request: &MetadataRequest) -> MetadataResponse {
        let topic = |name: &str| {
            let count = self.topics.get(name).copied();
            let partition = |partition_index| MetadataResponsePartition {
                partition_index,
                leader_id: 1,
                ..MetadataResponsePartition::default()
            };
            let code = if count.is_some() { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            MetadataResponseTopic {
                name: Some(name.to_owned()),
                error_code: code.number(),
                partitions: (0..count.unwrap_or(0)).map(partition).collect(),
                ..MetadataResponseTopic::default()
            }
        };
        let asked = request.topics.iter().flatten().filter_map(|asked| asked.name.as_deref());
        MetadataResponse {
            brokers: vec![test_broker::itself(1, port)],
            topics: asked.map(topic).collect(),
            ..MetadataResponse::default()
        }
    }

    fn create(&mut self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let asked = &request.topics[0];
        let is_there = self.topics.contains_key(&asked.name);
        let code = if is_there { ErrorCode::TopicAlreadyExists } else { ErrorCode::None };
        self.topics.entry(asked.name.clone()).or_insert(asked.num_partitions);
        let result = CreatableTopicResult { error_code: code.number(), ..CreatableTopicResult::default() };
        CreateTopicsResponse { topics: vec![result], ..CreateTopicsResponse::default() }
    }

    fn delete(&mut self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let names = request.topic_names.iter().chain(request.topics.iter().filter_map(|topic| topic.name.as_ref()));
        let was_there = names.filter(|name| self.topics.remove(*name).is_some()).count() > 0;
        let code = if was_there { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
        let result = DeletableTopicResult { error_code: code.number(), ..DeletableTopicResult::default() };
        DeleteTopicsResponse { responses: vec![result], ..DeleteTopicsResponse::default() }
    }

    fn grow(&mut self, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
        let asked = &request.topics[0];
        let has = self.topics.get_mut(&asked.name).unwrap();
        let code = if *has < asked.count { ErrorCode::None } else { ErrorCode::InvalidPartitions };
        if !request.validate_only {
            *has = asked.count.max(*has);
        }
        let result =
            CreatePartitionsTopicResult { name: asked.name.clone(), error_code: code.number(), error_message: None };
        CreatePartitionsResponse { results: vec![result], ..CreatePartitionsResponse::default() }
    }
}

async fn start() -> (Arc<Mutex<Broker>>, Cluster) {
    let broker: Arc<Mutex<Broker>> = Arc::default();
    let port = test_broker::start(|port| {
        let broker = broker.clone();
        Arc::new(move |request| lock(&broker).answer(port, request))
    });
    let cluster = Cluster::connect(World::system(), ClientOptions::new(format!("127.0.0.1:{port}"))).await.unwrap();
    (broker, cluster)
}

fn code<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> Option<ErrorCode> {
    outcome.unwrap_err().code()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_unanswered_try_has_done_is_no_error_of_the_next() {
    let (broker, cluster) = start().await;
    let dies = || lock(&broker).dies = true;
    let new = NewTopic { name: "t".to_owned(), partitions: Some(2), ..NewTopic::default() };
    dies();
    cluster.create_topic(&new).await.unwrap();
    dies();
    cluster.grow_topic("t", 3).await.unwrap();
    dies();
    cluster.delete_topic("t").await.unwrap();
    assert!(lock(&broker).topics.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_so_before_is_one() {
    let (broker, cluster) = start().await;
    let new = NewTopic { name: "t".to_owned(), partitions: Some(2), ..NewTopic::default() };
    cluster.create_topic(&new).await.unwrap();
    assert_eq!(code(cluster.create_topic(&new).await), Some(ErrorCode::TopicAlreadyExists));
    assert_eq!(code(cluster.grow_topic("t", 2).await), Some(ErrorCode::InvalidPartitions));
    assert_eq!(code(cluster.delete_topic("other").await), Some(ErrorCode::UnknownTopicOrPartition));
    // More than were asked for are nobody's success, and a check has changed nothing, however often it is made.
    lock(&broker).dies = true;
    assert_eq!(code(cluster.grow_topic("t", 1).await), Some(ErrorCode::InvalidPartitions));
    lock(&broker).dies = true;
    assert_eq!(code(cluster.check_growth("t", 2).await), Some(ErrorCode::InvalidPartitions));
}
