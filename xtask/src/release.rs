//! The release binary: built as users build it, then looked at from outside.

use crate::steps::run;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every build with `--cfg mutants` contains; see `base::mutant`.
const MUTANTS_MARK: &[u8] = b"this build contains planted bugs";

/// Builds `millstream` in the release profile.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    run(Command::new("cargo").args(["build", "--release", "--package", "server"]).current_dir(root))?;
    let binary = root.join("target/release/millstream");
    ensure!(binary.exists(), "cargo built no {}", binary.display());
    Ok(binary)
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
