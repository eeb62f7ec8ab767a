//! What is promised in milliseconds and mebibytes: `cargo xtask measure NAME`, on the release binary, not in CI.
//!
//! | name | promise |
//! |---|---|
//! | `start` | from exec to the first acknowledged record, on an empty folder: 100 ms |
//! | `rss` | resident memory 30 s after that, idle: 40 MiB |
//! | `recovery` | from exec to ready after a kill, with an empty log: 200 ms; with a full one of 2 GiB: 5 s |
//!
//! Each prints the median and the worst of its runs, and the load of the machine, without which a time means little.

use crate::support::client::Client;
use crate::support::process::{self, Broker};
use crate::support::{from_environment, now};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

fn runs() -> u64 {
    from_environment("MILLSTREAM_RUNS", 20)
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .map_or_else(|_| "unknown".to_owned(), |text| text[..14.min(text.len())].to_owned())
}

fn report(what: &str, unit: &str, mut values: Vec<u64>, promised: u64) {
    values.sort_unstable();
    let (median, worst) = (values[values.len() / 2], values[values.len() - 1]);
    eprintln!(
        "{what}: median {median} {unit}, worst {worst} {unit} of {} runs; promised {promised} {unit}",
        values.len()
    );
    assert!(median <= promised, "{what}: median {median} {unit} is more than the promised {promised} {unit}");
}

/// Creates a topic and has one record acknowledged.
fn first_record(broker: &Broker) {
    let mut client = Client::connect(broker.kafka).unwrap();
    client.create_topic("first", 1).unwrap();
    client.produce("first", 0, &[b"record".to_vec()]).unwrap().unwrap();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

#[test]
#[ignore = "a measurement: cargo xtask measure start"]
fn start() {
    eprintln!("load average before: {}", load_average());
    let (mut ready, mut acknowledged) = (Vec::new(), Vec::new());
    for _ in 0..runs() {
        let folder = TempDir::new().unwrap();
        let broker = process::start_in(folder.path(), &[]);
        first_record(&broker);
        acknowledged.push(millis(broker.began.elapsed()));
        ready.push(millis(broker.ready_after));
    }
    report("exec to ready", "ms", ready, 100);
    report("exec to the first acknowledged record", "ms", acknowledged, 100);
}

#[test]
#[ignore = "a measurement: cargo xtask measure rss"]
fn rss() {
    let folders: Vec<TempDir> = (0..runs()).map(|_| TempDir::new().unwrap()).collect();
    let brokers: Vec<Broker> = folders.iter().map(|folder| process::start_in(folder.path(), &[])).collect();
    brokers.iter().for_each(first_record);
    std::thread::sleep(Duration::from_secs(30));
    eprintln!("load average: {}", load_average());
    report("resident memory, idle for 30 s", "KiB", brokers.iter().map(Broker::resident_kib).collect(), 40 * 1024);
}

#[test]
#[ignore = "a measurement: cargo xtask measure recovery"]
fn recovery() {
    eprintln!("load average before: {}", load_average());
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &[]);
    first_record(&broker);
    broker.kill();
    report("recovery of an empty log", "ms", recoveries(folder.path()), 200);

    let folder = TempDir::new().unwrap();
    let bytes = fill_log(folder.path());
    eprintln!("{} MiB are in the log and in no object", bytes >> 20);
    assert!(bytes > 1800 << 20, "the log is no 2 GiB large: that takes 20 GiB free on the disk");
    report("recovery of a full log of 2 GiB", "ms", recoveries(folder.path()), 5000);
}

/// Starts and kills without giving it the time to change anything.
fn recoveries(folder: &Path) -> Vec<u64> {
    let recover = |_| {
        let broker = process::start_in(folder, &[]);
        let took = millis(broker.ready_after);
        broker.kill();
        took
    };
    (0..runs()).map(recover).collect()
}

/// Writes until nothing is taken any more, while nothing can be uploaded: a file stands where the data objects' folder should be.
/// Kills the broker, and answers how many bytes it had acknowledged.
fn fill_log(folder: &Path) -> u64 {
    let broker = process::start_in(folder, &[]);
    let mut client = Client::connect(broker.kafka).unwrap();
    client.create_topic("full", 1).unwrap();
    let data = folder.join("bucket/data");
    std::fs::remove_dir_all(&data).ok();
    std::fs::write(&data, b"in the way").unwrap();
    let values: Vec<Vec<u8>> = (0..9).map(|n| vec![n; 100_000]).collect();
    let began = now();
    let mut acknowledged = 0;
    while began.elapsed() < Duration::from_secs(300) {
        match client.produce("full", 0, &values) {
            Ok(Ok(_)) => acknowledged += 900_000,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    broker.kill();
    acknowledged
}
