//! `millstream fsck` and `millstream inspect`: what they find, how they end whoever reads it, and that they change nothing.

use crate::support::commands::{Cluster, json, one_line};
use crate::support::process::{closed_pipe, full_device, run, run_into};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A bucket with records in a data object, of a broker that was stopped as it should be.
fn stopped() -> TempDir {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t", "--set", "retention.ms=100000000"]);
    cluster.ok_with(&["produce", "t"], b"x\ny\n");
    let Cluster { broker, folder, .. } = cluster;
    assert!(broker.terminate().0.success());
    folder
}

fn data(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

/// Every file below, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_look_changes_nothing_in_the_bucket() {
    let folder = stopped();
    let bucket = folder.path().join("bucket");
    // What a broker would sweep when it starts.
    std::fs::write(bucket.join(".tmp/0123456789abcdef-3"), "half").unwrap();
    let before = files(&bucket);
    for words in [&["fsck"][..], &["inspect", "ledger"]] {
        let arguments: Vec<&str> = words.iter().copied().chain(["--data", data(&folder)]).collect();
        let (code, out, err) = run(&arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}: {out}");
        assert!(files(&bucket) == before, "{words:?} is a look");
    }
}

#[test]
fn a_verdict_does_not_depend_on_who_reads_it() {
    let folder = stopped();
    let bucket = folder.path().join("bucket");
    let commands =
        [["fsck", "--data", data(&folder)].to_vec(), ["inspect", "ledger", "--data", data(&folder)].to_vec()];
    for sound in &commands {
        assert_eq!(run_into(closed_pipe(), sound), (Some(0), String::new()), "{sound:?}");
        let (code, err) = run_into(full_device(), sound);
        assert!(code == Some(1) && one_line(&err).contains("write to standard output: "), "{sound:?}: {err}");
    }
    std::fs::remove_dir_all(bucket.join("data")).unwrap();
    let entries = files(&bucket.join("ledger"));
    let entry = entries.keys().rev().find(|path| path.to_str().unwrap().contains("/entry/")).unwrap();
    std::fs::write(entry, "rubbish").unwrap();
    for damaged in &commands {
        for (code, err) in [run_into(closed_pipe(), damaged), run_into(full_device(), damaged)] {
            assert!(code == Some(1) && one_line(&err).contains("problem"), "{damaged:?}: {err}");
        }
        let told = run(&[&damaged[..], &["--json"]].concat());
        assert!(told.0 == Some(1) && told.1.contains("problem"), "{told:?}");
    }
}

#[test]
fn what_a_local_log_may_hold_is_named() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    let fsck = ["fsck", "--data", cluster.folder.path().to_str().unwrap()];
    let says = |what: &str| {
        let (code, out, err) = run(&fsck);
        assert!(code == Some(0) && err.is_empty() && out.ends_with("sound\n"), "{out}{err}");
        let lines = out.lines().filter(|line| line.contains("the write-ahead log ")).collect::<Vec<_>>();
        assert!(lines.len() == 1 && lines[0].contains(what), "{out}");
    };
    says("of a broker that was not stopped, or still runs, may hold what is in no object");
    let told = json(&run(&[&fsck[..], &["--json"]].concat()).1);
    assert_eq!((&told["sound"], &told["topics"]), (&true.into(), &1.into()), "{told}");
    assert_eq!(told["logs_left"].as_array().unwrap().len(), 1, "{told}");
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let fsck = ["fsck", "--data", data(&folder)];
    assert!(run(&fsck).1.contains("of a broker that was not stopped, or still runs"));
    let stopped = stopped();
    assert!(!run(&["fsck", "--data", data(&stopped)]).1.contains("write-ahead log"), "all of it is in the bucket");
}

#[test]
fn a_bucket_that_has_lost_its_ledger_is_not_sound() {
    let folder = stopped();
    std::fs::remove_dir_all(folder.path().join("bucket/ledger")).unwrap();
    let (code, out, err) = run(&["fsck", "--data", data(&folder)]);
    assert!(code == Some(1) && err.contains("problem"), "{out}{err}");
    assert!(out.contains("the ledger is lost") && out.contains("`millstream restore`"), "{out}");
    assert!(!out.contains("sound") && !out.contains("sweep"), "{out}");
}

#[test]
fn what_is_inspected_is_told_in_json_too() {
    let folder = stopped();
    let inspect = |words: &[&str]| {
        let arguments: Vec<&str> = words.iter().copied().chain(["--data", data(&folder), "--json"]).collect();
        let (code, out, err) = run(&arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{words:?}: {out}");
        out.lines().map(json).collect::<Vec<_>>()
    };
    let ledger = inspect(&["inspect", "ledger"]);
    let find = |what: &str| ledger.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{ledger:?}"));
    assert_eq!(find("topic")["topic"], "t");
    assert_eq!(find("topic")["configs"]["retention.ms"], "100000000");
    assert_eq!((&find("partition")["topic"], &find("partition")["committed"]), (&"t".into(), &2.into()));
    assert_eq!(find("reference")["offsets"], serde_json::json!([0, 2]));
    let id = find("object")["object"].as_str().unwrap();
    let object = inspect(&["inspect", "object", id]);
    assert_eq!((&object[0]["what"], &object[0]["object"]), (&"object".into(), &id.into()));
    let block = object.iter().find(|line| line["what"] == "block").unwrap();
    assert_eq!((&block["object"], &block["offsets"]), (&id.into(), &serde_json::json!([0, 2])));
    let wal = folder.path().join("wal");
    let ring = inspect(&["inspect", "wal", wal.to_str().unwrap()]);
    assert!(ring[0]["what"] == "ring" && ring.iter().any(|line| line["what"] == "entry"), "{ring:?}");
    let (code, _, err) = run(&["inspect", "object", "9999-1", "--data", data(&folder)]);
    assert_eq!(code, Some(1));
    assert!(one_line(&err).contains("no such object; `millstream inspect ledger"), "{err}");
}
