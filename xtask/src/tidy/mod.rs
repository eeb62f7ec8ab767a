//! What no compiler checks: each rule with its reason in the message.
//!
//! The rules are few, because every rule costs whoever meets it; one that has stopped earning its keep is deleted.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

mod cores;
mod documents;
mod skipped;
mod sources;

/// Collects what is wrong, so that one run shows all of it.
#[derive(Default)]
pub(crate) struct Complaints(Vec<String>);

impl Complaints {
    /// One line: where, what, why.
    pub(crate) fn add(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }
}

/// Checks all rules.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = tracked_files(root)?;
    let mut complaints = Complaints::default();
    cores::check_dependencies(root, &mut complaints)?;
    cores::check_bans(root, &mut complaints)?;
    documents::check_paths(root, &files, &mut complaints)?;
    documents::check_decision_numbers(&files, &mut complaints);
    skipped::check(root, &mut complaints)?;
    sources::check(root, &files, &mut complaints)?;
    sources::check_test_programs(root, &files, &mut complaints)?;
    for line in &complaints.0 {
        println!("tidy: {line}");
    }
    if complaints.0.is_empty() { Ok(()) } else { bail!("{} untidy places", complaints.0.len()) }
}

/// What git tracks or would track, relative to the root, sorted.
fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    let mut files: Vec<PathBuf> = names.split_terminator('\0').map(PathBuf::from).collect();
    files.retain(|file| root.join(file).exists());
    files.sort();
    Ok(files)
}
