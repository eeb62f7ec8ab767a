//! Rules on the Rust files themselves.

use super::Complaints;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Each file says in its header what it is; nothing unfinished lands; generated code says so.
pub(crate) fn check(root: &Path, files: &[PathBuf], complaints: &mut Complaints) -> Result<()> {
    // Put together here, so that this file does not contain what it looks for.
    let unfinished = [format!("{}!(", "todo"), format!("{}!(", "unimplemented")];
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
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
