//! The commands that speak to a cluster, against a real broker: what they do, what they say when they can't, and how they end.

use crate::console::{get, sample};
use crate::support::commands::{Cluster, end, interrupt, json, lines_of, one_line};
use crate::support::process::{self, closed_pipe, full_device, run, run_into, run_with_input};
use crate::support::{eventually, now};
use clap::CommandFactory;
use server::args::Cli;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn what_is_produced_is_consumed_once_and_in_order() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "numbers"]);
    let lines: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let out = cluster.ok_with(&["produce", "numbers", "--json"], lines.as_bytes());
    assert_eq!(json(&out)["records"], 20_000);
    assert!(cluster.ok(&["consume", "numbers"]) == lines, "all lines, in order");
    assert_eq!(cluster.ok(&["consume", "numbers", "--from", "19998"]), "19998\n19999\n");
    assert_eq!(cluster.ok(&["consume", "numbers", "--max", "2"]), "0\n1\n");
    assert_eq!(cluster.ok(&["consume", "numbers", "--from", "end"]), "");
    assert_eq!(cluster.ok(&["consume", "numbers", "--from=-1h", "--max", "1"]), "0\n");
    assert_eq!(cluster.ok(&["consume", "numbers", "--from", "2999-01-01T00:00:00Z"]), "");
}

#[test]
fn keys_choose_partitions_and_come_back() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "pairs", "--partitions", "7"]);
    let lines: String = (0..300).map(|n| format!("key{}=>value=>{n}\n", n % 10)).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &lines).unwrap();
    let path = file.path().to_str().unwrap();
    cluster.ok(&["produce", "pairs", "--file", path, "--key-separator", "=>", "--compression", "zstd"]);
    let read = cluster.ok(&["consume", "pairs", "--key-separator", "=>"]);
    assert_eq!(read.lines().collect::<BTreeSet<_>>(), lines.lines().collect::<BTreeSet<_>>());
    let records: Vec<_> = cluster.ok(&["consume", "pairs", "--json"]).lines().map(json).collect();
    assert_eq!(records.len(), 300);
    let homes: BTreeSet<(String, i64)> = records
        .iter()
        .map(|record| (record["key"].as_str().unwrap().to_owned(), record["partition"].as_i64().unwrap()))
        .collect();
    assert_eq!(homes.len(), 10, "each key has one partition: {homes:?}");
    assert!(homes.iter().map(|(_, partition)| partition).collect::<BTreeSet<_>>().len() > 1);
    // Where Kafka's own clients put it.
    assert!(homes.contains(&("key0".to_owned(), KEY0_OF_SEVEN)), "{homes:?}");
}

/// What the Java client's partitioner answers for `key0` among seven partitions.
const KEY0_OF_SEVEN: i64 = 6;

#[test]
fn topics_are_made_listed_described_and_deleted() {
    let cluster = Cluster::start();
    assert_eq!(cluster.ok(&["topic", "list"]), "");
    cluster.ok(&["topic", "create", "one", "--set", "retention.ms=1000000"]);
    cluster.ok(&["topic", "create", "three", "--partitions", "3"]);
    cluster.ok_with(&["produce", "three", "--partition", "1"], b"a\nb\n");
    let listed = json(&cluster.ok(&["topic", "list", "--json"]));
    let listed: Vec<_> =
        listed.as_array().unwrap().iter().map(|topic| (&topic["topic"], &topic["partitions"])).collect();
    assert_eq!(listed, [(&"one".into(), &1.into()), (&"three".into(), &3.into())]);
    let described = json(&cluster.ok(&["topic", "describe", "three", "--json"]));
    let ends: Vec<_> = (0..3).map(|at| described["partitions"][at]["end"].as_i64().unwrap()).collect();
    assert_eq!(ends, [0, 2, 0]);
    assert!(cluster.ok(&["topic", "describe", "three"]).contains("partition 1: offsets 0 to 2, leader "));
    cluster.ok(&["topic", "delete", "one", "three"]);
    assert_eq!(cluster.ok(&["topic", "list"]), "");
}

#[test]
fn a_partition_that_nobody_leads_is_described_without_a_wait() {
    let folder = TempDir::new().unwrap();
    let log = |name: &str| format!("file://{}?size=64MiB", folder.path().join(name).display());
    let start = |name: &str| process::start_in(folder.path(), &["--wal", &log(name)]);
    let first = start("first");
    let bootstrap = first.kafka.to_string();
    for words in [&["topic", "create", "half"][..], &["produce", "half"]] {
        let arguments: Vec<&str> = words.iter().copied().chain(["--bootstrap", &bootstrap]).collect();
        assert_eq!(run_with_input(&arguments, b"x\n").0, Some(0));
    }
    first.kill();
    // Its log is another, so that the tail of the partition stays where it is.
    let broker = start("second");
    let bootstrap = broker.kafka.to_string();
    let cluster = Cluster { broker, bootstrap, folder };
    cluster.ok(&["topic", "alter", "half", "--partitions", "2"]);
    let began = now();
    let lines = cluster.ok(&["topic", "describe", "half"]);
    assert!(lines.contains("partition 0: offsets ? to ?, leader none"), "{lines}");
    assert!(lines.contains("partition 1: offsets 0 to 0, leader "), "{lines}");
    let described = json(&cluster.ok(&["topic", "describe", "half", "--json"]));
    assert_eq!(described["partitions"][0]["leader"], serde_json::Value::Null);
    let (_, metrics) = get(cluster.broker.console, "/metrics");
    assert_eq!(sample(&metrics, "millstream_partitions_without_owner"), Some(1.0), "an alarm is due");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn what_can_not_be_is_told_in_one_line() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "there"]);
    let unknown = "millstream topic create TOPIC";
    let cases: [(&[&str], Option<i32>, &str); 15] = [
        (&["produce", "nowhere"], Some(1), unknown),
        (&["consume", "nowhere"], Some(1), unknown),
        (&["topic", "describe", "nowhere"], Some(1), unknown),
        (&["topic", "delete", "nowhere"], Some(1), unknown),
        (&["topic", "create", "there"], Some(1), "TopicAlreadyExists"),
        (&["topic", "create", "a/b"], Some(2), "InvalidTopicException"),
        (&["topic", "create", "new", "--set", "no.such.setting=1"], Some(2), "no.such.setting"),
        (&["consume", "there", "--from", "1"], Some(2), "has offsets up to 0 only"),
        (&["consume", "there", "--from", "soon"], Some(2), "write beginning, end, an offset"),
        (&["consume", "there", "--partition", "1"], Some(2), "has 1 partition, counted from 0"),
        (&["consume", "there", "--max", "0"], Some(2), "0 is not in 1.."),
        (
            &["produce", "there", "--partition", "7"],
            Some(2),
            "--partition 7: topic there has 1 partition, counted from 0",
        ),
        (&["produce", "there", "--key-separator", ""], Some(2), "--key-separator"),
        (&["produce", "there", "--file", "/nonexistent/file"], Some(1), "/nonexistent/file"),
        (&["topic", "alter", "there"], Some(2), "--partitions"),
    ];
    for (words, code, part) in cases {
        let began = now();
        let (told_code, line) = cluster.fails(words, b"x\n");
        assert!(began.elapsed() < Duration::from_secs(8), "{words:?}: {:?}", began.elapsed());
        assert_eq!(told_code, code, "{words:?}: {line}");
        assert!(line.contains(part), "{words:?}: {line}");
    }
    assert_eq!(cluster.ok(&["topic", "list"]), "there  1 partition\n", "nothing was made on the way");
    assert_eq!(cluster.ok(&["consume", "there"]), "", "nothing was written");
}

#[test]
fn a_mistake_in_the_input_keeps_what_stood_before_it() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "pairs"]);
    let (code, line) = cluster.fails(&["produce", "pairs", "--key-separator", ":"], b"a:1\nb:2\nc\nd:4\n");
    assert_eq!(code, Some(2));
    assert!(
        line.contains("line 3 has no \":\"") && line.ends_with("2 of 2 records were acknowledged before"),
        "{line}"
    );
    assert_eq!(cluster.ok(&["consume", "pairs", "--key-separator", ":"]), "a:1\nb:2\n");
    let (code, line) = cluster.fails(&["produce", "pairs", "--file", "/"], b"");
    assert_eq!(code, Some(1));
    assert!(line.contains("directory"), "{line}");
    cluster.ok_with(&["produce", "pairs", "--key-separator", r"\t"], b"e\t5\n");
    assert_eq!(cluster.ok(&["consume", "pairs", "--from", "2", "--key-separator", r"\t"]), "e\t5\n");
    cluster.ok(&["topic", "create", "compacted", "--set", "cleanup.policy=compact"]);
    let (code, line) = cluster.fails(&["produce", "compacted"], b"no key\n");
    assert_eq!(code, Some(1));
    assert!(line.contains("give keys, with --key-separator TEXT"), "{line}");
    assert!(line.ends_with("0 of 1 record was acknowledged before"), "{line}");
    let large = vec![b'x'; 3 << 20];
    let (code, line) = cluster.fails(&["produce", "pairs"], &large);
    assert_eq!(code, Some(1));
    assert!(line.contains("max.message.bytes"), "{line}");
}

#[test]
fn nobody_at_the_address_is_told_in_bounded_time() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (address.to_string(), silent)).unwrap();
    // It is no Kafka broker.
    let folder = TempDir::new().unwrap();
    let broker = process::start_in(folder.path(), &[]);
    let console = broker.console.to_string();
    let wrong = Some(2);
    let there_is_nobody = Some(1);
    for (address, expected) in [
        (free.as_str(), there_is_nobody),
        (silent.0.as_str(), there_is_nobody),
        (console.as_str(), there_is_nobody),
        ("no.such.host.invalid:9092", there_is_nobody),
        ("localhost", wrong),
        ("localhost:kafka", wrong),
        (",", wrong),
    ] {
        for words in [&["topic", "list"][..], &["produce", "t"], &["consume", "t", "--follow"]] {
            let began = now();
            let arguments: Vec<&str> = words.iter().copied().chain(["--bootstrap", address]).collect();
            let (code, _, err) = run(&arguments);
            let line = one_line(&err);
            assert_eq!(code, expected, "{line}");
            assert!(line.contains("--bootstrap HOST:PORT") || line.contains("write HOST:PORT"), "{line}");
            assert_eq!(line.contains("speaks HTTP") && line.contains("--console"), address == console, "{line}");
            assert!(began.elapsed() < Duration::from_secs(8), "{arguments:?}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_call_takes_no_longer_than_its_timeout_with_the_way_to_the_broker() {
    let silent: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let silent: Vec<String> = silent.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
    let cluster = Cluster::start();
    let with_one = [silent.clone(), vec![cluster.bootstrap.clone()]].concat().join(",");
    for (bootstrap, expected) in [(silent.join(","), Some(1)), (with_one, Some(0))] {
        let began = now();
        let (code, _, err) = run(&["topic", "list", "--timeout", "2", "--bootstrap", &bootstrap]);
        assert_eq!(code, expected, "{err}");
        assert!(began.elapsed() < Duration::from_secs(5), "{bootstrap}: {:?}", began.elapsed());
    }
}

#[test]
fn an_answer_that_can_not_be_written_is_no_success() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    cluster.ok_with(&["produce", "t"], b"x\n");
    for words in [&["topic", "list"][..], &["topic", "describe", "t", "--json"], &["consume", "t"], &["--help"]] {
        let arguments = if words == ["--help"] { words.to_vec() } else { cluster.arguments(words) };
        let (code, err) = run_into(full_device(), &arguments);
        assert_eq!(code, Some(1), "{words:?}");
        assert!(one_line(&err).contains("write to standard output: "), "{err}");
        assert_eq!(run_into(closed_pipe(), &arguments), (Some(0), String::new()), "{words:?}: nobody wants more");
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "many"]);
    let lines = "a line of some length, so that it does not fit a pipe\n".repeat(50_000);
    cluster.ok_with(&["produce", "many"], lines.as_bytes());
    for words in [&["consume", "many"][..], &["consume", "many", "--json"]] {
        let mut child = cluster.spawn(words);
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("a line of"));
        assert_eq!(end(child), (Some(0), String::new()));
    }
}

#[test]
fn ctrl_c_ends_it_quietly_and_loses_nothing() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "typed"]);
    let mut follower = cluster.spawn(&["consume", "typed", "--follow"]);
    let mut read = lines_of(&mut follower);
    let mut writer = cluster.spawn(&["produce", "typed", "--json"]);
    let stdin = writer.stdin.as_mut().unwrap();
    for n in 0..3 {
        // What is typed arrives while more may be typed.
        writeln!(stdin, "line {n}").unwrap();
        assert_eq!(read(), format!("line {n}\n"));
    }
    writer.stdin.as_mut().unwrap().write_all(b"line 3\n").unwrap();
    read();
    interrupt(&writer);
    assert_eq!(writer.wait().unwrap().code(), Some(0));
    let told = json(&lines_of(&mut writer)());
    assert_eq!((&told["records"], &told["bytes"]), (&4.into(), &24.into()), "{told}");
    interrupt(&follower);
    assert_eq!(end(follower), (Some(0), String::new()));
    assert_eq!(cluster.ok(&["consume", "typed"]), "line 0\nline 1\nline 2\nline 3\n");
}

#[test]
fn a_restart_in_the_middle_is_not_noticed() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    let mut follower = cluster.spawn(&["consume", "t", "--follow", "--max", "4"]);
    let mut writer = cluster.spawn(&["produce", "t"]);
    let mut read = lines_of(&mut follower);
    writer.stdin.as_mut().unwrap().write_all(b"1\n2\n").unwrap();
    assert_eq!((read(), read()), ("1\n".to_owned(), "2\n".to_owned()));
    let _again = cluster.killed(|| writer.stdin.as_mut().unwrap().write_all(b"3\n4\n").unwrap());
    assert_eq!((read(), read()), ("3\n".to_owned(), "4\n".to_owned()));
    drop(writer.stdin.take());
    assert_eq!(end(writer), (Some(0), String::new()));
    assert_eq!(end(follower), (Some(0), String::new()));
}

/// A member notices neither: it is away for longer than members wait between heartbeats and between commits.
#[test]
fn a_member_of_a_group_goes_on_when_its_broker_was_away() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "t"]);
    let mut member = cluster.spawn(&["consume", "t", "--group", "g", "--follow", "--timeout", "60"]);
    let mut read = lines_of(&mut member);
    cluster.ok_with(&["produce", "t"], b"1\n2\n");
    assert_eq!((read(), read()), ("1\n".to_owned(), "2\n".to_owned()));
    let cluster = cluster.killed(|| std::thread::sleep(Duration::from_secs(6)));
    cluster.ok_with(&["produce", "t"], b"3\n4\n");
    assert_eq!((read(), read()), ("3\n".to_owned(), "4\n".to_owned()));
    interrupt(&member);
    assert_eq!(end(member), (Some(0), String::new()));
    assert_eq!(cluster.ok(&["consume", "t", "--group", "g"]), "", "all that was written is committed");
}

#[test]
fn a_group_goes_on_where_it_was_is_described_set_back_and_deleted() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "orders", "--partitions", "2"]);
    let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
    cluster.ok_with(&["produce", "orders"], lines.as_bytes());
    assert_eq!(cluster.ok(&["group", "list"]), "");
    let read = ["consume", "orders", "--group", "billing"];
    let first = cluster.ok(&read);
    assert_eq!(first.lines().collect::<BTreeSet<_>>(), lines.lines().collect::<BTreeSet<_>>());
    assert_eq!(cluster.ok(&read), "", "all of it is committed");
    cluster.ok_with(&["produce", "orders", "--partition", "1"], b"new\n");
    assert_eq!(cluster.ok(&read), "new\n");

    assert_eq!(cluster.ok(&["group", "list"]), "billing  Empty\n");
    let described = json(&cluster.ok(&["group", "describe", "billing", "--json"]));
    assert_eq!((&described[0]["state"], &described[0]["members"]), (&"Empty".into(), &serde_json::json!([])));
    let partitions = described[0]["partitions"].as_array().unwrap();
    let sum = |what: &str| partitions.iter().map(|it| it[what].as_i64().unwrap()).sum::<i64>();
    assert_eq!((partitions.len(), sum("committed"), sum("end"), sum("lag")), (2, 101, 101, 0), "{described}");

    // One that is not there hides none that is.
    let both = ["group", "describe", "gone", "billing"];
    let (code, out, err) = run(&cluster.arguments(&both));
    assert!(out.starts_with("billing: Empty, 0 members\n") && out.lines().count() == 3, "{out}");
    assert!(code == Some(1) && one_line(&err).contains("1 of 2 groups failed: ") && err.contains("gone"), "{err}");
    let (code, out, err) = run(&cluster.arguments(&[&both[..], &["--json"]].concat()));
    let told = json(&out);
    assert!(code == Some(1) && one_line(&err).contains("gone"), "{err}");
    assert!(told[0]["group"] == "gone" && told[0]["error"].is_string() && told[1]["state"] == "Empty", "{told}");

    // Shown, and not done.
    let set_back = ["group", "reset", "billing", "--shift-by", "-1", "--topic", "orders:1"];
    let told = cluster.ok(&set_back);
    assert!(told.contains("topic orders, partition 1: from ") && told.contains("--execute"), "{told}");
    assert_eq!(cluster.ok(&read), "");
    let executed: Vec<&str> = set_back.into_iter().chain(["--execute", "--json"]).collect();
    let told = json(&cluster.ok(&executed));
    assert_eq!((&told["executed"], told["partitions"].as_array().unwrap().len()), (&true.into(), 1), "{told}");
    assert_eq!(cluster.ok(&read), "new\n");
    for (to, count) in [
        (&["--to-earliest"][..], 101),
        (&["--to-latest"], 0),
        (&["--to-offset", "1000000"], 0),
        (&["--by-duration", "1h"], 101),
        (&["--to-datetime", "2999-01-01T00:00:00Z"], 0),
    ] {
        let words: Vec<&str> = ["group", "reset", "billing", "--execute"].iter().chain(to).copied().collect();
        cluster.ok(&words);
        assert_eq!(cluster.ok(&read).lines().count(), count, "{to:?}");
    }
    cluster.ok(&["group", "delete", "billing"]);
    assert_eq!(cluster.ok(&["group", "list", "--json"]), "[]\n");

    let (code, line) = cluster.fails(&["group", "describe", "billing"], b"");
    assert!(code == Some(1) && line.contains("millstream group list"), "{line}");
    let (code, line) = cluster.fails(&["group", "reset", "billing", "--to-latest"], b"");
    assert!(code == Some(2) && line.contains("--topic"), "{line}");
    let (code, line) = cluster.fails(&["group", "reset", "billing", "--topic", "orders:7", "--to-latest"], b"");
    assert!(code == Some(2) && line.contains("2 partitions"), "{line}");
    let (code, line) = cluster.fails(&["group", "reset", "billing", "--topic", "orders", "--by-duration", "soon"], b"");
    assert!(code == Some(2) && line.contains("such as 10m"), "{line}");
}

#[test]
fn two_members_share_a_topic_and_one_takes_over_from_the_other() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "shared", "--partitions", "4"]);
    let follow = ["consume", "shared", "--group", "pair", "--follow", "--from", "beginning"];
    let [mut first, second] = [cluster.spawn(&follow), cluster.spawn(&follow)];
    let shares = |wanted: &[usize]| {
        eventually(Duration::from_secs(30), "the partitions are shared", || {
            let (_, told, _) = run(&cluster.arguments(&["group", "describe", "pair", "--json"]));
            let told: serde_json::Value = serde_json::from_str(&told).ok()?;
            let members = told[0]["members"].as_array()?;
            let mut shares: Vec<usize> =
                members.iter().map(|member| member["partitions"].as_array().unwrap().len()).collect();
            shares.sort_unstable();
            (told[0]["state"] == "Stable" && shares == wanted).then_some(())
        });
    };
    shares(&[2, 2]);
    let (code, line) = cluster.fails(&["group", "delete", "pair"], b"");
    assert!(code == Some(1) && line.contains("stop its consumers"), "{line}");
    let (code, line) = cluster.fails(&["group", "reset", "pair", "--topic", "shared", "--to-latest"], b"");
    assert!(code == Some(1) && line.contains("stop its consumers"), "{line}");
    interrupt(&second);
    assert_eq!(end(second), (Some(0), String::new()));
    shares(&[4]);
    let lines: String = (0..8).map(|n| format!("{n}\n")).collect();
    cluster.ok_with(&["produce", "shared"], lines.as_bytes());
    let found: BTreeSet<String> = std::iter::repeat_with(lines_of(&mut first)).take(8).collect();
    assert_eq!(found, lines.lines().map(|line| format!("{line}\n")).collect());
    interrupt(&first);
    assert_eq!(end(first), (Some(0), String::new()));
    assert_eq!(cluster.ok(&["consume", "shared", "--group", "pair"]), "", "what was written is committed");
}

#[test]
fn a_bench_counts_every_record_that_was_due() {
    let cluster = Cluster::start();
    cluster.ok(&["topic", "create", "load", "--partitions", "3"]);
    let rate = ["--rate", "500", "--duration", "2", "--warmup", "1", "--size", "100", "--json"];
    for (what, written) in [("produce", 1500), ("e2e", 3000)] {
        let words: Vec<&str> = ["bench", what, "load"].into_iter().chain(rate).collect();
        let report = json(&cluster.ok(&words));
        assert_eq!((&report["records"], &report["bytes"]), (&1000.into(), &100_000.into()), "{report}");
        assert_eq!(report["open_loop"], true);
        let at = |quantile: &str| report["latency_ms"][quantile].as_f64().unwrap();
        assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"), "{report}");
        let read = json(&cluster.ok(&["bench", "consume", "load", "--json"]));
        assert_eq!((&read["records"], &read["bytes"]), (&written.into(), &(written * 100).into()), "{read}");
        let many = ["bench", "consume", "load", "--readers", "3", "--duration", "60", "--json"];
        let read = json(&cluster.ok(&many));
        assert_eq!((&read["records"], &read["bytes"]), (&(3 * written).into(), &(written * 300).into()), "{read}");
    }
    cluster.ok(&["bench", "produce", "load", "--rate", "2000", "--duration", "1", "--warmup", "0", "--size", "1000"]);
    let read = json(&cluster.ok(&["bench", "consume", "load", "--readers", "2", "--rate", "1", "--json"]));
    assert!(read["mib_per_second"].as_f64().unwrap() <= 1.0, "{read}");
    let console = cluster.broker.console.to_string();
    let words = ["bench", "produce", "load", "--duration", "1", "--warmup", "0", "--console", &console];
    let report = json(&cluster.ok(&[&words[..], &["--rate", "500", "--json"]].concat()));
    assert!(report["store"]["produced_gib"].as_f64().unwrap() > 500.0 * 1024.0 / f64::from(1 << 30), "{report}");
    assert_eq!(report["store"]["purposes"]["wal"]["put"], 0, "the log is on a disk: {report}");
    let told = cluster.ok(&words);
    assert!(told.contains("the object store during the run") && told.contains("in all, but for reads"), "{told}");
    let told = cluster.ok(&["bench", "produce", "load", "--duration", "1", "--warmup", "0", "--rate", "10"]);
    assert!(told.contains("give the brokers' consoles, --console"), "{told}");
    let (code, line) = cluster.fails(&["bench", "produce", "load", "--console", &cluster.bootstrap], b"");
    assert!(code == Some(1) && line.contains("--console"), "{line}");
    let (code, line) = cluster.fails(&["bench", "produce", "nowhere"], b"");
    assert!(code == Some(1) && line.contains("millstream topic create"), "{line}");
    cluster.ok(&["topic", "create", "compacted", "--set", "cleanup.policy=compact"]);
    let (code, line) = cluster.fails(&["bench", "produce", "compacted", "--rate", "10", "--duration", "1"], b"");
    assert!(code == Some(1) && line.contains("bench writes no keys") && !line.contains("--key-separator"), "{line}");
    cluster.ok(&["topic", "create", "empty"]);
    let (code, line) = cluster.fails(&["bench", "consume", "empty"], b"");
    assert!(code == Some(1) && line.contains("holds no records"), "{line}");
}

#[test]
fn every_command_has_help_with_an_example() {
    let mut commands = 0;
    has_help(&Cli::command(), &mut Vec::new(), &mut commands);
    assert!(commands > 25, "{commands}");
}

/// The command at `words`, and all below it.
fn has_help<'a>(command: &'a clap::Command, words: &mut Vec<&'a str>, commands: &mut usize) {
    *commands += 1;
    let (code, out, _) = run(&words.iter().copied().chain(["--help"]).collect::<Vec<_>>());
    let example = format!("millstream {}", words.join(" "));
    let has_example = (out.contains("Example:\n") || out.contains("Examples:\n")) && out.contains(&example);
    assert!(code == Some(0) && has_example, "{words:?}: {out}");
    let subcommands: Vec<_> = command.get_subcommands().filter(|it| it.get_name() != "help").collect();
    // A start answers with a line for people and scripts alike.
    if subcommands.is_empty() && words[..] != ["start"] {
        assert!(out.contains("--json"), "{words:?}: {out}");
        assert!(out.contains("--bootstrap") || out.contains("--storage"), "{words:?}: {out}");
    }
    for subcommand in subcommands {
        words.push(subcommand.get_name());
        has_help(subcommand, words, commands);
        words.pop();
    }
}
