//! A Kafka client, as small as one can be: finds leaders by Metadata, keeps a connection per broker, and tells what it was told.
//!
//! Topics that are made anew are spoken of by id (Produce 13, Fetch 13), the others by name in various older versions.

use crate::plan::TopicPlan;
use crate::workload::Shared;
use crate::workload::connection::FrameConnection;
use crate::workload::topic::LiveTopic;
use crate::world::{Net, now};
use base::{Micros, Seed};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::metadata_response::MetadataResponse;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::wire::{Message, Records, Request, Uuid};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use world::World;

/// Kafka's errors that say *ask again, perhaps elsewhere*: unknown topic or partition, leader not available, not leader,
/// request timed out, not enough replicas (after append), not controller, storage error, fenced and unknown leader epoch,
/// unknown topic id, inconsistent topic id, throttling quota, and out of range, which a stale broker may answer.
pub(super) const RETRIABLE: [i16; 15] = [1, 3, 5, 6, 7, 13, 19, 20, 41, 56, 74, 75, 89, 100, 103];

/// How long a client waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// What a broker may take for a produce, by the request.
pub(super) const PRODUCE_TIMEOUT_MS: i32 = 3_000;
/// What a broker may take for a change of topics, by the request.
const ADMIN_TIMEOUT_MS: i32 = 3_000;

/// Who the clients say they are.
const CLIENT_ID: &[u8; 3] = b"sim";

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Kafka's error code.
    #[error("error {0}")]
    Kafka(i16),
    /// No answer, or none that can be read: what became of the request is unknown.
    #[error("no answer: {0}")]
    Lost(#[from] io::Error),
    /// Nothing was sent: nobody is known to lead the partition.
    #[error("no leader known")]
    NoLeader,
    /// There is more, and a fetch brought nothing of it.
    #[error("nothing at {position}, below the high watermark {high_watermark}")]
    Empty { position: i64, high_watermark: i64 },
}

/// What a fetch brought.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Which life of a broker answered.
    pub(super) process: u64,
    /// When it was asked.
    pub(super) asked: Micros,
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
    pub(super) records: Bytes,
    /// -1 where it is not known, which may be where all records were asked for.
    pub(super) last_stable: i64,
    /// Producers, each with where an aborted transaction of its begins; where decided records were asked for.
    pub(super) aborted: Vec<(i64, i64)>,
}

/// What a consumer wants to see (`isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    All = 0,
    Decided = 1,
}

/// What to ask for in ListOffsets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seek {
    Earliest,
    Latest,
    Time(i64),
}

/// One client.
pub(super) struct Client {
    world: World,
    net: Net,
    shared: Arc<Shared>,
    seed: Seed,
    connections: BTreeMap<String, FrameConnection>,
    leaders: BTreeMap<(u128, i32), String>,
    correlation: i32,
}

impl Client {
    pub(super) fn new(shared: &Arc<Shared>, seed: Seed) -> Client {
        Client {
            world: shared.world.clone(),
            net: shared.cluster.universe().net.clone(),
            shared: Arc::clone(shared),
            seed,
            connections: BTreeMap::new(),
            leaders: BTreeMap::new(),
            correlation: 0,
        }
    }

    /// Makes a topic and returns its id. `leaders` names the broker of each partition; empty: whoever is asked leads all.
    pub(super) async fn create_topic(&mut self, plan: &TopicPlan, leaders: &[i32]) -> Result<u128, Failure> {
        let retention = plan.retention_bytes.map(|bytes| ("retention.bytes".to_owned(), bytes.to_string()));
        let settings = plan.settings.iter().cloned().chain(retention);
        let configs =
            settings.map(|(name, value)| CreatableTopicConfig { name: name.as_str().into(), value: Some(value) });
        let assignments = (0..)
            .zip(leaders)
            .map(|(partition_index, leader)| CreatableReplicaAssignment { partition_index, broker_ids: vec![*leader] });
        let by_number = leaders.is_empty();
        let topic = CreatableTopic {
            name: plan.name.as_str().into(),
            num_partitions: if by_number { plan.partitions } else { -1 },
            replication_factor: if by_number { 1 } else { -1 },
            assignments: assignments.collect(),
            configs: configs.collect(),
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: ADMIN_TIMEOUT_MS, ..CreateTopicsRequest::default() };
        let address = self.anybody();
        let (response, _) = self.call(&address, 7, &request).await?;
        let topic = response.topics.first().ok_or_else(unreadable)?;
        kafka(topic.error_code)?;
        Ok(topic.topic_id.0)
    }

    /// Changes a topic's setting.
    pub(super) async fn alter_topic(&mut self, topic: &str, name: &str, value: &str) -> Result<(), Failure> {
        const TOPIC: i8 = 2;
        let set = AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) };
        let resource = AlterConfigsResource { resource_type: TOPIC, resource_name: topic.into(), configs: vec![set] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let address = self.anybody();
        let (response, _) = self.call(&address, 1, &request).await?;
        kafka(response.responses.first().ok_or_else(unreadable)?.error_code)
    }

    /// Deletes a topic.
    pub(super) async fn delete_topic(&mut self, id: u128) -> Result<(), Failure> {
        let topic = DeleteTopicState { name: None, topic_id: Uuid(id) };
        let request =
            DeleteTopicsRequest { topics: vec![topic], timeout_ms: ADMIN_TIMEOUT_MS, ..DeleteTopicsRequest::default() };
        let address = self.anybody();
        let (response, _) = self.call(&address, 6, &request).await?;
        kafka(response.responses.first().ok_or_else(unreadable)?.error_code)
    }

    /// Deletes the records of a partition below an offset. Returns where it begins then.
    pub(super) async fn delete_records(
        &mut self,
        topic: &LiveTopic,
        partition: i32,
        offset: i64,
    ) -> Result<i64, Failure> {
        let part = DeleteRecordsPartition { partition_index: partition, offset };
        let asked = DeleteRecordsTopic { name: topic.plan.name.as_str().into(), partitions: vec![part] };
        let request = DeleteRecordsRequest { topics: vec![asked], timeout_ms: ADMIN_TIMEOUT_MS };
        let version = self.pick(&[0, 1, 2]);
        let leader = self.leader(topic, partition).await?;
        let result = self.call(&leader, version, &request).await.and_then(|(response, _)| {
            let topic = response.topics.first().ok_or_else(unreadable)?;
            let partition = topic.partitions.first().ok_or_else(unreadable)?;
            kafka(partition.error_code)?;
            Ok(partition.low_watermark)
        });
        self.forget_leader_unless(result.is_ok(), topic, partition);
        result
    }

    /// The id that somebody has for a name.
    pub(super) async fn topic_id(&mut self, name: &str) -> Result<u128, Failure> {
        let topic = MetadataRequestTopic { topic_id: Uuid(0), name: Some(name.into()) };
        let response = self.metadata(topic).await?;
        let topic = response.topics.first().ok_or_else(unreadable)?;
        kafka(topic.error_code)?;
        Ok(topic.topic_id.0)
    }

    /// An id for an idempotent producer.
    pub(super) async fn init_producer_id(&mut self) -> Result<i64, Failure> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..InitProducerIdRequest::default()
        };
        let version = self.pick(&[0, 1, 2, 3, 4, 5]);
        let address = self.anybody();
        let (response, _) = self.call(&address, version, &request).await?;
        kafka(response.error_code)?;
        Ok(response.producer_id)
    }

    /// Produces one batch. `None` where no answer was asked for.
    pub(super) async fn produce(
        &mut self,
        topic: &LiveTopic,
        partition: i32,
        acks: i16,
        batch: &Bytes,
    ) -> Result<Option<i64>, Failure> {
        let batches = std::slice::from_ref(batch);
        self.produce_all(topic, partition, acks, batches).await.pop().unwrap_or(Err(Failure::NoLeader))
    }

    /// Produces batches one behind the other over one connection, without waiting for answers in between.
    pub(super) async fn produce_all(
        &mut self,
        topic: &LiveTopic,
        partition: i32,
        acks: i16,
        batches: &[Bytes],
    ) -> Vec<Result<Option<i64>, Failure>> {
        let mut outcomes = Vec::new();
        let done = self.pipeline(topic, partition, acks, batches, &mut outcomes).await;
        self.forget_leader_unless(done.is_ok() && outcomes.iter().all(Result::is_ok), topic, partition);
        if let Err(failure) = done {
            outcomes.push(Err(failure));
        }
        let lost = || Err(Failure::Lost(io::ErrorKind::ConnectionReset.into()));
        outcomes.extend((outcomes.len()..batches.len()).map(|_| lost()));
        outcomes
    }

    async fn pipeline(
        &mut self,
        topic: &LiveTopic,
        partition: i32,
        acks: i16,
        batches: &[Bytes],
        outcomes: &mut Vec<Result<Option<i64>, Failure>>,
    ) -> Result<(), Failure> {
        let version = if topic.plan.recreated { 13 } else { self.pick(&[3, 5, 7, 8, 9, 11, 12]) };
        let leader = self.leader(topic, partition).await?;
        let mut connection = self.connection(&leader).await?;
        let first = self.correlation + 1;
        for batch in batches {
            let frame = self.frame(version, &produce_request(topic, version, partition, acks, batch))?;
            connection.send(&self.world, &frame, ANSWER_WITHIN).await?;
        }
        for (correlation, _) in (first..).zip(batches) {
            if acks == 0 {
                outcomes.push(Ok(None));
                continue;
            }
            let answer = connection.receive(&self.world, ANSWER_WITHIN).await?;
            let response = parse::<ProduceRequest>(answer, version, correlation)?;
            let topic = response.responses.first().ok_or_else(unreadable)?;
            let partition = topic.partition_responses.first().ok_or_else(unreadable)?;
            outcomes.push(kafka(partition.error_code).map(|()| Some(partition.base_offset)));
        }
        self.connections.insert(leader, connection);
        Ok(())
    }

    /// Fetches from one partition, whatever stands there.
    pub(super) async fn fetch(
        &mut self,
        topic: &LiveTopic,
        partition: i32,
        offset: i64,
        wait: Duration,
        bytes_max: u64,
    ) -> Result<Fetched, Failure> {
        self.fetch_as(Isolation::All, topic, (partition, offset), wait, bytes_max).await
    }

    /// Fetches from one partition what a consumer of that kind wants to see.
    pub(super) async fn fetch_as(
        &mut self,
        isolation: Isolation,
        topic: &LiveTopic,
        (partition, offset): (i32, i64),
        wait: Duration,
        bytes_max: u64,
    ) -> Result<Fetched, Failure> {
        let version = if topic.plan.recreated { 13 } else { self.pick(&[5, 7, 10, 11, 12, 13]) };
        let bytes_max = i32::try_from(bytes_max).unwrap_or(i32::MAX);
        let part = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: bytes_max,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            ..FetchPartition::default()
        };
        let asked = FetchTopic {
            topic: if version < 13 { topic.plan.name.as_str().into() } else { Default::default() },
            topic_id: if version < 13 { Uuid(0) } else { Uuid(topic.id) },
            partitions: vec![part],
        };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(0),
            min_bytes: 1,
            max_bytes: bytes_max,
            session_epoch: -1,
            isolation_level: isolation as i8,
            topics: vec![asked],
            ..FetchRequest::default()
        };
        let leader = self.leader(topic, partition).await?;
        let asked = now();
        let result = self.call(&leader, version, &request).await.and_then(|(response, process)| {
            kafka(response.error_code)?;
            let topic = response.responses.first().ok_or_else(unreadable)?;
            let partition = topic.partitions.first().ok_or_else(unreadable)?;
            kafka(partition.error_code)?;
            let records = partition.records.as_ref().map(Records::to_bytes).unwrap_or_default();
            let aborted = partition.aborted_transactions.iter().flatten();
            Ok(Fetched {
                last_stable: partition.last_stable_offset,
                aborted: aborted.map(|it| (it.producer_id, it.first_offset)).collect(),
                process,
                asked,
                high_watermark: partition.high_watermark,
                log_start: partition.log_start_offset,
                records,
            })
        });
        self.forget_leader_unless(result.is_ok(), topic, partition);
        result
    }

    /// Asks for an offset, and the timestamp of its record where a time was asked for.
    pub(super) async fn seek(&mut self, topic: &LiveTopic, partition: i32, seek: Seek) -> Result<(i64, i64), Failure> {
        let timestamp = match seek {
            Seek::Latest => -1,
            Seek::Earliest => -2,
            Seek::Time(at) => at,
        };
        let part = ListOffsetsPartition {
            partition_index: partition,
            current_leader_epoch: -1,
            timestamp,
            ..ListOffsetsPartition::default()
        };
        let asked = ListOffsetsTopic { name: topic.plan.name.as_str().into(), partitions: vec![part] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![asked], ..ListOffsetsRequest::default() };
        let version = self.pick(&[2, 4, 5, 6, 7]);
        let leader = self.leader(topic, partition).await?;
        let result = self.call(&leader, version, &request).await.and_then(|(response, _)| {
            let topic = response.topics.first().ok_or_else(unreadable)?;
            let partition = topic.partitions.first().ok_or_else(unreadable)?;
            kafka(partition.error_code)?;
            Ok((partition.offset, partition.timestamp))
        });
        self.forget_leader_unless(result.is_ok(), topic, partition);
        result
    }

    /// The address of a partition's leader: as known, or as somebody says.
    pub(super) async fn leader(&mut self, topic: &LiveTopic, partition: i32) -> Result<String, Failure> {
        if let Some(leader) = self.leaders.get(&(topic.id, partition)) {
            return Ok(leader.clone());
        }
        let asked = if topic.plan.recreated {
            MetadataRequestTopic { topic_id: Uuid(topic.id), name: None }
        } else {
            MetadataRequestTopic { topic_id: Uuid(0), name: Some(topic.plan.name.as_str().into()) }
        };
        let response = self.metadata(asked).await?;
        let found = response.topics.first().ok_or_else(unreadable)?;
        kafka(found.error_code)?;
        let found = found.partitions.iter().find(|it| it.partition_index == partition).ok_or(Failure::NoLeader)?;
        kafka(found.error_code)?;
        let broker = response.brokers.iter().find(|it| it.node_id == found.leader_id).ok_or(Failure::NoLeader)?;
        let address = format!("{}:{}", broker.host, broker.port);
        self.leaders.insert((topic.id, partition), address.clone());
        Ok(address)
    }

    async fn metadata(&mut self, topic: MetadataRequestTopic) -> Result<MetadataResponse, Failure> {
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let address = self.anybody();
        let version = self.pick(&[12]);
        Ok(self.call(&address, version, &request).await?.0)
    }

    pub(super) fn forget_leader_unless(&mut self, fine: bool, topic: &LiveTopic, partition: i32) {
        if !fine {
            self.leaders.remove(&(topic.id, partition));
        }
    }

    pub(super) fn anybody(&mut self) -> String {
        let brokers = self.shared.cluster.addresses();
        let pick = usize::try_from(self.seed.below(brokers.len() as u64)).unwrap_or(0);
        brokers[pick].clone()
    }

    pub(super) fn pick(&mut self, versions: &[i16]) -> i16 {
        versions[usize::try_from(self.seed.below(versions.len() as u64)).unwrap_or(0)]
    }

    /// Sends a request and waits for its answer. The connection does not outlive a failure.
    pub(super) async fn call<R: Request>(
        &mut self,
        address: &str,
        version: i16,
        request: &R,
    ) -> Result<(R::Response, u64), Failure> {
        let frame = self.frame(version, request)?;
        let correlation = self.correlation;
        let mut connection = self.connection(address).await?;
        connection.send(&self.world, &frame, ANSWER_WITHIN).await?;
        let answer = connection.receive(&self.world, ANSWER_WITHIN).await?;
        let response = parse::<R>(answer, version, correlation)?;
        let process = connection.process;
        self.connections.insert(address.to_owned(), connection);
        Ok((response, process))
    }

    async fn connection(&mut self, address: &str) -> Result<FrameConnection, Failure> {
        if let Some(connection) = self.connections.remove(address) {
            return Ok(connection);
        }
        let net = self.net.clone();
        Ok(FrameConnection::open(&self.world, address, |address| net.process_at(address)).await?)
    }

    fn frame<R: Request>(&mut self, version: i16, request: &R) -> Result<Bytes, Failure> {
        self.correlation += 1;
        let body = request.encode(version).map_err(io::Error::other)?.into_bytes();
        let mut frame = BytesMut::with_capacity(body.len() + 32);
        frame.put_i16(R::KEY as i16);
        frame.put_i16(version);
        frame.put_i32(self.correlation);
        frame.put_i16(3);
        frame.put_slice(CLIENT_ID);
        if version >= R::FLEXIBLE_FROM {
            frame.put_u8(0);
        }
        frame.put_slice(&body);
        Ok(frame.freeze())
    }
}

fn produce_request(topic: &LiveTopic, version: i16, partition: i32, acks: i16, batch: &Bytes) -> ProduceRequest {
    let mut records = Records::default();
    records.push(batch.clone());
    let data = TopicProduceData {
        name: if version < 13 { topic.plan.name.as_str().into() } else { Default::default() },
        topic_id: if version < 13 { Uuid(0) } else { Uuid(topic.id) },
        partition_data: vec![PartitionProduceData { index: partition, records: Some(records) }],
    };
    ProduceRequest { transactional_id: None, acks, timeout_ms: PRODUCE_TIMEOUT_MS, topic_data: vec![data] }
}

fn parse<R: Request>(mut answer: Bytes, version: i16, correlation: i32) -> Result<R::Response, Failure> {
    let head = 4 + usize::from(version >= R::FLEXIBLE_FROM);
    if answer.len() < head || answer.get_i32() != correlation {
        return Err(Failure::Lost(io::Error::other("answer to another request")));
    }
    answer.advance(head - 4);
    Ok(R::Response::decode(answer, version).map_err(io::Error::other)?)
}

pub(super) fn kafka(code: i16) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::Kafka(code)) }
}

pub(super) fn unreadable() -> Failure {
    Failure::Lost(io::Error::other("answer without what was asked for"))
}
