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
    /// The same on an S3-compatible server, and the refusal of one that lacks conditional puts.
    S3,
    /// Rubbish, too many connections, a full disk, a port in use, a locked log, an unreadable bucket.
    BadInput,
    /// An unmodified Kafka client, kcat, produces and consumes.
    Kcat,
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
}

/// The release binary is statically linked and no larger.
const BINARY_BYTES_MAX: u64 = 40 << 20;

pub(crate) fn verify(root: &Path, promise: Promise, times: u64) -> Result<()> {
    match promise {
        Promise::Kill => tests(root, "kill::", "MILLSTREAM_KILLS", times, &[]),
        Promise::BadInput => {
            tests(root, "bad_input::", "MILLSTREAM_KILLS", times, &[])?;
            tests(root, "refusals::", "MILLSTREAM_KILLS", times, &[])
        }
        Promise::S3 => script(root, "tests/s3/run"),
        Promise::Kcat => script(root, "tests/kcat/run"),
    }
}

pub(crate) fn measure(root: &Path, what: Measurement, runs: u64) -> Result<()> {
    match what {
        Measurement::Start => tests(root, "measure::start", "MILLSTREAM_RUNS", runs, &["--ignored", "--exact"]),
        Measurement::Rss => tests(root, "measure::rss", "MILLSTREAM_RUNS", runs, &["--ignored", "--exact"]),
        Measurement::Recovery => tests(root, "measure::recovery", "MILLSTREAM_RUNS", runs, &["--ignored", "--exact"]),
        Measurement::Size => size(root),
    }
}

fn tests(root: &Path, filter: &str, variable: &str, number: u64, more: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release", "--package", "server", "--test", "broker", filter, "--"])
        .args(["--nocapture", "--test-threads", "1"])
        .args(more)
        .env(variable, number.to_string())
        .current_dir(root);
    let count = run_tests(&mut command)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 { bail!("{filter} failed") } else { Ok(()) }
}

fn script(root: &Path, path: &str) -> Result<()> {
    let binary = release::build(root)?;
    run(Command::new(root.join(path)).env("MILLSTREAM", binary).current_dir(root))
}

fn size(root: &Path) -> Result<()> {
    let binary = release::build(root)?;
    let bytes = std::fs::metadata(&binary)?.len();
    println!("{}: {:.1} MB, promised at most {} MB", binary.display(), bytes as f64 / 1e6, BINARY_BYTES_MAX >> 20);
    ensure!(bytes <= BINARY_BYTES_MAX, "the binary is too large");
    ensure!(release::is_static(&binary)?, "the binary is not statically linked");
    Ok(())
}
