//! `cargo deny check bans licenses sources`, with cargo-deny installed first where it is missing.
//!
//! It is compiled from the registry without optimisation: that takes a third of the time, and it runs for seconds only.

use crate::steps::run;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VERSION: &str = "0.19.0";

/// Checks licences, bans and sources of everything that is linked.
pub(crate) fn check(root: &Path) -> Result<()> {
    let tool = installed_or_install(root)?;
    run(Command::new(tool).args(["check", "bans", "licenses", "sources"]).current_dir(root))
}

fn installed_or_install(root: &Path) -> Result<PathBuf> {
    let own = root.join("target/tools");
    let candidates = [PathBuf::from("cargo-deny"), own.join("bin/cargo-deny")];
    if let Some(found) = candidates.iter().find(|candidate| answers(candidate)) {
        return Ok(found.clone());
    }
    let mut install = Command::new("cargo");
    install
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--no-default-features", "--debug", "--root"])
        .arg(&own)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        // Outside the workspace, so that its settings and lock file play no part.
        .current_dir(std::env::temp_dir());
    run(&mut install).context("install cargo-deny")?;
    Ok(own.join("bin/cargo-deny"))
}

fn answers(tool: &Path) -> bool {
    let mut probe = Command::new(tool);
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
