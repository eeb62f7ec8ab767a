//! `millstream restore`: what it says of a bucket whose ledger is whole, damaged or gone, and that a broker serves what it wrote.

use crate::support::commands::{Cluster, json, one_line};
use crate::support::process::{run, start_in};
use tempfile::TempDir;

fn arguments<'a>(folder: &'a TempDir, words: &[&'a str]) -> Vec<&'a str> {
    let data = folder.path().to_str().unwrap();
    words.iter().copied().chain(["--data", data]).collect()
}

/// A topic of two partitions with a record each, of a broker that was stopped as it should be.
fn stopped() -> TempDir {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "orders", "--partitions", "2"]);
    cluster.ok_with(&["produce", "orders", "--partition", "0"], b"a\nb\n");
    cluster.ok_with(&["produce", "orders", "--partition", "1"], b"c\n");
    let Cluster { broker, folder, .. } = cluster;
    assert!(broker.terminate().0.success());
    folder
}

fn reads(folder: &TempDir, topic: &str) -> String {
    let broker = start_in(folder.path(), &[]);
    let bootstrap = broker.kafka.to_string();
    let read = |partition: &str| run(&["consume", topic, "--partition", partition, "--bootstrap", &bootstrap]).1;
    let all = read("0") + &read("1");
    assert!(broker.terminate().0.success());
    all
}

#[test]
fn a_whole_ledger_needs_nothing() {
    let folder = stopped();
    let (code, told, err) = run(&arguments(&folder, &["restore", "--execute"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert!(told.contains("the ledger is whole: brokers read it as it is"), "{told}");
    assert_eq!(json(&run(&arguments(&folder, &["restore", "--json"])).1)["verdict"], "whole");
    // Nothing is called lost only because objects are asked.
    let (code, told, err) = run(&arguments(&folder, &["restore", "--ask-objects"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert!(told.contains("nothing of the ledger is known to be lost; as --ask-objects was said"), "{told}");
    assert!(!told.contains("new ids"), "{told}");
    let told = json(&run(&arguments(&folder, &["restore", "--ask-objects", "--json"])).1);
    assert_eq!((&told["verdict"], &told["ledger_lost"]), (&"rebuilt".into(), &"nothing".into()), "{told}");
    assert_eq!(reads(&folder, "orders"), "a\nb\nc\n");
}

#[test]
fn a_ledger_that_is_gone_is_rebuilt_under_the_names_that_are_given() {
    let folder = stopped();
    std::fs::remove_dir_all(folder.path().join("bucket/ledger")).unwrap();
    let (code, told, err) = run(&arguments(&folder, &["restore"]));
    assert_eq!(code, Some(1), "{told}");
    assert!(one_line(&err).contains("the ledger is lost") && !err.contains("a part"), "{err}");
    for part in [
        "the ledger is lost: what follows is from what data objects say of themselves",
        "are dropped, and their consumers begin where",
        "  recovered-stream-1-0 (stream 1): offsets 0..2, 2 records",
        "name them by --topic",
        "say it again with --execute",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = json(&run(&arguments(&folder, &["restore", "--json"])).1);
    assert_eq!(
        (&told["verdict"], &told["executed"], &told["partitions"]),
        (&"rebuilt".into(), &false.into(), &2.into()),
        "{told}"
    );
    assert_eq!(told["ledger_lost"], "all");
    assert_eq!(told["group_offsets_dropped_of"].as_array().map(Vec::len), Some(2), "{told}");
    assert!(!folder.path().join("bucket/ledger").exists(), "a report changes nothing");

    let (code, _, err) = run(&arguments(&folder, &["restore", "--execute"]));
    assert!(code == Some(1) && one_line(&err).contains("give the place of every broker's log"), "{err}");
    let named = arguments(&folder, &["restore", "--topic", "orders=1..3", "--without-logs", "--execute"]);
    let (code, told, err) = run(&named);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert!(
        told.contains("orders-1 (stream 2): offsets 0..1, 1 record") && told.contains("ledger snapshot 1099511627776"),
        "{told}"
    );
    assert!(told.contains("unless `millstream group reset` says where: orders\n"), "{told}");
    assert_eq!(reads(&folder, "orders"), "a\nb\nc\n");
    let (code, told, err) = run(&arguments(&folder, &["fsck"]));
    assert!(code == Some(0) && told.ends_with("sound\n"), "{told}{err}");
}

#[test]
fn a_copy_is_written_elsewhere_and_what_can_not_be_is_refused() {
    let folder = stopped();
    std::fs::remove_dir_all(folder.path().join("bucket/ledger")).unwrap();
    let other = TempDir::new().unwrap();
    let url = format!("file://{}/bucket", other.path().display());
    let (code, told, err) =
        run(&arguments(&folder, &["restore", "--topic", "orders=1,2", "--to", &url, "--without-logs", "--execute"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert_eq!(reads(&other, "orders"), "a\nb\nc\n");
    assert!(!folder.path().join("bucket/ledger/snapshot").exists(), "the original is as it was");
    let refused = |words: &[&str], code: i32, part: &str| {
        let (found, _, err) = run(&arguments(&folder, words));
        assert!(found == Some(code) && one_line(&err).contains(part), "{words:?}: {found:?} {err}");
    };
    refused(&["restore", "--to", &url, "--without-logs", "--execute"], 1, "holds a cluster already");
    refused(&["restore", "--topic", "orders=x"], 2, "write NAME=FIRST..END");
    refused(&["restore", "--topic", "or/ders=1"], 2, "--topic or/ders: ");
    refused(&["restore", "--topic", "orders=1,1"], 1, "stream 1 is named twice");
    let empty = TempDir::new().unwrap();
    std::fs::create_dir(empty.path().join("bucket")).unwrap();
    let (code, _, err) = run(&arguments(&empty, &["restore"]));
    assert!(code == Some(1) && one_line(&err).contains("there is nothing of a cluster here"), "{err}");
}

#[test]
fn brokers_that_run_and_logs_that_are_missing_stop_it() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a\nb\n");
    let entry = cluster.folder.path().join("bucket/ledger/entry");
    let mut names: Vec<_> = std::fs::read_dir(&entry).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort();
    let torn = format!("{:020}", names.len() + 5);
    // An entry far beyond: those between are missing.
    std::fs::copy(&names[0], entry.join(torn)).unwrap();
    let refused = |part: &str, words: &[&str]| {
        let (code, _, err) = run(&arguments(&cluster.folder, words));
        assert!(code == Some(1) && one_line(&err).contains(part), "{err}");
    };
    refused("stop all brokers of this cluster first", &["restore", "--execute"]);
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let (code, told, err) = run(&arguments(&folder, &["restore"]));
    assert!(code == Some(1) && one_line(&err).contains("a part of the ledger is lost"), "{err}");
    assert!(told.contains("a part of the ledger is lost: what follows is from entry "), "{told}");
    let (code, _, err) = run(&arguments(&folder, &["restore", "--execute"]));
    assert!(
        code == Some(1) && one_line(&err).contains("give the place where it is by --log, or say --without-logs"),
        "{err}"
    );
    let ring = folder.path().join("wal");
    let (code, told, err) = run(&arguments(&folder, &["restore", "--log", ring.to_str().unwrap(), "--execute"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert!(told.contains("2 records only in write-ahead logs"), "{told}");
    let broker = start_in(folder.path(), &[]);
    let read = run(&["consume", "t", "--bootstrap", &broker.kafka.to_string()]);
    assert_eq!(read.1, "a\nb\n", "{read:?}");
}
