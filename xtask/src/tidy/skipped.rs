//! Tests that are left out for want of an API come back when it is served: the lists of such tests name the API, and no line may
//! outlive its reason.

use super::Complaints;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

/// The table of what is served, and the enum of all APIs, in the protocol's crate.
const SERVED: &str = "crates/protocol/src/api.rs";
const DEFINED: &str = "crates/protocol/src/api_key.rs";

/// Stands for an API where a case asks for what Millstream does otherwise on purpose: the line's comment says what.
const DIFFERENCE: &str = "Difference";

/// The lists. The API is the third word of a line.
const LISTS: [&str; 2] = ["tests/conformance/skip.txt", "tests/compat/expected.txt"];

pub(crate) fn check(root: &Path, complaints: &mut Complaints) -> Result<()> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let (served, defined) = (served(&read(SERVED)?), read(DEFINED)?);
    anyhow::ensure!(served.contains("Metadata"), "{SERVED} has no rows of the form that this check looks for");
    for list in LISTS {
        for (number, line) in read(list)?.lines().enumerate() {
            if let Some(complaint) = wrong_line(line, &served, &defined) {
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

fn wrong_line(line: &str, served: &BTreeSet<String>, defined: &str) -> Option<String> {
    let words: Vec<&str> = line.split('#').next()?.split_whitespace().collect();
    let case = words.get(1)?;
    let Some(api) = words.get(2) else {
        return Some("names no API: the third word of a line is the one that the case waits for".to_owned());
    };
    if *api == DIFFERENCE {
        let says_what = line.split_once('#').is_some_and(|(_, comment)| !comment.trim().is_empty());
        return (!says_what).then(|| "says of no difference: name it after a '#'".to_owned());
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
        let complaint = |line| wrong_line(line, &served, defined).unwrap_or_default();
        assert_eq!(complaint("# Fetch everything"), "");
        assert_eq!(complaint("04 4.3.1/txn.fencing EndTxn"), "");
        assert!(complaint("java create Fetch 4").contains("is served"));
        assert!(complaint("04 4.3.1/txn.fencing EndTransaction").contains("no API"));
        assert!(complaint("04 4.3.1/txn.fencing").contains("names no API"));
        assert!(complaint("03 ApiVersions Difference").contains("no difference"));
        assert_eq!(complaint("03 ApiVersions Difference # version 5"), "");
    }
}
