//! Several write-ahead logs of one broker, as an operator has them: named on the command line or in a file, chosen by topics, told by the
//! console and by `inspect`.

use crate::console::{get, sample};
use crate::support::commands::Cluster;
use crate::support::eventually;
use crate::support::process::{run, start};
use std::time::Duration;
use tempfile::TempDir;

/// A ring in a folder of its own, and a log in the bucket.
fn arguments(folder: &TempDir) -> [String; 4] {
    let fast = format!("file://{}/fast?size=16MiB", folder.path().display());
    ["--wal".to_owned(), fast, "--wal".to_owned(), "bulk=storage".to_owned()]
}

fn with_both(folder: TempDir) -> Cluster {
    let arguments = arguments(&folder);
    Cluster::start_in(folder, &arguments.each_ref().map(String::as_str))
}

#[test]
fn topics_choose_a_log_by_its_name_and_nothing_is_lost_by_a_kill() {
    let cluster = with_both(TempDir::new().unwrap());
    cluster.ok(&["topic", "create", "hot"]);
    cluster.ok(&["topic", "create", "cold", "--set", "millstream.wal=bulk"]);
    let (_, line) = cluster.fails(&["topic", "create", "lost", "--set", "millstream.wal=blk"], b"");
    assert!(line.contains("it has default (file://") && line.contains("bulk (storage)"), "{line}");
    cluster.ok_with(&["produce", "hot"], b"1\n2\n");
    cluster.ok_with(&["produce", "cold"], b"3\n4\n");
    let (_, metrics) = get(cluster.broker.console, "/metrics");
    for wal in ["default", "bulk"] {
        let appended = sample(&metrics, &format!("millstream_wal_appended_bytes_total{{wal=\"{wal}\"}}"));
        assert!(appended.is_some_and(|bytes| bytes > 0.0), "{wal}: {appended:?}");
        assert_eq!(sample(&metrics, &format!("millstream_wal_failed{{wal=\"{wal}\"}}")), Some(0.0));
    }
    let data = cluster.folder.path().to_str().unwrap().to_owned();
    let (_, ledger, _) = run(&["inspect", "ledger", "--data", &data]);
    let wals: Vec<&str> = ledger.lines().filter(|line| line.starts_with("wal ")).collect();
    assert!(wals.len() == 2 && wals[1].contains("name=bulk") && !wals[0].contains("name="), "{wals:?}");

    // A topic that has data changes its log, and goes on.
    assert_eq!(cluster.ok(&["topic", "alter", "hot", "--set", "millstream.wal=bulk"]), "changed hot\n");
    cluster.ok_with(&["produce", "hot"], b"5\n");
    let Cluster { broker, folder, .. } = cluster;
    broker.kill();
    let cluster = with_both(folder);
    assert_eq!(cluster.ok(&["consume", "hot"]), "1\n2\n5\n");
    assert_eq!(cluster.ok(&["consume", "cold"]), "3\n4\n");
    eventually(Duration::from_secs(20), "the dead logs are committed", || {
        let (_, metrics) = get(cluster.broker.console, "/metrics");
        (sample(&metrics, "millstream_recovering_wals") == Some(0.0)).then_some(())
    });
    let Cluster { broker, folder, .. } = cluster;
    assert!(broker.terminate().0.success());
    let (code, told, _) = run(&["fsck", "--data", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    // With one log again, by whatever way: everything is written to that one.
    let cluster = Cluster::start_in(folder, &["--wal", "storage"]);
    cluster.ok_with(&["produce", "cold"], b"6\n");
    assert_eq!(cluster.ok(&["consume", "cold"]), "3\n4\n6\n");
}

#[test]
fn a_file_lists_them_and_what_can_t_be_told_apart_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("broker.toml");
    let fast = format!("file://{}/fast?size=16MiB", folder.path().display());
    std::fs::write(&file, format!("wal = [\"quick={fast}\", \"bulk=storage\"]\n")).unwrap();
    let config = file.to_str().unwrap().to_owned();
    let cluster = Cluster::start_in(folder, &["--config", &config]);
    cluster.ok(&["topic", "create", "a", "--set", "millstream.wal=quick"]);
    cluster.ok(&["topic", "create", "b", "--set", "millstream.wal=default"]);
    let refused = start(&["--wal", "storage", "--wal", "storage"]).err().unwrap();
    assert!(refused.line().contains("--wal NAME=storage"), "{}", refused.line());
}
