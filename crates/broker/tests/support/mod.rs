//! A broker over a real store in a temporary folder, and a client that speaks through the protocol crate over loopback.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "shared by the tests of this folder, which fail by panicking")]

pub mod logins;
pub mod transactional;

use async_trait::async_trait;
use broker::{Broker, BrokerOptions};
use bytes::{Bytes, BytesMut};
use protocol::frame::{decode_response, encode_request};
use protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::record_batch::{BatchBuilder, NewRecord};
use protocol::wire::Request;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use stream::wal::WalOptions;
use stream::{NamedWal, Options, StartRequest, Store, WalTarget};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Connection, FolderStore, GetRange, ObjectMeta, ObjectStore, PutOutcome, StoreError, World};

/// A bucket whose writes of the write-ahead log can be held up.
pub struct Gate {
    inner: FolderStore,
    /// While true, objects of the write-ahead log are not written.
    pub closed: AtomicBool,
    /// While true, no data object is written.
    pub data_closed: AtomicBool,
    /// Objects of the write-ahead log that were to be written so far.
    pub wal_puts: AtomicUsize,
    /// Reads of data objects so far.
    pub gets: AtomicUsize,
    /// Each of them takes so long.
    pub get_delay_ms: AtomicU64,
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_if_absent(&self, key: &str, parts: Vec<Bytes>) -> Result<PutOutcome, StoreError> {
        if key.starts_with("wal/") {
            self.wal_puts.fetch_add(1, Ordering::Relaxed);
        }
        while key.starts_with("wal/") && self.closed.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if key.starts_with("data/") && self.data_closed.load(Ordering::Relaxed) {
            return Err(StoreError::Trouble("503 SlowDown".to_owned()));
        }
        self.inner.put_if_absent(key, parts).await
    }

    async fn get(&self, key: &str, range: GetRange) -> Result<(Bytes, u64), StoreError> {
        if key.starts_with("data/") {
            self.gets.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(self.get_delay_ms.load(Ordering::Relaxed))).await;
        }
        self.inner.get(key, range).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        self.inner.delete(keys).await
    }

    async fn make_durable(&self, prefix: &str) -> Result<(), StoreError> {
        self.inner.make_durable(prefix).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// A running broker.
pub struct Running {
    pub world: World,
    pub broker: Arc<Broker>,
    pub store: Store,
    pub address: String,
    pub gate: Arc<Gate>,
    options: BrokerOptions,
    folder: Arc<TempDir>,
    /// With a second log.
    bulk: bool,
}

/// Starts a broker whose WAL is in the bucket, so that the gate can hold acknowledgements up.
pub async fn start(options: BrokerOptions) -> Running {
    start_in(&Arc::new(tempfile::tempdir().unwrap()), options, WAL_BYTES, false, false).await
}

/// Starts another broker beside the running ones of its cluster.
pub async fn start_beside(running: &Running) -> Running {
    start_in(&running.folder, running.options.clone(), WAL_BYTES, false, true).await
}

/// The same with a second log, `bulk`, a ring in a file.
pub async fn start_with_bulk(options: BrokerOptions) -> Running {
    start_in(&Arc::new(tempfile::tempdir().unwrap()), options, WAL_BYTES, true, false).await
}

/// The same with a log of so many bytes.
pub async fn start_with_log(options: BrokerOptions, wal_bytes: u64) -> Running {
    start_in(&Arc::new(tempfile::tempdir().unwrap()), options, wal_bytes, false, false).await
}

const WAL_BYTES: u64 = 16 << 30;

async fn start_in(
    folder: &Arc<TempDir>,
    options: BrokerOptions,
    wal_bytes: u64,
    bulk: bool,
    is_beside: bool,
) -> Running {
    let world = World::system();
    let inner = FolderStore::open(world.disk.clone(), world.clock.clone(), folder.path().join("bucket")).await.unwrap();
    let gate = Arc::new(Gate {
        inner,
        closed: AtomicBool::new(false),
        data_closed: AtomicBool::new(false),
        wal_puts: AtomicUsize::new(0),
        gets: AtomicUsize::new(0),
        get_delay_ms: AtomicU64::new(0),
    });
    let listener = world.network.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut wals = vec![NamedWal::default_of(WalTarget::Storage)];
    if bulk {
        let target = WalTarget::File { dir: folder.path().join("bulk"), bytes: 16 << 20 };
        wals.push(NamedWal { name: "bulk".to_owned(), target, pace: None });
    }
    let request = StartRequest {
        node_id: None,
        advertised: address.clone(),
        wals,
        choice: broker::wal_choice,
        // Whoever is started beside others finds them alive.
        answers: Arc::new(move |_| Box::pin(std::future::ready(is_beside))),
        watch: None,
        options: Options {
            upload_age: Duration::from_millis(200),
            wal: WalOptions { object_capacity_bytes: wal_bytes, ..WalOptions::default() },
            ..Options::for_memory(64 << 20)
        },
        registered: Arc::default(),
        ledger_options: control::LedgerOptions::default(),
    };
    let store = Store::start(&world, gate.clone(), request).await.unwrap();
    let options = BrokerOptions { listening: address.clone(), advertised: address.clone(), ..options };
    let broker = Broker::start(&world, listener, store.clone(), options.clone());
    Running { world, broker, store, address, gate, options, folder: folder.clone(), bulk }
}

/// What a crash leaves of a folder: a ring in it is its start's for as long as this process lives.
fn copy_of(folder: &Path) -> Arc<TempDir> {
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(folder.join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    Arc::new(copy)
}

impl Running {
    /// Stops cleanly, and starts anew on the same bucket.
    pub async fn restart(self) -> Running {
        self.broker.stop().await;
        self.store.drain(Duration::from_secs(10)).await;
        self.start_anew().await
    }

    /// Starts anew on the same bucket, as behind a crash.
    pub async fn start_anew(self) -> Running {
        let Running { folder, options, bulk, .. } = self;
        let folder = if bulk { copy_of(folder.path()) } else { folder };
        // The options alone are large.
        Box::pin(start_in(&folder, options, WAL_BYTES, bulk, false)).await
    }

    pub async fn client(&self) -> Client {
        Client { socket: self.world.network.connect(&self.address).await.unwrap(), sent: 0 }
    }

    pub fn close_gate(&self) {
        self.gate.closed.store(true, Ordering::Relaxed);
    }

    pub fn open_gate(&self) {
        self.gate.closed.store(false, Ordering::Relaxed);
    }
}

/// One connection of a client.
pub struct Client {
    pub socket: Box<dyn Connection>,
    sent: i32,
}

impl Client {
    /// Sends a request; its correlation id.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.sent += 1;
        let rope = encode_request(self.sent, Some("test"), version, request).unwrap();
        self.socket.write_all(&rope.into_bytes()).await.unwrap();
        self.sent
    }

    /// The next answer, which must be that to `R`.
    pub async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let frame = self.receive_frame().await.expect("an answer");
        decode_response::<R>(frame, version).unwrap()
    }

    /// The next frame; none where the broker closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        let length = self.socket.read_i32().await.ok()?;
        let mut frame = BytesMut::zeroed(usize::try_from(length).unwrap());
        self.socket.read_exact(&mut frame).await.ok()?;
        Some(frame.freeze())
    }

    /// Asks and waits for the answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let sent = self.send(version, request).await;
        let (answered, response) = self.receive::<R>(version).await;
        assert_eq!(answered, sent, "answers come in order");
        response
    }

    /// Creates a topic.
    pub async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).to_owned(), value: Some((*value).to_owned()) });
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
        self.call(5, &request).await.topics[0].error_code
    }

    /// Produces one batch and returns the partition's answer.
    pub async fn produce(&mut self, topic: &str, batch: Bytes) -> PartitionProduceResponse {
        let response = self.call(9, &produce_request(topic, batch, -1)).await;
        response.responses.into_iter().next().unwrap().partition_responses.into_iter().next().unwrap()
    }
}

/// A produce of one batch to partition 0.
pub fn produce_request(topic: &str, batch: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData { index: 0, records: Some(batch.into()) };
    let topic = TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// Offset and timestamp that ListOffsets tells of partition 0, for a time or one of its specials.
pub async fn offset_at(client: &mut Client, topic: &str, timestamp: i64) -> (i64, i64) {
    let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    let answer = client.call(9, &request).await.topics[0].partitions[0].clone();
    assert_eq!(answer.error_code, 0);
    (answer.offset, answer.timestamp)
}

/// A fetch of partition 0 from an offset.
pub fn fetch_request(topic: &str, from: i64, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition { fetch_offset: from, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..FetchTopic::default() }],
        ..FetchRequest::default()
    }
}

/// A metadata request for one topic.
pub fn metadata_request(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..MetadataRequest::default() }
}

/// An uncompressed batch.
pub fn batch(records: &[(i64, &str)]) -> Bytes {
    let add = |builder: BatchBuilder, (timestamp, value): &(i64, &str)| {
        builder.record(&NewRecord { timestamp: *timestamp, value: Some(value.as_bytes()), ..NewRecord::default() })
    };
    records.iter().fold(BatchBuilder::new(), add).build(0).unwrap().bytes().clone()
}
