//! The promises that take long to show: `cargo xtask verify NAME` and `cargo xtask measure NAME`, both on the release binary.
//!
//! The tests themselves lie in `crates/server/tests/broker`; CI runs short forms of those behind `verify`.

use crate::release;
use crate::steps::{run, run_tests};
use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use std::path::Path;
use std::process::Command;

/// What `cargo xtask verify` can show.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Promise {
    /// `kill -9` under load: every acknowledged record is there once, in order; local log and log in the bucket.
    Kill,
    /// The same under librdkafka: a producer, and a consumer group whose committed offsets never go back.
    GroupKill,
    /// The same on an S3-compatible server, and the refusal of one that lacks conditional puts.
    S3,
    /// Rubbish, too many connections, a full disk, a port in use, a locked log, an unreadable bucket.
    BadInput,
    /// A bucket that answers 503, hangs, is gone, for minutes: no error to an idempotent producer, nothing lost, memory within its budget.
    Trouble,
    /// An unmodified Kafka client, kcat, produces and consumes.
    Kcat,
    /// Unmodified clients of every kind, as Apache Kafka answers them.
    Compat,
    /// The suites in `../shared/conformance`, case by case as on Apache Kafka.
    Conformance,
    /// A million requests of every API and version to Millstream and to Apache Kafka: the same answers.
    Differential,
}

/// How long and how much, for `trouble` alone.
#[derive(Args, Debug, Default)]
pub(crate) struct Trouble {
    /// Seconds in which three of ten requests are answered 503 [default: 600]
    #[arg(long)]
    busy: Option<u64>,
    /// Seconds without any answer [default: 120]
    #[arg(long)]
    gone: Option<u64>,
    /// Size of the log on a disk, such as 2GiB, for as long as which the bucket is gone once more [default: 2GiB]
    #[arg(long)]
    ring: Option<String>,
    /// Bytes produced a second [default: 5242880]
    #[arg(long)]
    rate: Option<u64>,
}

impl Trouble {
    fn variables(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u64>| value.map(|it| it.to_string());
        let given = [
            ("MILLSTREAM_TROUBLE_BUSY", number(self.busy)),
            ("MILLSTREAM_TROUBLE_GONE", number(self.gone)),
            ("MILLSTREAM_TROUBLE_RING", self.ring.clone()),
            ("MILLSTREAM_TROUBLE_RATE", number(self.rate)),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// What `cargo xtask measure` can measure.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Measurement {
    /// From exec to the first acknowledged record.
    Start,
    /// Resident memory, idle.
    Rss,
    /// Size of the release binary.
    Size,
    /// From exec to ready after a kill, with an empty and with a full log.
    Recovery,
    /// How long partitions can't be written after one of three brokers on a folder was killed.
    Failover,
    /// A consumer group of the newer protocol with 10,000 members: one more joins, and leaves. And 1,000 groups of the classic protocol that
    /// rebalance at once.
    Groups,
    /// A transaction where each write to the log is a put of 30 ms.
    Transactions,
    /// A compacted topic with five million updates: what a fresh consumer sees, amplification, and what a producer notices.
    Compacted,
    /// A log in a bucket whose puts take 30 to 150 ms: publish latency, throughput, and what it costs.
    ObjectWal,
    /// A simulated day of 10,000 partitions that are written evenly, and of 100,000 that trickle: objects, requests, and the ledger's
    /// size within their budgets, and an empty bucket once all topics are gone.
    Day,
    /// Half an hour of the same loads on real brokers: `bench/half-hour`.
    HalfHour,
    /// Millstream and Apache Kafka under the same load, in turn: `bench/run`.
    Bench,
}

/// The release binary is statically linked and no larger.
const BINARY_BYTES_MAX: u64 = 40 << 20;

pub(crate) fn verify(root: &Path, promise: Promise, times: u64, trouble: &Trouble) -> Result<()> {
    let trouble = trouble.variables();
    ensure!(
        trouble.is_empty() || matches!(promise, Promise::Trouble),
        "--busy, --gone, --ring and --rate are for trouble alone"
    );
    let kills = [("MILLSTREAM_KILLS", times.to_string())];
    match promise {
        Promise::Kill => tests(root, &["kill::"], &kills),
        Promise::BadInput => {
            // What the merge gate may skip, where the host does not allow it, is shown here or not at all.
            let shown = [("MILLSTREAM_SKIP", "no".to_owned())];
            tests(root, &["bad_input::", "refusals::", "full_disk::", "console::", "deposed::"], &shown)
        }
        Promise::GroupKill => script(root, "tests/group-kill/run", &kills),
        Promise::Trouble => script(root, "tests/trouble/run", &trouble),
        Promise::S3 => script(root, "tests/s3/run", &kills),
        Promise::Kcat => script(root, "tests/kcat/run", &kills),
        Promise::Compat => script(root, "tests/compat/run", &kills),
        Promise::Conformance => script(root, "tests/conformance/run", &kills),
        Promise::Differential => script(root, "tests/differential/run", &kills),
    }
}

pub(crate) fn measure(root: &Path, what: Measurement, runs: u64) -> Result<()> {
    let runs = [("MILLSTREAM_RUNS", runs.to_string())];
    match what {
        Measurement::Start => tests(root, &["measure::start", "--ignored", "--exact"], &runs),
        Measurement::Rss => tests(root, &["measure::rss", "--ignored", "--exact"], &runs),
        Measurement::Recovery => tests(root, &["measure::recovery", "--ignored", "--exact"], &runs),
        Measurement::Failover => tests(root, &["failover::two_go_on_without_the_third", "--exact"], &runs),
        Measurement::Groups => tests(
            root,
            &["measure_groups::one_group", "measure_classic_groups::many_groups", "--ignored", "--exact"],
            &runs,
        ),
        Measurement::Transactions => {
            tests(root, &["measure_transactions::a_cycle_on_a_log_in_a_bucket", "--ignored", "--exact"], &runs)
        }
        Measurement::Compacted => compacted(root),
        Measurement::Day => ["even", "trickle"].into_iter().try_for_each(|load| day(root, load)),
        Measurement::HalfHour => script(root, "bench/half-hour", &[]),
        Measurement::Size => size(root),
        Measurement::ObjectWal => script(root, "tests/s3/run", &[("MILLSTREAM_S3_MEASURE", "object-wal".to_owned())]),
        Measurement::Bench => script(root, "bench/run", &[]),
    }
}

/// One client for each of the three families that most others are built on: Kafka's own, librdkafka, and Go's. All the suites take
/// longer than a merge gate should.
const CLIENTS_AT_THE_GATE: [&str; 3] = ["java", "confluent-kafka", "franz-go"];

/// The suites at the merge gate whose toolchains are here; most of their time they wait, so they run together.
pub(crate) fn clients_at_the_gate(root: &Path) -> Result<()> {
    let arguments = [&CLIENTS_AT_THE_GATE[..], &["--possible", "--together", "3"]].concat();
    script_with(root, "tests/compat/run", &arguments, &[])
}

/// The tests of the real binary whose names match, run on the release.
fn tests(root: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Result<()> {
    let binary = release::build(root)?;
    let mut command = Command::new("cargo");
    command
        .args(["test", "--package", "server", "--test", "broker", "--", "--nocapture", "--test-threads", "1"])
        .args(arguments)
        .env("MILLSTREAM_BINARY", binary)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(root);
    let count = run_tests(&mut command)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 { bail!("{arguments:?} failed") } else { Ok(()) }
}

/// In one process: the load appends its transactions, markers and all, to the store itself.
fn compacted(root: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "--locked", "--package", "broker", "--test", "all", "--"]);
    run(command.args(["--ignored", "--exact", "compacted::load::full_size", "--nocapture"]).current_dir(root))
}

/// In the simulated world, with the bounds that users get; writes a plot of it below `target/`.
fn day(root: &Path, load: &str) -> Result<()> {
    println!("{load}:");
    let mut command = Command::new("cargo");
    command.args(["run", "--profile", "sim", "--locked", "--package", "sim", "--bin", "day", "--", load, "--plot"]);
    run(command.arg(format!("target/day-{load}.svg")).current_dir(root))
}

fn script(root: &Path, path: &str, variables: &[(&str, String)]) -> Result<()> {
    script_with(root, path, &[], variables)
}

fn script_with(root: &Path, path: &str, arguments: &[&str], variables: &[(&str, String)]) -> Result<()> {
    let binary = release::build(root)?;
    let mut command = Command::new(root.join(path));
    command.args(arguments).env("MILLSTREAM_BINARY", binary).envs(variables.iter().map(|(name, value)| (name, value)));
    run(command.current_dir(root))
}

fn size(root: &Path) -> Result<()> {
    let binary = release::build(root)?;
    let bytes = std::fs::metadata(&binary)?.len();
    println!("{}: {:.1} MB, promised at most {} MB", binary.display(), bytes as f64 / 1e6, BINARY_BYTES_MAX >> 20);
    ensure!(bytes <= BINARY_BYTES_MAX, "the binary is too large");
    ensure!(release::is_static(&binary)?, "the binary is not statically linked");
    Ok(())
}
