//! `cargo xtask ci`: everything that must hold before a change lands, cheapest first.

use crate::steps::{Beside, Steps, run, run_tests, run_together};
use crate::{deny, release, tidy, verify};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Seeds of the simulator that every change must pass, in two halves side by side, as one of them keeps one processor busy; and those that
/// are run twice and compared.
const SEEDS: [&str; 2] = ["0..100", "100..200"];
const SEEDS_TWICE: &str = "0..8";

/// What a machine that builds everything once, and nothing twice, does without: what a second build would begin from, and the names of lines
/// in a backtrace (a panic tells its own). Both take disk, which a small machine ran out of.
const BUILD_ONCE: [(&str, &str); 2] = [("CARGO_INCREMENTAL", "0"), ("CARGO_PROFILE_DEV_DEBUG", "0")];

/// Runs every step, also after a failed one, and prints the sum.
pub(crate) fn run_all(root: &Path) -> Result<()> {
    let is_the_gate = std::env::var_os("CI").is_some();
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(root);
        if is_the_gate {
            command.envs(BUILD_ONCE);
        }
        command
    };
    let simulate = |arguments: &[&str]| {
        let mut command = cargo(&["run", "--profile", "sim", "--locked", "--package", "sim", "--"]);
        command.args(arguments);
        command
    };
    let mut steps = Steps::default();
    // Tests wait more than they compute, and a build ends with one thread's work: what is left of the processors builds what later steps
    // run, which wait for it by cargo's lock of a profile's folder, and build it themselves where this failed.
    let simulator = cargo(&["build", "--profile", "sim", "--locked", "--package", "sim"]);
    let builds = Beside::start(vec![simulator, release::command(root)], &root.join("target/ci/builds.log"));
    steps.check("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    steps.check("tidy", || tidy::run(root));
    steps.check("licences, bans, sources", || deny::check(root));
    steps.check("clippy", || {
        run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]))
    });
    steps.tests("tests", || {
        let mut tests = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
        run_tests(tests.env("RUST_TEST_THREADS", test_threads().to_string()))
    });
    steps.check("simulator", || run_together(&mut SEEDS.map(|seeds| simulate(&["--seeds", seeds]))));
    steps.check("simulator, same seed twice", || run(&mut simulate(&["--seeds", SEEDS_TWICE, "--check-determinism"])));
    steps.check("release without mutants", || release::holds_no_mutants(root));
    // A build beside them that failed is told and does not count: the step that needed it has built it again, and what came of that does.
    if let Err(error) = builds.and_then(Beside::join) {
        println!(
            "\n=== a build beside the tests failed, and its step built it again: {error:#}; see target/ci/builds.log"
        );
    }
    // Real clients need a package registry, which only the merge gate may count on.
    if is_the_gate {
        steps.check("kcat", || verify::verify(root, verify::Promise::Kcat, 1, &verify::Trouble::default()));
        steps.check("real clients", || verify::clients_at_the_gate(root));
    }
    steps.finish()
}

/// Tests that run side by side: twice as many as there are processors, since the long ones wait (for a socket, a clock, a child) more than
/// they compute.
fn test_threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
