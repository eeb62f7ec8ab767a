//! A bucket in trouble: three of ten requests answered 503, then none at all, and with the log on a disk none for as long as that has
//! room. An idempotent producer with a delivery timeout of two minutes is told no error, nothing is lost or doubled, memory stays
//! within its budget, the broker does not exit, and all of it is in the bucket afterwards.
//!
//! CI runs it for seconds, on a service of its own in memory. `cargo xtask verify trouble` runs the same for minutes, on a real one.

use crate::console::{get, sample};
use crate::s3::{CREDENTIALS, Service};
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::{self, Broker};
use client::{ClientOptions, Cluster, Delivery, OutRecord, Producer, ProducerOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use world::cloud::fixture::Manner;
use world::{ClockExt, World};

const TOPIC: &str = "trouble";
const RECORD_BYTES: usize = 4096;
/// What is produced.
const BYTES_PER_SECOND: u64 = 6 << 20;
/// The log on a disk.
const RING_BYTES: u64 = 64 << 20;
const MEMORY: &str = "128MiB";
/// Beside the budget: the program, its threads, and what the allocator keeps.
const RESIDENT_KIB_MAX: u64 = (128 + 64) << 10;

/// A broker on a service that is in trouble at times, and a producer that does not stop.
struct Run {
    service: Service,
    broker: Broker,
    _folder: TempDir,
    runtime: Runtime,
    cluster: Cluster,
}

impl Run {
    fn start(log: impl Fn(&TempDir) -> String) -> Run {
        let service = Service::start(Manner::Honest);
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let (storage, log) = (service.url(), log(&folder));
        let arguments = ["--data", data.to_str().unwrap(), "--storage", &storage, "--wal", &log, "--memory", MEMORY];
        let started = process::start_with(&arguments, &CREDENTIALS);
        let broker = started.unwrap_or_else(|refused| panic!("{refused:?}"));
        Client::connect(broker.kafka).unwrap().create_topic(TOPIC, 1).unwrap();
        let runtime = Runtime::new().unwrap();
        let options =
            ClientOptions { call_within: Duration::from_secs(60), ..ClientOptions::new(broker.kafka.to_string()) };
        let cluster = runtime.block_on(Cluster::connect(World::system(), options)).unwrap();
        Run { service, broker, _folder: folder, runtime, cluster }
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, metrics) = get(self.broker.console, "/metrics");
        sample(&metrics, name).unwrap_or_else(|| panic!("{name}: {metrics}"))
    }

    /// How full the log is, of 1.
    fn wal_use(&self) -> f64 {
        self.metric("millstream_wal_used_bytes{wal=\"default\"}")
            / self.metric("millstream_wal_capacity_bytes{wal=\"default\"}")
    }

    /// Produces while `phases` runs; how many records were acknowledged, all of them.
    fn produce_during(&mut self, phases: impl FnOnce(&mut Run)) -> u64 {
        let delivered = Arc::new(AtomicU64::new(0));
        let counted = delivered.clone();
        let count = move |delivery: &Delivery<'_>| {
            counted.fetch_add(delivery.due.len() as u64, Ordering::Relaxed);
        };
        let options = ProducerOptions { delivery_within: Duration::from_secs(120), ..ProducerOptions::default() };
        let producer = Producer::start(self.cluster.clone(), TOPIC, options, Arc::new(count));
        let producer = Arc::new(self.runtime.block_on(producer).unwrap());
        let ends = Arc::new(AtomicBool::new(false));
        let sending = self.runtime.spawn(send_until(producer.clone(), self.cluster.clone(), ends.clone()));
        phases(self);
        ends.store(true, Ordering::Relaxed);
        let sent = self.runtime.block_on(sending).unwrap();
        assert_eq!(delivered.load(Ordering::Relaxed), sent, "all that was sent is acknowledged");
        sent
    }

    /// Treats the broker so for a while; its memory stays within bounds.
    fn treat(&mut self, manner: Manner, ends: impl Fn(&Run, Duration) -> bool) {
        eprintln!("the service is {manner:?}");
        self.service.fixture.set(manner);
        let began = crate::support::now();
        while !ends(self, began.elapsed()) {
            assert!(self.broker.is_running(), "{}", self.broker.log());
            let resident = self.broker.resident_kib();
            assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB in RAM with --memory {MEMORY}");
            assert!(began.elapsed() < Duration::from_secs(60), "it does not come to an end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every record is there once, in order; then from nothing but the bucket.
    fn verify(self, sent: u64) {
        assert!(!self.broker.log().contains("panicked"), "{}", self.broker.log());
        verify_all(&self.broker, sent);
        assert!(self.broker.terminate().0.success());
        let empty = TempDir::new().unwrap();
        let (data, storage) = (empty.path().join("data"), self.service.url());
        let arguments = ["--data", data.to_str().unwrap(), "--storage", &storage, "--memory", MEMORY];
        let heir = process::start_with(&arguments, &CREDENTIALS).unwrap_or_else(|refused| panic!("{refused:?}"));
        verify_all(&heir, sent);
        eprintln!("{sent} records of {RECORD_BYTES} bytes, all there once and in order, in the bucket too");
    }
}

fn verify_all(broker: &Broker, sent: u64) {
    let mut client = Client::connect(broker.kafka).unwrap();
    let mut next = 0;
    while next < sent {
        let offset = i64::try_from(next).unwrap();
        let fetched = eventually(Duration::from_secs(30), "fetch", || client.fetch(TOPIC, 0, offset).unwrap().ok());
        for (offset, value) in fetched.records {
            assert_eq!((offset, value), (i64::try_from(next).unwrap(), value_of(next)));
            next += 1;
        }
    }
    let end = client.fetch(TOPIC, 0, i64::try_from(sent).unwrap()).unwrap().unwrap();
    assert_eq!((end.records.len(), end.high_watermark), (0, i64::try_from(sent).unwrap()), "nothing is there twice");
}

/// Sends numbered records at a fixed rate; how many, all acknowledged.
async fn send_until(producer: Arc<Producer>, cluster: Cluster, ends: Arc<AtomicBool>) -> u64 {
    let clock = cluster.world().clock.clone();
    let began = clock.now();
    let mut sent = 0;
    while !ends.load(Ordering::Relaxed) {
        let passed_ms = u64::try_from(clock.now().since(began).as_millis()).unwrap();
        let due = passed_ms * BYTES_PER_SECOND / 1000 / RECORD_BYTES as u64;
        while sent < due {
            let value = value_of(sent);
            let record = OutRecord { value: Some(&value), ..OutRecord::default() };
            producer.send(Some(0), &record).await.expect("no error to the producer");
            sent += 1;
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    let flushed = clock.timeout(Duration::from_secs(100), producer.flush()).await;
    flushed.expect("acknowledged in time").expect("no error to the producer");
    sent
}

fn value_of(number: u64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(RECORD_BYTES, u8::try_from(number % 251).unwrap());
    value
}

const A_WHILE: Duration = Duration::from_secs(4);

#[test]
fn with_the_log_on_a_disk_it_is_outlasted_for_as_long_as_the_log_has_room() {
    let mut run = Run::start(|folder| format!("file://{}/wal?size={RING_BYTES}", folder.path().display()));
    let sent = run.produce_during(|run| {
        run.treat(Manner::Busy(30), |_, time| time >= A_WHILE);
        assert!(run.metric("millstream_object_store_failures_total") > 0.0, "the trouble was none");
        run.treat(Manner::Gone, |_, time| time >= A_WHILE);
        run.treat(Manner::Honest, |run, _| run.wal_use() < 0.5);
        run.treat(Manner::Gone, |run, _| run.wal_use() > 0.85);
        assert!(
            run.metric("millstream_produce_throttle_seconds{wal=\"default\"}") > 0.0,
            "a log that is nearly full slows producers"
        );
        run.treat(Manner::Honest, |run, _| run.wal_use() < 0.5);
        assert!(run.metric("millstream_produce_throttle_seconds{wal=\"default\"}") < 1e-9, "nobody is slowed any more");
    });
    run.verify(sent);
}

#[test]
fn with_the_log_in_the_bucket_producers_wait_for_it() {
    let mut run = Run::start(|_| "storage".to_owned());
    let sent = run.produce_during(|run| {
        run.treat(Manner::Busy(30), |_, time| time >= A_WHILE);
        run.treat(Manner::Gone, |_, time| time >= A_WHILE);
        assert!(
            run.metric("millstream_append_age_seconds{wal=\"default\"}") > 1.0,
            "nothing was acknowledged meanwhile"
        );
        run.treat(Manner::Answers(403, "<Error><Code>AccessDenied</Code></Error>"), |_, time| time >= A_WHILE / 2);
        run.treat(Manner::Honest, |run, _| run.metric("millstream_append_age_seconds{wal=\"default\"}") < 1.0);
    });
    run.verify(sent);
}
