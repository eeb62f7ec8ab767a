//! A Kafka client in a few calls: requests go out and answers come in on one blocking socket.

use super::batch;
use bytes::Bytes;
use protocol::frame::{decode_response, encode_request};
use protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::wire::{Records, Request};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The versions that this client speaks: topics by name, not by id.
const PRODUCE: i16 = 8;
const FETCH: i16 = 11;
const CREATE_TOPICS: i16 = 4;

/// Kafka's error code for *topic exists*.
const TOPIC_EXISTS: i16 = 36;

/// One connection.
pub(crate) struct Client {
    socket: TcpStream,
    correlation_id: i32,
    /// What a produce request gives the broker as its time limit.
    pub(crate) produce_within_ms: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Client> {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(90)))?;
        socket.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client { socket, correlation_id: 0, produce_within_ms: 30_000 })
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.correlation_id += 1;
        let frame = encode_request(self.correlation_id, Some("test"), version, request).map_err(io::Error::other)?;
        self.socket.write_all(&frame.into_bytes())
    }

    /// The next answer, which must be one to `R`; answers come in the order of requests.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        let mut frame = vec![0; length];
        self.socket.read_exact(&mut frame)?;
        let (_, body) = decode_response::<R>(Bytes::from(frame), version).map_err(io::Error::other)?;
        Ok(body)
    }

    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        self.send(request, version)?;
        self.receive::<R>(version)
    }

    /// Creates a topic unless it exists.
    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) -> io::Result<()> {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let answer = self.call(&request, CREATE_TOPICS)?;
        match answer.topics.first().map(|topic| topic.error_code) {
            Some(0 | TOPIC_EXISTS) => Ok(()),
            other => Err(io::Error::other(format!("create topic {name}: {other:?}"))),
        }
    }

    /// Produces one batch and waits: its base offset, or Kafka's error code.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, values: &[Vec<u8>]) -> io::Result<Result<i64, i16>> {
        self.send_produce(topic, partition, values)?;
        self.receive_produced()
    }

    pub(crate) fn send_produce(&mut self, topic: &str, partition: i32, values: &[Vec<u8>]) -> io::Result<()> {
        let mut records = Records::default();
        records.push(batch::encode(values));
        let data = PartitionProduceData { index: partition, records: Some(records) };
        let topic =
            TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..TopicProduceData::default() };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: self.produce_within_ms,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        self.send(&request, PRODUCE)
    }

    pub(crate) fn receive_produced(&mut self) -> io::Result<Result<i64, i16>> {
        let answer = self.receive::<ProduceRequest>(PRODUCE)?;
        let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let partition = partition.ok_or_else(|| io::Error::other("an answer without a partition"))?;
        Ok(if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(partition.error_code) })
    }

    /// Records from `offset` on and the high watermark, or Kafka's error code. Waits at most 100 ms for the first.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<Result<Fetched, i16>> {
        let wanted = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic: topic.to_owned(), partitions: vec![wanted], ..FetchTopic::default() };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 16 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let answer = self.call(&request, FETCH)?;
        if answer.error_code != 0 {
            return Ok(Err(answer.error_code));
        }
        let partition = answer.responses.first().and_then(|topic| topic.partitions.first());
        let partition = partition.ok_or_else(|| io::Error::other("an answer without a partition"))?;
        if partition.error_code != 0 {
            return Ok(Err(partition.error_code));
        }
        let bytes = partition.records.as_ref().map(Records::to_bytes).unwrap_or_default();
        let mut records = batch::decode(&bytes);
        // A batch is served whole, so it may begin below the offset asked for.
        records.retain(|(found, _)| *found >= offset);
        Ok(Ok(Fetched { records, high_watermark: partition.high_watermark }))
    }
}

/// A fetch's answer for one partition.
pub(crate) struct Fetched {
    pub(crate) records: Vec<(i64, Vec<u8>)>,
    pub(crate) high_watermark: i64,
}
