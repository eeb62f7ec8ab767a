//! Documents rot where nothing depends on them: every path that one names must exist, and a decision's number is its own.

use super::Complaints;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A word in backticks that begins so is a path of this repository.
const ROOTS: [&str; 8] = ["crates/", "xtask/", "docs/", "tests/", "bench/", ".ci/", ".cargo/", "README.md"];

/// A path may carry an item, `crates/x/src/y.rs:name`: then the file must contain that name.
pub(crate) fn check_paths(root: &Path, files: &[PathBuf], complaints: &mut Complaints) -> Result<()> {
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {}", file.display()))?;
        for (number, line) in text.lines().enumerate() {
            for word in named_paths(line) {
                if let Some(complaint) = wrong_path(root, word) {
                    complaints.add(format!("{}:{}: {complaint}", file.display(), number + 1));
                }
            }
        }
    }
    Ok(())
}

fn named_paths(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    quoted.chain(linked).filter(|word| {
        let placeholder = word.contains(['*', '<', '{', ' ']) || word.contains("NNNN") || word.contains("NAME");
        !placeholder && ROOTS.iter().any(|start| word.starts_with(start))
    })
}

fn wrong_path(root: &Path, word: &str) -> Option<String> {
    let (path, item) = match word.split_once(':') {
        Some((path, item)) => (path, Some(item)),
        None => (word.split('#').next().unwrap_or(word), None),
    };
    if !root.join(path).exists() {
        return Some(format!("names {path}, which does not exist"));
    }
    let item = item?;
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    (!text.contains(item)).then(|| format!("names {item} in {path}, which does not contain it"))
}

/// Two decisions with one number can't be told apart when one is cited.
pub(crate) fn check_decision_numbers(files: &[PathBuf], complaints: &mut Complaints) {
    let mut by_number: BTreeMap<String, &Path> = BTreeMap::new();
    for file in files.iter().filter(|file| file.starts_with("docs/adr")) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        if number.len() != 4 {
            complaints.add(format!("{}: a decision's file is called NNNN-title.md", file.display()));
        } else if let Some(other) = by_number.insert(number, file) {
            complaints.add(format!("{} and {} share a number", other.display(), file.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_paths_and_leaves_placeholders() {
        let line =
            "See `crates/a/src/b.rs:run`, [docs](docs/c.md) and `docs/adr/NNNN-title.md`, `crates/*/src`, `other/x`.";
        assert_eq!(named_paths(line).collect::<Vec<_>>(), ["crates/a/src/b.rs:run", "docs/c.md"]);
    }

    #[test]
    fn complains_of_paths_and_items_that_are_not_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(wrong_path(root, "src/tidy/mod.rs:tracked_files"), None);
        assert!(wrong_path(root, "src/tidy/mod.rs:no such item").is_some());
        assert!(wrong_path(root, "src/nothing.rs").is_some());
    }

    #[test]
    fn complains_of_a_number_given_twice() {
        let files = ["docs/adr/0001-a.md", "docs/adr/0001-b.md", "docs/adr/0002-c.md"].map(PathBuf::from);
        let mut complaints = Complaints::default();
        check_decision_numbers(&files, &mut complaints);
        assert_eq!(complaints.0.len(), 1);
    }
}
