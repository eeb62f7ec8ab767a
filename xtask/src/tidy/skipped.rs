//! Tests that are left out for want of an API come back when it is served: the lists of such tests name the API, and no line may
//! outlive its reason. What is so on purpose stands in `docs/compatibility.md`, and lines that rest on it name its row.

use super::Complaints;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// The table of what is served, and the enum of all APIs, in the protocol's crate.
const SERVED: &str = "crates/protocol/src/api.rs";
const DEFINED: &str = "crates/protocol/src/api_key.rs";

/// The page whose rows say what is so on purpose.
const DIFFERENCES: &str = "docs/compatibility.md";

/// Stands for an API where a case asks for what Millstream does otherwise on purpose: the line's comment says what, and first how its row
/// begins, in brackets.
const DIFFERENCE: &str = "Difference";

/// The lists. The API is the third word of a line.
const LISTS: [&str; 2] = ["tests/conformance/skip.txt", "tests/compat/expected.txt"];

pub(crate) fn check(root: &Path, complaints: &mut Complaints) -> Result<()> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let (served, defined, differences) = (served(&read(SERVED)?), read(DEFINED)?, read(DIFFERENCES)?);
    anyhow::ensure!(served.contains("Metadata"), "{SERVED} has no rows of the form that this check looks for");
    for list in LISTS {
        for (number, line) in read(list)?.lines().enumerate() {
            if let Some(complaint) = wrong_line(line, &served, &defined, &differences) {
                complaints.add(format!("{list}:{}: {complaint}", number + 1));
            }
        }
    }
    Ok(())
}

/// The APIs that have a row: `api(ApiKey::Name,`, on one line or over two.
fn served(table: &str) -> BTreeSet<String> {
    let rows = table.split(" api(").skip(1).map(|row| row.trim_start());
    let names = rows.filter_map(|row| row.strip_prefix("ApiKey::")?.split_once(','));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn wrong_line(line: &str, served: &BTreeSet<String>, defined: &str, differences: &str) -> Option<String> {
    let words: Vec<&str> = line.split('#').next()?.split_whitespace().collect();
    let case = words.get(1)?;
    let Some(api) = words.get(2) else {
        return Some("names no API: the third word of a line is the one that the case waits for".to_owned());
    };
    if *api == DIFFERENCE {
        let comment = line.split_once('#').and_then(|(_, comment)| comment.trim().strip_prefix('['));
        return match comment.and_then(|comment| comment.split_once(']')) {
            Some((row, what)) if !row.is_empty() && !what.trim().is_empty() => {
                let begin = format!("\n| {row}");
                // Whole words of it, so that one letter is no row.
                let ends = |at: usize| !differences[at + begin.len()..].starts_with(char::is_alphanumeric);
                let is_there = differences.match_indices(&begin).any(|(at, _)| ends(at));
                (!is_there).then(|| format!("{DIFFERENCES} has no row that begins with {row:?}"))
            }
            _ => Some(format!("says of no difference: '# [HOW ITS ROW IN {DIFFERENCES} BEGINS] WHAT IT IS'")),
        };
    }
    if served.contains(*api) {
        return Some(format!("{api} is served: take the line out, and have {case} pass"));
    }
    (!defined.contains(&format!("ApiKey::{api},"))).then(|| format!("{api} is no API of Kafka's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_whose_api_is_served_or_unknown_is_complained_of() {
        let served =
            served("static SERVED = [\n    api(ApiKey::Fetch, 4, ALL, &[]),\n    api(\n        ApiKey::Produce,\n 3),");
        assert_eq!(served.iter().collect::<Vec<_>>(), ["Fetch", "Produce"]);
        let defined = "(ApiKey::Fetch, \"Fetch\"), (ApiKey::EndTxn, \"EndTxn\")";
        let differences = "| where | Kafka |\n|---|---|\n| ApiVersions | up to 4 |\n";
        let complaint = |line| wrong_line(line, &served, defined, differences).unwrap_or_default();
        assert_eq!(complaint("# Fetch everything"), "");
        assert_eq!(complaint("04 4.3.1/txn.fencing EndTxn"), "");
        assert!(complaint("java create Fetch 4").contains("is served"));
        assert!(complaint("04 4.3.1/txn.fencing EndTransaction").contains("no API"));
        assert!(complaint("04 4.3.1/txn.fencing").contains("names no API"));
        assert!(complaint("03 ApiVersions Difference").contains("no difference"));
        assert!(complaint("03 ApiVersions Difference # version 5").contains("no difference"));
        assert!(complaint("03 ApiVersions Difference # [Metadata] version 5").contains("no row that begins"));
        assert!(complaint("03 ApiVersions Difference at-times # [ApiVersions]").contains("no difference"));
        assert_eq!(complaint("03 ApiVersions Difference # [ApiVersions] version 5"), "");
    }
}
