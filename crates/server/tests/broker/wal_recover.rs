//! `millstream wal recover`: a dead broker's log, moved elsewhere, comes into the bucket without a broker that serves.

use crate::support::commands::{Cluster, json, one_line};
use crate::support::process::{run, start, start_in};
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::TempDir;

fn arguments<'a>(folder: &'a TempDir, words: &[&'a str]) -> Vec<&'a str> {
    let data = folder.path().to_str().unwrap();
    words.iter().copied().chain(["--data", data]).collect()
}

#[test]
fn a_log_whose_host_is_gone_is_recovered_from_where_it_is_mounted() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a\nb\nc\n");
    let in_use = run(&arguments(&cluster.folder, &["wal", "recover", "1/0", "--execute"]));
    assert_eq!(in_use.0, Some(1));
    assert!(
        one_line(&in_use.2).contains("the write-ahead log 1/0 is in use: its broker answers at 127.0.0.1:"),
        "{in_use:?}"
    );
    let nothing = run(&arguments(&cluster.folder, &["wal", "recover"]));
    assert_eq!(nothing, (Some(0), "no write-ahead log waits to be recovered\n".to_owned(), String::new()));
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let moved = TempDir::new().unwrap();
    let moved = moved.path().join("disk");
    let moved = moved.to_str().unwrap();
    // Across file systems where they differ.
    std::fs::create_dir(moved).unwrap();
    std::fs::copy(folder.path().join("wal/ring"), format!("{moved}/ring")).unwrap();
    std::fs::remove_dir_all(folder.path().join("wal")).unwrap();

    let away = run(&arguments(&folder, &["wal", "recover", "1/0"]));
    assert!(away.0 == Some(1) && one_line(&away.2).contains("give the place where it is now by --at"), "{away:?}");
    let (code, plan, err) = run(&arguments(&folder, &["wal", "recover", "--at", moved]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{plan}");
    assert!(
        plan.contains("it was not stopped, and nobody answers at 127.0.0.1:") && plan.contains("3 records"),
        "{plan}"
    );
    assert!(
        plan.contains("\n  t-0\n") && plan.ends_with("nothing has changed yet: say it again with --execute\n"),
        "{plan}"
    );
    let left = json(&run(&arguments(&folder, &["fsck", "--json"])).1);
    assert_eq!(left["logs_left"].as_array().unwrap().len(), 1, "a plan changes nothing: {left}");

    let (code, told, err) = run(&arguments(&folder, &["wal", "recover", "--at", moved, "--execute", "--json"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    let told = json(&told);
    assert_eq!(
        (&told["executed"], &told["logs"][0]["outcome"], &told["logs"][0]["records"]),
        (&true.into(), &"recovered".into(), &3.into()),
        "{told}"
    );
    assert_eq!(told["logs"][0]["offsets"][0]["offsets"], serde_json::json!([0, 3]), "{told}");
    let left = json(&run(&arguments(&folder, &["fsck", "--json"])).1);
    assert!(left["sound"] == true && left["logs_left"].as_array().unwrap().is_empty(), "{left}");
    let again = run(&arguments(&folder, &["wal", "recover", "--at", moved, "--execute"]));
    assert!(again.0 == Some(1) && one_line(&again.2).contains("waits to be recovered"), "{again:?}");

    let broker = start_in(folder.path(), &[]);
    let bootstrap = broker.kafka.to_string();
    let read = run(&["consume", "t", "--bootstrap", &bootstrap]);
    assert_eq!(read.1, "a\nb\nc\n", "{read:?}");
}

#[test]
fn a_snapshot_of_a_log_is_told_from_the_log() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a\nb\n");
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let snapshot = TempDir::new().unwrap();
    std::fs::copy(folder.path().join("wal/ring"), snapshot.path().join("ring")).unwrap();
    let cluster = Cluster::start_in(folder, &[]);
    cluster.ok_with(&["produce", "t"], b"c\n");
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();

    let at = snapshot.path().to_str().unwrap();
    let refused = run(&arguments(&folder, &["wal", "recover", "2/0", "--at", at]));
    let told = one_line(&refused.2);
    assert!(
        refused.0 == Some(1)
            && told.contains("is an older copy of this log's ring")
            && told.contains("say --older-too"),
        "{refused:?}"
    );
    let refused = run(&arguments(&folder, &["wal", "recover", "2/0", "--at", at, "--execute"]));
    assert!(
        refused.0 == Some(1)
            && refused.1.starts_with("PROBLEM: ")
            && one_line(&refused.2).ends_with("1 write-ahead log not wholly recovered: 2/0"),
        "{refused:?}"
    );
    let (code, plan, err) = run(&arguments(&folder, &["wal", "recover", "2/0"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{plan}");
    assert!(plan.contains("1 record,") && plan.contains("does not prove that it is the newest"), "{plan}");
    let (code, told, err) = run(&arguments(&folder, &["wal", "recover", "2/0", "--execute"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    let broker = start_in(folder.path(), &[]);
    let read = run(&["consume", "t", "--bootstrap", &broker.kafka.to_string()]);
    assert_eq!(read.1, "a\nb\nc\n", "{read:?}");
}

/// Changes a byte of a record that is known to have been durable, as another one came after it.
fn damage(ring: &Path, record: &[u8]) {
    let bytes = std::fs::read(ring).unwrap();
    let at = bytes.windows(record.len()).position(|window| window == record).unwrap();
    let mut file = OpenOptions::new().write(true).open(ring).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(b"?").unwrap();
}

#[test]
fn a_log_whose_recoverer_is_gone_too_is_not_said_to_be_uploaded() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a record to be damaged\n");
    cluster.ok_with(&["produce", "t"], b"another\n");
    cluster.ok_with(&["produce", "t"], b"and another\n");
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    damage(&folder.path().join("wal/ring"), b"a record to be damaged");
    let cluster = Cluster::start_in(folder, &[]);
    let uploaded = run(&arguments(&cluster.folder, &["wal", "recover", "1/0"]));
    assert!(
        uploaded.0 == Some(1)
            && one_line(&uploaded.2).contains("is being uploaded by start 2 of broker 0, which answers at 127.0.0.1:"),
        "{uploaded:?}"
    );
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let (code, plan, err) = run(&arguments(&folder, &["wal", "recover", "1/0"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{plan}");
    assert!(
        plan.contains(
            "start 2 has sealed the log and had yet to upload it, and nobody answers for that start at 127.0.0.1:"
        ),
        "{plan}"
    );
    let (code, told, err) = run(&arguments(&folder, &["wal", "recover", "--execute", "--json"]));
    assert!(code == Some(1) && err.ends_with("1 write-ahead log not wholly recovered: 1/0\n"), "{err} {told}");
    let told = json(&told);
    assert_eq!((&told["left"], &told["others_left"]), (&serde_json::json!(["1/0"]), &serde_json::json!([])), "{told}");
    let outcomes: Vec<&str> =
        told["logs"].as_array().unwrap().iter().filter_map(|log| log["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["damaged", "recovered"], "{told}");
}

#[test]
fn what_is_left_is_named() {
    let folder = TempDir::new().unwrap();
    let storage = format!("file://{}/bucket", folder.path().display());
    let killed = |wal: &str| {
        let wal = format!("file://{}/{wal}", folder.path().display());
        start(&["--storage", &storage, "--wal", &wal]).unwrap()
    };
    let (first, second) = (killed("first"), killed("second"));
    first.kill();
    second.kill();
    std::fs::rename(folder.path().join("second"), folder.path().join("away")).unwrap();
    let (code, told, err) = run(&["wal", "recover", "--storage", &storage, "--execute"]);
    assert!(
        code == Some(1)
            && told.contains("write-ahead log 1/0: recovered; ")
            && told.contains("PROBLEM: the write-ahead log 2/0 can't be read here")
            && one_line(&err).ends_with("1 write-ahead log not wholly recovered: 2/0"),
        "{told}{err}"
    );
    let away = folder.path().join("away");
    let (code, told, err) =
        run(&["wal", "recover", "--at", away.to_str().unwrap(), "--storage", &storage, "--execute"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
}

#[test]
fn a_broker_that_runs_gets_the_partitions_at_once() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"a\nb\n");
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let storage = format!("file://{}/bucket", folder.path().display());
    let other = TempDir::new().unwrap();
    let wal = format!("file://{}/wal", other.path().display());
    let lives = start(&["--storage", &storage, "--wal", &wal]).unwrap();
    let bootstrap = lives.kafka.to_string();
    let (code, told, err) = run(&["wal", "recover", "--storage", &storage, "--execute"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{told}");
    assert!(
        told.contains("write-ahead log 1/0: recovered; ") && told.contains("brokers that run have taken 1 partition"),
        "{told}"
    );
    let read = run(&["consume", "t", "--bootstrap", &bootstrap, "--timeout", "10"]);
    assert_eq!(read.1, "a\nb\n", "{read:?}");
    let brokers = run(&["topic", "describe", "t", "--bootstrap", &bootstrap, "--json"]);
    assert_eq!(json(&brokers.1)["partitions"][0]["end"], 2, "{brokers:?}");
}

#[test]
fn what_is_no_log_is_refused_with_what_to_write() {
    let folder = TempDir::new().unwrap();
    let none = run(&arguments(&folder, &["wal", "recover"]));
    assert!(none.0 == Some(1) && one_line(&none.2).contains("no such folder"), "{none:?}");
    let cluster = Cluster::start();
    let wrong = run(&arguments(&cluster.folder, &["wal", "recover", "three"]));
    assert!(wrong.0 == Some(2) && one_line(&wrong.2).contains("write START/INDEX"), "{wrong:?}");
    let unknown = run(&arguments(&cluster.folder, &["wal", "recover", "77/0"]));
    assert!(unknown.0 == Some(1) && one_line(&unknown.2).contains("knows no write-ahead log 77/0"), "{unknown:?}");
    let nothing = cluster.folder.path().join("nothing");
    let strange = cluster.folder.path().join("strange");
    std::fs::write(&strange, "somebody's").unwrap();
    let empty = TempDir::new().unwrap();
    for (place, part) in [
        (nothing.as_path(), "no such file or folder"),
        (&strange, "is no write-ahead log"),
        (empty.path(), "holds no write-ahead log"),
    ] {
        let refused = run(&arguments(&cluster.folder, &["wal", "recover", "--at", place.to_str().unwrap()]));
        let line = one_line(&refused.2);
        assert!(refused.0 == Some(2) && line.contains(part) && line.contains("--at"), "{refused:?}");
        assert!(line.ends_with("where the log's ring is now"), "{line}");
    }
    let other = Cluster::start();
    let place = other.folder.path().join("wal");
    let others = run(&arguments(&cluster.folder, &["wal", "recover", "--at", place.to_str().unwrap()]));
    assert!(others.0 == Some(1) && one_line(&others.2).contains("belongs to another cluster"), "{others:?}");
}
