//! The release binary: statically linked, then looked at from outside.
//!
//! The static C library is asked for at the last link only. As a flag of the whole build it would also reach procedural macros,
//! which are dynamic libraries and can't be made that way.

use crate::steps::run;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every build with `--cfg mutants` contains; see `base::mutant`.
const MUTANTS_MARK: &[u8] = b"this build contains planted bugs";

/// Builds `millstream` in the release profile, at the place where `cargo build --release` would put it.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    run(&mut command(root))?;
    let binary = root.join("target/release/millstream");
    ensure!(binary.exists(), "cargo built no {}", binary.display());
    Ok(binary)
}

/// What [`build`] runs.
pub(crate) fn command(root: &Path) -> Command {
    let mut build = Command::new("cargo");
    build.args(["rustc", "--release", "--locked", "--package", "server", "--bin", "millstream", "--"]);
    build.args(["-C", "target-feature=+crt-static"]).current_dir(root);
    build
}

/// Builds it and checks that no planted bug is in it.
pub(crate) fn holds_no_mutants(root: &Path) -> Result<()> {
    let binary = build(root)?;
    if contains_mark(&binary)? {
        bail!("{} contains planted bugs: it was built with --cfg mutants", binary.display());
    }
    Ok(())
}

/// Whether that binary was built with `--cfg mutants`.
pub(crate) fn contains_mark(binary: &Path) -> Result<bool> {
    let bytes = std::fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    Ok(bytes.windows(MUTANTS_MARK.len()).any(|window| window == MUTANTS_MARK))
}

/// Whether that binary needs no library of the system it runs on: its ELF header names no interpreter to load them.
pub(crate) fn is_static(binary: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let bytes = std::fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let field = |at: usize, len: usize| {
        let field = bytes.get(at..at + len).context("ends within its ELF header")?;
        Ok::<u64, anyhow::Error>(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "{} is no 64-bit little-endian ELF file", binary.display());
    let (table, size, count) = (field(0x20, 8)?, field(0x36, 2)?, field(0x38, 2)?);
    for entry in 0..count {
        let at = usize::try_from(table + entry * size)?;
        if field(at, 4)? == u64::from(PT_INTERP) {
            return Ok(false);
        }
    }
    Ok(true)
}
