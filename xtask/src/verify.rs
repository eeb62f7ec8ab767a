//! The promises that take long to show: `cargo xtask verify NAME` and `cargo xtask measure NAME`, both on the release binary.
//!
//! The tests themselves lie in `crates/server/tests/broker`; CI runs short forms of those behind `verify`.

use crate::release;
use crate::steps::{run, run_tests};
use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
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
    /// An unmodified Kafka client, kcat, produces and consumes.
    Kcat,
    /// Unmodified clients of every kind, as Apache Kafka answers them.
    Compat,
    /// The suites in `../shared/conformance`, case by case as on Apache Kafka.
    Conformance,
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
    /// Millstream and Apache Kafka under the same load, in turn: `bench/run`.
    Bench,
}

/// The release binary is statically linked and no larger.
const BINARY_BYTES_MAX: u64 = 40 << 20;

pub(crate) fn verify(root: &Path, promise: Promise, times: u64) -> Result<()> {
    let kills = [("MILLSTREAM_KILLS", times.to_string())];
    match promise {
        Promise::Kill => tests(root, &["kill::"], &kills),
        Promise::BadInput => {
            tests(root, &["bad_input::", "refusals::", "full_disk::", "console::", "deposed::"], &kills)
        }
        Promise::GroupKill => script(root, "tests/group-kill/run", &kills),
        Promise::S3 => script(root, "tests/s3/run", &kills),
        Promise::Kcat => script(root, "tests/kcat/run", &kills),
        Promise::Compat => script(root, "tests/compat/run", &kills),
        Promise::Conformance => script(root, "tests/conformance/run", &kills),
    }
}

pub(crate) fn measure(root: &Path, what: Measurement, runs: u64) -> Result<()> {
    let runs = [("MILLSTREAM_RUNS", runs.to_string())];
    match what {
        Measurement::Start => tests(root, &["measure::start", "--ignored", "--exact"], &runs),
        Measurement::Rss => tests(root, &["measure::rss", "--ignored", "--exact"], &runs),
        Measurement::Recovery => tests(root, &["measure::recovery", "--ignored", "--exact"], &runs),
        Measurement::Size => size(root),
        Measurement::Bench => script(root, "bench/run", &[]),
    }
}

/// The suites of unmodified clients whose toolchains are here; most of their time they wait, so several run at a time.
pub(crate) fn clients_of_this_machine(root: &Path) -> Result<()> {
    let binary = release::build(root)?;
    let mut command = Command::new(root.join("tests/compat/run"));
    command.args(["--possible", "--together", "3"]).env("MILLSTREAM_BINARY", binary);
    run(command.current_dir(root))
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

fn script(root: &Path, path: &str, variables: &[(&str, String)]) -> Result<()> {
    let binary = release::build(root)?;
    let mut command = Command::new(root.join(path));
    command.env("MILLSTREAM_BINARY", binary).envs(variables.iter().map(|(name, value)| (name, value)));
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
