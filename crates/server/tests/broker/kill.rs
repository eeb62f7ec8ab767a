//! `kill -9` under load, again and again: every acknowledged record is there once, in order.
//!
//! Each writer has a partition of its own and numbers its records. After a kill it does not know what became of what was in
//! flight, and goes on with higher numbers. So of each partition it is checked that
//! - every acknowledged record stands at the offset that was acknowledged, with its bytes;
//! - numbers rise from offset to offset, which says *once* and *in order*;
//! - nothing is there that was not sent.
//!
//! CI kills a few times. `cargo xtask verify kill --times 50` runs the same with more kills, on the release binary; `s3` runs it on an S3 service.

use crate::support::client::Client;
use crate::support::process::{self, Broker};
use crate::support::{eventually, from_environment, now};
use base::Seed;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const TOPIC: &str = "kill";
const WRITERS: usize = 3;
/// Produce requests that each writer has in flight.
const IN_FLIGHT: usize = 5;
/// The least memory, so that the write-ahead log is trimmed and the cache spills within a short run.
const MEMORY: [&str; 2] = ["--memory", "128MiB"];

/// What a writer knows of its partition.
struct Writer {
    partition: i32,
    seed: Seed,
    next_number: u64,
    /// Offset to number of every acknowledged record that is not verified yet.
    acknowledged: BTreeMap<i64, u64>,
    /// Everything below is verified.
    verified: i64,
    /// The number of the record at the highest verified offset.
    last_number: Option<u64>,
    total: u64,
}

#[test]
fn a_killed_broker_recovers_from_its_local_log() {
    let folder = TempDir::new().unwrap();
    let mut run = Run::new();
    for _ in 0..run.kills {
        let broker = process::start_in(folder.path(), &MEMORY);
        run.load_and_kill(broker);
    }
    let broker = process::start_in(folder.path(), &MEMORY);
    run.verify(broker.kafka);
    let (status, took) = broker.terminate();
    assert!(status.success() && took < Duration::from_secs(4), "clean stop: {status} after {took:?}");

    // The bucket alone is the cluster once a stop was clean.
    std::fs::remove_dir_all(folder.path().join("wal")).unwrap();
    run.start_over();
    let broker = process::start_in(folder.path(), &MEMORY);
    run.verify(broker.kafka);
    assert!(broker.terminate().0.success());
    let (code, found, wrong) = process::run(&["fsck", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{found}{wrong}");
    run.finish("local ring");
}

/// A folder that was emptied, or a new disk under the old name: nothing is served that the lost log may hold more of, and the reason
/// tells why. With the file back in its place everything is there.
#[test]
fn a_ring_that_is_gone_is_missed_until_it_is_back() {
    let folder = TempDir::new().unwrap();
    let (wal, away) = (folder.path().join("log"), folder.path().join("away"));
    let url = format!("file://{}?size=64MiB", wal.display());
    let start = || process::start_in(folder.path(), &["--node-id", "1", "--wal", &url]);
    let broker = start();
    let mut client = Client::connect(broker.kafka).unwrap();
    client.create_topic("missed", 1).unwrap();
    assert_eq!(client.produce("missed", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
    broker.kill();
    std::fs::rename(&wal, &away).unwrap();

    let began = now();
    let broker = start();
    assert!(began.elapsed() < Duration::from_secs(10), "waits for nobody: {:?}", began.elapsed());
    assert!(broker.log().contains("where another ring is by now"), "{}", broker.log());
    let mut client = Client::connect(broker.kafka).unwrap();
    assert!(client.produce("missed", 0, &[b"more".to_vec()]).unwrap().is_err());
    assert!(broker.terminate().0.success());
    std::fs::remove_dir_all(&wal).unwrap();
    std::fs::rename(&away, &wal).unwrap();

    let broker = start();
    let mut client = Client::connect(broker.kafka).unwrap();
    assert_eq!(client.fetch("missed", 0, 0).unwrap().unwrap().records, [(0, b"record".to_vec())]);
}

#[test]
fn a_killed_broker_recovers_from_the_bucket_in_an_empty_folder() {
    let bucket = TempDir::new().unwrap();
    let storage = format!("file://{}", bucket.path().display());
    recovers_from_the_bucket("log in the bucket", || {
        let empty = TempDir::new().unwrap();
        process::start_in(empty.path(), &["--storage", &storage, "--wal", "storage", MEMORY[0], MEMORY[1]])
    });
    let (code, found, wrong) = process::run(&["fsck", "--storage", &storage]);
    assert_eq!(code, Some(0), "{found}{wrong}");
}

/// Kills whatever `start` starts on one bucket, which holds the log too: nothing else outlives a kill.
pub(crate) fn recovers_from_the_bucket(what: &str, start: impl Fn() -> Broker) {
    let mut run = Run::new();
    for _ in 0..run.kills {
        run.load_and_kill(start());
    }
    let broker = start();
    run.verify(broker.kafka);
    let (status, took) = broker.terminate();
    assert!(status.success() && took < Duration::from_secs(4), "clean stop: {status} after {took:?}");
    run.start_over();
    run.verify(start().kafka);
    run.finish(what);
}

struct Run {
    kills: u64,
    seed: Seed,
    writers: Vec<Writer>,
}

impl Run {
    fn new() -> Run {
        let number = from_environment("MILLSTREAM_SEED", u64::from(std::process::id()));
        eprintln!("MILLSTREAM_SEED={number}");
        let mut seed = Seed::new(number);
        let writer = |partition| Writer {
            partition,
            seed: seed.fork("writer"),
            next_number: 0,
            acknowledged: BTreeMap::new(),
            verified: 0,
            last_number: None,
            total: 0,
        };
        let writers = (0..i32::try_from(WRITERS).unwrap()).map(writer).collect();
        Run { kills: from_environment("MILLSTREAM_KILLS", 4), seed, writers }
    }

    /// Verifies what earlier rounds left, then writes until a random moment, at which the broker is killed.
    fn load_and_kill(&mut self, broker: Broker) {
        let load_for = Duration::from_millis(self.seed.between(20, 1500));
        let address = broker.kafka;
        Client::connect(address).unwrap().create_topic(TOPIC, i32::try_from(WRITERS).unwrap()).unwrap();
        self.verify(address);
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writing: Vec<_> =
                self.writers.iter_mut().map(|writer| scope.spawn(|| writer.write_until(address, &killed))).collect();
            std::thread::sleep(load_for);
            broker.kill();
            killed.store(true, Ordering::SeqCst);
            for writer in writing {
                writer.join().unwrap();
            }
        });
    }

    fn verify(&mut self, address: SocketAddr) {
        std::thread::scope(|scope| {
            for writer in &mut self.writers {
                scope.spawn(|| writer.verify(address));
            }
        });
    }

    /// Forgets what was verified, but not what was acknowledged: the next verification reads from offset 0 again.
    fn start_over(&mut self) {
        for writer in &mut self.writers {
            writer.verified = 0;
            writer.last_number = None;
        }
    }

    fn finish(&self, what: &str) {
        let total: u64 = self.writers.iter().map(|writer| writer.total).sum();
        eprintln!("{what}: {} kills, {total} acknowledged records, all there once and in order", self.kills);
        assert!(total >= 100 * self.kills, "only {total} records acknowledged: the load was no load");
    }
}

impl Writer {
    /// Keeps [`IN_FLIGHT`] requests in flight until the connection breaks, which must not be before the kill.
    fn write_until(&mut self, address: SocketAddr, killed: &AtomicBool) {
        let error = match self.write(address) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // The connection may break a moment before the killing thread has said so.
        let began = now();
        while !killed.load(Ordering::SeqCst) {
            assert!(began.elapsed() < Duration::from_secs(5), "a living broker broke the connection: {error}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn write(&mut self, address: SocketAddr) -> std::io::Result<std::convert::Infallible> {
        let mut client = Client::connect(address)?;
        let mut in_flight: VecDeque<(u64, u64)> = VecDeque::new();
        loop {
            while in_flight.len() < IN_FLIGHT {
                let count = self.seed.between(1, 20);
                let values: Vec<Vec<u8>> = (0..count).map(|n| self.value(self.next_number + n)).collect();
                in_flight.push_back((self.next_number, count));
                self.next_number += count;
                client.send_produce(TOPIC, self.partition, &values)?;
            }
            let outcome = client.receive_produced()?;
            let (first, count) = in_flight.pop_front().expect("an answer has its request");
            let base = outcome.unwrap_or_else(|code| panic!("partition {}: error {code}", self.partition));
            for n in 0..count {
                self.acknowledged.insert(base + i64::try_from(n).unwrap(), first + n);
            }
            self.total += count;
        }
    }

    /// A record says its number; its length and bytes follow from it.
    fn value(&self, number: u64) -> Vec<u8> {
        let mut seed = Seed::new(number ^ u64::try_from(self.partition).unwrap() << 56);
        let length = 8 + usize::try_from(seed.below(4000)).unwrap();
        let mut value = number.to_be_bytes().to_vec();
        value.resize(length, u8::try_from(number % 251).unwrap());
        value
    }

    /// Reads on from where the last verification ended to the end of the partition.
    fn verify(&mut self, address: SocketAddr) {
        let mut client = Client::connect(address).unwrap();
        let mut offset = self.verified;
        let mut unseen: BTreeMap<i64, u64> =
            self.acknowledged.range(offset..).map(|(at, number)| (*at, *number)).collect();
        loop {
            let fetched = eventually(Duration::from_secs(30), "fetch", || {
                client.fetch(TOPIC, self.partition, offset).unwrap().ok()
            });
            for (at, value) in &fetched.records {
                assert_eq!(*at, offset, "partition {}: offsets follow each other", self.partition);
                let number = u64::from_be_bytes(value[..8].try_into().unwrap());
                assert!(
                    number < self.next_number,
                    "partition {} offset {at}: nothing that was not sent",
                    self.partition
                );
                assert!(
                    *value == self.value(number),
                    "partition {} offset {at}: bytes of record {number}",
                    self.partition
                );
                assert!(
                    self.last_number.is_none_or(|last| last < number),
                    "partition {} offset {at}: {number} again",
                    self.partition
                );
                if let Some(acknowledged) = unseen.remove(at) {
                    assert_eq!(
                        acknowledged, number,
                        "partition {} offset {at}: another record than acknowledged",
                        self.partition
                    );
                }
                self.last_number = Some(number);
                offset = at + 1;
            }
            if offset >= fetched.high_watermark {
                break;
            }
        }
        let lost = unseen.first_key_value();
        assert!(
            lost.is_none(),
            "partition {}: acknowledged at {lost:?}, and {} more, but it ends at {offset}",
            self.partition,
            unseen.len()
        );
        self.verified = offset;
    }
}
