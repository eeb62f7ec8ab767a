//! `millstream broker abandon`: a broker was killed and its log's folder is gone; its partitions open again without what was only there.

use crate::support::commands::{Cluster, json, one_line};
use crate::support::process::{run, start, start_in};
use std::path::Path;
use tempfile::TempDir;

fn arguments<'a>(folder: &'a TempDir, words: &[&'a str]) -> Vec<&'a str> {
    let data = folder.path().to_str().unwrap();
    words.iter().copied().chain(["--data", data]).collect()
}

/// The code and the one line of a command that must fail.
fn refused(folder: &TempDir, words: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = run(&arguments(folder, words));
    assert_eq!(out, "", "{words:?}");
    (code, one_line(&err))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join("ring"), to.join("ring")).unwrap();
}

#[test]
fn a_broker_whose_disk_is_lost_is_given_up_and_its_partitions_open_again() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a\nb\nc\n");
    let id = json(&cluster.ok(&["topic", "describe", "t", "--json"]))["partitions"][0]["leader"].to_string();
    let abandon = ["broker", "abandon", id.as_str()];
    let (code, line) = refused(&cluster.folder, &[&abandon[..], &["--execute", "--yes"]].concat());
    assert!(code == Some(1) && line.contains("is in use: its broker answers at 127.0.0.1:"), "{line}");
    let (code, line) = refused(&cluster.folder, &["broker", "abandon", "4711"]);
    assert!(code == Some(1) && line.contains("knows no broker 4711"), "{line}");

    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let wal = folder.path().join("wal");
    let (code, line) = refused(&folder, &abandon);
    assert!(code == Some(1) && line.contains("is not lost: it can be read here"), "{line}");
    let kept = folder.path().join("kept");
    copy(&wal, &kept);
    std::fs::remove_dir_all(&wal).unwrap();

    let (code, plan, err) = run(&arguments(&folder, &abandon));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{plan}");
    let goes_on = 1_u64 << 36;
    let lost =
        format!("\n  t-0: acknowledged records from offset 0 on are lost; the next record gets offset {goes_on}\n");
    for told in [
        "it was not stopped, and nobody answers at 127.0.0.1:",
        lost.as_str(),
        "\na process that still runs there goes on acknowledging, and all of that is lost as well",
    ] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    assert!(plan.ends_with("nothing has changed yet: say it again with --execute\n"), "{plan}");
    let left = json(&run(&arguments(&folder, &["fsck", "--json"])).1);
    assert!(left["logs_left"].as_array().unwrap().len() == 1 && left["abandoned"] == serde_json::json!([]), "{left}");
    let (code, line) = refused(&folder, &[&abandon[..], &["--execute"]].concat());
    assert!(code == Some(2) && line.contains("say --yes"), "nobody is there to be asked: {line}");

    // Another broker runs meanwhile, and is told at once.
    let storage = format!("file://{}/bucket", folder.path().display());
    let other = TempDir::new().unwrap();
    let other_wal = format!("file://{}/wal", other.path().display());
    let lives = start(&["--storage", &storage, "--wal", &other_wal]).unwrap();
    let bootstrap = lives.kafka.to_string();
    let (code, told, err) = run(&arguments(&folder, &[&abandon[..], &["--execute", "--yes", "--json"]].concat()));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    let told = json(&told);
    let expected = serde_json::json!([{ "partition": "t-0", "offsets": [0, goes_on], "open": true }]);
    assert_eq!((&told["logs"][0]["outcome"], &told["logs"][0]["lost"]), (&"given up".into(), &expected), "{told}");
    assert_eq!((&told["executed"], &told["handed_on"]), (&true.into(), &1.into()), "{told}");

    let produced = crate::support::process::run_with_input(&["produce", "t", "--bootstrap", &bootstrap], b"d\ne\n");
    assert_eq!(produced.0, Some(0), "{produced:?}");
    let read = run(&["consume", "t", "--bootstrap", &bootstrap, "--timeout", "10"]);
    assert_eq!(read.1, "d\ne\n", "{read:?}");
    let described = run(&["topic", "describe", "t", "--bootstrap", &bootstrap, "--json"]);
    assert_eq!(json(&described.1)["partitions"][0]["end"], goes_on + 2, "{described:?}");
    lives.terminate();

    let (code, told, _) = run(&arguments(&folder, &["fsck"]));
    assert!(code == Some(0) && told.contains("was given up at 20") && told.ends_with("sound\n"), "{told}");
    let (code, line) = refused(&folder, &[&abandon[..], &["--log", "77/0"]].concat());
    assert!(code == Some(1) && line.contains("no"), "{line}");

    // The disk is found.
    copy(&kept, &wal);
    let data = folder.path().to_str().unwrap();
    let back = start(&["--data", data]).err().unwrap();
    assert_eq!(back.code, Some(1));
    assert!(back.line().contains("was given up at 20") && back.line().contains("move the file away"), "{back:?}");
    let (code, shown, _) = run(&["inspect", "wal", wal.to_str().unwrap()]);
    assert!(code == Some(0) && !shown.is_empty(), "what it holds can be looked at");
    std::fs::remove_dir_all(&wal).unwrap();
    let broker = start_in(folder.path(), &[]);
    let read = run(&["consume", "t", "--bootstrap", &broker.kafka.to_string(), "--timeout", "10"]);
    assert_eq!(read.1, "d\ne\n", "{read:?}");
}

#[test]
fn a_log_in_the_bucket_can_not_be_lost() {
    let cluster = Cluster::start_in(TempDir::new().unwrap(), &["--wal", "storage"]);
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a\n");
    let id = json(&cluster.ok(&["topic", "describe", "t", "--json"]))["partitions"][0]["leader"].to_string();
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let (code, line) = refused(&folder, &["broker", "abandon", &id, "--log", "1/0", "--execute", "--yes"]);
    assert!(code == Some(1) && line.contains("the write-ahead log 1/0 is in the bucket, and can't be lost"), "{line}");
    let (code, line) = refused(&folder, &["broker", "abandon", &id, "--log", "one"]);
    assert!(code == Some(2) && line.contains("write START/INDEX"), "{line}");
    let (code, told, err) = run(&arguments(&folder, &["broker", "abandon", &id]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert!(told.starts_with("no write-ahead log of broker "), "{told}");
}
