//! Rules on the Rust files themselves.

use super::Complaints;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Each file says in its header what it is; nothing unfinished lands; generated code says so.
pub(crate) fn check(root: &Path, files: &[PathBuf], complaints: &mut Complaints) -> Result<()> {
    // Put together here, so that this file does not contain what it looks for.
    let unfinished = [format!("{}!(", "todo"), format!("{}!(", "unimplemented")];
    for file in files.iter().filter(|file| is_rust(file)) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {}", file.display()))?;
        let first = text.lines().next().unwrap_or_default();
        // Tests that were moved out of a file are introduced by that file's header.
        let is_tests = file.to_string_lossy().ends_with("tests.rs");
        if !is_tests && !first.starts_with("//! ") && !first.starts_with("// @generated") {
            complaints.add(format!(
                "{}: the first line is no //! header: what the file is, where in the flow it stands",
                file.display()
            ));
        }
        for (number, line) in text.lines().enumerate() {
            if unfinished.iter().any(|macro_call| line.contains(macro_call)) {
                complaints.add(format!(
                    "{}:{}: unfinished code would panic in front of a user",
                    file.display(),
                    number + 1
                ));
            }
        }
    }
    Ok(())
}

/// Where a crate has one test program, `tests/main.rs` names each file beside it: one that it does not name is never compiled.
pub(crate) fn check_test_programs(root: &Path, files: &[PathBuf], complaints: &mut Complaints) -> Result<()> {
    for program in files.iter().filter(|file| file.ends_with("tests/main.rs")) {
        let text =
            std::fs::read_to_string(root.join(program)).with_context(|| format!("read {}", program.display()))?;
        let folder = program.parent().unwrap_or(program);
        for file in files.iter().filter(|file| *file != program && is_rust(file)) {
            // `tests/NAME.rs`, or `tests/NAME/mod.rs`.
            let module = if file.ends_with("mod.rs") { file.parent().unwrap_or(file) } else { file };
            if module.parent() != Some(folder) {
                continue;
            }
            let name = module.file_stem().unwrap_or_default().to_string_lossy();
            if !text.lines().any(|line| line == format!("mod {name};")) {
                complaints.add(format!(
                    "{}: {} does not name it, so its tests never run",
                    file.display(),
                    program.display()
                ));
            }
        }
    }
    Ok(())
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}
