//! What a setting may change while the broker runs is read from the options of the moment (`Shared::live`), nowhere from those of the
//! start (`Shared::options`), where a change would silently not act. Both are one type, so this looks at the sources.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::settings::Update;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Some of them every setting takes, and one of those that it takes is not its default.
const TEXTS: [&str; 9] = ["1", "7", "100000", "true", "false", "compact", "LogAppendTime", "10.0.0.1:5", "zstd"];

/// Where both count: batches may be as large as was allowed at the start, or as is now.
const BOTH: (&str, &str) = ("handler/fetch/read.rs", "batch_bytes_max");

/// The fields of the options that differ: each stands in a line of its own, in the order of the type.
fn changed_fields(name: &str) -> BTreeSet<String> {
    let before = format!("{:#?}", BrokerOptions::default());
    for text in TEXTS {
        let setting = Scope::Broker.find(name).unwrap();
        let mut options = BrokerOptions::default();
        let given = BTreeMap::from([(name.to_owned(), text.to_owned())]);
        if setting.check(text).is_err() || put(&given, &mut options).is_err() {
            continue;
        }
        let after = format!("{options:#?}");
        let differing = fields(&before).into_iter().zip(fields(&after)).filter(|(before, after)| before != after);
        let fields: BTreeSet<String> = differing.map(|((name, _), _)| name).collect();
        if !fields.is_empty() {
            return fields;
        }
    }
    panic!("{name} may change, but no text here changes it: give TEXTS one");
}

/// Each field and what is shown of it.
fn fields(shown: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in shown.lines().skip(1) {
        match line.strip_prefix("    ").filter(|rest| !rest.starts_with([' ', '}', ']', ')'])) {
            Some(field) => {
                let (name, value) = field.split_once(": ").unwrap_or((field, ""));
                fields.push((name.to_owned(), value.to_owned()));
            }
            None => fields.last_mut().unwrap().1.push_str(line),
        }
    }
    fields
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "settings" {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// Whether the text reads this field of the started options.
fn reads_started(text: &str, field: &str) -> bool {
    text.match_indices(&format!(".options.{field}")).any(|(at, found)| {
        let next = text[at + found.len()..].chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
    })
}

#[test]
fn what_may_change_is_never_read_from_the_options_of_the_start() {
    let may_change = |honoured: &&Honoured| {
        Scope::Broker.find(honoured.name).is_some_and(|setting| setting.update != Update::ReadOnly)
    };
    let mut fields: BTreeMap<String, &str> = BTreeMap::new();
    for honoured in all().filter(may_change) {
        fields.extend(changed_fields(honoured.name).into_iter().map(|field| (field, honoured.name)));
    }
    assert!(fields.contains_key("batch_bytes_max") && fields.contains_key("connections_max"), "{fields:?}");
    let mut paths = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    assert!(paths.len() > 40, "the sources are there");
    for path in paths {
        let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.replace(" .", ".");
        let is_known = |field: &str| path.ends_with(BOTH.0) && field == BOTH.1;
        let shown = path.display();
        assert!(!text.contains(".options; "), "{shown}: name the options of the start where they are read, by field");
        for (field, setting) in fields.iter().filter(|(field, _)| !is_known(field)) {
            assert!(!reads_started(&text, field), "{shown}: {setting} may change; ask live() for {field} each time");
        }
    }
}
