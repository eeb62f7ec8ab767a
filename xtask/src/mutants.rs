//! `cargo xtask mutants`: how many seeds the simulator needs to find each planted bug.
//!
//! One build with `--cfg mutants` serves all; it lies apart, so that no other build is thrown away for it.

use crate::release::contains_mark;
use crate::steps::run;
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

/// Searches for the bugs named, or for all.
pub(crate) fn run_all(root: &Path, names: &[String]) -> Result<()> {
    let mut build = Command::new("cargo");
    build.args(["build", "--profile", "sim", "--locked", "--package", "sim", "--target-dir", "target/mutants"]);
    run(build.env("RUSTFLAGS", "--cfg mutants").current_dir(root))?;
    let binary = root.join("target/mutants/sim/sim");
    // By its absence CI tells that a release holds none, so it must be there.
    ensure!(contains_mark(&binary)?, "{} lacks the mark of planted bugs", binary.display());
    run(Command::new(binary).arg("--mutants-report").args(names).current_dir(root))
}
