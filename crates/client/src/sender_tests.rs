use crate::options::ClientOptions;
use crate::test_broker::{self, answer};
use crate::{ClientError, Cluster, Delivery, OutRecord, Producer, ProducerOptions};
use base::Micros;
use bytes::Bytes;
use protocol::api_key::ApiKey;
use protocol::error_code::ErrorCode;
use protocol::frame::RequestFrame;
use protocol::messages::init_producer_id_response::InitProducerIdResponse;
use protocol::messages::metadata_response::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use protocol::messages::produce_request::ProduceRequest;
use protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use protocol::record_batch::batches;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::{World, lock};

const PARTITIONS: i32 = 4;
const TOPIC: &str = "t";

/// What the broker does with one Produce request.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// As a broker does: in order, once.
    Takes,
    /// It refuses this partition and takes the others.
    Refuses(i32, ErrorCode),
    /// It stores everything and closes the connection before it answers.
    TakesAndDies,
    /// It stores nothing and closes the connection.
    Dies,
}

/// A broker that leads all partitions of one topic and remembers producers' sequences, as Kafka's does.
#[derive(Default)]
struct Broker {
    deeds: VecDeque<Deed>,
    /// Records of each partition, by their values.
    log: BTreeMap<i32, Vec<Bytes>>,
    /// Partitions of each Produce request.
    requests: Vec<Vec<i32>>,
    leaderless: BTreeSet<i32>,
    no_producer_ids: bool,
}

impl Broker {
    fn answer(&mut self, port: u16, request: RequestFrame) -> Option<Bytes> {
        let header = request.header.clone();
        let mut served = vec![ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::Produce];
        if !self.no_producer_ids {
            served.push(ApiKey::InitProducerId);
        }
        match header.key {
            ApiKey::ApiVersions => answer(&header, &test_broker::serves(&served)),
            ApiKey::Metadata => answer(&header, &self.metadata(port)),
            ApiKey::InitProducerId => {
                answer(&header, &InitProducerIdResponse { producer_id: 7, ..InitProducerIdResponse::default() })
            }
            ApiKey::Produce => answer(&header, &self.produce(&request.body().unwrap())?),
            other => panic!("nobody asks for {other:?} here"),
        }
    }

    fn metadata(&self, port: u16) -> MetadataResponse {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: if self.leaderless.contains(&index) { -1 } else { 1 },
            ..MetadataResponsePartition::default()
        };
        let topic = MetadataResponseTopic {
            name: Some(TOPIC.to_owned()),
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            brokers: vec![test_broker::itself(1, port)],
            topics: vec![topic],
            ..MetadataResponse::default()
        }
    }

    fn produce(&mut self, request: &ProduceRequest) -> Option<ProduceResponse> {
        let deed = self.deeds.pop_front().unwrap_or(Deed::Takes);
        let partitions = &request.topic_data[0].partition_data;
        self.requests.push(partitions.iter().map(|partition| partition.index).collect());
        if matches!(deed, Deed::Dies) {
            return None;
        }
        let mut answers = Vec::new();
        for partition in partitions {
            let code = match deed {
                Deed::Refuses(index, code) if index == partition.index => code,
                _ => self.take(partition.index, partition.records.as_ref().unwrap().to_bytes()),
            };
            let (index, error_code) = (partition.index, code.number());
            answers.push(PartitionProduceResponse { index, error_code, ..PartitionProduceResponse::default() });
        }
        let topic = TopicProduceResponse { partition_responses: answers, ..TopicProduceResponse::default() };
        let answer = ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
        (!matches!(deed, Deed::TakesAndDies)).then_some(answer)
    }

    fn take(&mut self, index: i32, records: Bytes) -> ErrorCode {
        let log = self.log.entry(index).or_default();
        let mut found = batches(records);
        let batch = found.next().unwrap().unwrap();
        assert!(found.next().is_none(), "one batch of a partition at a time");
        let next = i32::try_from(log.len()).unwrap();
        if batch.producer_id() >= 0 && batch.base_sequence() != next {
            let is_known = batch.base_sequence() < next;
            return if is_known { ErrorCode::DuplicateSequenceNumber } else { ErrorCode::OutOfOrderSequenceNumber };
        }
        log.extend(batch.records(1 << 20).unwrap().map(|record| record.unwrap().value.unwrap()));
        ErrorCode::None
    }
}

/// A producer, its broker, and what it was told of deliveries: by partition, when the records were due.
struct Case {
    broker: Arc<Mutex<Broker>>,
    delivered: Arc<Mutex<BTreeMap<i32, Vec<u64>>>>,
    producer: Producer,
    sent: u64,
}

impl Case {
    async fn new(broker: Broker, options: ProducerOptions) -> Case {
        let broker = Arc::new(Mutex::new(broker));
        let port = test_broker::start(|port| {
            let broker = broker.clone();
            Arc::new(move |request| lock(&broker).answer(port, request))
        });
        let cluster = Cluster::connect(World::system(), ClientOptions::new(format!("127.0.0.1:{port}"))).await.unwrap();
        let delivered: Arc<Mutex<BTreeMap<i32, Vec<u64>>>> = Arc::default();
        let heard = delivered.clone();
        let on_delivery = Arc::new(move |delivery: &Delivery<'_>| {
            let dues = delivery.due.iter().map(|due| due.0);
            lock(&heard).entry(delivery.partition).or_default().extend(dues);
        });
        let producer = Producer::start(cluster, TOPIC, options, on_delivery).await.unwrap();
        Case { broker, delivered, producer, sent: 0 }
    }

    /// One record for each partition.
    async fn round(&mut self) {
        for partition in 0..PARTITIONS {
            let value = self.sent.to_be_bytes();
            let record = OutRecord { key: None, value: Some(&value), due: Micros(self.sent) };
            self.producer.send(Some(partition), &record).await.unwrap();
            self.sent += 1;
        }
    }

    fn requests(&self) -> Vec<Vec<i32>> {
        lock(&self.broker).requests.clone()
    }

    /// Every record is there once, in its order, and was told so once, in that order.
    fn assert_all_there(&self) {
        let (broker, delivered) = (lock(&self.broker), lock(&self.delivered));
        for partition in 0..PARTITIONS {
            let of = |n: &u64| n % u64::try_from(PARTITIONS).unwrap() == u64::try_from(partition).unwrap();
            let sent: Vec<u64> = (0..self.sent).filter(of).collect();
            let stored: Vec<u64> = broker.log[&partition]
                .iter()
                .map(|value| u64::from_be_bytes(value.as_ref().try_into().unwrap()))
                .collect();
            assert_eq!(stored, sent, "partition {partition}");
            assert_eq!(delivered[&partition], sent, "partition {partition}");
        }
    }
}

/// Batches leave when they are flushed.
fn patient() -> ProducerOptions {
    ProducerOptions { linger: Duration::from_secs(600), ..ProducerOptions::default() }
}

/// Each record is a batch.
fn eager() -> ProducerOptions {
    ProducerOptions { linger: Duration::ZERO, batch_bytes: 1, ..ProducerOptions::default() }
}

#[tokio::test]
async fn what_all_partitions_of_a_leader_have_goes_in_one_request() {
    let mut case = Case::new(Broker::default(), patient()).await;
    case.round().await;
    case.round().await;
    case.producer.flush().await.unwrap();
    case.assert_all_there();
    assert_eq!(case.requests(), [[0, 1, 2, 3]]);
}

#[tokio::test]
async fn a_full_batch_takes_the_others_along() {
    let mut case = Case::new(Broker::default(), ProducerOptions { batch_bytes: 4096, ..patient() }).await;
    case.round().await;
    let record = OutRecord { value: Some(&[0; 5000]), ..OutRecord::default() };
    case.producer.send(Some(2), &record).await.unwrap();
    // The first batch of partition 2 is full now, since the next record has no room in it.
    while lock(&case.delivered).values().flatten().count() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let requests = case.requests();
    assert_eq!(requests[0], [0, 1, 2, 3]);
    assert_eq!(requests[1], [2]);
}

#[tokio::test]
async fn a_refused_partition_goes_again_and_no_other() {
    let refused = Deed::Refuses(1, ErrorCode::NotLeaderOrFollower);
    let broker = Broker { deeds: [refused, refused].into(), ..Broker::default() };
    let mut case = Case::new(broker, patient()).await;
    case.round().await;
    case.producer.flush().await.unwrap();
    case.assert_all_there();
    assert_eq!(case.requests(), [vec![0, 1, 2, 3], vec![1], vec![1]]);
}

#[tokio::test]
async fn order_is_kept_when_one_of_several_under_way_is_refused() {
    let mut case = Case::new(Broker::default(), eager()).await;
    case.round().await;
    case.producer.flush().await.unwrap();
    for deed in [
        Deed::Refuses(2, ErrorCode::NotEnoughReplicas),
        Deed::Takes,
        Deed::Refuses(0, ErrorCode::KafkaStorageError),
        Deed::TakesAndDies,
        Deed::Dies,
    ] {
        lock(&case.broker).deeds.push_back(deed);
    }
    for _ in 0..50 {
        case.round().await;
    }
    case.producer.flush().await.unwrap();
    case.assert_all_there();
    assert!(lock(&case.broker).deeds.is_empty());
}

#[tokio::test]
async fn without_producer_ids_one_batch_of_a_partition_is_under_way() {
    let refused = Deed::Refuses(3, ErrorCode::NotEnoughReplicas);
    let broker = Broker { no_producer_ids: true, deeds: [Deed::Takes, refused].into(), ..Broker::default() };
    let mut case = Case::new(broker, eager()).await;
    for _ in 0..20 {
        case.round().await;
    }
    case.producer.flush().await.unwrap();
    case.assert_all_there();
}

#[tokio::test]
async fn a_partition_without_a_leader_keeps_no_other_waiting() {
    let mut case = Case::new(Broker::default(), patient()).await;
    lock(&case.broker).leaderless.insert(1);
    lock(&case.broker).deeds.push_back(Deed::Refuses(1, ErrorCode::NotLeaderOrFollower));
    case.round().await;
    let flushed = tokio::time::timeout(Duration::from_millis(700), case.producer.flush()).await;
    assert!(flushed.is_err(), "nobody leads partition 1");
    assert_eq!(lock(&case.delivered).keys().copied().collect::<Vec<_>>(), [0, 2, 3]);
    lock(&case.broker).leaderless.clear();
    case.producer.flush().await.unwrap();
    case.assert_all_there();
}

#[tokio::test]
async fn a_record_that_is_refused_for_too_long_ends_the_producer_with_the_reason() {
    let broker =
        Broker { deeds: vec![Deed::Refuses(0, ErrorCode::NotEnoughReplicas); 1000].into(), ..Broker::default() };
    let options = ProducerOptions { delivery_within: Duration::from_millis(300), ..patient() };
    let mut case = Case::new(broker, options).await;
    case.round().await;
    let error = case.producer.flush().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::NotEnoughReplicas, .. }), "{error}");
}

#[tokio::test]
async fn what_can_not_be_tried_again_ends_the_producer() {
    let broker = Broker { deeds: [Deed::Refuses(0, ErrorCode::MessageTooLarge)].into(), ..Broker::default() };
    let mut case = Case::new(broker, patient()).await;
    case.round().await;
    let error = case.producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    let after = case.producer.send(Some(1), &OutRecord::default()).await.unwrap_err();
    assert_eq!(after.code(), Some(ErrorCode::MessageTooLarge), "it is told from then on");
}
