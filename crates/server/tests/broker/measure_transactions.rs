//! What a transaction takes where each write to the log is a put of 30 ms: `cargo xtask measure transactions`, on the release binary, not
//! in CI.
//!
//! A cycle is what a producer of today's transactions (KIP-890) waits for: a record in one partition, whose first one brings that partition
//! into the transaction, then EndTxn. A producer that goes on at once meets CONCURRENT_TRANSACTIONS until the last one's markers are
//! written, as with Kafka; that wait is part of the cycle here. Promised: 200 ms in the median.
//!
//! A cycle begins every 350 ms, as it makes about five puts, and a log in a bucket makes 20 a second unless it is told otherwise
//! (`puts-per-second`). A single producer without any pause is bounded by that: `MILLSTREAM_CYCLE_EVERY_MS=0`.

use crate::support::client::Client;
use crate::support::slow_store::{Delay, SlowStore};
use crate::support::{eventually, from_environment, now, process};
use protocol::messages::end_txn_request::EndTxnRequest;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::init_producer_id_request::InitProducerIdRequest;
use protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::record_batch::{BatchBuilder, NewRecord};
use protocol::wire::Records;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use world::cloud::fixture::{Fixture, Manner};

/// The store is 30 ms away, always.
const PUTS: Delay = Delay { median: Duration::from_millis(30), p99: Duration::from_millis(33) };
const PROMISED: Duration = Duration::from_millis(200);
/// The first versions of transactions v2.
const PRODUCE: i16 = 12;
const END_TXN: i16 = 5;
const INIT_PRODUCER_ID: i16 = 4;
const FIND_COORDINATOR: i16 = 1;
/// FindCoordinator's key of a transactional id.
const TRANSACTION: i8 = 1;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const ID: &str = "measured";
const TOPIC: &str = "measured";

struct Producer {
    client: Client,
    id: i64,
    epoch: i16,
    sequence: i32,
    /// Answers that asked to come again.
    again: u32,
}

impl Producer {
    fn begin(mut client: Client) -> Producer {
        client.create_topic(TOPIC, 1).unwrap();
        let find =
            FindCoordinatorRequest { key: ID.to_owned(), key_type: TRANSACTION, ..FindCoordinatorRequest::default() };
        let init = InitProducerIdRequest {
            transactional_id: Some(ID.to_owned()),
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        let (id, epoch) = eventually(Duration::from_secs(30), "a producer id", || {
            client.call(&find, FIND_COORDINATOR).unwrap();
            let answer = client.call(&init, INIT_PRODUCER_ID).unwrap();
            (answer.error_code == 0).then_some((answer.producer_id, answer.producer_epoch))
        });
        Producer { client, id, epoch, sequence: 0, again: 0 }
    }

    /// The broker says who the producer is after each transaction (its epoch is raised).
    fn cycle(&mut self) {
        self.again_while_concurrent(Producer::produce);
        self.again_while_concurrent(Producer::end);
    }

    fn again_while_concurrent(&mut self, mut call: impl FnMut(&mut Producer) -> i16) {
        loop {
            match call(self) {
                0 => return,
                CONCURRENT_TRANSACTIONS => self.again += 1,
                code => panic!("error {code}"),
            }
            // As clients do while a transaction that they ended is completed.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn produce(&mut self) -> i16 {
        let builder = BatchBuilder::new().producer(self.id, self.epoch, self.sequence).transactional();
        let timestamp = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let record = NewRecord { timestamp, value: Some(b"value"), ..NewRecord::default() };
        let mut records = Records::default();
        records.push(builder.record(&record).build(0).unwrap().bytes().clone());
        let data = PartitionProduceData { index: 0, records: Some(records) };
        let topic =
            TopicProduceData { name: TOPIC.to_owned(), partition_data: vec![data], ..TopicProduceData::default() };
        let request = ProduceRequest {
            transactional_id: Some(ID.to_owned()),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
        };
        let answer = self.client.call(&request, PRODUCE).unwrap();
        let code = answer.responses[0].partition_responses[0].error_code;
        self.sequence += i32::from(code == 0);
        code
    }

    fn end(&mut self) -> i16 {
        let request = EndTxnRequest {
            transactional_id: ID.to_owned(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed: true,
        };
        let answer = self.client.call(&request, END_TXN).unwrap();
        if answer.error_code == 0 {
            let is_same = answer.producer_epoch == self.epoch;
            (self.id, self.epoch) = (answer.producer_id, answer.producer_epoch);
            self.sequence = if is_same { self.sequence } else { 0 };
        }
        answer.error_code
    }
}

#[test]
#[ignore = "a measurement: cargo xtask measure transactions"]
fn a_cycle_on_a_log_in_a_bucket() {
    let runtime = Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::start(Manner::Honest, 1000));
    let slow = SlowStore::start(&fixture.address, PUTS, 1);
    let storage = format!("s3://bucket/prefix?endpoint=http://{}", slow.address);
    let empty = TempDir::new().unwrap();
    let environment = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")];
    let wal = std::env::var("MILLSTREAM_WAL").unwrap_or_else(|_| "storage".to_owned());
    let arguments = ["--data", empty.path().to_str().unwrap(), "--storage", &storage, "--wal", &wal];
    let broker = process::start_with(&arguments, &environment).unwrap_or_else(|refused| panic!("{refused:?}"));

    let mut producer = Producer::begin(Client::connect(broker.kafka).unwrap());
    let every = Duration::from_millis(from_environment("MILLSTREAM_CYCLE_EVERY_MS", 350));
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..from_environment("MILLSTREAM_CYCLES", 100) {
        let began = now();
        producer.cycle();
        took.push(began.elapsed());
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
    took.sort_unstable();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    let millis = |it: Duration| it.as_secs_f64() * 1e3;
    eprintln!(
        "a transaction, puts of 30 ms: median {:.0} ms, worst {:.0} ms of {}, {} answers asked to come again; promised {:.0} ms",
        millis(median),
        millis(worst),
        took.len(),
        producer.again,
        millis(PROMISED)
    );
    assert!(median <= PROMISED, "longer than promised");
}
