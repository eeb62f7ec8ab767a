//! A broker that is paused while another takes over its bucket: it must acknowledge nothing more, and end with a clear line.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::{self, start_in};
use protocol::error_code::ErrorCode;
use rustix::process::Signal;
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn a_paused_broker_that_was_replaced_acknowledges_nothing_more() {
    let bucket = TempDir::new().unwrap();
    let storage = format!("file://{}", bucket.path().display());
    let empty = TempDir::new().unwrap();
    let arguments = ["--storage", &storage, "--wal", "storage"];
    let mut first = start_in(empty.path(), &arguments);
    let mut client = Client::connect(first.kafka).unwrap();
    client.create_topic("handed-over", 1).unwrap();
    assert_eq!(client.produce("handed-over", 0, &[b"before".to_vec()]).unwrap(), Ok(0));

    first.signal(Signal::STOP);
    let second = start_in(empty.path(), &arguments);
    first.signal(Signal::CONT);

    // Whatever it answers, or whether it closes: not that the record is durable.
    let late = client.produce("handed-over", 0, &[b"late".to_vec()]);
    assert!(!matches!(late, Ok(Ok(_))), "acknowledged after it was replaced: {late:?}");
    let status = first.wait_for_exit(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1));
    let log = first.log();
    let line =
        log.lines().rfind(|line| line.starts_with("millstream: ")).unwrap_or_else(|| panic!("no last line: {log}"));
    assert!(line.contains("declared dead") || line.contains("fenced"), "{line}");

    let mut client = Client::connect(second.kafka).unwrap();
    let fetched = client.fetch("handed-over", 0, 0).unwrap().unwrap();
    assert_eq!(fetched.records, [(0, b"before".to_vec())]);
    assert_eq!(client.produce("handed-over", 0, &[b"after".to_vec()]).unwrap(), Ok(1));
}

#[test]
fn two_living_brokers_share_a_bucket() {
    let bucket = TempDir::new().unwrap();
    let storage = format!("file://{}", bucket.path().display());
    let start = |arguments: &[&str]| {
        let empty = TempDir::new().unwrap();
        let mut all = vec!["--storage", storage.as_str(), "--wal", "storage"];
        all.extend(arguments);
        start_in(empty.path(), &all)
    };
    let mut first = start(&[]);
    Client::connect(first.kafka).unwrap().create_topic("of-the-first", 1).unwrap();
    let mut second = start(&[]);
    Client::connect(second.kafka).unwrap().create_topic("of-the-second", 1).unwrap();
    let mut to_first = Client::connect(first.kafka).unwrap();
    let mut to_second = Client::connect(second.kafka).unwrap();
    assert_eq!(to_first.produce("of-the-first", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
    assert_eq!(to_second.produce("of-the-second", 0, &[b"record".to_vec()]).unwrap(), Ok(0));
    // The first one believed that it was alone, and learns otherwise at once: it knows the other's topic, and who has it.
    eventually(Duration::from_secs(20), "the first broker knows the second one's topic", || {
        let refused = to_first.produce("of-the-second", 0, &[b"record".to_vec()]).unwrap().unwrap_err();
        (refused == ErrorCode::NotLeaderOrFollower.number()).then_some(())
    });
    assert!(first.is_running() && second.is_running());

    // A newer layout is refused in one sentence, also while others run.
    let format = bucket.path().join("format");
    let newer = control::Format { layout: 99, reader: 99, cluster_id: 1 };
    std::fs::write(&format, newer.encode()).unwrap();
    let Err(refused) = process::start(&["--storage", &storage, "--wal", "storage"]) else { panic!("started") };
    assert_eq!(refused.code, Some(1));
    assert!(refused.line().contains("layout 99") && refused.line().contains("newer"), "{}", refused.line());
}

#[test]
fn of_two_brokers_with_one_id_the_later_one_stays_and_says_so() {
    let bucket = TempDir::new().unwrap();
    let storage = format!("file://{}", bucket.path().display());
    let empty = TempDir::new().unwrap();
    let arguments = ["--storage", &storage, "--wal", "storage", "--node-id", "5"];
    let mut first = start_in(empty.path(), &arguments);
    let mut second = start_in(empty.path(), &arguments);
    // Alone in its image the first one would not look at the ledger for two minutes.
    let status = first.wait_for_exit(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1));
    assert!(first.log().contains("declared dead"), "{}", first.log());
    assert!(second.is_running());
    let told = format!("broker 5 ran at {}", first.kafka);
    assert!(second.log().contains(&told) && second.log().contains("--node-id"), "{}", second.log());
}
