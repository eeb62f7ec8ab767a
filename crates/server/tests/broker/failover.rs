//! Of three brokers on one bucket one dies, stops or sleeps under load, and the others take over what it had while they run.
//!
//! One idempotent producer writes numbered records to all partitions, and tries again what is not acknowledged; one consumer reads along.
//! Whatever happens to a broker, each partition must hold the producer's numbers from 0 on, each once, in order.
//!
//! `cargo xtask measure failover` runs the same more often, on the release binary, and tells how long partitions could not be written.

use crate::support::client::Client;
use crate::support::process::{self, Broker};
use crate::support::{eventually, from_environment, now};
use base::Micros;
use client::{ClientOptions, Cluster, Consumer, ConsumerOptions, OutRecord, Producer, ProducerOptions};
use protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use world::{Clock, ClockExt, World};

const TOPIC: &str = "followed";
const PARTITIONS: i32 = 6;
const CREATE_TOPICS: i16 = 4;
/// Between two records of a partition.
const PACE: Duration = Duration::from_millis(4);
/// How long records are written before something happens to a broker, and behind it.
const BEFORE: Duration = Duration::from_secs(1);
const BEHIND: Duration = Duration::from_secs(4);
/// How long a partition may not take records, on a host that does other things as well. `measure` tells what it is.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A broker of its own host: what is in no bucket is in a folder that nobody else has.
fn start(bucket: &Path, id: usize, arguments: &[&str]) -> (Broker, TempDir) {
    let folder = TempDir::new().unwrap();
    let (storage, id) = (format!("file://{}", bucket.display()), id.to_string());
    let mut all = vec!["--storage", &storage, "--node-id", &id];
    all.extend(arguments);
    (process::start_in(folder.path(), &all), folder)
}

/// Brokers that know one another, and a topic whose partitions are spread over them.
fn cluster(bucket: &Path, count: usize, arguments: &[&str]) -> Vec<(Broker, TempDir)> {
    let brokers: Vec<_> = (0..count).map(|id| start(bucket, id, arguments)).collect();
    let partition = |index: i32| CreatableReplicaAssignment {
        partition_index: index,
        broker_ids: vec![index % i32::try_from(count).unwrap()],
    };
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: (0..PARTITIONS).map(partition).collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let mut client = Client::connect(brokers[0].0.kafka).unwrap();
    // The first one hears of the others within a second, and refuses to give them anything until then.
    eventually(Duration::from_secs(20), "they know one another", || {
        let answer = client.call(&request, CREATE_TOPICS).unwrap();
        (answer.topics[0].error_code == 0).then_some(())
    });
    brokers
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// A client whose calls may take so long, all that is tried again in them.
async fn connect(brokers: &[(Broker, TempDir)], call_within: Duration) -> Cluster {
    let addresses: Vec<String> = brokers.iter().map(|(broker, _)| broker.kafka.to_string()).collect();
    let options = ClientOptions { call_within, ..ClientOptions::new(addresses.join(",")) };
    Cluster::connect(World::system(), options).await.unwrap()
}

/// When batches of a partition were acknowledged.
type Deliveries = Arc<Mutex<BTreeMap<i32, Vec<Micros>>>>;

/// Writes and reads while `strike` happens; answers the longest pause of any partition between two acknowledgements.
fn under_load(brokers: Vec<(Broker, TempDir)>, strike: impl FnOnce(&mut Vec<(Broker, TempDir)>)) -> Duration {
    let mut brokers = brokers;
    run(async {
        let clock = World::system().clock;
        // What was sent to a broker that sleeps is sent elsewhere then.
        let cluster = connect(&brokers, Duration::from_secs(8)).await;
        // A reader has nothing that it could send elsewhere.
        let readers = connect(&brokers, PAUSE_MAX * 2).await;
        let deliveries = Deliveries::default();
        let heard = deliveries.clone();
        let options =
            ProducerOptions { delivery_within: Duration::from_mins(1), linger: PACE, ..ProducerOptions::default() };
        let on_delivery = Arc::new(move |delivery: &client::Delivery<'_>| {
            heard.lock().unwrap().entry(delivery.partition).or_default().push(delivery.at);
        });
        let producer = Producer::start(cluster, TOPIC, options, on_delivery).await.unwrap();
        let sent = Arc::new(Mutex::new(0_u64));
        let reading = clock.spawn("read along", Box::pin(read_along(readers, sent.clone())));
        // Every broker knows the topic by then, so that each has something to lose.
        let began = now();
        while deliveries.lock().unwrap().len() < usize::try_from(PARTITIONS).unwrap() {
            assert!(began.elapsed() < Duration::from_secs(30), "every partition takes records");
            write_for(&producer, &sent, clock.as_ref(), PACE * 10).await;
        }
        write_for(&producer, &sent, clock.as_ref(), BEFORE).await;
        strike(&mut brokers);
        write_for(&producer, &sent, clock.as_ref(), BEHIND).await;
        producer.flush().await.unwrap();
        // Nothing more comes: from here on the reader may end.
        *sent.lock().unwrap() |= LAST;
        clock.timeout(Duration::from_mins(1), reading.join()).await.expect("the consumer follows").unwrap();
        let deliveries = deliveries.lock().unwrap();
        let gaps = deliveries.values().flat_map(|times| times.windows(2).map(|two| two[1].since(two[0])));
        let pause = gaps.max().unwrap();
        let logs: String = brokers.iter().map(|(broker, _)| broker.log()).collect();
        assert!(brokers.iter_mut().all(|(broker, _)| broker.is_running()), "the others live: {logs}");
        eprintln!("not writable for {pause:?}: {logs}");
        pause
    })
}

/// Marks a number of records as the last one.
const LAST: u64 = 1 << 63;

async fn write_for(producer: &Producer, sent: &Mutex<u64>, clock: &dyn Clock, time: Duration) {
    let until = clock.now().plus(time);
    while clock.now() < until {
        let number = *sent.lock().unwrap();
        for partition in 0..PARTITIONS {
            let value = number.to_be_bytes();
            let record = OutRecord { key: None, value: Some(&value), due: clock.now() };
            producer.send(Some(partition), &record).await.unwrap();
        }
        *sent.lock().unwrap() += 1;
        clock.sleep(PACE).await;
    }
}

/// Reads every partition from its beginning until all that was written is there.
async fn read_along(cluster: Cluster, sent: Arc<Mutex<u64>>) {
    let clock = World::system().clock;
    let mut next: BTreeMap<i32, u64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let positions = next.keys().map(|partition| (*partition, 0)).collect();
    let mut consumer = Consumer::new(cluster, TOPIC, positions, ConsumerOptions::default());
    let is_read = |next: &BTreeMap<i32, u64>| {
        let sent = *sent.lock().unwrap();
        sent & LAST != 0 && next.values().all(|next| *next == sent & !LAST)
    };
    while !is_read(&next) {
        // Kept until it is done: one that is dropped while it waits to try again begins anew, and hears of no new leader.
        let mut fetched = std::pin::pin!(consumer.next());
        let fetched = loop {
            if let Some(fetched) = clock.timeout(Duration::from_millis(100), fetched.as_mut()).await {
                break fetched.unwrap();
            }
            // Where all is read nothing more comes, before it is known that all is written.
            if is_read(&next) {
                return;
            }
        };
        let expected = next.get_mut(&fetched.partition).unwrap();
        for record in fetched.records {
            let number = u64::from_be_bytes(record.value.unwrap()[..].try_into().unwrap());
            assert_eq!(number, *expected, "partition {} offset {}", fetched.partition, record.offset);
            *expected += 1;
        }
    }
}

fn is_whole(bucket: &Path) {
    let storage = format!("file://{}", bucket.display());
    let (code, found, wrong) = process::run(&["fsck", "--storage", &storage]);
    assert_eq!(code, Some(0), "{found}{wrong}");
}

/// How often, so that one test serves CI and longer runs.
fn rounds() -> u64 {
    from_environment("MILLSTREAM_RUNS", 1)
}

#[test]
fn two_go_on_without_the_third() {
    let mut pauses = Vec::new();
    for _ in 0..rounds() {
        let bucket = TempDir::new().unwrap();
        let brokers = cluster(bucket.path(), 3, &["--wal", "storage"]);
        pauses.push(under_load(brokers, |brokers| brokers.remove(1).0.kill()));
        is_whole(bucket.path());
    }
    pauses.sort();
    let at = |percent: usize| pauses[(pauses.len() * percent).div_ceil(100).max(1) - 1];
    eprintln!("failover: {} kills, not writable for P50 {:?}, P99 {:?}", pauses.len(), at(50), at(99));
    assert!(at(100) < PAUSE_MAX, "{pauses:?}");
}

#[test]
fn one_goes_on_without_two() {
    let bucket = TempDir::new().unwrap();
    let brokers = cluster(bucket.path(), 3, &["--wal", "storage"]);
    let pause = under_load(brokers, |brokers| {
        brokers.remove(0).0.kill();
        brokers.remove(0).0.kill();
    });
    assert!(pause < PAUSE_MAX, "{pause:?}");
    is_whole(bucket.path());
}

#[test]
fn a_shared_folder_is_recovered_by_whoever_is_there() {
    let (bucket, filer) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let wal = format!("file://{}?shared&size=64MiB", filer.path().display());
    let brokers = cluster(bucket.path(), 3, &["--wal", &wal]);
    let pause = under_load(brokers, |brokers| brokers.remove(2).0.kill());
    assert!(pause < PAUSE_MAX, "{pause:?}");
    is_whole(bucket.path());
}

#[test]
fn what_a_broker_leaves_that_stops_is_opened_by_the_others() {
    let bucket = TempDir::new().unwrap();
    let brokers = cluster(bucket.path(), 3, &["--wal", "storage"]);
    let pause = under_load(brokers, |brokers| {
        let (mut broker, _folder) = brokers.remove(1);
        broker.signal(Signal::TERM);
        let status = broker.wait_for_exit(Duration::from_secs(4));
        let log = broker.log();
        assert!(status.success(), "{status}: {log}");
        assert!(log.contains("everything is committed") && !log.contains("declared dead"), "{log}");
    });
    assert!(pause < PAUSE_MAX, "{pause:?}");
    is_whole(bucket.path());
}

#[test]
fn a_broker_that_slept_acknowledges_nothing_outside_of_what_was_recovered() {
    let bucket = TempDir::new().unwrap();
    let brokers = cluster(bucket.path(), 3, &["--wal", "storage"]);
    let mut sleeper = None;
    let pause = under_load(brokers, |brokers| {
        let (broker, folder) = brokers.remove(1);
        broker.signal(Signal::STOP);
        sleeper = Some((broker, folder));
    });
    assert!(pause < PAUSE_MAX, "{pause:?}");
    let (mut broker, _folder) = sleeper.unwrap();
    // Its partitions are others' by now. It does not know, and is asked before it can.
    let mut clients: Vec<Client> = Vec::new();
    for partition in 0..PARTITIONS {
        let mut client = Client::connect(broker.kafka).unwrap();
        client.send_produce(TOPIC, partition, &[b"late".to_vec()]).unwrap();
        clients.push(client);
    }
    broker.signal(Signal::CONT);
    for client in &mut clients {
        let late = client.receive_produced();
        assert!(!matches!(late, Ok(Ok(_))), "acknowledged after others took over: {late:?}");
    }
    let status = broker.wait_for_exit(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1));
    let log = broker.log();
    assert!(log.lines().any(|line| line.starts_with("millstream: ") && line.contains("declared dead")), "{log}");
    is_whole(bucket.path());
}

#[test]
fn a_broker_holds_its_own_sleep_against_nobody() {
    let bucket = TempDir::new().unwrap();
    let (mut sleeper, _first) = start(bucket.path(), 0, &["--wal", "storage"]);
    let (mut other, _second) = start(bucket.path(), 1, &["--wal", "storage", "--watch-timeout", "off"]);
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..3 {
        sleeper.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(1500));
        sleeper.signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(700));
    }
    assert!(sleeper.is_running() && other.is_running());
    let log = sleeper.log();
    assert!(log.contains("was held up for a while") && !log.contains("declares it dead"), "{log}");
}

/// Whose connections are taken, all but none, is asked by brokers all the same, by those that start and by those that watch.
#[test]
fn a_broker_that_clients_fill_is_not_taken_for_dead() {
    let bucket = TempDir::new().unwrap();
    let quick = ["--wal", "storage", "--watch-timeout", "400ms"];
    let full = [&quick[..], &["--set", "max.connections.per.ip=1"]].concat();
    let (mut first, _folder) = start(bucket.path(), 0, &full);
    let mut client = Client::connect(first.kafka).unwrap();
    client.create_topic("full", 1).unwrap();
    let (mut second, _other) = start(bucket.path(), 1, &quick);
    // Long enough also for who has never answered.
    std::thread::sleep(Duration::from_secs(6));
    assert!(first.is_running() && second.is_running(), "{}{}", first.log(), second.log());
    assert!(!second.log().contains("declares it dead"), "{}", second.log());
    assert_eq!(client.produce("full", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
}

/// A local log is on one host. Nobody takes over what is in it, and nobody says that it is served.
#[test]
fn what_lies_on_a_lost_host_waits_for_it() {
    let bucket = TempDir::new().unwrap();
    let quick = ["--watch-timeout", "300ms"];
    let (first, _folder) = start(bucket.path(), 0, &quick);
    let (second, folder) = start(bucket.path(), 1, &quick);
    let mut to_second = Client::connect(second.kafka).unwrap();
    to_second.create_topic("local", 1).unwrap();
    let own = eventually(Duration::from_secs(20), "the second one leads a partition", || {
        let name = format!("local-{}", now().elapsed().as_nanos());
        to_second.create_topic(&name, 4).unwrap();
        let led =
            (0..4).find(|partition| matches!(to_second.produce(&name, *partition, &[b"record".to_vec()]), Ok(Ok(0))));
        led.map(|partition| (name, partition))
    });
    second.kill();
    eventually(Duration::from_secs(30), "the first one knows", || {
        first.log().contains("nobody else can read its write-ahead log").then_some(())
    });
    let mut to_first = Client::connect(first.kafka).unwrap();
    let refused = to_first.produce(&own.0, own.1, &[b"lost".to_vec()]).unwrap();
    assert!(refused.is_err(), "{refused:?}");
    let storage = format!("file://{}", bucket.path().display());
    let back = process::start_in(folder.path(), &["--storage", &storage, "--node-id", "1", quick[0], quick[1]]);
    let mut to_back = Client::connect(back.kafka).unwrap();
    let fetched = eventually(Duration::from_secs(20), "it is back", || to_back.fetch(&own.0, own.1, 0).unwrap().ok());
    assert_eq!(fetched.records, [(0, b"record".to_vec())]);
    assert_eq!(to_back.produce(&own.0, own.1, &[b"more".to_vec()]).unwrap(), Ok(1));
}
